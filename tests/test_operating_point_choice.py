"""The choice of an operating point against one in plain loops, with its own numbers."""

import numpy as np
import pytest
from test_operating_point import plain_f1

from videosummarizer.evaluation.operating_point import (
    ScoredMatch,
    candidate_thresholds,
    choose_operating_point,
    moving_average,
)


def plain_clear(match):
    """The scores of a match's steps, 0 where they are less than 0.8 of the highest within 5 s."""
    step_sec, scores = match.segment_length / match.step_scores.shape[1], match.step_scores.ravel().tolist()
    scores = [score for k, score in enumerate(scores) if k * step_sec < match.duration_sec - 1e-6]
    reach = max(1, round(5 / step_sec))
    highest = [max(scores[max(0, k - reach) : k + reach + 1]) for k in range(len(scores))]
    return [score if score >= 0.8 * high else 0.0 for score, high in zip(scores, highest, strict=True)]


def plain_mean(scores, num):
    parts = [scores[max(0, k - num // 2) : k + num // 2 + 1] for k in range(len(scores))]
    return [sum(part) / len(part) for part in parts]


def plain_sections(scores, step_sec, duration_sec, threshold, gap, length):
    """Sections in seconds; gap and length in steps."""
    found = []
    for k, score in enumerate(scores):
        if score >= threshold:
            if found and k - found[-1][1] <= gap:
                found[-1][1] = k + 1
            else:
                found.append([k, k + 1])
    found = [(start * step_sec, min(end * step_sec, duration_sec)) for start, end in found]
    return [(start, end) for start, end in found if end - start >= length * step_sec - 1e-6]


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
    """Try every combination; returns (mean F1, threshold, smoothing, gap and length in steps) of the best."""
    reference, best = [match.sections_sec for match in matches], (-1, None)
    ratio = sum((s[:, 1] - s[:, 0]).sum() for s in reference) / sum(match.duration_sec for match in matches)
    for smoothing in (1, 3, 5):
        smoothed = [plain_mean(plain_clear(match), smoothing) for match in matches]
        thresholds = without_twins(plain_candidates([score for part in smoothed for score in part], ratio))
        for gap in (0, 1, 2, 3):
            for length in (0, 2, 3):
                f1 = []
                for threshold in thresholds - 1e-12:
                    parts = zip(smoothed, matches, strict=True)
                    found = [plain_sections(s, 0.7, m.duration_sec, threshold, gap, length) for s, m in parts]
                    f1.append(plain_f1(reference, found))
                f1 = np.array(plain_mean(f1, 9))
                if f1.max() > best[0] + 1e-9:
                    best = (f1.max(), plain_middle(thresholds, f1), smoothing, gap, length)
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
    return min(thresholds[widest], key=lambda threshold: abs(threshold - middle))


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.125, 0.3, 1.0])
def test_candidates_are_those_of_plain_loops(ratio):
    scores = 0.25 + np.round(np.random.default_rng(0).random(200) ** 3 * 96) / 128
    expected = without_twins(plain_candidates(scores.tolist(), ratio))
    assert without_twins(candidate_thresholds(scores, ratio).tolist()) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_the_best_of_all_combinations(seed):
    matches = grid_matches(seed)
    mean_f1, threshold, smoothing, gap, length = plain_choice(matches)
    point = choose_operating_point(matches)
    assert 0.2 < mean_f1 < 0.95
    assert (point.smoothing, point.nms_ratio) == (smoothing, 0.8)
    assert (point.max_gap_sec, point.min_length_sec) == pytest.approx((gap * 0.7, length * 0.7))
    assert point.threshold == pytest.approx(threshold, abs=1e-9)
