"""Sampled frames against moviepy, FFmpeg and what the clip's own making says."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from clips import FRAME_RATE_FPS, ffmpeg, read_number, tone, write_clip, write_exact_audio
from moviepy.editor import VideoFileClip

from videosummarizer import media, problems, video_track

SLOWING_TICKS = np.cumsum([0] + [1] * 30 + [2] * 30 + [3] * 20).tolist()
RAGGED_TICKS = np.cumsum([0] + [1, 3, 1, 1, 7, 2, 2, 5, 1, 1, 1, 20, 1, 2, 3] * 3).tolist()


def sampled_numbers(path, times_sec):
    return [read_number(frame) for frame in video_track.read_frames(path, media.probe(path), times_sec, 40, 16)]


def shown_number(ticks, time_sec):
    """The last frame that is not later, by the rule of DESIGN.md, from the clip's making."""
    return max(number for number, tick in enumerate(ticks) if tick <= time_sec * FRAME_RATE_FPS + 1e-6)


@pytest.mark.parametrize("start_sec", [0, 1.5])
@pytest.mark.parametrize("ticks", [list(range(90)), SLOWING_TICKS], ids=["constant", "variable"])
@pytest.mark.parametrize("rate_fps", [3, 5, 7])
def test_frames_equal_those_of_moviepy(tmp_path, ticks, start_sec, rate_fps):
    path = write_clip(tmp_path / "clip.mp4", ticks=ticks, start_sec=start_sec)
    times_sec = np.arange(int(media.probe(path).duration_sec * rate_fps)) / rate_fps
    with VideoFileClip(str(path)) as clip:
        expected = [read_number(clip.get_frame(time_sec)) for time_sec in times_sec]
    assert sampled_numbers(path, times_sec) == expected
    assert len(set(expected)) > 5


@pytest.mark.parametrize("start_sec", [0, 1.5])
@pytest.mark.parametrize("rate_fps", [0.5, 7, 29.97, 30, 60])
def test_frames_are_the_last_not_later_at_any_frame_rate(tmp_path, start_sec, rate_fps):
    path = write_clip(tmp_path / "clip.mp4", ticks=RAGGED_TICKS, start_sec=start_sec)
    times_sec = np.arange(int(media.probe(path).duration_sec * rate_fps)) / rate_fps
    assert sampled_numbers(path, times_sec) == [shown_number(RAGGED_TICKS, time_sec) for time_sec in times_sec]


def test_times_before_the_first_and_after_the_last_frame(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=30)
    assert sampled_numbers(path, np.array([-1.0, 0.0, 0.96, 5.0, 9.0])) == [0, 0, 28, 29, 29]


def test_no_times_give_no_frames(tmp_path):
    assert sampled_numbers(write_clip(tmp_path / "clip.mp4", num_frames=3), np.array([])) == []


@pytest.mark.parametrize("start_sec", [0, 0.5, 3.7])
def test_a_time_a_rounding_error_before_a_frame_shows_that_frame(tmp_path, start_sec):
    # B pictures, of which those that are not asked for are left out: a wrong neighbour is not even decoded.
    path = write_clip(tmp_path / "clip.mp4", num_frames=90, start_sec=start_sec)
    numbers = np.array([1, 3, 21, 22, 47, 63, 89])
    for error_sec in (-5e-7, -1e-12, 0, 1e-12, 5e-7):
        assert sampled_numbers(path, numbers / FRAME_RATE_FPS + error_sec) == numbers.tolist()
    for error_sec in (-2e-6, -0.001, -0.033):
        assert sampled_numbers(path, numbers / FRAME_RATE_FPS + error_sec) == (numbers - 1).tolist()
    for error_sec in (2e-6, 0.001, 0.033):
        assert sampled_numbers(path, numbers / FRAME_RATE_FPS + error_sec) == numbers.tolist()


def test_times_as_sections_have_them_after_float_arithmetic(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=120)
    times_sec = np.array([0.1 * 3, 3 * 0.7, 0.7 + 0.7 + 0.7, 1.1 * 3, 3.6 - 0.2])
    assert (times_sec != [0.3, 2.1, 2.1, 3.3, 3.4]).any()
    assert sampled_numbers(path, times_sec) == [9, 63, 63, 99, 102]


@pytest.mark.parametrize("late_sec", [0.4, 2.0])
def test_a_picture_that_begins_after_the_audio_is_shown_from_its_first_frame_on(tmp_path, late_sec):
    # Variable frame rate, and time 0 is the sound's: what is asked for before shows the first frame.
    sound = np.ones(8000 * 6, np.float32)
    first_tick = round(late_sec * FRAME_RATE_FPS) + 30
    ticks = [first_tick + tick for tick in RAGGED_TICKS]
    path = write_exact_audio(tmp_path / "clip.mkv", [(1.0, sound)], frame_ticks=ticks)
    info = media.probe(path)
    assert info.frame_times_sec[0] == pytest.approx(late_sec, abs=1e-9)
    times_sec = np.arange(0, 5.5, 0.07)
    shown_from = [tick - 30 for tick in ticks]
    expected = [
        0 if time_sec < late_sec else max(n for n, tick in enumerate(shown_from) if tick - 0.02 <= time_sec * 30)
        for time_sec in times_sec
    ]
    assert sampled_numbers(path, times_sec) == expected


