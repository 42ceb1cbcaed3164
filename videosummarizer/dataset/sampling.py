"""videosummarizer.dataset.sampling."""

import math
import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from videosummarizer import media
from videosummarizer.dataset.metadata import MFCC_HOP_LENGTH, NUM_MFCC, DataConfig
from videosummarizer.media import TIME_TOLERANCE_SEC

NUM_SEGMENTS_PER_MFCC_CALL = 8  # one call for several segments is cheaper than a call for each
MAX_BYTES_AHEAD = 12_000_000  # of frames that are decoded before they are asked for


def read_segments(
    video_path: str | os.PathLike, video_info: media.VideoInfo, config: DataConfig
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Arrays of each segment of a video in order; the file is read once for the picture and once for the sound.

    Args:
        video_path: the video.
        video_info: of `media.probe`.
        config: how to sample it.

    Yields:
        frames: (T, H, W, 3) uint8 RGB in [0, 255], the frames shown at `k * L + i / rate`; zeros past the end.
        audio: (num_samples,) float32 in [-1, 1], the peak of the whole video at 1, zeros past the end; with
            `apply_mfcc` (40, num_mfcc_frames) float32, the segment's MFCCs with mean 0 and deviation 1.

    Raises:
        media.MediaError: the file cannot be read.
    """
    with SegmentAudio(video_path, video_info, config) as segment_audio:
        yield from read_segment_range(
            video_path, video_info, config, segment_audio, range(config.num_segments(video_info.duration_sec))
        )


def read_segment_range(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    config: DataConfig,
    segment_audio: "SegmentAudio",
    indices: range,
    num_threads: int = 0,
    damaged_sec: set[int] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The arrays that `read_segments` yields, of consecutive segments alone; several ranges can be read side by side.
    They are the same whatever the range where it starts at a multiple of NUM_SEGMENTS_PER_MFCC_CALL."""
    starts_sec = np.array(indices)[:, np.newaxis] * config.segment_length
    times_sec = (starts_sec + np.arange(config.num_frames) / config.video_sample_rate).ravel()
    times_sec = times_sec[times_sec < video_info.duration_sec - TIME_TOLERANCE_SEC]
    sampled_frames = media.read_frames(
        video_path, video_info, times_sec, config.video_width, config.video_height, num_threads, damaged_sec
    )

    def read_segment_frames() -> np.ndarray:
        frames = np.zeros(config.data_shape["video"], np.uint8)
        for frame, sampled_frame in zip(frames, sampled_frames, strict=False):
            frame[:] = sampled_frame
        return frames

    num_ahead = max(1, MAX_BYTES_AHEAD // math.prod(config.data_shape["video"]))
    decoder = ThreadPoolExecutor(1)  # decodes while MFCCs are computed and segments are written
    try:
        ahead = deque(decoder.submit(read_segment_frames) for _ in indices[:num_ahead])
        for first in indices[::NUM_SEGMENTS_PER_MFCC_CALL]:
            last = min(first + NUM_SEGMENTS_PER_MFCC_CALL, indices.stop)
            for index, audio in zip(range(first, last), segment_audio.read(range(first, last)), strict=True):
                frames = ahead.popleft().result()
                if index + num_ahead < indices.stop:
                    ahead.append(decoder.submit(read_segment_frames))
                yield frames, audio
    finally:
        decoder.shutdown(cancel_futures=True)


class SegmentAudio:
    """A video's sound in segments. The peak is known only at the sound's end, so that the samples wait in a temporary
    file, not in memory; the sound is read before the picture is opened, as each open file's index takes memory too (20
    MB an hour). A context manager; `read` may be called from several threads."""

    def __init__(self, video_path: str | os.PathLike, video_info: media.VideoInfo, config: DataConfig):
        self.config = config
        self.peak = 0.0
        self.spool = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self.spool_lock = threading.Lock()
        num_samples_left = round(video_info.duration_sec * config.audio_sample_rate)
        blocks = media.read_audio(video_path, config.audio_sample_rate) if video_info.audio else ()
        for block in blocks:
            block = block[:num_samples_left]
            num_samples_left -= len(block)
            self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
            self.spool.write(block.tobytes())

    def __enter__(self) -> "SegmentAudio":
        return self

    def __exit__(self, *_) -> None:
        self.spool.close()

    def read(self, indices: range) -> np.ndarray:
        """(num_segments, num_samples) or (num_segments, 40, num_mfcc_frames) float32, as `read_segments` yields them;
        silence where there is no sound."""
        audio = np.zeros((len(indices), self.config.num_samples), np.float32)
        for samples, index in zip(audio, indices, strict=True):
            start = round(index * self.config.segment_length * self.config.audio_sample_rate)
            with self.spool_lock:
                self.spool.seek(start * samples.itemsize)
                heard = np.frombuffer(self.spool.read(samples.nbytes), np.float32)
            samples[: len(heard)] = heard / (self.peak or 1.0)
        return mfcc(audio, self.config.audio_sample_rate) if self.config.apply_mfcc else audio


def mfcc(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Standardised MFCCs of segments: `librosa.feature.mfcc(y=segment, sr=sample_rate_hz, n_mfcc=40)` of each,
    minus its mean, divided by its standard deviation (over the segment's whole picture, so that the balance
    between coefficients, and with it the loudness, stays readable). A silent segment gives mean 0 as well.

    Args:
        audio: (num_segments, num_samples) float32 in [-1, 1].
        sample_rate_hz: of the audio.

    Returns:
        (num_segments, 40, 1 + num_samples // 512) float32.
    """
    import librosa  # takes a second, which a dataset of waveforms need not wait for

    mel_power = librosa.feature.melspectrogram(
        y=audio, sr=sample_rate_hz, n_fft=min(2048, audio.shape[-1]), hop_length=MFCC_HOP_LENGTH
    )
    # librosa clips at 80 dB below the loudest of all it is given, so the decibels are taken segment by segment.
    mel_db = np.stack([librosa.power_to_db(segment) for segment in mel_power])
    coefficients = librosa.feature.mfcc(S=mel_db, n_mfcc=NUM_MFCC)
    coefficients -= coefficients.mean(axis=(1, 2), keepdims=True)
    deviation = coefficients.std(axis=(1, 2), keepdims=True)
    return (coefficients / np.where(deviation > 0, deviation, 1)).astype(np.float32)
