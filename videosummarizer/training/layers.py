"""videosummarizer.training.layers."""

import numpy as np

from videosummarizer.training.keras_backend import keras, layers, ops

LOG_MEL_FLOOR = 1.0  # below it all is silence: a whisper far off tells nothing, and its logarithm would tell much
# The names of temporal convolutions are <modality><this><dilation>; training.inference reads the receptive field there.
TEMPORAL_CONVOLUTION = "_temporal_convolution_"


@keras.saving.register_keras_serializable(package="video_summarizer")
class FrameAugmentation(layers.Layer):
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
class FrameDifference(layers.Layer):
    """(B, S, T, H, W, 3) -> (B * S * T, H, W, 6): each frame, and its difference to the frame before, also across
    segments; 0 for the stretch's first."""

    def call(self, video):
        frames = ops.reshape(video, (ops.shape(video)[0], -1, *video.shape[3:]))
        previous = ops.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        return ops.reshape(ops.concatenate([frames, frames - previous], axis=-1), (-1, *video.shape[3:5], 6))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[3:5], 6)


@keras.saving.register_keras_serializable(package="video_summarizer")
class MergeTime(layers.Layer):
    """(B, S, ...) -> (B * S, ..., 1 where it was a vector): one network for every segment."""

    def call(self, x):
        return ops.reshape(x, (-1, *(x.shape[2:] if len(x.shape) > 3 else (x.shape[2], 1))))

    def compute_output_shape(self, input_shape):
        return (None, *(input_shape[2:] if len(input_shape) > 3 else (input_shape[2], 1)))


@keras.saving.register_keras_serializable(package="video_summarizer")
class SplitTime(layers.Layer):
    """[(B * S, ..., C) or (B * S * T, C), (B, S, ...)] -> (B, all in between, C): the way back from folding."""

    def call(self, inputs):
        x, folded = inputs
        return ops.reshape(x, (ops.shape(folded)[0], -1, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (input_shape[1][0], None, input_shape[0][-1])


@keras.saving.register_keras_serializable(package="video_summarizer")
class AveragePoolToLength(layers.Layer):
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
class InverseDCT(layers.Layer):
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
class LogCompression(layers.Layer):
    """Natural logarithm of powers (..., num_bands), with a floor that keeps silence finite."""

    def call(self, power):
        return ops.log(power + LOG_MEL_FLOOR)


@keras.saving.register_keras_serializable(package="video_summarizer")
class LogEnergy(layers.Layer):
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
class SpecAugment(layers.Layer):
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
