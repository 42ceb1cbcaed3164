"""The operating point: the threshold and the section penalty with which `decoding` turns scores into sections.

`choose_operating_point` finds the best one for labelled matches. A time step is an equal part of a segment, half a
second or so, for which the network gives a score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from videosummarizer.evaluation import decoding, metrics
from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import (
    coverage,
    drop_undecided,
    find_decided_segments,
    label_segments,
    median_length_sec,
    runs_of,
    total_sec,
)

# The section penalties that are tried, in units of the median labelled length times the standard deviation of the
# scores' log-odds: 1 is what a section of median length holds where its scores are one deviation above the threshold.
PENALTIES = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
# 64 thresholds by score quantiles are tried, and 32 equally spaced ones.
NUM_THRESHOLDS = 64
# F1 is averaged over 9 neighbouring thresholds, so that one lucky threshold does not win.
NUM_AVERAGED_THRESHOLDS = 9
# Values of F1 that differ by less are equal: the difference is float64 rounding.
F1_TOLERANCE = 1e-9
# Margins of operating points and time steps that are computed at once; about 32 bytes of memory each.
MAX_MARGINS = 4_000_000
# The largest section penalty that an untrusted checkpoint may hold.
MAX_PENALTY = 1e6
# Operating points are ranked by the mean of the event F1 at these IoU thresholds.
CHOICE_IOU_THRESHOLDS = (0.3, 0.5)


@dataclass(frozen=True)
class OperatingPoint:
    """The settings by which scores become sections.

    Attributes:
        threshold: In [0, 1]; a step with this score is evidence neither for nor against a highlight. With 0, the whole
            match is one section.
        section_penalty: What each section costs, in nats times seconds; with 0, every step whose score is at least the
            threshold is in a section.
    """

    threshold: float
    section_penalty: float = 0.0


def parse_operating_point(values: dict) -> OperatingPoint:
    """Return the operating point that a checkpoint stores.

    Raises:
        TypeError: A name is unknown or the threshold is missing.
        ValueError: A value is not a number or out of range.
    """
    point = OperatingPoint(**values)
    if not all(type(value) in (int, float) for value in vars(point).values()):  # bool is a subclass of int
        raise ValueError(f"{values}")
    if not (0 <= point.threshold <= 1 and 0 <= point.section_penalty <= MAX_PENALTY):
        raise ValueError(f"{values}")
    return point


@dataclass(frozen=True)
class ScoredMatch:
    """A labelled match, as `metadata.Match`, with the scores of a model.

    Attributes:
        title: The match's name.
        segment_length: Seconds of a segment.
        duration_sec: Seconds of the match.
        labels: (num_segments,) int of 0 or 1.
        sections_sec: (num_sections, 2) float64 seconds, the labelled sections.
        scores: (num_segments,) float in [0, 1], of the segments.
        step_scores: (num_segments, K) float in [0, 1], of the K equal time steps of each segment; K is 1 where only
            segments have scores.
        undecided_sec: (num_ranges, 2) float64 seconds, what nobody has looked at, which no metric counts.
    """

    title: str
    segment_length: float
    duration_sec: float
    labels: np.ndarray
    sections_sec: np.ndarray
    scores: np.ndarray
    step_scores: np.ndarray
    undecided_sec: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    @property
    def is_decided(self) -> np.ndarray:
        """Return (num_segments,) bool: the segments whose label does not depend on undecided time."""
        return find_decided_segments(
            self.sections_sec, self.undecided_sec, len(self.labels), self.segment_length, self.duration_sec
        )

    @property
    def reference_sections_sec(self) -> np.ndarray:
        """Return the labelled sections that metrics count: those of which at most half is undecided."""
        return drop_undecided(self.sections_sec, self.undecided_sec)

    @property
    def step_sec(self) -> float:
        """Return the length of a time step in seconds."""
        return self.segment_length / self.step_scores.shape[1]

    def kept_scores(self) -> np.ndarray:
        """Return (num_kept_steps,) float64 scores of the decided steps that begin before the match's end."""
        is_decided = self.find_decided_steps()
        return self.step_scores.ravel()[: len(is_decided)][is_decided].astype(np.float64)

    def step_targets(self) -> np.ndarray:
        """Return (num_kept_steps,) float64 in [0, 1]: the labelled fraction of each step that `kept_scores` scores."""
        is_decided = self.find_decided_steps()
        return coverage(self.sections_sec, len(is_decided), self.step_sec)[is_decided]

    def find_decided_steps(self) -> np.ndarray:
        """Return which steps that begin before the match's end no undecided time touches, (num_steps,) bool."""
        num_steps = len(decoding.step_durations(self.step_scores.size, self.step_sec, self.duration_sec))
        return coverage(self.undecided_sec, num_steps, self.step_sec) * self.step_sec <= TIME_TOLERANCE_SEC

    def predicted_sections_sec(self, point: OperatingPoint) -> np.ndarray:
        """Return (num_sections, 2) float64 seconds as from `decoding.find_sections`."""
        return decoding.find_sections(
            self.step_scores.ravel(), self.step_sec, self.duration_sec, point.threshold, point.section_penalty
        )

    def counted_sections_sec(self, point: OperatingPoint) -> np.ndarray:
        """Return the predicted sections that metrics count: those of which at most half is undecided."""
        return drop_undecided(self.predicted_sections_sec(point), self.undecided_sec)

    def decoded_scores(self, point: OperatingPoint) -> np.ndarray:
        """Return (num_kept_steps,) float64 scores in context as from `decoding.decoded_scores`."""
        return decoding.decoded_scores(
            self.step_scores.ravel(), self.step_sec, self.duration_sec, point.threshold, point.section_penalty
        )

    def predicted_labels(self, point: OperatingPoint) -> np.ndarray:
        """Return (num_segments,) int64 of 0 or 1: 1 where predicted sections cover more than half of a segment."""
        return label_segments(self.predicted_sections_sec(point), len(self.labels), self.segment_length)


