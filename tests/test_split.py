"""The split by the hash of the title, and the folds: what each guarantees, and what is advised where it is uneven."""

import re

import numpy as np
import pytest
from test_data_loader import PINNED, write_dataset

from data_loader import DataLoader
from videosummarizer.dataset import split
from videosummarizer.dataset.metadata import SUBSETS, DatasetError

TITLES = [f"match_{number:02d}" for number in range(100)]
BOTH = (True, True)
# The default subsets of match_00 to match_10 are train but for 07 and 09, valid, and 08 and 10, test.
FEW = {f"match_{number:02d}": [0, 1] for number in range(6)}


def titles_by_byte():
    """A title for each value of the hash."""
    found, number = {}, 0
    while len(found) < 256:
        found.setdefault(split.hash_byte(f"title {number}"), f"title {number}")
        number += 1
    return [found[byte] for byte in range(256)]


def test_the_last_of_five_folds_is_the_default_split():
    titles = titles_by_byte()
    subset_of = split.assign_fold_subsets(dict.fromkeys(titles, BOTH), 5, 5)
    assert subset_of == {title: split.assign_subset(title) for title in titles}


@pytest.mark.parametrize("num_folds", [3, 4, 5, 7, 10])
def test_each_fold_tests_an_equal_part_of_the_hash_and_validates_on_the_part_before(num_folds):
    titles = titles_by_byte()
    sizes = []
    for fold in range(1, num_folds + 1):
        subset_of = split.assign_fold_subsets(dict.fromkeys(titles, BOTH), fold, num_folds)
        tested = [title for title in titles if subset_of[title] == "test"]
        assert tested == [title for title in titles if split.fold_of(title, num_folds) == fold]
        sizes.append(len(tested))
        previous = num_folds if fold == 1 else fold - 1
        assert [t for t in titles if subset_of[t] == "valid"] == [
            t for t in titles if split.fold_of(t, num_folds) == previous
        ]
    assert sum(sizes) == 256
    assert max(sizes) - min(sizes) <= 2


def test_the_folds_of_a_hundred_titles_are_pinned():
    letters = "".join(str(split.fold_of(title, 5)) for title in TITLES)
    assert letters == (
        "1133313454551321552544541143225111124135415341242213212232422132353532311411154323431531232154152115"
    )
    assert [letter in "123" for letter in letters] == [subset == "r" for subset in PINNED]
    assert [letter == "5" for letter in letters] == [subset == "e" for subset in PINNED]


def test_adding_videos_moves_none_between_folds(tmp_path):
    folder = write_dataset(tmp_path / "many", {title: [0, 1] for title in TITLES[:20]})
    for fold in range(1, 6):
        tested = {file.title for file in DataLoader(folder, fold=(fold, 5)).segment_files["test"]}
        assert tested == {title for title in TITLES[:20] if split.fold_of(title, 5) == fold}


def test_valid_takes_more_videos_where_its_fold_lacks_a_class_and_fewer_where_train_would():
    titles = titles_by_byte()
    few = [titles[byte] for byte in (10, 60, 120, 170, 220)]  # one per fold
    classes_of = dict.fromkeys(few, BOTH) | {few[3]: (False, True)}
    subset_of = split.assign_fold_subsets(classes_of, 5, 5)
    assert list(subset_of.values()) == ["train", "train", "valid", "valid", "test"]
    close = dict.fromkeys([titles[byte] for byte in (160, 170, 180, 220)], BOTH)  # all of the others in fold 4
    subset_of = split.assign_fold_subsets(close, 5, 5)
    assert list(subset_of.values()) == ["train", "valid", "valid", "test"]
    assert split.find_lacking_fold(close, 5) == 4
    assert split.find_lacking_fold(dict.fromkeys(few, BOTH), 5) is None


# ---- Advice


def error_of(folder, *subsets, **options):
    with pytest.raises(DatasetError) as raised:
        DataLoader(folder, **options).require_both_classes(*(subsets or SUBSETS))
    return str(raised.value)


