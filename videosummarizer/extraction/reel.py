"""Cut the reel of a match: decode only the sections and encode them one after another as H.264 and AAC in an mp4.

PyAV gives each frame with its presentation time, so that cuts are exact to the frame at any frame rate, and audio is
placed to the sample. `benchmarks/bench_extractor.py` compares it with moviepy 1.0.3.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av.error
import numpy as np

from videosummarizer import media, timestamps
from videosummarizer.atomic_file import discard, replace_durably
from videosummarizer.extraction.color_matrix import matrix_of, scaler_matrix
from videosummarizer.extraction.exports.chapters import mp4_chapters
from videosummarizer.extraction.exports.timeline import find_timebase
from videosummarizer.extraction.orientation import rotation_graph
from videosummarizer.extraction.reel_audio import (
    AudioSource,
    add_audio_stream,
    copy_names,
    encode_audio,
    finish_audio,
    open_sources,
    read_section_sum,
    widest,
)
from videosummarizer.extraction.section_frames import SectionFrames
from videosummarizer.frame_scaling import is_rotated_sideways
from videosummarizer.sections import join_touching


class ReelError(Exception):
    """A reel cannot be written; the message names the file and says why."""


# x264 settings with nearly the source's quality, at about the speed of decoding.
ENCODER_OPTIONS = {"preset": "veryfast", "crf": "18"}
# How long the frame before a jump of the source's clock is shown.
JUMP_SEC = 1.0


def render_reel(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    sections: np.ndarray,
    reel_path: str | os.PathLike,
    height_px: int | None = None,
    chapter_names: list[str] | None = None,
    audio_tracks: tuple[tuple[int, ...], ...] | None = None,
    on_progress: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Write the sections of a video one after another into an mp4; the file appears when it is complete.

    Frames keep their distances in time, so that a variable frame rate is preserved. Only where the source rounds its
    timestamps and has a constant rate of timecode, as recordings in mkv, the reel has exactly that rate. The audio
    fades in and out over 10 ms at each cut; sections that touch have no cut between them. A source without audio makes
    a reel without audio. Where the source's clock jumps by more than a minute, the frame before is shown for JUMP_SEC.

    Args:
        video_path: The source.
        video_info: The result of `media.probe`.
        sections: (num_sections, 2) int64, at least one: the first frame and the frame after the last, in display
            order.
        reel_path: The mp4.
        height_px: The height of the reel after rotation; by default the source's. The width is scaled accordingly, and
            both become even numbers.
        chapter_names: The names of the sections, which become the reel's chapters; None for no chapters.
        audio_tracks: The indices of the streams whose sum is an audio track of the reel, for each of its audio tracks;
            by default one track of what `probe` chose.
        on_progress: Called with the seconds of the reel that were added.

    Raises:
        media.MediaError: The source cannot be read.
        ReelError: The reel cannot be written.
    """
    part_path = Path(f"{os.fspath(reel_path)}.part")
    if audio_tracks is None:
        audio_tracks = (video_info.audio_indices,) if video_info.audio_indices else ()
    try:
        with media.open_media(video_path) as video, contextlib.ExitStack() as stack:
            audio = open_sources(video_path, audio_tracks, stack)
            writer = stack.enter_context(
                ReelWriter(
                    part_path,
                    video,
                    [widest(source for _, source in sources) for sources in audio],
                    height_px,
                    rounded_rate(video, video_info),
                )
            )
            frames = SectionFrames(video, video_info)
            if chapter_names:  # which are written before the first packet
                writer.output.set_chapters(mp4_chapters(reel_edges_sec(video_info, sections), chapter_names))
            for edges_sec in split_at_jumps(video_info, join_touching(sections)):
                render_section(writer, frames, audio, edges_sec, on_progress)
        replace_durably(part_path, reel_path)
    finally:
        discard(part_path)


def split_at_jumps(video_info: media.VideoInfo, sections: np.ndarray) -> Iterator[list[float]]:
    """Yield [start, end] in seconds of sections, without the hours in which the source has neither frame nor audio.

    Args:
        video_info: The result of `media.probe`.
        sections: (num_sections, 2) int64, see `render_reel`.
    """
    times_sec, edges_sec = video_info.frame_times_sec, video_info.frame_edges_sec
    jumps_sec = timestamps.find_jumps(
        video_info.video_gaps_sec, video_info.audio_gaps_sec, video_info.audio_index is not None
    )
    last_frames = [int(np.searchsorted(times_sec, start_sec, side="right")) - 1 for start_sec, _ in jumps_sec]
    for first, end in sections.tolist():
        for last in last_frames:
            if first <= last < end:
                yield [float(edges_sec[first]), float(edges_sec[last]) + JUMP_SEC]
                first = last + 1
        if first < end:
            yield edges_sec[[first, end]].tolist()


def reel_edges_sec(video_info: media.VideoInfo, sections: np.ndarray) -> np.ndarray:
    """Return (num_sections + 1,) float64: where each section starts in the reel, and the reel's end.

    Args:
        video_info: The result of `media.probe`.
        sections: (num_sections, 2) int64, see `render_reel`.
    """
    parts = (split_at_jumps(video_info, section[np.newaxis]) for section in sections)
    return np.cumsum([0.0, *(sum(end_sec - start_sec for start_sec, end_sec in part) for part in parts)])


