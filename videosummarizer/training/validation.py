"""videosummarizer.training.validation."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from videosummarizer.evaluation import metrics, quality_report
from videosummarizer.evaluation.operating_point import choose_operating_point
from videosummarizer.training.checkpoint import DEFAULT_THRESHOLD

SHOWN_METRICS = ("loss", "precision", "recall", "f1", "average_precision")


class TrainingError(Exception):
    """Training or testing cannot go on; the message says why and what to do."""


def rms_levels(loader, subset: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The root mean square of each segment's sound, (num_segments,) float64 in [0, 1], and of each step's,
    (num_segments, K): the scores of a baseline. None for a dataset of MFCCs: they are standardised within each segment,
    which takes the level out."""
    if loader.config.apply_mfcc:
        return None
    sounds = (audio for files in loader.files_by_match(subset) for _, audio in loader.read_match(files))
    levels, step_levels = [], []
    for power in (np.square(sound, dtype=np.float64) for sound in sounds):
        levels.append(math.sqrt(power.mean()))
        step_levels.append([math.sqrt(part.mean()) for part in np.array_split(power, loader.num_steps)])
    return np.array(levels), np.array(step_levels)


def predict(network, loader, subset: str) -> tuple[np.ndarray, np.ndarray]:
    """The network's scores of a subset, in order: (num_segments,) float32 in [0, 1] of the segments, and of their steps
    (num_segments, K)."""
    from videosummarizer.training.fusion import OUTPUTS

    rows = predict_outputs(network, loader, subset, OUTPUTS)
    return rows[:, 0], rows[:, 1:]


def predict_outputs(network, loader, subset: str, names: Sequence[str]) -> np.ndarray:
    """The network's outputs of these names for a subset, in order: (num_segments, ...) float32, side by side."""
    from videosummarizer.training.inference import score_segments

    rows = (score_segments(network, loader.read_match(f), names=names) for f in loader.files_by_match(subset))
    return np.stack(list(itertools.chain.from_iterable(rows)))


def tune_fusion_weights(network, rows: np.ndarray, loader) -> np.ndarray:
    """Let each of the network's senses count as much as is best on validation, for the scores of segments and for those
    of steps, by what the senses say there, as from `predict_outputs` of UNIMODAL_OUTPUTS; returns the scores and those
    of the steps then, (num_segments, 1 + K).

    Raises:
        TrainingError: scores are not numbers.
    """
    from videosummarizer.training.fusion import FUSION_LAYER, MODALITIES, OUTPUTS, search_fusion_weights

    check_finite(rows, "valid")
    labels, weights = labels_and_weights(loader)
    targets = (labels[:, np.newaxis], np.concatenate(list(loader.steps("valid").values())))
    columns = np.split(rows.reshape(len(rows), len(MODALITIES), -1), [1], axis=2)
    chosen = []
    for name, scores_of_senses, target in zip(OUTPUTS, columns, targets, strict=True):
        shares, scores = search_fusion_weights(scores_of_senses, target, weights)
        network.get_layer(FUSION_LAYER.format(name)).fusion_weights.assign(shares)
        chosen.append(scores)
    return np.concatenate(chosen, axis=1)


def labels_and_weights(loader) -> tuple[np.ndarray, np.ndarray]:
    """The labels of the segments of validation, and their weights in its loss, (num_segments,) each. The classes are
    weighted as in training's loss, so that the best epoch is best at what it was trained for."""
    labels = loader.labels("valid")
    return labels, loader.class_weights("train")[labels]


def validate(scores: np.ndarray, loader) -> dict:
    """The metrics of SHOWN_METRICS of scores on validation, their names after "val_"."""
    labels, weights = labels_and_weights(loader)
    found = metrics.evaluate(labels, scores, scores >= DEFAULT_THRESHOLD)
    found["loss"] = metrics.log_loss(labels, scores, weights)
    return {f"val_{name}": found[name] for name in SHOWN_METRICS}


def check_finite(scores: np.ndarray, subset: str) -> None:
    """Raises TrainingError where scores of a subset are not numbers."""
    if np.isnan(scores).any():
        raise TrainingError(
            f"{subset}: the network's scores are not numbers, expected scores from 0 to 1: it diverged, so lower "
            "--learning_rate; or a segment's sound is not numbers, which --check_data would name"
        )


def fit_operating_point(scores: np.ndarray, step_scores: np.ndarray, loader) -> dict:
    """Where scores on validation, as from `predict`, best become sections, as a dict for a checkpoint."""
    return asdict(choose_operating_point(quality_report.score_matches(loader.matches("valid"), scores, step_scores)))
