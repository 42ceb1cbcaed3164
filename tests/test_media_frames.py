"""Which pictures of a film are decoded, left out or begun with: every frame must be that of a full decode."""

import gc
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import FRAME_RATE_FPS, ffmpeg, read_number, write_clip

from videosummarizer import frame_scaling, media, nal_units, video_track
from videosummarizer.labelling.thumbnails import read_thumbnails

NUM_FRAMES = 200
# x264 and x265 as films have them: IDR pictures alone, recovery points, leading pictures that can be decoded when read
# from there (RADL) and that cannot (RASL), B pictures that others refer to and that none refers to, several slices.
FILMS = {
    "h264 closed GOPs": ("libx264", "bframes=3:b-pyramid=none:open-gop=0:keyint=40:min-keyint=20"),
    "h264 open GOPs": ("libx264", "bframes=3:b-pyramid=normal:open-gop=1:keyint=40:min-keyint=20"),
    "h264 open GOPs and IDR": ("libx264", "bframes=3:open-gop=1:keyint=30:min-keyint=15:scenecut=0"),
    "h264 slices": ("libx264", "bframes=5:b-adapt=0:slices=3:keyint=50:ref=4"),
    "h264 no B pictures": ("libx264", "bframes=0:keyint=25"),
    "h264 intra refresh": ("libx264", "bframes=2:intra-refresh=1:keyint=40"),
    "h264 GOPs shorter than what is held back": ("libx264", "bframes=3:b-pyramid=normal:keyint=2:min-keyint=1"),
    "h264 in an .mkv": ("libx264", "bframes=3:b-pyramid=normal:open-gop=1:keyint=30:min-keyint=15"),
    "hevc in an .mkv": ("libx265", "bframes=4:open-gop=0:radl=3:keyint=40:min-keyint=40:scenecut=0"),
    "hevc closed GOPs": ("libx265", "bframes=4:open-gop=0:keyint=40:min-keyint=20"),
    "hevc open GOPs (RASL)": ("libx265", "bframes=4:open-gop=1:keyint=40:min-keyint=20"),
    "hevc RADL": ("libx265", "bframes=4:open-gop=0:radl=3:keyint=40:min-keyint=40:scenecut=0"),
    "hevc no pyramid": ("libx265", "bframes=3:b-pyramid=0:keyint=50"),
    "hevc temporal layers": ("libx265", "bframes=4:temporal-layers=3:keyint=40"),
    "hevc one IDR": ("libx265", "bframes=4:keyint=-1"),
}


