"""Where to crop a picture: a window that follows the motion smoothly, and jumps only where the shot changes.

Along the side that is cropped, u in [0, 1]. G_t is frame t in grey levels, small; s is LAG_SEC in frames; h is a Hann
window as long as the crop; r is the frame rate.

    change     d_t(u) = mean over the other side of max(0, |G_t - G_(t-s)| - NOISE)
    motion     m_t(u) = max(0, d_t(u) - b_t), where b_t, the median of d_t over u, is the motion of the camera
    wanted     c_t = the centre at which h covers most of m_t, not so far out that the crop leaves the picture
    weights    w_t = M_t / (M_t + 2 b_t + STILL), v_t = 2 b_t / (M_t + 2 b_t + STILL), where M_t is the mean of m_t
    path       x = argmin  sum w_t (x_t - c_t)^2 + (v_t + CENTRE) (x_t - 1/2)^2
                         + (STAY_SEC r)^2 (x_(t+1) - x_t)^2 + (SMOOTH_SEC r)^4 (x_(t+1) - 2 x_t + x_(t-1))^2

in each shot by itself: a Whittaker-Henderson smoother (Whittaker, 1922). The path is then limited to the picture, and
averaged over a Hann window of SOFT_SEC, so that it does not stop abruptly at an edge. What moves alone is followed.
Where the camera moves, the path is drawn to the centre, where cameras and players aim. Where nothing moves, it stays
for some seconds.
"""

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import av
import numpy as np

from videosummarizer.frame_scaling import Scaler
from videosummarizer.hard_cuts import MIN_CUT_CHANGE, find_hard_cuts

# The small grey frames: along the side that is cropped, and along the other one.
GREY_LENGTH_PX = 96
GREY_DEPTH_PX = 54
# Frames that are compared are so far apart: long enough that slow motion changes more than noise does.
LAG_SEC = 0.1
# Smaller differences are noise of the camera or of the codec, in grey levels.
NOISE = 10.0
# Less motion than this hardly counts, in grey levels.
STILL = 0.2
# How strongly the path is drawn to the centre where nothing moves, compared with motion.
CENTRE = 1e-4
# The time constants of the path: the larger, the fewer and the slower its movements.
STAY_SEC = 0.1
SMOOTH_SEC = 0.25
# The length of the window that softens the stops at the edges.
SOFT_SEC = 0.4


@dataclass(frozen=True)
class CropPath:
    """The centre of the crop over time.

    Attributes:
        pts: (n,) int64, ascending presentation timestamps of the frames.
        centres: (n,) float64 in [0, 1], along the side that is cropped.
    """

    pts: np.ndarray
    centres: np.ndarray

    def at(self, pts: int) -> float:
        """Return the centre for the frame with a presentation timestamp."""
        index = int(np.searchsorted(self.pts, pts, side="right")) - 1
        return float(self.centres[max(index, 0)]) if len(self.pts) else 0.5


