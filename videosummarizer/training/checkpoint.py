"""What a checkpoint states about itself, in an HDF5 attribute that is read without Keras."""

import hashlib
import json
import logging
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from videosummarizer.dataset.metadata import DataConfig, parse_config
from videosummarizer.error_messages import count_of, first_line
from videosummarizer.evaluation.operating_point import OperatingPoint, parse_operating_point
from videosummarizer.training.training_statistics import TrainingStatistics, parse_statistics
from videosummarizer.untrusted_file import excerpt, parse_json

# HDF5 attribute that holds JSON: the data config, the split, the operating points and the training settings.
CHECKPOINT_ATTRIBUTE = "video_summarizer"
# Score from which a segment counts as a highlight, if a checkpoint holds no operating point.
DEFAULT_THRESHOLD = 0.5


# The validation loss at the end of a checkpoint's name.
LOSS_IN_NAME = re.compile(r"-(\d+\.\d+)\.hdf5$")

logger = logging.getLogger(__name__)


class CheckpointError(Exception):
    """A file is not a checkpoint of this toolkit, or cannot be read; the message says which and why."""


def write_checkpoint_attributes(path: str | os.PathLike, attributes: dict) -> None:
    """Write a dict that is serialisable as JSON into the HDF5 attributes of a checkpoint."""
    from videosummarizer.training.hdf5 import h5py

    with h5py.File(path, "r+") as file:
        file.attrs[CHECKPOINT_ATTRIBUTE] = json.dumps(attributes)


def read_checkpoint_attributes(path: str | os.PathLike) -> dict:
    """Read the dict that `write_checkpoint_attributes` wrote.

    Raises:
        CheckpointError: The file is missing or damaged, or it is not a checkpoint of this toolkit.
    """
    from videosummarizer.training.hdf5 import h5py
    from videosummarizer.training.hdf5_strings import check_global_heaps, check_string_lengths

    expected = "expected a .hdf5 file that main.py saved"
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: cannot be read as a checkpoint (there is no such file), {expected}")
    try:
        check_global_heaps(path)
        with h5py.File(path, "r") as file:
            check_string_lengths(path, file)
    except (OSError, ValueError, RuntimeError) as error:
        text = excerpt(first_line(error))
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({text}), {expected}") from error
    try:
        with h5py.File(path, "r") as file:
            attribute = file.attrs.get_id(CHECKPOINT_ATTRIBUTE)
            if h5py.check_string_dtype(attribute.dtype) is None or attribute.shape != ():
                raise ValueError("the attribute is not a string")
            if attribute.get_storage_size() > os.path.getsize(path):
                raise ValueError("the attribute claims more bytes than the file holds")
            text = file.attrs[CHECKPOINT_ATTRIBUTE]
            attributes = parse_json(text.encode() if isinstance(text, str) else text)
            if not isinstance(attributes, dict):
                raise ValueError("the attribute is not a dict")
            return attributes
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({error}), {expected}") from error
    except (KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{path}: received an HDF5 file without this toolkit's attributes, {expected}") from error


def find_best_checkpoint(folder: Path) -> tuple[Path, float, int]:
    """Find the checkpoint with the lowest validation loss in a folder, the latest of equal ones.

    The loss is the one among a checkpoint's attributes, else the one in its name. Other files are left out; damaged
    ones with a warning.

    Returns:
        Its path, its validation loss, and the number of checkpoints.

    Raises:
        CheckpointError: The folder has no checkpoint with a validation loss.
    """
    loss_of = {}
    for path in sorted(folder.glob("[!.]*.hdf5")):
        try:
            val_loss = read_checkpoint_attributes(path).get("val_loss")
        except CheckpointError as error:
            logger.warning("%s. It is left out", error)
            continue
        if type(val_loss) not in (int, float) and (named := LOSS_IN_NAME.search(path.name)):
            val_loss = float(named[1])
        if type(val_loss) in (int, float) and math.isfinite(val_loss):
            loss_of[path] = val_loss
    if not loss_of:
        raise CheckpointError(
            f"{folder}: received a folder without a checkpoint whose validation loss is known, expected one with a "
            ".hdf5 file that main.py saved: give the file"
        )
    best_path = min(loss_of, key=lambda path: (loss_of[path], -path.stat().st_mtime_ns))
    return best_path, loss_of[best_path], len(loss_of)


def read_operating_point(path: str | os.PathLike, name: str) -> OperatingPoint | None:
    """Read an operating point from the attributes of a checkpoint.

    Args:
        path: Path of the checkpoint.
        name: Name of the attribute that holds it.

    Returns:
        The operating point, None if the checkpoint has none of that name.

    Raises:
        CheckpointError: Another version saved it.
    """
    values = read_checkpoint_attributes(path).get(name)
    try:
        return None if values is None else parse_operating_point(values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: received an {name} of another version ({excerpt(str(error))}), expected a checkpoint of this one"
        ) from error


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint states about itself.

    Attributes:
        path: Path of the file.
        sha256: Hexadecimal SHA-256 of the file.
        config: Data config of the dataset that it was trained on.
        point: Operating point that was chosen on validation, or one of DEFAULT_THRESHOLD alone.
        has_operating_point: Whether the checkpoint holds an operating point.
        training_statistics: Statistics of the matches that it was trained on; None if it holds none.
    """

    path: Path
    sha256: str
    config: DataConfig
    point: OperatingPoint
    has_operating_point: bool
    training_statistics: TrainingStatistics | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what a checkpoint states about itself, without loading Keras.

    Raises:
        CheckpointError: The file is missing or damaged, or another version saved it.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file, expected a .hdf5 file that main.py saved")
    attributes = read_checkpoint_attributes(path)
    try:
        config = parse_config(attributes["config"])
        point = parse_operating_point(attributes.get("operating_point", {"threshold": DEFAULT_THRESHOLD}))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: received a checkpoint whose data config or operating point is another version's "
            f"({excerpt(str(error))}), expected one that this version of main.py saved"
        ) from error
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(path, sha256, config, point, "operating_point" in attributes, parse_statistics(attributes))


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint or, of a folder, the one with the lowest validation loss, and say which that is.

    Raises:
        CheckpointError: There is none that can be read.
    """
    if not path.is_dir():
        return read_checkpoint(path)
    best_path, val_loss, num_checkpoints = find_best_checkpoint(path)
    found = count_of(num_checkpoints, "checkpoint")
    print(f"{best_path}: of {found} the one with the lowest validation loss ({val_loss:.4f})")
    return read_checkpoint(best_path)
