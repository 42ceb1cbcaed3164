"""Divide matches into sequences of consecutive segments, the rows of a batch."""

from typing import NamedTuple

import numpy as np

from videosummarizer.dataset.storage import SegmentFile
from videosummarizer.sections import runs_of


class SegmentSequence(NamedTuple):
    """Consecutive segments of one match that fill a row of a batch.

    Attributes:
        files: at most S segment files, at least one.
        num_padded_before: number of padded slots before the first file. The slots after the last file are padded too.
    """

    files: list[SegmentFile]
    num_padded_before: int


def divide_match(
    files: list[SegmentFile], is_chosen: np.ndarray, length: int, rng: np.random.Generator | None
) -> list[SegmentSequence]:
    """Divide a match into sequences that hold each chosen segment once, and at least one each.

    Args:
        files: the segments of the match.
        is_chosen: (num_segments,) bool. The other segments are read only as neighbours of the chosen ones.
        length: S, the number of segments of a sequence.
        rng: draws an offset for each run of chosen segments; None to start at the beginning of each.
    """
    runs = runs_of(is_chosen)
    if not len(runs):
        return []
    # A shorter gap stays in its run: no sequence fits into it, and none reaches from one run to the next.
    is_gap = runs[1:, 0] - runs[:-1, 1] >= length
    runs = np.stack([runs[np.append(True, is_gap), 0], runs[np.append(is_gap, True), 1]], axis=1)
    sequences = []
    for start, end in runs.tolist():
        num_padded = (start - end) % length
        offset = 0
        if rng is not None:
            # Room for the offset. The number of sequences must be the same in each epoch, so it is not drawn.
            num_padded += length * (num_padded < length // 2)
            offset = int(rng.integers(max(0, num_padded - length + 1), min(num_padded + 1, length)))
        for first in range(start - offset, end + num_padded - offset, length):
            sequences.append(SegmentSequence(files[max(first, 0) : first + length], max(-first, 0)))
    return sequences
