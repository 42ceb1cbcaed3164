"""Decode the packets of a stream around damage."""

import re
from collections import deque
from collections.abc import Callable, Iterator

import av.error

from videosummarizer.nal_units import SPS_TYPES, random_access_test

# The mark of MPEG-4 with B-frames in avi files by DivX and Xvid: a packet may hold two frames, and the next one none.
PACKED_BITSTREAM = re.compile(rb"DivX\d+(?:b|Build)\d+p")
# A decoder has at most this many threads, and reports an error at most so many packets late.
MAX_DECODER_DELAY = 256
# Beginnings of the names of uncompressed and nearly uncompressed codecs, in which zeros are silence or black.
UNCOMPRESSED_CODECS = ("pcm", "adpcm", "dsd", "raw", "v210", "v410", "r210", "r10k", "yuv4", "bitpacked")
# Shorter packets may be zeros in intact files, such as one byte of Vorbis for silence.
MIN_ZEROED_BYTES = 16


def lacks_display_times(stream: av.VideoStream) -> bool:
    """Return whether the timestamps of a stream's packets do not say when their frames are displayed.

    An avi file stores none. FFmpeg counts its packets, which are in decoding order, and puts those of older codecs into
    the order of display, but not where a packet of MPEG-4 holds two frames.
    """
    if stream.type != "video" or stream.container.format.name != "avi":
        return False
    codec, config = stream.codec_context.name, stream.codec_context.extradata or b""
    return codec in SPS_TYPES or (codec == "mpeg4" and PACKED_BITSTREAM.search(config) is not None)


class DisplayOrder:
    """Gives the frames of a stream the timestamps of its packets in the order of display.

    A frame that is lost makes those after it early, up to the next IDR picture, before which all earlier ones are
    displayed.
    """

    def __init__(self, stream: av.VideoStream):
        self.is_random_access_point = random_access_test(stream)
        self.pending_pts: deque[int] = deque()
        self.random_access_pts: set[int] = set()

    def add(self, packet: av.Packet) -> None:
        """Add the next packet."""
        if packet.pts is not None:
            self.pending_pts.append(packet.pts)
            if self.is_random_access_point(packet):
                self.random_access_pts.add(packet.pts)

    def correct(self, frame: av.VideoFrame) -> None:
        """Set the timestamp of the next decoded frame, which has that of its packet."""
        while frame.pts in self.random_access_pts and self.pending_pts and self.pending_pts[0] < frame.pts:
            self.pending_pts.popleft()
        if self.pending_pts:  # a damaged stream may have more frames than packets
            frame.pts = self.pending_pts.popleft()


def decode(
    packets: Iterator[av.Packet], start_sec: float = 0, on_damage: Callable[[float], object] | None = None
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Decode packets, skipping frames without a presentation time and packets that are damaged.

    Whatever error a decoder has with a packet is damage, and so is a packet of zeros, as in an unfinished download:
    many decoders pass over it. Errors while packets are read are not damage, and are raised.

    Args:
        packets: The packets of one stream.
        start_sec: Time 0 of on_damage.
        on_damage: Called with the time in seconds of each packet that does not decode.
    """
    recent_pts: deque[int | None] = deque(maxlen=MAX_DECODER_DELAY)
    order: DisplayOrder | None = None
    for number, packet in enumerate(packets):
        recent_pts.append(packet.pts)
        if number == 0 and lacks_display_times(packet.stream):
            order = DisplayOrder(packet.stream)
        if order is not None:
            order.add(packet)
        if is_zeroed(packet):
            if on_damage is not None and packet.pts is not None:
                on_damage(max(0.0, float(packet.pts * packet.time_base) - start_sec))
            continue
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames = []
            if (
                on_damage is not None
                and (pts := recent_pts[-1 - min(decoder_delay(packet), len(recent_pts) - 1)]) is not None
            ):
                on_damage(max(0.0, float(pts * packet.time_base) - start_sec))
        for frame in frames:
            if frame.pts is not None:
                if order is not None:
                    order.correct(frame)
                yield frame


def is_zeroed(packet: av.Packet) -> bool:
    """Return whether a packet of a compressed stream holds nothing but zeros."""
    if packet.size < MIN_ZEROED_BYTES or any(bytes(packet)):
        return False
    return not packet.stream.codec_context.name.startswith(UNCOMPRESSED_CODECS)


def decoder_delay(packet: av.Packet) -> int:
    """Return how many packets later a decoder with several threads reports an error."""
    return packet.stream.codec_context.delay if packet.stream.type == "video" else 0
