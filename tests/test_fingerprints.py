"""Check fingerprints of audio and frames against librosa, plain loops and values computed by hand."""

import librosa
import numpy as np
import pytest

from videosummarizer import audio_track
from videosummarizer.labelling import fingerprints
from videosummarizer.labelling.fingerprints import FrameTransform

HEIGHT_PX, WIDTH_PX, GRID_HEIGHT, GRID_WIDTH = 27, 48, 14, 24


def reference_features(samples):
    """Do as read_audio_features, but with all samples at once: 16 rows per second, librosa's mel bands of 0.256 s."""
    num_rows = len(samples) // 500 + 2
    padded = np.concatenate([np.zeros(1024), samples, np.zeros(2048)]).astype(np.float32)[: (num_rows - 1) * 500 + 2048]
    amplitudes = librosa.feature.melspectrogram(
        y=padded, sr=8000, n_fft=2048, hop_length=500, center=False, power=1.0, n_mels=32, fmin=100, fmax=3800
    ).T
    floor = max(np.percentile(amplitudes, 95) / 10**2.5, 1e-9)  # 50 dB below the loud parts
    levels = np.log(np.maximum(amplitudes, floor)).astype(np.float64)
    assert len(levels) == num_rows
    padded_levels = np.pad(levels, ((16, 16), (0, 0)), mode="symmetric")
    levels -= [padded_levels[i : i + 33].mean(axis=0) for i in range(num_rows)]  # of two seconds
    return levels - levels.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("duration_sec", [0.05, 3.37, 64.18, 64.2, 130.9])
def test_audio_of_any_length_is_read_to_its_end(monkeypatch, duration_sec):
    random = np.random.default_rng(0)
    loudness = np.repeat(random.choice([0.0, 0.01, 1.0], 140), 8000)
    samples = (random.normal(size=140 * 8000) * loudness).astype(np.float32)[: round(duration_sec * 8000)]
    asked = []

    def read_audio(*asked_for):
        asked.append(asked_for)
        yield from np.split(samples, range(12_347, len(samples), 12_347))

    monkeypatch.setattr(audio_track, "read_audio", read_audio)
    actual = fingerprints.read_audio_features("a.mp4", "its info")
    assert asked == [("a.mp4", "its info", 8000, None)]
    np.testing.assert_allclose(actual, reference_features(samples), atol=2e-3)


def test_silence_has_a_fingerprint_of_zeros(monkeypatch):
    monkeypatch.setattr(audio_track, "read_audio", lambda *_: iter([np.zeros(16_000, np.float32)]))
    assert np.abs(fingerprints.read_audio_features("a.mp4", None)).max() < 1e-5


@pytest.mark.parametrize("regularisation", [0.0, 0.3, 1.0])
def test_whitened_rows_vary_about_equally_in_every_direction(regularisation):
    random = np.random.default_rng(1)
    mixture = np.linalg.qr(random.normal(size=(4, 4)))[0]
    rows = (random.normal(size=(500, 4)) * [5.0, 2.0, 1.0, 0.1] + [0.5, 0, 0, 0]) @ mixture.T
    weights = fingerprints.whitening(rows, regularisation)
    assert weights.dtype == np.float32
    variances = np.linalg.eigvalsh(rows.T @ rows / 500)
    expected = variances / (variances + regularisation * variances.mean())
    whitened = rows @ weights
    np.testing.assert_allclose(whitened.T @ whitened / 500, np.diag(expected), atol=1e-4)


def test_an_hour_of_silence_costs_no_spectrum_and_changes_nothing_before_it(monkeypatch):
    librosa = fingerprints.import_librosa()
    spectrogram, num_calls = librosa.feature.melspectrogram, []
    monkeypatch.setattr(
        librosa.feature, "melspectrogram", lambda **options: num_calls.append(1) or spectrogram(**options)
    )
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype(np.float32)
    features = []
    for silent_sec in (10, 3600):
        blocks = [noise, *np.zeros((silent_sec, 8000), np.float32)]
        monkeypatch.setattr(audio_track, "read_audio", lambda *_, blocks=blocks: iter(blocks))
        features.append(fingerprints.read_audio_features("a.mp4", None))
    assert len(features[1]) == pytest.approx(16 * 3604, abs=2)
    np.testing.assert_allclose(features[0][:60], features[1][:60], atol=0.02)
    assert np.abs(features[1][:64]).max() > 0.1
    assert not features[1][120:].any()
    assert len(num_calls) <= 3


def test_whitening_of_nothing_is_finite():
    assert np.isfinite(fingerprints.whitening(np.zeros((0, 3)), 0.3)).all()


