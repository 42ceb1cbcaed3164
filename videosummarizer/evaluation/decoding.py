"""Decode the scores of time steps into highlight sections: two states, inside and outside, and a price per section.

A step is evidence for a highlight: its log-odds above those of a threshold, times its length. It is negative where the
score is below the threshold. Among all sets of sections, the one with the most evidence inside is chosen, after each
section has paid a penalty. So a burst that holds less evidence than the penalty is no section, and a dip with less
evidence against it than the penalty does not divide one. This is Viterbi decoding of a hidden Markov model with two
states (Rabiner, "A Tutorial on Hidden Markov Models", 1989, section III.B); the penalty is the only cost of a change.

Evidence and penalties are in nats times seconds. Thresholds and penalties may be arrays, to decode for many at once.
"""

import itertools
import math

import numpy as np

from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import runs_of

# A step has at most this many nats per second for or against it, so that a score near 0 or 1 does not decide alone. It
# is the log-odds of a score of 0.999.
MAX_EVIDENCE = 7.0
# Scores and thresholds are clipped this far away from 0 and 1, where log-odds are infinite.
EPSILON = 1e-9
# Margins closer to 0 than this are 0: float64 rounding of sums over a match of hours.
MARGIN_TOLERANCE = 1e-9


def log_odds(probabilities: np.ndarray | float) -> np.ndarray:
    """Return the natural logarithm of p / (1 - p), of probabilities clipped to [EPSILON, 1 - EPSILON]."""
    clipped = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    return np.log(clipped) - np.log1p(-clipped)


