"""The heads of the network on features that are not learned, so that a training takes seconds instead of minutes.

The encoders of model.py are replaced by fixed features of each time step: of the audio, mean, maximum and rise of the
log-mel spectrogram; of the video, the mean frame in 8 x 8 pixels, and how far it differs from the frame before. Dilated
convolutions, heads, loudness, late fusion, losses, optimizer and moving average are those of `main.py`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_loader import DataLoader, class_weights
from videosummarizer.evaluation import metrics

# The size to which frames are averaged.
NUM_PIXELS = 8
# Sequences in a batch.
BATCH_SIZE = 8
# Updates of the weights between two validations. The state with the lowest validation loss is chosen.
UPDATES_PER_EPOCH = 20
LEARNING_RATE = 0.0015
# Names of the features, which are the inputs of the network.
FEATURES = ("audio", "video", "energy", "segment_energy")
# Segments whose features are computed at once.
NUM_AT_ONCE = 32


@dataclass(frozen=True)
class FeatureMatch:
    """A match of a dataset.

    Attributes:
        title: Its title.
        duration_sec: Its length.
        features: For "audio", "video" and "energy" (num_segments, K, num_features) float32 of each time step, for
            "segment_energy" (num_segments, 1).
        labels: (num_segments,) int64, 0 or 1.
        steps: (num_segments, K) float32 in [0, 1], the highlighted fraction of each time step.
    """

    title: str
    duration_sec: float
    features: dict[str, np.ndarray]
    labels: np.ndarray
    steps: np.ndarray


def read_subset(loader: DataLoader, subset: str) -> list[FeatureMatch]:
    """Compute the features of a subset's matches."""
    spectrogram, steps = spectrogram_network(loader), loader.steps(subset)
    matches = []
    for match, files in zip(loader.matches(subset), loader.files_by_match(subset), strict=True):
        video, audio = zip(*loader.read_match(files), strict=True)
        features = audio_features(spectrogram, np.stack(audio), loader.num_steps)
        features["video"] = video_features(np.stack(video), loader.num_steps)
        labels = np.array([file.label for file in files])
        matches.append(FeatureMatch(match.title, match.duration_sec, features, labels, steps[match.title]))
    return matches


def spectrogram_network(loader: DataLoader):
    """Return a network from audio to its log-mel spectrogram."""
    from model import MEL_FRAMES_PER_STEP, log_mel_spectrogram
    from videosummarizer.training.keras_backend import keras

    audio = keras.Input((None, *loader.data_shape["audio"]), name="audio")
    num_frames = MEL_FRAMES_PER_STEP * loader.num_steps
    return keras.Model(audio, log_mel_spectrogram(audio, loader.config.audio_sample_rate, num_frames))


def audio_features(spectrogram, audio: np.ndarray, num_steps: int) -> dict[str, np.ndarray]:
    """Return the features of a match's audio: "audio", "energy" and "segment_energy", see FeatureMatch."""
    parts = [
        spectrogram.predict_on_batch(audio[np.newaxis, start : start + NUM_AT_ONCE])[0]
        for start in range(0, len(audio), NUM_AT_ONCE)
    ]
    mel = np.concatenate(parts).reshape(len(audio), num_steps, -1, parts[0].shape[-1])
    rises = np.clip(np.diff(mel, axis=2), 0, None).mean(axis=2)
    power = np.exp(mel.astype(np.float64)).sum(axis=(2, 3))
    return {
        "audio": np.concatenate([mel.mean(axis=2), mel.max(axis=2), rises], axis=-1).astype(np.float32),
        "energy": np.log(power)[..., np.newaxis].astype(np.float32),
        "segment_energy": np.log(power.sum(axis=1, keepdims=True)).astype(np.float32),
    }


