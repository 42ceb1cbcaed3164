"""The reel: exactly the requested frames, audio in sync with them, and a file that appears only when it is complete."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import HEIGHT_PX, WIDTH_PX, ffmpeg, frames_in, tone, write_clip

from videosummarizer import audio_track, media, video_track
from videosummarizer.extraction import reel

RATE_HZ = 48000
BEEP_FRAME = 40


def read_audio(path, rate_hz=RATE_HZ):
    return np.concatenate(list(audio_track.read_audio(path, media.probe(path), rate_hz)))


def beep(num_samples, beep_sec, duration_sec=0.25):
    """Silence with a tone in it that begins at beep_sec."""
    audio = np.zeros(num_samples, np.float32)
    burst = tone(1000, duration_sec, RATE_HZ, 0.8)
    start = round(beep_sec * RATE_HZ)
    audio[start : start + len(burst)] = burst
    return audio


def onsets_sec(audio, rate_hz=RATE_HZ):
    """Times at which loud passages begin, after at least 50 ms of silence."""
    loud = np.flatnonzero(np.abs(audio) > 0.2)
    return loud[np.diff(loud, prepend=-rate_hz) > rate_hz * 0.05] / rate_hz


def render(path, sections, **options):
    """(path of the reel, what media.probe says of it)"""
    reel_path = path.with_name("reel.mp4")
    reel.render_reel(path, media.probe(path), np.array(sections), reel_path, **options)
    return reel_path, media.probe(reel_path)


def test_frames_are_those_of_the_sections(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=120, audio=tone(440, 4), options={"crf": "10", "g": "50"})
    seconds = []
    path, info = render(clip, [[3, 20], [49, 52], [100, 120]], on_progress=seconds.append)
    assert frames_in(path) == [*range(3, 20), 49, 50, 51, *range(100, 120)]
    assert info.frame_times_sec == pytest.approx(np.arange(40) / 30, abs=1e-6)
    assert info.duration_sec == pytest.approx(40 / 30)
    assert sum(seconds) == pytest.approx(40 / 30)
    assert (info.codec, info.audio) == ("h264", "aac mono 44100 Hz")
    assert (info.width_px, info.height_px) == (WIDTH_PX, HEIGHT_PX)
    assert len(read_audio(path, 44100)) / 44100 == pytest.approx(40 / 30, abs=1024 / 44100)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"crf": "10", "g": "30", "bf": "3", "x264-params": "open-gop=1"}),
        ("libx265", {"crf": "10", "x265-params": "log-level=error:keyint=30:bframes=3"}),
        ("mpeg4", {"b": "3000000", "bf": "2", "g": "12"}),
    ],
)
def test_sections_begin_at_any_frame_of_any_codec(tmp_path, codec, options):
    clip = write_clip(tmp_path / "a.mp4", num_frames=100, codec=codec, options=options)
    firsts = [28, 31, 59, 60, 61, 62, 95]  # around keyframes, where a seek by decoding time may land too late
    path, _ = render(clip, [[first, first + 1] for first in firsts])
    assert frames_in(path) == firsts


def test_a_variable_frame_rate_stays(tmp_path):
    ticks = [0, 1, 2, 5, 6, 12, 13, 14, 15, 40, 41, 42, 43, 44, 45, 46]
    clip = write_clip(tmp_path / "a.mp4", ticks=ticks, audio=beep(2 * RATE_HZ, 40 / 30), sample_rate_hz=RATE_HZ)
    path, info = render(clip, [[2, 5], [7, 12]])
    assert frames_in(path) == [2, 3, 4, 7, 8, 9, 10, 11]
    # The first section lasts from tick 2 to tick 12, so that the second, from tick 14 on, begins at 10.
    assert info.frame_times_sec * 30 == pytest.approx([0, 3, 4, 10, 11, 36, 37, 38])
    assert onsets_sec(read_audio(path)) * 30 == pytest.approx([36], abs=0.1)


@pytest.mark.parametrize(("start_sec", "audio_start_sec"), [(0, 0), (5, 5), (0.5, 0.25), (0, 0.4)])
def test_audio_and_video_are_in_sync_whatever_the_start_times(tmp_path, start_sec, audio_start_sec):
    beep_sec = start_sec + BEEP_FRAME / 30 - audio_start_sec  # on the audio's own clock
    clip = write_clip(
        tmp_path / "a.mp4",
        num_frames=90,
        audio=beep(3 * RATE_HZ, beep_sec),
        sample_rate_hz=RATE_HZ,
        start_sec=start_sec,
        audio_start_sec=audio_start_sec,
    )
    path, info = render(clip, [[10, 20], [30, 60], [35, 45]])
    numbers = np.array(frames_in(path))
    shown_sec = info.frame_times_sec[numbers == BEEP_FRAME]
    assert len(shown_sec) == 2
    assert onsets_sec(read_audio(path)) == pytest.approx(shown_sec, abs=0.003)


def write_long_match(path, num_loops):
    """A clip of 320 numbered frames and exactly as much audio, looped by its packets: one beep every 10.67 s."""
    num_frames, num_blocks = 320, 500  # 320 / 30 s = 500 * 1024 / 48000 s
    loop_path = write_clip(
        path.with_name("loop.mp4"),
        num_frames=num_frames,
        audio=beep(num_blocks * 1024, BEEP_FRAME / 30),
        sample_rate_hz=RATE_HZ,
        options={"crf": "20", "g": "64"},
    )
    with av.open(str(loop_path)) as source, av.open(str(path), "w") as output:
        streams = [output.add_stream_from_template(stream) for stream in source.streams]
        packets = [
            p for p in source.demux() if p.size and p.pts is not None and (p.stream.type == "video" or p.pts >= 0)
        ]
        packets = [(p.stream.index, bytes(p), p.pts, p.dts, p.duration, p.time_base, p.is_keyframe) for p in packets]
        for loop in range(num_loops):
            for index, content, pts, dts, duration, time_base, is_keyframe in packets:
                packet = av.Packet(content)
                shift = int(Fraction(num_frames, 30) * loop / time_base)
                packet.pts, packet.dts, packet.duration = pts + shift, dts + shift, duration
                packet.time_base, packet.stream, packet.is_keyframe = time_base, streams[index], is_keyframe
                output.mux(packet)
    return path


def test_two_hours_in_audio_and_video_are_in_sync(tmp_path):
    num_loops = 680  # 7253 s
    clip = write_long_match(tmp_path / "long.mp4", num_loops)
    first_frames = [320 * loop for loop in (1, 300, 677, 678)]
    path, info = render(clip, [[first + 25, first + 60] for first in first_frames])
    numbers = np.array(frames_in(path))
    assert numbers.tolist() == [*range(25, 60)] * 4
    assert onsets_sec(read_audio(path)) == pytest.approx(info.frame_times_sec[numbers == BEEP_FRAME], abs=0.003)


def test_audio_fades_at_each_cut(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=90, audio=tone(50, 3, RATE_HZ), sample_rate_hz=RATE_HZ)
    path, _ = render(clip, [[10, 40], [50, 80]])
    audio = np.abs(read_audio(path))
    loudness = [audio[: RATE_HZ // 1000], audio[RATE_HZ - 48 : RATE_HZ + 48], audio[2 * RATE_HZ - 48 : 2 * RATE_HZ]]
    assert max(part.max(initial=0) for part in loudness) < 0.05  # within 1 ms of a cut, of an amplitude of 0.5
    assert audio[RATE_HZ // 2 : RATE_HZ // 2 + 2000].max() == pytest.approx(0.5, abs=0.05)
    steps = np.abs(np.diff(read_audio(path)))
    assert steps.max() < 0.02  # a click would be a step of up to the amplitude


def test_silent_sources_make_silent_reels(tmp_path):
    _, info = render(write_clip(tmp_path / "a.mp4"), [[0, 10], [50, 60]])
    assert info.audio is None
    assert len(info.frame_times_sec) == 20


def test_audio_that_ends_early_is_followed_by_silence(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=90, audio=tone(440, 1, RATE_HZ), sample_rate_hz=RATE_HZ)
    path, info = render(clip, [[15, 90]])
    audio = read_audio(path)
    assert info.duration_sec == pytest.approx(2.5)
    assert len(audio) / RATE_HZ == pytest.approx(2.5, abs=1024 / RATE_HZ)
    assert np.abs(audio[RATE_HZ // 10 : RATE_HZ // 3]).max() > 0.4
    assert np.abs(audio[RATE_HZ * 6 // 10 :]).max() < 0.02


def test_surround_audio_becomes_stereo_and_odd_rates_one_that_aac_knows(tmp_path):
    channels = np.tile(tone(440, 2, RATE_HZ), (6, 1))
    clip = write_clip(tmp_path / "a.mp4", audio=channels, sample_rate_hz=RATE_HZ)
    assert render(clip, [[0, 30]])[1].audio == "aac stereo 48000 Hz"
    source = tmp_path / "odd.mkv"
    ffmpeg("-i", clip, "-c:v", "copy", "-c:a", "pcm_s16le", "-ar", "37800", "-ac", "1", source)
    assert render(source, [[0, 30]])[1].audio == "aac mono 48000 Hz"


@pytest.mark.parametrize(("degrees", "num_turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotated_frames_come_out_upright(tmp_path, degrees, num_turns):
    clip = write_clip(tmp_path / "a.mp4", num_frames=10)
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", degrees, "-i", clip, "-c", "copy", turned)
    source_info = media.probe(turned)
    size = (HEIGHT_PX, WIDTH_PX) if num_turns % 2 else (WIDTH_PX, HEIGHT_PX)
    expected = next(video_track.read_frames(turned, source_info, np.array([0.2]), *size))  # turned upright by media
    path, info = render(turned, [[5, 10]])
    assert (info.width_px, info.height_px) == size
    received = next(video_track.read_frames(path, info, np.array([0.05]), *size))
    assert np.abs(received.astype(int) - expected).mean() < 4


def test_reel_height_keeps_the_aspect_and_is_even(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=10)
    _, info = render(clip, [[0, 5]], height_px=33)
    assert (info.width_px, info.height_px) == (82, 32)


def test_a_reel_that_cannot_be_written_leaves_nothing_and_says_why(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=10)
    with pytest.raises(reel.ReelError, match=r"reel\.mp4.*cannot be written \(No such file or directory\)"):
        reel.render_reel(clip, media.probe(clip), np.array([[0, 5]]), tmp_path / "missing" / "reel.mp4")
    info = media.probe(clip)
    clip.write_bytes(b"no video")
    with pytest.raises(media.MediaError, match=r"a\.mp4: cannot be read as a video"):
        reel.render_reel(clip, info, np.array([[0, 5]]), tmp_path / "reel.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("name", ["out:dir/a:b_highlights.mp4", "100%d/%03d_highlights.mp4"])
def test_a_relative_path_of_a_reel_is_no_protocol_and_no_pattern(tmp_path, monkeypatch, name):
    clip = write_clip(tmp_path / "a.mp4", num_frames=30, audio=tone(440, 1))
    (tmp_path / name).parent.mkdir()
    monkeypatch.chdir(tmp_path)
    reel.render_reel("a.mp4", media.probe(clip), np.array([[3, 9]]), name)
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [(tmp_path / name).name]
    assert frames_in(tmp_path / name) == list(range(3, 9))