def render_section(
    writer: "ReelWriter",
    frames: SectionFrames,
    audio: list[list[AudioSource]],
    edges_sec: list[float],
    on_progress: Callable[[float], object],
) -> None:
    """Encode one section.

    Args:
        writer: The reel.
        frames: Reads the frames of the source.
        audio: The tracks of the source whose sum is an audio track of the reel, for each of its audio tracks.
        edges_sec: [start, end] of the section.
        on_progress: Called with the seconds of the reel that were added.
    """
    time_base, (first_pts, end_pts) = frames.stream.time_base, frames.pts_at(edges_sec)
    reel_ticks = time_base / writer.video.codec_context.time_base  # for each tick of the source
    num_samples = writer.start_section(round((end_pts - first_pts) * reel_ticks))
    tracks = [
        read_section_sum(sources, edges_sec[0], num_samples, output)
        for sources, (output, _) in zip(audio, writer.audio_tracks, strict=True)
    ]
    pictures = ((frame, round((frame.pts - first_pts) * reel_ticks)) for frame in frames.read(first_pts, end_pts))
    encode_section(writer, pictures, tracks, edges_sec[1] - edges_sec[0], on_progress)


def encode_section(
    writer: "ReelWriter",
    pictures: Iterable[tuple[av.VideoFrame, int]],
    tracks: list[Iterator[np.ndarray]],
    length_sec: float,
    on_progress: Callable[[float], object],
) -> None:
    """Encode a section, alternating between video and audio so that neither has to wait in memory for the other.

    Args:
        writer: The reel, in which the section has begun.
        pictures: The frames, and the time of each from the start of the section in ticks of the reel.
        tracks: Blocks of (num_channels, n) float32 samples for each audio track of the reel.
        length_sec: The length of the section.
        on_progress: Called with the seconds of the reel that were added.
    """
    audio_sec, video_sec = [0.0] * len(tracks), 0.0
    for frame, pts in pictures:
        frame_sec = float(pts * writer.video.codec_context.time_base)
        for number, blocks in enumerate(tracks):
            while audio_sec[number] < frame_sec and (block := next(blocks, None)) is not None:
                audio_sec[number] += writer.write_samples(block, number)
        writer.write_frame(frame, pts)
        on_progress(frame_sec - video_sec)
        video_sec = frame_sec
    for number, blocks in enumerate(tracks):
        for block in blocks:
            writer.write_samples(block, number)
    on_progress(length_sec - video_sec)


