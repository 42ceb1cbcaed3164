"""Write chapters: of a match for video players (WebVTT)."""

import math

import numpy as np

# A time this close above a millisecond is that millisecond: the difference is float rounding.
MILLISECOND_TOLERANCE = 1e-3


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
