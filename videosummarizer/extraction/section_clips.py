"""Sections of matches as moviepy plays them: the frame shown at a time, and the audio, read as the reel goes on."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import av.error
import numpy as np

from videosummarizer import media
from videosummarizer.extraction.crop_path import CropPath, find_crop_path
from videosummarizer.extraction.picture_fit import PictureFit
from videosummarizer.extraction.reel_audio import read_section_sum
from videosummarizer.extraction.reel_sections import ReelSection
from videosummarizer.extraction.section_frames import SectionFrames
from videosummarizer.frame_scaling import displayed_aspect_ratio


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turn errors of FFmpeg and of the system into MediaError."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise media.MediaError(f"{path}: cannot be read as a video ({error.strerror or error})") from error


class MatchReaders:
    """Opens matches as they are needed, as a context manager.

    Each purpose has a file of its own. Sections that overlap in a cross-fade are read for different purposes. A file
    stays open until the purpose needs another one.

    Attributes:
        opened: The path, what closes it, and the reader, by purpose.
        playing: The section that plays, by lane.
        square_pixel_sizes: The sizes that `square_pixel_size` found, by path.
    """

    def __init__(self):
        self.opened: dict[str, tuple[Path, contextlib.ExitStack, object]] = {}
        self.playing: dict[int, SectionVideo] = {}
        self.square_pixel_sizes: dict[Path, tuple[float, float]] = {}

    def __enter__(self) -> "MatchReaders":
        return self

    def __exit__(self, *_) -> None:
        for _, stack, _ in self.opened.values():
            stack.close()

    def container(self, purpose: str, path: Path) -> av.container.InputContainer:
        """Return an open match."""
        return self.open(purpose, path, lambda container: container)

    def frames(self, purpose: str, section: ReelSection) -> SectionFrames:
        """Return the reader of the frames of a match."""

        def read(container: av.container.InputContainer) -> SectionFrames:
            frames = SectionFrames(container, section.video_info)
            frames.stream.thread_type = "AUTO"
            return frames

        return self.open(purpose, section.video_path, read)

    def open(self, purpose: str, path: Path, make_reader: Callable[[av.container.InputContainer], object]):
        """Return the reader of a purpose, a new one if the purpose had another match before."""
        if purpose not in self.opened or self.opened[purpose][0] != path:
            if purpose in self.opened:
                self.opened.pop(purpose)[1].close()
            stack = contextlib.ExitStack()
            reader = make_reader(stack.enter_context(media.open_media(path)))
            self.opened[purpose] = path, stack, reader
        return self.opened[purpose][2]


def square_pixel_size(readers: MatchReaders, section: ReelSection) -> tuple[float, float]:
    """Return the width and the height of a match as shown, in square pixels.

    Raises:
        media.MediaError: No frame of it decodes.
    """
    if (known := readers.square_pixel_sizes.get(section.video_path)) is not None:
        return known
    stream = readers.frames("size", section).stream
    with reading(section.video_path):
        frame = next(media.decode(media.demux(stream.container, stream)), None)
    if frame is None:
        raise media.no_frame_error(section.video_path)
    height_px = float(section.video_info.height_px)
    size_px = height_px * displayed_aspect_ratio(frame, stream), height_px
    readers.square_pixel_sizes[section.video_path] = size_px
    return size_px


class SectionVideo:
    """The pictures of a section. The times that are asked for ascend.

    Args:
        section: The section.
        readers: Opens its match when its first picture is asked for.
        lane: Sections that overlap have different ones.
        fit: How frames are fitted.
    """

    def __init__(self, section: ReelSection, readers: MatchReaders, lane: int, fit: PictureFit):
        self.section, self.readers, self.lane, self.fit = section, readers, lane, fit
        self.frames: Iterator[av.VideoFrame] | None = None
        self.first_pts, self.time_base = 0, 1.0
        self.release()

    def release(self) -> None:
        """Forget the pictures, as the section has ended."""
        self.path = CropPath(np.zeros(0, np.int64), np.zeros(0))
        self.current: av.VideoFrame | None = None
        self.following: av.VideoFrame | None = None
        self.drawn: tuple[int, np.ndarray] | None = None

    def start(self) -> None:
        """End the section that played before, find the path of the crop, and read the first frame."""
        if self.lane in self.readers.playing:
            self.readers.playing[self.lane].release()
        self.readers.playing[self.lane] = self
        section, reader = self.section, self.readers.frames(f"video {self.lane}", self.section)
        self.time_base = float(reader.stream.time_base)
        self.first_pts, end_pts = reader.pts_at([section.start_sec, section.end_sec])
        if self.fit.window_length < 1:
            measured = self.readers.frames("motion", section).read(self.first_pts, end_pts)
            rate_fps = section.video_info.frame_rate_fps
            self.path = find_crop_path(measured, rate_fps, self.fit.window_length, self.fit.is_vertical)
        self.frames = reader.read(self.first_pts, end_pts)
        self.following = next(self.frames, None)

    def frame_at(self, time_sec: float) -> av.VideoFrame | None:
        """Return the frame that is shown at a time of the section, None where none of it decodes."""
        with reading(self.section.video_path):
            if self.frames is None:
                self.start()
            target_pts = self.first_pts + time_sec / self.time_base
            while self.following is not None and (self.current is None or self.following.pts <= target_pts):
                self.current, self.following = self.following, next(self.frames, None)
        return self.current

    def picture(self, time_sec: float) -> np.ndarray:
        """Return the fitted frame that is shown at a time, (H, W, 3) uint8 RGB."""
        frame = self.frame_at(time_sec)
        if frame is None:
            return np.zeros((*self.fit.frame_size_px[::-1], 3), np.uint8)
        if self.drawn is None or self.drawn[0] != frame.pts:
            self.drawn = frame.pts, self.fit.draw(frame, self.path.at(frame.pts))
        return self.drawn[1]

    def blurred(self, time_sec: float) -> np.ndarray:
        """Return the blurred copy of the frame that is shown at a time, (H, W, 3) uint8 RGB."""
        frame = self.frame_at(time_sec)
        if frame is None:
            return np.zeros((*self.fit.size_px[::-1], 3), np.uint8)
        return self.fit.draw_blurred(frame)


class SectionAudio:
    """The audio of a section, with fades. The times that are asked for follow one another without a gap.

    A cross-fade keeps the power of unlike sounds: the squares of both gains add up to 1.

    Args:
        section: The section.
        readers: Opens its match when its first sample is asked for.
        lane: Sections that overlap have different ones.
        output: The stream of the reel, whose rate and layout the audio gets.
        num_samples: The length of the section in the reel.
        fade_in: The number of samples of the cross-fade at the beginning.
        fade_out: The number of samples of the cross-fade at the end.
    """

    def __init__(
        self,
        section: ReelSection,
        readers: MatchReaders,
        lane: int,
        output: av.AudioStream,
        num_samples: int,
        fade_in: int,
        fade_out: int,
    ):
        self.section, self.readers, self.lane, self.output = section, readers, lane, output
        self.num_samples, self.fade_in, self.fade_out = num_samples, max(fade_in, 1), max(fade_out, 1)
        self.blocks: Iterator[np.ndarray] | None = None
        self.rest = np.zeros((output.layout.nb_channels, 0), np.float32)

    def samples(self, times_sec: np.ndarray) -> np.ndarray:
        """Return (n, num_channels) float64 for (n,) times of the section, silence outside of it."""
        positions = np.floor(times_sec * self.output.rate).astype(np.int64)
        is_inside = (positions >= 0) & (positions < self.num_samples)
        result = np.zeros((len(times_sec), self.output.layout.nb_channels))
        if is_inside.any():
            inside = positions[is_inside] + 0.5
            rising = np.sin(np.pi / 2 * np.minimum(inside / self.fade_in, 1))
            falling = np.sin(np.pi / 2 * np.minimum((self.num_samples - inside) / self.fade_out, 1))
            result[is_inside] = (self.take(len(inside)) * rising * falling).T
        if positions[-1] >= self.num_samples - 1:
            self.blocks, self.rest = iter(()), self.rest[:, :0].copy()  # nothing is kept of a section that has ended
        return result

    def take(self, num_samples: int) -> np.ndarray:
        """Return the next (num_channels, num_samples) float32."""
        with reading(self.section.video_path):
            if self.blocks is None:
                sources = []
                for index in self.section.video_info.audio_indices:
                    container = self.readers.container(f"audio {self.lane} {index}", self.section.video_path)
                    sources.append((container, container.streams[index]))
                self.blocks = read_section_sum(sources, self.section.start_sec, self.num_samples, self.output)
            while self.rest.shape[1] < num_samples:
                self.rest = np.concatenate([self.rest, next(self.blocks)], axis=1)
        taken, self.rest = self.rest[:, :num_samples], self.rest[:, num_samples:].copy()
        return taken
