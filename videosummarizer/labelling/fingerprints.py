"""Fingerprints of a video's sound and picture that survive what an edit does to them; what label_finder.py compares.

A fingerprint is a row of numbers an instant, longer where there is more to hear or see, at most 1: the dot product of
two is their likeness. Rows are whitened by what the match is like, so that what all of it shares (a hum, a horizon, a
scoreboard) counts little and what sets an instant apart counts much.
"""

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from av.video.reformatter import VideoReformatter

from videosummarizer import media
from videosummarizer.sections import merge_sections

HOP_SEC = 1 / 16  # from one fingerprint of the sound to the next
SAMPLE_RATE_HZ = 8000  # above 4 kHz, low bit rates and resampling leave little
HOP_LENGTH = int(SAMPLE_RATE_HZ * HOP_SEC)
FFT_LENGTH = 2048
NUM_BANDS = 32
LOWEST_HZ, HIGHEST_HZ = 100, 3800
FLOOR_DB = 50  # what is quieter than the loud parts by more counts as silence
LOCAL_STEPS = 33  # two seconds, over which a band's mean is taken off: level and equaliser then matter no more
NUM_STEPS_PER_BLOCK = 1024
PICTURES_PER_BLOCK = 1024
MAX_PLACED = 1000  # pictures of the edit by which the placement is found
THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX = 48, 27
# A quarter to a third of the time is saved; a thumbnail's grey levels hardly change.
FAST_DECODING = {"skip_loop_filter": "all", "flags2": "+fast"}
GRID_WIDTH, GRID_HEIGHT = 24, 14  # blocks of the edit's picture that are compared
MIN_CUT_CHANGE = 6.0  # grey levels, on average
CUT_RATIO, ALONE_CUT_RATIO = 4.0, 2.0  # of the change at a cut to the usual change there, to the largest beside it
NOISE_VARIANCE = 9.0  # grey levels squared
MIN_CONTRAST = 4.0  # grey levels; a flatter picture shows nothing to compare
SOUND_WHITENING, PICTURE_WHITENING = 0.3, 1.0  # share of the mean variance added to each direction's own
SHORTNESS = 0.5  # of the median length; rows shorter than it are shortened further


def read_audio_features(path: str | os.PathLike) -> np.ndarray:
    """(num_steps, 32) float32: logarithms of the sound in mel bands, what is steady taken off; 0 in silence.

    Row i is of the sound around i * HOP_SEC. Raises media.MediaError.
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


def whitening(rows: np.ndarray, share: float) -> np.ndarray:
    """(num_dimensions, num_dimensions) float32, a product with which makes rows vary about alike in every direction;
    `share` of the mean variance is added to each, so that noise is not blown up."""
    variances, directions = np.linalg.eigh(rows.T @ rows / max(len(rows), 1))
    variances = np.maximum(variances, 0)
    return (directions / np.sqrt(variances + share * variances.mean() + 1e-12)).astype(np.float32)


def soft_normalise(rows: np.ndarray) -> np.ndarray:
    """Rows at a length below 1: those of median length at two thirds."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    typical = np.median(lengths[lengths > 0]) if (lengths > 0).any() else 1.0
    return (rows / (lengths + SHORTNESS * typical)).astype(np.float32)


