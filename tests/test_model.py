"""The network for any data shape, and its checkpoints."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import segments
from model import BestCheckpoint, build_model, load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {
    "waveform": {"video": (4, 16, 24, 3), "audio": (4000,)},
    "mfcc": {"video": (4, 16, 24, 3), "audio": (40, 30)},
    "tiny": {"video": (1, 1, 1, 3), "audio": (3,)},
    "odd": {"video": (3, 7, 5, 3), "audio": (40, 1)},
    "one sample short of a hop": {"video": (2, 8, 8, 3), "audio": (2047,)},
}


def random_inputs(data_shape, num_segments=5):
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 256, (num_segments, *data_shape["video"]), dtype=np.uint8),
        "audio": rng.standard_normal((num_segments, *data_shape["audio"])).astype(np.float32),
    }


@pytest.mark.parametrize("data_shape", SHAPES.values(), ids=SHAPES.keys())
def test_scores_of_any_shape_are_probabilities_and_survive_saving(tmp_path, data_shape):
    network, inputs = build_model(data_shape), random_inputs(data_shape)
    scores = network.predict(inputs, verbose=0)
    assert scores.shape == (5, 1)
    assert ((scores > 0) & (scores < 1)).all()
    network.save(tmp_path / "network.hdf5")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "network.hdf5").predict(inputs, verbose=0), scores)


@pytest.mark.parametrize("kind", ["waveform", "mfcc"])
def test_a_segments_score_does_not_depend_on_its_batch(kind):
    network, inputs = build_model(SHAPES[kind]), random_inputs(SHAPES[kind])
    inputs["audio"][1:] *= 1000  # loud neighbours
    alone = network.predict({name: array[:1] for name, array in inputs.items()}, verbose=0)
    np.testing.assert_allclose(network.predict(inputs, verbose=0)[:1], alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["waveform", "mfcc"])
def test_picture_and_sound_both_count(kind):
    network, inputs = build_model(SHAPES[kind]), random_inputs(SHAPES[kind])
    scores = network.predict(inputs, verbose=0)
    for name in ("video", "audio"):
        changed = {**inputs, name: np.zeros_like(inputs[name])}
        assert np.abs(network.predict(changed, verbose=0) - scores).max() > 1e-4


def test_the_network_has_no_lambda_and_scales_bytes_itself():
    network = build_model(SHAPES["waveform"])
    kinds = [type(layer).__name__ for layer in network.layers]
    assert "Lambda" not in kinds
    assert "Rescaling" in kinds
    assert network.get_layer("video").dtype == "uint8"
    assert "import tensorflow" not in (ROOT / "model.py").read_text()


@pytest.mark.parametrize(
    "data_shape", [{"video": (4, 16, 16), "audio": (40, 30)}, {"video": (4, 8, 8, 3), "audio": ()}]
)
def test_wrong_shapes_are_named(data_shape):
    with pytest.raises(ValueError, match=r"data_shape: received video .* expected video \(T, H, W, 3\) and audio"):
        build_model(data_shape)


@pytest.fixture
def checkpoint(tmp_path):
    """A callback that saves into tmp_path, with a compiled network that it watches."""
    network = build_model(SHAPES["waveform"])
    network.compile("adam", "binary_crossentropy")
    callback = BestCheckpoint(tmp_path, "ckpt-20261124", {"config": {"segment_length": 5.0}})
    callback.set_model(network)
    return callback


def test_a_checkpoint_is_written_only_when_the_validation_loss_improves(checkpoint, tmp_path):
    written = []
    for epoch, val_loss in enumerate([float("nan"), 0.7, 0.8, 0.7, 0.65, 0.66, 0.5]):
        checkpoint.on_epoch_end(epoch, {"val_loss": val_loss})
        new = {path.name for path in tmp_path.iterdir()} - set(written)
        written += sorted(new)
    names = ["ckpt-20261124-0002-0.7000.hdf5", "ckpt-20261124-0005-0.6500.hdf5", "ckpt-20261124-0007-0.5000.hdf5"]
    assert written == names
    assert checkpoint.best_path == str(tmp_path / names[-1])


def test_a_checkpoint_appears_whole_or_not_at_all(checkpoint, tmp_path, monkeypatch):
    checkpoint.on_epoch_end(0, {"val_loss": 0.7})

    def write_checkpoint_attributes(path, attributes):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments, "write_checkpoint_attributes", write_checkpoint_attributes)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.on_epoch_end(1, {"val_loss": 0.5})
    assert [p.name for p in tmp_path.glob("ckpt*")] == ["ckpt-20261124-0001-0.7000.hdf5"]
    assert checkpoint.best_path.endswith("0001-0.7000.hdf5")


def test_a_checkpoint_tells_of_its_data_and_predicts_the_same_in_a_new_process(checkpoint, tmp_path):
    checkpoint.on_epoch_end(2, {"val_loss": 0.25})
    attributes = segments.read_checkpoint_attributes(checkpoint.best_path)
    assert attributes == {"config": {"segment_length": 5.0}, "epoch": 3, "val_loss": 0.25}
    inputs = random_inputs(SHAPES["waveform"])
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = (
        "import sys, numpy as np, model\n"
        "inputs = dict(np.load(sys.argv[2]))\n"
        "np.save(sys.argv[3], model.load_checkpoint(sys.argv[1]).predict(inputs, verbose=0))"
    )
    paths = [checkpoint.best_path, str(tmp_path / "inputs.npz"), str(tmp_path / "scores.npy")]
    result = subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr == ""  # TensorFlow's start-up chatter is kept off the screen
    scores = checkpoint.model.predict(inputs, verbose=0)
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), scores)


def test_files_that_are_no_checkpoint_are_named(checkpoint, tmp_path):
    text = tmp_path / "text.hdf5"
    text.write_text("no HDF5")
    with pytest.raises(segments.CheckpointError, match=r"text\.hdf5: cannot be read as a checkpoint"):
        load_checkpoint(text)
    with pytest.raises(segments.CheckpointError, match=r"nothing\.hdf5: cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "nothing.hdf5")
    foreign = tmp_path / "foreign.hdf5"
    h5py.File(foreign, "w").close()
    with pytest.raises(segments.CheckpointError, match="without this toolkit's attributes"):
        load_checkpoint(foreign)
    checkpoint.on_epoch_end(0, {"val_loss": 0.5})
    os.truncate(checkpoint.best_path, 50_000)
    with pytest.raises(segments.CheckpointError, match="cannot be read as a checkpoint"):
        load_checkpoint(checkpoint.best_path)
    segments.write_checkpoint_attributes(foreign, {})
    with pytest.raises(segments.CheckpointError, match=r"foreign\.hdf5: the network in it cannot be read"):
        load_checkpoint(foreign)


def test_a_strangers_checkpoint_runs_nothing(tmp_path):
    path = tmp_path / "evil.hdf5"
    network = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x)])
    network.save(path)
    segments.write_checkpoint_attributes(path, {})
    with pytest.raises(segments.CheckpointError, match=r"evil\.hdf5: the network in it has the layer Lambda"):
        load_checkpoint(path)
