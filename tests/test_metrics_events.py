"""Scores by section, against values worked out by hand, plain loops, and SciPy."""

import json
import math
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from videosummarizer.evaluation import metrics

NONE = np.empty((0, 2))


def sections(*pairs):
    return np.array(pairs, float).reshape(-1, 2)


def test_temporal_iou_by_hand():
    reference, predicted = sections([0, 4], [10, 20], [30, 40]), sections([2, 6], [6, 9], [12, 17], [19, 35])
    references, predictions, ious = metrics.overlapping_pairs(reference, predicted)
    assert list(zip(references.tolist(), predictions.tolist(), strict=True)) == [(0, 0), (1, 2), (1, 3), (2, 3)]
    assert ious == pytest.approx([2 / 6, 5 / 10, 1 / 25, 5 / 21])
    assert [len(part) for part in metrics.overlapping_pairs(NONE, predicted)] == [0, 0, 0]
    assert [len(part) for part in metrics.overlapping_pairs(reference, NONE)] == [0, 0, 0]


def test_events_by_hand():
    reference = [sections([0, 10], [20, 30], [50, 60]), sections([5, 8])]
    predicted = [sections([0, 3], [22, 29], [40, 45]), NONE]
    loose = metrics.evaluate_events(reference, predicted, 0.3)  # 3 s of 10 s are just enough
    assert list(loose) == ["labelled", "found", "matched", "precision", "recall", "f1"]
    assert list(loose.values()) == pytest.approx([4, 3, 2, 2 / 3, 2 / 4, 4 / 7])
    strict = metrics.evaluate_events(reference, predicted, 0.5)
    assert list(strict.values()) == pytest.approx([4, 3, 1, 1 / 3, 1 / 4, 2 / 7])


def test_scores_can_be_written_as_json():
    found = metrics.evaluate_events([sections([0, 10])], [sections([0, 5])], 0.5)
    assert json.loads(json.dumps(found)) == found


def test_each_label_is_used_once_and_the_matching_is_the_largest():
    one, two = [sections([0, 10])], [sections([0, 4], [4, 10])]
    assert metrics.evaluate_events(one, two, 0.3)["matched"] == 1
    assert metrics.evaluate_events(two, one, 0.3)["matched"] == 1
    # The first prediction suits both labels, the second one the second alone.
    assert metrics.evaluate_events([sections([0, 4], [4, 9])], [sections([1, 7], [7, 9.5])], 0.3)["matched"] == 2


def test_events_without_sections():
    reference = [sections([0, 10]), NONE]
    assert list(metrics.evaluate_events(reference, reference, 0.7).values()) == [1, 1, 1, 1, 1, 1]
    assert list(metrics.evaluate_events(reference, [NONE, NONE], 0.5).values()) == [1, 0, 0, 0, 0, 0]
    assert list(metrics.evaluate_events([NONE, NONE], reference, 0.5).values()) == [0, 1, 0, 0, 0, 0]
    # What is found in a match without highlights costs precision.
    assert metrics.evaluate_events(reference, [sections([0, 10]), sections([0, 5])], 0.5)["precision"] == 0.5


def random_sections(rng, num_sections):
    borders = np.cumsum(rng.choice([1, 2, 3, 5], 2 * num_sections))  # so that IoUs are often just a threshold
    return borders.reshape(-1, 2) * 1.0


@pytest.mark.parametrize("seed", range(20))
def test_the_matching_is_as_large_as_scipys(seed):
    rng = np.random.default_rng(seed)
    reference, predicted = random_sections(rng, 40), random_sections(rng, 40)
    for iou_threshold in (0.1, 0.3, 0.5):
        shared = np.minimum(reference[:, 1:], predicted[:, 1]) - np.maximum(reference[:, :1], predicted[:, 0])
        union = (reference[:, 1] - reference[:, 0])[:, np.newaxis] + (predicted[:, 1] - predicted[:, 0]) - shared
        is_pair = (shared > 0) & (shared / union >= iou_threshold - 1e-9)
        expected = (maximum_bipartite_matching(csr_array(is_pair.astype(np.int8))) >= 0).sum()
        assert metrics.evaluate_events([reference], [predicted], iou_threshold)["matched"] == expected > 0


