"""Metrics of highlight predictions, by segment and by event.

By segment, `evaluate` is the function that most callers need. It takes

    reference_labels: (num_segments,) int of 0 or 1, from the label files; 1 is the highlight class
    predicted_scores: (num_segments,) float in [0, 1], from the model

By event, `evaluate_events` and `mean_average_precision` take lists with an array for each match:

    reference_sections, predicted_sections: (num_sections, 2) float, disjoint, ascending, half-open, in seconds

A predicted and a reference section match where their temporal IoU is at least a threshold. Temporal IoU is the time
that both cover, divided by the time that either covers. A section belongs to at most one matching pair. Precision,
recall and F1 count the largest possible number of pairs, as mir_eval (`util.match_events`) and sed_eval ("optimal"
event matching) do. Counts are summed over all matches, so that predictions in a match without highlights count as false
positives.

`bootstrap_weights` and `percentile_interval` give confidence intervals: the same metrics of resampled matches.
scikit-learn is imported inside the functions that use it: its import takes two seconds and would delay `--help`.
"""

from collections.abc import Sequence

import numpy as np

# Keras clips probabilities to this distance from 0 and 1 as well.
LOG_LOSS_EPSILON = 1e-7
# Mean average precision is averaged over these thresholds, as on THUMOS14.
IOU_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
# Scores are compared with their targets in bins of 0 to 0.1, 0.1 to 0.2 and so on.
NUM_RELIABILITY_BINS = 10
# Larger than float64 rounding errors, so that 3 s shared of 10 s reach an IoU of 0.3.
IOU_TOLERANCE = 1e-9


def validate(reference_labels: np.ndarray, predicted_scores: np.ndarray) -> None:
    """Check the inputs of `evaluate`.

    Raises:
        ValueError: The arrays are not vectors of one length above 0, a label is not 0 or 1, or a score not in [0, 1].
    """
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
    """Compute the mean binary cross-entropy in nats.

    Args:
        reference_labels: (num_segments,) float in [0, 1]; soft labels between 0 and 1 are allowed.
        predicted_scores: (num_segments,) float in [0, 1].
        weights: Float of the same shape, how much each label counts; by default all count equally.
    """
    scores = np.clip(predicted_scores.astype(np.float64), LOG_LOSS_EPSILON, 1 - LOG_LOSS_EPSILON)
    losses = -(reference_labels * np.log(scores) + (1 - reference_labels) * np.log1p(-scores))
    return float(np.average(losses, weights=weights))


def evaluate(reference_labels: np.ndarray, predicted_scores: np.ndarray, predicted_labels: np.ndarray) -> dict:
    """Compute the metrics of predictions by segment.

    Args:
        reference_labels: (num_segments,) int of 0 or 1.
        predicted_scores: (num_segments,) float in [0, 1]. Loss, average precision and ROC AUC are computed from these.
        predicted_labels: (num_segments,) bool or int of 0 or 1. Precision, recall, F1 and the confusion matrix are
            computed from these.

    Returns:
        A dict, always in this order:
            segments: The number of segments.
            highlights: The number of segments that are labelled as highlights.
            loss: The mean binary cross-entropy in nats.
            precision: 0 where nothing was predicted.
            recall: 0 where nothing is labelled.
            f1: 0 where nothing was predicted or nothing is labelled.
            average_precision: The mean of precision over recall steps, without interpolation, as scikit-learn defines
                it; NaN without a highlight.
            roc_auc: The area under the receiver operating characteristic; NaN where a class is missing.
            confusion_matrix: [[true negatives, false positives], [false negatives, true positives]].

    Raises:
        ValueError: See `validate`.
    """
    import sklearn.metrics

    validate(reference_labels, predicted_scores)
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        reference_labels, predicted_labels, average="binary", zero_division=0
    )
    num_highlights = int(reference_labels.sum())
    average_precision = roc_auc = float("nan")
    if num_highlights:
        average_precision = float(sklearn.metrics.average_precision_score(reference_labels, predicted_scores))
    if 0 < num_highlights < len(reference_labels):
        roc_auc = float(sklearn.metrics.roc_auc_score(reference_labels, predicted_scores))
    return {
        "segments": len(reference_labels),
        "highlights": num_highlights,
        "loss": log_loss(reference_labels, predicted_scores),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "average_precision": average_precision,
        "roc_auc": roc_auc,
        "confusion_matrix": sklearn.metrics.confusion_matrix(
            reference_labels, predicted_labels, labels=[0, 1]
        ).tolist(),
    }


