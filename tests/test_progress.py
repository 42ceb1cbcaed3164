"""The progress bar of a conversion: finished matches, and the segments of those in progress."""

import os
import threading
import time
from types import SimpleNamespace

import pytest
from test_input_folder import touch

from videosummarizer.dataset import output_folder, progress
from videosummarizer.dataset.metadata import DataConfig

CONFIG = DataConfig(0.8, 2.5, 40, 16, 8000, False)
WAIT_SEC = 60


def last_progress(text):
    return text.replace("\r", "\n").splitlines()[-1]


@pytest.mark.parametrize(
    ("total_sec", "num_pickles", "percentage", "seconds"),
    [(20.4, 3, " 34% |", "| 7/20 s"), (6, 9, "100% |", "| 6/6 s")],
)
def test_progress_counts_finished_matches_and_the_segments_under_way(
    tmp_path, capsys, total_sec, num_pickles, percentage, seconds
):
    under_way = tmp_path / output_folder.PART_DIR_NAME / "x" / "match"
    under_way.mkdir(parents=True)
    touch(under_way, *(f"seg_{index:05d}_0.pkl" for index in range(num_pickles)), "other.txt")
    with progress.show_progress(total_sec, CONFIG, tmp_path) as add_finished_sec:
        add_finished_sec(3.25)
        add_finished_sec(1.25)  # 4.5 s are finished, 3 segments of 0.8 s under way
    line = last_progress(capsys.readouterr().err)
    assert line.startswith(f"Converting {percentage}")
    assert f"{seconds} of video [" in line


def test_progress_follows_while_matches_are_under_way(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "PROGRESS_INTERVAL_SEC", 0.01)
    touch(tmp_path, "metadata.json")
    text, deadline = "", time.monotonic() + WAIT_SEC
    with progress.show_progress(8, CONFIG, tmp_path):
        os.makedirs(tmp_path / ".part" / "x" / "match")
        touch(tmp_path / ".part" / "x" / "match", *(f"seg_{index:05d}_1.pkl" for index in range(5)))
        while "| 4/8 s of video" not in text:
            assert time.monotonic() < deadline
            text += capsys.readouterr().err
            time.sleep(0.01)


def test_progress_goes_on_when_a_folder_disappears_while_it_is_read(tmp_path, capsys, monkeypatch):
    calls = []

    class Folder(type(tmp_path)):
        def glob(self, pattern):
            calls.append(pattern)
            if len(calls) == 1:
                raise FileNotFoundError(pattern)
            return super().glob(pattern)

    monkeypatch.setattr(progress, "PROGRESS_INTERVAL_SEC", 0.01)
    deadline = time.monotonic() + WAIT_SEC
    with progress.show_progress(8, CONFIG, Folder(tmp_path)) as add_finished_sec:
        add_finished_sec(4)
        while len(calls) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "| 4/8 s of video" in last_progress(capsys.readouterr().err)


def test_progress_stops_following_when_the_conversion_fails(tmp_path, capsys, monkeypatch):
    followers = []

    class Thread(threading.Thread):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            followers.append(self)

    monkeypatch.setattr(progress, "threading", SimpleNamespace(Thread=Thread, Event=threading.Event))

    def fail():
        with progress.show_progress(8, CONFIG, tmp_path) as add_finished_sec:
            assert [thread.is_alive() for thread in followers] == [True]
            add_finished_sec(2)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [thread.is_alive() for thread in followers] == [False]
    assert "25%" in last_progress(capsys.readouterr().err)
