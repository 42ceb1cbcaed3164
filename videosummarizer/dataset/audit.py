"""Check a dataset before training: find damaged segments and data leakage across the split.

Data leakage means that the same match, or a game of the same series, is in two subsets, so that test scores are too
good. The same match under two titles is found by the size and length of its video file, or by its segments. For that, a
dozen segments of each match, at the same indices in all matches, are reduced to a small signature of their frames and
their audio, and compared by cosine similarity. Re-encoded copies are found too. Copies that start at another time are
not. Games of one series are found by their titles, if a pattern is given.
"""

import logging
import re
from itertools import pairwise

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from videosummarizer.dataset.metadata import SUBSETS, DatasetError
from videosummarizer.dataset.storage import SegmentFile, read_arrays

# Indices of the segments that are compared. The later ones are for long matches.
COMPARED_INDICES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
# The signature of a segment's frames has at most 4 frames of 9 x 16 blocks.
NUM_FRAMES = 4
NUM_ROWS = 9
NUM_COLUMNS = 16
# The signature of a segment's audio has at most 10 bands of MFCCs, or one band of a waveform, at 64 times.
NUM_BANDS = 10
NUM_STEPS = 64
# Segments count as similar from this cosine similarity on. It is about 1 for copies and about 0 for other matches.
MIN_SIMILARITY = 0.9
# Matches are the same if at least 2 and at least three quarters of the compared segments are similar.
MIN_SIMILAR = 2
MIN_SIMILAR_RATIO = 0.75
# Flatter signatures are not compared. The standard deviations are in grey levels and in samples or MFCCs.
MIN_DEVIATION = {"video": 1.0, "audio": 1e-4}
# The most lines of a list of warnings.
MAX_LINES = 5
# The most titles in a line.
MAX_TITLES = 4
# The most damaged segments that are logged.
MAX_ERRORS = 20


logger = logging.getLogger(__name__)


def check_segments(loader) -> None:
    """Read every segment once, with a progress bar, and log the first MAX_ERRORS that cannot be used.

    Raises:
        metadata.DatasetError: some segments cannot be used. The message counts them.
    """
    files, num_bad = [file for subset in SUBSETS for file in loader.segment_files[subset]], 0
    with logging_redirect_tqdm():
        for file in tqdm(files, desc="Checking", unit="segment"):
            try:
                _, audio = read_arrays(file, loader.data_shape)
                if not np.isfinite(audio).all():
                    raise DatasetError(
                        f"{file}: its audio contains values that are not finite numbers: convert its video again"
                    )
            except DatasetError as error:
                num_bad += 1
                if num_bad <= MAX_ERRORS:
                    logger.error(error)
    if num_bad:
        raise DatasetError(f"{loader.dataset_dir}: {num_bad} of {len(files)} segments cannot be used")


def find_leaks(loader, group_by: re.Pattern | None = None, subset_of: dict[str, str] | None = None) -> list[str]:
    """Find matches in different subsets, or folds, that are the same, or belong to the same series.

    Matches without a decided segment are left out, as nothing is trained or tested on them.

    Args:
        loader: the data_loader.DataLoader of the dataset.
        group_by: a pattern that finds the name of a match's series in its title, as for `split_series`.
        subset_of: each title's subset or fold, by default its subset in the loader.

    Returns:
        Warnings of one line each.
    """
    matches = {files[0].title: files for subset in SUBSETS for files in loader.files_by_match(subset)}
    matches = {title: files for title, files in matches.items() if loader.is_decided_of[title].any()}
    subset_of = {title: (subset_of or loader.subset_of)[title] for title in matches}
    pairs = same_files(loader.metadata, subset_of) | same_contents(loader, matches, subset_of)
    lines = [f"{a} ({subset_of[a]}) and {b} ({subset_of[b]}) {why}" for (a, b), why in sorted(pairs.items())]
    warnings = truncate_lines(lines, "pairs")
    if warnings:
        warnings.append("Scores on matches that were trained on are too good: convert each match once, under one title")
    if group_by and (lines := split_series(group_by, subset_of)):
        warnings += truncate_lines(lines, "series")
        warnings.append(
            "Scores on games of a series that was trained on may be too good: rely on those of other series, or leave "
            "such games out of the dataset"
        )
    return warnings


def truncate_lines(lines: list[str], what: str) -> list[str]:
    """Return the first MAX_LINES lines, and a line with the number of the others."""
    more = len(lines) - MAX_LINES
    return lines[:MAX_LINES] + ([f"... and {more} more {what}"] if more > 0 else [])


def same_files(metadata: dict, subset_of: dict[str, str]) -> dict[tuple[str, str], str]:
    """Find matches in different subsets whose video files have the same size and length.

    Args:
        metadata: the dataset's metadata. Records without size or length are ignored.
        subset_of: each title's subset.

    Returns:
        For each pair of titles the end of a sentence that says what they have in common.
    """
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
    """Find matches in different subsets that have the same frames, or the same audio, at the same times.

    Args:
        loader: the data_loader.DataLoader of the dataset.
        matches: the segment files of each match by title.
        subset_of: each title's subset.

    Returns:
        For each pair of titles the end of a sentence that says what they have in common.
    """
    titles = sorted(subset_of)
    subsets = np.array([subset_of[title] for title in titles])
    signatures = [signature(loader, matches[title]) for title in titles]
    pairs = {}
    for modality in ("audio", "video"):
        num_similar, num_compared = count_similar([match[modality] for match in signatures])
        is_same = (num_similar >= MIN_SIMILAR) & (num_similar >= MIN_SIMILAR_RATIO * num_compared)
        is_same &= subsets[:, np.newaxis] != subsets
        pairs |= {(titles[a], titles[b]): f"have the same {modality}" for a, b in np.argwhere(np.triu(is_same))}
    return pairs


