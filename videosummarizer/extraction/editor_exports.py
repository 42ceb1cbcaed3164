"""Found sections as an editor's program reads them: OpenTimelineIO, CMX 3600 EDL, Final Cut Pro X XML; and WebVTT.

The first two are written by OpenTimelineIO and its adapter, which are optional. Its adapter for Final Cut Pro X (1.0.0)
is not used: it writes no frame duration at 23.976, 29.97 and 59.94 fps, no sound, and no start timecode. That file is
written here, with exact fractions.

Frames are counted as the file counts them: from its timecode track on where it has one, drop-frame where that says so.
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


class ExportError(Exception):
    """An export that cannot be written; the message says why and what to do."""


# What SMPTE ST 12 timecode counts, and so what an EDL can say.
RATES_FPS = [Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]
TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")
MILLISECOND_TOLERANCE = 1e-3  # float rounding, far below what a millisecond could tell


@dataclass(frozen=True)
class MediaReference:
    """A match as an editor's program sees it.

    path, name: of the video, without its suffix. rate_fps: one of RATES_FPS. is_drop_frame: how its timecode counts.
    start_frame: the timecode of its first frame, as a count of frames. num_frames, width_px, height_px: its size.
    num_channels: of its sound, 0 without. is_exact: whether every frame of the video is one frame at this rate; if not
    (a variable frame rate, or 35 fps), cuts are placed by time, to the nearest frame at this rate.
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
        return self.path.stem


@dataclass(frozen=True)
class Clip:
    """A section in the footage: the first frame, and the one after the last, counted from 0; and its score."""

    start_frame: int
    end_frame: int
    score: float


def describe_match(
    video_path: str | os.PathLike, video_info: media.VideoInfo, sections: np.ndarray, scores: np.ndarray
) -> tuple[MediaReference, list[Clip]]:
    """The footage and the cuts of a match.

    Args:
        video_path: the match. video_info: of `media.probe`.
        sections: (num_sections, 2) int64, first frame and the frame after the last, in display order.
        scores: (num_sections,) float in [0, 1].

    Raises:
        media.MediaError: the file cannot be read.
    """
    edges_sec = np.append(video_info.frame_times_sec, video_info.duration_sec)
    places_sec = edges_sec - edges_sec[0]
    rate_fps, is_exact = find_timebase(video_info.frame_rate_fps, places_sec)
    frame_of = np.arange(len(edges_sec)) if is_exact else np.rint(places_sec * float(rate_fps)).astype(np.int64)
    with media.open_media(video_path) as container:
        stream = media.best_stream(container, "video", video_path)
        timecode = timecode_of(stream.metadata) or timecode_of(container.metadata)
        sound = container.streams.best("audio")
        num_channels = sound.layout.nb_channels if sound else 0
    start_frame, is_drop_frame = parse_timecode(timecode, rate_fps)
    footage = MediaReference(
        path=Path(video_path).resolve(),
        rate_fps=rate_fps,
        is_drop_frame=is_drop_frame,
        start_frame=start_frame,
        num_frames=int(frame_of[-1]),
        width_px=video_info.width_px,
        height_px=video_info.height_px,
        num_channels=num_channels,
        is_exact=is_exact,
    )
    cuts = [
        Clip(int(frame_of[start]), int(frame_of[end]), float(score))
        for (start, end), score in zip(sections, scores, strict=True)
        if frame_of[end] > frame_of[start]
    ]
    return footage, cuts


def timecode_of(metadata: dict[str, str]) -> str:
    """What a file or a stream states as its timecode, empty where it states none. Matroska's names are in capitals."""
    return next((value for name, value in metadata.items() if name.lower() == "timecode"), "")


