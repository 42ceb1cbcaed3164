"""Manage the dataset folder during a conversion: lock it, and find out which matches are finished.

.lock           names the process that is writing. The operating system releases the lock when that process ends.
.soft_lock      the lock on a drive without file locks. A later process recognises that its process has ended.
.part/          matches in progress. Nothing reads it, and it is deleted when a converter starts or ends.
metadata.json   replaced after each finished match, so that it never names an incomplete one.
<title>/        renamed from .part/ once it is complete.
"""

import contextlib
import json
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock

from videosummarizer.atomic_file import existing_folder, require_writable
from videosummarizer.dataset.metadata import (
    MAX_METADATA_BYTES,
    SCHEMA_VERSION,
    UNDECIDED_SCHEMA_VERSION,
    DataConfig,
    DatasetError,
    is_count,
    read_metadata,
)
from videosummarizer.dataset.storage import SEGMENT_FILE_NAME
from videosummarizer.match_files import compose, find_file, find_label_path, is_system_file, title_of
from videosummarizer.undecided import find_undecided_path
from videosummarizer.untrusted_file import excerpt, parse_json, read_limited

PART_DIR_NAME = ".part"
LOCK_NAME = ".lock"
# Not LOCK_NAME, because filelock takes an empty file of that name for a lock that is held.
SOFT_LOCK_NAME = ".soft_lock"
METADATA_NAME = "metadata.json"
# Not those that begin with a dot, which no match may have.
RESERVED_NAMES = (METADATA_NAME, f"{METADATA_NAME}.part")

logger = logging.getLogger(__name__)


def check_folder(dataset_dir: Path) -> None:
    """Check that a dataset can be written into a folder, which need not exist, and change nothing.

    A warning says if the drive has no file locks.

    Raises:
        metadata.DatasetError: it is not a folder, or it holds files that no converter wrote.
        atomic_file.FolderError: it cannot be written to, or its drive is full.
    """
    if os.path.exists(dataset_dir) and not os.path.isdir(dataset_dir):  # False where it may not be read
        raise DatasetError(f"{dataset_dir}: received a file, expected the folder in which to write the dataset")
    unexpected = unexpected_files(dataset_dir) if os.path.exists(dataset_dir) else []
    if unexpected:
        raise DatasetError(
            f"{dataset_dir}: the folder contains files that are not part of a dataset ({', '.join(unexpected[:5])}). "
            "Neither a conversion nor --overwrite changes such a folder: give another output_dataset_dir"
        )
    require_writable(dataset_dir, "correct its permissions, make room, or give another output_dataset_dir")
    if problem := missing_file_locks(existing_folder(dataset_dir)):
        logger.warning(
            "%s: the drive has no file locks (%s): while this conversion runs, start no other one into this folder on "
            "another computer",
            dataset_dir,
            problem,
        )


@contextlib.contextmanager
def lock(dataset_dir: Path) -> Iterator[None]:
    """Create the folder if necessary and lock it for this process, so that no other converter writes to it.

    Raises:
        metadata.DatasetError, atomic_file.FolderError: as `check_folder` does, or another process is writing to it,
            which the message names. Nothing is written then.
    """
    check_folder(dataset_dir)
    dataset_dir.mkdir(parents=True, exist_ok=True)
    lock_path = dataset_dir / LOCK_NAME
    with acquire_lock(dataset_dir):
        since = datetime.now(UTC).isoformat(timespec="seconds")
        lock_path.write_text(f"process {os.getpid()} on {socket.gethostname()} (since {since})\n", encoding="utf-8")
        yield
        lock_path.write_text("")


def acquire_lock(dataset_dir: Path) -> filelock.BaseFileLock:
    """Acquire the lock of a folder: of the operating system, or of SOFT_LOCK_NAME on a drive without such locks.

    Returns:
        The lock, a context manager that releases it.

    Raises:
        metadata.DatasetError: another process holds it, or it cannot be written.
    """
    advice = "wait until it has finished, or give another output_dataset_dir"
    lock = filelock.FileLock(dataset_dir / LOCK_NAME)
    if missing_file_locks(dataset_dir):
        lock = filelock.SoftFileLock(dataset_dir / SOFT_LOCK_NAME)
        advice += f", or delete {lock.lock_file} if that process has ended"
    try:
        return lock.acquire(blocking=False)
    except filelock.Timeout as error:
        holder = (dataset_dir / LOCK_NAME).read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise DatasetError(f"{dataset_dir}: {holder} is writing to this folder: {advice}") from error


def missing_file_locks(folder: Path) -> str | None:
    """Return why the operating system cannot lock files on the drive of a folder; None if it can."""
    try:
        import fcntl
    except ImportError:  # Windows, whose drives all have locks
        return None
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.strerror
    return None


