"""Choose which video and which audio track of a file is read. All stages read the same tracks as players play.

That is the first track flagged as default that can be decoded, or without one the first track that can be decoded.
FFmpeg's own choice (`av_find_best_stream`) prefers the highest bit rate.
"""

import itertools
import re
from collections import Counter

import av
import av.logging
from av.stream import Disposition

from videosummarizer.packet_decoding import decode
from videosummarizer.timestamps import PacketTimes

# The codecs of covers.
PICTURE_CODECS = ("mjpeg", "png", "bmp", "webp", "gif")
# A line of FFmpeg's description of a file, such as "  Stream #0:1[0x2](und): Audio: ac4 (ac-4 / 0x342D6361), 44100 Hz".
TRACK_LINE = r"^  Stream #0:{index}\b.*?: (?:Audio|Video): (\w+)[^,\n]*?(?:\((.{{4,16}}) / 0x|,|$)"
# Of a file with several audio tracks, so many packets of each are decoded to find out which tracks decode.
NUM_FIRST_TRIED = 512
# After these, so many consecutive packets in each period.
NUM_TRIED_PER_PERIOD = 4
SAMPLING_PERIOD = 512
# At least this ratio of a track's packets has to decode. Of noise, an eighth decodes as Vorbis, less as other codecs.
MIN_DECODED_RATIO = 0.25


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

    A track without a decoder, without packets, or of which no packet decodes, counts as absent. If there is another
    track, this includes a track of which hardly any packet decodes: packets of noise may decode by chance.

    Attributes:
        tracks: All audio tracks, see `by_preference`.
        candidates: Those that have a decoder.
        times: The timestamps of each candidate's packets, by its index among the file's streams.
        num_tried: How many packets of each candidate were decoded for a trial, by its index.
        num_decoded: How many of these gave a frame.
    """

    def __init__(self, container: av.container.InputContainer, start_sec: float):
        self.tracks = by_preference(container, "audio")
        self.candidates = [track for track in self.tracks if track.codec_context is not None]
        self.times = {track.index: PacketTimes(float(track.time_base), start_sec) for track in self.candidates}
        self.num_tried: Counter[int] = Counter()
        self.num_decoded: Counter[int] = Counter()

    def add(self, packet: av.Packet) -> None:
        """Add the next packet of a candidate, and decode it if that is needed to choose a track."""
        index = packet.stream.index
        self.times[index].add(packet)
        number = len(self.times[index].pts)
        is_sample = number <= NUM_FIRST_TRIED or number % SAMPLING_PERIOD < NUM_TRIED_PER_PERIOD
        if not self.num_decoded[index] or (len(self.candidates) > 1 and is_sample):
            self.num_tried[index] += 1
            self.num_decoded[index] += next(decode([packet]), None) is not None

    @property
    def chosen(self) -> tuple[av.AudioStream, PacketTimes] | tuple[None]:
        """Return the track to read and its timestamps, (None,) where all are absent."""
        for min_ratio in (MIN_DECODED_RATIO, 0.0):
            for track in self.candidates:
                num_decoded = self.num_decoded[track.index]
                if num_decoded and num_decoded >= min_ratio * self.num_tried[track.index]:
                    return track, self.times[track.index]
        return (None,)

    def problems(self) -> list[str]:
        """Return a message for each track that would be read if it were not absent."""
        messages = []
        for track in itertools.takewhile(lambda track: track is not self.chosen[0], self.tracks):
            why = "is damaged nearly everywhere" if self.num_decoded[track.index] else "cannot be decoded"
            if track not in self.candidates:
                why = "has no decoder in FFmpeg"
            elif not self.times[track.index].pts:
                why = "is empty"
            number = 1 + sum(other.index < track.index for other in self.tracks)
            messages.append(f"audio track {number} ({codec_name(track)}) {why}: it counts as absent")
        return messages
