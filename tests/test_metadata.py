"""The dataset folder: atomic writes, reading with limits, metadata and names."""

import errno
import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from videosummarizer.atomic_file import atomic_write
from videosummarizer.dataset import metadata, storage
from videosummarizer.dataset.metadata import (
    DataConfig,
    DatasetError,
    parse_metadata,
    read_limited,
    read_metadata,
    segment_counts,
    write_metadata,
)
from videosummarizer.dataset.storage import SEGMENT_FILE_NAME

# ---- Writing whole


@pytest.fixture
def folder(tmp_path):
    """A folder with a file that was written before."""
    (tmp_path / "notes.json").write_bytes(b"old content")
    return tmp_path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_written_and_nothing_is_left_over(folder, as_text):
    for name in ("new.json", "notes.json"):
        path = folder / name
        atomic_write(str(path) if as_text else path, b"new content")
        assert path.read_bytes() == b"new content"
    assert names_in(folder) == ["new.json", "notes.json"]


def test_the_old_file_is_replaced_and_never_written_into(folder):
    path = folder / "notes.json"
    os.link(path, folder / "held")  # as a reader that has opened it holds it
    atomic_write(path, b"new")
    assert (folder / "held").read_bytes() == b"old content"
    assert path.read_bytes() == b"new"


def test_content_reaches_its_name_by_renaming_alone_and_whole(folder, monkeypatch):
    path, moves, original = folder / "notes.json", [], os.replace

    def replace(source, target, **more):
        moves.append((Path(source).name, Path(source).read_bytes(), Path(target).name, path.read_bytes()))
        original(source, target, **more)

    monkeypatch.setattr(os, "replace", replace)
    atomic_write(path, b"new content")
    assert moves == [("notes.json.part", b"new content", "notes.json", b"old content")]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("name", ["notes.json", "new.json"])
def test_a_write_that_fails_in_the_middle_leaves_all_as_it_was(folder, monkeypatch, error, name):
    original = Path.write_bytes

    def write_half(path, content):
        original(path, content[: len(content) // 2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(type(error)) as raised:
        atomic_write(folder / name, b"new content")
    assert raised.value is error
    assert names_in(folder) == ["notes.json"]
    assert (folder / "notes.json").read_bytes() == b"old content"


def test_a_rename_that_fails_leaves_all_as_it_was(folder):
    (folder / "taken").mkdir()
    (folder / "taken" / "file").touch()
    with pytest.raises(OSError, match="taken"):
        atomic_write(folder / "taken", b"new content")
    assert names_in(folder) == ["notes.json", "taken"]
    with pytest.raises(FileNotFoundError):
        atomic_write(folder / "nowhere" / "file", b"new content")


def test_content_is_on_the_disk_before_it_gets_its_name(folder, monkeypatch):
    synced = []

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, names_in(folder)))
        raise OSError(errno.EINVAL, "a drive that does not support it")

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write(folder / "new.json", b"new content")
    assert synced == [(11, ["new.json.part", "notes.json"])]
    assert (folder / "new.json").read_bytes() == b"new content"

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*notes\.json'"):
        atomic_write(folder / "notes.json", b"newer content")
    assert names_in(folder) == ["new.json", "notes.json"]
    assert (folder / "notes.json").read_bytes() == b"old content"


def test_a_drive_that_became_read_only_is_the_error_and_not_the_part_that_stays(folder, monkeypatch):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    for name in ("unlink", "remove"):
        monkeypatch.setattr(os, name, lambda *_, **__: refuse("another error"))
    with pytest.raises(OSError, match=r"Read-only file system: '.*new\.json\.part'"):
        atomic_write(folder / "new.json", b"new content")


# ---- A segment's pickle


def test_a_segments_pickle_says_where_in_the_match_it_is(tmp_path):
    config = DataConfig(2.5, 2, 4, 3, 10, False)
    folder = tmp_path / "final"
    folder.mkdir()
    video, audio = np.ones((5, 3, 4, 3), np.uint8), np.ones(25, np.float32)
    storage.write_segment(folder, 123, 0, video, audio, config, 400.25)
    storage.write_segment(folder, 123_456, 1, video, audio, config, 400.25)
    assert names_in(folder) == ["seg_00123_0.pkl", "seg_123456_1.pkl"]
    segment = pickle.loads((folder / "seg_00123_0.pkl").read_bytes())
    assert {key: value for key, value in segment.items() if key not in ("video", "audio")} == {
        "schema_version": 2,
        "title": "final",
        "index": 123,
        "label": 0,
        "start_sec": 307.5,
        "end_sec": 310.0,
        "total_duration": 400.25,
    }
    assert (segment["video"].dtype, segment["audio"].dtype) == (np.uint8, np.float32)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("seg_00007_1.pkl", ("00007", "1")),
        ("seg_123456789_0.pkl", ("123456789", "0")),
        ("seg_0007_1.pkl", None),
        ("seg_1234567890_1.pkl", None),
        ("seg_00007_2.pkl", None),
        ("seg_00007_1.pkl.part", None),
        ("seg_00007_1xpkl", None),
        ("seg_0٠007_1.pkl", None),
    ],
)
def test_names_of_segments(name, fields):
    match = SEGMENT_FILE_NAME.fullmatch(name)
    assert (match and match.groups()) == fields


