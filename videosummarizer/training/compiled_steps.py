"""Compiled training steps: each updates the weights and their moving average, and a call makes several of them.

Weights, their average and the batches are on the device throughout an epoch. Starting a call takes some milliseconds of
Python, so that on an accelerator, where a step takes no longer, several steps share a call.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from videosummarizer.prefetching import prefetch_iterator
from videosummarizer.training.keras_backend import has_accelerator, keras, ops

# Steps per call on an accelerator. On a CPU, a step takes much longer than starting a call, and loops are slower.
STEPS_PER_CALL_ON_ACCELERATOR = 8


def choose_steps_per_call() -> int:
    """Return how many steps a call makes on the device that Keras computes on."""
    return STEPS_PER_CALL_ON_ACCELERATOR if has_accelerator() else 1


class CompiledSteps:
    """The training steps of a network, each followed by the update of its moving average.

    Args:
        network: Network that `optimization.compile_network` compiled.
        average: Its optimization.ExponentialMovingAverage.
        steps_per_call: Steps per call. If there are several, all batches must have the same shapes.
        to_device: Puts an array of a batch on the device or devices. It is called in a thread.

    Attributes:
        network: As given.
        average: As given.
        steps_per_call: As given.
    """

    def __init__(
        self,
        network: keras.Model,
        average,
        steps_per_call: int = 1,
        to_device: Callable = ops.convert_to_tensor,
    ):
        self.network, self.average, self.steps_per_call, self.to_device = network, average, steps_per_call, to_device
        make_loss_trackers(network)
        compile_steps = compile_for_jax if keras.backend.backend() == "jax" else compile_for_tensorflow
        self.function = compile_steps(network, average, steps_per_call)

    @contextmanager
    def on_device(self, batches: Iterable) -> Iterator[Iterator[tuple]]:
        """Put batches on the device, in a thread that is one call ahead.

        Args:
            batches: Tuples (inputs, targets, weights), as `data_loader.Batches` yields them.

        Yields:
            An iterator over the batches for `run`.
        """
        with prefetch_iterator(map(self.put, batches), self.steps_per_call) as ready:
            yield ready

    def put(self, batch: tuple) -> tuple:
        """Put a batch on the device. It then has a target for each output: "audio_steps" has that of "steps"."""
        inputs, targets, weights = keras.tree.map_structure(self.to_device, batch)
        return inputs, {name: targets[name.rpartition("_")[2]] for name in self.network.output_names}, weights

    def run(self, batches: list[tuple]):
        """Train on batches, one after the other. The call may return before the device has finished.

        Args:
            batches: At least one and at most `steps_per_call` batches of `put`.

        Returns:
            Losses of the "highlight" output, a vector of float32 on the device. It has one for each batch; after those,
            it may have values without a meaning.
        """
        # A shorter call repeats its last batch without training on it: another number would be compiled again.
        padding = batches[-1:] * (self.steps_per_call - len(batches))
        return self.function([*batches, *padding], np.array(len(batches), np.int32))


def make_loss_trackers(network: keras.Model) -> None:
    """Make the variables in which Keras tracks the losses. It makes them at the first loss, not while compiling."""
    zeros = {name: np.zeros([size or 1 for size in output.shape]) for name, output in network.output.items()}
    with keras.StatelessScope():
        network.compute_loss(y=zeros, y_pred=zeros)


def compile_for_tensorflow(network: keras.Model, average, steps_per_call: int) -> Callable:
    """Return the function that CompiledSteps runs, for TensorFlow.

    Args:
        network: See CompiledSteps, as for the other arguments.

    Returns:
        A function of `steps_per_call` batches and of the number of those to train on, () int32. It changes the
        variables of network, optimizer and average, and returns the losses.
    """
    import tensorflow as tf

    def step(batch: tuple):
        network.reset_metrics()
        loss = network.train_step(batch)["highlight_loss"]
        average.update()
        return loss

    def run(batches: list[tuple], num_batches):
        if steps_per_call == 1:
            return step(batches[0])[tf.newaxis]
        stacked = tf.nest.map_structure(lambda *arrays: tf.stack(arrays), *batches)
        return tf.map_fn(
            lambda index: step(tf.nest.map_structure(lambda array: array[index], stacked)),
            tf.range(num_batches),
            parallel_iterations=1,
            fn_output_signature=tf.float32,
        )

    if network.run_eagerly:
        return run
    return tf.function(run, jit_compile=network.jit_compile, reduce_retracing=True, autograph=False)


def compile_for_jax(network: keras.Model, average, steps_per_call: int) -> Callable:
    """Return the function that CompiledSteps runs, for JAX. See `compile_for_tensorflow`."""
    import jax

    variables = [
        network.trainable_variables,
        network.non_trainable_variables,
        network.optimizer.variables,
        average.variables,
    ]

    def step(state: list, batch: tuple):
        *of_network, averaged = state
        loss_trackers = [ops.zeros(variable.shape, variable.dtype) for variable in network.metrics_variables]
        logs, (*of_network, _) = network.train_step((*of_network, loss_trackers), batch)
        values = jax.tree.leaves([of_network, averaged])
        with keras.StatelessScope(zip(jax.tree.leaves(variables), values, strict=True)) as scope:
            average.update()
        averaged = [scope.get_current_value(variable) for variable in average.variables]
        return [*of_network, averaged], logs["highlight_loss"]

    def run(state: list, batches: list[tuple], num_batches):
        if steps_per_call == 1:
            state, loss = step(state, batches[0])
            return state, loss[np.newaxis]
        stacked = jax.tree.map(lambda *arrays: ops.stack(arrays), *batches)

        def body(index, state_and_losses):
            state, losses = state_and_losses
            state, loss = step(state, jax.tree.map(lambda array: array[index], stacked))
            return state, losses.at[index].set(loss)

        return jax.lax.fori_loop(0, num_batches, body, (state, ops.zeros(steps_per_call)))

    def values_of_variables() -> list:
        return jax.tree.map(lambda variable: variable.value, variables)

    compiled = run
    if not network.run_eagerly:
        # Each device keeps a copy of all variables. On one device, stating its own would compile a second time.
        is_distributed = keras.distribution.distribution() is not None
        shardings = jax.tree.map(lambda value: value.sharding, values_of_variables()) if is_distributed else None
        compiled = jax.jit(run, donate_argnums=0, out_shardings=(shardings, None))

    def run_on_variables(batches: list[tuple], num_batches):
        state, losses = compiled(values_of_variables(), batches, num_batches)
        for variable, value in zip(jax.tree.leaves(variables), jax.tree.leaves(state), strict=True):
            variable.assign(value)
        return losses

    return run_on_variables
