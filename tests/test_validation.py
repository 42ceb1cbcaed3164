"""Scores, fusion weights, metrics and the operating point on validation: which matches, labels and weights count."""

import itertools
import json
import math

import numpy as np
import pytest
from conftest import LABELS, NUM_FRAMES, SECTIONS, TITLES
from scipy.special import expit
from small_network import build_fused_network, outputs_of

from data_loader import DataLoader
from videosummarizer.evaluation.operating_point import ScoredMatch, choose_operating_point
from videosummarizer.training import validation
from videosummarizer.training.validation import TrainingError


@pytest.fixture(scope="module")
def loader(dataset_dir):
    return DataLoader(dataset_dir)


@pytest.fixture(scope="module")
def network(loader):
    return build_fused_network(loader.data_shape)


# ---- Scores


@pytest.mark.parametrize("subset", ["train", "valid", "test"])
def test_scores_are_those_of_the_subset_in_order(network, loader, dataset_dir, subset):
    scores, step_scores = validation.predict(network, loader, subset)
    expected = [outputs_of(network, dataset_dir, title) for title in TITLES[subset]]
    np.testing.assert_allclose(scores, np.concatenate([each["highlight"] for each in expected])[:, 0], atol=1e-5)
    np.testing.assert_allclose(step_scores, np.concatenate([each["steps"] for each in expected]), atol=1e-5)
    names = ("video_steps", "loudness_highlight")
    rows = validation.predict_outputs(network, loader, subset, names)
    expected = [np.concatenate([each[name] for name in names], axis=1) for each in expected]
    np.testing.assert_allclose(rows, np.concatenate(expected), atol=1e-5)
    assert np.ptp(rows, axis=0).min() > 1e-3


# ---- Validation


def test_validations_classes_count_as_trainings(loader):
    labels, weights = validation.labels_and_weights(loader)
    assert labels.tolist() == LABELS["match_07"] + LABELS["match_09"]
    # Of 20 segments of training 5 are highlights; of 11 of validation 7 are.
    assert weights.tolist() == pytest.approx([20 / (2 * (5 if label else 15)) for label in labels])


def test_a_score_of_a_half_is_a_highlight(loader):
    scores = np.where(validation.labels_and_weights(loader)[0], 0.5, 0.49)
    found = validation.validate(scores, loader)
    assert (found["val_precision"], found["val_recall"]) == (1, 1)


def test_the_operating_point_is_the_best_on_the_sections_of_validation(loader):
    rng = np.random.default_rng(3)
    labels = np.array(LABELS["match_07"] + LABELS["match_09"])
    steps = np.clip(0.4 + 0.2 * labels[:, np.newaxis] + rng.normal(0, 0.15, (11, 2)), 0, 1)
    matches = []
    for title, part in (("match_07", slice(0, 6)), ("match_09", slice(6, 11))):
        sections_sec = np.array([SECTIONS[title]]) / 30
        duration_sec = NUM_FRAMES[title] / 30
        matches.append(
            ScoredMatch(title, 1.0, duration_sec, labels[part], sections_sec, steps[part].mean(axis=1), steps[part])
        )
    expected = vars(choose_operating_point(matches))
    assert validation.fit_operating_point(rng.random(11), steps, loader) == expected
    assert json.loads(json.dumps(expected)) == expected


def plain_loss(labels, scores, weights):
    losses = [-(label * math.log(p) + (1 - label) * math.log(1 - p)) for label, p in zip(labels, scores, strict=True)]
    weights = [1] * len(losses) if weights is None else weights
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


@pytest.mark.parametrize("seed", [0, 2])
def test_fusion_weights_have_the_lowest_weighted_loss_on_validation(seed, network, loader):
    rng = np.random.default_rng(seed)
    labels = np.array(LABELS["match_07"] + LABELS["match_09"])
    targets = [labels[:, np.newaxis], np.array([*[[0, 0]], *[[1, 1]] * 4, *[[0, 0]] * 2, *[[1, 1]] * 3, [1, 0]])]
    weights = np.where(labels, 20 / 10, 20 / 30)
    logits = [target[:, np.newaxis] * 2 - 2 + rng.normal(0, 2, (11, 3, target.shape[1])) for target in targets]
    rows = expit(np.concatenate(logits, axis=2)).reshape(11, -1)
    received = validation.tune_fusion_weights(network, rows, loader)
    expected, unweighted = [], []
    for name, values, target in zip(("highlight", "steps"), logits, targets, strict=True):
        for found, sample_weight in ((expected, np.repeat(weights, target.shape[1])), (unweighted, None)):
            losses = {}
            for tried in itertools.product((1.0, 0.5, 0.0), repeat=3):
                if any(tried):
                    scores = expit(sum(share * values[:, place] for place, share in enumerate(tried)))
                    losses[tried] = plain_loss(target.ravel(), scores.ravel(), sample_weight)
            best = min(losses, key=losses.get)
            found.append((best, expit(sum(share * values[:, place] for place, share in enumerate(best)))))
        assert tuple(network.get_layer(f"fusion_{name}").fusion_weights.numpy()) == expected[-1][0]
    np.testing.assert_allclose(received, np.concatenate([scores for _, scores in expected], axis=1), atol=1e-9)
    # The weights decide, of which train's classes are the source.
    assert [chosen for chosen, _ in expected] != [chosen for chosen, _ in unweighted]


def test_outputs_that_are_no_numbers_are_named(network, loader):
    rows = np.full((11, 9), 0.5)
    rows[7, 8] = np.nan
    with pytest.raises(TrainingError, match=r"^valid: the network's scores are not numbers"):
        validation.tune_fusion_weights(network, rows, loader)


def test_scores_are_finite_if_none_is_nan():
    validation.check_finite(np.array([[0.0, 1.0]]), "valid")
    with pytest.raises(TrainingError, match="valid: the network's scores are not numbers"):
        validation.check_finite(np.array([[0.1, 0.2], [0.3, np.nan]]), "valid")
