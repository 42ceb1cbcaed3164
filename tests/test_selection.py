"""Sections by threshold and by length, their scores, and the frames they are made of."""

import numpy as np
import pytest

from videosummarizer.evaluation.decoding import log_odds
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import selection
from videosummarizer.sections import mean_scores, merge_sections, to_frames, to_seconds, total_sec

POINT = OperatingPoint(threshold=0.5)
SCORES = np.array([0.1, 0.9, 0.8, 0.2, 0.3, 0.6, 0.0, 0.7])  # of steps of 2 s


def fill(length_sec, scores=SCORES, point=POINT, padding_sec=0.0):
    sections_sec, received = selection.select_within_budget(
        scores, 2.0, 2.0 * len(scores), point, padding_sec, length_sec
    )
    assert received.section_penalty == point.section_penalty
    return sections_sec.tolist(), received.threshold


def just_below(score):
    """A threshold of a budget: at most the score, and a thousandth of a nat below it at most."""
    score = min(score, 1 - 1e-9)
    lowest = 1 / (1 + (1 / score - 1) * np.exp(1.001e-3)) if score else 0.0
    return pytest.approx((score + lowest) / 2, abs=(score - lowest) / 2 + 1e-12)


def test_padding_is_clipped_at_the_ends_and_merges_what_meets():
    sections_sec = selection.detect_with_margin(SCORES, 2.0, 16.0, POINT, 1.5)
    assert sections_sec.tolist() == [[0.5, 7.5], [8.5, 16.0]]
    assert selection.detect_with_margin(SCORES, 2.0, 15.0, POINT, 2.0).tolist() == [
        [0, 15]
    ]  # 8 s is an end and a start
    assert selection.detect_with_margin(SCORES, 2.0, 15.0, POINT, 2.5).tolist() == [[0, 15]]
    assert selection.detect_with_margin(SCORES, 2.0, 16.0, POINT, 1.99).tolist() == [
        pytest.approx([0.01, 7.99]),
        pytest.approx([8.01, 16.0]),
    ]
    above_0_85 = OperatingPoint(threshold=0.85)
    assert selection.detect_with_margin(SCORES, 2.0, 16.0, above_0_85, 0.5).tolist() == [[1.5, 4.5]]
    assert selection.detect_with_margin(SCORES, 2.0, 16.0, POINT, 0.0).tolist() == [[2, 6], [10, 12], [14, 16]]


@pytest.mark.parametrize(
    ("length_sec", "expected", "threshold"),
    [
        (4.0, [[2, 6]], 0.8),
        (6.0, [[2, 6], [14, 16]], 0.7),
        (8.0, [[2, 6], [10, 12], [14, 16]], 0.6),
        (1.0, [[2, 3]], 0.9),
        (3.0, [[2, 5]], 0.8),  # of the two best segments, the better one whole
        (7.0, [[2, 6], [10, 11], [14, 16]], 0.6),
        (12.0, [[2, 12], [14, 16]], 0.2),
        (16.0, [[0, 16]], 0.0),
        (100.0, [[0, 16]], 0.0),
    ],
)
def test_the_best_reel_of_a_length(length_sec, expected, threshold):
    assert fill(length_sec) == (expected, just_below(threshold))


def test_the_threshold_is_one_at_which_enough_is_found_and_none_higher():
    for length_sec, highest in ((4.0, 0.8), (6.0, 0.7), (8.0, 0.6), (12.0, 0.2)):
        _, threshold = fill(length_sec)
        assert total_sec(selection.detect_with_margin(SCORES, 2.0, 16.0, OperatingPoint(threshold), 0.0)) >= length_sec
        above = OperatingPoint(highest + 1e-6)
        assert total_sec(selection.detect_with_margin(SCORES, 2.0, 16.0, above, 0.0)) < length_sec


def test_a_threshold_is_searched_to_a_thousandth_of_a_nat():
    asked = []

    def is_low_enough(threshold):
        asked.append(threshold)
        return threshold <= 0.3

    scores = np.array([0.1, 0.9])
    assert selection.lower_threshold(is_low_enough, scores) == just_below(0.3)
    assert len(asked) < 20
    assert all(0 < threshold < 0.91 for threshold in asked)
    assert selection.lower_threshold(lambda threshold: True, scores) == pytest.approx(0.9, abs=1e-4)
    assert selection.lower_threshold(lambda threshold: threshold <= 1e-6, scores) == just_below(1e-6)
    assert selection.lower_threshold(lambda threshold: False, scores) == 0


