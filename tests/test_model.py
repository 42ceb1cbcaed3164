"""The network for any data shape, and its checkpoints."""

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import scipy.fft

from model import NUM_MEL_BANDS, build_model
from videosummarizer.training import run_folder
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint_attributes, write_checkpoint_attributes
from videosummarizer.training.fusion import FUSION_LAYER, OUTPUTS, LateFusion, search_fusion_weights
from videosummarizer.training.inference import ENCODER_WINDOW, HEADS_WINDOW, load_checkpoint, score_segments
from videosummarizer.training.layers import (
    AveragePoolToLength,
    FrameAugmentation,
    FrameDifference,
    InverseDCT,
    LogEnergy,
    SpecAugment,
)
from videosummarizer.training.optimization import compile_network
from videosummarizer.training.run_folder import BestCheckpoint

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {
    "waveform": {"video": (4, 16, 24, 3), "audio": (4000,)},
    "mfcc": {"video": (4, 16, 24, 3), "audio": (40, 30)},
    "tiny": {"video": (1, 1, 1, 3), "audio": (3,)},
    "odd": {"video": (3, 7, 5, 3), "audio": (40, 1)},
    "one sample short of a hop": {"video": (2, 8, 8, 3), "audio": (2047,)},
}


@pytest.fixture(autouse=True)
def random_seed():
    """Give the networks of each test the same random weights, whatever was tested before."""
    keras.utils.set_random_seed(0)


def random_inputs(data_shape, num_segments=5):
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 256, (1, num_segments, *data_shape["video"]), dtype=np.uint8),
        "audio": rng.standard_normal((1, num_segments, *data_shape["audio"])).astype(np.float32),
    }


def with_loudness(network):
    """The network with three different fusion weights and random weights for loudness. The fusion weight of loudness is
    low, because the energies are not normalised yet and would hide everything else."""
    for name in OUTPUTS:
        network.get_layer(FUSION_LAYER.format(name)).fusion_weights.assign((0.02, 0.5, 1.0))
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(getattr(layer, "kernel_initializer", None), keras.initializers.Ones):
            layer.set_weights([rng.random(weight.shape) for weight in layer.get_weights()])
    return network


def predict(network, inputs):
    return network.predict(inputs, verbose=0)["highlight"]


@pytest.mark.parametrize("data_shape", SHAPES.values(), ids=SHAPES.keys())
def test_scores_of_any_shape_are_probabilities_and_survive_saving(tmp_path, data_shape):
    network, inputs = build_model(data_shape, num_steps=3), random_inputs(data_shape)
    network = with_loudness(network)
    scores = network.predict(inputs, verbose=0)
    assert (scores["highlight"].shape, scores["steps"].shape) == ((1, 5, 1), (1, 5, 3))
    assert ((scores["highlight"] > 0) & (scores["highlight"] < 1)).all()
    network.save(tmp_path / "network.hdf5")
    again = keras.models.load_model(tmp_path / "network.hdf5")
    np.testing.assert_array_equal(predict(again, inputs), scores["highlight"])


