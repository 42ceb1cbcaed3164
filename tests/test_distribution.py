"""Two processes on this machine train one network, as two machines would."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_data_loader import open_in_sequences

import main as trainer
from data_loader import DataLoader
from videosummarizer.training import validation
from videosummarizer.training.checkpoint import read_checkpoint_attributes
from videosummarizer.training.inference import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
# The trainer's own command with the small network, which also keeps the weights that each process ends an epoch's
# steps with.
PROGRAM = """
import sys
import numpy as np
import main, model, small_network
from videosummarizer.training import optimization

model.build_model = small_network.build_small_network

def train_epoch(steps, batches, on_batch, plain=optimization.train_epoch):
    loss = plain(steps, batches, on_batch)
    np.savez(sys.argv[1], *steps.network.get_weights())
    return loss

if sys.argv[1] != "-":
    optimization.train_epoch = train_epoch
status = main.main(sys.argv[2:])
print("loaded:", "videosummarizer.training.distribution" in sys.modules, file=sys.stderr)
sys.exit(status)
"""


def start(weights_path, *arguments, backend="jax"):
    """The program, running; compiled in a hurry, for a few steps are not worth more."""
    environ = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    command = [sys.executable, "-c", PROGRAM, str(weights_path), *map(str, arguments)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """(stdout, stderr) of a process that ended well."""
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return stdout, stderr


def together(port, process_id):
    return ["--coordinator", f"127.0.0.1:{port}", "--num_processes", "2", "--process_id", process_id]


@pytest.fixture(scope="module")
def runs(dataset_dir, tmp_path_factory):
    """The folder in which two processes, 0 and 1, and one process alone trained for an epoch, and what they said."""
    folder = tmp_path_factory.mktemp("runs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--data_dir", dataset_dir, "--epochs", "1", "--ckpt_dir"]
    processes = {
        name: start(folder / f"{name}.npz", *flags, folder / f"ckpt_{name}", *more)
        for name, more in (("0", together(port, 0)), ("1", together(port, 1)), ("alone", []))
    }
    return folder, {name: finish(process) for name, process in processes.items()}


def read_weights(folder, name):
    with np.load(folder / f"{name}.npz") as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]


def read_history(folder, name):
    with open(folder / f"ckpt_{name}" / "history.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_processes_hold_equal_weights(runs):
    folder, _ = runs
    for first, second in zip(read_weights(folder, "0"), read_weights(folder, "1"), strict=True):
        np.testing.assert_array_equal(first, second)


def test_two_processes_learn_what_one_does(runs):
    folder, _ = runs
    (row,), (expected,) = read_history(folder, "0"), read_history(folder, "alone")
    assert row["loss"] == pytest.approx(expected["loss"], abs=1e-4)
    assert row["val_loss"] == pytest.approx(expected["val_loss"], abs=1e-4)
    for weights, alone in zip(read_weights(folder, "0"), read_weights(folder, "alone"), strict=True):
        np.testing.assert_allclose(weights, alone, atol=1e-3)


def test_only_process_0_writes(runs):
    folder, said = runs
    assert not (folder / "ckpt_1").exists()
    assert len(list((folder / "ckpt_0").glob("*.hdf5"))) == 1
    for name in ("history.csv", "history.png", "resume.npz", "test_report.json", "predictions.csv"):
        assert (folder / "ckpt_0" / name).exists()
    assert "Look at:" in said["0"][0]
    assert [line for line in said["1"][0].splitlines() if "[Gloo]" not in line] == []  # Gloo's own greeting
    assert said["1"][1] == "loaded: True\n"


def test_one_process_on_one_device_loads_nothing_of_it(runs):
    assert runs[1]["alone"][1].endswith("loaded: False\n")


def test_a_checkpoint_of_jax_is_one_of_tensorflow(runs, dataset_dir, tmp_path):
    (path,) = (runs[0] / "ckpt_0").glob("*.hdf5")
    assert set(read_checkpoint_attributes(path)["versions"]) == {"keras", "jax", "numpy"}
    scores, _ = validation.predict(load_checkpoint(path), DataLoader(dataset_dir), "test")
    with open(runs[0] / "ckpt_0" / "predictions.csv", newline="") as file:
        expected = [float(row["score"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_a_processs_shard_is_its_rows_of_each_batch(dataset_dir):
    loader = open_in_sequences(dataset_dir, 8, batch_size=24)  # 4 sequences of 8, 3 of them in a batch
    whole, shards = loader.batches("train"), [loader.batches("train", (number, 3)) for number in range(3)]
    assert [len(batches) for batches in (whole, *shards)] == [2, 2, 2, 2]
    epochs = iter(range(100))
    while not whole.shift_steps.all():  # the same shift in every process
        epoch = next(epochs)
        for batches in (whole, *shards):
            batches.start_epoch(epoch)
    whole = list(whole.augmented())
    for number, shard in enumerate(list(shard.augmented()) for shard in shards):
        inputs, targets, weights = shard[0]
        expected = whole[0]
        for name in ("video", "audio"):
            np.testing.assert_array_equal(inputs[name], expected[0][name][number : number + 1])
        np.testing.assert_array_equal(targets["highlight"], expected[1]["highlight"][number : number + 1])
        np.testing.assert_array_equal(weights, expected[2][number : number + 1])
        # The last batch has one sequence: the others get it too, and it counts once.
        inputs, _, weights = shard[1]
        np.testing.assert_array_equal(inputs["audio"], whole[1][0]["audio"])
        np.testing.assert_array_equal(weights, whole[1][2] * (number == 0))


ALL_THREE = ["--coordinator", "127.0.0.1:9", "--num_processes", "2", "--process_id", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (ALL_THREE[:2], "go together"),
        (ALL_THREE[2:], "go together"),
        ([*ALL_THREE[:5], "2"], "received 2 of 2 processes"),
        (["--coordinator", "127.0.0.1", *ALL_THREE[2:]], "expected HOST:PORT"),
        ([*ALL_THREE, "--mode", "test", "--ckpt", "a.hdf5"], "a test runs in one process"),
    ],
)
def test_flags_of_several_processes_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        trainer.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "arguments", "message"),
    [("tensorflow", ALL_THREE, "expected jax: put KERAS_BACKEND=jax"), ("nonesuch", [], "pip install nonesuch")],
)
def test_a_backend_that_cannot_do_it_is_told_in_a_line(backend, arguments, message, monkeypatch, caplog):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert trainer.main(arguments) == 1
    (record,) = caplog.records
    assert message in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_host_that_is_none_is_told_in_a_line(dataset_dir, tmp_path):
    arguments = ["--coordinator", "256.0.0.1:80", "--num_processes", "2", "--process_id", "1"]
    process = start("-", "--data_dir", dataset_dir, "--ckpt_dir", tmp_path, *arguments)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "--coordinator: received 256.0.0.1:80, expected 2 processes to meet there" in stderr.splitlines()[0]