def test_a_length_below_what_a_section_costs_is_filled_all_the_same():
    assert fill(1.0, point=OperatingPoint(0.5, section_penalty=20.0))[0] == [[2, 3]]
    assert fill(0.1, np.full(4, 0.25), OperatingPoint(0.5, 1e6))[0] == [[0, 0.1]]
    assert fill(100.0, np.full(4, 0.25), OperatingPoint(0.5, 1e6)) == ([[0, 8]], 0)


# Log-odds are 4, 1, 3 and 2 log 3, of steps of 2 s.
DECODED = 1 / (1 + 3.0 ** -np.array([-9, 4, -9, -9, 1, -9, -9, 3, -9, -9, 2, 2]))
LOG_3 = np.log(3)


def test_the_rest_of_a_length_is_filled_with_what_is_worth_the_penalty():
    # Found are, at thresholds below 3, 2 and 1 - penalty / 2 s: 2 s, then 2 s, then the last 4 s, then 2 s.
    point = OperatingPoint(0.5, section_penalty=1.6 * LOG_3)

    def of_log_odds(value):
        return just_below(1 / (1 + 3.0**-value))

    assert fill(2.0, DECODED, point) == ([[2, 4]], of_log_odds(3.2))
    assert fill(4.0, DECODED, point) == ([[2, 4], [14, 16]], of_log_odds(2.2))
    assert fill(8.0, DECODED, point) == ([[2, 4], [14, 16], [20, 24]], of_log_odds(1.6))
    # At 1.6, 2 s of the last section hold 0.8 log 3, half of what it costs; 4 s just as much.
    assert fill(6.0, DECODED, point) == ([[2, 4], [14, 16]], of_log_odds(1.6))
    assert fill(7.9, DECODED, point) == ([[2, 4], [14, 16]], of_log_odds(1.6))
    # At 0.2, all are found. Of the last one that is needed 1.9 s hold 1.52 log 3, less than 1.6, and 2 s just as much.
    assert fill(9.9, DECODED, point) == ([[2, 4], [14, 16], [20, 24]], of_log_odds(0.2))
    assert fill(10.0, DECODED, point) == ([[2, 4], [8, 10], [14, 16], [20, 24]], of_log_odds(0.2))
    # Without a penalty, any rest is filled.
    assert fill(7.9, DECODED)[0] == [[2, 4], [14, 16], [20, pytest.approx(23.9)]]


def test_a_rest_is_compared_with_the_penalty_at_the_threshold_that_was_found():
    window, scores = (2.0, 5.0), np.array([0.1, 0.9, 0.75, 0.1])
    evidence = 2 * np.log(9) + 1 * LOG_3
    for penalty, is_worth in ((0, True), (evidence, True), (evidence + 1e-6, False), (1e6, False)):
        assert selection.is_worth_penalty(window, scores, 2.0, OperatingPoint(0.5, penalty)) == is_worth
    # At 0.75, LOG_3 less for each second.
    for penalty, is_worth in ((evidence - 3 * LOG_3, True), (evidence - 3 * LOG_3 + 1e-6, False)):
        assert selection.is_worth_penalty(window, scores, 2.0, OperatingPoint(0.75, penalty)) == is_worth
    # Evidence is limited as where sections are found.
    assert selection.is_worth_penalty((0.0, 1.0), np.array([1.0]), 1.0, OperatingPoint(0.5, 7.0))
    assert not selection.is_worth_penalty((0.0, 1.0), np.array([1.0]), 1.0, OperatingPoint(0.5, 7.001))


def test_a_section_that_is_not_cut_is_kept_whatever_its_padding_holds():
    # Padded by 1 s at both ends, the second section's evidence is far below the penalty.
    scores = np.array([0.01, 0.9, 0.01, 0.01, 0.8, 0.01])
    sections_sec, threshold = fill(8.0, scores, OperatingPoint(0.5, 1.0), padding_sec=1.0)
    assert sections_sec == [[1, 5], [7, 11]]
    assert not selection.is_worth_penalty((7.0, 11.0), scores, 2.0, OperatingPoint(threshold, 1.0))


