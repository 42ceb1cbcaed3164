"""Say why scores are what they are: what each is made of, and how a stretch compares with the rest of its match.

A score of a network is the sigmoid of a sum: `parts` are its terms, in log-odds. An activity has the factors and terms
of its formula. The words come from what was measured in the match (`measures`). A stretch is "loud for this match" if
its mean level is above that of four fifths (HIGH_RATIO) of all equally long stretches of the match, and likewise for
the other words. No word has a fixed level or amount.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from videosummarizer.extraction.measures import MEASURES
from videosummarizer.sections import mean_scores

# What the scores without a checkpoint are called.
ACTIVITY = "activity"
# A stretch has a word if this fraction of the equally long stretches of the match have less of it (or more).
HIGH_RATIO = 0.8
# By MEASURES: what a stretch with much of it is called, and one with little; None for no word.
HIGH_WORDS = ("loud for this match", "sudden sounds", "much motion", "abrupt changes of picture")
LOW_WORDS = ("quiet for this match", None, "little motion", None)
# Differences of means smaller than these come from an encoder's rounding. That of the level is a fraction of the
# loudest step; the others are log magnitudes, grey levels, and distances of histograms.
SMALLEST_DIFFERENCES = (0.02, 0.01, 1.0, 0.02)
# A stretch that is longer than this fraction of the match has no words: there is too little to compare it with.
MAX_LENGTH_RATIO = 0.25
# The words for a time step are those of the stretch of this length around it.
STEP_STRETCH_SEC = 3.0
# What a stretch is called in which one modality raises the log-odds above their median in the match by more than all
# others together change them. The names are those of `fusion.MODALITIES`.
MODALITY_WORDS = {"loudness": "mainly loudness", "audio": "mainly audio", "video": "mainly video"}
# The names of all parts: `fusion.MODALITIES` and the offset of a calibrated network, or `activity.PART_NAMES`.
PART_NAMES = ("loudness", "audio", "video", "offset", "onsets", "motion", "shots")
# Parts and measures as large as this are those of no match.
MAX_PART = 1e6
# Decimals of the parts in files.
NUM_DECIMALS = 4
# Significant digits of what is measured, in files.
NUM_DIGITS = 4


@dataclass(frozen=True)
class Reasons:
    """What the scores of a match are made of, and what was measured in it.

    Attributes:
        part_names: (N,) what a score is made of: terms in log-odds, such as "audio", or the parts of the activity.
        segments: (num_segments, N) float64, of the scores of the segments.
        steps: (num_segments, K, N) float64, of the scores of the time steps.
        measure_names: (M,) what was measured, of MEASURES.
        measured: (num_segments, K, M) float64.
    """

    part_names: tuple[str, ...]
    segments: np.ndarray
    steps: np.ndarray
    measure_names: tuple[str, ...]
    measured: np.ndarray

    def fits(self, shape: tuple[int, int]) -> bool:
        """Return whether these may be the reasons of (num_segments, K) scores, also of values from a damaged file."""
        num_parts, num_measures = len(self.part_names), len(self.measure_names)
        are_known = set(self.part_names) <= set(PART_NAMES) and set(self.measure_names) <= set(MEASURES)
        arrays = (self.segments, self.steps, self.measured)
        shapes = ((shape[0], num_parts), (*shape, num_parts), (*shape, num_measures))
        are_possible = (
            array.shape == expected and (np.abs(array) < MAX_PART).all()  # False for NaN, too
            for array, expected in zip(arrays, shapes, strict=True)
        )
        return num_parts > 0 and are_known and all(are_possible)

    def rounded(self) -> "Reasons":
        """Return the same, rounded as in files, so that a match has the same words when it is read again."""
        segments, steps = (np.round(part, NUM_DECIMALS) + 0.0 for part in (self.segments, self.steps))  # no -0.0
        digits = [float(f"{value:.{NUM_DIGITS}g}") for value in self.measured.ravel().tolist()]
        measured = np.array(digits).reshape(self.measured.shape)
        return replace(self, segments=segments, steps=steps, measured=measured)

    def step_parts(self, num_steps: int) -> np.ndarray:
        """Return (num_steps, N): the parts of the first steps of the match."""
        return self.steps.reshape(-1, len(self.part_names))[:num_steps]

    def step_measures(self, num_steps: int) -> np.ndarray:
        """Return (num_steps, M): what was measured in the first steps of the match."""
        return self.measured.reshape(-1, len(self.measure_names))[:num_steps]


def are_log_odds(part_names: Sequence[str]) -> bool:
    """Return whether parts are terms of a sum, in log-odds; those of the activity are not."""
    return "audio" in part_names


def mean_parts(reasons: Reasons, sections_sec: np.ndarray, step_sec: float) -> np.ndarray:
    """Return (num_sections, N) float64: the means over time of the parts of the steps of sections.

    Args:
        reasons: Those of the match.
        sections_sec: (num_sections, 2) float64 seconds after the first step begins.
        step_sec: Seconds of a step.
    """
    parts = reasons.step_parts(len(reasons.steps) * reasons.steps.shape[1])
    return np.stack([mean_scores(sections_sec, part, step_sec) for part in parts.T], axis=1)


# ---- Words


def describe_stretches(reasons: Reasons, num_steps: int, stretches_sec: np.ndarray, step_sec: float) -> list[list[str]]:
    """Return the words of stretches of a match; the page's `wordsOf` returns the same.

    Args:
        reasons: Those of the match.
        num_steps: The steps that begin before the match's end.
        stretches_sec: (num_stretches, 2) float64 seconds after the first step begins, within the match.
        step_sec: Seconds of a step.
    """
    firsts, ends = np.floor(stretches_sec / step_sec + 0.5).astype(int).reshape(-1, 2).T
    firsts = np.clip(firsts, 0, num_steps - 1)
    lengths = np.clip(ends, firsts + 1, num_steps) - firsts
    words = [[] for _ in firsts]
    for length in np.unique(lengths).tolist():  # those of one length are compared with the same stretches
        indices = np.flatnonzero(lengths == length)
        names, is_said = find_words(reasons, num_steps, length, firsts[indices])
        for index, holds in zip(indices, is_said.T, strict=True):
            words[index] = list(itertools.compress(names, holds))
    return words


def describe_steps(reasons: Reasons, num_steps: int, step_sec: float) -> tuple[list[str], np.ndarray]:
    """Return all words and, for each, (num_steps,) bool: whether it holds for the STEP_STRETCH_SEC around a step."""
    length = min(max(1, int(np.floor(STEP_STRETCH_SEC / step_sec + 0.5))), num_steps)
    firsts = np.clip(np.arange(num_steps) - length // 2, 0, num_steps - length)
    return find_words(reasons, num_steps, length, firsts)


def find_words(reasons: Reasons, num_steps: int, length: int, firsts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Find the words that hold for stretches of one length.

    Args:
        reasons: Those of the match.
        num_steps: The steps that begin before the match's end.
        length: Steps of a stretch.
        firsts: (num_stretches,) int, the first step of each.

    Returns:
        All words, and (num_words, num_stretches) bool.
    """
    names, columns = [], []
    for name, values in zip(reasons.measure_names, reasons.step_measures(num_steps).T, strict=True):
        index, least = MEASURES.index(name), smallest_difference(name, values)
        means = window_means(values, length)
        ascending, received = np.sort(means), means[firsts]
        num_below = np.searchsorted(ascending, received - least, side="left")
        num_above = len(means) - np.searchsorted(ascending, received + least, side="right")
        for word, num_beaten in ((HIGH_WORDS[index], num_below), (LOW_WORDS[index], num_above)):
            if word:
                names.append(word)
                columns.append(num_beaten >= HIGH_RATIO * len(means))
    parts = reasons.step_parts(num_steps)
    rises = np.stack([window_means(part, length)[firsts] for part in parts.T]) - np.median(parts, axis=0)[:, None]
    for name, rise in zip(reasons.part_names, rises, strict=True):
        if name in MODALITY_WORDS and are_log_odds(reasons.part_names):
            names.append(MODALITY_WORDS[name])
            columns.append(rise > np.abs(rises).sum(axis=0) - np.abs(rise))
    is_comparable = length <= MAX_LENGTH_RATIO * num_steps
    return names, np.stack(columns) & is_comparable


