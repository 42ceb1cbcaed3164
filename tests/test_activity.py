"""Sections without a checkpoint: the activity of sound and picture, measured and cut."""

import csv
import json

import numpy as np
import pytest
from clips import tone, write_pictures
from matplotlib.figure import Figure

import data_converter
import highlight_extractor
from videosummarizer import media
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.evaluation import plots
from videosummarizer.extraction import activity, decoding_process, measures
from videosummarizer.extraction.measures import StepMeter
from videosummarizer.labels import read_label_file, resolve_sections

RATE_FPS, SAMPLE_RATE_HZ = 10, 16000
# The burst of the clips, in seconds of 40.
BURST_SEC = (18.0, 22.0)
CONFIG = DataConfig(2.0, 2.0, 8, 8, 8000, False)


def pictures(moving=True):
    """Grey pictures, with a white square that moves during the burst."""
    for index in range(40 * RATE_FPS):
        picture = np.full((48, 64, 3), 90, np.uint8)
        at = 4 * index % 48 if moving and BURST_SEC[0] <= index / RATE_FPS < BURST_SEC[1] else 0
        picture[16:32, at : at + 16] = 255
        yield picture


def burst():
    """A quiet tone, and loud noise during the burst."""
    audio = tone(300, 40, SAMPLE_RATE_HZ, 0.02)
    first, end = (int(sec * SAMPLE_RATE_HZ) for sec in BURST_SEC)
    audio[first:end] = np.random.default_rng(0).uniform(-0.5, 0.5, end - first)
    return audio


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Matches with a burst in sound and picture, in either alone, and in neither."""
    folder = tmp_path_factory.mktemp("activity")
    for name, moving, audio in (
        ("both", True, burst()),
        ("sound", False, burst()),
        ("picture", True, None),
        ("still", False, np.zeros(40 * SAMPLE_RATE_HZ, np.float32)),
    ):
        write_pictures(folder / f"{name}.mp4", pictures(moving), RATE_FPS, audio, SAMPLE_RATE_HZ)
    return folder


def sections_sec(folder, video_path):
    info = media.probe(video_path)
    path = folder / f"{video_path.stem}.txt"
    return resolve_sections(path, read_label_file(path), info.frame_times_sec, info.duration_sec)[0]


# ---- Features


def activity_of(features):
    return activity.activity_of(activity.activity_parts(features, 0.5))


def segments_of(frames, audio, config=CONFIG):
    num = len(audio) // config.num_samples
    return list(zip(np.split(frames, num), np.split(audio, num), strict=True))


def test_each_feature_shows_what_it_measures_in_its_step():
    frames = np.full((12, 8, 8, 3), 40, np.uint8)
    frames[4:] = 200  # another picture from 2 s on: the first frame of the second segment
    audio = np.zeros(6 * 8000, np.float32)
    audio[3 * 8000 : 4 * 8000] = tone(500, 1, 8000, 0.5)
    meter = StepMeter(CONFIG, 4)
    steps = np.concatenate([meter.measure(*segment) for segment in segments_of(frames, audio)])
    level, onsets, motion, shots = steps.T
    np.testing.assert_allclose(level, [0] * 6 + [0.5 / 2**0.5] * 2 + [0] * 4, atol=1e-3)
    assert np.argmax(onsets) == 6  # where it begins, and not where it goes on or ends
    assert onsets[[0, 1, 2, 3, 4, 5, 8, 9, 10, 11]].max() < onsets[6] / 20
    np.testing.assert_allclose(motion, [0, 0, 0, 0, 160] + [0] * 7)
    np.testing.assert_allclose(shots, [0, 0, 0, 0, 1] + [0] * 7)


def test_fewer_frames_than_steps_repeat_and_several_are_averaged():
    np.testing.assert_array_equal(measures.means_of_steps(np.array([1.0, 3.0]), 4), [1, 1, 3, 3])
    np.testing.assert_array_equal(measures.means_of_steps(np.array([1.0, 3, 5, 7]), 2), [2, 6])


def test_the_activity_of_a_step_is_the_stated_formula_and_a_single_peak_is_smoothed():
    features = np.tile([0.25, 0.4, 10.0, 0.5], (400, 1))
    np.testing.assert_allclose(activity_of(features), 0.25**0.6)  # everything as much as ever
    features[:, 1:] = 0
    np.testing.assert_allclose(activity_of(features), (0.25 / 2) ** 0.6)  # nothing but sound
    features[200, 2] = 50.0
    raised = np.flatnonzero(activity_of(features) > (0.25 / 2) ** 0.6 + 1e-9)
    assert (raised[0], raised[-1]) == (195, 205)  # less than 3 s before and after
    features[:, 0] = 0
    assert activity_of(features).min() == pytest.approx(0.5**0.6)  # without sound, the picture decides


def test_segments_end_with_the_match():
    rng = np.random.default_rng(1)
    frames, audio = rng.integers(0, 256, (16, 8, 8, 3), np.uint8), rng.uniform(-1, 1, 64000).astype(np.float32)
    audio[7 * 8000 :] = 0
    scores, steps, _ = activity.score_segments(segments_of(frames, audio), CONFIG, 4, 7.0)
    assert steps.shape == (4, 4)
    assert (steps[3, 2:] == 0).all()
    assert (steps.ravel()[:14] > 0.2).all()
    np.testing.assert_allclose(scores, [*steps[:3].mean(axis=1), steps[3, :2].mean()])


# ---- The command


@pytest.mark.parametrize("name", ["both", "sound", "picture"])
def test_a_burst_of_sound_or_motion_is_the_section_and_a_tenth_of_the_match(clips, extract, capsys, name):
    video_path = clips / f"{name}.mp4"
    assert extract.cut(video_path) == 0
    ((start_sec, end_sec),) = sections_sec(extract.out, video_path)
    assert BURST_SEC[0] - 1 <= start_sec < end_sec <= BURST_SEC[1] + 1
    assert 3.4 <= end_sec - start_sec <= 4.01
    assert extract.loaded == extract.scored == []  # no network
    output = capsys.readouterr().out
    assert output.count(highlight_extractor.NOTHING_LEARNED) == 1
    assert f"{name}: 1 section," in output


def test_the_scores_are_called_activity_wherever_they_are_named(clips, extract):
    assert extract.cut(clips / "both.mp4") == 0
    rows = list(csv.DictReader((extract.out / "both_scores.csv").read_text().splitlines()))
    assert "score" not in rows[0]
    assert max(rows, key=lambda row: float(row["activity"]))["start_time"] == "00:00:18"
    report = json.loads((extract.out / "both.json").read_text())
    assert report["scores_are"] == "activity"
    assert "checkpoint" not in report
    assert "Highlight 1 (activity 0." in (extract.out / "both.vtt").read_text()
    assert ">activity 0." in (extract.out / "both.fcpxml").read_text()
    assert ">activity 0." in (extract.out / "both.xml").read_text()
    assert '"activity": 0.' in (extract.out / "both.otio").read_text()
    assert '"score_name": "activity"' in (extract.out / "both.html").read_text()
    axes = Figure().add_subplot()
    plots.plot_timeline(axes, np.ones(4), np.ones(4), 0.5, 2.0, 0.5, np.zeros((0, 2)), None, 0.0, "activity")
    assert axes.get_ylabel() == "activity"
    assert [text.get_text() for text in axes.legend().get_texts()][:2] == ["activity", "activity in context"]


def test_a_silent_and_still_match_has_no_section_and_a_line_says_why(clips, extract, caplog):
    assert extract.cut(clips / "still.mp4") == 0
    (message,) = [message for message in caplog.messages if "no section" in message]
    assert message == (
        f"{clips / 'still.mp4'}: no section is found, as sound and picture stay the same throughout: mark the "
        "highlights on the page"
    )
    assert (extract.out / "still.txt").read_text() == ""
    assert (extract.out / "still.html").exists()
    assert not (extract.out / "still_highlights.mp4").exists()


def test_a_part_and_a_length_are_used(clips, extract):
    video_path = clips / "both.mp4"
    assert extract.cut(video_path, "--from", "20", "--to", "30", "--length", "0:02") == 0
    ((start_sec, end_sec),) = sections_sec(extract.out, video_path)
    assert 20 <= start_sec < end_sec <= 22.5
    assert end_sec - start_sec == pytest.approx(2, abs=0.11)


def test_the_same_command_is_finished_and_another_length_reads_the_scores_again(clips, extract, capsys, monkeypatch):
    video_path = clips / "both.mp4"
    assert extract.cut(video_path, "--clips") == 0
    monkeypatch.setattr(activity, "score_match", None)  # fails if it is called
    assert extract.cut(video_path, "--clips") == 0
    assert "both: finished already and kept" in capsys.readouterr().out
    assert extract.cut(video_path, "--length", "0:02", "--overwrite") == 0
    ((start_sec, end_sec),) = sections_sec(extract.out, video_path)
    assert end_sec - start_sec == pytest.approx(2, abs=0.11)


def test_corrected_sections_keep_the_activity(clips, extract, tmp_path):
    video_path, labels = clips / "both.mp4", tmp_path / "corrected.txt"
    assert extract.cut(video_path) == 0
    labels.write_text("170,230\n")
    assert extract.cut(video_path, "--sections", labels, "--overwrite") == 0
    assert "Highlight 1 (activity 0." in (extract.out / "both.vtt").read_text()
    assert ",activity,highlight" in (extract.out / "both_scores.csv").read_text()


def test_files_of_a_checkpoint_are_not_taken_for_those_of_activity_and_the_reverse(clips, extract, caplog):
    match = extract.match()
    assert extract(match) == 0
    assert extract.cut(match) == 1
    assert "was made with --ckpt: --overwrite replaces it" in caplog.messages[-1]
    assert extract.cut(clips / "both.mp4") == 0
    assert extract(clips / "both.mp4") == 1
    assert "was made with no --ckpt: --overwrite replaces it" in caplog.messages[-1]


def test_several_matches_are_put_into_one_reel_and_the_line_is_said_once(clips, extract, capsys):
    matches = [clips / "both.mp4", clips / "sound.mp4"]
    assert extract.cut(*matches, "--together", "week.mp4", "--length", "0:06") == 0
    assert capsys.readouterr().out.count("Nothing has been learned yet") == 1
    assert media.probe(extract.out / "week.mp4").duration_sec == pytest.approx(4, abs=0.3)  # 2 s are no section


def test_an_error_of_the_decoding_process_arrives(clips, extract, caplog):
    damaged = extract.folder / "damaged.mp4"
    damaged.write_bytes((clips / "both.mp4").read_bytes()[:2000])
    with decoding_process.running():
        assert extract.cut(damaged, clips / "both.mp4") == 1
    assert any(message.startswith(f"{damaged}: ") for message in caplog.messages)
    assert (extract.out / "both.html").exists()


# ---- Stage 1 names this way


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_folder_without_any_label_file_is_told_how_to_get_some(clips, tmp_path, caplog, capsys, check):
    arguments = [str(clips), "3", "2", "16", "16", "4000", "0", str(tmp_path / "dataset"), "--workers", "1", *check]
    assert data_converter.main(arguments) == 1
    output = capsys.readouterr().out + "\n".join(caplog.messages)
    assert output.count("has no label file at all: label_finder.py writes them from highlight videos") == 1
    assert "highlight_extractor.py finds the most active sections of a match" in output
    caplog.clear()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("")
    (tmp_path / "other" / "b.mp4").write_bytes((clips / "still.mp4").read_bytes())
    arguments[0] = str(tmp_path / "other")
    assert data_converter.main(arguments) == 1
    assert "no label file at all" not in capsys.readouterr().out + "".join(caplog.messages)