# ---- Reading whole


def test_a_file_as_large_as_is_allowed_is_read_and_one_byte_more_is_not(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_limited(path, 10) == b"0123456789"
    with pytest.raises(DatasetError) as raised:
        read_limited(path, 9)
    assert str(raised.value) == f"{path}: received 10 bytes, expected at most 9: convert the videos again"
    path.write_bytes(b"")
    assert read_limited(str(path), 0) == b""


def test_what_cannot_be_read_is_named_with_its_reason(tmp_path):
    with pytest.raises(DatasetError, match=r"none: cannot be read \(No such file or directory\): convert the videos"):
        read_limited(tmp_path / "none", 10)
    with pytest.raises(DatasetError, match=r": received something other than a regular file: convert the videos again"):
        read_limited(tmp_path, 10**6)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    errors = []

    def read():
        try:
            read_limited(tmp_path / "pipe", 10)
        except DatasetError as error:
            errors.append(str(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=20)
    assert not reader.is_alive()
    assert errors == [f"{tmp_path / 'pipe'}: received something other than a regular file: convert the videos again"]


def test_files_are_closed_whether_they_are_read_or_refused(tmp_path, monkeypatch):
    opened, original = [], os.open
    monkeypatch.setattr(metadata.os, "open", lambda *how: opened.append(original(*how)) or opened[-1])
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    read_limited(path, 10)
    for bad, received in ((path, "received 10 bytes"), (tmp_path, "received something other than a regular file")):
        with pytest.raises(DatasetError, match=received):
            read_limited(bad, 5)
    assert len(opened) == 3
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_segments_and_metadata_have_limits_of_their_own(tmp_path):
    # The largest shapes that metadata may state: 65,536 bytes, two per value of a pixel and eight per sample.
    config = DataConfig(1, 2, 8192, 8192, (2**30 - 65_536 - 2 * 6 * 8192**2) // 8, False)
    (tmp_path / "match").mkdir()
    write_metadata(tmp_path, config, [{"title": "match", "segment_count": 1}], missing=[])
    files = storage.open_dataset(tmp_path)
    for name, read, limit in (
        ("match/seg_00000_0.pkl", lambda path: files.read("match", path.name), 1_073_741_824),
        ("metadata.json", lambda path: read_metadata(path.parent), 67_108_864),
    ):
        path = tmp_path / name
        path.touch()
        os.truncate(path, limit + 1)
        with pytest.raises(DatasetError, match=rf"{name}: received {limit + 1} bytes, expected at most {limit}:"):
            read(path)


# ---- Metadata

CONFIG = {
    "segment_length": 2.5,
    "video_sample_rate": 4.0,
    "video_width": 20,
    "video_height": 10,
    "audio_sample_rate": 8000,
    "apply_mfcc": False,
}
SHAPES = {"video": [10, 10, 20, 3], "audio": [20_000]}


def video(title, segment_count, **more):
    return {"title": title, "segment_count": segment_count, "sections": [[1.5, 4.0]], **more}


def test_metadata_say_what_is_in_the_folder(tmp_path):
    videos = [video("나", 7), video("b", 30, highlight_count=4), video("a", 5)]
    write_metadata(tmp_path, DataConfig(**CONFIG), videos, ["z", "c"], created="2026-11-26", versions={"x": "1"})
    assert names_in(tmp_path) == ["metadata.json"]
    text = (tmp_path / "metadata.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "schema_version": 2,
        "created": "2026-11-26",
        "versions": {"x": "1"},
        "config": CONFIG,
        "data_shape": SHAPES,
        "total_segment_count": 42,
        "videos": [video("a", 5), video("b", 30, highlight_count=4), video("나", 7)],
        "missing": ["c", "z"],
    }
    assert '\n  "config": {\n    "segment_length": 2.5,\n' in text  # for people to read
    assert '"나"' in text
    assert text.endswith("}\n")
    read = read_metadata(str(tmp_path))
    assert read["data_shape"] == {"video": (10, 10, 20, 3), "audio": (20_000,)}
    assert list(segment_counts(read).items()) == [("a", 5), ("b", 30), ("나", 7)]


def test_metadata_are_written_atomically(tmp_path, monkeypatch):
    write_metadata(tmp_path, DataConfig(**CONFIG), [video("a", 5)], [])
    before = (tmp_path / "metadata.json").read_bytes()

    def fail(source, target, **more):
        raise OSError("the machine stops here")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="stops here"):
        write_metadata(tmp_path, DataConfig(**CONFIG), [], ["a"])
    assert (tmp_path / "metadata.json").read_bytes() == before
    assert names_in(tmp_path) == ["metadata.json"]


def test_a_path_that_is_no_dataset_is_named(tmp_path):
    for path, received in ((tmp_path, "a folder without metadata.json"), (tmp_path / "x", "what does not exist")):
        with pytest.raises(DatasetError) as raised:
            read_metadata(path)
        assert str(raised.value) == (
            f"{path}: received {received}, expected a dataset that data_converter.py has finished: convert the matches "
            "first, or correct the path"
        )


def parse(**changes):
    metadata = {"config": CONFIG, "data_shape": SHAPES, "videos": [video("a", 5)], **changes}
    content = json.dumps({name: value for name, value in metadata.items() if value != "left out"})
    return parse_metadata("here/metadata.json", content.encode())


def test_metadata_of_this_version_and_of_the_first_are_read():
    assert parse(more=1)["more"] == 1
    assert parse(videos=[video("a", 0)])["videos"] == [video("a", 0)]  # a video without a segment
    first = parse(videos="left out", segment_counts={"b": 3, "a": 4})
    assert list(segment_counts(first).items()) == [("a", 4), ("b", 3)]
    assert segment_counts(parse(segment_counts={"b": 3})) == {"a": 5}
    assert segment_counts(parse(videos="left out")) == {}
    mfcc_shapes = {"video": [10, 10, 20, 3], "audio": [40, 40]}
    assert parse(config={**CONFIG, "apply_mfcc": True}, data_shape=mfcc_shapes)["data_shape"]["audio"] == (40, 40)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": "left out"}, "KeyError('config')"),
        ({"config": {**CONFIG, "more": 1}}, "TypeError("),
        ({"config": [1]}, "TypeError("),
        ({"data_shape": "left out"}, "KeyError('data_shape')"),
        ({"data_shape": {"video": SHAPES["video"]}}, "KeyError('audio')"),
        ({"data_shape": {"audio": SHAPES["audio"]}}, "KeyError('video')"),
        ({"data_shape": {**SHAPES, "video": [10, 20, 10, 3]}}, "ValueError(\"data_shape {'video': (10, 20, 10, 3)"),
        ({"data_shape": {**SHAPES, "audio": [20_001]}}, "config gives {'video': (10, 10, 20, 3), 'audio': (20000,)}"),
        ({"data_shape": {**SHAPES, "audio": [20_000.0]}}, "'audio': (20000.0,)"),
        ({"data_shape": {**SHAPES, "video": [10.0, 10, 20, 3]}}, "(10.0, 10, 20, 3)"),
        ({"videos": [video("a/b", 5)]}, "ValueError(\"video 'a/b'\")"),
        ({"videos": [video("..", 5)]}, "ValueError(\"video '..'\")"),
        ({"videos": [video("a", -1)]}, "ValueError(\"video 'a'\")"),
        ({"videos": [video("a", 5.0)]}, "ValueError(\"video 'a'\")"),
        ({"videos": [video("a", True)]}, "ValueError(\"video 'a'\")"),
        ({"videos": [video("a", "5")]}, "ValueError(\"video 'a'\")"),
        ({"videos": [video("a", 5), video("b", None)]}, "ValueError(\"video 'b'\")"),
        ({"videos": [{"title": "a"}]}, "KeyError('segment_count')"),
        ({"videos": [5]}, "TypeError("),
        ({"videos": [video("a", 5), video("a", 5)]}, "ValueError('a video is listed twice')"),
        ({"videos": [{**video("a", 5), "source": 5}]}, "ValueError('the source of a video is not a name')"),
        ({"videos": [video("가" * 86, 5)]}, "ValueError(\"video '가"),
        ({"config": {**CONFIG, "segment_length": 86_401}}, "ValueError("),
        ({"config": {**CONFIG, "audio_sample_rate": 0.5}}, "ValueError("),
        ({"videos": None}, "TypeError("),
        ({"videos": "left out", "segment_counts": [1]}, "AttributeError("),
        ({"videos": "left out", "segment_counts": {"": 1}}, "ValueError(\"video ''\")"),
    ],
)  # fmt: skip
def test_metadata_that_say_something_impossible_are_named(changes, named):
    with pytest.raises(DatasetError) as raised:
        parse(**changes)
    assert str(raised.value).startswith("here/metadata.json: damaged or not from data_converter.py (")
    assert named in str(raised.value)
    assert str(raised.value).endswith("): convert the videos again")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff\xff", b"[" * 100_000, b'{"config": null}'])
def test_content_that_is_no_metadata_is_named(content):
    with pytest.raises(
        DatasetError, match=r"^here: damaged or not from data_converter\.py \(\w+\(.*\): convert the videos"
    ):
        parse_metadata("here", content)


def test_the_error_of_a_file_is_one_line_of_limited_length():
    with pytest.raises(DatasetError) as raised:
        parse(videos=[video("/" * 5000, 5)])
    shown = "ValueError(\"video '" + "/" * 181
    assert len(shown) == 200
    expected = f"here/metadata.json: damaged or not from data_converter.py ({shown}): convert the videos again"
    assert str(raised.value) == expected


def test_metadata_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"received a folder without metadata\.json, expected a dataset"):
        read_metadata(tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(
        DatasetError, match=r"metadata\.json: damaged or not from data_converter\.py .*convert the videos again"
    ):
        read_metadata(tmp_path)