def moving_picture(number):
    """A picture of noise that moves, other in each frame: what is predicted from the wrong picture is another."""
    generator = np.random.default_rng(5)
    texture = generator.integers(0, 256, (12, 40, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    shown = np.roll(texture, (number, 3 * number), (0, 1))[:48, :80].copy()
    shown[:8, : number % 80] = 255
    shown[8:16, : number // 80 * 20] = 0
    return shown


@pytest.fixture(scope="module", params=FILMS)
def film(request, tmp_path_factory):
    """(path, its frames as a plain loop over all of its packets decodes them)."""
    codec, parameters = FILMS[request.param]
    path = tmp_path_factory.mktemp("films") / ("film.mkv" if "mkv" in request.param else "film.mp4")
    options = {"preset": "veryfast", f"{codec[3:]}-params": parameters + ":log-level=none" * (codec == "libx265")}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FRAME_RATE_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        for number in range(NUM_FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = [frame.reformat(80, 48, "rgb24", interpolation="AREA").to_ndarray() for frame in container.decode()]
    assert len(frames) == NUM_FRAMES
    return path, np.stack(frames)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 41])
def test_frames_from_anywhere_on_equal_those_of_a_full_decode(film, step):
    path, expected = film
    info = media.probe(path)
    for first in (0, 1, 19, 36, 39, 40, 41, 78, 80, 83, 118, 121, 160, 199):
        numbers = np.arange(first, NUM_FRAMES, step)[:12]
        found = np.stack(list(video_track.read_frames(path, info, (numbers + 0.25) / FRAME_RATE_FPS, 80, 48)))
        np.testing.assert_array_equal(found, expected[numbers], err_msg=f"from frame {first} on, every {step}.")


def test_frames_far_apart_equal_those_of_a_full_decode(film):
    path, expected = film
    numbers = np.sort(np.random.default_rng(3).choice(NUM_FRAMES, 25, replace=False))
    found = list(
        video_track.read_frames(path, media.probe(path), (numbers + 0.25) / FRAME_RATE_FPS, 80, 48, num_threads=3)
    )
    np.testing.assert_array_equal(found, expected[numbers])


def test_random_access_points_are_the_pictures_that_the_streams_own_headers_call_idr(film):
    # By another route: FFmpeg's own parser splits the stream into NAL units, behind start codes instead of lengths.
    path, _ = film
    codec = media.probe(path).codec
    stream_filter = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}[codec]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        to_start_codes = av.bitstream.BitStreamFilterContext(stream_filter, stream)
        expected = []
        for packet in container.demux(stream):
            times = [packet.pts, packet.dts]
            for filtered in to_start_codes.filter(packet) if packet.size else ():
                units = bytes(filtered).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
                types = {unit[0] & 31 if codec == "h264" else unit[0] >> 1 for unit in units}
                if types & ({5} if codec == "h264" else {19, 20}) and None not in times:
                    expected.append(times)
    assert media.probe(path).random_access_points.tolist() == sorted(expected)
    assert expected or path.suffix == ".mkv"  # which has no decoding timestamp for the first picture


@pytest.fixture
def seen(monkeypatch):
    """The presentation timestamps of the packets that go to the decoder, in order."""
    timestamps, original = [], media.decode

    def decode(packets, *more):
        return original((timestamps.append(packet.pts) or packet for packet in packets), *more)

    monkeypatch.setattr(media, "decode", decode)
    return timestamps


def test_decoding_starts_at_the_last_restart_that_is_not_after_the_first_frame(tmp_path, seen):
    options = {"x264-params": "keyint=40:min-keyint=40:scenecut=0:bframes=0"}
    path = write_clip(tmp_path / "clip.mp4", num_frames=200, options=options)
    info = media.probe(path)
    ticks_per_frame = info.random_access_points[1, 0] // 40
    assert (info.random_access_points[:, 0] // ticks_per_frame).tolist() == [0, 40, 80, 120, 160]
    for first, begin in ((0, 0), (39, 0), (40, 40), (79, 40), (80, 80), (125, 120), (199, 160)):
        seen.clear()
        (frame,) = video_track.read_frames(path, info, np.array([first / FRAME_RATE_FPS]), 40, 16)
        assert read_number(frame) == first
        assert seen[0] == begin * ticks_per_frame
        assert len(seen) <= first - begin + 60  # decoders hold back a few frames, for each of their threads


@pytest.mark.parametrize(
    ("first_pts", "sought", "read"),
    [(0, None, 0), (39, None, 0), (40, 38, 40), (79, 38, 40), (80, 78, 80), (500, 78, 80)],
)
def test_a_file_is_sought_by_decoding_time_and_read_from_the_restart_on(first_pts, sought, read):
    # After a seek a demuxer may begin before the restart, with pictures that are shown later or earlier than it.
    random_access_points = np.array([[0, -2], [40, 38], [80, 78]])
    shown = [84, 36, 37, *range(0, 90, 2)]
    packets, seeks, stream = [SimpleNamespace(pts=pts) for pts in shown], [], SimpleNamespace(type="audio")
    container = SimpleNamespace(
        seek=lambda place, **how: seeks.append((place, how)),
        demux=lambda wanted: iter(packets if wanted is stream else ()),
    )
    found = [packet.pts for packet in video_track.demux_from(container, stream, random_access_points, first_pts)]
    assert found == (list(range(read, 90, 2)) if read else shown)
    assert seeks == ([(sought, {"stream": stream, "backward": True})] if sought else [])


def test_pictures_that_none_refers_to_are_left_out_unless_they_are_shown(tmp_path, seen):
    options = {"x264-params": "keyint=9999:scenecut=0:bframes=3:b-adapt=0:b-pyramid=none"}
    path = write_clip(tmp_path / "clip.mp4", num_frames=61, options=options)
    info = media.probe(path)
    seen.clear()
    (frame,) = video_track.read_frames(path, info, np.array([2.0]), 40, 16)
    assert read_number(frame) == 60
    ticks_per_frame = max(pts for pts in seen if pts is not None) // 60
    numbers = sorted(pts // ticks_per_frame for pts in seen if pts is not None)
    assert numbers == [number for number in range(61) if number % 4 == 0]
    seen.clear()
    (frame,) = video_track.read_frames(path, info, np.array([30 / FRAME_RATE_FPS]), 40, 16)
    assert read_number(frame) == 30
    assert 30 in {pts // ticks_per_frame for pts in seen if pts is not None}


# ---- What is told from the bytes of slices, made by hand after ITU-T H.264 7.3.1 and H.265 7.3.1.2


def packet_of(*units, nal_length_size=4):
    return b"".join(len(unit).to_bytes(nal_length_size, "big") + unit for unit in units)


def stream_of(codec, nal_length_size=4, sub_layers=1, version=1):
    """What `media` looks at of a stream: its configuration as mp4 keeps it, of H.264 (avcC) or HEVC (hvcC)."""
    if codec == "hevc":
        extradata = bytes([version, *[0] * 20, sub_layers << 3 | nal_length_size - 1, 0])
    else:
        extradata = bytes([version, 100, 0, 31, 0xFC | nal_length_size - 1, 0xE1])
    return SimpleNamespace(codec_context=SimpleNamespace(name=codec, extradata=extradata))


def h264_unit(unit_type, ref_idc):
    return bytes([ref_idc << 5 | unit_type, 0x88, 1, 2])


def hevc_unit(unit_type, temporal_id=0, layer_id=0):
    return bytes([unit_type << 1 | layer_id >> 5, (layer_id & 31) << 3 | temporal_id + 1, 7, 7, 7])


@pytest.mark.parametrize("nal_length_size", [1, 2, 4])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_length_prefixes_are_as_long_as_the_configuration_says(codec, nal_length_size):
    stream = stream_of(codec, nal_length_size)
    assert nal_units.read_nal_length_size(stream) == nal_length_size
    unit = h264_unit(5, 3) if codec == "h264" else hevc_unit(19)
    assert nal_units.random_access_test(stream)(packet_of(unit, nal_length_size=nal_length_size))
    assert not nal_units.random_access_test(stream)(packet_of(unit, nal_length_size=3))


@pytest.mark.parametrize(
    "context",
    [
        SimpleNamespace(name="h264", extradata=None),
        SimpleNamespace(name="h264", extradata=b""),
        SimpleNamespace(name="h264", extradata=b"\0\0\0\1\x67\x64\0\x1f"),  # start codes, as in .ts files
        SimpleNamespace(name="h264", extradata=b"\x01\x64\0\x1f"),  # cut short
        SimpleNamespace(name="hevc", extradata=b"\0\0\0\1\x40\x01" + bytes(30)),
        SimpleNamespace(name="hevc", extradata=b"\x01" + bytes(20)),
        SimpleNamespace(name="hevc", extradata=b"\x02" + bytes(20) + b"\x0b\0"),
        SimpleNamespace(name="vp9", extradata=b"\x01" + bytes([255]) * 30),
    ],
)
def test_without_a_known_configuration_nothing_is_left_out_and_nothing_is_a_restart(context):
    stream = SimpleNamespace(codec_context=context)
    assert nal_units.read_nal_length_size(stream) is None
    for unit in (h264_unit(1, 0), h264_unit(5, 3), hevc_unit(0), hevc_unit(19)):
        for nal_length_size in (1, 4):
            assert nal_units.disposable_test(stream)(packet_of(unit, nal_length_size=nal_length_size)) is False
            assert nal_units.random_access_test(stream)(packet_of(unit, nal_length_size=nal_length_size)) is False


def test_the_configurations_first_byte_that_counts_is_enough():
    context = SimpleNamespace(name="h264", extradata=b"\x01\x64\0\x1f\xff")
    assert nal_units.read_nal_length_size(SimpleNamespace(codec_context=context)) == 4
    context = SimpleNamespace(name="hevc", extradata=b"\x01" + bytes(20) + b"\x0d")
    assert nal_units.read_nal_length_size(SimpleNamespace(codec_context=context)) == 2


@pytest.mark.parametrize("unit_type", range(1, 32))
def test_h264_pictures_are_disposable_where_no_slice_is_referred_to(unit_type):
    is_disposable = nal_units.disposable_test(stream_of("h264"))
    is_slice = unit_type in (1, 2, 3, 4, 5)
    for ref_idc in range(4):
        assert is_disposable(packet_of(h264_unit(unit_type, ref_idc))) == (is_slice and ref_idc == 0)


def test_h264_pictures_are_classified_by_all_of_their_slices_and_by_nothing_else():
    is_disposable, is_random_access_point = (
        nal_units.disposable_test(stream_of("h264")),
        nal_units.random_access_test(stream_of("h264")),
    )
    delimiter, settings, message = h264_unit(9, 0), h264_unit(7, 3), h264_unit(6, 0)
    none, some, idr = h264_unit(1, 0), h264_unit(1, 2), h264_unit(5, 3)
    for units, disposable, restart in (
        ([delimiter, message, none], True, False),
        ([settings, none, none], True, False),  # settings always carry a reference count, and are no picture
        ([none, some], False, False),
        ([some, none], False, False),
        ([delimiter, settings, idr, idr], False, True),
        ([idr, none], False, False),
        ([none, idr], False, False),
        ([delimiter, settings], False, False),
        ([], False, False),
    ):
        assert (is_disposable(packet_of(*units)), is_random_access_point(packet_of(*units))) == (disposable, restart)


@pytest.mark.parametrize("unit_type", range(64))
def test_hevc_pictures_are_disposable_or_random_access_points_by_their_type(unit_type):
    packet = packet_of(hevc_unit(35), hevc_unit(39), hevc_unit(unit_type))
    disposable = unit_type in (0, 2, 4, 6, 8, 10, 12, 14)  # TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N, reserved ones
    assert nal_units.disposable_test(stream_of("hevc"))(packet) == disposable
    assert nal_units.random_access_test(stream_of("hevc"))(packet) == (unit_type in (19, 20))  # IDR_W_RADL, IDR_N_LP


def test_hevc_pictures_of_sub_layers_are_never_left_out():
    is_disposable = nal_units.disposable_test(stream_of("hevc"))
    assert is_disposable(packet_of(hevc_unit(0, temporal_id=0)))
    assert is_disposable(packet_of(hevc_unit(0, layer_id=31)))
    for temporal_id in range(1, 7):
        assert not is_disposable(packet_of(hevc_unit(0, temporal_id)))
    for sub_layers in (0, 2, 3, 7):  # 0: unknown
        assert not nal_units.disposable_test(stream_of("hevc", sub_layers=sub_layers))(packet_of(hevc_unit(0)))
        assert nal_units.random_access_test(stream_of("hevc", sub_layers=sub_layers))(packet_of(hevc_unit(20)))
    mixed = packet_of(hevc_unit(0), hevc_unit(1))
    assert not is_disposable(mixed)
    assert not nal_units.random_access_test(stream_of("hevc"))(packet_of(hevc_unit(19), hevc_unit(21)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packet: packet[:-1],
        lambda packet: packet + b"\0",
        lambda packet: packet + (1).to_bytes(4, "big") + b"\x01",  # a unit of one byte
        lambda packet: packet + bytes(4),  # a unit of none
        lambda packet: b"\0\0\0\1" + packet[4:],
        lambda packet: packet + b"\xff\xff\xff\xff\x01\x02",
    ],
)
def test_packets_whose_lengths_do_not_add_up_are_decoded_and_no_restarts(spoil):
    for codec, unit, rule in (
        ("h264", h264_unit(1, 0), nal_units.disposable_test),
        ("h264", h264_unit(5, 3), nal_units.random_access_test),
        ("hevc", hevc_unit(0), nal_units.disposable_test),
        ("hevc", hevc_unit(20), nal_units.random_access_test),
    ):
        assert rule(stream_of(codec))(packet_of(unit))
        assert not rule(stream_of(codec))(spoil(packet_of(unit)))


def test_a_unit_of_two_bytes_is_a_whole_one():
    assert nal_units.disposable_test(stream_of("h264"))(packet_of(b"\x01\x88"))
    assert nal_units.disposable_test(stream_of("hevc"))(packet_of(b"\x00\x01"))


# ---- Pictures that are filmed turned, or whose pixels are not square


@pytest.mark.parametrize(
    ("degrees", "num_turns"),
    [(0, 0), (90, 1), (180, 2), (-180, 2), (-90, 3), (89, 1), (-91, 3), (-89, 3), (44, 0), (-1, 0)],
)
def test_a_rotation_is_the_nearest_number_of_quarter_turns(degrees, num_turns):
    assert frame_scaling.num_quarter_turns(SimpleNamespace(rotation=degrees, side_data={})) == num_turns


@pytest.mark.parametrize("read", ["frames", "thumbnails"])
def test_frames_that_were_read_do_not_wait_for_the_garbage_collector(tmp_path, read):
    path = write_clip(tmp_path / "clip.mp4", num_frames=60)
    gc.collect()
    gc.disable()
    try:
        if read == "frames":
            num_read = len(list(video_track.read_frames(path, media.probe(path), np.arange(60) / 30, 32, 32)))
        else:
            num_read = len(read_thumbnails(path).times_sec)
        # Not isinstance, which fails for dead proxies that other tests leave.
        num_alive = sum(issubclass(type(thing), av.VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert num_read == 60
    assert num_alive < 10


@pytest.mark.parametrize(("degrees", "size_px"), [(0, (160, 64)), (90, (64, 160)), (180, (160, 64)), (270, (64, 160))])
def test_frames_are_rotated_as_ffmpeg_rotates_them(tmp_path, degrees, size_px):
    # No number but 0 and 1023 looks the same upside down; 5 has its bars at one end.
    path = write_clip(tmp_path / "clip.mp4", num_frames=2, first_number=5, options={"crf": "4"})
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", degrees, "-i", path, "-c", "copy", turned)
    raw = ffmpeg("-i", turned, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(size_px[1], size_px[0], 3)
    (frame,) = video_track.read_frames(turned, media.probe(turned), np.array([0.0]), *size_px)
    assert np.abs(frame.astype(int) - expected).mean() < 2
    assert frame.shape == expected.shape


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotated_frames_of_pixels_that_are_not_square_fill_the_size_asked_for(tmp_path, degrees):
    path = write_clip(tmp_path / "clip.mp4", num_frames=2, first_number=5, options={"crf": "4"})
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", degrees, "-i", path, "-c", "copy", "-bsf:v", "h264_metadata=sample_aspect_ratio=4/3",
           turned)  # fmt: skip
    with av.open(str(turned)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    (frame,) = video_track.read_frames(turned, media.probe(turned), np.array([0.0]), 40, 30)
    assert frame.shape == (30, 40, 3)
    # Number 5 is 0000000101: white at the 8th and the 10th of ten bars, left to right or the way the film is turned.
    profile = frame.mean(axis=(0, 2) if degrees % 180 == 0 else (1, 2))
    profile = profile[::-1] if degrees in (90, 180) else profile
    bars = np.interp((np.arange(10) + 0.5) / 10, (np.arange(len(profile)) + 0.5) / len(profile), profile)
    assert (bars > 128).tolist() == [False] * 7 + [True, False, True]
