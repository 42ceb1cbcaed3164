"""Training steps on the device: several in a call train as one after the other, and nothing is compiled twice."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from small_network import build_small_network

from data_loader import DataLoader
from videosummarizer.training import compiled_steps, keras_backend, optimization, training_run

DATA_SHAPE = {"video": (1, 2, 2, 3), "audio": (40,)}
NUM_STEPS = 3
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import test_compiled_steps
print(json.dumps([test_compiled_steps.train(steps_per_call) for steps_per_call in (1, 3)]))
"""


def make_batch(seed):
    rng = np.random.default_rng(seed)
    inputs = {
        "video": rng.integers(0, 256, (2, 4, *DATA_SHAPE["video"]), dtype=np.uint8),
        "audio": rng.normal(size=(2, 4, *DATA_SHAPE["audio"])).astype(np.float32),
    }
    targets = {
        "highlight": (rng.random((2, 4, 1)) < 0.4).astype(np.float32),
        "steps": rng.random((2, 4, NUM_STEPS)).astype(np.float32),
    }
    return inputs, targets, rng.uniform(0.5, 3, (2, 4)).astype(np.float32)


def make_steps(steps_per_call=1):
    keras_backend.reset_keras(0)
    network = build_small_network(DATA_SHAPE, 100, NUM_STEPS)
    optimization.compile_network(network, 0.01, 10)
    return compiled_steps.CompiledSteps(network, optimization.ExponentialMovingAverage(network), steps_per_call)


def train(steps_per_call):
    """Train on four batches, then on five: the losses, what counts steps, and whether only the first ones compiled."""
    steps = make_steps(steps_per_call)
    batches, seen, traced = [make_batch(seed) for seed in range(5)], [], []
    update = steps.average.update
    steps.average.update = lambda: traced.append(1) or update()  # called only while a step is compiled
    losses, num_traced = [], []
    for number in (4, 5):
        losses.append(optimization.train_epoch(steps, batches[:number], lambda: seen.append(1)))
        num_traced.append(len(traced))
    counts = [len(seen), int(steps.network.optimizer.iterations), int(steps.average.num_updates)]
    return losses, counts, 0 < num_traced[0] == num_traced[1]


def check(results):
    (losses, *others), (losses_of_calls, *others_of_calls) = results
    assert losses_of_calls == pytest.approx(losses, rel=1e-4)
    assert others == others_of_calls == [[9, 9, 9], True]


def test_steps_that_share_a_call_train_as_one_after_the_other():
    check([train(1), train(3)])


def test_steps_that_share_a_call_train_as_one_after_the_other_on_jax():
    environ = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    tests_dir = Path(__file__).parent
    command = [sys.executable, "-c", PROGRAM, str(tests_dir)]
    result = subprocess.run(command, env=environ, cwd=tests_dir.parent, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    check(json.loads(result.stdout))


def test_the_average_includes_each_step():
    steps = make_steps()
    expected = steps.network.get_weights()
    for number in range(1, 4):
        optimization.train_epoch(steps, [make_batch(number)], lambda: None)
        expected = [e + 9 / (9 + number) * (w - e) for e, w in zip(expected, steps.network.get_weights(), strict=True)]
    for value, by_hand in zip(steps.average.values, expected, strict=True):
        np.testing.assert_allclose(value.numpy(), by_hand, rtol=1e-4, atol=1e-6)


def test_each_output_has_the_target_of_its_kind():
    steps = make_steps()
    inputs, targets, weights = make_batch(0)
    received_inputs, received_targets, received_weights = steps.put((inputs, targets, weights))
    assert set(received_targets) == set(steps.network.output_names)
    for name, target in received_targets.items():
        expected = targets["steps" if name.endswith("steps") else "highlight"]
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(target), expected)
    for name, array in inputs.items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(received_inputs[name]), array)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(received_weights), weights)


@pytest.mark.parametrize(("steps_per_call", "last"), [(1, 1), (3, 3)])
def test_batches_of_steps_that_share_a_call_have_one_shape(steps_per_call, last, dataset_dir, monkeypatch):
    monkeypatch.setattr(compiled_steps, "choose_steps_per_call", lambda: steps_per_call)
    loader = DataLoader(dataset_dir, batch_size=3 * 8)
    loader.context = dataclasses.replace(loader.context, sequence_length=8)
    network = build_small_network(loader.data_shape, 4000, loader.num_steps)
    optimization.compile_network(network, 0.01, 10)
    average = optimization.ExponentialMovingAverage(network)
    steps, batches = training_run.make_steps(network, average, loader, None)
    assert [len(weights) for _, _, weights in batches] == [3, last]
    assert optimization.train_epoch(steps, batches.augmented(), lambda: None) > 0
    assert int(average.num_updates) == len(batches)


def test_an_error_in_reading_a_batch_ends_the_epoch():
    def batches():
        yield make_batch(0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        optimization.train_epoch(make_steps(), batches(), lambda: None)


@pytest.mark.parametrize(
    ("devices", "expected"), [(["cpu:0"], 1), (["gpu:0"], 8), (["cpu:0", "gpu:0", "gpu:1"], 8), (["tpu:0"], 8)]
)
def test_the_device_decides_how_many_steps_share_a_call(devices, expected, monkeypatch):
    distribution = SimpleNamespace(list_devices=lambda: devices)
    monkeypatch.setattr(keras_backend, "keras", SimpleNamespace(distribution=distribution))
    assert compiled_steps.choose_steps_per_call() == expected
    assert keras.distribution.list_devices() == ["cpu:0"]
