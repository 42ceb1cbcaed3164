"""Select the highlight sections of a match from its scores: at a threshold, or within a length budget.

scores: (num_steps,) float64 in [0, 1], of the time steps [k * S, (k + 1) * S), where S is step_sec seconds
sections_sec: (num_sections, 2) float64 seconds, disjoint, ascending, half-open
"""

from dataclasses import replace

import numpy as np

from videosummarizer.evaluation.operating_point import OperatingPoint, find_sections
from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import mean_scores, merge_sections, total_sec


def detect_with_margin(
    scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    point: OperatingPoint,
    padding_sec: float,
) -> np.ndarray:
    """Detect sections at an operating point and extend each at both ends; sections that then meet are merged.

    Args:
        scores: (num_steps,) float64 in [0, 1].
        step_sec: Seconds of a step.
        duration_sec: Seconds of the match.
        point: The operating point.
        padding_sec: Seconds to add at both ends of each section.

    Returns:
        (num_sections, 2) float64 seconds, within [0, duration_sec].
    """
    detected_sec = find_sections(scores, step_sec, duration_sec, point)
    padded_sec = np.clip(detected_sec + np.array([-padding_sec, padding_sec]), 0, duration_sec)
    return merge_sections(padded_sec.tolist())


def select_within_budget(
    scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    point: OperatingPoint,
    padding_sec: float,
    length_sec: float,
) -> tuple[np.ndarray, float]:
    """Select the best sections that last length_sec seconds together, greedily by their mean score.

    The threshold is the highest one at which enough is detected. Where no threshold is low enough, non-maxima are no
    longer suppressed. Of the detected sections those with the lowest mean scores are dropped, and the last one that is
    needed is cut to its best window. A window shorter than the operating point's shortest section is dropped, unless it
    is the only one.

    Args:
        scores: (num_steps,) float64 in [0, 1].
        step_sec: Seconds of a step.
        duration_sec: Seconds of the match.
        point: The operating point; its threshold is replaced.
        padding_sec: Seconds to add at both ends of each section.
        length_sec: The budget.

    Returns:
        sections_sec: (num_sections, 2) float64 seconds.
        threshold: The threshold at which they were detected.
    """

    def detect_at(threshold: float, nms_ratio: float) -> np.ndarray:
        at_threshold = replace(point, threshold=threshold, nms_ratio=nms_ratio)
        return detect_with_margin(scores, step_sec, duration_sec, at_threshold, padding_sec)

    thresholds = np.unique(np.append(scores, 0.0))  # ascending: the lower, the more is detected
    lowest = thresholds[:2][-1]  # the lowest score above 0; at 0, the whole match is one section
    nms_ratio = point.nms_ratio if total_sec(detect_at(lowest, point.nms_ratio)) >= length_sec else 0.0
    low, high = 0, len(thresholds)
    while high - low > 1:
        middle = (low + high) // 2
        is_enough = total_sec(detect_at(thresholds[middle], nms_ratio)) >= length_sec
        low, high = (middle, high) if is_enough else (low, middle)
    sections_sec = detect_at(thresholds[low], nms_ratio)
    shortest_sec = max(point.min_length_sec - TIME_TOLERANCE_SEC, TIME_TOLERANCE_SEC)
    kept, remaining_sec = [], length_sec
    for index in np.argsort(-mean_scores(sections_sec, scores, step_sec), kind="stable"):
        if kept and remaining_sec < shortest_sec:
            break
        kept.append(best_window(sections_sec[index], remaining_sec, scores, step_sec))
        remaining_sec -= kept[-1][1] - kept[-1][0]
    return merge_sections(kept), float(thresholds[low])


def best_window(section_sec: np.ndarray, length_sec: float, scores: np.ndarray, step_sec: float) -> tuple[float, float]:
    """Return the window of a section, at most length_sec long, with the highest mean score; the earliest of equal ones.

    Args:
        section_sec: (2,) float64, where the section starts and ends.
        length_sec: The longest allowed window.
        scores: (num_steps,) float64 in [0, 1].
        step_sec: Seconds of a step.

    Returns:
        (start, end) in seconds.
    """
    start_sec, end_sec = section_sec.tolist()
    if end_sec - start_sec <= length_sec:
        return start_sec, end_sec
    # The mean over a moving window is highest where the window begins or ends with the section or with a step.
    borders_sec = np.arange(len(scores) + 1) * step_sec
    starts_sec = np.concatenate([[start_sec, end_sec - length_sec], borders_sec, borders_sec - length_sec])
    starts_sec = np.unique(starts_sec[(starts_sec >= start_sec) & (starts_sec <= end_sec - length_sec)])
    parts_sec = np.stack([starts_sec, starts_sec + length_sec], axis=1)
    return tuple(parts_sec[np.argmax(np.round(mean_scores(parts_sec, scores, step_sec), 9))].tolist())
