"""Cut a reel out of a match: only the sections are decoded, and encoded one after another as H.264 and AAC in an mp4.

Written with PyAV: it gives each frame with its presentation time, so that cuts fall on the frame asked for whatever the
frame rate, and sound is placed to the sample. `benchmarks/bench_extractor.py` compares it with moviepy 1.0.3.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av.error
import numpy as np

from videosummarizer import media


class ReelError(Exception):
    """A reel that cannot be written; the message names the file and says why."""


ENCODER_OPTIONS = {"preset": "veryfast", "crf": "18"}  # near the source's quality, at about the decoder's speed
AUDIO_BIT_RATE_PER_CHANNEL = 96_000
AUDIO_FADE_SEC = 0.01  # long enough to hear no click, short enough to lose no word
AUDIO_PREROLL_SEC = 0.5  # decoded before a section and dropped: sound codecs refer to what came before
FALLBACK_SAMPLE_RATE_HZ = 48_000  # where AAC does not know the source's
NUM_SAMPLES_PER_AAC_FRAME = 1024
SEEK_MARGINS_SEC = (0, 2, 20, 10**6)  # the last one leads to the beginning
ROTATION_FILTERS = {  # by the quarter turns against the clock that put the picture upright
    1: [("transpose", "cclock")],
    2: [("hflip", None), ("vflip", None)],
    3: [("transpose", "clock")],
}


def render_reel(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    sections: np.ndarray,
    reel_path: str | os.PathLike,
    height_px: int | None = None,
    on_progress: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Write the sections of a video one after another into an mp4, whole or not at all.

    Frames keep the distances in time that they have in the source, so that a variable frame rate stays as it is. The
    sound fades in and out over 10 ms at each cut. A source without sound makes a reel without sound.

    Args:
        video_path: the source.
        video_info: of `media.probe`.
        sections: (num_sections, 2) int64, at least one: first frame, and the frame after the last, in display order.
        reel_path: the mp4.
        height_px: of the reel, upright; by default the source's. The width follows; both are made even.
        on_progress: called with the seconds of reel that were added.

    Raises:
        media.MediaError: the source cannot be read.
        ReelError: the reel cannot be written.
    """
    part_path = Path(f"{os.fspath(reel_path)}.part")
    edges_sec = np.append(video_info.frame_times_sec, video_info.duration_sec)
    try:
        with (
            media.open_media(video_path) as picture,
            media.open_media(video_path) as sound,
            ReelWriter(part_path, picture, sound, height_px) as writer,
        ):
            for first, end in sections:
                render_section(writer, picture, sound, edges_sec[[first, end]].tolist(), on_progress)
        part_path.replace(reel_path)
    finally:
        part_path.unlink(missing_ok=True)


def render_section(
    writer: "ReelWriter",
    picture: av.container.InputContainer,
    sound: av.container.InputContainer,
    edges_sec: list[float],
    on_progress: Callable[[float], object],
) -> None:
    """Encode one section, sound and picture side by side, so that neither waits in memory for the other."""
    time_base, origin_sec = picture.streams.best("video").time_base, media.start_time_sec(picture)
    first_pts, end_pts = (round((edge_sec + origin_sec) / float(time_base)) for edge_sec in edges_sec)
    num_samples = writer.start_section(end_pts - first_pts)
    blocks = read_sound(sound, edges_sec[0], num_samples, writer.audio) if writer.audio else iter(())
    heard_sec = seen_sec = 0.0
    for frame in read_picture(picture, first_pts, end_pts):
        frame_sec = float((frame.pts - first_pts) * time_base)
        while heard_sec < frame_sec and (block := next(blocks, None)) is not None:
            heard_sec += writer.write_samples(block)
        writer.write_frame(frame, frame.pts - first_pts)
        on_progress(frame_sec - seen_sec)
        seen_sec = frame_sec
    for block in blocks:
        writer.write_samples(block)
    on_progress(edges_sec[1] - edges_sec[0] - seen_sec)


