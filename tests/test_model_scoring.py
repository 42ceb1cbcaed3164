"""How a match is scored in windows, and when a network would take too much memory."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from small_network import build_fused_network, random_match

import model
from videosummarizer.error_messages import first_line
from videosummarizer.training import inference
from videosummarizer.training.checkpoint import CheckpointError


def build(num_frames, num_steps, dilations):
    return model.build_model({"video": (num_frames, 2, 2, 3), "audio": (60,)}, 60, num_steps, dilations)


# ---- Windows


class Sums:
    """Stands for a network whose result for an item is the sum of the numbers of those up to `reach` around it."""

    def __init__(self, reach):
        self.reach, self.lengths = reach, []

    def __call__(self, window):
        self.lengths.append(len(window))
        assert len(self.lengths) < 100, "scoring gets nowhere"
        return [sum(window[max(0, k - self.reach) : k + self.reach + 1]) for k in range(len(window))]


@pytest.mark.parametrize("context", [1, 2, 4, 9])
@pytest.mark.parametrize("window_length", [1, 8, 24])
def test_each_item_is_processed_once_with_all_of_its_neighbours(context, window_length):
    longest = max(window_length, 4 * context)
    num_new = longest - 2 * context
    for num_items in {
        0,
        1,
        2,
        context,
        longest - 1,
        longest,
        longest + 1,
        longest + num_new,
        longest + 3 * num_new + 1,
    }:
        sums, numbers = Sums(context), [1000 + k**2 for k in range(num_items)]
        results = list(inference.slide(sums, iter(numbers), window_length, context))
        assert results == [sum(numbers[max(0, k - context) : k + context + 1]) for k in range(num_items)]
        # The first window is full; each that follows holds twice the context that was there before.
        num_full = 0 if num_items < longest else 1 + (num_items - longest) // num_new
        assert sums.lengths[:num_full] == [longest] * num_full
        assert len(sums.lengths) <= num_full + 1
        assert max(sums.lengths, default=0) <= longest


def test_items_are_read_when_a_window_needs_them():
    items, sums = iter(range(50)), Sums(1)
    results = inference.slide(sums, items, 24, 1)
    next(results)
    assert len(list(items)) == 50 - 24


class Shapes:
    """Stands for a network of these numbers of time steps and frames per segment, and of these dilations."""

    def __init__(self, num_steps, num_frames, dilations=(1, 2, 4)):
        self.output = {"steps": np.empty((1, 1, num_steps))}
        self.input = {"video": np.empty((1, 1, num_frames, 1, 1, 3))}
        self.layers = [
            SimpleNamespace(name=f"{modality}_temporal_convolution_{dilation}", dilation_rate=(dilation,))
            for modality in ("audio", "video")
            for dilation in dilations
        ]


@pytest.mark.parametrize(
    ("num_steps", "num_frames", "context"),
    # Two time steps or two frames, whichever is longer, in segments, rounded up.
    [(10, 15, 1), (10, 2, 1), (10, 1, 2), (2, 15, 1), (3, 1, 2), (1, 15, 2), (1, 1, 2)],
)
def test_context_of_the_encoders(num_steps, num_frames, context):
    assert inference.encoders_context(Shapes(num_steps, num_frames)) == context


@pytest.mark.parametrize(
    ("num_steps", "dilations", "context"),
    # The sum of the dilations, in segments, rounded up.
    [
        (10, (1, 2, 4), 1),
        (7, (1, 2, 4), 1),
        (6, (1, 2, 4), 2),
        (1, (1, 2, 4), 7),
        (10, (1, 2), 1),
        (10, (1, 2, 4, 8, 16, 32), 7),
        (3, (1, 2, 4, 8, 16, 32), 21),
        (1, (1, 2, 4, 8, 16, 32), 63),
        (6, (), 1),
    ],
)
def test_context_of_the_heads_follows_from_the_dilations(num_steps, dilations, context):
    assert inference.heads_context(Shapes(num_steps, 2, dilations)) == context


def positive(network):
    """Make all weights greater than 0, so that no rectification hides what is further away."""
    for layer in network.layers:
        layer.set_weights([np.abs(weight) + 0.01 for weight in layer.get_weights()])
    return network


def reach_of_a_change(model, inputs, changed, num_segments):
    """Return how many segments away from the middle the outputs of (1, num_segments, ...) change."""
    arrays = [[np.asarray(x).reshape(num_segments, -1) for x in model(given)] for given in (inputs, changed)]
    differs = [(before != after).any(axis=1) for before, after in zip(*arrays, strict=True)]
    return np.abs(np.flatnonzero(np.any(differs, axis=0)) - num_segments // 2).max()


@pytest.mark.parametrize(("num_steps", "num_frames"), [(10, 15), (10, 2), (3, 2), (5, 1), (9, 30), (1, 1)])
def test_features_depend_on_segments_as_far_away_as_the_context_and_no_further(num_steps, num_frames):
    keras.utils.set_random_seed(0)
    network = positive(build(num_frames, num_steps, (1, 2)))
    rng = np.random.default_rng(0)
    video = rng.integers(0, 100, (1, 9, num_frames, 2, 2, 3), dtype=np.uint8)
    audio = rng.normal(size=(1, 9, 60)).astype(np.float32)
    changed = [video.copy(), audio.copy()]
    changed[0][:, 4] += 100
    changed[1][:, 4] *= 100
    tensors = [network.get_layer(f"{modality}_features").output for modality in ("audio", "video")]
    features = keras.Model([network.input["video"], network.input["audio"]], tensors)
    # With a longer context, time would be lost.
    assert reach_of_a_change(features, [video, audio], changed, 9) == inference.encoders_context(network)


@pytest.mark.parametrize(
    ("num_steps", "dilations"),
    [(10, (1, 2, 4)), (3, (1, 2, 4)), (10, (1, 2)), (1, (1, 2)), (10, (1, 2, 4, 8, 16, 32)), (1, (1, 2, 4, 8, 16, 32))],
)
def test_logits_depend_on_features_as_far_away_as_the_context_and_no_further(num_steps, dilations):
    keras.utils.set_random_seed(0)
    network = positive(build(2, num_steps, dilations))
    context = inference.heads_context(network)
    num_segments = 2 * context + 5
    rng = np.random.default_rng(0)
    features = [rng.random((1, num_segments * num_steps, 64), np.float32) for _ in range(2)]
    changed = [array.copy() for array in features]
    for array in changed:
        array[:, (num_segments // 2) * num_steps : (num_segments // 2 + 1) * num_steps] *= 100
    modalities = ("audio", "video")
    inputs = [network.get_layer(f"{modality}_features").output for modality in modalities]
    logits = [network.output[f"{modality}_steps"]._keras_history.operation.input for modality in modalities]
    assert reach_of_a_change(keras.Model(inputs, logits), features, changed, num_segments) == context


@pytest.fixture(scope="module")
def fused_network():
    return build_fused_network({"video": (1, 2, 2, 3), "audio": (4,)})


def test_outputs_of_other_names_are_given_in_their_order(fused_network):
    video, audio = random_match(3)
    names = ("video_steps", "audio_highlight", "highlight")
    scores = np.stack(list(inference.score_segments(fused_network, zip(video, audio, strict=True), names=names)))
    expected = fused_network.predict_on_batch({"video": video[np.newaxis], "audio": audio[np.newaxis]})
    np.testing.assert_allclose(scores, np.concatenate([expected[name][0] for name in names], axis=-1), atol=1e-6)
    assert np.ptp(scores, axis=1).min() > 0.001


def test_a_network_is_divided_once_for_all_matches(fused_network):
    parts = inference.split_network(fused_network)
    for seed in (0, 1):
        video, audio = random_match(5, seed)
        scores = list(inference.score_segments(fused_network, zip(video, audio, strict=True)))
        expected = fused_network.predict_on_batch({"video": video[np.newaxis], "audio": audio[np.newaxis]})
        np.testing.assert_allclose(np.stack(scores)[:, :1], expected["highlight"][0], atol=1e-6)
    assert inference.split_network(fused_network) is parts
    assert {id(v) for part in parts for v in part.variables} <= {id(v) for v in fused_network.variables}


def test_the_parts_have_the_weights_that_the_network_has_now(fused_network):
    video, audio = random_match(2)
    before = list(inference.score_segments(fused_network, zip(video, audio, strict=True)))
    weights = fused_network.get_weights()
    fused_network.set_weights([weight * 2 for weight in weights])
    after = list(inference.score_segments(fused_network, zip(video, audio, strict=True)))
    fused_network.set_weights(weights)
    assert np.abs(np.stack(after) - np.stack(before)).max() > 0.01


def test_a_match_without_segments_has_no_scores(fused_network):
    assert list(inference.score_segments(fused_network, iter(()))) == []


def test_a_network_that_fails_is_named_by_the_first_line_of_its_error():
    def fail(inputs):
        raise RuntimeError("\n shapes differ \nmore of it")

    with pytest.raises(CheckpointError) as raised:
        inference.predict(SimpleNamespace(predict_on_batch=fail), {})
    assert str(raised.value) == "the network cannot score segments (shapes differ )"
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_an_error_of_reading_stays_what_it_is(fused_network):
    def segments():
        video, audio = random_match(1)
        yield video[0], audio[0]
        raise OSError("gone")

    with pytest.raises(OSError, match=r"^gone$"):
        list(inference.score_segments(fused_network, segments()))


def test_a_network_without_the_layers_after_which_it_is_divided_is_refused():
    x = keras.Input((None, 4), name="audio")
    with pytest.raises(CheckpointError, match=r"the network cannot score segments \(No such layer: audio_features"):
        inference.split_network(keras.Model(x, keras.layers.Dense(1)(x)))


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
    assert first_line(error) == line


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
