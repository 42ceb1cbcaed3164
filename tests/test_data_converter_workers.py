"""How matches are divided among cores, threads and machines, in which order, and what metadata.json says of it."""

import contextlib
import os
import re

import av
import joblib
import librosa
import numpy as np
import pytest
from test_data_converter_flags import convert

import data_converter
from videosummarizer import media
from videosummarizer.dataset import conversion
from videosummarizer.dataset.conversion import Conversion
from videosummarizer.dataset.metadata import DataConfig


@pytest.fixture
def threads_of(monkeypatch):
    """The threads that each match is converted with, by title in the order of conversion; nothing is converted."""
    threads_of = {}

    def convert_match(video_path, config, dataset_dir, num_threads):
        threads_of[video_path.stem] = num_threads
        return Conversion(video_path.stem, {"segment_count": 1, "highlight_count": 0})

    monkeypatch.setattr(conversion, "convert_match", convert_match)
    monkeypatch.setattr(data_converter, "write_metadata", lambda *_, **__: None)
    return threads_of


@pytest.mark.parametrize(
    ("workers", "num_cores", "num_jobs", "num_threads"),
    [
        ("12", 2, 3, 4),
        ("7", 2, 3, 2),
        ("3", 2, 3, 1),
        ("2", 16, 2, 1),
        ("1", 16, 1, 1),
        (None, 11, 3, 3),
        (None, 2, 2, 1),
    ],
)
def test_workers_are_divided_among_the_matches(
    unequal_dir, tmp_path, pools, threads_of, monkeypatch, workers, num_cores, num_jobs, num_threads
):
    monkeypatch.setattr(joblib, "cpu_count", lambda: num_cores)
    assert convert(unequal_dir, tmp_path / "out", *(["--workers", workers] if workers else [])) == 0
    (pool,) = pools
    assert pool.num_processes == num_jobs
    assert threads_of == dict.fromkeys(("a_mid", "b_short", "c_long"), num_threads)


def test_the_longest_match_is_converted_first(tmp_path, pools, threads_of, monkeypatch):
    durations_sec = {"a": 2, "b": 9, "c": 9, "d": 0.5, "e": 30}
    for title in durations_sec:
        (tmp_path / f"{title}.mp4").touch()
        (tmp_path / f"{title}.txt").touch()
    monkeypatch.setattr(media, "probe_duration_sec", lambda path: durations_sec[path.stem])
    paths = [tmp_path / f"{title}.mp4" for title in "dcbae"]
    config = DataConfig(0.8, 2.5, 40, 16, 8000, False)
    conversions = data_converter.convert_matches(paths, config, tmp_path, 1, None)
    with contextlib.closing(conversions):
        assert [conversion.title for conversion in conversions] == ["e", "b", "c", "a", "d"]
    assert list(threads_of) == ["e", "b", "c", "a", "d"]


def test_what_the_header_tells_is_reported_before_the_first_match_is_converted(
    unequal_dir, tmp_path, pools, threads_of, caplog
):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in unequal_dir.iterdir():
        os.link(path, folder / path.name)
    (folder / "z_broken.mp4").write_bytes(b"no video")
    (folder / "z_broken.txt").touch()
    (folder / "b_short.txt").unlink()
    (folder / "b_short.txt").write_text("typo,40\n")
    paths = sorted(folder.glob("*.mp4"))
    config = DataConfig(0.8, 2.5, 40, 16, 8000, False)
    conversions = data_converter.convert_matches(paths, config, tmp_path, 4, None)
    assert [next(conversions).title, next(conversions).title] == ["b_short", "z_broken"]
    assert not threads_of
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "b_short.txt, line 1: received 'typo' as start frame number" in caplog.messages[0]
    assert "z_broken.mp4: cannot be read as a video" in caplog.messages[1]
    assert [conversion.title for conversion in conversions] == ["c_long", "a_mid"]
    assert threads_of == {"c_long": 2, "a_mid": 2}


def test_metadata_says_when_and_with_what_the_dataset_was_made(unequal_dir, tmp_path, pools, threads_of, monkeypatch):
    written = []
    monkeypatch.setattr(data_converter, "write_metadata", lambda *_, **more: written.append(more))
    assert convert(unequal_dir, tmp_path / "out") == 0
    for more in written:
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", more["created"])
        assert more["versions"] == {"av": av.__version__, "librosa": librosa.__version__, "numpy": np.__version__}
    assert len(written) == 4  # before the first match and after each
