"""Check the features by which a network compares segments, and what is kept of a match that it has read."""

import os
from dataclasses import replace

import numpy as np
import pytest
from clips import tone, write_clip
from scipy.special import expit
from small_network import build_small_network

from model import build_model
from videosummarizer import media
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import match_signals
from videosummarizer.extraction.match_signals import read_signals
from videosummarizer.extraction.measures import MEASURES
from videosummarizer.training import fusion
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError
from videosummarizer.training.inference import reach_steps
from videosummarizer.training.keras_backend import keras, reset_keras
from videosummarizer.training.network_features import FEATURE_OUTPUTS, add_features, read_fusion_weights
from videosummarizer.training.training_statistics import Expectation, TrainingStatistics

CONFIG = DataConfig(1, 2, 16, 16, 4000, False)


@pytest.fixture(scope="module")
def network():
    reset_keras(5)
    network = build_model(CONFIG.data_shape, 4000, 2, (1, 2))
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(scale=0.2, size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size=layer.moving_variance.shape))
    network.get_layer("fusion_steps").fusion_weights.assign((0.5, 1.0, 0.0))
    return network


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(1)
    video = rng.integers(0, 255, (1, 3, *CONFIG.data_shape["video"]), np.uint8)
    return {"video": video, "audio": rng.uniform(-1, 1, (1, 3, 4000)).astype(np.float32)}


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "match.mp4", num_frames=75, audio=tone(440, 2.5))


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "best.hdf5", "c" * 64, CONFIG, OperatingPoint(0.5, 0.0), True)


def test_features_are_those_before_the_convolutions_in_units_of_the_training_set(network, inputs):
    extended = add_features(network)
    outputs = extended.predict_on_batch(inputs)
    normalizations = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and isinstance(layer.input._keras_history.operation, keras.layers.Dense)
        and layer.input.shape == (None, None, 64)
    ]
    tapped = keras.Model(network.input, [layer.input for layer in normalizations]).predict_on_batch(inputs)
    expected = []
    for layer, features in zip(normalizations, tapped, strict=True):
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        standardized = (features - mean) / np.sqrt(variance + layer.epsilon)
        expected.append(standardized.reshape(1, 3, 2, 64).mean(axis=2))
    matching = [
        [name for name in FEATURE_OUTPUTS if np.allclose(outputs[name], values, atol=1e-3)] for values in expected
    ]
    assert sorted(matching) == [[FEATURE_OUTPUTS[0]], [FEATURE_OUTPUTS[1]]]
    silent = extended.predict_on_batch({**inputs, "audio": np.zeros_like(inputs["audio"])})
    assert np.allclose(silent[FEATURE_OUTPUTS[1]], outputs[FEATURE_OUTPUTS[1]], atol=1e-5)
    assert not np.allclose(silent[FEATURE_OUTPUTS[0]], outputs[FEATURE_OUTPUTS[0]], atol=0.1)


def test_the_scores_stay_the_same(network, inputs):
    expected, found = network.predict_on_batch(inputs), add_features(network).predict_on_batch(inputs)
    assert set(found) == {*expected, *FEATURE_OUTPUTS}
    for name in expected:
        assert found[name] == pytest.approx(expected[name], abs=1e-6)


def test_another_network_is_refused():
    with pytest.raises(CheckpointError, match=r"the network's features cannot be compared .* expected a checkpoint"):
        add_features(build_small_network(CONFIG.data_shape, 4000, 2))


def test_fusion_weights_and_reach_are_read_from_the_network(network):
    assert read_fusion_weights(network) == [0.5, 1.0, 0.0]
    assert reach_steps(network) == 3
    assert reach_steps(build_small_network(CONFIG.data_shape, 4000, 2)) == 0
    assert match_signals.MODALITIES == fusion.MODALITIES


