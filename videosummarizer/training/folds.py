"""Cross-validation: the scores of each fold's test matches, and the report on the matches of all folds.

Arguments named `loader` are a `data_loader.DataLoader` of one fold.
"""

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write, discard, replace_durably
from videosummarizer.evaluation import metrics, quality_report
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch, choose_operating_point
from videosummarizer.training import resume_point, testing
from videosummarizer.training.checkpoint import read_checkpoint, read_checkpoint_attributes, write_checkpoint_attributes

SCORES_NAME = "fold_scores.npz"


@dataclass(frozen=True)
class Fold:
    """A finished fold.

    Attributes:
        number: Its number, from 1 on.
        ckpt_path: The path of its best checkpoint.
        scored: Its test matches with the scores of that checkpoint.
        loud: The same matches with the loudness baseline's scores; None for a dataset of MFCCs.
        unlike: What is different in matches unlike those that the checkpoint was trained with, by title.
    """

    number: int
    ckpt_path: str
    scored: list[ScoredMatch]
    loud: list[ScoredMatch] | None
    unlike: dict[str, list[str]] = field(default_factory=dict)


def folder_of(ckpt_dir: Path, number: int) -> Path:
    """Return the folder of a fold's run."""
    return ckpt_dir / f"fold_{number}"


def score(loader, ckpt_path: str, settings: dict) -> Fold:
    """Score the test matches of a fold, and store the scores next to its checkpoint.

    Args:
        loader: Dataset, split as for the fold.
        ckpt_path: Path of the fold's best checkpoint.
        settings: Settings of its run, by flag.

    Raises:
        checkpoint.CheckpointError: The file is not a checkpoint.
        validation.TrainingError: The network's scores are not numbers.
        OSError: The scores cannot be written.
    """
    scored, loud = testing.score(loader, ckpt_path, "test")
    arrays = {"scores": [m.scores for m in scored], "step_scores": [m.step_scores for m in scored]}
    if loud:
        arrays |= {"levels": [m.scores for m in loud], "step_levels": [m.step_scores for m in loud]}
    content = io.BytesIO()
    stored = json.dumps({"ckpt": Path(ckpt_path).name, "settings": settings})
    arrays = {name: np.concatenate(parts) for name, parts in arrays.items()}
    np.savez(content, stored=np.frombuffer(stored.encode(), np.uint8), **arrays)
    atomic_write(Path(ckpt_path).with_name(SCORES_NAME), content.getvalue())
    return Fold(loader.fold[0], ckpt_path, scored, loud, warn_of_unlike_matches(loader, ckpt_path))


def read(loader, fold_dir: Path, settings: dict) -> Fold | None:
    """Read the scores of a finished fold.

    Args:
        loader: Dataset, split as for the fold.
        fold_dir: The folder of its run.
        settings: Settings that the run must have been started with.

    Returns:
        The fold; None if it is not finished, or if the file is damaged, so that it has to be scored again.

    Raises:
        resume_point.ResumeError: The run has other settings.
        checkpoint.CheckpointError: Its checkpoint cannot be read.
    """
    path, matches = fold_dir / SCORES_NAME, loader.matches("test")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = json.loads(arrays["stored"].tobytes())
            scored = quality_report.score_matches(matches, arrays["scores"], arrays["step_scores"])
            loud = None
            if "levels" in arrays:
                loud = quality_report.score_matches(matches, arrays["levels"], arrays["step_levels"])
        ckpt_path = fold_dir / Path(stored["ckpt"]).name
        stored_settings = dict(stored["settings"])
    except resume_point.READING_ERRORS:
        return None
    resume_point.check_settings(path, stored_settings, settings)
    if not ckpt_path.is_file():
        return None
    return Fold(loader.fold[0], str(ckpt_path), scored, loud, warn_of_unlike_matches(loader, ckpt_path))


def warn_of_unlike_matches(loader, ckpt_path: str | Path) -> dict[str, list[str]]:
    """Warn of the test matches of a fold that are unlike those that its checkpoint was trained with; return them."""
    return testing.warn_of_unlike_matches(loader, "test", read_checkpoint(Path(ckpt_path)))


