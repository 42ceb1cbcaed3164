"""The split, the batches, and datasets of the first version."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import TITLES

import segments
from data_loader import SUBSETS, DataLoader, subset_of

# The subsets of match_00 to match_99 by the formula of DESIGN.md: tRain, vAlid, tEst. Never change this table.
PINNED = "rrrrrrraeaeerrrreereaaearrarrrerrrrrarrearerarrarrrrrrrrrrarrrrrrererrrrrarrrearrrarrerrrrrrearerrre"


def test_the_split_of_a_hundred_titles_is_pinned():
    letters = {"train": "r", "valid": "a", "test": "e"}
    assert "".join(letters[subset_of(f"match_{number:02d}")] for number in range(100)) == PINNED


@pytest.mark.parametrize(
    ("title", "subset"),
    # The XORed bytes of these titles, over 255: 0.718, 0.173, 0.616, 0.820.
    [("a", "valid"), ("결승전 #3 (재경기)", "train"), ("arena_01", "valid"), ("pit_04", "test")],
)
def test_golden_split(title, subset):
    assert subset_of(title) == subset


def test_proportions_are_parameters():
    titles = [str(number) for number in range(2000)]
    shares = [sum(subset_of(t, 0.5, 0.25) == subset for t in titles) / len(titles) for subset in SUBSETS]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.04)
    assert {subset_of(title, 1.0, 0.0) for title in titles} <= {"train", "test"}


def test_counts_of_each_subset(dataset_dir):
    loader = DataLoader(dataset_dir)
    assert loader.num_videos == {"train": 2, "valid": 2, "test": 2}
    assert loader.num_segments == {"train": 12, "valid": 12, "test": 12}
    assert loader.num_highlights == {"train": 6, "valid": 6, "test": 6}
    for subset, titles in TITLES.items():
        assert {file.title for file in loader.segment_files[subset]} == set(titles)


def test_batches_hold_the_segments_own_arrays(dataset_dir):
    loader = DataLoader(dataset_dir, batch_size=5)
    batches = loader.batches("valid")
    assert len(batches) == 3
    sizes, row = [], 0
    for inputs, labels in batches:
        sizes.append(len(labels))
        assert (inputs["video"].shape[1:], inputs["video"].dtype) == ((2, 16, 16, 3), np.uint8)
        assert (inputs["audio"].shape[1:], inputs["audio"].dtype) == ((4000,), np.float32)
        for video, audio, label in zip(inputs["video"], inputs["audio"], labels, strict=True):
            title, index = TITLES["valid"][row // 6], row % 6
            segment = segments.read_segment(dataset_dir / title / f"seg_{index:05d}_{int(index >= 3)}.pkl")
            np.testing.assert_array_equal(video, segment["video"])
            np.testing.assert_array_equal(audio, segment["audio"])
            assert label.tolist() == [int(index >= 3)]
            row += 1
    assert sizes == [5, 5, 2]
    np.testing.assert_array_equal(loader.labels("valid"), [0, 0, 0, 1, 1, 1] * 2)


def orders(loader, subset, num_epochs=2):
    batches = loader.batches(subset)
    found = []
    for epoch in range(num_epochs):
        batches.start_epoch(epoch)
        found.append([audio.tobytes() for inputs, _ in batches for audio in inputs["audio"]])
    return found


def test_train_is_shuffled_each_epoch_by_the_seed_and_the_others_are_not(dataset_dir):
    first, second = orders(DataLoader(dataset_dir, batch_size=5, seed=1), "train")
    assert first != second
    assert sorted(first) == sorted(second)
    assert orders(DataLoader(dataset_dir, batch_size=5, seed=1), "train") == [first, second]
    assert orders(DataLoader(dataset_dir, batch_size=5, seed=2), "train")[0] != first
    for subset in ("valid", "test"):
        first, second = orders(DataLoader(dataset_dir, batch_size=5), subset)
        assert first == second


def test_a_pickle_is_read_only_when_its_batch_is_asked_for(dataset_dir, monkeypatch):
    read = []
    original = segments.read_whole
    monkeypatch.setattr(segments, "read_whole", lambda path, size: read.append(Path(path).name) or original(path, size))
    loader = DataLoader(dataset_dir, batch_size=4)
    batches, read[:] = loader.batches("test"), []
    loader.labels("test")
    assert read == []
    batches[1]
    assert read == ["seg_00004_1.pkl", "seg_00005_1.pkl", "seg_00000_0.pkl", "seg_00001_0.pkl"]


def write_dataset(folder, labels_of, first_version=False):
    """A dataset of 1-pixel frames with the labels given for each title."""
    config = segments.DataConfig(1, 1, 1, 1, 2, False)
    frames, audio = np.full((1, 1, 1, 3), 51, np.uint8), np.zeros(2, np.float32)
    folder.mkdir()
    for title, labels in labels_of.items():
        (folder / title).mkdir()
        for index, label in enumerate(labels):
            if first_version:
                segment = {
                    "video": (frames / 255).astype(np.float16),
                    "audio": audio.astype(np.float16),
                    "label": label,
                }
                segment |= {"start_sec": np.float64(index), "end_sec": np.float64(index + 1), "total_duration": 9.5}
                (folder / title / f"seg_{index:05d}_{label}.pkl").write_bytes(pickle.dumps(segment, protocol=4))
            else:
                segments.write_segment(folder / title, index, label, frames, audio, config, float(len(labels)))
    metadata = {"created": "2020-08-25 16:36:56", "config": vars(config), "data_shape": config.data_shape}
    metadata["total_segment_count"] = sum(map(len, labels_of.values()))
    metadata["segment_counts"] = {title: len(labels) for title, labels in labels_of.items()}
    if first_version:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    else:
        videos = [{"title": title, "segment_count": len(labels)} for title, labels in labels_of.items()]
        segments.write_metadata(folder, config, videos, missing=[], created="2026-11-24")
    return folder


def test_datasets_of_the_first_version_load(tmp_path):
    loader = DataLoader(write_dataset(tmp_path / "old", {"match_00": [0, 1], "match_07": [1]}, first_version=True))
    inputs, labels = loader.batches("valid")[0]
    assert inputs["video"].dtype == np.uint8
    assert inputs["video"].ravel().tolist() == [51, 51, 51]
    assert inputs["audio"].dtype == np.float32
    assert labels.tolist() == [[1]]
    assert loader.num_segments == {"train": 2, "valid": 1, "test": 0}


def test_matches_hold_what_the_dataset_says_of_them(dataset_dir):
    matches = DataLoader(dataset_dir).matches("test")
    assert [match.title for match in matches] == TITLES["test"]
    for match in matches:
        assert (match.segment_length, match.duration_sec) == (1, pytest.approx(6))
        assert match.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert match.sections_sec == pytest.approx(np.array([[3.0, 6.0]]))


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
        {"duration": 9},
        {"duration": None},
        {"duration": float("inf")},
    ],
)
def test_damaged_sections_are_named(tmp_path, record):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1]})
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["videos"][0] |= {"duration": 2.0, "sections": [[1, 2]]} | record
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(segments.DatasetError, match=r"metadata\.json: received a duration or sections of match_00"):
        DataLoader(folder).matches("train")


def test_adding_videos_moves_none(tmp_path):
    titles = [f"match_{number:02d}" for number in range(12)]
    few = DataLoader(write_dataset(tmp_path / "few", {title: [0] for title in titles[:6]}))
    many = DataLoader(write_dataset(tmp_path / "many", {title: [0] for title in reversed(titles)}))
    for subset in SUBSETS:
        of_few = {file.title for file in few.segment_files[subset]}
        assert of_few == {file.title for file in many.segment_files[subset]} & set(titles[:6])


@pytest.mark.parametrize(
    ("labels_of", "message"),
    [
        (
            {"match_00": [0, 1], "match_07": [0, 1]},
            r"both classes in train and valid and test, but test lacks one \(train: 1 videos, 2 segments, "
            r"1 highlights; valid: 1 videos.*; test: 0 videos, 0 segments.*add videos .*\(--split",
        ),
        ({"match_00": [0, 0], "match_07": [1, 1], "match_08": [0, 1]}, r"but train and valid lack one"),
    ],
)
def test_a_subset_without_both_classes_is_named(tmp_path, labels_of, message):
    loader = DataLoader(write_dataset(tmp_path / "few", labels_of))
    with pytest.raises(segments.DatasetError, match=message):
        loader.require_both_classes(*SUBSETS)


def test_missing_segments_are_named(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1, 0]})
    (folder / "match_00" / "seg_00001_1.pkl").unlink()
    with pytest.raises(
        segments.DatasetError, match=r"match_00: received 2 segment files, expected 3 as metadata\.json"
    ):
        DataLoader(folder)


def test_arrays_of_another_shape_are_named(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0]})
    config = segments.DataConfig(1, 1, 2, 2, 2, False)
    frames, audio = np.zeros((1, 2, 2, 3), np.uint8), np.zeros(2, np.float32)
    segments.write_segment(folder / "match_00", 0, 0, frames, audio, config, 1.0)
    with pytest.raises(segments.DatasetError, match=r"seg_00000_0\.pkl: received arrays of shapes .*\(1, 2, 2, 3\)"):
        DataLoader(folder).batches("train")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: received 0, expected 1 or more"),
        ({"train_ratio": 0.9, "valid_ratio": 0.2}, r"train_ratio, valid_ratio: received 0\.9, 0\.2, expected shares"),
        ({"train_ratio": -0.1}, "train_ratio, valid_ratio: received"),
    ],
)
def test_wrong_parameters_are_named(dataset_dir, arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(dataset_dir, **arguments)
