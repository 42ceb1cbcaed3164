"""Write OpenTimelineIO files; and make that library's timelines, from which its adapters write EDLs and other formats.

The library is imported when it is needed, since `--help` does without.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from videosummarizer.extraction.exports.media_url import export_url
from videosummarizer.extraction.exports.timeline import Clip, ExportError, MediaReference, Timeline

# The packages of OpenTimelineIO that the exports need.
PACKAGES = "opentimelineio otio-cmx3600-adapter otio-fcp-adapter"
# The names of the adapters that they have.
ADAPTERS = ("otio_json", "cmx_3600", "fcp_xml")
# The message where one of them is missing.
NOT_INSTALLED = (
    f"it needs OpenTimelineIO, which is not installed: pip install {PACKAGES}, then run the same command again"
)
# The name under which the clips' scores are stored in an OpenTimelineIO file.
SCORES_KEY = "video_summarizer"


def write_otio(timeline: Timeline, folder: Path) -> bytes:
    """Return an `.otio` file, which DaVinci Resolve, Premiere Pro and others read.

    It has a video track and, if a match has audio, an audio track.

    Args:
        timeline: The clips.
        folder: The folder that the file will be in. Matches are referred to by their paths relative to it.

    Raises:
        ExportError: OpenTimelineIO is not installed.
    """
    otio = import_otio("otio_json")
    result = otio_timeline(otio, timeline, lambda reference: export_url(reference.path, folder))
    if any(clip.reference.num_channels for clip in timeline.clips):
        result.tracks.append(audio_track(otio, result.tracks[0], timeline.clips, "Highlights audio"))
    return otio.adapters.write_to_string(result, "otio_json").encode()


def otio_timeline(
    otio,
    timeline: Timeline,
    url_of: Callable[[MediaReference], str],
    rate_of: Callable[[MediaReference], Fraction] = lambda reference: reference.rate_fps,
):
    """Return an OpenTimelineIO timeline with the clips one after another on one video track.

    Args:
        otio: The module opentimelineio.
        timeline: The clips.
        url_of: Returns the URL at which a match is found.
        rate_of: Returns the rate at which a match's frames are counted.
    """

    def time_range(reference: MediaReference, start_frame: int, num_frames: int):
        rate_fps, start_frame = float(rate_of(reference)), reference.start_frame + start_frame
        return otio.opentime.TimeRange(
            otio.opentime.RationalTime(start_frame, rate_fps), otio.opentime.RationalTime(num_frames, rate_fps)
        )

    track = otio.schema.Track("Highlights", kind=otio.schema.TrackKind.Video)
    for name, clip in zip(timeline.clip_names, timeline.clips, strict=True):
        reference = clip.reference
        media = otio.schema.ExternalReference(url_of(reference), time_range(reference, 0, reference.num_frames))
        media.name = reference.path.name
        source_range = time_range(reference, clip.start_frame, clip.num_frames)
        metadata = {} if clip.score is None else {SCORES_KEY: {clip.score_name: clip.score}}
        track.append(otio.schema.Clip(name, media, source_range, metadata=metadata))
    start = otio.opentime.RationalTime(0, float(rate_of(timeline.settings)))
    result = otio.schema.Timeline(timeline.name, global_start_time=start)
    result.tracks.append(track)
    return result


def audio_track(otio, video_track, clips: list[Clip], name: str, channel: int = 0):
    """Return an audio track with the clips of a video track, and gaps for the matches that have no such channel.

    Args:
        otio: The module opentimelineio.
        video_track: The video track.
        clips: Its clips.
        name: The name of the audio track.
        channel: The channel of the matches that the track is for.
    """
    track = otio.schema.Track(name, kind=otio.schema.TrackKind.Audio)
    for video_clip, clip in zip(video_track, clips, strict=True):
        if channel < clip.reference.num_channels:
            track.append(video_clip.clone())
        else:
            track.append(otio.schema.Gap(duration=video_clip.source_range.duration))
    return track


def import_otio(adapter: str):
    """Return the module opentimelineio.

    Args:
        adapter: The name of the adapter that is needed.

    Raises:
        ExportError: The module or the adapter is not installed.
    """
    try:
        import opentimelineio
    except ImportError:
        opentimelineio = None
    if opentimelineio is None or adapter not in opentimelineio.adapters.available_adapter_names():
        raise ExportError(NOT_INSTALLED)
    return opentimelineio


def is_installed() -> bool:
    """Return whether the library and all adapters that the exports need are installed."""
    try:
        return all(map(import_otio, ADAPTERS))
    except ExportError:
        return False
