"""Resume points: the state of a training run in `resume.npz`, which is replaced atomically after each epoch.

The file holds all variables of the network and its optimizer (weights, moments, step count, states of random
generators), the moving average of the weights, the history so far, and the settings of the run. It consists of arrays
and JSON only, so that reading it executes nothing.
"""

import io
import json
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write
from videosummarizer.untrusted_file import excerpt, parse_json


class ResumeError(Exception):
    """There is no run to resume, or it has other settings; the message says which and what to do."""


FILE_NAME = "resume.npz"
# Errors of zipfile, NumPy and TrainingState at damaged files.
READING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclass
class TrainingState:
    """The state of a training run after an epoch.

    Attributes:
        settings: What has to stay the same when the run is resumed, by flag. Serialisable as JSON.
        history: A dict for each finished epoch.
        run_name: Beginning of the names of the run's checkpoints.
        best_path: Path of the best checkpoint, None if there is none.
        variables: Arrays of `snapshot`.
    """

    settings: dict
    history: list[dict]
    run_name: str
    best_path: str | None
    variables: list[np.ndarray]


def variables_of(network) -> list:
    """Return every variable that training changes: of the network, its random generators and its optimizer."""
    # Variables of metrics are created late and reset for each batch, so they are left out.
    metric_ids = {id(variable) for variable in network.metrics_variables}
    return [v for v in network.variables if id(v) not in metric_ids] + network.optimizer.variables


def snapshot(network, average) -> list[np.ndarray]:
    """Return copies of all values of a compiled network, its optimizer and its ExponentialMovingAverage."""
    return [np.array(variable.numpy()) for variable in [*average.variables, *variables_of(network)]]


def restore(network, average, values: list[np.ndarray]) -> None:
    """Set a compiled network, its optimizer and its moving average to the values of a snapshot.

    Args:
        network: Compiled network with the layers of the one that `snapshot` copied.
        average: Its ExponentialMovingAverage.
        values: Arrays of `snapshot`.

    Raises:
        ResumeError: The arrays have other shapes: they come from another network or another backend.
    """
    variables = [*average.variables, *variables_of(network)]
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise ResumeError(
            f"{FILE_NAME}: received the values of another version's network or another KERAS_BACKEND, expected "
            "this network's: start again with --overwrite"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def write(ckpt_dir: Path, state: TrainingState) -> None:
    """Write the resume point into ckpt_dir, in place of the one before."""
    rest = json.dumps({name: value for name, value in vars(state).items() if name != "variables"})
    content = io.BytesIO()
    np.savez(content, *state.variables, rest=np.frombuffer(rest.encode(), np.uint8))
    atomic_write(ckpt_dir / FILE_NAME, content.getvalue())


def read_arrays(path: Path) -> TrainingState:
    """Read a state from its file, in memory of the file's size.

    Raises:
        One of READING_ERRORS.
    """
    num_bytes = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > num_bytes:
                raise ValueError(f"its part {info.filename!r} is compressed or too long")
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        rest = parse_json(arrays["rest"].tobytes())
        variables = [arrays[f"arr_{number}"] for number in range(len(arrays.files) - 1)]
    return TrainingState(variables=variables, **rest)


def check_state(state: TrainingState) -> None:
    """Raise ValueError unless the values of a state are of the kinds that `write` is given."""
    rows = state.history
    are_rows = isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    if not are_rows or not {"epoch", "loss", "val_loss"} <= rows[0].keys():
        raise ValueError("its history has no epochs")
    if any(row.keys() != rows[0].keys() or not all(map(is_number, row.values())) for row in rows):
        raise ValueError("its history has rows without numbers")
    if not isinstance(state.settings, dict) or not isinstance(state.best_path, str | None):
        raise ValueError("its settings are damaged")
    if not isinstance(state.run_name, str) or not re.fullmatch(r"[\w.-]+", state.run_name, re.ASCII):
        raise ValueError("its name of the run is damaged")
    if not all(variable.dtype.kind in "biuf" for variable in state.variables):
        raise ValueError("its arrays are not numbers")


def is_number(value) -> bool:
    """Return whether a value is a number; bool is a subclass of int."""
    return type(value) in (int, float)


def read(ckpt_dir: Path, settings: dict) -> TrainingState:
    """Read the resume point in ckpt_dir.

    Args:
        ckpt_dir: Folder of the run.
        settings: Settings that the run must have been started with.

    Raises:
        ResumeError: There is no resume point, it is damaged, or its run has other settings.
    """
    path = ckpt_dir / FILE_NAME
    try:
        state = read_arrays(path)
        check_state(state)
    except FileNotFoundError as error:
        raise ResumeError(f"{path}: nothing to resume, no epoch was finished: train without --resume") from error
    except READING_ERRORS as error:
        raise ResumeError(f"{path}: cannot be read ({excerpt(str(error))}): start again with --overwrite") from error
    check_settings(path, state.settings, settings)
    return state


def check_settings(path: Path, stored: dict, settings: dict) -> None:
    """Check that a run has the settings that it was started with.

    Args:
        path: The file with the stored settings, for the message.
        stored: Settings that the run was started with, by flag.
        settings: Settings that are expected to be among them.

    Raises:
        ResumeError: Some differ.
    """
    changed = [name for name, value in settings.items() if stored.get(name) != value]
    if changed:
        raise ResumeError(
            f"{path}: this run was started with "
            + ", ".join(f"{name} {excerpt(str(stored.get(name)))}" for name in changed)
            + ", received "
            + ", ".join(f"{name} {settings[name]}" for name in changed)
            + ": give the same flags, or start from scratch, with --overwrite or in another folder"
        )
