"""Features by which a network compares segments with its training set and with one another."""

from videosummarizer.error_messages import first_line
from videosummarizer.training.checkpoint import CheckpointError
from videosummarizer.training.fusion import FUSION_LAYER, MODALITIES
from videosummarizer.training.inference import convolutions_of
from videosummarizer.training.keras_backend import keras, layers, ops

# The modalities that have an encoder, whose features are compared.
ENCODED_MODALITIES = ("audio", "video")
# Names of the outputs that `add_features` adds.
FEATURE_OUTPUTS = tuple(f"{modality}_segment_features" for modality in ENCODED_MODALITIES)


def add_features(network: keras.Model) -> keras.Model:
    """Return a network that also outputs the features of each segment, in units of the training set.

    They are what the convolutions over time receive, before it is normalised. The batch normalisation there has stored
    its mean and variance over the training set. So a feature of 0 is the training set's mean, and 1 is one standard
    deviation of its time steps away from it.

    Args:
        network: Network of `inference.load_network`.

    Returns:
        A network with the same variables and, in addition, FEATURE_OUTPUTS: (B, S, 64) float32, the means over the time
        steps of each segment.

    Raises:
        checkpoint.CheckpointError: The network has other layers.
    """
    try:
        num_steps = network.output["steps"].shape[-1]
        outputs = {
            name: standardized_features(network, modality, num_steps, name)
            for name, modality in zip(FEATURE_OUTPUTS, ENCODED_MODALITIES, strict=True)
        }
        return keras.Model(network.input, {**network.output, **outputs})
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the network's features cannot be compared ({first_line(error)}), expected a checkpoint that this version "
            "of main.py saved"
        ) from error


def standardized_features(network: keras.Model, modality: str, num_steps: int, name: str) -> keras.KerasTensor:
    """Return a modality's features of each segment, (B, S, num_channels), in units of the training set.

    Args:
        network: The network.
        modality: One of ENCODED_MODALITIES.
        num_steps: Time steps per segment.
        name: Name of the layer that computes them.
    """
    tensor = convolutions_of(network, modality)[0].input
    while not isinstance(normalization := tensor._keras_history.operation, layers.BatchNormalization):
        tensor = normalization.input
    mean = ops.convert_to_tensor(normalization.moving_mean)
    deviation = ops.sqrt(ops.convert_to_tensor(normalization.moving_variance) + normalization.epsilon)
    num_channels = normalization.input.shape[-1]

    def standardize(features):
        of_segments = ops.reshape(features, (ops.shape(features)[0], -1, num_steps, num_channels))
        return ops.mean((of_segments - mean) / deviation, axis=2)

    return layers.Lambda(standardize, output_shape=(None, num_channels), name=name)(normalization.input)


def read_fusion_weights(network: keras.Model) -> list[float]:
    """Return how much each of MODALITIES counts in the scores of time steps.

    Raises:
        checkpoint.CheckpointError: The network has no such weights.
    """
    try:
        weights = network.get_layer(FUSION_LAYER.format("steps")).fusion_weights.numpy().tolist()
    except (AttributeError, ValueError) as error:
        raise CheckpointError(f"the network has no fusion weights ({first_line(error)})") from error
    return weights if len(weights) == len(MODALITIES) else [1.0] * len(MODALITIES)