@pytest.mark.parametrize("kind", ["waveform", "mfcc"])
def test_a_sequences_scores_do_not_depend_on_its_batch(kind):
    network, inputs = with_loudness(build_model(SHAPES[kind])), random_inputs(SHAPES[kind])
    batch = {name: np.concatenate([array, np.flip(array, 1) // 2]) for name, array in inputs.items()}
    batch["audio"][1] *= 1000  # loud neighbours
    np.testing.assert_allclose(predict(network, batch)[:1], predict(network, inputs), atol=1e-5)


@pytest.mark.parametrize("kind", ["waveform", "mfcc"])
def test_picture_sound_and_neighbours_all_count(kind):
    network, inputs = with_loudness(build_model(SHAPES[kind])), random_inputs(SHAPES[kind])
    scores = predict(network, inputs)[0, 0]
    for changed in (
        {**inputs, "video": np.zeros_like(inputs["video"])},
        {**inputs, "audio": np.zeros_like(inputs["audio"])},
        {name: array[:, :1] for name, array in inputs.items()},
    ):
        assert np.abs(predict(network, changed)[0, 0] - scores) > 1e-4


@pytest.mark.parametrize("num_steps", [1, 3, 10])
def test_a_match_is_scored_in_windows_as_if_it_were_scored_at_once(num_steps):
    data_shape = {"video": (2, 8, 8, 3), "audio": (500,)}
    network = with_loudness(build_model(data_shape, 1000, num_steps))
    for num_segments in (1, 5, 24, 25, 61, 300):
        inputs = random_inputs(data_shape, num_segments)
        taken = iter(zip(inputs["video"][0], inputs["audio"][0], strict=True))
        scores = np.stack(list(score_segments(network, taken)))
        expected = network.predict(inputs, verbose=0)
        np.testing.assert_allclose(scores[:, :1], expected["highlight"][0], atol=1e-4)
        np.testing.assert_allclose(scores[:, 1:], expected["steps"][0], atol=1e-4)
    assert list(score_segments(network, iter(()))) == []


def test_segments_of_a_match_are_taken_as_they_are_needed():
    data_shape = {"video": (1, 4, 4, 3), "audio": (100,)}
    segment = np.zeros(data_shape["video"], np.uint8), np.zeros(data_shape["audio"], np.float32)
    segments_left = iter([segment] * 400)
    next(score_segments(build_model(data_shape, 100), segments_left))
    # A context of two segments: windows of 24 give 22 features, then 20 each, until the heads have 256.
    assert (ENCODER_WINDOW, HEADS_WINDOW) == (24, 256)
    assert len(list(segments_left)) == 400 - (24 + 12 * 20)


def test_mfccs_become_a_smoothed_log_mel_spectrogram():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.standard_normal((6, NUM_MEL_BANDS)), axis=1)
    mfcc = scipy.fft.dct(smooth, norm="ortho")
    np.testing.assert_allclose(InverseDCT(NUM_MEL_BANDS)(mfcc), smooth, atol=1e-4)
    few = np.zeros_like(mfcc)
    few[:, :40] = mfcc[:, :40]
    np.testing.assert_allclose(InverseDCT(NUM_MEL_BANDS)(mfcc[:, :40]), scipy.fft.idct(few, norm="ortho"), atol=1e-4)


def test_time_is_resampled_by_means_within_segments():
    x = np.arange(8.0).reshape(1, 8, 1)  # two segments of four
    np.testing.assert_allclose(AveragePoolToLength(4, 2)(x)[0, :, 0], [0.5, 2.5, 4.5, 6.5])
    np.testing.assert_allclose(AveragePoolToLength(4, 3)(x)[0, :3, 0], [0.25, 1.5, 2.75], atol=1e-6)
    np.testing.assert_allclose(AveragePoolToLength(2, 4)(x)[0, :, 0], np.repeat(np.arange(8.0), 2))


def test_motion_runs_across_segments():
    video = np.zeros((1, 2, 2, 1, 1, 3), np.float32)
    video[0, 1, 0] = 3
    frames = np.asarray(FrameDifference()(video))
    assert frames.shape == (4, 1, 1, 6)
    np.testing.assert_array_equal(frames[:, 0, 0, 3], [0, 0, 3, -3])


def test_loudness_is_the_power_of_a_segment_whatever_surrounds_it():
    power = np.random.default_rng(0).random((1, 12, 64)).astype(np.float32)
    loudness = np.asarray(LogEnergy(4)(np.log(power)))
    np.testing.assert_allclose(np.exp(loudness[0, :, 0]), power.reshape(3, -1).sum(axis=1), rtol=1e-4)


def test_fusion_adds_audio_and_video_in_training_and_all_modalities_by_their_weights_afterwards():
    layer, logits = LateFusion(), [np.full((1, 2, 1), value, np.float32) for value in (1, 10, 100)]
    assert np.unique(layer(logits)).tolist() == [110]
    layer.fusion_weights.assign((1.0, 0.5, 0.0))
    assert np.unique(layer(logits)).tolist() == [6]
    assert np.unique(layer(logits, training=True)).tolist() == [110]


def test_fusion_weights_are_those_of_the_lowest_loss():
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.3).astype(np.int64)
    weights = np.where(labels, 1.7, 0.7)
    signal = np.where(labels, 2.0, -2.0)[:, np.newaxis]
    # One modality is right, one is overconfident, one is random.
    logits = np.stack([signal + rng.normal(size=(400, 3)), 2 * signal + 4 * rng.normal(size=(400, 3))], axis=1)
    said = 1 / (1 + np.exp(-np.concatenate([logits, 3 * rng.normal(size=(400, 1, 3))], axis=1)))
    expected = 1 / (1 + np.exp(-(logits[:, 0] + 0.5 * logits[:, 1])))
    for num_columns in (1, 3):  # of segments, of steps
        targets = np.repeat(labels[:, np.newaxis], num_columns, axis=1)
        fusion_weights, scores = search_fusion_weights(said[:, :, :num_columns].astype(np.float32), targets, weights)
        assert fusion_weights == (1.0, 0.5, 0.0)
        np.testing.assert_allclose(scores, expected[:, :num_columns], atol=1e-4)
        assert any(
            search_fusion_weights(1 - said[:, :, :num_columns], targets, weights)[0]
        )  # even where nothing is better


def test_augmentation_is_of_training_alone():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (8, 2, 1, 6, 6, 3), dtype=np.uint8)
    plain = np.asarray(FrameAugmentation()(video))
    np.testing.assert_allclose(plain, video / 64)
    changed = np.asarray(FrameAugmentation()(video, training=True))
    # A sequence is the frames it was, or their mirror image, each channel scaled and shifted.
    for sequence, original in zip(changed, plain, strict=True):
        fits = []
        for candidate in (original, original[..., ::-1, :]):
            for channel in range(3):
                fits.append(np.corrcoef(sequence[..., channel].ravel(), candidate[..., channel].ravel())[0, 1])
        assert min(fits[:3]) > 0.999 or min(fits[3:]) > 0.999
    spectrogram = np.ones((4, 100, NUM_MEL_BANDS), np.float32)
    np.testing.assert_array_equal(SpecAugment()(spectrogram), spectrogram)
    masked = np.asarray(SpecAugment()(spectrogram, training=True))
    assert set(np.unique(masked)) == {0, 1}
    assert 0.2 < masked.mean() < 0.95


