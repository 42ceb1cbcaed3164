"""Datasets as read by the loader: counts, matches, segments, and datasets of the first version."""

import dataclasses
import json
import pickle
import unicodedata

import numpy as np
import pytest
from conftest import LABELS, TITLES

from data_loader import DataLoader, assign_subset, class_weights
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import SUBSETS, DataConfig, write_metadata
from videosummarizer.dataset.temporal_context import TemporalContext

# The subsets of match_00 to match_99 by the formula of DESIGN.md: tRain, vAlid, tEst. Never change this table.
PINNED = "rrrrrrraeaeerrrreereaaearrarrrerrrrrarrearerarrarrrrrrrrrrarrrrrrererrrrrarrrearrrarrerrrrrrearerrre"


def test_the_split_of_a_hundred_titles_is_pinned():
    letters = {"train": "r", "valid": "a", "test": "e"}
    assert "".join(letters[assign_subset(f"match_{number:02d}")] for number in range(100)) == PINNED


@pytest.mark.parametrize(
    ("title", "subset"),
    # The XORed bytes of these titles, over 255: 0.718, 0.173, 0.616, 0.820.
    [("a", "valid"), ("결승전 #3 (재경기)", "train"), ("arena_01", "valid"), ("pit_04", "test")],
)
def test_golden_split(title, subset):
    assert assign_subset(title) == subset


def test_proportions_are_parameters():
    titles = [str(number) for number in range(2000)]
    fractions = [sum(assign_subset(t, 0.5, 0.25) == subset for t in titles) / len(titles) for subset in SUBSETS]
    np.testing.assert_allclose(fractions, [0.5, 0.25, 0.25], atol=0.04)
    assert {assign_subset(title, 1.0, 0.0) for title in titles} <= {"train", "test"}


@pytest.mark.parametrize(
    ("title", "ratios", "subset"),
    # The XORed bytes of these titles are n, and n / 255 is at a limit; n / 256, or a limit that counts, gives another.
    [
        ("arena_193", (0.6, 0.2), "train"),  # 152
        ("arena_289", (0.6, 0.2), "valid"),  # 153: exactly 0.6
        ("arena_058", (0.6, 0.2), "valid"),  # 154
        ("arena_332", (0.6, 0.2), "valid"),  # 203
        ("arena_053", (0.6, 0.2), "test"),  # 204: exactly 0.8
        ("arena_093", (0.6, 0.2), "test"),  # 205
        ("arena_141", (0.4, 0.3), "train"),  # 101
        ("arena_337", (0.4, 0.3), "valid"),  # 102: exactly 0.4
        ("arena_060", (0.7, 0.2), "train"),  # 178
        ("arena_069", (0.7, 0.2), "valid"),  # 179 / 255 is 0.702, 179 / 256 is 0.699
        ("arena_024", (0.7, 0.2), "valid"),  # 229
        ("arena_160", (0.7, 0.2), "test"),  # 230 / 255 is 0.902, 230 / 256 is 0.898
        ("arena_338", (0.5, 0.25), "valid"),  # 128 / 255 is more than a half
        ("arena_230", (0.5, 0.25), "train"),  # 127
        ("arena_026", (0.0, 0.2), "valid"),  # 0
        ("arena_026", (0.0, 0.0), "test"),
        ("arena_106", (0.0, 0.2), "valid"),  # 1
        ("arena_071", (1.0, 0.0), "train"),  # 254
        ("arena_132", (1.0, 0.0), "test"),  # 255: exactly 1
    ],
)
def test_titles_at_a_limit_of_the_split_are_pinned(title, ratios, subset):
    assert assign_subset(title, *ratios) == subset
    if ratios == (0.6, 0.2):
        assert assign_subset(title) == subset


@pytest.mark.parametrize(
    ("title", "subset"),
    # Of each of these titles another encoding or another case gives another subset. Decomposed characters do not.
    [
        ("경기 143", "valid"),
        ("경기 113", "test"),
        ("Caf\u00e9 3", "valid"),
        ("Cafe\u0301 3", "valid"),
        ("\u00c5ngstr\u00f6m 32", "test"),
        ("A\u030angstro\u0308m 32", "test"),
        ("Match 182", "valid"),
        ("match 182", "train"),
        ("MATCH 182", "train"),
        ("Match 182 ", "train"),
        (" Match 182", "train"),
        ("Match 182.mp4", "train"),
    ],
)
def test_a_title_is_hashed_as_it_is_written_in_utf_8(title, subset):
    assert assign_subset(title) == subset


