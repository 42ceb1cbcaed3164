"""Turn the scores of time steps into highlight sections, by an operating point.

`find_sections` applies an operating point. `choose_operating_point` finds the best one for labelled matches. A time
step is an equal part of a segment, half a second or so, for which the network gives a score.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videosummarizer.evaluation import metrics
from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import label_segments, runs_of

# The smoothings that are tried, in time steps.
SMOOTHINGS = (1, 3, 5)
# The largest gaps to merge that are tried, in time steps.
MAX_GAPS = (0, 1, 2, 3)
# The shortest sections that are tried, in time steps; a section is never shorter than 1.
MIN_LENGTHS = (0, 2, 3)
# Scores below this fraction of the local maximum are suppressed; chosen on validation matches.
NMS_RATIO = 0.8
# A score is compared with the highest one at most this far away; chosen on validation matches.
NMS_RADIUS_SEC = 5.0
# 64 thresholds by score quantiles are tried, and 32 equally spaced ones.
NUM_THRESHOLDS = 64
# F1 is averaged over 9 neighbouring thresholds, so that one lucky threshold does not win.
NUM_AVERAGED_THRESHOLDS = 9
# Values of F1 that differ by less are equal: the difference is float64 rounding.
F1_TOLERANCE = 1e-9
# The largest number of steps or seconds that an untrusted checkpoint's operating point may hold.
MAX_VALUE = 1000
# Operating points are ranked by the mean of the event F1 at these IoU thresholds.
CHOICE_IOU_THRESHOLDS = (0.3, 0.5)


@dataclass(frozen=True)
class OperatingPoint:
    """The settings by which scores become sections.

    Attributes:
        threshold: In [0, 1]; a smoothed score of at least this is a highlight.
        smoothing: The number of steps averaged, centered on each; 1 for none.
        min_length_sec: Shorter sections are dropped.
        max_gap_sec: Sections with a gap of at most this between them are merged.
        nms_ratio: The ratio of `suppress_non_maxima`; 0 leaves the scores unchanged. It is not fitted to each network.
    """

    threshold: float
    smoothing: int = 1
    min_length_sec: float = 0.0
    max_gap_sec: float = 0.0
    nms_ratio: float = NMS_RATIO


def parse_operating_point(values: dict) -> OperatingPoint:
    """Return the operating point that a checkpoint stores.

    Raises:
        TypeError: A name is unknown or the threshold is missing.
        ValueError: A value is not a number or out of range.
    """
    point = OperatingPoint(**values)
    if not all(isinstance(value, int | float) and 0 <= value <= MAX_VALUE for value in vars(point).values()):
        raise ValueError(f"{values}")
    if not isinstance(point.smoothing, int) or point.smoothing < 1:
        raise ValueError(f"smoothing {point.smoothing}")
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
    """

    title: str
    segment_length: float
    duration_sec: float
    labels: np.ndarray
    sections_sec: np.ndarray
    scores: np.ndarray
    step_scores: np.ndarray

    @property
    def step_sec(self) -> float:
        """Return the length of a time step in seconds."""
        return self.segment_length / self.step_scores.shape[1]

    def suppressed_scores(self) -> np.ndarray:
        """Return (num_steps,) float64 scores as from `suppress_non_maxima`."""
        return suppress_non_maxima(self.step_scores.ravel(), self.step_sec, self.duration_sec)

    def predicted_sections_sec(self, point: OperatingPoint) -> np.ndarray:
        """Return (num_sections, 2) float64 seconds as from `find_sections`."""
        return find_sections(self.step_scores.ravel(), self.step_sec, self.duration_sec, point)

    def predicted_labels(self, point: OperatingPoint) -> np.ndarray:
        """Return (num_segments,) int64 of 0 or 1: 1 where predicted sections cover more than half of a segment."""
        return label_segments(self.predicted_sections_sec(point), len(self.labels), self.segment_length)


