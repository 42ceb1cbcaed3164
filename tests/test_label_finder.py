"""Check what label_finder.py does with highlight videos that FFmpeg cuts from the sample matches."""

import json

import numpy as np
import pytest
from edits import CUTS_SEC, MATCH, OTHER

import data_converter
import label_finder


@pytest.fixture
def folders(tmp_path, plain_edit):
    """Return folders of matches and of highlight videos with one pair."""
    matches, highlights = tmp_path / "matches", tmp_path / "highlights"
    for folder in (matches, highlights):
        folder.mkdir()
    (matches / "city_03.mp4").symlink_to(MATCH)
    (highlights / "city_03.mp4").symlink_to(plain_edit)
    return matches, highlights


def run(*arguments):
    return label_finder.main([*map(str, arguments), "--workers", "1"])


def test_the_command_writes_labels_that_the_converter_takes(folders, capsys):
    matches, highlights = folders
    assert run(matches, highlights) == 0
    lines = [line.split(",") for line in (matches / "city_03.txt").read_text().splitlines()]
    frames = np.array([[int(line[0]), int(line[1])] for line in lines])
    np.testing.assert_allclose(frames, np.array(CUTS_SEC) * 35, atol=3)
    assert [line[2:] for line in lines][1] in (["00:00:31", "00:00:35"], ["00:00:30", "00:00:35"])
    report = json.loads((matches / "city_03_label_report.json").read_text())
    assert report["match"] == report["highlight_video"] == "city_03.mp4"
    assert sum(shot["is_label"] for shot in report["shots"]) == 3
    assert report["found_share"] > 0.95
    assert (matches / "city_03_alignment.png").read_bytes().startswith(b"\x89PNG")
    assert "3 sections, 20 s, 100% of the highlight video found" in capsys.readouterr().out
    assert data_converter.main([str(matches), "5", "3", "64", "64", "11025", "0", "--check"]) == 0
    out = capsys.readouterr().out
    assert "1 of 1 matches can be converted" in out
    assert "warning" not in out
    assert "error" not in out


def test_a_video_of_another_match_gives_no_label_file_and_says_what_to_do(folders, tmp_path, caplog):
    matches, highlights = folders
    (matches / "base_01.mp4").symlink_to(OTHER)
    (highlights / "base_01.mp4").symlink_to(highlights / "city_03.mp4")
    out = tmp_path / "out"
    assert run(matches, highlights, out) == 1
    assert sorted(path.name for path in out.glob("*.txt")) == ["city_03.txt"]
    assert json.loads((out / "base_01_label_report.json").read_text())["found_share"] == 0
    (line,) = (record.message for record in caplog.records if "nothing of it was found" in record.message)
    assert f"{highlights}/base_01.mp4: nothing of it was found in {matches}/base_01.mp4" in line
    assert "check that it was cut from this match" in line
    assert "1 of 2 matches have no labels: base_01" in caplog.text


def test_existing_labels_are_kept_unless_overwritten(folders, capsys):
    matches, highlights = folders
    (matches / "city_03.txt").write_text("1,2\n")
    assert run(matches, highlights) == 0
    assert (matches / "city_03.txt").read_text() == "1,2\n"
    assert "1 label files already exist and are kept" in capsys.readouterr().out
    (matches / "city_03_undecided.json").write_text('{"schema_version": 1, "undecided": [[0, 100]]}')
    assert run(matches, highlights, "--overwrite") == 0
    assert (matches / "city_03.txt").read_text().count("\n") == 3
    assert not (matches / "city_03_undecided.json").exists()  # the new labels are of the whole match


def test_only_the_match_with_a_bad_video_fails(folders, tmp_path, caplog):
    matches, highlights = folders
    for folder in folders:
        (folder / "bad.mp4").write_bytes(b"no video")
    assert run(matches, highlights, tmp_path / "out") == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.txt")) == ["city_03.txt"]
    assert "bad.mp4: cannot be read as a video" in caplog.text
    assert "1 of 2 matches have no labels: bad" in caplog.text


def test_pairs_of_other_names(folders, tmp_path):
    matches, highlights = folders
    (highlights / "city_03.mp4").rename(highlights / "best of.mp4")
    (tmp_path / "pairs.csv").write_text("city_03.mp4,best of.mp4\n")
    assert run(matches, highlights, tmp_path / "out", "--pairs", tmp_path / "pairs.csv") == 0
    assert len((tmp_path / "out" / "city_03.txt").read_text().splitlines()) == 3


WRONG_PAIRS = {
    "a,b,c": "line 1: received 3 fields, expected 2",
    "city_03.mp4,none.mp4": "none.mp4, expected the name of a video",
    "": "received no pair",
    "경기,하이라이트\ncity_03.mp4,city_03.mp4": "line 1: received a header or names without endings "
    "('경기,하이라이트'), expected match.mp4,highlight_video.mp4: delete the header, or complete the names",
    "city_03.mp4;city_03.mp4": "line 1: received columns separated by semicolons ('city_03.mp4;city_03.mp4'), expected "
    "commas: replace them",
    "city_03.mp4,": "line 1: received 1 field ('city_03.mp4'), expected 2: match.mp4,highlight_video.mp4: add the",
    ",city_03.mp4": "line 1: received no match for 'city_03.mp4', expected 2",
    "city_03.mp4,city_03.mp4,done": "line 1: received 3 fields, expected 2: match.mp4,highlight_video.mp4: delete",
    "city_03.mp4,city_03.mp4\ncity_03.mp4,city_03.mp4": "line 2: received city_03.mp4 a second time",
}


@pytest.mark.parametrize(("text", "message"), WRONG_PAIRS.items())
def test_errors_in_pairs_are_named(folders, tmp_path, caplog, text, message):
    (tmp_path / "pairs.csv").write_text(text)
    assert run(*folders, "--pairs", tmp_path / "pairs.csv") == 1
    assert message in caplog.text


def test_folders_without_pairs_are_named(tmp_path, caplog):
    assert run(tmp_path / "none", tmp_path) == 1
    assert "none: no such folder" in caplog.text
    assert run(tmp_path, tmp_path) == 1
    assert "none of the same name" in caplog.text


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--min_confidence", "2"], []])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as error:
        label_finder.main(["matches", *arguments] if not arguments else ["a", "b", *arguments])
    assert error.value.code == 2
