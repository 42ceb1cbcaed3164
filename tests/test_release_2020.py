"""Check the networks of the 2020 release in benchmarks/release_2020.py."""

import numpy as np

from benchmarks import release_2020
from data_loader import DataLoader
from videosummarizer.dataset.metadata import SUBSETS


def test_a_result_does_not_depend_on_what_was_trained_before(dataset_dir):
    loader = DataLoader(dataset_dir)
    data = {subset: release_2020.read_subset(loader, subset) for subset in SUBSETS}
    first, _ = release_2020.train(data, True, 5, 2)
    release_2020.train(data, False, 5, 1)
    again, _ = release_2020.train(data, True, 5, 2)
    other, _ = release_2020.train(data, True, 6, 2)
    assert np.array_equal(first["test"], again["test"])
    assert not np.array_equal(first["test"], other["test"])


def test_the_sequence_network_sees_two_segments_on_either_side(dataset_dir):
    subset = release_2020.read_subset(DataLoader(dataset_dir), "valid")  # matches of 6 and 5 segments
    assert subset.neighbours[[0, 2, 5, 6, 10]].tolist() == [
        [0, 0, 0, 1, 2],
        [0, 1, 2, 3, 4],
        [3, 4, 5, 5, 5],
        [6, 6, 6, 7, 8],
        [8, 9, 10, 10, 10],
    ]
    assert subset.labels.tolist() == [0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    assert (subset.video.shape, subset.mfcc.shape) == ((11, 2, 16, 16, 3), (11, 40, 8, 1))


def test_mfccs_of_a_dataset_are_taken_as_they_are(trainable_matches_dir, dataset_dir, tmp_path):
    from data_converter import main

    dataset = tmp_path / "mfcc"
    assert main([str(trainable_matches_dir), "1", "2", "16", "16", "4000", "1", str(dataset), "--workers", "1"]) == 0
    stored = release_2020.read_subset(DataLoader(dataset), "test").mfcc
    computed = release_2020.read_subset(DataLoader(dataset_dir), "test").mfcc
    assert stored.shape == (20, 40, 8, 1)
    assert np.allclose(stored, computed, atol=1e-3)
