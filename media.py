"""Sampled frames and audio out of a video file, by presentation time; knows nothing of segments or labels.

Times are seconds from the container's start time, which is where players, ffmpeg and moviepy put 0 as well, so that
picture and sound stay in step whatever each stream's own first timestamp is. No frame rate is ever assumed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import av.error
import numpy as np

TIME_TOLERANCE_SEC = 1e-6  # below a presentation clock's tick (1/90000 s), above float64 rounding
MAX_AUDIO_GAP_SEC = 0.05  # timestamps of gapless sound jitter by less; a larger jump is silence or an overlap


class MediaError(Exception):
    """A video file that cannot be read; the message names the file and what FFmpeg said."""


@dataclass(frozen=True)
class VideoInfo:
    """What one pass over a file's packets tells, without decoding any.

    duration_sec: from time 0 to the end of the last frame. frame_rate_fps: average. width_px, height_px: as stored.
    frame_times_sec: (num_frames,) float64, ascending presentation times. has_audio: whether there is a sound track.
    """

    duration_sec: float
    frame_rate_fps: float
    width_px: int
    height_px: int
    frame_times_sec: np.ndarray
    has_audio: bool


@contextmanager
def open_media(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
    """An open container. Raises MediaError for all that FFmpeg or the system refuses, on opening and while reading."""
    try:
        with av.open(os.fspath(path)) as container:
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be read as a video ({error.strerror or error})") from error


def best_stream(container: av.container.InputContainer, kind: str, path: str | os.PathLike):
    """The stream of a kind ("video" or "audio") that players take by default. Raises MediaError if there is none."""
    stream = container.streams.best(kind)
    if stream is None:
        raise MediaError(f"{path}: received a file without a {kind} stream, expected one")
    return stream


def start_time_sec(container: av.container.InputContainer) -> float:
    """The container's start time in seconds, time 0 of everything here."""
    return (container.start_time or 0) / av.time_base


def probe_duration_sec(path: str | os.PathLike) -> float:
    """Length in seconds as the file's header states it, 0 where it does not. Raises MediaError."""
    with open_media(path) as container:
        return (container.duration or 0) / av.time_base


def probe(path: str | os.PathLike) -> VideoInfo:
    """Read all of a file's video packets, decoding none.

    Raises:
        MediaError: the file cannot be read, or holds no video frame.
    """
    with open_media(path) as container:
        stream = best_stream(container, "video", path)
        packets = [
            (packet.pts, packet.duration or 0)
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        ]
        if not packets:
            raise MediaError(f"{path}: received a video stream without a frame, expected at least one")
        pts, durations = np.array(sorted(packets), dtype=np.int64).T
        time_base = float(stream.time_base)
        times_sec = pts * time_base - start_time_sec(container)
        shown = times_sec >= -TIME_TOLERANCE_SEC
        times_sec, durations = times_sec[shown], durations[shown]
        last_duration_sec = durations[-1] * time_base or float(1 / (stream.average_rate or 25))
        duration_sec = float(times_sec[-1] + last_duration_sec)
        return VideoInfo(
            duration_sec=duration_sec,
            frame_rate_fps=len(times_sec) / (duration_sec - float(times_sec[0])),
            width_px=stream.width,
            height_px=stream.height,
            frame_times_sec=times_sec,
            has_audio=container.streams.best("audio") is not None,
        )


def read_frames(path: str | os.PathLike, times_sec: np.ndarray, width_px: int, height_px: int) -> Iterator[np.ndarray]:
    """The frames shown at given times, decoded in one pass and scaled by averaging every source pixel (AREA).

    Args:
        path: the video.
        times_sec: (n,) float64, ascending.
        width_px, height_px: size of the frames that come out.

    Yields:
        n arrays (height_px, width_px, 3) uint8 RGB: for each time the last frame whose presentation time is not
        later; the first frame for times before it.

    Raises:
        MediaError: the file cannot be read, or no frame of it decodes.
    """
    times = iter(times_sec)
    time_sec = next(times, None)
    if time_sec is None:
        return
    with open_media(path) as container:
        stream = best_stream(container, "video", path)
        stream.thread_type = "AUTO"
        start_sec = start_time_sec(container)
        shown, picture = None, None  # the last decoded frame, and its scaled picture once asked for
        for frame in decode(container, stream):
            frame_time_sec = frame.time - start_sec
            while shown is not None and time_sec < frame_time_sec - TIME_TOLERANCE_SEC:
                picture = scale(shown, width_px, height_px) if picture is None else picture
                yield picture
                time_sec = next(times, None)
                if time_sec is None:
                    return
            shown, picture = frame, None
        if shown is None:
            raise MediaError(f"{path}: received a video stream of which no frame decodes, expected at least one")
        picture = scale(shown, width_px, height_px)
        while time_sec is not None:
            yield picture
            time_sec = next(times, None)


