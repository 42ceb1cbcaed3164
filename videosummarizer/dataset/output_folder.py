"""The dataset folder while it is being written: who may write, what is finished, and how it continues.

.lock           names who is writing; held by the operating system, so that a dead writer's lock is free
.part/          matches under way; nothing reads it, and it is deleted when a converter starts or ends
metadata.json   replaced after each finished match, so that it never names one that is not whole
<title>/        renamed from .part/ once whole
"""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock

from videosummarizer.dataset.metadata import SCHEMA_VERSION, DataConfig, DatasetError, read_metadata
from videosummarizer.dataset.storage import SEGMENT_FILE_NAME

PART_DIR_NAME = ".part"
LOCK_NAME = ".lock"
METADATA_NAME = "metadata.json"


@contextmanager
def lock(dataset_dir: Path) -> Iterator[None]:
    """Make the folder, and be the only one who writes to it.

    Raises:
        metadata.DatasetError: it is no folder, or holds what no converter wrote, and nothing is written to it then; or
            another process writes to it, the message says who.
    """
    if dataset_dir.exists() and not dataset_dir.is_dir():
        raise DatasetError(f"{dataset_dir}: received a file, expected the folder in which to write the dataset")
    foreign = unexpected_files(dataset_dir) if dataset_dir.exists() else []
    if foreign:
        raise DatasetError(
            f"{dataset_dir}: the folder holds what is no part of a dataset ({', '.join(foreign[:5])}), which neither a "
            "conversion nor --overwrite touches: give another output_dataset_dir"
        )
    dataset_dir.mkdir(parents=True, exist_ok=True)
    lock_path = dataset_dir / LOCK_NAME
    lock = filelock.FileLock(lock_path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        holder = lock_path.read_text(encoding="utf-8").strip() or "another process"
        raise DatasetError(
            f"{dataset_dir}: {holder} is writing to this folder: wait until it has finished, or give another "
            "output_dataset_dir"
        ) from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        lock_path.write_text(f"process {os.getpid()} on {socket.gethostname()} (since {since})\n", encoding="utf-8")
        yield
        lock_path.write_text("")
    finally:
        lock.release()


def file_signature(*paths: Path) -> dict[str, list[int]]:
    """Size in bytes and modification time in nanoseconds of each file, by its name."""
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}


def finished_matches(
    dataset_dir: Path, config: DataConfig, sources: dict[str, dict[str, list[int]]]
) -> dict[str, dict]:
    """Records, by title, of the matches in the folder that need not be converted again.

    Args:
        dataset_dir: the folder, which may be empty.
        config: what the segments have to be made with.
        sources: `file_signature` by title of the matches to be converted; one that has changed is not finished.

    Raises:
        metadata.DatasetError: the folder holds a dataset made with other settings or by another version.
    """
    if not (dataset_dir / METADATA_NAME).exists():
        return {}  # empty, or interrupted before the first match was finished
    metadata = read_metadata(dataset_dir)
    if metadata.get("schema_version") != SCHEMA_VERSION:
        raise DatasetError(
            f"{dataset_dir}: holds a dataset of schema version {metadata.get('schema_version', 1)}, expected "
            f"{SCHEMA_VERSION}: give --overwrite to replace it, or another output_dataset_dir"
        )
    if metadata["config"] != vars(config):
        raise DatasetError(
            f"{dataset_dir}: holds a dataset made with {describe(metadata['config'])}, but now "
            f"{describe(vars(config))} is asked for: give --overwrite to replace it, or another output_dataset_dir"
        )
    return {
        video["title"]: video
        for video in metadata["videos"]
        if sources.get(video["title"], video["source_files"]) == video["source_files"]
        and len(list((dataset_dir / video["title"]).glob("seg_*.pkl"))) == video["segment_count"]
    }


def describe(config: dict) -> str:
    """A data config for a message."""
    return ", ".join(f"{name} {value}" for name, value in config.items())


def unexpected_files(dataset_dir: Path) -> list[str]:
    """Names in the folder that no converter wrote."""

    def is_ours(path: Path) -> bool:
        if path.name in (LOCK_NAME, PART_DIR_NAME, METADATA_NAME, f"{METADATA_NAME}.part"):
            return True
        if path.is_symlink() or not path.is_dir():
            return False
        return all(SEGMENT_FILE_NAME.fullmatch(file.name) for file in path.iterdir())

    return sorted(path.name for path in dataset_dir.iterdir() if not is_ours(path))


def remove_all_but(dataset_dir: Path, titles: set[str]) -> None:
    """Delete the folders of matches other than these, and what an interrupted converter left."""
    if not titles:
        (dataset_dir / METADATA_NAME).unlink(missing_ok=True)  # first, so that it never names what is gone
    for path in dataset_dir.iterdir():
        if path.is_dir() and path.name not in titles:
            shutil.rmtree(path)
