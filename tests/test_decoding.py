"""Sections from scores: the best of all sets of sections, by brute force and with numbers by hand."""

import itertools
import math

import numpy as np
import pytest

from videosummarizer.evaluation.decoding import (
    EPSILON,
    MARGIN_TOLERANCE,
    MAX_EVIDENCE,
    decoded_scores,
    evidence_per_sec,
    evidence_ratios,
    find_sections,
    find_too_short,
    log_odds,
    match_margins,
    section_margins,
    step_durations,
)

LOG_3 = math.log(3)  # the evidence of a score of 0.75 at a threshold of 0.5, in nats per second; that of 0.25 is -LOG_3


def find(scores, penalty=0.0, threshold=0.5, step_sec=1.0, duration_sec=None):
    duration_sec = duration_sec or step_sec * len(scores)
    return find_sections(np.array(scores), step_sec, duration_sec, threshold, penalty).tolist()


def value_of(is_inside, evidence, penalty):
    """The evidence inside less the penalties, in whole numbers of 1e-7, so that rounding makes no difference."""
    num_sections = sum(inside and not before for inside, before in zip(is_inside, (0, *is_inside), strict=False))
    inside = sum(value for value, is_in in zip(evidence, is_inside, strict=True) if is_in)
    return round((inside - penalty * num_sections) * 1e7)


def plain_evidence(scores, step_sec, duration_sec, threshold):
    evidence = []
    for k, score in enumerate(scores):
        seconds = min((k + 1) * step_sec, duration_sec) - k * step_sec
        if seconds > 1e-6:
            score, limit = min(max(score, 1e-9), 1 - 1e-9), min(max(threshold, 1e-9), 1 - 1e-9)
            nats = math.log(score / (1 - score)) - math.log(limit / (1 - limit))
            evidence.append(max(-7, min(7, nats)) * seconds)
    return evidence


# ---- Evidence


def test_log_odds_are_symmetric_and_finite():
    assert log_odds(np.array([0.5, 0.75, 0.25, 0.9])) == pytest.approx([0, LOG_3, -LOG_3, math.log(9)])
    assert log_odds(np.array([0.0, EPSILON, 1.0, 1 - EPSILON])) == pytest.approx(np.array([-1, -1, 1, 1]) * 20.7232658)
    assert log_odds(0.75).shape == ()
    assert log_odds(np.float32([0.75])).dtype == np.float64


def test_evidence_is_the_log_odds_above_those_of_the_threshold():
    scores = np.array([0.1, 0.5, 0.75, 0.9])
    assert evidence_per_sec(scores, 0.5) == pytest.approx([-math.log(9), 0, LOG_3, math.log(9)])
    assert evidence_per_sec(scores, 0.75) == pytest.approx([-math.log(27), -LOG_3, 0, LOG_3])
    both = evidence_per_sec(scores, np.array([0.5, 0.75]))
    assert both.T.tolist() == [evidence_per_sec(scores, threshold).tolist() for threshold in (0.5, 0.75)]


def test_a_score_near_0_or_1_has_limited_evidence_on_the_right_side():
    assert evidence_per_sec(np.array([0.0, 0.999, 0.9999, 1.0]), 0.5) == pytest.approx([-7, math.log(999), 7, 7])
    assert MAX_EVIDENCE == 7
    # However close to 0 or 1 thresholds are, scores above and below them differ in sign.
    for near in (1e-8, 1e-5, 1e-3):
        assert np.sign(evidence_per_sec(np.array([near / 2, near, near * 2]), near)).tolist() == [-1, 0, 1]
        assert np.sign(evidence_per_sec(1 - np.array([near * 2, near, near / 2]), 1 - near)).tolist() == [-1, 0, 1]


# ---- Steps


@pytest.mark.parametrize(
    ("duration_sec", "expected"),
    [
        (2.1, [0.7, 0.7, 0.7]),  # 2.1 / 0.7 is a rounding error above 3
        (2.0999, [0.7, 0.7, 0.6999]),
        (2.1000005, [0.7, 0.7, 0.7]),
        (2.101, [0.7, 0.7, 0.7, 0.001]),
        (2.8, [0.7] * 4),
        (0.7, [0.7]),
        (0.1, [0.1]),
        (3.5, [0.7] * 5),
        (50.0, [0.7] * 5),
    ],
)
def test_steps_that_begin_before_the_end_count_as_long_as_they_last(duration_sec, expected):
    durations = step_durations(5, 0.7, duration_sec)
    assert durations == pytest.approx(expected, abs=1e-6)
    assert durations.dtype == np.float64


