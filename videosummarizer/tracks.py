"""Choose which video and which audio track of a file is read. All stages read the same tracks as players play.

That is the first track flagged as default that can be decoded, or without one the first track that can be decoded.
FFmpeg's own choice (`av_find_best_stream`) prefers the highest bit rate.
"""

import re

import av
import av.logging
from av.stream import Disposition

from videosummarizer.timestamps import PacketTimes

# The codecs of covers.
PICTURE_CODECS = ("mjpeg", "png", "bmp", "webp", "gif")
# A line of FFmpeg's description of a file, such as "  Stream #0:1[0x2](und): Audio: ac4 (ac-4 / 0x342D6361), 44100 Hz".
TRACK_LINE = r"^  Stream #0:{index}\b.*?: (?:Audio|Video): (\w+)[^,\n]*?(?:\((.{{4,16}}) / 0x|,|$)"


def by_preference(container: av.container.InputContainer, kind: str) -> list[av.stream.Stream]:
    """Return the tracks of a file, those flagged as default first, otherwise in the order of the file.

    Attached pictures, such as covers, are not video. Single pictures that are not marked so come last.

    Args:
        container: The open file.
        kind: "video" or "audio".
    """

    def is_single_picture(track: av.stream.Stream) -> bool:
        return kind == "video" and track.frames == 1 and codec_name(track) in PICTURE_CODECS

    tracks = [stream for stream in container.streams if stream.type == kind]
    tracks = [track for track in tracks if not track.disposition & Disposition.attached_pic]
    return sorted(tracks, key=lambda track: (is_single_picture(track), not track.disposition & Disposition.default))


def codec_name(stream: av.stream.Stream) -> str:
    """Return the name of a track's codec; of a codec that FFmpeg does not know, its four-character code."""
    if stream.codec_context is not None:
        return stream.codec_context.name
    av.logging.set_level(av.logging.INFO)  # PyAV has no other way to the name of a codec without a decoder
    try:
        description = stream.container.dumps_format()
    finally:
        av.logging.set_level(None)
    line = re.search(TRACK_LINE.format(index=stream.index), description, re.MULTILINE)
    name, tag = line.groups() if line else ("none", None)
    return name if name != "none" else tag or "unknown"


class AudioChoice:
    """Finds the audio track to read from all packets of a file.

    A track without a decoder, without packets, or of which no packet decodes, counts as absent.

    Attributes:
        tracks: All audio tracks, see `by_preference`.
        candidates: Those that have a decoder.
        times: The timestamps of each candidate's packets, by its index among the file's streams.
        decoded: The indices of the tracks that decode.
    """

    def __init__(self, container: av.container.InputContainer, start_sec: float):
        self.tracks = by_preference(container, "audio")
        self.candidates = [track for track in self.tracks if track.codec_context is not None]
        self.times = {track.index: PacketTimes(float(track.time_base), start_sec) for track in self.candidates}
        self.decoded: set[int] = set()

    def add(self, packet: av.Packet) -> None:
        """Add the next packet of a candidate."""
        self.times[packet.stream.index].add(packet)

    def needs_frame(self, packet: av.Packet) -> bool:
        """Return whether it is not known yet that the track of a packet decodes."""
        return packet.stream.index not in self.decoded

    @property
    def chosen(self) -> tuple[av.AudioStream, PacketTimes] | tuple[None]:
        """Return the track to read and its timestamps, (None,) where all are absent."""
        found = ((track, self.times[track.index]) for track in self.candidates if track.index in self.decoded)
        return next(found, (None,))

    def problems(self) -> list[str]:
        """Return a message for each track that would be read if it were not absent."""
        messages = []
        for track in self.tracks:
            if track.index in self.decoded:
                break
            why = "cannot be decoded"
            if track not in self.candidates:
                why = "has no decoder in FFmpeg"
            elif not self.times[track.index].pts:
                why = "is empty"
            number = 1 + sum(other.index < track.index for other in self.tracks)
            messages.append(f"audio track {number} ({codec_name(track)}) {why}: it counts as absent")
        return messages
