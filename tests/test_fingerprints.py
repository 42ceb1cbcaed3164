"""Check fingerprints of audio and frames against librosa, plain loops and values computed by hand."""

import librosa
import numpy as np
import pytest
from clips import read_number, write_clip

from videosummarizer import media
from videosummarizer.labelling import fingerprints
from videosummarizer.labelling.fingerprints import FrameTransform, Thumbnails

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

    def read_audio(path, sample_rate_hz):
        asked.append((path, sample_rate_hz))
        yield from np.split(samples, range(12_347, len(samples), 12_347))

    monkeypatch.setattr(media, "read_audio", read_audio)
    actual = fingerprints.read_audio_features("a.mp4")
    assert asked == [("a.mp4", 8000)]
    np.testing.assert_allclose(actual, reference_features(samples), atol=2e-3)


def test_silence_has_a_fingerprint_of_zeros(monkeypatch):
    monkeypatch.setattr(media, "read_audio", lambda *_: iter([np.zeros(16_000, np.float32)]))
    assert np.abs(fingerprints.read_audio_features("a.mp4")).max() < 1e-5


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


def numbered_thumbnails(times_sec):
    """Return thumbnails of one grey level each: 1, 2, 3 ..."""
    levels = np.arange(1, len(times_sec) + 1, dtype=np.uint8)
    return Thumbnails(np.array(times_sec, float), np.tile(levels[:, None, None], (1, HEIGHT_PX, WIDTH_PX)))


def levels_of(thumbnails):
    return thumbnails.thumbnails[:, 5, 7].tolist()


@pytest.mark.parametrize(
    ("num_wanted", "levels"), [(1, [1]), (2, [1, 11]), (3, [1, 6, 11]), (4, [1, 4, 7, 11]), (99, [*range(1, 12)])]
)
def test_a_subsample_is_spread_evenly(num_wanted, levels):
    thumbnails = numbered_thumbnails(np.arange(11) / 7).subsample(num_wanted)
    assert levels_of(thumbnails) == levels
    np.testing.assert_allclose(thumbnails.times_sec, (np.array(levels) - 1) / 7)


def test_joined_thumbnails_are_in_order_without_duplicates():
    parts = [numbered_thumbnails([3.0, 4.0]), numbered_thumbnails([]), numbered_thumbnails([1.0, 3.5, 4.0])]
    joined = fingerprints.join_thumbnails(parts)
    assert joined.times_sec.tolist() == [1.0, 3.0, 3.5, 4.0]
    assert levels_of(joined) == [1, 1, 2, 2]
    nothing = fingerprints.join_thumbnails([])
    assert nothing.thumbnails.shape == (0, HEIGHT_PX, WIDTH_PX)
    assert nothing.times_sec.shape == (0,)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """90 numbered frames at 30 fps from 1.5 s on, a keyframe each 20, two of three that no other refers to."""
    options = {"crf": "10", "g": "20", "keyint_min": "20", "sc_threshold": "0", "bf": "2", "b_strategy": "0"}
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 90, start_sec=1.5, options=options)


def numbers_and_times(thumbnails):
    numbers = [read_number(thumbnail[..., None]) for thumbnail in thumbnails.thumbnails]
    assert thumbnails.thumbnails.shape[1:] == (HEIGHT_PX, WIDTH_PX)
    assert thumbnails.thumbnails.dtype == np.uint8
    np.testing.assert_allclose(thumbnails.times_sec, np.array(numbers) / 30, atol=1e-4)
    return numbers


def test_every_frame_is_read_at_its_time(clip):
    assert numbers_and_times(fingerprints.read_thumbnails(clip)) == [*range(90)]


def test_only_keyframes_are_read(clip):
    assert numbers_and_times(fingerprints.read_thumbnails(clip, keyframes=True)) == [0, 20, 40, 60, 80]


def test_frames_are_read_from_the_keyframe_before_the_start_up_to_the_end(clip):
    assert numbers_and_times(fingerprints.read_thumbnails(clip, 1.5, 2.1)) == [*range(40, 63)]
    assert numbers_and_times(fingerprints.read_thumbnails(clip, 0, 0.5)) == [*range(15)]
    assert numbers_and_times(fingerprints.read_thumbnails(clip, 0.0, 0.5001)) == [*range(16)]


def test_frames_are_read_at_most_at_a_rate(clip):
    every = numbers_and_times(fingerprints.read_thumbnails(clip, rate_fps=5))
    assert np.diff(every).min() >= 6
    assert np.diff(every).max() <= 8
    # Only frames that others refer to.
    referred = numbers_and_times(fingerprints.read_thumbnails(clip, rate_fps=30))
    assert 45 < len(referred) < 75
    assert set(every) <= set(referred)


