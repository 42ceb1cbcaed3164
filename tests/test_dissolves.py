"""Check refined boundaries of dissolves, with proportions on straight lines and with frames mixed by hand."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from videosummarizer.labelling import dissolves, fingerprints
from videosummarizer.labelling.fingerprints import FrameTransform
from videosummarizer.labelling.thumbnails import Thumbnails

HEIGHT_PX, WIDTH_PX = 27, 48
TIMES_SEC = np.arange(-1.6, 1.6, 1 / 16)


@pytest.mark.parametrize("end_sec", [-0.4, 0.0, 0.5, 1.2])
@pytest.mark.parametrize("duration_sec", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("height", [0.3, 0.9])
def test_a_straight_line_ends_where_it_comes_to_zero(end_sec, duration_sec, height):
    proportions = height * np.clip((end_sec - TIMES_SEC) / duration_sec, 0, 1)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(TIMES_SEC))
    assert dissolves.fit_dissolve_end(TIMES_SEC, proportions, weights) == pytest.approx(end_sec, abs=1e-9)


@pytest.mark.parametrize(("height", "is_fitted"), [(0.19, False), (0.21, True), (-0.9, False)])
def test_a_fifth_of_the_frame_has_to_belong_to_the_shot(height, is_fitted):
    proportions = height * np.clip((0.5 - TIMES_SEC) / 0.6, 0, 1)
    assert (dissolves.fit_dissolve_end(TIMES_SEC, proportions, np.ones(len(TIMES_SEC))) is not None) == is_fitted


@pytest.mark.parametrize(("amplitude", "is_fitted"), [(0.75, True), (0.88, False)])
def test_a_line_has_to_explain_six_tenths(amplitude, is_fitted):
    # Proportions of 1 plus an alternation that no line explains: 1 / (1 + amplitude ** 2) is explained.
    times_sec = np.arange(-1.6, -0.4, 1 / 64)[:76]
    proportions = 1 + amplitude * np.where(np.arange(76) % 2, 1, -1)
    assert (dissolves.fit_dissolve_end(times_sec, proportions, np.ones(76)) is not None) == is_fitted


def test_proportions_of_low_weight_do_not_count():
    proportions, weights = np.clip((0.5 - TIMES_SEC) / 0.6, 0, 1), np.ones(len(TIMES_SEC))
    proportions[::3], weights[::3] = 7, 1e-9
    assert dissolves.fit_dissolve_end(TIMES_SEC, proportions, weights) == pytest.approx(0.5)
    assert dissolves.fit_dissolve_end(TIMES_SEC, proportions * 0, weights) is None


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_only_the_ratio_of_weights_counts(scale):
    proportions = 0.9 * np.clip((0.5 - TIMES_SEC) / 0.6, 0, 1)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(TIMES_SEC))
    assert dissolves.fit_dissolve_end(TIMES_SEC, proportions, scale * weights) == pytest.approx(0.5, abs=1e-9)


def test_a_linear_fade_is_measured_and_noise_is_not():
    times_sec = np.arange(-1.6, 1.6, 1 / 16)
    ramp = np.clip((0.5 - times_sec) / 0.8, 0, 1)  # all gone 0.5 s outside
    noise = np.random.default_rng(0).normal(size=len(times_sec))
    weights = np.ones(len(times_sec))
    assert dissolves.fit_dissolve_end(times_sec, 0.9 * ramp + 0.05 * noise, weights) == pytest.approx(0.5, abs=0.06)
    assert dissolves.fit_dissolve_end(times_sec, 0.3 * noise, weights) is None


def textures(num_frames, seed):
    scenes = gaussian_filter(np.random.default_rng(seed).normal(size=(num_frames, HEIGHT_PX, WIDTH_PX)), (0, 1.5, 1.5))
    return 128 + 40 * scenes / scenes.std()


def make_refiner(monkeypatch, offset_sec, proportion, num_near=None):
    """Return a refiner for a query of 10 s at 25 fps whose frames are mixed: proportion(times_sec) of the match."""
    reference = Thumbnails(np.arange(0, 40, 1 / 16), textures(640, 1).astype(np.uint8))
    query_times_sec = np.arange(250) / 25
    # Each query frame shows the match frame that appears while it lasts.
    shown = np.maximum(np.searchsorted(reference.times_sec, query_times_sec + offset_sec + 0.0399) - 1, 0)
    part = proportion(query_times_sec)[:, None, None]
    mixed = part * reference.thumbnails[shown] + (1 - part) * textures(250, 2)
    query = Thumbnails(query_times_sec, mixed.clip(0, 255).astype(np.uint8))
    describer = fingerprints.FrameDescriber(query, reference, FrameTransform())
    asked = []

    def read_thumbnails(path, start_sec, end_sec, rate_fps):
        asked.append((path, start_sec, end_sec, rate_fps))
        # Start at the keyframe before the start, as the real function does.
        first, last = np.searchsorted(reference.times_sec, [start_sec - 1, end_sec])
        return reference.select(np.arange(first, last)[: num_near or 10_000])

    monkeypatch.setattr(dissolves, "read_thumbnails", read_thumbnails)
    return dissolves.DissolveRefiner(query, reference, describer, "match.mp4"), asked


@pytest.mark.parametrize("end_sec", [5.4, 6.0])
def test_a_shot_ends_where_the_last_of_it_is_gone(monkeypatch, end_sec):
    refiner, asked = make_refiner(monkeypatch, 12.2, lambda times_sec: np.clip((end_sec - times_sec) / 0.8, 0, 1))
    assert refiner.boundary_sec(5.3, False, 12.2) == pytest.approx(end_sec, abs=0.06)
    ((path, *numbers),) = asked
    assert path == "match.mp4"
    np.testing.assert_allclose(numbers, [15.9, 19.1, 16])


@pytest.mark.parametrize("start_sec", [5.0, 4.6])
def test_a_shot_starts_where_the_first_of_it_is_seen(monkeypatch, start_sec):
    refiner, _ = make_refiner(monkeypatch, 12.2, lambda times_sec: np.clip((times_sec - start_sec) / 0.8, 0, 1))
    assert refiner.boundary_sec(5.3, True, 12.2) == pytest.approx(start_sec, abs=0.06)


def test_a_boundary_stays_where_frames_show_nothing(monkeypatch):
    refiner, asked = make_refiner(monkeypatch, -4.9, lambda times_sec: 0 * times_sec)
    assert refiner.boundary_sec(5.3, False, -4.9) == 5.3
    assert asked[0][1] == 0  # the match does not begin before 0


@pytest.mark.parametrize(("num_near", "is_used"), [(16 + 7, False), (16 + 8, True)])
def test_fewer_than_eight_frames_are_not_enough(monkeypatch, num_near, is_used):
    # A second before the region is read as well but does not count.
    refiner, _ = make_refiner(monkeypatch, 12.2, lambda times_sec: np.clip((4.2 - times_sec) / 0.2, 0, 1), num_near)
    assert (refiner.boundary_sec(5.3, False, 12.2) != 5.3) == is_used
