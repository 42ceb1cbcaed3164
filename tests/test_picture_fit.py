"""Frames in a picture of another shape: what of them is seen, where, and how it is scaled."""

import av
import numpy as np
import pytest

from videosummarizer.extraction.picture_fit import PictureFit
from videosummarizer.extraction.reel_style import ReelStyle

WIDE_PX = (320, 180)


def ramp(width_px=320, height_px=180):
    """A frame whose red rises from left to right, and whose green rises from top to bottom."""
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 255, width_px)
    picture[..., 1] = np.linspace(0, 255, height_px)[:, np.newaxis]
    return av.VideoFrame.from_ndarray(picture, "rgb24")


@pytest.mark.parametrize(
    ("aspect", "height_px", "expected"),
    [
        (None, None, (320, 180)),
        (None, 91, (162, 92)),
        ("9:16", None, (102, 180)),
        ("9:16", 1920, (1080, 1920)),
        ("1:1", None, (180, 180)),
        ("4:5", None, (144, 180)),
    ],
)
def test_sizes_are_even_and_have_the_aspect(aspect, height_px, expected):
    assert ReelStyle(aspect=aspect).size_px(*WIDE_PX, height_px) == expected


@pytest.mark.parametrize(("centre", "first", "last"), [(0.5, 70, 250), (0.0, 0, 180), (0.9, 140, 320)])
def test_a_crop_is_the_part_around_its_centre(centre, first, last):
    fit = PictureFit((180, 180), WIDE_PX, "crop")
    picture = fit.draw(ramp(), centre)
    assert picture.shape == (180, 180, 3)
    assert (picture[0, [0, -1], 0] / 255 * 319).tolist() == pytest.approx([first, last - 1], abs=2)
    assert (picture[[0, -1], 0, 1]).tolist() == pytest.approx([0, 255], abs=3)
    assert (fit.window_length, fit.is_vertical, fit.fills_picture) == (180 / 320, False, True)


def test_an_upright_picture_is_cropped_above_and_below():
    fit = PictureFit((180, 180), (180, 320), "crop")
    picture = fit.draw(ramp(180, 320), 1.0)
    assert (picture[[0, -1], 0, 1] / 255 * 319).tolist() == pytest.approx([140, 319], abs=2)
    assert (fit.window_length, fit.is_vertical) == (180 / 320, True)


@pytest.mark.parametrize("fit_name", ["blur", "pad"])
def test_a_whole_picture_is_as_large_as_fits(fit_name):
    fit = PictureFit((180, 320), WIDE_PX, fit_name)
    picture = fit.draw(ramp(), 0.5)
    assert picture.shape == (101, 180, 3)
    assert picture[0, [0, -1], 0].tolist() == pytest.approx([0, 255], abs=3)
    assert (fit.window_length, fit.fills_picture) == (1, False)


def test_the_blurred_copy_is_darker_has_no_edges_and_fills_the_picture():
    picture = np.zeros((180, 320, 3), np.uint8)
    picture[:, 160:] = 200
    fit = PictureFit((180, 320), WIDE_PX, "blur")
    blurred = fit.draw_blurred(av.VideoFrame.from_ndarray(picture, "rgb24"))
    assert blurred.shape == (320, 180, 3)
    row = blurred[160, :, 0].astype(int)
    assert row[[0, -1]].tolist() == pytest.approx([0, 120], abs=4)
    assert np.abs(np.diff(row)).max() < 5  # the edge of 200 levels is gone
    assert row[90] == pytest.approx(60, abs=12)  # its middle is still the middle


@pytest.mark.parametrize("fit_name", ["crop", "blur", "pad"])
def test_a_match_of_the_same_shape_is_only_scaled(fit_name):
    fit = PictureFit((160, 90), WIDE_PX, fit_name)
    assert (fit.scaled_px, fit.window_length, fit.fills_picture) == ((160, 90), 1, True)


def test_oblong_pixels_become_square():
    fit = PictureFit((180, 180), (180, 180), "crop")  # 90 x 180 pixels that are twice as wide as high
    picture = fit.draw(ramp(90, 180), 0.5)
    assert picture[0, [0, 45, 90, 135, 179], 0].tolist() == pytest.approx([0, 64, 128, 191, 255], abs=4)