def test_the_best_sections_of_a_length_are_those_of_the_highest_mean_score():
    scores = np.array([0.5, 0, 0, 0.75, 0.75, 0, 0, 0.625, 1.0, 0, 0, 0.5])
    point = OperatingPoint(threshold=0.9)
    # 0.8125 at 14 to 18 s, 0.75 at 6 to 10 s, then two of 0.5, of which the earlier one is taken.
    assert fill(8.0, scores, point) == ([[6, 10], [14, 18]], just_below(0.625))
    assert fill(9.0, scores, point) == ([[0, 1], [6, 10], [14, 18]], just_below(0.5))
    assert fill(11.0, scores, point) == ([[0, 2], [6, 10], [14, 18], [22, 23]], just_below(0.5))
    # Of many that are equally good, the earliest.
    assert fill(7.0, np.tile([0.5, 0, 0.25], 40)) == ([[0, 2], [6, 8], [12, 14], [18, 19]], just_below(0.5))


def test_a_length_as_long_as_the_match_or_longer():
    assert fill(6.0, np.array([0.5, 0.25, 0.75])) == ([[0, 6]], just_below(0.25))
    assert fill(100.0, np.array([0.5, 0.25, 0.75])) == ([[0, 6]], 0)


def test_a_reel_of_a_match_without_any_score():
    assert fill(3.0, np.zeros(4)) == ([[0, 3]], 0)
    assert fill(100.0, np.zeros(4)) == ([[0, 8]], 0)


@pytest.mark.parametrize("score", [1e-6, 0.3, 1.0])
def test_a_reel_of_a_match_with_equal_scores(score):
    assert fill(3.0, np.full(4, score)) == ([[0, 3]], just_below(score))
    assert fill(8.0, np.full(4, score)) == ([[0, 8]], just_below(score))


def plain_mean(section_sec, scores, step_sec):
    start, end = section_sec
    parts = [max(0, min(end, (k + 1) * step_sec) - max(start, k * step_sec)) for k in range(len(scores))]
    return sum(part * score for part, score in zip(parts, scores, strict=True)) / (end - start)


def plain_evidence(section_sec, scores, step_sec, threshold):
    nats = np.log(np.clip(scores, 1e-9, 1 - 1e-9) / (1 - np.clip(scores, 1e-9, 1 - 1e-9)))
    nats = np.clip(nats - np.log(threshold / (1 - threshold)), -7, 7)
    return plain_mean(section_sec, nats, step_sec) * (section_sec[1] - section_sec[0])


def plain_fill(scores, step_sec, duration_sec, point, padding_sec, length_sec):
    """Go down through thresholds in steps of 1 / 2000 nat; then try every quarter of a second."""

    def find(threshold):
        at = OperatingPoint(threshold, point.section_penalty)
        return selection.detect_with_margin(scores, step_sec, duration_sec, at, padding_sec).tolist()

    thresholds, above = [*(1 / (1 + np.exp(-np.arange(21, -21, -0.0005)))), 0.0], 0
    for stride in (1000, 50, 1):  # each threshold below one that is low enough is low enough
        place = above
        while total_sec(np.array(find(thresholds[place])).reshape(-1, 2)) < length_sec and place < len(thresholds) - 1:
            above, place = place, min(place + stride, len(thresholds) - 1)
    threshold = thresholds[place]
    kept, left_sec = [], length_sec
    for start, end in sorted(find(threshold), key=lambda section: -plain_mean(section, scores, step_sec)):
        best = (start, end)
        if left_sec <= 1e-6:
            break
        if end - start > left_sec:
            starts = start + 0.25 * np.arange(round((end - start - left_sec) / 0.25) + 1)
            best = max(
                ((s, s + left_sec) for s in starts), key=lambda part: round(plain_mean(part, scores, step_sec), 9)
            )
            if kept and plain_evidence(best, scores, step_sec, threshold) < point.section_penalty - 1e-9:
                break
        kept.append(list(best))
        left_sec -= best[1] - best[0]
    return merge_sections(kept).tolist(), threshold


