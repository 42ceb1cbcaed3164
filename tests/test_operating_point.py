"""The choice of an operating point: as good as it says, repeatable, and as simple as it can be."""

import numpy as np
import pytest

from videosummarizer.evaluation.operating_point import (
    OperatingPoint,
    ScoredMatch,
    candidate_thresholds,
    choose_operating_point,
    mean_event_f1,
    middle_of_plateau,
    moving_average,
)
from videosummarizer.sections import label_segments

LENGTH_SEC = 2.0


def match(labels, scores, duration_sec=None, title="match"):
    """A match whose sections are the runs of its labels; scores are of segments, or (num_segments, K) of steps."""
    labels, duration_sec = np.array(labels), duration_sec or LENGTH_SEC * len(labels)
    step_scores = np.array(scores, np.float32).reshape(len(labels), -1)
    runs = np.flatnonzero(np.diff(labels, prepend=0, append=0)).reshape(-1, 2)
    sections_sec = np.minimum(runs * LENGTH_SEC, duration_sec)
    return ScoredMatch(title, LENGTH_SEC, duration_sec, labels, sections_sec, step_scores.mean(axis=1), step_scores)


def random_matches(seed, num_matches=4, num_segments=40, separation=1.5, num_steps=1):
    rng = np.random.default_rng(seed)
    matches = []
    for number in range(num_matches):
        labels = (moving_average(rng.random(num_segments), 5) > 0.55).astype(int)
        noise = rng.normal(size=(num_segments, num_steps))
        scores = 1 / (1 + np.exp(-separation * (2 * labels[:, np.newaxis] - 1) - noise))
        matches.append(match(labels, scores, LENGTH_SEC * num_segments - number / 3))
    return matches


def num_pairs(reference, found, iou_threshold):
    """The largest number of pairs, each section in one at most, by augmenting paths."""

    def fits(label, section):
        shared = min(label[1], section[1]) - max(label[0], section[0])
        union = label[1] - label[0] + section[1] - section[0] - shared
        return shared > 0 and shared / union >= iou_threshold - 1e-9

    partner = {}

    def find_partner(label, tried):
        for place, section in enumerate(found):
            if place not in tried and fits(label, section):
                tried.add(place)
                if place not in partner or find_partner(partner[place], tried):
                    partner[place] = label
                    return True
        return False

    return sum(find_partner(tuple(label), set()) for label in reference)


def plain_f1(reference, found):
    """The mean of the event F1 at IoU 0.3 and 0.5, of lists with an array of sections for each match."""
    num_sections = sum(map(len, reference)) + sum(map(len, found))
    pairs = list(zip(reference, found, strict=True))
    return sum(2 * sum(num_pairs(*pair, iou) for pair in pairs) / num_sections for iou in (0.3, 0.5)) / 2


def f1_to_choose_by(matches, point):
    return plain_f1([m.sections_sec for m in matches], [m.predicted_sections_sec(point) for m in matches])


def test_scores_are_cut_in_their_middle_and_sections_cost_nothing_unless_it_helps():
    labels = [0, 1, 1, 0, 0, 1, 0, 0, 1, 1]
    point = choose_operating_point([match(labels, np.where(labels, 0.9, 0.1)), match([0, 0], [0.0, 0.0])])
    # Of the candidates in (0.1, 0.9] all but the lowest four have neighbours that are as good: 0.24 to 0.9.
    assert point == OperatingPoint(pytest.approx(0.57, abs=0.02), section_penalty=0.0)


def test_flickering_scores_are_joined_and_short_bursts_left_out():
    # In each highlight of 5 segments one is missed; others, 1 long, are not to be told from them by score.
    labels = np.tile([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0], 4)
    scores = np.tile([0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0], 4) * 0.8 + 0.1
    matches = [match(labels, scores)]
    point = choose_operating_point(matches)
    assert f1_to_choose_by(matches, point) == 1
    assert f1_to_choose_by(matches, OperatingPoint(0.5)) < 0.5
    # In segments of 2 s at log 9, and with the threshold's log-odds t in log 9: a burst holds 1 - t, a dip 1 + t
    # against a highlight, a highlight 3 - 5 t. Half of 10 s times the deviation, 2.3, is right for all thresholds up
    # to a t of 0.14, a quarter only from -0.16 to 0.16.
    deviation = np.std(np.where(scores > 0.5, 1, -1) * np.log(9))
    assert point.section_penalty == pytest.approx(10 * deviation / 2)
    assert -0.5 < np.log(point.threshold / (1 - point.threshold)) / np.log(9) < 0.14


