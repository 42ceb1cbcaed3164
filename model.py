"""The audio-visual network, and its checkpoints: the only file that defines layers.

model = build_model({"video": (15, 64, 64, 3), "audio": (55125,)})
"""

import itertools
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import absl.logging
import numpy as np

import checkpoint_file
import metrics
import segments


@contextmanager
def native_stderr_silenced():
    """Keep what C++ code writes to standard error off the user's screen; Python exceptions pass as ever."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


# TensorFlow writes some lines on start-up before it reads the level, so that the level alone does not silence it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")  # the same seed, the same weights
with native_stderr_silenced():
    import keras
    from keras import layers, ops
absl.logging.set_verbosity(absl.logging.ERROR)  # Keras warns at each save that HDF5, the format asked for, is legacy
logging.getLogger("tensorflow").setLevel(logging.ERROR)  # that a match of another length is traced anew is no news

USES_XLA = keras.backend.backend() == "jax"  # makes a step on TensorFlow no faster, and its first one slow
SENSES = ("loudness", "sound", "picture")
OUTPUTS = ("highlight", "steps")
OUTPUTS_OF_SENSES = tuple(f"{sense}_{name}" for sense in SENSES for name in OUTPUTS)
TRAINING_SHARES = (0.0, 1.0, 1.0)  # of the senses in their sum
TRIED_SHARES = (1.0, 0.5, 0.0)  # on validation
SHARES_LAYER = "shares_of_{}"  # of an output
NUM_MEL_BANDS = 64
MEL_FFT_LENGTH = 1024
FRAMES_PER_STEP = 24  # of the sound's picture; its convolutions halve them three times
QUIETEST_POWER = 1.0  # below it all is silence: a whisper far off tells nothing, and its logarithm would tell much
NUM_FEATURES = 64
BATCH_NORM_MOMENTUM = 0.95
DILATIONS = (1, 2, 4)  # of the convolutions over steps: together they see 7 steps to both sides
DROPOUT = 0.3
PICTURE_DROPOUT = 0.4
LOSS_WEIGHT_OF_SENSE = 0.7  # of what a sense says alone, beside 1 of sound and picture together
WEIGHT_DECAY = 0.05
SMALLEST_SCORE = 1e-7  # of which a logit is taken
LABEL_SMOOTHING = 0.1  # 0 and 1 are trained as 0.05 and 0.95: where a highlight begins is a matter of taste
WEIGHT_AVERAGING = 0.99
WINDOW_LENGTH = 24  # segments that are scored together, those around them counted
MAX_NUM_UNSAVED = 10_000  # of a network's variables: states of random numbers
MIN_ALLOWED_VALUES, MAX_GROWTH = 2**25, 256  # of a layer's output, of it to the inputs


def build_model(
    data_shape: dict[str, tuple[int, ...]], audio_sample_rate: int = 11025, num_steps: int = 10
) -> keras.Model:
    """An audio-visual CNN that tells for each of a stretch of consecutive segments whether it is a highlight.

    Each frame, with its difference to the one before (motion), goes through a small 2-D CNN; the sound's picture
    (log-mel computed from the waveform inside the network, or rebuilt from MFCCs) goes through another. Both become
    features of the steps, num_steps a segment. Dilated convolutions run over the steps of the whole stretch, so that a
    segment is judged by its neighbours too; a segment's score comes from its own steps. Sound and picture are judged
    apart and their logits added: trained as one, the picture is learned by heart before the sound is understood. Beside
    them stands what loudness alone says, in which there is little to learn wrongly. How much each of the three counts,
    in each output, is chosen on validation (`choose_shares`): of few matches little more than loudness can be learned.

    Args:
        data_shape: "video" (T, H, W, 3), any T, H, W above 0; "audio" (num_samples,) for a waveform or
            (num_mfcc, num_frames) for MFCCs. As in a dataset's metadata.json.
        audio_sample_rate: Hz, for the mel bands of a waveform; unused with MFCCs.
        num_steps: parts of a segment, K; `data_loader.num_steps`.

    Returns:
        An uncompiled keras.Model. Inputs: a dict of "video" (B, S, T, H, W, 3) uint8 in [0, 255] and "audio"
        (B, S, ...) float32, for any S above 0. Outputs: a dict of "highlight" (B, S, 1) float32 in [0, 1], the
        probability that the segment is a highlight, and "steps" (B, S, K) float32 in [0, 1], how much of each step is;
        and of OUTPUTS_OF_SENSES, "loudness_highlight" and so on, what each sense says alone.

    Raises:
        ValueError: data_shape is neither of the two kinds.
    """
    video_shape, audio_shape = tuple(data_shape["video"]), tuple(data_shape["audio"])
    if len(video_shape) != 4 or video_shape[-1] != 3 or len(audio_shape) not in (1, 2):
        raise ValueError(
            f"data_shape: received video {video_shape} and audio {audio_shape}, expected video (T, H, W, 3) and audio "
            "(num_samples,) or (num_mfcc, num_frames)"
        )
    video = keras.Input((None, *video_shape), dtype="uint8", name="video")
    audio = keras.Input((None, *audio_shape), dtype="float32", name="audio")
    sound = draw_sound(audio, audio_sample_rate, FRAMES_PER_STEP * num_steps)
    logits = {
        "loudness": judge_loudness(sound, num_steps),
        "sound": judge(encode_sound(sound), num_steps),
        "picture": judge(encode_video(video, num_steps), num_steps),
    }
    outputs = {}
    for position, name in enumerate(OUTPUTS):
        of_senses = {sense: logits[sense][position] for sense in SENSES}
        weighted_sum = WeightedSum(name=SHARES_LAYER.format(name))(list(of_senses.values()))
        outputs[name] = layers.Activation("sigmoid", name=name)(weighted_sum)
        for sense, logit in of_senses.items():
            outputs[f"{sense}_{name}"] = layers.Activation("sigmoid", name=f"{sense}_{name}")(logit)
    return keras.Model({"video": video, "audio": audio}, outputs, name="audio_visual_cnn")


def judge(features: keras.KerasTensor, num_steps: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Logits of segments (B, S, 1) and of their steps (B, S, K), from features of the steps (B, S * K, 64)."""
    features = relate_steps(features)
    of_steps = layers.Reshape((-1, num_steps))(layers.Dense(1)(features))
    of_segments = layers.Reshape((-1, num_steps * NUM_FEATURES))(features)
    of_segments = layers.Dense(16, activation="relu")(layers.Dropout(DROPOUT)(of_segments))
    return layers.Dense(1)(layers.Concatenate()([of_segments, of_steps])), of_steps


