"""Read, check and write the undecided time of a match: the stretches that nobody has looked at.

`<title>_undecided.json` next to the label file holds `{"schema_version": 1, "undecided": [[start_frame, end_frame],
...]}`. Frames are counted in display order and ranges are half-open, as in label files. Undecided time is neither a
highlight nor no highlight: training and scores leave it out. All other time is decided, and so is a match without this
file. docs/labels.md describes the format.
"""

import json
import os
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.atomic_file import atomic_write
from videosummarizer.labels import LabelError, format_time
from videosummarizer.match_files import UNDECIDED_ENDING, find_file
from videosummarizer.sections import merge_sections, overlaps_sec, to_seconds
from videosummarizer.untrusted_file import excerpt, parse_json, read_limited

# What the name of the file has after the title of its match.
ENDING = f"{UNDECIDED_ENDING}.json"
# The schema version that this version reads and writes.
SCHEMA_VERSION = 1
# A file of this size has about 50,000 ranges.
MAX_UNDECIDED_BYTES = 2**20
# No match has more frames than a float64 can count, as JavaScript does.
MAX_FRAME = 2**53


def find_undecided_path(label_path: Path) -> Path:
    """Return the path of the undecided time of a match, next to its label file or its video; it need not exist."""
    return find_file(label_path.with_name(f"{label_path.stem}{ENDING}"))


def read_undecided(path: str | os.PathLike) -> np.ndarray:
    """Read the undecided ranges of a file, (num_ranges, 2) int64 frames: disjoint, ascending, none without a file.

    `resolve_undecided` checks the rest, for which the video is needed.

    Raises:
        LabelError: The file is too large, is not JSON, has another schema version, or a range is invalid. The message
            names the file, and says what was received, what was expected and what to do.
        OSError: The file cannot be read.
    """
    if not os.path.lexists(path):
        return np.empty((0, 2), np.int64)
    advice = "save the labels again on the review page, or delete the file if all of the match has been looked at"
    try:
        content = parse_json(read_limited(path, MAX_UNDECIDED_BYTES))
    except ValueError as error:  # also of bytes that are no text
        raise LabelError(f"{path}: cannot be read as undecided time ({excerpt(str(error))}): {advice}") from error
    if not isinstance(content, dict) or not isinstance(content.get("undecided"), list):
        raise LabelError(
            f'{path}: received JSON without a list "undecided", expected {{"schema_version": {SCHEMA_VERSION}, '
            f'"undecided": [[start_frame, end_frame], ...]}}: {advice}'
        )
    version = content.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise LabelError(
            f"{path}: received undecided time of schema version {excerpt(json.dumps(version))}, expected "
            f"{SCHEMA_VERSION}: use the version of this toolkit that wrote it, or {advice}"
        )
    for number, frames in enumerate(content["undecided"], start=1):
        if not is_range(frames):
            raise LabelError(
                f"{path}, range {number}: received {excerpt(json.dumps(frames))}, expected [start_frame, end_frame], "
                f"whole numbers of 0 or more with the end after the start: {advice}"
            )
    return merge_sections(content["undecided"]).astype(np.int64)


def is_range(frames) -> bool:
    """Return whether a value of a JSON document is a range of frames."""
    is_pair = isinstance(frames, list) and len(frames) == 2 and all(type(frame) is int for frame in frames)
    return is_pair and 0 <= frames[0] < frames[1] <= MAX_FRAME


def resolve_undecided(
    label_path: Path, undecided: np.ndarray, info: media.VideoInfo, sections_sec: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Return the undecided time of a video in seconds, and warnings.

    Args:
        label_path: The label file, next to which the undecided time lies.
        undecided: The ranges of `read_undecided`.
        info: The result of `media.probe`.
        sections_sec: (num_sections, 2) float64 seconds, the sections of the label file.

    Returns:
        undecided_sec: (num_ranges, 2) float64 seconds, disjoint, ascending, half-open, within the video.
        warnings: Messages that name the file: of time that was clipped at the video's end, and of sections in undecided
            time.

    Raises:
        LabelError: A range begins after the video ends.
    """
    path, num_frames, warnings = find_undecided_path(label_path), len(info.frame_times_sec), []
    ending = f"the video's end ({num_frames} frames, {info.duration_sec:.2f} s)"
    for start, end in undecided.tolist():
        if start >= num_frames:
            raise LabelError(
                f"{path}: received undecided time that begins at frame {start}, expected it to begin before {ending}: "
                "does the file belong to this video?"
            )
        if end > num_frames:
            warnings.append(f"{path}: undecided time ends at frame {end}, past {ending}: clipped")
    undecided_sec = to_seconds(np.minimum(undecided, num_frames), info.frame_times_sec, info.duration_sec)
    touching_sec = sections_sec[overlaps_sec(sections_sec, undecided_sec) > 0]
    if len(touching_sec):
        warnings.append(
            f"{label_path}: {len(touching_sec)} of {len(sections_sec)} sections are in undecided time of {path}, or "
            f"reach into it (the first at {format_time(touching_sec[0, 0])}), which is not trained on: where they are "
            "right, mark it as looked at on the review page"
        )
    return undecided_sec, warnings


def format_undecided(undecided: np.ndarray, undecided_sec: np.ndarray) -> bytes:
    """Return the content of a file of undecided time; without ranges, all of the match is decided.

    Args:
        undecided: (num_ranges, 2) int64, the first frame and the frame after the last, in display order.
        undecided_sec: (num_ranges, 2) float64, the same in seconds, which are written for people.
    """
    times = [[format_time(start_sec), format_time(end_sec)] for start_sec, end_sec in undecided_sec]
    document = {"schema_version": SCHEMA_VERSION, "undecided": undecided.tolist(), "undecided_times": times}
    return (json.dumps(document) + "\n").encode()


def write_undecided(path: str | os.PathLike, undecided: np.ndarray, undecided_sec: np.ndarray) -> None:
    """Write a file of undecided time atomically, see `format_undecided`.

    Raises:
        OSError: The file cannot be written. The error names it.
    """
    atomic_write(path, format_undecided(undecided, undecided_sec))
