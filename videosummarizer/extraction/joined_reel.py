"""Cut sections of several matches into one reel: one size, one constant frame rate, one sound format.

Pictures of another shape are scaled to fit and get black bars. At each time of the reel, the frame of the match that is
nearest before the middle of the reel's frame is shown, so that a match of the reel's own rate keeps every frame.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from videosummarizer import audio_track, media
from videosummarizer.atomic_file import discard, replace_durably
from videosummarizer.extraction.color_matrix import filter_name
from videosummarizer.extraction.exports.chapters import mp4_chapters
from videosummarizer.extraction.orientation import link_filters, orientation_filters
from videosummarizer.extraction.reel import (
    ENCODER_OPTIONS,
    ReelWriter,
    copy_colors,
    encode_section,
    round_to_even,
)
from videosummarizer.extraction.reel_audio import (
    AUDIO_BIT_RATE_PER_CHANNEL,
    FALLBACK_SAMPLE_RATE_HZ,
    open_sources,
    read_section_sum,
)
from videosummarizer.extraction.reel_sections import ReelSection, main_section
from videosummarizer.extraction.section_frames import SectionFrames
from videosummarizer.frame_scaling import is_rotated_sideways


@dataclass(frozen=True)
class ReelFormat:
    """What all pictures and sounds of a reel are converted to.

    Attributes:
        width_px: An even number.
        height_px: An even number.
        rate_fps: The frame rate.
        has_audio: Whether the reel has a stereo track. Matches without audio are silent in it.
    """

    width_px: int
    height_px: int
    rate_fps: Fraction
    has_audio: bool


def render_joined_reel(
    sections: list[ReelSection],
    reel_path: str | os.PathLike,
    reel_format: ReelFormat,
    chapter_names: list[str],
    on_progress: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Write sections of several matches one after another into an mp4; the file appears when it is complete.

    Its colours are stated as those of the match that most of it has, see `main_section`; others are converted.

    Args:
        sections: The sections, in the order of the reel.
        reel_path: The mp4.
        reel_format: What they are converted to.
        chapter_names: The names of the sections, which become chapters.
        on_progress: Called with the seconds of the reel that were added.

    Raises:
        media.MediaError: A match cannot be read.
        reel.ReelError: The reel cannot be written.
    """
    part_path, main_path = Path(f"{os.fspath(reel_path)}.part"), main_section(sections).video_path
    try:
        with media.open_media(main_path) as main:
            source = media.video_stream(main, main_path)
            with JoinedReelWriter(part_path, reel_format, source) as writer:
                writer.output.set_chapters(mp4_chapters(joined_edges_sec(sections), chapter_names))
                for section in sections:
                    render_joined_section(writer, section, on_progress)
        replace_durably(part_path, reel_path)
    finally:
        discard(part_path)


def joined_edges_sec(sections: list[ReelSection]) -> np.ndarray:
    """Return (num_sections + 1,) float64: where each section starts in the reel, and the reel's end."""
    lengths_sec = dict.fromkeys((section.index for section in sections), 0.0)
    for section in sections:
        lengths_sec[section.index] += section.end_sec - section.start_sec
    return np.cumsum([0.0, *lengths_sec.values()])


