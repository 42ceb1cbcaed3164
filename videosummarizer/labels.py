"""videosummarizer.labels."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import merge_sections

MAX_FRAME_TIME_MISMATCH_SEC = 1.0
HEADER_FIELD = re.compile(r"[^\W\d_]{2,}")


logger = logging.getLogger(__name__)


class LabelError(Exception):
    """A label file that cannot be used; the message names file, line, what was received and what was expected."""


@dataclass(frozen=True)
class LabelRow:
    """One line of a label file: `frames` (start, end) counted in display order, `times_sec` (start, end), or None."""

    line: int
    frames: tuple[int, int] | None
    times_sec: tuple[float, float] | None


def parse_time(text: str) -> float:
    """Seconds of `HH:MM:SS[.fff]`, `MM:SS[.fff]` or `SS[.fff]`.

    Raises:
        ValueError: the text is none of these, or minutes or seconds after a colon are 60 or more.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text, re.ASCII)
    if not match:
        raise ValueError(text)
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if (match[2] and seconds >= 60) or (match[1] and minutes >= 60):
        raise ValueError(text)
    return hours * 3600 + minutes * 60 + seconds


def format_time(seconds: float) -> str:
    """`HH:MM:SS` of a time in seconds, the fraction dropped, as in label files."""
    seconds = int(seconds + TIME_TOLERANCE_SEC)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def read_label_file(path: str | os.PathLike, errors: list[LabelError] | None = None) -> list[LabelRow]:
    """Rows of a label file in the file's order; what only the video can tell is checked by `resolve_sections`.

    A byte order mark, CRLF, blank lines and spaces around commas are accepted; an empty file has no rows.

    Args:
        path: the label file.
        errors: takes the errors of all lines, which are then left out; by default the first is raised.

    Raises:
        LabelError: not UTF-8 text, a header line, a number of columns other than 2 or 4, a field that is no
            number or time, or a section whose end is not after its start.
    """
    path, rows = Path(path), []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{path}: received bytes that are not UTF-8 text, expected a label file: save it as UTF-8"
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                rows.append(parse_label_line(f"{path}, line {number}", number, line))
        except LabelError as error:
            if errors is None:
                raise
            errors.append(error)
    return rows


def parse_label_line(where: str, number: int, line: str) -> LabelRow:
    """Row of one non-blank line; `where` names file and line in errors. Raises LabelError as `read_label_file` does."""
    fields = [field.strip() for field in line.split(",")]
    if all(HEADER_FIELD.search(field) for field in fields):
        raise LabelError(
            f"{where}: received a header or text ({line.strip()!r}), expected a highlight section: "
            "label files have no header, delete the line"
        )
    if len(fields) not in (2, 4):
        raise LabelError(
            f"{where}: received {len(fields)} column{'s' * (len(fields) != 1)} ({line.strip()!r}), expected 4 "
            "(start_frame,end_frame,start_time,end_time) or 2 (start,end), separated by commas"
        )
    if len(fields) == 4:
        frames = parse_pair(where, "frame number", fields[:2], parse_frame)
        return LabelRow(number, frames, parse_pair(where, "time", fields[2:], parse_time, ordered=False))
    are_times = [":" in field or "." in field for field in fields]
    if any(are_times) and not all(are_times) and all(map(is_time, fields)):
        raise LabelError(
            f"{where}: received one time and one whole number ({line.strip()!r}), expected two times "
            "(with a colon or a decimal point: 00:00:16 or 16.0) or two frame numbers (589)"
        )
    if any(are_times):
        return LabelRow(number, None, parse_pair(where, "time", fields, parse_time))
    return LabelRow(number, parse_pair(where, "frame number", fields, parse_frame), None)


def is_time(text: str) -> bool:
    """Whether `parse_time` accepts the text."""
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def parse_frame(text: str) -> int:
    """Frame number, a whole number of 0 or more. Raises ValueError for anything else."""
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise ValueError(text)
    return int(text)


def parse_pair(where: str, kind: str, fields: list[str], parse, ordered: bool = True) -> tuple:
    """(start, end) of two fields. Raises LabelError where `parse` refuses one and, if `ordered`, where end <= start."""
    expected = {"frame number": "a whole number of 0 or more", "time": "HH:MM:SS[.fff], MM:SS or seconds"}[kind]
    pair = []
    for name, field in zip(("start", "end"), fields, strict=True):
        try:
            pair.append(parse(field))
        except ValueError:
            raise LabelError(f"{where}: received {field!r} as {name} {kind}, expected {expected}") from None
    if ordered and pair[1] <= pair[0]:
        raise LabelError(
            f"{where}: received a section from {kind} {fields[0]} to {fields[1]}, expected its end after its start"
        )
    return tuple(pair)


def resolve_sections(
    path: str | os.PathLike,
    rows: list[LabelRow],
    frame_times_sec: np.ndarray,
    duration_sec: float,
    errors: list[LabelError] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Highlight sections of a video in seconds, sorted and merged, and a warning for each oddity that was mended.

    Args:
        path: the label file, to name it in messages.
        rows: of `read_label_file`.
        frame_times_sec: (num_frames,) float64, ascending presentation times of the video's frames.
        duration_sec: the video's length; frame number num_frames, one past the last, stands for it.
        errors: takes the errors of all rows, which are then left out; by default the first is raised.

    Returns:
        sections_sec: (num_sections, 2) float64, disjoint, ascending, half-open, within [0, duration_sec].
        warnings: messages that name file and line.

    Raises:
        LabelError: a section begins after the video ends.
    """
    frame_edges_sec = np.append(frame_times_sec, duration_sec)
    num_frames = len(frame_times_sec)
    sections, warnings = [], []
    previous_start = previous_end = 0.0
    for row in rows:
        where = f"{path}, line {row.line}"
        start, end = row.frames or row.times_sec
        limit, unit = (num_frames, "frame ") if row.frames else (duration_sec, "")
        if start >= limit:
            error = LabelError(
                f"{where}: received a section that begins at {unit}{describe_boundary(row, 0)}, expected a begin "
                f"before the video's end ({num_frames} frames, {duration_sec:.2f} s): does the file belong to this "
                "video?"
            )
            if errors is None:
                raise error
            errors.append(error)
            continue
        if end > limit + (0 if row.frames else TIME_TOLERANCE_SEC):
            warnings.append(
                f"{where}: the section ends at {unit}{describe_boundary(row, 1)}, past the video's end "
                f"({num_frames} frames, {duration_sec:.2f} s): clipped"
            )
        end = min(end, limit)
        if row.frames:
            start, end = float(frame_edges_sec[start]), float(frame_edges_sec[end])
            if row.times_sec:
                apart = max(abs(start - row.times_sec[0]), abs(end - min(row.times_sec[1], duration_sec)))
                if apart > MAX_FRAME_TIME_MISMATCH_SEC:
                    warnings.append(
                        f"{where}: frames {row.frames[0]},{row.frames[1]} are shown at "
                        f"{start:.2f},{end:.2f} s, {apart:.1f} s from the times given: the frames are taken"
                    )
        if start < previous_start:
            warnings.append(f"{where}: the section begins before the one above it: sorted")
        elif start < previous_end - TIME_TOLERANCE_SEC:
            warnings.append(f"{where}: the section overlaps one above it: merged")
        previous_start, previous_end = start, max(previous_end, end)
        sections.append((start, end))
    return merge_sections(sections), warnings


def describe_boundary(row: LabelRow, edge: int) -> str:
    """A row's start (edge 0) or end (edge 1) for a message."""
    return str(row.frames[edge]) if row.frames else f"{row.times_sec[edge]:.2f} s"