def judge_loudness(sound: keras.KerasTensor, num_steps: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Logits as of `judge`, from the loudness of each segment; of each step and of the time around it, a segment long.
    At first the louder is the likelier."""
    of_segments, of_steps = Loudness(FRAMES_PER_STEP * num_steps)(sound), Loudness(FRAMES_PER_STEP)(sound)
    around = layers.AveragePooling1D(num_steps, strides=1, padding="same")(of_steps)
    logits = []
    for x in (of_segments, layers.Concatenate()([of_steps, around])):
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, center=False, scale=False)(x)
        logits.append(layers.Dense(1, kernel_initializer="ones")(x))
    return logits[0], layers.Reshape((-1, num_steps))(logits[1])


def encode_video(video: keras.KerasTensor, num_steps: int) -> keras.KerasTensor:
    """(B, S * K, 64) features of the steps of frames (B, S, T, H, W, 3). Where in the frame something is counts: what
    matters happens in its middle, and displays keep their place."""
    num_frames = video.shape[2]
    x = FramesWithMotion()(FrameJitter()(video))
    x = convolve(x, 32, 5, 4)
    x = convolve(x, 48, 3, 2)
    x = layers.SpatialDropout2D(DROPOUT / 3)(x)
    x = convolve(x, 64, 3, 2)
    x = convolve(x, 16, 1, 1)
    x = layers.Dropout(PICTURE_DROPOUT)(layers.Flatten()(x))
    x = normalise(layers.Dense(NUM_FEATURES, use_bias=False)(x))
    x = layers.Dropout(DROPOUT)(Unfold()([x, video]))
    x = convolve_time(x, NUM_FEATURES)
    x = ResampleTime(num_frames, num_steps)(x)
    return layers.Dense(NUM_FEATURES)(layers.Dropout(DROPOUT)(x))


def draw_sound(audio: keras.KerasTensor, audio_sample_rate: int, num_frames: int) -> keras.KerasTensor:
    """(B, S * num_frames, 64): log-mel picture of waveforms (B, S, num_samples) or MFCCs (B, S, num_mfcc, ...)."""
    return log_mel(audio, audio_sample_rate, num_frames) if len(audio.shape) == 3 else mel_of_mfcc(audio, num_frames)


def encode_sound(sound: keras.KerasTensor) -> keras.KerasTensor:
    """(B, S * K, 64) features of the steps of a log-mel picture (B, S * K * 24, 64)."""
    x = SpectrogramMask()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(sound))
    attack = layers.Subtract()([x, layers.AveragePooling1D(FRAMES_PER_STEP + 1, strides=1, padding="same")(x)])
    x = layers.Concatenate()([layers.Reshape((-1, NUM_MEL_BANDS, 1))(picture) for picture in (x, attack)])
    x = convolve(x, 16, (5, 8), (2, 4))
    x = convolve(x, 32, 3, 2)
    x = layers.SpatialDropout2D(DROPOUT / 3)(x)
    x = convolve(x, 64, 3, 2)
    x = layers.Dropout(DROPOUT)(layers.Reshape((-1, x.shape[2] * x.shape[3]))(x))
    x = convolve_time(x, NUM_FEATURES)
    num_pooled = FRAMES_PER_STEP // 8
    x = layers.Concatenate()([layers.AveragePooling1D(num_pooled)(x), layers.MaxPooling1D(num_pooled)(x)])
    return layers.Dense(NUM_FEATURES)(layers.Dropout(DROPOUT)(x))


def log_mel(audio: keras.KerasTensor, audio_sample_rate: int, num_frames: int) -> keras.KerasTensor:
    """(B, S * num_frames, 64) log-mel power of waveforms (B, S, num_samples). Keras's own decibels are left out: they
    are clipped at a level below the loudest of the whole batch, which would let segments change each other's scores."""
    hop_length = max(audio.shape[2] // num_frames, math.ceil(MEL_FFT_LENGTH / num_frames))
    num_samples = hop_length * num_frames
    x = layers.ZeroPadding1D((0, max(0, num_samples - audio.shape[2])))(Fold()(audio))
    x = layers.Reshape((num_samples,))(layers.Cropping1D((0, max(0, audio.shape[2] - num_samples)))(x))
    x = layers.MelSpectrogram(
        fft_length=MEL_FFT_LENGTH,
        sequence_stride=hop_length,
        sampling_rate=audio_sample_rate,
        num_mel_bins=NUM_MEL_BANDS,
        max_freq=audio_sample_rate / 2,
        power_to_db=False,
    )(x)
    x = layers.Cropping1D((0, 1))(layers.Permute((2, 1))(x))
    return Unfold()([Logarithm()(x), audio])


def mel_of_mfcc(audio: keras.KerasTensor, num_frames: int) -> keras.KerasTensor:
    """(B, S * num_frames, 64): the smoothed log-mel picture that MFCCs (B, S, num_mfcc, num_mfcc_frames) stand for."""
    x = layers.Permute((2, 1))(Fold()(audio))
    x = Unfold()([InverseCosineTransform(NUM_MEL_BANDS)(x), audio])
    return ResampleTime(audio.shape[3], num_frames)(x)


def relate_steps(x: keras.KerasTensor) -> keras.KerasTensor:
    """(B, S * K, 64): features of the steps that know those around them, by residual dilated convolutions as in Bai et
    al., "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling" (2018)."""
    x = layers.Dropout(DROPOUT)(normalise(layers.Dense(NUM_FEATURES, use_bias=False)(x)))
    for dilation in DILATIONS:
        x = layers.Add()([x, layers.Dropout(DROPOUT)(convolve_time(x, NUM_FEATURES, dilation))])
    return x


def normalise(x: keras.KerasTensor) -> keras.KerasTensor:
    """Batch normalisation and rectification."""
    return layers.ReLU()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x))


