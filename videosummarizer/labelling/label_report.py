"""The text of a label file, and the report on a highlight video's shots, or that none was found."""

import importlib.metadata
from dataclasses import asdict
from pathlib import Path

import numpy as np

from videosummarizer.labelling.shots import Shot
from videosummarizer.labels import format_sections
from videosummarizer.media import VideoInfo
from videosummarizer.sections import merge_sections

# Shorter parts of the highlight video that were not found are not listed.
MIN_NOT_FOUND_SEC = 0.5


def label_text(sections_sec: np.ndarray, frame_edges_sec: np.ndarray) -> str:
    """Return the text of a label file, with a line for each section that has at least one frame.

    Args:
        sections_sec: (num_sections, 2) float64, start and end in seconds; each becomes the nearest frame boundary.
        frame_edges_sec: (num_frames + 1,) float64, where the match's frames begin, and where the last one ends.
    """
    nearest = [int(np.abs(frame_edges_sec - time_sec).argmin()) for time_sec in sections_sec.ravel()]
    sections = np.array(nearest, np.int64).reshape(-1, 2)
    sections = sections[sections[:, 0] < sections[:, 1]]
    return format_sections(sections, frame_edges_sec[sections])


def missing_parts(
    shots: list[Shot], duration_sec: float, gaps_sec: tuple[tuple[float, float], ...] = ()
) -> list[tuple[float, float]]:
    """Return (start, end) in seconds of the parts of a highlight video that lie in none of its shots and gaps."""
    covered = merge_sections([*((shot.edit_start_sec, shot.edit_end_sec) for shot in shots), *gaps_sec])
    edges = [0.0, *covered.ravel().tolist(), duration_sec]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in gaps if end - start >= MIN_NOT_FOUND_SEC]


def make_report(
    title: str, paths: tuple[Path, Path], infos: tuple[VideoInfo, VideoInfo], shots: list[Shot], min_confidence: float
) -> dict:
    """Return the report on a highlight video's shots.

    Args:
        title: of the match.
        paths: of the match and of the highlight video.
        infos: of the match and of the highlight video.
        shots: those that were found.
        min_confidence: the lowest confidence of a labelled shot.
    """
    duration_sec, gaps_sec = infos[1].duration_sec, infos[1].video_gaps_sec
    confident = [shot for shot in shots if shot.confidence >= min_confidence]
    missing = missing_parts(confident, duration_sec, gaps_sec)
    shown_sec = duration_sec - sum(end - start for start, end in gaps_sec)
    return {
        "title": title,
        "match": paths[0].name,
        "highlight_video": paths[1].name,
        "match_duration_sec": infos[0].duration_sec,
        "highlight_duration_sec": duration_sec,
        "min_confidence": min_confidence,
        "found_share": 1 - sum(end - start for start, end in missing) / shown_sec,
        "shots": [{**asdict(shot), "is_label": shot.confidence >= min_confidence} for shot in shots],
        "not_found": [{"edit_start_sec": start, "edit_end_sec": end} for start, end in missing],
        "versions": {name: importlib.metadata.version(name) for name in ("av", "librosa", "numpy", "scipy")},
    }


def longer_than_match_message(
    match_path: Path, highlight_path: Path, match_info: VideoInfo, highlight_info: VideoInfo
) -> str:
    """Return the line about a highlight video that is longer than the match, and what to do."""
    return (
        f"{highlight_path}: received a highlight video of {highlight_info.duration_sec:.0f} s, longer than the match "
        f"{match_path} of {match_info.duration_sec:.0f} s, so that no label file was written: check that the folders, "
        "or the columns of --pairs, are not swapped (full matches first)"
    )


def nothing_found_message(
    match_path: Path, highlight_path: Path, found_ratio: float, num_doubtful: int, min_confidence: float
) -> str:
    """Return the line that says why a match gets no label file, and what to do.

    Args:
        match_path: the full match.
        highlight_path: the highlight video.
        found_ratio: fraction of the highlight video that was found.
        num_doubtful: shots with a confidence below `min_confidence`.
        min_confidence: the lowest confidence of a labelled shot.
    """
    doubtful = f" ({num_doubtful} shots are below --min_confidence {min_confidence:g})" if num_doubtful else ""
    found = f"only {found_ratio:.0%}" if found_ratio >= 0.005 else "nothing"
    return (
        f"{highlight_path}: {found} of it was found in {match_path}{doubtful}, so that no label file was written: "
        "check that it was cut from this match (--pairs for other names) and keeps the match's audio or most of its "
        "frame for some seconds, or label the match by hand"
    )
