"""Cut a reel with a style: for another screen, with cross-fades, captions and a title card. Composed with moviepy.

The sections are moviepy clips, whose frames and samples come from the readers of the plain reel (reel.py): each frame
is the one that is shown at that time, and audio is placed to the sample. Only what is shown at the moment is in memory.
The reel has a constant frame rate, and each section begins with one of its frames.
"""

import functools
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from videosummarizer import media
from videosummarizer.atomic_file import discard, replace_durably
from videosummarizer.extraction import captions, moviepy_fixes, reel
from videosummarizer.extraction.color_matrix import scaler_matrix
from videosummarizer.extraction.exports.chapters import mp4_chapters
from videosummarizer.extraction.picture_fit import PictureFit
from videosummarizer.extraction.reel_audio import add_audio_stream, widest
from videosummarizer.extraction.reel_sections import (
    Placement,
    ReelSection,
    main_section,
    output_rate,
    place_sections,
    styled_edges_sec,
)
from videosummarizer.extraction.reel_style import ReelStyle
from videosummarizer.extraction.section_clips import (
    MatchReaders,
    SectionAudio,
    SectionVideo,
    square_pixel_size,
)
from videosummarizer.labels import format_time

# Audio is composed in blocks of this length.
AUDIO_BLOCK_SEC = 0.5


