"""The pictures and the sound of a reel of several matches: their sizes, their rates and their colours."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import ffmpeg, write_pictures

from videosummarizer import audio_track, media, video_track
from videosummarizer.extraction import joined_reel, reel_sections


def listed(path, *sections):
    return reel_sections.list_sections(path, media.probe(path), np.array(sections), path.stem, None)


def write_colors(path, width_px, height_px, rate_fps, num_frames):
    """Write frames of one colour, whose level falls by 5 from 250 per frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate_fps, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number in range(num_frames):
            image = np.full((height_px, width_px, 3), 250 - 5 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return listed(path, [0, num_frames])


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((128, 128), (slice(0, 64), slice(32, 96))),  # a square between black bars
        ((64, 16), (slice(16, 48), slice(0, 128))),  # wider: bars above and below
        ((256, 128), (slice(0, 64), slice(0, 128))),
    ],
)
def test_pictures_of_another_shape_are_fitted_between_bars(tmp_path, size, shown):
    parts = write_colors(tmp_path / "other.mp4", *size, 60, 12)
    path = tmp_path / "reel.mp4"
    reel_format = joined_reel.ReelFormat(128, 64, Fraction(30), False)
    joined_reel.render_joined_reel(parts, path, reel_format, ["one"])
    info = media.probe(path)
    assert (info.width_px, info.height_px, info.audio) == (128, 64, None)
    frames = list(video_track.read_frames(path, info, info.frame_times_sec, 128, 64))
    assert len(frames) == 6
    bars = np.ones((64, 128), bool)
    bars[shown] = False
    inner = np.zeros((64, 128), bool)
    inner[shown] = True
    for number, frame in enumerate(frames):
        assert abs(frame[inner].mean() - (250 - 10 * number)) < 4  # every other frame of 60 per second
        assert not bars.any() or frame[bars].mean() < 8


def test_frames_and_samples_of_many_short_parts_do_not_drift(tmp_path):
    write_colors(tmp_path / "a.mp4", 64, 32, 25, 10)
    parts = listed(tmp_path / "a.mp4", *[[3, 4]] * 25)
    path = tmp_path / "reel.mp4"
    joined_reel.render_joined_reel(parts, path, joined_reel.ReelFormat(64, 32, Fraction(30), True), ["x"] * 25)
    info = media.probe(path)
    assert len(info.frame_times_sec) == 30  # 25 times 0.04 s
    sound = np.concatenate(list(audio_track.read_audio(path, info, 48000)))
    assert abs(len(sound) - 48000) < 2048


def write_patches(path, colorspace, size_px=(96, 64), num_frames=5):
    """Write a red and a green half, as a given matrix encodes them and, unless it is None, states it."""
    height_px, width_px = size_px[::-1]
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    picture[:, : width_px // 2, 0] = picture[:, width_px // 2 :, 1] = 200
    return write_pictures(path, [picture] * num_frames, colorspace=colorspace, color_primaries=1, color_trc=1)


def measure_patches(path):
    """Return the red and the green half of each frame, (num_frames, 2, 3), by the matrix that is stated."""
    info = media.probe(path)
    frames = video_track.read_frames(path, info, info.frame_times_sec, 96, 64)
    return np.array([[frame[20:44, 20:28].mean((0, 1)), frame[20:44, 68:76].mean((0, 1))] for frame in frames])


@pytest.mark.parametrize(("first", "second"), [(1, 5), (5, 1), (9, 1)])
@pytest.mark.parametrize("style", [[], ["--fit", "pad", "--aspect", "1:1"]])
def test_colours_of_matches_with_different_matrices_are_right_in_one_reel(extract, first, second, style):
    labels = extract.folder / "labels"
    labels.mkdir()
    matches = []
    for number, (matrix, num_frames) in enumerate(((first, 8), (second, 5))):
        matches.append(write_patches(extract.folder / f"m{number}.mp4", matrix, num_frames=num_frames))
        (labels / f"m{number}.txt").write_text(f"0,{num_frames}\n")
    assert extract.cut(*matches, "--sections", labels, "--together", "week.mp4", *style) == 0
    with av.open(str(extract.out / "week.mp4")) as container:
        context = container.streams.video[0].codec_context
    assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (first, 1, 1, 1)
    measured = measure_patches(extract.out / "week.mp4")
    assert len(measured) == 13
    np.testing.assert_allclose(measured, np.broadcast_to([[200, 0, 0], [0, 200, 0]], measured.shape), atol=8)


def test_a_match_that_states_no_matrix_has_that_of_its_size(extract):
    """HD is BT.709 for players, although swscale takes BT.601."""
    labels = extract.folder / "labels"
    labels.mkdir()
    clip = write_patches(extract.folder / "hd.mp4", 1, (1280, 720))
    match = extract.folder / "match.ts"
    ffmpeg("-i", clip, "-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=2", match)
    with av.open(str(match)) as container:
        assert container.streams.video[0].codec_context.colorspace == 2
    (labels / "match.txt").write_text("0,5\n")
    other = write_patches(extract.folder / "other.mp4", 5, num_frames=2)
    (labels / "other.txt").write_text("0,2\n")
    for style in ([], ["--aspect", "1:1", "--fit", "pad"]):
        more = ["--together", "week.mp4", "--reel_height", "64", "--overwrite", *style]
        assert extract.cut(match, other, "--sections", labels, *more) == 0
        for name in ("week.mp4", "match_highlights.mp4", "other_highlights.mp4"):
            measured = measure_patches(extract.out / name)
            np.testing.assert_allclose(measured, np.broadcast_to([[200, 0, 0], [0, 200, 0]], measured.shape), atol=8)


def test_dark_pictures_of_another_matrix_do_not_become_darker(extract):
    labels = extract.folder / "labels"
    labels.mkdir()
    levels = np.random.default_rng(0).integers(0, 60, (8, 12, 1)).astype(np.uint8)
    picture = np.repeat(np.repeat(levels, 8, 0), 8, 1).repeat(3, 2)
    for title, matrix, num_frames in (("a", 5, 6), ("b", 1, 4)):
        tags = {"colorspace": matrix, "color_primaries": 1, "color_trc": 1}
        write_pictures(extract.folder / f"{title}.mp4", [picture] * num_frames, **tags)
        (labels / f"{title}.txt").write_text(f"0,{num_frames}\n")
    matches = [extract.folder / "a.mp4", extract.folder / "b.mp4"]
    assert extract.cut(*matches, "--sections", labels, "--together", "week.mp4") == 0
    levels = []
    for path in (matches[1], extract.out / "week.mp4"):
        with av.open(str(path)) as container:
            *_, last = (frame.reformat(format="gray").to_ndarray() for frame in container.decode(video=0))
        levels.append(last.mean())
    assert levels[1] == pytest.approx(levels[0], abs=0.5)
