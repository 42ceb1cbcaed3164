"""Fingerprints of a video's audio and frames that survive editing; label_finder.py compares them.

A fingerprint (descriptor) is one row of numbers for one time. The dot product of two rows is their similarity. A row's
norm is below 1 and grows with how much there is to hear or see. Rows are whitened by the statistics of the full match,
so that what the whole match has in common (a hum, a horizon, a scoreboard) counts little and what distinguishes a
moment counts much.

The query is the highlight video, the reference is the full match.
"""

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from videosummarizer import audio_track
from videosummarizer.labelling.thumbnails import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Thumbnails
from videosummarizer.librosa_import import import_librosa
from videosummarizer.media import VideoInfo

# Seconds from one audio fingerprint to the next; also the time step of the alignment.
HOP_SEC = 1 / 16
# Audio is compared up to 4 kHz: low bit rates and resampling leave little above it.
SAMPLE_RATE_HZ = 8000
# Samples from one audio fingerprint to the next.
HOP_LENGTH = int(SAMPLE_RATE_HZ * HOP_SEC)
# Samples of one audio fingerprint.
FFT_LENGTH = 2048
# Mel bands of one audio fingerprint.
NUM_BANDS = 32
# Lower edge of the lowest mel band.
LOWEST_HZ = 100
# Upper edge of the highest mel band.
HIGHEST_HZ = 3800
# Bands that are quieter than the loud parts (95th percentile) by more than this count as silence.
FLOOR_DB = 50
# Rows whose values are all smaller are rounding errors in silence.
MIN_LEVEL = 1e-4
# Steps (two seconds) of the moving average that is subtracted from each band: volume and equaliser do not count.
LOCAL_STEPS = 33
# Audio fingerprints that are computed at once; limits memory.
NUM_STEPS_PER_BLOCK = 1024
# Thumbnails that are averaged at once; limits memory.
FRAMES_PER_BLOCK = 1024
# Blocks across the query's frame that are compared.
GRID_WIDTH = 24
# Blocks down the query's frame that are compared.
GRID_HEIGHT = 14
# Added to the local variance before contrast is normalised, in squared grey levels, so that noise is not amplified.
NOISE_VARIANCE = 9.0
# A frame with a smaller standard deviation, in grey levels, shows nothing to compare.
MIN_CONTRAST = 4.0
# Ratio of the mean variance that is added to every direction when audio is whitened.
AUDIO_REGULARISATION = 0.3
# Ratio of the mean variance that is added to every direction when frames are whitened.
VIDEO_REGULARISATION = 1.0
# Ratio of the median norm that is added to every row's norm before the row is divided by it.
NORM_OFFSET_RATIO = 0.5


