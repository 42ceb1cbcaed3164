"""Sampled frames and audio out of a video file, by presentation time; knows nothing of segments or labels.

Times are seconds from the container's start time, which is where players, ffmpeg and moviepy put 0 as well, so that
picture and sound stay in step whatever each stream's own first timestamp is. No frame rate is ever assumed.
"""

import ctypes
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import av.error
import numpy as np
from av.video.reformatter import VideoReformatter


class MediaError(Exception):
    """A video file that cannot be read; the message names the file and what FFmpeg said."""


TIME_TOLERANCE_SEC = 1e-6  # below a presentation clock's tick (1/90000 s), above float64 rounding
MAX_MISSING_SEC = 1.0  # by less, headers and last frames may well disagree
NUM_SAMPLES_PER_RESAMPLING = 65_536
MAX_AUDIO_GAP_SEC = 0.05  # timestamps of gapless sound jitter by less; a larger jump is silence or an overlap


@dataclass(frozen=True)
class VideoInfo:
    """What one pass over a file's packets tells, without decoding any.

    duration_sec: from time 0 to the end of the last frame. stated_duration_sec: the same as the header states it, 0 or
    less where it does not. frame_rate_fps: average. width_px, height_px: as stored. codec, audio: names for people,
    audio None without a sound track. frame_times_sec: (num_frames,) float64, ascending presentation times. restarts:
    (num_restarts, 2) int64, ascending presentation and decoding timestamps, in the stream's time base, of pictures
    after which nothing refers to what came before them.
    """

    duration_sec: float
    stated_duration_sec: float
    frame_rate_fps: float
    width_px: int
    height_px: int
    codec: str
    audio: str | None
    frame_times_sec: np.ndarray
    restarts: np.ndarray


