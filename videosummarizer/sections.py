"""Compute with highlight sections: union, coverage, length, mean score, and conversion between seconds and frames.

sections_sec: (num_sections, 2) float64 seconds, disjoint, ascending, half-open
sections: (num_sections, 2) int64, the same as the first frame and the frame after the last, in display order
"""

from collections.abc import Iterable

import numpy as np

from videosummarizer.media import TIME_TOLERANCE_SEC

# A difference that is lost in rounding errors, of the part of highlights that are longer than others.
SURVIVAL_TOLERANCE = 1e-9


def merge_sections(sections: list[tuple[float, float]], keep_touching: bool = False) -> np.ndarray:
    """Return the union of half-open sections.

    Args:
        sections: (start, end) in seconds, in any order.
        keep_touching: Whether a section that begins where another ends stays one of its own.

    Returns:
        (num_sections, 2) float64, ascending, disjoint.
    """
    merged: list[list[float]] = []
    tolerance_sec = -TIME_TOLERANCE_SEC if keep_touching else TIME_TOLERANCE_SEC
    for start, end in sorted(sections):
        if merged and start <= merged[-1][1] + tolerance_sec:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, dtype=np.float64).reshape(-1, 2)


def extend_sections(sections_sec: np.ndarray, padding_sec: float, duration_sec: float) -> np.ndarray:
    """Extend sections at both ends, within [0, duration_sec]; those that then meet are merged."""
    padded_sec = np.clip(sections_sec + np.array([-padding_sec, padding_sec]), 0, duration_sec)
    return merge_sections(padded_sec.tolist())


def join_touching(sections: np.ndarray) -> np.ndarray:
    """Join each section that begins where the one before it ends with that one; (num_sections, 2) int64 frames."""
    is_first = np.append(True, sections[1:, 0] != sections[:-1, 1])[: len(sections)]
    return np.stack([sections[is_first, 0], sections[np.append(is_first[1:], True)[: len(sections)], 1]], axis=1)


def label_segments(sections_sec: np.ndarray, num_segments: int, segment_length: float) -> np.ndarray:
    """Label the segments of a video: 1 where sections cover more than half of a segment's full length.

    Args:
        sections_sec: (num_sections, 2) float64 seconds, disjoint.
        num_segments: The number of segments in the video.
        segment_length: Seconds.

    Returns:
        (num_segments,) int64 of 0 or 1.
    """
    covered = coverage(sections_sec, num_segments, segment_length)
    return (covered > 0.5 + TIME_TOLERANCE_SEC / segment_length).astype(np.int64)


def coverage(sections_sec: np.ndarray, num_parts: int, part_length: float) -> np.ndarray:
    """Compute the fraction of each equal part of a video that sections cover.

    Args:
        sections_sec: (num_sections, 2) float64 seconds, disjoint.
        num_parts: The number of parts.
        part_length: Seconds of a part.

    Returns:
        (num_parts,) float64 in [0, 1].
    """
    starts = np.arange(num_parts)[:, np.newaxis] * part_length
    overlaps = np.minimum(starts + part_length, sections_sec[:, 1]) - np.maximum(starts, sections_sec[:, 0])
    return np.clip(overlaps, 0, None).sum(axis=1) / part_length


def overlaps_sec(sections_sec: np.ndarray, others_sec: np.ndarray) -> np.ndarray:
    """Compute how much of each section disjoint other ones cover: (num_sections,) float64 seconds."""
    starts, ends = sections_sec[:, :1], sections_sec[:, 1:]
    covered = np.minimum(ends, others_sec[:, 1]) - np.maximum(starts, others_sec[:, 0])
    return np.clip(covered, 0, None).sum(axis=1)


def drop_undecided(sections_sec: np.ndarray, undecided_sec: np.ndarray) -> np.ndarray:
    """Return the sections of which at most half is undecided time, (num_kept, 2) float64 seconds."""
    lengths_sec = sections_sec[:, 1] - sections_sec[:, 0]
    return sections_sec[2 * overlaps_sec(sections_sec, undecided_sec) <= lengths_sec + TIME_TOLERANCE_SEC]


def are_cut(sections_sec: np.ndarray, undecided_sec: np.ndarray) -> np.ndarray:
    """Return which edges of sections are those of undecided time: (num_sections, 2) bool for their starts and ends.

    Where such a section really begins or ends, nobody has looked.
    """
    others_sec = undecided_sec[:, ::-1]  # a section begins where undecided time ends
    distances_sec = np.abs(sections_sec[:, np.newaxis] - others_sec)
    return (distances_sec <= TIME_TOLERANCE_SEC).any(axis=1)


