"""Scores of highlight predictions by segment and by event. Conventions: 1 is the highlight class; scores are in [0, 1].

By segment, `evaluate` is the function that most callers need. It takes

    reference_labels: (num_segments,) int of 0 or 1, what the label files say
    predicted_scores: (num_segments,) float in [0, 1], what the model says

By event, `evaluate_events` and `mean_average_precision`. They take lists with an array for each match

    reference_sections, predicted_sections: (num_sections, 2) float, disjoint, ascending, half-open, in seconds

A predicted section and a labelled one are a pair where their temporal IoU, the time they share over the time that they
cover together, is at least a threshold; each is in one pair at most. Precision, recall and F1 count the largest number
of pairs that there can be, as mir_eval (`util.match_events`) and sed_eval ("optimal" event matching) count them. They
are counts over all matches together, so that a match without highlights costs what is found in it.

`bootstrap_weights` and `percentile_interval` give intervals: the same scores of resampled matches. scikit-learn is
imported where it is used: it takes two seconds, for which no `--help` should wait.
"""

from collections.abc import Sequence

import numpy as np

LOG_LOSS_EPSILON = 1e-7  # as Keras clips probabilities
IOU_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)  # of mean average precision, as for THUMOS14
IOU_TOLERANCE = 1e-9  # above float64 rounding, so that 3 s of 10 s are an IoU of 0.3


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
    """Mean binary cross-entropy in nats, of labels of 0 and 1 or between; weights: float of the same shape, each label
    counted once where not given."""
    scores = np.clip(predicted_scores.astype(np.float64), LOG_LOSS_EPSILON, 1 - LOG_LOSS_EPSILON)
    losses = -(reference_labels * np.log(scores) + (1 - reference_labels) * np.log1p(-scores))
    return float(np.average(losses, weights=weights))


def evaluate(reference_labels: np.ndarray, predicted_scores: np.ndarray, predicted_labels: np.ndarray) -> dict:
    """Scores of predictions.

    Args:
        predicted_labels: (num_segments,) bool or int of 0 or 1, which segments are found: what precision, recall, F1
            and confusion matrix are of. Loss, average precision and ROC AUC take predicted_scores.

    Returns:
        A dict, always in this order: segments, highlights (counts), loss, precision, recall, f1 (0 where nothing
        was found or nothing is there), average_precision (the mean of precision over recall steps, without
        interpolation, as scikit-learn defines it; NaN without a highlight), roc_auc (area under the receiver operating
        characteristic; NaN where a class is missing), confusion_matrix
        ([[true negatives, false positives], [false negatives, true positives]]).

    Raises:
        ValueError: as `validate` does.
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


def overlapping_pairs(
    reference_sections: np.ndarray, predicted_sections: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of a labelled and a predicted section that share time, in order of time.

    Returns:
        references, predictions: (num_pairs,) int64 indices. ious: (num_pairs,) float64 in (0, 1], temporal IoU.
    """
    first = np.searchsorted(reference_sections[:, 1], predicted_sections[:, 0], side="right")
    last = np.searchsorted(reference_sections[:, 0], predicted_sections[:, 1], side="left")
    num_pairs = np.maximum(last - first, 0)
    predictions = np.repeat(np.arange(len(predicted_sections)), num_pairs)
    references = np.arange(len(predictions)) + np.repeat(first - np.cumsum(num_pairs) + num_pairs, num_pairs)
    (starts, ends), (predicted_starts, predicted_ends) = (
        reference_sections[references].T,
        predicted_sections[predictions].T,
    )
    shared = np.minimum(ends, predicted_ends) - np.maximum(starts, predicted_starts)
    return references, predictions, shared / (ends - starts + predicted_ends - predicted_starts - shared)


