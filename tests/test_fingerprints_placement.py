"""Check the transform of the frame and what is compared under it, on frames of random texture."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from videosummarizer.labelling import fingerprints, frame_transform
from videosummarizer.labelling.fingerprints import FrameTransform
from videosummarizer.labelling.thumbnails import Thumbnails

HEIGHT_PX, WIDTH_PX = 27, 48


def make_scenes(num_frames, seed=0):
    """Return (n, 108, 192) float64: different smooth random textures of twice the frame's size each way."""
    scenes = gaussian_filter(np.random.default_rng(seed).normal(size=(num_frames, 108, 192)), (0, 3, 3))
    return 128 + 45 * scenes / scenes.std()


def transformed(scenes, transform, background=10):
    """Return frames of 48 * 27: the middle half of scenes where the transform puts it, a background around it."""
    x = ((np.arange(WIDTH_PX) + 0.5) / WIDTH_PX - transform.centre_x) / transform.width
    y = ((np.arange(HEIGHT_PX) + 0.5) / HEIGHT_PX - transform.centre_y) / transform.height
    is_inside = (np.abs(y) <= 0.5)[:, None] & (np.abs(x) <= 0.5)
    rows, columns = np.meshgrid((y + 1) * 54 - 0.5, (x + 1) * 96 - 0.5, indexing="ij")
    seen = np.stack([map_coordinates(scene, [rows, columns], order=1) for scene in scenes])
    return np.clip(np.where(is_inside, seen, background), 0, 255).astype(np.uint8)


def make_pair(transform, num_frames=30):
    """Return a query and a reference of the same scenes, in different orders."""
    scenes = make_scenes(num_frames)
    order = np.random.default_rng(1).permutation(num_frames)
    query = Thumbnails(np.arange(num_frames) / 5, transformed(scenes[order], transform))
    return query, Thumbnails(np.arange(num_frames) * 2.0, transformed(scenes, FrameTransform())), order


TRANSFORMS = {
    "letterbox": FrameTransform(height=0.75),
    "crop off the centre": FrameTransform(0.46, 0.55, 1.2, 1.15),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_a_crop_a_zoom_and_bars_are_fitted_by_frames_only(transform):
    query, reference, order = make_pair(transform)
    actual = frame_transform.fit_frame_transform(query, reference)
    # To less than a pixel of the thumbnail.
    np.testing.assert_allclose([actual.centre_x, actual.width], [transform.centre_x, transform.width], atol=0.02)
    np.testing.assert_allclose([actual.centre_y, actual.height], [transform.centre_y, transform.height], atol=0.02)
    describer = fingerprints.FrameDescriber(query, reference, actual)
    similarity = describer.describe_query(query).rows @ describer.describe_reference(reference).rows.T
    assert similarity.argmax(axis=1).tolist() == order.tolist()
    assert np.median(similarity.max(axis=1)) > 0.35
    assert describer.describe_query(query).times_sec is query.times_sec


def test_blocks_that_never_change_in_either_video_are_not_compared():
    scenes = make_scenes(40)
    query = transformed(scenes, FrameTransform())
    reference = query.copy()
    query[:, :6], reference[:, 20:, 36:] = 16, 200  # a bar in the query, a scoreboard in the reference
    thumbnails = [Thumbnails(np.arange(40.0), thumbnails) for thumbnails in (query, reference)]
    describer = fingerprints.FrameDescriber(*thumbnails, FrameTransform())
    expected = np.ones((14, 24), bool)
    expected[:3] = False  # 6 of 27 lines are 3.1 of 14 blocks
    expected[11:, 18:] = False  # from 10.4 of 14 on
    assert describer.is_used.reshape(14, 24).tolist() == expected.tolist()
    assert describer.high_pass_rows(thumbnails[0], FrameTransform()).shape == (40, expected.sum())


def test_blocks_that_move_little_are_not_compared():
    scenes = transformed(make_scenes(200), FrameTransform()).astype(float)
    flat = scenes.mean(axis=0)
    calm, calmer = scenes.copy(), scenes.copy()
    calm[:, :, :12] = flat[:, :12] + 0.4 * (scenes - flat)[:, :, :12]
    calmer[:, :, :12] = flat[:, :12] + 0.15 * (scenes - flat)[:, :, :12]
    reference = Thumbnails(np.arange(200.0), scenes.astype(np.uint8))
    for thumbnails, is_left_out in ((calm, False), (calmer, True)):
        query = Thumbnails(np.arange(200.0), thumbnails.astype(np.uint8))
        for one, other in ((query, reference), (reference, query)):
            is_used = fingerprints.FrameDescriber(one, other, FrameTransform()).is_used.reshape(14, 24)
            assert is_used[:, 6:].all()
            assert (not is_used[:, :6].any()) if is_left_out else is_used[:, :6].all()


def test_where_nothing_ever_changes_all_blocks_are_compared():
    still = Thumbnails(np.arange(5.0), np.full((5, HEIGHT_PX, WIDTH_PX), 90, np.uint8))
    describer = fingerprints.FrameDescriber(still, still, FrameTransform())
    assert describer.is_used.all()
    assert not describer.describe_query(still).rows.any()


def test_what_all_frames_of_the_match_have_in_common_does_not_count():
    # One texture behind all frames: unless it is subtracted, all frames are similar.
    scenes = transformed(make_scenes(80), FrameTransform()).astype(float)
    thumbnails = np.clip(0.6 * scenes[:1] + 0.4 * scenes, 0, 255).astype(np.uint8)
    thumbnails = Thumbnails(np.arange(80.0), thumbnails)
    describer = fingerprints.FrameDescriber(thumbnails, thumbnails, FrameTransform())
    rows_of_reference = describer.normalised_rows(thumbnails, FrameTransform())
    np.testing.assert_allclose(rows_of_reference.mean(axis=0), 0, atol=1e-5)
    black = Thumbnails(np.zeros(1), np.zeros((1, HEIGHT_PX, WIDTH_PX), np.uint8))
    assert not describer.normalised_rows(black, FrameTransform()).any()


def test_rows_are_whitened_by_the_match():
    query, reference, _ = make_pair(FrameTransform(), num_frames=150)
    describer = fingerprints.FrameDescriber(query, reference, FrameTransform())
    rows_of_reference = fingerprints.local_contrast_normalise(
        fingerprints.grid_means(reference.thumbnails, FrameTransform())[0], describer.is_used
    )
    rows_of_reference = rows_of_reference - rows_of_reference.mean(axis=0)
    variances, directions = np.linalg.eigh(rows_of_reference.T @ rows_of_reference / len(rows_of_reference))
    rows = rows_of_reference @ (directions / np.sqrt(variances + variances.mean()))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= lengths + 0.5 * np.median(lengths)
    actual = describer.describe_reference(reference).rows
    np.testing.assert_allclose(actual @ actual.T, rows @ rows.T, atol=1e-3)
