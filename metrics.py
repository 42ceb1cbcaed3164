"""Segment-level scores of highlight predictions. Conventions: 1 is the highlight class; a score is in [0, 1].

`evaluate` is the only function most callers need; every function takes

    reference_labels: (num_segments,) int of 0 or 1, what the label files say
    predicted_scores: (num_segments,) float in [0, 1], what the model says
"""

import numpy as np
import sklearn.metrics

LOG_LOSS_EPSILON = 1e-7  # as Keras clips probabilities


def validate(reference_labels: np.ndarray, predicted_scores: np.ndarray) -> None:
    """Raises ValueError unless both are vectors of one length above 0, labels 0 or 1, scores in [0, 1]."""
    if reference_labels.ndim != 1 or reference_labels.shape != predicted_scores.shape or not len(reference_labels):
        raise ValueError(
            f"received labels of shape {reference_labels.shape} and scores of shape {predicted_scores.shape}, "
            "expected two vectors of one length above 0"
        )
    if not np.isin(reference_labels, (0, 1)).all():
        raise ValueError(f"received labels {np.unique(reference_labels).tolist()}, expected 0 and 1")
    if not ((predicted_scores >= 0) & (predicted_scores <= 1)).all():
        raise ValueError("received scores outside [0, 1] or not a number: the model diverged, lower --learning_rate")


def log_loss(reference_labels: np.ndarray, predicted_scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean binary cross-entropy in nats; weights: (num_segments,) float, each segment counted once where not given."""
    scores = np.clip(predicted_scores.astype(np.float64), LOG_LOSS_EPSILON, 1 - LOG_LOSS_EPSILON)
    return float(-np.average(np.where(reference_labels == 1, np.log(scores), np.log1p(-scores)), weights=weights))


def evaluate(reference_labels: np.ndarray, predicted_scores: np.ndarray, threshold: float) -> dict:
    """Scores of predictions, a segment found where its score is at least the threshold.

    Returns:
        A dict, always in this order: segments, highlights (counts), loss, precision, recall, f1 (0 where nothing
        was found or nothing is there), average_precision (the mean of precision over recall steps, without
        interpolation, as scikit-learn defines it; NaN without a highlight), confusion_matrix
        ([[true negatives, false positives], [false negatives, true positives]]).

    Raises:
        ValueError: as `validate` does.
    """
    validate(reference_labels, predicted_scores)
    predicted_labels = (predicted_scores >= threshold).astype(int)
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        reference_labels, predicted_labels, average="binary", zero_division=0
    )
    has_highlight = bool(reference_labels.any())
    return {
        "segments": len(reference_labels),
        "highlights": int(reference_labels.sum()),
        "loss": log_loss(reference_labels, predicted_scores),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "average_precision": float(sklearn.metrics.average_precision_score(reference_labels, predicted_scores))
        if has_highlight
        else float("nan"),
        "confusion_matrix": sklearn.metrics.confusion_matrix(
            reference_labels, predicted_labels, labels=[0, 1]
        ).tolist(),
    }


def evaluate_everything(reference_labels: np.ndarray) -> dict:
    """What "everything is a highlight" scores, the baseline that costs nothing; a dict as from `evaluate`."""
    return evaluate(reference_labels, np.ones(len(reference_labels)), threshold=0.5)
