"""Candidate offsets between a highlight video and a full match, and scores of how well each offset explains the query.

The query is the highlight video, the reference is the full match. A score is a cosine-like similarity minus the
baseline similarity of unrelated content, integrated over time. Its unit is seconds of perfect similarity: positive
where query and reference agree, negative where they differ, 0 where there is nothing to hear or see.

An offset is counted in steps of fingerprints.HOP_SEC: query step i is compared with reference step i + offset.
"""

import numpy as np
from scipy.ndimage import maximum_filter1d

from videosummarizer.labelling.fingerprints import HOP_SEC, Descriptors
from videosummarizer.labelling.thumbnails import shown_at

# Query steps whose audio is correlated with the whole reference at once, when offsets are searched.
STEPS_PER_BLOCK = 16
# Lengths, in blocks, of the windows over which the correlation of audio is summed before its peaks are taken.
BLOCKS_PER_WINDOW = (1, 4)
# Peaks, that is candidate offsets, kept for each window of audio and for each frame.
NUM_OFFSETS_PER_WINDOW = 6
# Reference frames that are compared with all query frames at once; limits memory.
FRAMES_PER_BLOCK = 64
# Offsets whose audio scores are computed at once; limits memory.
OFFSETS_PER_BLOCK = 256
# A frame similarity below this one suggests no offset.
MIN_VIDEO_SIMILARITY = 0.12
# Cosine similarity of unrelated audio; only what exceeds it counts as agreement.
BASELINE_AUDIO_SIMILARITY = 0.30
# Cosine similarity of unrelated frames; only what exceeds it counts as agreement.
BASELINE_VIDEO_SIMILARITY = 0.20
# Descriptors are shorter than 1, so that a perfect similarity is about 0.4; this factor brings it to about 1.
SCORE_SCALE = 2.5
# The longest time, in seconds, for which one reference frame is counted.
MAX_FRAME_SEC = 0.5
# A time step spans several frames: a reference frame is compared with this many query frames on either side.
FRAME_REACH = 2


