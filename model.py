"""The audio-visual network, and its checkpoints: the only file that defines layers.

model = build_model({"video": (15, 64, 64, 3), "audio": (55125,)})
"""

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import absl.logging
import numpy as np

import checkpoint_file
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
with native_stderr_silenced():
    import keras
    from keras import layers, ops
absl.logging.set_verbosity(absl.logging.ERROR)  # Keras warns at each save that HDF5, the format asked for, is legacy

NUM_MEL_BANDS = 64
MEL_FFT_LENGTH = 1024
MEL_HOP_LENGTH = 512
MAX_NUM_UNSAVED = 10_000  # of a network's variables: states of random numbers
MIN_ALLOWED_VALUES, MAX_GROWTH = 2**25, 256  # of a layer's output, of it to the inputs


def build_model(data_shape: dict[str, tuple[int, ...]], audio_sample_rate: int = 11025) -> keras.Model:
    """An audio-visual CNN that tells the probability that a segment is a highlight.

    Each frame, with its difference to the one before (motion), goes through a small 2-D CNN; a 1-D convolution runs
    over the frames' features in time. The sound's picture (MFCC, or log-mel computed from the waveform inside the
    network) goes through a 2-D CNN. Both are pooled over time, mean and maximum, and joined.

    Args:
        data_shape: "video" (T, H, W, 3), any T, H, W above 0; "audio" (num_samples,) for a waveform or
            (num_mfcc, num_frames) for MFCCs. As in a dataset's metadata.json.
        audio_sample_rate: Hz, for the mel bands of a waveform; unused with MFCCs.

    Returns:
        An uncompiled keras.Model. Inputs: a dict of "video" (B, T, H, W, 3) uint8 in [0, 255] and "audio" (B, ...)
        float32. Output: (B, 1) float32 in [0, 1].

    Raises:
        ValueError: data_shape is neither of the two kinds.
    """
    video_shape, audio_shape = tuple(data_shape["video"]), tuple(data_shape["audio"])
    if len(video_shape) != 4 or video_shape[-1] != 3 or len(audio_shape) not in (1, 2):
        raise ValueError(
            f"data_shape: received video {video_shape} and audio {audio_shape}, expected video (T, H, W, 3) and audio "
            "(num_samples,) or (num_mfcc, num_frames)"
        )
    video = keras.Input(video_shape, dtype="uint8", name="video")
    audio = keras.Input(audio_shape, dtype="float32", name="audio")
    joined = layers.Concatenate()([encode_video(video), encode_audio(audio, audio_sample_rate)])
    joined = layers.Dropout(0.4)(joined)
    joined = layers.Dense(64, activation="relu")(joined)
    joined = layers.Dropout(0.4)(joined)
    highlight = layers.Dense(1, activation="sigmoid", name="highlight")(joined)
    return keras.Model({"video": video, "audio": audio}, highlight, name="audio_visual_cnn")


def encode_video(video: keras.KerasTensor) -> keras.KerasTensor:
    """(B, 128) features of (B, T, H, W, 3) bytes."""
    num_frames = video.shape[1]
    x = layers.Rescaling(1 / 127.5, offset=-1)(video)
    x = AppendMotion()(x)
    x = FoldTime()(x)
    for num_filters in (16, 32, 64):
        x = convolve(x, num_filters)
    x = layers.GlobalAveragePooling2D()(x)
    x = UnfoldTime(num_frames)(x)
    x = layers.Conv1D(64, 3, padding="same", activation="relu")(x)
    return pool_time(x)


