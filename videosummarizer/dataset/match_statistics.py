"""Statistics of a match: what it sounds and looks like as a whole, from a sample of its segments.

`training.training_statistics` compares those of a match with those of the matches that a network was trained on.
"""

import itertools
import math

import numpy as np

from videosummarizer.dataset.metadata import DataConfig

# Segments of a match that are measured, spread evenly over it.
MAX_SEGMENTS = 64
# Bands of the audio, equally wide on a logarithmic scale from this frequency on, in Hz; with MFCCs, coefficients.
NUM_BANDS = 8
LOWEST_HZ = 60.0
# Samples in a window of the audio's spectra are those of about this time.
WINDOW_SEC = 0.05
# Audio that is less loud than this, -80 dB, is silence.
SILENCE = 1e-4
# A row or column of the picture is black where its mean never gets brighter than this, in [0, 255].
BLACK = 20.0
# Two successive frames that differ less than this in the mean, in grey levels, show the same.
STILL = 0.5
# Larger frames are measured at every second, third, ... pixel, so that at least this many are left along an edge.
MIN_EDGE_PX = 64
# The picture is averaged in so many rows and columns of blocks.
NUM_BLOCKS = 4
# Weights of red, green and blue in the luma (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def sampled_indices(num_segments: int) -> list[int]:
    """Return the indices of the segments that are measured, ascending: all, or MAX_SEGMENTS spread evenly."""
    num_sampled = min(num_segments, MAX_SEGMENTS)
    return [(2 * index + 1) * num_segments // (2 * num_sampled) for index in range(num_sampled)]


class StatisticsMeter:
    """Measures the segments of a match one after another, in memory that does not grow with their size."""

    def __init__(self, config: DataConfig, num_segments: int):
        """Begin a match.

        Args:
            config: How it was sampled.
            num_segments: The number of its segments, of which `sampled_indices` are measured.
        """
        self.config, self.index, self.sampled = config, 0, set(sampled_indices(num_segments))
        self.sounds: list[np.ndarray] = []
        self.pictures: list[np.ndarray] = []
        self.stride = max(1, min(config.video_height, config.video_width) // MIN_EDGE_PX)
        self.brightest_rows = np.zeros(-(-config.video_height // self.stride), np.float32)
        self.brightest_columns = np.zeros(-(-config.video_width // self.stride), np.float32)

    def add(self, frames: np.ndarray, audio: np.ndarray) -> None:
        """Measure the next segment, if it is one of those that are measured.

        Args:
            frames: (T, H, W, 3) uint8.
            audio: (num_samples,) float32 in [-1, 1], or MFCCs.
        """
        self.index += 1
        if self.index - 1 not in self.sampled:
            return
        colours = frames[:, :: self.stride, :: self.stride].astype(np.float32)
        luma = colours @ LUMA
        self.brightest_rows = np.maximum(self.brightest_rows, luma.mean(axis=2).max(axis=0))
        self.brightest_columns = np.maximum(self.brightest_columns, luma.mean(axis=1).max(axis=0))
        self.pictures.append(measure_picture(colours, luma))
        is_mfcc, sample_rate_hz = self.config.apply_mfcc, self.config.audio_sample_rate
        self.sounds.append(measure_mfcc(audio) if is_mfcc else measure_waveform(audio, sample_rate_hz))

    def statistics(self, frame_rate_fps: float | None) -> dict[str, float]:
        """Return the statistics of the segments so far, at least one, by their names.

        Those that are not known are left out, such as those of audio that is constant throughout.

        Args:
            frame_rate_fps: The frame rate of the video, None if it is not known.
        """
        sounds = np.array(self.sounds)
        is_constant = np.isnan(sounds[:, 0])
        found = {}
        if not is_constant.all():
            # The louder half, because faint sounds say little, and how many there are varies from match to match.
            sounds = sounds[~is_constant]
            level, onsets, *bands = np.mean(sounds[sounds[:, 0] >= np.median(sounds[:, 0])], axis=0)
            found |= {"audio_level": level, "audio_onsets": onsets}
            found |= {f"audio_band_{number}": value for number, value in enumerate(bands)}
        rows, columns = black_border(self.brightest_rows), black_border(self.brightest_columns)
        found |= {"black_rows": rows, "black_columns": columns}
        brightness, contrast, blue, red, detail, motion, still, *blocks = np.mean(self.pictures, axis=0)
        found |= {"brightness": brightness, "contrast": contrast, "blue": blue, "red": red, "detail": detail}
        if self.config.num_frames > 1:
            found |= {"motion": motion, "still_picture": still}
        found |= {f"block_{number}": value for number, value in enumerate(blocks)}
        if frame_rate_fps:
            found["frame_rate"] = math.log2(frame_rate_fps)
        return {name: float(value) for name, value in found.items()}


def measure_waveform(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Measure the audio of a segment.

    Args:
        audio: (num_samples,) float32 in [-1, 1].
        sample_rate_hz: Its sample rate.

    Returns:
        (2 + NUM_BANDS,) float64: the level in decibels below full scale; the mean rise of the bands from window to
        window in decibels; and the level of each band in decibels, relative to their mean. NaN for constant audio.
    """
    varying = audio - audio.mean()
    level = math.sqrt(np.square(varying, dtype=np.float64).mean())
    if level < SILENCE:
        return np.full(2 + NUM_BANDS, np.nan)
    length = min(len(audio), 2 ** round(math.log2(WINDOW_SEC * sample_rate_hz)))
    windows = varying[: len(audio) // length * length].reshape(-1, length) * np.hanning(length).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(windows, axis=1)))
    edges = np.round(band_edges_hz(sample_rate_hz) * length / sample_rate_hz).astype(int).clip(1, power.shape[1] - 1)
    bands = np.stack(
        [power[:, low : max(high, low + 1)].mean(axis=1) for low, high in itertools.pairwise(edges)], axis=1
    )
    decibels = 10 * np.log10(bands / length + SILENCE**2)
    rise = np.maximum(np.diff(decibels, axis=0), 0).mean() if len(decibels) > 1 else 0.0
    means = decibels.mean(axis=0)
    return np.array([20 * math.log10(level), rise, *(means - means.mean())])


def band_edges_hz(sample_rate_hz: int) -> np.ndarray:
    """Return (NUM_BANDS + 1,) float64: where the bands of `measure_waveform` begin and end."""
    return np.geomspace(min(LOWEST_HZ, sample_rate_hz / 4), sample_rate_hz / 2, NUM_BANDS + 1)


def measure_mfcc(audio: np.ndarray) -> np.ndarray:
    """Measure the MFCCs of a segment, (40, num_mfcc_frames); see `measure_waveform`.

    They are standardised, so there is no level: the first value is 0. The bands are the first coefficients.
    """
    if np.ptp(audio) < SILENCE:
        return np.full(2 + NUM_BANDS, np.nan)
    rise = np.maximum(np.diff(audio, axis=1), 0).mean() if audio.shape[1] > 1 else 0.0
    return np.array([0.0, rise, *audio[:NUM_BANDS].mean(axis=1)], np.float64)


def measure_picture(colours: np.ndarray, luma: np.ndarray) -> np.ndarray:
    """Measure the frames of a segment.

    Args:
        colours: (T, H, W, 3) float32 in [0, 255].
        luma: (T, H, W) float32, their brightness.

    Returns:
        (7 + NUM_BLOCKS**2,) float64, in grey levels: brightness and contrast (mean and standard deviation of the luma);
        blue and red against the luma; detail, the mean difference of neighbouring pixels; motion, the mean difference
        of successive frames; the part of successive frames that show the same; and the luma of each block of the
        picture, relative to the mean.
    """
    brightness = luma.mean()
    detail = np.mean([np.abs(np.diff(luma, axis=axis)).mean() for axis in (1, 2) if luma.shape[axis] > 1] or [0.0])
    changes = np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2)) if len(luma) > 1 else np.zeros(1)
    edges = [np.linspace(0, size, NUM_BLOCKS + 1).astype(int) for size in luma.shape[1:]]
    (tops, lefts), (bottoms, rights) = ([part[:-1] for part in edges], [part[1:] for part in edges])
    means = luma.mean(axis=0, dtype=np.float64)
    blocks = [
        means[top : max(bottom, top + 1), left : max(right, left + 1)].mean()
        for top, bottom in zip(tops, bottoms, strict=True)
        for left, right in zip(lefts, rights, strict=True)
    ]
    blue, red = (colours[..., index].mean() - brightness for index in (2, 0))
    values = [brightness, luma.std(), blue, red, detail, changes.mean(), (changes < STILL).mean()]
    return np.array([*values, *(np.array(blocks) - brightness)], np.float64)


def black_border(brightest: np.ndarray) -> float:
    """Return the part of rows or columns that are black at both ends together, from the brightest mean of each."""
    bright = np.flatnonzero(brightest > BLACK)
    return 1 - (bright[-1] + 1 - bright[0]) / len(brightest) if len(bright) else 1.0