def test_composed_titles_keep_their_hashes_and_decomposed_ones_get_them():
    # The limits between which the ratio of train puts a title: its XORed byte over 255.
    for title, byte in {"arena_01": 157, "결승전 1세트": 103, "경기 143": 189, "Café 3": 169, "試合 がぎ": 19}.items():
        for form in (title, unicodedata.normalize("NFD", title)):
            subsets = [assign_subset(form, (byte + offset) / 255, 0) for offset in (-0.5, 0.5)]
            assert subsets == ["test", "train"], (form, byte)


def test_a_loader_splits_by_its_own_proportions(tmp_path):
    titles = ["arena_053", "arena_069", "arena_106", "arena_160", "arena_289"]  # 0.8, 0.70, 0.004, 0.90, 0.6
    folder = write_dataset(tmp_path / "split", {title: [0] for title in titles})

    def split(**ratios):
        loader = DataLoader(folder, **ratios)
        assert loader.num_videos == {subset: len(files) for subset, files in loader.segment_files.items()}
        return [[file.title for file in loader.segment_files[subset]] for subset in SUBSETS]

    _053, _069, _106, _160, _289 = titles
    assert split() == split(train_ratio=0.6, valid_ratio=0.2) == [[_106], [_069, _289], [_053, _160]]
    assert split(train_ratio=0.2, valid_ratio=0.6) == [[_106], [_069, _289], [_053, _160]]
    assert split(train_ratio=0.2, valid_ratio=0.5) == [[_106], [_289], [_053, _069, _160]]
    assert split(train_ratio=0.75) == [[_069, _106, _289], [_053, _160], []]
    assert split(valid_ratio=0.4) == [[_106], titles[:2] + titles[3:], []]
    assert split(train_ratio=0, valid_ratio=0) == [[], [], titles]
    assert split(train_ratio=1, valid_ratio=0) == [titles, [], []]
    assert split(train_ratio=0, valid_ratio=1) == [[], titles, []]


def test_adding_videos_moves_none(tmp_path):
    titles = [f"match_{number:02d}" for number in range(12)]
    few = DataLoader(write_dataset(tmp_path / "few", {title: [0] for title in titles[:6]}))
    many = DataLoader(write_dataset(tmp_path / "many", {title: [0] for title in reversed(titles)}))
    for subset in SUBSETS:
        of_few = {file.title for file in few.segment_files[subset]}
        assert of_few == {file.title for file in many.segment_files[subset]} & set(titles[:6])


def test_counts_of_each_subset(dataset_dir):
    loader = DataLoader(dataset_dir)
    assert loader.num_videos == {"train": 2, "valid": 2, "test": 2}
    assert loader.num_segments == {"train": 20, "valid": 11, "test": 20}
    assert loader.num_highlights == {"train": 5, "valid": 7, "test": 1}
    for subset, titles in TITLES.items():
        assert {file.title for file in loader.segment_files[subset]} == set(titles)


def test_steps_follow_the_sections(tmp_path):
    loader = DataLoader(
        write_dataset(tmp_path / "steps", {"match_00": [0, 1]}, sections_of={"match_00": [[0.75, 1.5]]})
    )
    _, targets, _ = loader.batches("train")[0]
    assert {tuple(row) for row in targets["steps"][0].tolist()} == {(0, 0.5), (1, 0)}


def test_the_rare_class_is_weighted(tmp_path):
    np.testing.assert_allclose(class_weights(np.array([0] * 9 + [1])), [10 / 18, 5])
    loader = DataLoader(write_dataset(tmp_path / "rare", {"match_07": [0, 1, 0, 0]}), batch_size=4)
    _, _, weights = loader.batches("valid")[0]
    np.testing.assert_allclose(weights, [[4 / 6, 2, 4 / 6, 4 / 6]], rtol=1e-6)


ONE_FRAME = DataConfig(1, 1, 1, 1, 2, False)


