"""The choice of an operating point: as good as it says, repeatable, and as simple as it can be."""

import numpy as np
import pytest

from videosummarizer.evaluation.operating_point import (
    ConcatenatedMatches,
    OperatingPoint,
    ScoredMatch,
    candidate_thresholds,
    choose_operating_point,
    find_sections,
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


def test_suppressed_scores_are_cut_in_their_middle_and_left_alone_otherwise():
    labels = [0, 1, 1, 0, 0, 1, 0, 0, 1, 1]
    point = choose_operating_point([match(labels, np.where(labels, 0.9, 0.1)), match([0, 0], [0.0, 0.0])])
    # Next to 0.9, 0.1 is suppressed and counts as 0.
    assert point == OperatingPoint(pytest.approx(0.45, abs=0.02), smoothing=1, min_length_sec=0, max_gap_sec=0)


def test_flickering_scores_are_joined_and_short_bursts_left_out():
    # In each highlight of 5 segments one is missed; others, 1 long, are not to be told from them by score.
    labels = np.tile([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0], 4)
    scores = np.tile([0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0], 4) * 0.8 + 0.1
    point = choose_operating_point([match(labels, scores)])
    assert point.max_gap_sec == LENGTH_SEC
    assert point.min_length_sec == 2 * LENGTH_SEC
    assert f1_to_choose_by([match(labels, scores)], point) == 1


def test_scores_that_jump_are_smoothed():
    matches = random_matches(0, num_steps=4, separation=0.6)
    assert choose_operating_point(matches).smoothing > 1


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


def find(step_scores, step_sec=0.5, duration_sec=None, **more):
    point = OperatingPoint(**{"threshold": 0.5, **more})
    return find_sections(np.array(step_scores), step_sec, duration_sec or step_sec * len(step_scores), point).tolist()


def test_close_sections_are_kept_separate_and_a_plateau_stays_one():
    # A step of 0.71 is above the threshold, and below 0.8 of the 0.9 next to it; one of 0.73 is not.
    assert find([0.1, 0.9, 0.9, 0.71, 0.71, 0.9, 0.1]) == [[0.5, 1.5], [2.5, 3.0]]
    assert find([0.1, 0.9, 0.9, 0.73, 0.73, 0.9, 0.1]) == [[0.5, 3.0]]
    # The operating point says from where on it is a dip.
    assert find([0.1, 0.9, 0.9, 0.71, 0.71, 0.9, 0.1], nms_ratio=0.7) == [[0.5, 3.0]]
    assert find([0.9, 0.0, 0.6, 0.6], nms_ratio=0.0) == [[0.0, 0.5], [1.0, 2.0]]
    # The dip is taken out before scores are averaged.
    assert find([0.9, 0.9, 0.71, 0.71, 0.71, 0.9, 0.9], smoothing=3) == [[0.0, 1.0], [2.5, 3.5]]
    assert find([0.9, 0.9, 0.73, 0.73, 0.73, 0.9, 0.9], smoothing=3) == [[0.0, 3.5]]


def test_scores_are_suppressed_by_maxima_within_five_seconds_in_the_match():
    assert find([0.9] + [0.6] * 12) == [[0.0, 0.5], [5.5, 6.5]]
    assert find([0.6] * 12 + [0.9]) == [[0.0, 1.0], [6.0, 6.5]]
    assert find([0.9, 0.6, 0.6, 0.6], step_sec=20.0) == [[0.0, 20.0], [40.0, 80.0]]  # at least the neighbours
    # Steps that begin after the end are of the zeros that the last segment is padded with.
    assert find([0.6, 0.6, 1.0, 1.0], duration_sec=1.0) == [[0.0, 1.0]]


def test_segments_are_found_as_they_are_labelled():
    # Segments of 2 s with 4 steps: 1.5 s, 1 s, and the whole second of the last one.
    steps = [[0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    scored = match([0, 0, 0, 0], steps, duration_sec=7.0)
    assert scored.predicted_sections_sec(OperatingPoint(0.5)).tolist() == [[0.5, 3.0], [6.0, 7.0]]
    assert scored.predicted_labels(OperatingPoint(0.5)).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("num_steps", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_searched_is_what_find_sections_finds(seed, num_steps):
    matches = random_matches(seed, num_steps=num_steps)
    step_sec = LENGTH_SEC / num_steps
    timeline = ConcatenatedMatches(matches)
    for smoothing in (1, 3):
        smoothed = np.concatenate([moving_average(scores, smoothing) for scores in timeline.suppressed_scores])
        for threshold in candidate_thresholds(smoothed, timeline.labelled_ratio)[::6]:
            f1 = timeline.evaluate(timeline.runs(smoothed, threshold))
            assert f1.shape == (4, 3)
            for gap, length in np.ndindex(4, 3):
                gap_sec, min_length_sec = gap * step_sec, (0, 2, 3)[length] * step_sec
                point = OperatingPoint(threshold, smoothing, min_length_sec, gap_sec)
                assert f1[gap, length] == pytest.approx(f1_to_choose_by(matches, point))


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
    assert find_sections(np.full(4, 0.3, np.float32), LENGTH_SEC, 8.0, point).tolist() == [[0, 8]]
    with pytest.raises(ValueError, match="received matches without a labelled section"):
        choose_operating_point([match([0, 0], [0.1, 0.2])])


def test_a_match_at_the_end_of_another_is_not_merged_with_it():
    matches = [match([0, 0, 1], [0, 0, 1]), match([1, 0, 0], [1, 0, 0])]
    timeline = ConcatenatedMatches(matches)
    assert len(timeline.runs(np.array([0, 0, 1, 1, 0, 0.0]), 0.5)) == 2
    assert (timeline.evaluate(timeline.runs(np.array([0, 0, 1, 1, 0, 0.0]), 0.5))[:, 0] == 1).all()


def test_segments_past_the_end_are_clipped():
    assert match([0, 1], [0, 1], duration_sec=3.0).predicted_sections_sec(OperatingPoint(0.5)).tolist() == [[2, 3]]
    assert label_segments(np.array([[2.0, 3.0]]), 2, LENGTH_SEC).tolist() == [0, 0]
