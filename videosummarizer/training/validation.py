"""Validation after an epoch: scores, fusion weights, metrics, calibration and the operating point.

The metrics are those of the scores before calibration, for which both classes count as in the training loss.

Arguments named `loader` are a `data_loader.DataLoader`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from videosummarizer.dataset.time_shift import UNDECIDED
from videosummarizer.evaluation import metrics, quality_report
from videosummarizer.evaluation.operating_point import choose_operating_point
from videosummarizer.training.checkpoint import DEFAULT_THRESHOLD

# Metrics that history.csv and the line printed after each epoch show.
SHOWN_METRICS = ("loss", "precision", "recall", "f1", "average_precision")


class TrainingError(Exception):
    """Training or testing cannot continue; the message says why and what to do."""


def rms_levels(loader, subset: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Compute the root mean square (RMS) of the audio, which the loudness baseline uses as scores.

    Returns:
        The levels of the segments, (num_segments,) float64 in [0, 1], and of their time steps, (num_segments, K). None
        for a dataset of MFCCs, because they are standardised within each segment, which removes the level.
    """
    if loader.config.apply_mfcc:
        return None
    waveforms = (audio for files in loader.files_by_match(subset) for _, audio in loader.read_match(files))
    levels, step_levels = [], []
    for power in (np.square(audio, dtype=np.float64) for audio in waveforms):
        levels.append(math.sqrt(power.mean()))
        step_levels.append([math.sqrt(part.mean()) for part in np.array_split(power, loader.num_steps)])
    return np.array(levels), np.array(step_levels)


