"""How the network is trained: the schedule, the optimizer, the losses, the average of weights, the fusion weights."""

import contextlib
import itertools
import math

import keras
import numpy as np
import pytest

import model
from videosummarizer.training import optimization
from videosummarizer.training.compiled_steps import CompiledSteps
from videosummarizer.training.fusion import search_fusion_weights
from videosummarizer.training.optimization import ExponentialMovingAverage

DATA_SHAPE = {"video": (1, 2, 2, 3), "audio": (40,)}
NAMES = ["highlight", "steps"] + [
    f"{modality}_{name}" for modality in ("loudness", "audio", "video") for name in ("highlight", "steps")
]


@pytest.fixture(scope="module")
def network():
    """A network that is compiled with a peak of 1 for 100 updates."""
    keras.utils.set_random_seed(0)
    network = model.build_model(DATA_SHAPE, 100, 3)
    optimization.compile_network(network, 1.0, 100)
    return network


# ---- Schedule and optimizer


def rates(num_updates, steps):
    """The learning rates at some steps of a schedule whose peak is 0.2."""
    network = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    network.output_names = []
    optimization.compile_network(network, 0.2, num_updates)
    return [float(network.optimizer._learning_rate(step)) for step in steps]


def test_the_learning_rate_rises_for_a_tenth_of_the_updates_and_falls_along_a_cosine():
    # From 0.2 / 20 = 0.01 to 0.2 in 10 of 100 updates, then half of a cosine down to 0.2 / 100 = 0.002 in 90.
    expected = [0.01, 0.029, 0.105, 0.2, 0.002 + 0.198 * (1 + math.cos(math.pi / 3)) / 2, 0.101, 0.002, 0.002]
    assert rates(100, (0, 1, 5, 10, 40, 55, 100, 130)) == pytest.approx(expected, rel=1e-5)
    assert rates(39, (0, 1, 3, 21, 39)) == pytest.approx([0.01, 0.01 + 0.19 / 3, 0.2, 0.101, 0.002], rel=1e-5)


def test_the_schedule_of_a_few_updates_warms_up_for_one():
    assert rates(3, (0, 1, 2, 3)) == pytest.approx([0.01, 0.2, 0.101, 0.002], rel=1e-5)
    assert rates(1, (0, 1, 2)) == pytest.approx([0.01, 0.2, 0.002], rel=1e-5)


def test_weights_decay_but_biases_and_normalisation_do_not(network):
    before = network.get_weights()
    for variable in network.trainable_variables:
        variable.assign(np.ones(variable.shape))
    network.optimizer.apply_gradients([(np.zeros(v.shape, np.float32), v) for v in network.trainable_variables])
    # The first update's rate is 1 / 20, of which 0.05 is taken off.
    expected = {"kernel": 0.9975, "bias": 1, "gamma": 1, "beta": 1}
    received = {variable.name: set() for variable in network.trainable_variables}
    for variable in network.trainable_variables:
        received[variable.name] |= set(np.unique(variable))
    assert {name: sorted(values) for name, values in received.items()} == {
        name: pytest.approx([value], abs=1e-6) for name, value in expected.items()
    }
    network.set_weights(before)


@pytest.mark.parametrize(("norm", "clipped"), [(7.0, 1.0), (0.5, 0.5)])
def test_gradients_are_clipped_by_the_norm_of_all(norm, clipped):
    network = model.build_model(DATA_SHAPE, 100, 3)
    optimization.compile_network(network, 0.001, 10)
    gradients = [np.ones(variable.shape, np.float32) for variable in network.trainable_variables]
    num_weights = sum(gradient.size for gradient in gradients)
    gradients = [gradient * norm / math.sqrt(num_weights) for gradient in gradients]
    network.optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
    # Adam's first moment is a tenth of the first gradient.
    moments = [np.asarray(moment) for moment in network.optimizer._momentums]
    assert math.sqrt(sum((moment**2).sum() for moment in moments)) == pytest.approx(clipped / 10, rel=1e-4)
    velocities = [np.asarray(velocity) for velocity in network.optimizer._velocities]
    assert sum(velocity.sum() for velocity in velocities) == pytest.approx(clipped**2 / 1000, rel=1e-3)


