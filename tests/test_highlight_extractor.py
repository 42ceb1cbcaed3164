"""The extractor from command line to files: what is written, kept, continued and replaced."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import opentimelineio
import pytest
from clips import frames_in, tone, write_clip
from extractor import ENDINGS

from highlight_extractor import main
from videosummarizer import media
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import outputs, reel, scoring
from videosummarizer.extraction.match_writers import WRITERS
from videosummarizer.labels import read_label_file, resolve_sections
from videosummarizer.training import inference
from videosummarizer.training.checkpoint import read_checkpoint, write_checkpoint_attributes

ROOT = Path(__file__).resolve().parent.parent
CONFIG = DataConfig(1, 2, 16, 16, 4000, False)
POINT = {"threshold": 0.5, "section_penalty": 0.4}
SCORES = [0.125, 0.875, 0.75, 0.25, 0.375, 0.625]  # a second each: sections at 1 to 3 s and 5 to 6 s
STEP_SCORES = [[score, score] for score in SCORES]


def write_checkpoint(path, **attributes):
    with h5py.File(path, "w"):
        pass
    write_checkpoint_attributes(path, {"config": asdict(CONFIG), "operating_point": POINT, **attributes})
    return path


@pytest.fixture
def ckpt(tmp_path):
    return write_checkpoint(tmp_path / "best.hdf5")


@pytest.fixture
def match(tmp_path):
    folder = tmp_path / "matches"
    folder.mkdir()
    return write_clip(folder / "match.mp4", num_frames=180, audio=tone(440, 6))


@pytest.fixture
def scored(monkeypatch):
    """Titles of the matches that were scored; the scores are SCORES, of each segment and of its two steps."""
    titles = []

    def score_match(video_path, info, config, network, on_progress, scratch_dir, part_sec):
        titles.append(video_path.stem)
        return np.array(SCORES), np.array(STEP_SCORES), None

    monkeypatch.setattr(scoring, "score_match", score_match)
    return titles


@pytest.fixture
def extract(ckpt, tmp_path, scored):
    """Run the command; returns its exit status."""

    def run(*arguments, out="out", ckpt=ckpt):
        return main([*map(str, arguments), "--ckpt", str(ckpt), "--output_dir", str(tmp_path / out)])

    return run


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_every_file_tells_the_same(extract, match, tmp_path, capsys):
    match.with_suffix(".txt").write_text("60,120\n")
    assert extract(match) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(f"match{ending}" for ending in ENDINGS)
    assert (out / "match.txt").read_text() == "30,90,00:00:01,00:00:03\n150,180,00:00:05,00:00:06\n"
    report = json.loads((out / "match.json").read_text())
    assert report["sections"][0] == {
        "start_frame": 30,
        "end_frame": 90,
        "start_sec": 1.0,
        "end_sec": 3.0,
        "start_time": "00:00:01",
        "end_time": "00:00:03",
        "score": 0.8125,
    }
    assert [s["score"] for s in report["sections"]] == [0.8125, 0.625]
    assert (report["checkpoint"], report["threshold"], report["sections_sec"]) == ("best.hdf5", 0.5, 3.0)
    assert report["operating_point"] == POINT
    assert report["step_scores"] == STEP_SCORES
    assert frames_in(out / "match_highlights.mp4") == [*range(30, 90), *range(150, 180)]
    timeline = opentimelineio.adapters.read_from_file(str(out / "match.edl"), rate=30)
    ranges = [clip.source_range for clip in timeline.video_tracks()[0].find_clips()]
    assert [(r.start_time.value, r.end_time_exclusive().value) for r in ranges] == [(30, 90), (150, 180)]
    assert "00:00:01.000 --> 00:00:03.000" in (out / "match.vtt").read_text()
    page = (out / "match.html").read_text()
    assert '"sections": [[30, 90], [150, 180]], "labelled": [[60, 120]]' in page
    assert '"video_url": "../matches/match.mp4"' in page
    assert (out / "match_timeline.png").read_bytes()[:4] == b"\x89PNG"
    shown = capsys.readouterr()
    assert "match: 2 sections, 00:00:03 of 00:00:06" in shown.out
    assert f"page      {out / 'match.html'}" in shown.out
    assert "WARNING" not in shown.err


def test_the_scores_file(extract, match, tmp_path):
    assert extract(match) == 0
    text = (tmp_path / "out" / "match_scores.csv").read_text()
    assert text.splitlines()[:3] == [
        "index,start_sec,end_sec,start_time,end_time,start_frame,end_frame,score,highlight",
        "0,0.000000,1.000000,00:00:00,00:00:01,0,30,0.125000,0",
        "1,1.000000,2.000000,00:00:01,00:00:02,30,60,0.875000,1",
    ]
    assert len(text.splitlines()) == 7


def test_frame_numbers_where_the_frame_rate_varies(extract, tmp_path):
    # A second at 30 fps, two at 10, three at 30; the last segment is short.
    ticks = [*range(0, 30), *range(30, 90, 3), *range(90, 174)]
    match = write_clip(tmp_path / "vfr.mp4", ticks=ticks)
    assert extract(match) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "vfr_scores.csv").read_text().splitlines()))
    assert [(int(row["start_frame"]), int(row["end_frame"])) for row in rows] == [
        (0, 30),
        (30, 40),
        (40, 50),
        (50, 80),
        (80, 110),
        (110, 134),
    ]
    assert rows[-1]["end_sec"] == "5.800000"
    labels = tmp_path / "out" / "vfr.txt"
    assert labels.read_text() == "30,50,00:00:01,00:00:03\n110,134,00:00:05,00:00:05\n"
    info = media.probe(match)
    rows = read_label_file(labels)
    sections_sec, warnings = resolve_sections(labels, rows, info.frame_times_sec, info.duration_sec)
    assert sections_sec == pytest.approx(np.array([[1, 3], [5, 5.8]]))
    assert warnings == []
    assert frames_in(tmp_path / "out" / "vfr_highlights.mp4") == [*range(30, 50), *range(110, 134)]


def test_existing_files_are_kept(extract, match, tmp_path, scored, capsys):
    assert extract(match) == 0
    (tmp_path / "out" / "match.txt").write_text("31,95\n")  # an editor's correction
    before = contents(tmp_path / "out")
    assert extract(match) == 0
    assert contents(tmp_path / "out") == before
    assert scored == ["match"]
    assert "match: finished already and kept" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["score_match", "render_reel", "write_report"])
def test_interrupted_it_continues(extract, match, tmp_path, scored, monkeypatch, caplog, stage):
    module = {"score_match": scoring, "render_reel": reel, "write_report": outputs}[stage]

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, stage, interrupt)
        assert extract(match) == 130
    assert "run the same command again, it continues" in caplog.text
    written = contents(tmp_path / "out")
    assert ("match_scores.csv" in written) == (stage == "render_reel")
    assert extract(match) == 0
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in written} == written
    assert len(after) == len(ENDINGS)
    assert scored == ["match"] * (2 if stage == "write_report" else 1)  # scores that were written are read again


def test_killed_while_the_reel_is_written_it_continues(extract, match, tmp_path, scored):
    assert extract(match) == 0
    out = tmp_path / "out"
    expected = contents(out)
    (out / "match_highlights.mp4").rename(out / "match_highlights.mp4.part")
    (out / "match.edl").unlink()
    assert extract(match) == 0
    assert {name: content for name, (content, _) in contents(out).items()} == {
        name: content for name, (content, _) in expected.items()
    }
    assert scored == ["match"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "0.7"], "no --threshold, not --threshold 0.7"),
        (["--length", "0:02"], "no --length, not --length 2"),
        (["--padding", "1"], "--padding 0, not --padding 1"),
        (["--reel_height", "32"], "no --reel_height, not --reel_height 32"),
    ],
)
def test_files_of_other_settings_are_neither_replaced_nor_mixed(extract, match, tmp_path, caplog, arguments, words):
    assert extract(match) == 0
    before = contents(tmp_path / "out")
    assert extract(match, *arguments) == 1
    (message,) = caplog.messages
    assert f"was made with {words}: --overwrite replaces it" in message
    assert contents(tmp_path / "out") == before


def test_overwrite_replaces_without_scoring_again(extract, match, tmp_path, scored):
    assert extract(match) == 0
    assert extract(match, "--threshold", "0.8", "--overwrite", "--reel_height", "32") == 0
    out = tmp_path / "out"
    assert (out / "match.txt").read_text() == "30,60,00:00:01,00:00:02\n"
    assert frames_in(out / "match_highlights.mp4") == list(range(30, 60))
    assert media.probe(out / "match_highlights.mp4").height_px == 32
    assert scored == ["match"]
    assert extract(match, "--threshold", "0.9", "--overwrite") == 0
    assert not (out / "match_highlights.mp4").exists()  # of a reel that would be empty, no old one stays


def test_sections_begin_and_end_within_segments(extract, match, tmp_path, scored, monkeypatch):
    steps = [[0.1, 0.2], [0.9, 0.9], [0.4, 0.8], [0.9, 0.1], [0.1, 0.3], [0.2, 0.65]]
    monkeypatch.setattr(scoring, "score_match", lambda *_: (np.array(SCORES), np.array(steps), None))
    assert extract(match) == 0
    label_path = tmp_path / "out" / "match.txt"
    # 0.4 holds 0.20 nats x seconds against a highlight, less than the penalty of 0.4; the 0.65 at the end 0.31 for one.
    assert label_path.read_text() == "30,105,00:00:01,00:00:03\n"
    rows = list(csv.DictReader((tmp_path / "out" / "match_scores.csv").read_text().splitlines()))
    assert [float(row["score"]) for row in rows] == SCORES
    assert [row["highlight"] for row in rows] == list("011000")  # more than half of a segment
    # Both kinds of scores are read again.
    monkeypatch.undo()
    assert extract(match, "--threshold", "0.75", "--overwrite") == 0
    assert label_path.read_text() == "30,60,00:00:01,00:00:02\n75,105,00:00:02,00:00:03\n"
    assert json.loads((tmp_path / "out" / "match.json").read_text())["step_scores"] == steps


@pytest.mark.parametrize("damaged", [None, SCORES, [[0.5]] * 5, [[0.5, 0.5]] * 5 + [[0.5]], [[]] * 6, [["a"]] * 6])
def test_steps_that_cannot_be_read_again_are_scored_again(extract, match, tmp_path, scored, damaged):
    assert extract(match) == 0
    path = tmp_path / "out" / "match.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step_scores": damaged}))
    assert extract(match, "--overwrite", "--threshold", "0.8") == 0
    assert scored == ["match", "match"]
    assert json.loads(path.read_text())["step_scores"] == STEP_SCORES


def test_another_checkpoint_or_match_is_scored_again(extract, match, tmp_path, scored, caplog):
    assert extract(match) == 0
    other = write_checkpoint(tmp_path / "other.hdf5", epoch=2)
    assert extract(match, ckpt=other) == 1
    assert "was made with another checkpoint: --overwrite" in caplog.text
    assert extract(match, "--overwrite", ckpt=other) == 0
    assert scored == ["match", "match"]
    os.utime(match, (1, 1))
    assert extract(match, ckpt=other) == 1
    assert "was made with another version of the match: --overwrite" in caplog.text


def test_files_of_unknown_origin_are_not_replaced(extract, match, tmp_path, caplog):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "match.txt").write_text("1,2\n")
    assert extract(match) == 1
    assert "match.txt: exists, and it is unknown how it was made" in caplog.text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["match.txt"]


def test_padding_and_length(extract, match, tmp_path):
    assert extract(match, "--padding", "0.5", out="padded") == 0
    assert (tmp_path / "padded" / "match.txt").read_text() == "15,105,00:00:00,00:00:03\n135,180,00:00:04,00:00:06\n"
    assert extract(match, "--length", "0:01.5", out="short") == 0
    report = json.loads((tmp_path / "short" / "match.json").read_text())
    assert [(s["start_frame"], s["end_frame"]) for s in report["sections"]] == [(30, 75)]
    assert media.probe(tmp_path / "short" / "match_highlights.mp4").duration_sec == pytest.approx(1.5)


def test_a_match_without_sections(extract, match, tmp_path, capsys, caplog):
    assert extract(match, "--threshold", "0.95") == 0
    assert (
        "no section is found: the highest score in context is 0.875, below the threshold of 0.950. Lower "
        in caplog.text
    )
    out = tmp_path / "out"
    assert (out / "match.txt").read_text() == ""
    names = {path.name for path in out.iterdir()}
    assert names == {f"match{ending}" for ending in ENDINGS} - {f"match{w.suffix}" for w in WRITERS if w.needs_sections}
    assert extract(match, "--threshold", "0.95") == 0
    assert "finished already" in capsys.readouterr().out


def test_without_opentimelineio_the_rest_is_written_until_it_is_installed(
    extract, match, tmp_path, monkeypatch, caplog, capsys
):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "opentimelineio", None)
        assert extract(match) == 0
        assert extract(match) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "match: finished already and kept"
    assert "match.edl is not written: it needs OpenTimelineIO, which is not installed: pip install" in caplog.text
    assert {path.suffix for path in (tmp_path / "out").iterdir()} >= {".mp4", ".html", ".fcpxml", ".vtt"}
    assert not (tmp_path / "out" / "match.edl").exists()
    assert extract(match) == 0
    assert (tmp_path / "out" / "match.edl").exists()
    assert "not_written" not in json.loads((tmp_path / "out" / "match.json").read_text())


def test_labels_that_cannot_be_used_are_named_and_left_out(extract, match, tmp_path, caplog):
    match.with_suffix(".txt").write_text("start,end\n")
    assert extract(match) == 0
    assert "match.txt, line 1: received a header" in caplog.text
    assert '"labelled": null' in (tmp_path / "out" / "match.html").read_text()


def test_help_starts_neither_tensorflow_nor_librosa():
    code = (
        "import sys, highlight_extractor\n"
        "try:\n    highlight_extractor.main(['--help'])\n"
        "except SystemExit as error:\n    assert error.code == 0\n"
        "assert not {'tensorflow', 'keras', 'librosa', 'matplotlib', 'moviepy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--reel_height" in result.stdout


def test_scores_are_those_of_conversion_and_prediction(tmp_path, trainable_matches_dir, dataset_dir):
    """A network whose weights are random tells arrays apart as well as a trained one."""
    from data_loader import DataLoader
    from model import build_model
    from videosummarizer.training import validation
    from videosummarizer.training.keras_backend import keras

    keras.utils.set_random_seed(3)
    loader = DataLoader(dataset_dir, batch_size=4)
    path = tmp_path / "random.hdf5"
    build_model(loader.data_shape, loader.config.audio_sample_rate).save(path)
    write_checkpoint_attributes(path, {"config": asdict(loader.config), "operating_point": POINT})
    checkpoint = read_checkpoint(path)
    video_path = trainable_matches_dir / "match_08.mp4"
    network = inference.load_network(checkpoint)
    *received, reasons = scoring.score_match(video_path, media.probe(video_path), checkpoint.config, lambda: network)
    np.testing.assert_allclose(1 / (1 + np.exp(-reasons.steps.sum(axis=-1))), received[1], atol=1e-6)
    for scores, expected in zip(received, validation.predict(network, loader, "test"), strict=True):
        assert scores == pytest.approx(expected[: len(scores)], abs=1e-4)  # match_08 comes first
        assert np.ptp(scores) > 1e-3
