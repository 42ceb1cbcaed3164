"""The styled reel: which frames and samples it has, in cross-fades, in sync, in each shape and colour."""

import itertools
import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest
from clips import draw_number, read_number, tone, write_clip, write_pictures

from videosummarizer import audio_track, media, video_track
from videosummarizer.extraction import captions, reel_sections, section_clips, styled_reel
from videosummarizer.extraction.picture_fit import PictureFit
from videosummarizer.extraction.reel import ReelError
from videosummarizer.extraction.reel_style import ReelStyle

RATE_HZ = 48000


def render(path, sections, height_px=None, scores=None, on_progress=lambda seconds: None, **style):
    """(path of the reel, what media.probe says of it)"""
    reel_path, info = path.with_name(f"{path.stem}_reel.mp4"), media.probe(path)
    listed = reel_sections.list_sections(path, info, np.array(sections), path.stem, scores)
    styled_reel.render_styled_reel(listed, reel_path, ReelStyle(**style), height_px, None, on_progress)
    assert not reel_path.with_name(f"{reel_path.name}.part").exists()
    return reel_path, media.probe(reel_path)


def frames_of(path):
    """(n, H, W, 3) uint8"""
    info = media.probe(path)
    return np.array(list(video_track.read_frames(path, info, info.frame_times_sec, info.width_px, info.height_px)))


def read_audio(path, rate_hz=RATE_HZ):
    return np.concatenate(list(audio_track.read_audio(path, media.probe(path), rate_hz)))


def test_without_a_transition_the_frames_are_those_of_the_sections(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=120, audio=tone(440, 4), options={"crf": "10", "g": "50"})
    seconds = []
    path, info = render(clip, [[3, 20], [49, 52], [100, 120]], on_progress=seconds.append, has_captions=True)
    numbers = [read_number(frame[:20]) for frame in frames_of(path)]
    assert numbers == [*range(3, 20), 49, 50, 51, *range(100, 120)]
    assert info.frame_times_sec == pytest.approx(np.arange(40) / 30, abs=1e-6)
    assert sum(seconds) == pytest.approx(40 / 30)
    assert (info.codec, info.audio, info.width_px, info.height_px) == ("h264", "aac mono 44100 Hz", 160, 64)
    assert len(read_audio(path, 44100)) / 44100 == pytest.approx(40 / 30, abs=1024 / 44100)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    boxes = path.read_bytes()
    assert boxes.index(b"moov") < boxes.index(b"mdat")  # players can start before all of it is loaded


def greys(path, levels):
    """A clip whose frames are grey levels."""
    return write_pictures(path, (np.full((64, 96, 3), level, np.uint8) for level in levels))


def test_a_transition_cross_fades_the_picture(tmp_path):
    clip = greys(tmp_path / "a.mp4", [40] * 60 + [200] * 60)
    path, info = render(clip, [[10, 40], [70, 110]], transition_sec=0.5)
    levels = frames_of(path).mean(axis=(1, 2, 3))
    assert len(levels) == 30 + 40 - 15 == round(info.duration_sec * 30)
    assert levels[:15] == pytest.approx(np.full(15, 40), abs=2)
    assert levels[15:30] == pytest.approx(40 + 160 * (np.arange(15) + 0.5) / 15, abs=3)
    assert levels[30:] == pytest.approx(np.full(25, 200), abs=2)


def test_frames_of_a_transition_are_those_of_both_sections(tmp_path):
    def picture(number):  # in the upper half by the first section, in the lower half by the second
        shown = draw_number(number)
        shown[:32] = 0 if number >= 60 else shown[:32]
        shown[32:] = 0 if number < 60 else shown[32:]
        return shown

    clip = write_pictures(tmp_path / "a.mp4", map(picture, range(120)))
    path, _ = render(clip, [[11, 41], [71, 101]], transition_sec=0.4)
    for index, frame in enumerate(frames_of(path)):
        share = np.clip((index - 18 + 0.5) / 12, 0, 1)
        if share < 0.9:
            assert read_number(frame[4:28] / (1 - share)) == 11 + index
        if share > 0.1:
            assert read_number(frame[36:60] / share) == 71 + index - 18


