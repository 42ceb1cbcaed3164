"""The fit of crop, zoom and letterbox between highlight videos and matches of another shape."""

import numpy as np
import pytest
import threadpoolctl

from videosummarizer.labelling.fingerprints import FrameTransform
from videosummarizer.labelling.frame_transform import fit_frame_transform, reframed_transforms
from videosummarizer.labelling.thumbnails import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Thumbnails

WIDTH_PX, HEIGHT_PX = 256, 144


def scaled(frame, width_px, height_px):
    """Return a frame (H, W) in another size, by the mean over its pixels."""
    rows = np.arange(height_px * 8) * frame.shape[0] // (height_px * 8)
    columns = np.arange(width_px * 8) * frame.shape[1] // (width_px * 8)
    return frame[np.ix_(rows, columns)].reshape(height_px, 8, width_px, 8).mean(axis=(1, 3))


def thumbnails_of(frames):
    small = [scaled(frame, THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX) for frame in frames]
    return Thumbnails(np.arange(len(frames)) / 5, np.array(small, np.uint8), frames[0].shape[1] / frames[0].shape[0])


def match_frames(num_frames, width_px=WIDTH_PX, height_px=HEIGHT_PX):
    """Return textures, each another."""
    random = np.random.default_rng(0)
    textures = random.uniform(20, 235, (num_frames, height_px // 8, width_px // 8))
    return [np.kron(texture, np.ones((8, 8))) for texture in textures]


def crop(left_px, top_px, width_px, height_px):
    return lambda frame: frame[top_px : top_px + height_px, left_px : left_px + width_px]


def between_bars(width_px, height_px):
    """Return a function that puts a frame into the middle of a larger one, over a blurred copy of itself."""

    def put(frame):
        edit = scaled(scaled(frame, 2, 2), width_px, height_px)
        factor = min(width_px / frame.shape[1], height_px / frame.shape[0])
        inside = scaled(frame, round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        top, left = (height_px - inside.shape[0]) // 2, (width_px - inside.shape[1]) // 2
        edit[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return edit

    return put


# What editing does to a match of 256 x 144, and where the match then lies.
EDITS = {
    "same shape": (lambda frame: frame, FrameTransform()),
    "1:1 from the middle": (crop(56, 0, 144, 144), FrameTransform(width=256 / 144)),
    "1:1 from the right": (crop(112, 0, 144, 144), FrameTransform(centre_x=16 / 144, width=256 / 144)),
    "9:16 from the middle": (crop(88, 0, 80, 144), FrameTransform(width=256 / 80)),
    "9:16 from the left": (crop(20, 0, 80, 144), FrameTransform(centre_x=108 / 80, width=256 / 80)),
    "9:16 and enlarged": (crop(96, 16, 64, 112), FrameTransform(width=4, height=144 / 112)),
    "1:1 between bars": (between_bars(144, 144), FrameTransform(height=81 / 144)),
    "9:16 between blurred copies": (between_bars(108, 192), FrameTransform(height=61 / 192)),
}


def assert_fitted(frames, edit, expected):
    """Check the fit of a highlight video of the middle of a match, to 5 % of the larger side."""
    with threadpoolctl.threadpool_limits(1):
        fitted = fit_frame_transform(thumbnails_of([edit(frame) for frame in frames[10:25]]), thumbnails_of(frames))
    found, true = (np.array([*vars(transform).values()]) for transform in (fitted, expected))
    np.testing.assert_allclose(found, true, atol=0.05 * max(expected.width, expected.height))


@pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS.keys())
def test_a_highlight_video_of_another_shape_is_fitted(edit, expected):
    assert_fitted(match_frames(30), edit, expected)


PORTRAIT_EDITS = {
    "16:9 crop": (crop(0, 20, 144, 80), FrameTransform(centre_y=108 / 80, height=256 / 80)),
    "16:9 between bars": (between_bars(256, 144), FrameTransform(width=81 / 256)),
}


@pytest.mark.parametrize(("edit", "expected"), PORTRAIT_EDITS.values(), ids=PORTRAIT_EDITS.keys())
def test_a_portrait_match_is_fitted_into_a_wide_highlight_video(edit, expected):
    assert_fitted(match_frames(30, HEIGHT_PX, WIDTH_PX), edit, expected)


def test_transforms_of_another_shape_do_not_distort_and_leave_no_side_empty():
    assert reframed_transforms(1.0) == reframed_transforms(1.05) == []
    for ratio in (16 / 9, 9 / 16):
        transforms = reframed_transforms(ratio)
        assert {round(t.width / t.height, 6) for t in transforms} == {round(ratio, 6)}
        assert FrameTransform(width=max(ratio, 1), height=max(1 / ratio, 1)) in transforms
        assert FrameTransform(width=min(ratio, 1), height=min(1 / ratio, 1)) in transforms
        wide = [t for t in transforms if t.width > 1 and ratio > 1]
        assert bool(wide) == (ratio > 1)
        assert all(t.centre_x - t.width / 2 <= 1e-9 and t.centre_x + t.width / 2 >= 1 - 1e-9 for t in wide)
