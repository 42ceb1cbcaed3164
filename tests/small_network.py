"""A small network with the outputs and kinds of layers of the real one. It is built and traced in a second, for tests
of the code around the network."""

import math
import pickle

import keras
import numpy as np
from keras import Input, Model, layers
from keras.initializers import Constant

from videosummarizer.training.fusion import LateFusion


def build_small_network(data_shape, audio_sample_rate=11025, num_steps=10, dilations=()):
    """Build a network as model.build_model does, from a dozen layers, some of them normalisation and dropout.

    It has no convolutions over time, whatever the dilations.
    """
    video = Input((None, *data_shape["video"]), dtype="uint8", name="video")
    audio = Input((None, *data_shape["audio"]), dtype="float32", name="audio")
    samples = layers.Reshape((-1, math.prod(data_shape["audio"])))(audio)
    level = layers.Add()([layers.ReLU()(samples), layers.ReLU()(layers.Rescaling(-1)(samples))])  # absolute values
    ones = Constant(20 / samples.shape[-1])  # at first, louder means more likely
    features = layers.BatchNormalization(momentum=0.9, name="audio_features")(layers.Dense(4)(level))
    colours = layers.Rescaling(1 / 255)(video)
    colours = layers.Reshape((-1, math.prod(data_shape["video"])), name="video_features")(colours)
    logits = {
        "loudness": [
            layers.Dense(size, kernel_initializer=ones, name=f"loudness_{name}_logits")(level)
            for name, size in (("highlight", 1), ("steps", num_steps))
        ],
        "audio": [layers.Dense(size)(layers.Dropout(0.2)(features)) for size in (1, num_steps)],
        "video": [layers.Dense(size)(colours) for size in (1, num_steps)],
    }
    outputs = {}
    for index, name in enumerate(("highlight", "steps")):
        of_modalities = [logits[modality][index] for modality in ("loudness", "audio", "video")]
        weighted_sum = LateFusion(has_offset=True, name=f"fusion_{name}")(of_modalities)
        outputs[name] = layers.Activation("sigmoid", name=name)(weighted_sum)
        for modality, logit in zip(("loudness", "audio", "video"), of_modalities, strict=True):
            outputs[f"{modality}_{name}"] = layers.Activation("sigmoid", name=f"{modality}_{name}")(logit)
    return Model({"video": video, "audio": audio}, outputs)


def build_fused_network(data_shape):
    """The small network for the dataset of conftest.py, with weights and fusion weights by which all outputs differ."""
    keras.utils.set_random_seed(5)
    network = build_small_network(data_shape, 4000, 2)
    for number, name in enumerate(("highlight", "steps")):
        network.get_layer(f"fusion_{name}").fusion_weights.assign((0.02 + number / 100, 0.5, 1.0))
    return network


def random_match(num_segments, seed=0):
    """Draw the frames and the audio of a match: (num_segments, 1, 2, 2, 3) uint8 and (num_segments, 4) float32."""
    rng = np.random.default_rng(seed)
    video = rng.integers(0, 256, (num_segments, 1, 2, 2, 3), dtype=np.uint8)
    return video, rng.normal(size=(num_segments, 4)).astype(np.float32)


def outputs_of(network, dataset_dir, title):
    """What the network says of a match, all its segments at once."""
    paths = sorted((dataset_dir / title).glob("*.pkl"))
    read = [pickle.loads(path.read_bytes()) for path in paths]
    inputs = {name: np.stack([segment[name] for segment in read])[np.newaxis] for name in ("video", "audio")}
    return {name: output[0] for name, output in network.predict_on_batch(inputs).items()}