def test_scores_that_jump_have_sections_that_cost_something():
    matches = random_matches(0, num_steps=4, separation=0.6)
    point = choose_operating_point(matches)
    assert point.section_penalty > 0
    thresholds = np.linspace(0.01, 0.99, 99)
    assert f1_to_choose_by(matches, point) > mean_event_f1(matches, thresholds, np.zeros(99)).max()


def test_a_threshold_counts_as_good_as_those_around_it():
    # Only between 0.5 and 0.501 is all found and nothing else; below, five false sections of fifteen are.
    labels, scores = np.tile([0, 0, 0, 1, 0, 0, 0], 10), np.tile([0, 0, 0, 0.9, 0, 0, 0], 10)
    scores[3::7][6:] = 0.501
    matches = [match(np.append(labels, [0] * 35), np.append(scores, np.tile([0, 0, 0, 0.5, 0, 0, 0], 5)))]
    point = choose_operating_point(matches)
    assert point.threshold < 0.5
    assert f1_to_choose_by(matches, point) == pytest.approx(0.8)
    assert f1_to_choose_by(matches, OperatingPoint(0.5005)) == 1


def test_boundaries_count_in_addition_to_detection():
    # From 0.8 on four steps of ten are found, enough at IoU 0.3; below 0.7 a false section is found.
    highlight = [0, 0, 0, 0.8, 0.8, 0.8, 0.98, 0.98, 0.98, 0.98, 0.8, 0.8, 0.8, 0, 0, 0]
    scores = np.append(np.tile(highlight, 4), [0, 0, 0, 0.7, 0.7, 0.7, 0.7, 0.7, 0, 0, 0])
    labels = np.append(np.tile([int(score > 0) for score in highlight], 4), [0] * 11)
    assert choose_operating_point([match(labels, scores)]).threshold <= 0.8


