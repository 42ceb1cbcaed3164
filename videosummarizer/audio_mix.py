"""Mix several audio tracks of a file: the sum of their samples, each at its own level and at its own time."""

from collections.abc import Iterator

import numpy as np


def add_up(tracks: list[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield the sums of several tracks; one that has ended is silent.

    Args:
        tracks: Each yields blocks (..., n) of samples that follow each other from the same time on.

    Yields:
        (..., n) blocks that follow each other, up to the end of the longest track.
    """
    blocks: dict[Iterator[np.ndarray], np.ndarray] = {}
    while True:
        for track in tracks:
            while track not in blocks or not blocks[track].shape[-1]:
                block = next(track, None)
                if block is None:
                    blocks.pop(track, None)
                    break
                blocks[track] = block
        if not blocks:
            return
        num_samples = min(block.shape[-1] for block in blocks.values())
        yield sum(block[..., :num_samples] for block in blocks.values())
        blocks = {track: block[..., num_samples:] for track, block in blocks.items()}