@pytest.mark.parametrize("seed", range(24))
def test_the_best_reel_of_a_length_is_that_of_plain_loops(seed):
    rng = np.random.default_rng(seed)
    step_sec, scores = (0.5, 2.0)[seed % 2], rng.integers(0, 17, 30) / 16
    duration_sec = 30 * step_sec - rng.integers(0, 2) * step_sec / 2
    point = OperatingPoint(0.5, (0.0, 0.7, 3.1, 9.3)[seed % 4] * step_sec)
    padding_sec, length_sec = rng.integers(0, 3) / 4, rng.integers(1, 100) / 4
    expected, threshold = plain_fill(scores, step_sec, duration_sec, point, padding_sec, length_sec)
    sections_sec, received = selection.select_within_budget(
        scores, step_sec, duration_sec, point, padding_sec, length_sec
    )
    assert sections_sec.tolist() == expected
    assert log_odds(received.threshold) == pytest.approx(log_odds(threshold), abs=0.002)
    assert received.section_penalty == point.section_penalty


def test_the_best_part_of_a_section():
    section_sec = np.array([2.5, 15.0])
    assert selection.best_window(section_sec, 3.0, SCORES, 2.0) == (2.5, 5.5)
    assert selection.best_window(np.array([5.0, 16.0]), 2.0, SCORES, 2.0) == (14.0, 16.0)
    assert selection.best_window(np.array([5.0, 15.0]), 2.0, SCORES, 2.0) == (10.0, 12.0)
    assert selection.best_window(section_sec, 50.0, SCORES, 2.0) == (2.5, 15.0)
    assert selection.best_window(section_sec, 12.5, SCORES, 2.0) == (2.5, 15.0)
    assert selection.best_window(np.array([4.0, 14.5]), 1.0, SCORES, 2.0) == (4.0, 5.0)  # of equal ones the earliest
    # It may begin or end with the section or a step, and last less than a step.
    assert selection.best_window(np.array([12.5, 14.75]), 1.0, SCORES, 2.0) == (13.75, 14.75)
    assert selection.best_window(np.array([6.0, 13.0]), 2.5, SCORES, 2.0) == (9.5, 12.0)
    assert selection.best_window(np.array([1.5, 7.0]), 5.0, SCORES, 2.0) == (2.0, 7.0)
    assert selection.best_window(np.array([0.0, 4.5]), 4.0, SCORES, 2.0) == (0.5, 4.5)
    # Rounding does not decide: from 0.1 * 3 s on, the sum differs in the last digit.
    assert selection.best_window(np.array([0.0, 1.0]), 0.1, np.full(10, 0.7), 0.1) == (0.0, 0.1)


def test_mean_scores_weigh_by_time():
    sections_sec = np.array([[2.0, 6.0], [1.0, 3.0], [5.5, 6.5], [15.0, 16.0]])
    expected = [0.85, 0.5, 0.5, 0.7]
    assert mean_scores(sections_sec, SCORES, 2.0) == pytest.approx(expected)
    assert mean_scores(np.array([[0.0, 0.3], [0.35, 1.05]]), np.array([0.2, 0.8, 0.6]), 0.35) == (
        pytest.approx([0.2, 0.7])
    )
    assert mean_scores(np.empty((0, 2)), SCORES, 2.0).shape == (0,)


def test_sections_last_together():
    assert total_sec(np.array([[1.0, 3.5], [10.25, 11.0]])) == 3.25
    assert total_sec(np.empty((0, 2))) == 0


def test_frames_are_those_that_begin_within():
    times_sec = np.array([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])
    sections_sec = np.array([[0.0, 0.2], [0.15, 0.6], [0.2, 0.20000001], [0.6, 0.7], [0.95, 1.1]])
    sections = to_frames(sections_sec, times_sec)
    assert sections.tolist() == [[0, 2], [2, 4], [2, 3], [3, 4], [5, 6]]
    assert to_seconds(sections[:2], times_sec, 1.1).tolist() == [[0.0, 0.2], [0.2, 0.9]]
    assert to_frames(np.empty((0, 2)), times_sec).shape == (0, 2)
    assert to_seconds(np.empty((0, 2), np.int64), times_sec, 1.1).shape == (0, 2)
    assert to_seconds(np.array([[3, 6], [5, 6]]), times_sec, 1.1).tolist() == [[0.5, 1.1], [1.0, 1.1]]
    assert sections.dtype == np.int64