class JoinedReelWriter(ReelWriter):
    """Write the mp4 in a given format; see `ReelWriter`.

    Args:
        path: The file to write.
        reel_format: Its format.
        source: The video whose colours it has.

    Attributes:
        rate_fps: The frame rate; the video's time base is its inverse.
        end_sec: The length of what was written.
    """

    def __init__(self, path: Path, reel_format: ReelFormat, source: av.VideoStream):
        self.path, self.graph, self.audio = path, None, None
        self.rate_fps, self.size_px = reel_format.rate_fps, (reel_format.width_px, reel_format.height_px)
        with self.writing():
            self.output = av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
            self.video = self.output.add_stream("libx264", rate=self.rate_fps, options=ENCODER_OPTIONS)
            context = self.video.codec_context
            (context.width, context.height), context.pix_fmt = self.size_px, "yuv420p"
            context.time_base = 1 / self.rate_fps
            copy_colors(source.codec_context, context)
            if reel_format.has_audio:
                self.audio = self.output.add_stream("aac", rate=FALLBACK_SAMPLE_RATE_HZ, layout="stereo")
                self.audio.bit_rate = AUDIO_BIT_RATE_PER_CHANNEL * 2
        self.fifo = av.AudioFifo()
        self.section_pts = self.next_section_pts = self.num_samples = 0
        self.last_pts, self.end_sec = -1, 0.0

    def start_span(self, length_sec: float) -> tuple[int, int]:
        """Begin a section of some seconds, and return its numbers of frames and audio samples; errors do not add up."""
        self.end_sec += length_sec
        num_frames = round(self.end_sec * self.rate_fps) - self.next_section_pts
        return num_frames, self.start_section(num_frames)

    def fit(self, stream: av.VideoStream, frame: av.VideoFrame) -> None:
        """Rotate and scale the frames of a stream from now on, with bars where their shape is another."""
        pixel_shape, width_px, height_px = stream.sample_aspect_ratio or Fraction(1), frame.width, frame.height
        if is_rotated_sideways(frame):
            pixel_shape, width_px, height_px = 1 / pixel_shape, height_px, width_px
        (reel_width_px, reel_height_px), width_px = self.size_px, width_px * pixel_shape
        scale = min(reel_width_px / width_px, reel_height_px / height_px)
        scaled = [round_to_even(width_px * scale), round_to_even(height_px * scale)]
        left, top = (2 * ((whole - part) // 4) for whole, part in zip(self.size_px, scaled, strict=True))
        source, target = filter_name(frame), filter_name(self.video.codec_context)
        flags = "area" if source == target else "area+accurate_rnd+full_chroma_int"  # else it becomes darker
        matrices = f"in_color_matrix={source}:out_color_matrix={target}"
        fitting = [
            ("scale", f"{scaled[0]}:{scaled[1]}:flags={flags}:out_range=tv:{matrices}"),
            ("pad", f"{reel_width_px}:{reel_height_px}:{left}:{top}"),
            ("setsar", "1"),
            ("format", "yuv420p"),
        ]
        self.graph = link_filters(stream, orientation_filters(frame) + fitting)


def render_joined_section(
    writer: JoinedReelWriter, section: ReelSection, on_progress: Callable[[float], object]
) -> None:
    """Encode one section, in the format of the reel."""
    with ExitStack() as files:
        video = files.enter_context(media.open_media(section.video_path))
        indices = section.video_info.audio_indices
        (sources,) = open_sources(section.video_path, (indices,), files) if indices else [[]]
        stream = media.video_stream(video, section.video_path)
        stream.thread_type = "AUTO"
        frame = next(media.decode(media.demux(video, stream)), None)
        if frame is None:
            raise media.no_frame_error(section.video_path)
        writer.fit(stream, frame)
        length_sec = section.end_sec - section.start_sec
        num_frames, num_samples = writer.start_span(length_sec)
        blocks: Iterator[np.ndarray] = (
            np.zeros((2, number), np.float32) for number in audio_track.split_silence(num_samples)
        )
        if sources and writer.audio:
            blocks = read_section_sum(sources, section.start_sec, num_samples, writer.audio)
        edges_sec = [section.start_sec, section.end_sec]
        shown = frames_at_rate(SectionFrames(video, section.video_info), edges_sec, num_frames, writer.rate_fps)
        pictures = ((frame, number) for number, frame in enumerate(shown))
        encode_section(writer, pictures, [blocks] if writer.audio else [], length_sec, on_progress)


def frames_at_rate(
    frames: SectionFrames, edges_sec: list[float], num_frames: int, rate_fps: Fraction
) -> Iterator[av.VideoFrame]:
    """Yield the frames of a section at a constant rate: the last one before the middle of each frame of the reel.

    Args:
        frames: Reads the frames of the match.
        edges_sec: [start, end] of the section.
        num_frames: How many to yield.
        rate_fps: The rate.
    """
    time_base, (first_pts, end_pts) = frames.stream.time_base, frames.pts_at(edges_sec)
    shown, number = None, 0
    for frame in frames.read(first_pts, end_pts):
        # The first frame of the reel whose middle is after this one.
        first = math.floor((frame.pts - first_pts) * time_base * rate_fps - Fraction(1, 2)) + 1
        while shown is not None and number < min(first, num_frames):
            yield shown
            number += 1
        shown = frame
    while shown is not None and number < num_frames:
        yield shown
        number += 1
