"""Undecided time next to label files: what the converter and --check make of it, in the same words."""

import json
from dataclasses import replace

import numpy as np
import pytest
from clips import write_clip
from dataset_files import contents

import data_converter
from data_loader import DataLoader
from videosummarizer import media

SETTINGS = ["1", "2", "16", "16", "400", "0"]


@pytest.fixture
def folder(tmp_path):
    """A match of 4 s without sound, with a section from 1 to 3 s."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_clip(folder / "결승.mp4", num_frames=120)
    (folder / "결승.txt").write_text("30,90\n")
    return folder


def write(folder, ranges, name="결승_undecided.json", **more):
    (folder / name).write_text(json.dumps({"schema_version": 1, "undecided": ranges} | more))


def convert(folder, *flags):
    return data_converter.main([str(folder), *SETTINGS, str(folder.parent / "out"), "--workers", "1", *flags])


def record_of(folder):
    (record,) = json.loads((folder.parent / "out" / "metadata.json").read_text())["videos"]
    return record


def test_undecided_time_goes_into_the_dataset_and_to_the_loader(folder, capsys):
    write(folder, [[45, 120]])
    assert convert(folder) == 0
    assert "결승: 4 segments, 2 highlights, 62% undecided\n" in capsys.readouterr().out
    record = record_of(folder)
    assert record["undecided_sec"] == [[pytest.approx(1.5), pytest.approx(4)]]
    assert sorted(record["source_files"]) == ["결승.mp4", "결승.txt", "결승_undecided.json"]
    loader = DataLoader(folder.parent / "out")
    assert loader.is_decided_of["결승"].tolist() == [True, False, False, False]


def test_a_dataset_without_undecided_time_is_what_it_was(folder):
    assert convert(folder) == 0
    before = contents(folder.parent / "out")
    assert "undecided" not in (folder.parent / "out" / "metadata.json").read_text()
    assert before[1]["schema_version"] == 2
    write(folder, [])  # all of the match has been looked at
    assert convert(folder) == 0
    (record,) = before[1]["videos"]
    record["source_files"]["결승_undecided.json"] = record_of(folder)["source_files"]["결승_undecided.json"]
    assert contents(folder.parent / "out") == before


def test_a_match_is_converted_again_when_its_undecided_time_has_changed(folder, capsys):
    for ranges in ([[0, 60]], [[0, 30]], None):
        if ranges is None:
            (folder / "결승_undecided.json").unlink()
        else:
            write(folder, ranges)
        for num_finished in (0, 1):
            assert convert(folder) == 0
            assert ("1 matches are finished already" in capsys.readouterr().out) == num_finished
        expected = [[0, 2]] if ranges == [[0, 60]] else [[0, 1]]
        assert record_of(folder).get("undecided_sec") == (expected if ranges else None)


def messages(folder, capsys, caplog, *flags):
    """The exit status, errors and warnings of the command, without those of the silent clips and of the dataset."""
    caplog.clear()
    status, out = convert(folder, *flags), capsys.readouterr().out
    lines = [(record.levelname.lower(), record.getMessage()) for record in caplog.records]
    if flags:
        lines = [tuple(line.split(": ", 1)) for line in out.splitlines() if line.startswith(("error: ", "warning: "))]
    others = ("no audio track", "not in the dataset", "no label file at all")
    return status, sorted(line for line in lines if not any(words in line[1] for words in others))


SAVE = "save the labels again on the review page, or delete the file if all of the match has been looked at"


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (
            '{"schema_version": 2, "undecided": []}',
            "error",
            "{json}: received undecided time of schema version 2, expected",
        ),
        ("[", "error", "{json}: cannot be read as undecided time (Expecting value: line 1 column 2 (char 1)): " + SAVE),
        (
            '{"schema_version": 1, "undecided": [[0, 5], [7]]}',
            "error",
            "{json}, range 2: received [7], expected [start_fr",
        ),
        (
            '{"schema_version": 1, "undecided": [[120, 130]]}',
            "error",
            "{json}: received undecided time that begins at frame 120, expected it to begin before the video's end "
            "(120 frames, 4.00 s): does the file belong to this video?",
        ),
        (
            '{"schema_version": 1, "undecided": [[100, 130]]}',
            "warning",
            "{json}: undecided time ends at frame 130, past the video's end (120 frames, 4.00 s): clipped",
        ),
        (
            '{"schema_version": 1, "undecided": [[80, 100]]}',
            "warning",
            "{txt}: 1 of 1 sections are in undecided time of {json}, or reach into it (the first at 00:00:01), which "
            "is not trained on: where they are right, mark it as looked at on the review page",
        ),
    ],
)
def test_problems_are_reported_by_check_and_conversion_alike(folder, capsys, caplog, content, kind, message):
    write_clip(folder / "other.mp4", num_frames=30)
    (folder / "other.txt").write_text("0,10\n")
    (folder / "결승_undecided.json").write_text(content)
    status, checked = messages(folder, capsys, caplog, "--check")
    assert status == (kind == "error")
    expected = message.format(json=folder / "결승_undecided.json", txt=folder / "결승.txt")
    about = [(level, text) for level, text in checked if "undecided" in text]
    assert [(level, text[: len(expected)]) for level, text in about] == [(kind, expected)]
    assert messages(folder, capsys, caplog) == (status, checked)
    assert (folder.parent / "out" / "other").is_dir()  # one match never costs another
    assert (folder.parent / "out" / "결승").is_dir() == (kind == "warning")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["결승_undecided.json", "-결승.txt"],
            "{folder}/결승.mp4 has no 결승.txt, but 결승_undecided.json names time that nobody has looked at: save "
            "the labels on the review page, which writes both, or move the video elsewhere",
        ),
        (
            ["결승_undecided (1).json"],
            "{folder}/결승_undecided (1).json is not read: browsers name a download like this where "
            "결승_undecided.json was taken: rename it to that if it is the newer one, otherwise move it elsewhere",
        ),
        (["gone_undecided.json"], "{folder}/gone_undecided.json has no video: add it, or move the json elsewhere"),
        (["결승_undecided.json"], None),
        (["결승.json", "undecided.json", "other.json"], None),
    ],
)
def test_undecided_time_that_no_match_would_use_is_an_error(folder, capsys, caplog, names, message):
    for name in names:
        if name.startswith("-"):
            (folder / name[1:]).unlink()
        else:
            write(folder, [[0, 10]], name)
    status, checked = messages(folder, capsys, caplog, "--check")
    expected = [] if message is None else [("error", message.format(folder=folder))]
    assert (status, checked) == (bool(expected), expected)
    assert messages(folder, capsys, caplog) == (bool(expected), expected)


def test_check_says_how_much_is_undecided(folder, capsys):
    write(folder, [[0, 30]])
    assert convert(folder, "--check") == 0
    assert f"note: {folder / '결승.mp4'}: 25% is undecided time, which is neither trained nor tested on" in (
        capsys.readouterr().out
    )


def test_undecided_frames_of_a_variable_frame_rate_become_seconds_by_their_times(folder, monkeypatch):
    info = media.probe(folder / "결승.mp4")
    times_sec = np.concatenate([np.arange(60) / 60, 1 + np.arange(60) / 20])
    monkeypatch.setattr(media, "probe", lambda *_: replace(info, frame_times_sec=times_sec))
    write(folder, [[30, 80]])
    assert convert(folder) == 0
    assert record_of(folder)["undecided_sec"] == [[0.5, 2.0]]
