"""Test a checkpoint: score it and the baselines on a subset, and write the files of the test.

Arguments named `loader` are a `data_loader.DataLoader`.
"""

import logging
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write
from videosummarizer.error_messages import describe_exception
from videosummarizer.evaluation import plots, quality_report
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch
from videosummarizer.training import inference, training_statistics, validation
from videosummarizer.training.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_checkpoint_attributes,
    read_operating_point,
)
from videosummarizer.training.fusion import OUTPUTS

logger = logging.getLogger(__name__)


def evaluate(loader, ckpt_path: str, subset: str) -> tuple[dict, list[ScoredMatch], OperatingPoint, np.ndarray | None]:
    """Score a checkpoint and the baselines on a subset.

    Args:
        loader: Dataset with the subset.
        ckpt_path: Path of the checkpoint.
        subset: Name of the subset.

    Returns:
        The report; the scored matches; the operating point; and the loudness of the segments, (num_segments,) float64
        in [0, 1], None if the dataset or the checkpoint does not provide it.

    Raises:
        checkpoint.CheckpointError: The file is not a checkpoint.
        TrainingError: The network's scores are not numbers.
    """
    checkpoint = read_checkpoint(Path(ckpt_path))
    loudness_point = read_operating_point(ckpt_path, "loudness_operating_point")
    scored, loud = score(loader, ckpt_path, subset)
    if not loudness_point:
        loud = None
    report = {
        "checkpoint": Path(ckpt_path).name,
        "dataset": loader.dataset_dir.name,
        "subset": subset,
        **({"fold": list(loader.fold)} if loader.fold else {"split": [loader.train_ratio, loader.valid_ratio]}),
        "operating_point_chosen_on": "valid" if checkpoint.has_operating_point else None,
        **quality_report.compare(scored, checkpoint.point, loud, loudness_point),
    }
    report["unlike_training"] = warn_of_unlike_matches(loader, subset, checkpoint)
    report["calibration"]["held_out_on_valid"] = read_held_out_errors(read_checkpoint_attributes(ckpt_path))
    return report, scored, checkpoint.point, join_levels(loud)


def warn_of_unlike_matches(loader, subset: str, checkpoint: Checkpoint) -> dict[str, list[str]]:
    """Warn of the matches of a subset that are unlike those that a checkpoint was trained on.

    Returns:
        For each such match the differences, see `training_statistics.find_differences`.
    """
    expected, unlike = checkpoint.training_statistics, {}
    if expected is None:
        return unlike
    duration_of = {match.title: match.duration_sec for match in loader.matches(subset)}
    for title, found in training_statistics.measure_matches(loader, subset).items():
        differences = training_statistics.find_differences(expected, found, loader.config, duration_of[title])
        if differences:
            unlike[title] = differences
            logger.warning(training_statistics.describe_differences(title, differences, expected.num_matches))
    return unlike


def read_held_out_errors(attributes: dict) -> dict[str, float] | None:
    """Return the calibration errors that a checkpoint states of `validation.calibrate`; None where it states none."""
    try:
        stored = attributes["calibration"]
        errors = [float(stored[name]["held_out_error"]) for name in OUTPUTS]
    except (KeyError, TypeError, ValueError):
        return None
    return dict(zip(("per_segment", "per_step"), errors, strict=True))


def score(loader, ckpt_path: str, subset: str) -> tuple[list[ScoredMatch], list[ScoredMatch] | None]:
    """Score a subset with a checkpoint, and with the loudness of its audio.

    Returns:
        The matches with the scores of the network, and with those of the loudness baseline; None instead of the latter
        for a dataset of MFCCs.

    Raises:
        checkpoint.CheckpointError: The file is not a checkpoint.
        TrainingError: The network's scores are not numbers.
    """
    matches = loader.matches(subset)
    network = inference.load_network(read_checkpoint(Path(ckpt_path)))
    scores, step_scores = validation.predict(network, loader, subset)
    validation.check_finite(step_scores, subset)
    levels = validation.rms_levels(loader, subset)
    loud = None if levels is None else quality_report.score_matches(matches, *levels)
    return quality_report.score_matches(matches, scores, step_scores), loud


def join_levels(loud: list[ScoredMatch] | None) -> np.ndarray | None:
    """Return the loudness of the decided segments of all matches, (num_segments,), None where there is none."""
    return np.concatenate([match.scores[match.is_decided] for match in loud]) if loud else None


def write_results(
    ckpt_dir: Path,
    report: dict,
    scored: list[ScoredMatch],
    point: OperatingPoint,
    levels: np.ndarray | None,
    more: dict[str, bytes] | None = None,
) -> list[str]:
    """Write the files of a test: test_report.json, predictions.csv and the figures.

    Args:
        ckpt_dir: Folder for the files.
        report: Report of `evaluate`.
        scored: Scored matches of `evaluate`.
        point: Operating point of the checkpoint.
        levels: (num_segments,) loudness of the segments, None if there is none.
        more: The contents of further files by their names.

    Returns:
        The names of the files.

    Raises:
        TrainingError: Some files cannot be drawn or written. The others are written.
    """
    files = {
        "test_report.json": quality_report.write_report(report),
        "predictions.csv": quality_report.write_predictions(scored, point),
        **(more or {}),
    }
    problems = []
    try:
        files |= plots.plot_test(scored, point, levels)
    except Exception as error:  # also of matplotlib
        problems.append(f"the figures cannot be drawn ({describe_exception(error)})")
    ckpt_dir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        try:
            atomic_write(ckpt_dir / name, content)
        except OSError as error:
            problems.append(f"{name} cannot be written ({describe_exception(error)})")
    if problems:
        raise validation.TrainingError(
            f"{ckpt_dir}: {', '.join(problems)}: the checkpoint is kept, test it again with --mode test --ckpt"
        )
    return list(files)
