"""videosummarizer.training.checkpoint."""

import hashlib
import json
import math
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from videosummarizer.dataset.metadata import DataConfig, parse_config
from videosummarizer.evaluation.operating_point import OperatingPoint, parse_operating_point

CHECKPOINT_ATTRIBUTE = "video_summarizer"  # JSON: what stage 4 needs beside the network
HEAP_SIGNATURE = b"GCOL\x01\0\0\0"  # of an HDF5 global heap, which holds texts
HEAP_HEADER = struct.Struct("<8sQ")  # signature, size
HEAP_OBJECT_HEADER = struct.Struct("<HHIQ")  # index, 0 for free space; references; nothing; size


class CheckpointError(Exception):
    """A file that is no checkpoint of this toolkit, or one that cannot be read; the message says which and why."""


DEFAULT_THRESHOLD = 0.5  # from which score on a highlight is called, where no operating point is chosen


def write_checkpoint_attributes(path: str | os.PathLike, attributes: dict) -> None:
    """Write a JSON-able dict (data config, split, how it was trained) into a checkpoint's HDF5 attributes."""
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs[CHECKPOINT_ATTRIBUTE] = json.dumps(attributes)


def read_checkpoint_attributes(path: str | os.PathLike) -> dict:
    """The dict that `write_checkpoint_attributes` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of this toolkit.
    """
    import h5py

    expected = "expected a .hdf5 file that main.py saved"
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: cannot be read as a checkpoint (there is no such file), {expected}")
    check_global_heaps(path)
    try:
        with h5py.File(path, "r") as file:
            attribute = file.attrs.get_id(CHECKPOINT_ATTRIBUTE)
            if h5py.check_string_dtype(attribute.dtype) is None or attribute.shape != ():
                raise ValueError("they are no text")
            attributes = json.loads(file.attrs[CHECKPOINT_ATTRIBUTE])
            if not isinstance(attributes, dict):
                raise ValueError("they are no dict")
            return attributes
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({error}), {expected}") from error
    except (KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{path}: received an HDF5 file without this toolkit's attributes, {expected}") from error


def check_global_heaps(path: str | os.PathLike) -> None:
    """Raises CheckpointError unless the objects of each global heap in an HDF5 file end where the heap ends (HDF5 File
    Format Specification 3.0, III.E): in others the HDF5 library looks for the next object for ever."""
    size = os.path.getsize(path)
    if not size:
        return  # nothing can be mapped, and the library says that it is no HDF5 file
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = -1
        while (start := content.find(HEAP_SIGNATURE, start + 1)) >= 0:
            place = start + HEAP_HEADER.size
            if place > size:
                return
            end = start + HEAP_HEADER.unpack_from(content, start)[1]
            while place + HEAP_OBJECT_HEADER.size <= min(end, size):
                index, _, _, num_bytes = HEAP_OBJECT_HEADER.unpack_from(content, place)
                place += num_bytes if index == 0 else HEAP_OBJECT_HEADER.size + math.ceil(num_bytes / 8) * 8
                if place > end or (index == 0 and place < end):
                    raise CheckpointError(
                        f"{path}: cannot be read as a checkpoint (its texts are damaged), expected a .hdf5 file that "
                        "main.py saved"
                    )
                if index == 0:
                    break


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself. sha256: of the file. point: where validation found sections best; where the
    checkpoint names none (has_operating_point), DEFAULT_THRESHOLD alone."""

    path: Path
    sha256: str
    config: DataConfig
    point: OperatingPoint
    has_operating_point: bool


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint's attributes; TensorFlow is not needed for them. Raises checkpoint.CheckpointError."""
    if not path.exists():
        raise CheckpointError(f"{path}: no such file, expected a .hdf5 file that main.py saved")
    attributes = read_checkpoint_attributes(path)
    try:
        config = parse_config(attributes["config"])
        point = parse_operating_point(attributes.get("operating_point", {"threshold": DEFAULT_THRESHOLD}))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: received a checkpoint whose data config or operating point is another version's ({error}), "
            "expected one that this version of main.py saved"
        ) from error
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(path, sha256, config, point, "operating_point" in attributes)