def video_features(video: np.ndarray, num_steps: int) -> np.ndarray:
    """Return (num_segments, K, num_features) float32 features of a match's frames, (num_segments, T, H, W, 3) uint8."""
    num_segments, num_frames = video.shape[:2]
    frames = video.reshape(-1, *video.shape[2:])
    rows, columns = (np.linspace(0, size, NUM_PIXELS + 1).astype(int)[:-1] for size in frames.shape[1:3])
    small = np.add.reduceat(np.add.reduceat(frames.astype(np.float32) / 255, rows, axis=1), columns, axis=2)
    small /= frames.shape[1] * frames.shape[2] / NUM_PIXELS**2
    motion = np.abs(np.diff(small, axis=0, prepend=small[:1])).mean(axis=-1)
    features = np.concatenate([small.reshape(len(small), -1), motion.reshape(len(small), -1)], axis=1)
    # The frame nearest to the middle of each time step.
    middles = ((np.arange(num_steps) + 0.5) * num_frames / num_steps).astype(int)
    return features.reshape(num_segments, num_frames, -1)[:, middles]


def build_network(shapes: dict[str, tuple[int, ...]], dilations: Sequence[int]):
    """Build the network on features, with the outputs of `model.build_model`.

    Args:
        shapes: The shapes of a segment's features.
        dilations: Dilation rates of the convolutions over time.
    """
    from model import classification_head
    from videosummarizer.training.fusion import FUSION_LAYER, MODALITIES, OUTPUTS, LateFusion
    from videosummarizer.training.keras_backend import keras, layers

    num_steps = shapes["energy"][0]
    inputs = {name: keras.Input((None, *shape), name=name) for name, shape in shapes.items()}

    def normalized(name: str):
        features = layers.Reshape((-1, shapes[name][-1]))(inputs[name])
        return layers.BatchNormalization(momentum=0.95, center=False, scale=False)(features)

    energy = normalized("energy")
    surrounding = layers.AveragePooling1D(num_steps, strides=1, padding="same")(energy)
    step_logits = layers.Dense(1, kernel_initializer="ones")(layers.Concatenate()([energy, surrounding]))
    logits = {
        "loudness": (
            layers.Dense(1, kernel_initializer="ones")(normalized("segment_energy")),
            layers.Reshape((-1, num_steps))(step_logits),
        ),
        **{name: classification_head(normalized(name), num_steps, dilations, name) for name in ("audio", "video")},
    }
    outputs = {}
    for index, name in enumerate(OUTPUTS):
        of_modalities = [logits[modality][index] for modality in MODALITIES]
        outputs[name] = layers.Activation("sigmoid", name=name)(
            LateFusion(name=FUSION_LAYER.format(name))(of_modalities)
        )
        for modality, of_modality in zip(MODALITIES, of_modalities, strict=True):
            outputs[f"{modality}_{name}"] = layers.Activation("sigmoid", name=f"{modality}_{name}")(of_modality)
    return keras.Model(inputs, outputs)


def batches(
    matches: list[FeatureMatch], is_decided_of: dict[str, np.ndarray], sequence_length: int, rng: np.random.Generator
) -> Iterator[tuple[dict, dict, np.ndarray]]:
    """Yield the batches of an epoch: the sequences that have decided segments. Undecided ones get weight 0.

    Args:
        matches: The matches.
        is_decided_of: For each title (num_segments,) bool.
        sequence_length: Segments in a sequence.
        rng: Decides where matches are divided, and the order of the sequences.
    """
    labels = np.concatenate([match.labels[is_decided_of[match.title]] for match in matches])
    weights_of_class, rows = class_weights(labels), []
    for match in matches:
        num_segments, is_decided = len(match.labels), is_decided_of[match.title]
        for start in range(-int(rng.integers(sequence_length)), num_segments, sequence_length):
            slots = np.arange(start, start + sequence_length)
            is_used = (slots >= 0) & (slots < num_segments)
            slots = np.clip(slots, 0, num_segments - 1)
            weights = weights_of_class[match.labels[slots]] * (is_used & is_decided[slots])
            if weights.any():
                rows.append((match, slots, weights))
    rows = [rows[index] for index in rng.permutation(len(rows))]
    for first in range(0, len(rows), BATCH_SIZE):
        chosen = rows[first : first + BATCH_SIZE]
        chosen += [(match, slots, 0 * weights) for match, slots, weights in chosen * BATCH_SIZE][len(chosen) :]
        chosen = chosen[:BATCH_SIZE]  # of one shape, so that nothing is traced again
        inputs = {name: np.stack([match.features[name][slots] for match, slots, _ in chosen]) for name in FEATURES}
        targets = {
            "highlight": np.stack([match.labels[slots, np.newaxis] for match, slots, _ in chosen]).astype(np.float32),
            "steps": np.stack([match.steps[slots] for match, slots, _ in chosen]),
        }
        yield inputs, targets, np.stack([weights for *_, weights in chosen]).astype(np.float32)


