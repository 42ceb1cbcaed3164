"""Read timecode: hours, minutes, seconds and the number of a frame, as in the timecode track of a recording."""

import math
import re
from fractions import Fraction

# The frame rates of SMPTE ST 12 timecode, which are also those that an EDL can express.
RATES_FPS = [Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]
TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")


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
    is_drop_frame = match[4] != ":" and rate_fps in (Fraction(30000, 1001), Fraction(60000, 1001))
    if is_drop_frame:
        num_minutes = hours * 60 + minutes
        count -= numbers_per_second // 15 * (num_minutes - num_minutes // 10)
    return count, is_drop_frame
