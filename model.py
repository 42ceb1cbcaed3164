"""The audio-visual network: a video encoder, an audio encoder, temporal convolutions and late fusion.

    network = build_model({"video": (15, 64, 64, 3), "audio": (55125,)})
    network.summary()

Shapes are written with B sequences in a batch, S segments in a sequence, K time steps in a segment (`num_steps`), and T
frames of H x W pixels in a segment. `videosummarizer.training.layers` defines the layers that Keras lacks.
"""

import math
from collections.abc import Sequence

from videosummarizer.training.fusion import FUSION_LAYER, MODALITIES, OUTPUTS, LateFusion
from videosummarizer.training.keras_backend import keras, layers
from videosummarizer.training.layers import (
    TEMPORAL_CONVOLUTION,
    AveragePoolToLength,
    BatchToTime,
    FrameAugmentation,
    FrameDifference,
    InverseDCT,
    LogCompression,
    LogEnergy,
    SegmentsToBatch,
    SpecAugment,
)

# Bands of the log-mel spectrogram.
NUM_MEL_BANDS = 64
# Samples in a frame of the short-time Fourier transform.
MEL_FFT_LENGTH = 1024
# Spectrogram frames per time step. The audio encoder's three convolutions of stride 2 leave three of them.
MEL_FRAMES_PER_STEP = 24
# Features of a time step, and channels of the convolutions over time.
NUM_CHANNELS = 64
# Lower than Keras's default of 0.99: the moving averages of batch statistics follow the weights sooner.
BATCH_NORM_MOMENTUM = 0.95
# Dropout rate of features, by modality. Spatial dropout of channels has a third of it.
DROPOUT = {"audio": 0.2, "video": 0.3}
# Dropout rate on the flattened features of a frame, which overfit first.
FRAME_DROPOUT = 0.4


def build_model(
    data_shape: dict[str, tuple[int, ...]],
    audio_sample_rate: int = 11025,
    num_steps: int = 10,
    dilations: Sequence[int] = (1, 2, 4),
) -> keras.Model:
    """Build a network that scores every segment of a sequence, and every time step of it, as a highlight.

    Three heads score the sequence separately: one for the loudness, one for the audio and one for the video. Late
    fusion (`fusion.LateFusion`) adds their logits, weighted. The modalities are separate because a network trained
    on both together memorises the frames before it learns from the audio.

    * Video: a 2-D CNN encodes each frame together with its difference from the frame before.
    * Audio: a 2-D CNN encodes the log-mel spectrogram and its onset emphasis. The spectrogram is computed inside the
      network, from waveforms or from MFCCs.
    * Loudness: a linear model of the energy of segments and time steps. It has few parameters to overfit with.

    Dilated convolutions over the time steps of the whole sequence follow each encoder, so that the score of a
    segment depends on its neighbours. `fusion.search_fusion_weights` chooses on validation how much each modality
    counts in each output: from few matches, little more than loudness can be learned.

    Args:
        data_shape: Shapes of one segment's arrays, as in the dataset's metadata.json. "video" is (T, H, W, 3), with any
            T, H and W above 0. "audio" is (num_samples,) for a waveform or (num_mfcc, num_mfcc_frames) for MFCCs.
        audio_sample_rate: Sample rate in Hz, for the mel bands of a waveform. Not used with MFCCs.
        num_steps: Time steps per segment, K, as `DataLoader.num_steps`.
        dilations: Dilation rates of the convolutions over time, as `DataLoader.context.dilations`.

    Returns:
        An uncompiled keras.Model. Its inputs are a dict of "video", (B, S, T, H, W, 3) uint8 in [0, 255], and "audio",
        (B, S, ...) float32, for any S above 0. Its outputs are a dict of:

        * "highlight", (B, S, 1) float32 in [0, 1]: the probability that the segment is a highlight;
        * "steps", (B, S, K) float32 in [0, 1]: the highlighted fraction of each time step;
        * UNIMODAL_OUTPUTS such as "audio_highlight" and "audio_steps": the same, from one modality alone.

    Raises:
        ValueError: data_shape has the wrong number of dimensions.
    """
    video_shape, audio_shape = tuple(data_shape["video"]), tuple(data_shape["audio"])
    if len(video_shape) != 4 or video_shape[-1] != 3 or len(audio_shape) not in (1, 2):
        raise ValueError(
            f"data_shape: received video {video_shape} and audio {audio_shape}, expected video (T, H, W, 3) and audio "
            "(num_samples,) or (num_mfcc, num_mfcc_frames)"
        )
    video = keras.Input((None, *video_shape), dtype="uint8", name="video")
    audio = keras.Input((None, *audio_shape), dtype="float32", name="audio")
    spectrogram = log_mel_spectrogram(audio, audio_sample_rate, MEL_FRAMES_PER_STEP * num_steps)
    logits = {
        "loudness": loudness_head(spectrogram, num_steps),
        "audio": classification_head(audio_encoder(spectrogram), num_steps, dilations, "audio"),
        "video": classification_head(video_encoder(video, num_steps), num_steps, dilations, "video"),
    }
    outputs = {}
    for index, name in enumerate(OUTPUTS):
        unimodal_logits = {modality: logits[modality][index] for modality in MODALITIES}
        fused_logits = LateFusion(has_offset=True, name=FUSION_LAYER.format(name))(list(unimodal_logits.values()))
        outputs[name] = layers.Activation("sigmoid", name=name)(fused_logits)
        for modality, modality_logits in unimodal_logits.items():
            unimodal_name = f"{modality}_{name}"
            outputs[unimodal_name] = layers.Activation("sigmoid", name=unimodal_name)(modality_logits)
    return keras.Model({"video": video, "audio": audio}, outputs, name="audio_visual_cnn")


