"""The audio-visual network, and its checkpoints: the only file that defines layers.

model = build_model({"video": (15, 64, 64, 3), "audio": (55125,)})
"""

import math

from videosummarizer.training.fusion import FUSION_LAYER, MODALITIES, OUTPUTS, LateFusion
from videosummarizer.training.keras_backend import keras, layers
from videosummarizer.training.layers import (
    TEMPORAL_CONVOLUTION,
    AveragePoolToLength,
    FrameAugmentation,
    FrameDifference,
    InverseDCT,
    LogCompression,
    LogEnergy,
    MergeTime,
    SpecAugment,
    SplitTime,
)

NUM_MEL_BANDS = 64
MEL_FFT_LENGTH = 1024
FRAMES_PER_STEP = 24  # of the sound's picture; its convolutions halve them three times
NUM_CHANNELS = 64
BATCH_NORM_MOMENTUM = 0.95
DILATIONS = (1, 2, 4)  # of the convolutions over steps: together they see 7 steps to both sides
DROPOUT = 0.3
VIDEO_DROPOUT = 0.4


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
    in each output, is chosen on validation (`search_fusion_weights`): of few matches little more than loudness can be
    learned.

    Args:
        data_shape: "video" (T, H, W, 3), any T, H, W above 0; "audio" (num_samples,) for a waveform or
            (num_mfcc, num_frames) for MFCCs. As in a dataset's metadata.json.
        audio_sample_rate: Hz, for the mel bands of a waveform; unused with MFCCs.
        num_steps: parts of a segment, K; `data_loader.num_steps`.

    Returns:
        An uncompiled keras.Model. Inputs: a dict of "video" (B, S, T, H, W, 3) uint8 in [0, 255] and "audio"
        (B, S, ...) float32, for any S above 0. Outputs: a dict of "highlight" (B, S, 1) float32 in [0, 1], the
        probability that the segment is a highlight, and "steps" (B, S, K) float32 in [0, 1], how much of each step is;
        and of UNIMODAL_OUTPUTS, "loudness_highlight" and so on, what each sense says alone.

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
    sound = log_mel_spectrogram(audio, audio_sample_rate, FRAMES_PER_STEP * num_steps)
    logits = {
        "loudness": loudness_head(sound, num_steps),
        "audio": classification_head(audio_encoder(sound), num_steps, "audio"),
        "video": classification_head(video_encoder(video, num_steps), num_steps, "video"),
    }
    outputs = {}
    for position, name in enumerate(OUTPUTS):
        of_senses = {sense: logits[sense][position] for sense in MODALITIES}
        weighted_sum = LateFusion(name=FUSION_LAYER.format(name))(list(of_senses.values()))
        outputs[name] = layers.Activation("sigmoid", name=name)(weighted_sum)
        for sense, logit in of_senses.items():
            outputs[f"{sense}_{name}"] = layers.Activation("sigmoid", name=f"{sense}_{name}")(logit)
    return keras.Model({"video": video, "audio": audio}, outputs, name="audio_visual_cnn")


def classification_head(
    features: keras.KerasTensor, num_steps: int, modality: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Logits of segments (B, S, 1) and of their steps (B, S, K), from features of the steps (B, S * K, 64)."""
    features = temporal_convolutions(features, modality)
    of_steps = layers.Reshape((-1, num_steps))(layers.Dense(1)(features))
    of_segments = layers.Reshape((-1, num_steps * NUM_CHANNELS))(features)
    of_segments = layers.Dense(16, activation="relu")(layers.Dropout(DROPOUT)(of_segments))
    return layers.Dense(1)(layers.Concatenate()([of_segments, of_steps])), of_steps


def loudness_head(sound: keras.KerasTensor, num_steps: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return logits as `classification_head` does, from the loudness of each segment, and of each time step and of the
    segment's length around it. At first, louder means more likely."""
    of_segments, of_steps = LogEnergy(FRAMES_PER_STEP * num_steps)(sound), LogEnergy(FRAMES_PER_STEP)(sound)
    around = layers.AveragePooling1D(num_steps, strides=1, padding="same")(of_steps)
    logits = []
    for x in (of_segments, layers.Concatenate()([of_steps, around])):
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, center=False, scale=False)(x)
        logits.append(layers.Dense(1, kernel_initializer="ones")(x))
    return logits[0], layers.Reshape((-1, num_steps))(logits[1])


def video_encoder(video: keras.KerasTensor, num_steps: int) -> keras.KerasTensor:
    """(B, S * K, 64) features of the steps of frames (B, S, T, H, W, 3). Where in the frame something is counts: what
    matters happens in its middle, and displays keep their place."""
    num_frames = video.shape[2]
    x = FrameDifference()(FrameAugmentation()(video))
    x = conv2d_bn_relu(x, 32, 5, 4)
    x = conv2d_bn_relu(x, 48, 3, 2)
    x = layers.SpatialDropout2D(DROPOUT / 3)(x)
    x = conv2d_bn_relu(x, 64, 3, 2)
    x = conv2d_bn_relu(x, 16, 1, 1)
    x = layers.Dropout(VIDEO_DROPOUT)(layers.Flatten()(x))
    x = batch_norm_relu(layers.Dense(NUM_CHANNELS, use_bias=False)(x))
    x = layers.Dropout(DROPOUT)(SplitTime()([x, video]))
    x = conv1d_bn_relu(x, NUM_CHANNELS)
    x = AveragePoolToLength(num_frames, num_steps)(x)
    return layers.Dense(NUM_CHANNELS)(layers.Dropout(DROPOUT)(x))


