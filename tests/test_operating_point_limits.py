"""Operating points where they are just as large as allowed, or just not; means, sections and F1 by hand."""

import numpy as np
import pytest
from test_operating_point import match

from videosummarizer.evaluation.operating_point import (
    OperatingPoint,
    ScoredMatch,
    mean_event_f1,
    moving_average,
    parse_operating_point,
)

# ---- What a checkpoint states


def test_what_an_operating_point_leaves_out_has_a_default():
    assert vars(parse_operating_point({"threshold": 0.25})) == {"threshold": 0.25, "section_penalty": 0.0}
    for values in (
        {"threshold": 0, "section_penalty": 0},
        {"threshold": 1, "section_penalty": 1_000_000},
        {"threshold": 1.0, "section_penalty": 1e6},
        {"threshold": 0.5, "section_penalty": 1e-300},
    ):
        assert vars(parse_operating_point(values)) == values


@pytest.mark.parametrize(
    "values",
    [
        {"threshold": -0.001},
        {"threshold": 1.001},
        {"threshold": float("nan")},
        {"threshold": float("inf")},
        {"threshold": "0.5"},
        {"threshold": None},
        {"threshold": True},
        {"threshold": [0.5]},
        {"threshold": 0.5, "section_penalty": -1e-9},
        {"threshold": 0.5, "section_penalty": -1},
        {"threshold": 0.5, "section_penalty": float("nan")},
        {"threshold": 0.5, "section_penalty": float("inf")},
        {"threshold": 0.5, "section_penalty": float("-inf")},
        {"threshold": 0.5, "section_penalty": 1_000_001},
        {"threshold": 0.5, "section_penalty": 1000000.5},
        {"threshold": 0.5, "section_penalty": 10**400},
        {"threshold": 0.5, "section_penalty": "1"},
        {"threshold": 0.5, "section_penalty": None},
        {"threshold": 0.5, "section_penalty": True},
        {"threshold": 0.5, "section_penalty": False},
        {"threshold": 0.5, "section_penalty": [1.0]},
        {"threshold": 0.5, "section_penalty": {}},
    ],
)
def test_an_operating_point_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match=r"threshold"):
        parse_operating_point(values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"section_penalty": 1.0},
        {"threshold": 0.5, "cut": 3},
        {"threshold": 0.5, "smoothing": 1},
        {"threshold": 0.5, "min_length_sec": 0.0},
        {"threshold": 0.5, "max_gap_sec": 0.0, "section_penalty": 1.0},
        {"threshold": 0.5, "nms_ratio": 0.8},
    ],
)
def test_an_operating_point_with_other_names_is_refused(values):
    with pytest.raises(TypeError, match=r"unexpected keyword argument|missing 1 required positional argument"):
        parse_operating_point(values)


# ---- Means


def test_an_even_number_of_values_is_averaged_over_one_more_before():
    values = np.array([0.0, 0.6, 0.3, 0.9])
    assert moving_average(values, 2) == pytest.approx([0, 0.3, 0.45, 0.6])
    assert moving_average(values, 4) == pytest.approx([0.3, 0.3, 0.45, 0.6])
    assert moving_average(values, 5) == pytest.approx([0.3, 0.45, 0.45, 0.6])
    assert moving_average(np.array([0.4]), 9) == pytest.approx([0.4])


def test_the_existing_neighbors_are_averaged():
    assert moving_average(np.array([0.0, 0.9, 0.3, 0.6]), 3) == pytest.approx([0.45, 0.4, 0.6, 0.45])
    assert moving_average(np.array([0.2, 0.4]), 5) == pytest.approx([0.3, 0.3])
    assert moving_average(values := np.array([0.1, 0.9, 0.8, 0.2]), 1) == pytest.approx(values)


# ---- Sections


@pytest.mark.parametrize(
    ("duration_sec", "num_left"), [(2.1, 3), (2.0999, 3), (2.101, 4), (2.8, 4), (0.7, 1), (0.1, 1), (50, 5)]
)
def test_steps_that_begin_before_the_end_are_kept(duration_sec, num_left):
    steps = np.full((5, 1), 0.5, np.float32)
    scored = ScoredMatch("match", 0.7, duration_sec, np.zeros(5, int), np.empty((0, 2)), steps[:, 0], steps)
    assert scored.kept_scores().tolist() == [0.5] * num_left  # 2.1 / 0.7 is a rounding error above 3
    assert scored.kept_scores().dtype == np.float64
    assert scored.decoded_scores(OperatingPoint(0.4, 0.1)).shape == (num_left,)


