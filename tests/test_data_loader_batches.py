"""The batches for training and validation: how matches are divided, in which order, with which weights."""

import pickle

import numpy as np
import pytest
from conftest import LABELS
from test_data_loader import open_in_sequences, write_dataset

from data_loader import DataLoader
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.dataset.storage import read_arrays

TRAIN_TITLES = [f"match_{number:02d}" for number in (0, 1, 2, 3, 4, 5, 6, 12)]


def test_batches_hold_sequences_of_the_segments_own_arrays(dataset_dir):
    # One sequence of 8 segments in a batch: a match, and its last ones again.
    loader = open_in_sequences(dataset_dir, 8, batch_size=9)
    batches = loader.batches("valid")
    assert len(batches) == 2
    no, yes = 11 / 8, 11 / 14  # 4 of 11 segments are labelled 0, 7 are labelled 1
    steps = {  # two steps of half a second per segment
        "match_07": [[0, 0], [1, 1], [1, 1], [1, 1], [1, 1], [0, 0]],
        "match_09": [[0, 0], [1, 1], [1, 1], [1, 1], [1, 0]],
    }
    for (title, order, expected_weights), (inputs, targets, weights) in zip(
        [
            ("match_07", [0, 1, 2, 3, 4, 5, 5, 4], [no, yes, yes, yes, yes, no, 0, 0]),
            ("match_09", [0, 1, 2, 3, 4, 4, 3, 2], [no, yes, yes, yes, no, 0, 0, 0]),
        ],
        batches,
        strict=True,
    ):
        assert (inputs["video"].shape, inputs["video"].dtype) == ((1, 8, 2, 16, 16, 3), np.uint8)
        assert (inputs["audio"].shape, inputs["audio"].dtype) == ((1, 8, 4000), np.float32)
        np.testing.assert_allclose(weights, [expected_weights], rtol=1e-6)
        for slot, index in enumerate(order):
            label = LABELS[title][index]
            segment = pickle.loads((dataset_dir / title / f"seg_{index:05d}_{label}.pkl").read_bytes())
            np.testing.assert_array_equal(inputs["video"][0, slot], segment["video"])
            np.testing.assert_array_equal(inputs["audio"][0, slot], segment["audio"])
            assert targets["highlight"][0, slot].tolist() == [label]
            assert targets["steps"][0, slot].tolist() == steps[title][index]
    np.testing.assert_array_equal(loader.labels("valid"), [0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0])


def test_a_batch_holds_as_many_segments_as_asked_for(dataset_dir):
    for length, batch_size, shape, num_batches in [
        (8, 2, (1, 2), 6),
        (8, 16, (2, 8), 1),
        (8, 24, (2, 8), 1),
        (8, 15, (1, 8), 2),
        (8, 1, (1, 1), 11),
        (3, 7, (2, 3), 2),
        (15, 30, (2, 15), 1),
        (15, 16, (1, 15), 2),
        (15, 4, (1, 4), 4),
    ]:
        batches = open_in_sequences(dataset_dir, length, batch_size=batch_size).batches("valid")
        assert len(batches) == num_batches
        assert batches[0][2].shape == shape


def test_valid_and_test_keep_their_order(dataset_dir):
    for subset in ("valid", "test"):
        batches = DataLoader(dataset_dir, batch_size=4).batches(subset)
        first = [inputs["audio"].tobytes() for inputs, _, _ in batches]
        batches.start_epoch(1)
        assert [inputs["audio"].tobytes() for inputs, _, _ in batches] == first


def epoch_of(loader, epoch):
    """Return the segments that an epoch of training reads, as bytes of their audio, for each sequence."""
    batches = loader.batches("train")
    batches.start_epoch(epoch)
    return [
        [audio.tobytes() for audio, weight in zip(audios, weights, strict=True) if weight]
        for inputs, _, batch_weights in batches
        for audios, weights in zip(inputs["audio"], batch_weights, strict=True)
    ]


