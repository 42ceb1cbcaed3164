"""Calibration: a scale and an offset of the fused logits, so that scores are probabilities.

Training weights both classes equally and smooths the labels, so the scores of rare highlights are too high. Platt
scaling (Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Guo et al., "On Calibration of Modern Neural
Networks", 2017) corrects this with two numbers, fitted on validation, where all segments count equally. It keeps the
order of the scores, and with it the average precision.
"""

from collections.abc import Sequence

import numpy as np

from videosummarizer.evaluation import metrics
from videosummarizer.evaluation.decoding import log_odds

# Standard deviations of what is expected before any evidence: of the logarithm of the scale around 0, and of the offset
# around the one that undoes the class weights. All segments of a match together count as one observation, because they
# resemble each other: so few matches move both little, and no scale gets out of hand.
LOG_SCALE_DEVIATION = 1.0
OFFSET_DEVIATION = 2.0
# No calibration: the scale and the offset that change nothing.
IDENTITY = (1.0, 0.0)


def fit(logits: Sequence[np.ndarray], targets: Sequence[np.ndarray], class_weights: np.ndarray) -> tuple[float, float]:
    """Fit the scale and the offset of logits, with which they have the lowest log loss.

    Args:
        logits: For each match, (n,) float64 logits of its segments or time steps.
        targets: For each match, (n,) in [0, 1], their labels or highlighted fractions.
        class_weights: (2,) the weights of the classes in training, of other segments and of highlights.

    Returns:
        The scale, above 0, and the offset. IDENTITY where the targets are of one class.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    if not sum(map(len, logits)):
        return IDENTITY
    x, y = np.concatenate(logits), np.concatenate(targets)
    if not (y.min() < 0.5 < y.max()):
        return IDENTITY
    deviations = np.array([LOG_SCALE_DEVIATION, OFFSET_DEVIATION]) * np.sqrt(len(logits))
    expected = np.array([0.0, np.log(class_weights[0] / class_weights[1])])

    def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = np.exp(parameters[0]) * x
        calibrated = scaled + parameters[1]
        surprise = (parameters - expected) / deviations
        errors = expit(calibrated) - y
        loss = np.mean(np.logaddexp(0, calibrated) - y * calibrated) + surprise @ surprise / 2
        return loss, np.array([np.mean(errors * scaled), np.mean(errors)]) + surprise / deviations

    log_scale, offset = minimize(loss_and_gradient, expected, jac=True, method="BFGS").x
    scale = np.exp(log_scale)
    return (float(scale), float(offset)) if np.isfinite(scale) and np.isfinite(offset) else IDENTITY


def apply(logits: np.ndarray, calibration: tuple[float, float]) -> np.ndarray:
    """Return calibrated scores in [0, 1] of logits."""
    from scipy.special import expit

    scale, offset = calibration
    return expit(scale * logits + offset)


def apply_to_point(point: dict, calibration: tuple[float, float]) -> dict:
    """Return an operating point that finds in calibrated scores what the given one finds in the scores before.

    Args:
        point: The values of an OperatingPoint by their names.
        calibration: The scale and the offset of the scores of time steps.
    """
    threshold = float(apply(log_odds(point["threshold"]), calibration))
    return {**point, "threshold": threshold, "section_penalty": calibration[0] * point["section_penalty"]}


def held_out_error(
    logits: Sequence[np.ndarray], targets: Sequence[np.ndarray], class_weights: np.ndarray
) -> float | None:
    """Return the expected calibration error where each match is calibrated by a fit on the others.

    The fit on all matches would measure itself. None with a single match.

    Args:
        logits: See `fit`, as for the other arguments.
        targets: For each match, the targets.
        class_weights: (2,) the class weights in training.
    """
    if len(logits) < 2:
        return None
    scores = []
    for index in range(len(logits)):
        others = [[*parts[:index], *parts[index + 1 :]] for parts in (logits, targets)]
        scores.append(apply(logits[index], fit(*others, class_weights)))
    return metrics.reliability(np.concatenate(targets), np.concatenate(scores))["expected_calibration_error"]
