"""Shots of matches with one keyframe, of rotated matches, and of videos of which nothing decodes, without audio."""

import subprocess
from types import SimpleNamespace

import av
import imageio_ffmpeg
import numpy as np
import pytest
import threadpoolctl

from videosummarizer import media
from videosummarizer.labelling import dissolves, shots, thumbnails

RATE_FPS, NUM_FRAMES = 12, 480
WIDTH_PX, HEIGHT_PX = 192, 108
CUTS = [(300, 372), (96, 156)]  # frames of the match, not in its order
CUTS_SEC = np.array(CUTS) / RATE_FPS


def match_frames():
    """Return 40 s of textures, of which each changes into the next within half a second."""
    scenes = np.random.default_rng(3).uniform(20, 235, (NUM_FRAMES // 6 + 2, 9, 16))
    return [
        np.kron(scenes[n // 6] * (1 - n % 6 / 6) + scenes[n // 6 + 1] * (n % 6 / 6), np.ones((12, 12))).astype(np.uint8)
        for n in range(NUM_FRAMES)
    ]


def write_video(path, frames, keyframe_interval):
    height_px, width_px = frames[0].shape
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "24", "g": str(keyframe_interval), "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=RATE_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def match(tmp_path_factory):
    """A match of 40 s with one keyframe."""
    path = write_video(tmp_path_factory.mktemp("match") / "match.mp4", match_frames(), 10_000)
    assert media.probe(path).keyframe_times_sec.tolist() == [0]
    return path


def rotate(path, degrees):
    """Write a copy that is displayed rotated by so many degrees counter-clockwise."""
    rotated = path.with_name("rotated.mp4")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", degrees, "-i", path, "-c", "copy"]
    subprocess.run([*map(str, command), str(rotated)], check=True)
    return rotated


def find(match, edit):
    with threadpoolctl.threadpool_limits(1):
        return shots.find_shots(match, media.probe(match), edit, media.probe(edit))


EDITS = {
    "same shape": lambda frame: frame,
    "9:16 off the middle": lambda frame: frame[:, 48:108],
    "brighter": lambda frame: frame // 2 + 100,
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS.keys())
def test_silent_shots_of_a_match_with_one_keyframe_are_found_and_it_is_decoded_once(
    match, tmp_path, monkeypatch, change
):
    frames = match_frames()
    edit = write_video(tmp_path / "edit.mp4", [change(frame) for cut in CUTS for frame in frames[slice(*cut)]], 12)
    num_reads, read = [0], thumbnails.read_thumbnails

    def counted(path, *arguments, **options):
        num_reads[0] += path == match
        return read(path, *arguments, **options)

    for module in (thumbnails, shots, dissolves):
        monkeypatch.setattr(module, "read_thumbnails", counted)
    found = [shot for shot in find(match, edit) if shot.confidence >= 0.5]
    np.testing.assert_allclose([(s.match_start_sec, s.match_end_sec) for s in found], CUTS_SEC, atol=0.15)
    assert num_reads[0] == 1


# Keyframes in seconds, the match's length, and at which rate it is read; None for its keyframes.
KEYFRAMES = {
    "usual": (np.arange(0, 120, 4), 120, None),
    "five": (np.arange(0, 40, 8), 40, None),
    "four": (np.arange(0, 40, 10), 40, 16),
    "none": ([], 40, 16),
    "many, but none after the first minute": (np.arange(0, 60, 2), 120, 16),
    "one in half a minute": (np.arange(0, 1200, 30), 1200, 16),
    "one in six hours": ([0], 21_600, 16 * 50_000 / (21_600 * 10)),
}


@pytest.mark.parametrize(("keyframes", "duration_sec", "rate_fps"), KEYFRAMES.values(), ids=KEYFRAMES.keys())
def test_a_match_is_read_evenly_where_its_keyframes_are_few_or_far_apart(
    monkeypatch, keyframes, duration_sec, rate_fps
):
    reads = []

    def read(path, **options):
        reads.append(options)
        times_sec = np.array(keyframes if "keyframes" in options else [0], float)
        return thumbnails.Thumbnails(times_sec, np.zeros((len(times_sec), 27, 48), np.uint8))

    monkeypatch.setattr(shots, "read_thumbnails", read)
    info = SimpleNamespace(
        keyframe_times_sec=np.array(keyframes, float), duration_sec=duration_sec,
        frame_times_sec=np.arange(duration_sec * 10) / 10,
    )  # fmt: skip
    if rate_fps == 16:  # of frames of 30 per second
        info.frame_times_sec = np.arange(duration_sec * 30) / 30
    _, has_keyframes = shots.read_reference("match.mp4", info)
    assert has_keyframes == (rate_fps is None)
    assert reads == [{"keyframes": True} if rate_fps is None else {"rate_fps": pytest.approx(rate_fps)}]


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_rotated_match_is_compared_as_it_is_displayed(match, tmp_path, degrees):
    (tmp_path / "a.mp4").symlink_to(match)
    rotated = rotate(tmp_path / "a.mp4", degrees)
    assert thumbnails.read_thumbnails(rotated).aspect_ratio == pytest.approx(9 / 16 if degrees == 90 else 16 / 9)
    frames = [np.rot90(frame, degrees // 90) for frame in match_frames()]
    edit = write_video(tmp_path / "edit.mp4", [frame for cut in CUTS for frame in frames[slice(*cut)]], 12)
    found = [shot for shot in find(rotated, edit) if shot.confidence >= 0.5]
    np.testing.assert_allclose([(s.match_start_sec, s.match_end_sec) for s in found], CUTS_SEC, atol=0.15)


def test_a_video_of_which_no_frame_decodes_is_named(match, tmp_path):
    zeros = tmp_path / "zeros.mp4"
    with media.open_media(match) as container:
        data = bytearray(match.read_bytes())
        for packet in container.demux(video=0):
            data[packet.pos or 0 : (packet.pos or 0) + packet.size] = bytes(packet.size)
    zeros.write_bytes(data)
    for pair in ((match, zeros), (zeros, match)):
        with pytest.raises(media.MediaError, match=r"zeros\.mp4: received a video stream of which no frame decodes"):
            find(*pair)