def suppress_non_maxima(
    step_scores: np.ndarray, step_sec: float, duration_sec: float, nms_ratio: float = NMS_RATIO
) -> np.ndarray:
    """Set scores to 0 that are low compared with the local maximum.

    This is a relative non-maximum suppression of the score curve: not one peak remains, but everything that is at least
    nms_ratio times the highest score within NMS_RADIUS_SEC. Sections in quick succession are kept separate, since the
    score drops between them even where it stays above the threshold, and section boundaries get sharper.

    Args:
        step_scores: (num_steps,) float in [0, 1], of consecutive time steps.
        step_sec: Seconds of a step.
        duration_sec: Seconds of the match.
        nms_ratio: In [0, 1]; 0 leaves the scores unchanged.

    Returns:
        (num_kept_steps,) float64: the scores of the steps that begin before the match's end.
    """
    from scipy.ndimage import maximum_filter1d  # a slow import, which would delay --help

    num_steps = math.ceil((duration_sec - TIME_TOLERANCE_SEC) / step_sec)  # the last segment may be shorter
    scores = np.asarray(step_scores[:num_steps], np.float64)
    reach = max(1, round(NMS_RADIUS_SEC / step_sec))
    return np.where(scores >= nms_ratio * maximum_filter1d(scores, 2 * reach + 1, mode="nearest"), scores, 0.0)


