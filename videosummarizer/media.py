"""Open a video file, and find its properties from its packets. This module knows nothing about segments or labels.

Times are seconds from the container's start time. Players, FFmpeg and moviepy have their time 0 there as well, so video
and audio stay in sync whatever each stream's first timestamp is. No frame rate is ever assumed.
"""

import contextlib
import ctypes
import os
import stat
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av.error
import numpy as np
from av.codec.hwaccel import HWAccel

from videosummarizer import timestamps, tracks, untrusted_file
from videosummarizer.frame_scaling import displayed_size_px
from videosummarizer.nal_units import random_access_test, second_field_test
from videosummarizer.packet_decoding import decode, lacks_display_times


class MediaError(Exception):
    """A video file cannot be read; the message names the file and FFmpeg's error."""


class TrackError(MediaError):
    """A video file lacks the audio track that is wanted; the message says which it has."""


class EncryptionError(MediaError):
    """A video file is encrypted; the message says what to do."""


class ProcessError(MediaError):
    """The process that decodes a video file has ended; the message says what to do."""


class MismatchError(MediaError):
    """A device decodes a video to other pictures than software; the message says what to do."""


class TimestampError(MediaError):
    """The timestamps of a video file cannot be used; the message says what to do."""


# What to do about a video that cannot be read, where its error does not say it.
ADVICE = "record or download it again, or move it elsewhere"
# Times that differ by less are equal: below a tick of a presentation clock (1/90000 s), above float64 rounding errors.
TIME_TOLERANCE_SEC = 1e-6
# The longest length that a header can state plausibly, and the fewest bytes per second.
MAX_STATED_SEC, MIN_BYTES_PER_SEC = 86_400, 100

# The largest error of timestamps in the formats that round them to milliseconds.
ROUNDING_ERROR_SEC = {"matroska,webm": 0.0005, "flv": 0.0005}
# The index of an avi file begins so soon behind the last packet. There may be empty packets between.
MAX_AVI_INDEX_DISTANCE = 65_536
# FFmpeg's names of formats that do not store how long a frame is shown. FFmpeg's guess may be a tick of the encoder.
FORMATS_WITHOUT_DURATIONS = ("mpegts", "flv", "avi")


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video file, found in one pass over its packets; hardly any of them is decoded.

    Attributes:
        duration_sec: The end of the last frame.
        stated_duration_sec: The same according to the header, 0 or less where the header does not state it.
        frame_rate_fps: The average frame rate.
        width_px: The width as shown, after any rotation.
        height_px: The height as shown, after any rotation.
        codec: The name of the video codec.
        audio: Codec, layout and sample rate of the audio in words, None without an audio track.
        audio_indices: The indices of the audio tracks that are read, among the file's streams. Several are mixed.
        audio_tracks: A description of each audio track in the order of the file.
        track_problems: Why preferred audio tracks are not read.
        frame_times_sec: (num_frames,) float64, ascending presentation times.
        random_access_points: (num_points, 2) int64, ascending presentation and decoding timestamps in the stream's time
            base, of pictures after which no picture refers to an earlier one.
        keyframe_times_sec: (num_keyframes,) float64, ascending presentation times.
        video_gaps_sec: (start, end) of the gaps between frames, see `timestamps.find_gaps`.
        audio_gaps_sec: (start, end) of the gaps in the audio, from time 0 to the end of the video.
        missing_audio_sec: The whole seconds of shorter gaps in the audio, see `timestamps.find_missing_audio`.
        unread_bytes: The length of the file behind the last packet, and behind the index of an avi file.
        num_bytes: The length of the file.
        has_guessed_times: Whether the file does not store when its frames are displayed, and they are reordered.
    """

    duration_sec: float
    stated_duration_sec: float
    frame_rate_fps: float
    width_px: int
    height_px: int
    codec: str
    audio: str | None
    frame_times_sec: np.ndarray
    random_access_points: np.ndarray
    keyframe_times_sec: np.ndarray = field(default_factory=lambda: np.zeros(0))
    video_gaps_sec: tuple[tuple[float, float], ...] = ()
    audio_gaps_sec: tuple[tuple[float, float], ...] = ()
    missing_audio_sec: tuple[int, ...] = ()
    unread_bytes: int = 0
    num_bytes: int = 0
    audio_indices: tuple[int, ...] = ()
    audio_tracks: tuple[str, ...] = ()
    track_problems: tuple[str, ...] = ()
    has_guessed_times: bool = False

    @property
    def audio_index(self) -> int | None:
        """Return the index of the first audio track that is read, None without one."""
        return self.audio_indices[0] if self.audio_indices else None

    @property
    def frame_edges_sec(self) -> np.ndarray:
        """Return (num_frames + 1,) float64: where each frame begins, and where the last one ends."""
        return np.append(self.frame_times_sec, self.duration_sec)


@contextlib.contextmanager
def open_media(path: str | os.PathLike, hwaccel: HWAccel | None = None) -> Iterator[av.container.InputContainer]:
    """Open a container. Its tags may be in any encoding.

    Args:
        path: The file.
        hwaccel: The device that decodes its video, None for software. See hardware_decoding.py.

    Raises:
        MediaError: FFmpeg or the system refuses to open or to read the file.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # FFmpeg would wait for a pipe
            raise MediaError(f"{path}: cannot be read as a video (not a regular file)")
        if stat.S_ISREG(mode) and untrusted_file.is_playlist(path):
            raise MediaError(f"{path}: cannot be read as a video (it is a list of other files)")
        # FFmpeg would take the start of a relative path such as "a:b.mp4" for a protocol.
        with av.open(str(Path(path).absolute()), metadata_errors="replace", hwaccel=hwaccel) as container:
            if container.format.name in untrusted_file.PLAYLIST_FORMATS:
                raise MediaError(f"{path}: cannot be read as a video (it is a list of other files)")
            try:
                yield container
            except av.error.PatchWelcomeError as error:
                if container.format.name != "ogg":
                    raise
                raise TimestampError(timestamps.describe_chain(path)) from error
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be read as a video ({error.strerror or error})") from error
    finally:
        trim_malloc()  # the file's index takes 20 MB per hour


