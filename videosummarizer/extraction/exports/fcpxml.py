"""Write Final Cut Pro X XML files, which Final Cut Pro and DaVinci Resolve read.

OpenTimelineIO's adapter (otio-fcpx-xml-adapter 1.0.0) is not used, because it writes no frame duration at 23.976, 29.97
and 59.94 fps, no audio and no start timecode.
"""

from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

from videosummarizer.extraction.exports.media_url import export_url
from videosummarizer.extraction.exports.timeline import MediaReference, Timeline

# What FCPXML calls the frame rates of `timecode.RATES_FPS`, where a clip's differs from its timeline's.
RATE_NAMES = {
    Fraction(24000, 1001): "23.98",
    Fraction(30000, 1001): "29.97",
    Fraction(60000, 1001): "59.94",
}


def write_fcpxml(timeline: Timeline, folder: Path) -> bytes:
    """Return a Final Cut Pro X XML file, version 1.8.

    Times are whole multiples of a frame's duration, as Final Cut requires. A source is named by an absolute file URL or
    by one relative to the file. Source: Apple, "FCPXML Reference", and "Resources" of its earlier edition.

    Args:
        timeline: The clips.
        folder: The folder that the file will be in. Matches are referred to by their paths relative to it.
    """
    settings, edges = timeline.settings, timeline.edges
    root = ElementTree.Element("fcpxml", version="1.8")
    resources = ElementTree.SubElement(root, "resources")
    format_ids = add_formats(resources, [settings, *timeline.references])
    asset_ids = {
        reference: add_asset(resources, reference, format_ids[reference], export_url(reference.path, folder))
        for reference in timeline.references
    }
    event = ElementTree.SubElement(root, "event", name="Highlights")
    project = ElementTree.SubElement(event, "project", name=timeline.name)
    sequence = ElementTree.SubElement(
        project,
        "sequence",
        format=format_ids[settings],
        duration=seconds(edges[-1], settings.rate_fps),
        tcStart="0s",
        tcFormat=settings.timecode_format,
    )
    spine = ElementTree.SubElement(sequence, "spine")
    for name, clip, start, end in zip(timeline.clip_names, timeline.clips, edges[:-1], edges[1:], strict=True):
        reference = clip.reference
        clip_element = ElementTree.SubElement(
            spine,
            "asset-clip",
            ref=asset_ids[reference],
            name=name,
            offset=seconds(start, settings.rate_fps),
            start=seconds(reference.start_frame + clip.start_frame, reference.rate_fps),
            duration=seconds(end - start, settings.rate_fps),
            format=format_ids[reference],
            tcFormat=reference.timecode_format,
        )
        if clip.score is not None:
            ElementTree.SubElement(clip_element, "note").text = f"{clip.score_name} {clip.score:.3f}"
        if reference.rate_fps != settings.rate_fps:
            rate_name = RATE_NAMES.get(reference.rate_fps, str(reference.rate_fps))
            ElementTree.SubElement(clip_element, "conform-rate", scaleEnabled="0", srcFrameRate=rate_name)
    ElementTree.indent(root)
    header = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
    return header + ElementTree.tostring(root, encoding="utf-8") + b"\n"


def add_formats(resources: ElementTree.Element, references: list[MediaReference]) -> dict[MediaReference, str]:
    """Add the frame rates and sizes of matches, each once, and return the format's id by match."""
    ids = {}
    for reference in references:
        video_format = (reference.rate_fps, reference.width_px, reference.height_px)
        if video_format not in ids:
            ids[video_format] = f"r{len(resources) + 1}"
            ElementTree.SubElement(
                resources,
                "format",
                id=ids[video_format],
                frameDuration=seconds(1, reference.rate_fps),
                width=str(reference.width_px),
                height=str(reference.height_px),
            )
    return {reference: ids[reference.rate_fps, reference.width_px, reference.height_px] for reference in references}


def add_asset(resources: ElementTree.Element, reference: MediaReference, format_id: str, url: str) -> str:
    """Add a match and return its id."""
    audio = {"hasAudio": "1", "audioSources": "1", "audioChannels": str(reference.num_channels)}
    asset = ElementTree.SubElement(
        resources,
        "asset",
        id=f"r{len(resources) + 1}",
        name=reference.name,
        src=url,
        start=seconds(reference.start_frame, reference.rate_fps),
        duration=seconds(reference.num_frames, reference.rate_fps),
        hasVideo="1",
        format=format_id,
        **(audio if reference.num_channels else {}),
    )
    return asset.get("id")


def seconds(num_frames: int, rate_fps: Fraction) -> str:
    """Return the time of a number of frames as an exact fraction of seconds."""
    return f"{num_frames * rate_fps.denominator}/{rate_fps.numerator}s"