def describe_rules(reasons: Reasons, num_steps: int) -> dict:
    """Return what the page needs to describe stretches as `describe_stretches` does, for JSON.

    Args:
        reasons: Those of the match.
        num_steps: The steps that begin before the match's end.
    """
    measures = []
    for name, values in zip(reasons.measure_names, reasons.step_measures(num_steps).T, strict=True):
        index, least = MEASURES.index(name), smallest_difference(name, values)
        words = {"high": HIGH_WORDS[index], "low": LOW_WORDS[index]}
        measures.append({"name": name, "values": values.tolist(), "smallest_difference": least, **words})
    return {
        "parts": dict(zip(reasons.part_names, reasons.step_parts(num_steps).T.tolist(), strict=True)),
        "are_log_odds": are_log_odds(reasons.part_names),
        "modality_words": MODALITY_WORDS if are_log_odds(reasons.part_names) else {},
        "measures": measures,
        "high_ratio": HIGH_RATIO,
        "max_length_ratio": MAX_LENGTH_RATIO,
        "step_stretch_sec": STEP_STRETCH_SEC,
    }


def smallest_difference(name: str, values: np.ndarray) -> float:
    """Return from which difference on means of a measure, (num_steps,), differ by more than an encoder's rounding."""
    return SMALLEST_DIFFERENCES[MEASURES.index(name)] * (float(values.max()) if name == "level" else 1)


def window_means(values: np.ndarray, length: int) -> np.ndarray:
    """Return (n - length + 1,) float64: the means of all windows of a length in values, (n,)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[length:] - sums[:-length]) / length