def decode(container: av.container.InputContainer, stream) -> Iterator:
    """Decoded frames of a stream that carry a presentation time; damaged packets are passed over."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        yield from (frame for frame in frames if frame.pts is not None)


def scale(frame: av.VideoFrame, width_px: int, height_px: int) -> np.ndarray:
    """(height_px, width_px, 3) uint8 RGB of a decoded frame, upright where the file says it was filmed turned."""
    num_quarter_turns = round(frame.rotation / 90) % 4
    if num_quarter_turns % 2:
        width_px, height_px = height_px, width_px
    scaled = frame.reformat(width_px, height_px, "rgb24", interpolation="AREA").to_ndarray()
    return np.rot90(scaled, num_quarter_turns)


def read_audio(path: str | os.PathLike, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """A file's sound from time 0 on: mono, low-pass filtered and resampled by FFmpeg's resampler, placed by timestamps.

    Where timestamps leave a gap there is silence, where they overlap the earlier sound stays.

    Args:
        path: the video.
        sample_rate_hz: of the samples that come out.

    Yields:
        (n,) float32 blocks, nominally in [-1, 1], that follow each other without a gap; sample i is heard at
        i / sample_rate_hz seconds.

    Raises:
        MediaError: the file cannot be read, or has no sound track.
    """
    with open_media(path) as container:
        stream = best_stream(container, "audio", path)
        start_sec = start_time_sec(container)
        num_yielded = 0
        for run_start_sec, run in audio_runs(decode(container, stream), start_sec):
            position = round(run_start_sec * sample_rate_hz)
            if position > num_yielded:
                yield np.zeros(position - num_yielded, np.float32)
                num_yielded = position
            for block in resample(run, sample_rate_hz):
                num_late = max(0, min(num_yielded - position, len(block)))
                position += len(block)
                num_yielded = max(num_yielded, position)
                yield block[num_late:]


def audio_runs(frames: Iterator[av.AudioFrame], start_sec: float) -> Iterator[tuple[float, Iterator[av.AudioFrame]]]:
    """Group frames into runs of one format whose timestamps follow each other within MAX_AUDIO_GAP_SEC.

    Each run is (its first time in seconds, an iterator that has to be used up before the next run is asked for).
    """
    pending = next(frames, None)

    def run(run_start_sec: float) -> Iterator[av.AudioFrame]:
        nonlocal pending
        first, num_samples = pending, 0
        while pending is not None and (pending.format.name, pending.layout.name, pending.sample_rate) == (
            first.format.name,
            first.layout.name,
            first.sample_rate,
        ):
            expected_sec = run_start_sec + num_samples / first.sample_rate
            if abs(pending.time - start_sec - expected_sec) > MAX_AUDIO_GAP_SEC:
                return
            num_samples += pending.samples
            yield pending
            pending = next(frames, None)

    while pending is not None:
        run_start_sec = pending.time - start_sec
        yield run_start_sec, run(run_start_sec)


def resample(frames: Iterator[av.AudioFrame], sample_rate_hz: int) -> Iterator[np.ndarray]:
    """(n,) float32 mono blocks of frames that share one format, the resampler's last samples included."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=sample_rate_hz)
    for frame in frames:
        frame.pts = None  # the run's place is known; the resampler is to neither fill nor drop
        for block in resampler.resample(frame):
            yield block.to_ndarray()[0]
    for block in resampler.resample(None):
        yield block.to_ndarray()[0]
