"""Check shots of a match longer than 64 s, cut off any grid, with only audio or only video: small frames, low rates."""

from fractions import Fraction

import av
import numpy as np
import pytest
from scipy.ndimage import zoom

from videosummarizer import media
from videosummarizer.labelling.shots import find_shots

MATCH_SEC, MATCH_FPS, EDIT_FPS, SAMPLE_RATE_HZ = 170, 12, 25, 8000
WIDTH_PX, HEIGHT_PX = 96, 54
# Of the match: off any grid, not in its order, one after its 64th second.
CUTS_SEC = [(150.21, 157.44), (20.37, 26.91), (71.13, 78.83)]


def match_frame(time_sec):
    """Return (54, 96) float64: a texture that changes into another every 0.8 s."""
    scene, phase = divmod(time_sec / 0.8, 1)
    one, other = (np.random.default_rng(int(scene) + i).uniform(20, 235, (7, 12)) for i in (0, 1))
    return zoom((1 - phase) * one + phase * other, (HEIGHT_PX / 7, WIDTH_PX / 12), order=1)


@pytest.fixture(scope="module")
def match_audio():
    """Return audio of different notes of 0.1 to 0.4 s."""
    random = np.random.default_rng(1)
    notes = []
    while sum(map(len, notes)) < MATCH_SEC * SAMPLE_RATE_HZ:
        times_sec = np.arange(int(random.uniform(0.1, 0.4) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        tones = [np.sin(2 * np.pi * frequency_hz * times_sec) for frequency_hz in random.uniform(150, 3500, 4)]
        notes.append(np.sum(tones, axis=0) * random.uniform(0.05, 0.2))
    return np.concatenate(notes)[: MATCH_SEC * SAMPLE_RATE_HZ].astype(np.float32)


def write_video(path, frames, rate_fps, audio, keyframe_interval):
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "24", "g": str(keyframe_interval)}
        stream = container.add_stream("libx264", rate=rate_fps, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream_of_audio = None if audio is None else container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for frame in frames:
            grey = np.clip(frame, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
        for first in range(0, 0 if audio is None else len(audio), 1024):
            block = av.AudioFrame.from_ndarray(audio[None, first : first + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE_HZ, first, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(stream_of_audio.encode(block))
        if stream_of_audio is not None:
            container.mux(stream_of_audio.encode(None))
    return path


@pytest.fixture(scope="module")
def match(match_audio, tmp_path_factory):
    frames = (match_frame(number / MATCH_FPS) for number in range(MATCH_SEC * MATCH_FPS))
    return write_video(tmp_path_factory.mktemp("match") / "match.mp4", frames, MATCH_FPS, match_audio, 12)


def edit_times_sec(rate_hz):
    """Return the match's time at each frame or sample of the highlight video."""
    times_sec = np.arange(int(sum(end - start for start, end in CUTS_SEC) * rate_hz)) / rate_hz
    lengths_sec = [end - start for start, end in CUTS_SEC]
    starts_sec = np.cumsum([0, *lengths_sec[:-1]])
    shot = np.searchsorted(starts_sec, times_sec + 1e-9, side="right") - 1
    return times_sec - starts_sec[shot] + np.array([start for start, _ in CUTS_SEC])[shot]


def boxed(frame):
    """Zoom a frame by 1.15 about its centre, then put bars of an eighth above and below."""
    zoomed = zoom(frame[4:-4, 6:-6], (54 / 46, 96 / 84), order=1)
    letterbox = np.full((HEIGHT_PX, WIDTH_PX), 16.0)
    letterbox[7:47] = zoom(zoomed, (40 / 54, 1), order=1)
    return letterbox


EDITS = {
    "audio only": (lambda frame: 0 * frame, 1.0, False),
    "video only": (lambda frame: frame, 0.0, False),
    "only zoomed video between bars": (boxed, 0.0, False),
    "music over it": (lambda frame: frame, 0.3, True),
}


@pytest.mark.parametrize(("change", "volume", "has_music"), EDITS.values(), ids=EDITS.keys())
def test_shots_are_found_anywhere_with_their_boundaries_at_the_cuts(
    match, match_audio, tmp_path, change, volume, has_music
):
    numbers = np.floor(edit_times_sec(EDIT_FPS) * MATCH_FPS + 1e-6)
    frames = (change(match_frame(number / MATCH_FPS)) for number in numbers)
    audio = volume * match_audio[(edit_times_sec(SAMPLE_RATE_HZ) * SAMPLE_RATE_HZ + 0.5).astype(int)]
    if has_music:
        times_sec = np.arange(len(audio)) / SAMPLE_RATE_HZ
        audio += 0.05 * np.sin(2 * np.pi * 330 * times_sec) * (1 + np.sin(2 * np.pi * 3 * times_sec))
    audio = audio.astype(np.float32) if volume else None
    edit = write_video(tmp_path / "edit.mp4", frames, EDIT_FPS, audio, 50)
    shots = find_shots(match, media.probe(match), edit, media.probe(edit))
    shows_frames = change(np.ones((HEIGHT_PX, WIDTH_PX))).any()
    predicted = [shot for shot in shots if shot.confidence >= 0.5]
    offsets_sec = [shot.match_start_sec - shot.edit_start_sec for shot in predicted]
    assert len(predicted) == 3
    # Video locates a shot of this slow texture less exactly than audio, but its boundaries are still at the cuts.
    expected_sec = [150.21, 20.37 - 7.23, 71.13 - 13.77]
    np.testing.assert_allclose(offsets_sec, expected_sec, atol=0.02 if volume else 0.2)
    if shows_frames:
        # The first frames, 25 per second, after 7.23 and 13.77 s.
        np.testing.assert_allclose([shot.edit_start_sec for shot in predicted], [0, 7.24, 13.8], atol=1e-3)
        np.testing.assert_allclose([shot.edit_end_sec for shot in predicted], [7.24, 13.8, 21.44], atol=1e-3)
    else:
        np.testing.assert_allclose([(s.match_start_sec, s.match_end_sec) for s in predicted], CUTS_SEC, atol=0.1)