def train(
    train_matches: list[FeatureMatch],
    valid_matches: list[FeatureMatch],
    is_decided_of: dict[str, np.ndarray],
    loader: DataLoader,
    seed: int,
    num_updates: int,
):
    """Train a network on the decided segments; the epoch with the lowest validation loss is chosen.

    Args:
        train_matches: The matches to train on.
        valid_matches: Those to choose the epoch and the fusion weights on.
        is_decided_of: For each title of train_matches (num_segments,) bool.
        loader: The dataset, which decides how far the network sees.
        seed: Of the weights and of the order.
        num_updates: Updates of the weights.
    """
    from videosummarizer.training import compiled_steps, optimization
    from videosummarizer.training.fusion import FUSION_LAYER, OUTPUTS, UNIMODAL_OUTPUTS, search_fusion_weights
    from videosummarizer.training.keras_backend import reset_keras

    reset_keras(seed)
    rng, length = np.random.default_rng(seed), loader.context.sequence_length
    shapes = {name: train_matches[0].features[name].shape[1:] for name in FEATURES}
    network = build_network(shapes, loader.context.dilations)
    optimization.compile_network(network, LEARNING_RATE, num_updates)
    average, best = optimization.ExponentialMovingAverage(network), (math.inf, None)
    steps = compiled_steps.CompiledSteps(network, average)
    labels = np.concatenate([match.labels for match in valid_matches])
    targets = labels[:, np.newaxis], np.concatenate([match.steps for match in valid_matches])
    decided = np.concatenate([match.labels[is_decided_of[match.title]] for match in train_matches])
    weights = class_weights(decided)[labels]

    def endless() -> Iterator:
        while True:
            yield from batches(train_matches, is_decided_of, length, rng)

    source = endless()
    for _ in range(max(1, num_updates // UPDATES_PER_EPOCH)):
        of_epoch = (next(source) for _ in range(UPDATES_PER_EPOCH))
        optimization.train_epoch(steps, of_epoch, lambda: None)
        with average.swapped():
            scores = predict(network, valid_matches, UNIMODAL_OUTPUTS)
            columns = np.split(scores.reshape(len(scores), 3, -1), [1], axis=2)
            losses = []
            for name, column, target in zip(OUTPUTS, columns, targets, strict=True):
                fusion_weights, fused = search_fusion_weights(column, target, weights)
                network.get_layer(FUSION_LAYER.format(name)).fusion_weights.assign(fusion_weights)
                losses.append(metrics.log_loss(target, fused, np.broadcast_to(weights[:, np.newaxis], target.shape)))
            if losses[0] < best[0]:
                best = losses[0], network.get_weights()
    network.set_weights(best[1])
    return network


def predict(network, matches: list[FeatureMatch], names: Sequence[str]) -> np.ndarray:
    """Return a network's outputs for the segments of matches, one row per segment, in the order of the names."""
    rows = []
    for match in matches:
        outputs = network.predict_on_batch({name: match.features[name][np.newaxis] for name in FEATURES})
        rows.append(np.concatenate([outputs[name] for name in names], axis=-1)[0])
    return np.concatenate(rows)
