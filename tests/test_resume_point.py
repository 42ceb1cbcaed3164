"""The file from which an interrupted run continues."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from videosummarizer.training import resume_point
from videosummarizer.training.resume_point import FILE_NAME, ResumeError, TrainingState

SETTINGS = {"--seed": 3, "--split": [0.6, 0.2], "data config": {"segment_length": 1.5}, "segments": [4, 3, 2]}


def make_network(num_units=2):
    """A compiled network with dropout, whose random state is one of its variables, and normalisation."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    features = keras.layers.BatchNormalization()(keras.layers.Dense(num_units)(inputs))
    features = keras.layers.Dropout(0.5)(features)
    # Of two outputs: the metrics of each are variables that the first batch makes.
    network = keras.Model(inputs, {name: keras.layers.Dense(1, name=name)(features) for name in ("first", "second")})
    network.compile(keras.optimizers.AdamW(0.1), {"first": "mse", "second": "mae"})
    network.optimizer.build(network.trainable_variables)
    return network


def train(network, average, num_batches):
    """Train for some batches that are always the same, and give the losses."""
    inputs = np.arange(12, dtype=np.float32).reshape(4, 3) / 12
    losses = []
    for _ in range(num_batches):
        network.reset_metrics()
        targets = {"first": inputs[:, :1], "second": inputs[:, 1:2]}
        losses.append(float(network.train_on_batch(inputs, targets, return_dict=True)["loss"]))
        average.num_updates.assign_add(1)
        for value, weight in zip(average.values, network.weights, strict=True):
            value.assign_add((weight - value) / 2)
    return losses


def make_average(network):
    num_updates = keras.Variable(0, dtype="int32")
    values = [keras.Variable(weight) for weight in network.get_weights()]
    return SimpleNamespace(values=values, num_updates=num_updates, variables=[num_updates, *values])


def test_training_continues_as_if_it_had_not_stopped():
    network = make_network()
    average = make_average(network)
    train(network, average, 3)
    numbers = resume_point.snapshot(network, average)
    expected, expected_weights = train(network, average, 3), network.get_weights()
    expected_values = [value.numpy() for value in average.values]
    other = make_network()
    other_average = make_average(other)
    train(other, other_average, 1)  # has made its metrics, and is elsewhere
    resume_point.restore(other, other_average, numbers)
    assert other_average.num_updates == 3
    assert train(other, other_average, 3) == expected
    assert other_average.num_updates == 6
    received_numbers = [*other.get_weights(), *(value.numpy() for value in other_average.values)]
    for received, value in zip(received_numbers, expected_weights + expected_values, strict=True):
        np.testing.assert_array_equal(received, value)


def test_every_number_that_training_changes_is_captured():
    network = make_network()
    average = make_average(network)
    before = resume_point.snapshot(network, average)
    train(network, average, 2)
    after = resume_point.snapshot(network, average)
    assert len(before) == len(after)  # the metrics that training made are none of them
    num_weights = len(network.get_weights())
    assert (before[0].tolist(), after[0].tolist()) == (0, 2)
    for index, value in enumerate(average.values, start=1):
        np.testing.assert_array_equal(after[index], value)
    for index, weight in enumerate(network.get_weights(), start=1 + num_weights):
        assert any(np.array_equal(weight, number) for number in after[1 + num_weights :]), index
    changed = [not np.array_equal(old, new) for old, new in zip(before, after, strict=True)]
    unchanged = [before[index].tolist() for index in np.flatnonzero(~np.array(changed))]
    assert unchanged == [pytest.approx(0.1)]  # the learning rate
    (state,) = (variable.numpy() for variable in network.variables if "seed_generator" in variable.path)
    assert any(np.array_equal(state, number) for number in after)  # dropout's


def test_captured_numbers_are_copies():
    network = make_network()
    average = make_average(network)
    numbers = resume_point.snapshot(network, average)
    kept = [np.copy(number) for number in numbers]
    train(network, average, 1)
    for number, value in zip(numbers, kept, strict=True):
        np.testing.assert_array_equal(number, value)
    resume_point.restore(network, average, numbers)
    train(network, average, 1)
    for number, value in zip(numbers, kept, strict=True):
        np.testing.assert_array_equal(number, value)


def test_numbers_of_another_network_are_refused_and_change_nothing():
    network, larger = make_network(), make_network(num_units=5)
    average = make_average(network)
    before = resume_point.snapshot(network, average)
    for numbers in (resume_point.snapshot(larger, make_average(larger)), before[:-1], [*before, np.zeros(2)]):
        with pytest.raises(ResumeError, match=r"resume\.npz: received the values of another version's network"):
            resume_point.restore(network, average, numbers)
    for number, value in zip(resume_point.snapshot(network, average), before, strict=True):
        np.testing.assert_array_equal(number, value)


def a_point(**more):
    history = [{"epoch": 1, "loss": 0.5, "val_loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1 / 3, "val_loss": 0.25}]
    variables = [np.array(7), *(np.full((2, number), number, np.float32) for number in range(12))]
    return TrainingState(**{
        "settings": SETTINGS,
        "history": history,
        "run_name": "ckpt-20260102-030405",
        "best_path": "elsewhere/ckpt-결승.hdf5",
        "variables": variables,
        **more,
    })  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"best_path": None}, {"variables": []}])
