"""Where an interrupted training run goes on: `resume.npz` in ckpt_dir, replaced whole after each finished epoch.

It holds the numbers of the network, of its optimizer and of the average of its weights (moments, steps done, states of
random generators), the history so far, and the settings that the run was started with. Arrays and JSON alone: reading
it runs nothing.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write


class ResumeError(Exception):
    """There is nothing to resume, or it belongs to another run; the message says which and what to do."""


FILE_NAME = "resume.npz"


@dataclass
class TrainingState:
    """settings: JSON-able, what has to be the same again. history: a dict for each finished epoch. run_name: the
    beginning of its checkpoints' names. best_path: its best checkpoint, if any. variables: of `snapshot`."""

    settings: dict
    history: list[dict]
    run_name: str
    best_path: str | None
    variables: list[np.ndarray]


def variables_of(network) -> list:
    """Every variable that training changes: of the network, its random generators and its optimizer."""
    metric_ids = {id(variable) for variable in network.metrics_variables}  # made late, and begun anew each epoch
    return [v for v in network.variables if id(v) not in metric_ids] + network.optimizer.variables


def snapshot(network, average) -> list[np.ndarray]:
    """Return copies of all values of a compiled network, its optimizer and its ExponentialMovingAverage."""
    numbers = [np.array(variable.numpy()) for variable in variables_of(network)]
    return [np.array(average.num_updates), *map(np.copy, average.values), *numbers]


def restore(network, average, numbers: list[np.ndarray]) -> None:
    """Give a compiled network of the same build, and its average, the numbers that `snapshot` took.

    Raises:
        ResumeError: they are another network's or another backend's.
    """
    variables, num_averaged = variables_of(network), len(average.values)
    shapes = [(), *(value.shape for value in average.values), *(tuple(variable.shape) for variable in variables)]
    if [number.shape for number in numbers] != shapes:
        raise ResumeError(
            f"{FILE_NAME}: received the numbers of another version's network or another KERAS_BACKEND's: train without "
            "--resume"
        )
    average.num_updates = int(numbers[0])
    average.values = [np.copy(value) for value in numbers[1 : 1 + num_averaged]]
    for variable, value in zip(variables, numbers[1 + num_averaged :], strict=True):
        variable.assign(value)


def write(ckpt_dir: Path, point: TrainingState) -> None:
    """Replace the resume point in ckpt_dir."""
    rest = json.dumps({name: value for name, value in vars(point).items() if name != "variables"})
    content = io.BytesIO()
    np.savez(content, *point.variables, rest=np.frombuffer(rest.encode(), np.uint8))
    atomic_write(ckpt_dir / FILE_NAME, content.getvalue())


def read(ckpt_dir: Path, settings: dict) -> TrainingState:
    """The resume point in ckpt_dir.

    Raises:
        ResumeError: there is none, it is damaged, or it was written by a run with other settings.
    """
    path = ckpt_dir / FILE_NAME
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            rest = json.loads(arrays["rest"].tobytes())
            variables = [arrays[f"arr_{number}"] for number in range(len(arrays.files) - 1)]
        point = TrainingState(variables=variables, **rest)
    except FileNotFoundError as error:
        raise ResumeError(f"{path}: nothing to resume, no epoch was finished there: train without --resume") from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ResumeError(f"{path}: cannot be read ({error}): train without --resume") from error
    changed = [name for name, value in settings.items() if point.settings.get(name) != value]
    if changed:
        raise ResumeError(
            f"{path}: the run there was started with "
            + ", ".join(f"{name} {point.settings.get(name)}" for name in changed)
            + ", received "
            + ", ".join(f"{name} {settings[name]}" for name in changed)
            + ": give the same again, or start anew, without --resume or in another folder"
        )
    return point
