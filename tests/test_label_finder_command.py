"""Check what label_finder.py writes and prints for given shots: label files, reports, exit statuses."""

import json
import os
import signal
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from held_process import WAIT_SEC, Crash

import label_finder
from label_finder import Shot
from videosummarizer import atomic_file, media

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


@pytest.fixture
def asked(monkeypatch):
    """Record the calls of find_labels, which writes a label file, or fails for titles that begin with bad."""
    calls = []

    def find_labels(title, match, edit, output_dir, min_confidence, track):
        calls.append((title, match, edit, output_dir, min_confidence, track))
        if title.startswith("bad"):
            return label_finder.LabelResult(title, error=f"{title} cannot be read", error_traceback="the traceback")
        Path(output_dir / f"{title}.txt").write_text("new\n")
        return label_finder.LabelResult(title, 3, 61.6, 0.456, warnings=[f"a warning of {title}"])

    monkeypatch.setattr(label_finder, "find_labels", find_labels)
    return calls


def make_folders(tmp_path, matches, highlights):
    for name, titles in (("matches", matches), ("highlights", highlights)):
        (tmp_path / name).mkdir()
        for title in titles:
            (tmp_path / name / title).touch()
    return tmp_path / "matches", tmp_path / "highlights"


def run(*arguments):
    return label_finder.main([*map(str, arguments), "--workers", "1"])


def test_options_reach_every_match_of_the_two_folders(tmp_path, asked, capsys, caplog):
    matches, highlights = make_folders(tmp_path, ["b.mp4", "a.MP4", "c.mp4", ".d.mp4", "e.txt"], ["b.mp4", "a.mp4"])
    (highlights / ".d.mp4").touch()
    (highlights / "e.txt").touch()
    assert run(matches, highlights, tmp_path / "new" / "out", "--min_confidence", "0.8", "--audio_track=2") == 0
    out = tmp_path / "new" / "out"
    assert asked == [
        ("a", matches / "a.MP4", highlights / "a.mp4", out, 0.8, 2),
        ("b", matches / "b.mp4", highlights / "b.mp4", out, 0.8, 2),
    ]
    assert "a: 3 sections, 62 s, 46% of the highlight video found" in capsys.readouterr().out
    assert f"{matches / 'c.mp4'}: there is no video of this name in the other folder: left out" in caplog.text
    assert "a warning of a" in caplog.text


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_existing_labels_are_kept_unless_overwrite_is_given(tmp_path, asked, capsys, options):
    matches, highlights = make_folders(tmp_path, ["a.mp4", "b.mp4"], ["a.mp4", "b.mp4"])
    (matches / "b.txt").write_text("old\n")
    assert run(matches, highlights, *options) == 0
    assert [call[0] for call in asked] == (["a", "b"] if options else ["a"])
    assert asked[0][3:] == (matches, 0.5, None)
    assert (matches / "b.txt").read_text() == ("new\n" if options else "old\n")
    assert ("1 label files already exist" in capsys.readouterr().out) == (not options)


def test_matches_without_labels_are_named_and_make_the_status_1(tmp_path, asked, caplog, capsys):
    names = ["good.mp4", "bad_2.mp4", "bad_1.mp4"]
    matches, highlights = make_folders(tmp_path, names, names)
    assert run(matches, highlights) == 1
    assert "2 of 3 matches have no labels: bad_1, bad_2" in caplog.text
    assert "bad_1 cannot be read" in caplog.text
    assert "the traceback" not in caplog.text
    assert "bad_1:" not in capsys.readouterr().out
    assert run(matches, highlights, "--overwrite", "--debug") == 1
    assert "the traceback" in caplog.text


def test_a_folder_that_cannot_be_written_to_is_found_out_before_the_search(tmp_path, asked, monkeypatch, caplog):
    matches, highlights = make_folders(tmp_path, ["a.mp4"], ["a.mp4"])

    def refuse(dir):
        raise OSError(30, "Read-only file system", str(dir))

    monkeypatch.setattr(atomic_file.tempfile, "TemporaryFile", refuse)
    assert run(matches, highlights) == 1
    assert caplog.messages == [
        f"{matches}: no files can be written into this folder (Read-only file system): correct its permissions, make "
        "room, or give another output_dir"
    ]
    assert asked == []
    (matches / "a.txt").touch()
    assert run(matches, highlights) == 0  # nothing is to be written


