"""Choose which video and which audio track of a file is read. All stages read the same tracks as players play.

That is the first track flagged as default that can be decoded, or without one the first track that can be decoded.
Another audio track, or the sum of all, is read where it is wanted.
FFmpeg's own choice (`av_find_best_stream`) prefers the highest bit rate.
"""

import re
from collections import Counter

import av
import av.logging
from av.stream import Disposition

from videosummarizer.packet_decoding import decode
from videosummarizer.timestamps import PacketTimes

# Stands for the sum of all audio tracks.
MIX = "mix"
# What FFmpeg calls the layouts of uncompressed audio, and what they are played as.
UNNAMED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
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
    """Finds the audio tracks to read from all packets of a file.

    A track without a decoder, without packets, or of which no packet decodes, counts as absent. If there is another
    track, this includes a track of which hardly any packet decodes: packets of noise may decode by chance.

    Args:
        container: The open file.
        start_sec: The container's start time.
        wanted: The number of a track, counted from 1 in the order of the file; MIX for the sum of all tracks; None for
            the first one that is flagged as default, or without one the first.

    Attributes:
        tracks: All audio tracks, see `by_preference`.
        candidates: Those that have a decoder.
        times: The timestamps of each candidate's packets, by its index among the file's streams.
        num_tried: How many packets of each candidate were decoded for a trial, by its index.
        num_decoded: How many of these gave a frame.
    """

    def __init__(self, container: av.container.InputContainer, start_sec: float, wanted: int | str | None = None):
        self.wanted = wanted
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
    def in_file_order(self) -> list[av.stream.Stream]:
        """Return all audio tracks in the order of the file, in which they are counted."""
        return sorted(self.tracks, key=lambda track: track.index)

    @property
    def readable(self) -> list[av.AudioStream]:
        """Return the candidates that decode, of which a plausible part does if that is true of any, in their order."""
        decoding = [track for track in self.candidates if self.num_decoded[track.index]]
        plausible = [
            track
            for track in decoding
            if self.num_decoded[track.index] >= MIN_DECODED_RATIO * self.num_tried[track.index]
        ]
        return plausible or decoding

    @property
    def chosen(self) -> list[av.AudioStream]:
        """Return the tracks to read, in the order of the file; none where all are absent."""
        if isinstance(self.wanted, int):
            named = self.in_file_order[self.wanted - 1 : self.wanted]
            return [track for track in named if self.num_decoded[track.index]]
        readable = self.readable
        return sorted(readable, key=lambda track: track.index) if self.wanted == MIX else readable[:1]

    def describe_absence(self, track: av.stream.Stream) -> str | None:
        """Return why a track counts as absent, None for one that can be read."""
        if track not in self.candidates:
            return "has no decoder in FFmpeg"
        if not self.times[track.index].pts:
            return "is empty"
        if track in self.readable:
            return None
        return "is damaged nearly everywhere" if self.num_decoded[track.index] else "cannot be decoded"

    def problems(self) -> list[str]:
        """Return a message for each track that would be read if it were not absent."""
        chosen, messages = self.chosen, []
        if isinstance(self.wanted, int):
            return messages
        for number, track in enumerate(self.in_file_order, start=1):
            why = self.describe_absence(track)
            is_preferred = not chosen or self.tracks.index(track) < self.tracks.index(chosen[0])
            if why and (self.wanted == MIX or is_preferred):
                messages.append(f"audio track {number} ({codec_name(track)}) {why}: it counts as absent")
        return messages

    def describe_missing(self) -> str | None:
        """Return what is wrong where a track is wanted that cannot be read, None otherwise."""
        if not isinstance(self.wanted, int) or self.chosen:
            return None
        tracks = self.in_file_order
        if self.wanted <= len(tracks):
            track = tracks[self.wanted - 1]
            return f"received --audio_track {self.wanted} ({codec_name(track)}), which {self.describe_absence(track)}"
        number = {0: "no audio track", 1: "one audio track"}.get(len(tracks), f"{len(tracks)} audio tracks")
        return f"received --audio_track {self.wanted} for a file with {number}"

    def describe_choices(self) -> str:
        """Return which tracks can be read, for a message."""
        return f"the number of one of {', '.join(self.descriptions())}" if self.tracks else "a file that has it"

    def descriptions(self) -> list[str]:
        """Return a description of each audio track in the order of the file, with its number."""
        chosen, texts = self.chosen, []
        for number, track in enumerate(self.in_file_order, start=1):
            parts = [describe_audio(track) if track in self.candidates else codec_name(track)]
            names = [track.metadata.get(name, "und") for name in ("title", "language")]
            parts += [repr(name) for name in names if name != "und"]
            parts += [self.describe_absence(track) or ""] + ["in use"] * (track in chosen)
            texts.append(f"{number} ({', '.join(filter(None, parts))})")
        return texts


def describe_audio(track: av.AudioStream) -> str:
    """Return codec, layout and sample rate of an audio track that has a decoder."""
    layout = UNNAMED_LAYOUTS.get(track.layout.name, track.layout.name)
    return f"{track.codec_context.name} {layout} {track.rate} Hz"