def find_crop_path(
    frames: Iterable[av.VideoFrame], rate_fps: float, window_length: float, is_vertical: bool
) -> CropPath:
    """Find the path of the crop for the consecutive frames of a section.

    Args:
        frames: The frames; each is needed only until the next one.
        rate_fps: Their average rate.
        window_length: The length of the crop, as a fraction of the side that is cropped.
        is_vertical: Whether the picture is cropped above and below, instead of left and right.
    """
    lag = max(1, round(LAG_SEC * rate_fps))
    size_px = (GREY_DEPTH_PX, GREY_LENGTH_PX) if is_vertical else (GREY_LENGTH_PX, GREY_DEPTH_PX)
    scale = Scaler(*size_px, "gray")
    recent: deque[np.ndarray] = deque(maxlen=lag)
    pts, changes, lag_changes, wanted, weights = [], [], [], [], []
    for frame in frames:
        grey = scale(frame).astype(np.int16)
        pts.append(frame.pts)
        if recent:
            changes.append(np.abs(grey - recent[-1]).mean())
        difference = np.abs(grey - recent[0]) if recent else np.zeros_like(grey)
        lag_changes.append(difference.mean())
        change = np.maximum(difference - NOISE, 0).mean(axis=1 if is_vertical else 0)
        camera = float(np.median(change))
        motion = np.maximum(change - camera, 0)
        wanted.append(window_centre(motion, window_length))
        weights.append(np.array([motion.mean(), 2 * camera]) / (motion.mean() + 2 * camera + STILL))
        recent.append(grey)
    starts = find_shot_starts(np.array(changes, np.float32), np.array(lag_changes), lag)
    half = min(window_length / 2, 0.5)
    wanted, weights = np.clip(wanted, half, 1 - half), np.array(weights).reshape(-1, 2)
    for start in starts:
        weights[start : start + lag] = 0  # these frames were compared with the shot before
    shots = [slice(first, end) for first, end in itertools.pairwise([0, *starts, len(pts)]) if end > first]
    centres = [
        soften(np.clip(smooth_path(wanted[shot], *weights[shot].T, rate_fps), half, 1 - half), rate_fps)
        for shot in shots
    ]
    return CropPath(np.array(pts, np.int64), np.concatenate([np.zeros(0), *centres]))


def window_centre(motion: np.ndarray, window_length: float) -> float:
    """Return the centre in [0, 1] of the Hann window that covers most motion.

    Args:
        motion: (GREY_LENGTH_PX,) float64, of each column or row.
        window_length: The length of the window, as a fraction of all columns or rows.
    """
    if not motion.any():
        return 0.5
    window = np.hanning(max(3, round(window_length * GREY_LENGTH_PX)) + 2)[1:-1]
    covered = np.convolve(motion, window)
    offset = (len(window) - 1) / 2
    best = np.flatnonzero(covered >= covered.max() * (1 - 1e-9)).mean()
    return float(np.clip((best - offset + 0.5) / len(motion), 0, 1))


def find_shot_starts(changes: np.ndarray, lag_changes: np.ndarray, lag: int) -> list[int]:
    """Return the first frames of all shots but the first one. A flash starts none, as the picture is the same after it.

    Args:
        changes: (n - 1,) float32, the mean difference between each frame and the next one, in grey levels.
        lag_changes: (n,) float64, the mean difference between each frame and the one `lag` frames before it.
        lag: In frames.
    """
    candidates = np.flatnonzero(find_hard_cuts(changes)) + 1
    return [int(first) for first in candidates if lag_changes[first : first + lag].min() > MIN_CUT_CHANGE]


def smooth_path(wanted: np.ndarray, weights: np.ndarray, centre_weights: np.ndarray, rate_fps: float) -> np.ndarray:
    """Return the smooth path x through the wanted centres c, as the module says.

    Args:
        wanted: (n,) float64, c.
        weights: (n,) float64, w.
        centre_weights: (n,) float64, v.
        rate_fps: Frames per second, r.
    """
    from scipy.linalg import solveh_banded

    stay, smooth = (STAY_SEC * rate_fps) ** 2, (SMOOTH_SEC * rate_fps) ** 4
    bands = np.zeros((3, len(wanted)))  # the diagonal of a symmetric matrix, and the two below it
    bands[0] = weights + centre_weights + CENTRE
    bands[0, :-1] += stay
    bands[0, 1:] += stay
    bands[1, :-1] -= stay
    for shift, factor in enumerate((1, 4, 1)):
        bands[0, shift : len(wanted) - 2 + shift] += factor * smooth
    bands[1, : max(len(wanted) - 2, 0)] -= 2 * smooth
    bands[1, 1:-1] -= 2 * smooth
    bands[2, :-2] += smooth
    num_bands = min(3, len(wanted))
    return solveh_banded(bands[:num_bands], weights * wanted + (centre_weights + CENTRE) / 2, lower=True)


def soften(path: np.ndarray, rate_fps: float) -> np.ndarray:
    """Return the average of a path, (n,) float64, over a Hann window of SOFT_SEC."""
    half = round(SOFT_SEC * rate_fps / 2)
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(path, half, "edge"), window / window.sum(), "valid")
