"""Where in a match each part of an edit was cut from, by fingerprints of sound and picture.

The edit's time runs in steps of fingerprints.STEP_SEC. An offset is how many steps later in the match an instant of the
edit is shown. Evidence for an offset at a step is the likeness of the fingerprints there, less what chance gives, in
seconds of a perfect likeness: positive where they are alike, negative where they differ, 0 where there is nothing to
hear or see.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from fingerprints import STEP_SEC, Rows

STEPS_PER_BLOCK = 16  # offsets are sought block by block
BLOCKS_PER_WINDOW = (1, 4)
NUM_OFFSETS_PER_WINDOW = 6
MIN_PICTURE_LIKENESS = 0.12
CHANCE_SOUND, CHANCE_PICTURE = 0.30, 0.20  # cosine that counts as none
GAIN = 2.5  # rows are shorter than 1: a perfect likeness is about 0.4
MAX_PICTURE_SEC = 1.0  # for how long at most one picture of the match speaks
PICTURE_REACH = 2  # pictures of the edit before and after, because a step is longer than a picture
ALONE_COST = 0.04  # a second of an offset for which one of sound and picture has to be left out of account
SAME_OFFSET_STEPS = 3
BOTH, SOUND_ALONE, PICTURE_ALONE = range(3)
REQUIRED_SEC = {BOTH: 0.5, SOUND_ALONE: 2.5, PICTURE_ALONE: 0.8}  # evidence for a confidence of one half


@dataclass
class Run:
    """Steps [first, last) of the edit and the offset that explains them; the evidence of sound and of picture for it."""

    first: int
    last: int
    offset: int
    sound_sec: float
    picture_sec: float

    @property
    def confidence(self) -> float:
        """In [0, 1): one half where the evidence is just what is required, nearer to 1 the more there is.

        Where sound or picture contradicts the other, more is required than where both agree.
        """
        tolerance_sec = 0.1 * (self.last - self.first) * STEP_SEC
        if self.picture_sec < -tolerance_sec:
            kind, evidence_sec = SOUND_ALONE, self.sound_sec
        elif self.sound_sec < -tolerance_sec:
            kind, evidence_sec = PICTURE_ALONE, self.picture_sec
        else:
            kind, evidence_sec = BOTH, self.sound_sec + self.picture_sec
        return 1 - 0.5 ** (max(evidence_sec, 0) / REQUIRED_SEC[kind])


def sound_offsets(edit: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Offsets at which a second or some seconds of the edit's sound are most like the match's: (n,) int64.

    Every offset is tried. edit, match: (num_steps, num_dimensions) float32, whitened.
    """
    silence = np.zeros((len(edit), match.shape[1]), np.float32)
    padded = np.concatenate([silence, match, silence])
    num_offsets = len(edit) + len(match)  # number o among them is the offset o - len(edit)
    recent: list[np.ndarray] = []
    found = [np.zeros(0, np.int64)]
    for first in range(0, len(edit) - STEPS_PER_BLOCK + 1, STEPS_PER_BLOCK):
        likeness = padded[first : first + num_offsets + STEPS_PER_BLOCK] @ edit[first : first + STEPS_PER_BLOCK].T
        block = np.zeros(num_offsets, np.float32)
        for step in range(STEPS_PER_BLOCK):
            block += likeness[step : step + num_offsets, step]
        recent = [*recent[1 - max(BLOCKS_PER_WINDOW) :], block]
        for num_blocks in BLOCKS_PER_WINDOW:
            window = np.sum(recent[-num_blocks:], axis=0)
            peaks = np.argpartition(window, -4 * NUM_OFFSETS_PER_WINDOW)[-4 * NUM_OFFSETS_PER_WINDOW :]
            peaks = peaks[(window[peaks] == maximum_filter1d(window, 5)[peaks]) & (window[peaks] > 0)]
            found.append(peaks[np.argsort(window[peaks])[::-1]][:NUM_OFFSETS_PER_WINDOW] - len(edit))
    return np.concatenate(found)


def picture_offsets(edit: Rows, match: Rows) -> np.ndarray:
    """Offsets at which single pictures of the match are most like one of the edit: (n,) int64."""
    found = [np.zeros(0, np.int64)]
    for time_sec, row in zip(match.times_sec, match.rows, strict=True):
        likeness = edit.rows @ row
        peaks = np.flatnonzero((likeness == maximum_filter1d(likeness, 15)) & (likeness > MIN_PICTURE_LIKENESS))
        peaks = peaks[np.argsort(likeness[peaks])[::-1]][:NUM_OFFSETS_PER_WINDOW]
        found.append(np.rint((time_sec - edit.times_sec[peaks]) / STEP_SEC).astype(np.int64))
    return np.concatenate(found)


