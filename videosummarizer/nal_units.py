"""Find disposable and IDR pictures in H.264 and HEVC packets, without decoding them.

Sources: ITU-T H.264 and H.265 for NAL unit headers, ISO/IEC 14496-15 for NAL units in containers. A *picture* here is
what these specifications call so: a coded frame.
"""

from collections.abc import Callable
from functools import partial

import av


def read_nal_length_size(stream: av.VideoStream) -> int | None:
    """Return the bytes of the length before each NAL unit (ISO/IEC 14496-15, lengthSizeMinusOne + 1).

    None for other codecs and for streams without such lengths.
    """
    config = stream.codec_context.extradata or b""
    offset = {"h264": 4, "hevc": 21}.get(stream.codec_context.name)
    return (config[offset] & 3) + 1 if offset and len(config) > offset and config[0] == 1 else None


def disposable_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """Return a function that tells whether no other picture refers to a packet's picture.

    Such a picture can be left out without changing any other (ITU-T H.264, nal_ref_idc 0; ITU-T H.265, sub-layer
    non-reference pictures).
    """
    nal_length_size = read_nal_length_size(stream)
    if nal_length_size and stream.codec_context.name == "h264":
        return partial(
            all_slices_match,
            nal_length_size=nal_length_size,
            predicate=lambda first, second: first & 0x60 == 0,
            codec="h264",
        )
    if nal_length_size and (stream.codec_context.extradata[21] >> 3) & 7 == 1:  # one temporal sub-layer
        return partial(
            all_slices_match,
            nal_length_size=nal_length_size,
            predicate=lambda first, second: (first >> 1) < 15 and (first >> 1) % 2 == 0 and second & 7 == 1,
            codec="hevc",
        )
    return lambda packet: False


def random_access_test(stream: av.VideoStream) -> Callable[[av.Packet], bool]:
    """Return a function that tells whether a packet holds an IDR picture: no later picture refers to an earlier one."""
    nal_length_size, codec = read_nal_length_size(stream), stream.codec_context.name
    if nal_length_size is None:
        return lambda packet: False
    is_idr = {"h264": lambda first, _: first & 0x1F == 5, "hevc": lambda first, _: first >> 1 in (19, 20)}[codec]
    return partial(all_slices_match, nal_length_size=nal_length_size, predicate=is_idr, codec=codec)


def all_slices_match(
    packet: av.Packet, nal_length_size: int, predicate: Callable[[int, int], bool], codec: str
) -> bool:
    """Return whether a packet has slices and a predicate is true for the first two bytes of each of their NAL units.

    Args:
        packet: The packet.
        nal_length_size: The bytes of the length before each NAL unit.
        predicate: Called with the first two bytes of a NAL unit.
        codec: "h264" or "hevc".

    Returns:
        False as well where the lengths do not add up to the packet's size.
    """
    data, offset, has_slice = memoryview(packet), 0, False
    while offset < len(data):
        start = offset + nal_length_size
        offset = start + int.from_bytes(data[offset:start], "big")
        if offset > len(data) or offset < start + 2:
            return False
        first = data[start]
        if 1 <= first & 0x1F <= 5 if codec == "h264" else first >> 1 < 32:
            if not predicate(first, data[start + 1]):
                return False
            has_slice = True
    return has_slice
