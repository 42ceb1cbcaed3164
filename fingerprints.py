"""Fingerprints of a video's sound and picture that survive what an edit does to them; what label_finder.py compares.

A fingerprint is a row of numbers an instant, longer where there is more to hear or see, at most 1: the dot product of
two is their likeness. Rows are whitened by what the match is like, so that what all of it shares (a hum, a horizon, a
scoreboard) counts little and what sets an instant apart counts much.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import media

STEP_SEC = 1 / 16  # from one fingerprint of the sound to the next
SAMPLE_RATE_HZ = 8000  # above 4 kHz, low bit rates and resampling leave little
HOP_LENGTH = int(SAMPLE_RATE_HZ * STEP_SEC)
FFT_LENGTH = 2048
NUM_BANDS = 32
LOWEST_HZ, HIGHEST_HZ = 100, 3800
FLOOR_DB = 50  # what is quieter than the loud parts by more counts as silence
LOCAL_STEPS = 33  # two seconds, over which a band's mean is taken off: level and equaliser then matter no more
NUM_STEPS_PER_BLOCK = 1024
THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX = 48, 27
GRID_WIDTH, GRID_HEIGHT = 24, 14  # blocks of the edit's picture that are compared
MIN_CONTRAST = 4.0  # grey levels; a flatter picture shows nothing to compare
SOUND_WHITENING, PICTURE_WHITENING = 0.3, 1.0  # share of the mean variance added to each direction's own
SHORTNESS = 0.5  # of the median length; rows shorter than it are shortened further


def read_sound(path: str | os.PathLike) -> np.ndarray:
    """(num_steps, 32) float32: logarithms of the sound in mel bands each STEP_SEC, what is steady taken off, 0 in silence.

    Row i is of the sound around i * STEP_SEC. Raises media.MediaError.
    """
    from librosa.feature import melspectrogram
    from scipy.ndimage import uniform_filter1d

    block_length = (NUM_STEPS_PER_BLOCK - 1) * HOP_LENGTH + FFT_LENGTH

    def mel_bands(samples: np.ndarray) -> np.ndarray:
        return melspectrogram(
            y=samples, sr=SAMPLE_RATE_HZ, n_fft=FFT_LENGTH, hop_length=HOP_LENGTH, center=False, power=1.0,
            n_mels=NUM_BANDS, fmin=LOWEST_HZ, fmax=HIGHEST_HZ,
        ).T  # fmt: skip

    waiting, num_waiting, bands = [np.zeros(FFT_LENGTH // 2, np.float32)], FFT_LENGTH // 2, []
    for samples in media.read_audio(path, SAMPLE_RATE_HZ):
        waiting.append(samples)
        num_waiting += len(samples)
        while num_waiting >= block_length:
            joined = np.concatenate(waiting)
            bands.append(mel_bands(joined[:block_length]))
            waiting = [joined[NUM_STEPS_PER_BLOCK * HOP_LENGTH :]]
            num_waiting = len(waiting[0])
    bands.append(mel_bands(np.concatenate([*waiting, np.zeros(FFT_LENGTH // 2 + HOP_LENGTH, np.float32)])))
    amplitudes = np.concatenate(bands)
    floor = max(float(np.percentile(amplitudes, 95)) * 10 ** (-FLOOR_DB / 20), 1e-9)
    levels = np.log(np.maximum(amplitudes, floor))
    levels -= uniform_filter1d(levels, LOCAL_STEPS, axis=0)
    return levels - levels.mean(axis=1, keepdims=True)


def whiten(edit_rows: np.ndarray, match_rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Both (n, num_dimensions) float32, rows whitened by the match's covariance and shortened to a length below 1."""
    covariance = match_rows.T @ match_rows / max(len(match_rows), 1)
    variances, directions = np.linalg.eigh(covariance)
    variances = np.maximum(variances, 0)
    weights = directions / np.sqrt(variances + share * variances.mean() + 1e-12)
    edit_rows, match_rows = edit_rows @ weights, match_rows @ weights

    def shorten(rows: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        typical = np.median(lengths[lengths > 0]) if (lengths > 0).any() else 1.0
        return (rows / (lengths + SHORTNESS * typical)).astype(np.float32)

    return shorten(edit_rows), shorten(match_rows)


@dataclass
class Pictures:
    """times_sec: (n,) float64, ascending. thumbnails: (n, 27, 48) uint8, grey, of the whole picture."""

    times_sec: np.ndarray
    thumbnails: np.ndarray


def read_pictures(
    path: str | os.PathLike, start_sec: float = 0, end_sec: float = np.inf, rate_fps: float = np.inf, keyframes: bool = False
) -> Pictures:
    """Thumbnails of the pictures shown from one time to another, at most `rate_fps` a second, or of keyframes alone.

    Raises media.MediaError.
    """
    times, thumbnails = [], []
    with media.open_media(path) as container:
        stream = media.best_stream(container, "video", path)
        stream.thread_type = "AUTO"
        first_sec = media.start_time_sec(container)
        if keyframes:
            stream.codec_context.skip_frame = "NONKEY"
        if start_sec > 0:
            container.seek(int((start_sec + first_sec) / stream.time_base), stream=stream)
        for frame in media.decode(container.demux(stream)):
            time_sec = frame.time - first_sec
            if time_sec >= end_sec:
                break
            if time_sec < max(start_sec, times[-1] + 1 / rate_fps - media.TIME_TOLERANCE_SEC if times else 0):
                continue
            times.append(time_sec)
            size = (THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX)
            thumbnails.append(frame.reformat(*size, "gray", interpolation="AREA").to_ndarray())
    shape = (len(times), THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX)
    return Pictures(np.array(times), np.array(thumbnails, np.uint8).reshape(shape))


@dataclass(frozen=True)
class Placement:
    """Where in the edit's picture the match's picture lies: its centre and its size, as shares of the edit's picture.
    A size above 1 is a crop or a zoom, below 1 a letterbox."""

    centre_x: float = 0.5
    centre_y: float = 0.5
    width: float = 1.0
    height: float = 1.0


def grid_rows(thumbnails: np.ndarray, placement: Placement = Placement()) -> tuple[np.ndarray, np.ndarray]:  # noqa: B008
    """The means of thumbnails over the blocks of the edit's grid, if they lay in the edit's picture as placed.

    Returns:
        rows: (n, 14 * 24) float32, grey levels. is_inside: (14 * 24,) bool, the blocks that they cover.
    """

    def axis(num_pixels: int, num_blocks: int, centre: float, size: float) -> tuple[np.ndarray, np.ndarray]:
        edges = (np.arange(num_blocks + 1) / num_blocks - centre) / size + 0.5
        pixels = np.arange(num_pixels) / num_pixels
        overlaps = np.minimum(edges[1:, None], pixels + 1 / num_pixels) - np.maximum(edges[:-1, None], pixels)
        shares = np.clip(overlaps, 0, None) / (edges[1] - edges[0])
        return shares.astype(np.float32), shares.sum(axis=1) > 0.9

    across, is_inside_x = axis(THUMBNAIL_WIDTH_PX, GRID_WIDTH, placement.centre_x, placement.width)
    down, is_inside_y = axis(THUMBNAIL_HEIGHT_PX, GRID_HEIGHT, placement.centre_y, placement.height)
    rows = down @ thumbnails.astype(np.float32) @ across.T
    return rows.reshape(len(rows), -1), (is_inside_y[:, None] & is_inside_x).ravel()


def picture_rows(
    edit: np.ndarray, match: np.ndarray, placement: Placement
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of thumbnails of the edit (n, 27, 48) and of the match, comparable, not whitened yet: detail alone, without
    brightness and contrast, and without the blocks that stand still in either (bars, logos, scoreboards).

    Returns (n, num_blocks) float32 for each, of length 1, or 0 where a picture shows nothing.
    """
    from scipy.ndimage import gaussian_filter

    edit, _ = grid_rows(edit)
    match, is_used = grid_rows(match, placement)
    for rows in (edit, match):
        deviations = rows.std(axis=0)
        is_used = is_used & (deviations > 0.25 * np.median(deviations))

    def detail(rows: np.ndarray) -> np.ndarray:
        means = rows[:, is_used].mean(axis=1, keepdims=True) if is_used.any() else 0
        is_flat = rows[:, is_used].std(axis=1) < MIN_CONTRAST
        grid = np.where(is_used, rows - means, 0).reshape(-1, GRID_HEIGHT, GRID_WIDTH)
        grid -= gaussian_filter(grid, (0, 2, 2))
        grid /= np.sqrt(gaussian_filter(grid**2, (0, 4, 4)) + 9)
        used = grid.reshape(len(rows), -1)[:, is_used]
        used -= used.mean(axis=1, keepdims=True)
        used /= np.linalg.norm(used, axis=1, keepdims=True) + 1e-6
        used[is_flat] = 0
        return used

    edit, match = detail(edit), detail(match)
    shared = match[np.any(match != 0, axis=1)]
    shared = shared.mean(axis=0) if len(shared) else 0
    for rows in (edit, match):
        rows[np.any(rows != 0, axis=1)] -= shared
    return edit, match


@dataclass
class Rows:
    """times_sec: (n,) float64, ascending. rows: (n, num_dimensions) float32, whitened fingerprints of pictures."""

    times_sec: np.ndarray
    rows: np.ndarray

    def shown_at(self, times_sec: np.ndarray) -> np.ndarray:
        """Indices of the pictures shown at given times."""
        return np.maximum(np.searchsorted(self.times_sec, times_sec + media.TIME_TOLERANCE_SEC, side="right") - 1, 0)


def find_placement(edit: Pictures, match: Pictures) -> Placement:
    """The placement under which pictures of the match are best found again in the edit; as it is where none is better.

    A coarse search finds pairs of pictures that are alike; the placement is then fitted to those.
    """
    edit_part = edit.thumbnails[spread(len(edit.thumbnails), 1500)]
    match_part = match.thumbnails[spread(len(match.thumbnails), 400)]

    def likeness(placement: Placement) -> np.ndarray:
        edit_rows, match_rows = picture_rows(edit_part, match_part, placement)
        return match_rows @ edit_rows.T

    def merit(maxima: np.ndarray) -> float:
        return float(np.sort(maxima)[-max(10, len(maxima) // 10) :].mean())

    sizes = (0.75, 0.85, 1.0, 1.1, 1.2, 1.33)
    candidates = [Placement(width=width, height=height) for width in sizes for height in sizes]
    best = max(candidates, key=lambda placement: merit(likeness(placement).max(axis=1)))
    alike = likeness(best)
    chosen = np.argsort(alike.max(axis=1))[-max(20, len(alike) // 8) :]
    edit_pairs, match_pairs = edit_part[alike[chosen].argmax(axis=1)], match_part[chosen]

    def fit(placement: Placement) -> float:
        edit_rows, match_rows = picture_rows(edit_pairs, match_pairs, placement)
        return float((edit_rows * match_rows).sum(axis=1).mean())

    step, score = 0.06, fit(best)
    while step > 0.004:
        moves = [
            Placement(**{**vars(best), name: getattr(best, name) + change})
            for name in vars(best)
            for change in (-step, step)
        ]
        scores = [fit(move) for move in moves]
        if max(scores) > score + 1e-4:
            best, score = moves[int(np.argmax(scores))], max(scores)
        else:
            step /= 2
    return best


def spread(num: int, num_wanted: int) -> np.ndarray:
    """Indices of at most so many items, evenly spread."""
    return np.unique(np.linspace(0, num - 1, min(num, num_wanted)).astype(int))