def open_in_sequences(dataset_dir, sequence_length, **more):
    """Open a dataset whose sequences have a given number of segments, whatever the length of its highlights."""
    loader = DataLoader(dataset_dir, **more)
    loader.context = dataclasses.replace(loader.context, sequence_length=sequence_length)
    return loader


def write_dataset(folder, labels_of, first_version=False, sections_of=None, config=ONE_FRAME, are_numbered=False):
    """Write a dataset of grey frames and silence with the labels given for each title.

    Numbered ones hold the number of the match in the dataset as red and first sample, and that of the segment as green
    and second sample.
    """
    frames = np.full(config.data_shape["video"], 51, np.uint8)
    audio = np.zeros(config.data_shape["audio"], np.float32)
    folder.mkdir()
    for number, (title, labels) in enumerate(labels_of.items()):
        (folder / title).mkdir()
        for index, label in enumerate(labels):
            if are_numbered:
                frames[..., 0], frames[..., 1] = number, index
                audio[..., 0], audio[..., 1] = number, index
            if first_version:
                segment = {
                    "video": (frames / 255).astype(np.float16),
                    "audio": audio.astype(np.float16),
                    "label": label,
                }
                segment |= {"start_sec": np.float64(index), "end_sec": np.float64(index + 1), "total_duration": 9.5}
                (folder / title / f"seg_{index:05d}_{label}.pkl").write_bytes(pickle.dumps(segment, protocol=4))
            else:
                storage.write_segment(folder / title, index, label, frames, audio, config, float(len(labels)))
    metadata = {"created": "2020-08-25 16:36:56", "config": vars(config), "data_shape": config.data_shape}
    metadata["total_segment_count"] = sum(map(len, labels_of.values()))
    metadata["segment_counts"] = {title: len(labels) for title, labels in labels_of.items()}
    if first_version:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    else:
        videos = [
            {"title": title, "segment_count": len(labels)} | ({"sections": sections_of[title]} if sections_of else {})
            for title, labels in labels_of.items()
        ]
        write_metadata(folder, config, videos, missing=[], created="2026-11-24")
    return folder


