"""How much of a match a network sees, from the lengths of the labelled highlights; numbers by hand."""

import numpy as np
import pytest
from test_data_loader import write_dataset

from data_loader import DataLoader
from videosummarizer.dataset.metadata import DataConfig, DatasetError
from videosummarizer.dataset.temporal_context import TemporalContext, choose_temporal_context
from videosummarizer.sections import median_length_sec


@pytest.mark.parametrize(
    ("lengths_sec", "segment_length", "num_steps", "num_convolutions", "sequence_length"),
    [
        # Twice the median, in steps: 2 * 4 / 0.5 = 16, and 2 ** 4 - 1 = 15 is nearest; 2 * 15 / 6 = 5 segments.
        ([3, 3, 4, 8, 20], 3, 6, 4, 8),
        # 2 * 17 / 0.5 = 68, and 2 ** 6 - 1 = 63 is nearest; 2 * 63 / 6 = 21 segments.
        ([10, 17, 30], 3, 6, 6, 21),
        # The same highlights in segments of 5 s with 10 steps: 2 * 63 / 10 = 12.6.
        ([10, 17, 30], 5, 10, 6, 13),
        # The users' own: 2 * 22 / 0.5 = 88; log2(89) is 6.48.
        ([22], 5, 10, 6, 13),
        # log2(93) is 6.54: from here on, 127 steps are nearer.
        ([23], 5, 10, 7, 26),
        # log2(5.4) is 2.43, log2(5.8) is 2.54.
        ([1.1], 3, 6, 2, 8),
        ([1.2], 3, 6, 3, 8),
        # Of two in the middle, their mean: 3.5 s, 14 steps.
        ([3, 4, 1, 30], 3, 6, 4, 8),
        # The limits: 3 steps, and 127 steps; log2(185) is 7.53.
        ([0.5], 3, 6, 2, 8),
        ([46], 3, 6, 7, 43),
        ([600], 3, 6, 7, 43),
        ([], 3, 6, 2, 8),
        # Segments of a single step that is longer than usual.
        ([3.2], 0.4, 1, 4, 30),
    ],
)
def test_the_context_follows_from_the_median_length(
    lengths_sec, segment_length, num_steps, num_convolutions, sequence_length
):
    sections_sec = np.array([[100.0 * index, 100.0 * index + length] for index, length in enumerate(lengths_sec)])
    median_sec = median_length_sec([(sections_sec.reshape(-1, 2), np.empty((0, 2)))])
    context = choose_temporal_context(median_sec, segment_length, num_steps)
    assert context.dilations == (1, 2, 4, 8, 16, 32, 64)[:num_convolutions]
    assert context.sequence_length == sequence_length
    # A sequence is as long as what a score depends on, but for the step itself.
    assert context.sequence_length * num_steps >= 2 * sum(context.dilations)


# ---- The context of a dataset, in segments of 1 s with 2 steps


SECTIONS_OF = {
    # Train: 2, 4 and 9.5 s. The mean, or the median of the matches' medians, would give five convolutions.
    "match_00": [[0, 2], [3, 7]],
    "match_01": [[1, 10.5]],
    "match_07": [[0, 20], [21, 41], [42, 62]],  # valid
    "match_08": [[0, 0.6], [1, 1.6], [2, 2.6], [3, 3.6]],  # test
}
LABELS_OF = {"match_00": [1] * 8, "match_01": [1] * 11, "match_07": [1] * 62, "match_08": [1] * 4}


