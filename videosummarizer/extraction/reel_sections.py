"""The sections of a styled reel or of a reel of several matches, and where each lies in it."""

import itertools
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.extraction.exports.timeline import find_timebase
from videosummarizer.extraction.reel import split_at_jumps
from videosummarizer.extraction.reel_style import ReelStyle

# How long the title card is shown.
INTRO_SEC = 3.0
# Frame rates outside of this range are those of damaged timestamps.
MIN_RATE_FPS, MAX_RATE_FPS = 5, 120


@dataclass(frozen=True)
class ReelSection:
    """A section of a match, or a part of one.

    Attributes:
        video_path: The match.
        video_info: The result of `media.probe`.
        start_sec: Where it begins in the match.
        end_sec: Where it ends.
        title: The title of the match.
        index: The number of the section, from 0. A section in which the match has a gap of hours becomes several parts.
        rank: Its place by score, such as "#2 of 7"; empty without scores.
    """

    video_path: Path
    video_info: media.VideoInfo
    start_sec: float
    end_sec: float
    title: str
    index: int = 0
    rank: str = ""


@dataclass(frozen=True)
class Placement:
    """Where something lies in the reel, in frames of the reel.

    Attributes:
        start: Its first frame.
        num_frames: Its length.
        fade_in: The length of the cross-fade with what comes before it.
        fade_out: The length of the cross-fade with what comes after it.
    """

    start: int
    num_frames: int
    fade_in: int
    fade_out: int


def list_sections(
    video_path: Path, video_info: media.VideoInfo, sections: np.ndarray, title: str, scores: np.ndarray | None
) -> list[ReelSection]:
    """List the sections of a match, without the hours in which it has neither frame nor audio.

    Args:
        video_path: The match.
        video_info: The result of `media.probe`.
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        title: The title of the match.
        scores: (num_sections,) float, None without.
    """
    ranks = [""] * len(sections)
    if scores is not None and len(sections) > 1:
        places = np.argsort(np.argsort(-np.asarray(scores), kind="stable"))
        ranks = [f"#{place + 1} of {len(sections)}" for place in places]
    return [
        ReelSection(video_path, video_info, *edges_sec, title, index, rank)
        for index, (section, rank) in enumerate(zip(sections, ranks, strict=True))
        for edges_sec in split_at_jumps(video_info, section[np.newaxis])
    ]


def main_section(sections: list[ReelSection]) -> ReelSection:
    """Return the first section of the size and frame rate that most of the reel has, which become those of the reel."""
    seconds: Counter = Counter()
    for section in sections:
        seconds[format_of(section)] += section.end_sec - section.start_sec
    most = max(seconds, key=lambda one: seconds[one])
    return next(section for section in sections if format_of(section) == most)


def format_of(section: ReelSection) -> tuple[int, int, Fraction]:
    """Return the width, height and frame rate of the match of a section."""
    info = section.video_info
    return info.width_px, info.height_px, Fraction(info.frame_rate_fps).limit_denominator(1001)


def output_rate(video_info: media.VideoInfo) -> Fraction:
    """Return the frame rate of the reel: the match's, or the most frequent one of a match whose rate varies."""
    edges_sec = video_info.frame_edges_sec - video_info.frame_times_sec[0]
    rate_fps, is_exact = find_timebase(video_info.frame_rate_fps, edges_sec)
    if is_exact:
        return rate_fps
    median_fps = 1 / float(np.median(np.diff(edges_sec)))
    is_steady = abs(video_info.frame_rate_fps / median_fps - 1) < 0.05  # the median is one of rounded distances
    estimate_fps = min(max(video_info.frame_rate_fps if is_steady else median_fps, MIN_RATE_FPS), MAX_RATE_FPS)
    whole = round(estimate_fps)
    return Fraction(whole) if abs(estimate_fps / whole - 1) < 0.01 else Fraction(estimate_fps).limit_denominator(1001)


def place(lengths: list[int], fade: int) -> list[Placement]:
    """Place parts one after another. A cross-fade takes at most half of each of its two parts.

    Args:
        lengths: The number of frames of each.
        fade: The number of frames of a cross-fade.
    """
    fades = [0, *(min(fade, one // 2, other // 2) for one, other in itertools.pairwise(lengths)), 0]
    placements, end = [], 0
    for length, (fade_in, fade_out) in zip(lengths, itertools.pairwise(fades), strict=True):
        placements.append(Placement(end - fade_in, length, fade_in, fade_out))
        end += length - fade_in
    return placements


def place_sections(sections: list[ReelSection], style: ReelStyle, rate_fps: Fraction) -> list[Placement]:
    """Place the title card, if there is one, and the sections."""
    lengths_sec = [INTRO_SEC] * (style.intro is not None)
    lengths_sec += [section.end_sec - section.start_sec for section in sections]
    return place([max(1, round(length * rate_fps)) for length in lengths_sec], round(style.transition_sec * rate_fps))


def styled_edges_sec(sections: list[ReelSection], style: ReelStyle) -> np.ndarray:
    """Return (num_sections + 1,) float64: where each section starts in the reel, and the reel's end.

    A title card counts as a part of the first section, and a section starts with its cross-fade.

    Args:
        sections: As from `list_sections`.
        style: The style.
    """
    rate_fps = output_rate(main_section(sections).video_info)
    placements = place_sections(sections, style, rate_fps)
    starts = dict.fromkeys(section.index for section in sections)
    for section, placement in zip(reversed(sections), reversed(placements), strict=False):
        starts[section.index] = placement.start
    starts[sections[0].index] = 0
    return np.array([*starts.values(), placements[-1].start + placements[-1].num_frames]) / float(rate_fps)