def reliability(targets: np.ndarray, scores: np.ndarray) -> dict:
    """Compare scores with how often they come true, in NUM_RELIABILITY_BINS equally wide bins of the score.

    All segments or time steps count equally. The expected calibration error is the mean over them of the difference
    between the mean score and the mean target of their bin (Guo et al., "On Calibration of Modern Neural Networks",
    2017). It is 0 for calibrated scores; few of them have an error by chance.

    Args:
        targets: (n,) float in [0, 1], labels, or highlighted fractions of time steps.
        scores: (n,) float in [0, 1].

    Returns:
        A dict, always in this order:
            expected_calibration_error: In [0, 1]; NaN without a score.
            counts: The number of scores in each bin.
            mean_scores: Their mean in each bin; NaN in an empty one.
            mean_targets: The mean of their targets, likewise.
    """
    scores, targets = scores.astype(np.float64), np.asarray(targets, np.float64)
    bins = np.minimum((scores * NUM_RELIABILITY_BINS).astype(int), NUM_RELIABILITY_BINS - 1)
    counts, sum_of_scores, sum_of_targets = (
        np.bincount(bins, weights, NUM_RELIABILITY_BINS) for weights in (None, scores, targets)
    )
    with np.errstate(invalid="ignore"):
        error = float(np.divide(np.abs(sum_of_scores - sum_of_targets).sum(), len(scores)))
        means = [(sums / counts).tolist() for sums in (sum_of_scores, sum_of_targets)]
    return {
        "expected_calibration_error": error,
        "counts": counts.astype(int).tolist(),
        "mean_scores": means[0],
        "mean_targets": means[1],
    }


