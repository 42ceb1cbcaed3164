"""Optimization: the loss and the optimizer, a moving average of the weights, and an epoch of training."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from videosummarizer.dataset.time_shift import UNDECIDED
from videosummarizer.training.compiled_steps import CompiledSteps
from videosummarizer.training.fusion import OUTPUTS, UNIMODAL_OUTPUTS
from videosummarizer.training.keras_backend import USES_XLA, keras, ops

# Weight of the loss of each output from one modality alone. The loss of a fused output has the weight 1.
AUXILIARY_LOSS_WEIGHT = 0.7
# AdamW's decoupled weight decay.
WEIGHT_DECAY = 0.05
# The labels 0 and 1 are trained as 0.05 and 0.95, because editors disagree about where a highlight begins.
LABEL_SMOOTHING = 0.1
# Decay of the moving average of the weights: it spans about 100 updates.
EMA_DECAY = 0.99


@keras.saving.register_keras_serializable(package="video_summarizer")
class DecidedBinaryCrossentropy(keras.losses.BinaryCrossentropy):
    """Binary cross-entropy of the time steps of a segment, of which those with the target UNDECIDED do not count."""

    def call(self, y_true, y_pred):
        is_decided = ops.cast(ops.not_equal(y_true, UNDECIDED), y_pred.dtype)
        smoothed = is_decided * y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = ops.binary_crossentropy(smoothed, y_pred) * is_decided
        return ops.sum(losses, axis=-1) / ops.maximum(ops.sum(is_decided, axis=-1), 1)


def compile_network(network: keras.Model, learning_rate: float, num_updates: int, has_undecided: bool = False) -> None:
    """Compile a network with its losses, and with an optimizer whose learning rate follows a schedule.

    The optimizer is AdamW, with weight decay on all weights but those of biases and normalisation. The learning rate
    rises linearly during the first tenth of the updates, then falls along a cosine to a hundredth of its maximum. The
    loss is binary cross-entropy with label smoothing (Szegedy et al., "Rethinking the Inception Architecture for
    Computer Vision", 2016, section 7).

    Args:
        network: Network of `build_model`.
        learning_rate: Maximum learning rate.
        num_updates: Updates of the weights in the whole training.
        has_undecided: Whether some targets of time steps are UNDECIDED.
    """
    num_warmup = max(1, num_updates // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20,
        max(1, num_updates - num_warmup),
        alpha=0.01,
        warmup_target=learning_rate,
        warmup_steps=num_warmup,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.BinaryCrossentropy(label_smoothing=LABEL_SMOOTHING, reduction="mean_with_sample_weight")
    weights = dict.fromkeys(OUTPUTS, 1.0) | dict.fromkeys(UNIMODAL_OUTPUTS, AUXILIARY_LOSS_WEIGHT)
    losses = dict.fromkeys(weights, loss)
    if has_undecided:
        of_steps = DecidedBinaryCrossentropy(label_smoothing=LABEL_SMOOTHING, reduction="mean_with_sample_weight")
        losses |= {name: of_steps for name in losses if name.endswith("steps")}
    network.compile(optimizer, losses, loss_weights=weights, jit_compile=USES_XLA)
    optimizer.build(network.trainable_variables)  # a resumed run restores its variables before the first update


class ExponentialMovingAverage:
    """An exponential moving average of a network's weights, batch statistics included, in variables on its device.

    It scores better than the weights themselves, and more evenly from epoch to epoch. The decay is lower during the
    first updates, so that the initial weights are soon forgotten. Keras's own (`use_ema` of its optimizers) has one
    decay for all updates, and leaves the batch statistics out.

    Attributes:
        network: The network whose weights are averaged.
        num_updates: Number of updates that the average includes, a keras.Variable.
        values: Averaged weights, a list of keras.Variable in the order of `network.weights`.
        variables: All of these variables.
    """

    def __init__(self, network: keras.Model):
        self.network = network
        self.num_updates = keras.Variable(0, dtype="int32", trainable=False)
        self.values = [keras.Variable(weight, trainable=False) for weight in network.get_weights()]
        self.variables = [self.num_updates, *self.values]

    def update(self) -> None:
        """Include the network's present weights in the average."""
        self.num_updates.assign_add(1)
        rate = ops.maximum(1 - EMA_DECAY, 9 / (9 + ops.cast(self.num_updates, "float32")))
        for value, weight in zip(self.values, self.network.weights, strict=True):
            value.assign_add(rate * (weight - value))

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the network the averaged weights, to validate and save it, and its own weights back at the end."""
        weights = self.network.get_weights()
        self.network.set_weights([value.numpy() for value in self.values])
        try:
            yield
        finally:
            self.network.set_weights(weights)


def train_epoch(steps: CompiledSteps, batches: Iterable, on_batch: Callable) -> float:
    """Train a network on the batches of one epoch.

    The loop is written out because `Model.fit` passes batches through tf.data, which on a CPU takes longer than a
    training step of this small network.

    Args:
        steps: Training steps of the network.
        batches: Tuples (inputs, targets, weights), as `data_loader.Batches` yields them.
        on_batch: Called without arguments after each batch.

    Returns:
        The mean loss of the "highlight" output, which is comparable with the validation loss.
    """
    losses, num_batches = [], 0
    with steps.on_device(batches) as ready:
        while of_call := list(itertools.islice(ready, steps.steps_per_call)):
            losses.append(steps.run(of_call))
            num_batches += len(of_call)
            if len(losses) > 1:  # wait for the call before this one: waiting calls would hold their batches in memory
                losses[-2] = ops.convert_to_numpy(losses[-2])
            for _ in of_call:
                on_batch()
    losses[-1] = ops.convert_to_numpy(losses[-1])
    return float(np.mean(np.concatenate(losses)[:num_batches], dtype=np.float64))