def read_picture(container: av.container.InputContainer, first_pts: int, end_pts: int) -> Iterator[av.VideoFrame]:
    """Frames with presentation timestamps in [first_pts, end_pts), decoded from the last keyframe before them on.

    A seek lands by decoding time, which may be after the first frame's presentation time: then it goes further back.
    """
    stream = container.streams.best("video")
    for margin_sec in SEEK_MARGINS_SEC:
        container.seek(first_pts - int(margin_sec / stream.time_base), stream=stream, backward=True)
        frames = media.decode(container.demux(stream))
        frame = next(frames, None)
        if frame is not None and frame.pts <= first_pts:
            break
    while frame is not None and frame.pts < end_pts:
        if frame.pts >= first_pts:
            yield frame
        frame = next(frames, None)


def read_sound(
    container: av.container.InputContainer, first_sec: float, num_samples: int, output: av.AudioStream
) -> Iterator[np.ndarray]:
    """(num_channels, n) float32 blocks, num_samples in all, of the sound from first_sec on, in an output stream's rate
    and layout. Placed by timestamps, silence where there is none, faded at both ends in a straight line."""
    stream, origin_sec = container.streams.best("audio"), media.start_time_sec(container)
    warm_up_pts = int((first_sec + origin_sec - AUDIO_PREROLL_SEC) / stream.time_base)
    container.seek(warm_up_pts, stream=stream, backward=True)
    num_fade, position = AUDIO_FADE_SEC * output.rate, 0
    for start_sec, run in media.audio_runs(media.decode(container.demux(stream)), origin_sec):
        start = round((start_sec - first_sec) * output.rate)
        num_silent = min(start, num_samples) - position
        if num_silent > 0:
            yield np.zeros((output.layout.nb_channels, num_silent), np.float32)
            position += num_silent
        for block in resample_audio(run, output):
            kept = block[:, max(0, position - start) : max(0, num_samples - start)]
            places = position + np.arange(kept.shape[1]) + 0.5
            yield kept * np.clip(np.minimum(places, num_samples - places) / num_fade, 0, 1).astype(np.float32)
            start += block.shape[1]
            position += kept.shape[1]
            if position == num_samples:
                return
    yield np.zeros((output.layout.nb_channels, num_samples - position), np.float32)


def resample_audio(frames: Iterator[av.AudioFrame], output: av.AudioStream) -> Iterator[np.ndarray]:
    """(num_channels, n) float32 blocks of frames that share one format, in an output stream's rate and layout."""
    resampler = av.AudioResampler(format="fltp", layout=output.layout, rate=output.rate)
    for frame in frames:
        frame.pts = None  # the run's place is known; the resampler is to neither fill nor drop
        for block in resampler.resample(frame):
            yield block.to_ndarray()
    for block in resampler.resample(None):
        yield block.to_ndarray()


