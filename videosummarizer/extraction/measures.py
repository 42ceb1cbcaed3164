"""Measure what is heard and seen in each time step of a match, while its segments pass by on their way to be scored."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from videosummarizer.dataset.metadata import DataConfig

# What is measured: root mean square of the audio; spectral flux, how much louder the frequencies become from one short
# window to the next; mean absolute difference of successive frames; distance of their color histograms.
MEASURES = ("level", "onsets", "motion", "shots")
# Those that need a waveform.
AUDIO_MEASURES = MEASURES[:2]
# Windows of the spectral flux are about this long.
WINDOW_SEC = 0.023
# Larger frames are measured at every second, third, ... pixel, so that at least this many are left along an edge.
MIN_EDGE_PX = 64
# Bins of each color in a histogram.
NUM_BINS = 16


@dataclass(frozen=True)
class LastOfSegment:
    """What the next segment is compared with.

    Attributes:
        spectrum: (num_frequencies,) float64, log magnitudes of the last window of the audio; None without waveforms.
        frame: (H, W, 3) float32, the last frame.
        histogram: (3 * NUM_BINS,) float64, its color histogram; it sums to 1.
    """

    spectrum: np.ndarray | None
    frame: np.ndarray
    histogram: np.ndarray


class StepMeter:
    """Measures the time steps of one segment of a match after another.

    Attributes:
        names: The names of what is measured: MEASURES, or those of the video if the audio is stored as MFCCs.
    """

    def __init__(self, config: DataConfig, num_steps: int):
        """Begin a match.

        Args:
            config: How the match is sampled.
            num_steps: K, the time steps of a segment.
        """
        self.names = MEASURES[len(AUDIO_MEASURES) :] if config.apply_mfcc else MEASURES
        self.config, self.num_steps, self.last = config, num_steps, None

    def measure(self, frames: np.ndarray, audio: np.ndarray) -> np.ndarray:
        """Measure the steps of the next segment.

        Args:
            frames: (T, H, W, 3) uint8.
            audio: (num_samples,) float32 in [-1, 1], or MFCCs.

        Returns:
            (K, M) float64, by `names`. Those of the first segment are compared with its own first frame and window.
        """
        stride = max(1, min(frames.shape[1:3]) // MIN_EDGE_PX)
        frames, last = frames[:, ::stride, ::stride].astype(np.float32), self.last
        histograms = np.stack([color_histogram(frame) for frame in frames])
        spectra = None if self.config.apply_mfcc else log_spectra(audio, self.config.audio_sample_rate)
        if last is None:
            last = LastOfSegment(None if spectra is None else spectra[0], frames[0], histograms[0])
        columns = []
        if spectra is not None:
            squares = np.array_split(np.square(audio, dtype=np.float64), self.num_steps)
            rise = np.maximum(np.diff(spectra, axis=0, prepend=last.spectrum[np.newaxis]), 0).mean(axis=1)
            columns += [np.sqrt([part.mean() for part in squares]), means_of_steps(rise, self.num_steps)]
        motion = np.abs(np.diff(frames, axis=0, prepend=last.frame[np.newaxis])).mean(axis=(1, 2, 3))
        shots = np.abs(np.diff(histograms, axis=0, prepend=last.histogram[np.newaxis])).sum(axis=1) / 2
        columns += [means_of_steps(motion, self.num_steps), means_of_steps(shots, self.num_steps)]
        self.last = LastOfSegment(None if spectra is None else spectra[-1], frames[-1], histograms[-1])
        return np.stack(columns, axis=1)


def log_spectra(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return (num_windows, num_frequencies) float64 compressed magnitudes of successive windows of a waveform."""
    window_length = min(len(audio), 2 ** round(math.log2(WINDOW_SEC * sample_rate_hz)))
    windows = audio[: len(audio) // window_length * window_length].reshape(-1, window_length)
    magnitudes = np.abs(np.fft.rfft(windows * np.hanning(window_length), axis=1)) * 2 / window_length
    return np.log1p(1000 * magnitudes)  # compressed above -60 dB


def color_histogram(frame: np.ndarray) -> np.ndarray:
    """Return (3 * NUM_BINS,) float64, the color histogram of a frame; it sums to 1."""
    bins = (frame.reshape(-1, 3) * (NUM_BINS / 256)).astype(np.int64) + np.arange(3) * NUM_BINS
    return np.bincount(bins.ravel(), minlength=3 * NUM_BINS) / bins.size


def means_of_steps(values: np.ndarray, num_steps: int) -> np.ndarray:
    """Return (K,) float64: the mean of the values in each time step, or the value at it where it has none."""
    borders = np.arange(num_steps + 1) * len(values) // num_steps
    return np.array([values[first : max(last, first + 1)].mean() for first, last in pairwise(borders)])