def read_audio_features(
    path: str | os.PathLike, video_info: VideoInfo, damage: audio_track.AudioDamage | None = None
) -> np.ndarray:
    """Return the log-mel spectrogram of a video's audio without its moving average.

    Row i describes the audio around i * HOP_SEC. Each row's own mean is subtracted as well.

    Args:
        path: the video.
        video_info: the result of `media.probe`.
        damage: as for `audio_track.read_audio`.

    Returns:
        (num_steps, 32) float32, natural logarithms of amplitudes; 0 in silence.

    Raises:
        media.MediaError: the video cannot be read, or has no audio.
    """
    from scipy.ndimage import uniform_filter1d

    librosa = import_librosa()
    block_length = (NUM_STEPS_PER_BLOCK - 1) * HOP_LENGTH + FFT_LENGTH

    def mel_bands(samples: np.ndarray) -> np.ndarray:
        if not samples.any():  # a gap may last for hours
            return np.zeros((1 + (len(samples) - FFT_LENGTH) // HOP_LENGTH, NUM_BANDS), np.float32)
        return librosa.feature.melspectrogram(
            y=samples, sr=SAMPLE_RATE_HZ, n_fft=FFT_LENGTH, hop_length=HOP_LENGTH, center=False, power=1.0,
            n_mels=NUM_BANDS, fmin=LOWEST_HZ, fmax=HIGHEST_HZ,
        ).T  # fmt: skip

    waiting, num_waiting, bands = [np.zeros(FFT_LENGTH // 2, np.float32)], FFT_LENGTH // 2, []
    for samples in audio_track.read_audio(path, video_info, SAMPLE_RATE_HZ, damage):
        waiting.append(samples)
        num_waiting += len(samples)
        while num_waiting >= block_length:
            joined = np.concatenate(waiting)
            bands.append(mel_bands(joined[:block_length]))
            waiting = [joined[NUM_STEPS_PER_BLOCK * HOP_LENGTH :]]
            num_waiting = len(waiting[0])
    bands.append(mel_bands(np.concatenate([*waiting, np.zeros(FFT_LENGTH // 2 + HOP_LENGTH, np.float32)])))
    amplitudes = np.concatenate(bands)
    loud = float(np.percentile(amplitudes, 95))
    if not loud and amplitudes.any():  # nearly all is silence
        loud = float(np.percentile(amplitudes[amplitudes.any(axis=1)], 95))
    floor = max(loud * 10 ** (-FLOOR_DB / 20), 1e-9)
    levels = np.log(np.maximum(amplitudes, floor))
    levels -= uniform_filter1d(levels, LOCAL_STEPS, axis=0)
    levels -= levels.mean(axis=1, keepdims=True)
    levels[np.abs(levels).max(axis=1) < MIN_LEVEL] = 0
    return levels


def whitening(rows: np.ndarray, regularisation: float) -> np.ndarray:
    """Return the matrix of a regularised PCA whitening.

    Rows multiplied by it vary about equally in every direction.

    Args:
        rows: (n, num_dimensions) float, with a mean of about 0.
        regularisation: ratio of the mean variance that is added to every direction, so that noise is not amplified.

    Returns:
        (num_dimensions, num_dimensions) float32.
    """
    variances, directions = np.linalg.eigh(rows.T @ rows / max(len(rows), 1))
    variances = np.maximum(variances, 0)
    return (directions / np.sqrt(variances + regularisation * variances.mean() + 1e-12)).astype(np.float32)


def soft_normalise(rows: np.ndarray) -> np.ndarray:
    """Return rows whose norms are compressed to below 1; the median norm becomes two thirds.

    Args:
        rows: (n, num_dimensions) float.

    Returns:
        (n, num_dimensions) float32.
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    typical = np.median(norms[norms > 0]) if (norms > 0).any() else 1.0
    return (rows / (norms + NORM_OFFSET_RATIO * typical)).astype(np.float32)


def describe_audio(query: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return comparable descriptors of the audio of a highlight video and of a match.

    Args:
        query: (num_query_steps, 32) float32, from `read_audio_features`.
        reference: (num_reference_steps, 32) float32, from `read_audio_features`.

    Returns:
        Descriptors of query and reference, float32, in the same shapes.
    """
    weights = whitening(reference, AUDIO_REGULARISATION)
    return soft_normalise(query @ weights), soft_normalise(reference @ weights)


@dataclass(frozen=True)
class FrameTransform:
    """Where in the query's frame the match's frame lies, in units of the query's width and height.

    A size above 1 is a crop or a zoom, below 1 a letterbox.

    Attributes:
        centre_x: centre of the match's frame, from the left.
        centre_y: centre of the match's frame, from the top.
        width: width of the match's frame.
        height: height of the match's frame.
    """

    centre_x: float = 0.5
    centre_y: float = 0.5
    width: float = 1.0
    height: float = 1.0


IDENTITY = FrameTransform()


def grid_means(thumbnails: np.ndarray, transform: FrameTransform) -> tuple[np.ndarray, np.ndarray]:
    """Compute the means of transformed thumbnails over the blocks of the query's grid.

    Args:
        thumbnails: (n, 27, 48) uint8.
        transform: where the thumbnails lie in the query's frame.

    Returns:
        rows: (n, 14 * 24) float32, grey levels.
        is_inside: (14 * 24,) bool, the blocks that the thumbnails cover.
    """

    def axis_weights(num_pixels: int, num_blocks: int, centre: float, size: float) -> tuple[np.ndarray, np.ndarray]:
        edges = (np.arange(num_blocks + 1) / num_blocks - centre) / size + 0.5
        pixels = np.arange(num_pixels) / num_pixels
        overlaps = np.minimum(edges[1:, None], pixels + 1 / num_pixels) - np.maximum(edges[:-1, None], pixels)
        weights = np.clip(overlaps, 0, None) / (edges[1] - edges[0])
        return weights.astype(np.float32), weights.sum(axis=1) > 0.9

    across, is_inside_x = axis_weights(THUMBNAIL_WIDTH_PX, GRID_WIDTH, transform.centre_x, transform.width)
    down, is_inside_y = axis_weights(THUMBNAIL_HEIGHT_PX, GRID_HEIGHT, transform.centre_y, transform.height)
    rows = np.zeros((len(thumbnails), GRID_HEIGHT, GRID_WIDTH), np.float32)
    for first in range(0, len(rows), FRAMES_PER_BLOCK):
        block = thumbnails[first : first + FRAMES_PER_BLOCK].astype(np.float32)
        squeezed = (block.reshape(-1, THUMBNAIL_WIDTH_PX) @ across.T).reshape(len(block), -1, GRID_WIDTH)
        flat = down @ squeezed.transpose(1, 0, 2).reshape(THUMBNAIL_HEIGHT_PX, -1)
        rows[first : first + FRAMES_PER_BLOCK] = flat.reshape(GRID_HEIGHT, len(block), GRID_WIDTH).transpose(1, 0, 2)
    return rows.reshape(len(rows), -1), (is_inside_y[:, None] & is_inside_x).ravel()


@dataclass
class Descriptors:
    """Whitened fingerprints of frames.

    Attributes:
        times_sec: (n,) float64, presentation times, ascending.
        rows: (n, num_dimensions) float32.
    """

    times_sec: np.ndarray
    rows: np.ndarray


def high_pass(rows: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """Subtract a Gaussian blur from frames.

    The filter is linear: a mixture of frames gives the same mixture of their filtered frames.

    Args:
        rows: (n, 14 * 24) float, grey levels.
        is_used: (14 * 24,) bool, the blocks that are compared; the others count as the frame's mean.

    Returns:
        (n, 14, 24) float32, grey levels, negative where a block is darker than its surroundings.
    """
    from scipy.ndimage import gaussian_filter

    shifted = np.where(is_used, rows - rows[:, is_used].mean(axis=1, keepdims=True), 0)
    grid = shifted.reshape(-1, GRID_HEIGHT, GRID_WIDTH)
    grid -= gaussian_filter(grid, (0, 2, 2))
    return grid


def local_contrast_normalise(rows: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """Normalise the local contrast of frames, so that brightness and contrast do not count.

    After Jarrett et al. 2009, "What is the best multi-stage architecture for object recognition?", section 2.

    Args:
        rows: (n, 14 * 24) float, grey levels.
        is_used: (14 * 24,) bool, the blocks that are compared.

    Returns:
        (n, num_used) float32 of norm 1; 0 where a frame shows nothing to compare.
    """
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
    """Makes comparable descriptors of the frames of a highlight video and of a match.

    Blocks that never change in either video (bars, logos, scoreboards) are left out.

    Args:
        query: thumbnails from the whole highlight video.
        reference: thumbnails from the whole match.
        transform: where the match's frame lies in the highlight video's frame.

    Attributes:
        transform: as given.
        is_used: (14 * 24,) bool, the blocks that are compared.
        mean_row: (num_used,) float32, the mean normalised frame of the match.
        reference_rows: (n, num_used) float32, the match's normalised frames that show something, minus their mean.
    """

    def __init__(self, query: Thumbnails, reference: Thumbnails, transform: FrameTransform):
        self.transform = transform
        query_means, _ = grid_means(query.thumbnails, IDENTITY)
        reference_means, self.is_used = grid_means(reference.thumbnails, transform)
        for means in (query_means, reference_means):
            deviations = means.std(axis=0)
            self.is_used = self.is_used & (deviations > 0.25 * np.median(deviations))
        if not self.is_used.any():
            self.is_used[:] = True
        rows = local_contrast_normalise(reference_means, self.is_used)
        shows = np.any(rows != 0, axis=1)
        self.mean_row = rows[shows].sum(axis=0) / max(shows.sum(), 1)
        self.reference_rows = rows[shows] - self.mean_row

    @cached_property
    def weights(self) -> np.ndarray:
        """The whitening matrix of the match's frames, (num_used, num_used) float32."""
        return whitening(self.reference_rows, VIDEO_REGULARISATION)

    def normalised_rows(self, thumbnails: Thumbnails, transform: FrameTransform) -> np.ndarray:
        """Return contrast-normalised frames minus the match's mean, (n, num_used) float32; 0 for flat frames."""
        rows = local_contrast_normalise(grid_means(thumbnails.thumbnails, transform)[0], self.is_used)
        rows[np.any(rows != 0, axis=1)] -= self.mean_row
        return rows

    def high_pass_rows(self, thumbnails: Thumbnails, transform: FrameTransform) -> np.ndarray:
        """Return the frames after `high_pass`, only the blocks that are compared, (n, num_used) float32."""
        means = grid_means(thumbnails.thumbnails, transform)[0]
        return high_pass(means, self.is_used).reshape(len(means), -1)[:, self.is_used]

    def describe_query(self, thumbnails: Thumbnails) -> Descriptors:
        """Return descriptors of frames of the highlight video."""
        rows = self.normalised_rows(thumbnails, IDENTITY)
        return Descriptors(thumbnails.times_sec, soft_normalise(rows @ self.weights))

    def describe_reference(self, thumbnails: Thumbnails) -> Descriptors:
        """Return descriptors of frames of the match."""
        rows = self.normalised_rows(thumbnails, self.transform)
        return Descriptors(thumbnails.times_sec, soft_normalise(rows @ self.weights))