def test_pairs_of_a_file_may_have_spaces_and_blank_lines(tmp_path, asked, caplog):
    matches, highlights = make_folders(tmp_path, ["a.mp4", "b.mp4", "c.mp4"], ["x.mp4", "y z.mp4"])
    pairs = tmp_path / "pairs.csv"
    pairs.write_text('\ufeffb.mp4 , y z.mp4\n\n , \na.mp4,"x.mp4",,\n', encoding="utf-8")
    assert run(matches, highlights, "--pairs", pairs) == 0
    assert [call[:3] for call in asked] == [
        ("b", matches / "b.mp4", highlights / "y z.mp4"),
        ("a", matches / "a.mp4", highlights / "x.mp4"),
    ]
    pairs.write_text("a.mp4,x.mp4\nb.mp4\n")
    assert run(matches, highlights, "--pairs", pairs) == 1
    pairs.write_text("a.mp4,x.mp4\na.mp4,y z.mp4\n")  # a match with two highlight videos
    assert run(matches, highlights, "--pairs", pairs) == 1
    pairs.write_bytes("경기.mp4,x.mp4".encode("cp949"))
    assert run(matches, highlights, "--pairs", pairs) == 1
    assert (
        "bytes that are not UTF-8 text, expected lines of match.mp4,highlight_video.mp4: save it as UTF-8"
        in caplog.text
    )
    assert run(matches, highlights, "--pairs", tmp_path / "none.csv") == 1
    assert len(asked) == 2


def test_composed_and_decomposed_names_are_one_match(tmp_path, asked, capsys):
    title, decomposed = "결승전 é", unicodedata.normalize("NFD", "결승전 é")
    matches, highlights = make_folders(tmp_path, [f"{decomposed}.mp4", "b.mp4"], [f"{title}.MP4", "b.mp4"])
    (matches / "b.TXT").write_text("old\n")
    assert run(matches, highlights) == 0
    assert [call[:3] for call in asked] == [(title, matches / f"{decomposed}.mp4", highlights / f"{title}.MP4")]
    assert (matches / f"{title}.txt").exists()
    assert "1 label files already exist" in capsys.readouterr().out
    (matches / f"{title}.txt").rename(matches / f"{decomposed}.txt")
    assert run(matches, highlights) == 0
    assert "2 label files already exist" in capsys.readouterr().out
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"{title}.mp4,{decomposed}.MP4\n", encoding="utf-8")
    assert run(matches, highlights, tmp_path / "out", "--pairs", pairs) == 0
    assert asked[1][:3] == asked[0][:3]
    pairs.write_text(f"{title}.mp4,b.mp4\n{decomposed}.mp4,b.mp4\n", encoding="utf-8")
    assert run(matches, highlights, tmp_path / "out", "--pairs", pairs) == 1


def test_each_name_that_cannot_be_used_is_refused_alone(tmp_path, asked, caplog):
    bad, long = os.fsdecode("결승".encode("cp949")), "가" * 78
    names = ["good.mp4", "twin.mp4", f"{bad}.mp4", f"{long}.mp4", "._good.mp4"]
    matches, highlights = make_folders(tmp_path, names, [*names, "twin.MP4"])
    assert run(matches, highlights) == 1
    assert [call[0] for call in asked] == ["good"]
    assert caplog.messages[:3] == [
        f"{highlights / 'twin.MP4'}, {highlights / 'twin.mp4'}: received 2 files with one title, expected one: rename "
        "the others, or move them elsewhere",
        rf"{matches}/\udcb0\udce1\udcbd\udcc2.mp4: received a file name that is not UTF-8, expected one in plain "
        "characters: rename the file",
        f"{matches / long}.mp4: received a title of 234 bytes, expected at most 232, as {matches} takes no file name "
        "<title>_label_report.json.part of more than 255 bytes: rename the file",
    ]
    assert caplog.messages[-1] == rf"3 of 4 matches have no labels: \udcb0\udce1\udcbd\udcc2, twin, {long}"


