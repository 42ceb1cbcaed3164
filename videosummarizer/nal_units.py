"""Find disposable and IDR pictures in H.264 and HEVC packets, without decoding them.

Sources: ITU-T H.264 and H.265 for NAL unit headers, parameter sets and Annex B (start codes, as in ts, mts and avi
files), ISO/IEC 14496-15 for NAL units with lengths (as in mp4, mkv and flv files). A *picture* here is what these
specifications call so: a coded frame.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av

START_CODE = b"\0\0\1"
# What is read of a slice header is shorter.
MAX_SLICE_HEADER_BYTES = 32
# The types of NAL units that hold a sequence parameter set.
SPS_TYPES = {"h264": 7, "hevc": 33}
# The H.264 profiles whose sequence parameter sets state the chroma format, the bit depth and scaling matrices.
HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


def read_nal_length_size(stream: av.VideoStream) -> int | None:
    """Return the bytes of the length before each NAL unit (ISO/IEC 14496-15, lengthSizeMinusOne + 1).

    None for other codecs and for streams with start codes.
    """
    config = stream.codec_context.extradata or b""
    offset = {"h264": 4, "hevc": 21}.get(stream.codec_context.name)
    return (config[offset] & 3) + 1 if offset and len(config) > offset and config[0] == 1 else None


def disposable_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """Return a function that tells whether no other picture refers to a packet's picture.

    Such a picture can be left out without changing any other (ITU-T H.264, nal_ref_idc 0; ITU-T H.265, sub-layer
    non-reference pictures). In Annex B streams of interlaced H.264, a packet may be half a picture, and none is left
    out; nor is any of HEVC with several temporal sub-layers. The function expects the packets in decoding order.
    """
    codec, nal_length_size = stream.codec_context.name, read_nal_length_size(stream)
    if codec == "h264":

        def is_disposable(first: int, second: int) -> bool:
            return first & 0x60 == 0

    elif codec == "hevc":

        def is_disposable(first: int, second: int) -> bool:
            return (first >> 1) < 15 and (first >> 1) % 2 == 0 and second & 7 == 1

    else:
        return lambda packet: False
    config = stream.codec_context.extradata or b""
    if nal_length_size:
        if codec == "hevc" and (config[21] >> 3) & 7 != 1:  # several temporal sub-layers
            return lambda packet: False
        return lambda packet: all_slices_match(split_by_lengths(packet, nal_length_size), is_disposable, codec)
    is_suitable = allows_leaving_out(config, codec)

    def test(packet: av.Packet) -> bool:
        nonlocal is_suitable
        data = bytes(packet)
        is_suitable = allows_leaving_out(data, codec, is_suitable)
        return is_suitable and all_slices_match(split_at_start_codes(data), is_disposable, codec)

    return test


def random_access_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """Return a function that tells whether a packet holds an IDR picture: no later picture refers to an earlier one."""
    nal_length_size, codec = read_nal_length_size(stream), stream.codec_context.name
    if codec not in SPS_TYPES:
        return lambda packet: False
    is_idr = {"h264": lambda first, _: first & 0x1F == 5, "hevc": lambda first, _: first >> 1 in (19, 20)}[codec]
    if nal_length_size:
        return lambda packet: all_slices_match(split_by_lengths(packet, nal_length_size), is_idr, codec)
    return lambda packet: all_slices_match(split_at_start_codes(bytes(packet)), is_idr, codec)


def split_by_lengths(packet: av.Packet, nal_length_size: int) -> Iterator[memoryview | None]:
    """Yield the NAL units of a packet in which each has its length before it, None where a length is wrong."""
    data, offset = memoryview(packet), 0
    while offset < len(data):
        start = offset + nal_length_size
        offset = start + int.from_bytes(data[offset:start], "big")
        if offset > len(data) or offset < start + 2:
            yield None
            return
        yield data[start:offset]


def split_at_start_codes(data: bytes) -> Iterator[memoryview]:
    """Yield the NAL units of an Annex B stream, with any zeros that follow them."""
    start = data.find(START_CODE)
    while start >= 0:
        end = data.find(START_CODE, start + 3)
        yield memoryview(data)[start + 3 : end if end >= 0 else len(data)]
        start = end


def nal_type(unit: memoryview, codec: str) -> int:
    """Return the type of a NAL unit."""
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1


def all_slices_match(units: Iterator[memoryview | None], predicate: Callable[[int, int], bool], codec: str) -> bool:
    """Return whether there are slices and a predicate is true for the first two bytes of each.

    Args:
        units: The NAL units of a packet; None for one that is damaged, which makes the result False.
        predicate: Called with the first two bytes of a NAL unit.
        codec: "h264" or "hevc".
    """
    has_slice = False
    for unit in units:
        if unit is None or len(unit) < 2:
            return False
        if 1 <= nal_type(unit, codec) <= 5 if codec == "h264" else nal_type(unit, codec) < 32:
            if not predicate(unit[0], unit[1]):
                return False
            has_slice = True
    return has_slice


def allows_leaving_out(data: bytes, codec: str, default: bool = False) -> bool:
    """Return whether pictures may be left out, as the last sequence parameter set in data of Annex B says.

    Args:
        data: A packet, or the extradata of a stream.
        codec: "h264" or "hevc".
        default: Returned where there is none.
    """
    for unit in split_at_start_codes(data):
        if len(unit) > 3 and nal_type(unit, codec) == SPS_TYPES[codec]:
            is_one_sub_layer = (unit[2] >> 1) & 7 == 0  # sps_max_sub_layers_minus1 of HEVC
            default = is_one_sub_layer if codec == "hevc" else is_frames_only(bytes(unit))
    return default


def second_field_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """Return a function that tells whether a packet is the second field of a frame, which is shown with the first.

    In Annex B streams of interlaced H.264, as camcorders and broadcasts write them, a packet may be a field. In other
    streams, both fields are in one packet. The function expects the packets in decoding order.
    """
    config = stream.codec_context.extradata or b""
    if stream.codec_context.name != "h264" or read_nal_length_size(stream):
        return lambda packet: False
    sps, first_field = find_sps(config), None

    def test(packet: av.Packet) -> bool:
        nonlocal sps, first_field
        data = bytes(packet)
        sps = find_sps(data, sps)
        field = read_field(data, sps)
        is_second = field is not None and first_field is not None and first_field == (field[0], not field[1])
        first_field = None if is_second else field
        return is_second

    return test


@dataclass(frozen=True)
class SequenceParameters:
    """What is read of an H.264 sequence parameter set (7.3.2.1.1).

    Attributes:
        frame_num_bits: The length of frame_num in a slice header.
        has_colour_planes: Whether a slice header states a colour plane.
        frames_only: Whether no picture is a field.
    """

    frame_num_bits: int
    has_colour_planes: bool
    frames_only: bool


def find_sps(data: bytes, default: SequenceParameters | None = None) -> SequenceParameters | None:
    """Return the last H.264 sequence parameter set in data of Annex B, a default where there is none."""
    for unit in split_at_start_codes(data):
        if len(unit) > 3 and nal_type(unit, "h264") == SPS_TYPES["h264"]:
            default = read_sps(bytes(unit))
    return default


def read_field(data: bytes, sps: SequenceParameters | None) -> tuple[int, bool] | None:
    """Return (frame_num, whether it is the bottom one) of a packet that is a field, from its first slice (7.3.3).

    None for frames, and where the header cannot be read.
    """
    if sps is None or sps.frames_only:
        return None
    slices = (unit for unit in split_at_start_codes(data) if len(unit) > 2 and nal_type(unit, "h264") in (1, 2, 5))
    unit = next(slices, None)
    if unit is None:
        return None
    bits = BitReader(without_emulation_prevention(bytes(unit[1:MAX_SLICE_HEADER_BYTES])))
    try:
        for _ in range(3):  # first macroblock, type, picture parameter set
            bits.read_ue()
        if sps.has_colour_planes:
            bits.read(2)
        frame_num = bits.read(sps.frame_num_bits)
        return (frame_num, bits.read(1) == 1) if bits.read(1) else None
    except EOFError:
        return None


def without_emulation_prevention(payload: bytes) -> bytes:
    """Return the payload of a NAL unit without the bytes that prevent start codes (7.4.1)."""
    return payload.replace(b"\0\0\3", b"\0\0")


def is_frames_only(sps: bytes) -> bool:
    """Return frame_mbs_only_flag of an H.264 sequence parameter set, False for a damaged one."""
    parameters = read_sps(sps)
    return parameters is not None and parameters.frames_only


def read_sps(sps: bytes) -> SequenceParameters | None:
    """Read an H.264 sequence parameter set, None for a damaged one."""
    bits = BitReader(without_emulation_prevention(sps[1:]))
    try:
        profile = bits.read(8)
        bits.read(16)
        bits.read_ue()
        has_colour_planes = profile in HIGH_PROFILES and read_high_profile_fields(bits)
        frame_num_bits = 4 + bits.read_ue()
        order_type = bits.read_ue()
        if order_type == 0:
            bits.read_ue()
        elif order_type == 1:
            bits.read(1)
            for _ in range(2):
                bits.read_ue()  # signed, which makes no difference to the length
            for _ in range(bits.read_ue()):
                bits.read_ue()
        bits.read_ue()  # max_num_ref_frames
        bits.read(1)
        for _ in range(2):  # width and height
            bits.read_ue()
        return SequenceParameters(frame_num_bits, has_colour_planes, bits.read(1) == 1)
    except EOFError:
        return None


def read_high_profile_fields(bits: "BitReader") -> bool:
    """Read what only the parameter sets of HIGH_PROFILES have, and return whether there are separate colour planes."""
    chroma_format = bits.read_ue()
    has_colour_planes = chroma_format == 3 and bits.read(1) == 1
    for _ in range(2):  # bit depths
        bits.read_ue()
    bits.read(1)
    if bits.read(1):
        for index in range(12 if chroma_format == 3 else 8):
            if bits.read(1):
                skip_scaling_list(bits, 16 if index < 6 else 64)
    return has_colour_planes


def skip_scaling_list(bits: "BitReader", length: int) -> None:
    """Read a scaling list of an H.264 parameter set (7.3.2.1.1.1)."""
    scale = 8
    for _ in range(length):
        scale = (scale + bits.read_se()) % 256
        if scale == 0:  # the rest repeats the last value
            return


class BitReader:
    """Reads the bits of a NAL unit.

    Args:
        data: Its payload, without the bytes that prevent start codes.
    """

    def __init__(self, data: bytes):
        self.bits = int.from_bytes(data, "big")
        self.num_left = 8 * len(data)

    def read(self, num_bits: int) -> int:
        """Return an unsigned number of so many bits. Raises EOFError at the end."""
        self.num_left -= num_bits
        if self.num_left < 0:
            raise EOFError
        return (self.bits >> self.num_left) & ((1 << num_bits) - 1)

    def read_ue(self) -> int:
        """Return an unsigned Exp-Golomb number (9.1)."""
        num_zeros = 0
        while not self.read(1):
            num_zeros += 1
        return (1 << num_zeros) - 1 + self.read(num_zeros)

    def read_se(self) -> int:
        """Return a signed Exp-Golomb number (9.1.1)."""
        number = self.read_ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)
