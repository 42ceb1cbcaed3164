"""The split that a checkpoint was trained with. Another one would test it on matches that it has seen."""

import os

from videosummarizer.dataset.split import MAX_FOLDS, MIN_FOLDS
from videosummarizer.dataset.storage import open_dataset
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint_attributes
from videosummarizer.training.validation import TrainingError
from videosummarizer.untrusted_file import excerpt


def is_split(ratios: object) -> bool:
    """Return whether an object is a list of the ratios of train and valid, with a rest for test."""
    if not (isinstance(ratios, list) and len(ratios) == 2 and all(isinstance(ratio, float) for ratio in ratios)):
        return False
    return min(ratios) > 0 and sum(ratios) < 1


def is_fold(fold: object) -> bool:
    """Return whether an object is a list of a fold's number and the number of folds."""
    if not (isinstance(fold, list) and len(fold) == 2 and all(type(number) is int for number in fold)):
        return False
    return 1 <= fold[0] <= fold[1] and MIN_FOLDS <= fold[1] <= MAX_FOLDS


def read_trained_split(
    ckpt_path: str | os.PathLike, data_dir: str | os.PathLike, split: list[float] | None
) -> dict[str, object]:
    """Read how the dataset was split when a checkpoint was trained, to test it on a dataset that is split likewise.

    Args:
        ckpt_path: Path of the checkpoint.
        data_dir: The dataset.
        split: Ratios that were asked for, None for those of the checkpoint.

    Returns:
        Arguments of DataLoader: `train_ratio` and `valid_ratio`, or `fold`.

    Raises:
        metadata.DatasetError: The dataset cannot be read.
        checkpoint.CheckpointError: The checkpoint cannot be read, or states no split.
        TrainingError: It was trained with another data config, or another split was asked for.
    """
    config = open_dataset(data_dir).metadata["config"]
    attributes = read_checkpoint_attributes(ckpt_path)
    trained_split = attributes.get("fold", attributes.get("split"))
    if not is_split(trained_split) and not is_fold(attributes.get("fold")):
        raise CheckpointError(
            f"{ckpt_path}: received a checkpoint with the split {excerpt(str(trained_split))}, expected one that this "
            "version of main.py saved"
        )
    trained_with = f"--folds {trained_split[1]}" if "fold" in attributes else trained_split
    if split and split != trained_split:
        raise TrainingError(
            f"--split: received {split}, expected {trained_with} as {ckpt_path} was trained with: another split "
            "would test it on videos that it has seen"
        )
    if config != attributes.get("config"):
        raise TrainingError(
            f"{data_dir}: received a dataset with {config}, expected {str(attributes.get('config'))[:300]} as "
            f"{ckpt_path} was trained with"
        )
    if "fold" in attributes:
        return {"fold": tuple(trained_split)}
    return dict(zip(("train_ratio", "valid_ratio"), trained_split, strict=True))
