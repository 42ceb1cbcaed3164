"""Choose which stretches of unlabelled matches to label next: those from which a network would learn most.

A stretch is a number of consecutive segments. It is worth more the more uncertain its scores are, the more the
modalities disagree about it, and the less it resembles what the network was trained on and what is chosen already. This
is batch active learning by uncertainty, query by committee and farthest-first traversal (Settles, "Active Learning
Literature Survey", 2009; Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
2018). Uncertainty and disagreement have no common unit, so each is replaced by its rank among all stretches.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videosummarizer.evaluation.decoding import EPSILON, log_odds
from videosummarizer.extraction.match_signals import MODALITIES, MatchSignals
from videosummarizer.labels import format_time
from videosummarizer.media import TIME_TOLERANCE_SEC

# The largest part of the budget for one match, as long as other matches have stretches left.
MAX_MATCH_RATIO = 0.25
# A distance that is lost in rounding errors. It keeps stretches without any differences in order.
TINY = 1e-9
# A reason is named if its rank among all stretches is at least this.
NAMED_RANK = 0.75
# The columns of the table of chosen stretches.
TABLE_HEADER = (
    *("rank", "title", "start_time", "end_time", "start_frame", "end_frame"),
    *("score", "uncertainty", "disagreement", "distance", "reason"),
)
# The arrays of Candidates, in their order.
ARRAYS = ("spans_sec", "uncertainty", "disagreement", "features", "mean_scores")


@dataclass(frozen=True)
class Candidates:
    """Stretches of matches that may be labelled. Those of one match overlap each other.

    Attributes:
        titles: Of their matches, N.
        spans_sec: (N, 2) float64 seconds.
        uncertainty: (N,) float64 in [0, 1], how close the scores are to the threshold; see `uncertainties`.
        disagreement: (N,) float64 in [0, 1], how much the modalities disagree; see `disagreements`.
        features: (N, num_features) float, the mean features in standard deviations of the training set.
        mean_scores: (N,) float64 in [0, 1].
        disputes: N times where the modalities disagree most, (second, their scores); NaN for those that do not count.
    """

    titles: list[str]
    spans_sec: np.ndarray
    uncertainty: np.ndarray
    disagreement: np.ndarray
    features: np.ndarray
    mean_scores: np.ndarray
    disputes: list[tuple[float, np.ndarray]]

    @property
    def distance(self) -> np.ndarray:
        """Return (N,) float64: the distance from the training set's mean, in standard deviations of a feature."""
        return np.sqrt(np.square(self.features, dtype=np.float64).mean(axis=1))

    def take(self, is_taken: np.ndarray) -> "Candidates":
        """Return some of the stretches, those for which (N,) bool is True."""
        titles, disputes = (
            [value for value, taken in zip(values, is_taken, strict=True) if taken]
            for values in (self.titles, self.disputes)
        )
        return Candidates(titles, *(getattr(self, name)[is_taken] for name in ARRAYS), disputes)

    @staticmethod
    def join(parts: Sequence["Candidates"]) -> "Candidates":
        """Return the stretches of several matches."""
        return Candidates(
            [title for part in parts for title in part.titles],
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS),
            [dispute for part in parts for dispute in part.disputes],
        )


@dataclass(frozen=True)
class Choice:
    """A stretch that was chosen.

    Attributes:
        index: Its index among the candidates.
        score: In [0, 1], how much a label would teach, once those chosen before it are labelled.
        ranks: The ranks in [0, 1] of its uncertainty, its disagreement, and its distance from what is labelled or
            chosen already.
    """

    index: int
    score: float
    ranks: tuple[float, float, float]


def count_stretch_segments(reach_steps: int, num_steps: int) -> int:
    """Return the number of segments of a stretch: as many as the network looks to either side.

    A network looks about two highlights of median length far (`temporal_context.NUM_LENGTHS_IN_SIGHT`). So a stretch
    shows a highlight as well as what is before and after it.

    Args:
        reach_steps: Time steps on either side that a score depends on.
        num_steps: Time steps per segment.
    """
    return max(1, math.ceil(reach_steps / num_steps))