def encode_audio(audio: keras.KerasTensor, audio_sample_rate: int) -> keras.KerasTensor:
    """(B, 128) features of a waveform (B, num_samples) or of MFCCs (B, num_mfcc, num_frames)."""
    x = log_mel(audio, audio_sample_rate) if len(audio.shape) == 2 else audio
    x = layers.Permute((2, 1))(x)  # time first, frequency second
    x = layers.Reshape((*x.shape[1:], 1))(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    for num_filters in (16, 32, 64):
        x = convolve(x, num_filters)
    num_steps, num_bands = x.shape[1:3]
    x = layers.AveragePooling2D((1, num_bands))(x)
    return pool_time(layers.Reshape((num_steps, 64))(x))


def log_mel(waveform: keras.KerasTensor, audio_sample_rate: int) -> keras.KerasTensor:
    """(B, 64, num_frames) log-mel power of waveforms (B, num_samples). The layer's own decibels are left out: they are
    clipped at a level below the loudest of the whole batch, which would let segments change each other's scores."""
    num_samples = waveform.shape[1]
    num_padding = max(MEL_FFT_LENGTH - num_samples, -num_samples % MEL_HOP_LENGTH)
    x = layers.Reshape((num_samples, 1))(waveform)
    x = layers.ZeroPadding1D((0, num_padding))(x)  # to whole hops: Keras states a wrong length for some others
    x = layers.Reshape((num_samples + num_padding,))(x)
    mel = layers.MelSpectrogram(
        fft_length=MEL_FFT_LENGTH,
        sequence_stride=MEL_HOP_LENGTH,
        sampling_rate=audio_sample_rate,
        num_mel_bins=NUM_MEL_BANDS,
        power_to_db=False,
    )(x)
    return Logarithm()(mel)


def convolve(x: keras.KerasTensor, num_filters: int) -> keras.KerasTensor:
    """A 3 x 3 convolution that halves both sides, normalised, rectified; any size from 1 x 1 on passes."""
    x = layers.Conv2D(num_filters, 3, strides=2, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def pool_time(x: keras.KerasTensor) -> keras.KerasTensor:
    """(B, 2 * C): mean and maximum over time of (B, T, C)."""
    return layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])


# Small layers of our own where Keras has none: plain operations on tensors do not survive the .hdf5 format.


@keras.saving.register_keras_serializable(package="video_summarizer")
class AppendMotion(layers.Layer):
    """(B, T, H, W, 3) -> (B, T, H, W, 6): each frame and its difference to the frame before, 0 for the first."""

    def call(self, frames):
        previous = ops.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        return ops.concatenate([frames, frames - previous], axis=-1)


@keras.saving.register_keras_serializable(package="video_summarizer")
class FoldTime(layers.Layer):
    """(B, T, ...) -> (B * T, ...): one network for every frame."""

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))


@keras.saving.register_keras_serializable(package="video_summarizer")
class UnfoldTime(layers.Layer):
    """(B * T, C) -> (B, T, C), the way back from FoldTime."""

    def __init__(self, num_steps: int, **kwargs):
        super().__init__(**kwargs)
        self.num_steps = num_steps

    def call(self, x):
        return ops.reshape(x, (-1, self.num_steps, x.shape[-1]))

    def get_config(self) -> dict:
        return {**super().get_config(), "num_steps": self.num_steps}


@keras.saving.register_keras_serializable(package="video_summarizer")
class Logarithm(layers.Layer):
    """Natural logarithm of powers, with a floor that keeps silence finite."""

    def call(self, power):
        return ops.log(power + 1e-3)


class BatchSequence(keras.utils.PyDataset):
    """data_loader.Batches as Keras reads them, a few batches ahead in threads."""

    def __init__(self, batches, epoch: int = 0):
        super().__init__(workers=2, max_queue_size=8)
        self.batches, self.epoch = batches, epoch
        self.batches.start_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int):
        return self.batches[index]

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self.batches.start_epoch(self.epoch)


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
    network: keras.Model, segment_arrays: Iterator[tuple[np.ndarray, np.ndarray]], batch_size: int = 16
) -> Iterator[float]:
    """The score in [0, 1] of each segment of a match, in order; segments are taken a batch at a time.

    Args:
        network: of `load_checkpoint`.
        segment_arrays: of `segments.read_segments`.
    """
    while batch := list(itertools.islice(segment_arrays, batch_size)):
        frames, audio = (np.stack(arrays) for arrays in zip(*batch, strict=True))
        yield from network.predict_on_batch({"video": frames, "audio": audio})[:, 0].tolist()


def first_line(error: Exception) -> str:
    """The first line of an error's message, for errors of libraries that write paragraphs."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
