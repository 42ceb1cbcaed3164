"""How the best checkpoint of a run is kept."""

import h5py
import keras
import numpy as np
import pytest

from videosummarizer.training import inference
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint_attributes
from videosummarizer.training.run_folder import BestCheckpoint


@pytest.fixture(scope="module")
def network():
    x = keras.Input((2,))
    network = keras.Model(x, keras.layers.Dense(1)(x))
    network.compile("sgd", "mse")
    return network


@pytest.fixture
def make_callback(tmp_path, network):
    def make(folder=tmp_path):
        callback = BestCheckpoint(folder, "run", {"config": {"a": 1}, "operating_point": {"threshold": 0.25}})
        callback.set_model(network)
        return callback

    return make


def test_a_checkpoint_holds_what_was_true_in_its_epoch(make_callback, tmp_path, network):
    callback = make_callback()
    assert callback.best_path is None
    network.set_weights([np.array([[1.0], [2.0]]), np.array([3.0])])
    callback.on_epoch_end(11, {"val_loss": 0.123456, "loss": 0.01})
    network.set_weights([np.array([[4.0], [5.0]]), np.array([6.0])])
    callback.on_epoch_end(12, {"val_loss": 0.2, "loss": 0.001})
    assert [path.name for path in tmp_path.iterdir()] == ["run-0012-0.1235.hdf5"]
    assert callback.best_path == str(tmp_path / "run-0012-0.1235.hdf5")
    loaded = inference.load_checkpoint(callback.best_path)
    assert [weight.ravel().tolist() for weight in loaded.get_weights()] == [[1, 2], [3]]
    assert not loaded.compiled
    assert loaded.jit_compile is (keras.backend.backend() == "jax")
    assert read_checkpoint_attributes(callback.best_path) == {
        "config": {"a": 1},
        "operating_point": {"threshold": 0.25},
        "epoch": 12,
        "val_loss": 0.123456,
    }


def test_a_resumed_run_saves_only_what_is_better_than_before_even_in_a_folder_that_moved(make_callback, tmp_path):
    before = make_callback()
    before.on_epoch_end(0, {"val_loss": 0.5})
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "run-0001-0.5000.hdf5"
    (tmp_path / "run-0001-0.5000.hdf5").rename(moved)
    again = make_callback(tmp_path / "moved")
    again.resume(before.best_path, 0.5)
    assert again.best_path == str(moved)
    again.on_epoch_end(1, {"val_loss": 0.6})
    assert [path.name for path in moved.parent.iterdir()] == [moved.name]
    again.on_epoch_end(2, {"val_loss": 0.4})
    assert again.best_path == str(moved.parent / "run-0003-0.4000.hdf5")


@pytest.mark.parametrize("best_path", ["run-0001-0.5000.hdf5", None])
def test_a_resumed_run_whose_best_checkpoint_is_gone_saves_the_next(make_callback, tmp_path, best_path):
    again = make_callback()
    again.resume(best_path, 0.5)
    assert again.best_path is None
    again.on_epoch_end(1, {"val_loss": 0.6})
    assert again.best_path == str(tmp_path / "run-0002-0.6000.hdf5")


def test_a_loaded_network_whose_weights_are_of_another_shape_is_refused(make_callback, tmp_path):
    callback = make_callback()
    callback.on_epoch_end(0, {"val_loss": 0.5})
    with h5py.File(callback.best_path, "r+") as file:
        [group] = [group for group in file["model_weights"].values() if len(group.attrs["weight_names"])]
        name = group.attrs["weight_names"][0]
        del group[name]
        group[name] = np.zeros((3, 1), np.float32)
    with pytest.raises(CheckpointError, match=r"0\.5000\.hdf5: the network in it cannot be read \("):
        inference.load_checkpoint(callback.best_path)