def convolve(x: keras.KerasTensor, num_filters: int, kernel_size, strides) -> keras.KerasTensor:
    """A 2-D convolution, normalised and rectified; any size from 1 x 1 on passes."""
    return normalise(layers.Conv2D(num_filters, kernel_size, strides=strides, padding="same", use_bias=False)(x))


def convolve_time(x: keras.KerasTensor, num_filters: int, dilation: int = 1) -> keras.KerasTensor:
    """A convolution over three steps, normalised and rectified."""
    return normalise(layers.Conv1D(num_filters, 3, dilation_rate=dilation, padding="same", use_bias=False)(x))


# Small layers of our own where Keras has none: plain operations on tensors do not survive the .hdf5 format. The length
# of a stretch is not known to the network, so that their output shapes are stated.


@keras.saving.register_keras_serializable(package="video_summarizer")
class FrameJitter(layers.Layer):
    """(B, S, T, H, W, 3) bytes -> floats in about [0, 4]. In training every stretch gets a brightness, contrast and
    balance of colours of its own, and every other one is mirrored."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, video, training=False):
        if not training:
            return ops.cast(video, self.compute_dtype) / 64

        def uniform(limit: float, num_channels: int = 1):
            shape = (ops.shape(video)[0], 1, 1, 1, 1, num_channels)
            return keras.random.uniform(shape, -limit, limit, seed=self.seed_generator)

        frames = ops.cast(ops.where(uniform(1.0) < 0, video, ops.flip(video, axis=-2)), self.compute_dtype)
        return frames * ((1 + uniform(0.2) + uniform(0.2, 3)) / 64) + uniform(0.4)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="video_summarizer")
class FramesWithMotion(layers.Layer):
    """(B, S, T, H, W, 3) -> (B * S * T, H, W, 6): each frame, and its difference to the frame before, also across
    segments; 0 for the stretch's first."""

    def call(self, video):
        frames = ops.reshape(video, (ops.shape(video)[0], -1, *video.shape[3:]))
        previous = ops.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        return ops.reshape(ops.concatenate([frames, frames - previous], axis=-1), (-1, *video.shape[3:5], 6))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[3:5], 6)


