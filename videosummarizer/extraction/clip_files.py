"""Name the clips of a match, one file per section, and find out whether all are written.

A name has the section's rank by score, its score, and the time at which it begins: `01_0.93_00-12-31.mp4`. Without
scores, it has the section's number and time.
"""

import re
from pathlib import Path

import numpy as np

from videosummarizer.extraction.outputs import NUM_SCORE_DECIMALS
from videosummarizer.labels import format_time

CLIP_NAME = re.compile(r"\d{2,}_(\d\.\d\d_)?\d{2,}-\d\d-\d\d\.mp4")


def name_clips(starts_sec: np.ndarray, scores: np.ndarray | None) -> list[str]:
    """Return the names of clips, in the order of the sections.

    Args:
        starts_sec: (num_sections,) float64, where the sections begin.
        scores: (num_sections,) float64 in [0, 1]; None without scores. Sections whose score is NaN come last.
    """
    ranks = np.arange(len(starts_sec))
    if scores is not None:
        scores = np.round(scores, NUM_SCORE_DECIMALS)  # as a report stores them, so that the names stay the same
        ranks[np.argsort(-scores, kind="stable")] = np.arange(len(starts_sec))
    num_digits = max(2, len(str(len(starts_sec))))
    times = [format_time(start_sec).replace(":", "-") for start_sec in starts_sec]
    parts = [""] * len(times) if scores is None else [f"{score:.2f}_" if np.isfinite(score) else "" for score in scores]
    return [f"{rank + 1:0{num_digits}d}_{part}{time}.mp4" for rank, part, time in zip(ranks, parts, times, strict=True)]


def are_complete(clips_dir: Path, sections: list[dict]) -> bool:
    """Return whether a folder has the clips of the sections of a previous run's report."""
    try:
        has_scores = any("score" in section for section in sections)
        scores = np.array([section.get("score", np.nan) for section in sections], float) if has_scores else None
        names = name_clips(np.array([section["start_sec"] for section in sections], float), scores)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return False
    return all((clips_dir / name).exists() for name in names)


def remove_clips(clips_dir: Path) -> None:
    """Delete the clips in a folder, and the folder unless something else is in it."""
    for path in clips_dir.iterdir():
        if CLIP_NAME.fullmatch(path.name):
            path.unlink()
    if not any(clips_dir.iterdir()):
        clips_dir.rmdir()