def test_training_reads_each_segment_once_in_sequences_that_the_seed_and_the_epoch_choose(dataset_dir):
    loader = DataLoader(dataset_dir, batch_size=4, seed=1)
    in_order = [read_arrays(file, loader.data_shape)[1].tobytes() for file in loader.segment_files["train"]]
    epochs = [epoch_of(loader, epoch) for epoch in range(6)]
    for sequences in epochs:
        assert sorted(s for sequence in sequences for s in sequence) == sorted(in_order)
        for sequence in sequences:  # neighbours in the sequence are neighbours in the match
            positions = [in_order.index(s) for s in sequence]
            assert positions == list(range(positions[0], positions[0] + len(positions)))
    assert len({len(sequences) for sequences in epochs}) == 1
    assert len({str(sequences) for sequences in epochs}) == 6
    assert epoch_of(DataLoader(dataset_dir, batch_size=4, seed=1), 3) == epochs[3]
    assert epoch_of(DataLoader(dataset_dir, batch_size=4, seed=2), 3) != epochs[3]


def test_matches_of_every_length_give_no_empty_sequences(tmp_path):
    for num_segments in (1, 3, 7, 8, 9, 17):
        loader = DataLoader(write_dataset(tmp_path / str(num_segments), {"match_00": [0] * num_segments}))
        batches = loader.batches("train")
        for epoch in range(12):
            batches.start_epoch(epoch)
            assert all(files for files, _ in batches.sequences)
            assert sum(len(files) for files, _ in batches.sequences) == num_segments


@pytest.mark.parametrize(
    ("num_segments", "batch_size", "offsets", "num_sequences"),
    # A match starts `offset` slots after the start of its first sequence. There are as few sequences as leave room to
    # vary that: enough for at least half a sequence of padded slots.
    [
        (20, 16, {0, 1, 2, 3, 4}, 3),  # 24 slots, 4 of them padded
        (21, 16, {4, 5, 6, 7}, 4),  # 32 slots, 11 of them padded
        (19, 16, {0, 1, 2, 3, 4, 5}, 3),
        (16, 8, {1, 2, 3, 4, 5, 6, 7}, 3),
        (8, 24, {1, 2, 3, 4, 5, 6, 7}, 2),
        (7, 8, {2, 3, 4, 5, 6, 7}, 2),
        (3, 8, {0, 1, 2, 3, 4, 5}, 1),
        (1, 8, {0, 1, 2, 3, 4, 5, 6, 7}, 1),
        (5, 5, {1, 2, 3, 4}, 2),
        (4, 5, {2, 3, 4}, 2),
        (3, 5, {0, 1, 2}, 1),
        (10, 4, {0, 1, 2}, 3),
        (3, 1, {0}, 3),
    ],
)
def test_a_match_is_divided_at_another_offset_in_each_epoch(tmp_path, num_segments, batch_size, offsets, num_sequences):
    labels_of = {"match_00": [0] * num_segments, "match_01": [0] * num_segments}
    batches = DataLoader(write_dataset(tmp_path / "cuts", labels_of), batch_size).batches("train")
    seen = []
    length = min(8, batch_size)
    for epoch in range(150):
        batches.start_epoch(epoch)
        pair = []
        for title in labels_of:
            sequences = sorted(
                ([f.index for f in files], n) for files, n in batches.sequences if files[0].title == title
            )
            indices, num_before = sequences[0]
            assert len(sequences) == num_sequences
            offset = num_before
            assert indices == list(range(min(length - offset, num_segments)))
            slots = [None] * offset + list(range(num_segments))
            expected = [[i for i in slots[k : k + length] if i is not None] for k in range(0, len(slots), length)]
            assert [indices for indices, _ in sequences] == expected
            assert [n for _, n in sequences[1:]] == [0] * (num_sequences - 1)
            pair.append(offset)
        seen.append(tuple(pair))
    for of_one_match in zip(*seen, strict=True):
        assert set(of_one_match) == offsets
    assert len(set(seen)) > len(offsets) or len(offsets) == 1  # each match has its own offset


