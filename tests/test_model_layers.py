"""The network's own layers: what augmentation may change, shapes, and what they keep in a file."""

import keras
import numpy as np
import pytest

from videosummarizer.training.fusion import LateFusion
from videosummarizer.training.layers import (
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

# ---- Augmentation


@pytest.fixture(scope="module")
def jittered():
    """Of 3000 sequences of four pixels, their bytes and the frames that training sees, one pass."""
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (3000, 2, 2, 1, 4, 3), dtype=np.uint8)
    keras.utils.set_random_seed(1)
    return video, np.asarray(FrameAugmentation()(video, training=True))


@pytest.fixture(scope="module")
def fitted(jittered):
    """For each sequence whether it is mirrored, and (3000, 3) factors and offsets of the channels."""
    video, frames = jittered
    plain = video / 64
    fits = []
    for candidate in (plain, plain[..., ::-1, :]):
        x, y = (array.reshape(3000, 16, 3) for array in (candidate, frames))
        x_centred, y_centred = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        factor = (x_centred * y_centred).sum(axis=1) / (x_centred**2).sum(axis=1)
        offset = y.mean(axis=1) - factor * x.mean(axis=1)
        error = np.abs(factor[:, np.newaxis] * x + offset[:, np.newaxis] - y).max(axis=(1, 2))
        fits.append((error, factor, offset))
    is_mirrored = fits[1][0] < fits[0][0]
    error, factor, offset = (
        np.where(is_mirrored.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(*fits, strict=True)
    )
    assert error.max() < 1e-4
    return is_mirrored, factor, offset


def test_every_other_sequence_is_mirrored(fitted):
    assert 0.46 < fitted[0].mean() < 0.54


def test_contrast_and_colour_vary_by_a_fifth_each(fitted):
    _, factor, _ = fitted
    assert factor.min() >= 0.6
    assert factor.max() <= 1.4
    assert factor.min() < 0.62
    assert factor.max() > 1.38
    # Two independent uniform numbers within a fifth: the variance is twice 0.4 ** 2 / 12, half of it common.
    assert factor.var() == pytest.approx(2 * 0.4**2 / 12, rel=0.06)
    assert np.corrcoef(factor[:, 0], factor[:, 2])[0, 1] == pytest.approx(0.5, abs=0.05)
    assert factor.mean() == pytest.approx(1, abs=0.01)


def test_brightness_varies_alike_in_all_channels(fitted):
    _, factor, offset = fitted
    np.testing.assert_allclose(offset, offset[:, :1].repeat(3, axis=1), atol=1e-3)
    assert 0.39 < offset.max() <= 0.401
    assert -0.401 <= offset.min() < -0.39
    assert abs(np.corrcoef(offset[:, 0], factor[:, 0])[0, 1]) < 0.06


def test_the_next_batch_is_changed_otherwise(jittered):
    layer = FrameAugmentation()
    first, second = (np.asarray(layer(jittered[0][:3], training=True)) for _ in range(2))
    assert (first != second).any()


@pytest.fixture(scope="module")
def masked():
    """(200, 700, 64) bool: what is masked in 200 spectrograms."""
    keras.utils.set_random_seed(2)
    spectrogram = np.full((200, 700, 64), 3, np.float32)
    masked = np.asarray(SpecAugment()(spectrogram, training=True))
    assert set(np.unique(masked)) == {0, 3}
    return masked == 0


def runs_of(is_masked):
    """(num_spectrograms,) counts of runs, and the lengths of all."""
    edges = np.diff(np.pad(is_masked, [(0, 0), (1, 1)]).astype(int), axis=1)
    lengths = np.concatenate([np.flatnonzero(row == -1) - np.flatnonzero(row == 1) for row in edges])
    return (edges == 1).sum(axis=1), lengths


def test_two_masks_of_bands_and_four_of_moments(masked):
    bands, moments = masked.all(axis=1), masked.all(axis=2)
    np.testing.assert_array_equal(masked, bands[:, np.newaxis] | moments[:, :, np.newaxis])  # whole rows and columns
    num_bands, _ = runs_of(bands)
    num_moments, lengths = runs_of(moments)
    assert num_bands.max() == 2
    assert num_moments.max() == 4
    assert (num_moments == 4).mean() > 0.4
    # A mask is up to 12 bands wide, and up to 28 moments long, each width as likely.
    assert 18 <= bands.sum(axis=1).max() <= 24
    assert bands.sum(axis=1).mean() == pytest.approx(2 * 6, abs=1.5)  # less where they meet or hang over
    assert np.sort(lengths)[-40:].min() >= 24
    assert np.median(lengths) == pytest.approx(14, abs=2)
    assert len({row.tobytes() for row in masked.all(axis=2)}) == 200  # each spectrogram has its own


def test_masks_lie_anywhere(masked):
    for is_masked in (masked.all(axis=1), masked.all(axis=2)):
        halves = np.array_split(is_masked.mean(axis=0), 2)
        assert halves[0].mean() == pytest.approx(halves[1].mean(), rel=0.3)
        assert is_masked[:, -1].any()


# ---- Values and shapes


def test_silence_has_a_logarithm_of_0():
    np.testing.assert_allclose(LogCompression()(np.array([0, np.e - 1, 1e6])), [0, 1, 13.815512], atol=1e-5)


def test_the_fusion_weights_of_training_are_fixed_and_not_trained():
    layer = LateFusion()
    layer(3 * [np.zeros((1, 1), np.float32)])
    assert (layer.trainable_weights, len(layer.weights)) == ([], 1)
    assert (layer.fusion_weights.name, np.asarray(layer.fusion_weights).tolist()) == ("fusion_weights", [0, 1, 1])
    logits = [np.full((1, 1), value, np.float32) for value in (1, 10, 100)]
    layer.fusion_weights.assign((0.5, 0.25, 0.125))
    assert np.asarray(layer(logits)).item() == 15.5
    assert np.asarray(layer(logits, training=True)).item() == 110


def test_time_is_resampled_for_each_sequence_and_channel():
    x = np.arange(2 * 6 * 2, dtype=np.float32).reshape(2, 6, 2)  # two sequences, two segments of three, two channels
    expected = np.stack([x[:, [0, 3]], x[:, [1, 4]], x[:, [2, 5]]]).mean(axis=0)
    np.testing.assert_allclose(AveragePoolToLength(3, 1)(x), expected, atol=1e-6)
    np.testing.assert_allclose(AveragePoolToLength(3, 2)(x)[1, 1], x[1, 1] / 3 + x[1, 2] * 2 / 3, atol=1e-6)


def test_motion_is_the_difference_to_the_frame_before_in_the_same_sequence():
    video = np.random.default_rng(0).normal(size=(2, 2, 3, 2, 5, 3)).astype(np.float32)
    received = np.asarray(FrameDifference()(video)).reshape(2, 6, 2, 5, 6)
    for sequence in range(2):
        frames = video[sequence].reshape(6, 2, 5, 3)
        for index in range(6):
            np.testing.assert_array_equal(received[sequence, index, ..., :3], frames[index])
            motion = frames[index] - frames[index - 1] if index else np.zeros((2, 5, 3))
            np.testing.assert_array_equal(received[sequence, index, ..., 3:], motion)


SHAPES = {
    "jitter": (FrameAugmentation(), [(2, 3, 4, 5, 6, 3)], (2, 3, 4, 5, 6, 3), (None, None, 4, 5, 6, 3)),
    "motion": (FrameDifference(), [(2, 3, 4, 5, 6, 3)], (24, 5, 6, 6), (None, 5, 6, 6)),
    "segments to batch, vectors": (SegmentsToBatch(), [(2, 3, 7)], (6, 7, 1), (None, 7, 1)),
    "segments to batch, matrices": (SegmentsToBatch(), [(2, 3, 7, 4)], (6, 7, 4), (None, 7, 4)),
    "batch to time": (BatchToTime(), [(6, 7, 4), (2, 3, 8)], (2, 21, 4), (None, None, 4)),
    "resample": (AveragePoolToLength(4, 3), [(2, 8, 5)], (2, 6, 5), (None, None, 5)),
    "cosines": (InverseDCT(9), [(2, 8, 5)], (2, 8, 9), (None, None, 9)),
    "loudness": (LogEnergy(4), [(2, 8, 5)], (2, 2, 1), (None, None, 1)),
    "logarithm": (LogCompression(), [(2, 8, 5)], (2, 8, 5), (None, None, 5)),
    "sum": (LateFusion(), 3 * [(2, 8, 1)], (2, 8, 1), (None, None, 1)),
    "mask": (SpecAugment(), [(2, 8, 5)], (2, 8, 5), (None, None, 5)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_layer_states_the_shape_that_it_has(name):
    layer, shapes, expected, symbolic = SHAPES[name]
    num_unknown = 1 if name == "batch to time" else 2
    tensors = [keras.KerasTensor((*[None] * num_unknown, *shape[num_unknown:])) for shape in shapes]
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    one_or_list = (lambda x: x[0]) if len(shapes) == 1 else list
    assert np.asarray(layer(one_or_list(arrays))).shape == expected
    assert layer(one_or_list(tensors)).shape == symbolic


def test_layers_keep_their_numbers_in_a_file():
    layers = [AveragePoolToLength(4, 3), InverseDCT(9), LogEnergy(5)]
    kept = [{"num_from": 4, "num_to": 3}, {"num_bands": 9}, {"pool_size": 5}]
    for layer, numbers in zip(layers, kept, strict=True):
        layer.trainable = False
        config = layer.get_config()
        assert {name: config[name] for name in numbers} == numbers
        again = type(layer).from_config(config)
        assert {name: getattr(again, name) for name in numbers} == numbers
        assert (again.name, again.trainable) == (layer.name, False)


def test_own_layers_are_registered_under_the_toolkits_name():
    classes = {
        "FrameAugmentation": FrameAugmentation,
        "FrameDifference": FrameDifference,
        "SegmentsToBatch": SegmentsToBatch,
        "BatchToTime": BatchToTime,
        "AveragePoolToLength": AveragePoolToLength,
        "InverseDCT": InverseDCT,
        "LogCompression": LogCompression,
        "LogEnergy": LogEnergy,
        "LateFusion": LateFusion,
        "SpecAugment": SpecAugment,
    }
    for name, layer_class in classes.items():
        assert keras.saving.get_registered_object(f"video_summarizer>{name}") is layer_class
