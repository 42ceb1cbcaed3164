"""The choice of an operating point against one in plain loops, with its own numbers."""

import statistics

import numpy as np
import pytest
from test_decoding import plain_decode, plain_evidence
from test_operating_point import LENGTH_SEC, match, plain_f1, random_matches

from videosummarizer.evaluation import operating_point
from videosummarizer.evaluation.operating_point import (
    ScoredMatch,
    candidate_thresholds,
    choose_operating_point,
    moving_average,
)


def plain_mean(values, num):
    parts = [values[max(0, k - num // 2) : k + num // 2 + 1] for k in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def plain_sections(scores, step_sec, duration_sec, threshold, penalty):
    """Sections in seconds, by a Viterbi decoder with backpointers."""
    found = []
    for k, is_inside in enumerate(plain_decode(plain_evidence(scores, step_sec, duration_sec, threshold), penalty)):
        if is_inside and found and found[-1][1] == k:
            found[-1][1] = k + 1
        elif is_inside:
            found.append([k, k + 1])
    return [(start * step_sec, min(end * step_sec, duration_sec)) for start, end in found]


def plain_candidates(scores, ratio):
    """Thresholds at which an eighth of the ratio to eight times as much is found, 64 in equal ratios; and 32 steps."""
    ascending, values = sorted(scores), sorted(set(scores))
    low, high = ratio / 8, min(1, ratio * 8)
    candidates = [values[0] + (values[-1] - values[0]) * k / 31 for k in range(32)]
    for k in range(64):
        rank = (len(scores) - 1) * (1 - low * (high / low) ** (k / 63))
        place = values.index(ascending[int(np.ceil(rank - 1e-9))])
        candidates.append((values[place] + values[max(0, place - 1)]) / 2)
    return sorted({candidate for candidate in candidates if candidate > values[0] + 1e-12})


def without_twins(values):
    return np.array([value for value, after in zip(values, [*values[1:], 2], strict=True) if after - value > 1e-12])


def grid_matches(seed):
    """Three matches of segments of 1.4 s with two steps, scores in 64ths, whose sums are exact in float64."""
    rng, matches = np.random.default_rng(seed), []
    for number, num_segments in enumerate((34, 19, 31)):
        labels = (moving_average(rng.random(num_segments), 3) > (0.55, 2, 0.5)[number]).astype(
            int
        )  # one has no highlight
        scores = np.clip(0.35 + 0.25 * labels[:, None] + rng.normal(0, 0.2, (num_segments, 2)), 0, 1)
        runs = np.flatnonzero(np.diff(labels, prepend=0, append=0)).reshape(-1, 2)
        duration_sec, steps = num_segments * 1.4 - (0, 0.3, 1.2)[number], np.round(scores * 64) / 64
        sections_sec = np.minimum(runs * 1.4, duration_sec)
        matches.append(ScoredMatch("m", 1.4, duration_sec, labels, sections_sec, steps.mean(axis=1), steps))
    return matches


def plain_choice(matches):
    """Try every combination; returns (mean F1, threshold, penalty) of the best."""
    reference, best = [match.sections_sec for match in matches], (-1, None, None)
    lengths = [end - start for sections in reference for start, end in sections.tolist()]
    ratio = sum(lengths) / sum(match.duration_sec for match in matches)
    parts = [
        [score for k, score in enumerate(match.step_scores.ravel().tolist()) if k * 0.7 < match.duration_sec - 1e-6]
        for match in matches
    ]
    scores = [score for part in parts for score in part]
    log_odds = [max(-7, min(7, np.log(max(score, 1e-9) / max(1 - score, 1e-9)))) for score in scores]
    unit = statistics.median(lengths) * statistics.pstdev(log_odds)
    thresholds = without_twins(plain_candidates(scores, ratio))
    for eighths in (0, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8):
        f1 = []
        for threshold in thresholds:
            found = [
                plain_sections(part, 0.7, match.duration_sec, threshold, unit * eighths / 8)
                for part, match in zip(parts, matches, strict=True)
            ]
            f1.append(plain_f1(reference, found))
        f1 = np.array(plain_mean(f1, 9))
        if f1.max() > best[0] + 1e-9:
            best = (f1.max(), plain_middle(thresholds, f1), unit * eighths / 8)
    return best


def plain_middle(thresholds, f1):
    runs, is_best = [], f1 >= f1.max() - 1e-9
    for place, good in enumerate(is_best):
        if good and place and is_best[place - 1]:
            runs[-1].append(place)
        elif good:
            runs.append([place])
    widest = max(runs, key=lambda run: thresholds[run[-1]] - thresholds[run[0]])
    middle = (thresholds[widest[0]] + thresholds[widest[-1]]) / 2
    return min(thresholds[widest], key=lambda threshold: round(abs(threshold - middle), 9))


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.125, 0.3, 1.0])
def test_candidates_are_those_of_plain_loops(ratio):
    scores = 0.25 + np.round(np.random.default_rng(0).random(200) ** 3 * 96) / 128
    expected = without_twins(plain_candidates(scores.tolist(), ratio))
    assert without_twins(candidate_thresholds(scores, ratio).tolist()) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_the_best_of_all_combinations(seed):
    matches = grid_matches(seed)
    mean_f1, threshold, penalty = plain_choice(matches)
    point = choose_operating_point(matches)
    assert 0.2 < mean_f1 < 0.95
    assert point.section_penalty == pytest.approx(penalty)
    assert point.threshold == pytest.approx(threshold, abs=1e-9)


def test_the_choices_of_these_matches_differ():
    points = [choose_operating_point(grid_matches(seed)) for seed in range(8)]
    assert len({point.threshold for point in points}) > 5
    assert len({point.section_penalty for point in points}) > 3


# ---- What the choice does not depend on


def stretched(matches, factor):
    return [
        ScoredMatch(
            *(m.title, m.segment_length * factor, m.duration_sec * factor, m.labels, m.sections_sec * factor),
            *(m.scores, m.step_scores),
        )
        for m in matches
    ]


@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_penalties_are_in_units_of_the_labels_lengths(factor):
    penalties = set()
    for seed in range(3):
        matches = random_matches(seed, num_steps=2, separation=0.6)
        point, other = choose_operating_point(matches), choose_operating_point(stretched(matches, factor))
        assert other.threshold == point.threshold
        assert other.section_penalty == pytest.approx(point.section_penalty * factor)
        penalties.add(point.section_penalty)
    assert max(penalties) > 0


def test_scores_after_the_end_of_a_match_do_not_count():
    labels, scores = [0, 1, 1, 0, 0, 1], [[0.1, 0.3], [0.9, 0.2], [0.7, 0.8], [0.3, 0.2], [0.6, 0.2], [0.8, 0.0]]
    points = []
    for after in (0.0, 0.4, 1.0):
        scores[-1][1] = after
        points.append(choose_operating_point([match(labels, scores, duration_sec=5.5 * LENGTH_SEC)]))
    assert points[0] == points[1] == points[2]
    scores[-1][0] = 0.0
    assert choose_operating_point([match(labels, scores, duration_sec=5.5 * LENGTH_SEC)]) != points[0]


def test_the_order_of_the_matches_does_not_count():
    matches = random_matches(3, num_steps=2)
    point, other = choose_operating_point(matches), choose_operating_point(matches[::-1])
    assert other.threshold == point.threshold
    assert other.section_penalty == pytest.approx(point.section_penalty)


# ---- Tiny sets


def test_a_match_of_one_segment_has_a_choice():
    for scores in ([[0.4]], [[0.0]], [[1.0]], [[0.2, 0.9]]):
        point = choose_operating_point([match([1], scores)])
        assert 0 <= point.threshold <= 1
        assert match([1], scores).predicted_sections_sec(point).tolist() in ([[0, 2]], [[1, 2]])
    short = match([1], [[0.2, 0.9]], duration_sec=0.5)
    assert short.predicted_sections_sec(choose_operating_point([short])).tolist() == [[0, 0.5]]


def test_two_segments_are_divided_between_their_scores():
    point = choose_operating_point([match([0, 1], [0.2, 0.6])])
    assert 0.2 < point.threshold <= 0.6
    assert point.section_penalty == 0
    # The other way round nothing is right but everything, whose IoU is 0.5.
    turned = match([1, 0], [0.2, 0.6])
    point = choose_operating_point([turned])
    assert 0.2 < point.threshold <= 0.6


@pytest.mark.parametrize("max_margins", [1, 100, 20_000])
def test_operating_points_are_tried_in_parts_that_fit_in_memory(max_margins, monkeypatch):
    matches = grid_matches(0)
    thresholds, penalties = np.repeat([0.2, 0.4, 0.6], 4), np.tile([0, 0.5, 1, 2], 3)
    expected = operating_point.mean_event_f1(matches, thresholds, penalties)
    sizes = []

    def match_margins(scores, step_sec, duration_sec, thresholds, penalties):
        sizes.append(len(scores) * len(thresholds))
        return decode(scores, step_sec, duration_sec, thresholds, penalties)

    decode = operating_point.decoding.match_margins
    monkeypatch.setattr(operating_point.decoding, "match_margins", match_margins)
    monkeypatch.setattr(operating_point, "MAX_MARGINS", max_margins)
    assert operating_point.mean_event_f1(matches, thresholds, penalties).tolist() == expected.tolist()
    num_steps = [match.step_scores.size for match in matches]
    assert max(sizes) <= max(max_margins, *num_steps)  # at least one operating point at a time
    assert sum(sizes) == 12 * sum(num_steps)
    assert 0 < min(expected) < max(expected)
