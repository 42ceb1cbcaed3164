"""videosummarizer.training.inference."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from videosummarizer.training import safe_hdf5
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError, read_checkpoint_attributes
from videosummarizer.training.fusion import OUTPUTS
from videosummarizer.training.keras_backend import USES_XLA, keras
from videosummarizer.training.layers import TEMPORAL_CONVOLUTION

INFERENCE_WINDOW = 24  # segments that are scored together, those around them counted
MAX_STATE_VALUES = 10_000  # of a network's variables: states of random numbers
MIN_ALLOWED_VALUES, MAX_ACTIVATION_RATIO = 2**25, 256  # of a layer's output, of it to the inputs


def load_network(checkpoint: Checkpoint):
    """The network, which takes TensorFlow's start-up. Raises checkpoint.CheckpointError."""
    from videosummarizer.training.fusion import OUTPUTS

    network = load_checkpoint(checkpoint.path)
    if not isinstance(network.output, dict) or not set(OUTPUTS) <= network.output.keys():
        raise CheckpointError(
            f"{checkpoint.path}: received a network without the outputs 'highlight' and 'steps', expected a checkpoint "
            "that main.py saved"
        )
    shapes = {tensor.name: tuple(tensor.shape) for tensor in network.inputs}
    for name, expected in checkpoint.config.data_shape.items():
        received = shapes.get(name, ())
        if received[len(received) - len(expected) :] != tuple(expected):
            raise CheckpointError(
                f"{checkpoint.path}: received a network whose input {name!r} is {received}, expected {expected} as its "
                "data config says"
            )
    return network


def load_checkpoint(path: str | os.PathLike) -> keras.Model:
    """The network of a checkpoint, uncompiled. Nothing that the file holds is run, and variables are made only once
    they are known to be of the size of the weights in the file.

    Raises:
        checkpoint.CheckpointError: the file is missing, damaged, or no checkpoint of this toolkit.
    """
    read_checkpoint_attributes(path)
    config, num_weights = safe_hdf5.read_network(path)
    try:
        with keras.StatelessScope(initialize_variables=False):
            network = keras.Model.from_config(config["config"])
        problem = find_excess(network, num_weights)
        if not problem:
            with keras.StatelessScope():  # makes the variables, at its end
                pass
            network.load_weights(path)
            network.jit_compile = USES_XLA
    except Exception as error:  # which, Keras does not say, and a stranger's settings may raise any
        problem = first_line(error)
    if problem:
        keras.utils.clear_session()  # forgets the variables that were not made
        raise CheckpointError(f"{path}: the network in it cannot be read ({problem})")
    return network


def find_excess(network: keras.Model, num_weights: int) -> str | None:
    """What in a network takes more memory than num_weights in its checkpoint, or its inputs, account for."""
    num_wanted = sum(math.prod(variable.shape) for variable in network.variables)
    if num_wanted > num_weights + MAX_STATE_VALUES:
        return f"it wants {num_wanted} weights, and {num_weights} are there"
    num_values = max(MIN_ALLOWED_VALUES, MAX_ACTIVATION_RATIO * sum(num_elements(tensor) for tensor in network.inputs))
    for layer in network._flatten_layers():
        for node in layer._inbound_nodes:
            if any(num_elements(tensor) > num_values for tensor in node.outputs):
                return f"its layer {layer.name!r} makes more values of a segment than memory holds"
    return None


def num_elements(tensor: keras.KerasTensor) -> int:
    """Values in a tensor, a segment's alone."""
    return math.prod(length for length in tensor.shape if length)


def score_segments(
    network: keras.Model,
    segment_arrays: Iterator[tuple[np.ndarray, np.ndarray]],
    window_length: int = INFERENCE_WINDOW,
    names: Sequence[str] = OUTPUTS,
) -> Iterator[np.ndarray]:
    """For each segment of a match, in order, (1 + K,) float32 in [0, 1]: its score, and those of its K steps. Segments
    are taken as they are needed: a window of them at a time goes through the network, with some that it has seen
    before, so that each is scored with neighbours.

    Args:
        network: of `load_checkpoint`.
        segment_arrays: of a whole match, as `sampling.read_segments` gives them.
        window_length: segments in a window; more where the network looks so far around that few would be new.
        names: of the outputs that are given, side by side.

    Raises:
        checkpoint.CheckpointError: the network's layers do not fit together.
    """
    num_context = receptive_field(network)
    window_length = max(window_length, 4 * num_context)
    window: list[tuple[np.ndarray, np.ndarray]] = []
    num_scored = 0  # at the window's beginning
    while True:
        window += itertools.islice(segment_arrays, window_length - len(window))
        is_last = len(window) < window_length
        if len(window) == num_scored:
            return
        frames, audio = (np.stack(arrays)[np.newaxis] for arrays in zip(*window, strict=True))
        try:
            outputs = network.predict_on_batch({"video": frames, "audio": audio})
        except Exception as error:  # which, a stranger's layers may raise any
            raise CheckpointError(f"the network cannot score segments ({first_line(error)})") from error
        scores = np.concatenate([outputs[name] for name in names], axis=-1)[0]
        yield from scores[num_scored : len(window) - (0 if is_last else num_context)]
        if is_last:
            return
        window, num_scored = window[-2 * num_context :], num_context


def receptive_field(network: keras.Model) -> int:
    """Return on how many segments to either side a segment's score depends.

    The temporal convolutions of a modality reach as far as their dilations add up to, in time steps. Onset emphasis
    and the audio encoder reach two steps further; frame differences and the video encoder reach two frames further.
    """
    num_steps, num_frames = network.output["steps"].shape[-1], network.input["video"].shape[2]
    reach = Counter()
    for layer in network.layers:
        modality, _, dilation = layer.name.partition(TEMPORAL_CONVOLUTION)
        if dilation:
            reach[modality] += layer.dilation_rate[0]
    return math.ceil(max(reach.values(), default=0) / num_steps + max(2 / num_steps, 2 / num_frames))


def first_line(error: Exception) -> str:
    """The first line of an error's message, for errors of libraries that write paragraphs."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
