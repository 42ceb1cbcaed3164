"""The network that main.py trains: its shape, its first weights, and those of --init_ckpt."""

import numpy as np
import pytest
from conftest import TITLES
from test_data_loader import write_dataset

import main as trainer
import model
from data_loader import DataLoader
from videosummarizer.training import optimization
from videosummarizer.training.checkpoint import write_checkpoint_attributes
from videosummarizer.training.keras_backend import keras
from videosummarizer.training.validation import TrainingError


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset", {title: [0, 1, 0] for titles in TITLES.values() for title in titles})


def parse(dataset, *flags):
    return trainer.parse_args(["--data_dir", str(dataset), *flags])


def make(loader, *flags):
    args = trainer.parse_args(["--epochs", "1", "--learning_rate", "0.01", *flags])
    keras.utils.set_random_seed(args.seed)
    return trainer.make_network(args, loader)


def test_the_network_is_built_for_the_data_and_compiled_for_all_updates(small_network, dataset_dir, monkeypatch):
    compiled, plain = [], optimization.compile_network
    monkeypatch.setattr(
        optimization, "compile_network", lambda *arguments: compiled.append(arguments) or plain(*arguments)
    )
    network = make(DataLoader(dataset_dir, batch_size=8), "--learning_rate", "0.02", "--epochs", "7")
    assert network.input["audio"].shape[2:] == (4000,)
    assert network.output["steps"].shape[-1] == 2
    ((received, learning_rate, num_updates, has_undecided),) = compiled
    assert (received, learning_rate, num_updates, has_undecided) == (
        network,
        0.02,
        7 * 4,
        False,
    )  # 4 sequences of 8 per epoch, see below


def test_the_real_network_hears_at_the_datasets_rate(dataset_dir, monkeypatch):
    built = []
    monkeypatch.setattr(model, "build_model", lambda *arguments: built.append(arguments))
    monkeypatch.setattr(optimization, "compile_network", lambda *arguments: None)
    trainer.make_network(trainer.parse_args(["--epochs", "1"]), DataLoader(dataset_dir))
    assert built == [({"video": (2, 16, 16, 3), "audio": (4000,)}, 4000, 2, (1, 2, 4, 8))]


def num_convolutions(network, modality):
    return [layer.dilation_rate[0] for layer in network.layers if f"{modality}_temporal_convolution" in layer.name]


def test_a_new_network_sees_as_far_as_the_datasets_highlights_are_long(dataset, dataset_dir):
    for folder, dilations in ((dataset, [1, 2]), (dataset_dir, [1, 2, 4, 8])):  # highlights of 1 s, of 3 s
        network = make(DataLoader(folder))
        assert num_convolutions(network, "audio") == num_convolutions(network, "video") == dilations


@pytest.mark.parametrize("dilations", [(1, 2), (1, 2, 4, 8, 16, 32)])
def test_a_fine_tuned_network_keeps_the_dilations_of_its_checkpoint(dataset_dir, tmp_path, monkeypatch, dilations):
    loader, path = DataLoader(dataset_dir), tmp_path / "other.hdf5"
    assert loader.context.dilations == (1, 2, 4, 8)
    other = model.build_model(loader.data_shape, 4000, 2, dilations)
    other.save(path)
    write_checkpoint_attributes(path, {"config": loader.config.to_dict()})
    # It would drop the distribution of several processes.
    monkeypatch.setattr(keras.utils, "clear_session", lambda: pytest.fail("Keras was reset"))
    tuned = make(loader, "--init_ckpt", str(path))
    assert num_convolutions(tuned, "audio") == num_convolutions(tuned, "video") == list(dilations)
    for weights, expected in zip(tuned.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)


def test_init_ckpt_gives_the_first_weights(small_network, dataset_dir, tmp_path):
    loader = DataLoader(dataset_dir)
    other, path = make(loader, "--seed", "4"), tmp_path / "other.hdf5"
    other.save(path)
    write_checkpoint_attributes(path, {"config": loader.config.to_dict()})
    new, tuned = make(loader), make(loader, "--init_ckpt", str(path))
    for weights, expected in zip(tuned.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)
    assert any((a != b).any() for a, b in zip(new.get_weights(), tuned.get_weights(), strict=True))
    assert tuned.optimizer is not None
    write_checkpoint_attributes(path, {"config": {**loader.config.to_dict(), "apply_mfcc": True}})
    with pytest.raises(TrainingError, match=r"other\.hdf5 trained on a dataset with .*'apply_mfcc': True"):
        make(loader, "--init_ckpt", str(path))


def test_init_ckpt_of_another_network_is_refused(small_network, dataset_dir, tmp_path):
    loader, path = DataLoader(dataset_dir), tmp_path / "other.hdf5"
    inputs = keras.Input((1,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(path)
    write_checkpoint_attributes(path, {"config": loader.config.to_dict()})
    with pytest.raises(TrainingError, match=r"--init_ckpt: .*other\.hdf5 holds another version's network"):
        make(loader, "--init_ckpt", str(path))


def trained_weights(monkeypatch, dataset, tmp_path, *flags):
    """The weights that training starts with, after other numbers were drawn and other layers named."""
    found = []

    class Stop(Exception):
        pass

    def train_epoch(steps, batches, on_batch):
        found.extend(steps.network.get_weights())
        raise Stop

    monkeypatch.setattr(optimization, "train_epoch", train_epoch)
    args = parse(dataset, "--ckpt_dir", str(tmp_path / "ckpt"), *flags)
    with pytest.raises(Stop):
        trainer.train(args, trainer.load_data(args))
    return found


def test_the_seed_decides_the_first_weights(small_network, dataset, tmp_path, monkeypatch):
    first, again, other = (trained_weights(monkeypatch, dataset, tmp_path, "--seed", seed) for seed in "335")
    for weights, expected in zip(first, again, strict=True):
        np.testing.assert_array_equal(weights, expected)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_layers_of_a_run_are_numbered_from_zero(small_network, dataset, tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(
        optimization, "compile_network", lambda network, *_: names.append([layer.name for layer in network.layers])
    )
    monkeypatch.setattr(trainer, "checkpoint_attributes", lambda args, loader: 1 / 0)  # ends the run
    args = parse(dataset, "--ckpt_dir", str(tmp_path / "ckpt"))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            trainer.train(args, trainer.load_data(args))
    path = tmp_path / "other.hdf5"
    make(DataLoader(dataset)).save(path)
    write_checkpoint_attributes(path, {"config": DataLoader(dataset).config.to_dict()})
    args = parse(dataset, "--ckpt_dir", str(tmp_path / "ckpt"), "--init_ckpt", str(path))
    with pytest.raises(ZeroDivisionError):
        trainer.train(args, trainer.load_data(args))
    assert names[0] == names[1] == names[3]
    assert "dense" in names[0]
