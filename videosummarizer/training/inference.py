"""Inference: load the network of an untrusted checkpoint, and score a whole match with a sliding window."""

import functools
import itertools
import math
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from videosummarizer.error_messages import first_line
from videosummarizer.training import safe_hdf5
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError, read_checkpoint_attributes
from videosummarizer.training.fusion import OUTPUTS
from videosummarizer.training.keras_backend import USES_XLA, keras
from videosummarizer.training.layers import ENCODER_OUTPUTS, TEMPORAL_CONVOLUTION

# Segments that go through the encoders at once, the context on either side included.
ENCODER_WINDOW = 24
# Segments whose features go through the heads at once, likewise.
HEADS_WINDOW = 256
# Values that a network's variables may have in addition to its stored weights, such as states of random generators.
MAX_STATE_VALUES = 10_000
# Values per segment that a layer's output may have for each value of the network's inputs.
MAX_ACTIVATION_RATIO = 256
# Values per segment that a layer's output may have in any case, however small the inputs are.
MIN_ALLOWED_VALUES = 2**25


def load_network(checkpoint: Checkpoint):
    """Load the network of a checkpoint, and check that its inputs and outputs are what the checkpoint states.

    Raises:
        checkpoint.CheckpointError: The network cannot be read, or has other inputs or outputs.
    """
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
                "data config states"
            )
    return network


def load_checkpoint(path: str | os.PathLike) -> keras.Model:
    """Load the network of a checkpoint, which may be untrusted.

    Nothing in the file is executed. The variables are allocated only after their sizes have been compared with the
    weights in the file.

    Returns:
        The network, not compiled.

    Raises:
        checkpoint.CheckpointError: The file is missing or damaged, or it is not a checkpoint of this toolkit.
    """
    read_checkpoint_attributes(path)
    config, num_weights = safe_hdf5.read_network(path)
    try:
        with keras.StatelessScope(initialize_variables=False):
            network = keras.Model.from_config(config["config"])
        problem = find_excess(network, num_weights)
        if not problem:
            with keras.StatelessScope():  # allocates the variables at its end
                pass
            network.load_weights(path)
            network.jit_compile = USES_XLA
    except Exception as error:  # Keras documents no exception type; an untrusted config may raise any
        problem = first_line(error)
    if problem:
        keras.utils.clear_session()  # drops the variables that were not allocated
        raise CheckpointError(f"{path}: the network in it cannot be read ({problem})")
    return network


def find_excess(network: keras.Model, num_weights: int) -> str | None:
    """Check that the size of a network is in proportion to its checkpoint.

    Args:
        network: Network whose variables need not be allocated yet.
        num_weights: Number of weights in its checkpoint.

    Returns:
        What in the network is too large: its variables, or a layer's output. None if nothing is.
    """
    num_variables = sum(math.prod(variable.shape) for variable in network.variables)
    if num_variables > num_weights + MAX_STATE_VALUES:
        return f"it needs {num_variables} weights, and the file holds {num_weights}"
    num_values = max(MIN_ALLOWED_VALUES, MAX_ACTIVATION_RATIO * sum(num_elements(tensor) for tensor in network.inputs))
    for layer in network._flatten_layers():
        for node in layer._inbound_nodes:
            if any(num_elements(tensor) > num_values for tensor in node.outputs):
                return f"its layer {layer.name!r} makes more values per segment than fit in memory"
    return None


def num_elements(tensor: keras.KerasTensor) -> int:
    """Return the number of values in a tensor for one segment."""
    return math.prod(length for length in tensor.shape if length)


def score_segments(
    network: keras.Model,
    segment_arrays: Iterator[tuple[np.ndarray, np.ndarray]],
    window_length: int = ENCODER_WINDOW,
    names: Sequence[str] = OUTPUTS,
) -> Iterator[np.ndarray]:
    """Score the segments of a match.

    The encoders, which do most of the work, see little more than one segment. They run with a short sliding window.
    The heads look much further, at few values; they run over the features with a long one. So a large receptive field
    costs neither time nor memory, and each segment has the score that it would have in the whole match.

    Args:
        network: Network of `load_checkpoint`.
        segment_arrays: Frames and audio of each segment of the whole match, as `sampling.read_segments` yields them.
            They are read only when a window needs them.
        window_length: Segments that go through the encoders at once, unless their context needs more.
        names: Names of the outputs.

    Yields:
        One row per segment, (num_columns,) float32 in [0, 1], with the outputs in the order of the names. By default
        (1 + K,): the score of the segment and those of its K time steps.

    Raises:
        checkpoint.CheckpointError: The layers of the network do not fit together.
    """
    encoders, heads = split_network(network)

    def encode(window: list[tuple[np.ndarray, np.ndarray]]) -> list[list[np.ndarray]]:
        video, audio = (np.stack(arrays)[np.newaxis] for arrays in zip(*window, strict=True))
        features = predict(encoders, {"video": video, "audio": audio})
        return list(zip(*(array.reshape(len(window), -1) for array in features), strict=True))

    def classify(window: list[list[np.ndarray]]) -> np.ndarray:
        features = zip(heads.inputs, zip(*window, strict=True), strict=True)
        outputs = predict(heads, [np.stack(rows).reshape(1, -1, tensor.shape[-1]) for tensor, rows in features])
        return np.concatenate([outputs[name] for name in names], axis=-1)[0]

    features = slide(encode, segment_arrays, window_length, encoders_context(network))
    return slide(classify, features, HEADS_WINDOW, heads_context(network))