def test_the_context_of_a_dataset_follows_from_the_sections_of_its_training_matches(tmp_path):
    folder = write_dataset(tmp_path / "lengths", LABELS_OF, sections_of=SECTIONS_OF)
    # 2 * 4 / 0.5 = 16 steps, and 15 are nearest; 2 * 15 / 2 = 15 segments.
    assert DataLoader(folder).context == TemporalContext((1, 2, 4, 8), 15)
    # match_07, at 0.604 of the split, is a training match here: 2, 4, 9.5, 20, 20 and 20 s. 2 * 14.75 / 0.5 = 59 steps.
    assert DataLoader(folder, train_ratio=0.65).context == TemporalContext((1, 2, 4, 8, 16, 32), 63)
    # All of them: the median of 2, 4, 9.5, 3 * 20 and 4 * 0.6 s is 3 s, 12 steps.
    assert DataLoader(folder, train_ratio=1, valid_ratio=0).context == TemporalContext((1, 2, 4, 8), 15)
    # None of them.
    assert DataLoader(folder, train_ratio=0, valid_ratio=0.5).context == TemporalContext((1, 2), 8)


@pytest.mark.parametrize("first_version", [True, False])
def test_runs_of_labelled_segments_count_where_sections_are_not_named(tmp_path, first_version):
    labels_of = {"match_00": [1, 1, 1, 1, 1, 0, 1], "match_01": [0, 1, 1, 1, 1, 1, 1], "match_07": [1], "match_08": [1]}
    folder = write_dataset(tmp_path / "runs", labels_of, first_version)
    # 5, 1 and 6 s: 2 * 5 / 0.5 = 20 steps. Segments that counted singly would give 4 steps.
    assert DataLoader(folder).context == TemporalContext((1, 2, 4, 8), 15)


def test_training_matches_without_highlights_give_the_shortest_context(tmp_path):
    labels_of = {"match_00": [0] * 30, "match_07": [1] * 30, "match_08": [1] * 30}
    assert DataLoader(write_dataset(tmp_path / "none", labels_of)).context == TemporalContext((1, 2), 8)


def test_the_context_is_in_segments_of_the_dataset(tmp_path):
    config = DataConfig(2.5, 2, 1, 1, 4, False)  # 5 steps per segment
    folder = write_dataset(
        tmp_path / "long", {"match_00": [1] * 20}, sections_of={"match_00": [[0, 20]]}, config=config
    )
    # 2 * 20 / 0.5 = 80 steps, and 63 are nearest; 2 * 63 / 5 = 25.2 segments.
    assert DataLoader(folder).context == TemporalContext((1, 2, 4, 8, 16, 32), 26)


def test_a_damaged_training_match_is_named_when_the_dataset_is_opened_and_others_when_they_are_needed(tmp_path):
    for title in ("match_00", "match_07", "match_08"):
        sections_of = {name: [[0, 1]] for name in ("match_00", "match_07", "match_08")} | {title: [[5, 4]]}
        folder = write_dataset(tmp_path / title, {name: [1, 0] for name in sections_of}, sections_of=sections_of)
        if title == "match_00":
            with pytest.raises(DatasetError, match=r"metadata\.json: received .* invalid sections of match_00"):
                DataLoader(folder)
        else:
            assert DataLoader(folder).context == TemporalContext((1, 2), 8)


@pytest.mark.parametrize(
    ("batch_size", "expected", "shape", "num_batches"),
    # The training matches have 8 and 11 segments: two sequences of 15, and each of 14 and of 1.
    [
        (None, 30, (2, 15), 3),
        (30, 30, (2, 15), 3),
        (44, 44, (2, 15), 3),
        (45, 45, (3, 15), 2),
        (29, 29, (1, 15), 5),
        (15, 15, (1, 15), 5),
        (14, 14, (1, 14), 5),
        (1, 1, (1, 1), 62),
    ],
)
def test_a_batch_holds_two_sequences_unless_its_size_is_given(tmp_path, batch_size, expected, shape, num_batches):
    folder = write_dataset(tmp_path / "batches", LABELS_OF, sections_of=SECTIONS_OF)
    given = {} if batch_size is None else {"batch_size": batch_size}
    loader = DataLoader(folder, **given)
    assert loader.batch_size == expected
    assert loader.context.sequence_length == 15  # whatever the size of a batch
    batches = loader.batches("valid")  # 62 segments: five sequences of 15 or of 14
    assert batches[0][2].shape == shape
    assert len(batches) == num_batches
