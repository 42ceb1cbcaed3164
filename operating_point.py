"""Where scores become sections: a threshold, smoothing, the shortest section, the largest gap that is merged."""

from dataclasses import dataclass

import numpy as np

import segments


@dataclass(frozen=True)
class OperatingPoint:
    """threshold: in [0, 1]; a smoothed score of at least this is a highlight. smoothing: segments averaged, centered on
    each, 1 for none. min_length_sec: shorter sections are left out. max_gap_sec: sections at most so far apart are one.
    """

    threshold: float
    smoothing: int = 1
    min_length_sec: float = 0.0
    max_gap_sec: float = 0.0


def smooth(scores: np.ndarray, num_segments: int) -> np.ndarray:
    """(n,) float64: the mean of num_segments scores around each; at the ends of those that are there."""
    window, around = np.ones(num_segments), slice((num_segments - 1) // 2, (num_segments - 1) // 2 + len(scores))
    return np.convolve(scores, window)[around] / np.convolve(np.ones(len(scores)), window)[around]


def find_sections(
    scores: np.ndarray, segment_length: float, duration_sec: float, operating_point: OperatingPoint
) -> np.ndarray:
    """(num_sections, 2) float64: sections in seconds, ascending, disjoint, half-open, within [0, duration_sec].

    Args:
        scores: (num_segments,) float in [0, 1], of consecutive segments of segment_length seconds.
    """
    found = np.flatnonzero(smooth(scores, operating_point.smoothing) >= operating_point.threshold)
    sections: list[list[float]] = []
    for start_sec in found * segment_length:
        end_sec = min(start_sec + segment_length, duration_sec)
        if sections and start_sec - sections[-1][1] <= operating_point.max_gap_sec + segments.TIME_TOLERANCE_SEC:
            sections[-1][1] = end_sec
        else:
            sections.append([start_sec, end_sec])
    shortest_sec = operating_point.min_length_sec - segments.TIME_TOLERANCE_SEC
    return np.array([s for s in sections if s[1] - s[0] >= shortest_sec], np.float64).reshape(-1, 2)
