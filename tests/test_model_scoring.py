"""How a match is scored in windows, what of a network takes too much memory, and how checkpoints are kept."""

import logging
import os
from types import SimpleNamespace

import absl.logging
import h5py
import keras
import numpy as np
import pytest

import model
from videosummarizer.training import inference
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint_attributes
from videosummarizer.training.keras_backend import silence_native_stderr
from videosummarizer.training.run_folder import BestCheckpoint


def build(num_frames, num_steps, dilations):
    return model.build_model({"video": (num_frames, 2, 2, 3), "audio": (60,)}, 60, num_steps, dilations)


# ---- Windows


class Neighbours:
    """Stands for a network whose score of a segment is the sum of the numbers of those up to `reach` around it."""

    def __init__(self, num_steps, num_frames, reach, dilations=(1, 2, 4)):
        self.output = {"steps": np.empty((1, 1, num_steps))}
        self.input = {"video": np.empty((1, 1, num_frames, 1, 1, 3))}
        self.num_steps, self.reach, self.lengths = num_steps, reach, []
        self.layers = [
            SimpleNamespace(name=f"{modality}_temporal_convolution_{dilation}", dilation_rate=(dilation,))
            for modality in ("audio", "video")
            for dilation in dilations
        ]

    def predict_on_batch(self, inputs):
        assert inputs["video"].dtype == np.uint8
        numbers = inputs["audio"][:, :, 0]
        assert len(numbers) == 1
        num = numbers.shape[1]
        self.lengths.append(num)
        assert len(self.lengths) < 100, "scoring gets nowhere"
        sums = [numbers[0, max(0, k - self.reach) : k + self.reach + 1].sum() for k in range(num)]
        highlight = np.array(sums)[np.newaxis, :, np.newaxis]
        steps = highlight + np.arange(1, self.num_steps + 1)
        return {"highlight": highlight, "steps": steps, "video_steps": -steps, "audio_highlight": highlight * 2}


def match_of(num_segments):
    for number in range(num_segments):
        yield np.full((1, 1, 1, 3), number % 256, np.uint8), np.array([1000 + number**2], np.float64)


def expected_scores(num_segments, reach):
    numbers = 1000 + np.arange(num_segments) ** 2
    return [numbers[max(0, k - reach) : k + reach + 1].sum() for k in range(num_segments)]


# Hand-worked: 1 + 2 + 4 = 7 steps of the dilated convolutions, and two steps of the audio or two frames, whichever is
# longer, in segments, rounded up.
CONTEXTS = [
    (10, 15, 1),  # 0.7 + max(0.2, 0.133) = 0.9
    (10, 2, 2),  # 0.7 + 1
    (10, 4, 2),  # 0.7 + 0.5 = 1.2
    (10, 7, 1),  # 0.7 + 0.286 = 0.986
    (10, 6, 2),  # 0.7 + 0.333 = 1.033
    (9, 30, 1),  # 0.778 + 0.222 = 1
    (8, 30, 2),  # 0.875 + 0.25 = 1.125
    (5, 3, 3),  # 1.4 + 0.667 = 2.067
    (4, 1, 4),  # 1.75 + 2 = 3.75
    (3, 2, 4),  # 2.333 + 1
    (3, 100, 3),  # 2.333 + 0.667
    (2, 2, 5),  # 3.5 + 1 = 4.5
    (1, 1, 9),  # 7 + 2
    (1, 15, 9),
]


@pytest.mark.parametrize(("num_steps", "num_frames", "context"), CONTEXTS)
def test_context_is_what_the_convolutions_reach(num_steps, num_frames, context):
    assert inference.receptive_field(Neighbours(num_steps, num_frames, 0)) == context


@pytest.mark.parametrize(
    ("num_steps", "num_frames", "dilations", "context"),
    [
        (10, 15, (1, 2), 1),  # 0.3 + 0.2
        (10, 15, (1, 2, 4, 8, 16, 32), 7),  # 6.3 + 0.2
        (10, 2, (1, 2, 4, 8, 16, 32), 8),  # 6.3 + 1
        (3, 2, (1, 2, 4, 8, 16, 32), 22),  # 21 + 1
        (1, 1, (1, 2), 5),
        (1, 1, (1, 2, 4, 8, 16, 32), 65),
        (6, 9, (), 1),  # 0.333
    ],
)
def test_context_follows_from_the_dilations(num_steps, num_frames, dilations, context):
    assert inference.receptive_field(Neighbours(num_steps, num_frames, 0, dilations)) == context