def test_steps_after_the_end_change_nothing():
    for after in ([], [0.0], [1.0, 1.0, 1.0], [np.nan]):
        scores = [0.75, 0.25, 0.75, *after]
        assert find(scores, 0.5, duration_sec=2.5) == [[0, 1], [2, 2.5]]
        assert len(decoded_scores(np.array(scores), 1.0, 2.5, 0.5, 0.5)) == 3
        assert match_margins(np.array(scores), 1.0, 2.5, np.array([0.5, 0.6]), np.zeros(2)).shape == (3, 2)


def test_a_shorter_last_step_has_as_much_less_evidence():
    # Half a step holds LOG_3 / 2.
    assert find([0.25, 0.75], LOG_3, duration_sec=2.0) == [[1, 2]]
    assert find([0.25, 0.75], LOG_3, duration_sec=1.5) == []
    assert find([0.25, 0.75], LOG_3 / 2, duration_sec=1.5) == [[1, 1.5]]
    assert find([0.25, 0.75], LOG_3 / 2 + 1e-6, duration_sec=1.5) == []
    # A dip of half a step at the end is left out all the same: a section does not pay for ending.
    assert find([0.75, 0.25], 0.5, duration_sec=1.5) == [[0, 1]]


# ---- The penalty, by hand


def test_a_burst_with_less_evidence_than_the_penalty_is_left_out():
    scores = [0.25, 0.75, 0.25, 0.25, 0.75, 0.75, 0.25]
    assert find(scores, 0.0) == [[1, 2], [4, 6]]
    assert find(scores, LOG_3) == [[1, 2], [4, 6]]
    assert find(scores, LOG_3 + 1e-6) == [[4, 6]]
    assert find(scores, 2 * LOG_3) == [[4, 6]]
    assert find(scores, 2 * LOG_3 + 1e-6) == []
    # Evidence is in seconds, not in steps.
    assert find(scores, LOG_3, step_sec=0.5) == [[2, 3]]
    assert find(scores, LOG_3 + 1e-6, step_sec=0.5) == []


def test_a_dip_with_less_evidence_than_the_penalty_is_bridged():
    scores = [0.25, 0.75, 0.75, 0.75, 0.25, 0.75, 0.75, 0.75, 0.25]
    assert find(scores, LOG_3 - 1e-6) == [[1, 4], [5, 8]]
    assert find(scores, LOG_3) == [[1, 8]]  # of equally good sets the longest
    # Divided, both parts pay: 3 + 3 - 2 penalties. Together, 5 - 1 penalty.
    scores[4] = 0.1  # log 9 is twice log 3
    assert find(scores, 2 * LOG_3 - 1e-6) == [[1, 4], [5, 8]]
    assert find(scores, 2 * LOG_3) == [[1, 8]]
    assert find(scores, 4 * LOG_3) == [[1, 8]]
    assert find(scores, 4 * LOG_3 + 1e-6) == []


def test_a_burst_may_join_a_section_that_pays_already():
    # Alone, 0.75 at 4 s is worth nothing; after a dip of less evidence it makes the section longer.
    assert find([0.9, 0.9, 0.9, 0.4, 0.75, 0.25], 2.0) == [[0, 5]]
    assert find([0.9, 0.9, 0.9, 0.2, 0.75, 0.25], 2.0) == [[0, 3]]
    assert find([0.25, 0.75, 0.4, 0.9, 0.9, 0.9], 2.0) == [[1, 6]]


def test_a_penalty_far_above_the_evidence_leaves_nothing():
    scores = np.full(7200, 1.0)
    assert find(scores, 1e6) == []
    assert find(scores, 7200 * MAX_EVIDENCE) == [[0, 7200]]
    assert find(scores, 7200 * MAX_EVIDENCE + 0.001) == []


@pytest.mark.parametrize("score", [0.0, 0.3, 0.5, 1.0])
def test_equal_scores_are_one_section_or_none(score):
    for penalty in (0.0, 1.0, 7.0):
        is_found = score == 1.0 or (score == 0.5 and penalty == 0)
        assert find([score] * 5, penalty) == ([[0, 5]] if is_found else [])
        assert find([score] * 5, 0.0, threshold=score) == [[0, 5]]


