"""What a training run writes into its folder: checkpoints, TensorBoard events and history.csv."""

import os
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write, discard, prepare_folder, replace_durably
from videosummarizer.error_messages import first_line
from videosummarizer.training.checkpoint import write_checkpoint_attributes
from videosummarizer.training.keras_backend import keras


def prepare(ckpt_dir: Path) -> None:
    """Create the folder for the results.

    Raises:
        atomic_file.FolderError: It cannot be written to, which would otherwise be found out after the first epoch.
    """
    prepare_folder(ckpt_dir, "correct its permissions, make room, or choose another --ckpt_dir")


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Save `<name>-<epoch>-<val_loss>.hdf5` atomically after an epoch with the lowest validation loss so far.

    Args:
        ckpt_dir: Folder for the checkpoints.
        name: Beginning of their names.
        attributes: What each checkpoint states about itself, next to its epoch and validation loss.

    Attributes:
        best_path: Path of the last checkpoint, None before the first.
    """

    def __init__(self, ckpt_dir: str | os.PathLike, name: str, attributes: dict):
        # The constructor of Keras 3 refuses the suffix .hdf5, so the path is set afterwards; Keras calls its `format`.
        # The initial value keeps NaN from counting as the best loss.
        super().__init__("x.h5", monitor="val_loss", mode="min", save_best_only=True, initial_value_threshold=np.inf)
        self.part_path = os.path.join(ckpt_dir, f".{name}.part.hdf5")
        self.filepath = self.part_path.replace("{", "{{").replace("}", "}}")
        self.ckpt_dir, self.name, self.attributes = ckpt_dir, name, attributes
        self.best_path: str | None = None

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
        best_before, val_loss = self.best, logs["val_loss"]
        path = os.path.join(self.ckpt_dir, f"{self.name}-{epoch + 1:04d}-{val_loss:.4f}.hdf5")
        try:
            super().on_epoch_end(epoch, logs)
            if self.best == best_before:
                return
            write_checkpoint_attributes(self.part_path, {**self.attributes, "epoch": epoch + 1, "val_loss": val_loss})
            replace_durably(self.part_path, path)
        except BaseException as error:
            self.best = best_before
            discard(self.part_path)
            if not isinstance(error, Exception):
                raise
            # HDF5 raises several types, with messages of several lines.
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else first_line(error)
            raise OSError(
                f"{path}: the checkpoint cannot be written ({reason}): make room or correct the folder's permissions, "
                "then continue with --resume"
            ) from error
        self.best_path = path


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