def test_the_optimizers_numbers_are_there_before_the_first_step():
    network = model.build_model(DATA_SHAPE, 100, 3)
    optimization.compile_network(network, 0.001, 10)
    assert isinstance(network.optimizer, keras.optimizers.AdamW)
    assert network.jit_compile is (keras.backend.backend() == "jax")
    assert len(network.optimizer.variables) >= 2 * len(network.trainable_variables)


# ---- Losses


def batch(num_sequences=2, num_segments=4, seed=0):
    rng = np.random.default_rng(seed)
    shape = (num_sequences, num_segments)
    inputs = {
        "video": rng.integers(0, 256, (*shape, *DATA_SHAPE["video"]), dtype=np.uint8),
        "audio": rng.normal(size=(*shape, *DATA_SHAPE["audio"])).astype(np.float32),
    }
    targets = {
        "highlight": (rng.random((*shape, 1)) < 0.4).astype(np.float32),
        "steps": rng.random((*shape, 3)).astype(np.float32),
    }
    weights = rng.uniform(0.5, 3, shape).astype(np.float32)
    weights[0, 1] = 0
    return inputs, targets, weights


def loss_by_hand(target, score, weights):
    """Cross-entropy to targets of 0.05 and 0.95, the mean over steps, then that weighted over segments."""
    soft = 0.05 + 0.9 * target.astype(np.float64)
    losses = -(soft * np.log(score) + (1 - soft) * np.log(1 - score)).mean(axis=-1)
    return (losses * weights).sum() / weights.sum()


def test_the_loss_is_of_the_two_outputs_and_seven_tenths_of_each_modalitys(network):
    last = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense) and layer.units == 1]
    for index, layer in enumerate(last):  # scores that differ, none near 0 or 1
        layer.set_weights([layer.get_weights()[0] / 40, np.array([0.5 * index**1.2 - 1])])
    inputs, targets, weights = batch()
    scores = {name: np.asarray(array, np.float64) for name, array in network(inputs).items()}
    assert sorted(scores) == sorted(NAMES)
    losses = {name: loss_by_hand(targets[name.split("_")[-1]], scores[name], weights) for name in NAMES}
    of_names = {name: targets[name.split("_")[-1]] for name in NAMES}
    received = network.test_on_batch(inputs, of_names, sample_weight=weights, return_dict=True)
    for name, loss in losses.items():
        assert received[f"{name}_loss"] == pytest.approx(loss, rel=1e-4)
    of_modalities = sum(loss for name, loss in losses.items() if "_" in name)
    total = losses["highlight"] + losses["steps"] + 0.7 * of_modalities
    assert received["loss"] == pytest.approx(total, rel=1e-4)
    assert len({round(loss, 4) for loss in losses.values()}) == 8


# ---- An epoch


class Recorder:
    """Stands for CompiledSteps with a number of steps per call, and records what is asked of it."""

    def __init__(self, losses, steps_per_call):
        self.losses, self.calls, self.steps_per_call = iter(losses), [], steps_per_call

    @contextlib.contextmanager
    def on_device(self, batches):
        yield (f"{batch} there" for batch in batches)
        self.calls.append("end")

    def run(self, batches):
        self.calls.append(batches)
        return np.array([*(next(self.losses) for _ in batches), *[1e9] * (self.steps_per_call - len(batches))])

    def on_batch(self):
        self.calls.append("batch")