def test_a_transition_cross_fades_the_audio_with_constant_power(tmp_path):
    audio = tone(400, 4, RATE_HZ, 0.4)
    audio[2 * RATE_HZ :] = tone(3000, 2, RATE_HZ, 0.4)
    clip = write_pictures(tmp_path / "a.mp4", [np.zeros((64, 96, 3), np.uint8)] * 120, audio=audio)
    path, info = render(clip, [[0, 45], [75, 120]], transition_sec=1.0)
    samples = read_audio(path)
    assert info.duration_sec == pytest.approx((90 - 22) / 30)  # at most half of a section
    windows = samples[: RATE_HZ * 68 // 30 // 480 * 480].reshape(-1, 480)
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(480), axis=1))
    low, high = spectrum[:, 4], spectrum[:, 30]  # 400 and 3000 Hz
    low, high = low / low.max(), high / high.max()
    start, end = 23 / 30 * 100, 45 / 30 * 100  # the cross-fade in windows of 10 ms
    progress = np.clip((np.arange(len(windows)) + 0.5 - start) / (end - start), 0, 1)
    inner = slice(3, -3)
    assert low[inner] == pytest.approx(np.cos(np.pi / 2 * progress)[inner], abs=0.05)
    assert high[inner] == pytest.approx(np.sin(np.pi / 2 * progress)[inner], abs=0.05)


