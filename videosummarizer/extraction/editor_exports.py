"""Export sections to editing software: OpenTimelineIO, CMX 3600 EDL and Final Cut Pro X XML; and as WebVTT chapters.

OpenTimelineIO and its EDL adapter are optional and write the first two. Its adapter for Final Cut Pro X (1.0.0) is not
used, because it writes no frame duration at 23.976, 29.97 and 59.94 fps, no audio and no start timecode. This module
writes that file itself, with exact fractions.

Frames are numbered by the file's own timecode track where it has one, drop-frame where the track says so.
"""

import math
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from videosummarizer import media
from videosummarizer.match_files import absolute_path, title_of


class ExportError(Exception):
    """An export cannot be written; the message says why and how to fix it."""


# The frame rates of SMPTE ST 12 timecode, which are also those that an EDL can express.
RATES_FPS = [Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]
TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")
# A time this close above a millisecond is that millisecond: the difference is float rounding.
MILLISECOND_TOLERANCE = 1e-3


@dataclass(frozen=True)
class MediaReference:
    """A match as editing software refers to it.

    Attributes:
        path: The absolute path of the video, with the names that the user gave where they are links.
        rate_fps: One of RATES_FPS.
        is_drop_frame: Whether its timecode is drop-frame.
        start_frame: The timecode of its first frame, as a number of frames.
        num_frames: Its length.
        width_px: Its width as shown.
        height_px: Its height as shown.
        num_channels: Its audio channels, 0 without audio.
        is_exact: Whether each frame of the video is one frame at rate_fps. If not (a variable frame rate, or 35 fps),
            clips are cut by time, at the nearest frame at rate_fps.
    """

    path: Path
    rate_fps: Fraction
    is_drop_frame: bool
    start_frame: int
    num_frames: int
    width_px: int
    height_px: int
    num_channels: int
    is_exact: bool

    @property
    def name(self) -> str:
        """Return the title of the match."""
        return title_of(self.path)


@dataclass(frozen=True)
class Clip:
    """A section of the match.

    Attributes:
        start_frame: The first frame, counted from 0.
        end_frame: The frame after the last.
        score: In [0, 1].
    """

    start_frame: int
    end_frame: int
    score: float


def describe_match(
    video_path: str | os.PathLike, video_info: media.VideoInfo, sections: np.ndarray, scores: np.ndarray
) -> tuple[MediaReference, list[Clip]]:
    """Return what the exports need: the media reference of a match and its clips.

    Args:
        video_path: The match.
        video_info: The result of `media.probe`.
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        scores: (num_sections,) float in [0, 1].

    Raises:
        media.MediaError: The file cannot be read.
    """
    edges_sec = video_info.frame_edges_sec
    relative_sec = edges_sec - edges_sec[0]
    rate_fps, is_exact = find_timebase(video_info.frame_rate_fps, relative_sec)
    frame_of = np.arange(len(edges_sec)) if is_exact else np.rint(relative_sec * float(rate_fps)).astype(np.int64)
    with media.open_media(video_path) as container:
        stream = media.video_stream(container, video_path)
        timecode = find_timecode(stream.metadata) or find_timecode(container.metadata)
        audio = media.audio_stream(container, video_info)
        num_channels = audio.layout.nb_channels if audio else 0
    start_frame, is_drop_frame = parse_timecode(timecode, rate_fps)
    reference = MediaReference(
        path=absolute_path(video_path),
        rate_fps=rate_fps,
        is_drop_frame=is_drop_frame,
        start_frame=start_frame,
        num_frames=int(frame_of[-1]),
        width_px=video_info.width_px,
        height_px=video_info.height_px,
        num_channels=num_channels,
        is_exact=is_exact,
    )
    clips = [
        Clip(int(frame_of[start]), int(frame_of[end]), float(score))
        for (start, end), score in zip(sections, scores, strict=True)
        if frame_of[end] > frame_of[start]
    ]
    return reference, clips


def find_timecode(metadata: dict[str, str]) -> str:
    """Return the timecode in the metadata of a file or stream, empty without one. Matroska's names are in capitals."""
    return next((value for name, value in metadata.items() if name.lower() == "timecode"), "")


