"""videosummarizer.labelling.evidence."""

import numpy as np
from scipy.ndimage import maximum_filter1d

from videosummarizer.labelling.fingerprints import HOP_SEC, Descriptors, shown_at

STEPS_PER_BLOCK = 16  # offsets are sought block by block
BLOCKS_PER_WINDOW = (1, 4)
NUM_OFFSETS_PER_WINDOW = 6
PICTURES_PER_BLOCK, OFFSETS_PER_BLOCK = 64, 256
MIN_VIDEO_SIMILARITY = 0.12
CHANCE_SOUND, CHANCE_PICTURE = 0.30, 0.20  # cosine that counts as none
SCORE_SCALE = 2.5  # rows are shorter than 1: a perfect likeness is about 0.4
MAX_PICTURE_SEC = 0.5  # for how long at most one picture of the match speaks
PICTURE_REACH = 2  # pictures of the edit before and after, because a step is longer than a picture


def audio_offset_candidates(edit: np.ndarray, match: np.ndarray) -> np.ndarray:
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
    return np.unique(np.concatenate(found))


def video_offset_candidates(edit: Descriptors, match: Descriptors, max_offsets: int) -> np.ndarray:
    """The offsets, at most so many, at which single pictures of the match are most like one of the edit, those before
    the others that several pictures agree on: (n,) int64."""
    found, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for first in range(0, len(match.rows), PICTURES_PER_BLOCK):
        block = slice(first, first + PICTURES_PER_BLOCK)
        all_likeness = match.rows[block] @ edit.rows.T
        is_peak = (all_likeness == maximum_filter1d(all_likeness, 15, axis=1)) & (all_likeness > MIN_VIDEO_SIMILARITY)
        for time_sec, likeness, peaks in zip(match.times_sec[block], all_likeness, is_peak, strict=True):
            best = np.flatnonzero(peaks)
            best = best[np.argsort(likeness[best])[::-1]][:NUM_OFFSETS_PER_WINDOW]
            found.append(np.rint((time_sec - edit.times_sec[best]) / HOP_SEC).astype(np.int64))
            weights.append(likeness[best])
    offsets = np.concatenate(found)
    if not len(offsets):
        return offsets
    lowest = offsets.min() - 1
    support = np.convolve(np.bincount(offsets - lowest, np.concatenate(weights)), np.ones(3), mode="same")
    unique = np.unique(offsets)
    return np.sort(unique[np.argsort(support[unique - lowest])[::-1][:max_offsets]])


def audio_evidence(edit: np.ndarray, match: np.ndarray, offsets: np.ndarray, num_steps: int) -> np.ndarray:
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
    return evidence * (HOP_SEC * SCORE_SCALE)


def video_evidence(edit: Descriptors, match: Descriptors, offsets: np.ndarray, num_steps: int) -> np.ndarray:
    """(num_steps, num_offsets) float32: what the pictures tell. A picture of the match speaks at the step at which the
    edit would show it, for as long as until half way to its neighbours."""
    evidence = np.zeros((num_steps, len(offsets)), np.float32)
    edit_lengths, match_lengths = np.linalg.norm(edit.rows, axis=1), np.linalg.norm(match.rows, axis=1)
    gaps_sec = np.diff(match.times_sec, prepend=-np.inf, append=np.inf)
    weights = np.clip((gaps_sec[1:] + gaps_sec[:-1]) / 2, 0, MAX_PICTURE_SEC) * SCORE_SCALE
    for first in range(0, len(match.rows), PICTURES_PER_BLOCK):
        block = slice(first, first + PICTURES_PER_BLOCK)
        likeness = maximum_filter1d(match.rows[block] @ edit.rows.T, 2 * PICTURE_REACH + 1, axis=1)
        likeness -= CHANCE_PICTURE * match_lengths[block, None] * edit_lengths
        for time_sec, values, weight in zip(match.times_sec[block], likeness, weights[block], strict=True):
            steps = np.floor(time_sec / HOP_SEC - offsets + 0.5).astype(int)
            inside = np.flatnonzero((steps >= 0) & (steps < num_steps))
            shown = shown_at(edit.times_sec, time_sec - offsets[inside] * HOP_SEC)
            evidence[steps[inside], inside] += weight * values[shown]
    return evidence
