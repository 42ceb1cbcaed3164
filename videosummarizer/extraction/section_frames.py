"""Read the frames of ascending sections of a video, exact to the frame, without decoding any stretch of it twice."""

from collections.abc import Iterator

import av
import numpy as np

from videosummarizer import media

# Timestamps that are rounded differ by up to this.
ROUNDING_SEC = 0.002
# How far before a keyframe to seek, tried in order; the last one leads to the beginning of the file.
SEEK_MARGINS_SEC = (0, 2, 20, 10**6)


class SectionFrames:
    """Reads the frames of one section after another.

    A section whose last keyframe was decoded already continues where the section before it ended. Only the others are
    sought. A file with one keyframe is therefore decoded once, however many sections it has.

    Where the first or the last frame of a section does not decode, the last one before it that does is shown instead,
    so that the section is as long as its audio.

    Args:
        container: The open file.
        video_info: The result of `media.probe`.

    Attributes:
        frame: The last decoded frame, which is the first one that the section before did not need; None at the end of
            the file, and before the first section.
        last: The frame before it, and its presentation timestamp; None before the first section.
    """

    def __init__(self, container: av.container.InputContainer, video_info: media.VideoInfo):
        self.container, self.stream = container, media.video_stream(container, container.name)
        self.keyframe_pts = self.to_pts(video_info.keyframe_times_sec)
        self.frame_pts = self.to_pts(video_info.frame_times_sec)
        self.frames: Iterator[av.VideoFrame] = iter(())
        self.frame: av.VideoFrame | None = None
        self.last: tuple[av.VideoFrame, int] | None = None

    def to_pts(self, times_sec: np.ndarray) -> np.ndarray:
        """Return the presentation timestamps of times from the start of the match, of the same shape, int64."""
        origin_sec, tick_sec = media.start_time_sec(self.container), float(self.stream.time_base)
        return np.rint((np.asarray(times_sec) + origin_sec) / tick_sec).astype(np.int64)

    def pts_at(self, edges_sec: list[float]) -> list[int]:
        """Return the presentation timestamps of times from the start of the match."""
        return self.to_pts(edges_sec).tolist()

    def read(self, first_pts: int, end_pts: int) -> Iterator[av.VideoFrame]:
        """Yield the frames with presentation timestamps in [first_pts, end_pts)."""
        is_before = self.frame is not None and self.frame.pts <= first_pts
        is_over = self.frame is None and self.last is not None and self.last[1] < first_pts  # no later frame decodes
        keyframe_pts = self.last_keyframe_pts(first_pts)
        if not is_over and (not is_before or (keyframe_pts is not None and keyframe_pts > self.frame.pts)):
            self.seek(first_pts, keyframe_pts)
        tolerance, next_pts = int(ROUNDING_SEC / self.stream.time_base), first_pts
        while self.frame is not None and self.frame.pts < end_pts:
            if (pts := self.frame.pts) >= first_pts:
                if next_pts == first_pts and pts > first_pts + tolerance and self.last:
                    yield self.shown_at(first_pts)
                next_pts = pts + 1
                yield self.frame
            self.advance(pts)
        last_pts = int(self.frame_pts[np.searchsorted(self.frame_pts, end_pts) - 1])
        if self.last and self.last[1] < last_pts - tolerance:
            if next_pts == first_pts < last_pts:
                yield self.shown_at(first_pts)
            yield self.shown_at(last_pts)

    def advance(self, pts: int) -> None:
        """Decode the next frame. The present one had a timestamp that may have been changed since."""
        self.last, self.frame = (self.frame, pts), next(self.frames, None)

    def shown_at(self, pts: int) -> av.VideoFrame:
        """Return the last frame, with the timestamp of another one."""
        frame = self.last[0]
        frame.pts, frame.time_base = pts, self.stream.time_base
        return frame

    def last_keyframe_pts(self, pts: int) -> int | None:
        """Return the presentation timestamp of the last keyframe that is not later than pts, None without one."""
        index = int(np.searchsorted(self.keyframe_pts, pts, side="right")) - 1
        return int(self.keyframe_pts[index]) if index >= 0 else None

    def seek(self, first_pts: int, keyframe_pts: int | None) -> None:
        """Decode the first frame of the group of pictures in which a frame lies.

        A seek goes by decoding time or by position, and may land after the keyframe. Then it is repeated from further
        back. Where decoding cannot start at the file's keyframes, it starts at the beginning, for all later sections.
        """
        for margin_sec in SEEK_MARGINS_SEC if keyframe_pts is not None else ():
            self.start_decoding(keyframe_pts - int(margin_sec / self.stream.time_base), keyframe_pts)
            if self.frame is not None and self.frame.pts <= first_pts:
                return
        self.keyframe_pts = self.keyframe_pts[:0]
        self.start_decoding(first_pts - int(SEEK_MARGINS_SEC[-1] / self.stream.time_base), None)

    def start_decoding(self, sought_pts: int, keyframe_pts: int | None) -> None:
        """Seek, and decode the first frame from a keyframe on, or from where the seek landed."""
        media.seek(self.container, self.stream, sought_pts)
        packets = media.demux(self.container, self.stream)
        self.frames = media.decode(packets if keyframe_pts is None else packets_from(packets, keyframe_pts))
        self.frame = next(self.frames, None)


def packets_from(packets: Iterator[av.Packet], keyframe_pts: int) -> Iterator[av.Packet]:
    """Yield the packets from a keyframe on, none if they begin after it."""
    for packet in packets:
        if packet.pts == keyframe_pts and packet.is_keyframe:
            yield packet
            yield from packets
        elif packet.dts is not None and packet.dts > keyframe_pts:
            return
