"""Sections by threshold and by length, their scores, and the frames they are made of."""

import numpy as np
import pytest

import found_sections
from operating_point import OperatingPoint, find_sections, smooth

POINT = OperatingPoint(threshold=0.5, smoothing=1, min_length_sec=0.0, max_gap_sec=0.0)
SCORES = np.array([0.1, 0.9, 0.8, 0.2, 0.3, 0.6, 0.0, 0.7])  # of steps of 2 s


def fill(length_sec, scores=SCORES, point=POINT, padding_sec=0.0):
    sections_sec, threshold = found_sections.fill_length(scores, 2.0, 2.0 * len(scores), point, padding_sec, length_sec)
    return sections_sec.tolist(), threshold


def test_padding_is_clipped_at_the_ends_and_merges_what_meets():
    sections_sec = found_sections.find_padded(SCORES, 2.0, 16.0, POINT, 1.5)
    assert sections_sec.tolist() == [[0.5, 7.5], [8.5, 16.0]]
    assert found_sections.find_padded(SCORES, 2.0, 16.0, POINT, 0.0).tolist() == [[2, 6], [10, 12], [14, 16]]


@pytest.mark.parametrize(
    ("length_sec", "expected", "threshold"),
    [
        (4.0, [[2, 6]], 0.8),
        (6.0, [[2, 6], [14, 16]], 0.7),
        (8.0, [[2, 6], [10, 12], [14, 16]], 0.6),
        (1.0, [[2, 3]], 0.9),
        (3.0, [[2, 5]], 0.8),  # of the two best segments, the better one whole
        (7.0, [[2, 6], [10, 11], [14, 16]], 0.6),
        (12.0, [[2, 12], [14, 16]], 0.2),  # more than there is between dips
        (100.0, [[0, 16]], 0.0),
    ],
)
def test_the_best_reel_of_a_length(length_sec, expected, threshold):
    assert fill(length_sec) == (expected, threshold)


def test_a_length_below_the_shortest_section_is_filled_all_the_same():
    assert fill(1.0, point=OperatingPoint(threshold=0.5, min_length_sec=3.0))[0] == [[2, 3]]


def test_a_length_is_filled_with_nothing_shorter_than_the_shortest_section():
    point = OperatingPoint(threshold=0.5, smoothing=1, min_length_sec=2.0, max_gap_sec=0.0)
    assert fill(5.0, point=point)[0] == [[2, 6]]
    assert fill(6.0, point=point)[0] == [[2, 6], [14, 16]]


def test_the_best_part_of_a_section():
    section_sec = np.array([2.5, 15.0])
    assert found_sections.best_part(section_sec, 3.0, SCORES, 2.0) == (2.5, 5.5)
    assert found_sections.best_part(np.array([5.0, 16.0]), 2.0, SCORES, 2.0) == (14.0, 16.0)
    assert found_sections.best_part(np.array([5.0, 15.0]), 2.0, SCORES, 2.0) == (10.0, 12.0)
    assert found_sections.best_part(section_sec, 50.0, SCORES, 2.0) == (2.5, 15.0)


def test_mean_scores_weigh_by_time():
    sections_sec = np.array([[2.0, 6.0], [1.0, 3.0], [5.5, 6.5], [15.0, 16.0]])
    expected = [0.85, 0.5, 0.5, 0.7]
    assert found_sections.mean_scores(sections_sec, SCORES, 2.0) == pytest.approx(expected)


def test_frames_are_those_that_begin_within():
    times_sec = np.array([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])
    sections_sec = np.array([[0.0, 0.2], [0.15, 0.6], [0.2, 0.20000001], [0.6, 0.7], [0.95, 1.1]])
    sections = found_sections.to_frames(sections_sec, times_sec)
    assert sections.tolist() == [[0, 2], [2, 4], [2, 3], [3, 4], [5, 6]]
    assert found_sections.to_seconds(sections[:2], times_sec, 1.1).tolist() == [[0.0, 0.2], [0.2, 0.9]]
    assert found_sections.to_frames(np.empty((0, 2)), times_sec).shape == (0, 2)


def test_smoothing_averages_the_neighbors_that_are_there():
    assert smooth(np.array([0.0, 0.9, 0.3, 0.6]), 3) == pytest.approx([0.45, 0.4, 0.6, 0.45])
    assert smooth(np.array([0.2, 0.4]), 5) == pytest.approx([0.3, 0.3])
    assert smooth(SCORES, 1) == pytest.approx(SCORES)


def test_an_operating_point_merges_gaps_first_and_leaves_out_what_is_short():
    def found(**more):
        return find_sections(SCORES, 2.0, 15.0, OperatingPoint(0.5, **more)).tolist()

    assert found() == [[2, 6], [10, 12], [14, 15]]
    assert found(max_gap_sec=2.0) == [[2, 6], [10, 15]]
    assert found(min_length_sec=1.5) == [[2, 6], [10, 12]]
    assert found(max_gap_sec=4.0, min_length_sec=13.0) == [[2, 15]]
    assert find_sections(SCORES, 2.0, 15.0, OperatingPoint(1.0)).shape == (0, 2)
