"""What a checkpoint file says of itself, and files that say something else."""

import errno
import json
import mmap
import struct

import h5py
import numpy as np
import pytest

from videosummarizer.training.checkpoint import (
    CheckpointError,
    read_checkpoint_attributes,
    read_operating_point,
    write_checkpoint_attributes,
)
from videosummarizer.training.hdf5_strings import check_global_heaps

ATTRIBUTES = {"config": {"segment_length": 2.5}, "split": [8, 1, 1], "title": "결승전", "weights": {"a": 0.25}}


@pytest.fixture
def checkpoint(tmp_path):
    """An HDF5 file with a weight and without this toolkit's attributes."""
    path = tmp_path / "best.hdf5"
    with h5py.File(path, "w") as file:
        file["weights"] = np.arange(6.0)
        file.attrs["keras_version"] = "3"
    return path


def test_attributes_come_back_as_they_were_and_the_rest_of_the_file_stays(checkpoint):
    write_checkpoint_attributes(checkpoint, {"config": {}, "old": 1})
    write_checkpoint_attributes(str(checkpoint), ATTRIBUTES)
    assert read_checkpoint_attributes(checkpoint) == ATTRIBUTES
    assert read_checkpoint_attributes(str(checkpoint)) == ATTRIBUTES
    with h5py.File(checkpoint) as file:
        assert json.loads(file.attrs["video_summarizer"]) == ATTRIBUTES
        assert file.attrs["keras_version"] == "3"
        assert file["weights"][:].tolist() == [0, 1, 2, 3, 4, 5]


