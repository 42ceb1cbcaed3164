"""The network's values and settings: each part against a forward pass in plain NumPy, all weights random."""

import itertools

import keras
import numpy as np
import pytest
import scipy.signal

import model
from videosummarizer.training.fusion import LateFusion

NUM_STEPS, NUM_SEGMENTS = 2, 3
rng = np.random.default_rng(0)


# ---- A plain reference


def convolve_reference(x, kernel, strides):
    """A convolution of (N, H, W, C) with (height, width, C, F), padded as TensorFlow's "same" is."""
    num_out = [-(-length // stride) for length, stride in zip(x.shape[1:3], strides, strict=True)]
    pads = []
    for length, size, stride, num in zip(x.shape[1:3], kernel.shape[:2], strides, num_out, strict=True):
        pad = max((num - 1) * stride + size - length, 0)
        pads.append((pad // 2, pad - pad // 2))
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    y = np.zeros((len(x), *num_out, kernel.shape[3]))
    for row, column in np.ndindex(*num_out):
        top, left = row * strides[0], column * strides[1]
        part = x[:, top : top + kernel.shape[0], left : left + kernel.shape[1]]
        y[:, row, column] = np.tensordot(part, kernel, 3)
    return y


def convolve_time_reference(x, kernel, dilation=1):
    """A convolution over time of (B, N, C) with (3, C, F), zeros outside."""
    num = x.shape[1]
    x = np.pad(x, [(0, 0), (dilation, dilation), (0, 0)])
    return sum(x[:, index * dilation : index * dilation + num] @ kernel[index] for index in range(3))


def rectified(x, weights):
    """Batch normalisation and rectification."""
    gamma, beta, mean, variance = weights
    return np.maximum((x - mean) / np.sqrt(variance + 0.001) * gamma + beta, 0)


def mean_around(x, num_averaged):
    """(B, N, C): the mean around each moment, of those that are there."""
    before, after = (num_averaged - 1) // 2, num_averaged // 2
    means = [x[:, max(0, index - before) : index + after + 1].mean(axis=1) for index in range(x.shape[1])]
    return np.stack(means, axis=1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def randomise(network):
    """Give all layers but the sums random weights, variances above 0; returns those of each layer that has some."""
    of_layers = []
    for layer in (layer for layer in network.layers if not isinstance(layer, LateFusion)):
        weights = []
        for variable in layer.weights:
            fan_in = max(1, int(np.prod(variable.shape[:-1])))
            value = rng.normal(size=variable.shape) / fan_in**0.5
            weights.append(np.abs(value) + 0.5 if variable.name in ("moving_variance", "gamma") else value)
        layer.set_weights(weights)
        of_layers += [weights] if weights else []
    return of_layers


def dropout_rates(network):
    return [(type(layer).__name__, round(layer.rate, 6)) for layer in network.layers if hasattr(layer, "rate")]


def assert_close(received, expected):
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=2e-4, atol=2e-4)
    assert np.std(expected) > 0.05  # rectification left something


# ---- The encoders


def test_the_picture_is_encoded_by_four_convolutions_and_one_over_time():
    video = keras.Input((None, 3, 34, 21, 3), dtype="uint8")
    network = keras.Model(video, model.video_encoder(video, NUM_STEPS))
    weights = iter(randomise(network))
    frames = rng.integers(0, 256, (2, NUM_SEGMENTS, 3, 34, 21, 3), dtype=np.uint8)
    x = frames.reshape(2, 9, 34, 21, 3) / 64
    x = np.concatenate([x, np.diff(x, axis=1, prepend=x[:, :1])], axis=-1).reshape(18, 34, 21, 6)
    for num_filters, size, stride in ((32, 5, 4), (48, 3, 2), (64, 3, 2), (16, 1, 1)):
        [kernel] = next(weights)
        assert kernel.shape == (size, size, x.shape[-1], num_filters)
        x = rectified(convolve_reference(x, kernel, (stride, stride)), next(weights))
    [kernel] = next(weights)
    assert kernel.shape == (3 * 2 * 16, 64)
    x = rectified(x.reshape(18, -1) @ kernel, next(weights)).reshape(2, 9, 64)
    x = rectified(convolve_time_reference(x, *next(weights)), next(weights)).reshape(2, NUM_SEGMENTS, 3, 64)
    x = np.stack([(2 * x[:, :, 0] + x[:, :, 1]) / 3, (x[:, :, 1] + 2 * x[:, :, 2]) / 3], axis=2)  # 3 frames, 2 steps
    kernel, bias = next(weights)
    assert_close(np.asarray(network(frames)), x.reshape(2, 6, 64) @ kernel + bias)
    assert list(weights) == []
    rates = [("SpatialDropout2D", 0.1), ("Dropout", 0.4), ("Dropout", 0.3), ("Dropout", 0.3)]
    assert dropout_rates(network) == rates


def test_the_sound_is_encoded_with_its_attack_by_three_convolutions_and_one_over_time():
    audio = keras.Input((None, 64))
    network = keras.Model(audio, model.audio_encoder(audio))
    weights = iter(randomise(network))
    spectrogram = rng.normal(size=(2, 24 * 3, 64)).astype(np.float32)
    gamma, beta, mean, variance = next(weights)
    x = (spectrogram - mean) / np.sqrt(variance + 0.001) * gamma + beta
    x = np.stack([x, x - mean_around(x, 25)], axis=-1)
    for num_filters, size, strides in ((16, (5, 8), (2, 4)), (32, (3, 3), (2, 2)), (64, (3, 3), (2, 2))):
        [kernel] = next(weights)
        assert kernel.shape == (*size, x.shape[-1], num_filters)
        x = rectified(convolve_reference(x, kernel, strides), next(weights))
    x = x.reshape(2, 9, 4 * 64)
    x = rectified(convolve_time_reference(x, *next(weights)), next(weights)).reshape(2, 3, 3, 64)
    x = np.concatenate([x.mean(axis=2), x.max(axis=2)], axis=-1)
    kernel, bias = next(weights)
    assert_close(np.asarray(network(spectrogram)), x @ kernel + bias)
    assert list(weights) == []
    assert dropout_rates(network) == [("SpatialDropout2D", round(0.2 / 3, 6)), ("Dropout", 0.2), ("Dropout", 0.2)]


@pytest.mark.parametrize("dilations", [(1, 2), (1, 2, 4), (1, 2, 4, 8, 16, 32)])
def test_logits_come_from_steps_that_know_those_around_them(dilations):
    features = keras.Input((None, 64))
    network = keras.Model(features, model.classification_head(features, NUM_STEPS, dilations, "audio"))
    weights = randomise(network)
    dense = {kernel_and_bias[0].shape: kernel_and_bias for kernel_and_bias in weights if len(kernel_and_bias) == 2}
    weights = iter([arrays for arrays in weights if len(arrays) != 2])
    inputs = rng.normal(size=(2, NUM_SEGMENTS * NUM_STEPS * 12, 64)).astype(np.float32)  # more than 63 steps
    x = rectified(inputs @ next(weights)[0], next(weights))
    for dilation in dilations:
        x = x + rectified(convolve_time_reference(x, *next(weights), dilation), next(weights))
    of_steps = (x @ dense[64, 1][0] + dense[64, 1][1]).reshape(2, -1, NUM_STEPS)
    kernel, bias = dense[64 * NUM_STEPS, 16]
    of_segments = np.maximum(x.reshape(2, -1, 64 * NUM_STEPS) @ kernel + bias, 0)
    kernel, bias = dense[16 + NUM_STEPS, 1]
    received_segments, received_steps = (np.asarray(array) for array in network(inputs))
    assert_close(received_steps, of_steps)
    assert_close(received_segments, np.concatenate([of_segments, of_steps], axis=-1) @ kernel + bias)
    assert (list(weights), len(dense)) == ([], 3)
    assert dropout_rates(network) == [("Dropout", 0.2)] * (2 + len(dilations))


@pytest.mark.parametrize(("dilations", "reach"), [((1, 2), 3), ((1, 2, 4, 8, 16, 32), 63)])
def test_a_step_depends_on_as_many_steps_to_either_side_as_the_dilations_add_up_to(dilations, reach):
    features = keras.Input((None, 8))
    network = keras.Model(features, model.temporal_convolutions(features, dilations, "video"))
    names = [layer.name for layer in network.layers if isinstance(layer, keras.layers.Conv1D)]
    assert names == [f"video_temporal_convolution_{dilation}" for dilation in dilations]
    for layer in network.layers:  # all weights above 0, so that no rectification hides what is further away
        layer.set_weights([np.abs(weight) + 0.01 for weight in layer.get_weights()])
    inputs = np.ones((1, 200, 8), np.float32)
    before = np.asarray(network(inputs))
    inputs[0, 100] = 1000
    changed = np.flatnonzero((np.asarray(network(inputs)) != before).any(axis=(0, 2)))
    assert changed.tolist() == list(range(100 - reach, 100 + reach + 1))


def test_the_network_has_the_same_dilations_for_audio_and_video():
    for given, expected in (
        ({}, [1, 2, 4]),
        ({"dilations": (1, 2)}, [1, 2]),
        ({"dilations": [1, 2, 4, 8]}, [1, 2, 4, 8]),
    ):
        network = model.build_model({"video": (1, 4, 4, 3), "audio": (50,)}, **given)
        for modality in ("audio", "video"):
            names = [layer.name for layer in network.layers if layer.name.startswith(f"{modality}_temporal")]
            assert names == [f"{modality}_temporal_convolution_{dilation}" for dilation in expected]
            assert [network.get_layer(name).dilation_rate for name in names] == [(dilation,) for dilation in expected]


def test_loudness_speaks_for_a_segment_for_a_step_and_for_the_time_around_a_step():
    num_steps = 3
    audio = keras.Input((None, 64))
    network = keras.Model(audio, model.loudness_head(audio, num_steps))
    first = {layer.get_weights()[0].shape: layer for layer in network.layers if isinstance(layer, keras.layers.Dense)}
    assert {shape: layer.get_weights()[0].tolist() for shape, layer in first.items()} == {
        (1, 1): [[1]],
        (2, 1): [[1], [1]],  # at first the louder is the likelier
    }
    weights = {(len(arrays), *arrays[0].shape): arrays for arrays in randomise(network)}
    num_frames = 24 * num_steps * NUM_SEGMENTS
    log_mel = (3 * rng.normal(size=(2, num_frames, 64)) + 3 * rng.normal(size=(2, num_frames, 1))).astype(np.float32)

    def loudness(num_frames):
        return np.log(np.exp(log_mel.astype(np.float64)).reshape(2, -1, num_frames * 64).sum(axis=2, keepdims=True))

    expected = []
    of_steps = loudness(24)
    for x in (loudness(24 * num_steps), np.concatenate([of_steps, mean_around(of_steps, num_steps)], axis=-1)):
        num = x.shape[-1]
        mean, variance = (array for array in weights.pop((2, num)))
        kernel, bias = weights.pop((2, num, 1))
        expected.append((x - mean) / np.sqrt(variance + 0.001) @ kernel + bias)
    received_segments, received_steps = (np.asarray(array) for array in network(log_mel))
    assert_close(received_segments, expected[0])
    assert_close(received_steps, expected[1].reshape(2, NUM_SEGMENTS, num_steps))
    assert weights == {}


def mel_reference(samples, sample_rate, hop_length, num_frames):
    """(num_frames, 64) powers in mel bands from 20 Hz to half the sample rate, as HTK defines them, of windows of 1024
    samples around each hop; the samples are mirrored at both ends."""
    window = scipy.signal.get_window("hann", 1024)
    padded = np.pad(samples.astype(np.float64), 512, mode="reflect")
    frames = np.stack([padded[hop_length * i : hop_length * i + 1024] for i in range(num_frames)])
    powers = np.abs(np.fft.rfft(frames * window)) ** 2

    def mel(frequency_hz):
        return 1127 * np.log(1 + frequency_hz / 700)

    edges = np.linspace(mel(20), mel(sample_rate / 2), 66)
    bins = mel(np.arange(513) * sample_rate / 1024)[:, np.newaxis]
    rising, falling = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return powers @ np.maximum(0, np.minimum(rising, falling))


@pytest.mark.parametrize(
    ("num_samples", "num_frames", "hop_length"),
    [
        (5230, 48, 108),  # 46 samples at the end are left out
        (600, 48, 22),  # 1056 samples, silence at the end: fewer than a window would not do
        (2400, 24, 100),
    ],
)
def test_a_waveform_becomes_a_log_mel_spectrogram(num_samples, num_frames, hop_length):
    audio = keras.Input((None, num_samples))
    network = keras.Model(audio, model.log_mel_spectrogram(audio, 8000, num_frames))
    waveforms = rng.normal(size=(2, NUM_SEGMENTS, num_samples)).astype(np.float32) * [[[1]], [[0.01]]]
    whole = np.zeros((2, NUM_SEGMENTS, hop_length * num_frames))
    num_kept = min(num_samples, hop_length * num_frames)
    whole[..., :num_kept] = waveforms[..., :num_kept]
    expected = [
        np.concatenate([mel_reference(samples, 8000, hop_length, num_frames) for samples in sequence])
        for sequence in whole
    ]
    received = np.asarray(network(waveforms.astype(np.float32)))
    assert_close(received, np.log(np.stack(expected) + 1))


def test_mfccs_become_frames_of_each_segment():
    mfcc = rng.normal(size=(2, NUM_SEGMENTS, 40, 6)).astype(np.float32)
    audio = keras.Input((None, 40, 6))
    network = keras.Model(audio, model.log_mel_spectrogram(audio, 8000, 12))
    whole = np.zeros((2, NUM_SEGMENTS, 64, 6))
    whole[:, :, :40] = mfcc
    order = np.arange(64)
    basis = np.cos(np.pi * order[:, np.newaxis] * (order + 0.5) / 64) * np.where(order == 0, 1 / 8, 32**-0.5)[:, None]
    expected = np.repeat(np.einsum("bsct,cm->bstm", whole, basis).reshape(2, -1, 64), 2, axis=1)
    assert_close(np.asarray(network(mfcc)), expected)


# ---- The whole


DATA_SHAPE = {"video": (3, 12, 20, 3), "audio": (2100,)}
MODALITIES = ("loudness", "audio", "video")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(5)
    network = model.build_model(DATA_SHAPE, 8000, 3)
    randomise(network)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense) and layer.units == 1:  # no score near 0 or 1
            layer.set_weights([weight / 40 for weight in layer.get_weights()])
    return network


@pytest.fixture(scope="module")
def inputs():
    generator = np.random.default_rng(2)
    return {
        "video": generator.integers(0, 256, (2, 4, 3, 12, 20, 3), dtype=np.uint8),
        "audio": generator.normal(size=(2, 4, 2100)).astype(np.float32),
    }


def run(network, inputs):
    return {name: np.asarray(scores) for name, scores in network(inputs).items()}


def test_outputs_are_named_after_what_they_hold(network, inputs):
    shapes = {name: scores.shape for name, scores in run(network, inputs).items()}
    of_modalities = {}
    for modality in MODALITIES:
        of_modalities |= {f"{modality}_highlight": (2, 4, 1), f"{modality}_steps": (2, 4, 3)}
    assert shapes == {"highlight": (2, 4, 1), "steps": (2, 4, 3), **of_modalities}
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in network.inputs} == {
        "video": ("uint8", (None, None, 3, 12, 20, 3)),
        "audio": ("float32", (None, None, 2100)),
    }


def test_a_new_network_adds_the_logits_of_audio_and_video(network, inputs):
    scores = run(network, inputs)
    for name in ("highlight", "steps"):
        logits = [np.log(scores[f"{m}_{name}"] / (1 - scores[f"{m}_{name}"])) for m in ("audio", "video")]
        np.testing.assert_allclose(scores[name], sigmoid(sum(logits)), atol=1e-5)


@pytest.mark.parametrize(("index", "modality"), list(enumerate(MODALITIES)))
def test_a_modality_of_weight_1_alone_decides(network, inputs, index, modality):
    for name in ("highlight", "steps"):
        layer = network.get_layer(f"fusion_{name}")
        layer.fusion_weights.assign(np.eye(3)[index])
    scores = run(network, inputs)
    for name in ("highlight", "steps"):
        np.testing.assert_allclose(scores[name], scores[f"{modality}_{name}"], atol=1e-6)
        network.get_layer(f"fusion_{name}").fusion_weights.assign((0, 1, 1))


def test_each_modality_hears_or_sees_its_own_input_alone(network, inputs):
    before = run(network, inputs)
    assert all(0.01 < score < 0.99 for scores in before.values() for score in scores.ravel())
    for kind, changed in (("video", 255 - inputs["video"]), ("audio", np.roll(inputs["audio"], 1, axis=1) * 2)):
        after = run(network, {**inputs, kind: changed})
        for modality, name in itertools.product(MODALITIES, ("highlight", "steps")):
            difference = np.abs(after[f"{modality}_{name}"] - before[f"{modality}_{name}"]).max()
            assert (difference > 1e-4) == ((modality == "video") == (kind == "video"))
            assert difference == 0 or difference > 1e-4


def test_at_first_the_louder_is_the_likelier(inputs):
    network, levels = model.build_model(DATA_SHAPE, 8000, 3), []
    for factor in (0.01, 0.1):
        scores = run(network, {**inputs, "audio": inputs["audio"] * factor})
        levels.append((scores["loudness_highlight"].mean(), scores["loudness_steps"].mean()))
    assert levels[0][0] < levels[1][0]
    assert levels[0][1] < levels[1][1]


def test_what_the_networks_parts_are_told(network):
    [mel] = [layer for layer in network.layers if isinstance(layer, keras.layers.MelSpectrogram)]
    assert (mel.sampling_rate, mel.max_freq, mel.num_mel_bins, mel.fft_length) == (8000, 4000, 64, 1024)
    assert mel.sequence_stride == 29  # 72 frames of a segment of 2100 samples
    momenta = {layer.momentum for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.95}
    assert model.build_model({"video": (1, 4, 4, 3), "audio": (4, 2)}).output["steps"].shape == (None, None, 10)
    with_waveform = model.build_model({"video": (1, 4, 4, 3), "audio": (50,)})
    [mel] = [layer for layer in with_waveform.layers if isinstance(layer, keras.layers.MelSpectrogram)]
    assert mel.sampling_rate == 11025


@pytest.mark.parametrize(
    "data_shape",
    [
        {"video": (4, 8, 8, 4), "audio": (100,)},
        {"video": (1, 4, 8, 8, 3), "audio": (100,)},
        {"video": (4, 8, 8, 3), "audio": (40, 3, 2)},
    ],
)
def test_shapes_of_other_than_colour_frames_and_sound_are_refused(data_shape):
    with pytest.raises(ValueError, match="data_shape: received video"):
        model.build_model(data_shape)