@keras.saving.register_keras_serializable(package="video_summarizer")
class Fold(layers.Layer):
    """(B, S, ...) -> (B * S, ..., 1 where it was a vector): one network for every segment."""

    def call(self, x):
        return ops.reshape(x, (-1, *(x.shape[2:] if len(x.shape) > 3 else (x.shape[2], 1))))

    def compute_output_shape(self, input_shape):
        return (None, *(input_shape[2:] if len(input_shape) > 3 else (input_shape[2], 1)))


@keras.saving.register_keras_serializable(package="video_summarizer")
class Unfold(layers.Layer):
    """[(B * S, ..., C) or (B * S * T, C), (B, S, ...)] -> (B, all in between, C): the way back from folding."""

    def call(self, inputs):
        x, folded = inputs
        return ops.reshape(x, (ops.shape(folded)[0], -1, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (input_shape[1][0], None, input_shape[0][-1])


@keras.saving.register_keras_serializable(package="video_summarizer")
class ResampleTime(layers.Layer):
    """(B, S * num_from, C) -> (B, S * num_to, C): the mean over each of num_to equal parts of a segment."""

    def __init__(self, num_from: int, num_to: int, **kwargs):
        super().__init__(**kwargs)
        self.num_from, self.num_to = num_from, num_to

    def call(self, x):
        edges = np.linspace(0, self.num_from, self.num_to + 1)[:, np.newaxis]
        parts = np.diff(np.clip(edges - np.arange(self.num_from), 0, 1), axis=0)  # (num_to, num_from)
        parts = ops.convert_to_tensor(parts / parts.sum(axis=1, keepdims=True), self.compute_dtype)
        resampled = ops.matmul(parts, ops.reshape(x, (-1, self.num_from, x.shape[-1])))
        return ops.reshape(resampled, (ops.shape(x)[0], -1, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], None, input_shape[2])

    def get_config(self) -> dict:
        return {**super().get_config(), "num_from": self.num_from, "num_to": self.num_to}


@keras.saving.register_keras_serializable(package="video_summarizer")
class InverseCosineTransform(layers.Layer):
    """(..., num_mfcc) -> (..., num_bands): the inverse of the orthonormal DCT-II that MFCCs end with."""

    def __init__(self, num_bands: int, **kwargs):
        super().__init__(**kwargs)
        self.num_bands = num_bands

    def call(self, x):
        order = np.arange(x.shape[-1])[:, np.newaxis]
        basis = np.cos(np.pi / self.num_bands * (np.arange(self.num_bands) + 0.5) * order)
        basis *= np.sqrt(np.where(order == 0, 1, 2) / self.num_bands)
        return ops.matmul(x, ops.convert_to_tensor(basis, self.compute_dtype))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_bands)

    def get_config(self) -> dict:
        return {**super().get_config(), "num_bands": self.num_bands}


@keras.saving.register_keras_serializable(package="video_summarizer")
class Logarithm(layers.Layer):
    """Natural logarithm of powers (..., num_bands), with a floor that keeps silence finite."""

    def call(self, power):
        return ops.log(power + QUIETEST_POWER)


@keras.saving.register_keras_serializable(package="video_summarizer")
class Loudness(layers.Layer):
    """(B, n * num_frames, num_bands) log power -> (B, n, 1): the logarithm of its sum over num_frames and all bands."""

    def __init__(self, num_frames: int, **kwargs):
        super().__init__(**kwargs)
        self.num_frames = num_frames

    def call(self, x):
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.num_frames * x.shape[-1]))
        return ops.logsumexp(x, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], None, 1)

    def get_config(self) -> dict:
        return {**super().get_config(), "num_frames": self.num_frames}


