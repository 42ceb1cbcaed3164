"""Check the timestamps of a file's packets: a clock that restarts, gaps, and ends that no file of this size has.

A match's length decides how much is computed and written, so it must not come from damaged timestamps.
"""

import math
import os
import shlex
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

# Decoding timestamps never go back. Parts of a file that overlap by less than this do no harm.
MAX_STEP_BACK_SEC = 0.5
# Longer gaps between two frames, or in the audio, are reported.
MIN_GAP_SEC = 60.0
# In a file with gaps, a packet stands for at most this much on average.
MAX_SEC_PER_PACKET = 60.0
# In a file without gaps, a frame is shown for at most this long on average.
MAX_SEC_PER_FRAME = 1.0
# All gaps of a match together are at most this long.
MAX_TOTAL_GAP_SEC = 86_400.0
# The duration that an audio packet states counts up to this much.
MAX_PACKET_DURATION_SEC = 10.0
# Audio that begins or ends within this much of the video is complete, as recorders do not start and stop both at once.
MAX_MISSING_EDGE_SEC = 1.0
# Timestamps of intact recordings jitter by less. A lost packet of AAC takes 0.021 s at 48 kHz.
MAX_JITTER_SEC = 0.015
# A second is reported if so much of its audio has no packets.
MIN_MISSING_SEC = 0.15
# Codecs whose packets have different durations, also in intact files.
VARIABLE_DURATION_CODECS = ("vorbis", "pcm", "adpcm")
# A message names at most this many gaps.
MAX_NAMED_GAPS = 5
# Stands for a timestamp that a packet lacks.
NO_TIMESTAMP = -(2**63)


class PacketTimes:
    """The timestamps of the packets of one stream, in the order in which they are stored.

    Args:
        time_base_sec: The seconds of a tick of the stream's timestamps.
        start_sec: The container's start time, which is time 0.

    Attributes:
        end_position: Where the last of the packets ends in the file, in bytes.
        is_encrypted: Whether the first of them is encrypted.
    """

    def __init__(self, time_base_sec: float, start_sec: float):
        self.time_base_sec, self.start_sec = time_base_sec, start_sec
        self.pts, self.dts, self.durations, self.shown = array("q"), array("q"), array("q"), array("b")
        self.end_position, self.is_encrypted = 0, False

    def add(self, packet: av.Packet) -> None:
        """Add the next packet; one without a presentation timestamp is left out."""
        if not self.end_position:
            self.is_encrypted = packet.has_sidedata("encryption_info")
        if packet.pts is not None:
            self.pts.append(packet.pts)
            self.dts.append(NO_TIMESTAMP if packet.dts is None else packet.dts)
            self.durations.append(packet.duration or 0)
            self.shown.append(not packet.is_discard)
        self.end_position = max(self.end_position, (packet.pos or 0) + packet.size)

    @property
    def is_shown(self) -> np.ndarray:
        """Return (n,) bool: the packets that are shown or heard."""
        return np.frombuffer(self.shown, np.int8) > 0

    def shown_sec(self) -> np.ndarray:
        """Return (num_shown,) float64: the presentation times of the packets that are shown, as they are stored."""
        return np.frombuffer(self.pts, np.int64)[self.is_shown] * self.time_base_sec - self.start_sec

    def shown_durations_sec(self) -> np.ndarray:
        """Return (num_shown,) float64: the durations of the packets that are shown, 0 where none is stated."""
        return np.frombuffer(self.durations, np.int64)[self.is_shown] * self.time_base_sec

    def find_restart(self) -> tuple[float, float] | None:
        """Return (time before, time after) in seconds where the clock first goes back; None where it never does.

        Packets that an edit list drops between others have times of their own. But those after the last packet that is
        shown may be a second part.
        """
        dts = np.frombuffer(self.dts, np.int64)
        counts = self.is_shown | (np.arange(len(dts)) > np.flatnonzero(self.is_shown).max(initial=-1))
        dts_sec = dts[counts & (dts != NO_TIMESTAMP)] * self.time_base_sec - self.start_sec
        latest_sec = np.maximum.accumulate(dts_sec)
        indices = np.flatnonzero(dts_sec < latest_sec - MAX_STEP_BACK_SEC)
        return (float(latest_sec[indices[0]]), float(dts_sec[indices[0]])) if len(indices) else None