def moving_average(scores: np.ndarray, num_averaged: int) -> np.ndarray:
    """Return (n,) float64: the mean of num_averaged scores around each; near both ends, the mean of those in range."""
    window, around = np.ones(num_averaged), slice((num_averaged - 1) // 2, (num_averaged - 1) // 2 + len(scores))
    return np.convolve(scores, window)[around] / np.convolve(np.ones(len(scores)), window)[around]


def find_sections(
    step_scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    operating_point: OperatingPoint,
) -> np.ndarray:
    """Find the highlight sections of a match at an operating point.

    Args:
        step_scores: (num_steps,) float in [0, 1], of consecutive time steps.
        step_sec: Seconds of a step.
        duration_sec: Seconds of the match.
        operating_point: The settings to use.

    Returns:
        (num_sections, 2) float64 seconds, ascending, disjoint, half-open, within [0, duration_sec].
    """
    suppressed = suppress_non_maxima(step_scores, step_sec, duration_sec, operating_point.nms_ratio)
    predicted = np.flatnonzero(moving_average(suppressed, operating_point.smoothing) >= operating_point.threshold)
    sections: list[list[float]] = []
    for start_sec in predicted * step_sec:
        end_sec = min(start_sec + step_sec, duration_sec)
        if sections and start_sec - sections[-1][1] <= operating_point.max_gap_sec + TIME_TOLERANCE_SEC:
            sections[-1][1] = end_sec
        else:
            sections.append([start_sec, end_sec])
    shortest_sec = operating_point.min_length_sec - TIME_TOLERANCE_SEC
    return np.array([s for s in sections if s[1] - s[0] >= shortest_sec], np.float64).reshape(-1, 2)


def choose_operating_point(matches: Sequence[ScoredMatch]) -> OperatingPoint:
    """Choose the operating point with the best event F1 on labelled matches.

    The F1 is the mean of those at IoU 0.3 and at 0.5. The first mostly measures whether sections are detected, the
    second also how exact their boundaries are. Their mean varies less than either alone.

    All combinations of SMOOTHINGS, MAX_GAPS, MIN_LENGTHS and candidate thresholds are tried. A threshold is rated by
    the mean over its neighbours, NUM_AVERAGED_THRESHOLDS in all: with few matches, a single best one is luck. Among
    equally good points the one with the least smoothing wins, then the smallest gap, then the shortest length. Among
    neighbouring thresholds that are equally good, the middle one wins.

    Raises:
        ValueError: No match has a labelled section.
    """
    timeline = ConcatenatedMatches(matches)
    if not len(timeline.reference_sections):
        raise ValueError(
            "received matches without a labelled section, expected at least one to choose an operating point by"
        )
    best_f1, best = -1.0, None
    for smoothing in SMOOTHINGS:
        smoothed = np.concatenate([moving_average(scores, smoothing) for scores in timeline.suppressed_scores])
        thresholds = candidate_thresholds(smoothed, timeline.labelled_ratio)
        f1 = np.array([timeline.evaluate(timeline.runs(smoothed, threshold)) for threshold in thresholds])
        for gap, length in np.ndindex(f1.shape[1:]):
            averaged_f1 = moving_average(f1[:, gap, length], NUM_AVERAGED_THRESHOLDS)
            if averaged_f1.max() > best_f1 + F1_TOLERANCE:
                best_f1, index = averaged_f1.max(), middle_of_plateau(thresholds, averaged_f1)
                best = OperatingPoint(
                    float(thresholds[index]), smoothing, timeline.min_lengths_sec[length], timeline.max_gaps_sec[gap]
                )
    return best


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
    """Return the index of the best F1; of the widest run of equally good ones, the index nearest to its middle."""
    is_best = f1 >= f1.max() - F1_TOLERANCE
    starts, ends = runs_of(is_best).T
    widest = np.argmax(thresholds[ends - 1] - thresholds[starts])
    plateau = np.arange(starts[widest], ends[widest])
    middle = (thresholds[plateau[0]] + thresholds[plateau[-1]]) / 2
    return int(plateau[np.argmin(np.abs(thresholds[plateau] - middle))])


class ConcatenatedMatches:
    """Matches laid out one after another, so that all are searched at once.

    Between two matches is more time than any gap that is merged.

    Attributes:
        suppressed_scores: For each match (num_steps,) float64 of `suppress_non_maxima`.
        max_gaps_sec: MAX_GAPS in seconds.
        min_lengths_sec: MIN_LENGTHS in seconds.
        starts_sec: (num_all_steps,) float64, where each step begins.
        ends_sec: (num_all_steps,) float64, where each step ends.
        is_first: (num_all_steps,) bool, whether a step is the first of its match.
        reference_sections: (num_sections, 2) float64 seconds.
        labelled_ratio: The labelled fraction of the time.
    """

    def __init__(self, matches: Sequence[ScoredMatch]):
        step_sec = matches[0].step_sec
        self.suppressed_scores = [match.suppressed_scores() for match in matches]
        self.max_gaps_sec = [num_steps * step_sec for num_steps in MAX_GAPS]
        self.min_lengths_sec = [num_steps * step_sec for num_steps in MIN_LENGTHS]
        starts, ends, references, offset_sec = [], [], [], 0.0
        for match, scores in zip(matches, self.suppressed_scores, strict=True):
            borders_sec = np.minimum(np.arange(len(scores) + 1) * step_sec, match.duration_sec) + offset_sec
            starts.append(borders_sec[:-1])
            ends.append(borders_sec[1:])
            references.append(match.sections_sec + offset_sec)
            offset_sec += match.duration_sec + 2 * max(self.max_gaps_sec) + step_sec
        self.starts_sec, self.ends_sec = np.concatenate(starts), np.concatenate(ends)
        self.is_first = np.concatenate([np.arange(len(scores)) == 0 for scores in self.suppressed_scores])
        self.reference_sections = np.concatenate(references)
        labelled_sec = (self.reference_sections[:, 1] - self.reference_sections[:, 0]).sum()
        self.labelled_ratio = float(labelled_sec / sum(match.duration_sec for match in matches))

    def runs(self, smoothed: np.ndarray, threshold: float) -> np.ndarray:
        """Return (num_runs, 2) float64 seconds: runs of steps whose smoothed score is at least the threshold."""
        starts, ends = runs_of(smoothed >= threshold, self.is_first).T
        return np.stack([self.starts_sec[starts], self.ends_sec[ends - 1]], axis=1)

    def evaluate(self, runs: np.ndarray) -> np.ndarray:
        """Compute the F1 that operating points are ranked by, for each gap and length.

        As in `find_sections`, gaps are merged first and short sections are dropped afterwards.

        Args:
            runs: (num_runs, 2) float64 seconds.

        Returns:
            (len(MAX_GAPS), len(MIN_LENGTHS)) float64.
        """
        f1 = np.empty((len(MAX_GAPS), len(MIN_LENGTHS)))
        for gap, max_gap_sec in enumerate(self.max_gaps_sec):
            is_gap = runs[1:, 0] - runs[:-1, 1] > max_gap_sec + TIME_TOLERANCE_SEC
            merged = np.stack([runs[np.append(True, is_gap), 0], runs[np.append(is_gap, True), 1]], axis=1)
            references, predictions, ious = metrics.overlapping_pairs(self.reference_sections, merged)
            for length, min_length_sec in enumerate(self.min_lengths_sec):
                is_kept = merged[:, 1] - merged[:, 0] >= min_length_sec - TIME_TOLERANCE_SEC
                num_sections = len(self.reference_sections) + is_kept.sum()
                f1_at = []
                for iou_threshold in CHOICE_IOU_THRESHOLDS:
                    is_pair = is_kept[predictions] & (ious >= iou_threshold - metrics.IOU_TOLERANCE)
                    num_pairs = metrics.max_matching_size(references[is_pair], predictions[is_pair])
                    f1_at.append(2 * num_pairs / num_sections)
                f1[gap, length] = np.mean(f1_at)
        return f1