@keras.saving.register_keras_serializable(package="video_summarizer")
class WeightedSum(layers.Layer):
    """The sum of the senses' logits, in training by TRAINING_SHARES, otherwise by `shares`, (3,) float32, which
    `choose_shares` chooses."""

    def build(self, input_shape):
        def at_first(shape, dtype):
            return ops.convert_to_tensor(TRAINING_SHARES, dtype)

        self.shares = self.add_weight(shape=(len(SENSES),), initializer=at_first, trainable=False, name="shares")

    def call(self, logits, training=False):
        shares = TRAINING_SHARES if training else self.shares
        return sum(logits[place] * shares[place] for place in range(len(SENSES)))

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable(package="video_summarizer")
class SpectrogramMask(layers.Layer):
    """In training, sets some bands and some moments of (B, num_frames, num_bands) to 0, as Park et al., "SpecAugment"
    (2019) do; otherwise passes it on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x, training=False):
        if not training:
            return x
        for axis, num_masks, longest in ((2, 2, 12), (1, 4, 28)):
            length = ops.shape(x)[axis]
            places = ops.arange(length)
            for _ in range(num_masks):
                shape = (ops.shape(x)[0], 1)
                start = keras.random.uniform(shape, seed=self.seed_generator) * ops.cast(length, "float32")
                width = keras.random.uniform(shape, maxval=longest, seed=self.seed_generator)
                distance = ops.cast(places, "float32")[None] - start
                kept = ops.cast((distance < 0) | (distance >= width), x.dtype)
                x = x * ops.expand_dims(kept, 3 - axis)
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


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
    weights = dict.fromkeys(OUTPUTS, 1.0) | dict.fromkeys(OUTPUTS_OF_SENSES, LOSS_WEIGHT_OF_SENSE)
    network.compile(optimizer, dict.fromkeys(weights, loss), loss_weights=weights, jit_compile=USES_XLA)
    optimizer.build(network.trainable_variables)  # now, for a resumed run's numbers


class WeightAverage:
    """The exponential average of a network's weights, normalisation's statistics included, over about the last hundred
    updates and early over fewer; it scores better, and steadier from epoch to epoch, than the weights themselves.

    values: arrays in the order of `network.weights`. num_updates: how many weights went in.
    """

    def __init__(self, network: keras.Model):
        self.network, self.values, self.num_updates = network, network.get_weights(), 0

    def update(self) -> None:
        """Take in the network's weights as they are."""
        self.num_updates += 1
        share = max(1 - WEIGHT_AVERAGING, 9 / (9 + self.num_updates))
        for value, weight in zip(self.values, self.network.get_weights(), strict=True):
            value += share * (weight - value)