def find_timebase(frame_rate_fps: float, places_sec: np.ndarray) -> tuple[Fraction, bool]:
    """The rate of RATES_FPS to cut a video at, and whether each frame of the video is one frame at that rate.

    Args:
        frame_rate_fps: the video's average. Where it varies, the most usual distance of frames tells the rate instead.
        places_sec: (num_frames + 1,) float64, presentation times from the first frame on, and the end.
    """
    for estimate_fps in (frame_rate_fps, 1 / np.median(np.diff(places_sec))):
        rate_fps = min(RATES_FPS, key=lambda rate: abs(math.log(rate / estimate_fps)))
        apart = np.abs(places_sec * float(rate_fps) - np.arange(len(places_sec)))
        if apart.max() < 0.5:
            return rate_fps, True
    return rate_fps, False


def parse_timecode(text: str, rate_fps: Fraction) -> tuple[int, bool]:
    """(frames counted from 00:00:00:00 on, whether it is drop-frame) of `HH:MM:SS:FF` or, drop-frame, `HH:MM:SS;FF`.

    Anything else counts as 00:00:00:00. Drop-frame timecode leaves out 2 numbers a minute at 29.97 fps, 4 at 59.94, but
    in every tenth minute (SMPTE ST 12-1).
    """
    match = TIMECODE.fullmatch(text)
    if match is None:
        return 0, False
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    numbers_a_second = math.ceil(rate_fps)
    count = (hours * 3600 + minutes * 60 + seconds) * numbers_a_second + frames
    is_drop_frame = match[4] != ":" and rate_fps in (Fraction(30000, 1001), Fraction(60000, 1001))
    if is_drop_frame:
        num_minutes = hours * 60 + minutes
        count -= numbers_a_second // 15 * (num_minutes - num_minutes // 10)
    return count, is_drop_frame


def otio_timeline(footage: MediaReference, cuts: list[Clip], rate_fps: float, target_url: str):
    """An OpenTimelineIO timeline: the cuts one after another on one track."""
    otio = import_otio()

    def time_range(start_frame: int, num_frames: int):
        return otio.opentime.TimeRange(
            otio.opentime.RationalTime(start_frame, rate_fps), otio.opentime.RationalTime(num_frames, rate_fps)
        )

    track = otio.schema.Track("Highlights", kind=otio.schema.TrackKind.Video)
    for number, cut in enumerate(cuts, start=1):
        clip = otio.schema.Clip(
            f"{footage.name} {number:03d}",
            otio.schema.ExternalReference(target_url, time_range(footage.start_frame, footage.num_frames)),
            time_range(footage.start_frame + cut.start_frame, cut.end_frame - cut.start_frame),
            metadata={"video_summarizer": {"score": cut.score}},
        )
        track.append(clip)
    timeline = otio.schema.Timeline(f"{footage.name} highlights")
    timeline.tracks.append(track)
    return timeline


def write_otio(footage: MediaReference, cuts: list[Clip]) -> bytes:
    """An `.otio` file, of which DaVinci Resolve, Premiere Pro and others read the cuts. Raises ExportError."""
    timeline = otio_timeline(footage, cuts, float(footage.rate_fps), footage.path.as_uri())
    return import_otio().adapters.write_to_string(timeline, "otio_json").encode()


def write_edl(footage: MediaReference, cuts: list[Clip]) -> bytes:
    """A CMX 3600 EDL; picture and sound are cut together. Raises ExportError.

    Timecode that is not drop-frame counts 24, 30 or 60 numbers a second at 23.976, 29.97 and 59.94 fps as well. The
    adapter would count drop-frame at the last two, so it is told the whole rate.
    """
    otio = import_otio()
    rate_fps = footage.rate_fps if footage.is_drop_frame else math.ceil(footage.rate_fps)
    timeline = otio_timeline(footage, cuts, float(rate_fps), footage.path.name)
    text = otio.adapters.write_to_string(timeline, "cmx_3600", style="premiere", reelname_len=None)
    channels = {0: "V    ", 1: "B    "}.get(footage.num_channels, "AA/V ")
    text = re.sub(r"^(\d+ +AX +)V    ", rf"\g<1>{channels}", text, flags=re.MULTILINE)
    mode = "DROP FRAME" if footage.is_drop_frame else "NON-DROP FRAME"
    return text.replace("\n", f"\nFCM: {mode}\n", 1).encode()