def signature(loader, files: list[SegmentFile]) -> dict[str, np.ndarray]:
    """Compute the signature of a match.

    Args:
        loader: the data_loader.DataLoader of the dataset.
        files: the match's segments in order.

    Returns:
        `video` and `audio`: (12, num_values) float32, a row of norm 1 for each of COMPARED_INDICES: the difference
        of the segment's values to the match's mean. It is 0 where there is no such segment, where it is damaged, or
        where it is too flat to be compared.
    """
    rows = {modality: [None] * len(COMPARED_INDICES) for modality in MIN_DEVIATION}
    for row, index in enumerate(COMPARED_INDICES):
        try:
            if index < len(files):
                for modality, values in describe_segment(*read_arrays(files[index], loader.data_shape)).items():
                    rows[modality][row] = values
        except DatasetError:
            continue  # training reports it
    blank = describe_segment(*(np.zeros(loader.data_shape[name], np.float32) for name in ("video", "audio")))
    return {name: normalise_rows(rows[name], len(blank[name]), MIN_DEVIATION[name]) for name in rows}


def describe_segment(video: np.ndarray, audio: np.ndarray) -> dict[str, np.ndarray]:
    """Reduce a segment to the means of blocks.

    Args:
        video: (T, H, W, 3) in [0, 255].
        audio: (num_samples,) or, for MFCCs, (40, num_mfcc_frames).

    Returns:
        video: (num_values,) float32, grey levels minus their mean.
        audio: (num_values,) float32, absolute samples or MFCCs, minus the mean of each band, so that steady audio
            becomes 0.
    """
    bands = audio.astype(np.float32) if audio.ndim == 2 else np.abs(audio[np.newaxis], dtype=np.float32)
    levels = block_means(bands, NUM_BANDS, NUM_STEPS)
    greys = block_means(video.mean(axis=-1, dtype=np.float32), NUM_FRAMES, NUM_ROWS, NUM_COLUMNS).ravel()
    return {"video": greys - greys.mean(), "audio": (levels - levels.mean(axis=1, keepdims=True)).ravel()}


def normalise_rows(values: list[np.ndarray | None], num_values: int, min_deviation: float) -> np.ndarray:
    """Subtract the mean of all rows from each, and divide each by its norm.

    Args:
        values: rows of (num_values,), or None for missing ones.
        num_values: the length of a row.
        min_deviation: rows of a smaller standard deviation become 0.

    Returns:
        (len(values), num_values) float32. Missing rows are 0.
    """
    rows, is_present = np.zeros((len(values), num_values), np.float32), [row is not None for row in values]
    if any(is_present):
        present = np.array([row for row in values if row is not None])
        rows[is_present] = present - present.mean(axis=0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    is_informative = norms > min_deviation * np.sqrt(num_values)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=is_informative)


def block_means(array: np.ndarray, *sizes: int) -> np.ndarray:
    """Return the means of blocks of an array.

    Args:
        array: with any number of axes.
        *sizes: the number of blocks along each of the first axes, or fewer where the axis is shorter.
    """
    for axis, size in enumerate(sizes):
        length = array.shape[axis]
        edges = np.arange(min(size, length) + 1) * length // min(size, length)
        counts = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        array = np.add.reduceat(array, edges[:-1], axis=axis) / counts
    return array


def count_similar(signatures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Count the similar segments of each pair of matches.

    Args:
        signatures: for each match (12, num_values) float32, as returned by `normalise_rows`.

    Returns:
        num_similar: (num_matches, num_matches) int16, segments whose similarity is above MIN_SIMILARITY.
        num_compared: (num_matches, num_matches) float32, segments that could be compared.
    """
    rows = np.array(signatures)
    is_informative = np.any(rows != 0, axis=2).astype(np.float32)
    num_similar = np.zeros((len(rows), len(rows)), np.int16)
    for index in range(rows.shape[1]):
        num_similar += rows[:, index] @ rows[:, index].T > MIN_SIMILARITY
    return num_similar, is_informative @ is_informative.T


def split_series(group_by: re.Pattern, subset_of: dict[str, str]) -> list[str]:
    """Find series whose games are in more than one subset.

    Args:
        group_by: its first group, or all of its match if it has none, is the name of a title's series.
        subset_of: each title's subset.

    Returns:
        A line for each such series.
    """
    series_of = {}
    for title, subset in sorted(subset_of.items()):
        if match := group_by.search(title):
            name = match[1] if group_by.groups else match[0]
            series_of.setdefault(name, {}).setdefault(subset, []).append(title)
    return [
        f"series {name!r} is in {len(titles_of)} subsets: "
        + "; ".join(f"{subset}: {truncate_list(titles_of[subset])}" for subset in sorted(titles_of, key=subset_order))
        for name, titles_of in sorted(series_of.items(), key=str)
        if len(titles_of) > 1
    ]


def subset_order(subset: str) -> tuple[int, str]:
    """Return a key that sorts subsets as in SUBSETS, and folds by their names."""
    return (SUBSETS.index(subset) if subset in SUBSETS else len(SUBSETS), subset)


def truncate_list(titles: list[str]) -> str:
    """Return the first MAX_TITLES titles, separated by commas, and the number of the others."""
    more = len(titles) - MAX_TITLES
    return ", ".join(titles[:MAX_TITLES]) + (f" and {more} more" if more > 0 else "")
