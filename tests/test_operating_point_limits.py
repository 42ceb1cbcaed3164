"""Operating points and sections where they are just as large, as near or as long as asked for, or just not."""

import numpy as np
import pytest
from test_operating_point import LENGTH_SEC, find, match

from videosummarizer.evaluation.operating_point import (
    ConcatenatedMatches,
    OperatingPoint,
    ScoredMatch,
    moving_average,
    parse_operating_point,
    suppress_non_maxima,
)

# ---- What a checkpoint states


def test_what_an_operating_point_leaves_out_has_defaults():
    point = parse_operating_point({"threshold": 0.25})
    assert vars(point) == {
        "threshold": 0.25,
        "smoothing": 1,
        "min_length_sec": 0.0,
        "max_gap_sec": 0.0,
        "nms_ratio": 0.8,
    }
    values = {"threshold": 0, "smoothing": 1000, "min_length_sec": 1000.0, "max_gap_sec": 3.5, "nms_ratio": 0.0}
    assert vars(parse_operating_point(values)) == values


@pytest.mark.parametrize(
    "values",
    [
        {"threshold": -0.001},
        {"threshold": float("nan")},
        {"threshold": float("inf")},
        {"threshold": "0.5"},
        {"threshold": None},
        {"threshold": 0.5, "smoothing": 0},
        {"threshold": 0.5, "smoothing": -1},
        {"threshold": 0.5, "smoothing": 3.0},
        {"threshold": 0.5, "smoothing": 1001},
        {"threshold": 0.5, "min_length_sec": -1},
        {"threshold": 0.5, "max_gap_sec": 1000.5},
        {"threshold": 0.5, "nms_ratio": [0.5]},
    ],
)
def test_an_operating_point_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match=r"threshold|smoothing"):
        parse_operating_point(values)


@pytest.mark.parametrize("values", [{}, {"smoothing": 1}, {"threshold": 0.5, "cut": 3}])
def test_an_operating_point_with_other_names_is_refused(values):
    with pytest.raises(TypeError):
        parse_operating_point(values)


# ---- Dips and smoothing


@pytest.mark.parametrize(
    ("duration_sec", "num_left"), [(2.1, 3), (2.0999, 3), (2.101, 4), (2.8, 4), (0.7, 1), (0.1, 1), (50, 5)]
)
def test_steps_that_begin_before_the_end_are_left(duration_sec, num_left):
    clear = suppress_non_maxima(np.full(5, 0.5, np.float32), 0.7, duration_sec)  # 2.1 / 0.7 is a rounding error above 3
    assert clear.tolist() == [0.5] * num_left
    assert clear.dtype == np.float64


def test_a_score_that_is_just_the_ratio_of_the_highest_is_kept():
    # 0.375 is three quarters of 0.5, in float64 too.
    assert suppress_non_maxima([0.5, 0.375, 0.3749], 1.0, 3.0, nms_ratio=0.75).tolist() == [0.5, 0.375, 0]
    assert suppress_non_maxima([0.5, 0.41, 0.39], 1.0, 3.0).tolist() == [0.5, 0.41, 0]  # 0.8 by default
    assert match([0, 0, 0], [0.5, 0.41, 0.39]).suppressed_scores() == pytest.approx([0.5, 0.41, 0])
    assert suppress_non_maxima([0.5, 0.0, 0.01], 1.0, 3.0, nms_ratio=0.0).tolist() == [0.5, 0, 0.01]


@pytest.mark.parametrize(("step_sec", "reach"), [(0.5, 10), (0.7, 7), (1.0, 5), (2.0, 2), (4.0, 1), (20.0, 1)])
def test_the_highest_within_five_seconds_counts_before_and_after(step_sec, reach):
    scores = np.full(41, 0.25)
    scores[20] = 1
    expected = [0.25] * (20 - reach) + [0] * reach + [1] + [0] * reach + [0.25] * (20 - reach)
    assert suppress_non_maxima(scores, step_sec, 41 * step_sec).tolist() == expected


def test_the_highest_after_the_end_does_not_count():
    assert suppress_non_maxima([0.25, 0.25, 1.0], 1.0, 2.0).tolist() == [0.25, 0.25]


def test_an_even_number_of_scores_is_averaged_over_one_more_before():
    scores = np.array([0.0, 0.6, 0.3, 0.9])
    assert moving_average(scores, 2) == pytest.approx([0, 0.3, 0.45, 0.6])
    assert moving_average(scores, 4) == pytest.approx([0.3, 0.3, 0.45, 0.6])
    assert moving_average(scores, 5) == pytest.approx([0.3, 0.45, 0.45, 0.6])
    assert moving_average(np.array([0.4]), 9) == pytest.approx([0.4])


# ---- Sections


def test_a_score_that_is_just_the_threshold_is_found():
    assert find([0.49, 0.5, 0.51, 0.49], nms_ratio=0.0) == [[0.5, 1.5]]
    assert find([0.5, 0.4, 0.6], threshold=0.0) == [[0, 1.5]]
    assert find([1.0, 0.99], threshold=1.0) == [[0, 0.5]]


@pytest.mark.parametrize(
    ("step_sec", "max_gap_sec", "is_one"),
    [
        (1.0, 2.0, True),
        (1.0, 1.9999995, True),
        (1.0, 1.999998, False),
        (1.0, 3.0, True),
        (1.0, 0.0, False),
        (0.1, 0.2, True),
        (0.1, 0.1999, False),
        (0.7, 1.4, True),
        (0.7, 1.3999, False),
    ],
)
def test_sections_just_as_far_apart_as_the_largest_gap_are_one(step_sec, max_gap_sec, is_one):
    for first in (0, 1, 7):  # 3 * 0.1 and 10 * 0.7 are no multiples in float64
        scores = [0.0] * first + [1, 0, 0, 1, 0]
        received = find(scores, step_sec, max_gap_sec=max_gap_sec)
        edges = np.array([[first, first + 4]] if is_one else [[first, first + 1], [first + 3, first + 4]])
        assert received == pytest.approx(edges * step_sec)
        # The same up to the end of the match, which cuts the last step.
        edges = edges * step_sec
        edges[-1, 1] = (first + 3.5) * step_sec
        received = find(scores[:-1], step_sec, duration_sec=(first + 3.5) * step_sec, max_gap_sec=max_gap_sec)
        assert received == pytest.approx(edges)