def test_ten_frames_per_second_are_three_frames_apart(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 31, options={"crf": "10", "bf": "0"})
    assert numbers_and_times(fingerprints.read_thumbnails(path, rate_fps=10)) == [*range(0, 31, 3)]


def test_frames_of_overlapping_regions_are_read_once(clip):
    thumbnails = fingerprints.read_thumbnails_near(clip, [(2.1, 2.2), (-0.5, 0.1), (2.15, 2.4)], np.inf)
    assert numbers_and_times(thumbnails) == [0, 1, 2, *range(60, 72)]


@pytest.mark.parametrize(
    "transform",
    [
        FrameTransform(),
        FrameTransform(width=0.75, height=0.85),
        FrameTransform(0.45, 0.59, 0.8, 0.5),
        FrameTransform(0.52, 0.47, 1.33, 1.1),
    ],
)
def test_block_means_are_means_of_the_pixels_inside(transform):
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
    rows, is_inside = fingerprints.block_means(thumbnails, transform)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.reshape(expected.shape), expected, atol=1)
    assert is_inside.tolist() == is_covered.ravel().tolist()


def test_block_means_of_many_frames_are_in_order():
    random = np.random.default_rng(4)
    levels = random.integers(0, 256, 1500).astype(np.uint8)
    thumbnails = np.broadcast_to(levels[:, None, None], (1500, HEIGHT_PX, WIDTH_PX))
    rows, _ = fingerprints.block_means(thumbnails, FrameTransform())
    np.testing.assert_allclose(rows, np.tile(levels[:, None], (1, 336)), rtol=1e-4)


def test_the_frame_shown_is_the_last_that_is_not_later():
    times_sec = np.array([0.5, 0.6, 0.9])
    wanted_sec = np.array([0.0, 0.5 - 1e-5, 0.5, 0.6 - 5e-7, 0.6 - 1e-5, 0.85, 0.9, 50.0])
    assert fingerprints.shown_at(times_sec, wanted_sec).tolist() == [0, 0, 0, 1, 0, 1, 2, 2]


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


@pytest.mark.parametrize(
    ("changes", "cuts_sec"),
    [
        ([2] * 20, []),
        ([2] * 10 + [9] + [2] * 10, [1.1]),  # more than four times the median
        ([2] * 10 + [8] + [2] * 10, [1.1]),  # more than twice what is next to it
        ([4] * 10 + [8] + [4] * 10, []),
        ([4] * 10 + [9] + [4] * 10, [1.1]),
        ([2] * 10 + [5, 9] + [2] * 10, [1.2]),
        ([2] * 10 + [5, 8] + [2] * 10, []),
        ([2] * 10 + [5, 2, 8] + [2] * 10, []),  # the second neighbour counts as well
        ([2] * 10 + [5, 2, 2, 8] + [2] * 10, [1.4]),
        ([2] * 10 + [8, 2, 5] + [2] * 10, []),
        ([2] * 10 + [8, 2, 2, 5] + [2] * 10, [1.1]),
        ([1] * 10 + [6] + [1] * 10, []),  # of 6 grey levels or less
        ([1] * 10 + [7] + [1] * 10, [1.1]),
        ([2] * 10 + [30, 30] + [2] * 10, [1.1, 1.2]),  # a flash
        ([2] * 20 + [20] * 15 + [2] * 20, [*np.arange(21, 36) / 10]),  # the median of 31
        ([2] * 20 + [20] * 16 + [2] * 20, []),
        ([50], []),
        ([], []),
    ],
)  # fmt: skip
def test_cuts_are_where_the_frame_changes_much_more_than_around(changes, cuts_sec):
    levels = np.cumsum([0, *(change * (-1) ** i for i, change in enumerate(changes))])
    thumbnails = np.tile((levels - levels.min()).astype(np.uint8)[:, None, None], (1, HEIGHT_PX, WIDTH_PX))
    thumbnails = Thumbnails(np.arange(len(levels)) / 10, thumbnails)
    np.testing.assert_allclose(fingerprints.find_cuts(thumbnails), cuts_sec)


def test_a_change_is_the_mean_over_the_frame_in_either_direction():
    # The first half of the frame goes from 0 to 255, the other the other way; no overflow, no cancelling.
    thumbnails = np.full((21, HEIGHT_PX, WIDTH_PX), 255, np.uint8)
    thumbnails[:10, :, :24], thumbnails[10:, :, 24:] = 0, 0
    np.testing.assert_allclose(fingerprints.find_cuts(Thumbnails(np.arange(21) / 25, thumbnails)), [0.4])


def test_without_frames_there_is_no_cut():
    empty = Thumbnails(np.zeros(0), np.zeros((0, HEIGHT_PX, WIDTH_PX), np.uint8))
    assert fingerprints.find_cuts(empty).tolist() == []