def choose_operating_point(matches: Sequence[ScoredMatch]) -> OperatingPoint:
    """Choose the operating point with the best event F1 on labelled matches.

    The F1 is the mean of those at IoU 0.3 and at 0.5. The first mostly measures whether sections are detected, the
    second also how exact their boundaries are. Their mean varies less than either alone.

    Each of PENALTIES is tried with all candidate thresholds. A threshold is rated by the mean over its neighbours,
    NUM_AVERAGED_THRESHOLDS in all: with few matches, a single best one is luck. Among equally good points the one with
    the lowest penalty wins; among neighbouring thresholds that are equally good, the middle one.

    Raises:
        ValueError: No match has a labelled section.
    """
    lengths_sec = np.concatenate([np.diff(match.reference_sections_sec, axis=1).ravel() for match in matches])
    if not len(lengths_sec):
        raise ValueError(
            "received matches without a labelled section, expected at least one to choose an operating point by"
        )
    scores = np.concatenate([match.kept_scores() for match in matches])
    decided_sec = sum(match.duration_sec - total_sec(match.undecided_sec) for match in matches)
    thresholds = candidate_thresholds(scores, lengths_sec.sum() / decided_sec)
    median_sec = median_length_sec((match.sections_sec, match.undecided_sec) for match in matches)
    penalties = np.array(PENALTIES) * median_sec * np.std(decoding.evidence_per_sec(scores, 0.5))
    f1 = mean_event_f1(matches, np.repeat(thresholds, len(penalties)), np.tile(penalties, len(thresholds)))
    best_f1, best = -1.0, None
    for penalty, f1_by_threshold in zip(penalties, f1.reshape(len(thresholds), -1).T, strict=True):
        averaged_f1 = moving_average(f1_by_threshold, NUM_AVERAGED_THRESHOLDS)
        if averaged_f1.max() > best_f1 + F1_TOLERANCE:
            best_f1 = averaged_f1.max()
            best = OperatingPoint(float(thresholds[middle_of_plateau(thresholds, averaged_f1)]), float(penalty))
    return best


