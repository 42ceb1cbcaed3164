"""What can be wrong with a dataset before it is trained on: damaged segments, and matches on two sides of the split
that belong together, with which scores would be too good.

The same match under two titles is found by its video file's size and length, or by its segments: a dozen of each match,
at the same places in all, are shrunk to a small picture of what is seen and heard, and compared. A re-encoded copy is
found too, one that begins elsewhere is not. Games of one series are found by their titles, where a pattern is given.
"""

import logging
import re
from itertools import pairwise

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from videosummarizer.dataset.metadata import SUBSETS, DatasetError
from videosummarizer.dataset.storage import SegmentFile, read_arrays

COMPARED_INDICES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
NUM_FRAMES, NUM_ROWS, NUM_COLUMNS = 4, 9, 16  # of what a segment's picture is shrunk to
NUM_BANDS, NUM_STEPS = 10, 64  # and its sound; a waveform has one band
MIN_SIMILARITY = 0.9  # of two copies, 1 but for their encoding; of two matches, about 0
MIN_ALIKE, MIN_SHARE = 2, 0.75  # of the segments compared
MIN_DEVIATION = {"pictures": 1.0, "sound": 1e-4}  # grey levels, samples: what is flatter shows nothing
MAX_LINES, MAX_TITLES, MAX_ERRORS = 5, 4, 20


logger = logging.getLogger(__name__)


def check_segments(loader) -> None:
    """Read every segment once, with a progress bar, and log the first that cannot be used.

    Raises:
        metadata.DatasetError: there are any; the message counts them.
    """
    files, num_bad = [file for subset in SUBSETS for file in loader.segment_files[subset]], 0
    with logging_redirect_tqdm():
        for file in tqdm(files, desc="Checking", unit="segment"):
            try:
                _, audio = read_arrays(file, loader.data_shape)
                if not np.isfinite(audio).all():
                    raise DatasetError(f"{file}: its sound holds what is no number: convert its video again")
            except DatasetError as error:
                num_bad += 1
                if num_bad <= MAX_ERRORS:
                    logger.error(error)
    if num_bad:
        raise DatasetError(f"{loader.dataset_dir}: {num_bad} of {len(files)} segments cannot be used")


def find_leaks(loader, group_by: re.Pattern | None = None) -> list[str]:
    """Warnings, a line each, of matches on two sides of the split that are one, or of one series by `group_by`."""
    matches = {subset: {} for subset in SUBSETS}
    for subset, files in loader.segment_files.items():
        for file in files:
            matches[subset].setdefault(file.title, []).append(file)
    subset_of = {title: subset for subset in SUBSETS for title in matches[subset]}
    pairs = same_files(loader.metadata, subset_of) | same_contents(loader, matches, subset_of)
    lines = [f"{a} ({subset_of[a]}) and {b} ({subset_of[b]}) {why}" for (a, b), why in sorted(pairs.items())]
    warnings = truncate_lines(lines, "pairs")
    if warnings:
        warnings.append("Scores on matches that were trained on are too good: convert each match once, under one title")
    if group_by and (lines := split_series(group_by, subset_of)):
        warnings += truncate_lines(lines, "series")
        warnings.append(
            "Scores on games of a series that was trained on may be too good: believe those of other series, or leave "
            "such games out of the dataset"
        )
    return warnings


def truncate_lines(lines: list[str], what: str) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - MAX_LINES
    return lines[:MAX_LINES] + ([f"... and {more} more {what}"] if more > 0 else [])


def same_files(metadata: dict, subset_of: dict[str, str]) -> dict[tuple[str, str], str]:
    """Pairs of titles on two sides whose video files are of one size and length, where the converter noted them."""
    titles_of = {}
    for video in metadata.get("videos", []):
        try:
            size_and_length = (video["source_files"][video["source"]][0], video["duration"])
            titles_of.setdefault(size_and_length, []).append(video["title"])
        except (KeyError, TypeError, IndexError):
            continue
    return {
        (a, b): "were converted from files of the same size and length"
        for titles in titles_of.values()
        for a, b in pairwise(sorted(set(titles) & subset_of.keys()))
        if subset_of[a] != subset_of[b]
    }