def trim_malloc() -> None:
    """Return freed memory to the system that glibc would keep, 100 MB after three hours of video; no-op elsewhere."""
    if sys.platform == "linux" and hasattr(glibc := ctypes.CDLL(None), "malloc_trim"):
        glibc.malloc_trim(0)


def video_stream(container: av.container.InputContainer, path: str | os.PathLike) -> av.VideoStream:
    """Return the video track to read, see tracks.py.

    Raises:
        MediaError: There is none, or FFmpeg has no decoder for it.
    """
    streams = tracks.by_preference(container, "video")
    for stream in streams:
        if stream.codec_context is not None:
            return stream
    if streams:
        names = ", ".join(map(tracks.codec_name, streams))
        raise MediaError(
            f"{path}: received a video whose codec ({names}) FFmpeg cannot decode, expected one that it can"
        )
    raise MediaError(f"{path}: received a file without a video stream, expected one")


def audio_streams(container: av.container.InputContainer, video_info: VideoInfo) -> list[av.AudioStream]:
    """Return the audio tracks that `probe` chose."""
    return [container.streams[index] for index in video_info.audio_indices]


def demux(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """Yield the packets of some streams. Those without a time of display get one, see `lacks_display_times`.

    PyAV 18.1 raises IndexError at the end of a file in which further streams appear on the way.
    """
    with contextlib.suppress(IndexError):
        reordered = {stream.index for stream in streams if lacks_display_times(stream)}
        for packet in container.demux(*streams):
            if reordered and packet.stream.index in reordered:
                packet.pts = packet.dts  # the frames are displayed at these times, in an order that decoding finds
            yield packet


def seek(container: av.container.InputContainer, stream: av.stream.Stream, pts: int) -> None:
    """Let the next packets be those from the last keyframe on that is not later than a timestamp of a stream."""
    try:
        container.seek(pts, stream=stream, backward=True)
    except PermissionError:  # what avi files say of times before the first packet
        container.seek(stream.start_time or 0, stream=stream, backward=True)


def start_time_sec(container: av.container.InputContainer) -> float:
    """Return the container's start time in seconds, which is time 0 of this module."""
    return (container.start_time or 0) / av.time_base


def describe_error(error: Exception) -> str:
    """Return the message of an error, with what to do about a video that cannot be read."""
    has_advice = not isinstance(error, MediaError) or isinstance(
        error, EncryptionError | MismatchError | ProcessError | TimestampError | TrackError
    )
    return str(error) if has_advice or ADVICE in str(error) else f"{error}: {ADVICE}"


def no_frame_error(path: str | os.PathLike) -> MediaError:
    """Return the error for a video of which nothing decodes."""
    return MediaError(f"{path}: received a video stream of which no frame decodes, expected at least one")


def probe_duration_sec(path: str | os.PathLike) -> float:
    """Read the length in seconds from the file's header, 0 where the header states none, or one that is implausible.

    Raises:
        MediaError: The file cannot be read.
    """
    with open_media(path) as container:
        duration_sec = (container.duration or 0) / av.time_base
        return duration_sec if 0 < duration_sec < min(MAX_STATED_SEC, container.size / MIN_BYTES_PER_SEC) else 0.0


def probe(path: str | os.PathLike, audio_track: int | str | None = None) -> VideoInfo:
    """Read all video and audio packets of a file. Only the first frame of each track is decoded.

    Args:
        path: The video.
        audio_track: Which audio is read: see `tracks.AudioChoice`.

    Raises:
        MediaError: The file cannot be read, or no video frame of it decodes.
        TrackError: It lacks the audio track.
        EncryptionError: Its video is encrypted.
        TimestampError: Its clock restarts, or it has too few packets for its length.
    """
    with open_media(path) as container:
        stream, start_sec = video_stream(container, path), start_time_sec(container)
        time_base = float(stream.time_base)
        video_times = timestamps.PacketTimes(time_base, start_sec)
        audio_choice = tracks.AudioChoice(container, start_sec, audio_track)
        first_frame, keyframe_pts, random_access_points = read_packets(container, stream, audio_choice, video_times)
        audio = audio_choice.chosen
        audio_times = [audio_choice.times[track.index] for track in audio]
        longest_audio = max(audio_times, key=lambda times: times.shown_sec().max(initial=0), default=None)
        require_readable(path, stream, video_times, first_frame, audio_choice)
        duration_sec = find_end_sec(container, stream, video_times)
        if problem := timestamps.describe_restart(
            path, container, video_times, *audio_times
        ) or timestamps.describe_implausible_end(path, video_times, duration_sec, longest_audio):
            raise TimestampError(problem)
        times_sec = np.sort(video_times.shown_sec())
        times_sec = times_sec[times_sec >= -TIME_TOLERANCE_SEC]
        width_px, height_px = displayed_size_px(first_frame)
        return VideoInfo(
            duration_sec=duration_sec,
            stated_duration_sec=((stream.start_time or 0) + (stream.duration or 0)) * time_base - start_sec,
            frame_rate_fps=len(times_sec) / (duration_sec - float(times_sec[0])),
            width_px=width_px,
            height_px=height_px,
            codec=stream.codec_context.name,
            audio=" + ".join(map(tracks.describe_audio, audio)) or None,
            frame_times_sec=times_sec,
            random_access_points=np.array(random_access_points, np.int64).reshape(-1, 2),
            keyframe_times_sec=np.sort(np.array(keyframe_pts, np.int64)) * time_base - start_sec,
            video_gaps_sec=timestamps.find_gaps([0, *times_sec.tolist(), duration_sec]),
            audio_gaps_sec=timestamps.find_audio_gaps(duration_sec, *audio_times),
            missing_audio_sec=timestamps.find_missing_audio(
                duration_sec, audio_times, [track.codec_context.name for track in audio]
            ),
            unread_bytes=count_unread_bytes(
                path, container, max(times.end_position for times in (video_times, *audio_times))
            ),
            num_bytes=container.size,
            audio_indices=tuple(track.index for track in audio),
            audio_tracks=tuple(audio_choice.descriptions()),
            track_problems=tuple(audio_choice.problems()),
            has_guessed_times=lacks_display_times(stream) and stream.codec_context.reorder_depth > 0,
        )


def find_end_sec(
    container: av.container.InputContainer, stream: av.VideoStream, video_times: timestamps.PacketTimes
) -> float:
    """Return when the last frame ends."""
    times_sec, durations_sec = video_times.shown_sec(), video_times.shown_durations_sec()
    last_duration_sec = durations_sec[times_sec.argmax()] or float(1 / (stream.average_rate or 25))
    if container.format.name in FORMATS_WITHOUT_DURATIONS and len(times_sec) > 1:
        last_duration_sec = float(np.median(np.diff(np.sort(times_sec))))
    return float(times_sec.max() + last_duration_sec)


def require_readable(
    path: str | os.PathLike,
    stream: av.VideoStream,
    video_times: timestamps.PacketTimes,
    first_frame: av.VideoFrame | None,
    audio_choice: tracks.AudioChoice,
) -> None:
    """Refuse a file that lacks what is needed, or whose video would decode to noise.

    Args:
        path: The file.
        stream: Its video.
        video_times: The timestamps of the video.
        first_frame: The first frame that decodes, None without one.
        audio_choice: The audio that is wanted.

    Raises:
        MediaError: See `probe`.
    """
    if video_times.is_encrypted:
        raise EncryptionError(
            f"{path}: received encrypted video, which would decode to noise, expected video without copy protection: "
            "decrypt it, record it without, or move it elsewhere"
        )
    if not len(video_times.pts) and video_times.end_position:
        raise TimestampError(timestamps.describe_raw_stream(path, stream.codec_context.name))
    if not (video_times.shown_sec() >= -TIME_TOLERANCE_SEC).any():
        raise MediaError(f"{path}: received a video stream without a frame, expected at least one")
    if first_frame is None:
        raise no_frame_error(path)
    if problem := audio_choice.describe_missing():
        raise TrackError(f"{path}: {problem}, expected {audio_choice.describe_choices()}")


def count_unread_bytes(path: str | os.PathLike, container: av.container.InputContainer, end_position: int) -> int:
    """Return the length of a file behind its last packet, and behind the index of an avi file, which may be as long."""
    if container.format.name == "avi":
        with open(path, "rb") as file:
            file.seek(end_position)
            header = file.read(MAX_AVI_INDEX_DISTANCE).partition(b"idx1")[2]
        end_position += 8 + int.from_bytes(header[:4], "little") if header else 0
    return max(0, container.size - end_position)


def read_packets(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    audio_choice: tracks.AudioChoice,
    video_times: timestamps.PacketTimes,
) -> tuple[av.VideoFrame | None, array, list[tuple[int, int]]]:
    """Read all packets of the video and the audio of a file.

    Args:
        container: The open file.
        stream: Its video.
        audio_choice: Takes the packets of the audio.
        video_times: Takes the timestamps of the video.

    Returns:
        first_frame: The first frame that decodes, None without one.
        keyframe_pts: The presentation timestamps of the keyframes.
        random_access_points: As in `VideoInfo`, in the order in which they are stored.
    """
    is_random_access_point, is_second_field = random_access_test(stream), second_field_test(stream)
    is_reordered = lacks_display_times(stream)
    first_frame, keyframe_pts, random_access_points = None, array("q"), []
    for packet in demux(container, stream, *audio_choice.candidates):
        if packet.stream.index != stream.index:
            audio_choice.add(packet)
            continue
        if is_second_field(packet):
            packet.pts = None  # it is shown with the first one
        video_times.add(packet)
        if first_frame is None:
            first_frame = next(decode([packet]), None)
        if packet.pts is not None and packet.is_keyframe:
            is_idr = is_random_access_point(packet)
            if is_idr or not is_reordered:
                keyframe_pts.append(packet.pts)
            if packet.dts is not None and not packet.is_discard and is_idr:
                random_access_points.append((packet.pts, packet.dts))
    codec = stream.codec_context.codec
    if container.format.name == "avi" and len(keyframe_pts) == len(video_times.pts) and not codec.intra_only:
        del keyframe_pts[1:]  # a file without an index says of each packet that it is a keyframe
    return first_frame, keyframe_pts, random_access_points