def mean_event_f1(matches: Sequence[ScoredMatch], thresholds: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Compute the F1 that operating points are ranked by, for N operating points at once.

    Args:
        matches: The labelled matches.
        thresholds: (N,) float64 in [0, 1].
        penalties: (N,) float64, 0 or more.

    Returns:
        (N,) float64, the mean over CHOICE_IOU_THRESHOLDS of the event F1 over all matches.
    """
    counts = 0
    for match in matches:
        part_size = max(1, MAX_MARGINS // match.step_scores.size)
        borders = range(part_size, len(thresholds), part_size)
        parts = zip(np.split(thresholds, borders), np.split(penalties, borders), strict=True)
        counts = counts + np.concatenate([count_sections(match, *part) for part in parts])
    num_pairs, num_sections = (
        counts[:, :-1],
        counts[:, -1] + sum(len(match.reference_sections_sec) for match in matches),
    )
    return (2 * num_pairs / num_sections[:, np.newaxis]).mean(axis=1)


def count_sections(match: ScoredMatch, thresholds: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Count what N operating points find in a match.

    Returns:
        (N, len(CHOICE_IOU_THRESHOLDS) + 1) int64: the number of matching pairs at each IoU threshold, and of predicted
        sections.
    """
    margins = decoding.match_margins(
        match.step_scores.ravel(), match.step_sec, match.duration_sec, thresholds, penalties
    )
    reference, counts = match.reference_sections_sec, []
    for margins_at_point in margins.T:
        predicted = decoding.sections_of(margins_at_point, match.step_sec, match.duration_sec)
        if len(match.undecided_sec):
            predicted = drop_undecided(predicted, match.undecided_sec)
        references, predictions, ious = metrics.overlapping_pairs(reference, predicted)
        is_pair = [ious >= iou_threshold - metrics.IOU_TOLERANCE for iou_threshold in CHOICE_IOU_THRESHOLDS]
        num_pairs = [metrics.max_matching_size(references[kept], predictions[kept]) for kept in is_pair]
        counts.append([*num_pairs, len(predicted)])
    return np.array(counts, np.int64)


def moving_average(values: np.ndarray, num_averaged: int) -> np.ndarray:
    """Return (n,) float64: the mean of num_averaged values around each; near both ends, the mean of those in range."""
    window, around = np.ones(num_averaged), slice((num_averaged - 1) // 2, (num_averaged - 1) // 2 + len(values))
    return np.convolve(values, window)[around] / np.convolve(np.ones(len(values)), window)[around]


def candidate_thresholds(scores: np.ndarray, labelled_ratio: float) -> np.ndarray:
    """Choose the thresholds to try.

    Most of them lie midway between two scores, so that the detected fraction of the time runs from an eighth of the
    labelled fraction to eight times as much, in equal ratios. The others are equally spaced, so that a gap between the
    scores of highlights and the rest becomes a plateau.

    Args:
        scores: (num_steps,) float in [0, 1].
        labelled_ratio: The labelled fraction of the time, in (0, 1].

    Returns:
        (num_thresholds,) float64, ascending, in (lowest score, highest score]; a single one where all scores are equal.
    """
    values = np.unique(scores)
    ratios = np.geomspace(labelled_ratio / 8, min(1.0, labelled_ratio * 8), NUM_THRESHOLDS)
    lowest_found = np.searchsorted(values, np.quantile(scores, 1 - ratios, method="higher"))
    between = (values[lowest_found] + values[np.maximum(lowest_found - 1, 0)]) / 2
    steps = np.linspace(values[0], values[-1], NUM_THRESHOLDS // 2)
    candidates = np.unique(np.concatenate([between, steps]))
    return candidates[candidates > values[0]] if len(values) > 1 else values


def middle_of_plateau(thresholds: np.ndarray, f1: np.ndarray) -> int:
    """Return the index of the best F1; of the widest run of equally good ones, the index nearest to its middle.

    Of two that are equally near, it is the first.
    """
    is_best = f1 >= f1.max() - F1_TOLERANCE
    starts, ends = runs_of(is_best).T
    widest = np.argmax(thresholds[ends - 1] - thresholds[starts])
    plateau = np.arange(starts[widest], ends[widest])
    middle = (thresholds[plateau[0]] + thresholds[plateau[-1]]) / 2
    return int(plateau[np.argmin(np.abs(thresholds[plateau] - middle).round(9))])