def test_the_error_about_few_videos_computes_a_split_that_works(tmp_path):
    folder = write_dataset(tmp_path / "few", FEW)
    message = error_of(folder)
    advice = re.search(
        r"\(--split, here 0\.6 0\.2\): give --split (\S+) (\S+), which makes it (\d), (\d), (\d)", message
    )
    advice = re.search(
        r"\(--split, here 0\.6 0\.2\): give --split (\S+) (\S+), which makes it (\d) train, (\d) valid, (\d) test, or "
        r"--folds (\d), which tests each video once, or add videos with highlights and convert again$",
        message,
    )
    ratios, counts, num_folds = advice.groups()[:2], advice.groups()[2:5], int(advice[6])
    loader = DataLoader(folder, None, *map(float, ratios))
    loader.require_both_classes(*SUBSETS)
    assert [str(loader.num_videos[subset]) for subset in SUBSETS] == list(counts)
    for fold in range(1, num_folds + 1):
        DataLoader(folder, fold=(fold, num_folds)).require_both_classes("train", "valid")


@pytest.mark.parametrize("seed", range(8))
def test_no_smaller_change_would_do(seed):
    generator = np.random.default_rng(seed)
    titles = [f"{generator.random()}" for _ in range(5)]
    classes_of = {title: [(True, True), (True, False), (False, True)][generator.integers(3)] for title in titles}

    def works(train, valid):
        subsets = {title: split.assign_subset(title, train, valid) for title in titles}
        return all(split.has_both([classes_of[t] for t in titles if subsets[t] == subset]) for subset in SUBSETS)

    found = split.suggest_split(classes_of, (0.6, 0.2))
    grid = np.round(np.arange(0.02, 1, 0.02), 2).tolist()  # half as fine
    working = [(a, b) for a in grid for b in grid if a + b < 0.999 and works(a, b)]
    if found is None:
        assert not working
        return
    assert works(*found)
    changes = [abs(a - 0.6) + abs(b - 0.2) for a, b in working]
    assert abs(found[0] - 0.6) + abs(found[1] - 0.2) <= min(changes, default=1) + 1e-6


def test_where_nothing_works_videos_have_to_be_added(tmp_path):
    folder = write_dataset(tmp_path / "two", {"match_00": [0, 1], "match_08": [0, 1]})
    assert error_of(folder).endswith(
        "(--split, here 0.6 0.2): no --split helps: add videos with highlights and convert again"
    )


def test_a_test_of_a_checkpoint_is_given_no_other_split(tmp_path):
    folder = write_dataset(tmp_path / "few", FEW)
    assert error_of(folder, "test").endswith("(--split, here 0.6 0.2): add videos with highlights and convert again")


def test_the_error_of_a_fold_names_other_numbers(tmp_path):
    folder = write_dataset(tmp_path / "few", {title: [0, 1] for title in ("match_07", "match_08", "match_09")})
    message = error_of(folder, "train", "valid", fold=(4, 5))
    assert "lacks one" in message or "lack one" in message
    assert re.search(
        r"\(--folds 5, here fold 4\): (give --folds \d+|no number of folds helps: add videos .*)$", message
    )


@pytest.mark.parametrize(
    ("labels", "sections_of", "message"),
    [
        ([0, 0], None, "received 6 videos without a single highlight, expected some: all label files are empty, fill"),
        ([0, 0], [[0.2, 0.5]], "received 6 videos whose highlights cover no segment by more than half, expected some"),
        ([1, 1], None, "received 6 videos in which every segment is a highlight, expected others too: check the label"),
    ],
)
def test_labels_that_are_all_alike_have_a_message_of_their_own(tmp_path, labels, sections_of, message):
    sections = None if sections_of is None else dict.fromkeys(FEW, sections_of)
    folder = write_dataset(tmp_path / "alike", dict.fromkeys(FEW, labels), sections_of=sections)
    assert error_of(folder).startswith(f"{folder}: {message}")