@pytest.mark.parametrize(
    ("num_steps", "num_frames", "dilations"),
    [
        *((num_steps, num_frames, (1, 2, 4)) for num_steps, num_frames in [(10, 15), (10, 2), (3, 2), (5, 1), (9, 30)]),
        (10, 2, (1, 2)),
        (1, 1, (1, 2)),
        (10, 15, (1, 2, 4, 8, 16, 32)),
        (1, 1, (1, 2, 4, 8, 16, 32)),
    ],
)
def test_a_score_depends_on_segments_as_far_away_as_the_context_and_no_further(num_steps, num_frames, dilations):
    keras.utils.set_random_seed(0)
    network = build(num_frames, num_steps, dilations)
    for layer in network.layers:  # all weights above 0, so that no rectification hides what is further away
        layer.set_weights([np.abs(weight) + 0.01 for weight in layer.get_weights()])
    context = inference.receptive_field(network)
    num_segments, middle = 2 * context + 5, context + 2
    rng = np.random.default_rng(0)
    inputs = {
        "video": rng.integers(0, 100, (1, num_segments, num_frames, 2, 2, 3), dtype=np.uint8),
        "audio": rng.normal(size=(1, num_segments, 60)).astype(np.float32),
    }
    outputs = [network.output[f"{name}_steps"]._keras_history.operation.input for name in ("audio", "video")]
    logits = keras.Model(network.input, outputs)
    before = logits(inputs)
    inputs["video"][:, middle] += 100
    inputs["audio"][:, middle] *= 100
    changed = [(np.asarray(a) != np.asarray(b)).any(axis=(0, 2)) for a, b in zip(before, logits(inputs), strict=True)]
    distances = np.abs(np.flatnonzero(changed[0] | changed[1]) - middle)
    assert distances.max() == context  # with a longer one, time would be lost


@pytest.mark.parametrize(("num_steps", "num_frames", "context"), [(10, 15, 1), (10, 2, 2), (3, 2, 4), (1, 1, 9)])
@pytest.mark.parametrize("window_length", [1, 8, 24])
def test_each_segment_is_scored_once_with_all_of_its_neighbours(num_steps, num_frames, context, window_length):
    longest = max(window_length, 4 * context)
    num_new = longest - 2 * context
    for num_segments in {
        1,
        2,
        context,
        longest - 1,
        longest,
        longest + 1,
        longest + num_new,
        longest + 3 * num_new + 1,
    }:
        network = Neighbours(num_steps, num_frames, context)
        scores = np.stack(list(inference.score_segments(network, match_of(num_segments), window_length)))
        expected = expected_scores(num_segments, context)
        np.testing.assert_array_equal(scores[:, 0], expected)
        np.testing.assert_array_equal(scores[:, 1:], np.array(expected)[:, np.newaxis] + np.arange(1, num_steps + 1))
        assert max(network.lengths) <= longest
        # The first window is full; each that follows holds twice the context that was there before.
        num_full = 0 if num_segments < longest else 1 + (num_segments - longest) // num_new
        assert network.lengths[:-1] == [longest] * num_full


def test_a_window_holds_24_segments_by_default():
    network = Neighbours(10, 15, 1)
    list(inference.score_segments(network, match_of(50)))
    assert network.lengths == [24, 24, 6]  # 23 new ones, then 22, then 4: the last with two that were there


def test_outputs_of_other_names_are_given_in_their_order():
    network = Neighbours(3, 2, 0)
    scores = list(inference.score_segments(network, match_of(2), names=("video_steps", "audio_highlight", "highlight")))
    assert [row.tolist() for row in scores] == [[-1001, -1002, -1003, 2000, 1000], [-1002, -1003, -1004, 2002, 1001]]


def test_a_match_without_segments_has_no_scores():
    network = Neighbours(3, 2, 0)
    assert list(inference.score_segments(network, match_of(0))) == []
    assert network.lengths == []


