"""From a match's scores to its highlight sections: found at a threshold or filled to a length, padded, cut at frames.

scores: (num_steps,) float64 in [0, 1], of the steps `[k * S, (k + 1) * S)`, S = step_sec seconds.
sections_sec: (num_sections, 2) float64, disjoint, ascending, half-open, seconds.
sections: (num_sections, 2) int64, the same as first frame and the frame after the last, in display order.
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
    """sections_sec found at an operating point, each padding_sec longer at both ends; those that then meet are one."""
    found_sec = find_sections(scores, step_sec, duration_sec, point)
    padded_sec = np.clip(found_sec + np.array([-padding_sec, padding_sec]), 0, duration_sec)
    return merge_sections(padded_sec.tolist())


def select_within_budget(
    scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    point: OperatingPoint,
    padding_sec: float,
    length_sec: float,
) -> tuple[np.ndarray, float]:
    """The best reel of a length: sections_sec that last length_sec together, and the threshold they were found at.

    The threshold is the highest at which enough is found; where none is low enough, dips are no longer left out. Of
    what is too much then, sections with the lowest mean score are left out, and the last one that is needed is cut to
    its best part; a part shorter than the operating point's shortest section is left out, unless it is all there is.
    """

    def found_at(threshold: float, nms_ratio: float) -> np.ndarray:
        at_threshold = replace(point, threshold=threshold, nms_ratio=nms_ratio)
        return detect_with_margin(scores, step_sec, duration_sec, at_threshold, padding_sec)

    thresholds = np.unique(np.append(scores, 0.0))  # ascending: the lower, the more is found
    lowest = thresholds[:2][-1]  # above 0, at which all is found
    nms_ratio = point.nms_ratio if total_sec(found_at(lowest, point.nms_ratio)) >= length_sec else 0.0
    low, high = 0, len(thresholds)
    while high - low > 1:
        middle = (low + high) // 2
        is_enough = total_sec(found_at(thresholds[middle], nms_ratio)) >= length_sec
        low, high = (middle, high) if is_enough else (low, middle)
    sections_sec = found_at(thresholds[low], nms_ratio)
    shortest_sec = max(point.min_length_sec - TIME_TOLERANCE_SEC, TIME_TOLERANCE_SEC)
    kept, left_sec = [], length_sec
    for place in np.argsort(-mean_scores(sections_sec, scores, step_sec), kind="stable"):
        if kept and left_sec < shortest_sec:
            break
        kept.append(best_window(sections_sec[place], left_sec, scores, step_sec))
        left_sec -= kept[-1][1] - kept[-1][0]
    return merge_sections(kept), float(thresholds[low])


def best_window(section_sec: np.ndarray, length_sec: float, scores: np.ndarray, step_sec: float) -> tuple[float, float]:
    """The part of a section of at most length_sec seconds with the highest mean score; the earliest of equal ones."""
    start_sec, end_sec = section_sec.tolist()
    if end_sec - start_sec <= length_sec:
        return start_sec, end_sec
    # The mean over a moving part is highest where the part begins or ends with the section or with a step.
    borders_sec = np.arange(len(scores) + 1) * step_sec
    starts_sec = np.concatenate([[start_sec, end_sec - length_sec], borders_sec, borders_sec - length_sec])
    starts_sec = np.unique(starts_sec[(starts_sec >= start_sec) & (starts_sec <= end_sec - length_sec)])
    parts_sec = np.stack([starts_sec, starts_sec + length_sec], axis=1)
    return tuple(parts_sec[np.argmax(np.round(mean_scores(parts_sec, scores, step_sec), 9))].tolist())
