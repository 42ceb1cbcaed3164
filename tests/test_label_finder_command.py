"""Check what label_finder.py writes and prints for given shots: label files, reports, exit statuses."""

import json
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip

import label_finder
from label_finder import Shot
from videosummarizer import media

ROOT = Path(__file__).resolve().parent.parent
# In the highlight video, in the match, confidence, audio score, video score.
SHOTS = [
    Shot(0.0, 0.8, 1.03, 1.83, 0.95, 2.5, 0.5),
    Shot(0.8, 1.4, 0.2, 0.8, 0.4, 0.25, -0.5),
    Shot(2.0, 2.5, 1.5, 2.0, 0.5, 0.5, 0.75),
]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Write a match of 3 s (90 frames) and a highlight video of 3.5 s; SHOTS is what is found in them."""
    for name, num_frames in (("matches", 90), ("highlights", 105)):
        (tmp_path / name).mkdir()
        write_clip(tmp_path / name / "a.mp4", num_frames)
    monkeypatch.setattr(label_finder, "find_shots", lambda *arguments: SHOTS)
    return tmp_path / "matches", tmp_path / "highlights"


def find_labels(folders, output_dir, min_confidence):
    match, edit = (folder / "a.mp4" for folder in folders)
    return label_finder.find_labels("a", match, edit, output_dir, min_confidence)


@pytest.mark.parametrize(
    ("min_confidence", "lines", "missing", "aligned_sec"),
    [
        # Frame 31 of 30 a second is the nearest to 1.03 s; the first and the third are one section.
        (0.5, ["31,60,00:00:01,00:00:02"], [(0.8, 2.0), (2.5, 3.5)], 1.3),
        (0.51, ["31,55,00:00:01,00:00:01"], [(0.8, 3.5)], 0.8),
        (0.3, ["6,24,00:00:00,00:00:00", "31,60,00:00:01,00:00:02"], [(1.4, 2.0), (2.5, 3.5)], 1.9),
    ],
)
def test_labels_are_of_shots_of_at_least_the_minimum_confidence(
    folders, tmp_path, min_confidence, lines, missing, aligned_sec
):
    result = find_labels(folders, tmp_path, min_confidence)
    assert result.error is None
    assert (tmp_path / "a.txt").read_text().splitlines() == lines
    assert result.num_sections == len(lines)
    assert result.highlight_sec == pytest.approx({0.5: 0.97, 0.51: 0.8, 0.3: 1.57}[min_confidence])
    assert result.found_ratio == pytest.approx(aligned_sec / 3.5)
    report = json.loads((tmp_path / "a_label_report.json").read_text())
    assert [shot["is_label"] for shot in report["shots"]] == [
        confidence >= min_confidence for confidence in (0.95, 0.4, 0.5)
    ]
    not_found = [list(part.values()) for part in report["not_found"]]
    np.testing.assert_allclose(not_found, missing, atol=1e-3)
    assert report["min_confidence"] == min_confidence
    assert result.title == "a"
    assert bool(result.warnings) == (aligned_sec / 3.5 < 0.3)


def test_a_plot_that_cannot_be_drawn_costs_no_labels(folders, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no\nfont")

    monkeypatch.setattr(label_finder.plots, "to_png", fail)
    result = find_labels(folders, tmp_path, 0.5)
    assert result.error is None
    assert result.warnings == [f"{tmp_path / 'a_alignment.png'}: cannot be written (ValueError: no font)"]
    assert (tmp_path / "a.txt").read_text() == "31,60,00:00:01,00:00:02\n"
    assert json.loads((tmp_path / "a_label_report.json").read_text())["title"] == "a"


# Shots, the lowest confidence, and what the error says of shots with a lower one.
NOTHING = {
    "no shot": ([], 0.5, ""),
    "only doubtful shots": (SHOTS, 0.96, " (3 shots are below --min_confidence 0.96)"),
    "a shot shorter than a frame": ([Shot(0.0, 0.01, 1.0, 1.01, 0.9, 1, 1)], 0.5, ""),
}


@pytest.mark.parametrize("old_text", [None, "1,2\n"])
@pytest.mark.parametrize(("shots", "min_confidence", "doubtful"), NOTHING.values(), ids=NOTHING.keys())
def test_where_nothing_is_found_no_label_file_is_written(
    folders, tmp_path, monkeypatch, shots, min_confidence, doubtful, old_text
):
    monkeypatch.setattr(label_finder, "find_shots", lambda *arguments: shots)
    label_file = tmp_path / "a.txt"
    if old_text:
        label_file.write_text(old_text)
    result = find_labels(folders, tmp_path, min_confidence)
    match, edit = (folder / "a.mp4" for folder in folders)
    assert result.error.startswith(f"{edit}: nothing of it was found in {match}{doubtful}, so that no label file")
    assert result.warnings == []
    assert (label_file.read_text() if old_text else not label_file.exists()) == (old_text or True)
    report = json.loads((tmp_path / "a_label_report.json").read_text())
    assert len(report["shots"]) == len(shots)


def test_the_report_holds_every_field_of_a_shot(folders, tmp_path):
    find_labels(folders, tmp_path, 0.5)
    report = json.loads((tmp_path / "a_label_report.json").read_text())
    assert list(report) == [
        "title", "match", "highlight_video", "match_duration_sec", "highlight_duration_sec", "min_confidence",
        "found_share", "shots", "not_found", "versions",
    ]  # fmt: skip
    assert (report["title"], report["match"], report["highlight_video"]) == ("a", "a.mp4", "a.mp4")
    assert report["match_duration_sec"] == pytest.approx(3.0, abs=1e-3)
    assert report["highlight_duration_sec"] == pytest.approx(3.5, abs=1e-3)
    assert report["shots"][1] == {
        "edit_start_sec": 0.8, "edit_end_sec": 1.4, "match_start_sec": 0.2, "match_end_sec": 0.8,
        "confidence": 0.4, "sound_sec": 0.25, "picture_sec": -0.5, "is_label": False,
    }  # fmt: skip
    assert report["versions"].keys() == {"av", "librosa", "numpy", "scipy"}
    assert report["versions"]["numpy"] == np.__version__
    assert (tmp_path / "a_alignment.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    "title",
    [
        "$x^$",
        r"a $\frac$ b",
        r"{a}_b\n^%d",
        "결승전 1세트",
        unicodedata.normalize("NFD", "결승전"),
        "ไทย हिन्दी \U0001f600",
        "가" * 80,
    ],
)
def test_a_title_is_no_formula_and_needs_no_font(title):
    image = label_finder.plot_alignment(title, SHOTS, 0.5, 3.0, 3.5)
    assert image.startswith(b"\x89PNG")


def test_what_is_wrong_with_the_tracks_and_the_clock_of_either_video_is_a_warning(folders, tmp_path, monkeypatch):
    probe = media.probe
    monkeypatch.setattr(
        label_finder.media,
        "probe",
        lambda path, track=None: replace(
            probe(path), track_problems=("a track is passed over",), video_gaps_sec=((1.0, 2.9),)
        ),
    )
    result = find_labels(folders, tmp_path, 0.5)
    assert result.error is None
    for number, folder in enumerate(folders):
        assert result.warnings[2 * number] == f"{folder}/a.mp4: a track is passed over"
        assert result.warnings[2 * number + 1].startswith(f"{folder}/a.mp4: the timestamps jump from 1.0 s to 2.9 s")
    # The gap is not shown, so that it is neither found nor missing.
    report = json.loads((tmp_path / "a_label_report.json").read_text())
    assert report["not_found"] == [{"edit_start_sec": 2.9, "edit_end_sec": pytest.approx(3.5)}]
    assert report["found_share"] == pytest.approx(1 - 0.6 / 1.6)


def test_the_match_and_the_highlight_video_are_not_swapped(folders, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(label_finder, "find_shots", lambda *arguments: asked.append(arguments) or [])
    find_labels(folders, tmp_path, 0.5)
    ((match, match_info, edit, edit_info, *_),) = asked
    assert (match, edit) == tuple(folder / "a.mp4" for folder in folders)
    assert (len(match_info.frame_times_sec), len(edit_info.frame_times_sec)) == (90, 105)


def test_labels_at_the_end_of_a_match_of_variable_rate_end_with_its_last_frame(folders, tmp_path, monkeypatch):
    # Frames at 0, 0.1, 0.2, 2 and 5 s; the last one ends at 5.03 s, not 3 s after it began.
    write_clip(folders[0] / "a.mp4", ticks=[0, 3, 6, 60, 150])
    for start_sec, line in ((1.98, "3,5,00:00:02,00:00:05\n"), (4.99, "4,5,00:00:05,00:00:05\n")):
        shots = [Shot(0.0, 3.0, start_sec, 5.02, 0.9, 1.0, 1.0)]
        monkeypatch.setattr(label_finder, "find_shots", lambda *_, shots=shots: shots)
        find_labels(folders, tmp_path, 0.5)
        assert (tmp_path / "a.txt").read_text() == line


def test_help_loads_neither_scipy_nor_librosa():
    code = (
        "import sys, label_finder\ntry: label_finder.main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'scipy', 'librosa', 'matplotlib', 'tensorflow', 'keras'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: label_finder.py")


def test_labels_replace_a_file_with_another_case_of_its_suffix(folders, tmp_path):
    (tmp_path / "a.TXT").write_text("old\n")
    assert find_labels(folders, tmp_path, 0.5).error is None
    assert [path.name for path in tmp_path.iterdir() if path.suffix.lower() == ".txt"] == ["a.TXT"]
    assert (tmp_path / "a.TXT").read_text() == "31,60,00:00:01,00:00:02\n"


@pytest.mark.parametrize("text", ["0", "1", "0.25"])
def test_a_confidence_is_from_0_to_1(text):
    assert label_finder.parse_args(["a", "b", "--min_confidence", text]).min_confidence == float(text)


WRONG = [("--min_confidence", text) for text in ("-0.1", "1.01", "x", "nan")] + [
    ("--workers", "1.5"),
    ("--workers", "x"),
]


@pytest.mark.parametrize("option", WRONG)
def test_wrong_options_are_named(option, capsys):
    with pytest.raises(SystemExit) as error:
        label_finder.parse_args(["a", "b", *option])
    assert error.value.code == 2
    assert f"received '{option[1]}'" in capsys.readouterr().err


def test_a_match_that_cannot_be_read_is_the_error_of_its_result(folders, tmp_path):
    (folders[1] / "a.mp4").write_bytes(b"no video")
    result = find_labels(folders, tmp_path, 0.5)
    assert "highlights/a.mp4: cannot be read as a video" in result.error
    assert media.__name__ in result.error_traceback
    assert not (tmp_path / "a.txt").exists()


def test_a_highlight_video_much_longer_than_its_match_leaves_no_label_file(folders, tmp_path):
    write_clip(folders[1] / "a.mp4", 134)
    assert find_labels(folders, tmp_path, 0.5).error is None
    (out := tmp_path / "out").mkdir()
    write_clip(folders[1] / "a.mp4", 137)
    assert find_labels(folders, out, 0.5).error == (
        f"{folders[1] / 'a.mp4'}: received a highlight video of 5 s, longer than the match {folders[0] / 'a.mp4'} of 3 "
        "s, so that no label file was written: check that the folders, or the columns of --pairs, are not swapped "
        "(full matches first)"
    )
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(("found_sec", "is_written"), [(0.36, True), (0.34, False)])
def test_a_highlight_video_of_which_next_to_nothing_is_found_leaves_no_label_file(
    folders, tmp_path, monkeypatch, found_sec, is_written
):
    shot = Shot(0, found_sec, 1, 1 + found_sec, 0.9, 0, 0)
    monkeypatch.setattr(label_finder, "find_shots", lambda *arguments: [shot])
    result = find_labels(folders, tmp_path, 0.5)
    assert (tmp_path / "a.txt").exists() == is_written
    if is_written:
        assert result.error is None
        assert "only 10% of it was found in" in result.warnings[-1]
    else:
        assert result.error.startswith(
            f"{folders[1] / 'a.mp4'}: only 10% of it was found in {folders[0] / 'a.mp4'}, so"
        )
        assert result.warnings == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no locator"), OSError(28, "No space left on device")])
def test_an_exception_of_any_type_is_the_error_of_its_match(folders, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(label_finder, "find_shots", fail)
    result = find_labels(folders, tmp_path, 0.5)
    assert result.error.startswith("a: labels cannot be found")
    assert "in fail" in result.error_traceback