@pytest.mark.parametrize("seed", range(10))
def test_pairs_are_those_that_plain_loops_find(seed):
    rng = np.random.default_rng(seed)
    reference, predicted = random_sections(rng, 15) + 4, random_sections(rng, 12)  # whole seconds: many only touch
    expected = {}
    for i, (start, end) in enumerate(reference):
        for j, (predicted_start, predicted_end) in enumerate(predicted):
            shared = min(end, predicted_end) - max(start, predicted_start)
            if shared > 0:
                expected[i, j] = shared / (max(end, predicted_end) - min(start, predicted_start))
    references, predictions, ious = metrics.overlapping_pairs(reference, predicted)
    pairs = list(zip(references.tolist(), predictions.tolist(), strict=True))
    assert pairs == sorted(expected, key=lambda pair: (pair[1], pair[0])) == sorted(expected)
    assert ious == pytest.approx([expected[pair] for pair in pairs])


def test_sections_that_only_touch_are_no_pair():
    parts = metrics.overlapping_pairs(sections([4, 6], [10, 12]), sections([2, 4], [6, 10], [12, 13]))
    assert [len(part) for part in parts] == [0, 0, 0]


def test_a_section_whose_iou_is_the_threshold_but_for_rounding_is_found():
    # 0.3 s of 1 s: the IoU is a rounding error below 0.3; 0.299 s is less.
    reference = [sections([0.6, 1.6])]
    assert metrics.evaluate_events(reference, [sections([0.6, 0.9])], 0.3)["matched"] == 1
    assert metrics.evaluate_events(reference, [sections([0.6, 0.899999])], 0.3)["matched"] == 0
    scores = np.array([0.5])
    assert metrics.match_by_score(*reference, sections([0.6, 0.9]), scores, 0.3).tolist() == [True]
    assert metrics.match_by_score(*reference, sections([0.6, 0.899999]), scores, 0.3).tolist() == [False]


def test_counts_of_each_match():
    reference = [sections([0, 10], [20, 30]), NONE, sections([5, 8])]
    predicted = [sections([0, 9], [12, 15], [21, 30]), sections([1, 2]), NONE]
    counts = metrics.count_events(reference, predicted, 0.5)
    assert counts.tolist() == [[2, 3, 2], [0, 1, 0], [1, 0, 0]]
    assert counts.dtype == np.int64
    assert (metrics.count_events([], [], 0.5).shape, metrics.count_events([], [], 0.5).dtype) == ((0, 3), np.int64)
    with pytest.raises(ValueError, match="shorter"):
        metrics.count_events(reference, predicted[:2], 0.5)


def test_precision_recall_and_f1_of_arrays_of_counts():
    found = metrics.precision_recall_f1(np.array([4, 0, 3, 0]), np.array([5, 2, 0, 0]), np.array([3, 0, 0, 0]))
    assert found["precision"].tolist() == [3 / 5, 0, 0, 0]
    assert found["recall"].tolist() == [3 / 4, 0, 0, 0]
    assert found["f1"] == pytest.approx([2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4), 0, 0, 0])


def test_mean_average_precision_by_hand():
    reference = [sections([0, 10], [20, 30]), sections([0, 10])]
    predicted = [sections([0, 10], [15, 18], [24, 30]), sections([0, 4])]
    scores = [np.array([0.9, 0.8, 0.7]), np.array([0.6])]
    # Ranked: right at any IoU; wrong; IoU 0.6; IoU 0.4. At 0.3 and 0.4 the precisions at 1, 2 and 3 labels are 1,
    # 2/3 and, raised by that of the fourth, 3/4.
    at_4, at_6, at_7 = (1 + 3 / 4 + 3 / 4) / 3, (1 + 2 / 3) / 3, 1 / 3
    expected = (2 * at_4 + 2 * at_6 + at_7) / 5
    assert metrics.mean_average_precision(reference, predicted, scores) == pytest.approx(expected)


def test_mean_average_precision_of_the_perfect_and_of_nothing():
    reference = [sections([0, 10], [20, 30]), NONE]
    assert metrics.mean_average_precision(reference, reference, [np.array([0.2, 0.9]), np.empty(0)]) == 1
    assert metrics.mean_average_precision(reference, [NONE, NONE], [np.empty(0)] * 2) == 0
    assert math.isnan(metrics.mean_average_precision([NONE], [sections([0, 1])], [np.array([0.5])]))


def test_the_better_scored_section_takes_the_label():
    reference, predicted = sections([0, 10]), sections([0, 4], [4, 10])
    assert metrics.match_by_score(reference, predicted, np.array([0.9, 0.1]), 0.3).tolist() == [True, False]
    assert metrics.match_by_score(reference, predicted, np.array([0.1, 0.9]), 0.3).tolist() == [False, True]
    assert metrics.match_by_score(reference, predicted, np.array([0.9, 0.1]), 0.5).tolist() == [False, True]