def log_mel_spectrogram(audio: keras.KerasTensor, audio_sample_rate: int, num_frames: int) -> keras.KerasTensor:
    """(B, S * num_frames, 64): log-mel picture of waveforms (B, S, num_samples) or MFCCs (B, S, num_mfcc, ...)."""
    return (
        waveform_to_log_mel(audio, audio_sample_rate, num_frames)
        if len(audio.shape) == 3
        else mfcc_to_mel(audio, num_frames)
    )


def audio_encoder(sound: keras.KerasTensor) -> keras.KerasTensor:
    """(B, S * K, 64) features of the steps of a log-mel picture (B, S * K * 24, 64)."""
    x = SpecAugment()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(sound))
    attack = layers.Subtract()([x, layers.AveragePooling1D(FRAMES_PER_STEP + 1, strides=1, padding="same")(x)])
    x = layers.Concatenate()([layers.Reshape((-1, NUM_MEL_BANDS, 1))(picture) for picture in (x, attack)])
    x = conv2d_bn_relu(x, 16, (5, 8), (2, 4))
    x = conv2d_bn_relu(x, 32, 3, 2)
    x = layers.SpatialDropout2D(DROPOUT / 3)(x)
    x = conv2d_bn_relu(x, 64, 3, 2)
    x = layers.Dropout(DROPOUT)(layers.Reshape((-1, x.shape[2] * x.shape[3]))(x))
    x = conv1d_bn_relu(x, NUM_CHANNELS)
    num_pooled = FRAMES_PER_STEP // 8
    x = layers.Concatenate()([layers.AveragePooling1D(num_pooled)(x), layers.MaxPooling1D(num_pooled)(x)])
    return layers.Dense(NUM_CHANNELS)(layers.Dropout(DROPOUT)(x))


def waveform_to_log_mel(audio: keras.KerasTensor, audio_sample_rate: int, num_frames: int) -> keras.KerasTensor:
    """(B, S * num_frames, 64) log-mel power of waveforms (B, S, num_samples). Keras's own decibels are left out: they
    are clipped at a level below the loudest of the whole batch, which would let segments change each other's scores."""
    hop_length = max(audio.shape[2] // num_frames, math.ceil(MEL_FFT_LENGTH / num_frames))
    num_samples = hop_length * num_frames
    x = layers.ZeroPadding1D((0, max(0, num_samples - audio.shape[2])))(MergeTime()(audio))
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
    return SplitTime()([LogCompression()(x), audio])


def mfcc_to_mel(audio: keras.KerasTensor, num_frames: int) -> keras.KerasTensor:
    """(B, S * num_frames, 64): the smoothed log-mel picture that MFCCs (B, S, num_mfcc, num_mfcc_frames) stand for."""
    x = layers.Permute((2, 1))(MergeTime()(audio))
    x = SplitTime()([InverseDCT(NUM_MEL_BANDS)(x), audio])
    return AveragePoolToLength(audio.shape[3], num_frames)(x)


def temporal_convolutions(x: keras.KerasTensor, modality: str) -> keras.KerasTensor:
    """(B, S * K, 64): features of the steps that know those around them, by residual dilated convolutions as in Bai et
    al., "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling" (2018)."""
    x = layers.Dropout(DROPOUT)(batch_norm_relu(layers.Dense(NUM_CHANNELS, use_bias=False)(x)))
    for dilation in DILATIONS:
        name = f"{modality}{TEMPORAL_CONVOLUTION}{dilation}"
        x = layers.Add()([x, layers.Dropout(DROPOUT)(conv1d_bn_relu(x, NUM_CHANNELS, dilation, name))])
    return x


def batch_norm_relu(x: keras.KerasTensor) -> keras.KerasTensor:
    """Batch normalisation and rectification."""
    return layers.ReLU()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x))


def conv2d_bn_relu(x: keras.KerasTensor, num_filters: int, kernel_size, strides) -> keras.KerasTensor:
    """A 2-D convolution, normalised and rectified; any size from 1 x 1 on passes."""
    return batch_norm_relu(layers.Conv2D(num_filters, kernel_size, strides=strides, padding="same", use_bias=False)(x))


def conv1d_bn_relu(
    x: keras.KerasTensor, num_filters: int, dilation: int = 1, name: str | None = None
) -> keras.KerasTensor:
    """A convolution over three steps, normalised and rectified."""
    convolution = layers.Conv1D(num_filters, 3, dilation_rate=dilation, padding="same", use_bias=False, name=name)
    return batch_norm_relu(convolution(x))


# Small layers of our own where Keras has none: plain operations on tensors do not survive the .hdf5 format. The length
# of a stretch is not known to the network, so that their output shapes are stated.