def sound_evidence(edit: np.ndarray, match: np.ndarray, offsets: np.ndarray, num_steps: int) -> np.ndarray:
    """(num_steps, num_offsets) float32: what the sound tells for each offset at each step of the edit."""
    evidence = np.zeros((num_steps, len(offsets)), np.float32)
    edit = edit[:num_steps]
    edit_lengths, match_lengths = np.linalg.norm(edit, axis=1), np.linalg.norm(match, axis=1)
    for column, offset in enumerate(offsets):
        first, last = max(0, -offset), min(len(edit), len(match) - offset)
        if first < last:
            there = slice(first + offset, last + offset)
            likeness = np.einsum("ij,ij->i", edit[first:last], match[there])
            evidence[first:last, column] = likeness - CHANCE_SOUND * edit_lengths[first:last] * match_lengths[there]
    return evidence * (STEP_SEC * GAIN)


def picture_evidence(edit: Rows, match: Rows, offsets: np.ndarray, num_steps: int) -> np.ndarray:
    """(num_steps, num_offsets) float32: what the pictures tell. A picture of the match speaks at the step at which the
    edit would show it, for as long as until half way to its neighbours."""
    evidence = np.zeros((num_steps, len(offsets)), np.float32)
    edit_lengths, match_lengths = np.linalg.norm(edit.rows, axis=1), np.linalg.norm(match.rows, axis=1)
    gaps_sec = np.diff(match.times_sec, prepend=-np.inf, append=np.inf)
    weights = np.clip((gaps_sec[1:] + gaps_sec[:-1]) / 2, 0, MAX_PICTURE_SEC) * GAIN
    for time_sec, row, length, weight in zip(match.times_sec, match.rows, match_lengths, weights, strict=True):
        steps = np.floor(time_sec / STEP_SEC - offsets + 0.5).astype(int)
        inside = np.flatnonzero((steps >= 0) & (steps < num_steps))
        likeness = maximum_filter1d(edit.rows @ row, 2 * PICTURE_REACH + 1) - CHANCE_PICTURE * length * edit_lengths
        shown = edit.shown_at(time_sec - offsets[inside] * STEP_SEC)
        evidence[steps[inside], inside] += weight * likeness[shown]
    return evidence


def best_path(evidence: np.ndarray, switch_costs: np.ndarray) -> np.ndarray:
    """The column of evidence at each step, -1 for none, that gain most evidence in all: (num_steps,) int64.

    Viterbi's algorithm. Beginning with another column at step i costs switch_costs[i]; giving up costs nothing.
    """
    num_steps, num_columns = evidence.shape
    scores = np.full(num_columns + 1, -np.inf, np.float32)  # the last column is none
    scores[-1] = 0
    stays = np.zeros((num_steps, num_columns + 1), bool)
    best_before = np.zeros(num_steps, np.int64)
    for step in range(num_steps):
        best_before[step] = best = int(scores.argmax())
        costs = np.full(num_columns + 1, switch_costs[step], np.float32)
        costs[-1] = 0
        stays[step] = scores >= scores[best] - costs
        scores = np.where(stays[step], scores, scores[best] - costs)
        scores[:-1] += evidence[step]
    path = np.zeros(num_steps, np.int64)
    column = int(scores.argmax())
    for step in range(num_steps - 1, -1, -1):
        path[step] = column
        if not stays[step, column]:
            column = best_before[step]
    path[path == num_columns] = -1
    return path


def find_runs(sound: np.ndarray, picture: np.ndarray, offsets: np.ndarray, switch_costs: np.ndarray) -> list[Run]:
    """The runs of one offset each that best explain an edit, in its order; parts that nothing explains lie between.

    Each offset stands for three explanations: sound and picture are the match's, or the sound alone, or the picture.

    Args:
        sound, picture: (num_steps, num_offsets) float32 evidence.
        switch_costs: (num_steps,) evidence that a new run has to be worth at least if it begins there.
    """
    num_offsets = len(offsets)
    alone_cost = ALONE_COST * STEP_SEC
    path = best_path(np.hstack([sound + picture, sound - alone_cost, picture - alone_cost]), switch_costs)
    columns = np.where(path < 0, -1, path % max(num_offsets, 1))
    edges = np.flatnonzero(np.diff(columns, prepend=-2, append=-2))
    runs: list[Run] = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        column = columns[first]
        if column < 0:
            continue
        run = Run(first, last, int(offsets[column]), *(float(e[first:last, column].sum()) for e in (sound, picture)))
        previous = runs[-1] if runs else None
        if previous and previous.last == first and abs(previous.offset - run.offset) <= SAME_OFFSET_STEPS:
            longer = max(previous, run, key=lambda part: part.last - part.first)
            runs[-1] = Run(previous.first, last, longer.offset, previous.sound_sec + run.sound_sec,
                           previous.picture_sec + run.picture_sec)  # fmt: skip
        else:
            runs.append(run)
    return runs
