"""The converter's functions, one by one: one match, its parts, and its line."""

import contextlib
import errno
import json
import pickle
import threading
import types

import pytest
from clips import write_clip

import data_converter
from videosummarizer import media
from videosummarizer.dataset import conversion, sampling, storage
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.labels import LabelError

CONFIG = DataConfig(0.8, 2.5, 40, 16, 8000, False)
WAIT_SEC = 60


@pytest.fixture
def match(tmp_path):
    """A match of 2.1 s without sound, 3 segments of 0.8 s, whose label file has a section past the end."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "match.txt").write_text("0.5,1.4\n1.5,9.0\n")
    return write_clip(folder / "match.mp4", num_frames=63)


def test_one_match_is_written_into_the_hidden_folder_first_and_is_renamed_whole(match, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    original, written_to = storage.write_segment, []

    def write_segment(segment_dir, *arguments):
        assert not (out / "match").exists()
        written_to.append(segment_dir)
        original(segment_dir, *arguments)

    monkeypatch.setattr(storage, "write_segment", write_segment)
    result = conversion.convert_match(match, CONFIG, out, 1)
    assert result.error is None
    assert {path.name for path in written_to} == {"match"}
    assert {path.parent.parent for path in written_to} == {out / ".part"}
    names = sorted(path.name for path in (out / "match").iterdir())
    assert names == ["seg_00000_0.pkl", "seg_00001_1.pkl", "seg_00002_1.pkl"]  # 0.3, 0.7 and 0.5 of 0.8 s are covered
    assert list((out / ".part").iterdir()) == []


def test_the_record_of_one_match(match, tmp_path):
    (tmp_path / "out").mkdir()
    record = conversion.convert_match(match, CONFIG, tmp_path / "out", 1).record
    states = {path.name: path.stat() for path in (match, match.with_suffix(".txt"))}
    assert record["source_files"] == {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
    assert json.loads(json.dumps(record)) == record
    assert {name: record[name] for name in ("title", "source", "segment_count", "highlight_count")} == {
        "title": "match",
        "source": "match.mp4",
        "segment_count": 3,
        "highlight_count": 2,
    }
    assert record["duration"] == pytest.approx(2.1, abs=1e-6)
    assert record["frame_rate"] == pytest.approx(30, abs=1e-6)
    assert record["sections"] == [[0.5, 1.4], [1.5, pytest.approx(2.1, abs=1e-6)]]
    segment = pickle.loads((tmp_path / "out" / "match" / "seg_00002_1.pkl").read_bytes())
    assert segment["total_duration"] == pytest.approx(2.1, abs=1e-6)


def test_warnings_of_the_labels_and_of_the_video_are_both_kept(match, tmp_path, caplog, capsys):
    (tmp_path / "out").mkdir()
    result = conversion.convert_match(match, CONFIG, tmp_path / "out", 1)
    assert len(result.warnings) == 2
    assert "match.txt, line 2: the section ends at 9.00 s, past the video's end" in result.warnings[0]
    assert "match.mp4: the video has no audio track" in result.warnings[1]
    data_converter.report(result)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert caplog.messages == result.warnings
    assert capsys.readouterr().out == "match: 3 segments, 2 highlights\n"


def test_a_label_file_that_is_edited_meanwhile_makes_the_match_unfinished(match, tmp_path, monkeypatch):
    out, label_path = tmp_path / "out", match.with_suffix(".txt")
    out.mkdir()
    before = label_path.stat()
    probe = media.probe

    def edit_and_probe(path, track):
        label_path.write_text("0.5,1.0\n")
        return probe(path)

    monkeypatch.setattr(media, "probe", edit_and_probe)
    record = conversion.convert_match(match, CONFIG, out, 1).record
    assert record["source_files"]["match.txt"] == [before.st_size, before.st_mtime_ns]
    assert record["sections"] == [[0.5, 1.4], [1.5, pytest.approx(2.1, abs=1e-6)]]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (media.MediaError("bad"), "bad: record or download it again, or move it elsewhere"),
        (LabelError("worse"), "worse"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "{match}: cannot be converted into {out} (No space left on device): free some space and run the same "
            "command again",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded", "seg.pkl"),
            "{match}: cannot be converted (Disk quota exceeded: seg.pkl): free some space and run the same command "
            "again",
        ),
        (
            RuntimeError("no locator\navailable: " + 400 * "x"),
            "{match}: cannot be converted (RuntimeError: no locator available: "
            + 264 * "x"
            + "…): --debug shows where "
            "it comes from",
        ),
        (
            MemoryError(),
            "{match}: cannot be converted (memory ran out): close other programs or use fewer --workers, and run the "
            "same command again",
        ),
    ],
)
def test_a_match_that_fails_half_way_leaves_nothing_and_is_reported(
    match, tmp_path, monkeypatch, caplog, capsys, error, message
):
    out, original = tmp_path / "out", storage.write_segment
    out.mkdir()

    def write_segment(segment_dir, index, *arguments):
        if index == 2:
            raise error
        original(segment_dir, index, *arguments)

    monkeypatch.setattr(storage, "write_segment", write_segment)
    result = conversion.convert_match(match, CONFIG, out, 1)
    message = message.format(match=match, out=out)
    assert (result.title, result.record, result.error) == ("match", None, message)
    assert "in write_segment" in result.error_traceback
    assert list(out.rglob("*")) == [out / ".part"]
    with caplog.at_level("DEBUG", logger="data_converter"):
        data_converter.report(result)
    assert [(record.levelname, record.message) for record in caplog.records][-2:] == [
        ("ERROR", message),
        ("DEBUG", result.error_traceback),
    ]
    assert capsys.readouterr().out == ""


def test_a_match_without_files_is_an_error_of_its_own(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "gone.txt").touch()
    result = conversion.convert_match(tmp_path / "in" / "gone.mp4", CONFIG, tmp_path, 1)
    assert "gone.mp4" in result.error
    assert not (tmp_path / ".part").exists()


@pytest.mark.parametrize(
    ("num_segments", "num_parts", "parts"),
    [
        (20, 2, [(0, 16), (16, 20)]),
        (50, 3, [(0, 24), (24, 48), (48, 50)]),
        (16, 2, [(0, 8), (8, 16)]),
        (17, 2, [(0, 16), (16, 17)]),
        (64, 4, [(0, 16), (16, 32), (32, 48), (48, 64)]),
        (65, 4, [(0, 24), (24, 48), (48, 65)]),
        (5, 4, [(0, 5)]),
        (1, 1, [(0, 1)]),
        (100, 1, [(0, 100)]),
    ],
)
def test_parts_begin_at_multiples_of_eight(num_segments, num_parts, parts):
    assert conversion.split_indices(num_segments, num_parts) == [range(*part) for part in parts]


@pytest.fixture
def parts_read(monkeypatch):
    """(indices, threads) of each part that `write_segments` reads; its arrays are its indices."""
    parts_read = []

    def read_segment_range(path, info, config, segment_audio, indices, num_threads, damaged_sec):
        parts_read.append((indices, num_threads))
        damaged_sec.add(indices.start)
        return ((f"frames {index}", f"audio {index}") for index in indices)

    audio = types.SimpleNamespace(damaged_sec={99}, cancelled_sec={77})
    monkeypatch.setattr(sampling, "SegmentAudio", lambda *_: contextlib.nullcontext(audio))
    monkeypatch.setattr(sampling, "read_segment_range", read_segment_range)
    return parts_read


@pytest.mark.parametrize(
    ("num_threads", "num_random_access_points", "parts"),
    [
        (1, 9, [(range(40), 1)]),
        (7, 9, [(range(40), 7)]),
        (8, 9, [(range(24), 4), (range(24, 40), 4)]),
        (15, 2, [(range(16), 5), (range(16, 32), 5), (range(32, 40), 5)]),
        (64, 9, [(range(8 * part, 8 * part + 8), 12) for part in range(5)]),
        (64, 1, [(range(40), 64)]),
        (64, 0, [(range(40), 64)]),
    ],
)
def test_a_long_match_is_read_in_parts_of_four_threads_or_more(
    tmp_path, monkeypatch, parts_read, num_threads, num_random_access_points, parts
):
    written = []
    monkeypatch.setattr(storage, "write_segment", lambda *arguments: written.append(arguments))
    info = types.SimpleNamespace(random_access_points=[(0, 0)] * num_random_access_points, duration_sec=31.7)
    labels = [number % 3 // 2 for number in range(40)]
    damaged = conversion.write_segments(tmp_path, info, CONFIG, labels, tmp_path / "match", num_threads)
    assert sorted(parts_read, key=lambda part: part[0].start) == parts
    assert damaged == ({indices.start for indices, _ in parts}, {99}, {77})
    assert sorted(written, key=lambda arguments: arguments[1]) == [
        (tmp_path / "match", index, labels[index], f"frames {index}", f"audio {index}", CONFIG, 31.7)
        for index in range(40)
    ]


def test_other_parts_of_a_match_stop_when_one_fails(tmp_path, monkeypatch, parts_read):
    stops, written, has_begun = [], [], threading.Event()

    class Event(threading.Event):
        def __init__(self):
            super().__init__()
            stops.append(self)

    def read_segment_range(path, info, config, segment_audio, indices, num_threads, damaged_sec):
        if indices.start == 0:
            assert has_begun.wait(WAIT_SEC)
            raise media.MediaError("the first part fails")
        has_begun.set()
        assert stops[0].wait(WAIT_SEC)
        return ((index, index) for index in indices)

    monkeypatch.setattr(conversion, "threading", types.SimpleNamespace(Event=Event))
    monkeypatch.setattr(sampling, "read_segment_range", read_segment_range)
    monkeypatch.setattr(storage, "write_segment", lambda *arguments: written.append(arguments))
    info = types.SimpleNamespace(random_access_points=[0, 1], duration_sec=12.8)
    with pytest.raises(media.MediaError, match="the first part fails"):
        conversion.write_segments(tmp_path, info, CONFIG, [0] * 16, tmp_path / "match", 8)
    assert len(stops) == 1
    assert written == []


def test_sums_are_taken_by_one_thread_while_a_match_is_read(tmp_path, monkeypatch, parts_read):
    limits = []

    @contextlib.contextmanager
    def threadpool_limits(limit):
        limits.append(limit)
        yield
        limits.append("left")

    monkeypatch.setattr(conversion.threadpoolctl, "threadpool_limits", threadpool_limits)
    monkeypatch.setattr(storage, "write_segment", lambda *_: limits.append("written"))
    info = types.SimpleNamespace(random_access_points=[], duration_sec=1.6)
    conversion.write_segments(tmp_path, info, CONFIG, [0, 0], tmp_path / "match", 1)
    assert limits == [1, "written", "written", "left"]


def test_damaged_frames_of_a_match_are_reported_when_it_is_converted(match, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    match.with_suffix(".txt").write_text("")
    original = conversion.write_segments

    def write_segments(*arguments):
        assert original(*arguments) == (set(), set(), set())
        return {1, 2}, {0}, set()

    monkeypatch.setattr(conversion, "write_segments", write_segments)
    result = conversion.convert_match(match, CONFIG, tmp_path / "out", 1)
    assert result.warnings == [
        f"{match}: the video has no audio track: converted with silence",
        f"{match}: damaged at 1, 2 s: the last undamaged frame is repeated there",
        f"{match}: the audio is damaged at 0 s: it is silent there",
    ]