def same_contents(loader, matches: dict, subset_of: dict[str, str]) -> dict[tuple[str, str], str]:
    """Pairs of titles on two sides that show the same pictures, or sound the same, at the same times."""
    titles = sorted(subset_of)
    sides = np.array([subset_of[title] for title in titles])
    sketches = [signature(loader, matches[subset_of[title]][title]) for title in titles]
    pairs = {}
    for what in ("sound", "pictures"):
        num_alike, num_compared = count_similar([match[what] for match in sketches])
        is_same = (num_alike >= MIN_ALIKE) & (num_alike >= MIN_SHARE * num_compared) & (sides[:, np.newaxis] != sides)
        pairs |= {(titles[a], titles[b]): f"have the same {what}" for a, b in np.argwhere(np.triu(is_same))}
    return pairs


def signature(loader, files: list[SegmentFile]) -> dict[str, np.ndarray]:
    """`pictures` and `sound`: (12, num_values) float32, a row of length 1 for each of COMPARED_INDICES, of what sets
    the segment apart from the match's others; 0 where there is no such segment, or nothing to tell."""
    rows = {what: [None] * len(COMPARED_INDICES) for what in MIN_DEVIATION}
    for row, index in enumerate(COMPARED_INDICES):
        try:
            if index < len(files):
                for what, values in describe_segment(*read_arrays(files[index], loader.data_shape)).items():
                    rows[what][row] = values
        except DatasetError:
            continue  # training will meet it, and say so
    blank = describe_segment(*(np.zeros(loader.data_shape[name], np.float32) for name in ("video", "audio")))
    return {what: normalise_rows(rows[what], len(blank[what]), MIN_DEVIATION[what]) for what in rows}


def describe_segment(video: np.ndarray, audio: np.ndarray) -> dict[str, np.ndarray]:
    """`pictures` and `sound`: (num_values,) float32 of a segment: grey levels, and loudness or MFCCs, of blocks, their
    mean taken off; the sound's in each band, so that a steady sound says nothing."""
    bands = audio.astype(np.float32) if audio.ndim == 2 else np.abs(audio[np.newaxis], dtype=np.float32)
    sound = block_means(bands, NUM_BANDS, NUM_STEPS)
    pictures = block_means(video.mean(axis=-1, dtype=np.float32), NUM_FRAMES, NUM_ROWS, NUM_COLUMNS).ravel()
    return {"pictures": pictures - pictures.mean(), "sound": (sound - sound.mean(axis=1, keepdims=True)).ravel()}


def normalise_rows(values: list[np.ndarray | None], num_values: int, min_deviation: float) -> np.ndarray:
    """(len(values), num_values) float32: the rows that are there, their mean taken off, at length 1; else 0."""
    rows, is_there = np.zeros((len(values), num_values), np.float32), [row is not None for row in values]
    if any(is_there):
        there = np.array([row for row in values if row is not None])
        rows[is_there] = there - there.mean(axis=0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    is_told = lengths > min_deviation * np.sqrt(num_values)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=is_told)


def block_means(array: np.ndarray, *sizes: int) -> np.ndarray:
    """The means of blocks of an array, as many along each axis as given, or as there are values."""
    for axis, size in enumerate(sizes):
        length = array.shape[axis]
        edges = np.arange(min(size, length) + 1) * length // min(size, length)
        counts = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        array = np.add.reduceat(array, edges[:-1], axis=axis) / counts
    return array


def count_similar(sketches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """For each pair of matches (num_matches, num_matches): segments that are alike, and those that can be compared."""
    rows = np.array(sketches)
    is_told = np.any(rows != 0, axis=2).astype(np.float32)
    num_alike = np.zeros((len(rows), len(rows)), np.int16)
    for index in range(rows.shape[1]):
        num_alike += rows[:, index] @ rows[:, index].T > MIN_SIMILARITY
    return num_alike, is_told @ is_told.T


def split_series(group_by: re.Pattern, subset_of: dict[str, str]) -> list[str]:
    """A line for each series that is on more than one side. The pattern's first group, or all it matches, names it."""
    series_of = {}
    for title, subset in sorted(subset_of.items()):
        if match := group_by.search(title):
            name = match[1] if group_by.groups else match[0]
            series_of.setdefault(name, {}).setdefault(subset, []).append(title)
    return [
        f"series {name!r} is on {len(sides)} sides: "
        + "; ".join(f"{subset}: {truncate_list(sides[subset])}" for subset in SUBSETS if subset in sides)
        for name, sides in sorted(series_of.items(), key=str)
        if len(sides) > 1
    ]


def truncate_list(titles: list[str]) -> str:
    """The first titles, and how many more there are."""
    more = len(titles) - MAX_TITLES
    return ", ".join(titles[:MAX_TITLES]) + (f" and {more} more" if more > 0 else "")
