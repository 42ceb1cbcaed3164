"""Assign matches to train, valid and test, or to folds, by a stable hash of their titles.

The hash decides alone wherever it can, so that a title stays where it is, whatever is added later.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from videosummarizer.dataset.metadata import has_undecided
from videosummarizer.match_files import compose

# The largest value of `hash_byte`.
MAX_BYTE = 255
# Suggested ratios are multiples of these, the coarser ones first. The finer step is smaller than 1 / MAX_BYTE.
RATIO_STEPS = (0.01, 0.002)
# Numbers of folds that are suggested, in this order.
SUGGESTED_FOLDS = (5, 4, 3, 6, 8, 10)
# Fewer leave no matches for one of the three subsets.
MIN_FOLDS = 3
# More than any set of matches needs; a network is trained for each.
MAX_FOLDS = 50
# The advice that always helps.
ADDING = "add videos with highlights and convert again"

# For each title whether its match has highlights, and whether it has anything else.
Classes = Mapping[str, tuple[bool, bool]]


def hash_byte(title: str) -> int:
    """Return the hash of a title, from 0 to 255.

    The 64 bytes of the SHA-512 of the title, in composed characters (Unicode NFC) and UTF-8, are XORed into one byte.
    Existing datasets depend on exactly this formula.
    """
    xor_byte = 0
    for byte in hashlib.sha512(compose(title).encode("utf-8")).digest():
        xor_byte ^= byte
    return xor_byte


def assign_subset(title: str, train_ratio: float = 0.6, valid_ratio: float = 0.2) -> str:
    """Return the subset of a video, which depends on its title only: by its `hash_byte` divided by 255.

    Args:
        title: of the video.
        train_ratio: the fraction of the range [0, 1] that is "train", from 0 on.
        valid_ratio: the fraction of the range that is "valid", from `train_ratio` on.

    Returns:
        "train", "valid" or "test".
    """
    position = hash_byte(title) / MAX_BYTE
    if position < train_ratio:
        return "train"
    return "valid" if position < train_ratio + valid_ratio else "test"


def fold_of(title: str, num_folds: int) -> int:
    """Return the number of the fold that tests a video, from 1 on: an equal part of the hash's range."""
    return min(hash_byte(title) * num_folds // MAX_BYTE, num_folds - 1) + 1


def assign_fold_subsets(classes_of: Classes, fold: int, num_folds: int) -> dict[str, str]:
    """Return the subset of each video in a fold.

    "test" are the videos of the fold. "valid" are those of the fold before it (before the first one, the last), and
    "train" is the rest. So the last of five folds has the default split of `assign_subset`. Where this leaves valid or
    train without both classes, valid takes more videos, or fewer, in the order of their hashes.

    Args:
        classes_of: the classes of each video's segments.
        fold: number of the fold, from 1 on.
        num_folds: the number of folds, at least MIN_FOLDS.
    """
    first_byte = -(-(fold - 1) * MAX_BYTE // num_folds)
    others = sorted(
        (title for title in classes_of if fold_of(title, num_folds) != fold),
        key=lambda title: ((first_byte - hash_byte(title)) % (MAX_BYTE + 1), title),
    )
    previous_fold = (fold - 2) % num_folds + 1
    num_expected = sum(fold_of(title, num_folds) == previous_fold for title in others)
    classes = [classes_of[title] for title in others]
    possible = [n for n in range(1, len(others)) if has_both(classes[:n]) and has_both(classes[n:])]
    num_valid = min(possible, key=lambda n: abs(n - num_expected), default=num_expected)
    subset_of = dict.fromkeys(classes_of, "test")
    return subset_of | {title: "valid" if n < num_valid else "train" for n, title in enumerate(others)}


def has_both(classes: list[tuple[bool, bool]]) -> bool:
    """Return whether matches have both classes together."""
    return bool(classes) and all(map(any, zip(*classes, strict=True)))


def suggest_split(classes_of: Classes, ratios: tuple[float, float]) -> tuple[float, float] | None:
    """Return ratios of train and valid with which each subset has both classes: those nearest to the given ones.

    Args:
        classes_of: the classes of each video's segments.
        ratios: the present ratios of train and valid.

    Returns:
        The ratios, of which the sum of the absolute changes is the smallest. None if there are none.
    """
    positions = np.array([hash_byte(title) for title in classes_of]) / MAX_BYTE
    classes = np.array(list(classes_of.values()), bool).reshape(-1, 2)
    for step in RATIO_STEPS:
        grid = np.round(np.arange(1, round(1 / step)) * step, 3)
        train, valid = (ratio.ravel() for ratio in np.meshgrid(grid, grid, indexing="ij"))
        is_split = train + valid < 1 - step / 2
        train, valid = train[is_split], valid[is_split]
        ends = train + valid
        works = np.ones(len(train), bool)
        for of_class in classes.T:
            of_class = np.sort(positions[of_class])
            in_train = np.searchsorted(of_class, train)
            in_valid = np.searchsorted(of_class, ends) - in_train
            works &= (in_train > 0) & (in_valid > 0) & (in_train + in_valid < len(of_class))
        if works.any():
            changes = np.abs(train - ratios[0]) + np.abs(valid - ratios[1])
            best = np.flatnonzero(works)[np.argmin(changes[works].round(6))]
            return float(train[best]), float(valid[best])
    return None


def suggest_folds(classes_of: Classes) -> int | None:
    """Return a number of folds with which train and valid of each fold have both classes, None if none is found."""
    return next((num for num in SUGGESTED_FOLDS if not find_lacking_fold(classes_of, num)), None)


def find_lacking_fold(classes_of: Classes, num_folds: int) -> int | None:
    """Return the first fold with videos to test whose train or valid lacks a class, None if there is none."""
    for fold in range(1, num_folds + 1):
        subset_of = assign_fold_subsets(classes_of, fold, num_folds)
        if "test" not in subset_of.values():
            continue
        for subset in ("train", "valid"):
            if not has_both([classes_of[title] for title, assigned in subset_of.items() if assigned == subset]):
                return fold
    return None


def advise_on_split(classes_of: Classes, ratios: tuple[float, float]) -> str:
    """Return what to do about a split that leaves a subset without both classes, the end of a message."""
    suggested, num_folds = suggest_split(classes_of, ratios), suggest_folds(classes_of)
    folds = f"--folds {num_folds}, which tests each video once, " if num_folds else ""
    if suggested:
        subsets = [assign_subset(title, *suggested) for title in classes_of]
        counts = ", ".join(f"{subsets.count(subset)} {subset}" for subset in ("train", "valid", "test"))
        ratios = "{:g} {:g}".format(*suggested)
        return f"give --split {ratios}, which makes it {counts}, or {folds}{'or ' if folds else ''}{ADDING}"
    return f"no --split helps: {'give ' if folds else ''}{folds}{'or ' if folds else ''}{ADDING}"


def advise_on_folds(classes_of: Classes) -> str:
    """Return what to do about folds that leave train or valid without both classes, the end of a message."""
    num_folds = suggest_folds(classes_of)
    return f"give --folds {num_folds}" if num_folds else f"no number of folds helps: {ADDING}"


def describe_missing_class(classes_of: Classes, records: list[dict]) -> str | None:
    """Return the message about a dataset of which no segment is a highlight, or every one; None for any other.

    Args:
        classes_of: the classes of each video's segments.
        records: the records of the videos in metadata.json.
    """
    num_videos, (has_highlights, has_others) = len(classes_of), map(any, zip(*classes_of.values(), strict=True))
    if has_undecided(records) and not (has_highlights and has_others):
        received = "without a single highlight" if not has_highlights else "in which every segment is a highlight"
        return (
            f"received {num_videos} videos {received} in the time that has been looked at, expected some of both: look "
            "at more of it on the review page, save it, and convert again"
        )
    if not has_highlights:
        if any(record.get("sections") for record in records):
            return (
                f"received {num_videos} videos whose highlights cover no segment by more than half, expected some that "
                "do: convert again with a shorter segment_length"
            )
        return (
            f"received {num_videos} videos without a single highlight, expected some: all label files are empty, fill "
            "them in and convert again"
        )
    if not has_others:
        return (
            f"received {num_videos} videos in which every segment is a highlight, expected others too: check the label "
            "files and convert again"
        )
    return None
