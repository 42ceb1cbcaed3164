"""Read, check and write label files: the highlight sections of a match as text, one section per line.

A line has four columns, `start_frame,end_frame,start_time,end_time`, or two, which are either frames or times. Frames
are counted in display order, sections are half-open, and there is no header. docs/labels.md describes the format.
"""

import logging
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import merge_sections
from videosummarizer.untrusted_file import excerpt, read_limited

# Frame numbers and times of a row that differ by more cause a warning.
MAX_FRAME_TIME_MISMATCH_SEC = 1.0
# A label file of this size has 30,000 sections.
MAX_LABEL_BYTES = 2**20
# So many lines with problems are named.
MAX_MESSAGES = 20
# A field is text if it has two letters in a row, or a letter that is not of the alphabet, such as a syllable of Hangul.
HEADER_FIELD = re.compile(r"[^\W\d_]{2,}|(?![\x00-\x7f])[^\W\d_]")
# Hours, minutes, seconds and a frame number, as editing software writes them.
TIMECODE_FIELD = re.compile(r"\d+:\d+:\d+[:;]\d+", re.ASCII)
# A whole number as pandas writes it in a column with gaps.
FLOAT_FRAME = re.compile(r"\d+\.0+", re.ASCII)
# The digits of a frame number. Python converts no longer ones.
FRAME_NUMBER = re.compile(r"\d{1,4300}", re.ASCII)
# Sections of frame numbers that are shorter may be meant in seconds, if the match is long enough for these.
MIN_PLAUSIBLE_SEC = 2.0
# Sections of times with .0 that are longer may be meant as frame numbers.
MAX_PLAUSIBLE_SEC = 60.0


logger = logging.getLogger(__name__)


class LabelError(Exception):
    """A label file cannot be used; the message names file and line, what was received and what was expected."""


@dataclass(frozen=True)
class LabelRow:
    """One line of a label file.

    Attributes:
        line: Its number, counted from 1.
        frames: (start, end), counted in display order, or None.
        times_sec: (start, end), or None.
        are_floats: Whether the times are whole numbers with .0, as pandas writes frame numbers.
    """

    line: int
    frames: tuple[int, int] | None
    times_sec: tuple[float, float] | None
    are_floats: bool = False