def test_a_section_between_two_frames_is_the_frame_that_is_shown():
    times_sec = np.array([0.5, 0.9, 1.7])  # nothing is shown before
    sections_sec = np.array([[0.0, 0.2], [0.6, 0.8], [0.9000005, 1.5], [1.8, 5.0], [0.0, 0.5], [1.0, 1.7]])
    expected = [[0, 1], [0, 1], [1, 2], [2, 3], [0, 1], [1, 2]]
    assert to_frames(sections_sec, times_sec).tolist() == expected
    assert to_frames(np.array([[0.8999995, 0.9000004]]), times_sec).tolist() == [[1, 2]]


@pytest.mark.parametrize("error_sec", [0, 1e-12, -1e-12, 5e-7, -5e-7])
def test_a_rounding_error_moves_no_cut(error_sec):
    times_sec = np.array([0.0, 0.25, 0.5, 0.75])
    sections_sec = np.array([[0.25, 0.75], [0.5, 0.75], [0.0, 0.25]]) + error_sec
    assert to_frames(sections_sec, times_sec).tolist() == [[1, 3], [2, 3], [0, 1]]


def test_more_than_a_rounding_error_moves_a_cut():
    times_sec = np.array([0.0, 0.25, 0.5, 0.75])
    sections_sec = np.array([[0.25, 0.75]])
    assert to_frames(sections_sec + 2e-6, times_sec).tolist() == [[2, 4]]
    assert to_frames(sections_sec - 2e-6, times_sec).tolist() == [[1, 3]]
    assert to_frames(sections_sec - 0.2, times_sec).tolist() == [[1, 3]]
    assert to_frames(sections_sec - 0.25, times_sec).tolist() == [[0, 2]]


TIMES_SEC = {
    "23.976": np.arange(2000) * 1001 / 24000,
    "29.97": np.arange(2000) * (1001 / 30000),
    "29.97 from 1.24 s on": np.arange(2000) * 3003 * (1 / 90000) + 1.24,
    "25, less what the container begins with": np.arange(2000) * 512 * (1 / 12800) + 0.08 - 0.021333,
    "varying": np.cumsum(np.random.default_rng(0).choice([0.0166, 0.0333, 0.1, 2.5], 2000)) + 0.7,
}


@pytest.mark.parametrize("times_sec", TIMES_SEC.values(), ids=TIMES_SEC.keys())
def test_frames_become_seconds_and_the_same_frames(times_sec):
    rng = np.random.default_rng(1)
    starts = np.arange(2000)
    sections = np.stack([starts, np.minimum(starts + rng.integers(1, 300, 2000), 2000)], axis=1)
    sections_sec = to_seconds(sections, times_sec, times_sec[-1] + 0.04)
    for written in (sections_sec, np.round(sections_sec, 6), np.float64([f"{s:.6f}" for s in sections_sec.ravel()])):
        assert (to_frames(written.reshape(-1, 2), times_sec) == sections).all()


@pytest.mark.parametrize("times_sec", TIMES_SEC.values(), ids=TIMES_SEC.keys())
def test_frames_within_a_section_are_those_of_plain_loops(times_sec):
    starts_sec = np.random.default_rng(2).uniform(0, times_sec[-1] - 3, 50)
    sections_sec = np.stack([starts_sec, starts_sec + np.linspace(0.001, 3, 50)], axis=1)
    for (start_sec, end_sec), received in zip(sections_sec, to_frames(sections_sec, times_sec).tolist(), strict=True):
        within = [k for k, time_sec in enumerate(times_sec) if start_sec <= time_sec < end_sec]
        shown = [k for k, time_sec in enumerate(times_sec) if time_sec <= start_sec] or [0]
        assert received == ([within[0], within[-1] + 1] if within else [shown[-1], shown[-1] + 1])
