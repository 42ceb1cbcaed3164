"""Scores by segment, their intervals and their calibration, against values worked out by hand and scikit-learn."""

import json
import math
import warnings

import numpy as np
import pytest
import sklearn.metrics

from videosummarizer.evaluation import metrics

LABELS = np.array([1, 0, 1, 0, 0])
SCORES = np.array([0.9, 0.8, 0.5, 0.4, 0.1])


def test_scores_by_hand():
    found = metrics.evaluate(LABELS, SCORES, SCORES >= 0.5)
    names = "segments highlights loss precision recall f1 average_precision roc_auc confusion_matrix"
    assert " ".join(found) == names
    assert (found["segments"], found["highlights"]) == (5, 2)
    assert found["loss"] == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.5, 0.6, 0.9])))
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 1
    assert found["f1"] == pytest.approx(0.8)
    assert found["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["roc_auc"] == pytest.approx(5 / 6)  # of 6 pairs of a highlight and another, one is in the wrong order
    assert found["confusion_matrix"] == [[2, 1], [0, 2]]


def test_predicted_labels_may_be_decided_by_more_than_the_scores():
    found = metrics.evaluate(LABELS, SCORES, np.array([1, 0, 0, 1, 0]))
    assert (found["precision"], found["recall"]) == (0.5, 0.5)
    plain = metrics.evaluate(LABELS, SCORES, SCORES >= 0.5)
    for name in ("loss", "average_precision", "roc_auc"):
        assert found[name] == plain[name]


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_says_the_same(seed):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, 200), np.round(rng.random(200), 1 + seed % 3)  # with many equal scores
    found, threshold = metrics.evaluate(labels, scores, scores >= 0.4), scores >= 0.4
    assert found["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, np.clip(scores, 1e-7, 1 - 1e-7)))
    assert found["precision"] == pytest.approx(sklearn.metrics.precision_score(labels, threshold))
    assert found["recall"] == pytest.approx(sklearn.metrics.recall_score(labels, threshold))
    assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(labels, threshold))
    assert found["average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(labels, scores))
    assert found["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    assert found["confusion_matrix"] == sklearn.metrics.confusion_matrix(labels, threshold).tolist()


def test_perfect_and_empty_predictions():
    perfect = metrics.evaluate(LABELS, LABELS.astype(float), LABELS)
    assert [perfect[name] for name in ("f1", "average_precision", "roc_auc")] == [1, 1, 1]
    nothing = metrics.evaluate(LABELS, np.zeros(5), np.zeros(5, int))
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (0, 0, 0)
    without_highlights = metrics.evaluate(np.zeros(5, int), SCORES, SCORES >= 0.5)
    assert math.isnan(without_highlights["average_precision"])
    assert math.isnan(without_highlights["roc_auc"])
    assert math.isnan(metrics.evaluate(np.ones(5, int), SCORES, SCORES >= 0.5)["roc_auc"])


def test_everything_is_a_highlight():
    everything = metrics.evaluate(LABELS, np.ones(5), np.ones(5, int))
    assert (everything["precision"], everything["recall"]) == (0.4, 1)
    assert everything["f1"] == pytest.approx(0.8 / 1.4)
    assert everything["average_precision"] == pytest.approx(0.4)
    assert everything["confusion_matrix"] == [[0, 3], [0, 2]]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 0], [0.5], r"received labels of shape \(2,\) and scores of shape \(1,\)"),
        ([], [], "expected two vectors of one length above 0"),
        ([1, 2], [0.5, 0.5], r"received labels \[1, 2\], expected 0 and 1"),
        ([1, 0], [0.5, np.nan], r"scores outside \[0, 1\] or not a number"),
        ([1, 0], [0.5, 1.5], r"scores outside \[0, 1\]"),
        ([1, 0], [0.5, 1.0001], r"scores outside \[0, 1\] or not a number: the model diverged, lower --learning_rate"),
        ([1, 0], [-0.0001, 0.5], r"scores outside \[0, 1\]"),
        ([[1, 0]], [[0.5, 0.5]], r"labels of shape \(1, 2\) and scores of shape \(1, 2\)"),
        ([1, 0], [[0.5, 0.5]], r"labels of shape \(2,\) and scores of shape \(1, 2\), expected two vectors"),
        (1, 0.5, r"labels of shape \(\) and scores of shape \(\), expected two vectors"),
        ([0, -1, 0], [0.5, 0.5, 0.5], r"received labels \[-1, 0\], expected 0 and 1"),
    ],
)
def test_malformed_input_is_named(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(np.array(labels), np.array(scores), np.array(labels))
    with pytest.raises(ValueError, match=message):
        metrics.validate(np.array(labels), np.array(scores))


def test_the_ends_of_the_range_and_a_single_segment_are_valid():
    metrics.validate(np.array([0, 1]), np.array([0.0, 1.0]))
    metrics.validate(np.array([1]), np.array([0.5]))


def test_log_loss_by_hand():
    labels, scores = np.array([1, 0, 1]), np.array([0.8, 0.4, 0.1], np.float32)
    losses = -np.log([0.8, 0.6, 0.1])
    assert metrics.log_loss(labels, scores) == pytest.approx(losses.mean(), rel=1e-6)
    # Weights are a mean's, whatever they add up to.
    weights = np.array([1.0, 2.0, 5.0])
    assert metrics.log_loss(labels, scores, weights) == pytest.approx((losses * weights).sum() / 8, rel=1e-6)
    assert metrics.log_loss(labels, scores, 10 * weights) == pytest.approx((losses * weights).sum() / 8, rel=1e-6)
    # A label between 0 and 1, of a step that a section covers in part.
    partly = -(0.25 * np.log(0.8) + 0.75 * np.log(0.2))
    assert metrics.log_loss(np.array([0.25]), np.array([0.8])) == pytest.approx(partly)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_log_loss_of_a_score_that_is_quite_wrong_is_that_of_one_in_ten_millions(dtype):
    assert metrics.log_loss(np.array([0]), np.ones(1, dtype)) == pytest.approx(-math.log(1e-7), rel=1e-6)
    assert metrics.log_loss(np.array([1]), np.zeros(1, dtype)) == pytest.approx(-math.log(1e-7), rel=1e-6)
    assert metrics.log_loss(np.array([0, 1]), np.array([0, 1], dtype)) == pytest.approx(1e-7, rel=1e-6)


def test_scores_of_one_class_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.evaluate(np.ones(3, int), np.full(3, 0.9), np.ones(3, bool))
        assert found["confusion_matrix"] == [[0, 0], [0, 3]]
        assert (found["average_precision"], found["f1"], found["highlights"]) == (1, 1, 3)
        found = metrics.evaluate(np.zeros(3, int), np.full(3, 0.1), np.zeros(3, bool))
    assert found["confusion_matrix"] == [[3, 0], [0, 0]]
    assert (found["precision"], found["recall"], found["f1"], found["highlights"]) == (0, 0, 0, 0)
    one_of_three = metrics.evaluate(np.array([0, 1, 0]), np.array([0.2, 0.6, 0.7]), np.array([0, 1, 1]))
    assert (one_of_three["average_precision"], one_of_three["roc_auc"]) == (0.5, 0.5)


def test_scores_can_be_written_as_json():
    found = metrics.evaluate(np.array([1, 0]), np.array([0.9, 0.2], np.float32), np.array([True, False]))
    assert json.loads(json.dumps(found)) == found


# ---- Intervals


def test_matches_are_drawn_with_replacement_by_the_seed():
    weights = metrics.bootstrap_weights(5, num_resamples=200)
    assert weights.shape == (200, 5)
    assert (weights.sum(axis=1) == 5).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(5), abs=0.3)
    np.testing.assert_array_equal(weights, metrics.bootstrap_weights(5, num_resamples=200))
    assert (metrics.bootstrap_weights(5, num_resamples=200, seed=1) != weights).any()


