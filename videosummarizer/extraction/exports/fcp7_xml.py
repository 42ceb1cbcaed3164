"""Write Final Cut Pro 7 XML files, which Premiere Pro and DaVinci Resolve read.

OpenTimelineIO's adapter (otio-fcp-adapter 1.0.0) counts frames and timecode, and names rates and files. What it cannot
know is given to it as metadata: sizes, audio channels, drop-frame. Four errors of it are worked around: it makes an
audio clip that is equal to a video clip a mere reference to that, ignores links, writes each clip's rate twice, and
counts the length of a timeline at the highest rate of its clips.
"""

import math
from xml.etree import ElementTree

from videosummarizer.extraction.exports.otio import audio_track, import_otio, otio_timeline
from videosummarizer.extraction.exports.timeline import MediaReference, Timeline

# The name under which the adapter expects metadata.
ADAPTER_KEY = "fcp_xml"
# Editing software converts audio to the settings of its own project; the format wants some values all the same.
AUDIO_CHARACTERISTICS = {"depth": "16", "samplerate": "48000"}
# How Premiere names audio by its number of channels. With more channels, each is a mono track.
CHANNEL_TYPES = {1: "mono", 2: "stereo"}


def write_fcp7_xml(timeline: Timeline) -> bytes:
    """Return a Final Cut Pro 7 XML file.

    It has a video track and an audio track per channel, whose clips are linked. Matches are referred to by absolute
    file URLs, as the format has no relative ones. Sources: Apple, "Final Cut Pro XML Interchange Format"; and for how
    Premiere writes channels and links, the export of Premiere in the tests of otio-fcp-adapter.

    Raises:
        ExportError: OpenTimelineIO or its adapter is not installed.
    """
    otio = import_otio("fcp_xml")
    result = otio_timeline(otio, timeline, lambda reference: reference.path.as_uri())
    result.metadata[ADAPTER_KEY] = sequence_metadata(timeline)
    video_track = result.tracks[0]
    for video_clip, clip in zip(video_track, timeline.clips, strict=True):
        video_clip.media_reference.metadata[ADAPTER_KEY] = file_metadata(clip.reference)
        note = {} if clip.score is None else {"logginginfo": {"lognote": f"{clip.score_name} {clip.score:.3f}"}}
        video_clip.metadata[ADAPTER_KEY] = {"enabled": "TRUE", **note}
    num_channels = max((clip.reference.num_channels for clip in timeline.clips), default=0)
    for channel in range(num_channels):
        track = audio_track(otio, video_track, timeline.clips, f"Highlights audio {channel + 1}", channel)
        track.metadata[ADAPTER_KEY] = audio_track_metadata(channel, num_channels)
        for audio_clip, clip in zip(track, timeline.clips, strict=True):
            source_channel = str(clip.reference.first_channel + channel + 1)
            audio_clip.metadata[ADAPTER_KEY] = {
                "@premiereChannelType": CHANNEL_TYPES.get(clip.reference.num_channels, "mono"),
                "enabled": "TRUE",
                "sourcetrack": {"mediatype": "audio", "trackindex": source_channel},
            }
        result.tracks.append(track)
    root = ElementTree.fromstring(otio.adapters.write_to_string(result, "fcp_xml"))
    root.find(".//sequence/duration").text = str(timeline.edges[-1])
    for item in root.iter("clipitem"):
        for extra_rate in item.findall("rate")[1:]:
            item.remove(extra_rate)
    link_clips(root.find(".//sequence/media"))
    ElementTree.indent(root)
    header = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n'
    return header + ElementTree.tostring(root, encoding="utf-8") + b"\n"


def sequence_metadata(timeline: Timeline) -> dict:
    """Return the size, rate and audio of a timeline."""
    outputs = [{"index": index, "numchannels": "1", "downmix": "0", "channel": {"index": index}} for index in "12"]
    audio = {
        "numOutputChannels": "2",
        "format": {"samplecharacteristics": AUDIO_CHARACTERISTICS},
        "outputs": {"group": outputs},
    }
    video = {"format": {"samplecharacteristics": video_characteristics(timeline.settings)}}
    return {
        "@explodedTracks": "true",  # each channel of a stream has a track
        "media": {"video": video, "audio": audio},
        "timecode": {"displayformat": timeline.settings.timecode_format},
    }


def file_metadata(reference: MediaReference) -> dict:
    """Return the size, rate, audio and count of timecode of a match."""
    streams = {"video": {"samplecharacteristics": video_characteristics(reference)}}
    if reference.num_channels:
        streams["audio"] = [
            {"samplecharacteristics": AUDIO_CHARACTERISTICS, "channelcount": str(num_channels)}
            for num_channels in reference.channels_of_tracks or (reference.num_channels,)
        ]
    return {"media": streams, "timecode": {"displayformat": reference.timecode_format}}


def video_characteristics(reference: MediaReference) -> dict:
    """Return the size and rate of a match."""
    whole_rate = math.ceil(reference.rate_fps)
    return {
        "rate": {"timebase": str(whole_rate), "ntsc": str(whole_rate != reference.rate_fps).upper()},
        "width": str(reference.width_px),
        "height": str(reference.height_px),
        "anamorphic": "FALSE",
        "pixelaspectratio": "square",
        "fielddominance": "none",
    }


def audio_track_metadata(channel: int, num_channels: int) -> dict:
    """Return how the track of a channel belongs to those of the others."""
    metadata = {"outputchannelindex": str(channel % 2 + 1)}
    if num_channels in CHANNEL_TYPES:
        metadata |= {
            "@premiereTrackType": CHANNEL_TYPES[num_channels].capitalize(),
            "@currentExplodedTrackIndex": str(channel),
            "@totalExplodedTrackCount": str(num_channels),
        }
    return metadata


def link_clips(media: ElementTree.Element) -> None:
    """Link the video and the audio of each clip, so that editing software moves and trims them together.

    Args:
        media: The video and audio tracks of a sequence.
    """
    linked: dict[tuple[str, str], list] = {}
    for kind in ("video", "audio"):
        for track_index, track in enumerate(media.findall(f"{kind}/track"), start=1):
            for clip_index, item in enumerate(track.findall("clipitem"), start=1):
                place = (item.findtext("start"), item.findtext("end"))
                linked.setdefault(place, []).append((item, kind, track_index, clip_index))
    for items in linked.values():
        for item, *_ in items:
            for other, kind, track_index, clip_index in items if len(items) > 1 else []:
                link = ElementTree.SubElement(item, "link")
                ElementTree.SubElement(link, "linkclipref").text = other.get("id")
                ElementTree.SubElement(link, "mediatype").text = kind
                ElementTree.SubElement(link, "trackindex").text = str(track_index)
                ElementTree.SubElement(link, "clipindex").text = str(clip_index)
                if kind == "audio":
                    ElementTree.SubElement(link, "groupindex").text = "1"