def test_a_point_is_read_as_it_was_written(tmp_path, more):
    point = a_point(**more)
    resume_point.write(tmp_path, point)
    assert [path.name for path in tmp_path.iterdir()] == ["resume.npz"]
    read = resume_point.read(tmp_path, SETTINGS)
    for name in ("settings", "history", "run_name", "best_path"):
        assert getattr(read, name) == getattr(point, name)
    assert len(read.variables) == len(point.variables)
    for received, value in zip(read.variables, point.variables, strict=True):
        assert received.dtype == value.dtype
        np.testing.assert_array_equal(received, value)


def test_a_point_replaces_the_one_before_whole_or_not_at_all(tmp_path, monkeypatch):
    resume_point.write(tmp_path, a_point(run_name="first"))
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "no space left")))
        with pytest.raises(OSError, match="no space left"):
            resume_point.write(tmp_path, a_point(run_name="second"))
    assert resume_point.read(tmp_path, SETTINGS).run_name == "first"
    resume_point.write(tmp_path, a_point(run_name="second"))
    assert resume_point.read(tmp_path, SETTINGS).run_name == "second"


def test_settings_that_changed_are_named_with_both_values(tmp_path):
    resume_point.write(tmp_path, a_point())
    with pytest.raises(ResumeError) as refused:
        resume_point.read(tmp_path, {**SETTINGS, "--seed": 4, "segments": [4, 3, 1], "--new": None})
    assert str(refused.value) == (
        f"{tmp_path / 'resume.npz'}: this run was started with --seed 3, segments [4, 3, 2], received --seed 4, "
        "segments [4, 3, 1]: give the same flags, or start from scratch, with --overwrite or in another folder"
    )


def without_rest(path):
    np.savez(path, np.zeros(2))


def with_another_rest(path):
    rest = json.dumps({"settings": SETTINGS, "history": [], "run_name": "x"})
    np.savez(path, rest=np.frombuffer(rest.encode(), np.uint8))


def with_objects(path):
    resume_point.write(path.parent, a_point(variables=[np.array([{}])]))  # pickled: reading it could run something


def cut_short(path):
    resume_point.write(path.parent, a_point())
    path.write_bytes(path.read_bytes()[:-200])


def with_a_hole(path):
    np.savez(path, arr_1=np.zeros(1), rest=np.frombuffer(b"{}", np.uint8))


@pytest.mark.parametrize("damage", [without_rest, with_another_rest, with_objects, cut_short, with_a_hole])
def test_a_damaged_file_is_named(tmp_path, damage):
    damage(tmp_path / FILE_NAME)
    with pytest.raises(ResumeError, match=r"resume\.npz: cannot be read \(.+\): start again with --overwrite"):
        resume_point.read(tmp_path, SETTINGS)


def test_where_there_is_no_point_that_is_said(tmp_path):
    with pytest.raises(ResumeError, match=r"resume\.npz: nothing to resume, no epoch was finished: train"):
        resume_point.read(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    "more",
    [
        {"history": []},
        {"history": 5},
        {"history": [5]},
        {"history": [{"epoch": 1, "loss": 0.5}]},
        {"history": [{"epoch": 1, "loss": 0.5, "val_loss": "low"}]},
        {"history": [{"epoch": 1, "loss": 0.5, "val_loss": 0.4}, {"epoch": 2}]},
        {"settings": 5},
        {"best_path": ["x"]},
        {"run_name": "../elsewhere/x"},
        {"run_name": None},
        {"variables": [np.array(["text"])]},
    ],
)
def test_a_state_that_no_run_has_is_named(tmp_path, more):
    resume_point.write(tmp_path, a_point(**more))
    with pytest.raises(
        ResumeError,
        match=r"resume\.npz: cannot be read \(.{1,85}\): start again with --overwrite$",
    ):
        resume_point.read(tmp_path, SETTINGS)


def test_a_point_is_read_in_memory_of_its_size(tmp_path):
    path = tmp_path / FILE_NAME
    np.savez_compressed(path, np.zeros(10**7), rest=np.frombuffer(b"{}", np.uint8))
    assert path.stat().st_size < 200_000
    with pytest.raises(ResumeError, match=r"cannot be read \(its part 'rest\.npy' is compressed or too long\): start"):
        resume_point.read(tmp_path, SETTINGS)
    path.write_bytes(b"")
    with pytest.raises(ResumeError, match=r"resume\.npz: cannot be read \(.+\): start again with --overwrite$"):
        resume_point.read(tmp_path, SETTINGS)


def test_settings_of_a_damaged_file_are_shown_in_short(tmp_path):
    resume_point.write(tmp_path, a_point(settings={**SETTINGS, "--seed": "x" * 10**6}))
    with pytest.raises(ResumeError) as raised:
        resume_point.read(tmp_path, SETTINGS)
    assert f"--seed {'x' * 80}..., received --seed 3: give" in str(raised.value)