def test_a_thousand_resamples_in_which_each_match_is_drawn_as_often_as_any_other():
    weights = metrics.bootstrap_weights(4)
    assert weights.shape == (1000, 4)
    assert (weights == metrics.bootstrap_weights(4, 1000, 0)).all()
    # Four draws of one in four: a match is not drawn at all with probability (3/4)^4, and all times with (1/4)^4.
    assert (weights == 0).mean(axis=0) == pytest.approx(np.full(4, 0.316), abs=0.05)
    assert (weights == 4).mean() == pytest.approx(1 / 256, abs=0.004)


def test_resampled_scores_are_those_of_the_matches_repeated():
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 2, n) for n in (30, 20, 40)]
    scores = [np.round(rng.random(len(part)), 1) for part in labels]
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]])
    ranking = metrics.ranking_scores(labels, scores, weights)
    for row, counts in enumerate(weights):
        drawn = np.repeat(np.arange(3), counts)
        drawn_labels, drawn_scores = (np.concatenate([part[i] for i in drawn]) for part in (labels, scores))
        found = metrics.evaluate(drawn_labels, drawn_scores, drawn_scores >= 0.5)
        for name in ("average_precision", "roc_auc"):
            assert ranking[name][row] == pytest.approx(found[name])


def test_an_interval_leaves_out_what_is_not_known():
    resampled = np.append(np.arange(101) / 100, np.nan)
    assert metrics.percentile_interval(resampled) == pytest.approx([0.025, 0.975])
    assert metrics.percentile_interval(resampled[::-1], level=0.5) == pytest.approx([0.25, 0.75])
    both_unknown = metrics.percentile_interval(np.array([np.nan]))
    assert len(both_unknown) == 2
    assert all(map(math.isnan, both_unknown))
    ranking = metrics.ranking_scores(
        [np.array([0, 0]), np.array([1, 0])], [SCORES[:2], SCORES[2:4]], np.array([[2, 0]])
    )
    assert math.isnan(ranking["average_precision"][0])
    assert math.isnan(ranking["roc_auc"][0])


