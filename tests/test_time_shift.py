"""The time shift of training batches: how far it goes, and the labels and weights of the shifted segments."""

import numpy as np
import pytest
from test_data_loader import write_dataset
from test_data_loader_batches import shifts_of

from data_loader import DataLoader, SegmentSequence
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DataConfig, write_metadata
from videosummarizer.dataset.time_shift import shift_in_time
from videosummarizer.sections import label_segments


def test_training_shifts_segments_in_time_with_rollover(tmp_path):
    config = DataConfig(2, 2, 1, 1, 4, False)  # 4 steps per segment, each with one frame and two samples
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
        for number, (shifted, num_steps) in enumerate(zip(batches.augmented(), batches.shift_steps, strict=True)):
            plain = batches[number]
            for row in range(len(plain[2])):
                for before, after, num_shifted in (
                    (plain[0]["video"], shifted[0]["video"], 3 * num_steps),
                    (plain[0]["audio"], shifted[0]["audio"], 2 * num_steps),
                    (plain[1]["steps"], shifted[1]["steps"], num_steps),
                ):
                    assert (before.shape, before.dtype) == (after.shape, after.dtype)
                    np.testing.assert_array_equal(after[row].ravel(), np.roll(before[row].ravel(), num_shifted))
                is_highlight = shifted[1]["highlight"][row, :, 0]
                np.testing.assert_array_equal(is_highlight, shifted[1]["steps"][row].sum(axis=1) > 2)
                counts = plain[2][row] > 0
                if num_steps:  # shards of two segments, which must be contiguous in the match
                    counts = [False, *(counts[1:] & counts[:-1])]
                weights = batches.class_weights[is_highlight.astype(int)] * counts
                np.testing.assert_allclose(shifted[2][row], weights, rtol=1e-6)
            seen.add(int(num_steps))
    assert seen == {0, 1, 2, 3}


def test_shifts_end_between_two_frames_and_between_two_steps(tmp_path):
    labels_of = {"match_00": [0, 1, 1, 0] * 4}
    for number, (config, expected) in enumerate(
        [
            ((2, 2, 1, 1, 4, False), {0, 1, 2, 3}),
            ((5, 3, 1, 1, 4, False), {0, 2, 4, 6, 8}),  # 15 frames, 10 steps
            ((1, 1, 1, 1, 4, False), {0}),  # one frame
            ((4.9, 3, 1, 1, 4, False), {0}),  # 14.7 frames, 10 steps
        ]
    ):
        folder = write_dataset(tmp_path / str(number), labels_of, config=DataConfig(*config))
        assert shifts_of(folder) == expected


def test_mfccs_are_shifted_along_time():
    mfccs = np.arange(8).reshape(1, 2, 2, 2)  # two segments, two coefficients, two frames
    assert shift_in_time(mfccs, 0.5, -1).tolist() == [[[[5, 0], [7, 2]], [[1, 4], [3, 6]]]]


def shifted_batch(folder, sequence, num_steps, batch_size=4):
    """Return labels and weights of a batch of one (first segment, end, padded slots before), shifted by num_steps."""
    batches = DataLoader(folder, batch_size=batch_size).batches("train")
    first, last, num_before = sequence
    batches.sequences = [SegmentSequence(batches.matches[0][first:last], num_before)]
    batches.shift_steps = np.array([num_steps])
    _, targets, weights = batches.shift(0)
    assert (targets["highlight"].dtype, weights.dtype) == (np.float32, np.float32)
    return targets["highlight"][0, :, 0].tolist(), weights[0].tolist()


@pytest.mark.parametrize(
    ("sequence", "num_steps", "labels", "weights"),
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
def test_a_shifted_batch_has_the_labels_and_weights_of_its_new_segments(tmp_path, sequence, num_steps, labels, weights):
    config = DataConfig(2, 2, 1, 1, 4, False)
    sections_of = {"match_00": [[1.5, 4.0]]}
    folder = write_dataset(tmp_path / "shifted", {"match_00": [0, 1, 0, 0]}, sections_of=sections_of, config=config)
    shifted_labels, shifted_weights = shifted_batch(folder, sequence, num_steps)
    assert shifted_labels == labels
    assert shifted_weights == pytest.approx(weights, rel=1e-6)


def test_mfccs_of_a_shifted_batch_are_shifted_along_time_and_not_along_coefficients(tmp_path):
    config = DataConfig(2, 2, 1, 1, 1024, True)  # 40 coefficients of 5 frames
    folder = write_dataset(tmp_path / "mfcc", {"match_00": [0, 0]}, config=config, are_numbered=True)
    batches = DataLoader(folder, batch_size=2).batches("train")
    batches.sequences, batches.shift_steps = [SegmentSequence(batches.matches[0], 0)], np.array([1])
    inputs, _, _ = batches.shift(0)
    assert inputs["audio"].shape == (1, 2, 40, 5)
    # Number of the match, number of the segment, zeros; a quarter of five frames is about one.
    np.testing.assert_array_equal(inputs["audio"][0, 0], [[0, 0, 0, 0, 0]] * 40)
    np.testing.assert_array_equal(inputs["audio"][0, 1], [[0, 0, 1, 0, 0]] * 40)


@pytest.mark.parametrize(("more_sec", "label"), [(0, 0), (0.001, 1), (-0.001, 0)])
def test_a_shifted_segment_of_which_exactly_half_is_highlight_is_labelled_0_despite_rounding(tmp_path, more_sec, label):
    config = DataConfig(1.5, 2, 1, 1, 2, False)
    sections_of = {"match_00": [[0.95, 1.3], [1.6 - more_sec, 2.0]]}  # of steps of 0.5 s 0.1, 0.6 and 0.8
    folder = write_dataset(tmp_path / "half", {"match_00": [0, 0]}, sections_of=sections_of, config=config)
    labels, weights = shifted_batch(folder, (0, 2, 0), 2, batch_size=2)
    assert labels[1] == label
    assert weights[1] == [0.5, 1][label]


@pytest.mark.parametrize(
    ("shape", "time_axis", "shift", "num_flat"),
    [((2, 3, 4, 2), 2, 0.25, 1), ((1, 2, 5, 3), 2, 0.6, 3), ((1, 3, 2, 10), -1, 0.7, 7), ((2, 2, 7), 2, 0.5, 4)],
)
def test_the_contents_of_segments_are_shifted_across_their_boundaries(shape, time_axis, shift, num_flat):
    array = np.random.default_rng(0).random(shape)
    shifted = shift_in_time(array, shift, time_axis)
    assert shifted.shape == shape
    for row in range(shape[0]):  # time runs through each sequence
        before = np.concatenate(list(np.moveaxis(array[row], time_axis - 1 if time_axis > 0 else -1, 1)))
        after = np.concatenate(list(np.moveaxis(shifted[row], time_axis - 1 if time_axis > 0 else -1, 1)))
        np.testing.assert_array_equal(after, [before[i - num_flat] for i in range(len(before))])
