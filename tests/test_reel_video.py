"""The reel's video: exact cuts in any container, turned films, pixel shape, colours; and the file as a whole."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import HEIGHT_PX, WIDTH_PX, draw_number, ffmpeg, frames_in, read_number, tone, write_clip, write_exact_audio
from test_section_frames import make_zero

from videosummarizer import audio_track, media, video_track
from videosummarizer.extraction import joined_reel, reel, reel_sections


def render(path, sections, info=None, **options):
    reel_path = path.with_name("reel.mp4")
    reel.render_reel(path, info or media.probe(path), np.array(sections), reel_path, **options)
    return reel_path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """60 frames, with audio."""
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", num_frames=60, audio=tone(440, 2))


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mov"])
def test_cuts_are_exact_in_every_container(tmp_path, clip, suffix):
    source = tmp_path / f"a.{suffix}"  # .ts starts at 1.4 s and ticks at 90 kHz, .mkv ticks at 1 kHz
    ffmpeg("-i", clip, "-c", "copy", source)
    path = render(source, [[0, 2], [29, 30], [31, 33], [58, 60]])
    assert frames_in(path) == [0, 1, 29, 31, 32, 58, 59]
    assert media.probe(path).frame_times_sec == pytest.approx(np.arange(7) / 30, abs=1.1e-3)


@pytest.mark.parametrize("error_sec", [-4e-7, 4e-7])
def test_a_rounding_error_in_the_frame_times_moves_no_cut(tmp_path, clip, error_sec):
    info = media.probe(clip)
    info.frame_times_sec[:] += error_sec
    path = render(clip, [[0, 1], [7, 10], [59, 60]], info)
    assert frames_in(path) == [0, 7, 8, 9, 59]
    assert media.probe(path).frame_times_sec == pytest.approx(np.arange(5) / 30, abs=1e-6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv"])
@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60000/1001"])
def test_cuts_are_exact_at_odd_frame_rates(tmp_path, rate, suffix):
    path = tmp_path / f"a.{suffix}"  # .mkv and .flv round to milliseconds: the reel has the exact rate again
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options={"crf": "10", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for number in range(75):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")))
        container.mux(stream.encode(None))
    reel_path = render(path, [[0, 3], [19, 21], [33, 34], [72, 75]])
    assert frames_in(reel_path) == [0, 1, 2, 19, 20, 33, 72, 73, 74]
    info = media.probe(reel_path)
    assert info.frame_times_sec == pytest.approx(np.arange(9) / float(Fraction(rate)), abs=1e-6)
    assert info.duration_sec == pytest.approx(9 / float(Fraction(rate)), abs=1e-6)
    with media.open_media(reel_path) as container:
        assert media.video_stream(container, reel_path).average_rate == Fraction(rate)


def test_a_varying_rate_in_mkv_keeps_its_distances(tmp_path):
    ticks = [0, 1, 2, 5, 6, 7, 8, 12, 13, 20]
    source = tmp_path / "a.mkv"
    ffmpeg("-i", write_clip(tmp_path / "a.mp4", num_frames=10, ticks=ticks), "-c", "copy", source)
    reel_path = render(source, [[2, 9]])
    assert frames_in(reel_path) == [*range(2, 9)]
    assert media.probe(reel_path).frame_times_sec == pytest.approx((np.array(ticks[2:9]) - 2) / 30, abs=1.1e-3)


@pytest.mark.parametrize(("degrees", "expected"), [(0, "4/3"), (90, "3/4"), (180, "4/3"), (270, "3/4")])
@pytest.mark.parametrize("width_px", [WIDTH_PX, HEIGHT_PX])
def test_a_turned_films_pixels_keep_their_shape(tmp_path, degrees, expected, width_px):
    path = tmp_path / "plain.mp4"
    shape = f"scale={width_px}:{HEIGHT_PX},setsar=4/3"
    ffmpeg("-f", "lavfi", "-i", f"testsrc=duration=0.2:rate=25,{shape}", "-pix_fmt", "yuv420p", path)
    source = tmp_path / "a.mp4"
    ffmpeg("-display_rotation", degrees, "-i", path, "-c", "copy", source)
    with av.open(str(render(source, [[0, 3]]))) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(expected)
        size = (width_px, HEIGHT_PX)
        assert (stream.width, stream.height) == (size[::-1] if degrees % 180 else size)


@pytest.mark.parametrize(("degrees", "corner"), [(90, (1, 0)), (180, (1, 1)), (270, (0, 1))])
def test_a_rotated_frame_is_rotated_and_not_mirrored(tmp_path, degrees, corner):
    plain, source = tmp_path / "plain.mp4", tmp_path / "a.mp4"
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32] = 255  # top left
    with av.open(str(plain), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    ffmpeg("-display_rotation", degrees, "-i", plain, "-c", "copy", source)
    path = render(source, [[0, 5]])
    info = media.probe(path)
    received = next(video_track.read_frames(path, info, np.array([0.0]), 64, 64)).mean(axis=2)
    quarters = received.reshape(2, 32, 2, 32).mean(axis=(1, 3))
    assert np.argwhere(quarters > 128).tolist() == [list(corner)]


@pytest.mark.parametrize(("degrees", "size"), [(0, (82, 32)), (90, (14, 32))])
def test_the_height_is_that_of_the_rotated_frame(tmp_path, degrees, size):
    source = tmp_path / "a.mp4"
    ffmpeg("-display_rotation", degrees, "-i", write_clip(tmp_path / "b.mp4", num_frames=5), "-c", "copy", source)
    info = media.probe(render(source, [[0, 5]], height_px=33))
    assert (info.width_px, info.height_px) == size


def test_a_smaller_frame_is_the_mean_of_what_it_is_made_of(tmp_path):
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stripes = np.zeros((48, 64, 3), np.uint8)
        stripes[1::2] = 255
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stripes, format="rgb24")))
        container.mux(stream.encode(None))
    path = render(source, [[0, 5]], height_px=24)
    info = media.probe(path)
    frame = next(video_track.read_frames(path, info, np.array([0.0]), 32, 24))
    assert frame[4:-4].astype(float) == pytest.approx(128, abs=12)


@pytest.mark.parametrize(("length", "expected"), [(0.3, 2), (1, 2), (3, 4), (5, 4), (82.4, 82), (83.1, 84), (640, 640)])
def test_lengths_are_made_even(length, expected):
    assert reel.round_to_even(length) == expected


def test_colours_are_named_and_full_range_becomes_limited(tmp_path):
    tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt470bg"
    for pixel_format, color_range in (("yuv420p", "tv"), ("yuvj420p", "pc")):
        source = tmp_path / f"{pixel_format}.mp4"
        pattern = f"color=c=0x404040:duration=0.2:rate=25:size=64x48,format={pixel_format},{tags}:range={color_range}"
        ffmpeg("-f", "lavfi", "-i", pattern, "-pix_fmt", pixel_format, "-color_range", color_range, source)
        path = render(source, [[0, 3]])
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            assert (context.color_primaries, context.color_trc, context.colorspace) == (1, 1, 5)
            assert context.color_range in (0, 1)
            assert context.pix_fmt == "yuv420p"
        info = media.probe(path)
        assert next(video_track.read_frames(path, info, np.array([0.0]), 64, 48)).mean() == pytest.approx(64, abs=2)


@pytest.mark.parametrize("size", ["96x64", "1280x720"])
def test_a_reel_of_rgb_has_its_colours_by_the_matrix_of_its_size(tmp_path, size):
    halves = f"color=c=0xC80000:size={size}:rate=25:duration=0.2[red];color=c=0x00C800:size={size}:rate=25[green];"
    ffmpeg("-f", "lavfi", "-i", f"{halves}[red][green]hstack=shortest=1", "-c:v", "libx264rgb", tmp_path / "a.mkv")
    path = render(tmp_path / "a.mkv", [[0, 5]], height_px=64)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.colorspace == (6 if size == "96x64" else 1)
    info = media.probe(path)
    frame = next(video_track.read_frames(path, info, np.array([0.0]), 96, 64))
    assert frame[32, 20] == pytest.approx([200, 0, 0], abs=6)
    assert frame[32, 70] == pytest.approx([0, 200, 0], abs=6)


def test_where_the_rest_of_a_match_is_zeros_its_last_frame_is_shown_to_the_end_of_the_audio(tmp_path):
    source = write_clip(tmp_path / "a.mp4", num_frames=90, audio=tone(440, 3), options={"g": "10", "bf": "0"})
    make_zero(source, range(45, 90))
    listed = reel_sections.list_sections(source, media.probe(source), np.array([[30, 60], [70, 90]]), "a", None)
    joined_reel.render_joined_reel(
        listed, tmp_path / "joined.mp4", joined_reel.ReelFormat(160, 64, Fraction(30), True), ["a", "b"]
    )
    for path in (render(source, [[30, 60], [70, 90]]), tmp_path / "joined.mp4"):
        info = media.probe(path)
        assert info.duration_sec == pytest.approx(50 / 30, abs=1e-3)
        times_sec = np.array([0.0, 14.5, 15.5, 29.5, 31, 49.5]) / 30
        frames = video_track.read_frames(path, info, times_sec, 160, 64)
        assert [read_number(frame) for frame in frames] == [30, 44, 44, 44, 44, 44]
        audio = np.concatenate(list(audio_track.read_audio(path, info, 8000)))
        assert np.abs(audio[-1200:-400]).max() > 0.3
        assert len(audio) / 8000 == pytest.approx(50 / 30, abs=0.03)


def test_the_encoder_chooses_its_own_keyframes_and_quality(tmp_path):
    source = write_clip(tmp_path / "a.mp4", num_frames=40, options={"crf": "10", "g": "1"})  # keyframes alone
    path = render(source, [[0, 40]])
    with av.open(str(path)) as container:
        keyframes = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert keyframes[0]
    assert sum(keyframes) < 20
    content = path.read_bytes()
    assert b"crf=18.0" in content  # x264 writes its options into the stream
    assert content.index(b"moov") < content.index(b"mdat")  # so that a browser can play it while it loads


def test_while_it_is_written_an_earlier_reel_stays(tmp_path, clip):
    reel_path, part_path = tmp_path / "reel.mp4", tmp_path / "reel.mp4.part"
    reel_path.write_bytes(b"earlier")
    part_path.write_bytes(b"left over")
    seen = []
    reel.render_reel(
        clip,
        media.probe(clip),
        np.array([[0, 10], [20, 30]]),
        reel_path,
        on_progress=lambda seconds: seen.append((reel_path.read_bytes(), part_path.exists(), seconds)),
    )
    assert {(content, exists) for content, exists, _ in seen} == {(b"earlier", True)}
    assert sum(seconds for *_, seconds in seen) == pytest.approx(20 / 30)
    assert min(seconds for *_, seconds in seen) >= 0
    assert frames_in(reel_path) == [*range(10), *range(20, 30)]
    assert [path.name for path in tmp_path.iterdir()] == ["reel.mp4"]


def test_a_reel_that_fails_on_the_way_leaves_nothing_open_and_the_earlier_reel_as_it_was(tmp_path, clip):
    reel_path = tmp_path / "reel.mp4"
    reel_path.write_bytes(b"earlier")

    def stop(seconds):
        if (tmp_path / "reel.mp4.part").exists():  # the encoder holds the first frames back
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        reel.render_reel(clip, media.probe(clip), np.array([[0, 60]]), reel_path, on_progress=stop)
    assert caught.tb  # whose frames keep the writer
    assert [path.name for path in tmp_path.iterdir()] == ["reel.mp4"]
    assert reel_path.read_bytes() == b"earlier"
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    assert not [link for link in links if os.path.lexists(link) and ".part" in os.readlink(link)]


def test_what_the_encoder_refuses_is_reported_with_the_reels_name(tmp_path, clip):
    info = media.probe(clip)
    with pytest.raises(reel.ReelError, match=r"reel\.mp4.*the reel cannot be written"):
        reel.render_reel(clip, info, np.array([[0, 10]]), tmp_path / "reel.mp4", height_px=100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_video_of_which_no_frame_decodes_is_named(tmp_path, clip):
    info = media.probe(clip)
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat")
    size = int.from_bytes(content[start - 4 : start], "big")
    content[start + 4 : start - 4 + size] = bytes(size - 8)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    with pytest.raises(media.MediaError, match=r"damaged\.mp4: received a video stream of which no frame decodes"):
        reel.render_reel(damaged, info, np.array([[0, 10]]), tmp_path / "reel.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.mp4"]


def test_frames_at_the_same_time_or_out_of_order_leave_ascending_times(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=60, options={"crf": "10", "bf": "0"})
    # Frames 30 and 31 get the time of frame 29, and frame 40 that of frame 38.
    pts = "if(between(N,30,31),PTS-(N-29)*DURATION,if(eq(N,40),PTS-2*DURATION,PTS))"
    irregular = tmp_path / "irregular.mp4"
    ffmpeg("-i", clip, "-c", "copy", "-bsf:v", f"setts=pts='{pts}':dts=DTS-4*DURATION", irregular)
    info = media.probe(irregular)
    assert (np.diff(info.frame_times_sec) == 0).sum() == 3
    reel_path = render(irregular, [[20, 35], [35, 58]], info)
    with media.open_media(reel_path) as container:
        times = [(packet.dts, packet.pts) for packet in container.demux(video=0) if packet.size]
    assert (np.diff([dts for dts, _ in times]) > 0).all()
    assert (np.diff(sorted(pts for _, pts in times)) > 0).all()
    numbers = frames_in(reel_path)
    assert numbers == sorted(numbers)
    assert {*range(20, 29), *range(32, 37), *range(41, 58)} <= set(numbers)


@pytest.mark.parametrize("audio", [None, tone(440, 2)])
def test_a_section_across_a_jump_of_the_clock_shows_a_second_of_it(tmp_path, audio):
    ticks = [*range(30), *range(30 + 2000 * 30, 60 + 2000 * 30)]
    clip = write_clip(tmp_path / "gap.mp4", num_frames=60, ticks=ticks, audio=audio, audio_gap_sec=2000)
    reel_path = render(clip, [[5, 8], [10, 50]])
    info = media.probe(reel_path)
    assert frames_in(reel_path) == [5, 6, 7, *range(10, 50)]
    # Frame 29 begins at 22 / 30 s and is shown for a second.
    expected = [*np.arange(23) / 30, *(22 / 30 + 1 + np.arange(20) / 30)]
    assert info.frame_times_sec == pytest.approx(expected, abs=1e-3)
    assert info.duration_sec == pytest.approx(expected[-1] + 1 / 30, abs=0.05)
    if audio is not None:
        heard = np.abs(np.concatenate(list(audio_track.read_audio(reel_path, info, 8000))))
        assert heard[1000:5500].max() > 0.4
        assert heard[6600:13_300].max() < 0.05
        assert heard[14_200:18_000].max() > 0.4


def test_a_frame_that_stands_still_while_the_audio_goes_on_keeps_its_time(tmp_path):
    path = write_exact_audio(tmp_path / "a.mkv", [(0, tone(440, 64, 8000))], frame_ticks=[0, 1, 63 * 30, 63 * 30 + 1])
    reel_path = render(path, [[0, 4]])
    assert media.probe(reel_path).frame_times_sec == pytest.approx([0, 1 / 30, 63, 63 + 1 / 30], abs=2e-3)
