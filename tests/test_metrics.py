"""Scores against values worked out by hand."""

import math

import numpy as np
import pytest

import metrics

LABELS = np.array([1, 0, 1, 0, 0])
SCORES = np.array([0.9, 0.8, 0.5, 0.4, 0.1])


def test_scores_by_hand():
    found = metrics.evaluate(LABELS, SCORES, threshold=0.5)
    names = "segments highlights loss precision recall f1 average_precision confusion_matrix"
    assert " ".join(found) == names
    assert (found["segments"], found["highlights"]) == (5, 2)
    assert found["loss"] == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.5, 0.6, 0.9])))
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 1
    assert found["f1"] == pytest.approx(0.8)
    assert found["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["confusion_matrix"] == [[2, 1], [0, 2]]


def test_perfect_and_empty_predictions():
    perfect = metrics.evaluate(LABELS, LABELS.astype(float), threshold=0.5)
    assert (perfect["f1"], perfect["average_precision"]) == (1, 1)
    nothing = metrics.evaluate(LABELS, np.zeros(5), threshold=0.5)
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (0, 0, 0)
    assert math.isnan(metrics.evaluate(np.zeros(5, int), SCORES, threshold=0.5)["average_precision"])


def test_everything_is_a_highlight():
    everything = metrics.evaluate_everything(LABELS)
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
    ],
)
def test_malformed_input_is_named(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(np.array(labels), np.array(scores), threshold=0.5)