def classification_head(
    features: keras.KerasTensor, num_steps: int, dilations: Sequence[int], modality: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Classify segments and time steps from the features of one modality.

    Args:
        features: (B, S * K, 64) features of the time steps.
        num_steps: Time steps per segment, K.
        dilations: Dilation rates of the convolutions over time.
        modality: "audio" or "video"; the names of the temporal convolutions begin with it.

    Returns:
        The logits of the segments, (B, S, 1), and of their time steps, (B, S, K).
    """
    features = temporal_convolutions(features, dilations, modality)
    step_logits = layers.Reshape((-1, num_steps))(layers.Dense(1)(features))
    # A segment is classified from all features of its own K time steps, and from their logits.
    segment_features = layers.Reshape((-1, num_steps * NUM_CHANNELS))(features)
    segment_features = layers.Dense(16, activation="relu")(layers.Dropout(DROPOUT[modality])(segment_features))
    return layers.Dense(1)(layers.Concatenate()([segment_features, step_logits])), step_logits


def loudness_head(spectrogram: keras.KerasTensor, num_steps: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Classify segments and time steps from their loudness alone, by logistic regression.

    A segment has one feature, its energy. A time step has two: its own energy, and the mean energy of the K time steps
    around it. The weights start at one, so that louder means more likely before any training.

    Args:
        spectrogram: (B, S * K * 24, 64) log-mel spectrogram.
        num_steps: Time steps per segment, K.

    Returns:
        The logits of the segments, (B, S, 1), and of their time steps, (B, S, K).
    """
    segment_energy = LogEnergy(MEL_FRAMES_PER_STEP * num_steps)(spectrogram)
    step_energy = LogEnergy(MEL_FRAMES_PER_STEP)(spectrogram)
    surrounding_energy = layers.AveragePooling1D(num_steps, strides=1, padding="same")(step_energy)
    logits = []
    for name, energy, num_logits in (
        ("highlight", segment_energy, 1),
        ("steps", layers.Concatenate()([step_energy, surrounding_energy]), num_steps),
    ):
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, center=False, scale=False)(energy)
        x = layers.Dense(1, kernel_initializer="ones")(x)
        logits.append(layers.Reshape((-1, num_logits), name=f"loudness_{name}_logits")(x))
    return logits[0], logits[1]


def video_encoder(video: keras.KerasTensor, num_steps: int) -> keras.KerasTensor:
    """Return (B, S * K, 64) features of the time steps of frames (B, S, T, H, W, 3).

    The last feature map of each frame is flattened instead of averaged, because the position in the frame matters: the
    action is in the middle, and the displays of a game stay where they are.
    """
    num_video_frames = video.shape[2]
    x = FrameDifference()(FrameAugmentation()(video))
    x = conv2d_bn_relu(x, 32, 5, 4)
    x = conv2d_bn_relu(x, 48, 3, 2)
    x = layers.SpatialDropout2D(DROPOUT["video"] / 3)(x)
    x = conv2d_bn_relu(x, 64, 3, 2)
    x = conv2d_bn_relu(x, 16, 1, 1)
    x = layers.Dropout(FRAME_DROPOUT)(layers.Flatten()(x))
    x = batch_norm_relu(layers.Dense(NUM_CHANNELS, use_bias=False)(x))
    x = layers.Dropout(DROPOUT["video"])(BatchToTime()([x, video]))
    x = conv1d_bn_relu(x, NUM_CHANNELS)
    x = AveragePoolToLength(num_video_frames, num_steps)(x)
    return layers.Dense(NUM_CHANNELS, name="video_features")(layers.Dropout(DROPOUT["video"])(x))


def log_mel_spectrogram(audio: keras.KerasTensor, audio_sample_rate: int, num_mel_frames: int) -> keras.KerasTensor:
    """Return the log-mel spectrogram of audio, (B, S * num_mel_frames, 64).

    Args:
        audio: (B, S, num_samples) waveforms, or (B, S, num_mfcc, num_mfcc_frames) MFCCs.
        audio_sample_rate: Sample rate in Hz. Not used with MFCCs.
        num_mel_frames: Spectrogram frames per segment.
    """
    return (
        waveform_to_log_mel(audio, audio_sample_rate, num_mel_frames)
        if len(audio.shape) == 3
        else mfcc_to_mel(audio, num_mel_frames)
    )


