"""Where the match's picture lies in the edit's, and what is compared then, on pictures of random texture."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from videosummarizer.labelling import fingerprints
from videosummarizer.labelling.fingerprints import FrameTransform, Thumbnails

HEIGHT_PX, WIDTH_PX = 27, 48


def make_scenes(num_pictures, seed=0):
    """(n, 108, 192) float64: smooth random textures, none like another, of twice the picture's size each way."""
    scenes = gaussian_filter(np.random.default_rng(seed).normal(size=(num_pictures, 108, 192)), (0, 3, 3))
    return 128 + 45 * scenes / scenes.std()


def placed(scenes, placement, background=10):
    """What is seen of scenes' middle half, a picture of 48 * 27, where it lies in the edit's as placed; outside of it a
    background."""
    x = ((np.arange(WIDTH_PX) + 0.5) / WIDTH_PX - placement.centre_x) / placement.width
    y = ((np.arange(HEIGHT_PX) + 0.5) / HEIGHT_PX - placement.centre_y) / placement.height
    is_inside = (np.abs(y) <= 0.5)[:, None] & (np.abs(x) <= 0.5)
    rows, columns = np.meshgrid((y + 1) * 54 - 0.5, (x + 1) * 96 - 0.5, indexing="ij")
    seen = np.stack([map_coordinates(scene, [rows, columns], order=1) for scene in scenes])
    return np.clip(np.where(is_inside, seen, background), 0, 255).astype(np.uint8)


def make_pair(placement, num_pictures=30):
    """An edit and a match of the same scenes, in different orders."""
    scenes = make_scenes(num_pictures)
    order = np.random.default_rng(1).permutation(num_pictures)
    edit = Thumbnails(np.arange(num_pictures) / 5, placed(scenes[order], placement))
    return edit, Thumbnails(np.arange(num_pictures) * 2.0, placed(scenes, FrameTransform())), order


PLACEMENTS = {
    "letterbox": FrameTransform(height=0.75),
    "crop off the centre": FrameTransform(0.46, 0.55, 1.2, 1.15),
}


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS.keys())
def test_a_crop_a_zoom_and_bars_are_found_in_the_picture_alone(placement):
    edit, match, order = make_pair(placement)
    found = fingerprints.fit_frame_transform(edit, match)
    # To less than a pixel of the thumbnail.
    np.testing.assert_allclose([found.centre_x, found.width], [placement.centre_x, placement.width], atol=0.02)
    np.testing.assert_allclose([found.centre_y, found.height], [placement.centre_y, placement.height], atol=0.02)
    comparer = fingerprints.FrameDescriber(edit, match, found)
    likeness = comparer.edit_rows(edit).rows @ comparer.match_rows(match).rows.T
    assert likeness.argmax(axis=1).tolist() == order.tolist()
    assert np.median(likeness.max(axis=1)) > 0.35
    assert comparer.edit_rows(edit).times_sec is edit.times_sec


def test_blocks_that_stand_still_in_either_are_not_compared():
    scenes = make_scenes(40)
    edit = placed(scenes, FrameTransform())
    match = edit.copy()
    edit[:, :6], match[:, 20:, 36:] = 16, 200  # a bar above the edit, a scoreboard in the match
    pictures = [Thumbnails(np.arange(40.0), thumbnails) for thumbnails in (edit, match)]
    comparer = fingerprints.FrameDescriber(*pictures, FrameTransform())
    expected = np.ones((14, 24), bool)
    expected[:3] = False  # 6 of 27 lines are 3.1 of 14 blocks
    expected[11:, 18:] = False  # from 10.4 of 14 on
    assert comparer.is_used.reshape(14, 24).tolist() == expected.tolist()
    assert comparer.relief_of(pictures[0], FrameTransform()).shape == (40, expected.sum())


def test_blocks_that_move_little_are_not_compared():
    scenes = placed(make_scenes(200), FrameTransform()).astype(float)
    flat = scenes.mean(axis=0)
    calm, calmer = scenes.copy(), scenes.copy()
    calm[:, :, :12] = flat[:, :12] + 0.4 * (scenes - flat)[:, :, :12]
    calmer[:, :, :12] = flat[:, :12] + 0.15 * (scenes - flat)[:, :, :12]
    match = Thumbnails(np.arange(200.0), scenes.astype(np.uint8))
    for thumbnails, is_left_out in ((calm, False), (calmer, True)):
        edit = Thumbnails(np.arange(200.0), thumbnails.astype(np.uint8))
        for one, other in ((edit, match), (match, edit)):
            is_used = fingerprints.FrameDescriber(one, other, FrameTransform()).is_used.reshape(14, 24)
            assert is_used[:, 6:].all()
            assert (not is_used[:, :6].any()) if is_left_out else is_used[:, :6].all()


def test_where_everything_stands_still_all_of_it_is_compared():
    still = Thumbnails(np.arange(5.0), np.full((5, HEIGHT_PX, WIDTH_PX), 90, np.uint8))
    comparer = fingerprints.FrameDescriber(still, still, FrameTransform())
    assert comparer.is_used.all()
    assert not comparer.edit_rows(still).rows.any()


def test_what_all_of_the_match_shares_counts_for_nothing():
    # One texture behind all pictures: without it taken off, all pictures were alike.
    scenes = placed(make_scenes(80), FrameTransform()).astype(float)
    thumbnails = np.clip(0.6 * scenes[:1] + 0.4 * scenes, 0, 255).astype(np.uint8)
    pictures = Thumbnails(np.arange(80.0), thumbnails)
    comparer = fingerprints.FrameDescriber(pictures, pictures, FrameTransform())
    details = comparer.details_of(pictures, FrameTransform())
    np.testing.assert_allclose(details.mean(axis=0), 0, atol=1e-5)
    black = Thumbnails(np.zeros(1), np.zeros((1, HEIGHT_PX, WIDTH_PX), np.uint8))
    assert not comparer.details_of(black, FrameTransform()).any()


def test_rows_are_whitened_by_the_match():
    edit, match, _ = make_pair(FrameTransform(), num_pictures=150)
    comparer = fingerprints.FrameDescriber(edit, match, FrameTransform())
    details = fingerprints.local_contrast_normalise(
        fingerprints.block_means(match.thumbnails, FrameTransform())[0], comparer.is_used
    )
    details = details - details.mean(axis=0)
    variances, directions = np.linalg.eigh(details.T @ details / len(details))
    rows = details @ (directions / np.sqrt(variances + variances.mean()))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= lengths + 0.5 * np.median(lengths)
    found = comparer.match_rows(match).rows
    np.testing.assert_allclose(found @ found.T, rows @ rows.T, atol=1e-3)