def predict(network, loader, subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Score a subset with a network.

    Returns:
        The scores of the segments, in the order of the subset, (num_segments,) float32 in [0, 1], and of their time
        steps, (num_segments, K).
    """
    from videosummarizer.training.fusion import OUTPUTS

    rows = predict_outputs(network, loader, subset, OUTPUTS)
    return rows[:, 0], rows[:, 1:]


def predict_outputs(network, loader, subset: str, names: Sequence[str]) -> np.ndarray:
    """Return a network's outputs for a subset.

    Args:
        network: Network of `build_model`.
        loader: Dataset to score.
        subset: Name of the subset.
        names: Names of the outputs.

    Returns:
        (num_segments, num_columns) float32 in [0, 1]: one row per segment, in the order of the subset. The columns of
        the outputs follow each other in the order of the names.
    """
    from videosummarizer.training.inference import score_segments

    rows = (score_segments(network, loader.read_match(f), names=names) for f in loader.files_by_match(subset))
    return np.stack(list(itertools.chain.from_iterable(rows)))


def tune_fusion_weights(network, rows: np.ndarray, loader) -> np.ndarray:
    """Set the fusion weights of a network to those with the lowest validation loss.

    Scores of segments and scores of time steps get fusion weights of their own.

    Args:
        network: Network whose LateFusion layers are set.
        rows: (num_segments, 3 * (1 + K)), the outputs UNIMODAL_OUTPUTS of `predict_outputs` on validation.
        loader: Dataset with the labels.

    Returns:
        (num_segments, 1 + K) float64: the network's scores of segments and time steps with these weights.

    Raises:
        TrainingError: A score is not a number.
    """
    from videosummarizer.training.fusion import FUSION_LAYER, MODALITIES, OUTPUTS, search_fusion_weights

    check_finite(rows, "valid")
    labels, weights = labels_and_weights(loader)
    targets = (labels[:, np.newaxis], np.concatenate(list(loader.steps("valid").values())))
    columns = np.split(rows.reshape(len(rows), len(MODALITIES), -1), [1], axis=2)
    fused_scores = []
    for name, unimodal_scores, target in zip(OUTPUTS, columns, targets, strict=True):
        is_decided = target != UNDECIDED
        target_weights = weights if is_decided.all() else weights[:, np.newaxis] * is_decided
        fusion_weights, scores = search_fusion_weights(unimodal_scores, target, target_weights)
        network.get_layer(FUSION_LAYER.format(name)).assign(fusion_weights)
        fused_scores.append(scores)
    return np.concatenate(fused_scores, axis=1)


def calibrate(network, scores: np.ndarray, loader) -> dict[str, dict]:
    """Calibrate the fused scores of a network, so that they are probabilities where classes are as rare as they are.

    Scores of segments and scores of time steps are calibrated separately. Only decided ones before a match's end count.

    Args:
        network: Network whose LateFusion layers are set. Their fusion weights are those of `tune_fusion_weights`.
        scores: (num_segments, 1 + K), the scores of `tune_fusion_weights`.
        loader: Dataset with the labels.

    Returns:
        For each of OUTPUTS a dict, as checkpoints hold them: `scale`, `offset`, and `held_out_error`, the expected
        calibration error on validation (`calibration.held_out_error`).
    """
    from videosummarizer.training import calibration
    from videosummarizer.training.fusion import EPSILON, FUSION_LAYER, OUTPUTS

    logits = np.clip(scores.astype(np.float64), EPSILON, 1 - EPSILON)
    logits = np.log(logits) - np.log1p(-logits)
    matches = quality_report.score_matches(loader.matches("valid"), logits[:, 0], logits[:, 1:])
    matches = [match for match in matches if match.is_decided.any()]
    of_segments = [m.scores[m.is_decided] for m in matches], [m.labels[m.is_decided] for m in matches]
    of_steps = [match.kept_scores() for match in matches], [match.step_targets() for match in matches]
    class_weights, stored = loader.class_weights("train"), {}
    for name, fitted in zip(OUTPUTS, (of_segments, of_steps), strict=True):
        scale, offset = calibration.fit(*fitted, class_weights)
        layer = network.get_layer(FUSION_LAYER.format(name))
        layer.assign(scale * np.asarray(layer.fusion_weights), offset)
        error = calibration.held_out_error(*fitted, class_weights)
        stored[name] = {"scale": scale, "offset": offset, "held_out_error": error}
    return stored


def labels_and_weights(loader) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the validation segments, and their weights in the loss, (num_segments,) each.

    The class weights are those of the training loss, so that both losses measure the same. Undecided segments have 0.
    """
    labels = loader.labels("valid")
    return labels, loader.class_weights("train")[labels] * loader.is_decided("valid")


def validate(scores: np.ndarray, loader) -> dict:
    """Compute SHOWN_METRICS on validation.

    Args:
        scores: (num_segments,) in [0, 1], scores of the validation segments.
        loader: Dataset with the labels.

    Returns:
        The metrics by their names with "val_" in front.
    """
    labels, weights = labels_and_weights(loader)
    is_decided = loader.is_decided("valid")
    labels, scores, weights = labels[is_decided], scores[is_decided], weights[is_decided]
    values = metrics.evaluate(labels, scores, scores >= DEFAULT_THRESHOLD)
    values["loss"] = metrics.log_loss(labels, scores, weights)
    return {f"val_{name}": values[name] for name in SHOWN_METRICS}


def check_finite(scores: np.ndarray, subset: str) -> None:
    """Raise TrainingError if a score of a subset is not a number."""
    if np.isnan(scores).any():
        raise TrainingError(
            f"{subset}: the network's scores are not numbers, expected scores from 0 to 1. If training diverged, lower "
            "--learning_rate. If the audio of a segment is not numbers, --check_data names the segment"
        )


def fit_operating_point(scores: np.ndarray, step_scores: np.ndarray, loader) -> dict:
    """Choose the operating point with which scores on validation become the best sections.

    Args:
        scores: (num_segments,) in [0, 1], scores of the validation segments.
        step_scores: (num_segments, K) in [0, 1], scores of their time steps.
        loader: Dataset with the labels.

    Returns:
        The fields of the OperatingPoint, as checkpoints hold them.

    Raises:
        TrainingError: All sections on validation are mostly undecided.
    """
    matches = quality_report.score_matches(loader.matches("valid"), scores, step_scores)
    if not any(len(match.reference_sections_sec) for match in matches):
        raise TrainingError(
            f"{loader.dataset_dir}: received validation matches whose sections are mostly undecided, expected at least "
            "one that has been looked at: mark it on the review page, and convert again"
        )
    return asdict(choose_operating_point(matches))
