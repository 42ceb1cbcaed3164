"""Where a shot of an edit begins or ends that dissolves or fades instead of being cut.

A dissolve mixes two pictures: (1 - t / d) of the one and t / d of the other, t running from 0 to its duration d. Alike
fingerprints tell of a shot while most of the picture is its own. How much of it is, measured picture by picture, and a
straight line through that, tell where the last of it is gone.
"""

import os

import numpy as np

from videosummarizer.labelling import fingerprints
from videosummarizer.labelling.fingerprints import IDENTITY, Thumbnails

REACH_SEC = 1.6  # before and after an end, from where pictures are compared
RATE_FPS = 16  # of them
MIN_PICTURES = 8
DISTANCES_OUTSIDE_SEC = np.arange(-0.4, 1.26, 0.05)  # by how much the end may lie outside of where likeness ends
DURATIONS_SEC = np.array([0.01, 0.2, 0.4, 0.6, 0.8, 1.0])
MIN_EXPLAINED_SHARE, MIN_WEIGHT = 0.6, 0.2  # of the weights by the line; of the picture inside the shot
NUM_TYPICAL = 300  # pictures from which what never changes is learnt


class DissolveRefiner:
    """Finds the ends of fades.

    Args:
        edit, match: pictures from all over both. comparer: of the two. match_path: where more pictures are read.
    """

    def __init__(
        self,
        edit: Thumbnails,
        match: Thumbnails,
        comparer: fingerprints.FrameDescriber,
        match_path: str | os.PathLike,
    ):
        self.edit, self.comparer, self.match_path = edit, comparer, match_path
        self.edit_mean, self.match_mean = (
            comparer.relief_of(pictures.some(NUM_TYPICAL), placement).mean(axis=0)
            for pictures, placement in ((edit, IDENTITY), (match, comparer.placement))
        )

    def end_sec(self, time_sec: float, is_start: bool, offset_sec: float) -> float:
        """When in the edit a shot's start or end really is; the time that is given, where pictures tell nothing.

        Args:
            time_sec: in the edit, where likeness begins or ends. offset_sec: how much later it is in the match.

        Raises:
            media.MediaError: the match cannot be read.
        """
        place_sec = time_sec + offset_sec
        match = fingerprints.read_thumbnails(
            self.match_path, max(place_sec - REACH_SEC, 0), place_sec + REACH_SEC, RATE_FPS
        )
        direction = -1 if is_start else 1
        outwards_sec = direction * (match.times_sec - place_sec)
        there = np.flatnonzero(np.abs(outwards_sec) < REACH_SEC)
        if len(there) < MIN_PICTURES:
            return time_sec
        shown = self.edit.take(fingerprints.shown_at(self.edit.times_sec, match.times_sec[there] - offset_sec))
        edit_relief = self.comparer.relief_of(shown, IDENTITY) - self.edit_mean
        match_relief = self.comparer.relief_of(match.take(there), self.comparer.placement) - self.match_mean
        contrasts = (match_relief**2).sum(axis=1)
        weights = (edit_relief * match_relief).sum(axis=1) / (contrasts + 1e-3)
        outside_sec = fade_end_sec(outwards_sec[there], weights, np.minimum(contrasts, np.median(contrasts)))
        return time_sec if outside_sec is None else time_sec + direction * outside_sec


def fade_end_sec(times_sec: np.ndarray, weights: np.ndarray, trusts: np.ndarray) -> float | None:
    """When weights that are steady first and fall along a straight line then have come to 0: the line, of all ends and
    durations, with the least squared error; None where it explains too little.

    Args:
        times_sec, weights: (n,) float. trusts: (n,) how much each weight counts.
    """
    ramps = np.clip((DISTANCES_OUTSIDE_SEC[:, None, None] - times_sec) / DURATIONS_SEC[:, None], 0, 1)
    products, squares = (trusts * weights * ramps).sum(axis=2), (trusts * ramps**2).sum(axis=2)
    heights = products / np.maximum(squares, 1e-9)
    explained = heights * products / max(float((trusts * weights**2).sum()), 1e-9)  # share of the squared weights
    best = np.unravel_index(explained.argmax(), explained.shape)
    if explained[best] < MIN_EXPLAINED_SHARE or heights[best] < MIN_WEIGHT:
        return None
    return float(DISTANCES_OUTSIDE_SEC[best[0]])