def test_a_single_step():
    assert find([0.75], LOG_3) == [[0, 1]]
    assert find([0.75], LOG_3 + 1e-6) == []
    assert find([0.75], 0.0, duration_sec=0.25) == [[0, 0.25]]
    assert decoded_scores(np.array([0.75]), 1.0, 1.0, 0.5, LOG_3) == pytest.approx([0.5])
    assert find_sections(np.empty(0), 1.0, 5.0, 0.5, 1.0).shape == (0, 2)


# ---- The threshold


@pytest.mark.parametrize("penalty", [0.0, 0.5, 100.0, 1e6])
def test_a_threshold_of_0_finds_everything(penalty):
    scores = [0.0, 0.5, 1.0, 0.0, 1e-12]
    assert find(scores, penalty, threshold=0.0) == [[0, 5]]
    assert find(scores, penalty, threshold=0.0, duration_sec=4.25) == [[0, 4.25]]
    assert decoded_scores(np.array(scores), 1.0, 5.0, 0.0, penalty).tolist() == [1] * 5


def test_a_threshold_of_1_finds_nothing_below_1():
    assert find([0.0, 0.5, 0.999999], threshold=1.0) == []
    assert find([1.0, 0.99, 1.0], threshold=1.0) == [[0, 1], [2, 3]]
    assert find([1.0, 0.99, 1.0], 1e-6, threshold=1.0) == []


@pytest.mark.parametrize("threshold", [1e-6, 0.0005, 0.1, 0.25, 0.5, 0.7, 0.999, 0.9995, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_a_penalty_every_step_from_the_threshold_on_is_found(threshold, dtype):
    rng = np.random.default_rng(0)
    scores = (1 / (1 + np.exp(-6 * rng.normal(size=400)))).astype(dtype)
    threshold = float(dtype(threshold))
    scores[::7] = threshold
    margins = match_margins(scores, 0.5, 199.75, threshold, 0.0)
    assert ((margins >= -MARGIN_TOLERANCE) == (scores >= threshold)).all()


def test_a_score_that_is_just_the_threshold_is_found():
    assert find([0.49, 0.5, 0.51, 0.49], step_sec=0.5) == [[0.5, 1.5]]
    assert find([0.7, 0.699999, 0.700001], threshold=0.7) == [[0, 1], [2, 3]]


def test_steps_that_follow_each_other_are_one_section_whatever_their_length():
    for step_sec in (0.1, 0.7, 1 / 3, 1.001):
        assert find([0.9] * 100, step_sec=step_sec) == [[0, pytest.approx(100 * step_sec)]]


@pytest.mark.parametrize("seed", range(20))
def test_a_higher_threshold_finds_part_of_what_a_lower_one_finds(seed):
    rng = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-np.convolve(rng.normal(size=80), np.ones(4))))
    thresholds = np.sort(np.concatenate([[0, 1], rng.random(60), scores[:20]]))
    margins = match_margins(scores, 0.5, 41.2, thresholds, np.full(82, rng.choice([0.0, 0.3, 1.0, 3.0, 20.0])))
    is_inside = margins >= -MARGIN_TOLERANCE
    assert (is_inside[:, 1:] <= is_inside[:, :-1]).all()
    assert is_inside[:, 0].all()
    assert not is_inside[:, -1].any()
    assert len(set(is_inside.sum(axis=0).tolist())) >= 3


# ---- The best of all sets


@pytest.mark.parametrize("seed", range(60))
def test_sections_are_the_best_of_all_sets_and_of_equally_good_ones_the_longest(seed):
    rng = np.random.default_rng(seed)
    for _ in range(4):
        num_steps, step_sec = int(rng.integers(1, 11)), float(rng.choice([0.5, 0.7, 2.0]))
        # Odds are powers of 3, so that many sets are equally good.
        scores = 3.0 ** rng.integers(-3, 4, num_steps)
        scores, threshold = scores / (1 + scores), float(rng.choice([0.25, 0.5, 0.75]))
        duration_sec = num_steps * step_sec - float(rng.choice([0, 0.25, 0.45]))
        penalty = float(rng.integers(0, 9)) * LOG_3 * step_sec * float(rng.choice([0.5, 0.6]))
        evidence = plain_evidence(scores, step_sec, duration_sec, threshold)
        sets = itertools.product([0, 1], repeat=len(evidence))
        best = max(sets, key=lambda is_inside: (value_of(is_inside, evidence, penalty), sum(is_inside)))
        expected = []
        for k, inside in enumerate(best):
            if inside and k and best[k - 1]:
                expected[-1][1] = min((k + 1) * step_sec, duration_sec)
            elif inside:
                expected.append([k * step_sec, min((k + 1) * step_sec, duration_sec)])
        found = find_sections(scores, step_sec, duration_sec, threshold, penalty)
        assert found.shape == (len(expected), 2)
        assert found == pytest.approx(np.array(expected).reshape(-1, 2))