def test_a_match_finds_with_its_own_steps_and_its_own_end():
    steps = np.array([[0.2, 0.9, 0.9], [0.4, 0.0, 0.9]])
    scored = ScoredMatch("match", 2.1, 4.0, np.array([0, 1]), np.empty((0, 2)), steps.mean(axis=1), steps)
    assert scored.step_sec == pytest.approx(0.7)
    assert scored.predicted_sections_sec(OperatingPoint(0.5)) == pytest.approx(np.array([[0.7, 2.1], [3.5, 4.0]]))
    # The last step holds 0.5 s of log 9, 1.099; the two before 1.4 s, 3.08.
    dear = OperatingPoint(0.5, section_penalty=1.1)
    assert scored.predicted_sections_sec(dear) == pytest.approx(np.array([[0.7, 2.1]]))
    found_more = OperatingPoint(0.4)
    assert scored.predicted_sections_sec(found_more) == pytest.approx(np.array([[0.7, 2.8], [3.5, 4.0]]))
    # 1.4 s of the first segment are found, and 0.7 + 0.5 s of the second one.
    assert scored.predicted_labels(found_more).tolist() == [1, 1]
    assert scored.predicted_labels(OperatingPoint(0.5)).tolist() == [1, 0]
    assert scored.predicted_labels(OperatingPoint(0.0, 1e6)).tolist() == [1, 1]


def test_a_matchs_scores_in_context_reach_the_threshold_where_sections_are():
    scored = match([0, 1, 1, 0], [[0.1, 0.2], [0.9, 0.3], [0.8, 0.9], [0.2, 0.7]], duration_sec=7.5)
    for penalty, expected in ((0.0, [0, 0, 1, 0, 1, 1, 0, 1]), (1.0, [0, 0, 1, 1, 1, 1, 0, 0]), (9.0, [0] * 8)):
        shown = scored.decoded_scores(OperatingPoint(0.5, penalty))
        assert (shown >= 0.5).astype(int).tolist() == expected
    assert scored.decoded_scores(OperatingPoint(0.5)) == pytest.approx(scored.step_scores.ravel())


# ---- F1


@pytest.mark.parametrize("step_sec", [0.1, 0.7, 2.0])
def test_the_f1_of_several_operating_points_by_hand(step_sec):
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0])
    scores = np.array([0.9, 0.9, 0.25, 0.75, 0.1, 0.9, 0.9, 0.9, 0.1])
    sections_sec = np.array([[0, 2], [3, 4]]) * step_sec
    matches = [ScoredMatch("match", step_sec, 9 * step_sec, labels, sections_sec, scores, scores[:, np.newaxis])]
    # In log 3: 2 2 -1 1 -2 2 2 2 -2. Without a penalty three are found, of which two are right; for one log 3 the dip
    # of one is bridged, and the IoU is 2/4; for two log 3 all is one with an IoU of 2/8; then nothing is left.
    penalties = np.array([0, 0.99, 1, 1.99, 2, 8.01]) * np.log(3) * step_sec
    two_thirds = 2 * 1 / (2 + 2)  # one of two labelled, one of two found
    expected = [4 / 5, 4 / 5, two_thirds, two_thirds, 0, 0]
    assert mean_event_f1(matches, np.full(6, 0.5), penalties) == pytest.approx(expected)


def test_the_f1_counts_both_iou_thresholds():
    # Found are 0.8 s of 2 s: right at IoU 0.3, not at 0.5.
    part = match([0, 1, 0], [[0.1] * 5, [0.1, 0.9, 0.9, 0.1, 0.1], [0.1] * 5])
    assert mean_event_f1([part], np.array([0.5]), np.zeros(1)).tolist() == [0.5]
    most = match([0, 1, 0], [[0.1] * 4, [0.1, 0.9, 0.9, 0.1], [0.1] * 4])
    assert mean_event_f1([most], np.array([0.5]), np.zeros(1)).tolist() == [1.0]  # half is enough
    assert mean_event_f1([part, most], np.array([0.5]), np.zeros(1)).tolist() == [0.75]
    assert mean_event_f1([part], np.array([0.95]), np.zeros(1)).tolist() == [0.0]
