"""Write chapters: of a match as WebVTT, and of a reel for the description of a YouTube video and inside its mp4."""

import math
from fractions import Fraction

import numpy as np

from videosummarizer.labels import format_time

# A time this close above a millisecond is that millisecond: the difference is float rounding.
MILLISECOND_TOLERANCE = 1e-3
# What YouTube requires of chapters, besides ascending times from 0:00. Source: YouTube Help, "Video chapters".
YOUTUBE_MIN_CHAPTERS = 3
YOUTUBE_MIN_SEC = 10


def write_webvtt(sections_sec: np.ndarray, scores: np.ndarray | None, score_name: str = "score") -> bytes:
    """Return WebVTT chapters of the match, one per section.

    Times are rounded up to a millisecond, so that a player that seeks to one shows the section's first frame.

    Args:
        sections_sec: (num_sections, 2) float64, seconds of the match.
        scores: (num_sections,) float in [0, 1], None if the match was not scored.
        score_name: What the scores are called.
    """
    cues = [
        f"{number}\n{webvtt_time(start_sec)} --> {webvtt_time(end_sec)}\n{name}\n"
        for number, ((start_sec, end_sec), name) in enumerate(
            zip(sections_sec, section_names(len(sections_sec), scores, score_name), strict=True), start=1
        )
    ]
    return "\n".join(["WEBVTT\n", *cues]).encode()


def write_youtube_chapters(edges_sec: np.ndarray, names: list[str]) -> bytes:
    """Return the chapters of a reel as lines for the description of a YouTube video, or a line that says why not.

    Times are whole seconds, rounded down, so that no start of a section is skipped. Sections that are too short for
    YouTube share a chapter with the next ones.

    Args:
        edges_sec: (num_sections + 1,) float64, where each section starts in the reel, and the reel's end.
        names: The names of the sections.
    """
    *starts_sec, end_sec = np.floor(np.asarray(edges_sec) + MILLISECOND_TOLERANCE).astype(int).tolist()
    firsts = []  # the first sections of the chapters
    for section, start_sec in enumerate(starts_sec):
        is_long = not firsts or start_sec - starts_sec[firsts[-1]] >= YOUTUBE_MIN_SEC
        if is_long and end_sec - start_sec >= YOUTUBE_MIN_SEC:
            firsts.append(section)
    if len(firsts) < YOUTUBE_MIN_CHAPTERS:
        sections = f"{len(names)} section{'s' * (len(names) != 1)} of {end_sec} seconds in all"
        return (
            f"No chapters: YouTube shows them only if there are at least {YOUTUBE_MIN_CHAPTERS}, each of at least "
            f"{YOUTUBE_MIN_SEC} seconds, and the reel has {sections}.\n"
        ).encode()
    lasts = [first - 1 for first in firsts[1:]] + [len(names) - 1]
    chapters = zip(firsts, lasts, strict=True)
    return "".join(
        f"{youtube_time(starts_sec[first])} {names[first]}{f' to {names[last]}' * (first != last)}\n"
        for first, last in chapters
    ).encode()


def mp4_chapters(edges_sec: np.ndarray, names: list[str]) -> list[dict]:
    """Return the chapters of a reel as PyAV's `set_chapters` takes them, in milliseconds, rounded up as in WebVTT.

    Args:
        edges_sec: (num_sections + 1,) float64, where each section starts in the reel, and the reel's end.
        names: The names of the sections.
    """
    edges_ms = [round_up_to_milliseconds(edge_sec) for edge_sec in edges_sec]
    return [
        {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": name}}
        for number, (start, end, name) in enumerate(zip(edges_ms[:-1], edges_ms[1:], names, strict=True))
    ]


def section_names(num_sections: int, scores: np.ndarray | None = None, score_name: str = "score") -> list[str]:
    """Return the names of sections, with their scores if they are given and not NaN."""
    names = [f"Highlight {number}" for number in range(1, num_sections + 1)]
    if scores is None:
        return names
    notes = [f" ({score_name} {score:.2f})" if np.isfinite(score) else "" for score in scores]
    return [name + note for name, note in zip(names, notes, strict=True)]


def webvtt_time(seconds: float) -> str:
    """Format a time as `HH:MM:SS.mmm`, rounded up."""
    milliseconds = round_up_to_milliseconds(seconds)
    return f"{format_time(milliseconds // 1000)}.{milliseconds % 1000:03d}"


def youtube_time(seconds: int) -> str:
    """Format a time as YouTube does: `M:SS`, from an hour on `H:MM:SS`."""
    minutes = f"{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{seconds // 3600}:{minutes}" if seconds >= 3600 else minutes.removeprefix("0")


def round_up_to_milliseconds(seconds: float) -> int:
    """Return a time in whole milliseconds, at which a player shows the frame that starts then."""
    return math.ceil(seconds * 1000 - MILLISECOND_TOLERANCE)
