"""Find stereo audio whose channels cancel to silence in mono, which is what datasets and scores are made from."""

import av
import numpy as np

# Every so many decoded frames are measured: audio in antiphase is so for long.
FRAMES_PER_MEASUREMENT = 8
# Mono with less than this ratio of the power of the channels is cancelled. Independent channels have 0.5.
MAX_MONO_RATIO = 0.01
# Audio with less power (-60 dB) is silent anyway.
MIN_POWER = 1e-6


class AntiphaseMeter:
    """Measures the power of stereo audio and of its mono mix, second by second."""

    def __init__(self):
        self.num_frames = 0
        self.powers: dict[int, np.ndarray] = {}

    def measure(self, frame: av.AudioFrame, time_sec: float) -> None:
        """Measure a decoded frame that begins at a time; most frames are passed over."""
        self.num_frames += 1
        if self.num_frames % FRAMES_PER_MEASUREMENT != 1 or frame.layout.nb_channels != 2 or not frame.samples:
            return
        samples = frame.to_ndarray()
        channels = samples if frame.format.is_planar else samples.reshape(-1, 2).T
        scale = 1.0 if samples.dtype.kind == "f" else 2.0 ** (8 * samples.dtype.itemsize - 1)
        left, right = channels.astype(np.float64) / scale - (samples.dtype == np.uint8)
        powers = np.array([((left + right) ** 2).mean() / 4, (left**2 + right**2).mean() / 2, 1])
        second = int(time_sec)
        self.powers[second] = self.powers.get(second, 0) + powers

    def cancelled_sec(self, end_sec: float) -> set[int]:
        """Return the seconds, rounded down, before end_sec in which the channels cancel."""
        return {
            second
            for second, (mono, channels, count) in self.powers.items()
            if 0 <= second < end_sec and channels > MIN_POWER * count and mono < MAX_MONO_RATIO * channels
        }