@pytest.mark.parametrize("seed", range(30))
def test_a_margin_is_the_difference_between_the_best_with_a_step_and_the_best_without(seed):
    rng = np.random.default_rng(seed)
    evidence, penalty = rng.normal(size=int(rng.integers(1, 9))), float(rng.choice([0.0, 0.4, 1.5]))
    values = {
        inside: sum(np.array(inside) * evidence) - penalty * sum(np.diff(inside, prepend=0) == 1)
        for inside in itertools.product([0, 1], repeat=len(evidence))
    }
    for k, margin in enumerate(section_margins(evidence, penalty)):
        with_step, without = (max(value for inside, value in values.items() if inside[k] == x) for x in (1, 0))
        assert margin == pytest.approx(with_step - without)


def plain_decode(evidence, penalty):
    """Viterbi decoding with backpointers, from the last step to the first; of equally good states, inside."""
    values, pointers = [0.0, -math.inf], []  # of the steps so far, with the last one outside or inside
    for value in evidence:
        pointers.append((values[1] >= values[0] - 1e-9, values[1] >= values[0] - penalty - 1e-9))
        values = [max(values), value + max(values[1], values[0] - penalty)]
    is_inside = [values[1] >= values[0] - 1e-9]
    for from_outside, from_inside in pointers[:0:-1]:
        is_inside.append(from_inside if is_inside[-1] else from_outside)
    return is_inside[::-1]


@pytest.mark.parametrize("penalty", [0.0, 0.25, 2.0, 30.0, 200.0])
def test_an_hour_long_match_is_that_of_a_plain_viterbi_decoder(penalty):
    rng = np.random.default_rng(1)
    log_odds_of_steps = 3 * (np.convolve(rng.normal(size=7219), np.ones(20) / 4, "valid")) + rng.normal(size=7200)
    scores = np.round(1 / (1 + np.exp(-log_odds_of_steps)), 6)
    threshold, step_sec, duration_sec = 0.8, 0.5, 3599.9
    evidence = plain_evidence(scores.tolist(), step_sec, duration_sec, threshold)
    expected = np.array(plain_decode(evidence, penalty))
    margins = match_margins(scores, step_sec, duration_sec, threshold, penalty)
    assert ((margins >= -MARGIN_TOLERANCE) == expected).all()
    found = find_sections(scores, step_sec, duration_sec, threshold, penalty)
    assert len(found) == np.sum(np.diff(expected.astype(int), prepend=0) == 1)
    assert (found[:, 1] - found[:, 0]).sum() == pytest.approx(np.sum(expected * 0.5) - 0.1 * expected[-1])
    assert (found[:, 0] < found[:, 1]).all()
    assert (found[1:, 0] > found[:-1, 1]).all()


# ---- Many at once


@pytest.mark.parametrize("seed", range(6))
def test_many_thresholds_and_penalties_at_once_are_as_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    scores = rng.random(60).astype(np.float32)
    thresholds = np.append(rng.random(20), [0.0, 1.0, float(scores[3]), 0.5])
    penalties = np.where(np.arange(24) % 3, rng.exponential(2.0, 24), 0.0)
    together = match_margins(scores, 0.7, 41.5, thresholds, penalties)
    assert together.shape == (60, 24)
    assert together.dtype == np.float64
    for column, (threshold, penalty) in enumerate(zip(thresholds, penalties, strict=True)):
        alone = match_margins(scores, 0.7, 41.5, float(threshold), float(penalty))
        np.testing.assert_array_equal(together[:, column], alone)
    # One penalty serves all thresholds.
    np.testing.assert_array_equal(
        match_margins(scores, 0.7, 41.5, thresholds, 1.25),
        match_margins(scores, 0.7, 41.5, thresholds, np.full(24, 1.25)),
    )