def median_length_sec(matches: Iterable[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Estimate the median length of highlights, also from sections that are cut at the edges of undecided time.

    Of a section that begins in decided time and is cut at its end, the length is known to be at least what is left:
    this is the median of the Kaplan-Meier estimate ("Nonparametric estimation from incomplete observations", 1958). One
    that is cut at its start says nothing. Counted as they are, cut sections would make highlights appear too short.

    Args:
        matches: For each match (num_sections, 2) float64 seconds of its sections, and of its undecided time.

    Returns:
        Seconds; at least the longest length if more than half of the highlights are longer. None without sections.
    """
    lengths_sec, is_cut = [np.empty(0)], [np.empty((0, 2), bool)]
    for sections_sec, undecided_sec in matches:
        kept_sec = drop_undecided(sections_sec, undecided_sec)
        lengths_sec.append(kept_sec[:, 1] - kept_sec[:, 0])
        is_cut.append(are_cut(kept_sec, undecided_sec))
    lengths_sec, is_cut = np.concatenate(lengths_sec), np.concatenate(is_cut)
    if not len(lengths_sec):
        return None
    begins = ~is_cut[:, 0]
    if not begins.any():
        return float(np.median(lengths_sec))
    lengths_sec, is_whole = lengths_sec[begins], ~is_cut[begins, 1]
    if is_whole.all():
        return float(np.median(lengths_sec))
    order = np.lexsort((~is_whole, lengths_sec))
    num_as_long = np.arange(len(order), 0, -1)
    survival = np.cumprod(1 - is_whole[order] / num_as_long)
    reached = np.flatnonzero(survival <= 0.5 + SURVIVAL_TOLERANCE)
    return float(lengths_sec[order][reached[0] if len(reached) else -1])


def pad_undecided(undecided_sec: np.ndarray, duration_sec: float) -> np.ndarray:
    """Return undecided time without an end where it reaches that of the match, to include the padding of segments."""
    return np.where(undecided_sec >= duration_sec - TIME_TOLERANCE_SEC, np.inf, undecided_sec)


def find_decided_segments(
    sections_sec: np.ndarray, undecided_sec: np.ndarray, num_segments: int, segment_length: float, duration_sec: float
) -> np.ndarray:
    """Find the segments whose label does not depend on undecided time.

    Args:
        sections_sec: (num_sections, 2) float64 seconds, disjoint.
        undecided_sec: (num_ranges, 2) float64 seconds, disjoint: what nobody has looked at.
        num_segments: The number of segments in the video.
        segment_length: Seconds.
        duration_sec: The video's length.

    Returns:
        (num_segments,) bool.
    """
    undecided_sec = pad_undecided(undecided_sec, duration_sec)
    possible_sec = merge_sections([*sections_sec.tolist(), *undecided_sec.tolist()])
    most = coverage(possible_sec, num_segments, segment_length)
    least = most - coverage(undecided_sec, num_segments, segment_length)
    is_highlight = [covered > 0.5 + TIME_TOLERANCE_SEC / segment_length for covered in (least, most)]
    return is_highlight[0] == is_highlight[1]


def subtract_sections(sections_sec: np.ndarray, others_sec: np.ndarray) -> np.ndarray:
    """Return (num_parts, 2) float64: the parts of sections that no other sections cover. Either are disjoint."""
    borders_sec = np.unique(np.concatenate([sections_sec.ravel(), others_sec.ravel()]))
    middles_sec = (borders_sec[1:] + borders_sec[:-1]) / 2

    def covers(covering_sec: np.ndarray) -> np.ndarray:
        starts, ends = np.sort(covering_sec, axis=0).T
        return np.searchsorted(starts, middles_sec) > np.searchsorted(ends, middles_sec)

    parts = runs_of(covers(sections_sec) & ~covers(others_sec))
    return borders_sec[parts] if len(parts) else np.empty((0, 2))


def runs_of(is_true: np.ndarray) -> np.ndarray:
    """Find the runs of True in an array.

    Args:
        is_true: (n,) bool.

    Returns:
        (num_runs, 2) int64: the first index of each run, and the index after its last.
    """
    return np.flatnonzero(np.diff(is_true, prepend=False, append=False)).reshape(-1, 2)


def total_sec(sections_sec: np.ndarray) -> float:
    """Return the total length of sections in seconds."""
    return float((sections_sec[:, 1] - sections_sec[:, 0]).sum())


def mean_scores(sections_sec: np.ndarray, scores: np.ndarray, step_sec: float) -> np.ndarray:
    """Compute the mean score of each section over time.

    Args:
        sections_sec: (num_sections, 2) float64 seconds.
        scores: (num_steps,) float, of consecutive time steps.
        step_sec: Seconds of a step.

    Returns:
        (num_sections,) float64.
    """
    # The integral of the scores over time is linear between the steps' borders.
    borders_sec = np.arange(len(scores) + 1) * step_sec
    integral = np.concatenate([[0], np.cumsum(scores) * step_sec])
    areas = np.diff(np.interp(sections_sec, borders_sec, integral), axis=1)[:, 0]
    return areas / (sections_sec[:, 1] - sections_sec[:, 0])


def to_frames(sections_sec: np.ndarray, frame_times_sec: np.ndarray) -> np.ndarray:
    """Convert sections in seconds to the frames that begin within them, at least the one shown at a section's start.

    Args:
        sections_sec: (num_sections, 2) float64 seconds.
        frame_times_sec: (num_frames,) float64, ascending presentation times.

    Returns:
        (num_sections, 2) int64.
    """
    starts, ends = np.searchsorted(frame_times_sec, sections_sec - TIME_TOLERANCE_SEC).T
    at_start = np.searchsorted(frame_times_sec, sections_sec[:, 0] + TIME_TOLERANCE_SEC, side="right") - 1
    starts = np.where(starts < ends, starts, np.maximum(at_start, 0))
    return np.stack([starts, np.maximum(ends, starts + 1)], axis=1).astype(np.int64)


def to_seconds(sections: np.ndarray, frame_times_sec: np.ndarray, duration_sec: float) -> np.ndarray:
    """Convert sections in frames to seconds: from the time of the first frame to that of the frame after the last.

    Args:
        sections: (num_sections, 2) int64.
        frame_times_sec: (num_frames,) float64, ascending presentation times.
        duration_sec: The end of the last frame.

    Returns:
        (num_sections, 2) float64 seconds.
    """
    return np.append(frame_times_sec, duration_sec)[sections].reshape(-1, 2)
