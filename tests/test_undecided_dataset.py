"""Undecided time of a dataset, which nobody has looked at: what of it the loader counts, reads and weighs."""

import json
from functools import partial

import numpy as np
import pytest
from test_data_loader import open_in_sequences, write_dataset

from data_loader import DataLoader
from videosummarizer.dataset import metadata
from videosummarizer.dataset.metadata import DataConfig, DatasetError, write_metadata
from videosummarizer.dataset.sequences import divide_match
from videosummarizer.dataset.time_shift import UNDECIDED, shift_batch

# Segments of 2 s with 4 steps, each with one frame and two samples.
CONFIG = DataConfig(2, 2, 1, 1, 4, False)
SECTIONS = [[2.0, 5.0], [10.0, 12.0]]
LABELS = [0, 1, 0, 0, 0, 1, 0, 0]


def write(folder, labels_of, sections_of, undecided_of, durations_sec=None, config=CONFIG):
    """Write a dataset with undecided time."""
    write_dataset(folder, labels_of, sections_of=sections_of, config=config, are_numbered=True)
    records = json.loads((folder / "metadata.json").read_text())["videos"]
    for record in records:
        record |= {
            "duration": (durations_sec or {}).get(record["title"], config.segment_length * record["segment_count"])
        }
        if record["title"] in undecided_of:
            record["undecided_sec"] = undecided_of[record["title"]]
    write_metadata(folder, config, records, missing=[])
    return folder


def open_match(folder, undecided_sec, duration_sec=16.0, labels=LABELS, sections=SECTIONS, **more):
    """Open a dataset of match_00 alone."""
    titles = {"match_00": labels}, {"match_00": sections}, {"match_00": undecided_sec}
    return DataLoader(write(folder / "dataset", *titles, {"match_00": duration_sec}), **more)


@pytest.mark.parametrize(
    ("undecided_sec", "duration_sec", "is_decided"),
    [
        # Highlights cover three quarters of the second segment surely, and at most half of the fifth.
        ([[3.5, 9.0]], 16.0, [1, 1, 0, 0, 1, 1, 1, 1]),
        ([[3.0, 9.001]], 16.0, [1, 0, 0, 0, 0, 1, 1, 1]),  # half surely, and perhaps more than half
        ([[13.9, 15.0]], 15.0, [1, 1, 1, 1, 1, 1, 1, 0]),  # the padded half of the last segment is undecided, too
        ([[13.9, 14.9]], 15.0, [1, 1, 1, 1, 1, 1, 1, 1]),
        ([[14.2, 14.4], [15.2, 15.4]], 16.0, [1] * 8),
        ([[14.2, 14.7], [15.2, 15.8]], 16.0, [1] * 7 + [0]),
        ([[0.0, 16.0]], 16.0, [0] * 8),
    ],
)
def test_a_segment_is_decided_if_undecided_time_cannot_change_its_label(
    tmp_path, undecided_sec, duration_sec, is_decided
):
    loader = open_match(tmp_path, undecided_sec, duration_sec)
    assert loader.is_decided("train").tolist() == [bool(value) for value in is_decided]
    assert loader.labels("train").tolist() == LABELS
    assert loader.num_segments["train"] == 8
    assert loader.num_decided["train"] == sum(is_decided)
    num_highlights = sum(label * decided for label, decided in zip(LABELS, is_decided, strict=True))
    assert loader.num_highlights["train"] == num_highlights
    has_others = sum(is_decided) > num_highlights
    assert loader.classes_of["match_00"] == (num_highlights > 0, has_others)


def test_steps_that_undecided_time_touches_have_a_target_of_their_own(tmp_path):
    steps = open_match(tmp_path, [[3.7, 9.0], [13.9, 15.2]], 15.2).steps("train")["match_00"]
    assert steps.dtype == np.float32
    assert steps[[0, 1, 4, 6, 7]].tolist() == [[0] * 4, [1, 1, 1, -1], [-1, -1, 0, 0], [0, 0, 0, -1], [-1] * 4]
    assert (steps[2:4] == UNDECIDED).all()


