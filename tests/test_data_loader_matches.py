"""The matches of a dataset: segments, labels, durations and sections, and errors where these are damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import LABELS, TITLES
from test_data_loader import write_dataset

from data_loader import DataLoader
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import SUBSETS, DataConfig, DatasetError
from videosummarizer.dataset.storage import list_segments


def test_matches_hold_what_the_dataset_says_of_them(dataset_dir):
    matches = DataLoader(dataset_dir).matches("test")
    assert [match.title for match in matches] == TITLES["test"]
    for match, duration_sec, sections_sec in zip(matches, (35 / 3, 8), ([[7.9, 9.2]], np.empty((0, 2))), strict=True):
        assert (match.segment_length, match.duration_sec) == (1, pytest.approx(duration_sec))
        assert match.labels.tolist() == LABELS[match.title]
        np.testing.assert_allclose(match.sections_sec, sections_sec)


def test_sections_that_a_dataset_does_not_say_are_runs_of_labels(tmp_path):
    labels_of = {"match_00": [1, 0, 1, 1], "match_01": [0, 0]}
    first, second = DataLoader(write_dataset(tmp_path / "old", labels_of, first_version=True)).matches("train")
    assert (first.duration_sec, first.sections_sec.tolist()) == (4, [[0, 1], [2, 4]])
    assert (second.duration_sec, second.sections_sec.shape) == (2, (0, 2))


@pytest.mark.parametrize(
    "record",
    [
        {"sections": [[0.5, 0.4]]},
        {"sections": [[0, 1], [0.5, 2]]},
        {"sections": [[1, 2.5]]},
        {"sections": [0, 1]},
        {"sections": "all"},
        {"sections": [[0, float("nan")]]},
        {"sections": []},
        {"sections": [[0, 1, 2]]},
        {"sections": [[1], [2]]},
        {"sections": [[-0.5, 1]]},
        {"sections": [[0.5, 0.5]]},
        {"sections": [[0, 1], [1, 1], [1, 2]]},
        {"sections": [[1, 2], [0, 1]]},
        {"sections": [["early", "late"]]},
        {"sections": None},
        {"duration": 9},
        {"duration": 1},  # would be one segment
        {"duration": 2.00001},  # would be three
        {"duration": -2},
        {"duration": 10**400},
        {"duration": "long"},
        {"duration": None},
        {"duration": float("inf")},
    ],
)
def test_damaged_sections_are_named(tmp_path, record):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1]})
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["videos"][0] |= {"duration": 2.0, "sections": [[1, 2]]} | record
    (folder / "metadata.json").write_text(json.dumps(metadata))
    message = (
        r"damaged.metadata\.json: received an invalid duration or invalid sections of match_00, "
        r".* of 2 segments: convert the video"
    )
    with pytest.raises(DatasetError, match=message):
        DataLoader(folder).matches("train")


@pytest.mark.parametrize(
    ("labels", "record", "duration_sec", "sections_sec"),
    [
        ([0, 1], {"duration": 2, "sections": [[1, 2]]}, 2, [[1, 2]]),  # up to the end
        ([1, 1], {"duration": 2, "sections": [[0, 1], [1, 2]]}, 2, [[0, 1], [1, 2]]),  # that touch
        ([0, 0], {"duration": 1.1, "sections": []}, 1.1, []),
        ([0, 0], {"duration": 1.1, "sections": [[0.2, 0.6]]}, 1.1, [[0.2, 0.6]]),  # too short for a label
        ([0, 1], {"duration": 1.75}, 1.75, [[1, 1.75]]),  # no longer than the match
        ([1, 1, 0, 1], {"duration": 3.75}, 3.75, [[0, 2], [3, 3.75]]),
        ([0, 0], {"duration": 1.75}, 1.75, []),
        ([0, 1], {"sections": [[1, 1.5]]}, 2, [[1, 1.5]]),  # as long as its segments
    ],
)
def test_sections_and_durations_that_are_right_are_taken(tmp_path, labels, record, duration_sec, sections_sec):
    folder = write_dataset(tmp_path / "right", {"match_00": labels, "match_01": [0]})
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["videos"][0] |= record
    (folder / "metadata.json").write_text(json.dumps(metadata))
    match, other = DataLoader(folder).matches("train")
    assert (match.title, match.segment_length, match.duration_sec) == ("match_00", 1, duration_sec)
    assert (match.labels.tolist(), match.labels.dtype) == (labels, np.dtype(np.int64))
    assert (match.sections_sec.tolist(), match.sections_sec.dtype) == (sections_sec, np.dtype(np.float64))
    assert match.sections_sec.shape == (len(sections_sec), 2)
    assert (other.title, other.duration_sec, other.labels.tolist()) == ("match_01", 1, [0])


def test_runs_of_labels_are_as_long_as_segments_are(tmp_path):
    config = DataConfig(2.5, 2, 1, 1, 4, False)
    folder = write_dataset(tmp_path / "old", {"match_00": [0, 1, 1, 0, 1]}, first_version=True, config=config)
    (match,) = DataLoader(folder).matches("train")
    assert (match.segment_length, match.duration_sec) == (2.5, 12.5)
    assert match.sections_sec.tolist() == [[2.5, 7.5], [10, 12.5]]


@pytest.mark.parametrize(
    ("labels_of", "message"),
    [
        (
            {"match_00": [0, 1], "match_07": [0, 1]},
            r"both classes in train and valid and test, but test lacks one \(train: 1 videos, 2 segments, "
            r"1 highlights; valid: 1 videos.*; test: 0 videos, 0 segments.*\(--split.*add videos ",
        ),
        ({"match_00": [0, 0], "match_07": [1, 1], "match_08": [0, 1]}, r"but train and valid lack one"),
    ],
)
def test_a_subset_without_both_classes_is_named(tmp_path, labels_of, message):
    loader = DataLoader(write_dataset(tmp_path / "few", labels_of))
    with pytest.raises(DatasetError, match=message):
        loader.require_both_classes(*SUBSETS)


def test_only_the_subsets_asked_for_need_both_classes(tmp_path):
    folder = write_dataset(tmp_path / "few", {"match_00": [0, 1, 0], "match_07": [0, 0], "match_08": [1]})
    loader = DataLoader(folder)
    loader.require_both_classes("train")
    with pytest.raises(
        DatasetError,
        match=r"few: expected segments of both classes in train and test, but test lacks one \(train: 1 videos, 3 "
        r"segments, 1 highlights; valid: 1 videos, 2 segments, 0 highlights; test: 1 videos, 1 segments, 1 highlights"
        r"\)\. .* \(--split, here 0\.6 0\.2\): add videos with highlights and convert again$",
    ):
        loader.require_both_classes("train", "test")
    with pytest.raises(DatasetError, match=r"in valid and test, but valid and test lack one \("):
        loader.require_both_classes("valid", "test")
    with pytest.raises(DatasetError, match=r"in valid, but valid lacks one \(.*--split, here 0\.25 0\.5\)"):
        DataLoader(folder, train_ratio=0.25, valid_ratio=0.5).require_both_classes("valid")


class NamedFiles:
    """The files of a dataset, in the order in which a disk lists them."""

    def __init__(self, names):
        self.path, self.names = Path("dataset"), lambda title: names


def test_segments_are_found_in_any_order_and_read_by_number():
    names = ["seg_00002_0.pkl", "notes.txt", "seg_00010_1.pkl", "seg_00001_1.pkl", "seg_00000_0.pkl.part"]
    names += [f"seg_{index:05d}_0.pkl" for index in (0, 9, 8, 7, 6, 5, 4, 3)] + ["seg_00001_2.pkl", "Xseg_00001_0.pkl"]
    files = NamedFiles(names)
    found = list_segments(files, "title", 11)
    assert [(file.index, file.label) for file in found] == [(index, int(index in (1, 10))) for index in range(11)]
    assert {(file.files, file.title) for file in found} == {(files, "title")}
    assert (found[10].name, str(found[10])) == ("seg_00010_1.pkl", str(Path("dataset/title/seg_00010_1.pkl")))


@pytest.mark.parametrize(
    "names",
    [
        ["seg_00000_0.pkl", "seg_00001_0.pkl", "seg_00003_0.pkl"],  # one is missing in between
        ["seg_00001_0.pkl", "seg_00002_0.pkl", "seg_00003_0.pkl"],
        ["seg_00000_0.pkl", "seg_00001_0.pkl", "seg_00001_1.pkl"],  # with two labels
        ["seg_00000_0.pkl", "seg_00000_1.pkl", "seg_00001_1.pkl"],
    ],
)
def test_segments_that_are_as_many_but_others_are_named(names):
    with pytest.raises(DatasetError, match=r"title: received 3 segment files, expected 3 as metadata\.json"):
        list_segments(NamedFiles(names), "title", 3)


@pytest.mark.parametrize(("num_files", "num_segments"), [(4, 3), (1, 0), (0, 1)])
def test_segments_of_another_number_are_named(num_files, num_segments):
    names = [f"seg_{index:05d}_0.pkl" for index in range(num_files)]
    with pytest.raises(DatasetError, match=rf"received {num_files} segment files, expected {num_segments} as"):
        list_segments(NamedFiles(names), "title", num_segments)


def test_missing_segments_are_named(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1, 0]})
    (folder / "match_00" / "seg_00001_1.pkl").unlink()
    with pytest.raises(DatasetError, match=r"match_00: received 2 segment files, expected 3 as metadata\.json"):
        DataLoader(folder)


def test_a_file_name_of_endless_digits_is_no_segment(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1, 0]})
    (folder / "match_00" / f"seg_{'0' * 200}_1.pkl").write_bytes(b"")
    assert DataLoader(folder).num_segments["train"] == 3


def test_arrays_of_another_shape_are_named(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0]})
    config = DataConfig(1, 1, 2, 2, 2, False)
    frames, audio = np.zeros((1, 2, 2, 3), np.uint8), np.zeros(2, np.float32)
    storage.write_segment(folder / "match_00", 0, 0, frames, audio, config, 1.0)
    with pytest.raises(DatasetError, match=r"seg_00000_0\.pkl: received arrays of shapes .*\(1, 2, 2, 3\)"):
        DataLoader(folder).batches("train")[0]