def uncertainties(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return the uncertainty of scores: 1 at the threshold, and less with each nat of log-odds away from it.

    It is the variance of a decision with these log-odds, times four.

    Args:
        scores: Float in [0, 1].
        threshold: In [0, 1].

    Returns:
        Float64 in [0, 1], of the same shape.
    """
    return 1 / np.cosh((log_odds(scores) - log_odds(threshold)) / 2) ** 2


def disagreements(modality_scores: np.ndarray, fusion_weights: np.ndarray) -> np.ndarray:
    """Return how much the modalities disagree: the Jensen-Shannon divergence of their scores, in bits.

    A modality counts as much as in the fused score.

    Args:
        modality_scores: (..., M, K) float in [0, 1].
        fusion_weights: (M,) float, 0 or more.

    Returns:
        (..., K) float64 in [0, 1]; 0 where fewer than two modalities count.
    """
    if not np.sum(fusion_weights) > 0:
        return np.zeros((*modality_scores.shape[:-2], modality_scores.shape[-1]))
    weights = np.asarray(fusion_weights, np.float64)[:, np.newaxis] / np.sum(fusion_weights)
    divergence = entropy((weights * modality_scores).sum(axis=-2)) - (weights * entropy(modality_scores)).sum(axis=-2)
    return np.clip(divergence, 0, 1)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy of decisions with these probabilities, in bits."""
    p = np.clip(probabilities.astype(np.float64), EPSILON, 1 - EPSILON)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def list_starts(num_segments: int, stretch_length: int) -> np.ndarray:
    """Return (num_stretches,) int: the first segments of the stretches of a match.

    Each begins half a stretch after the one before, and the last one ends with the match.

    Args:
        num_segments: Of the match.
        stretch_length: Segments of a stretch, at most num_segments.
    """
    last = num_segments - stretch_length
    return np.unique(np.append(np.arange(0, last + 1, max(1, stretch_length // 2)), last))


def list_spans_sec(
    num_segments: int, duration_sec: float, segment_length: float, num_stretch_segments: int
) -> np.ndarray:
    """Return (num_stretches, 2) float64 seconds: the stretches of a match, all of one length.

    The last one ends with the match, within its last segment. A match that is shorter than a stretch is one stretch.

    Args:
        num_segments: Of the match.
        duration_sec: Its length.
        segment_length: Seconds of a segment.
        num_stretch_segments: Segments of a stretch.
    """
    length = min(num_stretch_segments, num_segments)
    starts = list_starts(num_segments, length)
    return np.minimum(np.stack([starts, starts + length], axis=1) * float(segment_length), duration_sec)


def divide_match(
    title: str, signals: MatchSignals, duration_sec: float, segment_length: float, num_segments: int, threshold: float
) -> Candidates:
    """Return the stretches of a match, those of `list_spans_sec`.

    Args:
        title: Of the match.
        signals: What a network shows of it.
        duration_sec: Its length.
        segment_length: Seconds of a segment.
        num_segments: Segments of a stretch.
        threshold: The score from which a step is a highlight.
    """
    num_all, num_steps = signals.steps.shape
    length = min(num_segments, num_all)
    starts = list_starts(num_all, length)
    windows = starts[:, np.newaxis] + np.arange(length)
    disagreement = disagreements(signals.modality_steps, signals.fusion_weights)
    disputes, counts = [], np.array(signals.fusion_weights)[:, np.newaxis] > 0
    for start in starts:
        segment, step = np.unravel_index(disagreement[start : start + length].argmax(), (length, num_steps))
        time_sec = (start + segment + step / num_steps) * segment_length
        scores = np.where(counts, signals.modality_steps[start + segment], np.nan)[:, step]
        disputes.append((float(time_sec), scores))
    return Candidates(
        [title] * len(starts),
        list_spans_sec(num_all, duration_sec, segment_length, num_segments),
        uncertainties(signals.steps, threshold)[windows].mean(axis=(1, 2)),
        disagreement[windows].mean(axis=(1, 2)),
        signals.features[windows].mean(axis=1),
        signals.steps[windows].mean(axis=(1, 2)),
        disputes,
    )


def choose_stretches(candidates: Candidates, budget_sec: float) -> list[Choice]:
    """Choose stretches that do not overlap within a budget, the one that teaches most first.

    One match gets at most MAX_MATCH_RATIO of the budget, or an equal part where fewer matches exist. What remains when
    every match has that much goes to any of them.

    Args:
        candidates: The stretches.
        budget_sec: The most seconds to choose.
    """
    lengths_sec = np.diff(candidates.spans_sec, axis=1)[:, 0]
    _, match_of = np.unique(candidates.titles, return_inverse=True)
    match_limit_sec = budget_sec * max(MAX_MATCH_RATIO, 1 / (match_of.max() + 1))
    fixed_ranks, nearest = (ranks_of(candidates.uncertainty), ranks_of(candidates.disagreement)), candidates.distance
    scale = max(float(np.median(nearest)), TINY)
    is_free, chosen_sec, choices = np.ones(len(lengths_sec), bool), np.zeros(match_of.max() + 1), []
    remaining_sec = budget_sec
    while True:
        fits = is_free & (lengths_sec <= remaining_sec + TIME_TOLERANCE_SEC)
        within_limit = fits & (chosen_sec[match_of] + lengths_sec <= match_limit_sec + TIME_TOLERANCE_SEC)
        is_open = within_limit if within_limit.any() else fits
        if not is_open.any():
            return choices
        ranks = *fixed_ranks, ranks_of(nearest)
        # A stretch that is like a chosen one teaches nothing more, however uncertain it is.
        scores = (ranks[0] + ranks[1]) / 2 * (nearest + TINY) / (nearest + scale)
        index = int(np.argmax(np.where(is_open, scores, -1)))
        choices.append(Choice(index, float(scores[index]), tuple(float(rank[index]) for rank in ranks)))
        remaining_sec -= lengths_sec[index]
        chosen_sec[match_of[index]] += lengths_sec[index]
        is_free &= ~overlaps(candidates, match_of, index)
        nearest = np.minimum(nearest, distances(candidates.features, candidates.features[index]))


def overlaps(candidates: Candidates, match_of: np.ndarray, index: int) -> np.ndarray:
    """Return (N,) bool: whether each stretch overlaps the one at an index."""
    start_sec, end_sec = candidates.spans_sec[index]
    is_later, is_earlier = candidates.spans_sec[:, 0] >= end_sec, candidates.spans_sec[:, 1] <= start_sec
    return (match_of == match_of[index]) & ~is_later & ~is_earlier


def distances(features: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return (N,) float64: the root mean square of the differences of features from a center."""
    return np.sqrt(np.square(features - center, dtype=np.float64).mean(axis=1))


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values in [0, 1]: the part of the other values that are lower, ties counting half."""
    ascending = np.sort(values)
    lower, not_higher = (np.searchsorted(ascending, values, side) for side in ("left", "right"))
    return (lower + not_higher - 1) / 2 / max(1, len(values) - 1)


def describe_reasons(candidates: Candidates, choice: Choice, threshold: float) -> str:
    """Return in words why a stretch was chosen: the highest of its ranks, and the others that are high.

    Args:
        candidates: The stretches.
        choice: The chosen one.
        threshold: The score from which a step is a highlight.
    """
    index = choice.index
    time_sec, scores = candidates.disputes[index]
    mean = candidates.mean_scores[index]
    texts = [f"its scores are close to the threshold (mean {mean:.2f}, threshold {threshold:.2f})"]
    ranks = [choice.ranks[0], choice.ranks[2]]
    texts.append("it is unlike the training set and the stretches chosen before it")
    if candidates.disagreement[index] > 0:
        lowest, highest = int(np.nanargmin(scores)), int(np.nanargmax(scores))
        values = f"{scores[highest]:.2f} and {scores[lowest]:.2f} at {format_time(time_sec)}"
        texts.append(f"{MODALITIES[highest]} and {MODALITIES[lowest]} disagree ({values})")
        ranks.append(choice.ranks[1])
    order = np.argsort(ranks)[::-1]
    return "; ".join(texts[number] for number in order if ranks[number] >= min(NAMED_RANK, max(ranks)))


def write_table(candidates: Candidates, choices: list[Choice], frames: np.ndarray, reasons: list[str]) -> bytes:
    """Return the table of the chosen stretches.

    Args:
        candidates: All stretches.
        choices: The chosen ones, the one that teaches most first.
        frames: (num_choices, 2) int64, their first frames and the frames after their last.
        reasons: Why each was chosen.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_HEADER)
    for rank, (choice, span, reason) in enumerate(zip(choices, frames.tolist(), reasons, strict=True), start=1):
        index = choice.index
        values = choice.score, *(getattr(candidates, name)[index] for name in TABLE_HEADER[7:10])
        times = map(format_time, candidates.spans_sec[index])
        writer.writerow([rank, candidates.titles[index], *times, *span, *(f"{value:.4f}" for value in values), reason])
    return text.getvalue().encode()