def file_signature(*paths: Path) -> dict[str, list[int]]:
    """Return the size in bytes and the modification time in nanoseconds of each file, by its name (Unicode NFC)."""
    return {compose(path.name): [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}


def source_signature(video_path: Path) -> dict[str, list[int]]:
    """Return the `file_signature` of the files that a match is converted from, with undecided time if it has any.

    Raises:
        OSError: its label file does not exist, or a file cannot be read.
    """
    label_path = find_label_path(video_path)
    undecided_path = find_undecided_path(label_path)
    return file_signature(video_path, label_path, *([undecided_path] if os.path.lexists(undecided_path) else []))


def finished_matches(
    dataset_dir: Path, config: DataConfig, sources: dict[str, dict[str, list[int]]]
) -> dict[str, dict]:
    """Return the records of the matches in the folder that need not be converted again.

    Args:
        dataset_dir: the folder, which may be empty.
        config: the settings of this conversion.
        sources: the `file_signature` of each match to be converted, by title. A match whose files have changed is not
            finished.

    Returns:
        The records of metadata.json by title (Unicode NFC).

    Raises:
        metadata.DatasetError: the folder holds a dataset of other settings or of another version.
    """
    if not (dataset_dir / METADATA_NAME).exists():
        return {}  # the folder is empty, or no match was finished before the interruption
    try:
        metadata = read_metadata(dataset_dir)
    except DatasetError as error:
        raise DatasetError(f"{error} with --overwrite, or give another output_dataset_dir") from error
    version = metadata.get("schema_version", 1)
    if version not in (SCHEMA_VERSION, UNDECIDED_SCHEMA_VERSION):
        raise DatasetError(
            f"{dataset_dir}: contains a dataset of schema version {excerpt(str(version))}, expected "
            f"{SCHEMA_VERSION}: give --overwrite to replace it, or another output_dataset_dir"
        )
    if metadata["config"] != config.to_dict():
        raise DatasetError(
            f"{dataset_dir}: contains a dataset made with {format_config(metadata['config'])}, expected "
            f"{format_config(config.to_dict())}: give --overwrite to replace it, or another output_dataset_dir"
        )
    videos = metadata.get("videos", [])
    damaged = [video["title"] for video in videos if not is_complete_record(video)]
    if damaged:
        raise DatasetError(
            f"{dataset_dir / METADATA_NAME}: the record of {excerpt(damaged[0])} is damaged: convert the videos again "
            "with --overwrite, or give another output_dataset_dir"
        )
    return {
        compose(video["title"]): video
        for video in videos
        if sources.get(compose(video["title"]), video["source_files"]) == video["source_files"]
        and len(list(find_file(dataset_dir / video["title"]).glob("seg_*.pkl"))) == video["segment_count"]
    }


def is_complete_record(record: dict) -> bool:
    """Return whether a record of metadata.json has all that a conversion reads of it, and can be written again."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return isinstance(record.get("source_files"), dict) and is_count(record.get("highlight_count"))


def format_config(config: dict) -> str:
    """Return a data config as text for a message."""
    return ", ".join(f"{name} {value}" for name, value in config.items())


def is_reserved(title: str) -> bool:
    """Return whether a match cannot have this title, because a file of a dataset or of a system has this name."""
    return title in RESERVED_NAMES or is_system_file(title)


def describe_reserved_title(video_path: Path) -> str | None:
    """Return the error message about a match whose title is reserved, None for any other."""
    if not is_reserved(title_of(video_path)):
        return None
    return f"{video_path}: received a title that a file of the dataset has, expected another one: rename the file"


def unexpected_files(dataset_dir: Path) -> list[str]:
    """Return the names of the files and folders that neither a converter nor a system wrote, sorted."""

    def is_expected(path: Path) -> bool:
        if path.name == METADATA_NAME:
            return not is_foreign_json(path)
        if is_reserved(path.name):
            return True
        if path.is_symlink() or not path.is_dir():
            return False
        return all(is_segment(entry) or is_system_file(entry.name) for entry in list(os.scandir(path)))

    return sorted(path.name for path in dataset_dir.iterdir() if not is_expected(path))


def is_segment(entry: os.DirEntry) -> bool:
    """Return whether a file in the folder of a match is a segment."""
    return SEGMENT_FILE_NAME.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def is_foreign_json(path: Path) -> bool:
    """Return whether a metadata.json is intact, but another program wrote it."""
    try:
        content = parse_json(read_limited(path, MAX_METADATA_BYTES))
    except (OSError, ValueError):
        return False
    return not isinstance(content, dict) or "config" not in content


def remove_all_but(dataset_dir: Path, titles: set[str]) -> None:
    """Delete the segments of all matches but these (titles in NFC), and what an interrupted converter left behind.

    Files that no converter wrote stay, and the folders that they are in. So do folders without segments.
    """
    if not titles:
        (dataset_dir / METADATA_NAME).unlink(missing_ok=True)  # first, so that it never names a match that was deleted
    for path in dataset_dir.iterdir():
        if path.name == PART_DIR_NAME:
            # A worker on another machine may still write there, and a network drive keeps files that are open.
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_dir() and not is_system_file(path.name) and compose(path.name) not in titles:
            remove_segments(path)


def remove_segments(match_dir: Path) -> None:
    """Delete the segments in a folder, and the folder unless it contains anything else or had no segments."""
    entries = list(os.scandir(match_dir))
    segments = [entry for entry in entries if is_segment(entry)]
    if segments and len(segments) == len(entries):
        shutil.rmtree(match_dir)
        return
    for entry in segments:
        os.unlink(entry)
