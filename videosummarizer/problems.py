"""Describe the problems of a video that can be read nevertheless, as warnings of all stages."""

import os
from collections.abc import Collection, Set

from videosummarizer import media, timestamps, video_track

# Header and last frame of an intact file may differ by up to this.
MAX_MISSING_SEC = 1.0
# More than this at the end of a file is not its index, but a second file or a download that did not finish.
MIN_UNREAD_BYTES = 50_000
MIN_UNREAD_RATIO = 0.2


def find_damage(path: str | os.PathLike, video_info: media.VideoInfo) -> set[int]:
    """Decode all video of a file and return the whole seconds in which packets do not decode.

    Raises:
        media.MediaError: The file cannot be read, or no frame of it decodes.
    """
    damaged_sec: set[int] = set()
    num_frames = 0
    with media.open_media(path) as container:
        stream = media.video_stream(container, path)
        stream.thread_type = "AUTO"
        for _ in video_track.decode_to_end(
            path,
            media.demux(container, stream),
            video_info.random_access_points,
            media.start_time_sec(container),
            lambda time_sec: damaged_sec.add(int(time_sec)),
        ):
            num_frames += 1
    if not num_frames:
        raise media.no_frame_error(path)
    return damaged_sec


def describe_problems(
    path: str | os.PathLike,
    info: media.VideoInfo,
    damaged_sec: set[int],
    damaged_audio_sec: Set[int] = frozenset(),
    cancelled_audio_sec: Set[int] = frozenset(),
    action: str = "converted",
) -> list[str]:
    """Return warnings about a video that can be read nevertheless.

    Args:
        path: The video.
        info: The result of `media.probe`.
        damaged_sec: The whole seconds in which packets of the video do not decode.
        damaged_audio_sec: The whole seconds in which the audio is damaged.
        cancelled_audio_sec: The whole seconds in which the channels of the audio cancel in mono.
        action: What is done to the video.
    """
    problems = describe_file(path, info)
    if not info.audio:
        problems.append(f"{path}: the video has no audio track: {action} with silence")
    if info.stated_duration_sec - info.duration_sec > MAX_MISSING_SEC:
        problems.append(
            f"{path}: the video ends at {info.duration_sec:.1f} s of the {info.stated_duration_sec:.1f} s that the "
            f"header states: {action} up to there"
        )
    if damaged_sec:
        problems.append(describe_seconds(path, "damaged", damaged_sec, "the last undamaged frame is repeated there"))
    return problems + describe_audio(path, damaged_audio_sec, cancelled_audio_sec)


def describe_audio(path: str | os.PathLike, damaged_sec: Set[int], cancelled_sec: Set[int]) -> list[str]:
    """Return the warnings about the audio of a video, see `describe_problems`."""
    problems = []
    if damaged_sec:
        problems.append(describe_seconds(path, "the audio is damaged", damaged_sec, "it is silent there"))
    if cancelled_sec:
        consequence = "they cancel to silence in mono, invert one"
        problems.append(describe_seconds(path, "the audio channels are in antiphase", cancelled_sec, consequence))
    return problems


def describe_seconds(path: str | os.PathLike, kind: str, seconds: Collection[int], consequence: str) -> str:
    """Return the warning about a problem in some seconds of a video, of which the first 20 are named."""
    named = ", ".join(map(str, sorted(seconds)[:20])) + (" and more" if len(seconds) > 20 else "")
    return f"{path}: {kind} at {named} s: {consequence}"


def describe_file(path: str | os.PathLike, info: media.VideoInfo) -> list[str]:
    """Return the warnings about a video that concern every stage.

    Args:
        path: The video.
        info: The result of `media.probe`.
    """
    problems = [f"{path}: {problem}" for problem in info.track_problems]
    if info.has_guessed_times and info.audio:
        problems.append(
            f"{path}: an avi file does not store when frames of {info.codec} with B-frames are displayed: audio and "
            "video may be up to 0.1 s apart, use the file from which it was made, or record in mkv or mp4"
        )
    if info.unread_bytes > max(MIN_UNREAD_BYTES, MIN_UNREAD_RATIO * info.num_bytes):
        problems.append(
            f"{path}: nothing is read from the last {info.unread_bytes / info.num_bytes:.0%} of the file: if it was "
            f"joined from parts, join them with {timestamps.join_command(path)}"
        )
    problems += timestamps.describe_gaps(path, info.video_gaps_sec, info.audio_gaps_sec, bool(info.audio))
    if info.missing_audio_sec:
        problems.append(describe_seconds(path, "the audio is missing", info.missing_audio_sec, "it is silent there"))
    return problems
