"""Read timecode: hours, minutes, seconds and the number of a frame, as in the timecode track of a recording."""

import itertools
import math
import re
from fractions import Fraction

import av

from videosummarizer import media

# The frame rates of SMPTE ST 12 timecode, which are also those that an EDL can express.
RATES_FPS = [Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]
# Those at which drop-frame timecode skips numbers.
DROP_FRAME_RATES_FPS = (Fraction(30000, 1001), Fraction(60000, 1001))
# How far into a file the packet of its timecode track is looked for. It is due at the start.
MAX_TIMECODE_PACKETS = 200
TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")


def read_start(container: av.container.InputContainer, stream: av.VideoStream, rate_fps: Fraction) -> tuple[int, bool]:
    """Read the timecode of the first frame of a video.

    Args:
        container: The video.
        stream: Its video track.
        rate_fps: The rate of RATES_FPS at which its frames are counted.

    Returns:
        The number of frames since 00:00:00:00, and whether the timecode is drop-frame.
    """
    text = find_timecode(stream.metadata) or find_timecode(container.metadata)
    counted_fps = find_counted_rate(container, text, rate_fps)
    count, is_drop_frame = parse_timecode(text, counted_fps)
    return round(count * rate_fps / counted_fps), is_drop_frame and rate_fps in DROP_FRAME_RATES_FPS


def find_counted_rate(container: av.container.InputContainer, text: str, rate_fps: Fraction) -> Fraction:
    """Find the rate at which timecode is counted, which may be half of the video's: cameras count 59.94p in thirties.

    A timecode track (`tmcd` of mov and mp4) stores the number of frames since 00:00:00:00. The rate is the one at which
    that number is written as the text. Within the first second any rate is possible, and the video's is taken.
    """
    number = read_counted_frames(container, text)
    if number is None:
        return rate_fps
    candidates = [rate_fps, *sorted(RATES_FPS, key=lambda rate: rate_fps % rate != 0)]
    return next((rate for rate in candidates if parse_timecode(text, rate)[0] == number), rate_fps)


def read_counted_frames(container: av.container.InputContainer, text: str) -> int | None:
    """Read the number that the timecode track with a text stores, None without such a track."""
    tracks = [track for track in container.streams.data if text and find_timecode(track.metadata) == text]
    if not tracks:
        return None
    packets = itertools.islice(media.demux(container), MAX_TIMECODE_PACKETS)
    content = next((bytes(packet) for packet in packets if packet.stream.index == tracks[0].index), b"")
    return int.from_bytes(content, "big") if len(content) == 4 else None


def find_timecode(metadata: dict[str, str]) -> str:
    """Return the timecode in the metadata of a file or stream, empty without one. Matroska's names are in capitals."""
    return next((value for name, value in metadata.items() if name.lower() == "timecode"), "")


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
    is_drop_frame = match[4] != ":" and rate_fps in DROP_FRAME_RATES_FPS
    if is_drop_frame:
        num_minutes = hours * 60 + minutes
        count -= numbers_per_second // 15 * (num_minutes - num_minutes // 10)
    return count, is_drop_frame
