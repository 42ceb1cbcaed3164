"""Where the scores of steps become sections: a threshold, smoothing, the shortest section, the largest gap that is
merged.

`find_sections` applies an operating point, `choose_operating_point` finds the best one for labelled matches.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videosummarizer.evaluation import metrics
from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import label_segments

SMOOTHINGS = (1, 3, 5)  # steps
MAX_GAPS = (0, 1, 2, 3)  # steps
MIN_LENGTHS = (0, 2, 3)  # steps; none is shorter than 1
NMS_RATIO, NMS_RADIUS_SEC = 0.8, 5.0  # chosen on validation
NUM_THRESHOLDS = 64  # that are tried, and half as many in equal steps
NUM_AVERAGED_THRESHOLDS = 9  # neighbouring thresholds
F1_TOLERANCE = 1e-9  # above float64 rounding: what differs by less is equally good
MAX_VALUE = 1000  # of steps and seconds in a stranger's operating point
CHOICE_IOU_THRESHOLDS = (0.3, 0.5)


@dataclass(frozen=True)
class OperatingPoint:
    """threshold: in [0, 1]; a smoothed score of at least this is a highlight. smoothing: steps averaged, centered on
    each, 1 for none. min_length_sec: shorter sections are left out. max_gap_sec: sections at most so far apart are one.
    nms_ratio: of `suppress_non_maxima`, not chosen anew for each network; 0 leaves the scores as they are.
    """

    threshold: float
    smoothing: int = 1
    min_length_sec: float = 0.0
    max_gap_sec: float = 0.0
    nms_ratio: float = NMS_RATIO


def parse_operating_point(values: dict) -> OperatingPoint:
    """The operating point that a checkpoint states. Raises TypeError or ValueError where it is none."""
    point = OperatingPoint(**values)
    if not all(isinstance(value, int | float) and 0 <= value <= MAX_VALUE for value in vars(point).values()):
        raise ValueError(f"{values}")
    if not isinstance(point.smoothing, int) or point.smoothing < 1:
        raise ValueError(f"smoothing {point.smoothing}")
    return point


@dataclass(frozen=True)
class ScoredMatch:
    """A labelled match, as metadata.Match, and a model's scores in [0, 1]: (num_segments,) float of the segments and
    step_scores, (num_segments, K) float, of the K equal steps of each; K is 1 where nothing finer is known."""

    title: str
    segment_length: float
    duration_sec: float
    labels: np.ndarray
    sections_sec: np.ndarray
    scores: np.ndarray
    step_scores: np.ndarray

    @property
    def step_sec(self) -> float:
        """Seconds that a step lasts."""
        return self.segment_length / self.step_scores.shape[1]

    def clear_scores(self) -> np.ndarray:
        """(num_steps,) float64: as from `suppress_non_maxima`."""
        return suppress_non_maxima(self.step_scores.ravel(), self.step_sec, self.duration_sec)

    def found_sections_sec(self, point: OperatingPoint) -> np.ndarray:
        """(num_sections, 2) float64: as from `find_sections`."""
        return find_sections(self.step_scores.ravel(), self.step_sec, self.duration_sec, point)

    def found_labels(self, point: OperatingPoint) -> np.ndarray:
        """(num_segments,) int64 of 0 or 1: 1 where found sections cover more than half of a segment, as in labels."""
        return label_segments(self.found_sections_sec(point), len(self.labels), self.segment_length)


def suppress_non_maxima(
    step_scores: np.ndarray, step_sec: float, duration_sec: float, nms_ratio: float = NMS_RATIO
) -> np.ndarray:
    """(num_left,) float64: the scores of the steps that begin before the match's end, 0 where a score is less than
    nms_ratio of the highest within NMS_RADIUS_SEC.

    Sections that follow each other closely are found apart, as the score falls between them though it may stay above
    the threshold; and their ends get sharper.
    """
    from scipy.ndimage import maximum_filter1d  # takes a while, for which no --help should wait

    num_steps = math.ceil((duration_sec - TIME_TOLERANCE_SEC) / step_sec)  # the last segment may be cut short
    scores = np.asarray(step_scores[:num_steps], np.float64)
    reach = max(1, round(NMS_RADIUS_SEC / step_sec))
    return np.where(scores >= nms_ratio * maximum_filter1d(scores, 2 * reach + 1, mode="nearest"), scores, 0.0)


def moving_average(scores: np.ndarray, num_averaged: int) -> np.ndarray:
    """(n,) float64: the mean of num_averaged scores around each; at the ends of those that are there."""
    window, around = np.ones(num_averaged), slice((num_averaged - 1) // 2, (num_averaged - 1) // 2 + len(scores))
    return np.convolve(scores, window)[around] / np.convolve(np.ones(len(scores)), window)[around]


def find_sections(
    step_scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    operating_point: OperatingPoint,
) -> np.ndarray:
    """(num_sections, 2) float64: sections in seconds, ascending, disjoint, half-open, within [0, duration_sec].

    Args:
        step_scores: (num_steps,) float in [0, 1], of consecutive steps of step_sec seconds.
    """
    clear = suppress_non_maxima(step_scores, step_sec, duration_sec, operating_point.nms_ratio)
    found = np.flatnonzero(moving_average(clear, operating_point.smoothing) >= operating_point.threshold)
    sections: list[list[float]] = []
    for start_sec in found * step_sec:
        end_sec = min(start_sec + step_sec, duration_sec)
        if sections and start_sec - sections[-1][1] <= operating_point.max_gap_sec + TIME_TOLERANCE_SEC:
            sections[-1][1] = end_sec
        else:
            sections.append([start_sec, end_sec])
    shortest_sec = operating_point.min_length_sec - TIME_TOLERANCE_SEC
    return np.array([s for s in sections if s[1] - s[0] >= shortest_sec], np.float64).reshape(-1, 2)


def choose_operating_point(matches: Sequence[ScoredMatch]) -> OperatingPoint:
    """The operating point with the best event F1 on labelled matches, the mean of those at IoU 0.3 and at 0.5: one asks
    for sections that are there, the other for their ends, and together they vary less than either.

    All combinations of SMOOTHINGS, MAX_GAPS, MIN_LENGTHS and candidate thresholds are tried. A threshold counts as good
    as the mean over its neighbours, NUM_AVERAGED_THRESHOLDS in all: with few matches a single best one is luck. Of
    equally good points the one with the least smoothing, then the smallest gap, then the shortest length is taken, and
    of thresholds next to each other that are equally good the one in their middle.

    Raises:
        ValueError: no match has a labelled section.
    """
    timeline = ConcatenatedMatches(matches)
    if not len(timeline.reference_sections):
        raise ValueError("received matches without a labelled section, expected some to choose an operating point by")
    best_f1, best = -1.0, None
    for smoothing in SMOOTHINGS:
        smoothed = np.concatenate([moving_average(scores, smoothing) for scores in timeline.clear_scores])
        thresholds = candidate_thresholds(smoothed, timeline.labelled_share)
        f1 = np.array([timeline.evaluate(timeline.runs(smoothed, threshold)) for threshold in thresholds])
        for gap, length in np.ndindex(f1.shape[1:]):
            averaged_f1 = moving_average(f1[:, gap, length], NUM_AVERAGED_THRESHOLDS)
            if averaged_f1.max() > best_f1 + F1_TOLERANCE:
                best_f1, place = averaged_f1.max(), middle_of_plateau(thresholds, averaged_f1)
                best = OperatingPoint(
                    float(thresholds[place]), smoothing, timeline.min_lengths_sec[length], timeline.max_gaps_sec[gap]
                )
    return best


def candidate_thresholds(scores: np.ndarray, labelled_share: float) -> np.ndarray:
    """(num_thresholds,) float64, ascending, in (lowest score, highest score]: those at which from an eighth of the
    labelled share of the time to eight times as much is found, in equal ratios, midway between two scores; and some in
    equal steps, so that a gap between the scores of highlights and the rest is a plateau. A single one where all scores
    are equal."""
    values = np.unique(scores)
    shares = np.geomspace(labelled_share / 8, min(1.0, labelled_share * 8), NUM_THRESHOLDS)
    lowest_found = np.searchsorted(values, np.quantile(scores, 1 - shares, method="higher"))
    between = (values[lowest_found] + values[np.maximum(lowest_found - 1, 0)]) / 2
    steps = np.linspace(values[0], values[-1], NUM_THRESHOLDS // 2)
    candidates = np.unique(np.concatenate([between, steps]))
    return candidates[candidates > values[0]] if len(values) > 1 else values


def middle_of_plateau(thresholds: np.ndarray, f1: np.ndarray) -> int:
    """The place of the best F1; of the widest run of equally good ones, the place nearest to its middle."""
    is_best = f1 >= f1.max() - F1_TOLERANCE
    starts, ends = np.flatnonzero(np.diff(is_best, prepend=False, append=False)).reshape(-1, 2).T
    widest = np.argmax(thresholds[ends - 1] - thresholds[starts])
    plateau = np.arange(starts[widest], ends[widest])
    middle = (thresholds[plateau[0]] + thresholds[plateau[-1]]) / 2
    return int(plateau[np.argmin(np.abs(thresholds[plateau] - middle))])


class ConcatenatedMatches:
    """Matches laid one after another, further apart than any gap that is merged, so that all are searched at once.

    clear_scores: for each match (num_steps,) float64 of `suppress_non_maxima`. starts_sec, ends_sec: (num_all_steps,)
    float64 of all steps. is_first: (num_all_steps,) bool, of each match. reference_sections: (num_sections, 2) float64
    seconds.
    """

    def __init__(self, matches: Sequence[ScoredMatch]):
        step_sec = matches[0].step_sec
        self.clear_scores = [match.clear_scores() for match in matches]
        self.max_gaps_sec = [num_steps * step_sec for num_steps in MAX_GAPS]
        self.min_lengths_sec = [num_steps * step_sec for num_steps in MIN_LENGTHS]
        starts, ends, references, offset_sec = [], [], [], 0.0
        for match, scores in zip(matches, self.clear_scores, strict=True):
            borders_sec = np.minimum(np.arange(len(scores) + 1) * step_sec, match.duration_sec) + offset_sec
            starts.append(borders_sec[:-1])
            ends.append(borders_sec[1:])
            references.append(match.sections_sec + offset_sec)
            offset_sec += match.duration_sec + 2 * max(self.max_gaps_sec) + step_sec
        self.starts_sec, self.ends_sec = np.concatenate(starts), np.concatenate(ends)
        self.is_first = np.concatenate([np.arange(len(scores)) == 0 for scores in self.clear_scores])
        self.reference_sections = np.concatenate(references)
        labelled_sec = (self.reference_sections[:, 1] - self.reference_sections[:, 0]).sum()
        self.labelled_share = float(labelled_sec / sum(match.duration_sec for match in matches))

    def runs(self, smoothed: np.ndarray, threshold: float) -> np.ndarray:
        """(num_runs, 2) float64 seconds: runs of steps whose smoothed score is at least the threshold."""
        is_found = smoothed >= threshold
        follows = np.append(False, is_found[:-1]) & ~self.is_first
        is_followed = np.append(is_found[1:] & ~self.is_first[1:], False)
        return np.stack([self.starts_sec[is_found & ~follows], self.ends_sec[is_found & ~is_followed]], axis=1)

    def evaluate(self, runs: np.ndarray) -> np.ndarray:
        """(len(MAX_GAPS), len(MIN_LENGTHS)) float64: the F1 to choose by, of these runs, gaps merged first and short
        sections left out then, as `find_sections` does."""
        f1 = np.empty((len(MAX_GAPS), len(MIN_LENGTHS)))
        for gap, max_gap_sec in enumerate(self.max_gaps_sec):
            is_apart = runs[1:, 0] - runs[:-1, 1] > max_gap_sec + TIME_TOLERANCE_SEC
            merged = np.stack([runs[np.append(True, is_apart), 0], runs[np.append(is_apart, True), 1]], axis=1)
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
