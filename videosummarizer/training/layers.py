"""Layers that Keras lacks, for the network of model.py.

They are classes because Keras cannot load plain operations on tensors back from the HDF5 format of checkpoints. The
network does not know how long a sequence is, so a layer that changes the shape states it. Shapes are written as in
model.py: B sequences in a batch, S segments in a sequence, T frames of H x W pixels in a segment, C channels.
"""

import numpy as np

from videosummarizer.training.keras_backend import keras, layers, ops

# Power added before the logarithm. Without it, differences between near-silent sounds would dominate the features.
LOG_MEL_FLOOR = 1.0
# Part of the name of each temporal convolution, <modality>_temporal_convolution_<dilation>. `inference.heads_context`
# reads it.
TEMPORAL_CONVOLUTION = "_temporal_convolution_"
# Names of the layers whose outputs the heads need. `inference.split_network` divides the network after them.
ENCODER_OUTPUTS = ("audio_features", "video_features", "loudness_highlight_logits", "loudness_steps_logits")


@keras.saving.register_keras_serializable(package="video_summarizer")
class FrameAugmentation(layers.Layer):
    """Scale frames to floats and, in training, flip and recolour them at random.

    Maps (B, S, T, H, W, 3) uint8 to floats in about [0, 4]. In training, each sequence gets its own brightness,
    contrast and colour balance, and is mirrored with a probability of one half.
    """

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
class FrameDifference(layers.Layer):
    """Append to each frame its difference from the frame before.

    Maps (B, S, T, H, W, 3) to (B * S * T, H, W, 6). The frame before may belong to the segment before. The
    difference is 0 for the first frame of a sequence.
    """

    def call(self, video):
        frames = ops.reshape(video, (ops.shape(video)[0], -1, *video.shape[3:]))
        previous = ops.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        return ops.reshape(ops.concatenate([frames, frames - previous], axis=-1), (-1, *video.shape[3:5], 6))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[3:5], 6)


@keras.saving.register_keras_serializable(package="video_summarizer")
class SegmentsToBatch(layers.Layer):
    """Move the segments from their own axis to the batch axis, so that the next layer treats each one separately.

    Maps (B, S, N) to (B * S, N, 1), and (B, S, ...) with more axes to (B * S, ...).
    """

    def call(self, x):
        return ops.reshape(x, (-1, *(x.shape[2:] if len(x.shape) > 3 else (x.shape[2], 1))))

    def compute_output_shape(self, input_shape):
        return (None, *(input_shape[2:] if len(input_shape) > 3 else (input_shape[2], 1)))


@keras.saving.register_keras_serializable(package="video_summarizer")
class BatchToTime(layers.Layer):
    """Move segments or frames from the batch axis to the time axis of their sequence, one after the other.

    It brings together what `SegmentsToBatch` and `FrameDifference` separate. Maps two tensors, (B * S, N, C) or
    (B * S * T, C), and any tensor (B, S, ...) that has the batch size, to (B, S * N, C) or (B, S * T, C).
    """

    def call(self, inputs):
        x, sequences = inputs
        return ops.reshape(x, (ops.shape(sequences)[0], -1, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (input_shape[1][0], None, input_shape[0][-1])


@keras.saving.register_keras_serializable(package="video_summarizer")
class AveragePoolToLength(layers.Layer):
    """Average each segment's values over equal parts of it, which need not be whole numbers of values.

    Maps (B, S * num_from, C) to (B, S * num_to, C).

    Args:
        num_from: Values per segment in the input.
        num_to: Parts per segment, and values per segment in the output.
    """

    def __init__(self, num_from: int, num_to: int, **kwargs):
        super().__init__(**kwargs)
        self.num_from, self.num_to = num_from, num_to

    def call(self, x):
        edges = np.linspace(0, self.num_from, self.num_to + 1)[:, np.newaxis]
        # (num_to, num_from): the fraction of each value that lies in each part.
        overlaps = np.diff(np.clip(edges - np.arange(self.num_from), 0, 1), axis=0)
        averaging = ops.convert_to_tensor(overlaps / overlaps.sum(axis=1, keepdims=True), self.compute_dtype)
        pooled = ops.matmul(averaging, ops.reshape(x, (-1, self.num_from, x.shape[-1])))
        return ops.reshape(pooled, (ops.shape(x)[0], -1, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], None, input_shape[2])

    def get_config(self) -> dict:
        return {**super().get_config(), "num_from": self.num_from, "num_to": self.num_to}


@keras.saving.register_keras_serializable(package="video_summarizer")
class InverseDCT(layers.Layer):
    """Turn MFCCs back into smoothed mel bands, by the inverse of the orthonormal DCT-II that computed them.

    Maps (..., num_mfcc) to (..., num_bands). `librosa.feature.inverse.mfcc_to_mel` uses the same formula.

    Args:
        num_bands: Mel bands in the output.
    """

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
class LogCompression(layers.Layer):
    """Take the natural logarithm of powers (..., num_bands), with a floor that keeps silence finite."""

    def call(self, power):
        return ops.log(power + LOG_MEL_FLOOR)


@keras.saving.register_keras_serializable(package="video_summarizer")
class LogEnergy(layers.Layer):
    """Sum the power of a log-mel spectrogram over equal spans of time, and take the logarithm again.

    The power includes LOG_MEL_FLOOR, so that silence has a finite energy. Maps (B, N * pool_size, num_bands) log power
    to (B, N, 1) log energy.

    Args:
        pool_size: Spectrogram frames per span.
    """

    def __init__(self, pool_size: int, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = pool_size

    def call(self, x):
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.pool_size * x.shape[-1]))
        return ops.logsumexp(x, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], None, 1)

    def get_config(self) -> dict:
        return {**super().get_config(), "pool_size": self.pool_size}


@keras.saving.register_keras_serializable(package="video_summarizer")
class SpecAugment(layers.Layer):
    """Set random bands and random spans of time of a spectrogram to 0 in training.

    Maps (B, num_mel_frames, num_bands) to the same shape: in each sequence 2 masks of up to 12 bands, and 4 masks of up
    to 28 frames. The source is Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech
    Recognition" (2019). Outside training, the spectrogram passes unchanged.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x, training=False):
        if not training:
            return x
        for axis, num_masks, max_width in ((2, 2, 12), (1, 4, 28)):
            length = ops.shape(x)[axis]
            indices = ops.arange(length)
            for _ in range(num_masks):
                shape = (ops.shape(x)[0], 1)
                start = keras.random.uniform(shape, seed=self.seed_generator) * ops.cast(length, "float32")
                width = keras.random.uniform(shape, maxval=max_width, seed=self.seed_generator)
                distance = ops.cast(indices, "float32")[None] - start
                kept = ops.cast((distance < 0) | (distance >= width), x.dtype)
                x = x * ops.expand_dims(kept, 3 - axis)
        return x

    def compute_output_shape(self, input_shape):
        return input_shape