def test_the_network_has_no_lambda_and_scales_bytes_itself():
    network = build_model(SHAPES["waveform"])
    kinds = [type(layer).__name__ for layer in network.layers]
    assert "Lambda" not in kinds
    assert network.get_layer("video").dtype == "uint8"
    assert "import tensorflow" not in (ROOT / "model.py").read_text()


@pytest.mark.parametrize(
    "data_shape", [{"video": (4, 16, 16), "audio": (40, 30)}, {"video": (4, 8, 8, 3), "audio": ()}]
)
def test_wrong_shapes_are_named(data_shape):
    with pytest.raises(ValueError, match=r"data_shape: received video .* expected video \(T, H, W, 3\) and audio"):
        build_model(data_shape)


def test_training_does_not_ask_for_certainty():
    network = build_model(SHAPES["tiny"])
    compile_network(network, 0.001, 10)
    losses = [float(network.loss["steps"](np.ones((1, 1)), np.full((1, 1), score))) for score in (0.9, 0.95, 0.999)]
    assert losses[1] == min(losses)


@pytest.fixture
def checkpoint(tmp_path):
    """A callback that saves into tmp_path, with a compiled network that it watches."""
    network = build_model(SHAPES["waveform"])
    compile_network(network, 0.001, 10)
    callback = BestCheckpoint(tmp_path, "ckpt-20261124", {"config": {"segment_length": 5.0}})
    callback.set_model(network)
    return callback


def test_a_checkpoint_is_written_only_when_the_validation_loss_improves(checkpoint, tmp_path):
    written = []
    for epoch, val_loss in enumerate([float("nan"), 1.75, 1.8, 0.7, 0.8, 0.7, 0.65, 0.66, 0.5]):
        checkpoint.on_epoch_end(epoch, {"val_loss": val_loss})
        new = {path.name for path in tmp_path.iterdir()} - set(written)
        written += sorted(new)
    names = [f"ckpt-20261124-{end}.hdf5" for end in ("0002-1.7500", "0004-0.7000", "0007-0.6500", "0009-0.5000")]
    assert written == names
    assert checkpoint.best_path == str(tmp_path / names[-1])