def audio_encoder(spectrogram: keras.KerasTensor) -> keras.KerasTensor:
    """Return (B, S * K, 64) features of the time steps of a log-mel spectrogram (B, S * K * 24, 64).

    A second channel emphasises onsets: the spectrogram minus its moving average over about one time step.
    """
    x = SpecAugment()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(spectrogram))
    onsets = layers.Subtract()([x, layers.AveragePooling1D(MEL_FRAMES_PER_STEP + 1, strides=1, padding="same")(x)])
    x = layers.Concatenate()([layers.Reshape((-1, NUM_MEL_BANDS, 1))(channel) for channel in (x, onsets)])
    x = conv2d_bn_relu(x, 16, (5, 8), (2, 4))
    x = conv2d_bn_relu(x, 32, 3, 2)
    x = layers.SpatialDropout2D(DROPOUT["audio"] / 3)(x)
    x = conv2d_bn_relu(x, 64, 3, 2)
    x = layers.Dropout(DROPOUT["audio"])(layers.Reshape((-1, x.shape[2] * x.shape[3]))(x))
    x = conv1d_bn_relu(x, NUM_CHANNELS)
    num_pooled = MEL_FRAMES_PER_STEP // 8
    x = layers.Concatenate()([layers.AveragePooling1D(num_pooled)(x), layers.MaxPooling1D(num_pooled)(x)])
    return layers.Dense(NUM_CHANNELS, name="audio_features")(layers.Dropout(DROPOUT["audio"])(x))


def waveform_to_log_mel(audio: keras.KerasTensor, audio_sample_rate: int, num_mel_frames: int) -> keras.KerasTensor:
    """Return the log-mel spectrogram of waveforms (B, S, num_samples), (B, S * num_mel_frames, 64).

    The decibels of `MelSpectrogram` are not used: it clips them at a level below the maximum of the whole batch, so
    that segments would change each other's scores.
    """
    hop_length = max(audio.shape[2] // num_mel_frames, math.ceil(MEL_FFT_LENGTH / num_mel_frames))
    num_samples = hop_length * num_mel_frames
    x = layers.ZeroPadding1D((0, max(0, num_samples - audio.shape[2])))(SegmentsToBatch()(audio))
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
    return BatchToTime()([LogCompression()(x), audio])


def mfcc_to_mel(audio: keras.KerasTensor, num_mel_frames: int) -> keras.KerasTensor:
    """Return the smoothed log-mel spectrogram that MFCCs describe, (B, S * num_mel_frames, 64).

    Args:
        audio: (B, S, num_mfcc, num_mfcc_frames) MFCCs.
        num_mel_frames: Spectrogram frames per segment.
    """
    x = layers.Permute((2, 1))(SegmentsToBatch()(audio))
    x = BatchToTime()([InverseDCT(NUM_MEL_BANDS)(x), audio])
    return AveragePoolToLength(audio.shape[3], num_mel_frames)(x)


def temporal_convolutions(x: keras.KerasTensor, dilations: Sequence[int], modality: str) -> keras.KerasTensor:
    """Combine the features of each time step with those around it, by residual dilated convolutions.

    A temporal convolutional network as in Bai et al., "An Empirical Evaluation of Generic Convolutional and Recurrent
    Networks for Sequence Modeling" (2018), but not causal: it looks both ways.

    Args:
        x: (B, S * K, num_features) features of the time steps.
        dilations: Dilation rate of each convolution, which has three taps.
        modality: "audio" or "video". The names of the convolutions begin with it; `inference.heads_context` reads them.

    Returns:
        (B, S * K, 64) features of the time steps.
    """
    x = layers.Dropout(DROPOUT[modality])(batch_norm_relu(layers.Dense(NUM_CHANNELS, use_bias=False)(x)))
    for dilation in dilations:
        name = f"{modality}{TEMPORAL_CONVOLUTION}{dilation}"
        x = layers.Add()([x, layers.Dropout(DROPOUT[modality])(conv1d_bn_relu(x, NUM_CHANNELS, dilation, name))])
    return x


def batch_norm_relu(x: keras.KerasTensor) -> keras.KerasTensor:
    """Apply batch normalisation and ReLU."""
    return layers.ReLU()(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x))


def conv2d_bn_relu(x: keras.KerasTensor, num_filters: int, kernel_size, strides) -> keras.KerasTensor:
    """Apply a 2-D convolution, batch normalisation and ReLU, to images of any size from 1 x 1 on."""
    return batch_norm_relu(layers.Conv2D(num_filters, kernel_size, strides=strides, padding="same", use_bias=False)(x))


def conv1d_bn_relu(
    x: keras.KerasTensor, num_filters: int, dilation: int = 1, name: str | None = None
) -> keras.KerasTensor:
    """Apply a convolution over time with three taps, batch normalisation and ReLU."""
    convolution = layers.Conv1D(num_filters, 3, dilation_rate=dilation, padding="same", use_bias=False, name=name)
    return batch_norm_relu(convolution(x))