def find_timebase(frame_rate_fps: float, relative_sec: np.ndarray) -> tuple[Fraction, bool]:
    """Choose the rate of RATES_FPS to cut a video at.

    Args:
        frame_rate_fps: The video's average frame rate. The median distance between frames is tried as well, for videos
            whose rate varies.
        relative_sec: (num_frames + 1,) float64, presentation times relative to the first frame, and the end.

    Returns:
        The rate, and whether each frame of the video is one frame at that rate.
    """
    for estimate_fps in (frame_rate_fps, 1 / np.median(np.diff(relative_sec))):
        rate_fps = min(RATES_FPS, key=lambda rate: abs(math.log(rate / estimate_fps)))
        error = np.abs(relative_sec * float(rate_fps) - np.arange(len(relative_sec)))
        if error.max() < 0.5:
            return rate_fps, True
    return rate_fps, False


def parse_timecode(text: str, rate_fps: Fraction) -> tuple[int, bool]:
    """Parse a timecode, `HH:MM:SS:FF` or, drop-frame, `HH:MM:SS;FF`. Anything else counts as 00:00:00:00.

    Drop-frame timecode skips 2 numbers per minute at 29.97 fps and 4 at 59.94, except in every tenth minute (SMPTE ST
    12-1).

    Returns:
        The number of frames since 00:00:00:00, and whether the timecode is drop-frame.
    """
    match = TIMECODE.fullmatch(text)
    if match is None:
        return 0, False
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    numbers_per_second = math.ceil(rate_fps)
    count = (hours * 3600 + minutes * 60 + seconds) * numbers_per_second + frames
    is_drop_frame = match[4] != ":" and rate_fps in (Fraction(30000, 1001), Fraction(60000, 1001))
    if is_drop_frame:
        num_minutes = hours * 60 + minutes
        count -= numbers_per_second // 15 * (num_minutes - num_minutes // 10)
    return count, is_drop_frame


def otio_timeline(reference: MediaReference, clips: list[Clip], rate_fps: float, target_url: str):
    """Return an OpenTimelineIO timeline with the clips one after another on one track."""
    otio = import_otio()

    def time_range(start_frame: int, num_frames: int):
        return otio.opentime.TimeRange(
            otio.opentime.RationalTime(start_frame, rate_fps), otio.opentime.RationalTime(num_frames, rate_fps)
        )

    track = otio.schema.Track("Highlights", kind=otio.schema.TrackKind.Video)
    for number, clip in enumerate(clips, start=1):
        track.append(
            otio.schema.Clip(
                f"{reference.name} {number:03d}",
                otio.schema.ExternalReference(target_url, time_range(reference.start_frame, reference.num_frames)),
                time_range(reference.start_frame + clip.start_frame, clip.end_frame - clip.start_frame),
                metadata={"video_summarizer": {"score": clip.score}},
            )
        )
    timeline = otio.schema.Timeline(f"{reference.name} highlights")
    timeline.tracks.append(track)
    return timeline


def write_otio(reference: MediaReference, clips: list[Clip]) -> bytes:
    """Return an `.otio` file, which DaVinci Resolve, Premiere Pro and others read.

    Raises:
        ExportError: OpenTimelineIO is not installed.
    """
    timeline = otio_timeline(reference, clips, float(reference.rate_fps), reference.path.as_uri())
    return import_otio().adapters.write_to_string(timeline, "otio_json").encode()


def write_edl(reference: MediaReference, clips: list[Clip]) -> bytes:
    """Return a CMX 3600 EDL that cuts video and audio together.

    Timecode that is not drop-frame counts 24, 30 or 60 frames per second at 23.976, 29.97 and 59.94 fps as well. The
    adapter would use drop-frame at the last two, so it gets the whole rate.

    Raises:
        ExportError: OpenTimelineIO or its adapter is not installed.
    """
    otio = import_otio()
    rate_fps = reference.rate_fps if reference.is_drop_frame else math.ceil(reference.rate_fps)
    timeline = otio_timeline(reference, clips, float(rate_fps), reference.path.name)
    text = otio.adapters.write_to_string(timeline, "cmx_3600", style="premiere", reelname_len=None)
    channels = {0: "V    ", 1: "B    "}.get(reference.num_channels, "AA/V ")
    text = re.sub(r"^(\d+ +AX +)V    ", rf"\g<1>{channels}", text, flags=re.MULTILINE)
    mode = "DROP FRAME" if reference.is_drop_frame else "NON-DROP FRAME"
    return text.replace("\n", f"\nFCM: {mode}\n", 1).encode()