@pytest.mark.parametrize("step", ["write_checkpoint_attributes", "replace_durably"])
@pytest.mark.parametrize("error", [OSError(28, "No space left\non device"), RuntimeError("Can't close\nfile")])
def test_a_checkpoint_appears_whole_or_not_at_all(checkpoint, tmp_path, monkeypatch, step, error):
    checkpoint.on_epoch_end(0, {"val_loss": 0.7})

    def fail(*_):
        raise error

    monkeypatch.setattr(run_folder, step, fail)
    reason = "No space left on device" if isinstance(error, OSError) else "Can't close"
    path = tmp_path / "ckpt-20261124-0002-0.5000.hdf5"
    message = f"{path}: the checkpoint cannot be written ({reason}): make room"
    with pytest.raises(OSError, match=f"^{re.escape(message)}.*--resume$"):
        checkpoint.on_epoch_end(1, {"val_loss": 0.5})
    assert [p.name for p in tmp_path.iterdir()] == ["ckpt-20261124-0001-0.7000.hdf5"]
    assert (checkpoint.best, checkpoint.best_path) == (0.7, str(tmp_path / "ckpt-20261124-0001-0.7000.hdf5"))
    monkeypatch.undo()
    checkpoint.on_epoch_end(1, {"val_loss": 0.5})
    assert checkpoint.best_path == str(path)


def test_a_checkpoint_needs_no_file_locks(checkpoint, tmp_path):
    """As on a network drive without locks: somebody else holds the locks of all files."""
    folder = tmp_path / "{network} drive"
    folder.mkdir()
    callback = BestCheckpoint(folder, "run", {})
    callback.set_model(checkpoint.model)
    part = folder / ".run.part.hdf5"
    part.touch()
    with open(part) as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        callback.on_epoch_end(0, {"val_loss": 0.5})
        assert read_checkpoint_attributes(callback.best_path)["val_loss"] == 0.5
        weights = load_checkpoint(callback.best_path).get_weights()
    for received, expected in zip(weights, checkpoint.model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_a_checkpoint_tells_of_its_data_and_predicts_the_same_in_a_new_process(checkpoint, tmp_path):
    checkpoint.on_epoch_end(2, {"val_loss": 0.25})
    attributes = read_checkpoint_attributes(checkpoint.best_path)
    assert attributes == {"config": {"segment_length": 5.0}, "epoch": 3, "val_loss": 0.25}
    inputs = random_inputs(SHAPES["waveform"])
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = (
        "import sys, numpy as np\nfrom videosummarizer.training import inference\n"
        "inputs = dict(np.load(sys.argv[2]))\n"
        "np.save(sys.argv[3], inference.load_checkpoint(sys.argv[1]).predict(inputs, verbose=0)['highlight'])"
    )
    paths = [checkpoint.best_path, str(tmp_path / "inputs.npz"), str(tmp_path / "scores.npy")]
    result = subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr == ""  # TensorFlow's start-up chatter is kept off the screen
    scores = predict(checkpoint.model, inputs)
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), scores)


def test_files_that_are_no_checkpoint_are_named(checkpoint, tmp_path):
    text = tmp_path / "text.hdf5"
    text.write_text("no HDF5")
    with pytest.raises(CheckpointError, match=r"text\.hdf5: cannot be read as a checkpoint"):
        load_checkpoint(text)
    with pytest.raises(CheckpointError, match=r"nothing\.hdf5: cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "nothing.hdf5")
    foreign = tmp_path / "foreign.hdf5"
    h5py.File(foreign, "w").close()
    with pytest.raises(CheckpointError, match="without this toolkit's attributes"):
        load_checkpoint(foreign)
    checkpoint.on_epoch_end(0, {"val_loss": 0.5})
    os.truncate(checkpoint.best_path, 50_000)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_checkpoint(checkpoint.best_path)
    write_checkpoint_attributes(foreign, {})
    with pytest.raises(CheckpointError, match=r"foreign\.hdf5: the network in it cannot be read"):
        load_checkpoint(foreign)


def test_an_untrusted_checkpoint_executes_nothing(tmp_path):
    path = tmp_path / "evil.hdf5"
    x = keras.Input((1,))
    keras.Model(x, keras.layers.Lambda(lambda x: x)(x)).save(path)
    write_checkpoint_attributes(path, {})
    with pytest.raises(CheckpointError, match=r"evil\.hdf5: the network in it has the layer Lambda"):
        load_checkpoint(path)