def test_rows_of_median_norm_come_to_two_thirds():
    # Norms 5, 10 and 1: the median of those above 0 is 5; each row is divided by its norm plus 2.5.
    rows = np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    expected = [[3 / 7.5, 4 / 7.5], [6 / 12.5, 8 / 12.5], [0, 0], [0, 1 / 3.5], [0, 0]]
    normalised = fingerprints.soft_normalise(rows)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, expected, rtol=1e-6)
    assert fingerprints.soft_normalise(np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_audio_is_whitened_by_the_statistics_of_the_match():
    random = np.random.default_rng(2)
    reference, query = random.normal(size=(300, 3)) * [9, 1, 1], random.normal(size=(40, 3))
    variances, directions = np.linalg.eigh(reference.T @ reference / 300)
    weights = directions / np.sqrt(variances + 0.3 * variances.mean())
    expected = []
    for rows in (query @ weights, reference @ weights):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        expected.append(rows / (lengths + 0.5 * np.median(lengths)))
    # Directions have no sign, so similarities are compared.
    query_rows, reference_rows = fingerprints.describe_audio(query, reference)
    np.testing.assert_allclose(query_rows @ reference_rows.T, expected[0] @ expected[1].T, atol=1e-5)
    np.testing.assert_allclose(query_rows @ query_rows.T, expected[0] @ expected[0].T, atol=1e-5)


@pytest.mark.parametrize(
    "transform",
    [
        FrameTransform(),
        FrameTransform(width=0.75, height=0.85),
        FrameTransform(0.45, 0.59, 0.8, 0.5),
        FrameTransform(0.52, 0.47, 1.33, 1.1),
    ],
)
def test_grid_means_are_means_of_the_pixels_inside(transform):
    thumbnails = np.random.default_rng(3).integers(0, 256, (3, HEIGHT_PX, WIDTH_PX), np.uint8)
    # The match's frame as fine points, each put where it lies in the query's frame.
    fine = 200
    x = ((np.arange(WIDTH_PX * fine) + 0.5) / (WIDTH_PX * fine) - 0.5) * transform.width + transform.centre_x
    y = ((np.arange(HEIGHT_PX * fine) + 0.5) / (HEIGHT_PX * fine) - 0.5) * transform.height + transform.centre_y
    column, row = np.floor(x * GRID_WIDTH), np.floor(y * GRID_HEIGHT)
    across = (column == np.arange(GRID_WIDTH)[:, None]) / (WIDTH_PX * fine * (1 / GRID_WIDTH / transform.width))
    down = (row == np.arange(GRID_HEIGHT)[:, None]) / (HEIGHT_PX * fine * (1 / GRID_HEIGHT / transform.height))
    across, down = (a.reshape(len(a), -1, fine).sum(axis=2) for a in (across, down))
    expected = np.stack([down @ thumbnail @ across.T for thumbnail in thumbnails.astype(float)])
    is_covered = (down.sum(axis=1) > 0.9)[:, None] & (across.sum(axis=1) > 0.9)
    rows, is_inside = fingerprints.grid_means(thumbnails, transform)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.reshape(expected.shape), expected, atol=1)
    assert is_inside.tolist() == is_covered.ravel().tolist()


def test_grid_means_of_many_frames_are_in_order():
    random = np.random.default_rng(4)
    levels = random.integers(0, 256, 1500).astype(np.uint8)
    thumbnails = np.broadcast_to(levels[:, None, None], (1500, HEIGHT_PX, WIDTH_PX))
    rows, _ = fingerprints.grid_means(thumbnails, FrameTransform())
    np.testing.assert_allclose(rows, np.tile(levels[:, None], (1, 336)), rtol=1e-4)


def blurred(grid, sigma):
    """Blur a grid (14, 24) by a Gaussian of up to 4 sigma, mirrored at its edges, by loops."""
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for _ in range(2):
        padded = np.pad(grid, ((reach, reach), (0, 0)), mode="symmetric")
        grid = sum(weight * padded[i : i + len(grid)] for i, weight in enumerate(kernel)).T
    return grid


def normalised_by_hand(frame, is_used):
    """Do the steps of local_contrast_normalise for one frame (14 * 24,)."""
    grid = np.where(is_used, frame - frame[is_used].mean(), 0).reshape(GRID_HEIGHT, GRID_WIDTH)
    grid = grid - blurred(grid, 2)
    grid = grid / np.sqrt(blurred(grid**2, 4) + 9)
    used = grid.ravel()[is_used]
    used = used - used.mean()
    return used / np.linalg.norm(used)


@pytest.fixture
def is_used():
    mask = np.ones((GRID_HEIGHT, GRID_WIDTH), bool)
    mask[:3], mask[5:7, 20:] = False, False
    return mask.ravel()


def test_high_pass_subtracts_a_gaussian_blur(is_used):
    rows = np.random.default_rng(5).uniform(0, 255, (3, 336))
    contrasts = fingerprints.high_pass(rows, is_used)
    assert contrasts.shape == (3, GRID_HEIGHT, GRID_WIDTH)
    for row, grid in zip(rows, contrasts, strict=True):
        shifted = np.where(is_used, row - row[is_used].mean(), 0).reshape(GRID_HEIGHT, GRID_WIDTH)
        np.testing.assert_allclose(grid, shifted - blurred(shifted, 2), atol=1e-3)


def test_normalised_frames_depend_on_neither_brightness_nor_contrast(is_used):
    rows = np.random.default_rng(6).uniform(0, 255, (3, 336))
    normalised = fingerprints.local_contrast_normalise(rows, is_used)
    expected = [normalised_by_hand(row, is_used) for row in rows]
    np.testing.assert_allclose(normalised, expected, atol=1e-5)
    np.testing.assert_allclose(fingerprints.local_contrast_normalise(0.9 * rows + 20, is_used), normalised, atol=2e-3)


@pytest.mark.parametrize(("deviation", "shows"), [(3.9, False), (4.1, True)])
def test_a_frame_of_little_contrast_shows_nothing(is_used, deviation, shows):
    row = np.random.default_rng(7).normal(size=336)
    row = (row - row[is_used].mean()) / row[is_used].std() * deviation + 100
    row[~is_used] = 255
    assert fingerprints.local_contrast_normalise(row[None], is_used).any() == shows


def test_a_uniform_frame_is_all_zeros():
    assert not fingerprints.local_contrast_normalise(np.full((2, 336), 77.0), np.ones(336, bool)).any()