def test_frames_are_scaled_once_however_often_they_are_asked_for(tmp_path, monkeypatch):
    scaled, original = [], video_track.Scaler.__call__
    monkeypatch.setattr(
        video_track.Scaler, "__call__", lambda self, frame: scaled.append(frame.pts) or original(self, frame)
    )
    path = write_clip(tmp_path / "clip.mp4", num_frames=30)
    times_sec = np.array([0, 0.01, 0.02, 0.5, 0.51, 0.96, 0.98, 5])
    assert sampled_numbers(path, times_sec) == [0, 0, 0, 15, 15, 28, 29, 29]
    assert len(scaled) == 4


def test_the_decoder_takes_as_many_threads_as_it_is_given(tmp_path, monkeypatch):
    streams, original = [], media.video_stream
    monkeypatch.setattr(media, "video_stream", lambda *of_file: streams.append(original(*of_file)) or streams[-1])
    path = write_clip(tmp_path / "clip.mp4", num_frames=30)
    info = media.probe(path)
    frames = video_track.read_frames(path, info, np.array([0.0, 0.5]), 40, 16, num_threads=5)
    assert read_number(next(frames)) == 0
    context = streams[-1].codec_context
    assert (context.thread_count, context.thread_type.name) == (5, "AUTO")  # FFmpeg itself takes one more than cores
    assert [read_number(frame) for frame in frames] == [15]


def test_the_timestamps_of_the_frames_that_are_shown():
    info = SimpleNamespace(frame_times_sec=np.array([0.1, 0.2, 1 / 3, 1.5, 40_000.7]))
    for times_sec, ticks in (
        ([0.0], {9000}),
        ([0.0, 0.1, 0.1999], {9000}),
        ([0.2, 0.3, 0.33333], {18_000}),
        ([1 / 3 - 1e-9, 1.4], {30_000}),
        ([0.25, 1.5, 2.0], {18_000, 135_000}),
        ([40_000.7 - 1e-9, 99_999.0], {3_600_063_000}),
    ):
        assert video_track.shown_pts(info, np.array(times_sec), 0, 1 / 90_000) == ticks
        later = {tick + 180_000 for tick in ticks}
        assert video_track.shown_pts(info, np.array(times_sec), 2, 1 / 90_000) == later


def test_frames_scale_by_averaging(tmp_path):
    # Point sampling would return black or white; the average of the bars of 0b0101010101 is grey.
    path = write_clip(tmp_path / "clip.mp4", num_frames=0b0101010101 + 1, options={"crf": "0"})
    (frame,) = video_track.read_frames(path, media.probe(path), np.array([0b0101010101 / FRAME_RATE_FPS]), 1, 1)
    assert frame.shape == (1, 1, 3)
    assert frame.dtype == np.uint8
    assert np.abs(frame.astype(int) - 127).max() < 16


def test_a_scaled_pixel_averages_its_own_source_pixels_alone(tmp_path):
    # Four pixels of the source are one of these, and a bar is 16 wide: with any wider filter, edges would be grey.
    number = 0b0101010101
    path = write_clip(tmp_path / "clip.mp4", num_frames=1, first_number=number, options={"crf": "0"})
    (frame,) = video_track.read_frames(path, media.probe(path), np.array([0.0]), 40, 16)
    expected = np.repeat([int(bit) * 255 for bit in f"{number:010b}"], 4)[:, np.newaxis]
    assert np.abs(frame.astype(int) - expected).max() < 12


def test_of_several_streams_the_default_ones_are_taken(tmp_path):
    clips = [
        write_clip(
            tmp_path / f"{first}.mp4", num_frames, audio=tone(440, 1), sample_rate_hz=rate_hz, first_number=first
        )
        for first, num_frames, rate_hz in ((0, 30, 44_100), (100, 45, 22_050))
    ]
    inputs = [argument for clip in clips for argument in ("-i", str(clip))]
    maps = [argument for index in (0, 1) for kind in "va" for argument in ("-map", f"{index}:{kind}")]
    default = [
        argument for kind in "va" for argument in (f"-disposition:{kind}:0", "0", f"-disposition:{kind}:1", "default")
    ]
    path = tmp_path / "both.mp4"
    ffmpeg(*inputs, *maps, "-c", "copy", *default, str(path))
    info = media.probe(path)
    assert info.audio == "aac mono 22050 Hz"
    assert info.duration_sec == pytest.approx(1.5, abs=1e-6)
    assert sampled_numbers(path, np.array([0.0, 0.5, 1.4])) == [100, 115, 142]


