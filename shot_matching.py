"""Where in a match each part of an edit was cut from, by fingerprints of sound and picture.

The edit's time runs in steps of fingerprints.STEP_SEC. An offset is how many steps later in the match an instant of the
edit is shown. Evidence for an offset at a step is the likeness of both fingerprints there, less what chance gives, in
seconds: positive where they are alike, negative where they differ, 0 where there is nothing to hear or see.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from fingerprints import STEP_SEC

STEPS_PER_BLOCK = 16  # offsets are sought block by block
BLOCKS_PER_WINDOW = (1, 4)
NUM_OFFSETS_PER_WINDOW = 6
MAX_OFFSETS = 1500
CHANCE_SOUND, CHANCE_PICTURE = 0.30, 0.30  # likeness that counts as none
MAX_PICTURE_SEC = 0.5  # for how long at most one picture speaks
GAIN = 2.5  # rows are shorter than 1: a perfect likeness is about 0.4
MIN_PICTURE_LIKENESS = 0.25
SWITCH_COST_SEC, CUT_COST_SEC = 0.6, 0.3


def sound_offsets(edit: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Offsets at which a second or some seconds of the edit's sound are most like the match's.

    Args:
        edit, match: (num_steps, num_dimensions) float32, whitened.

    Returns:
        (n, 2) int64: the step of the edit around which, and the offset.
    """
    num_blocks = len(edit) // STEPS_PER_BLOCK
    longest = max(BLOCKS_PER_WINDOW)
    padded = np.concatenate([np.zeros((len(edit), match.shape[1]), np.float32), match,
                             np.zeros((len(edit), match.shape[1]), np.float32)])  # fmt: skip
    num_offsets = len(edit) + len(match)  # offset index o is the offset o - len(edit)
    recent, found = [], []
    for block in range(num_blocks):
        first = block * STEPS_PER_BLOCK
        rows = edit[first : first + STEPS_PER_BLOCK]
        likeness = padded[first : first + num_offsets + STEPS_PER_BLOCK] @ rows.T
        total = np.zeros(num_offsets, np.float32)
        for step in range(len(rows)):
            total += likeness[step : step + num_offsets, step]
        recent = [*recent[-longest + 1 :], total]
        for num_blocks_back in BLOCKS_PER_WINDOW:
            if len(recent) >= num_blocks_back:
                window = np.sum(recent[-num_blocks_back:], axis=0)
                peaks = np.argpartition(window, -4 * NUM_OFFSETS_PER_WINDOW)[-4 * NUM_OFFSETS_PER_WINDOW :]
                peaks = peaks[window[peaks] == maximum_filter1d(window, 5)[peaks]]
                peaks = peaks[np.argsort(window[peaks])[::-1]][:NUM_OFFSETS_PER_WINDOW]
                step = first + STEPS_PER_BLOCK - num_blocks_back * STEPS_PER_BLOCK // 2
                found += [(step, peak - len(edit), window[peak]) for peak in peaks if window[peak] > 0]
    return np.array(found, np.float64).reshape(-1, 3)


def picture_offsets(likeness: np.ndarray, edit_times_sec: np.ndarray, match_times_sec: np.ndarray) -> np.ndarray:
    """Offsets at which single pictures of the match are most like some of the edit: (n, 3), as `sound_offsets`.

    Args:
        likeness: (num_match_pictures, num_edit_pictures) float32.
        edit_times_sec, match_times_sec: when the pictures are shown.
    """
    peaks = (likeness == maximum_filter1d(likeness, 15, axis=1)) & (likeness > MIN_PICTURE_LIKENESS)
    found = []
    for row, time_sec in enumerate(match_times_sec):
        columns = np.flatnonzero(peaks[row])
        columns = columns[np.argsort(likeness[row, columns])[::-1]][:NUM_OFFSETS_PER_WINDOW]
        for column in columns:
            edit_sec = edit_times_sec[column]
            found.append((edit_sec / STEP_SEC, round((time_sec - edit_sec) / STEP_SEC), likeness[row, column]))
    return np.array(found, np.float64).reshape(-1, 3)


def sound_evidence(edit: np.ndarray, match: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(num_steps, num_offsets) float32, seconds: what the sound tells for each offset at each step of the edit."""
    evidence = np.zeros((len(edit), len(offsets)), np.float32)
    edit_lengths, match_lengths = np.linalg.norm(edit, axis=1), np.linalg.norm(match, axis=1)
    for column, offset in enumerate(offsets):
        first, last = max(0, -offset), min(len(edit), len(match) - offset)
        if first < last:
            there = slice(first + offset, last + offset)
            likeness = np.einsum("ij,ij->i", edit[first:last], match[there])
            chance = CHANCE_SOUND * edit_lengths[first:last] * match_lengths[there]
            evidence[first:last, column] = likeness - chance
    return evidence * STEP_SEC * GAIN


def picture_evidence(
    likeness: np.ndarray, edit_times_sec: np.ndarray, edit_lengths: np.ndarray, match_times_sec: np.ndarray,
    match_lengths: np.ndarray, offsets: np.ndarray, num_steps: int,
) -> np.ndarray:
    evidence = np.zeros((num_steps, len(offsets)), np.float32)
    columns = np.arange(len(offsets))
    likeness = maximum_filter1d(likeness, 5, axis=1)
    gaps = np.diff(match_times_sec, prepend=-np.inf, append=np.inf)
    weights = np.clip((gaps[1:] + gaps[:-1]) / 2, 0, MAX_PICTURE_SEC) * GAIN
    for row, time_sec in enumerate(match_times_sec):
        edit_sec = time_sec - offsets * STEP_SEC
        inside = (edit_sec >= 0) & (edit_sec < num_steps * STEP_SEC)
        nearest = np.searchsorted(edit_times_sec, edit_sec[inside] + 1e-3, side="right") - 1
        nearest = np.maximum(nearest, 0)
        value = likeness[row, nearest] - CHANCE_PICTURE * match_lengths[row] * edit_lengths[nearest]
        evidence[(edit_sec[inside] / STEP_SEC).astype(int), columns[inside]] += weights[row] * value
    return evidence


def best_path(evidence: np.ndarray, switch_cost: np.ndarray) -> np.ndarray:
    """(num_steps,) int: the column of evidence at each step, -1 for none, that gain most evidence in all, where
    beginning with another column at step i costs switch_cost[i]."""
    num_steps, num_columns = evidence.shape
    score, none_score = np.full(num_columns, -np.inf, np.float32), 0.0
    stays = np.zeros((num_steps, num_columns), bool)
    none_stays = np.ones(num_steps, bool)
    best_before = np.full(num_steps, -1)
    for step in range(num_steps):
        best = int(score.argmax()) if num_columns else -1
        best_score = float(score[best]) if num_columns else -np.inf
        if none_score >= best_score:
            best, best_score = -1, none_score
        best_before[step] = best
        stays[step] = score >= best_score - switch_cost[step]
        score = np.where(stays[step], score, best_score - switch_cost[step]) + evidence[step]
        none_stays[step] = best == -1
        none_score = best_score
    column = -1 if none_score >= (score.max() if num_columns else -np.inf) else int(score.argmax())
    path = np.full(num_steps, -1)
    for step in range(num_steps - 1, -1, -1):
        path[step] = column
        if column == -1 or not stays[step, column]:
            column = best_before[step]
    return path
