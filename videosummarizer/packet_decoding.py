"""Decode the packets of a stream around damage."""

from collections import deque
from collections.abc import Callable, Iterator

import av.error

# A decoder has at most this many threads, and reports an error at most so many packets late.
MAX_DECODER_DELAY = 256


def decode(
    packets: Iterator[av.Packet], start_sec: float = 0, on_damage: Callable[[float], object] | None = None
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Decode packets, skipping frames without a presentation time and packets that are damaged.

    Whatever error a decoder has with a packet is damage. Errors while packets are read are not, and are raised.

    Args:
        packets: The packets of one stream.
        start_sec: Time 0 of on_damage.
        on_damage: Called with the time in seconds of each packet that does not decode.
    """
    recent_pts: deque[int | None] = deque(maxlen=MAX_DECODER_DELAY)
    for packet in packets:
        recent_pts.append(packet.pts)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames = []
            if (
                on_damage is not None
                and (pts := recent_pts[-1 - min(decoder_delay(packet), len(recent_pts) - 1)]) is not None
            ):
                on_damage(max(0.0, float(pts * packet.time_base) - start_sec))
        yield from (frame for frame in frames if frame.pts is not None)


def decoder_delay(packet: av.Packet) -> int:
    """Return how many packets later a decoder with several threads reports an error."""
    return packet.stream.codec_context.delay if packet.stream.type == "video" else 0