class ReelWriter:
    """The mp4 while it is written, a context manager. Sections come one after another, each with a clock of its own.

    `audio` is the output's sound stream, None for a source without sound. What FFmpeg or the system refuses while
    writing is a ReelError.
    """

    def __init__(
        self,
        path: Path,
        picture: av.container.InputContainer,
        sound: av.container.InputContainer,
        height_px: int | None,
    ):
        self.path = path
        source = media.best_stream(picture, "video", picture.name)
        source.thread_type = "AUTO"
        frame = next(media.decode(picture.demux(source)), None)
        if frame is None:
            raise media.MediaError(f"{picture.name}: received a video of which no frame decodes, expected at least one")
        self.graph = rotation_graph(source, frame)
        with self.writing():
            self.output = av.open(os.fspath(path), "w", format="mp4", options={"movflags": "+faststart"})
            self.video = add_video_stream(
                self.output, source, self.upright(frame), height_px, is_turned_sideways(frame)
            )
            self.audio = add_audio_stream(self.output, sound.streams.best("audio"))
        self.fifo = av.AudioFifo()
        self.section_pts = self.next_section_pts = self.num_samples = 0

    def __enter__(self) -> "ReelWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError):  # the error under way is the one to report
                self.output.close()
            return
        with self.writing():
            if self.audio:
                for block in (self.fifo.read(0, partial=True), None):
                    self.output.mux(self.audio.encode(block))
            self.output.mux(self.video.encode(None))
            self.output.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns what goes wrong inside into a ReelError."""
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise ReelError(f"{self.path}: the reel cannot be written ({error.strerror or error})") from error

    def start_section(self, num_pts: int) -> int:
        """Begin a section of a length in the video's time base; returns the number of samples that belong to it."""
        self.section_pts = self.next_section_pts
        self.next_section_pts += num_pts
        if self.audio is None:
            return 0
        num_samples_before = self.num_samples
        # From the reel's beginning, so that rounding does not add up over the sections.
        self.num_samples = round(self.next_section_pts * self.video.codec_context.time_base * self.audio.rate)
        return self.num_samples - num_samples_before

    def write_frame(self, frame: av.VideoFrame, pts: int) -> None:
        """Encode a frame that is shown pts after the section's beginning."""
        context = self.video.codec_context
        with self.writing():
            picture = self.upright(frame).reformat(
                context.width,
                context.height,
                "yuv420p",
                interpolation="AREA",
                dst_color_range=context.color_range,
            )
            picture.pts, picture.time_base = self.section_pts + pts, context.time_base
            picture.pict_type = av.video.frame.PictureType.NONE  # the encoder chooses, not the source
            self.output.mux(self.video.encode(picture))

    def write_samples(self, samples: np.ndarray) -> float:
        """Encode (num_channels, n) float32 samples; returns their length in seconds."""
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", self.audio.layout.name)
        block.sample_rate, block.time_base = self.audio.rate, Fraction(1, self.audio.rate)
        block.pts = self.fifo.samples_written
        self.fifo.write(block)
        with self.writing():
            for frame in self.fifo.read_many(NUM_SAMPLES_PER_AAC_FRAME):
                self.output.mux(self.audio.encode(frame))
        return samples.shape[1] / self.audio.rate

    def upright(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame, turned where the source says that it was filmed turned."""
        if self.graph is None:
            return frame
        self.graph.push(frame)
        return self.graph.pull()


def num_quarter_turns(frame: av.VideoFrame) -> int:
    """How many quarter turns against the clock put a frame upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


def is_turned_sideways(frame: av.VideoFrame) -> bool:
    """Whether width and height of a frame change places when it is put upright."""
    return num_quarter_turns(frame) % 2 == 1


def rotation_graph(stream: av.VideoStream, frame: av.VideoFrame) -> av.filter.Graph | None:
    """The filters that turn a stream's frames upright; None where they are."""
    filters = ROTATION_FILTERS.get(num_quarter_turns(frame))
    if filters is None:
        return None
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=stream), *(graph.add(*filter) for filter in filters), graph.add("buffersink")
    ).configure()
    return graph


def add_video_stream(
    output: av.container.OutputContainer,
    source: av.VideoStream,
    frame: av.VideoFrame,
    height_px: int | None,
    is_sideways: bool,
) -> av.VideoStream:
    """An H.264 stream for frames like the given one, with the clock, the colours and the pixel shape of a source.

    is_sideways: whether the frame was turned a quarter to be upright, so that its pixels lie on their side.
    """
    stream = output.add_stream("libx264", rate=source.average_rate or source.guessed_rate, options=ENCODER_OPTIONS)
    height_px = height_px or frame.height
    context = stream.codec_context
    context.height = round_to_even(height_px)
    context.width = round_to_even(frame.width * height_px / frame.height)
    context.pix_fmt = "yuv420p"
    context.time_base = source.time_base
    pixel_shape = source.sample_aspect_ratio or Fraction(1)
    context.sample_aspect_ratio = 1 / pixel_shape if is_sideways else pixel_shape
    for name in ("color_primaries", "color_trc", "colorspace", "color_range"):
        setattr(context, name, getattr(source.codec_context, name))
    if source.codec_context.pix_fmt.startswith("yuvj"):  # the name of full range: write_frame makes it limited
        context.color_range = 1
    return stream


def add_audio_stream(output: av.container.OutputContainer, source: av.AudioStream | None) -> av.AudioStream | None:
    """An AAC stream in the sample rate of a source, mono or stereo; None without a source."""
    if source is None:
        return None
    known_rates_hz = av.Codec("aac", "w").audio_rates
    rate_hz = source.rate if source.rate in known_rates_hz else FALLBACK_SAMPLE_RATE_HZ
    layout = "mono" if source.layout.nb_channels == 1 else "stereo"
    stream = output.add_stream("aac", rate=rate_hz, layout=layout)
    stream.bit_rate = AUDIO_BIT_RATE_PER_CHANNEL * stream.layout.nb_channels
    return stream


def round_to_even(length_px: float) -> int:
    """The nearest even number of pixels, at least 2: what 4:2:0 pictures need."""
    return max(2, round(length_px / 2) * 2)
