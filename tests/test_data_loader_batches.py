"""The batches that a network is trained and validated on: where matches are cut, in which order, by which weights."""

import numpy as np
import pytest
from conftest import LABELS
from test_data_loader import write_dataset

from data_loader import DataLoader, shift_in_time
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DataConfig, write_metadata
from videosummarizer.dataset.storage import read_arrays
from videosummarizer.sections import label_segments

TRAIN_TITLES = [f"match_{number:02d}" for number in (0, 1, 2, 3, 4, 5, 6, 12)]


def test_batches_hold_stretches_of_the_segments_own_arrays(dataset_dir):
    loader = DataLoader(dataset_dir, batch_size=9)  # one stretch of 8 segments: a match, and its last ones again
    batches = loader.batches("valid")
    assert len(batches) == 2
    no, yes = 11 / 8, 11 / 14  # 4 of 11 segments are no highlights, 7 are
    steps = {  # two half seconds a segment
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
        for place, index in enumerate(order):
            label = LABELS[title][index]
            segment = storage.read_segment(dataset_dir / title / f"seg_{index:05d}_{label}.pkl")
            np.testing.assert_array_equal(inputs["video"][0, place], segment["video"])
            np.testing.assert_array_equal(inputs["audio"][0, place], segment["audio"])
            assert targets["highlight"][0, place].tolist() == [label]
            assert targets["steps"][0, place].tolist() == steps[title][index]
    np.testing.assert_array_equal(loader.labels("valid"), [0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0])


def test_a_batch_holds_as_many_segments_as_asked_for(dataset_dir):
    for batch_size, shape, num_batches in [(2, (1, 2), 6), (16, (2, 8), 1), (24, (2, 8), 1), (1, (1, 1), 11)]:
        batches = DataLoader(dataset_dir, batch_size=batch_size).batches("valid")
        assert len(batches) == num_batches
        assert batches[0][2].shape == shape


def test_valid_and_test_keep_their_order(dataset_dir):
    for subset in ("valid", "test"):
        batches = DataLoader(dataset_dir, batch_size=4).batches(subset)
        first = [inputs["audio"].tobytes() for inputs, _, _ in batches]
        batches.start_epoch(1)
        assert [inputs["audio"].tobytes() for inputs, _, _ in batches] == first


def epoch_of(loader, epoch):
    """The segments that an epoch of training reads, by their sound, each with its stretch."""
    batches = loader.batches("train")
    batches.start_epoch(epoch)
    return [
        [audio.tobytes() for audio, weight in zip(sounds, weights, strict=True) if weight]
        for inputs, _, batch_weights in batches
        for sounds, weights in zip(inputs["audio"], batch_weights, strict=True)
    ]


def test_training_reads_each_segment_once_in_stretches_that_the_seed_and_the_epoch_choose(dataset_dir):
    loader = DataLoader(dataset_dir, batch_size=4, seed=1)
    in_order = [read_arrays(file, loader.data_shape)[1].tobytes() for file in loader.segment_files["train"]]
    epochs = [epoch_of(loader, epoch) for epoch in range(6)]
    for stretches in epochs:
        assert sorted(s for stretch in stretches for s in stretch) == sorted(in_order)
        for stretch in stretches:  # neighbours in the stretch are neighbours in the match
            places = [in_order.index(s) for s in stretch]
            assert places == list(range(places[0], places[0] + len(places)))
    assert len({len(stretches) for stretches in epochs}) == 1
    assert len({str(stretches) for stretches in epochs}) == 6
    assert epoch_of(DataLoader(dataset_dir, batch_size=4, seed=1), 3) == epochs[3]
    assert epoch_of(DataLoader(dataset_dir, batch_size=4, seed=2), 3) != epochs[3]


def test_training_cuts_segments_where_the_dataset_does_not(tmp_path):
    config = DataConfig(2, 2, 1, 1, 4, False)  # 4 steps a segment, a frame and two samples each
    folder, rng = tmp_path / "steps", np.random.default_rng(0)
    (folder / "match_00").mkdir(parents=True)
    num_segments = 21
    sections_sec = np.array([[1.5, 5.5], [9.0, 10.0], [20.3, 31.0]])
    labels = label_segments(sections_sec, num_segments, 2.0)
    for index, label in enumerate(labels):
        frames, audio = rng.integers(0, 256, (4, 1, 1, 3), np.uint8), rng.random(8).astype(np.float32)
        storage.write_segment(folder / "match_00", index, label, frames, audio, config, 42.0)
    record = {"title": "match_00", "segment_count": num_segments, "duration": 42.0, "sections": sections_sec.tolist()}
    write_metadata(folder, config, [record], missing=[])
    loader = DataLoader(folder, batch_size=16)
    batches, seen = loader.batches("train"), set()
    for epoch in range(10):
        batches.start_epoch(epoch)
        for number, (rolled, num_steps) in enumerate(zip(batches.rolled(), batches.num_steps_moved, strict=True)):
            plain = batches[number]
            for row in range(len(plain[2])):
                for before, after, num_moved in (
                    (plain[0]["video"], rolled[0]["video"], 3 * num_steps),
                    (plain[0]["audio"], rolled[0]["audio"], 2 * num_steps),
                    (plain[1]["steps"], rolled[1]["steps"], num_steps),
                ):
                    assert (before.shape, before.dtype) == (after.shape, after.dtype)
                    np.testing.assert_array_equal(after[row].ravel(), np.roll(before[row].ravel(), num_moved))
                is_highlight = rolled[1]["highlight"][row, :, 0]
                np.testing.assert_array_equal(is_highlight, rolled[1]["steps"][row].sum(axis=1) > 2)
                counts = plain[2][row] > 0
                if num_steps:  # of parts of two segments, which have to follow each other in the match
                    counts = [False, *(counts[1:] & counts[:-1])]
                weights = batches.class_weights[is_highlight.astype(int)] * counts
                np.testing.assert_allclose(rolled[2][row], weights, rtol=1e-6)
            seen.add(int(num_steps))
    assert seen == {0, 1, 2, 3}


def moves_of(folder, num_epochs=30, **more):
    """By how many steps training moves its batches."""
    batches = DataLoader(folder, **more).batches("train")
    seen = set()
    for epoch in range(num_epochs):
        batches.start_epoch(epoch)
        seen |= set(batches.num_steps_moved.tolist())
    return seen


def test_segments_are_cut_between_frames_and_between_steps(tmp_path):
    labels_of = {"match_00": [0, 1, 1, 0] * 4}
    for number, (config, expected) in enumerate(
        [
            ((2, 2, 1, 1, 4, False), {0, 1, 2, 3}),
            ((5, 3, 1, 1, 4, False), {0, 2, 4, 6, 8}),  # 15 frames, 10 steps
            ((1, 1, 1, 1, 4, False), {0}),  # one frame
            ((4.9, 3, 1, 1, 4, False), {0}),  # 14 frames and seven tenths, 10 steps
        ]
    ):
        folder = write_dataset(tmp_path / str(number), labels_of, config=DataConfig(*config))
        assert moves_of(folder) == expected


def test_nothing_is_moved_where_little_would_be_left(tmp_path):
    config = DataConfig(2, 2, 1, 1, 4, False)
    short = write_dataset(tmp_path / "short", {"match_00": [0], "match_03": [1]}, config=config)
    assert moves_of(short) == moves_of(short, batch_size=1) == {0}
    pairs = write_dataset(tmp_path / "pairs", {"match_00": [0, 1]}, config=config)
    assert moves_of(pairs) == {0, 1, 2, 3}


def test_mfccs_move_along_time():
    mfccs = np.arange(8).reshape(1, 2, 2, 2)  # of two segments, two coefficients, two frames
    assert shift_in_time(mfccs, 0.5, -1).tolist() == [[[[5, 0], [7, 2]], [[1, 4], [3, 6]]]]


def test_matches_of_every_length_are_cut_without_empty_stretches(tmp_path):
    for num_segments in (1, 3, 7, 8, 9, 17):
        loader = DataLoader(write_dataset(tmp_path / str(num_segments), {"match_00": [0] * num_segments}))
        batches = loader.batches("train")
        for epoch in range(12):
            batches.start_epoch(epoch)
            assert all(files for files, _ in batches.stretches)
            assert sum(len(files) for files, _ in batches.stretches) == num_segments


@pytest.mark.parametrize(
    ("num_segments", "batch_size", "offsets", "num_stretches"),
    # A match is cut as if it began `offset` places within the first stretch. Stretches are as few as leave room to move
    # in: half a stretch or more of free places, or a stretch more.
    [
        (20, 16, {0, 1, 2, 3, 4}, 3),  # 24 places, 4 of them free
        (21, 16, {4, 5, 6, 7}, 4),  # 32 places, 11 of them free
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
def test_a_match_is_cut_elsewhere_in_each_epoch(tmp_path, num_segments, batch_size, offsets, num_stretches):
    labels_of = {"match_00": [0] * num_segments, "match_01": [0] * num_segments}
    batches = DataLoader(write_dataset(tmp_path / "cuts", labels_of), batch_size).batches("train")
    seen = []
    length = min(8, batch_size)
    for epoch in range(150):
        batches.start_epoch(epoch)
        pair = []
        for title in labels_of:
            stretches = sorted(
                ([f.index for f in files], n) for files, n in batches.stretches if files[0].title == title
            )
            indices, num_before = stretches[0]
            assert len(stretches) == num_stretches
            offset = num_before
            assert indices == list(range(min(length - offset, num_segments)))
            places = [None] * offset + list(range(num_segments))
            expected = [[i for i in places[k : k + length] if i is not None] for k in range(0, len(places), length)]
            assert [indices for indices, _ in stretches] == expected
            assert [n for _, n in stretches[1:]] == [0] * (num_stretches - 1)
            pair.append(offset)
        seen.append(tuple(pair))
    for of_one_match in zip(*seen, strict=True):
        assert set(of_one_match) == offsets
    assert len(set(seen)) > len(offsets) or len(offsets) == 1  # each match is cut by itself


def test_stretches_come_in_another_order_in_each_epoch(tmp_path):
    folder = write_dataset(tmp_path / "order", {title: [0] for title in TRAIN_TITLES})
    batches = DataLoader(folder, batch_size=16).batches("train")
    orders = []
    for epoch in range(100):
        batches.start_epoch(epoch)
        orders.append([files[0].title for files, _ in batches.stretches])
    assert all(sorted(order) == TRAIN_TITLES for order in orders)
    assert {order[0] for order in orders} == {order[-1] for order in orders} == set(TRAIN_TITLES)
    assert len(set(map(tuple, orders))) > 95


def test_seed_and_epoch_are_not_taken_for_each_other(tmp_path):
    folder = write_dataset(tmp_path / "order", {title: [0] for title in TRAIN_TITLES})

    def order(epoch, **seed):
        batches = DataLoader(folder, **seed).batches("train")
        batches.start_epoch(epoch)
        return [(files[0].title, num_before) for files, num_before in batches.stretches]

    assert order(2, seed=1) != order(1, seed=2)
    assert order(1, seed=2) != order(2, seed=1) != order(3, seed=0)
    assert order(0) == order(0, seed=0)


def test_an_epoch_is_drawn_as_it_always_was_so_that_runs_can_be_repeated(tmp_path):
    folder = write_dataset(tmp_path / "order", {title: [0] for title in TRAIN_TITLES})
    batches = DataLoader(folder, seed=5).batches("train")
    for epoch in (0, 3):  # the first without being told
        if epoch:
            batches.start_epoch(epoch)
        rng = np.random.default_rng((5, epoch))
        offsets = [int(rng.integers(0, 8)) for _ in TRAIN_TITLES]
        expected = [(TRAIN_TITLES[i], offsets[i]) for i in rng.permutation(8)]
        assert [(files[0].title, num_before) for files, num_before in batches.stretches] == expected


def test_validation_is_cut_from_the_start_in_order(tmp_path):
    labels_of = {"match_07": [0] * 20, "match_09": [0] * 3}
    batches = DataLoader(write_dataset(tmp_path / "valid", labels_of), batch_size=16, seed=3).batches("valid")
    for epoch in range(5):
        batches.start_epoch(epoch)
        cut = [(files[0].title, files[0].index, len(files), num_before) for files, num_before in batches.stretches]
        assert cut == [("match_07", 0, 8, 0), ("match_07", 8, 8, 0), ("match_07", 16, 4, 0), ("match_09", 0, 3, 0)]
        assert batches.num_steps_moved.tolist() == [0, 0]


@pytest.mark.parametrize("num_segments", [1, 2, 3, 5, 11])
def test_places_that_hang_over_are_mirrored_and_do_not_count(tmp_path, num_segments):
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
        for number, (files, num_before) in enumerate(batches.stretches):
            inputs, targets, weights = batches[number]
            indices = [file.index for file in files]
            num_after = 8 - num_before - len(files)
            mirrored = np.pad(indices, (num_before, num_after), mode="symmetric")
            np.testing.assert_array_equal(inputs["audio"][0, :, 1], mirrored)
            np.testing.assert_array_equal(inputs["video"][0, :, 0, 0, 0, 1], mirrored)
            np.testing.assert_array_equal(targets["highlight"][0, :, 0], np.array(labels)[mirrored])
            np.testing.assert_array_equal(targets["steps"][0], steps[mirrored])
            expected = [0] * num_before + [class_weight[labels[index]] for index in indices] + [0] * num_after
            np.testing.assert_allclose(weights[0], expected, rtol=1e-6)
            seen.add((num_before, num_after))
    assert len(seen) > 3


@pytest.mark.parametrize("num_processes", [2, 4])
@pytest.mark.parametrize("num_matches", [4, 5, 6, 7])
def test_processes_share_the_rows_of_each_batch(tmp_path, num_matches, num_processes):
    labels_of = {title: [0, 1, 0][: 3 - number % 2] for number, title in enumerate(TRAIN_TITLES[:num_matches])}
    folder = write_dataset(tmp_path / "rows", labels_of, are_numbered=True)
    loader = DataLoader(folder, batch_size=32)  # 4 stretches, each of which is a whole match
    whole = loader.batches("train")
    parts = [loader.batches("train", (process_id, num_processes)) for process_id in range(num_processes)]
    for batches in (whole, *parts):
        batches.start_epoch(2)
        assert len(batches) == (1 if num_matches == 4 else 2)
    for number in range(len(whole)):
        inputs, targets, weights = whole[number]
        num_rows = len(weights)
        assert num_rows == (4 if number == 0 else num_matches - 4)
        of_parts = [batches[number] for batches in parts]
        assert {part[2].shape for part in of_parts} == {(4 // num_processes, 8)}
        rows = [row % num_rows for row in range(4)]
        for place, arrays in ((0, inputs), (1, targets)):
            for name, array in arrays.items():
                np.testing.assert_array_equal(np.concatenate([part[place][name] for part in of_parts]), array[rows])
        expected = weights[rows] * (np.arange(4) < num_rows)[:, np.newaxis]
        np.testing.assert_array_equal(np.concatenate([part[2] for part in of_parts]), expected)


def moved_batch(folder, stretch, num_steps, batch_size=4):
    """A batch of one stretch, (first segment, segment after the last, places in front), moved by so many steps."""
    batches = DataLoader(folder, batch_size=batch_size).batches("train")
    first, last, num_before = stretch
    batches.stretches = [(batches.matches[0][first:last], num_before)]
    batches.num_steps_moved = np.array([num_steps])
    _, targets, weights = batches.roll(0)
    assert (targets["highlight"].dtype, weights.dtype) == (np.float32, np.float32)
    return targets["highlight"][0, :, 0].tolist(), weights[0].tolist()


@pytest.mark.parametrize(
    ("stretch", "num_steps", "labels", "weights"),
    # 16 steps of half a second, highlights from the fourth to the eighth; one segment of four is labelled 1.
    [
        ((0, 4, 0), 0, [0, 1, 0, 0], [2 / 3, 2, 2 / 3, 2 / 3]),
        ((0, 4, 0), 1, [0, 1, 0, 0], [0, 2, 2 / 3, 2 / 3]),
        ((0, 4, 0), 2, [0, 1, 0, 0], [0, 2, 2 / 3, 2 / 3]),
        ((0, 4, 0), 3, [0, 0, 1, 0], [0, 2 / 3, 2, 2 / 3]),  # half of the second, three quarters of the third
        ((2, 4, 2), 1, [0, 0, 0, 0], [0, 0, 0, 2 / 3]),
        ((0, 2, 0), 1, [0, 1, 1, 0], [0, 2, 0, 0]),
        ((0, 2, 1), 3, [1, 0, 0, 1], [0, 0, 2 / 3, 0]),
        ((1, 2, 0), 1, [1, 1, 1, 1], [0, 0, 0, 0]),
    ],
)
def test_a_moved_batch_is_labelled_and_weighted_by_what_it_then_holds(tmp_path, stretch, num_steps, labels, weights):
    config = DataConfig(2, 2, 1, 1, 4, False)
    sections_of = {"match_00": [[1.5, 4.0]]}
    folder = write_dataset(tmp_path / "moved", {"match_00": [0, 1, 0, 0]}, sections_of=sections_of, config=config)
    moved_labels, moved_weights = moved_batch(folder, stretch, num_steps)
    assert moved_labels == labels
    assert moved_weights == pytest.approx(weights, rel=1e-6)


def test_mfccs_of_a_moved_batch_move_along_time_and_not_along_coefficients(tmp_path):
    config = DataConfig(2, 2, 1, 1, 1024, True)  # 40 coefficients of 5 frames
    folder = write_dataset(tmp_path / "mfcc", {"match_00": [0, 0]}, config=config, are_numbered=True)
    batches = DataLoader(folder, batch_size=2).batches("train")
    batches.stretches, batches.num_steps_moved = [(batches.matches[0], 0)], np.array([1])
    inputs, _, _ = batches.roll(0)
    assert inputs["audio"].shape == (1, 2, 40, 5)
    # Number of the match, number of the segment, zeros; a quarter of five frames is about one.
    np.testing.assert_array_equal(inputs["audio"][0, 0], [[0, 0, 0, 0, 0]] * 40)
    np.testing.assert_array_equal(inputs["audio"][0, 1], [[0, 0, 1, 0, 0]] * 40)


@pytest.mark.parametrize(("more_sec", "label"), [(0, 0), (0.001, 1), (-0.001, 0)])
def test_exactly_half_a_moved_segment_is_no_highlight_whatever_its_rounding(tmp_path, more_sec, label):
    config = DataConfig(1.5, 2, 1, 1, 2, False)
    sections_of = {"match_00": [[0.95, 1.3], [1.6 - more_sec, 2.0]]}  # of steps of 0.5 s 0.1, 0.6 and 0.8
    folder = write_dataset(tmp_path / "half", {"match_00": [0, 0]}, sections_of=sections_of, config=config)
    labels, weights = moved_batch(folder, (0, 2, 0), 2, batch_size=2)
    assert labels[1] == label
    assert weights[1] == [0.5, 1][label]


def test_each_batch_is_moved_by_a_number_of_its_own(tmp_path):
    config = DataConfig(2, 2, 1, 1, 4, False)
    folder = write_dataset(tmp_path / "own", {"match_00": [0] * 40}, config=config)
    batches = DataLoader(folder, batch_size=8).batches("train")
    seen = set()
    for epoch in range(20):
        batches.start_epoch(epoch)
        assert len(batches.num_steps_moved) == len(batches) == 6
        seen.add(tuple(batches.num_steps_moved.tolist()))
    assert len(seen) == 20
    assert any(len(set(moves[:-1])) > 1 for moves in seen)


@pytest.mark.parametrize(
    ("lengths", "is_moved"),
    [([2], True), ([1], False), ([3, 1], True), ([2, 1], False), ([1, 2], False), ([1, 1], False), ([4, 2], True)],
)
def test_a_batch_of_which_less_than_half_would_be_left_is_not_moved(tmp_path, lengths, is_moved):
    config = DataConfig(2, 2, 1, 1, 4, False)
    labels_of = {title: [0] * length for title, length in zip(TRAIN_TITLES, lengths, strict=False)}
    batches = DataLoader(write_dataset(tmp_path / "half", labels_of, config=config), batch_size=16).batches("train")
    seen = set()
    for epoch in range(30):
        batches.start_epoch(epoch)
        assert len(batches) == 1
        seen |= set(batches.num_steps_moved.tolist())
    assert seen == ({0, 1, 2, 3} if is_moved else {0})


@pytest.mark.parametrize(
    ("shape", "time_axis", "moved", "num_flat"),
    [((2, 3, 4, 2), 2, 0.25, 1), ((1, 2, 5, 3), 2, 0.6, 3), ((1, 3, 2, 10), -1, 0.7, 7), ((2, 2, 7), 2, 0.5, 4)],
)
def test_what_segments_hold_moves_as_in_one_row(shape, time_axis, moved, num_flat):
    array = np.random.default_rng(0).random(shape)
    rolled = shift_in_time(array, moved, time_axis)
    assert rolled.shape == shape
    for row in range(shape[0]):  # each stretch is one row of time
        before = np.concatenate(list(np.moveaxis(array[row], time_axis - 1 if time_axis > 0 else -1, 1)))
        after = np.concatenate(list(np.moveaxis(rolled[row], time_axis - 1 if time_axis > 0 else -1, 1)))
        np.testing.assert_array_equal(after, [before[i - num_flat] for i in range(len(before))])