def test_attributes_are_written_into_a_checkpoint_that_is_there_alone(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_checkpoint_attributes(tmp_path / "none.hdf5", ATTRIBUTES)
    assert list(tmp_path.iterdir()) == []


def message_of(path):
    with pytest.raises(CheckpointError) as raised:
        read_checkpoint_attributes(path)
    return str(raised.value)


def test_files_that_are_no_checkpoint_are_named(tmp_path, checkpoint):
    expected = "expected a .hdf5 file that main.py saved"
    none = tmp_path / "none.hdf5"
    assert message_of(none) == f"{none}: cannot be read as a checkpoint (there is no such file), {expected}"
    assert message_of(tmp_path) == f"{tmp_path}: cannot be read as a checkpoint (there is no such file), {expected}"
    other = f"{checkpoint}: received an HDF5 file without this toolkit's attributes, {expected}"
    assert message_of(checkpoint) == other
    for content in (b"", b"a text\n" * 100, checkpoint.read_bytes()[:300]):
        path = tmp_path / "damaged.hdf5"
        path.write_bytes(content)
        assert message_of(path).startswith(f"{path}: cannot be read as a checkpoint (")
        assert message_of(path).endswith(f"), {expected}")


@pytest.mark.parametrize(
    "value", ["[]", "junk", "3", "null", '"text"', "[" * 100_000, 5, 1.5, ["{}", "{}"], ["{}"], np.zeros(0)]
)
def test_attributes_that_are_no_dict_in_one_text_are_named(checkpoint, value):
    with h5py.File(checkpoint, "r+") as file:
        file.attrs["video_summarizer"] = value
    assert message_of(checkpoint) == (
        f"{checkpoint}: received an HDF5 file without this toolkit's attributes, "
        "expected a .hdf5 file that main.py saved"
    )
    write_checkpoint_attributes(checkpoint, {})
    assert read_checkpoint_attributes(checkpoint) == {}


def test_texts_are_looked_at_before_the_library_reads_them(checkpoint):
    write_checkpoint_attributes(checkpoint, ATTRIBUTES)
    content = checkpoint.read_bytes()
    start = content.index(b"GCOL\x01\0\0\0")
    checkpoint.write_bytes(content[: start + 16] + b"\0\0" + content[start + 18 :])  # its first object is free space
    assert "(its strings are damaged)" in message_of(checkpoint)


# ---- Global heaps, made by hand after the HDF5 File Format Specification 3.0, III.E


def heap(*objects, size=None):
    """A heap of objects (index, number of bytes as stated, bytes that follow its header)."""
    body = b"".join(struct.pack("<HHIQ", index, 1, 0, stated) + bytes(follow) for index, stated, follow in objects)
    return b"GCOL\x01\0\0\0" + struct.pack("<Q", 16 + len(body) if size is None else size) + body


FREE = (0, 32, 16)  # 32 bytes, those of its own header among them
HEAPS = {
    "nothing": (b"no heap at all", True),
    "one text and free space": (heap((1, 8, 8), FREE), True),
    "texts are filled up to eight bytes": (heap((1, 5, 8), (2, 9, 16), (3, 0, 0), (4, 16, 16), FREE), True),
    "no free space": (heap((1, 8, 8), (2, 24, 24)), True),
    "free space of a header alone": (heap((1, 8, 8), (0, 16, 0)), True),
    "less left than a header": (heap((1, 8, 8), size=16 + 24 + 8) + bytes(8), True),
    "free space alone": (heap(FREE), True),
    "an empty heap": (heap(), True),
    "behind other bytes": (b"x" * 13 + heap((1, 8, 8), FREE), True),
    "two heaps": (heap((1, 8, 8), FREE) + b"xyz" + heap((1, 3, 8), (0, 16, 0)), True),
    "the file ends in the heap's head": (heap((1, 8, 8), FREE)[:12], True),
    "the file ends right after the heap's head": (heap((1, 8, 8), FREE)[:16], True),
    "the file ends in an object's head": (heap((1, 8, 8), FREE)[:30], True),
    "the file ends in a text": (heap((1, 64, 64), FREE)[:50], True),
    "free space ends early": (heap((1, 8, 8), (0, 24, 16)), False),
    "free space ends a byte early": (heap((1, 8, 8), (0, 31, 16)), False),
    "free space of no bytes": (heap((1, 8, 8), (0, 0, 16)), False),
    "free space ends late": (heap((1, 8, 8), (0, 40, 16)), False),
    "free space ends a byte late": (heap((1, 8, 8), (0, 33, 16)), False),
    "a text ends late": (heap((1, 8, 8), (2, 25, 24)), False),
    "a text is longer than memory": (heap((1, 2**63, 8), FREE), False),
    "a text ends with its fill late": (heap((1, 9, 8)), False),
    "the heap ends in the text": (heap((1, 32, 32), size=16 + 40), False),
    "the second heap": (heap((1, 8, 8), FREE) + heap((1, 8, 8), (0, 24, 16)), False),
    "the second heap after one that ends in the file": (heap(FREE) + b"\0" * 24 + heap((0, 8, 16)), False),
    "behind other bytes, damaged": (b"x" * 13 + heap((1, 8, 8), (0, 24, 16)), False),
}


@pytest.mark.parametrize("name", HEAPS)
def test_texts_end_where_their_heap_ends_or_are_refused(tmp_path, name):
    content, is_valid = HEAPS[name]
    path = tmp_path / "best.hdf5"
    path.write_bytes(content)
    if is_valid:
        assert check_global_heaps(path) is None
    else:
        with pytest.raises(ValueError, match=r"^its strings are damaged$"):
            check_global_heaps(path)


def test_an_empty_file_has_no_texts(tmp_path):
    (tmp_path / "empty.hdf5").touch()
    assert check_global_heaps(tmp_path / "empty.hdf5") is None


@pytest.mark.parametrize(
    "values",
    [
        {"cut": 3},
        {},
        {"threshold": "x"},
        {"threshold": 0.5, "section_penalty": -1},
        {"threshold": 0.5, "smoothing": 1},
        [0.5],
    ],
)
def test_a_point_of_another_version_is_named(values, checkpoint):
    write_checkpoint_attributes(checkpoint, {"loudness_operating_point": values})
    with pytest.raises(CheckpointError, match=r"best\.hdf5: received an loudness_operating_point of another"):
        read_operating_point(str(checkpoint), "loudness_operating_point")
    assert read_operating_point(str(checkpoint), "operating_point") is None


def test_a_drive_that_refuses_shared_mappings_has_readable_checkpoints(checkpoint, monkeypatch):
    write_checkpoint_attributes(checkpoint, ATTRIBUTES)
    plain_mmap = mmap.mmap

    def refuse_shared(descriptor, length, access=mmap.ACCESS_DEFAULT):
        if access != mmap.ACCESS_COPY:
            raise OSError(errno.ENODEV, "No such device")
        return plain_mmap(descriptor, length, access=access)

    monkeypatch.setattr(mmap, "mmap", refuse_shared)
    assert read_checkpoint_attributes(checkpoint) == ATTRIBUTES