def import_otio():
    """Return the module opentimelineio.

    Raises:
        ExportError: The module, or its adapter for EDLs, is not installed.
    """
    try:
        import opentimelineio
    except ImportError:
        opentimelineio = None
    if opentimelineio is None or "cmx_3600" not in opentimelineio.adapters.available_adapter_names():
        raise ExportError(
            ".otio and .edl files need OpenTimelineIO, which is not installed: pip install opentimelineio "
            "otio-cmx3600-adapter, then run the same command again"
        )
    return opentimelineio


def write_fcpxml(reference: MediaReference, clips: list[Clip]) -> bytes:
    """Return a Final Cut Pro X XML file, version 1.8.

    Times are whole multiples of a frame's duration, as Final Cut requires. Source: Apple, "FCPXML Reference".
    """

    def seconds(num_frames: int) -> str:
        return f"{num_frames * reference.rate_fps.denominator}/{reference.rate_fps.numerator}s"

    timecode_format = "DF" if reference.is_drop_frame else "NDF"
    root = ElementTree.Element("fcpxml", version="1.8")
    resources = ElementTree.SubElement(root, "resources")
    size = {"width": str(reference.width_px), "height": str(reference.height_px)}
    ElementTree.SubElement(resources, "format", id="r1", frameDuration=seconds(1), **size)
    audio = {"hasAudio": "1", "audioSources": "1", "audioChannels": str(reference.num_channels)}
    ElementTree.SubElement(
        resources,
        "asset",
        id="r2",
        name=reference.name,
        src=reference.path.as_uri(),
        start=seconds(reference.start_frame),
        duration=seconds(reference.num_frames),
        hasVideo="1",
        format="r1",
        **(audio if reference.num_channels else {}),
    )
    event = ElementTree.SubElement(root, "event", name="Highlights")
    project = ElementTree.SubElement(event, "project", name=f"{reference.name} highlights")
    num_frames = sum(clip.end_frame - clip.start_frame for clip in clips)
    sequence = ElementTree.SubElement(
        project, "sequence", format="r1", duration=seconds(num_frames), tcStart="0s", tcFormat=timecode_format
    )
    spine, offset = ElementTree.SubElement(sequence, "spine"), 0
    for number, clip in enumerate(clips, start=1):
        clip_element = ElementTree.SubElement(
            spine,
            "asset-clip",
            ref="r2",
            name=f"{reference.name} {number:03d}",
            offset=seconds(offset),
            start=seconds(reference.start_frame + clip.start_frame),
            duration=seconds(clip.end_frame - clip.start_frame),
            format="r1",
            tcFormat=timecode_format,
        )
        ElementTree.SubElement(clip_element, "note").text = f"score {clip.score:.3f}"
        offset += clip.end_frame - clip.start_frame
    ElementTree.indent(root)
    header = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
    return header + ElementTree.tostring(root, encoding="utf-8") + b"\n"


def write_webvtt(sections_sec: np.ndarray, scores: np.ndarray) -> bytes:
    """Return WebVTT chapters of the match, one per section.

    Times are rounded up to a millisecond, so that a player that seeks to one shows the section's first frame.

    Args:
        sections_sec: (num_sections, 2) float64, seconds of the match.
        scores: (num_sections,) float in [0, 1].
    """
    cues = [
        f"{number}\n{webvtt_time(start_sec)} --> {webvtt_time(end_sec)}\nHighlight {number} (score {score:.2f})\n"
        for number, ((start_sec, end_sec), score) in enumerate(zip(sections_sec, scores, strict=True), start=1)
    ]
    return "\n".join(["WEBVTT\n", *cues]).encode()


def webvtt_time(seconds: float) -> str:
    """Format a time as `HH:MM:SS.mmm`, rounded up."""
    milliseconds = math.ceil(seconds * 1000 - MILLISECOND_TOLERANCE)
    return (
        f"{milliseconds // 3_600_000:02d}:{milliseconds // 60_000 % 60:02d}:"
        f"{milliseconds // 1000 % 60:02d}.{milliseconds % 1000:03d}"
    )
