"""Check what the notebooks show of a dataset, a network and a test."""

import base64
import io
import re
import unicodedata
import wave
from types import SimpleNamespace

import keras
import numpy as np
import PIL.Image
import pytest
from conftest import TITLES
from test_notebooks import rows_of

from data_loader import DataLoader
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DataConfig, write_metadata
from videosummarizer.dataset.storage import read_arrays
from videosummarizer.evaluation import plots
from videosummarizer.notebooks import views


def test_a_frame_shown_is_the_middle_one_of_its_segment(dataset_dir):
    loader = DataLoader(dataset_dir)
    html = views.show_frames(loader, "valid", num_segments=2).data
    captions = re.findall("<figcaption>(.*?)</figcaption>", html)
    first, last = TITLES["valid"]
    assert captions == [f"{first} 00:00:01", f"{last} 00:00:03", f"{first} 00:00:00", f"{last} 00:00:04"]
    jpeg = base64.b64decode(re.search('base64,(.*?)"', html)[1])
    shown = np.asarray(PIL.Image.open(io.BytesIO(jpeg)), int)
    video, _ = read_arrays(loader.segment_files["valid"][1], loader.data_shape)
    assert np.abs(shown - video[1]).mean() < 12 < np.abs(shown - video[0]).mean()


def test_titles_cannot_be_markup():
    assert views.table(["a"], [["<script>"]]).data.count("<script>") == 0


def test_a_missing_video_is_reported_in_a_sentence(dataset_dir, trainable_matches_dir, tmp_path):
    loader, title = DataLoader(dataset_dir), TITLES["test"][0]
    assert views.find_video(loader, "test", trainable_matches_dir) == trainable_matches_dir / f"{title}.mp4"
    with pytest.raises(FileNotFoundError, match=rf"video_dir: received {tmp_path}, expected .*{title}\.mp4"):
        views.find_video(loader, "test", tmp_path)