def render_styled_reel(
    sections: list[ReelSection],
    reel_path: str | os.PathLike,
    style: ReelStyle,
    height_px: int | None = None,
    chapter_names: list[str] | None = None,
    on_progress: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Write sections of one or several matches into an mp4; the file appears when it is complete.

    The size, the frame rate and the colours are those that most of the reel has, see `main_section`, and the format of
    the audio is that of the first match with audio.

    Args:
        sections: At least one, see `reel_sections.list_sections`.
        reel_path: The mp4.
        style: The style.
        height_px: The height of the reel; by default the match's.
        chapter_names: The names of the sections, which become the reel's chapters; None for no chapters.
        on_progress: Called with the seconds of the reel that were added.

    Raises:
        media.MediaError: A match cannot be read.
        reel.ReelError: The reel cannot be written.
        captions.FontError: No font has the letters of the captions or of the title card.
    """
    part_path, main = Path(f"{os.fspath(reel_path)}.part"), main_section(sections)
    heard = next((section for section in sections if section.video_info.audio_index is not None), None)
    try:
        with MatchReaders() as readers:
            displayed_px = square_pixel_size(readers, main)
            size_px = style.size_px(*displayed_px, height_px)
            source = readers.frames("size", main).stream
            audio = heard and widest(
                media.audio_streams(readers.container("format", heard.video_path), heard.video_info)
            )
            with StyledReelWriter(part_path, size_px, output_rate(main.video_info), source, audio) as writer:
                if chapter_names:  # which are written before the first packet
                    writer.output.set_chapters(mp4_chapters(styled_edges_sec(sections, style), chapter_names))
                video, audio = compose(sections, style, readers, writer)
                write_clips(video, audio, writer, on_progress)
        replace_durably(part_path, reel_path)
    finally:
        discard(part_path)


# ---- Composition


def compose(sections: list[ReelSection], style: ReelStyle, readers: MatchReaders, writer: "StyledReelWriter"):
    """Return the moviepy clips of the reel: the video, and the audio, None without audio."""
    rate_fps, size_px = float(writer.rate_fps), writer.size_px
    placements = place_sections(sections, style, writer.rate_fps)
    num_frames = placements[-1].start + placements[-1].num_frames
    black = np.broadcast_to(np.uint8(0), (*size_px[::-1], 3))
    video, audio = [moviepy_fixes.still_clip(black, num_frames / rate_fps)], []
    if style.intro is not None:
        card = captions.draw_card(style.intro, captions.find_font(style.intro, "--intro"), size_px)
        video.append(moviepy_fixes.still_clip(card, placements[0].num_frames / rate_fps))
        placements = placements[1:]
    font_of = functools.cache(lambda title: captions.find_font(title + captions.CLOCK_CHARACTERS, title))
    for index, (section, placement) in enumerate(zip(sections, placements, strict=True)):
        lane = index % 2
        font_path = font_of(section.title) if style.has_captions else None
        make_clip = section_clips(section, style, readers, lane, size_px, font_path)
        for first, end in ((0, placement.fade_in), (placement.fade_in, placement.num_frames)):
            if first < end:
                clip = make_clip(first / rate_fps, (end - first) / rate_fps)
                clip = moviepy_fixes.fade_in(clip, end / rate_fps) if first == 0 and placement.fade_in else clip
                video.append(clip.set_start((placement.start + first) / rate_fps))
        if writer.audio and section.video_info.audio_index is not None:
            audio.append(place_audio(section, placement, readers, lane, writer))
    if writer.audio:
        silence = np.zeros(writer.audio.layout.nb_channels)
        audio.append(moviepy_fixes.audio_clip(lambda times: silence, len(silence), num_frames / rate_fps))
    return moviepy_fixes.stack(video), moviepy_fixes.mix(audio) if audio else None


def section_clips(
    section: ReelSection,
    style: ReelStyle,
    readers: MatchReaders,
    lane: int,
    size_px: tuple[int, int],
    font_path: Path | None,
) -> Callable[[float, float], object]:
    """Return a function (first_sec, duration_sec) that makes a clip of a part of a section, with its caption.

    The parts of a section share its reader: a cross-fade is a part of its own, so that only there two pictures are
    computed for each frame.
    """
    fit = PictureFit(size_px, square_pixel_size(readers, section), style.fit)
    source = SectionVideo(section, readers, lane, fit)

    def make_clip(first_sec: float, duration_sec: float):
        def clip_of(make_picture: Callable[[float], np.ndarray], clip_size_px: tuple[int, int], is_mask: bool = False):
            return moviepy_fixes.video_clip(lambda t: make_picture(first_sec + t), clip_size_px, duration_sec, is_mask)

        layers = [clip_of(source.picture, fit.frame_size_px)]
        if not fit.fills_picture:
            black = np.broadcast_to(np.uint8(0), (*size_px[::-1], 3))
            backdrop = clip_of(source.blurred, size_px)
            if style.fit == "pad":
                backdrop = moviepy_fixes.still_clip(black, duration_sec)
            layers = [backdrop, layers[0].set_position("center")]
        if font_path is not None:
            draw, top_px = caption_drawer(section, font_path, size_px)
            caption_px = draw(0).shape[1::-1]
            caption = clip_of(lambda t: draw(t)[..., :3], caption_px)
            caption = caption.set_mask(clip_of(lambda t: draw(t)[..., 3] / 255, caption_px, is_mask=True))
            layers.append(caption.set_position((0, top_px)))
        return moviepy_fixes.stack(layers)

    return make_clip


def caption_drawer(
    section: ReelSection, font_path: Path, size_px: tuple[int, int]
) -> tuple[Callable[[float], np.ndarray], int]:
    """Return a function that draws the caption at a time of a section, (H, W, 4) uint8, and where it lies from the top.

    Its clock shows the time of the match.
    """

    def draw_with_place(time_sec: float) -> tuple[np.ndarray, int]:
        line = " · ".join(filter(None, (format_time(section.start_sec + time_sec), section.rank)))
        return captions.draw_caption((section.title, line), font_path, size_px)

    return lambda time_sec: draw_with_place(time_sec)[0], draw_with_place(0)[1]


def place_audio(
    section: ReelSection, placement: Placement, readers: MatchReaders, lane: int, writer: "StyledReelWriter"
):
    """Return the moviepy clip of the audio of a section, at its place in the reel, to the sample."""

    def to_samples(frames: int) -> int:
        return round(frames / writer.rate_fps * writer.audio.rate)

    start, end = to_samples(placement.start), to_samples(placement.start + placement.num_frames)
    fades = to_samples(placement.fade_in), to_samples(placement.fade_out)
    source = SectionAudio(section, readers, lane, writer.audio, end - start, *fades)
    rate_hz = writer.audio.rate
    clip = moviepy_fixes.audio_clip(source.samples, writer.audio.layout.nb_channels, (end - start) / rate_hz)
    return clip.set_start(start / rate_hz)


# ---- Writing


def write_clips(video, audio, writer: "StyledReelWriter", on_progress: Callable[[float], object]) -> None:
    """Encode moviepy clips, alternating between video and audio so that neither has to wait in memory for the other.

    Each frame and each sample is that of the middle of its time: the edges of clips lie between them.

    Args:
        video: The video.
        audio: The audio, None without.
        writer: The reel.
        on_progress: Called with the seconds of the reel that were added.
    """
    num_frames = round(video.duration * writer.rate_fps)
    rate_hz = writer.audio.rate if audio else 1
    num_samples, position = round(num_frames / writer.rate_fps * rate_hz) if audio else 0, 0
    for index in range(num_frames):
        while position < num_samples and position / rate_hz <= index / writer.rate_fps:
            block = np.arange(position, min(position + round(AUDIO_BLOCK_SEC * rate_hz), num_samples))
            writer.write_samples(audio.get_frame((block + 0.5) / rate_hz).T.astype(np.float32))
            position += len(block)
        writer.write_picture(video.get_frame((index + 0.5) / float(writer.rate_fps)), index)
        on_progress(float(1 / writer.rate_fps))


class StyledReelWriter(reel.ReelWriter):
    """Write the mp4 from pictures, as a context manager.

    Attributes:
        size_px: The width and the height.
        rate_fps: The frame rate.
        video: The output's video stream.
        audio: The output's audio stream, None for a source without audio.
    """

    def __init__(
        self,
        path: Path,
        size_px: tuple[int, int],
        rate_fps: Fraction,
        source: av.VideoStream,
        audio_source: av.AudioStream | None,
    ):
        self.path, self.size_px, self.rate_fps = path, size_px, rate_fps
        self.fifo = av.AudioFifo()
        with self.writing():
            self.output = av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
            self.video = self.output.add_stream("libx264", rate=rate_fps, options=reel.ENCODER_OPTIONS)
            context = self.video.codec_context
            context.width, context.height = size_px
            context.pix_fmt, context.time_base = "yuv420p", 1 / rate_fps
            reel.copy_colors(source.codec_context, context)
            self.scaler_matrix = scaler_matrix(source.codec_context)
            self.audio = add_audio_stream(self.output, audio_source)

    def write_picture(self, picture: np.ndarray, index: int) -> None:
        """Encode the frame of an index: (H, W, 3) uint8 RGB."""
        context = self.video.codec_context
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        with self.writing():
            frame = frame.reformat(format="yuv420p", dst_colorspace=self.scaler_matrix, dst_color_range=1)
            frame.pts, frame.time_base = index, context.time_base
            self.output.mux(self.video.encode(frame))
