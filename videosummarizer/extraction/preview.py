"""Copy a match that browsers do not play into an mp4 that they play, without encoding its video again.

The frames keep their times from the start of the match, so that the page's frame numbers are those of the match.
"""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av.error
import numpy as np

from videosummarizer import media
from videosummarizer.atomic_file import discard, replace_durably
from videosummarizer.extraction.exports.timeline import ExportError
from videosummarizer.extraction.reel_audio import (
    AudioSource,
    add_audio_stream,
    encode_audio,
    finish_audio,
    open_sources,
    read_section_sum,
    widest,
)
from videosummarizer.packet_decoding import lacks_display_times
from videosummarizer.timestamps import argument


class PreviewError(Exception):
    """A preview cannot be written; the message names the file and says why."""


# The end of the name of a preview.
SUFFIX = "_preview.mp4"
# The suffixes of videos that browsers do not play, or not all of them.
UNPLAYED_SUFFIXES = (".ts", ".mts", ".flv", ".avi", ".mkv")
# Codecs that browsers play in an mp4, by the names of FFmpeg's decoders. The audio of others is encoded.
PLAYED_VIDEO_CODECS = ("h264", "hevc", "vp9", "libdav1d", "av1")
PLAYED_AUDIO_CODECS = ("aac", "mp3", "mp3float", "opus", "flac")
# The second one lets the video begin later than time 0 to less than a millisecond.
MP4_OPTIONS = {"movflags": "+faststart", "movie_timescale": "90000"}


def is_needed(video_path: Path) -> bool:
    """Return whether browsers need a preview to play a match."""
    return video_path.suffix.lower() in UNPLAYED_SUFFIXES


def for_match(args: argparse.Namespace, video_path: Path) -> argparse.Namespace:
    """Return the arguments for a match, without a preview that it does not need."""
    return args if is_needed(video_path) else argparse.Namespace(**{**vars(args), "preview": None})


def describe_need(video_path: Path) -> str:
    """Return the message about a match that browsers do not play."""
    suffix = video_path.suffix.lower()[1:]
    return (
        f"{video_path}: not all browsers play {suffix} files: --preview --overwrite copies it into an mp4 that the "
        "page plays, without encoding it again"
    )