def test_segments_are_found_as_they_are_labelled():
    # Segments of 2 s with 4 steps: 1.5 s, 1 s, and the whole second of the last one.
    steps = [[0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    scored = match([0, 0, 0, 0], steps, duration_sec=7.0)
    assert scored.predicted_sections_sec(OperatingPoint(0.5)).tolist() == [[0.5, 3.0], [6.0, 7.0]]
    assert scored.predicted_labels(OperatingPoint(0.5)).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("num_steps", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_searched_is_what_is_found(seed, num_steps):
    matches = random_matches(seed, num_steps=num_steps)
    scores = np.concatenate([match.kept_scores() for match in matches])
    thresholds = np.repeat(candidate_thresholds(scores, 0.3)[::6], 4)
    penalties = np.tile([0.0, 0.3, 1.5, 6.0], len(thresholds) // 4)
    f1 = mean_event_f1(matches, thresholds, penalties)
    assert f1.shape == thresholds.shape
    for received, threshold, penalty in zip(f1, thresholds, penalties, strict=True):
        assert received == pytest.approx(f1_to_choose_by(matches, OperatingPoint(threshold, penalty)))
    assert len(set(np.round(f1, 6))) > 20


def test_the_choice_is_repeatable_and_better_than_a_half():
    matches = [
        match(m.labels, m.step_scores / 4, m.duration_sec) for m in random_matches(7, num_matches=8, num_steps=1)
    ]
    point = choose_operating_point(matches)
    assert point == choose_operating_point(matches)
    assert f1_to_choose_by(matches, point) > 0.6
    assert f1_to_choose_by(matches, OperatingPoint(0.5)) == 0


def test_the_widest_plateau_and_its_middle():
    thresholds = np.array([0.1, 0.2, 0.3, 0.5, 0.55, 0.9])
    assert middle_of_plateau(thresholds, np.array([1, 1, 0, 1, 1, 1])) == 4
    assert middle_of_plateau(thresholds, np.array([0, 1, 0, 0, 0, 0.5])) == 1
    assert middle_of_plateau(thresholds, np.ones(6)) == 3
    # The widest is not the one of most thresholds; of equally wide ones it is the first.
    assert middle_of_plateau(np.array([0.1, 0.11, 0.12, 0.3, 0.5, 0.9]), np.array([1, 1, 1, 0, 1, 1])) == 4
    assert middle_of_plateau(np.array([0.25, 0.5, 0.75, 1.0]), np.array([0.5, 0.4, 0.5, 0.4])) == 0
    assert middle_of_plateau(np.arange(8) / 8, np.array([1, 1, 1, 0, 1, 1, 1, 0])) == 1
    # Rounding does not decide between two that are equally near.
    assert middle_of_plateau(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 1, 0])) == 1
    assert middle_of_plateau(np.array([13 / 31, 0.4296875]), np.ones(2)) == 0
    # What differs by rounding is equally good, what differs by more is not.
    assert middle_of_plateau(thresholds, np.array([0.8 - 1e-10, 0.8, 0.8 - 1e-10, 0, 0, 0])) == 1
    assert middle_of_plateau(thresholds, np.array([0.8 - 1e-8, 0.8 - 1e-8, 0.8, 0, 0, 0])) == 2


def test_candidates_lie_between_the_scores():
    scores = np.array([0.2, 0.2, 0.4, 0.8])
    candidates = candidate_thresholds(scores, labelled_ratio=0.25)
    assert {0.3, 0.6} <= set(np.round(candidates, 9))
    assert (np.diff(candidates) > 0).all()
    assert candidates[0] > 0.2
    assert candidates[-1] <= 0.8
    assert candidate_thresholds(np.full(5, 0.3), 0.25).tolist() == [0.3]
    many = candidate_thresholds(np.random.default_rng(0).random(100_000) ** 8, labelled_ratio=0.02)
    found_ratios = (np.random.default_rng(0).random(100_000)[:, np.newaxis] ** 8 >= many).mean(axis=0)
    assert ((found_ratios > 0.01) & (found_ratios < 0.04)).sum() >= 15  # dense where it matters, however rare


def test_equal_scores_and_no_labels():
    point = choose_operating_point([match([0, 1, 1, 0], [0.3] * 4)])
    assert point == OperatingPoint(pytest.approx(0.3), 0.0)
    assert match([0, 1, 1, 0], [0.3] * 4).predicted_sections_sec(point).tolist() == [[0, 8]]
    for score in (0.0, 1.0):
        equal = match([0, 1, 1, 0], [score] * 4)
        point = choose_operating_point([equal])
        assert point == OperatingPoint(score, 0.0)
        assert equal.predicted_sections_sec(point).tolist() == [[0, 8]]
    with pytest.raises(ValueError, match="received matches without a labelled section"):
        choose_operating_point([match([0, 0], [0.1, 0.2])])


def test_a_match_at_the_end_of_another_is_not_merged_with_it():
    matches = [match([0, 0, 1], [0, 0, 1]), match([1, 0, 0], [1, 0, 0])]
    assert mean_event_f1(matches, np.full(3, 0.5), np.array([0.0, 1.0, 14.0])).tolist() == [1, 1, 1]
    assert mean_event_f1(matches, np.array([0.5]), np.array([14.001])).tolist() == [0]
    assert f1_to_choose_by(matches, choose_operating_point(matches)) == 1


def test_segments_past_the_end_are_clipped():
    assert match([0, 1], [0, 1], duration_sec=3.0).predicted_sections_sec(OperatingPoint(0.5)).tolist() == [[2, 3]]
    assert label_segments(np.array([[2.0, 3.0]]), 2, LENGTH_SEC).tolist() == [0, 0]