def test_no_label_file_is_written_for_a_match_that_stage_1_refuses(tmp_path, asked, caplog):
    names = ["good.ts", "twin.mp4", "metadata.json.mkv"]
    matches, highlights = make_folders(tmp_path, [*names, "twin.mkv", "old.wmv"], ["good.flv", *names[1:], "old.mp4"])
    twins = f"{matches / 'twin.mkv'}, {matches / 'twin.mp4'}: received 2 files with one title, expected one: rename "
    reserved = f"{matches / 'metadata.json.mkv'}: received a title that a file of the dataset has, expected another"
    unused = f"{matches / 'old.wmv'}: received a video with the suffix .wmv, expected .mp4, "
    assert run(matches, highlights) == 1
    assert [call[:3] for call in asked] == [("good", matches / "good.ts", highlights / "good.flv")]
    assert caplog.messages[0].startswith(unused)
    assert (
        caplog.messages[1] == f"{highlights / 'old.mp4'}: there is no video of this name in the other folder: left out"
    )
    assert [message[:120] for message in caplog.messages[2:4]] == [twins[:120], reserved[:120]]
    caplog.clear()
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("twin.mp4,twin.mp4\nold.wmv,old.mp4\nmetadata.json.mkv,twin.mp4\ngood.ts,good.flv\n")
    assert run(matches, highlights, tmp_path / "out", "--pairs", pairs) == 1
    assert [call[0] for call in asked] == ["good", "good"]
    assert [message[:120] for message in caplog.messages[:3]] == [twins[:120], unused[:120], reserved[:120]]


def test_labels_replace_a_file_with_another_case_of_its_suffix(folders, tmp_path):
    (tmp_path / "a.TXT").write_text("old\n")
    assert find_labels(folders, tmp_path, 0.5).error is None
    assert [path.name for path in tmp_path.iterdir() if path.suffix.lower() == ".txt"] == ["a.TXT"]
    assert (tmp_path / "a.TXT").read_text() == "31,60,00:00:01,00:00:02\n"


def test_an_interruption_exits_with_130(tmp_path, monkeypatch, caplog):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(label_finder, "find_folder", interrupt)
    assert run(tmp_path, tmp_path) == 130
    assert "Interrupted: run the same command again" in caplog.text


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4," + "x" * 200_000, "cannot be read (field larger than field limit (131072)), expected lines of match,"),
        ("a.mp4," + "x" * 100_000, "no such file "),
        ("a.mp4,x\0.mp4", "no such file "),
        (
            "a.mp4,x.mp4\n" * 100_000,
            "cannot be read (received 1200000 bytes, expected at most 1048576), expected lines",
        ),
    ],
)
def test_pairs_that_nobody_means_end_in_one_short_line(tmp_path, text, message):
    for folder in ("matches", "cuts"):
        (tmp_path / folder).mkdir()
        for name in ("a.mp4", "x.mp4"):
            (tmp_path / folder / name).touch()
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(text)
    with pytest.raises(label_finder.InputError) as raised:
        label_finder.find_pairs(tmp_path / "matches", tmp_path / "cuts", pairs)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(pairs))
    assert len(str(raised.value)) < 3 * len(str(tmp_path)) + 300


def test_a_video_that_ends_the_process_costs_only_its_match(tmp_path):
    folders = make_folders(tmp_path, ["a.mp4", "b.mp4"], ["a.mp4", "b.mp4"])
    crash = Crash(tmp_path / "crash", "videosummarizer.media:open_media", "/matches/a.mp4'", signal.SIGSEGV)
    command = [sys.executable, ROOT / "label_finder.py", *folders, "--workers", "1"]
    process = subprocess.run(command, capture_output=True, text=True, env=crash.environment, timeout=WAIT_SEC)
    lines = [line for line in process.stderr.replace("\r", "\n").splitlines() if line.startswith("ERROR: ")]
    assert process.returncode == 1
    assert lines[0].startswith(f"ERROR: {folders[0]}/b.mp4: cannot be read as a video")
    assert lines[1:] == [
        "ERROR: a: labels cannot be found (its process was ended by SIGSEGV): record or download it again, or move it "
        "elsewhere",
        "ERROR: 2 of 2 matches have no labels: a, b",
    ]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no locator"), OSError(28, "No space left on device")])
def test_an_exception_of_any_type_is_the_error_of_its_match(folders, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(label_finder, "find_shots", fail)
    result = find_labels(folders, tmp_path, 0.5)
    assert result.error.startswith("a: labels cannot be found")
    assert "in fail" in result.error_traceback