def test_the_signals_of_a_match_are_the_outputs_of_the_network(network, clip_path, checkpoint, tmp_path):
    info = media.probe(clip_path)
    extended = add_features(network)
    expectation = Expectation(mean=0.5, limit=0.1, is_always_known=True)  # black rows; frame rates are logarithms
    statistics = TrainingStatistics(4, 2.0, {"black_rows": expectation, "frame_rate": expectation})
    checkpoint = replace(checkpoint, training_statistics=statistics)
    signals = match_signals.compute_signals(clip_path, info, checkpoint, lambda: extended, tmp_path)
    rate, rows = "30 frames per second (there 1.4142)", "black bars over 0% of its height (there 50%)"
    assert signals.unlike_training == (rate, rows)
    assert signals.steps.shape == (3, 2)
    assert signals.modality_steps.shape == (3, 3, 2)
    assert signals.features.shape == (3, 128)
    # Late fusion: the logits of loudness and audio, weighted.
    clipped = np.clip(signals.modality_steps, 1e-7, 1 - 1e-7)
    logits = np.log(clipped / (1 - clipped))
    fused = 1 / (1 + np.exp(-(0.5 * logits[:, 0] + logits[:, 1])))
    assert signals.steps == pytest.approx(fused, abs=1e-3)
    why = signals.reasons
    assert (why.part_names, why.measure_names) == (("loudness", "audio", "video", "offset"), MEASURES)
    assert expit(why.steps.sum(axis=2)) == pytest.approx(signals.steps, abs=1e-4)
    assert expit(why.steps[..., 0] / 0.5) == pytest.approx(signals.modality_steps[:, 0], abs=1e-4)
    assert (why.steps[..., 2] == 0).all()  # video has no weight
    assert why.measured[..., 0].ravel() == pytest.approx([0.7] * 5 + [0], abs=0.01)  # the level of a tone of 2.5 s
    assert int(signals.reach_steps) == 3
    assert match_signals.measure_reach(extended) == (3, 2)
    path = tmp_path / "match_signals.npz"
    made_with = match_signals.identify(clip_path, checkpoint)
    match_signals.write_signals(path, made_with, signals)
    assert [path.name for path in tmp_path.iterdir()] == ["match_signals.npz"]
    kept = read_signals(path, made_with, 3)
    for before, after in ((signals, kept), (signals.reasons, kept.reasons)):
        for name, array in vars(before).items():
            assert name == "reasons" or np.array_equal(getattr(after, name), array), name
    assert read_signals(path, made_with, 4) is None
    os.utime(clip_path, (0, 0))
    for other in (match_signals.identify(clip_path, checkpoint), "{}"):
        assert read_signals(path, other, 3) is None
    path.write_bytes(path.read_bytes()[:-100])
    assert read_signals(path, made_with, 3) is None


@pytest.mark.parametrize(
    "change",
    [
        {"steps": np.full((3, 2), 1.5)},
        {"steps": np.full((3, 2), np.nan)},
        {"steps": np.zeros((0, 2)), "features": np.zeros((0, 4)), "modality_steps": np.zeros((0, 3, 2))},
        {"modality_steps": np.zeros((3, 2, 2))},
        {"features": np.zeros((2, 4))},
        {"fusion_weights": np.zeros((1, 3))},
        {"reach_steps": np.zeros(1)},
        {"reach_steps": np.array("many")},
        {"reasons_part_names": np.array(["audio", "smell"])},
        {
            "reasons_part_names": np.array([], str),
            "reasons_segments": np.zeros((3, 0)),
            "reasons_steps": np.zeros((3, 2, 0)),
        },
        {"reasons_segments": np.zeros((2, 2))},
        {"reasons_steps": np.full((3, 2, 2), np.nan)},
        {"reasons_steps": np.full((3, 2, 2), "much")},
        {"reasons_measure_names": np.array(["level", "motion"])},
        {"reasons_measured": np.full((3, 2, 1), 1e7)},
    ],
)
def test_damaged_signals_are_not_used(change, tmp_path):
    arrays = {
        "steps": np.full((3, 2), 0.5),
        "modality_steps": np.full((3, 3, 2), 0.5),
        "features": np.zeros((3, 4)),
        "fusion_weights": np.ones(3),
        "reach_steps": np.array(3),
        "unlike_training": np.array(["louder"]),
        "reasons_part_names": np.array(["audio", "video"]),
        "reasons_segments": np.zeros((3, 2)),
        "reasons_steps": np.zeros((3, 2, 2)),
        "reasons_measure_names": np.array(["motion"]),
        "reasons_measured": np.zeros((3, 2, 1)),
    }
    np.savez(tmp_path / "whole.npz", made_with="x", **arrays)
    whole = read_signals(tmp_path / "whole.npz", "x", 3)
    assert (whole.unlike_training, whole.reasons.part_names) == (("louder",), ("audio", "video"))
    np.savez(tmp_path / "damaged.npz", made_with="x", **arrays | change)
    assert read_signals(tmp_path / "damaged.npz", "x", 3) is None
