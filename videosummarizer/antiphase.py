"""Find stereo audio whose channels cancel to silence in mono, which is what datasets and scores are made from."""

import av
import numpy as np

# A decoded frame is measured if it begins so long after the last one measured: audio in antiphase is so for long.
MEASUREMENT_INTERVAL_SEC = 0.18
# Mono with less than this ratio of the power of the channels is cancelled. Independent channels have 0.5.
MAX_MONO_RATIO = 0.01
# Audio with less power (-60 dB) is silent anyway.
MIN_POWER = 1e-6


class AntiphaseMeter:
    """Measures the power of stereo audio and of its mono mix, second by second."""

    def __init__(self):
        self.measured_sec = -np.inf
        self.powers: dict[int, np.ndarray] = {}

    def measure(self, frame: av.AudioFrame, time_sec: float) -> None:
        """Measure a decoded frame that begins at a time; most frames are passed over."""
        if abs(time_sec - self.measured_sec) < MEASUREMENT_INTERVAL_SEC:
            return
        if frame.layout.nb_channels != 2 or not frame.samples:
            return
        self.measured_sec = time_sec
        samples = frame.to_ndarray()
        channels = samples if frame.format.is_planar else samples.reshape(-1, 2).T
        scale = 1.0 if samples.dtype.kind == "f" else 2.0 ** (8 * samples.dtype.itemsize - 1)
        left, right = channels.astype(np.float64) / scale - (samples.dtype == np.uint8)
        seconds = np.floor(time_sec + np.arange(frame.samples) / frame.sample_rate)
        for second in range(int(seconds[0]), int(seconds[-1]) + 1):  # frames may be longer than a second
            is_in = seconds == second
            mono, stereo = ((left + right)[is_in] ** 2).mean() / 4, (left**2 + right**2)[is_in].mean() / 2
            self.powers[second] = self.powers.get(second, 0) + np.array([mono, stereo, 1])

    def cancelled_sec(self, end_sec: float) -> set[int]:
        """Return the seconds, rounded down, before end_sec in which the channels cancel."""
        return {
            second
            for second, (mono, channels, count) in self.powers.items()
            if 0 <= second < end_sec and channels > MIN_POWER * count and mono < MAX_MONO_RATIO * channels
        }
