"""When a training run uses several devices, and what depends on the backend of Keras."""

import functools
import sys
from types import SimpleNamespace

import pytest

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