@pytest.mark.parametrize(
    ("rate_fps", "rate_hz", "intro"),
    [
        (Fraction(24000, 1001), 44100, "Week 48"),
        (Fraction(30000, 1001), 48000, None),
        (50, 48000, "Week 48"),
        (35, 22050, None),
    ],
)
def test_a_flash_and_a_beep_stay_together_after_transitions(tmp_path, rate_fps, rate_hz, intro):
    num_frames = round(8 * rate_fps)
    flashes = [round(second * rate_fps) for second in (0.9, 2.7, 4.6, 6.9)]
    audio = np.zeros(8 * rate_hz, np.float32)
    for frame in flashes:
        first = round(frame / rate_fps * rate_hz)
        audio[first : first + rate_hz // 8] = tone(1000, 1, rate_hz, 0.8)[: rate_hz // 8]
    pictures = (np.full((48, 64, 3), 255 if frame in flashes else 20, np.uint8) for frame in range(num_frames))
    clip = write_pictures(tmp_path / "a.mp4", pictures, rate_fps, audio, rate_hz)
    seconds = ((0, 1.9), (2, 3.6), (3.9, 5.6), (6, 8))
    sections = [[round(start * rate_fps), round(end * rate_fps)] for start, end in seconds]
    path, info = render(clip, sections, transition_sec=0.5, intro=intro)
    shown = info.frame_times_sec[frames_of(path)[:, :8].mean(axis=(1, 2, 3)) > 120]
    loud = np.flatnonzero(np.abs(read_audio(path, rate_hz)) > 0.2)
    heard = loud[np.diff(loud, prepend=-rate_hz) > rate_hz * 0.05] / rate_hz
    assert len(shown) == 4
    assert heard == pytest.approx(shown, abs=0.004)
    assert info.frame_rate_fps == pytest.approx(float(rate_fps), rel=1e-5)


def test_two_hours_of_reel_would_be_in_sync():
    placements = reel_sections.place([round(22 * Fraction(24000, 1001))] * 330, 12)
    starts = np.array([placement.start for placement in placements])
    assert np.diff(starts).tolist() == [round(22 * Fraction(24000, 1001)) - 12] * 329
    samples = [round(start / Fraction(24000, 1001) * 44100) for start in starts.tolist()]
    assert np.abs(np.array(samples) / 44100 - starts * 1001 / 24000).max() < 0.501 / 44100  # no rounding adds up


def test_a_silent_match_makes_a_silent_reel(tmp_path):
    clip = greys(tmp_path / "a.mp4", [100] * 60)
    path, info = render(clip, [[0, 20], [30, 60]], transition_sec=0.2, intro="Silence")
    assert info.audio is None
    with av.open(str(path)) as container:
        assert len(container.streams) == 1


@pytest.mark.parametrize("num_channels", [1, 2])
def test_channels_keep_their_places(tmp_path, num_channels):
    audio = np.stack([tone(500, 2, RATE_HZ, 0.5), tone(500, 2, RATE_HZ, 0.1)])[:num_channels]
    clip = write_pictures(tmp_path / "a.mp4", [np.zeros((64, 96, 3), np.uint8)] * 60, audio=audio)
    path, info = render(clip, [[0, 30], [30, 60]], transition_sec=0.3)
    assert info.audio == f"aac {'mono' if num_channels == 1 else 'stereo'} 48000 Hz"
    with av.open(str(path)) as container:
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    loudness = np.abs(decoded[:, 12_000:24_000]).max(axis=1)
    assert loudness == pytest.approx([0.5, 0.1][:num_channels], abs=0.03)


def test_a_title_card_comes_first_in_silence(tmp_path):
    audio = tone(440, 2, RATE_HZ)
    clip = write_pictures(tmp_path / "a.mp4", [np.full((90, 160, 3), 120, np.uint8)] * 60, audio=audio)
    path, info = render(clip, [[0, 60]], intro="Week 48", height_px=180)
    assert info.duration_sec == pytest.approx(5)
    frames = frames_of(path)
    card = captions.draw_card("Week 48", captions.find_font("Week 48", "a"), (320, 180))
    assert np.abs(frames[45].astype(int) - card).mean() < 3
    assert frames[90].mean() == pytest.approx(120, abs=4)
    samples = read_audio(path)
    assert np.abs(samples[: 3 * RATE_HZ - 2000]).max() < 0.01
    assert np.abs(samples[3 * RATE_HZ + 1000 :][:RATE_HZ]).max() > 0.4


def test_captions_show_title_clock_and_rank(tmp_path, monkeypatch):
    clip = greys(tmp_path / "결승.mp4", [60] * 150)
    lines = []

    def note(texts, font_path, size_px, draw=captions.draw_caption):
        lines.append(texts)
        return draw(("A", "B"), font_path, size_px)

    monkeypatch.setattr(captions, "draw_caption", note)
    monkeypatch.setattr(captions, "find_font", lambda text, subject, find=captions.find_font: find("a", subject))
    path, _ = render(clip, [[40, 70], [100, 115]], scores=[0.5, 0.9], has_captions=True)
    shown = [line for _, line in dict.fromkeys(map(tuple, lines))]
    assert {title for title, _ in lines} == {"결승"}
    assert shown == ["00:00:01 · #2 of 2", "00:00:03 · #1 of 2", "00:00:02 · #2 of 2"]
    corner = frames_of(path)[:, -12:, :12].reshape(45, -1)
    assert (corner.max(axis=1) > 150).all()
    assert frames_of(path)[:, :20].mean() == pytest.approx(60, abs=2)


def test_without_scores_there_is_no_rank_and_jumps_are_left_out(tmp_path):
    ticks = [*range(30), *range(30 + 30 * 200, 60 + 30 * 200)]
    info = media.probe(write_clip(tmp_path / "a.mp4", ticks=ticks))
    sections = reel_sections.list_sections(tmp_path / "a.mp4", info, np.array([[10, 50]]), "a", None)
    assert [(section.start_sec, section.end_sec, section.rank) for section in sections] == [
        (pytest.approx(10 / 30), pytest.approx(29 / 30 + 1), ""),
        (pytest.approx(201), pytest.approx(201 + 20 / 30), ""),
    ]


@pytest.mark.parametrize(("fit", "expected"), [("crop", 255), ("blur", 153), ("pad", 0)])
def test_each_fit_fills_an_upright_picture(tmp_path, fit, expected):
    picture = np.full((108, 192, 3), 100, np.uint8)
    picture[:, 66:126] = 255  # the centre, of which 60 columns remain in a crop
    path, info = render(write_pictures(tmp_path / "a.mp4", [picture] * 20), [[0, 20]], aspect="9:16", fit=fit)
    assert (info.width_px, info.height_px) == (60, 108)
    frame = frames_of(path)[10].astype(int)
    assert frame[8, 4].mean() == pytest.approx(expected, abs=8)
    assert frame[54, 30].mean() == pytest.approx(255, abs=4)
    assert frame[54, 4].mean() == pytest.approx(255 if fit == "crop" else 100, abs=12)


def test_the_crop_follows_a_moving_square_and_jumps_with_the_section(tmp_path):
    def picture(frame):
        shown = np.full((108, 192, 3), 40, np.uint8)
        left = round(20 + frame) if frame < 90 else 160
        shown[48:60, left : left + 12] = (250, 20, 20)
        if frame >= 90:
            shown[48:60, left : left + 12] = (20, 250, 20) if frame % 10 < 5 else (20, 20, 20)
        return shown

    clip = write_pictures(tmp_path / "a.mp4", map(picture, range(140)))
    path, _ = render(clip, [[0, 90], [95, 140]], aspect="9:16")
    frames = frames_of(path).astype(int)
    areas = ((frames[:90, ..., 0] > 150) & (frames[:90, ..., 1] < 100)).sum(axis=(1, 2))
    assert areas.min() > 0.8 * 144  # the whole square in every frame
    is_lit = np.arange(95, 140) % 10 < 5
    assert ((frames[90:, ..., 1] > 150).sum(axis=(1, 2))[is_lit] > 0.8 * 144).all()


@pytest.mark.parametrize(("degrees", "num_turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotated_matches_are_shown_as_displayed(tmp_path, degrees, num_turns):
    clip, turned = write_clip(tmp_path / "a.mp4", num_frames=20), tmp_path / "turned.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", degrees, "-i", clip, "-c", "copy"]
    subprocess.run([*map(str, command), str(turned)], check=True)
    path, info = render(turned, [[5, 15]], has_captions=False, transition_sec=0.1)
    assert (info.width_px, info.height_px) == ((64, 160) if num_turns % 2 else (160, 64))
    numbers = [read_number(np.rot90(frame, -num_turns)) for frame in frames_of(path)]
    assert numbers == list(range(5, 15))


@pytest.mark.parametrize("colorspace", [None, 1, 5, 9])
def test_colours_stay(tmp_path, colorspace):
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48], picture[:, 48:] = (200, 60, 40), (30, 120, 220)
    tags = {} if colorspace is None else {"colorspace": colorspace, "color_primaries": 1, "color_trc": 1}
    clip = write_pictures(tmp_path / "a.mp4", [picture] * 10, **tags)
    path, _ = render(clip, [[0, 10]], transition_sec=0.1)
    assert np.abs(frames_of(path)[5].astype(int) - frames_of(clip)[5].astype(int)).mean() < 3
    with av.open(str(path)) as one, av.open(str(clip)) as other:
        contexts = [container.streams.video[0].codec_context for container in (one, other)]
        for name in ("color_primaries", "color_trc"):
            assert len({getattr(context, name) for context in contexts}) == 1, name
    assert contexts[0].colorspace == (colorspace or 6)  # that of small pictures


def test_a_variable_frame_rate_becomes_a_constant_one_in_sync(tmp_path):
    ticks = [0, 1, 2, 5, 6, 12, 13, 14, 15, *range(40, 60)]
    clip = write_clip(tmp_path / "a.mp4", ticks=ticks)
    path, info = render(clip, [[0, 29]], intro=None, transition_sec=0.1)
    shown = [read_number(frame) for frame in frames_of(path)]
    assert shown == [int(np.searchsorted(ticks, tick, side="right")) - 1 for tick in range(60)]
    assert info.frame_rate_fps == pytest.approx(30)


def test_sections_of_several_matches_make_one_reel(tmp_path):
    first = write_pictures(tmp_path / "a.mp4", [np.full((90, 160, 3), 50, np.uint8)] * 40)
    audio = tone(440, 2, RATE_HZ)
    second = write_pictures(tmp_path / "b.mp4", [np.full((64, 64, 3), 200, np.uint8)] * 50, 25, audio)
    listed = []
    for path, section in ((first, [0, 30]), (second, [10, 50]), (first, [10, 40])):
        listed += reel_sections.list_sections(path, media.probe(path), np.array([section]), path.stem, None)
    styled_reel.render_styled_reel(listed, tmp_path / "reel.mp4", ReelStyle(aspect="1:1", fit="pad"))
    frames, info = frames_of(tmp_path / "reel.mp4"), media.probe(tmp_path / "reel.mp4")
    assert (frames.shape, info.audio) == ((30 + 48 + 30, 90, 90, 3), "aac mono 48000 Hz")
    levels = frames[:, 40, 40].mean(axis=1)
    assert levels == pytest.approx(np.repeat([50, 200, 50], [30, 48, 30]), abs=3)
    samples = np.abs(read_audio(tmp_path / "reel.mp4"))
    assert samples[: RATE_HZ - 2000].max() < 0.01 < 0.4 < samples[RATE_HZ + 1000 : 2 * RATE_HZ].max()


def test_memory_does_not_grow_with_the_number_of_sections(tmp_path, monkeypatch):
    monkeypatch.setattr(styled_reel, "AUDIO_BLOCK_SEC", 0.05)
    picture = np.full((180, 320, 3), 90, np.uint8)
    clip = write_pictures(tmp_path / "a.mp4", itertools.repeat(picture, 28), audio=tone(440, 1, RATE_HZ))
    sections, peaks = [[2 * index, 2 * index + 2] for index in range(14)], []
    for num_sections in (1, 6, 14):  # the first one for what is imported
        tracemalloc.start()
        try:
            render(clip, sections[:num_sections], transition_sec=0.1, has_captions=True, aspect="1:1", fit="pad")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[2] < peaks[1] + 8 * 180 * 180  # less than the mask of a single cross-fade


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_reel_leaves_no_file(tmp_path, error):
    clip = greys(tmp_path / "a.mp4", [100] * 60)

    def interrupt(seconds):
        raise error

    with pytest.raises(error):
        render(clip, [[0, 60]], aspect="1:1", on_progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_folder_that_is_gone_is_named(tmp_path):
    clip = greys(tmp_path / "a.mp4", [100] * 60)
    info = media.probe(clip)
    sections = reel_sections.list_sections(clip, info, np.array([[0, 20]]), "a", None)
    with pytest.raises(ReelError, match=r"gone/reel\.mp4: the reel cannot be written \(No such file or directory\)"):
        styled_reel.render_styled_reel(sections, tmp_path / "gone" / "reel.mp4", ReelStyle(aspect="1:1"))


def test_moviepy_is_imported_without_a_warning_or_a_word(tmp_path):
    code = (
        "import sys; from videosummarizer.extraction import moviepy_fixes, styled_reel; assert 'moviepy' in sys.modules"
    )
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.stderr, result.stdout, result.returncode) == ("", "", 0)


def test_a_section_that_has_ended_keeps_no_picture(tmp_path):
    clip = greys(tmp_path / "a.mp4", [100] * 60)
    sections = reel_sections.list_sections(clip, media.probe(clip), np.array([[0, 20], [30, 50]]), "a", None)
    with section_clips.MatchReaders() as readers:
        fit = PictureFit((64, 64), section_clips.square_pixel_size(readers, sections[0]), "crop")
        one, other = (section_clips.SectionVideo(section, readers, 0, fit) for section in sections)
        one.picture(0.0)
        assert (one.current.pts, len(one.path.pts)) == (0, 20)
        other.picture(0.0)
    assert (one.current, one.following, one.drawn, len(one.path.pts)) == (None, None, None, 0)
    assert other.drawn[1].shape == (64, 64, 3)


def test_chapters_begin_where_the_sections_are_seen(tmp_path):
    clip = greys(tmp_path / "a.mp4", [40] * 60 + [120] * 60 + [220] * 60)
    sections = reel_sections.list_sections(
        clip, media.probe(clip), np.array([[0, 50], [70, 110], [130, 170]]), "a", None
    )
    style, path = ReelStyle(transition_sec=0.5, intro="Week 48"), tmp_path / "reel.mp4"
    styled_reel.render_styled_reel(sections, path, style, None, ["one", "two", "three"])
    levels = frames_of(path)[:, 2, 2].mean(axis=1)
    # The title card fades until frame 90, the second section begins within frames 95 to 130, and the third after them.
    starts = [index + np.flatnonzero(np.abs(levels[index:] - levels[index]) > 1.5)[0] for index in (95, 130)]
    with av.open(str(path)) as container:
        chapters = [(chapter["metadata"]["title"], chapter["start"] / 1000) for chapter in container.chapters()]
    assert [title for title, _ in chapters] == ["one", "two", "three"]
    # The first picture of a cross-fade hardly differs from the one before it.
    assert [start for _, start in chapters] == pytest.approx([0, *np.array(starts) / 30], abs=0.001 + 1 / 30)
    edges_sec = reel_sections.styled_edges_sec(sections, style)
    assert edges_sec[[0, -1]].tolist() == [0, pytest.approx(media.probe(path).duration_sec)]


def test_a_section_with_a_jump_of_the_clock_is_one_chapter(tmp_path):
    ticks = [*range(30), *range(30 + 30 * 200, 60 + 30 * 200)]
    info = media.probe(write_clip(tmp_path / "a.mp4", ticks=ticks))
    sections = reel_sections.list_sections(tmp_path / "a.mp4", info, np.array([[10, 50], [52, 58]]), "a", None)
    edges_sec = reel_sections.styled_edges_sec(sections, ReelStyle(aspect="1:1"))
    assert edges_sec == pytest.approx([0, 19 / 30 + 1 + 20 / 30, 19 / 30 + 1 + 26 / 30], abs=1e-6)


def test_a_short_match_can_have_more_sections_than_frames_are_decoded_ahead(tmp_path):
    clip = greys(tmp_path / "a.mp4", [60] * 30)
    _, info = render(clip, [[index, index + 1] for index in range(30)], aspect="1:1")
    assert len(info.frame_times_sec) == 30