def overlapping_pairs(
    reference_sections: np.ndarray, predicted_sections: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the pairs of a reference and a predicted section that overlap, in order of time.

    Args:
        reference_sections: (num_reference, 2) float64, disjoint, ascending.
        predicted_sections: (num_predicted, 2) float64, disjoint, ascending.

    Returns:
        references: (num_pairs,) int64 indices of reference sections.
        predictions: (num_pairs,) int64 indices of predicted sections.
        ious: (num_pairs,) float64 in (0, 1], temporal IoU.
    """
    first = np.searchsorted(reference_sections[:, 1], predicted_sections[:, 0], side="right")
    last = np.searchsorted(reference_sections[:, 0], predicted_sections[:, 1], side="left")
    num_pairs = np.maximum(last - first, 0)
    predictions = np.repeat(np.arange(len(predicted_sections)), num_pairs)
    # Concatenated ranges: with first = [2, 5] and num_pairs = [2, 1], references are [2, 3, 5].
    references = np.arange(len(predictions)) + np.repeat(first - np.cumsum(num_pairs) + num_pairs, num_pairs)
    (starts, ends), (predicted_starts, predicted_ends) = (
        reference_sections[references].T,
        predicted_sections[predictions].T,
    )
    shared = np.minimum(ends, predicted_ends) - np.maximum(starts, predicted_starts)
    return references, predictions, shared / (ends - starts + predicted_ends - predicted_starts - shared)


def max_matching_size(references: np.ndarray, predictions: np.ndarray) -> int:
    """Return the size of a maximum matching: the most pairs that can be chosen if each section is in at most one.

    Sections on either side are disjoint, so overlapping pairs never cross: in order of time, a pair competes with
    its neighbours only. Taking the first pair, then the first remaining pair, is therefore optimal, and all runs of
    competing pairs can be handled in parallel.

    Args:
        references: (num_pairs,) int64 as from `overlapping_pairs`; pairs may be left out.
        predictions: (num_pairs,) int64, the other side of the same pairs.
    """
    count = 0
    while len(references):
        competes = (references[1:] == references[:-1]) | (predictions[1:] == predictions[:-1])
        taken = np.concatenate([[True], ~competes])
        count += int(taken.sum())
        if taken.all():
            break
        left = ~(np.isin(references, references[taken]) | np.isin(predictions, predictions[taken]))
        references, predictions = references[left], predictions[left]
    return count


def count_events(
    reference_sections: Sequence[np.ndarray], predicted_sections: Sequence[np.ndarray], iou_threshold: float
) -> np.ndarray:
    """Count sections and matching pairs in each match.

    Returns:
        (num_matches, 3) int64: the number of reference sections, of predicted sections, and of their matching pairs.
    """
    counts = []
    for reference, predicted in zip(reference_sections, predicted_sections, strict=True):
        references, predictions, ious = overlapping_pairs(reference, predicted)
        is_match = ious >= iou_threshold - IOU_TOLERANCE
        num_pairs = max_matching_size(references[is_match], predictions[is_match])
        counts.append((len(reference), len(predicted), num_pairs))
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def evaluate_events(
    reference_sections: Sequence[np.ndarray], predicted_sections: Sequence[np.ndarray], iou_threshold: float
) -> dict:
    """Compute the metrics of predicted sections, by the rule in the module's docstring.

    Returns:
        A dict, always in this order:
            labelled: The number of reference sections.
            found: The number of predicted sections.
            matched: The number of matching pairs.
            precision: 0 where nothing was predicted.
            recall: 0 where nothing is labelled.
            f1: 0 where nothing was predicted or nothing is labelled.
    """
    counts = count_events(reference_sections, predicted_sections, iou_threshold).sum(axis=0)
    return dict(zip(("labelled", "found", "matched"), counts.tolist(), strict=True)) | {
        name: float(score) for name, score in precision_recall_f1(*counts).items()
    }


def precision_recall_f1(num_reference: np.ndarray, num_predicted: np.ndarray, num_true_positive: np.ndarray) -> dict:
    """Compute precision, recall and f1 from counts.

    Args:
        num_reference: Int array of any shape, how many are labelled.
        num_predicted: Int array of the same shape, how many were predicted.
        num_true_positive: Int array of the same shape, how many are both.

    Returns:
        A dict of arrays of that shape; 0 where nothing was predicted or nothing is labelled.
    """
    return {
        "precision": num_true_positive / np.maximum(num_predicted, 1),
        "recall": num_true_positive / np.maximum(num_reference, 1),
        "f1": 2 * num_true_positive / np.maximum(num_reference + num_predicted, 1),
    }


def match_by_score(
    reference_sections: np.ndarray, predicted_sections: np.ndarray, section_scores: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """Decide greedily which predicted sections are true positives, as the evaluation of ActivityNet does.

    Predicted sections choose in the order of their scores, the highest first. Each takes the reference section with the
    highest IoU among those that are not taken yet.

    Returns:
        (num_predicted,) bool.
    """
    references, predictions, ious = overlapping_pairs(reference_sections, predicted_sections)
    is_true_positive, is_taken = np.zeros(len(predicted_sections), bool), np.zeros(len(reference_sections), bool)
    for pair in np.lexsort((-ious, -section_scores[predictions])):
        reference, prediction = references[pair], predictions[pair]
        if ious[pair] >= iou_threshold - IOU_TOLERANCE and not is_taken[reference] and not is_true_positive[prediction]:
            is_taken[reference] = is_true_positive[prediction] = True
    return is_true_positive


def mean_average_precision(
    reference_sections: Sequence[np.ndarray],
    predicted_sections: Sequence[np.ndarray],
    section_scores: Sequence[np.ndarray],
    match_weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Compute the mean over IOU_THRESHOLDS of the average precision of sections ranked by score over all matches.

    Average precision is the area under precision over recall. The precision at a recall is the highest precision at
    this recall or a higher one, as in the evaluation of ActivityNet and THUMOS14.

    Args:
        reference_sections: For each match (num_reference, 2) float.
        predicted_sections: For each match (num_predicted, 2) float.
        section_scores: For each match (num_predicted,) float.
        match_weights: (num_resamples, num_matches), how often each match counts; by default once.

    Returns:
        A float or, with match_weights, (num_resamples,) float64; NaN without a reference section.
    """
    weights = np.ones((1, len(reference_sections))) if match_weights is None else match_weights
    num_reference = weights @ np.array([len(sections) for sections in reference_sections], np.float64)
    ranks = np.argsort(-np.concatenate(section_scores), kind="stable")
    match_of = np.repeat(np.arange(len(section_scores)), [len(scores) for scores in section_scores])[ranks]
    area = np.zeros(len(weights))
    for iou_threshold in IOU_THRESHOLDS:
        matches = zip(reference_sections, predicted_sections, section_scores, strict=True)
        is_true_positive = np.concatenate([match_by_score(*match, iou_threshold) for match in matches])[ranks]
        for row, match_weight in enumerate(weights):
            num_new = match_weight[match_of]
            precision = np.cumsum(num_new * is_true_positive) / np.maximum(np.cumsum(num_new), 1)
            highest = np.maximum.accumulate(precision[::-1])[::-1]
            area[row] += (highest * num_new * is_true_positive).sum()
    with np.errstate(invalid="ignore"):
        mean = area / num_reference / len(IOU_THRESHOLDS)
    return float(mean[0]) if match_weights is None else mean


def bootstrap_weights(num_matches: int, num_resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Draw bootstrap resamples: as many matches as there are, with replacement.

    Whole matches are drawn, since the segments of one match are not independent samples (a cluster bootstrap: Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8).

    Returns:
        (num_resamples, num_matches) int64: how often each match is drawn.
    """
    return np.random.default_rng(seed).multinomial(num_matches, np.full(num_matches, 1 / num_matches), num_resamples)


def percentile_interval(resampled: np.ndarray, level: float = 0.95) -> list[float]:
    """Compute the percentile interval of resampled metrics, ignoring NaN (resamples without a highlight).

    Args:
        resampled: (num_resamples,) float64.
        level: The confidence level, in (0, 1).

    Returns:
        [low, high], NaN where every value is NaN.
    """
    known = resampled[~np.isnan(resampled)]
    return np.quantile(known, [(1 - level) / 2, (1 + level) / 2]).tolist() if len(known) else [float("nan")] * 2


def ranking_scores(
    reference_labels: Sequence[np.ndarray], predicted_scores: Sequence[np.ndarray], match_weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute average_precision and roc_auc by segment, as `evaluate` defines them, of resampled matches.

    scikit-learn would sort the segments again for each resample; here they are sorted once.

    Args:
        reference_labels: For each match (num_segments,) int of 0 or 1.
        predicted_scores: For each match (num_segments,) float in [0, 1].
        match_weights: (num_resamples, num_matches) as from `bootstrap_weights`.

    Returns:
        Two arrays (num_resamples,) float64, NaN where a class is missing.
    """
    labels, scores = np.concatenate(reference_labels), np.concatenate(predicted_scores)
    ranks = np.argsort(-scores, kind="stable")
    labels = labels[ranks]
    match_of = np.repeat(np.arange(len(reference_labels)), [len(part) for part in reference_labels])[ranks]
    # A threshold predicts equal scores together, so that only the last of them is a point of the curve.
    borders = np.append(np.flatnonzero(np.diff(scores[ranks])), len(scores) - 1)
    average_precision, roc_auc = [], []
    for weights in match_weights:
        num_true_positive = np.cumsum(weights[match_of] * labels)[borders]
        num_false_positive = np.cumsum(weights[match_of] * (1 - labels))[borders]
        new_true_positive, new_false_positive = (
            np.diff(num_true_positive, prepend=0),
            np.diff(num_false_positive, prepend=0),
        )
        precision = num_true_positive / np.maximum(num_true_positive + num_false_positive, 1)
        average_precision.append(
            (new_true_positive * precision).sum() / num_true_positive[-1] if num_true_positive[-1] else np.nan
        )
        area = (new_false_positive * (num_true_positive - new_true_positive / 2)).sum()
        has_both = num_true_positive[-1] and num_false_positive[-1]
        roc_auc.append(area / (num_true_positive[-1] * num_false_positive[-1]) if has_both else np.nan)
    return {"average_precision": np.array(average_precision), "roc_auc": np.array(roc_auc)}
