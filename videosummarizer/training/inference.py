"""Inference: load the network of an untrusted checkpoint, and score a whole match with a sliding window."""

import itertools
import math
import operator
import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from videosummarizer.training import safe_hdf5
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError, read_checkpoint_attributes
from videosummarizer.training.fusion import OUTPUTS
from videosummarizer.training.keras_backend import USES_XLA, keras
from videosummarizer.training.layers import TEMPORAL_CONVOLUTION

# Segments that go through the network at once, the context on either side included.
INFERENCE_WINDOW = 24
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
    window_length: int = INFERENCE_WINDOW,
    names: Sequence[str] = OUTPUTS,
) -> Iterator[np.ndarray]:
    """Score the segments of a match with a sliding window.

    Windows overlap by twice the receptive field, so that each segment is scored with all the neighbours on which its
    score depends. Segments are read only when a window needs them.

    Args:
        network: Network of `load_checkpoint`.
        segment_arrays: Frames and audio of each segment of the whole match, as `sampling.read_segments` yields them.
        window_length: Segments in a window. Networks with a large receptive field get longer windows, so that at least
            half of a window is new.
        names: Names of the outputs.

    Yields:
        One row per segment, (num_columns,) float32 in [0, 1], with the outputs in the order of the names. By default
        (1 + K,): the score of the segment and those of its K time steps.

    Raises:
        checkpoint.CheckpointError: The layers of the network do not fit together.
    """
    num_context = receptive_field(network)
    window_length = max(window_length, 4 * num_context)
    window: list[tuple[np.ndarray, np.ndarray]] = []
    num_scored = 0  # segments at the beginning of the window that have been scored already
    while True:
        window += itertools.islice(segment_arrays, window_length - len(window))
        is_last = len(window) < window_length
        if len(window) == num_scored:
            return
        frames, audio = (np.stack(arrays)[np.newaxis] for arrays in zip(*window, strict=True))
        try:
            outputs = network.predict_on_batch({"video": frames, "audio": audio})
        except Exception as error:  # untrusted layers may raise any
            raise CheckpointError(f"the network cannot score segments ({first_line(error)})") from error
        scores = np.concatenate([outputs[name] for name in names], axis=-1)[0]
        yield from scores[num_scored : len(window) - (0 if is_last else num_context)]
        if is_last:
            return
        window, num_scored = window[-2 * num_context :], num_context


def receptive_field(network: keras.Model) -> int:
    """Return the number of segments on either side on which the score of a segment depends.

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


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, for libraries whose errors have several paragraphs."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
