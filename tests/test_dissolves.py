"""Ends of fades, from weights along straight lines and from pictures that are mixed by hand."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from videosummarizer.labelling import dissolves, fingerprints
from videosummarizer.labelling.fingerprints import FrameTransform, Thumbnails

HEIGHT_PX, WIDTH_PX = 27, 48
TIMES_SEC = np.arange(-1.6, 1.6, 1 / 16)


@pytest.mark.parametrize("end_sec", [-0.4, 0.0, 0.5, 1.2])
@pytest.mark.parametrize("duration_sec", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("height", [0.3, 0.9])
def test_a_straight_line_ends_where_it_comes_to_zero(end_sec, duration_sec, height):
    weights = height * np.clip((end_sec - TIMES_SEC) / duration_sec, 0, 1)
    trusts = np.random.default_rng(0).uniform(0.5, 2, len(TIMES_SEC))
    assert dissolves.fade_end_sec(TIMES_SEC, weights, trusts) == pytest.approx(end_sec, abs=1e-9)


@pytest.mark.parametrize(("height", "is_found"), [(0.19, False), (0.21, True), (-0.9, False)])
def test_a_fifth_of_the_picture_has_to_be_the_shot_s(height, is_found):
    weights = height * np.clip((0.5 - TIMES_SEC) / 0.6, 0, 1)
    assert (dissolves.fade_end_sec(TIMES_SEC, weights, np.ones(len(TIMES_SEC))) is not None) == is_found


@pytest.mark.parametrize(("amplitude", "is_found"), [(0.75, True), (0.88, False)])
def test_a_line_has_to_explain_six_tenths(amplitude, is_found):
    # Weights of 1 with a wobble, that no line explains: 1 / (1 + amplitude ** 2) is explained.
    times_sec = np.arange(-1.6, -0.4, 1 / 64)[:76]
    weights = 1 + amplitude * np.where(np.arange(76) % 2, 1, -1)
    assert (dissolves.fade_end_sec(times_sec, weights, np.ones(76)) is not None) == is_found


def test_weights_that_are_not_trusted_do_not_count():
    weights, trusts = np.clip((0.5 - TIMES_SEC) / 0.6, 0, 1), np.ones(len(TIMES_SEC))
    weights[::3], trusts[::3] = 7, 1e-9
    assert dissolves.fade_end_sec(TIMES_SEC, weights, trusts) == pytest.approx(0.5)
    assert dissolves.fade_end_sec(TIMES_SEC, weights * 0, trusts) is None


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_only_the_ratio_of_trust_counts(scale):
    weights = 0.9 * np.clip((0.5 - TIMES_SEC) / 0.6, 0, 1)
    trusts = np.random.default_rng(0).uniform(0.5, 2, len(TIMES_SEC))
    assert dissolves.fade_end_sec(TIMES_SEC, weights, scale * trusts) == pytest.approx(0.5, abs=1e-9)


def textures(num_pictures, seed):
    scenes = gaussian_filter(
        np.random.default_rng(seed).normal(size=(num_pictures, HEIGHT_PX, WIDTH_PX)), (0, 1.5, 1.5)
    )
    return 128 + 40 * scenes / scenes.std()


def make_fades(monkeypatch, offset_sec, share, num_near=None):
    """Fades of an edit of 10 s at 25 fps, of which a share(times_sec) is a match's picture and the rest another's."""
    match = Thumbnails(np.arange(0, 40, 1 / 16), textures(640, 1).astype(np.uint8))
    edit_times_sec = np.arange(250) / 25
    # Each picture of the edit shows that of the match which comes up while it lasts.
    shown = np.maximum(np.searchsorted(match.times_sec, edit_times_sec + offset_sec + 0.0399) - 1, 0)
    part = share(edit_times_sec)[:, None, None]
    mixed = part * match.thumbnails[shown] + (1 - part) * textures(250, 2)
    edit = Thumbnails(edit_times_sec, mixed.clip(0, 255).astype(np.uint8))
    comparer = fingerprints.FrameDescriber(edit, match, FrameTransform())
    asked = []

    def read_pictures(path, start_sec, end_sec, rate_fps):
        asked.append((path, start_sec, end_sec, rate_fps))
        # From the keyframe before the start, as the real one.
        first, last = np.searchsorted(match.times_sec, [start_sec - 1, end_sec])
        return match.take(np.arange(first, last)[: num_near or 10_000])

    monkeypatch.setattr(fingerprints, "read_thumbnails", read_pictures)
    return dissolves.DissolveRefiner(edit, match, comparer, "match.mp4"), asked


@pytest.mark.parametrize("end_sec", [5.4, 6.0])
def test_a_shot_ends_where_the_last_of_it_is_gone(monkeypatch, end_sec):
    fades, asked = make_fades(monkeypatch, 12.2, lambda times_sec: np.clip((end_sec - times_sec) / 0.8, 0, 1))
    assert fades.end_sec(5.3, False, 12.2) == pytest.approx(end_sec, abs=0.06)
    ((path, *numbers),) = asked
    assert path == "match.mp4"
    np.testing.assert_allclose(numbers, [15.9, 19.1, 16])


@pytest.mark.parametrize("start_sec", [5.0, 4.6])
def test_a_shot_starts_where_the_first_of_it_is_seen(monkeypatch, start_sec):
    fades, _ = make_fades(monkeypatch, 12.2, lambda times_sec: np.clip((times_sec - start_sec) / 0.8, 0, 1))
    assert fades.end_sec(5.3, True, 12.2) == pytest.approx(start_sec, abs=0.06)


def test_an_end_stays_where_pictures_tell_nothing(monkeypatch):
    fades, asked = make_fades(monkeypatch, -4.9, lambda times_sec: 0 * times_sec)
    assert fades.end_sec(5.3, False, -4.9) == 5.3
    assert asked[0][1] == 0  # the match does not begin before 0


@pytest.mark.parametrize(("num_near", "is_used"), [(16 + 7, False), (16 + 8, True)])
def test_fewer_than_eight_pictures_tell_nothing(monkeypatch, num_near, is_used):
    # A second before the place is read as well, but is none of it.
    fades, _ = make_fades(monkeypatch, 12.2, lambda times_sec: np.clip((4.2 - times_sec) / 0.2, 0, 1), num_near)
    assert (fades.end_sec(5.3, False, 12.2) != 5.3) == is_used