@pytest.mark.parametrize(
    ("step_sec", "min_length_sec", "is_kept"),
    [
        (1.0, 2.0, True),
        (1.0, 2.0000005, True),
        (1.0, 2.000002, False),
        (1.0, 0.0, True),
        (0.1, 0.2, True),
        (0.1, 0.2001, False),
        (0.7, 1.4, True),
        (0.7, 1.4001, False),
    ],
)
def test_sections_just_as_long_as_the_shortest_are_kept(step_sec, min_length_sec, is_kept):
    for first in (0, 1, 3, 7):  # from 3 * 0.1 s on, 0.2 s are a rounding error less
        received = find([0.0] * first + [1, 1, 0], step_sec, min_length_sec=min_length_sec)
        assert len(received) == is_kept
        if is_kept:
            assert received[0] == pytest.approx([first * step_sec, (first + 2) * step_sec])


def test_the_end_of_the_match_makes_a_section_shorter():
    assert find([0, 1, 1], 1.0, duration_sec=2.5, min_length_sec=1.5) == [[1, 2.5]]
    assert find([0, 1, 1], 1.0, duration_sec=2.5, min_length_sec=1.6) == []
    assert find([0, 1, 1], 1.0, duration_sec=2.0) == [[1, 2]]
    assert find([1, 0, 1], 1.0, duration_sec=2.5, min_length_sec=2.5, max_gap_sec=1.0) == [[0, 2.5]]


def test_steps_that_follow_each_other_are_one_section_whatever_their_length():
    for step_sec in (0.1, 0.7, 1 / 3, 1.001):
        assert find([0.9] * 100, step_sec) == [[0, pytest.approx(100 * step_sec)]]


def test_a_match_finds_with_its_own_steps_and_its_own_end():
    steps = np.array([[0.2, 0.9, 0.9], [0.6, 0.0, 0.9]])
    scored = ScoredMatch("match", 2.1, 4.0, np.array([0, 1]), np.empty((0, 2)), steps.mean(axis=1), steps)
    assert scored.step_sec == pytest.approx(0.7)
    assert scored.predicted_sections_sec(OperatingPoint(0.5)) == pytest.approx(np.array([[0.7, 2.1], [3.5, 4.0]]))
    plain = OperatingPoint(0.5, nms_ratio=0.5)
    assert scored.predicted_sections_sec(plain) == pytest.approx(np.array([[0.7, 2.8], [3.5, 4.0]]))
    # 1.4 s of the first segment are found, and 0.7 + 0.5 s of the second one.
    assert scored.predicted_labels(plain).tolist() == [1, 1]
    assert scored.predicted_labels(OperatingPoint(0.5)).tolist() == [1, 0]


# ---- The timeline


def test_matches_lie_one_after_another_with_their_own_ends():
    first, second = match([0, 1, 1], [0.1, 0.9, 0.8], duration_sec=5.0), match([1, 0], [0.7, 0.2], duration_sec=4.0)
    timeline = ConcatenatedMatches([first, second])
    apart_sec = timeline.starts_sec[3]
    assert apart_sec > 5.0 + 3 * LENGTH_SEC  # no gap that is merged is as long
    assert timeline.starts_sec.tolist() == [0, 2, 4, apart_sec, apart_sec + 2]
    assert timeline.ends_sec.tolist() == [2, 4, 5, apart_sec + 2, apart_sec + 4]
    assert timeline.reference_sections.tolist() == [[2, 5], [apart_sec, apart_sec + 2]]
    assert timeline.is_first.tolist() == [True, False, False, True, False]
    assert timeline.labelled_ratio == pytest.approx(5 / 9)
    scores = np.array([0.5, 0.4, 0.5, 0.6, 0.4])
    assert timeline.runs(scores, 0.5).tolist() == [[0, 2], [4, 5], [apart_sec, apart_sec + 2]]
    assert timeline.runs(scores, 0.4).tolist() == [[0, 5], [apart_sec, apart_sec + 4]]
    assert timeline.runs(scores, 0.7).shape == (0, 2)


def test_gaps_and_lengths_are_tried_in_steps():
    matches = [match([0, 1], [[0, 0, 0, 0], [1, 1, 1, 1]])]
    timeline = ConcatenatedMatches(matches)
    assert timeline.max_gaps_sec == [0, 0.5, 1, 1.5]
    assert timeline.min_lengths_sec == [0, 1, 1.5]


@pytest.mark.parametrize("step_sec", [0.1, 0.7, 2.0])
def test_on_the_timeline_a_gap_and_a_length_just_as_long_count(step_sec):
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0])
    runs_sec = np.array([[0, 2], [3, 4], [5, 8]]) * step_sec + 7 * step_sec
    timeline = ConcatenatedMatches(
        [ScoredMatch("match", step_sec, 9 * step_sec, labels, runs_sec[:2], labels, labels[:, None])]
    )
    # Without gaps: 2 of 3 found are right. A gap of a step makes all one, whose IoU with either label is at most 1/4.
    f1 = timeline.evaluate(runs_sec)
    assert f1[0] == pytest.approx([4 / 5, 2 / 4, 0])
    assert (f1[1:] == 0).all()