def test_sequences_come_in_another_order_in_each_epoch(tmp_path):
    folder = write_dataset(tmp_path / "order", {title: [0] for title in TRAIN_TITLES})
    batches = DataLoader(folder, batch_size=16).batches("train")
    orders = []
    for epoch in range(100):
        batches.start_epoch(epoch)
        orders.append([files[0].title for files, _ in batches.sequences])
    assert all(sorted(order) == TRAIN_TITLES for order in orders)
    assert {order[0] for order in orders} == {order[-1] for order in orders} == set(TRAIN_TITLES)
    assert len(set(map(tuple, orders))) > 95


def test_seed_and_epoch_are_not_interchangeable(tmp_path):
    folder = write_dataset(tmp_path / "order", {title: [0] for title in TRAIN_TITLES})

    def order(epoch, **seed):
        batches = DataLoader(folder, **seed).batches("train")
        batches.start_epoch(epoch)
        return [(files[0].title, num_before) for files, num_before in batches.sequences]

    assert order(2, seed=1) != order(1, seed=2)
    assert order(1, seed=2) != order(2, seed=1) != order(3, seed=0)
    assert order(0) == order(0, seed=0)


def test_the_random_draws_of_an_epoch_stay_the_same_so_that_runs_can_be_repeated(tmp_path):
    folder = write_dataset(tmp_path / "order", {title: [0] for title in TRAIN_TITLES})
    batches = DataLoader(folder, seed=5).batches("train")
    for epoch in (0, 3):  # epoch 0 needs no call
        if epoch:
            batches.start_epoch(epoch)
        rng = np.random.default_rng((5, epoch))
        offsets = [int(rng.integers(0, 8)) for _ in TRAIN_TITLES]
        expected = [(TRAIN_TITLES[i], offsets[i]) for i in rng.permutation(8)]
        assert [(files[0].title, num_before) for files, num_before in batches.sequences] == expected


def test_validation_is_divided_from_the_start_in_order(tmp_path):
    labels_of = {"match_07": [0] * 20, "match_09": [0] * 3}
    batches = DataLoader(write_dataset(tmp_path / "valid", labels_of), batch_size=16, seed=3).batches("valid")
    for epoch in range(5):
        batches.start_epoch(epoch)
        divided = [(files[0].title, files[0].index, len(files), num_before) for files, num_before in batches.sequences]
        assert divided == [("match_07", 0, 8, 0), ("match_07", 8, 8, 0), ("match_07", 16, 4, 0), ("match_09", 0, 3, 0)]
        assert batches.shift_steps.tolist() == [0, 0]


@pytest.mark.parametrize("num_segments", [1, 2, 3, 5, 11])
def test_empty_slots_are_padded_symmetrically_and_have_no_weight(tmp_path, num_segments):
    config = DataConfig(1, 1, 1, 1, 2, False)
    labels = [0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0][:num_segments]
    sections_of = {"match_00": [[i + 0.25, i + 0.25 + 0.06 * (i + 1)] for i in range(num_segments)]}
    folder = write_dataset(tmp_path / "hang", {"match_00": labels}, None, sections_of, config, are_numbered=True)
    loader = DataLoader(folder, batch_size=8)
    batches, steps = loader.batches("train"), loader.steps("train")["match_00"]
    num_1 = sum(labels)
    class_weight = [num_segments / (2 * max(num, 1)) for num in (num_segments - num_1, num_1)]
    seen = set()
    for epoch in range(12):
        batches.start_epoch(epoch)
        for number, (files, num_before) in enumerate(batches.sequences):
            inputs, targets, weights = batches[number]
            indices = [file.index for file in files]
            num_after = 8 - num_before - len(files)
            padded = np.pad(indices, (num_before, num_after), mode="symmetric")
            np.testing.assert_array_equal(inputs["audio"][0, :, 1], padded)
            np.testing.assert_array_equal(inputs["video"][0, :, 0, 0, 0, 1], padded)
            np.testing.assert_array_equal(targets["highlight"][0, :, 0], np.array(labels)[padded])
            np.testing.assert_array_equal(targets["steps"][0], steps[padded])
            expected = [0] * num_before + [class_weight[labels[index]] for index in indices] + [0] * num_after
            np.testing.assert_allclose(weights[0], expected, rtol=1e-6)
            seen.add((num_before, num_after))
    assert len(seen) > 3


