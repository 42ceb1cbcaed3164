"""What a training run writes into its folder: checkpoints, TensorBoard events and history.csv."""

import os
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write, discard, replace_durably, require_writable
from videosummarizer.training.checkpoint import write_checkpoint_attributes
from videosummarizer.training.keras_backend import keras


def prepare(ckpt_dir: Path) -> None:
    """Create the folder for the results.

    Raises:
        atomic_file.FolderError: It cannot be written to, which would otherwise be found out after the first epoch.
    """
    require_writable(ckpt_dir, "correct its permissions, make room, or choose another --ckpt_dir")
    ckpt_dir.mkdir(parents=True, exist_ok=True)


class BestCheckpoint(keras.callbacks.Callback):
    """Save `<name>-<epoch>-<val_loss>.hdf5` atomically after an epoch with the lowest validation loss so far.

    Args:
        ckpt_dir: Folder for the checkpoints.
        name: Beginning of their names.
        attributes: What each checkpoint states about itself, next to its epoch and validation loss.

    Attributes:
        best: Lowest validation loss so far, infinite before the first checkpoint.
        best_path: Path of the last checkpoint, None before the first.
    """

    def __init__(self, ckpt_dir: str | os.PathLike, name: str, attributes: dict):
        super().__init__()
        self.ckpt_dir, self.name, self.attributes = ckpt_dir, name, attributes
        self.best, self.best_path = np.inf, None

    def resume(self, best_path: str | None, best_loss: float) -> None:
        """Continue from the best checkpoint of the run before, if it still exists.

        Args:
            best_path: Path that it had, None if there was none. The folder may have been moved since.
            best_loss: Its validation loss.
        """
        best_path = best_path and os.path.join(self.ckpt_dir, os.path.basename(best_path))
        if best_path and os.path.exists(best_path):
            self.best_path, self.best = best_path, best_loss

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save the network if this epoch is the best one.

        Raises:
            OSError: The checkpoint cannot be written.
        """
        val_loss = logs["val_loss"]
        if not val_loss < self.best:  # never for NaN
            return
        path = os.path.join(self.ckpt_dir, f"{self.name}-{epoch + 1:04d}-{val_loss:.4f}.hdf5")
        part_path = os.path.join(self.ckpt_dir, f".{self.name}.part.hdf5")
        try:
            self.model.save(part_path)
            write_checkpoint_attributes(part_path, {**self.attributes, "epoch": epoch + 1, "val_loss": val_loss})
            replace_durably(part_path, path)
        except BaseException as error:
            discard(part_path)
            if not isinstance(error, Exception):
                raise
            # HDF5 raises several types, with messages of several lines.
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else str(error).partition("\n")[0]
            raise OSError(
                f"{path}: the checkpoint cannot be written ({reason}): make room or correct the folder's permissions, "
                "then continue with --resume"
            ) from error
        self.best, self.best_path = val_loss, path


def make_event_log(path: Path):
    """Return a callback that writes metrics for TensorBoard into a folder.

    On backends other than TensorFlow the callback does nothing: TensorFlow would write the events, and would claim the
    GPU to do so.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.callbacks.Callback()
    return keras.callbacks.TensorBoard(path, write_graph=False)


def format_epoch(row: dict, num_epochs: int, saved: bool) -> str:
    """Return the line that is printed after an epoch.

    Args:
        row: The epoch's row of the history.
        num_epochs: Epochs in the whole run.
        saved: Whether a checkpoint was saved.
    """
    return (
        f"epoch {row['epoch']:3d}/{num_epochs}  loss {row['loss']:.4f} | valid: loss {row['val_loss']:.4f}  "
        f"precision {row['val_precision']:.3f}  recall {row['val_recall']:.3f}  F1 {row['val_f1']:.3f}  "
        f"average precision {row['val_average_precision']:.3f}{'  saved' if saved else ''}"
    )


def write_history(path: Path, history: list[dict]) -> None:
    """Write history.csv: one row per epoch, with its number, the training loss and the validation metrics."""
    names = list(history[0])
    rows = [",".join(names)] + [",".join(str(row[name]) for name in names) for row in history]
    atomic_write(path, ("\n".join(rows) + "\n").encode())
