"""Select the highlight sections of a match from its scores: at a threshold, or within a length budget.

scores: (num_steps,) float64 in [0, 1], of the time steps [k * S, (k + 1) * S), where S is step_sec seconds
sections_sec: (num_sections, 2) float64 seconds, disjoint, ascending, half-open
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from videosummarizer.evaluation.decoding import MARGIN_TOLERANCE, evidence_per_sec, find_sections, log_odds
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import extend_sections, mean_scores, merge_sections, total_sec

# How exactly the threshold of a budget is searched, in nats of log-odds.
LOG_ODDS_TOLERANCE = 1e-3


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
    detected_sec = find_sections(scores, step_sec, duration_sec, point.threshold, point.section_penalty)
    return extend_sections(detected_sec, padding_sec, duration_sec)


def select_within_budget(
    scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    point: OperatingPoint,
    padding_sec: float,
    length_sec: float,
) -> tuple[np.ndarray, OperatingPoint]:
    """Select the best sections that last length_sec seconds together, greedily by their mean score.

    The threshold is lowered until enough is detected. Of the detected sections those with the lowest mean scores are
    dropped, and the last one that is needed is cut to its best window. If the window holds less evidence than a section
    costs, it is dropped too, unless it is the only one.

    Args:
        scores: (num_steps,) float64 in [0, 1].
        step_sec: Seconds of a step.
        duration_sec: Seconds of the match.
        point: The operating point; its threshold is replaced.
        padding_sec: Seconds to add at both ends of each section.
        length_sec: The budget.

    Returns:
        sections_sec: (num_sections, 2) float64 seconds.
        point: The operating point at which they were detected.
    """

    def detect_at(threshold: float) -> np.ndarray:
        return detect_with_margin(scores, step_sec, duration_sec, replace(point, threshold=threshold), padding_sec)

    threshold = lower_threshold(lambda threshold: total_sec(detect_at(threshold)) >= length_sec, scores)
    point, sections_sec = replace(point, threshold=threshold), detect_at(threshold)
    kept, remaining_sec = [], length_sec
    for index in np.argsort(-mean_scores(sections_sec, scores, step_sec), kind="stable"):
        if kept and remaining_sec < TIME_TOLERANCE_SEC:
            break
        window = best_window(sections_sec[index], remaining_sec, scores, step_sec)
        is_whole = window == tuple(sections_sec[index].tolist())
        if kept and not is_whole and not is_worth_penalty(window, scores, step_sec, point):
            break
        kept.append(window)
        remaining_sec -= window[1] - window[0]
    return merge_sections(kept), point


def lower_threshold(is_low_enough: Callable[[float], bool], scores: np.ndarray) -> float:
    """Return the highest threshold that is low enough, to a thousandth of a nat; 0 where none is.

    Args:
        is_low_enough: Whether a threshold in [0, 1] is low enough; true below every threshold for which it is true.
        scores: (num_steps,) float64 in [0, 1]; a threshold above all of them is too high.
    """
    lowest = low = log_odds(0.0)
    high = log_odds(scores.max()) + LOG_ODDS_TOLERANCE
    while high - low > LOG_ODDS_TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if is_low_enough(1 / (1 + math.exp(-middle))) else (low, middle)
    return 1 / (1 + math.exp(-low)) if low > lowest else 0.0


def is_worth_penalty(
    window_sec: tuple[float, float], scores: np.ndarray, step_sec: float, point: OperatingPoint
) -> bool:
    """Return whether a window holds as much evidence as a section costs at an operating point."""
    (mean_evidence,) = mean_scores(np.array([window_sec]), evidence_per_sec(scores, point.threshold), step_sec)
    return mean_evidence * (window_sec[1] - window_sec[0]) >= point.section_penalty - MARGIN_TOLERANCE


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
