"""Annex B streams: NAL units behind start codes, and which sequence parameter sets allow to leave pictures out."""

import subprocess
from types import SimpleNamespace

import imageio_ffmpeg
import pytest

from videosummarizer import media, nal_units

PARAMETER_SETS = {
    "baseline": (("-profile:v", "baseline"), True),
    "high": (("-profile:v", "high"), True),
    "scaling matrices": (("-x264-params", "cqm=jvt"), True),
    "4:4:4 with scaling matrices": (("-pix_fmt", "yuv444p", "-x264-params", "cqm=jvt"), True),
    "10 bit": (("-pix_fmt", "yuv420p10le"), True),
    "interlaced": (("-x264-params", "interlaced=1"), False),
    "interlaced with scaling matrices": (("-x264-params", "interlaced=1:cqm=jvt"), False),
}


@pytest.mark.parametrize(("options", "expected"), PARAMETER_SETS.values(), ids=PARAMETER_SETS)
def test_a_parameter_set_says_whether_a_packet_may_be_half_a_picture(tmp_path, options, expected):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "color=s=64x64", "-frames:v", "1"]
    subprocess.run([*command, "-c:v", "libx264", *options, str(tmp_path / "clip.ts")], check=True)
    with media.open_media(tmp_path / "clip.ts") as container:
        extradata = container.streams.video[0].codec_context.extradata
    (sps,) = [unit for unit in nal_units.split_at_start_codes(extradata) if unit[0] & 31 == 7]
    assert nal_units.is_frames_only(bytes(sps)) == expected
    assert nal_units.allows_leaving_out(extradata, "h264") == expected
    for length in range(1, 6):
        assert not nal_units.is_frames_only(bytes(sps)[:length])


def to_sps(*fields):
    """Return an H.264 sequence parameter set of Exp-Golomb numbers, or bits where a field is text."""
    bits = ""
    for field in fields:
        bits += field if isinstance(field, str) else "0" * ((field + 1).bit_length() - 1) + f"{field + 1:b}"
    bits += "1" + "0" * (-len(bits) - 1 & 7)
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("frames_only", [True, False])
def test_parameter_sets_that_count_pictures_in_another_way_are_read(frames_only):
    baseline = f"{66:08b}{0:08b}{30:08b}"
    flag = f"{frames_only:b}"
    cycle = (1, "0", 3, 2, 2, 5, 6)  # order of type 1: a flag, two offsets, two reference frames
    assert nal_units.is_frames_only(to_sps(baseline, 0, 0, *cycle, 4, "0", 19, 10, flag)) == frames_only
    assert nal_units.is_frames_only(to_sps(baseline, 0, 0, 2, 4, "0", 19, 10, flag)) == frames_only
    assert nal_units.is_frames_only(to_sps(baseline, 0, 0, 0, 4, 4, "0", 19, 10, flag)) == frames_only


def start_codes(*units):
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def test_a_parameter_set_on_the_way_counts_from_its_packet_on():
    baseline, picture = f"{66:08b}{0:08b}{30:08b}", b"\x01\x88\x99"
    progressive, interlaced = (to_sps(baseline, 0, 0, 2, 4, "0", 19, 10, flag) for flag in "10")
    context = SimpleNamespace(name="h264", extradata=start_codes(progressive))
    is_disposable = nal_units.disposable_test(SimpleNamespace(codec_context=context))
    packets = [
        (start_codes(picture, picture), True),
        (start_codes(b"\x21\x88\x99"), False),  # another picture refers to it
        (start_codes(picture, b"\x21\x88\x99"), False),
        (start_codes(interlaced, b"\x65\x88"), False),
        (start_codes(picture), False),
        (start_codes(progressive, picture), True),
        (start_codes(progressive), False),
        (b"", False),
    ]
    assert [is_disposable(packet) for packet, _ in packets] == [expected for _, expected in packets]
    without = SimpleNamespace(codec_context=SimpleNamespace(name="h264", extradata=None))  # as raw H.264 in some mkv
    is_disposable = nal_units.disposable_test(without)
    assert [is_disposable(packet) for packet, _ in packets] == [False, *[expected for _, expected in packets[1:]]]
    is_restart = nal_units.random_access_test(without)
    assert [is_restart(packet) for packet, _ in packets] == [False, False, False, True, False, False, False, False]


def test_hevc_with_several_temporal_sub_layers_is_decoded_in_full():
    picture = b"\x00\x01\x99"
    for num_sub_layers in (1, 2, 7):
        sps = bytes([33 << 1, 1, (num_sub_layers - 1) << 1 | 1, 1, 2])
        context = SimpleNamespace(name="hevc", extradata=start_codes(sps))
        stream = SimpleNamespace(codec_context=context)
        assert nal_units.disposable_test(stream)(start_codes(picture)) == (num_sub_layers == 1)
        assert nal_units.random_access_test(stream)(start_codes(b"\x26\x01\x99"))


def field(frame_num, is_bottom, unit_type=1, is_field=True):
    """Return the slice of a field, or of a frame, with 4 bits of frame_num."""
    parity = f"{is_bottom:b}" if is_field else ""
    return bytes([0x60 | unit_type]) + to_sps(0, 2, 0, f"{frame_num:04b}", f"{is_field:b}", parity, "10110")[1:]


def test_the_second_field_of_a_picture_is_no_frame_of_its_own():
    baseline = f"{66:08b}{0:08b}{30:08b}"
    interlaced, progressive = (start_codes(to_sps(baseline, 0, 0, 2, 4, "0", 19, 10, flag)) for flag in "01")
    packets = [
        (field(0, False, 5), False),
        (field(0, True), True),
        (field(1, False), False),
        (field(1, True), True),
        (field(1, False), False),  # of two pictures to which no other refers, each with the same number
        (field(1, True), True),
        (field(2, True), False),  # the bottom field first
        (field(2, False), True),
        (field(3, False), False),
        (field(4, True), False),  # one field is lost
        (field(4, False), True),
        (field(5, False, is_field=False), False),
        (field(5, True), False),
        (b"\x67", False),
        (b"", False),
    ]
    context = SimpleNamespace(name="h264", extradata=interlaced)
    is_second_field = nal_units.second_field_test(SimpleNamespace(codec_context=context))
    received = [is_second_field(start_codes(b"\x09\x10", unit)) for unit, _ in packets]
    assert received == [expected for _, expected in packets]
    is_second_field = nal_units.second_field_test(SimpleNamespace(codec_context=context))
    in_band = [
        progressive + start_codes(field(0, False)),
        start_codes(field(0, True)),
        interlaced + start_codes(field(1, False)),
    ]
    assert [is_second_field(packet) for packet in [*in_band, start_codes(field(1, True))]] == [False] * 3 + [True]
    for other in (SimpleNamespace(name="hevc", extradata=interlaced), SimpleNamespace(name="h264", extradata=None)):
        is_second_field = nal_units.second_field_test(SimpleNamespace(codec_context=other))
        assert not any(is_second_field(start_codes(unit)) for unit, _ in packets)