def find_gaps(times_sec: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return (start, end) in seconds of the gaps of more than MIN_GAP_SEC between ascending times, (n,) float64."""
    indices = np.flatnonzero(np.diff(times_sec) > MIN_GAP_SEC)
    return tuple((float(times_sec[index]), float(times_sec[index + 1])) for index in indices)


def find_audio_gaps(end_sec: float, *audio: PacketTimes) -> tuple[tuple[float, float], ...]:
    """Return (start, end) in seconds of the gaps from time 0 to end_sec in which no track has audio.

    There are none without audio.

    Audio that begins after end_sec is one gap, however short it is.
    """
    times_sec = np.sort(np.concatenate([[], *(times.shown_sec() for times in audio)]))
    if not len(times_sec):
        return ()
    if times_sec[0] >= end_sec:
        return ((0.0, end_sec),)
    return find_gaps(np.clip([0, *times_sec, end_sec], 0, end_sec))


def find_missing_audio(end_sec: float, audio: Sequence[PacketTimes], codecs: Sequence[str]) -> tuple[int, ...]:
    """Return the seconds, rounded down, in which no track has its audio, see `find_missing_audio_of_track`.

    Args:
        end_sec: The end of the video.
        audio: The timestamps of each track; without a track, nothing is missing.
        codecs: Their codecs.
    """
    missing_sec = [
        set(find_missing_audio_of_track(end_sec, times, codec)) for times, codec in zip(audio, codecs, strict=True)
    ]
    return tuple(sorted(set.intersection(*missing_sec))) if missing_sec else ()


def find_missing_audio_of_track(end_sec: float, audio: PacketTimes, codec: str) -> tuple[int, ...]:
    """Return the seconds, rounded down, in which at least MIN_MISSING_SEC of the audio has no packets.

    Gaps that `find_audio_gaps` returns are left out.

    Args:
        end_sec: The end of the video.
        audio: The timestamps of the audio.
        codec: Its codec.
    """
    if not len(starts_sec := audio.shown_sec()) or starts_sec.min() >= end_sec:
        return ()
    durations_sec = audio.shown_durations_sec()
    if len(starts_sec) > 1:  # flv and avi files do not state the durations of all codecs
        usual_step_sec = np.median(np.diff(np.sort(starts_sec)))
        durations_sec = np.where(durations_sec > 0, durations_sec, usual_step_sec)
    if not codec.startswith(VARIABLE_DURATION_CODECS):  # in an mp4, the last packet before a gap lasts until its end
        usual_sec = float(np.median(durations_sec))
        if np.mean(np.abs(durations_sec - usual_sec) <= audio.time_base_sec) >= 0.5:
            durations_sec = np.minimum(durations_sec, usual_sec)
    order = np.argsort(starts_sec, kind="stable")
    gap_starts_sec = np.maximum.accumulate(np.append(0, (starts_sec + durations_sec)[order]))
    gap_ends_sec = np.append(starts_sec[order], end_sec)
    lengths_sec = np.minimum(gap_ends_sec, end_sec) - gap_starts_sec
    is_gap = (lengths_sec > MAX_JITTER_SEC) & (lengths_sec <= MIN_GAP_SEC)
    is_gap[[0, -1]] &= lengths_sec[[0, -1]] > MAX_MISSING_EDGE_SEC
    missing_sec: Counter[int] = Counter()
    for start_sec, length_sec in zip(gap_starts_sec[is_gap].tolist(), lengths_sec[is_gap].tolist(), strict=True):
        for second in range(int(start_sec), math.ceil(start_sec + length_sec)):
            missing_sec[second] += min(second + 1, start_sec + length_sec) - max(second, start_sec)
    return tuple(sorted(second for second, length_sec in missing_sec.items() if length_sec >= MIN_MISSING_SEC))


def describe_restart(
    path: str | os.PathLike,
    container: av.container.InputContainer,
    video: PacketTimes,
    *audio: PacketTimes,
) -> str | None:
    """Return the error message for a file whose clock restarts, None where it does not.

    Args:
        path: The file.
        container: The open file.
        video: The timestamps of its video.
        audio: The timestamps of its audio tracks.
    """
    restarts = [times.find_restart() for times in (video, *audio)]
    if not any(restarts):
        return None
    before_sec, after_sec = (max(0.0, time_sec) for time_sec in next(filter(None, restarts)))
    command = join_command(path)
    if container.format.name == "mpegts":  # the only format in which FFmpeg puts parts on one clock by itself
        command = f"ffmpeg -i {argument(path)} -c copy {argument(joined_path(path))}"
    return (
        f"{path}: the clock restarts at {before_sec:.1f} s: the timestamps go back to {after_sec:.1f} s, expected one "
        f"clock: record or download it again, or, if it was joined from parts, join them with {command}"
    )


def argument(path: str | os.PathLike) -> str:
    """Return a path as an argument of ffmpeg in a shell: absolute if it would be taken for a protocol or an option."""
    is_ambiguous = ":" in str(path) or str(path).startswith("-")
    return shlex.quote(str(Path(path).absolute() if is_ambiguous else path))


def joined_path(path: str | os.PathLike, suffix: str = ".mp4") -> Path:
    """Return a name for the file in which the parts of a file have one clock."""
    return Path(path).with_name(f"{Path(path).stem}_joined{suffix}")


def join_command(path: str | os.PathLike, suffix: str = ".mp4") -> str:
    """Return the command that joins the parts of which a file was made, into a file with a suffix."""
    return (
        f"ffmpeg -f concat -safe 0 -i parts.txt -c copy {argument(joined_path(path, suffix))}, where parts.txt has a "
        "line file 'NAME' for each part"
    )


def describe_chain(path: str | os.PathLike) -> str:
    """Return the error message for an Ogg file in which another file begins."""
    return (
        f"{path}: received an Ogg file in which another one begins, which FFmpeg cannot read, expected one stream: "
        f"join its parts with {join_command(path, '.mkv')}"
    )


def describe_raw_stream(path: str | os.PathLike, codec: str) -> str:
    """Return the error message for a file whose video has no timestamps, and so no frame rate."""
    timed_path = Path(path).with_name(f"{Path(path).stem}_timed.mp4")
    return (
        f"{path}: received {codec} video without timestamps (a raw stream without a container), expected them: make a "
        f"file with ffmpeg -r RATE -i {argument(path)} -crf 16 {argument(timed_path)}, where RATE is the number of "
        "frames per second"
    )


def describe_implausible_end(
    path: str | os.PathLike, video: PacketTimes, video_end_sec: float, audio: PacketTimes | None = None
) -> str | None:
    """Return the error message for a file with too few packets for its length, None for other files.

    A match of few packets may have gaps of hours, but then the audio lasts as long as the video. Where it ends long
    before, the timestamps of the video are damaged. Audio after the end of the video is not used.

    Args:
        path: The file.
        video: The timestamps of its video.
        video_end_sec: The end of the last frame.
        audio: The timestamps of its audio, None without audio.
    """
    audio_sec, audio_end_sec, num_audio = 0.0, np.inf, 0
    if audio is not None and len(audio.shown_sec()):
        durations_sec = audio.shown_durations_sec()
        audio_sec = float(np.minimum(durations_sec, MAX_PACKET_DURATION_SEC).sum())
        audio_end_sec, num_audio = float((audio.shown_sec() + durations_sec).max()), len(durations_sec)
    num_frames = len(video.shown_sec())
    frames_sec = max(num_frames * MAX_SEC_PER_FRAME, audio_sec)
    for count, times, end_sec, limit_sec in (
        (
            f"{num_frames} frames" if num_frames > 1 else "1 frame",
            video,
            video_end_sec,
            latest_end_sec(num_frames, frames_sec, audio_end_sec),
        ),
        (f"{num_audio} audio packets", audio, audio_end_sec, latest_end_sec(num_audio, audio_sec, np.inf)),
    ):
        if limit_sec < end_sec < np.inf:
            edges_sec = np.array([0, *np.sort(times.shown_sec()), end_sec])
            before_sec, after_sec = edges_sec[np.diff(edges_sec).argmax() + np.arange(2)].tolist()
            return (
                f"{path}: received {count} with timestamps up to {end_sec:.1f} s, expected at most {limit_sec:.0f} s "
                f"for so few: the timestamps jump from {before_sec:.1f} s to {after_sec:.1f} s and are damaged, record "
                "or download it again"
            )
    return None


def latest_end_sec(num_packets: int, content_sec: float, other_end_sec: float) -> float:
    """Return the latest time at which a stream can end.

    Args:
        num_packets: The number of its packets.
        content_sec: Its length without gaps.
        other_end_sec: Where the other stream of the file ends, infinity without one.
    """
    with_gaps_sec = min(MAX_SEC_PER_PACKET * num_packets, content_sec + MAX_TOTAL_GAP_SEC, other_end_sec)
    return max(content_sec, with_gaps_sec) + MIN_GAP_SEC


def find_jumps(
    video_gaps_sec: tuple[tuple[float, float], ...], audio_gaps_sec: tuple[tuple[float, float], ...], has_audio: bool
) -> tuple[tuple[float, float], ...]:
    """Return (start, end) in seconds of the gaps in which there is neither a frame nor audio.

    Args:
        video_gaps_sec: (start, end) of the gaps between frames.
        audio_gaps_sec: (start, end) of the gaps in the audio.
        has_audio: Whether the file has audio.
    """
    return tuple(
        (start, end)
        for start, end in video_gaps_sec
        if not has_audio or any(first < start + 1 and last > end - 1 for first, last in audio_gaps_sec)
    )


def describe_gaps(
    path: str | os.PathLike,
    video_gaps_sec: tuple[tuple[float, float], ...],
    audio_gaps_sec: tuple[tuple[float, float], ...],
    has_audio: bool,
) -> list[str]:
    """Return warnings about gaps.

    Args:
        path: The file.
        video_gaps_sec: (start, end) of the gaps between frames.
        audio_gaps_sec: (start, end) of the gaps in the audio.
        has_audio: Whether the file has audio.
    """
    jumps_sec = find_jumps(video_gaps_sec, audio_gaps_sec, has_audio)
    still_sec = [gap for gap in video_gaps_sec if gap not in jumps_sec]
    silent_sec = [gap for gap in audio_gaps_sec if not find_jumps((gap,), jumps_sec, True)]
    problems = []
    for gaps_sec, consequence in (
        (jumps_sec, "the timestamps jump from {}: the frame before is repeated there, without audio"),
        (still_sec, "there is no frame from {}: the frame before is repeated there"),
        (silent_sec, "there is no audio from {}: silent there"),
    ):
        named = ", ".join(f"{start:.1f} s to {end:.1f} s" for start, end in gaps_sec[:MAX_NAMED_GAPS])
        named += " and more" if len(gaps_sec) > MAX_NAMED_GAPS else ""
        problems += [f"{path}: {consequence.format(named)}"] if gaps_sec else []
    return problems
