"""Fit the frames of a match into a picture of another shape: cropped, or whole on a blurred copy or on black."""

import math

import av
import numpy as np

from videosummarizer.extraction.color_matrix import scaler_matrix
from videosummarizer.frame_scaling import Scaler

# The blurred copy is made from a picture that is so many times smaller.
BLUR_FACTOR = 16
# The radius of the blur in the small picture, and how bright the copy is.
BLUR_RADIUS_PX = 2.0
BLUR_BRIGHTNESS = 0.6


class PictureFit:
    """Fits frames into a picture.

    Args:
        size_px: The width and the height of the picture.
        shown_size_px: The width and the height of the frames as shown, in square pixels.
        fit: One of reel_style.FITS.

    Attributes:
        window_length: How much of the side that is cropped remains, 1 if nothing is cropped.
        is_vertical: Whether frames are cropped above and below, instead of left and right.
        frame_size_px: The size of the fitted frames, smaller than size_px if they do not fill the picture.
    """

    def __init__(self, size_px: tuple[int, int], shown_size_px: tuple[float, float], fit: str):
        self.size_px = size_px
        scales = [length / displayed for length, displayed in zip(size_px, shown_size_px, strict=True)]
        # A side that misses the picture by less than two pixels is as long as the picture: sizes are even.
        self.scaled_px = scaled_size_px(size_px, shown_size_px, max(scales) if fit == "crop" else min(scales))
        self.frame_size_px = tuple(map(min, self.scaled_px, size_px))
        self.is_vertical = self.scaled_px[1] > size_px[1]
        self.window_length = min(size_px[0] / self.scaled_px[0], size_px[1] / self.scaled_px[1], 1.0)
        self.fills_picture = self.frame_size_px == size_px
        self.scale = Scaler(*self.scaled_px, matrix_of=scaler_matrix)
        self.small_px = tuple(math.ceil(length / BLUR_FACTOR) for length in size_px)
        self.small_scaled_px = scaled_size_px(self.small_px, shown_size_px, max(scales) / BLUR_FACTOR)
        self.scale_small = Scaler(*self.small_scaled_px, matrix_of=scaler_matrix)

    def draw(self, frame: av.VideoFrame, centre: float) -> np.ndarray:
        """Return a fitted frame: (H, W, 3) uint8 RGB of frame_size_px.

        Args:
            frame: A decoded frame.
            centre: Of the crop, in [0, 1], along the side that is cropped.
        """
        return crop(self.scale(frame), self.frame_size_px, centre)

    def draw_blurred(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a dark, blurred copy of a frame that fills the picture: (H, W, 3) uint8 RGB."""
        from PIL import Image, ImageFilter

        small = np.ascontiguousarray(crop(self.scale_small(frame), self.small_px, 0.5))
        blurred = Image.fromarray(small).filter(ImageFilter.GaussianBlur(BLUR_RADIUS_PX))
        darkened = blurred.point(lambda level: level * BLUR_BRIGHTNESS)
        return np.asarray(darkened.resize(self.size_px, Image.Resampling.BICUBIC))


def scaled_size_px(size_px: tuple[int, int], shown_size_px: tuple[float, float], scale: float) -> tuple[int, int]:
    """Return the size of scaled frames; a side that misses the picture's by less than two pixels is as long."""
    lengths = [max(1, round(displayed * scale)) for displayed in shown_size_px]
    return tuple(
        length if abs(scaled - length) < 2 else scaled for scaled, length in zip(lengths, size_px, strict=True)
    )


def crop(picture: np.ndarray, size_px: tuple[int, int], centre: float) -> np.ndarray:
    """Cut a picture to a size around a centre in [0, 1], along each side that is too long."""
    first = [
        min(max(0, round(centre * length - wanted / 2)), length - wanted)
        for length, wanted in zip(picture.shape[1::-1], size_px, strict=True)
    ]
    return picture[first[1] : first[1] + size_px[1], first[0] : first[0] + size_px[0]]