@pytest.mark.parametrize("num_processes", [2, 4])
@pytest.mark.parametrize("num_matches", [4, 5, 6, 7])
def test_processes_divide_the_rows_of_each_batch(tmp_path, num_matches, num_processes):
    labels_of = {title: [0, 1, 0][: 3 - number % 2] for number, title in enumerate(TRAIN_TITLES[:num_matches])}
    folder = write_dataset(tmp_path / "rows", labels_of, are_numbered=True)
    loader = DataLoader(folder, batch_size=32)  # 4 sequences, each a whole match
    whole = loader.batches("train")
    shards = [loader.batches("train", (process_id, num_processes)) for process_id in range(num_processes)]
    for batches in (whole, *shards):
        batches.start_epoch(2)
        assert len(batches) == (1 if num_matches == 4 else 2)
    for number in range(len(whole)):
        inputs, targets, weights = whole[number]
        num_rows = len(weights)
        assert num_rows == (4 if number == 0 else num_matches - 4)
        of_shards = [batches[number] for batches in shards]
        assert {shard[2].shape for shard in of_shards} == {(4 // num_processes, 8)}
        rows = [row % num_rows for row in range(4)]
        for index, arrays in ((0, inputs), (1, targets)):
            for name, array in arrays.items():
                np.testing.assert_array_equal(np.concatenate([shard[index][name] for shard in of_shards]), array[rows])
        expected = weights[rows] * (np.arange(4) < num_rows)[:, np.newaxis]
        np.testing.assert_array_equal(np.concatenate([shard[2] for shard in of_shards]), expected)


def shifts_of(folder, num_epochs=30, **more):
    """Return by how many steps training shifts its batches."""
    batches = DataLoader(folder, **more).batches("train")
    seen = set()
    for epoch in range(num_epochs):
        batches.start_epoch(epoch)
        seen |= set(batches.shift_steps.tolist())
    return seen


def test_matches_of_one_segment_are_not_shifted(tmp_path):
    config = DataConfig(2, 2, 1, 1, 4, False)
    short = write_dataset(tmp_path / "short", {"match_00": [0], "match_03": [1]}, config=config)
    assert shifts_of(short) == shifts_of(short, batch_size=1) == {0}
    pairs = write_dataset(tmp_path / "pairs", {"match_00": [0, 1]}, config=config)
    assert shifts_of(pairs) == {0, 1, 2, 3}


def test_each_batch_has_its_own_shift(tmp_path):
    config = DataConfig(2, 2, 1, 1, 4, False)
    folder = write_dataset(tmp_path / "own", {"match_00": [0] * 40}, config=config)
    batches = DataLoader(folder, batch_size=8).batches("train")
    seen = set()
    for epoch in range(20):
        batches.start_epoch(epoch)
        assert len(batches.shift_steps) == len(batches) == 6
        seen.add(tuple(batches.shift_steps.tolist()))
    assert len(seen) == 20
    assert any(len(set(moves[:-1])) > 1 for moves in seen)


@pytest.mark.parametrize(
    ("lengths", "is_shifted"),
    [([2], True), ([1], False), ([3, 1], True), ([2, 1], False), ([1, 2], False), ([1, 1], False), ([4, 2], True)],
)
def test_a_batch_of_which_less_than_half_would_remain_is_not_shifted(tmp_path, lengths, is_shifted):
    config = DataConfig(2, 2, 1, 1, 4, False)
    labels_of = {title: [0] * length for title, length in zip(TRAIN_TITLES, lengths, strict=False)}
    batches = DataLoader(write_dataset(tmp_path / "half", labels_of, config=config), batch_size=16).batches("train")
    seen = set()
    for epoch in range(30):
        batches.start_epoch(epoch)
        assert len(batches) == 1
        seen |= set(batches.shift_steps.tolist())
    assert seen == ({0, 1, 2, 3} if is_shifted else {0})
