"""The file of undecided time: what is read from it, what is refused, and what is written."""

import json
import os
import re
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from videosummarizer import undecided
from videosummarizer.labels import LabelError
from videosummarizer.undecided import (
    find_undecided_path,
    format_undecided,
    read_undecided,
    resolve_undecided,
    write_undecided,
)

FRAME_TIMES_SEC = np.arange(300) / 30  # ten seconds at 30 fps


def resolve(ranges, times_sec=FRAME_TIMES_SEC, duration_sec=10.0, sections_sec=()):
    """Resolve ranges next to the label file a/x.txt."""
    info = SimpleNamespace(frame_times_sec=times_sec, duration_sec=duration_sec)
    return resolve_undecided(Path("a/x.txt"), np.array(ranges), info, np.array(sections_sec, float).reshape(-1, 2))


def write(tmp_path, ranges, **more):
    path = tmp_path / "결승_undecided.json"
    path.write_text(json.dumps({"schema_version": 1, "undecided": ranges} | more))
    return path


def test_ranges_are_read_disjoint_and_ascending_whatever_else_the_file_has(tmp_path):
    path = write(tmp_path, [[90, 120], [0, 30], [30, 40], [100, 150]], undecided_times=[["00:00:03", "?"]])
    assert read_undecided(path).tolist() == [[0, 40], [90, 150]]
    assert read_undecided(path).dtype == np.int64


@pytest.mark.parametrize("ranges", [[], None])
def test_without_ranges_and_without_a_file_all_time_is_decided(tmp_path, ranges):
    path = tmp_path / "none.json" if ranges is None else write(tmp_path, ranges)
    assert read_undecided(path).shape == (0, 2)
    undecided_sec, warnings = resolve(read_undecided(path), sections_sec=[[1.0, 2.0]])
    assert (undecided_sec.shape, warnings) == ((0, 2), [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[[0, 30]]", 'received JSON without a list "undecided", expected {"schema_version": 1, "undecided": '),
        (b'{"schema_version": 1, "undecided": {"0": 30}}', 'received JSON without a list "undecided"'),
        (b'{"title": "match_undecided", "sections": []}', 'received JSON without a list "undecided"'),
        (b"0,30\n", "cannot be read as undecided time (Extra data"),
        (b"", "cannot be read as undecided time (Expecting value"),
        (b"\xff\xfe\x00", "cannot be read as undecided time ("),
        (b"[" * 100_000, "cannot be read as undecided time (it is nested too deep)"),
        (b'{"undecided": []}', "received undecided time of schema version null, expected 1: use the version of this"),
        (b'{"schema_version": 2, "undecided": []}', "received undecided time of schema version 2, expected 1"),
        (b'{"schema_version": true, "undecided": []}', "received undecided time of schema version true, expected 1"),
    ],
)
def test_a_file_that_is_something_else_is_named_with_what_to_do(tmp_path, content, message):
    path = tmp_path / "match_undecided.json"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=f"^{re.escape(f'{path}: {message}')}") as error:
        read_undecided(path)
    assert str(error.value).endswith(
        "save the labels again on the review page, or delete the file if all of the match has been looked at"
    )


@pytest.mark.parametrize(
    "frames", [[30, 0], [5, 5], [-1, 3], [0.0, 3.0], [True, 3], ["0", "3"], [0], 7, [0, 2**53 + 1]]
)
def test_a_range_that_is_none_is_named_by_its_number(tmp_path, frames):
    path = write(tmp_path, [[0, 10], frames])
    message = f"{path}, range 2: received {json.dumps(frames)}, expected [start_frame, end_frame], whole numbers"
    with pytest.raises(LabelError, match=f"^{re.escape(message)}"):
        read_undecided(path)


def test_a_file_that_is_too_large_or_no_file_is_not_read(tmp_path, monkeypatch):
    path = write(tmp_path, [[0, 10]])
    monkeypatch.setattr(undecided, "MAX_UNDECIDED_BYTES", 20)
    with pytest.raises(LabelError, match=r"undecided\.json: cannot be read .*received \d+ bytes, expected at most 20"):
        read_undecided(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LabelError, match=r"pipe: cannot be read .*something other than a regular file"):
        read_undecided(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):  # a link to a drive that is not connected is not "all is decided"
        read_undecided(tmp_path / "link")


def test_frames_become_seconds_by_the_times_of_the_frames(tmp_path):
    times_sec = np.array([0.0, 0.5, 2.0, 2.5])
    undecided_sec, warnings = resolve([[0, 1], [2, 4]], times_sec, 3.0)
    assert undecided_sec.tolist() == [[0, 0.5], [2, 3]]
    assert warnings == []


def test_undecided_time_past_the_end_of_the_video_is_clipped_with_a_warning_or_refused():
    undecided_sec, warnings = resolve([[0, 3], [270, 301]])
    assert undecided_sec.tolist() == [[0, 0.1], [9, 10]]
    assert warnings == [
        "a/x_undecided.json: undecided time ends at frame 301, past the video's end (300 frames, 10.00 s): clipped"
    ]
    with pytest.raises(
        LabelError, match=r"^a/x_undecided.json: received .* at frame 300, expected it to begin before "
    ):
        resolve([[0, 3], [300, 301]])


def test_a_warning_names_sections_in_undecided_time():
    sections_sec = [[1.0, 2.0], [4.0, 6.0], [8.0, 9.0]]
    assert resolve([[60, 90]], sections_sec=sections_sec)[1] == []  # from 2 to 3 s
    (warning,) = resolve([[60, 90], [165, 255]], sections_sec=sections_sec)[1]  # and from 5.5 to 8.5 s
    assert warning.startswith(
        "a/x.txt: 2 of 3 sections are in undecided time of a/x_undecided.json, or reach into it ("
    )
    assert "the first at 00:00:04), which is not trained on" in warning


def test_what_is_written_is_read_and_has_times_for_people(tmp_path):
    path, ranges = tmp_path / "match_undecided.json", np.array([[0, 30], [90, 300]])
    write_undecided(path, ranges, np.array([[0.0, 1.0], [3.0, 10.0]]))
    assert read_undecided(path).tolist() == ranges.tolist()
    assert path.read_text() == (
        '{"schema_version": 1, "undecided": [[0, 30], [90, 300]], '
        '"undecided_times": [["00:00:00", "00:00:01"], ["00:00:03", "00:00:10"]]}\n'
    )
    assert [other.name for other in tmp_path.iterdir()] == [path.name]
    assert json.loads(format_undecided(ranges[:0], np.empty((0, 2)))) == {
        "schema_version": 1,
        "undecided": [],
        "undecided_times": [],
    }


def test_the_file_lies_next_to_labels_and_video_under_either_composition_of_its_name(tmp_path):
    path = tmp_path / unicodedata.normalize("NFD", "결승.1_undecided.json")  # as from a Mac
    path.touch()
    for name in ("결승.1.txt", "결승.1.mp4"):
        assert find_undecided_path(tmp_path / name).exists()
    assert find_undecided_path(tmp_path / "other.mkv") == tmp_path / "other_undecided.json"
