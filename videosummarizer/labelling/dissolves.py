"""Boundaries of shots that dissolve or fade instead of being cut.

A dissolve mixes two frames: (1 - t / d) of one and t / d of the other, with t from 0 to its duration d. Similar
fingerprints identify a shot only while most of the frame belongs to it, so that they end before the dissolve does. This
module measures, frame by frame, which proportion of the frame belongs to the shot, fits a straight line to these
proportions, and takes the time at which the line reaches 0.
"""

import os

import numpy as np

from videosummarizer.labelling.fingerprints import IDENTITY, FrameDescriber
from videosummarizer.labelling.thumbnails import Thumbnails, read_thumbnails, shown_at

# Seconds before and after a boundary within which frames are compared.
REACH_SEC = 1.6
# Reference frames per second that are read around a boundary.
RATE_FPS = 16
# With fewer frames around a boundary, the boundary is left where it is.
MIN_FRAMES = 8
# Tried distances of the true boundary from where the similarity ends, in seconds, positive outside of the shot.
DISTANCES_OUTSIDE_SEC = np.arange(-0.4, 1.26, 0.05)
# Tried durations of the dissolve in seconds; 0.01 stands for a cut.
DURATIONS_SEC = np.array([0.01, 0.2, 0.4, 0.6, 0.8, 1.0])
# The fitted line has to explain at least this fraction of the squared proportions.
MIN_EXPLAINED_RATIO = 0.6
# Inside the shot, at least this proportion of the frame has to belong to it.
MIN_PROPORTION = 0.2
# Frames over which the mean frame, which holds what never changes, is taken.
NUM_MEAN_FRAMES = 300


class DissolveRefiner:
    """Moves the boundaries of dissolving shots to where the last of the shot is gone.

    Args:
        query: thumbnails from the whole highlight video.
        reference: thumbnails from the whole match.
        describer: made from both.
        reference_path: the match's video, from which more frames are read; None where the reference has enough.
    """

    def __init__(
        self,
        query: Thumbnails,
        reference: Thumbnails,
        describer: FrameDescriber,
        reference_path: str | os.PathLike | None,
    ):
        self.query, self.reference, self.describer, self.reference_path = query, reference, describer, reference_path
        self.query_mean, self.reference_mean = (
            describer.high_pass_rows(thumbnails.subsample(NUM_MEAN_FRAMES), transform).mean(axis=0)
            for thumbnails, transform in ((query, IDENTITY), (reference, describer.transform))
        )

    def boundary_sec(self, time_sec: float, is_start: bool, offset_sec: float) -> float:
        """Return the time in the highlight video at which a shot really starts or ends.

        Args:
            time_sec: time in the highlight video at which the similarity starts or ends.
            is_start: whether the boundary is the shot's start.
            offset_sec: how much later the shot is in the match.

        Returns:
            The refined time, or `time_sec` where the frames show no clear line.

        Raises:
            media.MediaError: the match cannot be read.
        """
        reference_sec = time_sec + offset_sec
        near_sec = max(reference_sec - REACH_SEC, 0), reference_sec + REACH_SEC
        if self.reference_path is None:
            reference = self.reference.between(*near_sec)
        else:
            reference = read_thumbnails(self.reference_path, *near_sec, RATE_FPS)
        direction = -1 if is_start else 1
        distances_sec = direction * (reference.times_sec - reference_sec)
        near = np.flatnonzero(np.abs(distances_sec) < REACH_SEC)
        if len(near) < MIN_FRAMES:
            return time_sec
        shown = self.query.select(shown_at(self.query.times_sec, reference.times_sec[near] - offset_sec))
        query_rows = self.describer.high_pass_rows(shown, IDENTITY) - self.query_mean
        reference_rows = (
            self.describer.high_pass_rows(reference.select(near), self.describer.transform) - self.reference_mean
        )
        contrasts = (reference_rows**2).sum(axis=1)
        proportions = (query_rows * reference_rows).sum(axis=1) / (contrasts + 1e-3)
        outside_sec = fit_dissolve_end(distances_sec[near], proportions, np.minimum(contrasts, np.median(contrasts)))
        return time_sec if outside_sec is None else time_sec + direction * outside_sec


def fit_dissolve_end(times_sec: np.ndarray, proportions: np.ndarray, weights: np.ndarray) -> float | None:
    """Return the time at which proportions that are constant and then fall linearly reach 0.

    Of all tried ends and durations, the one with the least weighted squared error is taken. For each of them the
    height of the constant part is the solution of linear least squares.

    Args:
        times_sec: (num_frames,) float64.
        proportions: (num_frames,) float64, the part of each frame that belongs to the shot.
        weights: (num_frames,) float64, how much the error of each frame counts.

    Returns:
        Seconds on the scale of `times_sec`, or None where the line explains too little.
    """
    ramps = np.clip((DISTANCES_OUTSIDE_SEC[:, None, None] - times_sec) / DURATIONS_SEC[:, None], 0, 1)
    products, squares = (weights * proportions * ramps).sum(axis=2), (weights * ramps**2).sum(axis=2)
    heights = products / np.maximum(squares, 1e-9)
    explained = heights * products / max(float((weights * proportions**2).sum()), 1e-9)
    best = np.unravel_index(explained.argmax(), explained.shape)
    if explained[best] < MIN_EXPLAINED_RATIO or heights[best] < MIN_PROPORTION:
        return None
    return float(DISTANCES_OUTSIDE_SEC[best[0]])
