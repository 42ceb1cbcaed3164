"""label_finder.py on two folders: which matches and highlight videos belong together, and what of each is reported."""

import os
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from held_process import WAIT_SEC, Crash

import label_finder
from videosummarizer import atomic_file

ROOT = Path(__file__).resolve().parent.parent


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


def test_an_interruption_exits_with_130(tmp_path, monkeypatch, caplog):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(label_finder, "find_folder", interrupt)
    assert run(tmp_path, tmp_path) == 130
    assert "Interrupted: run the same command again" in caplog.text


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
