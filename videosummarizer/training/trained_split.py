"""The split that a checkpoint was trained with. Another one would test it on matches that it has seen."""

import os

from videosummarizer.dataset.storage import open_dataset
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint_attributes
from videosummarizer.training.validation import TrainingError
from videosummarizer.untrusted_file import excerpt


def is_split(ratios: object) -> bool:
    """Return whether an object is a list of the ratios of train and valid, with a rest for test."""
    if not (isinstance(ratios, list) and len(ratios) == 2 and all(isinstance(ratio, float) for ratio in ratios)):
        return False
    return min(ratios) > 0 and sum(ratios) < 1


def read_trained_split(
    ckpt_path: str | os.PathLike, data_dir: str | os.PathLike, split: list[float] | None
) -> list[float]:
    """Read the ratios of train and valid with which a checkpoint was trained, to test it on a dataset.

    Args:
        ckpt_path: Path of the checkpoint.
        data_dir: The dataset.
        split: Ratios that were asked for, None for those of the checkpoint.

    Raises:
        metadata.DatasetError: The dataset cannot be read.
        checkpoint.CheckpointError: The checkpoint cannot be read, or states no split.
        TrainingError: It was trained with another data config, or another split was asked for.
    """
    config = open_dataset(data_dir).metadata["config"]
    attributes = read_checkpoint_attributes(ckpt_path)
    trained_split = attributes.get("split")
    if not is_split(trained_split):
        raise CheckpointError(
            f"{ckpt_path}: received a checkpoint with the split {excerpt(str(trained_split))}, expected one that this "
            "version of main.py saved"
        )
    if split and split != trained_split:
        raise TrainingError(
            f"--split: received {split}, expected {trained_split} as {ckpt_path} was trained with: another split "
            "would test it on videos that it has seen"
        )
    if config != attributes.get("config"):
        raise TrainingError(
            f"{data_dir}: received a dataset with {config}, expected {str(attributes.get('config'))[:300]} as "
            f"{ckpt_path} was trained with"
        )
    return trained_split
