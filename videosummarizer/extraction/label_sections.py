"""Read the sections of label files: those that are cut, and those that are shown for comparison."""

import hashlib
import logging
import os
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.extraction.job import ExtractionError
from videosummarizer.labels import LabelError, read_label_file, resolve_sections
from videosummarizer.match_files import find_label_path
from videosummarizer.sections import to_frames
from videosummarizer.undecided import MAX_UNDECIDED_BYTES, find_undecided_path, read_undecided, resolve_undecided
from videosummarizer.untrusted_file import read_limited

logger = logging.getLogger(__name__)


def refuse_sections_path(sections_path: Path, num_matches: int) -> str | None:
    """Return the error message about a --sections that fits no match, None for any other."""
    if not sections_path.exists():
        return f"--sections: received {sections_path}, which does not exist, expected a label file or a folder of them"
    if num_matches > 1 and not sections_path.is_dir():
        return (
            f"--sections: received the label file {sections_path} for {num_matches} matches, expected a folder that "
            "has a <title>.txt for each: give the folder, or one match"
        )
    return None


def find_sections_file(sections_path: Path, video_path: Path) -> Path:
    """Return the label file whose sections are cut: the path itself or, if it is a folder, the match's file in it.

    Raises:
        ExtractionError: The folder has no label file of the match.
    """
    if not sections_path.is_dir():
        return sections_path
    label_path = find_label_path(sections_path / video_path.name)
    if not label_path.exists():
        raise ExtractionError(f"{label_path}: no such label file, expected the sections of {video_path}")
    return label_path


def hash_label_file(label_path: Path) -> str | None:
    """Return the hexadecimal SHA-256 of a label file and of its undecided time; None where it cannot be read."""
    try:
        digest, undecided_path = hashlib.sha256(label_path.read_bytes()), find_undecided_path(label_path)
        if os.path.lexists(undecided_path):
            digest.update(b"\0" + read_limited(undecided_path, MAX_UNDECIDED_BYTES))
        return digest.hexdigest()
    except (OSError, ValueError):
        return None


def read_sections(label_path: Path, info: media.VideoInfo) -> np.ndarray:
    """Read a label file as (num_sections, 2) int64 frames. Sections that touch stay two. Warns of what was corrected.

    Raises:
        LabelError: The file cannot be used.
    """
    rows = read_label_file(label_path)
    sections_sec, warnings = resolve_sections(
        label_path, rows, info.frame_times_sec, info.duration_sec, keep_touching=True
    )
    for warning in warnings:
        logger.warning(warning)
    return to_frames(sections_sec, info.frame_times_sec)


def read_labelled_sections(
    video_path: Path, info: media.VideoInfo, cut_sections_path: Path | None = None
) -> np.ndarray | None:
    """Read the label file next to a match as (num_sections, 2) int64 frames, to show it.

    Args:
        video_path: The match.
        info: The result of `media.probe`.
        cut_sections_path: The label file whose sections are cut. It is not shown once more for comparison.

    Returns:
        The sections; None where there is no usable label file.
    """
    label_path = find_label_path(video_path)
    if not label_path.exists() or (cut_sections_path and os.path.samefile(label_path, cut_sections_path)):
        return None
    try:
        rows = read_label_file(label_path)
        sections_sec, _ = resolve_sections(label_path, rows, info.frame_times_sec, info.duration_sec)
    except LabelError as error:
        logger.warning("%s. The labelled sections are not shown", error)
        return None
    return to_frames(sections_sec, info.frame_times_sec)


def read_undecided_time(label_path: Path, info: media.VideoInfo) -> np.ndarray | None:
    """Read the time of a match that nobody has looked at, (num_ranges, 2) int64 frames, to show it.

    Args:
        label_path: The label file, next to which it lies.
        info: The result of `media.probe`.

    Returns:
        The ranges; None where there are none, or none that can be used.
    """
    try:
        undecided = read_undecided(find_undecided_path(label_path))
        undecided_sec, warnings = resolve_undecided(label_path, undecided, info, np.empty((0, 2)))
    except (LabelError, OSError) as error:
        logger.warning("%s. The undecided time is not shown", error)
        return None
    for warning in warnings:
        logger.warning(warning)
    return to_frames(undecided_sec, info.frame_times_sec) if len(undecided_sec) else None
