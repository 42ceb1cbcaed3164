"""videosummarizer.training.run_folder."""

import os
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write
from videosummarizer.training.checkpoint import write_checkpoint_attributes
from videosummarizer.training.keras_backend import keras


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Saves `<name>-<epoch>-<val_loss>.hdf5` in an epoch whose validation loss is lower than all before, whole or not
    at all, with `attributes` in it. `best_path` is the last one, None before the first.
    """

    def __init__(self, ckpt_dir: str | os.PathLike, name: str, attributes: dict):
        part_path = os.path.join(ckpt_dir, f".{name}.part.hdf5")
        # Keras 3 refuses the suffix .hdf5 in the constructor alone; and a baseline keeps NaN from being a best loss.
        super().__init__("x.h5", monitor="val_loss", mode="min", save_best_only=True, initial_value_threshold=np.inf)
        self.filepath = part_path
        self.ckpt_dir, self.name, self.attributes = ckpt_dir, name, attributes
        self.best_path: str | None = None

    def resume(self, best_path: str | None, best_loss: float) -> None:
        """Go on where another run of the same name stopped; a best checkpoint that is gone counts as none."""
        best_path = best_path and os.path.join(self.ckpt_dir, os.path.basename(best_path))  # which may have moved
        if best_path and os.path.exists(best_path):
            self.best_path, self.best = best_path, best_loss

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        best_before = self.best
        super().on_epoch_end(epoch, logs)
        if self.best == best_before:
            return
        write_checkpoint_attributes(
            self.filepath, {**self.attributes, "epoch": epoch + 1, "val_loss": logs["val_loss"]}
        )
        self.best_path = os.path.join(self.ckpt_dir, f"{self.name}-{epoch + 1:04d}-{logs['val_loss']:.4f}.hdf5")
        os.replace(self.filepath, self.best_path)


def make_event_log(path: Path):
    """A callback that writes metrics for TensorBoard; one that does nothing on another backend than TensorFlow, which
    would claim the GPU for itself to write them."""
    from videosummarizer.training.keras_backend import keras

    if keras.backend.backend() != "tensorflow":
        return keras.callbacks.Callback()
    return keras.callbacks.TensorBoard(path, write_graph=False)


def format_epoch(row: dict, num_epochs: int, saved: bool) -> str:
    """The line that tells of an epoch."""
    return (
        f"epoch {row['epoch']:3d}/{num_epochs}  loss {row['loss']:.4f} | valid: loss {row['val_loss']:.4f}  "
        f"precision {row['val_precision']:.3f}  recall {row['val_recall']:.3f}  F1 {row['val_f1']:.3f}  "
        f"average precision {row['val_average_precision']:.3f}{'  saved' if saved else ''}"
    )


def write_history(path: Path, history: list[dict]) -> None:
    """Write a CSV with a row for each epoch: its number, the training loss, and the metrics on validation."""
    names = list(history[0])
    rows = [",".join(names)] + [",".join(str(row[name]) for name in names) for row in history]
    atomic_write(path, ("\n".join(rows) + "\n").encode())