def test_mfccs_have_no_player(dataset_dir):
    loader = DataLoader(dataset_dir)
    loader.config.__dict__["apply_mfcc"] = True
    assert "nothing to play" in views.play_audio(loader, loader.segment_files["test"][0]).data


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Return a loader of a match with 5 segments of 2 s, labels 0 1 0 1 1, 4 frames of 30, 90, 150, 210 grey."""
    folder, config = tmp_path_factory.mktemp("numbered"), DataConfig(2, 2, 8, 16, 8, False)
    (folder / "match_08").mkdir()
    frames = np.array([30, 90, 150, 210], np.uint8).reshape(4, 1, 1, 1) * np.ones((1, 16, 8, 3), np.uint8)
    for index, label in enumerate([0, 1, 0, 1, 1]):
        audio = np.linspace(-1.5, 0.5, 16).astype(np.float32) * (index + 1) / 5
        storage.write_segment(folder / "match_08", index, label, frames, audio, config, 10.0)
    record = {"title": "match_08", "source": "old/match_08.MP4", "segment_count": 5, "duration": 10.0}
    write_metadata(folder, config, [record | {"sections": [[2, 4], [6, 10]]}], missing=[])
    return DataLoader(folder)


def read_jpegs(html):
    """Return the images in some HTML, (H, W, 3) int."""
    urls = re.findall('src="data:image/jpeg;base64,(.*?)"', html)
    return [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(url))), int) for url in urls]


def test_an_empty_subset_has_no_highlight_ratio(numbered):
    assert rows_of(views.describe_subsets(numbered).data) == [
        ["train", "0", "00:00:00", "0", "0", "-"],
        ["valid", "0", "00:00:00", "0", "0", "-"],
        ["test", "1", "00:00:10", "5", "3", "60.0%"],
    ]


@pytest.mark.parametrize(
    ("num_frames", "greys"), [(1, [150]), (2, [90, 210]), (3, [30, 150, 210]), (4, [30, 90, 150, 210])]
)
def test_frames_of_a_segment_are_evenly_spaced(numbered, num_frames, greys):
    html = views.frame_strip(numbered, numbered.segment_files["test"][1], num_frames)
    (image,) = read_jpegs(html)
    assert image.shape == (16, 8 * num_frames, 3)
    for index, grey in enumerate(greys):
        assert np.abs(image[:, 8 * index + 2 : 8 * index + 6] - grey).max() < 10
    assert 'alt="frames of match_08 00:00:02"' in html
    assert "height: 96px" in html


def test_segments_of_each_class_are_shown_in_order(numbered):
    html = views.show_frames(numbered, "test", num_segments=2).data
    highlights, others = html.split("<b>other</b>")
    assert highlights.startswith("<p><b>highlight</b></p>")
    assert re.findall("<figcaption>(.*?)</figcaption>", highlights) == ["match_08 00:00:02", "match_08 00:00:08"]
    assert re.findall("<figcaption>(.*?)</figcaption>", others) == ["match_08 00:00:00", "match_08 00:00:04"]
    every = views.show_frames(numbered, "test").data
    times = [f"match_08 00:00:0{second}" for second in (2, 6, 8, 0, 4)]
    assert re.findall("<figcaption>(.*?)</figcaption>", every) == times
    assert [int(image.mean().round(-1)) for image in read_jpegs(every)] == [150] * 5


def test_only_the_requested_subset_is_shown(numbered):
    assert "<img" not in views.show_frames(numbered).data


def test_audio_is_played_without_normalisation(numbered):
    for index, loudest in ((4, 1.0), (0, 0.3)):
        player = views.play_audio(numbered, numbered.segment_files["test"][index])
        with wave.open(io.BytesIO(player.data)) as player_file:
            assert (player_file.getframerate(), player_file.getnchannels(), player_file.getnframes()) == (8, 1, 16)
            samples = np.frombuffer(player_file.readframes(16), np.int16) / 32767
        expected = np.maximum(np.linspace(-1.5, 0.5, 16) * (index + 1) / 5, -1)
        np.testing.assert_allclose(samples, expected, atol=1e-4)
        assert np.abs(samples).max() == pytest.approx(loudest, abs=1e-4)


def test_the_network_table_has_the_layers_with_a_kernel():
    inputs = keras.Input((7,), name="start")
    hidden = keras.layers.Dense(1500, name="first")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(2, name="second")(keras.layers.ReLU()(hidden)))
    html = views.summarise_model(network).data
    assert html.startswith("<p>15,002 weights in 4 layers, of which 2 are shown</p>")  # 7 + 1 times 1500, 1501 times 2
    assert rows_of(html) == [["first", "(None, 1500)", "12,000"], ["second", "(None, 2)", "3,002"]]
    assert re.findall("<th>(.*?)</th>", html) == ["layer", "output", "weights"]


def test_curves_are_updated_in_the_same_output(monkeypatch):
    shown, updates = [], []
    handle = SimpleNamespace(update=updates.append)
    monkeypatch.setattr(views, "display", lambda what, display_id: shown.append(what.data) or handle)
    monkeypatch.setattr(plots, "plot_history", lambda history: b"\x89PNG" + bytes(history))
    draw = views.live_curves()
    assert shown == ["The curves appear when the first epoch ends."]
    draw([1])
    draw([1, 2])
    assert [update.data for update in updates] == [b"\x89PNG\x01", b"\x89PNG\x01\x02"]


def test_plots_are_shown_by_the_prefix_of_their_names(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(views, "display", shown.append)
    names = ["test_matches.png", "precision_recall.png", "test_matches_2.png", "test_report.json"]
    for name in names[:3]:
        (tmp_path / name).write_bytes(b"\x89PNG" + name.encode())
    views.show_plots(str(tmp_path), names, "test_matches")
    assert [image.data for image in shown] == [b"\x89PNGtest_matches.png", b"\x89PNGtest_matches_2.png"]
    assert [image.alt for image in shown] == ["test matches", "test matches 2"]


def test_misclassified_segments_come_with_the_worst_first(numbered, tmp_path):
    path = tmp_path / "predictions.csv"
    rows = [  # index, label, score, found: 0 and 4 are correct, 4 in spite of a low score
        (0, 0, 0.02, 0),
        (1, 1, 0.25, 0),
        (2, 0, 0.9, 1),
        (3, 1, 0.1666, 0),
        (4, 1, 0.11, 1),
    ]
    lines = ["title,index,start_sec,end_sec,start_time,end_time,label,score,found"]
    for index, label, score, is_found in rows:
        times = f"{2 * index},{2 * index + 2},00:00:0{2 * index},00:00:{2 * index + 2:02d}"
        lines.append(f"match_08,{index},{times},{label},{score},{is_found}")
    path.write_text("\n".join(lines) + "\n")
    html = views.misclassified_segments(numbered, path).data
    assert html.startswith("<p>3 of 5 test segments are misclassified; 3 are shown, the worst first.</p>")
    assert [row[:5] for row in rows_of(html)] == [
        ["match_08", "00:00:04", "00:00:06", "predicted, but not labelled", "0.900"],
        ["match_08", "00:00:06", "00:00:08", "missed", "0.167"],
        ["match_08", "00:00:02", "00:00:04", "missed", "0.250"],
    ]
    assert [image.shape for image in read_jpegs(html)] == [(16, 24, 3)] * 3
    assert 'alt="frames of match_08 00:00:04"' in rows_of(html)[0][5]
    few = views.misclassified_segments(numbered, path, num_rows=1).data
    assert few.startswith("<p>3 of 5 test segments are misclassified; 1 are shown")
    assert len(rows_of(few)) == 1


def test_a_table_shows_values_other_than_html_as_text():
    html = views.table(["a<b", "c"], [[views.HTML("<i>x</i>"), "<i>"], [1, None]]).data
    assert re.findall("<th>(.*?)</th>", html) == ["a&lt;b", "c"]
    assert rows_of(html) == [["<i>x</i>", "&lt;i&gt;"], ["1", "None"]]


def test_a_video_is_searched_by_its_original_name(numbered, tmp_path):
    (tmp_path / "match_08.mp4").touch()
    with pytest.raises(FileNotFoundError, match=r"with at least one of its test matches: old/match_08\.MP4"):
        views.find_video(numbered, "test", tmp_path)
    (tmp_path / "match_08.MP4").touch()
    assert views.find_video(numbered, "test", str(tmp_path)) == tmp_path / "match_08.MP4"


def test_a_video_is_found_whatever_the_composition_of_its_name(numbered, tmp_path, monkeypatch):
    monkeypatch.setitem(numbered.video_records["match_08"], "source", "결승전.mp4")
    (tmp_path / unicodedata.normalize("NFD", "결승전.mp4")).touch()
    assert views.find_video(numbered, "test", tmp_path).is_file()


def test_the_second_match_is_taken_if_the_first_has_no_video(dataset_dir, tmp_path):
    (tmp_path / "match_10.mp4").touch()
    assert views.find_video(DataLoader(dataset_dir), "test", tmp_path) == tmp_path / "match_10.mp4"
