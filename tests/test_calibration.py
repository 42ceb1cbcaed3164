"""Calibration: its fit, what it does to the scores and the network on validation, and how a checkpoint keeps it."""

import functools
import json

import numpy as np
import pytest
import sklearn.metrics
from conftest import LABELS
from scipy.special import expit, logit
from small_network import build_fused_network, build_small_network

from data_loader import DataLoader
from videosummarizer.evaluation import decoding, metrics
from videosummarizer.training import calibration, inference, validation
from videosummarizer.training.checkpoint import write_checkpoint_attributes
from videosummarizer.training.fusion import FUSION_LAYER, OUTPUTS, LateFusion

EQUAL = np.ones(2)


def draw_matches(num_matches, scale, offset, seed=0, num_segments=400):
    """Logits of segments, of which the scale and the offset make log-odds, and labels drawn with these odds."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1.5, 2, (num_matches, num_segments))
    labels = rng.random(log_odds.shape) < expit(log_odds)
    return list((log_odds - offset) / scale), list(labels.astype(float))


def error_of(targets, scores):
    found = metrics.reliability(np.concatenate(targets), np.concatenate(scores))
    return found["expected_calibration_error"]


# ---- The fit


@pytest.mark.parametrize(("scale", "offset"), [(0.5, -1.0), (2.0, 0.5), (1.3, -2.0)])
def test_scores_that_are_wrong_on_purpose_become_calibrated(scale, offset):
    logits, labels = draw_matches(1000, scale, offset, num_segments=20)
    new_logits, new_labels = draw_matches(20, scale, offset, seed=1)
    found = calibration.fit(logits, labels, EQUAL)
    assert found == pytest.approx((scale, offset), rel=0.05, abs=0.05)
    scores = [calibration.apply(part, found) for part in new_logits]
    assert error_of(new_labels, list(map(expit, new_logits))) > 0.05
    assert error_of(new_labels, scores) < 0.015
    labels, before, after = (np.concatenate(part) for part in (new_labels, new_logits, scores))
    precision_of = sklearn.metrics.average_precision_score
    assert precision_of(labels, after) == precision_of(labels, before)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [([], []), ([np.zeros(0)], [np.zeros(0)]), ([np.arange(9.0)], [np.zeros(9)]), ([np.arange(9.0)], [np.ones(9)])],
)
def test_without_both_classes_nothing_is_changed(logits, targets):
    assert calibration.fit(logits, targets, np.array([0.6, 4.0])) == (1.0, 0.0)
    assert calibration.apply(np.array([-1.0, 2.0]), (1.0, 0.0)).tolist() == expit([-1.0, 2.0]).tolist()


def test_few_matches_undo_the_class_weights_and_move_the_scale_little():
    labels, weights = np.repeat([0.0, 1.0], [90, 10]), np.array([1.0, 9.0])
    # A hundred times these logits, and more, would fit better.
    scale, offset = calibration.fit([np.where(labels, 0.01, -0.01)] * 3, [labels] * 3, weights)
    assert 1 < scale < 1.1
    assert offset == pytest.approx(np.log(1 / 9), abs=0.05)
    few, many = (calibration.fit([np.where(labels, 1.0, -1.0)] * num, [labels] * num, weights)[0] for num in (1, 100))
    assert 1.05 < few < 1.5
    assert many > 2 * few


def test_the_same_logits_everywhere_get_the_rate_of_highlights():
    labels = np.repeat([0.0, 1.0], [18, 2])
    found = calibration.fit([np.full(20, 0.3)] * 300, [labels] * 300, EQUAL)
    assert calibration.apply(np.array([0.3]), found) == pytest.approx(0.1, abs=0.01)


def test_the_held_out_error_is_that_of_fits_without_the_match():
    logits, labels = draw_matches(3, 0.6, -1.0, num_segments=100)
    logits[2] = logits[2] + 3  # its scores are too high, which only a fit on it corrects
    scores = []
    for index, others in enumerate(([1, 2], [0, 2], [0, 1])):
        fitted = calibration.fit([logits[other] for other in others], [labels[other] for other in others], EQUAL)
        scores.append(calibration.apply(logits[index], fitted))
    expected = error_of(labels, scores)
    assert calibration.held_out_error(logits, labels, EQUAL) == expected
    fitted = calibration.fit(logits, labels, EQUAL)
    assert expected > error_of(labels, [calibration.apply(part, fitted) for part in logits]) + 0.02
    assert calibration.held_out_error(logits[:1], labels[:1], EQUAL) is None


def test_a_calibrated_operating_point_finds_the_same_sections():
    rng, found = np.random.default_rng(4), (1.3, -1.1)
    log_odds = np.convolve(rng.normal(-1, 3, 240), np.ones(5) / 5, "same")
    point = {"threshold": 0.4, "section_penalty": 1.7}
    before = decoding.find_sections(expit(log_odds), 0.5, 120.0, *point.values())
    calibrated = calibration.apply_to_point(point, found)
    after = decoding.find_sections(calibration.apply(log_odds, found), 0.5, 120.0, *calibrated.values())
    assert len(before) == 5
    assert calibrated["section_penalty"] == pytest.approx(1.3 * 1.7)
    np.testing.assert_array_equal(after, before)
    assert calibration.apply_to_point({"threshold": 1.0, "section_penalty": 0.0}, found)["threshold"] > 0.999999


# ---- On validation


@pytest.fixture(scope="module")
def loader(dataset_dir):
    return DataLoader(dataset_dir)


def test_the_network_gives_the_calibrated_scores(loader):
    network = build_fused_network(loader.data_shape)
    scores, step_scores = validation.predict(network, loader, "valid")
    rows = np.column_stack([scores, step_scores])
    before = [network.get_layer(FUSION_LAYER.format(name)).fusion_weights.numpy() for name in OUTPUTS]
    stored = validation.calibrate(network, rows, loader)
    labels = np.array(LABELS["match_07"] + LABELS["match_09"])
    class_weights = loader.class_weights("train")
    matches = [slice(0, 6), slice(6, 11)]
    expected = calibration.fit([logit(rows[part, 0].astype(float)) for part in matches],
                               [labels[part] for part in matches], class_weights)  # fmt: skip
    assert (stored["highlight"]["scale"], stored["highlight"]["offset"]) == pytest.approx(expected)
    # 5 of the 20 segments of train are highlights, 7 of the 11 of valid: the odds are between those of both.
    assert np.log(5 / 15) < stored["highlight"]["offset"] < 1
    assert stored["steps"] != stored["highlight"]
    assert all(0 <= stored[name]["held_out_error"] <= 1 for name in OUTPUTS)
    assert json.loads(json.dumps(stored)) == stored
    for name, weights in zip(OUTPUTS, before, strict=True):
        layer = network.get_layer(FUSION_LAYER.format(name))
        np.testing.assert_allclose(layer.fusion_weights.numpy(), weights * stored[name]["scale"], rtol=1e-6)
        assert layer.offset.numpy() == pytest.approx(stored[name]["offset"])
    scores, step_scores = validation.predict(network, loader, "valid")
    for name, before, after in zip(OUTPUTS, (rows[:, 0], rows[:, 1:]), (scores, step_scores), strict=True):
        expected = expit(stored[name]["scale"] * logit(before.astype(float)) + stored[name]["offset"])
        np.testing.assert_allclose(after, expected, atol=1e-6)


def test_steps_after_the_end_of_a_match_do_not_count(loader, monkeypatch):
    found = []
    monkeypatch.setattr(calibration, "fit", lambda *arguments: found.append(arguments) or (1.0, 0.0))
    validation.calibrate(build_fused_network(loader.data_shape), np.full((11, 3), 0.5), loader)
    of_segments, of_steps = found[0], found[3]  # each is followed by one fit without each of two matches
    assert [len(part) for part in of_segments[0]] == [6, 5]
    assert [part.tolist() for part in of_segments[1]] == [LABELS["match_07"], LABELS["match_09"]]
    assert [len(part) for part in of_steps[0]] == [12, 10]
    assert of_steps[1][0].tolist() == [0, 0, *[1] * 8, 0, 0]  # the highlight lasts from 1 to 5 s
    assert of_steps[1][1].tolist() == [0, 0, *[1] * 7, 0]  # and from 1 to 4.5 s
    assert found[0][2] is found[3][2]


def test_choosing_fusion_weights_again_starts_without_calibration(loader):
    network = build_fused_network(loader.data_shape)
    layer = network.get_layer(FUSION_LAYER.format("steps"))
    layer.assign((0.5, 0.2, 0.3), -2.0)
    rng = np.random.default_rng(2)
    validation.tune_fusion_weights(network, rng.random((11, 9)), loader)
    assert (layer.offset.numpy(), set(layer.fusion_weights.numpy()) <= {0, 0.5, 1}) == (0, True)


# ---- The layer


def test_the_offset_is_added_except_in_training():
    layer, logits = LateFusion(has_offset=True), [np.full((1, 2, 1), value, np.float32) for value in (1, 10, 100)]
    assert layer(logits).numpy().tolist() == [[[110], [110]]]
    layer.assign((0.5, 1, 0), -3)
    assert layer(logits).numpy().tolist() == [[[7.5], [7.5]]]
    assert layer(logits, training=True).numpy().tolist() == [[[110], [110]]]
    assert [weight.name for weight in layer.weights] == ["fusion_weights", "offset"]
    assert not layer.trainable_weights


def init_without_offset(layer, init, has_offset, **settings):
    init(layer, **settings)


def test_a_checkpoint_from_before_calibration_loads_and_can_be_fine_tuned(loader, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:  # layers as they were then
        patched.setattr(LateFusion, "__init__", functools.partialmethod(init_without_offset, LateFusion.__init__))
        patched.setattr(LateFusion, "get_config", lambda self: super(LateFusion, self).get_config())
        old = build_fused_network(loader.data_shape)
        path = tmp_path / "old.hdf5"
        old.save(path)
    assert b"has_offset" not in path.read_bytes()
    write_checkpoint_attributes(path, {"config": loader.config.to_dict()})
    loaded = inference.load_checkpoint(path)
    for expected, received in zip(*(validation.predict(each, loader, "test") for each in (old, loaded)), strict=True):
        np.testing.assert_array_equal(received, expected)
    from videosummarizer.training.training_run import load_initial_weights

    tuned = build_small_network(loader.data_shape, 4000, 2)
    load_initial_weights(tuned, str(path), loader)
    names = ("audio_highlight", "video_steps", "loudness_steps")
    for expected, received in zip(*(validation.predict_outputs(n, loader, "test", names) for n in (old, tuned)),
                                  strict=True):  # fmt: skip
        np.testing.assert_array_equal(received, expected)