def combine(folds: Sequence[Fold], num_folds: int, dataset_name: str) -> tuple[dict, list[ScoredMatch], OperatingPoint]:
    """Measure the matches of all folds together, at the operating point that is best for all of their scores.

    Args:
        folds: All folds that have matches.
        num_folds: The number of folds.
        dataset_name: The name of the dataset.

    Returns:
        The report, as of `testing.evaluate` and with `f1_with_point_of_other_folds`; the scored matches by title; and
        the operating point.
    """
    scored = sort_matches([match for fold in folds for match in fold.scored])
    point = choose_operating_point(scored)
    has_levels = all(fold.loud for fold in folds)
    loud = sort_matches([match for fold in folds for match in fold.loud]) if has_levels else None
    report = {
        "checkpoint": [f"{folder_of(Path(), fold.number)}/{Path(fold.ckpt_path).name}" for fold in folds],
        "dataset": dataset_name,
        "subset": "all folds",
        "folds": num_folds,
        "operating_point_chosen_on": "the scores of all folds",
        **quality_report.compare(scored, point, loud, choose_operating_point(loud) if loud else None),
        "f1_with_point_of_other_folds": cross_fitted_f1(folds),
        "unlike_training": {title: found for fold in folds for title, found in fold.unlike.items()},
    }
    return report, scored, point


def sort_matches(matches: list[ScoredMatch]) -> list[ScoredMatch]:
    """Return matches in the order of their titles."""
    return sorted(matches, key=lambda match: match.title)


def levels_of(folds: Sequence[Fold]) -> np.ndarray | None:
    """Return the loudness of the segments of all folds, (num_segments,) in the order of `combine`; None without it."""
    if not all(fold.loud for fold in folds):
        return None
    return testing.join_levels(sort_matches([match for fold in folds for match in fold.loud]))


def cross_fitted_f1(folds: Sequence[Fold]) -> dict[str, float] | None:
    """Compute the event F1 where each fold's sections are found with the operating point of the other folds' scores.

    The operating point of all scores is chosen on the same matches that it is measured on, which is slightly too good.

    Returns:
        F1 by `iou_0.3` and `iou_0.5`; None for a single fold.
    """
    if len(folds) < 2:
        return None
    references, predicted = [], []
    for fold in folds:
        point = choose_operating_point([match for other in folds if other is not fold for match in other.scored])
        references += [match.reference_sections_sec for match in fold.scored]
        predicted += [match.counted_sections_sec(point) for match in fold.scored]
    return {
        f"iou_{threshold:g}": metrics.evaluate_events(references, predicted, threshold)["f1"]
        for threshold in quality_report.SHOWN_IOU_THRESHOLDS
    }


def format_report(report: dict) -> str:
    """Format a report of `combine` for the terminal, with a sentence on what its figures mean."""
    lines = [quality_report.format_report(report), ""]
    if f1 := report["f1_with_point_of_other_folds"]:
        values = ", ".join(f"{value:.3f} at IoU {name.removeprefix('iou_')}" for name, value in f1.items())
        lines.append(f"F1 by section with an operating point that was chosen on the other folds: {values}")
    lines.append(
        f"Each of these {len(report['videos'])} matches was scored by a network that was trained without it: expect "
        "such figures on new matches of the same kind, within the intervals"
    )
    return "\n".join(lines)


def save_checkpoint(fold: Fold, ckpt_dir: Path, point: OperatingPoint) -> str:
    """Copy the checkpoint of a fold into the folder of all folds, with the operating point of all scores.

    Returns:
        The path of the copy.

    Raises:
        OSError: The file cannot be written.
    """
    path = ckpt_dir / Path(fold.ckpt_path).name
    part = path.with_name(f".{path.stem}.part.hdf5")
    try:
        shutil.copyfile(fold.ckpt_path, part)
        write_checkpoint_attributes(part, read_checkpoint_attributes(part) | {"operating_point": asdict(point)})
        replace_durably(part, path)
    except BaseException:
        discard(part)
        raise
    return str(path)