def test_margins_leave_the_evidence_unchanged():
    for evidence in (np.array([1.0, -2.0, 3.0]), np.array([[1.0], [-2.0], [3.0]])):
        before = evidence.copy()
        section_margins(evidence, 1.0)
        assert (evidence == before).all()


# ---- Scores in context


@pytest.mark.parametrize("penalty", [0.0, 0.2, 1.0, 5.0, 1e6])
@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.5, 0.9, 1.0])
def test_scores_in_context_reach_the_threshold_in_sections_and_only_there(penalty, threshold):
    scores = 1 / (1 + np.exp(-3 * np.convolve(np.random.default_rng(2).normal(size=300), np.ones(5) / 2, "valid")))
    shown = decoded_scores(scores, 0.5, 147.9, threshold, penalty)
    assert shown.shape == (296,)
    assert ((shown >= 0) & (shown <= 1)).all()
    is_inside = np.zeros(296, bool)
    for start_sec, end_sec in find_sections(scores, 0.5, 147.9, threshold, penalty):
        is_inside[round(start_sec * 2) : math.ceil(end_sec * 2)] = True
    assert ((shown >= threshold) == is_inside).all()


def test_scores_in_context_by_hand():
    # Without a penalty they are the scores.
    scores = np.array([0.1, 0.75, 0.3])
    assert decoded_scores(scores, 1.0, 3.0, 0.5, 0.0) == pytest.approx(scores)
    assert decoded_scores(scores, 0.5, 1.5, 0.2, 0.0) == pytest.approx(scores)
    # A burst of LOG_3 with a penalty of 2 LOG_3 lacks as much, over 1 s + 2 LOG_3; the steps around it lack more: LOG_3
    # of their own and LOG_3 of the penalty.
    shown = decoded_scores(np.array([0.25, 0.75, 0.25]), 1.0, 3.0, 0.5, 2 * LOG_3)
    lacks = np.array([2, 1, 2]) * LOG_3 / (1 + 2 * LOG_3)
    assert shown == pytest.approx(1 / (1 + np.exp(lacks)))
    # In a bridged dip, what is there to spare: the penalty less the evidence of the dip.
    shown = decoded_scores(np.array([0.9, 0.9, 0.25, 0.9, 0.9]), 1.0, 5.0, 0.5, 3 * LOG_3)
    assert shown[2] == pytest.approx(1 / (1 + np.exp(-2 * LOG_3 / (1 + 3 * LOG_3))))


def test_a_score_that_is_no_number_is_no_section():
    assert find([0.9, np.nan, 0.9], 0.5) == []
    margins = match_margins(np.array([0.9, np.nan, 0.9]), 1.0, 3.0, np.array([0.5, 0.6]), 0.5)
    assert not (margins >= -MARGIN_TOLERANCE).any()


def test_scores_in_context_reach_the_threshold_exactly_also_where_evidence_and_penalty_are_equal():
    # A burst that holds just what a section costs, at thresholds whose log-odds do not give the same number back.
    for threshold in np.random.default_rng(0).uniform(0.05, 0.95, 200):
        score = 1 / (1 + math.exp(-log_odds(threshold) - 1))
        shown = decoded_scores(np.array([0.01, score, score, 0.01]), 1.0, 4.0, threshold, 2.0)
        assert (shown >= threshold).tolist() == [False, True, True, False]


def test_runs_that_are_too_short_hold_a_part_of_the_evidence_that_a_section_needs():
    scores = np.array([0.1, 0.75, 0.1, 0.1, 0.75, 0.75, 0.75, 0.1, 0.9])  # of log-odds 1.1 and 2.2 times LOG_3
    penalty = 2.5 * LOG_3
    shown = decoded_scores(scores, 1.0, 8.0, 0.5, penalty)
    runs = find_too_short(scores, shown, 0.5)
    assert runs.tolist() == [[1, 2]]
    assert find_sections(scores, 1.0, 8.0, 0.5, penalty).tolist() == [[4, 7]]
    durations_sec = step_durations(len(scores), 1.0, 8.0)
    assert evidence_ratios(runs, shown, durations_sec, 0.5, penalty) == pytest.approx([1 / 2.5])
    assert find_too_short(scores, decoded_scores(scores, 1.0, 8.0, 0.5, 0.0), 0.5).shape == (0, 2)