def test_class_weights_and_context_come_from_decided_time(tmp_path):
    loader = open_match(tmp_path, [[3.9, 9.0]])
    assert loader.class_weights("train").tolist() == [6 / (2 * 4), 6 / (2 * 2)]  # two of the six decided segments
    # Of the sections of 30 s and 4 s, most of the long one is undecided.
    sections, labels = [[0.0, 30.0], [32.0, 36.0]], [1] * 15 + [0] + [1] * 2 + [0] * 2
    (tmp_path / "long").mkdir()
    loader = open_match(tmp_path / "long", [[10.0, 28.0]], 40.0, labels, sections)
    assert loader.context.dilations == (1, 2, 4, 8)  # as for a median of 4 s, which is 8 steps; not of 17 s
    # Sections of 30 s and of at least 4 s: as for a median of 30 s, not of 17 s.
    sections, labels = [[2.0, 6.0], [10.0, 40.0]], [0, 1, 1, 0, 0] + [1] * 15
    (tmp_path / "cut").mkdir()
    loader = open_match(tmp_path / "cut", [[6.0, 8.0]], 40.0, labels, sections)
    assert loader.context.dilations == (1, 2, 4, 8, 16, 32, 64)


def numbers_of(inputs):
    """The numbers of the segments in a batch."""
    return inputs["audio"][:, :, 1].astype(int)


def test_validation_reads_all_segments_in_order_and_weighs_the_decided_ones(tmp_path):
    titles = {"match_07": LABELS}, {"match_07": SECTIONS}, {"match_07": [[3.5, 9.0]]}
    loader = open_in_sequences(write(tmp_path / "valid", *titles), 4, batch_size=8)
    ((inputs, targets, weights),) = loader.batches("valid")
    assert numbers_of(inputs).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    np.testing.assert_array_equal(weights > 0, [[1, 1, 0, 0], [1, 1, 1, 1]])
    assert targets["steps"][0, 1].tolist() == [1, 1, 1, UNDECIDED]


def test_training_reads_undecided_segments_only_as_neighbours_of_decided_ones(tmp_path):
    labels = [0, 1, 0, 0] * 15
    sections = [[2.0 + 8 * number, 4.0 + 8 * number] for number in range(15)]
    # Decided: segments 10 to 14, 30, and 33 to 37, which are in one run with segment 30.
    undecided_sec = [[0.0, 20.0], [30.0, 60.0], [62.0, 66.0], [76.0, 120.0]]
    titles = {"match_00": labels, "match_01": labels}, {"match_00": sections, "match_01": sections}
    folder = write(tmp_path / "train", *titles, {"match_00": undecided_sec, "match_01": [[0.0, 120.0]]})
    loader = open_in_sequences(folder, 4, batch_size=8)
    decided, batches, read, num_batches = {*range(10, 15), 30, *range(33, 38)}, loader.batches("train"), [], set()
    for epoch in range(12):
        batches.start_epoch(epoch)
        num_batches.add(len(batches))
        counted = []
        for inputs, targets, weights in batches:
            assert set(inputs["audio"][:, :, 0].ravel()) == {0}  # the undecided match is not read
            numbers = numbers_of(inputs)
            assert (np.diff(numbers, axis=1) == 1).all()  # with their neighbours instead of padding
            assert (weights > 0).any(axis=1).all()
            counted += numbers[weights > 0].tolist()
            read += numbers.ravel().tolist()
            np.testing.assert_allclose(
                weights[weights > 0], batches.class_weights[targets["highlight"][..., 0][weights > 0].astype(int)]
            )
        assert sorted(counted) == sorted(decided)
        for _, targets, weights in batches.augmented():
            assert weights.any()
            assert (targets["steps"][weights > 0] != UNDECIDED).any(axis=1).all()
    assert 7 <= min(read) < max(read) <= 40
    assert len(num_batches) == 1
    assert batches.shift_steps.any()


def test_sequences_do_not_overlap_in_decided_segments_and_each_has_some():
    files, rng = list(range(200)), np.random.default_rng(1)
    for length in (1, 3, 8):
        for ratio in (0.05, 0.3, 0.9):
            is_chosen = rng.random(200) < ratio
            sequences = divide_match(files, is_chosen, length, rng)
            chosen = [[file for file in sequence.files if is_chosen[file]] for sequence in sequences]
            assert all(chosen)
            assert [file for part in chosen for file in part] == np.flatnonzero(is_chosen).tolist()
            assert all(0 <= sequence.num_padded_before + len(sequence.files) <= length for sequence in sequences)
    assert divide_match(files, np.zeros(200, bool), 8, rng) == []


