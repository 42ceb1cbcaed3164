"""Write edit decision lists (CMX 3600), which nearly all editing software reads."""

import math
import re

from videosummarizer.extraction.exports.otio import import_otio, otio_timeline
from videosummarizer.extraction.exports.timeline import ExportError, Timeline


def write_edl(timeline: Timeline) -> bytes:
    """Return a CMX 3600 EDL that cuts video and audio together.

    Timecode that is not drop-frame counts 24, 30 or 60 frames per second at 23.976, 29.97 and 59.94 fps as well. The
    adapter would use drop-frame at the last two, so it gets the whole rate. It names only the video channel of an
    event, and no FCM, the mode of the timecode: both are added.

    Raises:
        ExportError: OpenTimelineIO or its adapter is not installed, or the matches are counted at different rates.
    """
    counts = {(reference.rate_fps, reference.is_drop_frame): reference for reference in timeline.references}
    if len(counts) > 1:
        counted = ", ".join(
            f"{reference.name} at {float(rate_fps):.4g} fps{' drop-frame' * is_drop_frame}"
            for (rate_fps, is_drop_frame), reference in counts.items()
        )
        raise ExportError(f"an EDL counts all timecode alike, received {counted}: use another format")
    otio = import_otio("cmx_3600")
    rate_fps, is_drop_frame = next(iter(counts), (timeline.settings.rate_fps, timeline.settings.is_drop_frame))
    rate_fps = rate_fps if is_drop_frame else math.ceil(rate_fps)
    result = otio_timeline(otio, timeline, lambda reference: reference.path.name, lambda reference: rate_fps)
    text = otio.adapters.write_to_string(result, "cmx_3600", style="premiere", reelname_len=None)
    events = iter(timeline.clips)

    def name_channels(event: re.Match) -> str:
        return event[1] + {0: "V    ", 1: "B    "}.get(next(events).reference.num_channels, "AA/V ")

    text = re.sub(r"^(\d+ +AX +)V    ", name_channels, text, flags=re.MULTILINE)
    mode = "DROP FRAME" if is_drop_frame else "NON-DROP FRAME"
    return text.replace("\n", f"\nFCM: {mode}\n", 1).encode()
