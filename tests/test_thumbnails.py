"""Check thumbnails of numbered frames, and cuts between frames of known grey levels."""

import numpy as np
import pytest
from clips import read_number, write_clip

from videosummarizer.labelling.thumbnails import (
    Thumbnails,
    find_cuts,
    join_thumbnails,
    read_thumbnails,
    read_thumbnails_near,
    shown_at,
)

HEIGHT_PX, WIDTH_PX = 27, 48


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


def test_thumbnails_between_two_times_include_the_first_and_not_the_last():
    thumbnails = numbered_thumbnails([0.0, 0.5, 1.0, 1.5, 2.0])
    assert levels_of(thumbnails.between(0.5, 1.5)) == [2, 3]
    assert levels_of(thumbnails.between(0.4, 9)) == [2, 3, 4, 5]
    assert levels_of(thumbnails.between(3, 4)) == []


def test_joined_thumbnails_are_in_order_without_duplicates():
    parts = [numbered_thumbnails([3.0, 4.0]), numbered_thumbnails([]), numbered_thumbnails([1.0, 3.5, 4.0])]
    joined = join_thumbnails(parts)
    assert joined.times_sec.tolist() == [1.0, 3.0, 3.5, 4.0]
    assert levels_of(joined) == [1, 1, 2, 2]
    nothing = join_thumbnails([])
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
    assert numbers_and_times(read_thumbnails(clip)) == [*range(90)]


def test_only_keyframes_are_read(clip):
    assert numbers_and_times(read_thumbnails(clip, keyframes=True)) == [0, 20, 40, 60, 80]


def test_frames_are_read_from_the_keyframe_before_the_start_up_to_the_end(clip):
    assert numbers_and_times(read_thumbnails(clip, 1.5, 2.1)) == [*range(40, 63)]
    assert numbers_and_times(read_thumbnails(clip, 0, 0.5)) == [*range(15)]
    assert numbers_and_times(read_thumbnails(clip, 0.0, 0.5001)) == [*range(16)]


def test_frames_are_read_at_most_at_a_rate(clip):
    every = numbers_and_times(read_thumbnails(clip, rate_fps=5))
    assert np.diff(every).min() >= 6
    assert np.diff(every).max() <= 8
    # Only frames that others refer to.
    referred = numbers_and_times(read_thumbnails(clip, rate_fps=30))
    assert 45 < len(referred) < 75
    assert set(every) <= set(referred)


def test_ten_frames_per_second_are_three_frames_apart(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 31, options={"crf": "10", "bf": "0"})
    assert numbers_and_times(read_thumbnails(path, rate_fps=10)) == [*range(0, 31, 3)]


def test_frames_of_overlapping_regions_are_read_once(clip):
    thumbnails = read_thumbnails_near(clip, [(2.1, 2.2), (-0.5, 0.1), (2.15, 2.4)], np.inf)
    assert numbers_and_times(thumbnails) == [0, 1, 2, *range(60, 72)]


def test_the_frame_shown_is_the_last_that_is_not_later():
    times_sec = np.array([0.5, 0.6, 0.9])
    wanted_sec = np.array([0.0, 0.5 - 1e-5, 0.5, 0.6 - 5e-7, 0.6 - 1e-5, 0.85, 0.9, 50.0])
    assert shown_at(times_sec, wanted_sec).tolist() == [0, 0, 0, 1, 0, 1, 2, 2]


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
    np.testing.assert_allclose(find_cuts(thumbnails), cuts_sec)


def test_a_change_is_the_mean_over_the_frame_in_either_direction():
    # The first half of the frame goes from 0 to 255, the other the other way; no overflow, no cancelling.
    thumbnails = np.full((21, HEIGHT_PX, WIDTH_PX), 255, np.uint8)
    thumbnails[:10, :, :24], thumbnails[10:, :, 24:] = 0, 0
    np.testing.assert_allclose(find_cuts(Thumbnails(np.arange(21) / 25, thumbnails)), [0.4])


def test_without_frames_there_is_no_cut():
    empty = Thumbnails(np.zeros(0), np.zeros((0, HEIGHT_PX, WIDTH_PX), np.uint8))
    assert find_cuts(empty).tolist() == []