def write_preview(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    preview_path: str | os.PathLike,
    on_progress: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Copy the video of a match and the audio that is in use into an mp4, which appears when it is complete.

    Audio that browsers do not play in an mp4, and a sum of several tracks, is encoded as AAC.

    Args:
        video_path: The match.
        video_info: The result of `media.probe`.
        preview_path: The mp4.
        on_progress: Called with the seconds that were copied.

    Raises:
        ExportError: Browsers would not play the copy.
        PreviewError: It cannot be written.
        media.MediaError: The match cannot be read.
    """
    part_path = Path(f"{os.fspath(preview_path)}.part")
    try:
        with media.open_media(video_path) as container, contextlib.ExitStack() as stack:
            video = media.video_stream(container, video_path)
            if problem := describe_obstacle(video):
                raise ExportError(
                    f"{problem}: encode it with ffmpeg -i {argument(video_path)} -c:v libx264 {argument(preview_path)},"
                    ' and choose that file on the page ("Choose the video")'
                )
            with writing(preview_path):
                output = av.open(str(part_path.absolute()), "w", format="mp4", options=MP4_OPTIONS)
            stack.callback(close_quietly, output)
            for packets in copy_all(container, video, video_path, video_info, output, stack, on_progress):
                with writing(preview_path):  # reading has errors of its own
                    output.mux(packets)
            with writing(preview_path):
                output.close()
        with writing(preview_path):
            replace_durably(part_path, preview_path)
    finally:
        discard(part_path)


def describe_obstacle(video: av.VideoStream) -> str | None:
    """Return why a copy of a video cannot be played by browsers, None if it can."""
    codec = video.codec_context.name
    if codec not in PLAYED_VIDEO_CODECS:
        return f"browsers do not play {codec}, which a copy would keep"
    if lacks_display_times(video):
        return "an avi file does not store when its frames are displayed, which an mp4 has to"
    return None


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn errors of FFmpeg and of the system into PreviewError."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise PreviewError(f"{path} cannot be written ({error.strerror or error}): make room, or encode it") from error


def close_quietly(output: av.container.OutputContainer) -> None:
    """Close the mp4 after an error, which matters more than another one; an mp4 that is closed stays so."""
    with contextlib.suppress(av.error.FFmpegError, OSError):
        output.close()


def copy_all(
    container: av.container.InputContainer,
    video: av.VideoStream,
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    output: av.container.OutputContainer,
    stack: contextlib.ExitStack,
    on_progress: Callable[[float], object],
) -> Iterator[list[av.Packet]]:
    """Copy the video, and copy or encode the audio: yield the packets of the mp4 in the order of their times.

    Args:
        container: The open match.
        video: Its video stream.
        video_path: The match.
        video_info: The result of `media.probe`.
        output: The mp4.
        stack: Closes what is opened for the audio.
        on_progress: Called with the seconds that were copied.
    """
    copies = {video.index: StreamCopy(video, output)}
    audio, encoded = media.audio_streams(container, video_info), None
    if len(audio) == 1 and audio[0].codec_context.name in PLAYED_AUDIO_CODECS:
        copies[audio[0].index] = StreamCopy(audio[0], output)
    elif audio:
        (sources,) = open_sources(video_path, (video_info.audio_indices,), stack)
        encoded = EncodedAudio(sources, output, video_info.duration_sec)
    origin_sec, done_sec = media.start_time_sec(container), 0.0
    streams = [container.streams[index] for index in copies]
    for packet in media.demux(container, *streams):
        for copied in copies[packet.stream.index].take(packet, origin_sec):
            yield [copied]
            if copied.stream.type == "video":
                now_sec = float(copied.dts * copied.time_base)
                if encoded is not None:
                    yield list(encoded.packets(now_sec))
                on_progress(max(0.0, now_sec - done_sec))
                done_sec = max(done_sec, now_sec)
    if encoded is not None:
        yield list(encoded.packets(np.inf))


class StreamCopy:
    """Copies the packets of a stream, counting time from the start of the match.

    Args:
        source: The stream.
        output: The mp4.
    """

    def __init__(self, source: av.stream.Stream, output: av.container.OutputContainer):
        self.stream = output.add_stream_from_template(source, opaque=True)
        self.stream.time_base = source.time_base
        if source.type == "video" and source.codec_context.name == "hevc":
            self.stream.codec_context.codec_tag = "hvc1"  # Safari plays no other
        self.waiting: list[av.Packet] = []
        self.last_dts: int | None = None

    def take(self, packet: av.Packet, origin_sec: float) -> Iterator[av.Packet]:
        """Yield packets as they can be copied: those without a decoding time wait for the first one that has it."""
        if packet.pts is None or not packet.size:
            return
        self.waiting.append(packet)
        if packet.dts is None and self.last_dts is None:
            return
        origin = round(origin_sec / packet.time_base)
        step = packet.duration or round(Fraction(1, 30) / packet.time_base)
        first_dts = None if packet.dts is None else packet.dts - (len(self.waiting) - 1) * step
        for number, waiting in enumerate(self.waiting):
            dts = self.last_dts + 1 if first_dts is None else first_dts + number * step - origin
            if self.last_dts is not None:  # those of a damaged stream may go back
                dts = max(dts, self.last_dts + 1)
            waiting.pts = max(waiting.pts - origin, dts)
            waiting.dts = self.last_dts = dts
            waiting.stream = self.stream
            yield waiting
        self.waiting = []


class EncodedAudio:
    """Encodes the sum of audio tracks as AAC.

    Args:
        sources: The tracks.
        output: The mp4.
        duration_sec: Up to where.
    """

    def __init__(self, sources: list[AudioSource], output: av.container.OutputContainer, duration_sec: float):
        self.stream = add_audio_stream(output, widest(source for _, source in sources))
        self.blocks = read_section_sum(sources, 0.0, round(duration_sec * self.stream.rate), self.stream)
        self.fifo = av.AudioFifo()
        self.is_finished = False

    def packets(self, end_sec: float) -> Iterator[av.Packet]:
        """Yield the packets up to a time, infinity for the rest."""
        while self.fifo.samples_written < end_sec * self.stream.rate and not self.is_finished:
            samples = next(self.blocks, None)
            if samples is None:
                self.is_finished = True
                yield from finish_audio(self.stream, self.fifo)
                return
            yield from encode_audio(self.stream, self.fifo, samples)
