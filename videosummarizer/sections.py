"""videosummarizer.sections."""

import numpy as np

from videosummarizer.media import TIME_TOLERANCE_SEC


def merge_sections(sections: list[tuple[float, float]]) -> np.ndarray:
    """(num_sections, 2) float64: the union of half-open sections as ascending, disjoint ones."""
    merged: list[list[float]] = []
    for start, end in sorted(sections):
        if merged and start <= merged[-1][1] + TIME_TOLERANCE_SEC:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, dtype=np.float64).reshape(-1, 2)


def label_segments(sections_sec: np.ndarray, num_segments: int, segment_length: float) -> np.ndarray:
    """(num_segments,) int64 of 0 or 1: 1 where the sections cover more than half of a segment's full length.

    Args:
        sections_sec: (num_sections, 2) float64, disjoint sections in seconds.
        num_segments: how many segments the video has.
        segment_length: seconds.
    """
    covered = coverage(sections_sec, num_segments, segment_length)
    return (covered > 0.5 + TIME_TOLERANCE_SEC / segment_length).astype(np.int64)


def coverage(sections_sec: np.ndarray, num_parts: int, part_length: float) -> np.ndarray:
    """(num_parts,) float64 in [0, 1]: the share of each part of a video, part_length seconds long, that disjoint
    sections (num_sections, 2) in seconds cover."""
    starts = np.arange(num_parts)[:, np.newaxis] * part_length
    overlaps = np.minimum(starts + part_length, sections_sec[:, 1]) - np.maximum(starts, sections_sec[:, 0])
    return np.clip(overlaps, 0, None).sum(axis=1) / part_length


def total_sec(sections_sec: np.ndarray) -> float:
    """Seconds that sections last together."""
    return float((sections_sec[:, 1] - sections_sec[:, 0]).sum())


def mean_scores(sections_sec: np.ndarray, scores: np.ndarray, step_sec: float) -> np.ndarray:
    """(num_sections,) float64: mean score of each section over time."""
    # The integral of the scores over time is linear between the steps' borders.
    borders_sec = np.arange(len(scores) + 1) * step_sec
    integral = np.concatenate([[0], np.cumsum(scores) * step_sec])
    areas = np.diff(np.interp(sections_sec, borders_sec, integral), axis=1)[:, 0]
    return areas / (sections_sec[:, 1] - sections_sec[:, 0])


def to_frames(sections_sec: np.ndarray, frame_times_sec: np.ndarray) -> np.ndarray:
    """sections of sections_sec: the frames that begin within each; at least the one that is shown at its start.

    Args:
        frame_times_sec: (num_frames,) float64, ascending presentation times.
    """
    starts, ends = np.searchsorted(frame_times_sec, sections_sec - TIME_TOLERANCE_SEC).T
    shown = np.searchsorted(frame_times_sec, sections_sec[:, 0] + TIME_TOLERANCE_SEC, side="right") - 1
    starts = np.where(starts < ends, starts, np.maximum(shown, 0))
    return np.stack([starts, np.maximum(ends, starts + 1)], axis=1).astype(np.int64)


def to_seconds(sections: np.ndarray, frame_times_sec: np.ndarray, duration_sec: float) -> np.ndarray:
    """sections_sec of sections: from the first frame's presentation time to that of the frame after the last."""
    return np.append(frame_times_sec, duration_sec)[sections].reshape(-1, 2)