def compare_audio(edit: np.ndarray, match: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return comparable fingerprints of an edit and a match, (num_steps, 32) float32 each.

    Args:
        edit, match: of `read_audio_features`.
    """
    weights = whitening(match, SOUND_WHITENING)
    return soft_normalise(edit @ weights), soft_normalise(match @ weights)


@dataclass
class Thumbnails:
    """times_sec: (n,) float64, ascending. thumbnails: (n, 27, 48) uint8, grey, of the whole picture."""

    times_sec: np.ndarray
    thumbnails: np.ndarray

    def take(self, indices: np.ndarray) -> "Thumbnails":
        return Thumbnails(self.times_sec[indices], self.thumbnails[indices])

    def some(self, num_wanted: int) -> "Thumbnails":
        """At most so many of them, evenly spread."""
        num = len(self.times_sec)
        return self.take(np.unique(np.linspace(0, num - 1, min(num, num_wanted)).astype(int)))


def read_thumbnails(
    path: str | os.PathLike,
    start_sec: float = 0,
    end_sec: float = np.inf,
    rate_fps: float = np.inf,
    keyframes: bool = False,
) -> Thumbnails:
    """Thumbnails of the pictures shown from one time to another, or of keyframes alone.

    Where a rate is given, at most so many a second, those from the last keyframe before the start on, since they have
    to be decoded anyway, and without pictures that no other refers to. Raises media.MediaError.
    """
    times, thumbnails = [], []
    scaler, size = VideoReformatter(), (THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX)
    with media.open_media(path) as container:
        stream = media.best_stream(container, "video", path)
        stream.thread_type = "AUTO"
        stream.codec_context.options = FAST_DECODING
        first_sec = media.start_time_sec(container)
        if keyframes:
            stream.codec_context.skip_frame = "NONKEY"
        elif rate_fps < np.inf:
            stream.codec_context.skip_frame = "NONREF"
        if start_sec > 0:
            container.seek(int((start_sec + first_sec) / stream.time_base), stream=stream)
        for frame in media.decode(container.demux(stream)):
            time_sec = frame.time - first_sec
            if time_sec >= end_sec:
                break
            if times and time_sec < times[-1] + 1 / rate_fps - media.TIME_TOLERANCE_SEC:
                continue
            times.append(time_sec)
            thumbnails.append(scaler.reformat(frame, *size, "gray", interpolation="AREA").to_ndarray())
    shape = (len(times), THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX)
    return Thumbnails(np.array(times), np.array(thumbnails, np.uint8).reshape(shape))


def read_thumbnails_near(path: str | os.PathLike, places_sec: list[tuple[float, float]], rate_fps: float) -> Thumbnails:
    """Thumbnails of the pictures shown in some (start, end) of a video, as `read_thumbnails`, which may overlap."""
    parts = [read_thumbnails(path, max(start, 0), end, rate_fps) for start, end in merge_sections(places_sec)]
    return join_thumbnails(parts)


def join_thumbnails(parts: list[Thumbnails]) -> Thumbnails:
    """Pictures of one video as one, in the order of time, each time once."""
    times_sec = np.concatenate([np.zeros(0), *(part.times_sec for part in parts)])
    empty = np.zeros((0, THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX), np.uint8)
    thumbnails = np.concatenate([empty, *(part.thumbnails for part in parts)])
    times_sec, order = np.unique(times_sec, return_index=True)
    return Thumbnails(times_sec, thumbnails[order])


@dataclass(frozen=True)
class FrameTransform:
    """Where in the edit's picture the match's picture lies: its centre and its size, as shares of the edit's picture.
    A size above 1 is a crop or a zoom, below 1 a letterbox."""

    centre_x: float = 0.5
    centre_y: float = 0.5
    width: float = 1.0
    height: float = 1.0


IDENTITY = FrameTransform()


def block_means(thumbnails: np.ndarray, placement: FrameTransform) -> tuple[np.ndarray, np.ndarray]:
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
    rows = np.zeros((len(thumbnails), GRID_HEIGHT, GRID_WIDTH), np.float32)
    for first in range(0, len(rows), PICTURES_PER_BLOCK):
        block = thumbnails[first : first + PICTURES_PER_BLOCK].astype(np.float32)
        squeezed = (block.reshape(-1, THUMBNAIL_WIDTH_PX) @ across.T).reshape(len(block), -1, GRID_WIDTH)
        flat = down @ squeezed.transpose(1, 0, 2).reshape(THUMBNAIL_HEIGHT_PX, -1)
        rows[first : first + PICTURES_PER_BLOCK] = flat.reshape(GRID_HEIGHT, len(block), GRID_WIDTH).transpose(1, 0, 2)
    return rows.reshape(len(rows), -1), (is_inside_y[:, None] & is_inside_x).ravel()


def shown_at(times_sec: np.ndarray, wanted_sec: np.ndarray) -> np.ndarray:
    """Of pictures with ascending times, the indices of those shown at wanted times."""
    return np.maximum(np.searchsorted(times_sec, wanted_sec + media.TIME_TOLERANCE_SEC, side="right") - 1, 0)


@dataclass
class Descriptors:
    """times_sec: (n,) float64, ascending. rows: (n, num_dimensions) float32, whitened fingerprints of pictures."""

    times_sec: np.ndarray
    rows: np.ndarray


def high_pass(rows: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """(n, 14, 24) float32: the detail in pictures (n, 14 * 24) in grey levels, negative where darker than around it; 0
    in blocks that are not used. A mixture of pictures has the mixture of their reliefs."""
    from scipy.ndimage import gaussian_filter

    shifted = np.where(is_used, rows - rows[:, is_used].mean(axis=1, keepdims=True), 0)
    grid = shifted.reshape(-1, GRID_HEIGHT, GRID_WIDTH)
    grid -= gaussian_filter(grid, (0, 2, 2))
    return grid


def local_contrast_normalise(rows: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """(n, num_used) float32, of length 1: the detail in pictures (n, 14 * 24) without brightness and contrast; 0 where
    a picture shows nothing."""
    from scipy.ndimage import gaussian_filter

    is_flat = rows[:, is_used].std(axis=1) < MIN_CONTRAST
    grid = high_pass(rows, is_used)
    grid /= np.sqrt(gaussian_filter(grid**2, (0, 4, 4)) + NOISE_VARIANCE)
    used = grid.reshape(len(rows), -1)[:, is_used]
    used -= used.mean(axis=1, keepdims=True)
    used /= np.linalg.norm(used, axis=1, keepdims=True) + 1e-6
    used[is_flat] = 0
    return used


class FrameDescriber:
    """Makes comparable fingerprints of an edit's and a match's pictures, given where the one lies in the other.

    Blocks that stand still in either (bars, logos, scoreboards) are left out.

    Args:
        edit, match: pictures from all over both. placement: where the match's picture lies in the edit's.
    """

    def __init__(self, edit: Thumbnails, match: Thumbnails, placement: FrameTransform):
        self.placement = placement
        edit_rows, _ = block_means(edit.thumbnails, IDENTITY)
        match_rows, self.is_used = block_means(match.thumbnails, placement)
        for rows in (edit_rows, match_rows):
            deviations = rows.std(axis=0)
            self.is_used = self.is_used & (deviations > 0.25 * np.median(deviations))
        if not self.is_used.any():
            self.is_used[:] = True
        details = local_contrast_normalise(match_rows, self.is_used)
        shows = np.any(details != 0, axis=1)
        self.shared = details[shows].sum(axis=0) / max(shows.sum(), 1)
        self.shown_details = details[shows] - self.shared

    @cached_property
    def weights(self) -> np.ndarray:
        return whitening(self.shown_details, PICTURE_WHITENING)

    def details_of(self, pictures: Thumbnails, placement: FrameTransform) -> np.ndarray:
        details = local_contrast_normalise(block_means(pictures.thumbnails, placement)[0], self.is_used)
        details[np.any(details != 0, axis=1)] -= self.shared
        return details

    def relief_of(self, pictures: Thumbnails, placement: FrameTransform) -> np.ndarray:
        """(n, num_used) float32: as from `high_pass`, of the blocks that are compared."""
        rows = block_means(pictures.thumbnails, placement)[0]
        return high_pass(rows, self.is_used).reshape(len(rows), -1)[:, self.is_used]

    def edit_rows(self, pictures: Thumbnails) -> Descriptors:
        return Descriptors(pictures.times_sec, soft_normalise(self.details_of(pictures, IDENTITY) @ self.weights))

    def match_rows(self, pictures: Thumbnails) -> Descriptors:
        return Descriptors(pictures.times_sec, soft_normalise(self.details_of(pictures, self.placement) @ self.weights))


def fit_frame_transform(edit: Thumbnails, match: Thumbnails) -> FrameTransform:
    """The placement under which pictures of the match are best found again in the edit; as it is where none is better.

    A coarse search finds pairs of pictures that are alike; the placement is then fitted to those.
    """
    duration_sec = float(np.ptp(edit.times_sec))
    edit_part, match_part = edit.some(min(MAX_PLACED, int(10 * duration_sec) + 1)), match.some(MAX_PLACED // 3)

    def details(edit: Thumbnails, match: Thumbnails, placement: FrameTransform) -> tuple[np.ndarray, np.ndarray]:
        comparer = FrameDescriber(edit, match, placement)
        return comparer.details_of(edit, IDENTITY), comparer.details_of(match, placement)

    def likeness(placement: FrameTransform) -> np.ndarray:
        edit_details, match_details = details(edit_part, match_part, placement)
        return match_details @ edit_details.T

    def merit(maxima: np.ndarray) -> float:
        return float(np.sort(maxima)[-max(10, len(maxima) // 10) :].mean())

    sizes = (0.75, 0.85, 1.0, 1.1, 1.2, 1.33)
    candidates = [FrameTransform(width=w, height=h) for w in sizes for h in sizes if 0.7 < w / h < 1.4]
    best = max(candidates, key=lambda placement: merit(likeness(placement).max(axis=1)))
    alike = likeness(best)
    chosen = np.argsort(alike.max(axis=1))[-max(20, len(alike) // 8) :]
    edit_pairs, match_pairs = edit_part.take(alike[chosen].argmax(axis=1)), match_part.take(chosen)

    def fit(placement: FrameTransform) -> float:
        edit_details, match_details = details(edit_pairs, match_pairs, placement)
        return float((edit_details * match_details).sum(axis=1).mean())

    step, score = 0.06, fit(best)
    while step > 0.004:
        moves = [
            FrameTransform(**{**vars(best), name: getattr(best, name) + change})
            for name in vars(best)
            for change in (-step, step)
        ]
        scores = [fit(move) for move in moves]
        if max(scores) > score + 1e-4:
            best, score = moves[int(np.argmax(scores))], max(scores)
        else:
            step /= 2
    return best


def find_cuts(pictures: Thumbnails) -> np.ndarray:
    """(n,) float64: when the first picture after a cut is shown; a flash counts as one, a dissolve does not."""
    from scipy.ndimage import maximum_filter, median_filter

    changes = np.zeros(max(len(pictures.times_sec) - 1, 0), np.float32)
    for index in range(len(changes)):  # one by one, as the difference of all takes much memory
        before, after = pictures.thumbnails[index : index + 2].astype(np.int16)
        changes[index] = np.abs(after - before).mean()
    if not len(changes):
        return np.zeros(0)
    usual = median_filter(changes, min(31, len(changes) | 1))
    beside = maximum_filter(changes, footprint=[1, 1, 0, 1, 1])
    is_cut = (changes > CUT_RATIO * usual) | (changes > ALONE_CUT_RATIO * beside)
    return pictures.times_sec[1:][is_cut & (changes > MIN_CUT_CHANGE)]