def test_frames_stand_upright_where_the_file_says_turned(tmp_path):
    path, turned_path = write_clip(tmp_path / "clip.mp4", num_frames=6), tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", str(path), "-c", "copy", str(turned_path))
    raw = ffmpeg("-i", str(turned_path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(160, 64, 3)  # ffmpeg turns by itself
    (frame,) = video_track.read_frames(turned_path, media.probe(turned_path), np.array([0.0]), 64, 160)
    assert np.abs(frame.astype(int) - expected).mean() < 2


def test_probe_tells_the_times_of_every_frame(tmp_path):
    info = media.probe(write_clip(tmp_path / "clip.mp4", ticks=RAGGED_TICKS, start_sec=2, audio=None))
    np.testing.assert_allclose(info.frame_times_sec, np.array(RAGGED_TICKS) / FRAME_RATE_FPS, atol=1e-9)
    assert (info.width_px, info.height_px, info.codec, info.audio) == (160, 64, "h264", None)


@pytest.mark.parametrize("audio_start_sec", [1.5, 1.0, 2.25])
def test_probe_of_a_film_that_does_not_start_at_0(tmp_path, audio_start_sec):
    path = write_exact_audio(
        tmp_path / "clip.mkv", [(audio_start_sec, np.ones(8000))], frame_ticks=[45 + tick for tick in RAGGED_TICKS]
    )
    info = media.probe(path)
    first_sec = max(0, 1.5 - audio_start_sec)  # time 0 is where the first of both begins
    expected = first_sec + np.array(RAGGED_TICKS) / FRAME_RATE_FPS
    np.testing.assert_allclose(info.frame_times_sec, expected, atol=5.01e-4)  # .mkv rounds to milliseconds
    assert info.frame_times_sec[0] == pytest.approx(first_sec, abs=1e-9)


def test_probe_of_constant_frame_rate(tmp_path):
    info = media.probe(write_clip(tmp_path / "clip.mp4", num_frames=45, audio=tone(440, 1.5)))
    assert info.duration_sec == pytest.approx(1.5)
    assert info.frame_rate_fps == pytest.approx(30)
    assert info.audio == "aac mono 44100 Hz"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "clip.mp4: cannot be read as a video"),
        (b"a text file named mp4\n" * 50, "clip.mp4: cannot be read as a video"),
    ],
)
def test_files_that_are_no_video_are_named(tmp_path, content, message):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(media.MediaError, match=message):
        media.probe(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(media.MediaError, match=r"nothing\.mp4: cannot be read as a video .*No such file"):
        media.probe(tmp_path / "nothing.mp4")


def test_a_file_with_audio_alone_is_named(tmp_path):
    path = tmp_path / "sound.mp4"
    ffmpeg("-i", str(write_clip(tmp_path / "clip.mp4", audio=tone(440, 2))), "-vn", "-c", "copy", str(path))
    with pytest.raises(media.MediaError, match=r"sound\.mp4: received a file without a video stream"):
        media.probe(path)


@pytest.mark.parametrize("name", ["a:b.mp4", "concat:a.mp4", "x%03d.mp4", "-.mp4", "c:d/e%d.mp4"])
def test_a_relative_path_is_no_protocol_and_no_pattern(tmp_path, monkeypatch, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write_clip(tmp_path / "clip.mp4", num_frames=6, audio=tone(440, 0.2)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    info = media.probe(name)
    assert media.probe_duration_sec(name) == pytest.approx(0.2, abs=0.1)
    frames = video_track.read_frames(name, info, info.frame_times_sec, info.width_px, info.height_px)
    assert [read_number(frame) for frame in frames] == list(range(6))
    assert problems.find_damage(name, info) == set()
    with pytest.raises(media.MediaError, match=r"^no:such\.mp4: cannot be read as a video \(No such file"):
        media.probe("no:such.mp4")


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile a.mp4\n",
        "ffconcat version 1.0\nfile /etc/hostname\n",
        "\ufeffffconcat version 1.0\n",
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
    ],
)
def test_a_list_of_other_files_is_refused_before_any_of_them_is_opened(tmp_path, monkeypatch, text):
    path = tmp_path / "match.mp4"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(media.av, "open", None)
    with pytest.raises(media.MediaError) as raised:
        media.probe(path)
    assert str(raised.value) == f"{path}: cannot be read as a video (it is a list of other files)"


@pytest.mark.parametrize(("stated_sec", "expected_sec"), [(2.5, 2.5), (1e9, 0), (90_000, 0), (-5, 0)])
def test_an_absurd_length_in_a_header_counts_as_none(tmp_path, stated_sec, expected_sec):
    path = tmp_path / "match.flv"
    ffmpeg("-i", write_clip(tmp_path / "clip.mp4", num_frames=75), "-c", "copy", path)
    content = bytearray(path.read_bytes())
    position = content.index(b"duration\0") + 9
    content[position : position + 8] = struct.pack(">d", stated_sec)
    path.write_bytes(content)
    assert media.probe_duration_sec(path) == pytest.approx(expected_sec, abs=1e-6)