class ReelWriter:
    """Write the mp4, as a context manager. Sections follow one another, each with its own clock.

    Errors of FFmpeg or of the system while writing become ReelError.

    Args:
        path: The file to write.
        video: The source.
        audio_sources: For each audio track of the reel, the source's track whose format it takes.
        height_px: See `render_reel`.
        rate_fps: The constant frame rate of the reel, see `rounded_rate`; by default it follows the source's.

    Attributes:
        path: The file to write.
        video: The output's video stream.
        audio: The output's first audio stream, None for a source without audio.
        fifo: Samples of it that do not fill a packet yet.
        further_audio: The other audio streams, each with its fifo.
        graph: The filters that rotate frames, None where none are needed.
        rgb_matrix: By which a source of RGB becomes YCbCr; None for all other sources.
    """

    further_audio: list[tuple[av.AudioStream, av.AudioFifo]] = ()
    rgb_matrix: int | None = None

    def __init__(
        self,
        path: Path,
        video: av.container.InputContainer,
        audio_sources: list[av.AudioStream],
        height_px: int | None,
        rate_fps: Fraction | None = None,
    ):
        self.path = path
        source = media.video_stream(video, video.name)
        source.thread_type = "AUTO"
        frame = next(media.decode(media.demux(video, source)), None)
        if frame is None:
            raise media.no_frame_error(video.name)
        self.graph = rotation_graph(source, frame)
        self.rgb_matrix = scaler_matrix(frame) if frame.format.is_rgb else None
        with self.writing():
            self.output = av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
            self.video = add_video_stream(
                self.output, source, self.rotate(frame), height_px, is_rotated_sideways(frame), rate_fps
            )
            self.audio = add_audio_stream(self.output, audio_sources[0] if audio_sources else None)
            further = [add_audio_stream(self.output, source, self.audio.rate) for source in audio_sources[1:]]
        self.fifo = av.AudioFifo()
        self.further_audio = [(stream, av.AudioFifo()) for stream in further]
        if further:
            for source, (stream, _) in zip(audio_sources, self.audio_tracks, strict=True):
                copy_names(source, stream)
        self.section_pts = self.next_section_pts = self.num_samples = 0
        self.last_pts = -1

    def __enter__(self) -> "ReelWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError):  # the error that is being raised matters more
                self.output.close()
            return
        with self.writing():
            for stream, fifo in self.audio_tracks:
                self.output.mux(list(finish_audio(stream, fifo)))
            self.output.mux(self.video.encode(None))
            self.output.close()

    @property
    def audio_tracks(self) -> list[tuple[av.AudioStream, av.AudioFifo]]:
        """Return all audio streams of the output, each with its fifo."""
        return [(self.audio, self.fifo), *self.further_audio] if self.audio else []

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of FFmpeg and of the system into ReelError."""
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise ReelError(
                f"{self.path.with_suffix('')}: the reel cannot be written ({error.strerror or error}): make room, or "
                "choose another --output_dir"
            ) from error

    def start_section(self, num_pts: int) -> int:
        """Begin a section.

        Args:
            num_pts: Its length in ticks of the video's time base.

        Returns:
            The number of audio samples that belong to it.
        """
        self.section_pts = self.next_section_pts
        self.next_section_pts += num_pts
        if self.audio is None:
            return 0
        num_samples_before = self.num_samples
        # From the reel's beginning, so that rounding does not add up over the sections.
        self.num_samples = round(self.next_section_pts * self.video.codec_context.time_base * self.audio.rate)
        return self.num_samples - num_samples_before

    def write_frame(self, frame: av.VideoFrame, pts: int) -> None:
        """Encode a frame that is shown pts after the section's start, unless one is already shown at that time."""
        context = self.video.codec_context
        if self.section_pts + pts <= self.last_pts:  # timestamps of an mp4 have to ascend
            return
        self.last_pts = self.section_pts + pts
        with self.writing():
            output_frame = self.rotate(frame).reformat(
                context.width,
                context.height,
                "yuv420p",
                interpolation="AREA",
                dst_colorspace=self.rgb_matrix,
                dst_color_range=int(frame.color_range > 0),  # limited; an unstated range is, and needs no copy
            )
            output_frame.pts, output_frame.time_base = self.last_pts, context.time_base
            output_frame.pict_type = av.video.frame.PictureType.NONE  # let the encoder choose
            self.output.mux(self.video.encode(output_frame))

    def write_samples(self, samples: np.ndarray, number: int = 0) -> float:
        """Encode (num_channels, n) float32 samples of an audio track, and return their length in seconds."""
        stream, fifo = self.audio_tracks[number]
        with self.writing():
            self.output.mux(list(encode_audio(stream, fifo, samples)))
        return samples.shape[1] / stream.rate

    def rotate(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame, rotated as the source's display matrix says."""
        if self.graph is None:
            return frame
        self.graph.push(frame)
        return self.graph.pull()


def rounded_rate(video: av.container.InputContainer, video_info: media.VideoInfo) -> Fraction | None:
    """Return the constant rate of timecode of a source that rounds its timestamps; None for all other sources.

    Editing software takes rounded timestamps for a variable frame rate.
    """
    if video.format.name not in media.ROUNDING_ERROR_SEC:
        return None
    relative_sec = video_info.frame_edges_sec - video_info.frame_times_sec[0]
    rate_fps, is_exact = find_timebase(video_info.frame_rate_fps, relative_sec)
    return rate_fps if is_exact else None


def add_video_stream(
    output: av.container.OutputContainer,
    source: av.VideoStream,
    frame: av.VideoFrame,
    height_px: int | None,
    is_sideways: bool,
    rate_fps: Fraction | None,
) -> av.VideoStream:
    """Add an H.264 stream with the time base, the colours and the pixel aspect ratio of a source.

    Args:
        output: The reel.
        source: The source's video stream.
        frame: A frame of the source after rotation.
        height_px: The height of the reel; by default the frame's.
        is_sideways: Whether the rotation swapped width and height, which inverts the pixel aspect ratio.
        rate_fps: See `ReelWriter`. Its frames are the ticks of the reel.
    """
    average_fps = source.average_rate or 0  # of a match with a gap of hours, it would hold the last frame for a minute
    rate = rate_fps or (average_fps if average_fps >= 1 else source.guessed_rate)
    stream = output.add_stream("libx264", rate=rate, options=ENCODER_OPTIONS)
    height_px = height_px or frame.height
    context = stream.codec_context
    context.height = round_to_even(height_px)
    context.width = round_to_even(frame.width * height_px / frame.height)
    context.pix_fmt = "yuv420p"
    context.time_base = 1 / rate_fps if rate_fps else source.time_base
    pixel_shape = source.sample_aspect_ratio or Fraction(1)
    context.sample_aspect_ratio = 1 / pixel_shape if is_sideways else pixel_shape
    copy_colors(source.codec_context, context)
    return stream


def copy_colors(source: av.VideoCodecContext, output: av.VideoCodecContext) -> None:
    """Let a reel state the colours of a source, in limited range, to which frames of full range are converted.

    The matrix is stated also where the source does not: a reel of another size would be taken for another one.
    """
    for name in ("color_primaries", "color_trc"):
        setattr(output, name, getattr(source, name))
    output.colorspace, output.color_range = matrix_of(source), 1


def round_to_even(length_px: float) -> int:
    """Return the nearest even number of pixels, at least 2, as 4:2:0 chroma subsampling requires."""
    return max(2, round(length_px / 2) * 2)
