"""Check every match and label file before a conversion, for `data_converter.py --check`."""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from videosummarizer import audio_track, media, problems
from videosummarizer.dataset.conversion import CANNOT_BE_CONVERTED
from videosummarizer.dataset.input_folder import describe_missing_labels, describe_missing_video
from videosummarizer.error_messages import describe_match_error
from videosummarizer.labels import LabelError, LabelRow, format_time, limit_messages, read_label_file, resolve_sections
from videosummarizer.match_files import escape
from videosummarizer.sections import total_sec
from videosummarizer.undecided import find_undecided_path, read_undecided, resolve_undecided
from videosummarizer.worker_processes import Failure, WorkerPool

# Frame intervals of a constant rate may differ by this much, because some containers round times to milliseconds.
MAX_FRAME_JITTER_SEC = 0.002
# The columns of the printed table.
COLUMNS = ("title", "length", "frame rate", "size", "codec", "audio", "sections", "highlight")


@dataclass
class MatchCheck:
    """The result of checking one match.

    Attributes:
        cells: its row of the table, in the order of COLUMNS.
        errors: problems because of which it cannot be converted.
        warnings: problems that a conversion corrects.
        notes: what else there is to know.
    """

    cells: list[str]
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def empty_cells(title: str) -> list[str]:
    """Return the row of a match of which nothing is known."""
    return [title] + ["-"] * (len(COLUMNS) - 1)


def check_match(
    title: str, video_path: Path | None, label_path: Path | None, decode: bool, track: int | str | None = None
) -> MatchCheck:
    """Check a match and its label file.

    Args:
        title: of the match.
        video_path: its video, or None if that is missing.
        label_path: its label file, or None if that is missing.
        decode: whether to decode all frames. Otherwise only the video's packets are read.
        track: which audio is read, see `tracks.AudioChoice`.
    """
    check = MatchCheck(empty_cells(title))
    if video_path is None:
        check.errors.append(describe_missing_video(label_path))
        return check
    rows, undecided, label_errors = read_labels(title, video_path, label_path)
    try:
        info = media.probe(video_path, track)
        damaged_sec = problems.find_damage(video_path, info) if decode else set()
        audio_damage = audio_track.AudioDamage()
        if decode and info.audio:
            audio_damage = audio_track.find_damage(video_path, info)
    except media.MediaError as error:
        check.errors += [media.describe_error(error), *limit_messages(label_path, list(map(str, label_errors)))]
        return check
    sections_sec, warnings = resolve_sections(label_path, rows, info.frame_times_sec, info.duration_sec, label_errors)
    undecided_sec = np.empty((0, 2))
    try:
        undecided_sec, more_warnings = resolve_undecided(label_path or video_path, undecided, info, sections_sec)
        warnings += more_warnings
    except LabelError as error:
        label_errors.append(error)
    if len(undecided_sec):
        ratio = total_sec(undecided_sec) / info.duration_sec
        check.notes.append(f"{video_path}: {ratio:.0%} is undecided time, which is neither trained nor tested on")
    check.errors += limit_messages(label_path, list(map(str, label_errors)))
    damaged_audio_sec = audio_damage.seconds(info.duration_sec)
    cancelled_sec = audio_damage.antiphase.cancelled_sec(info.duration_sec)
    check.warnings += warnings + problems.describe_problems(
        video_path, info, damaged_sec, damaged_audio_sec, cancelled_sec
    )
    if len(info.audio_tracks) > 1:
        check.notes.append(f"{video_path}: the audio tracks are {', '.join(info.audio_tracks)}")
    check.cells[1:-2] = describe_video(info)
    if not label_errors:
        check.cells[-2:] = [str(len(sections_sec)), f"{total_sec(sections_sec) / info.duration_sec:.1%}"]
    return check


def read_labels(
    title: str, video_path: Path, label_path: Path | None
) -> tuple[list[LabelRow], np.ndarray, list[str | LabelError]]:
    """Read the label file of a match, and which time nobody has looked at.

    Returns:
        The rows, the undecided frames, (num_ranges, 2) int64, and the errors. A file that cannot be read gives none of
        the first two.
    """
    rows, undecided = [], np.empty((0, 2), np.int64)
    if label_path is None:
        return rows, undecided, [describe_missing_labels(title, video_path)]
    errors = []
    try:
        rows = read_label_file(label_path, errors)
        undecided = read_undecided(find_undecided_path(label_path))
    except LabelError as error:
        errors.append(error)
    except OSError as error:
        errors.append(describe_match_error(video_path, CANNOT_BE_CONVERTED, error))
    return rows, undecided, errors


def describe_video(info: media.VideoInfo) -> list[str]:
    """Return the cells of a match that describe its video, from the length to the audio."""
    intervals_sec = np.diff(info.frame_times_sec)
    is_constant = np.ptp(intervals_sec) <= MAX_FRAME_JITTER_SEC if len(intervals_sec) else True
    return [
        format_time(info.duration_sec),
        f"{info.frame_rate_fps:.2f} {'constant' if is_constant else 'variable'}",
        f"{info.width_px}x{info.height_px}",
        info.codec,
        info.audio or "none",
    ]


def check_matches(
    videos: dict[str, Path],
    labels: dict[str, Path],
    refused: dict[str, str],
    decode: bool,
    pool: WorkerPool,
    track: int | str | None = None,
) -> int:
    """Print a table of all matches, and their errors, warnings and audio tracks below.

    Args:
        videos: paths of the videos by title.
        labels: paths of the label files by title.
        refused: error messages about matches whose names cannot be used, by title.
        decode: as for `check_match`.
        pool: the processes that check, so that one that ends costs only its match.
        track: as for `check_match`.

    Returns:
        1 if any match cannot be converted, otherwise 0.
    """
    titles = sorted(videos.keys() | labels.keys())
    calls = [(title, videos.get(title), labels.get(title), decode, track) for title in titles]
    checks_by_title = {}
    with closing(pool.run(check_match, calls)) as outcomes:
        for (title, video_path, *_), outcome in tqdm(outcomes, desc="Checking", unit="match", total=len(calls)):
            if isinstance(outcome, Failure):
                outcome = MatchCheck(empty_cells(title), [outcome.describe(video_path, CANNOT_BE_CONVERTED)])
            checks_by_title[title] = outcome
    checks = [checks_by_title[title] for title, *_ in calls]
    checks += [MatchCheck(empty_cells(escape(title)), [message]) for title, message in refused.items()]
    table = [list(COLUMNS)] + [check.cells for check in checks]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    for check in checks:
        for message in check.errors:
            print(f"error: {message}")
        for message in check.warnings:
            print(f"warning: {message}")
        for message in check.notes:
            print(f"note: {message}")
    num_failing = sum(bool(check.errors) for check in checks)
    print(f"{len(checks) - num_failing} of {len(checks)} matches can be converted")
    return 1 if num_failing else 0