def parse_time(text: str) -> float:
    """Return the seconds of `HH:MM:SS[.fff]`, `MM:SS[.fff]` or `SS[.fff]`.

    Raises:
        ValueError: The text is none of these, minutes or seconds after a colon are 60 or more, or it is
            more than float64 can hold.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text, re.ASCII)
    if not match:
        raise ValueError(text)
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if (match[2] and seconds >= 60) or (match[1] and minutes >= 60):
        raise ValueError(text)
    time_sec = hours * 3600 + minutes * 60 + seconds
    if not math.isfinite(time_sec):
        raise ValueError(text)
    return time_sec


def format_time(seconds: float) -> str:
    """Format a time in seconds as `HH:MM:SS`, as in label files; the fraction is dropped."""
    seconds = int(seconds + TIME_TOLERANCE_SEC)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def format_sections(sections: np.ndarray, sections_sec: np.ndarray) -> str:
    """Return the text of a label file.

    Args:
        sections: (num_sections, 2) int, the first frame and the frame after the last, in display order.
        sections_sec: (num_sections, 2) float, the same in seconds.
    """
    return "".join(
        f"{start},{end},{format_time(start_sec)},{format_time(end_sec)}\n"
        for (start, end), (start_sec, end_sec) in zip(sections, sections_sec, strict=True)
    )


def read_label_file(path: str | os.PathLike, errors: list[LabelError] | None = None) -> list[LabelRow]:
    """Read the rows of a label file in the file's order.

    A byte order mark, CRLF, blank lines and spaces around commas are accepted. An empty file has no rows.
    `resolve_sections` checks the rest, for which the video is needed.

    Args:
        path: The label file.
        errors: Takes the errors of all lines, which are then left out; by default the first error is raised.

    Raises:
        LabelError: The file is larger than any label file or not UTF-8 text, a line is a header, the number of columns
            is not 2 or 4, a field is not a number or time, or a section does not end after its start.
    """
    path, rows = Path(path), []
    try:
        lines = read_limited(path, MAX_LABEL_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{path}: received bytes that are not UTF-8 text, expected a label file: save it as UTF-8"
        ) from error
    except ValueError as error:
        raise LabelError(f"{path}: {error}: is it a label file?") from error
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                rows.append(parse_label_line(f"{path}, line {number}", number, line))
        except LabelError as error:
            if errors is None:
                raise
            errors.append(error)
    return rows


def parse_label_line(location: str, number: int, line: str) -> LabelRow:
    """Parse one non-blank line.

    Args:
        location: File and line, for error messages.
        number: The number of the line.
        line: Its text.

    Raises:
        LabelError: See `read_label_file`.
    """
    fields = [field.strip() for field in line.split(",")]
    if all(HEADER_FIELD.search(field) for field in fields):
        raise LabelError(
            f"{location}: received a header or text ({excerpt(line.strip())!r}), expected a highlight section: "
            "label files have no header, delete the line"
        )
    if problem := describe_form(line.strip(), fields):
        raise LabelError(f"{location}: received {problem}")
    if len(fields) not in (2, 4):
        raise LabelError(
            f"{location}: received {len(fields)} column{'s' * (len(fields) != 1)} ({excerpt(line.strip())!r}), "
            "expected 4 (start_frame,end_frame,start_time,end_time) or 2 (start,end), separated by commas"
        )
    if len(fields) == 4:
        frames = parse_pair(location, "frame number", fields[:2], parse_frame)
        return LabelRow(number, frames, parse_pair(location, "time", fields[2:], parse_time, ordered=False))
    are_times = [":" in field or "." in field for field in fields]
    if any(are_times) and not all(are_times) and all(map(is_time, fields)):
        raise LabelError(
            f"{location}: received one time and one whole number ({excerpt(line.strip())!r}), expected two times "
            "(with a colon or a decimal point: 00:00:16 or 16.0) or two frame numbers (589)"
        )
    if any(are_times):
        are_floats = all(map(FLOAT_FRAME.fullmatch, fields))
        return LabelRow(number, None, parse_pair(location, "time", fields, parse_time), are_floats)
    return LabelRow(number, parse_pair(location, "frame number", fields, parse_frame), None)


def describe_form(line: str, fields: list[str]) -> str | None:
    """Return the message about a line in a form of other programs, from the word after "received" on.

    Args:
        line: The line, not a header.
        fields: Its columns, if commas separate them.

    Returns:
        What was received, what was expected, and what to do; None for any other line.
    """
    shown = f"({excerpt(line)!r})"
    if timecode := next(filter(TIMECODE_FIELD.fullmatch, fields), None):
        return (
            f"the timecode {excerpt(timecode)!r}, whose last number counts frames, expected HH:MM:SS[.fff]: leave the "
            "frames out, or write them as a fraction of a second (10 frames of 30 per second are .333)"
        )
    if '"' in line or "'" in line:
        return f"quotes {shown}, expected numbers or times without them: delete the quotes"
    separators = [name for sign, name in ((";", "semicolons"), ("\t", "tabs"), (" ", "spaces")) if sign in line]
    if separators and (";" in line or len(fields) == 1):
        return f"columns separated by {separators[0]} {shown}, expected commas, and points in numbers: replace them"
    if len(fields) == 4 and "" in fields:
        return (
            f"an empty column {shown}, expected two frame numbers, two times, or all four: fill it in, or leave two out"
        )
    if len(fields) > 4 or (len(fields) == 3 and HEADER_FIELD.search(fields[2])):
        return f"{len(fields)} columns {shown}, expected 4 or 2: delete the further ones, such as notes"
    if len(fields) == 4 and any(map(FLOAT_FRAME.fullmatch, fields[:2])):
        return f"frame numbers with .0 {shown}, expected whole numbers: write {fields[0].partition('.')[0]}, without .0"
    return None


def is_time(text: str) -> bool:
    """Return whether `parse_time` accepts the text."""
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def parse_frame(text: str) -> int:
    """Parse a frame number, a whole number of 0 or more.

    Raises:
        ValueError: The text is anything else.
    """
    if not FRAME_NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def parse_pair(location: str, kind: str, fields: list[str], parse, ordered: bool = True) -> tuple:
    """Parse two fields as (start, end).

    Args:
        location: File and line, for error messages.
        kind: "frame number" or "time".
        fields: The two texts.
        parse: `parse_frame` or `parse_time`.
        ordered: Whether the end has to be after the start.

    Raises:
        LabelError: A field cannot be parsed, or the end is not after the start.
    """
    expected = {"frame number": "a whole number of 0 or more", "time": "HH:MM:SS[.fff], MM:SS or seconds"}[kind]
    pair = []
    for name, field in zip(("start", "end"), fields, strict=True):
        try:
            pair.append(parse(field))
        except ValueError:
            raise LabelError(f"{location}: received {excerpt(field)!r} as {name} {kind}, expected {expected}") from None
    if ordered and pair[1] <= pair[0]:
        start, end = map(excerpt, fields)
        raise LabelError(
            f"{location}: received a section from {kind} {start} to {end}, expected its end after its start"
        )
    return tuple(pair)


def resolve_sections(
    path: str | os.PathLike,
    rows: list[LabelRow],
    frame_times_sec: np.ndarray,
    duration_sec: float,
    errors: list[LabelError] | None = None,
    keep_touching: bool = False,
) -> tuple[np.ndarray, list[str]]:
    """Return the highlight sections of a video in seconds, and a warning for each problem that was corrected.

    Args:
        path: The label file, for messages.
        rows: The rows of `read_label_file`.
        frame_times_sec: (num_frames,) float64, ascending presentation times of the video's frames.
        duration_sec: The video's length, which is also the time of the frame number num_frames, one past the last.
        errors: Takes the errors of all rows, which are then left out; by default the first error is raised.
        keep_touching: As for `merge_sections`.

    Returns:
        sections_sec: (num_sections, 2) float64, disjoint, ascending, half-open, within [0, duration_sec].
        warnings: Messages that name file and line.

    Raises:
        LabelError: A section begins after the video ends.
    """
    frame_edges_sec = np.append(frame_times_sec, duration_sec)
    sections, warnings = [], []
    previous_start = previous_end = 0.0
    for row in rows:
        location = f"{path}, line {row.line}"
        try:
            (start, end), row_warnings = row_to_seconds(location, row, frame_edges_sec)
        except LabelError as error:
            if errors is None:
                raise
            errors.append(error)
            continue
        warnings += row_warnings
        if start < previous_start:
            warnings.append(f"{location}: the section begins before the one above it: sorted")
        elif start < previous_end - TIME_TOLERANCE_SEC:
            warnings.append(f"{location}: the section overlaps one above it: merged")
        previous_start, previous_end = start, max(previous_end, end)
        sections.append((start, end))
    warnings = limit_messages(path, warnings)
    if warning := warn_of_unit(path, rows, sections, duration_sec):
        warnings.append(warning)
    return merge_sections(sections, keep_touching), warnings


def limit_messages(path: str | os.PathLike, messages: list[str]) -> list[str]:
    """Return the first messages about the lines of a label file, and how many more there are."""
    num_more = len(messages) - MAX_MESSAGES
    return messages[:MAX_MESSAGES] + ([f"{path}: and {num_more} more like these"] if num_more > 0 else [])


def warn_of_unit(
    path: str | os.PathLike, rows: list[LabelRow], sections: list[tuple[float, float]], duration_sec: float
) -> str | None:
    """Return a warning if the numbers of a label file may be meant in the other unit, None otherwise.

    Args:
        path: The label file.
        rows: Its rows.
        sections: Their (start, end) in seconds.
        duration_sec: The video's length.
    """
    if not sections:
        return None
    median_sec = float(np.median([end - start for start, end in sections]))
    lasting = f"so that its sections last {median_sec:.3g} s in the median"
    frames = [row.frames for row in rows if row.frames and not row.times_sec]
    if len(frames) == len(rows) and median_sec < MIN_PLAUSIBLE_SEC and max(end for _, end in frames) <= duration_sec:
        start, end = frames[0]
        return (
            f"{path}: whole numbers are frames, {lasting}: if seconds are meant, write them with a point "
            f"({start}.0,{end}.0)"
        )
    if all(row.are_floats for row in rows) and median_sec > MAX_PLAUSIBLE_SEC:
        start, end = rows[0].times_sec
        return f"{path}: numbers with a point are seconds, {lasting}: if frames are meant, write {start:.0f},{end:.0f}"
    return None


def row_to_seconds(location: str, row: LabelRow, frame_edges_sec: np.ndarray) -> tuple[tuple[float, float], list[str]]:
    """Return a row's section as (start, end) in seconds, and a warning for each problem that was corrected.

    Args:
        location: File and line, for messages.
        row: The row.
        frame_edges_sec: (num_frames + 1,) float64, where the frames begin, and the video's end.

    Raises:
        LabelError: The section begins after the video ends.
    """
    num_frames, duration_sec = len(frame_edges_sec) - 1, float(frame_edges_sec[-1])
    start, end = row.frames or row.times_sec
    limit, unit = (num_frames, "frame ") if row.frames else (duration_sec, "")
    if start >= limit:
        question = "does the file belong to this video?"
        if row.are_floats and start < num_frames:
            question = f"if frame {start:.0f} is meant, write it without .0"
        raise LabelError(
            f"{location}: received a section that begins at {unit}{describe_boundary(row, 0)}, expected it to begin "
            f"before the video's end ({num_frames} frames, {duration_sec:.2f} s): {question}"
        )
    warnings = []
    if end > limit + (0 if row.frames else TIME_TOLERANCE_SEC):
        warnings.append(
            f"{location}: the section ends at {unit}{describe_boundary(row, 1)}, past the video's end "
            f"({num_frames} frames, {duration_sec:.2f} s): clipped"
        )
    end = min(end, limit)
    if row.frames is None:
        return (start, end), warnings
    start_sec, end_sec = frame_edges_sec[[start, end]].tolist()
    if row.times_sec:
        difference = max(abs(start_sec - row.times_sec[0]), abs(end_sec - min(row.times_sec[1], duration_sec)))
        if difference > MAX_FRAME_TIME_MISMATCH_SEC:
            warnings.append(
                f"{location}: frames {describe_boundary(row, 0)},{describe_boundary(row, 1)} are shown at "
                f"{start_sec:.2f},{end_sec:.2f} s, {difference:.1f} s from the times given: the frames are used"
            )
    return (start_sec, end_sec), warnings


def describe_boundary(row: LabelRow, edge: int) -> str:
    """Format a row's start (edge 0) or end (edge 1) for a message."""
    if row.frames:
        return excerpt(str(row.frames[edge]))
    return f"{row.times_sec[edge]:.2f} s"