def test_a_ranking_that_begins_with_a_highlight_has_an_area():
    ranking = metrics.ranking_scores([np.array([1, 0, 1, 0])], [np.array([0.9, 0.7, 0.5, 0.1])], np.array([[1]]))
    assert ranking["roc_auc"].tolist() == [0.75]  # of four pairs of a highlight and another, one is in the wrong order


def test_a_ranking_of_highlights_alone_has_a_precision():
    labels, scores = [np.array([0, 0]), np.array([1, 1])], [np.array([0.9, 0.1]), np.array([0.5, 0.2])]
    ranking = metrics.ranking_scores(labels, scores, np.array([[0, 2], [1, 1]]))
    assert ranking["average_precision"] == pytest.approx([1, (1 / 2 + 2 / 3) / 2])
    np.testing.assert_allclose(ranking["roc_auc"], [np.nan, 0.5])


# ---- Calibration


def test_reliability_by_hand():
    targets, scores = np.array([0, 1, 0.5, 1, 1]), np.array([0.05, 0.05, 0.31, 0.999, 1.0])
    found = metrics.reliability(targets, scores)
    assert list(found) == ["expected_calibration_error", "counts", "mean_scores", "mean_targets"]
    assert found["counts"] == [2, 0, 0, 1, 0, 0, 0, 0, 0, 2]
    assert [found["mean_scores"][index] for index in (0, 3, 9)] == pytest.approx([0.05, 0.31, 0.9995])
    assert [found["mean_targets"][index] for index in (0, 3, 9)] == [0.5, 0.5, 1]
    assert math.isnan(found["mean_scores"][1])
    assert math.isnan(found["mean_targets"][1])
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.45 + 0.19 + 0.001) / 5)
    assert json.loads(json.dumps(found["counts"])) == found["counts"]


def test_reliability_of_nothing_is_unknown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metrics.reliability(np.zeros(0), np.zeros(0))["expected_calibration_error"])