@pytest.mark.parametrize(
    ("steps_per_call", "expected"),
    [
        (1, [["a there"], "batch", ["b there"], "batch", ["c there"], "batch", "end"]),
        (2, [["a there", "b there"], "batch", "batch", ["c there"], "batch", "end"]),
        (3, [["a there", "b there", "c there"], "batch", "batch", "batch", "end"]),
        (8, [["a there", "b there", "c there"], "batch", "batch", "batch", "end"]),
    ],
)
def test_an_epoch_trains_on_each_batch_once_and_returns_the_mean_loss(steps_per_call, expected):
    recorder = Recorder([1.0, 2.0, 6.0], steps_per_call)
    loss = optimization.train_epoch(recorder, iter("abc"), recorder.on_batch)
    assert loss == 3
    assert isinstance(loss, float)
    assert recorder.calls == expected


def test_a_network_learns_in_an_epoch_and_its_average_follows():
    keras.utils.set_random_seed(3)
    network = model.build_model(DATA_SHAPE, 100, 3)
    optimization.compile_network(network, 0.02, 3)
    network.run_eagerly = True  # faster for three steps
    average, first, seen = ExponentialMovingAverage(network), network.get_weights(), []
    steps = CompiledSteps(network, average)
    batches = [batch(seed=seed) for seed in range(3)]
    loss = optimization.train_epoch(steps, batches, lambda: seen.append(network.get_weights()))
    assert loss > 0
    expected = first
    for number, weights in enumerate(seen, start=1):
        expected = [value + 9 / (9 + number) * (w - value) for value, w in zip(expected, weights, strict=True)]
    values = [value.numpy() for value in average.values]
    for value, by_hand in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, by_hand, rtol=1e-4, atol=1e-5)
    assert (len(seen), int(network.optimizer.iterations)) == (3, 3)
    moved = {variable.name for variable, a, b in zip(network.weights, first, values, strict=True) if (a != b).any()}
    assert moved == {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"}  # not the fusion weights


# ---- The average of weights


class Weights:
    """Stands for a network whose weights the test sets."""

    def __init__(self, *weights):
        self.weights = [keras.Variable(weight) for weight in weights]

    def get_weights(self):
        return [weight.numpy() for weight in self.weights]

    def set_weights(self, values):
        for weight, value in zip(self.weights, values, strict=True):
            weight.assign(value)


def values_of(variables):
    return [variable.numpy().tolist() for variable in variables]


def test_the_average_is_early_over_few_updates():
    network = Weights([0.0, 100.0], [[5.0]])
    average, values = ExponentialMovingAverage(network), []
    for weight in (10.0, 20.0, 30.0):
        network.set_weights([[weight, 100.0], [[5.0]]])
        average.update()
        values.append(values_of(average.values)[0])
        assert values_of(average.values)[1] == [[5]]
    # Nine tenths of the first; then 9 / 11 of the second, and 9 / 12 of the third.
    assert values == [[9, 100], [pytest.approx(18), 100], [pytest.approx(27), 100]]
    assert int(average.num_updates) == 3
    assert average.variables == [average.num_updates, *average.values]


@pytest.mark.parametrize(
    ("num_updates", "part"), [(80, 9 / 90), (800, 9 / 810), (890, 0.01), (891, 0.01), (5000, 0.01)]
)
def test_the_average_is_later_over_a_hundred_updates(num_updates, part):
    network = Weights([0.0])
    average = ExponentialMovingAverage(network)
    average.num_updates.assign(num_updates)
    network.set_weights([[1.0]])
    average.update()
    assert values_of(average.values)[0] == [pytest.approx(part, rel=1e-6)]


def test_the_average_takes_the_statistics_of_batches_in():
    x = keras.Input((2,))
    network = keras.Model(x, keras.layers.BatchNormalization()(x))
    average = ExponentialMovingAverage(network)
    network.set_weights([np.full(2, value, np.float32) for value in (2, 3, 4, 5)])
    average.update()
    assert [variable.name for variable in network.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    expected = [1 + 0.9 * 1, 0.9 * 3, 0.9 * 4, 1 + 0.9 * 4]
    assert values_of(average.values) == [pytest.approx([value] * 2) for value in expected]
    assert [float(variable[0]) for variable in network.weights] == [2, 3, 4, 5]  # the network keeps its own
    network.set_weights([value.numpy() for value in average.values])
    average.update()
    assert [value[0] for value in values_of(average.values)] == pytest.approx(expected)


def test_the_average_is_in_the_network_only_while_swapped():
    network = Weights([2.0], [[5.0]])
    average = ExponentialMovingAverage(network)
    for value, number in zip(average.values, ([3.0], [[7.0]]), strict=True):
        value.assign(number)
    with average.swapped():
        assert values_of(network.weights) == [[3], [[7]]]
        network.weights[0].assign_add([1.0])  # as the fusion weights are set on validation
    assert values_of(network.weights) == [[2], [[5]]]
    assert values_of(average.values) == [[3], [[7]]]
    with pytest.raises(KeyboardInterrupt), average.swapped():
        raise KeyboardInterrupt
    assert values_of(network.weights) == [[2], [[5]]]


# ---- Fusion weights


def log_loss_by_hand(labels, scores, weights):
    losses = [
        -weight * (label * math.log(score) + (1 - label) * math.log(1 - score))
        for row, score_row, weight in zip(labels, scores, weights, strict=True)
        for label, score in zip(row, score_row, strict=True)
    ]
    return sum(losses) / sum(weights) / labels.shape[1]


@pytest.mark.parametrize("num_columns", [1, 3])
def test_fusion_weights_are_those_of_the_lowest_weighted_loss(num_columns):
    rng = np.random.default_rng(7)
    weighted, unweighted = [], []
    for _ in range(12):
        labels = rng.random((30, num_columns)) if num_columns > 1 else (rng.random((30, 1)) < 0.3).astype(np.float64)
        told = rng.uniform(-1, 3, (1, 3, 1)) * (labels[:, np.newaxis] - 0.5)  # some modalities know, some are wrong
        scores = 1 / (1 + np.exp(-rng.normal(size=(30, 3, num_columns)) - told))
        weights = np.where(labels[:, 0] > 0.5, 4.0, 0.25)
        logits = np.log(scores / (1 - scores))
        tried = [c for c in itertools.product((0, 0.5, 1), repeat=3) if sum(c)]
        said = {c: 1 / (1 + np.exp(-sum(logits[:, index] * c[index] for index in range(3)))) for c in tried}
        losses = {c: log_loss_by_hand(labels, said[c], weights) for c in tried}
        best = min(losses, key=losses.get)
        chosen, fused = search_fusion_weights(scores.astype(np.float64), labels, weights)
        assert chosen == best
        np.testing.assert_allclose(fused, said[best], atol=1e-9)
        assert fused.shape == labels.shape
        weighted.append(best)
        without = {c: log_loss_by_hand(labels, said[c], np.ones(30)) for c in tried}
        unweighted.append(min(without, key=without.get))
    assert weighted != unweighted
    assert len(set(weighted)) > 3


def test_of_equally_good_fusion_weights_the_largest_are_taken():
    chosen, fused = search_fusion_weights(np.full((4, 3, 1), 0.5), np.array([[0], [1], [1], [0]]), np.ones(4))
    assert chosen == (1, 1, 1)
    assert fused.tolist() == [[0.5]] * 4


def test_scores_of_0_and_1_count_as_a_ten_millionth_from_there():
    scores = np.array([[[0.0]] * 3, [[1.0]] * 3], np.float32)
    chosen, fused = search_fusion_weights(scores, np.array([[0.5], [0.5]]), np.ones(2))
    assert sorted(chosen) == [0, 0, 0.5]  # the least sure
    # Half of the logit of 1e-7.
    expected = 1 / (1 + math.sqrt((1 - 1e-7) / 1e-7))
    np.testing.assert_allclose(fused, [[expected], [1 - expected]], rtol=1e-6)