def max_matching_size(references: np.ndarray, predictions: np.ndarray) -> int:
    """How many of these pairs there can be at once if each section is in one at most.

    Sections on either side are disjoint, so pairs that share time never cross: in order of time, a pair competes with
    its neighbours alone. Taking the first pair, then the first that is left, is therefore as good as any other choice,
    and runs of competing pairs can be gone through side by side.

    Args:
        references, predictions: (num_pairs,) int64 as from `overlapping_pairs`, some left out.
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
    """(num_matches, 3) int64: of each match the labelled sections, the predicted ones, and their pairs."""
    counts = []
    for reference, predicted in zip(reference_sections, predicted_sections, strict=True):
        references, predictions, ious = overlapping_pairs(reference, predicted)
        enough = ious >= iou_threshold - IOU_TOLERANCE
        num_pairs = max_matching_size(references[enough], predictions[enough])
        counts.append((len(reference), len(predicted), num_pairs))
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def evaluate_events(
    reference_sections: Sequence[np.ndarray], predicted_sections: Sequence[np.ndarray], iou_threshold: float
) -> dict:
    """Scores of predicted sections, by the rule in the module's docstring.

    Returns:
        A dict, always in this order: labelled, found, matched (counts), precision, recall, f1 (0 where nothing was
        found or nothing is there).
    """
    counts = count_events(reference_sections, predicted_sections, iou_threshold).sum(axis=0)
    return dict(zip(("labelled", "found", "matched"), counts.tolist(), strict=True)) | {
        name: float(score) for name, score in precision_recall_f1(*counts).items()
    }


def precision_recall_f1(num_labelled: np.ndarray, num_found: np.ndarray, num_right: np.ndarray) -> dict:
    """precision, recall, f1 of counts, arrays of any one shape; 0 where nothing was found or nothing is there."""
    return {
        "precision": num_right / np.maximum(num_found, 1),
        "recall": num_right / np.maximum(num_labelled, 1),
        "f1": 2 * num_right / np.maximum(num_labelled + num_found, 1),
    }


def match_by_score(
    reference_sections: np.ndarray, predicted_sections: np.ndarray, section_scores: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """(num_predicted,) bool: whether a predicted section finds a labelled one. Those of higher score choose first, each
    takes the labelled section of the highest IoU that is left, as in the evaluation of ActivityNet."""
    references, predictions, ious = overlapping_pairs(reference_sections, predicted_sections)
    is_right, is_taken = np.zeros(len(predicted_sections), bool), np.zeros(len(reference_sections), bool)
    for place in np.lexsort((-ious, -section_scores[predictions])):
        reference, prediction = references[place], predictions[place]
        if ious[place] >= iou_threshold - IOU_TOLERANCE and not is_taken[reference] and not is_right[prediction]:
            is_taken[reference] = is_right[prediction] = True
    return is_right


def mean_average_precision(
    reference_sections: Sequence[np.ndarray],
    predicted_sections: Sequence[np.ndarray],
    section_scores: Sequence[np.ndarray],
    match_weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Mean over IOU_THRESHOLDS of the average precision of sections ranked by score over all matches together.

    Average precision is the area under precision over recall, where the precision at a recall is the highest at this
    recall or more, as in the evaluation of ActivityNet and THUMOS14. NaN without a labelled section.

    Args:
        section_scores: for each match (num_predicted,) float.
        match_weights: (num_resamples, num_matches), how often each match counts; by default once.

    Returns:
        A float or, with match_weights, (num_resamples,) float64.
    """
    weights = np.ones((1, len(reference_sections))) if match_weights is None else match_weights
    num_labelled = weights @ np.array([len(sections) for sections in reference_sections], np.float64)
    ranks = np.argsort(-np.concatenate(section_scores), kind="stable")
    match_of = np.repeat(np.arange(len(section_scores)), [len(scores) for scores in section_scores])[ranks]
    area = np.zeros(len(weights))
    for iou_threshold in IOU_THRESHOLDS:
        matches = zip(reference_sections, predicted_sections, section_scores, strict=True)
        is_right = np.concatenate([match_by_score(*match, iou_threshold) for match in matches])[ranks]
        for row, match_weight in enumerate(weights):
            num_new = match_weight[match_of]
            precision = np.cumsum(num_new * is_right) / np.maximum(np.cumsum(num_new), 1)
            highest = np.maximum.accumulate(precision[::-1])[::-1]
            area[row] += (highest * num_new * is_right).sum()
    with np.errstate(invalid="ignore"):
        mean = area / num_labelled / len(IOU_THRESHOLDS)
    return float(mean[0]) if match_weights is None else mean


def bootstrap_weights(num_matches: int, num_resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """(num_resamples, num_matches) int64: how often each match is drawn, with replacement, as many as there are.

    Whole matches are drawn, since the segments of one are no independent samples (a cluster bootstrap: Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8).
    """
    return np.random.default_rng(seed).multinomial(num_matches, np.full(num_matches, 1 / num_matches), num_resamples)


def percentile_interval(resampled: np.ndarray, level: float = 0.95) -> list[float]:
    """[low, high]: the percentile interval of resampled scores; those that are NaN (no highlight drawn) left out."""
    known = resampled[~np.isnan(resampled)]
    return np.quantile(known, [(1 - level) / 2, (1 + level) / 2]).tolist() if len(known) else [float("nan")] * 2


def ranking_scores(
    reference_labels: Sequence[np.ndarray], predicted_scores: Sequence[np.ndarray], match_weights: np.ndarray
) -> dict[str, np.ndarray]:
    """average_precision and roc_auc by segment as `evaluate` defines them, of resampled matches.

    scikit-learn would sort the segments anew for each resample.

    Args:
        reference_labels, predicted_scores: for each match (num_segments,). match_weights: of `bootstrap_weights`.

    Returns:
        Two arrays (num_resamples,) float64, NaN where a class is missing.
    """
    labels, scores = np.concatenate(reference_labels), np.concatenate(predicted_scores)
    ranks = np.argsort(-scores, kind="stable")
    labels = labels[ranks]
    match_of = np.repeat(np.arange(len(reference_labels)), [len(part) for part in reference_labels])[ranks]
    borders = np.append(np.flatnonzero(np.diff(scores[ranks])), len(scores) - 1)  # equal scores are found together
    average_precision, roc_auc = [], []
    for weights in match_weights:
        num_right = np.cumsum(weights[match_of] * labels)[borders]
        num_wrong = np.cumsum(weights[match_of] * (1 - labels))[borders]
        new_right, new_wrong = np.diff(num_right, prepend=0), np.diff(num_wrong, prepend=0)
        precision = num_right / np.maximum(num_right + num_wrong, 1)
        average_precision.append((new_right * precision).sum() / num_right[-1] if num_right[-1] else np.nan)
        area = (new_wrong * (num_right - new_right / 2)).sum()
        has_both = num_right[-1] and num_wrong[-1]
        roc_auc.append(area / (num_right[-1] * num_wrong[-1]) if has_both else np.nan)
    return {"average_precision": np.array(average_precision), "roc_auc": np.array(roc_auc)}