def evidence_per_sec(scores: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """Return the evidence of scores for a highlight in nats per second, (num_steps,) or (num_steps, N)."""
    return np.clip(np.subtract.outer(log_odds(scores), log_odds(thresholds)), -MAX_EVIDENCE, MAX_EVIDENCE)


def step_durations(num_scores: int, step_sec: float, duration_sec: float) -> np.ndarray:
    """Return the seconds of each step that begins before the match's end; the last one may be shorter than the others.

    Args:
        num_scores: The number of scored steps; those of the padded last segment may begin after the end.
        step_sec: Seconds of a step.
        duration_sec: Seconds of the match.

    Returns:
        (num_steps,) float64.
    """
    num_steps = min(num_scores, math.ceil((duration_sec - TIME_TOLERANCE_SEC) / step_sec))
    return np.diff(np.minimum(np.arange(num_steps + 1) * step_sec, duration_sec))


def section_margins(evidence: np.ndarray, penalty: np.ndarray | float) -> np.ndarray:
    """Compute by how much the best decoding with a step inside a section beats the best with it outside.

    These are the max-marginals of the two-state model. Evidence from either side counts up to the penalty, because it
    is then cheaper to begin another section.

    Args:
        evidence: (num_steps, ...) float64, nats times seconds.
        penalty: What each section costs; 0 or more, a number or of the shape of `evidence[0]`.

    Returns:
        Float64 of the same shape as the evidence. The steps with 0 or more make up the best set of sections; among
        equally good sets, the longest.
    """
    if evidence.ndim == 1:  # ten times as fast as with NumPy's functions
        minimum, maximum, evidence, penalty = min, max, evidence.tolist(), float(penalty)
    else:
        minimum, maximum, penalty = np.minimum, np.maximum, np.broadcast_to(penalty, evidence.shape[1:])

    def add_before(total, step_evidence):
        return minimum(maximum(total + step_evidence, -penalty), 0.0)

    def add_after(total, step_evidence):
        return minimum(maximum(total + step_evidence, 0.0), penalty)

    before = list(itertools.accumulate(evidence[:-1], add_before, initial=-penalty))
    after = list(itertools.accumulate(evidence[:0:-1], add_after, initial=0.0 * penalty))
    margins = np.array(evidence)
    margins += before
    margins += after[::-1]
    return margins


def find_sections(
    step_scores: np.ndarray, step_sec: float, duration_sec: float, threshold: float, penalty: float
) -> np.ndarray:
    """Find the highlight sections of a match.

    Args:
        step_scores: (num_steps,) float in [0, 1], of consecutive time steps.
        step_sec: Seconds of a step.
        duration_sec: Seconds of the match.
        threshold: In [0, 1]. The higher it is, the less is found: all of it lies within what a lower one finds. With 0,
            the whole match is one section, whatever it costs.
        penalty: What each section costs, in nats times seconds; with 0, every step from the threshold on is found.

    Returns:
        (num_sections, 2) float64 seconds, ascending, disjoint, half-open, within [0, duration_sec].
    """
    return sections_of(match_margins(step_scores, step_sec, duration_sec, threshold, penalty), step_sec, duration_sec)


def sections_of(margins: np.ndarray, step_sec: float, duration_sec: float) -> np.ndarray:
    """Return (num_sections, 2) float64 seconds: the runs of steps whose margin is 0 or more."""
    return np.minimum(runs_of(margins >= -MARGIN_TOLERANCE) * step_sec, duration_sec)


def decoded_scores(
    step_scores: np.ndarray, step_sec: float, duration_sec: float, threshold: float, penalty: float
) -> np.ndarray:
    """Return the scores that `find_sections` compares with the threshold, to be shown: those of steps in context.

    The log-odds of a step and of its neighbours, as far as they count, are added and scaled back by the time over which
    they count.

    Returns:
        (num_steps,) float64 in [0, 1]: at least the threshold in sections, and only there, to the last digit.
    """
    margins = match_margins(step_scores, step_sec, duration_sec, threshold, penalty)
    durations = step_durations(len(step_scores), step_sec, duration_sec)
    shown = 1 / (1 + np.exp(-log_odds(threshold) - margins / (durations + penalty)))
    is_inside = margins >= -MARGIN_TOLERANCE
    return np.where(is_inside, np.maximum(shown, threshold), np.minimum(shown, np.nextafter(threshold, -1)))


def find_too_short(step_scores: np.ndarray, decoded_scores: np.ndarray, threshold: float) -> np.ndarray:
    """Find the runs of steps that reach a threshold alone, but not in context: they are too short for a section.

    If such a run lasted longer at its scores, it would be a section.

    Args:
        step_scores: (num_steps,) float in [0, 1].
        decoded_scores: Those in context, of the steps that begin before the match's end.
        threshold: In [0, 1].

    Returns:
        (num_runs, 2) int64: the first step of each run, and the step after its last.
    """
    return runs_of((step_scores[: len(decoded_scores)] >= threshold) & (decoded_scores < threshold))


def evidence_ratios(
    runs: np.ndarray, decoded_scores: np.ndarray, durations_sec: np.ndarray, threshold: float, penalty: float
) -> np.ndarray:
    """Compute how much of the evidence that a section needs is held by the best section with steps of each run.

    Args:
        runs: (num_runs, 2) int64, of steps outside sections, as of `find_too_short`.
        decoded_scores: (num_steps,) float in [0, 1], as of `decoded_scores`.
        durations_sec: (num_steps,) float64, the seconds of each step.
        threshold: In [0, 1].
        penalty: What each section costs.

    Returns:
        (num_runs,) float64 in [0, 1].
    """
    margins = (log_odds(decoded_scores) - log_odds(threshold)) * (durations_sec + penalty)
    highest = np.array([margins[first:end].max() for first, end in runs])
    return np.clip(1 + highest / max(penalty, EPSILON), 0, 1)


def match_margins(
    step_scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    threshold: np.ndarray | float,
    penalty: np.ndarray | float,
) -> np.ndarray:
    """Return `section_margins` of a match's steps, (num_steps,) or (num_steps, N) for N thresholds and penalties."""
    durations = step_durations(len(step_scores), step_sec, duration_sec)
    evidence = evidence_per_sec(step_scores[: len(durations)], threshold)
    evidence = np.where(np.asarray(threshold) > 0, evidence, np.inf)
    return section_margins(evidence * durations.reshape(-1, *np.ones(evidence.ndim - 1, int)), penalty)
