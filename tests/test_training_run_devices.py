"""When a training run uses several devices or processes, and what depends on the backend of Keras."""

import functools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_training import OUTPUTS, loss_of, scores_with

import main as trainer
from videosummarizer.training import run_folder, training_run
from videosummarizer.training.keras_backend import keras
from videosummarizer.training.validation import TrainingError


def backend_is(monkeypatch, name, num_devices):
    monkeypatch.setattr(keras.backend, "backend", lambda: name)
    monkeypatch.setattr(keras.distribution, "get_device_count", lambda: num_devices, raising=False)


@pytest.mark.parametrize(
    ("backend", "num_devices", "coordinator", "has_workers"),
    [("jax", 1, None, False), ("jax", 2, None, True), ("jax", 1, "a:1", True), ("tensorflow", 2, None, False)],
)
def test_workers_are_there_for_several_devices_of_jax(backend, num_devices, coordinator, has_workers, monkeypatch):
    backend_is(monkeypatch, backend, num_devices)

    class DistributionError(Exception):
        pass

    made = SimpleNamespace(DataParallelRun=lambda *arguments: arguments, DistributionError=DistributionError)
    monkeypatch.setitem(sys.modules, "videosummarizer.training.distribution", made)
    monkeypatch.setattr("videosummarizer.training.distribution", made, raising=False)
    workers = training_run.init_distribution(coordinator, 3, 1, {"--seed": 0}, 8)
    assert workers == ((coordinator, 3, 1, {"--seed": 0}, 8) if has_workers else None)
    if has_workers:

        def refuse(*arguments):
            raise DistributionError("these cannot")

        made.DataParallelRun = refuse
        with pytest.raises(TrainingError, match="these cannot"):
            training_run.init_distribution(coordinator, 3, 1, {}, 8)


def test_another_backend_than_tensorflow_writes_no_events(monkeypatch, tmp_path):
    events = functools.partial(run_folder.make_event_log, tmp_path)
    assert type(events()) is keras.callbacks.TensorBoard
    backend_is(monkeypatch, "jax", 1)
    assert type(events()) is keras.callbacks.Callback


# ---- Several processes


def test_processes_have_to_continue_after_the_same_epoch(play, monkeypatch):
    shared = []
    monkeypatch.setattr(training_run, "init_distribution", lambda *arguments: shared.append(arguments[3]))
    play([scores_with(0.7)] * 2, stop_in=2)
    play([scores_with(0.7)] * 2, "--resume", first_epoch=2)
    assert [settings["finished epochs"] for settings in shared] == [0, 1]


class Workers:
    """Stands for distribution.DataParallelRun: this process is one of two."""

    def __init__(self, process_id):
        self.shard, self.is_shut_down = (process_id, 2), False

    def to_devices(self, array):
        raise NotImplementedError  # no batch is trained

    def predict_outputs(self, network, loader, subset, names):
        assert (subset, tuple(names)) == ("valid", OUTPUTS)
        return np.repeat(scores_with(0.7)[:, np.newaxis], 3, axis=1)

    def shutdown(self):
        self.is_shut_down = True


@pytest.mark.parametrize("process_id", [0, 1])
def test_of_several_processes_the_first_writes_and_all_score_together(process_id, play, monkeypatch, tmp_path, capsys):
    made = []

    def find_workers(coordinator, num_processes, received_id, settings, sequence_length):
        assert (coordinator, num_processes, received_id, sequence_length) == ("127.0.0.1:1", 2, process_id, 15)
        made.append((Workers(process_id), settings))
        return made[0][0]

    monkeypatch.setattr(training_run, "init_distribution", find_workers)
    monkeypatch.setattr(trainer, "require_backend", lambda args: None)
    flags = ["--coordinator", "127.0.0.1:1", "--num_processes", "2", "--process_id", str(process_id)]
    script = play([scores_with(0.9)] * 3, *flags, "--patience", "1")  # stops after two
    ((workers, settings),) = made
    assert workers.is_shut_down
    assert (script.status, len(script.seen)) == (0, 2)
    assert (settings["--patience"], settings["finished epochs"], settings["--epochs"]) == (1, 0, 3)
    assert settings["--batch_size"] == 30  # two sequences of 15
    assert script.shards[-1] == ("train", (process_id, 2))
    assert script.bars[0]["disable"] is (process_id == 1)
    out = capsys.readouterr().out
    if process_id == 0:
        assert float(script.rows[0]["val_loss"]) == pytest.approx(loss_of(scores_with(0.7)))
        assert "Stopped: no lower validation loss in 1 epochs (--patience)" in out
        assert script.tested == str(script.checkpoints[0])
    else:
        assert (out, script.rows, hasattr(script, "tested")) == ("", [], False)
        assert not (tmp_path / "ckpt" / "resume.npz").exists()
