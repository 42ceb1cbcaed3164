"""The path of the crop: it follows what moves, smoothly, stays where nothing moves, and jumps with the shot."""

import numpy as np
import pytest
from clips import write_pictures

from videosummarizer import media
from videosummarizer.extraction import crop_path
from videosummarizer.extraction.crop_path import find_crop_path, smooth_path, window_centre
from videosummarizer.extraction.section_frames import SectionFrames

WIDTH_PX, HEIGHT_PX, SIDE_PX = 192, 108, 12
WINDOW = (HEIGHT_PX * 9 / 16) / WIDTH_PX  # of 9:16 in 16:9, 0.316
RATE_FPS = 30


def backdrop(seed, width_px=WIDTH_PX):
    """(108, width, 3) uint8: a texture of blocks."""
    blocks = np.random.default_rng(seed).integers(30, 160, (HEIGHT_PX // 12, width_px // 12), np.uint8)
    return np.repeat(np.kron(blocks, np.ones((12, 12), np.uint8))[..., None], 3, axis=2)


def square_at(centre, seed=0):
    """The texture with a white square, whose centre is at a fraction of the width."""
    picture = backdrop(seed)
    left = round(centre * WIDTH_PX - SIDE_PX / 2)
    picture[48 : 48 + SIDE_PX, left : left + SIDE_PX] = 255
    return picture


def find(path, pictures, window=WINDOW, is_vertical=False, rate_fps=RATE_FPS):
    """(n,) the centres of the crop of all frames of a clip"""
    write_pictures(path, pictures, rate_fps)
    info = media.probe(path)
    with media.open_media(path) as container:
        frames = SectionFrames(container, info).read(0, 10**9)
        found = find_crop_path(frames, rate_fps, window, is_vertical)
    assert len(found.centres) == len(info.frame_times_sec)
    assert found.centres.min() > window / 2 - 1e-9
    assert found.centres.max() < 1 - window / 2 + 1e-9
    return found.centres


def swing(num_frames, period_sec=5, amplitude=0.4, rate_fps=RATE_FPS):
    return 0.5 - amplitude * np.cos(2 * np.pi * np.arange(num_frames) / rate_fps / period_sec)


@pytest.mark.parametrize("rate_fps", [15, 30, 60])
def test_a_moving_square_stays_in_the_picture(tmp_path, rate_fps):
    wanted = swing(6 * rate_fps, rate_fps=rate_fps)
    centres = find(tmp_path / "a.mp4", map(square_at, wanted), rate_fps=rate_fps)
    assert np.abs(centres - wanted).max() + SIDE_PX / 2 / WIDTH_PX < WINDOW / 2  # all of it, in every frame
    speed = np.abs(np.diff(centres)) * rate_fps
    assert speed.max() < 1.1 * np.abs(np.diff(wanted)).max() * rate_fps
    assert np.abs(np.diff(centres, 2)).max() * rate_fps**2 < 1.5  # widths per square second: no jerk


def test_a_square_that_moves_up_and_down_stays_in_the_picture(tmp_path):
    wanted = swing(5 * RATE_FPS)
    pictures = (np.transpose(square_at(centre), (1, 0, 2)) for centre in wanted)
    centres = find(tmp_path / "a.mp4", pictures, is_vertical=True)
    assert np.abs(centres - wanted).max() + SIDE_PX / 2 / WIDTH_PX < WINDOW / 2


def test_a_still_picture_is_cropped_in_the_centre(tmp_path):
    assert find(tmp_path / "a.mp4", [square_at(0.2)] * 60) == pytest.approx(np.full(60, 0.5), abs=1e-6)


def test_noise_is_no_motion(tmp_path):
    random = np.random.default_rng(4)
    pictures = (
        np.clip(square_at(0.2) + random.normal(0, 2, (HEIGHT_PX, WIDTH_PX, 1)), 0, 255).astype(np.uint8)
        for _ in range(45)
    )
    assert find(tmp_path / "a.mp4", pictures) == pytest.approx(np.full(45, 0.5), abs=0.01)


def test_where_the_motion_ends_the_crop_stays(tmp_path):
    wanted = np.concatenate([np.linspace(0.3, 0.8, 60), np.full(60, 0.8)])
    centres = find(tmp_path / "a.mp4", map(square_at, wanted))
    assert np.abs(centres[60:] - 0.8).max() < WINDOW / 2 - SIDE_PX / 2 / WIDTH_PX


def test_a_camera_that_pans_is_cropped_in_the_centre_also_where_one_side_has_more_contrast(tmp_path):
    wide = np.random.default_rng(5).integers(0, 255, (9, 60), np.uint8)
    wide = np.repeat(np.kron(wide, np.ones((12, 12), np.uint8))[..., None], 3, axis=2)
    contrast = np.where(np.arange(WIDTH_PX) < 120, 0.4, 1.0)[:, np.newaxis]
    pictures = ((wide[:, 6 * i : 6 * i + WIDTH_PX] * contrast).astype(np.uint8) for i in range(80))
    centres = find(tmp_path / "a.mp4", pictures)
    assert np.abs(centres - 0.5).max() < 0.12


def test_the_crop_jumps_with_the_shot_to_the_frame(tmp_path):
    pictures = [square_at(0.2 + 0.001 * (i % 20), seed=1) for i in range(50)]
    pictures += [square_at(0.8 + 0.001 * (i % 20), seed=2) for i in range(40)]
    centres = find(tmp_path / "a.mp4", pictures)
    jumps = np.flatnonzero(np.abs(np.diff(centres)) > 0.2) + 1
    assert jumps.tolist() == [50]
    assert centres[:50] == pytest.approx(np.full(50, 0.21), abs=0.05)
    assert centres[50:] == pytest.approx(np.full(40, 0.81), abs=0.05)


def test_a_flash_is_no_new_shot(tmp_path):
    wanted = np.concatenate([np.linspace(0.3, 0.7, 40), np.linspace(0.7, 0.3, 40)])
    pictures = [square_at(centre) for centre in wanted]
    undisturbed = find(tmp_path / "a.mp4", pictures)
    pictures[30] = np.full_like(pictures[30], 250)
    centres = find(tmp_path / "b.mp4", pictures)
    assert np.abs(np.diff(centres)).max() < 0.02
    assert np.abs(centres - undisturbed).max() < 0.05


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 200])
def test_the_path_minimises_the_stated_formula(num_frames):
    random = np.random.default_rng(num_frames)
    wanted, weights, centre_weights = random.random((3, num_frames))
    first, second = (np.diff(np.eye(num_frames), order, axis=0) for order in (1, 2))
    stay, smooth = (crop_path.STAY_SEC * RATE_FPS) ** 2, (crop_path.SMOOTH_SEC * RATE_FPS) ** 4
    matrix = np.diag(weights + centre_weights + crop_path.CENTRE)
    matrix += stay * first.T @ first + smooth * second.T @ second
    expected = np.linalg.solve(matrix, weights * wanted + (centre_weights + crop_path.CENTRE) / 2)
    assert smooth_path(wanted, weights, centre_weights, RATE_FPS) == pytest.approx(expected, abs=1e-9)


def test_the_window_is_centred_on_what_moves_most():
    motion = np.zeros(96)
    motion[70:74], motion[10:12] = 1, 1
    assert window_centre(motion, 0.3) == pytest.approx(72 / 96, abs=0.01)
    assert window_centre(np.zeros(96), 0.3) == 0.5


def test_without_a_frame_the_crop_is_in_the_centre():
    assert find_crop_path([], 30, 0.3, False).at(7) == 0.5
