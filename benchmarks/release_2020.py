"""The two networks of the 2020 release, the toolkit's first version, for benchmarks/bench_quality.py.

They are defined here, because only this comparison needs them: basic, which takes one segment, and sequence, which also
takes two segments before and after (at the ends of a match the outermost one is repeated). Both take MFCCs, which are
computed here if the dataset holds waveforms.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data_loader import DataLoader  # noqa: E402
from videosummarizer.dataset import sampling  # noqa: E402
from videosummarizer.evaluation import metrics  # noqa: E402

NUM_EPOCHS = 32
# Factor of the L2 penalty on weights.
WEIGHT_PENALTY = 0.005
# Segments before and after that the sequence network takes.
NUM_NEIGHBOURS = 2
# Segments that the sequence network takes.
SEQUENCE_LENGTH = 2 * NUM_NEIGHBOURS + 1
# Features of a segment.
NUM_FEATURES = 16
BATCH_SIZE = 16
# Segments that are scored at once.
NUM_SCORED_SEGMENTS = 64
LEARNING_RATE = 0.001


@dataclass(frozen=True)
class Subset:
    """A subset in memory.

    Attributes:
        video: (n, T, H, W, 3) uint8.
        mfcc: (n, 40, num_frames, 1) float32.
        labels: (n,) int64, 0 or 1.
        neighbours: (n, 5) int64, the indices of the segments that the sequence network takes for each segment.
    """

    video: np.ndarray
    mfcc: np.ndarray
    labels: np.ndarray
    neighbours: np.ndarray

    def inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return a network's inputs for some of the segments."""
        return {"video": self.video[indices], "mfcc": self.mfcc[indices]}


def read_subset(loader: DataLoader, subset: str) -> Subset:
    """Read a subset of a dataset into memory."""
    video, mfcc, neighbours, num_segments = [], [], [], 0
    for files in loader.files_by_match(subset):
        frames, audio = map(np.stack, zip(*loader.read_match(files), strict=True))
        video.append(frames)
        mfcc.append(audio if loader.config.apply_mfcc else sampling.mfcc(audio, loader.config.audio_sample_rate))
        around = np.arange(len(files))[:, np.newaxis] + np.arange(-NUM_NEIGHBOURS, NUM_NEIGHBOURS + 1)
        neighbours.append(num_segments + np.clip(around, 0, len(files) - 1))
        num_segments += len(files)
    mfcc = np.concatenate(mfcc)[..., np.newaxis].astype(np.float32)
    return Subset(np.concatenate(video), mfcc, loader.labels(subset), np.concatenate(neighbours))


def build_network(data: Subset, is_sequence: bool):
    """Return a compiled network of the 2020 release, its encoder and its head.

    The encoder has a 3-D convolution for the video and a 2-D convolution for the MFCCs, each pooled and flattened, and
    a dense layer for both. The head scores the features of one segment or, in the sequence network, of five by an LSTM.

    Args:
        data: a subset, for the shapes of its arrays.
        is_sequence: whether the network takes the segments before and after.
    """
    from videosummarizer.training.keras_backend import keras

    layers, ops, penalty = keras.layers, keras.ops, keras.regularizers.L2(WEIGHT_PENALTY)
    options = {"activation": "relu", "padding": "same", "kernel_regularizer": penalty}
    video = keras.Input(data.video.shape[1:], dtype="uint8", name="video")
    mfcc = keras.Input(data.mfcc.shape[1:], name="mfcc")
    video_features = layers.MaxPooling3D(2, padding="same")(
        layers.Conv3D(8, 3, **options)(layers.Rescaling(1 / 255)(video))
    )
    audio_features = layers.MaxPooling2D(2, padding="same")(layers.Conv2D(4, 3, **options)(mfcc))
    both = layers.Concatenate()([layers.Flatten()(video_features), layers.Flatten()(audio_features)])
    encoded = layers.Dense(NUM_FEATURES, activation="relu", kernel_regularizer=penalty)(both)
    inputs = {"video": video, "mfcc": mfcc}
    encoder = keras.Model(inputs, encoded)
    features = keras.Input((SEQUENCE_LENGTH, NUM_FEATURES) if is_sequence else (NUM_FEATURES,))
    x = layers.LSTM(16, kernel_regularizer=penalty)(features) if is_sequence else features
    head = keras.Model(features, layers.Dense(1, activation="sigmoid")(x))
    of_batch = ops.reshape(encoded, (-1, SEQUENCE_LENGTH, NUM_FEATURES)) if is_sequence else encoded
    network = keras.Model(inputs, head(of_batch))
    network.compile(keras.optimizers.Adam(LEARNING_RATE), "binary_crossentropy")
    return network, encoder, head


def train(
    data: dict[str, Subset], is_sequence: bool, seed: int, num_epochs: int = NUM_EPOCHS
) -> tuple[dict[str, np.ndarray], float]:
    """Train a network of the 2020 release; the epoch with the lowest log loss on valid counts.

    Args:
        data: the subsets, by name.
        is_sequence: whether the network takes the segments before and after.
        seed: of the initial weights and the order of segments.
        num_epochs: passes over train.

    Returns:
        The scores of valid and test, (num_segments, 1) float32 in [0, 1] each, and the seconds of the training.
    """
    from videosummarizer.training.keras_backend import reset_keras

    def score(subset: Subset) -> np.ndarray:
        parts = np.array_split(np.arange(len(subset.labels)), 1 + len(subset.labels) // NUM_SCORED_SEGMENTS)
        features = np.concatenate([encoder.predict_on_batch(subset.inputs(part)) for part in parts])
        return head.predict_on_batch(features[subset.neighbours] if is_sequence else features)

    reset_keras(seed)
    rng = np.random.default_rng(seed)
    subset, num_batches = data["train"], 1 + (len(data["train"].labels) - 1) // BATCH_SIZE
    network, encoder, head = build_network(subset, is_sequence)
    best_loss, best_weights = float("inf"), network.get_weights()
    begin = time.perf_counter()
    for _ in range(num_epochs):
        for part in np.array_split(rng.permutation(len(subset.labels)), num_batches):
            inputs = subset.inputs(subset.neighbours[part].ravel() if is_sequence else part)
            network.train_on_batch(inputs, subset.labels[part, np.newaxis].astype(np.float32))
        loss = metrics.log_loss(data["valid"].labels, score(data["valid"])[:, 0])
        if loss < best_loss:
            best_loss, best_weights = loss, network.get_weights()
    training_sec = time.perf_counter() - begin
    network.set_weights(best_weights)
    return {name: score(data[name]) for name in ("valid", "test")}, training_sec