@contextmanager
def open_media(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
    """An open container. Raises MediaError for all that FFmpeg or the system refuses, on opening and while reading."""
    try:
        with av.open(os.fspath(path)) as container:
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be read as a video ({error.strerror or error})") from error
    finally:
        trim_malloc()  # that of the index, 20 MB for each hour


def trim_malloc() -> None:
    """Give the system what glibc keeps of freed memory, 100 MB after three hours of video; nothing elsewhere."""
    if sys.platform == "linux" and hasattr(glibc := ctypes.CDLL(None), "malloc_trim"):
        glibc.malloc_trim(0)


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
        is_restart = random_access_test(stream)
        pts, durations, restarts = array("q"), array("q"), []
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                pts.append(packet.pts)
                durations.append(packet.duration or 0)
                if packet.is_keyframe and packet.dts is not None and is_restart(packet):
                    restarts.append((packet.pts, packet.dts))
        if not pts:
            raise MediaError(f"{path}: received a video stream without a frame, expected at least one")
        time_base = float(stream.time_base)
        times_sec = np.sort(np.frombuffer(pts, np.int64)) * time_base - start_time_sec(container)
        times_sec = times_sec[times_sec >= -TIME_TOLERANCE_SEC]
        last_duration_sec = durations[int(np.argmax(pts))] * time_base or float(1 / (stream.average_rate or 25))
        duration_sec = float(times_sec[-1] + last_duration_sec)
        audio = container.streams.best("audio")
        return VideoInfo(
            duration_sec=duration_sec,
            stated_duration_sec=((stream.start_time or 0) + (stream.duration or 0)) * time_base
            - start_time_sec(container),
            frame_rate_fps=len(times_sec) / (duration_sec - float(times_sec[0])),
            width_px=stream.width,
            height_px=stream.height,
            codec=stream.codec_context.name,
            audio=audio and f"{audio.codec_context.name} {audio.layout.name} {audio.rate} Hz",
            frame_times_sec=times_sec,
            restarts=np.array(restarts, np.int64).reshape(-1, 2),
        )


def read_frames(
    path: str | os.PathLike,
    video_info: VideoInfo,
    times_sec: np.ndarray,
    width_px: int,
    height_px: int,
    num_threads: int = 0,
    damaged_sec: set[int] | None = None,
) -> Iterator[np.ndarray]:
    """The frames shown at given times, decoded in one pass and scaled by averaging every source pixel (AREA).

    Pictures that no other picture is predicted from, and that are not asked for, are not decoded (`disposable_test`).
    Decoding starts at the last picture before the first time from which it can start afresh.

    Args:
        path: the video.
        video_info: of `probe`.
        times_sec: (n,) float64, ascending.
        width_px, height_px: size of the frames that come out.
        num_threads: of the decoder; 0 for one a core.
        damaged_sec: takes the whole seconds in which packets did not decode.

    Yields:
        n arrays (height_px, width_px, 3) uint8 RGB: for each time the last frame whose presentation time is not
        later; the first frame for times before it. Where that frame is damaged, the last one before it that is not.

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
        stream.codec_context.thread_count = num_threads
        start_sec = start_time_sec(container)
        wanted_pts = shown_pts(video_info, times_sec, start_sec, float(stream.time_base))
        is_disposable = disposable_test(stream)
        packets = demux_from(container, stream, video_info.restarts, min(wanted_pts))
        packets = (p for p in packets if p.pts in wanted_pts or not is_disposable(p))
        scale = Scaler(width_px, height_px)
        shown, picture = None, None  # the last decoded frame, and its scaled picture once asked for
        for frame in decode(packets, damaged_sec, start_sec):
            frame_time_sec = frame.time - start_sec
            while shown is not None and time_sec < frame_time_sec - TIME_TOLERANCE_SEC:
                picture = scale(shown) if picture is None else picture
                yield picture
                time_sec = next(times, None)
                if time_sec is None:
                    return
            shown, picture = frame, None
        if shown is None:
            raise MediaError(f"{path}: received a video stream of which no frame decodes, expected at least one")
        picture = scale(shown)
        while time_sec is not None:
            yield picture
            time_sec = next(times, None)


def shown_pts(video_info: VideoInfo, times_sec: np.ndarray, start_sec: float, time_base_sec: float) -> set[int]:
    """The presentation timestamps of the frames shown at given times."""
    indices = np.searchsorted(video_info.frame_times_sec, times_sec + TIME_TOLERANCE_SEC, side="right") - 1
    shown_times_sec = video_info.frame_times_sec[np.maximum(np.unique(indices), 0)]
    return set(np.rint((shown_times_sec + start_sec) / time_base_sec).astype(np.int64).tolist())


def demux_from(
    container: av.container.InputContainer, stream: av.VideoStream, restarts: np.ndarray, first_pts: int
) -> Iterator[av.Packet]:
    """A stream's packets from the last restart on that is not after first_pts; all of them where there is none."""
    place = int(np.searchsorted(restarts[:, 0], first_pts, side="right")) - 1
    if place <= 0:  # the first restart is the beginning
        yield from container.demux(stream)
        return
    restart_pts, restart_dts = restarts[place].tolist()
    container.seek(restart_dts, stream=stream, backward=True)
    packets = container.demux(stream)
    for packet in packets:
        if packet.pts == restart_pts:
            yield packet
            break
    yield from packets


def decode(
    packets: Iterator[av.Packet], damaged_sec: set[int] | None = None, start_sec: float = 0
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Decoded frames of packets that carry a presentation time; what is damaged is passed over and its second noted,
    counted from start_sec."""
    for packet in packets:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            frames = []
            if damaged_sec is not None and packet.pts is not None:
                damaged_sec.add(max(0, int(float(packet.pts * packet.time_base) - start_sec)))
        yield from (frame for frame in frames if frame.pts is not None)


def find_damage(path: str | os.PathLike) -> set[int]:
    """The whole seconds in which pictures of a file do not decode; decodes them all. Raises MediaError."""
    damaged_sec: set[int] = set()
    with open_media(path) as container:
        stream = best_stream(container, "video", path)
        stream.thread_type = "AUTO"
        for _ in decode(container.demux(stream), damaged_sec, start_time_sec(container)):
            pass
    return damaged_sec


def describe_problems(path: str | os.PathLike, info: VideoInfo, damaged_sec: set[int]) -> list[str]:
    """Messages on what a user should know of a video that can be read all the same."""
    faults = []
    if not info.audio:
        faults.append(f"{path}: the video has no sound track: converted with silence")
    if info.stated_duration_sec - info.duration_sec > MAX_MISSING_SEC:
        faults.append(
            f"{path}: the picture ends at {info.duration_sec:.1f} s of the {info.stated_duration_sec:.1f} s that the "
            "header states: converted up to there"
        )
    if damaged_sec:
        seconds = ", ".join(map(str, sorted(damaged_sec)[:20])) + (" and more" if len(damaged_sec) > 20 else "")
        faults.append(f"{path}: damaged at {seconds} s: decoded around, the frame before is taken there")
    return faults


def read_nal_length_size(stream: av.VideoStream) -> int | None:
    """Bytes in the length prefix of a stream's NAL units, None where there is none or the codec is another."""
    config = stream.codec_context.extradata or b""
    place = {"h264": 4, "hevc": 21}.get(stream.codec_context.name)
    return (config[place] & 3) + 1 if place and len(config) > place and config[0] == 1 else None


def disposable_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """A function that tells whether a packet's picture is one that no other picture is predicted from, so that leaving
    it out changes no other picture."""
    prefix_size = read_nal_length_size(stream)
    if prefix_size and stream.codec_context.name == "h264":
        return partial(all_slices, prefix_size=prefix_size, holds=lambda first, second: first & 0x60 == 0, codec="h264")
    if prefix_size and (stream.codec_context.extradata[21] >> 3) & 7 == 1:  # one temporal sub-layer
        return partial(
            all_slices,
            prefix_size=prefix_size,
            holds=lambda first, second: (first >> 1) < 15 and (first >> 1) % 2 == 0 and second & 7 == 1,
            codec="hevc",
        )
    return lambda packet: False


def random_access_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """A function that tells whether a packet's picture is an IDR picture: nothing after it refers to before it."""
    prefix_size, codec = read_nal_length_size(stream), stream.codec_context.name
    if prefix_size is None:
        return lambda packet: False
    is_idr = {"h264": lambda first, _: first & 0x1F == 5, "hevc": lambda first, _: first >> 1 in (19, 20)}[codec]
    return partial(all_slices, prefix_size=prefix_size, holds=is_idr, codec=codec)


def all_slices(packet: av.Packet, prefix_size: int, holds: Callable[[int, int], bool], codec: str) -> bool:
    """Whether a packet has slices and something holds for the first two bytes of each. False where the prefixes do not
    add up to the packet's size."""
    data, offset, has_slice = memoryview(packet), 0, False
    while offset < len(data):
        start = offset + prefix_size
        offset = start + int.from_bytes(data[offset:start], "big")
        if offset > len(data) or offset < start + 2:
            return False
        first = data[start]
        if 1 <= first & 0x1F <= 5 if codec == "h264" else first >> 1 < 32:
            if not holds(first, data[start + 1]):
                return False
            has_slice = True
    return has_slice


class Scaler:
    """Makes (height_px, width_px, 3) uint8 RGB of decoded frames, upright where the file says it was filmed turned."""

    def __init__(self, width_px: int, height_px: int):
        self.size_px = (width_px, height_px)
        self.reformatter = VideoReformatter()  # one for all frames: setting it up takes as long as scaling

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        num_quarter_turns = round(frame.rotation / 90) % 4
        size_px = self.size_px[::-1] if num_quarter_turns % 2 else self.size_px
        scaled = self.reformatter.reformat(frame, *size_px, "rgb24", interpolation="AREA").to_ndarray()
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
        for run_start_sec, run in audio_runs(decode(container.demux(stream)), start_sec):
            position = round(run_start_sec * sample_rate_hz)
            if position > num_yielded:
                yield np.zeros(position - num_yielded, np.float32)
                num_yielded = position
            for block in resample_audio(run, sample_rate_hz):
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


def resample_audio(frames: Iterator[av.AudioFrame], sample_rate_hz: int) -> Iterator[np.ndarray]:
    """(n,) float32 mono blocks of frames that share one format, the resampler's last samples included."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=sample_rate_hz)
    fifo = av.AudioFifo()  # the resampler takes a codec's thousand samples in hardly less time than these
    for frame in frames:
        frame.pts = None  # the run's place is known; neither is to fill nor drop
        fifo.write(frame)
        if fifo.samples >= NUM_SAMPLES_PER_RESAMPLING:
            yield from (block.to_ndarray()[0] for block in resampler.resample(fifo.read()))
    rest = fifo.read(partial=True)
    for blocks in (resampler.resample(rest) if rest else (), resampler.resample(None)):
        yield from (block.to_ndarray()[0] for block in blocks)