def test_a_network_that_fails_is_named_by_the_first_line_of_its_error():
    network = Neighbours(3, 2, 0)

    def predict_on_batch(inputs):
        raise RuntimeError("\n shapes differ \nmore of it")

    network.predict_on_batch = predict_on_batch
    with pytest.raises(CheckpointError) as raised:
        list(inference.score_segments(network, match_of(2)))
    assert str(raised.value) == "the network cannot score segments (shapes differ )"
    assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("  \n\n one"), "one"),
        (KeyError(), "KeyError"),
        (OSError(" "), "OSError"),
    ],
)
def test_the_first_line_of_an_error_or_its_kind(error, line):
    assert inference.first_line(error) == line


# ---- Memory


def dense(num_inputs, num_units):
    x = keras.Input((num_inputs,))
    return keras.Model(x, keras.layers.Dense(num_units)(x))


def test_a_network_may_want_ten_thousand_numbers_more_than_are_stored():
    network = dense(999, 20)  # 20,000 weights
    assert inference.find_excess(network, 20_000) is None
    assert inference.find_excess(network, 10_000) is None
    assert inference.find_excess(network, 9_999) == "it needs 20000 weights, and the file holds 9999"


def repeated(num_inputs, num_repeats, *more_inputs):
    inputs = [keras.Input((num_inputs,)), *(keras.Input((num,)) for num in more_inputs)]
    repeated = keras.layers.RepeatVector(num_repeats, name="many")(inputs[0])
    return keras.Model(inputs, [keras.layers.Flatten()(repeated[:, :1]), *inputs[1:]])


@pytest.mark.parametrize(
    ("num_inputs", "num_repeats", "more_inputs", "is_allowed"),
    [
        (4, 2**23, (), True),  # 2 ** 25 values are allowed however few there are
        (4, 2**23 + 1, (), False),
        (2**20, 256, (), True),  # 256 times the inputs
        (2**20, 257, (), False),
        (2**20, 257, (2**18,), True),  # all inputs together
        (2**20, 512, (2**19, 2**19), True),
        (2**20, 513, (2**19, 2**19), False),
    ],
)
def test_a_layer_may_make_256_times_as_many_values_as_there_are_inputs(
    num_inputs, num_repeats, more_inputs, is_allowed
):
    problem = inference.find_excess(repeated(num_inputs, num_repeats, *more_inputs), 0)
    assert problem == (None if is_allowed else "its layer 'many' makes more values per segment than fit in memory")


def test_values_are_of_one_segment():
    assert inference.num_elements(keras.KerasTensor((None, None, 3, 4, 5))) == 60
    assert inference.num_elements(keras.KerasTensor((None, 7))) == 7


# ---- Checkpoints


@pytest.fixture(scope="module")
def small_network():
    x = keras.Input((2,))
    network = keras.Model(x, keras.layers.Dense(1)(x))
    network.compile("sgd", "mse")
    return network


@pytest.fixture
def make_callback(tmp_path, small_network):
    def make(folder=tmp_path):
        callback = BestCheckpoint(folder, "run", {"config": {"a": 1}, "operating_point": {"threshold": 0.25}})
        callback.set_model(small_network)
        return callback

    return make


def test_a_checkpoint_holds_what_was_true_in_its_epoch(make_callback, tmp_path, small_network):
    callback = make_callback()
    assert callback.best_path is None
    small_network.set_weights([np.array([[1.0], [2.0]]), np.array([3.0])])
    callback.on_epoch_end(11, {"val_loss": 0.123456, "loss": 0.01})
    small_network.set_weights([np.array([[4.0], [5.0]]), np.array([6.0])])
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


def test_libraries_are_told_to_be_quiet_and_to_give_the_same_weights_for_the_same_seed():
    assert os.environ["TF_DETERMINISTIC_OPS"] == "1"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert logging.getLogger("tensorflow").level == logging.ERROR
    assert absl.logging.get_verbosity() == absl.logging.ERROR


def test_what_native_code_writes_is_silenced_only_for_a_while(capfd):
    num_open = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def fail_in_silence():
        with silence_native_stderr():
            os.write(2, b"silenced")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_silence()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
    assert num_open == (len(os.listdir("/proc/self/fd")) if num_open else 0)