def test_a_section_takes_the_label_that_it_fits_best():
    # The first prediction fits the first label better (7 of 16 s, 6 of 17), the second one the second alone.
    reference, scores = sections([0, 10], [10, 20]), np.array([0.9, 0.1])
    assert metrics.match_by_score(reference, sections([3, 16], [16, 20]), scores, 0.3).tolist() == [True, True]
    # The other way round in time; whoever is right, the rest is wrong.
    predicted = sections([0, 4], [4, 17])
    assert metrics.match_by_score(reference, predicted, np.array([0.1, 0.9]), 0.3).tolist() == [True, True]
    predicted = sections([0, 4.5], [4.5, 16])
    assert metrics.match_by_score(reference, predicted, np.array([0.1, 0.9]), 0.3).tolist() == [True, True]
    assert metrics.match_by_score(sections([0, 10]), predicted, np.array([0.1, 0.9]), 0.3).tolist() == [False, True]


@pytest.mark.parametrize(
    ("length_sec", "num_thresholds"),
    [(2.99, 0), (3, 1), (3.99, 1), (4, 2), (4.99, 2), (5, 3), (5.99, 3), (6, 4), (6.99, 4), (7, 5), (10, 5)],
)
def test_mean_average_precision_is_of_ious_from_0_3_to_0_7(length_sec, num_thresholds):
    received = metrics.mean_average_precision([sections([0, 10])], [sections([0, length_sec])], [np.array([0.5])])
    assert received == pytest.approx(num_thresholds / 5)


def plain_average_precision(reference, predicted, scores, iou_threshold):
    """Go through the sections of all matches by falling score; add the best precision from each right one on."""
    ranked = [(-score, match, place) for match, part in enumerate(scores) for place, score in enumerate(part)]
    taken, is_right = set(), []
    for _, match, place in sorted(ranked, key=lambda item: item[0]):
        start, end = predicted[match][place]
        ious = {}
        for label, (label_start, label_end) in enumerate(reference[match]):
            shared = min(end, label_end) - max(start, label_start)
            iou = shared / (end - start + label_end - label_start - shared)
            if (match, label) not in taken and iou >= iou_threshold - 1e-9:
                ious[label] = iou
        is_right.append(bool(ious))
        if ious:
            taken.add((match, max(ious, key=ious.get)))
    precisions = [sum(is_right[:num]) / num for num in range(1, len(is_right) + 1)]
    gains = [max(precisions[place:]) for place, right in enumerate(is_right) if right]
    return sum(gains) / sum(map(len, reference))


@pytest.mark.parametrize("seed", range(6))
def test_mean_average_precision_is_that_of_plain_loops(seed):
    rng = np.random.default_rng(seed)
    reference, predicted = ([random_sections(rng, n) for n in sizes] for sizes in ((12, 5, 20), (9, 14, 16)))
    scores = [np.round(rng.random(len(part)), 1 if seed % 2 else 3) for part in predicted]  # with equal scores
    thresholds = (0.3, 0.4, 0.5, 0.6, 0.7)
    expected = np.mean([plain_average_precision(reference, predicted, scores, iou) for iou in thresholds])
    assert 0 < expected < 1
    assert metrics.mean_average_precision(reference, predicted, scores) == pytest.approx(expected)


def test_matches_drawn_without_a_label_have_no_mean_average_precision():
    reference, predicted = [sections([0, 10]), NONE], [sections([0, 10]), sections([5, 6])]
    weights = np.array([[2, 0], [1, 1], [0, 2]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        received = metrics.mean_average_precision(reference, predicted, [np.array([0.3]), np.array([0.6])], weights)
    np.testing.assert_allclose(received, [1, 0.5, np.nan])


def test_the_resampled_mean_average_precision_is_that_of_the_matches_repeated():
    rng = np.random.default_rng(0)
    reference, predicted = ([random_sections(rng, 12) for _ in range(3)] for _ in range(2))
    scores = [rng.random(12) for _ in range(3)]
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]])
    resampled = metrics.mean_average_precision(reference, predicted, scores, weights)
    assert len(set(resampled)) == 3
    for row, counts in enumerate(weights):
        drawn = np.repeat(np.arange(3), counts)
        repeated = ([part[i] for i in drawn] for part in (reference, predicted, scores))
        assert resampled[row] == pytest.approx(metrics.mean_average_precision(*repeated))