def test_a_shifted_segment_counts_if_undecided_steps_cannot_change_its_label():
    steps = np.array([[[0, 0, 0, 0], [1, 1, 1, -1], [-1, -1, -1, -1], [-1, -1, 0, 0], [0, 0, 0, 0]]], np.float32)
    inputs = {"video": np.zeros((1, 5, 4, 1, 1, 3), np.uint8), "audio": np.zeros((1, 5, 8), np.float32)}
    is_used, class_weights = np.ones((1, 5), bool), np.array([2.0, 3.0])
    shift = partial(shift_batch, inputs, {"highlight": None, "steps": steps}, is_used, class_weights=class_weights)
    _, targets, weights = shift(shift=0.25)
    assert targets["steps"][0, :3].tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [-1, -1, -1, -1]]
    assert targets["highlight"][0, :, 0].tolist() == [0, 1, 0, 0, 0]
    assert weights.tolist() == [[0, 3, 0, 0, 2]]  # the fourth is undecided for three of its steps
    _, targets, weights = shift(shift=0.5)
    assert targets["steps"][0, 1:4].tolist() == [[0, 0, 1, 1], [1, -1, -1, -1], [-1, -1, -1, -1]]
    assert weights.tolist() == [[0, 2, 0, 0, 2]]
    surely = np.array([[[0, 0, 0, 1], [1, 1, -1, -1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]], np.float32)
    _, targets, weights = shift_batch(inputs, {"highlight": None, "steps": surely}, is_used, 0.25, class_weights)
    assert (targets["steps"][0, 1].tolist(), targets["highlight"][0, 1], weights[0, 1]) == ([1, 1, 1, -1], 1, 3)
    is_used[0, 4] = False  # padding, whatever its steps
    assert shift(shift=0.25)[2].tolist() == [[0, 3, 0, 0, 0]]


def test_undecided_time_has_a_schema_version_that_earlier_versions_refuse(tmp_path):
    titles = {"match_00": LABELS}, {"match_00": SECTIONS}
    for name, undecided_of, version in (("with", {"match_00": [[0.0, 1.0]]}, 3), ("without", {}, 2)):
        folder = write(tmp_path / name, *titles, undecided_of)
        assert json.loads((folder / "metadata.json").read_text())["schema_version"] == version
        assert DataLoader(folder).has_undecided == bool(undecided_of)
    content = json.dumps(json.loads((folder / "metadata.json").read_text()) | {"schema_version": 4}).encode()
    with pytest.raises(DatasetError, match="received a dataset of schema version 4, expected at most 3"):
        metadata.parse_metadata("metadata.json", content)


@pytest.mark.parametrize(
    "undecided_sec", [[[3.0, 2.0]], [[0.0, 17.0]], [[0.0, 2.0], [1.0, 3.0]], [1.0, 2.0], [["a", 1]], 5]
)
def test_damaged_undecided_time_is_an_error(tmp_path, undecided_sec):
    with pytest.raises(
        DatasetError, match=r"metadata\.json: received an invalid duration or invalid sections of match_00"
    ):
        open_match(tmp_path, undecided_sec)


def test_a_subset_needs_both_classes_in_the_time_that_has_been_looked_at(tmp_path):
    titles = ("match_00", "match_07", "match_08")
    for name, undecided_sec, words in (
        (
            "highlights",
            [[1.0, 6.0], [9.5, 12.5]],
            "3 videos without a single highlight in the time that has been looked at",
        ),
        (
            "others",
            [[0.0, 2.1], [3.9, 10.0], [11.9, 16.0]],
            "3 videos in which every segment is a highlight in the time",
        ),
    ):
        folder = write(
            tmp_path / name,
            dict.fromkeys(titles, LABELS),
            dict.fromkeys(titles, SECTIONS),
            dict.fromkeys(titles, undecided_sec),
        )
        with pytest.raises(DatasetError, match=words):
            DataLoader(folder).require_both_classes("train", "valid", "test")
    folder = write(
        tmp_path / "one", dict.fromkeys(titles, LABELS), dict.fromkeys(titles, SECTIONS), {"match_07": [[0.0, 16.0]]}
    )
    with pytest.raises(DatasetError, match=r"valid lacks one .* valid: 1 videos, 0 segments, 0 highlights"):
        DataLoader(folder).require_both_classes("train", "valid", "test")