def predict(network: keras.Model, inputs):
    """Return the outputs of a network or of a part of it.

    Raises:
        checkpoint.CheckpointError: Its layers do not fit together.
    """
    try:
        return network.predict_on_batch(inputs)
    except Exception as error:  # untrusted layers may raise any
        raise CheckpointError(f"the network cannot score segments ({first_line(error)})") from error


@functools.lru_cache(maxsize=1)  # validation scores with the same network after each epoch
def split_network(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Divide a network into its encoders and its heads, which use its variables.

    Returns:
        The encoders, from "video" and "audio" to a list of ENCODER_OUTPUTS, and the heads, from there to the network's
        outputs.

    Raises:
        checkpoint.CheckpointError: A layer is missing, or the outputs do not follow from ENCODER_OUTPUTS.
    """
    try:
        features = [network.get_layer(name).output for name in ENCODER_OUTPUTS]
        parts = keras.Model(network.input, features), keras.Model(features, network.output)
    except ValueError as error:
        raise CheckpointError(f"the network cannot score segments ({first_line(error)})") from error
    for part in parts:
        part.jit_compile = USES_XLA
    return parts


def slide(process: Callable[[list], Sequence], items: Iterator, window_length: int, num_context: int) -> Iterator:
    """Process items with a sliding window, and yield one result for each.

    Windows overlap by twice the context, so that each item is processed with all neighbours on which its result
    depends.

    Args:
        process: Returns the results of consecutive items.
        items: Read only when a window needs them.
        window_length: Items in a window; longer if less than half of a window would be new.
        num_context: Neighbours on either side on which a result depends; at least 1.
    """
    window_length = max(window_length, 4 * num_context)
    window: list = []
    num_processed = 0  # items at the beginning of the window whose results were yielded
    while True:
        window += itertools.islice(items, window_length - len(window))
        is_last = len(window) < window_length
        if len(window) == num_processed:
            return
        yield from process(window)[num_processed : len(window) - (0 if is_last else num_context)]
        if is_last:
            return
        window, num_processed = window[-2 * num_context :], num_context


def encoders_context(network: keras.Model) -> int:
    """Return the number of segments on either side on which the features of a segment depend.

    Onset emphasis and the audio encoder reach two time steps; frame differences and the video encoder two frames.
    """
    num_steps, num_frames = network.output["steps"].shape[-1], network.input["video"].shape[2]
    return math.ceil(max(2 / num_steps, 2 / num_frames))


def heads_context(network: keras.Model) -> int:
    """Return the number of segments on either side whose features the score of a segment depends on, at least 1."""
    return math.ceil(max(1, reach_steps(network)) / network.output["steps"].shape[-1])


def reach_steps(network: keras.Model) -> int:
    """Return the number of time steps on either side whose features a score depends on.

    The temporal convolutions of a modality reach as far as their dilations add up to.
    """
    reach = Counter()
    for layer in network.layers:
        modality, _, dilation = layer.name.partition(TEMPORAL_CONVOLUTION)
        if dilation:
            reach[modality] += layer.dilation_rate[0]
    return max(reach.values(), default=0)


def convolutions_of(network: keras.Model, modality: str) -> list[keras.layers.Layer]:
    """Return the temporal convolutions of a modality, in their order."""
    return [layer for layer in network.layers if layer.name.startswith(f"{modality}{TEMPORAL_CONVOLUTION}")]


def read_dilations(path: str | os.PathLike) -> list[int]:
    """Read the dilation rates of the temporal convolutions from a checkpoint, without building its network.

    Raises:
        checkpoint.CheckpointError: The checkpoint cannot be read, or its network is not one of this toolkit.
    """
    read_checkpoint_attributes(path)
    config, _ = safe_hdf5.read_network(path)
    try:
        configs = [layer["config"] for layer in config["config"]["layers"]]
        convolutions = [config for config in configs if config["name"].startswith(f"audio{TEMPORAL_CONVOLUTION}")]
        dilations = [operator.index(config["dilation_rate"][0]) for config in convolutions]
        is_valid = min(dilations, default=1) > 0 and len(set(dilations)) == len(dilations)
    except (AttributeError, IndexError, KeyError, TypeError):
        is_valid = False
    if not is_valid:
        raise CheckpointError(f"{path}: the network in it is not one that main.py saved")
    return dilations