def import_otio():
    """The module opentimelineio. Raises ExportError where it, or its adapter for EDLs, is not installed."""
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


def write_fcpxml(footage: MediaReference, cuts: list[Clip]) -> bytes:
    """A Final Cut Pro X XML file, version 1.8. Times are whole multiples of a frame's duration, as Final Cut demands.

    Source: Apple, "FCPXML Reference".
    """

    def seconds(num_frames: int) -> str:
        return f"{num_frames * footage.rate_fps.denominator}/{footage.rate_fps.numerator}s"

    timecode_format = "DF" if footage.is_drop_frame else "NDF"
    root = ElementTree.Element("fcpxml", version="1.8")
    resources = ElementTree.SubElement(root, "resources")
    size = {"width": str(footage.width_px), "height": str(footage.height_px)}
    ElementTree.SubElement(resources, "format", id="r1", frameDuration=seconds(1), **size)
    sound = {"hasAudio": "1", "audioSources": "1", "audioChannels": str(footage.num_channels)}
    ElementTree.SubElement(
        resources,
        "asset",
        id="r2",
        name=footage.name,
        src=footage.path.as_uri(),
        start=seconds(footage.start_frame),
        duration=seconds(footage.num_frames),
        hasVideo="1",
        format="r1",
        **(sound if footage.num_channels else {}),
    )
    event = ElementTree.SubElement(root, "event", name="Highlights")
    project = ElementTree.SubElement(event, "project", name=f"{footage.name} highlights")
    num_frames = sum(cut.end_frame - cut.start_frame for cut in cuts)
    sequence = ElementTree.SubElement(
        project, "sequence", format="r1", duration=seconds(num_frames), tcStart="0s", tcFormat=timecode_format
    )
    spine, offset = ElementTree.SubElement(sequence, "spine"), 0
    for number, cut in enumerate(cuts, start=1):
        clip = ElementTree.SubElement(
            spine,
            "asset-clip",
            ref="r2",
            name=f"{footage.name} {number:03d}",
            offset=seconds(offset),
            start=seconds(footage.start_frame + cut.start_frame),
            duration=seconds(cut.end_frame - cut.start_frame),
            format="r1",
            tcFormat=timecode_format,
        )
        ElementTree.SubElement(clip, "note").text = f"score {cut.score:.3f}"
        offset += cut.end_frame - cut.start_frame
    ElementTree.indent(root)
    header = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
    return header + ElementTree.tostring(root, encoding="utf-8") + b"\n"


def write_webvtt(sections_sec: np.ndarray, scores: np.ndarray) -> bytes:
    """Chapters of the match as WebVTT, a chapter a section.

    Times are rounded up to a millisecond, so that a player that seeks to one shows the section's first frame.

    Args:
        sections_sec: (num_sections, 2) float64, seconds of the match. scores: (num_sections,) float in [0, 1].
    """
    cues = [
        f"{number}\n{webvtt_time(start_sec)} --> {webvtt_time(end_sec)}\nHighlight {number} (score {score:.2f})\n"
        for number, ((start_sec, end_sec), score) in enumerate(zip(sections_sec, scores, strict=True), start=1)
    ]
    return "\n".join(["WEBVTT\n", *cues]).encode()


def webvtt_time(seconds: float) -> str:
    """`HH:MM:SS.mmm`, rounded up."""
    milliseconds = math.ceil(seconds * 1000 - MILLISECOND_TOLERANCE)
    return (
        f"{milliseconds // 3_600_000:02d}:{milliseconds // 60_000 % 60:02d}:"
        f"{milliseconds // 1000 % 60:02d}.{milliseconds % 1000:03d}"
    )