def audio_offset_candidates(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the peaks of the blockwise cross-correlation of two audio tracks.

    Every offset is tried. Windows of one second and of four seconds of the query each contribute their highest peaks.

    Args:
        query: (num_query_steps, num_dimensions) float32, whitened.
        reference: (num_reference_steps, num_dimensions) float32, whitened.

    Returns:
        (num_offsets,) int64, offsets in steps, ascending.
    """
    silence = np.zeros((len(query), reference.shape[1]), np.float32)
    padded = np.concatenate([silence, reference, silence])
    num_offsets = len(query) + len(reference)  # index o stands for the offset o - len(query)
    recent: list[np.ndarray] = []
    candidates = [np.zeros(0, np.int64)]
    for first in range(0, len(query) - STEPS_PER_BLOCK + 1, STEPS_PER_BLOCK):
        if not query[first : first + STEPS_PER_BLOCK].any():  # silence, which may last for hours
            recent = []
            continue
        similarity = padded[first : first + num_offsets + STEPS_PER_BLOCK] @ query[first : first + STEPS_PER_BLOCK].T
        block = np.zeros(num_offsets, np.float32)
        for step in range(STEPS_PER_BLOCK):
            block += similarity[step : step + num_offsets, step]
        recent = [*recent[1 - max(BLOCKS_PER_WINDOW) :], block]
        for num_blocks in BLOCKS_PER_WINDOW:
            window = np.sum(recent[-num_blocks:], axis=0)
            peaks = np.argpartition(window, -4 * NUM_OFFSETS_PER_WINDOW)[-4 * NUM_OFFSETS_PER_WINDOW :]
            peaks = peaks[(window[peaks] == maximum_filter1d(window, 5)[peaks]) & (window[peaks] > 0)]
            candidates.append(peaks[np.argsort(window[peaks])[::-1]][:NUM_OFFSETS_PER_WINDOW] - len(query))
    return np.unique(np.concatenate(candidates))


def video_offset_candidates(query: Descriptors, reference: Descriptors, max_offsets: int) -> np.ndarray:
    """Return the offsets at which single reference frames are most similar to a query frame.

    Args:
        query: descriptors of the highlight video's frames.
        reference: descriptors of the match's frames.
        max_offsets: the most offsets to return; those that several frames agree on are preferred.

    Returns:
        (num_offsets,) int64, offsets in steps, ascending.
    """
    candidates, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for first in range(0, len(reference.rows), FRAMES_PER_BLOCK):
        block = slice(first, first + FRAMES_PER_BLOCK)
        similarities = reference.rows[block] @ query.rows.T
        is_peak = (similarities == maximum_filter1d(similarities, 15, axis=1)) & (similarities > MIN_VIDEO_SIMILARITY)
        for time_sec, similarity, peaks in zip(reference.times_sec[block], similarities, is_peak, strict=True):
            best = np.flatnonzero(peaks)
            best = best[np.argsort(similarity[best])[::-1]][:NUM_OFFSETS_PER_WINDOW]
            candidates.append(np.rint((time_sec - query.times_sec[best]) / HOP_SEC).astype(np.int64))
            weights.append(similarity[best])
    offsets = np.concatenate(candidates)
    if not len(offsets):
        return offsets
    lowest = offsets.min() - 1
    support = np.convolve(np.bincount(offsets - lowest, np.concatenate(weights)), np.ones(3), mode="same")
    unique = np.unique(offsets)
    return np.sort(unique[np.argsort(support[unique - lowest])[::-1][:max_offsets]])


def audio_scores(query: np.ndarray, reference: np.ndarray, offsets: np.ndarray, num_steps: int) -> np.ndarray:
    """Score every offset at every query step by the audio.

    Args:
        query: (num_query_steps, num_dimensions) float32, whitened.
        reference: (num_reference_steps, num_dimensions) float32, whitened.
        offsets: (num_offsets,) int64, in steps.
        num_steps: length of the highlight video in steps; its audio may be longer or shorter.

    Returns:
        (num_steps, num_offsets) float32, seconds of perfect similarity; 0 where there is no audio.
    """
    scores = np.zeros((num_steps, len(offsets)), np.float32)
    query = query[:num_steps]
    query_norms, reference_norms = np.linalg.norm(query, axis=1), np.linalg.norm(reference, axis=1)
    for column, offset in enumerate(offsets):
        first, last = max(0, -offset), min(len(query), len(reference) - offset)
        if first < last:
            shifted = slice(first + offset, last + offset)
            similarity = np.einsum("ij,ij->i", query[first:last], reference[shifted])
            baseline = BASELINE_AUDIO_SIMILARITY * query_norms[first:last] * reference_norms[shifted]
            scores[first:last, column] = similarity - baseline
    return scores * (HOP_SEC * SCORE_SCALE)


def video_scores(query: Descriptors, reference: Descriptors, offsets: np.ndarray, num_steps: int) -> np.ndarray:
    """Score every offset at every query step by the frames.

    A reference frame counts at the step at which the query would show it, for as long as until half way to its
    neighbours.

    Args:
        query: descriptors of the highlight video's frames.
        reference: descriptors of the match's frames.
        offsets: (num_offsets,) int64, in steps.
        num_steps: length of the highlight video in steps.

    Returns:
        (num_steps, num_offsets) float32, seconds of perfect similarity; 0 where no reference frame was read.
    """
    scores = np.zeros((num_steps, len(offsets)), np.float32)
    query_norms, reference_norms = np.linalg.norm(query.rows, axis=1), np.linalg.norm(reference.rows, axis=1)
    gaps_sec = np.diff(reference.times_sec, prepend=-np.inf, append=np.inf)
    weights = np.clip((gaps_sec[1:] + gaps_sec[:-1]) / 2, 0, MAX_FRAME_SEC) * SCORE_SCALE
    for first in range(0, len(reference.rows), FRAMES_PER_BLOCK):
        block = slice(first, first + FRAMES_PER_BLOCK)
        similarity = maximum_filter1d(reference.rows[block] @ query.rows.T, 2 * FRAME_REACH + 1, axis=1)
        similarity -= BASELINE_VIDEO_SIMILARITY * reference_norms[block, None] * query_norms
        for time_sec, values, weight in zip(reference.times_sec[block], similarity, weights[block], strict=True):
            steps = np.floor(time_sec / HOP_SEC - offsets + 0.5).astype(int)
            inside = np.flatnonzero((steps >= 0) & (steps < num_steps))
            shown = shown_at(query.times_sec, time_sec - offsets[inside] * HOP_SEC)
            scores[steps[inside], inside] += weight * values[shown]
    return scores