def test_datasets_of_the_first_version_load(tmp_path):
    loader = DataLoader(write_dataset(tmp_path / "old", {"match_00": [0, 1], "match_07": [1]}, first_version=True))
    inputs, targets, weights = loader.batches("valid")[0]
    assert inputs["video"].dtype == np.uint8
    assert inputs["video"][0, 0].ravel().tolist() == [51, 51, 51]
    assert inputs["audio"].dtype == np.float32
    assert (targets["highlight"][0, 0].tolist(), targets["steps"][0, 0].tolist()) == ([1], [1, 1])
    assert weights.tolist()[0][1:] == [0] * 7
    assert loader.num_segments == {"train": 2, "valid": 1, "test": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: received 0, expected 1 or more"),
        ({"batch_size": -1}, "batch_size: received -1, expected 1 or more"),
        ({"valid_ratio": -0.1}, r"train_ratio, valid_ratio: received 0\.6, -0\.1, expected fractions"),
        ({"train_ratio": 0.6, "valid_ratio": 0.40000001}, r"train_ratio, valid_ratio: received 0\.6, 0\.40000001"),
        ({"train_ratio": 1.1, "valid_ratio": -0.1}, r"train_ratio, valid_ratio: received 1\.1, -0\.1"),
        (
            {"train_ratio": 0.9, "valid_ratio": 0.2},
            r"train_ratio, valid_ratio: received 0\.9, 0\.2, expected fractions",
        ),
        ({"train_ratio": -0.1}, "train_ratio, valid_ratio: received"),
    ],
)
def test_wrong_parameters_are_named(dataset_dir, arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(dataset_dir, **arguments)


def test_a_rounding_error_of_proportions_is_no_wrong_parameter(dataset_dir):
    loader = DataLoader(dataset_dir, train_ratio=0.6, valid_ratio=0.4000000001)
    assert (loader.train_ratio, loader.valid_ratio) == (0.6, 0.4000000001)


def test_a_loader_keeps_what_it_was_given(dataset_dir):
    loader = DataLoader(dataset_dir)
    # Highlights of 3 s: sequences of 15 segments, two in a batch.
    assert (loader.batch_size, loader.train_ratio, loader.valid_ratio, loader.seed) == (30, 0.6, 0.2, 0)
    assert loader.context == TemporalContext((1, 2, 4, 8), 15)
    loader = DataLoader(str(dataset_dir), 3, 0.5, 0.25, 7)
    assert (loader.batch_size, loader.train_ratio, loader.valid_ratio, loader.seed) == (3, 0.5, 0.25, 7)
    assert loader.context == TemporalContext((1, 2, 4, 8), 15)
    assert (loader.dataset_dir, loader.num_steps) == (dataset_dir, 2)
    assert loader.config == DataConfig(1.0, 2.0, 16, 16, 4000, False)
    assert loader.data_shape == {"video": (2, 16, 16, 3), "audio": (4000,)}
    assert loader.metadata == json.loads((dataset_dir / "metadata.json").read_text()) | {
        "data_shape": loader.data_shape
    }
    assert sorted(loader.video_records) == sorted(LABELS)
    assert loader.labels("valid").dtype == np.int64


@pytest.mark.parametrize(
    ("segment_length", "num_steps"), [(0.2, 1), (0.5, 1), (0.7, 1), (0.8, 2), (1.3, 3), (5, 10), (7.4, 15)]
)
def test_steps_are_about_half_a_second_long(tmp_path, segment_length, num_steps):
    config = DataConfig(segment_length, 10, 1, 1, 10, False)
    loader = DataLoader(write_dataset(tmp_path / "steps", {"match_07": [1]}, config=config))
    assert loader.num_steps == num_steps
    assert loader.batches("valid")[0][1]["steps"].shape == (1, 8, num_steps)


def test_steps_of_every_match_of_a_subset(tmp_path):
    config = DataConfig(2, 2, 1, 1, 4, False)  # 4 steps a segment
    sections_of = {"match_00": [[0.25, 2.0], [3.75, 4.75]], "match_01": [], "match_07": [[0, 1]]}
    labels_of = {"match_00": [1, 0, 0], "match_01": [0, 0], "match_07": [0]}
    loader = DataLoader(write_dataset(tmp_path / "steps", labels_of, sections_of=sections_of, config=config))
    steps = loader.steps("train")
    assert {title: rows.tolist() for title, rows in steps.items()} == {
        "match_00": [[0.5, 1, 1, 1], [0, 0, 0, 0.5], [1, 0.5, 0, 0]],
        "match_01": [[0] * 4] * 2,
    }
    assert {rows.dtype for rows in steps.values()} == {np.dtype(np.float32)}


def test_steps_are_equal_parts_of_a_segment(tmp_path):
    config = DataConfig(1.2, 10, 1, 1, 10, False)  # two steps of 0.6 s
    sections_of = {"match_00": [[0.9, 1.5], [3.0, 3.3]]}
    folder = write_dataset(tmp_path / "steps", {"match_00": [0, 0, 0]}, sections_of=sections_of, config=config)
    np.testing.assert_allclose(DataLoader(folder).steps("train")["match_00"], [[0, 0.5], [0.5, 0], [0, 0.5]], atol=1e-6)


def test_each_subset_weights_its_own_classes(dataset_dir):
    loader = DataLoader(dataset_dir)
    for subset, (num_0, num_1) in {"train": (15, 5), "valid": (4, 7), "test": (19, 1)}.items():
        expected = [(num_0 + num_1) / (2 * num_0), (num_0 + num_1) / (2 * num_1)]
        batches = loader.batches(subset)
        np.testing.assert_allclose(batches.class_weights, expected, rtol=1e-12)
        labels = np.concatenate([targets["highlight"].ravel() for _, targets, _ in batches])
        weights = np.concatenate([weights.ravel() for _, _, weights in batches])
        for label, expected_weight, num_of_class in ((0, expected[0], num_0), (1, expected[1], num_1)):
            of_class = weights[(labels == label) & (weights > 0)]
            np.testing.assert_allclose(of_class, [expected_weight] * num_of_class, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "weights"),
    [([0, 0, 0], [0.5, 1.5]), ([1, 1], [1, 0.5]), ([], [0, 0]), ([0, 1], [1, 1]), ([1, 0, 1, 1], [2, 2 / 3])],
)
def test_class_weights_of_few_labels(labels, weights):
    computed = class_weights(np.array(labels, np.int64))
    assert computed.tolist() == pytest.approx(weights, rel=1e-12)
    assert computed.shape == (2,)