def train_epoch(network: keras.Model, average: WeightAverage, batches: Iterable, on_batch: Callable) -> float:
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


def choose_shares(
    scores_of_senses: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[tuple[float, ...], np.ndarray]:
    """How much each sense counts in an output: the TRIED_SHARES of the SENSES with the lowest log loss.

    Args:
        scores_of_senses: (num_segments, 3, N) float in [0, 1], what each of the SENSES says; N is 1 or K.
        labels: (num_segments, N) in [0, 1]. weights: (num_segments,) above 0, of the segments in the loss.

    Returns:
        The shares, and (num_segments, N) float64, what the network says with them.
    """
    from scipy.special import expit, logit

    logits = logit(np.clip(scores_of_senses.astype(np.float64), SMALLEST_SCORE, 1 - SMALLEST_SCORE))
    weights = np.broadcast_to(weights[:, np.newaxis], labels.shape)
    tried = [shares for shares in itertools.product(TRIED_SHARES, repeat=len(SENSES)) if any(shares)]
    scores = [expit(np.tensordot(logits, shares, (1, 0))) for shares in tried]
    best = int(np.argmin([metrics.log_loss(labels, tried_scores, weights) for tried_scores in scores]))
    return tried[best], scores[best]


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Saves `<name>-<epoch>-<val_loss>.hdf5` in an epoch whose validation loss is lower than all before, whole or not
    at all, with `attributes` in it. `best_path` is the last one, None before the first.
    """

    def __init__(self, ckpt_dir: str | os.PathLike, name: str, attributes: dict):
        part_path = os.path.join(ckpt_dir, f".{name}.part.hdf5")
        # Keras 3 refuses the suffix .hdf5 in the constructor alone; and a baseline keeps NaN from being a best loss.
        super().__init__("x.h5", monitor="val_loss", mode="min", save_best_only=True, initial_value_threshold=np.inf)
        self.filepath = part_path
        self.ckpt_dir, self.name, self.attributes = ckpt_dir, name, attributes
        self.best_path: str | None = None

    def resume(self, best_path: str | None, best_loss: float) -> None:
        """Go on where another run of the same name stopped; a best checkpoint that is gone counts as none."""
        best_path = best_path and os.path.join(self.ckpt_dir, os.path.basename(best_path))  # which may have moved
        if best_path and os.path.exists(best_path):
            self.best_path, self.best = best_path, best_loss

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        best_before = self.best
        super().on_epoch_end(epoch, logs)
        if self.best == best_before:
            return
        segments.write_checkpoint_attributes(
            self.filepath, {**self.attributes, "epoch": epoch + 1, "val_loss": logs["val_loss"]}
        )
        self.best_path = os.path.join(self.ckpt_dir, f"{self.name}-{epoch + 1:04d}-{logs['val_loss']:.4f}.hdf5")
        os.replace(self.filepath, self.best_path)


def load_checkpoint(path: str | os.PathLike) -> keras.Model:
    """The network of a checkpoint, uncompiled. Nothing that the file holds is run, and variables are made only once
    they are known to be of the size of the weights in the file.

    Raises:
        segments.CheckpointError: the file is missing, damaged, or no checkpoint of this toolkit.
    """
    segments.read_checkpoint_attributes(path)
    config, num_weights = checkpoint_file.read_network(path)
    try:
        with keras.StatelessScope(initialize_variables=False):
            network = keras.Model.from_config(config["config"])
        problem = excess(network, num_weights)
        if not problem:
            with keras.StatelessScope():  # makes the variables, at its end
                pass
            network.load_weights(path)
            network.jit_compile = USES_XLA
    except Exception as error:  # which, Keras does not say, and a stranger's settings may raise any
        problem = first_line(error)
    if problem:
        keras.utils.clear_session()  # forgets the variables that were not made
        raise segments.CheckpointError(f"{path}: the network in it cannot be read ({problem})")
    return network


def excess(network: keras.Model, num_weights: int) -> str | None:
    """What in a network takes more memory than num_weights in its checkpoint, or its inputs, account for."""
    num_wanted = sum(math.prod(variable.shape) for variable in network.variables)
    if num_wanted > num_weights + MAX_NUM_UNSAVED:
        return f"it wants {num_wanted} weights, and {num_weights} are there"
    num_values = max(MIN_ALLOWED_VALUES, MAX_GROWTH * sum(count_values(tensor) for tensor in network.inputs))
    for layer in network._flatten_layers():
        for node in layer._inbound_nodes:
            if any(count_values(tensor) > num_values for tensor in node.outputs):
                return f"its layer {layer.name!r} makes more values of a segment than memory holds"
    return None


def count_values(tensor: keras.KerasTensor) -> int:
    """Values in a tensor, a segment's alone."""
    return math.prod(length for length in tensor.shape if length)


def score_segments(
    network: keras.Model,
    segment_arrays: Iterator[tuple[np.ndarray, np.ndarray]],
    window_length: int = WINDOW_LENGTH,
    names: Sequence[str] = OUTPUTS,
) -> Iterator[np.ndarray]:
    """For each segment of a match, in order, (1 + K,) float32 in [0, 1]: its score, and those of its K steps. Segments
    are taken as they are needed: a window of them at a time goes through the network, with some that it has seen
    before, so that each is scored with neighbours.

    Args:
        network: of `load_checkpoint`.
        segment_arrays: of a whole match, as `segments.read_segments` gives them.
        window_length: segments in a window; more where the network looks so far around that few would be new.
        names: of the outputs that are given, side by side.

    Raises:
        segments.CheckpointError: the network's layers do not fit together.
    """
    num_context = count_context(network)
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
            raise segments.CheckpointError(f"the network cannot score segments ({first_line(error)})") from error
        scores = np.concatenate([outputs[name] for name in names], axis=-1)[0]
        yield from scores[num_scored : len(window) - (0 if is_last else num_context)]
        if is_last:
            return
        window, num_scored = window[-2 * num_context :], num_context


def count_context(network: keras.Model) -> int:
    """Segments to either side that a segment's score depends on: as far as DILATIONS reach over steps, and beyond that
    two steps of the sound, for its attack and the encoder's convolutions, or two frames, for motion and likewise."""
    num_steps, num_frames = network.output["steps"].shape[-1], network.input["video"].shape[2]
    return math.ceil(sum(DILATIONS) / num_steps + max(2 / num_steps, 2 / num_frames))


def first_line(error: Exception) -> str:
    """The first line of an error's message, for errors of libraries that write paragraphs."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
