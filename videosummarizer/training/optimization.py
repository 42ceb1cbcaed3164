"""videosummarizer.training.optimization."""

from collections.abc import Callable, Iterable

import numpy as np

from videosummarizer.training.fusion import OUTPUTS, UNIMODAL_OUTPUTS
from videosummarizer.training.keras_backend import USES_XLA, keras

AUXILIARY_LOSS_WEIGHT = 0.7  # of what a sense says alone, beside 1 of sound and picture together
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1  # 0 and 1 are trained as 0.05 and 0.95: where a highlight begins is a matter of taste
EMA_DECAY = 0.99


def compile_network(network: keras.Model, learning_rate: float, num_updates: int) -> None:
    """Make a network ready for num_updates updates of its weights.

    AdamW, decoupled weight decay on all but biases and normalisation; the learning rate rises for a tenth of them
    and falls along a cosine to a hundredth. Targets are softened as in Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision" (2016), section 7.
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
    network.compile(optimizer, dict.fromkeys(weights, loss), loss_weights=weights, jit_compile=USES_XLA)
    optimizer.build(network.trainable_variables)  # now, for a resumed run's numbers


class ExponentialMovingAverage:
    """The exponential average of a network's weights, normalisation's statistics included, over about the last hundred
    updates and early over fewer; it scores better, and steadier from epoch to epoch, than the weights themselves.

    values: arrays in the order of `network.weights`. num_updates: how many weights went in.
    """

    def __init__(self, network: keras.Model):
        self.network, self.values, self.num_updates = network, network.get_weights(), 0

    def update(self) -> None:
        """Take in the network's weights as they are."""
        self.num_updates += 1
        share = max(1 - EMA_DECAY, 9 / (9 + self.num_updates))
        for value, weight in zip(self.values, self.network.get_weights(), strict=True):
            value += share * (weight - value)


def train_epoch(
    network: keras.Model, average: ExponentialMovingAverage, batches: Iterable, on_batch: Callable
) -> float:
    """Train a compiled network on each of an epoch's batches, of `data_loader.Batches`; returns the mean loss of the
    segments' scores alone, which is what validation's is of.

    A plain loop: `fit` hands batches through tf.data, which on CPU takes longer than a step of this small network.
    """
    losses = []
    for inputs, targets, weights in batches:
        targets = {name: targets[name.rpartition("_")[2]] for name in network.output_names}
        network.reset_metrics()
        losses.append(
            network.train_on_batch(inputs, targets, sample_weight=weights, return_dict=True)["highlight_loss"]
        )
        average.update()
        on_batch()
    return float(np.mean(losses))
