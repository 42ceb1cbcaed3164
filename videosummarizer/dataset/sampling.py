"""Read the frames and the audio of a match, segment by segment.

Stage 1 writes these arrays to disk. Stage 4 scores them directly, so that a match is sampled in the same way in both.
"""

import math
import os
import threading
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from videosummarizer import audio_track, media, video_track
from videosummarizer.dataset.metadata import MFCC_HOP_LENGTH, NUM_MFCC, DataConfig
from videosummarizer.dataset.spool_file import SpoolFile
from videosummarizer.librosa_import import import_librosa
from videosummarizer.media import TIME_TOLERANCE_SEC

# MFCCs of 8 segments are computed in one call, which is cheaper than 8 calls.
NUM_SEGMENTS_PER_MFCC_CALL = 8
# About 12 MB of frames are decoded ahead, at least one segment.
MAX_BYTES_AHEAD = 12_000_000


def read_segments(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    config: DataConfig,
    damaged_sec: set[int] | None = None,
    scratch_dir: Path | None = None,
    damaged_audio_sec: set[int] | None = None,
    cancelled_audio_sec: set[int] | None = None,
    part_sec: tuple[float, float] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the arrays of each segment of a video in order.

    The file is read twice, once for the audio and once for the frames.

    Args:
        video_path: the video.
        video_info: the result of `media.probe`.
        config: how to sample the video.
        damaged_sec: collects the seconds of the video, rounded down, in which frames could not be decoded.
        scratch_dir: as for `SegmentAudio`.
        damaged_audio_sec: collects the seconds in which the audio is damaged.
        cancelled_audio_sec: collects the seconds in which the channels of the audio cancel in mono.
        part_sec: where to begin and end, by default the whole video. Nothing else is decoded, and the arrays are those
            of a video that consists of this part.

    Yields:
        (frames, audio) of a segment:

        frames: (T, H, W, 3) uint8 RGB in [0, 255], the frames shown at `k * L + i / rate` seconds, where k is the
            segment's index, L its length and i the frame's index. Frames after the end of the video are 0.
        audio: (num_samples,) float32 in [-1, 1], scaled so that the peak of the whole video is 1. Samples after the end
            of the video are 0. With `apply_mfcc`, (40, num_mfcc_frames) float32, the segment's MFCCs with mean 0 and
            standard deviation 1.

    Raises:
        media.MediaError: the file cannot be read.
    """
    with SegmentAudio(video_path, video_info, config, scratch_dir, part_sec) as segment_audio:
        if damaged_audio_sec is not None:
            damaged_audio_sec |= segment_audio.damaged_sec
        if cancelled_audio_sec is not None:
            cancelled_audio_sec |= segment_audio.cancelled_sec
        start_sec, end_sec = segment_audio.part_sec
        indices = range(config.num_segments(end_sec - start_sec))
        yield from read_segment_range(video_path, video_info, config, segment_audio, indices, damaged_sec=damaged_sec)
    if damaged_sec is not None:  # decoding begins at a keyframe before the part
        damaged_sec.difference_update(range(int(start_sec)))


def read_segment_range(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    config: DataConfig,
    segment_audio: "SegmentAudio",
    indices: range,
    num_threads: int = 0,
    damaged_sec: set[int] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what `read_segments` does, for consecutive segments only. Several ranges can be read in parallel.

    The arrays do not depend on the range if it starts at a multiple of NUM_SEGMENTS_PER_MFCC_CALL.

    Args:
        video_path: the video.
        video_info: the result of `media.probe`.
        config: how to sample the video.
        segment_audio: the video's audio.
        indices: the segments to read.
        num_threads: threads of the decoder. 0 leaves the number to FFmpeg.
        damaged_sec: as for `read_segments`.
    """
    part_start_sec, part_end_sec = segment_audio.part_sec
    starts_sec = part_start_sec + np.array(indices)[:, np.newaxis] * config.segment_length
    times_sec = (starts_sec + np.arange(config.num_frames) / config.video_sample_rate).ravel()
    times_sec = times_sec[times_sec < part_end_sec - TIME_TOLERANCE_SEC]
    sampled_frames = video_track.read_frames(
        video_path, video_info, times_sec, config.video_width, config.video_height, num_threads, damaged_sec
    )

    def read_segment_frames() -> np.ndarray:
        frames = np.zeros(config.data_shape["video"], np.uint8)
        for frame, sampled_frame in zip(frames, sampled_frames, strict=False):
            frame[:] = sampled_frame
        return frames

    num_ahead = max(1, MAX_BYTES_AHEAD // math.prod(config.data_shape["video"]))
    decoder = ThreadPoolExecutor(1)  # decodes while the caller computes MFCCs and writes segments
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
    """The audio of a video, by segment. Use it as a context manager; several threads may call `read`.

    Args:
        video_path: the video.
        video_info: the result of `media.probe`.
        config: how to sample the video.
        scratch_dir: the folder for the temporary file if the system's temporary folder is too small, None for no other.
        part_sec: where to begin and end, by default the whole video.

    The audio is scaled by its peak, which is known only once all of it has been decoded. Until then its samples are
    kept in a temporary file (SpoolFile), not in memory. Decode the audio before opening the video for its frames: the
    index of each open file takes 20 MB per hour.

    Attributes:
        part_sec: where it begins and ends.
        peak: the largest absolute value of the samples until the end of the part, not counting damage.
        damaged_sec: the seconds, rounded down, in which the audio is damaged.
        cancelled_sec: the seconds, rounded down, in which the channels cancel in mono.
    """

    def __init__(
        self,
        video_path: str | os.PathLike,
        video_info: media.VideoInfo,
        config: DataConfig,
        scratch_dir: Path | None = None,
        part_sec: tuple[float, float] | None = None,
    ):
        self.config = config
        self.part_sec = start_sec, end_sec = part_sec or (0.0, video_info.duration_sec)
        self.spool = SpoolFile(scratch_dir)
        self.spool_lock = threading.Lock()
        damage = audio_track.AudioDamage()
        peaks = PeaksByTenth(config.audio_sample_rate)
        num_samples_left = round((end_sec - start_sec) * config.audio_sample_rate)
        blocks = ()
        if video_info.audio:
            blocks = audio_track.read_audio(video_path, video_info, config.audio_sample_rate, damage, start_sec)
        try:
            for block in blocks:
                block = block[:num_samples_left]
                num_samples_left -= len(block)
                peaks.add(block)
                self.spool.write(block.tobytes())
                if not num_samples_left:
                    break
        except BaseException:
            self.spool.close()
            raise
        self.peak = peaks.peak(damage, start_sec)
        before_sec = range(int(start_sec))
        self.damaged_sec = damage.seconds(end_sec).difference(before_sec)
        self.cancelled_sec = damage.antiphase.cancelled_sec(end_sec).difference(before_sec)

    def __enter__(self) -> "SegmentAudio":
        return self

    def __exit__(self, *_) -> None:
        self.spool.close()

    def read(self, indices: range) -> np.ndarray:
        """Return the audio of consecutive segments, as `read_segments` yields it.

        Args:
            indices: the segments to read.

        Returns:
            (num_segments, num_samples) or, for MFCCs, (num_segments, 40, num_mfcc_frames) float32. Segments without
            audio are silent.
        """
        audio = np.zeros((len(indices), self.config.num_samples), np.float32)
        for samples, index in zip(audio, indices, strict=True):
            start = round(index * self.config.segment_length * self.config.audio_sample_rate)
            with self.spool_lock:
                self.spool.seek(start * samples.itemsize)
                available = np.frombuffer(self.spool.read(samples.nbytes), np.float32)
            samples[: len(available)] = available / (self.peak or 1.0)
            if self.damaged_sec:
                np.clip(samples, -1, 1, out=samples)
        return mfcc(audio, self.config.audio_sample_rate) if self.config.apply_mfcc else audio


class PeaksByTenth:
    """The largest absolute value of audio in each tenth of a second, without all samples in memory.

    Attributes:
        sample_rate_hz: of the audio.
        peaks: of each tenth.
    """

    def __init__(self, sample_rate_hz: int):
        self.sample_rate_hz = sample_rate_hz
        self.peaks = array("f")
        self.num_samples = 0

    def add(self, samples: np.ndarray) -> None:
        """Add the next samples, (n,) float32."""
        if not len(samples):
            return
        tenths = (self.num_samples + np.arange(len(samples))) * 10 // self.sample_rate_hz
        starts = np.flatnonzero(np.diff(tenths, prepend=-1))
        peaks = np.maximum.reduceat(np.abs(samples), starts)
        self.peaks.extend([0.0] * (int(tenths[-1]) + 1 - len(self.peaks)))
        for tenth, peak in zip(tenths[starts].tolist(), peaks.tolist(), strict=True):
            self.peaks[tenth] = max(self.peaks[tenth], peak)
        self.num_samples += len(samples)

    def peak(self, damage: audio_track.AudioDamage, start_sec: float) -> float:
        """Return the largest value, leaving out damaged tenths and the ones next to them, which decode to noise.

        Args:
            damage: its times are those of the whole video.
            start_sec: where the audio begins in the video.
        """
        first = start_sec * 10
        # Where the audio begins within a tenth of the video, one of these overlaps two of its own.
        noisy = {
            int(edge) + offset
            for tenth in damage.tenths
            for edge in (np.floor(tenth - first), np.ceil(tenth - first))
            for offset in (-1, 0, 1)
        }
        peaks = [peak for tenth, peak in enumerate(self.peaks) if tenth not in noisy]
        return max(peaks, default=0.0) or max(self.peaks, default=0.0)


def mfcc(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Compute the standardised MFCCs of segments.

    Each segment's MFCCs are those of `librosa.feature.mfcc(y=segment, sr=sample_rate_hz, n_mfcc=40)`, minus their mean,
    divided by their standard deviation. Both are taken over all coefficients of the segment, so that the ratios between
    coefficients are kept. Where the standard deviation is 0, only the mean is subtracted.

    Args:
        audio: (num_segments, num_samples) float32 in [-1, 1].
        sample_rate_hz: sample rate of the audio.

    Returns:
        (num_segments, 40, 1 + num_samples // 512) float32.
    """
    librosa = import_librosa()  # takes a second, which datasets of waveforms do not need
    mel_power = librosa.feature.melspectrogram(
        y=audio, sr=sample_rate_hz, n_fft=min(2048, audio.shape[-1]), hop_length=MFCC_HOP_LENGTH
    )
    # librosa clips at 80 dB below the maximum of its input, so each segment is converted to decibels by itself.
    mel_db = np.stack([librosa.power_to_db(segment) for segment in mel_power])
    coefficients = librosa.feature.mfcc(S=mel_db, n_mfcc=NUM_MFCC)
    coefficients -= coefficients.mean(axis=(1, 2), keepdims=True)
    deviation = coefficients.std(axis=(1, 2), keepdims=True)
    return (coefficients / np.where(deviation > 0, deviation, 1)).astype(np.float32)
