"""Small grey copies of a video's frames: reading them by presentation time, and the hard cuts between them."""

import os
from dataclasses import dataclass, replace

import numpy as np

from videosummarizer import media
from videosummarizer.frame_scaling import Scaler, displayed_aspect_ratio
from videosummarizer.hard_cuts import find_hard_cuts
from videosummarizer.sections import merge_sections

THUMBNAIL_WIDTH_PX = 48
THUMBNAIL_HEIGHT_PX = 27
# Decoder options that save a quarter to a third of the time; a thumbnail's grey levels hardly change.
FAST_DECODING = {"skip_loop_filter": "all", "flags2": "+fast"}


@dataclass
class Thumbnails:
    """Small grey copies of some of a video's frames.

    Attributes:
        times_sec: (n,) float64, presentation times, ascending.
        thumbnails: (n, 27, 48) uint8, grey levels of the whole frame, rotated as the file's display matrix says.
        aspect_ratio: width by height of the displayed frame.
    """

    times_sec: np.ndarray
    thumbnails: np.ndarray
    aspect_ratio: float = THUMBNAIL_WIDTH_PX / THUMBNAIL_HEIGHT_PX

    def select(self, indices: np.ndarray | slice) -> "Thumbnails":
        """Return the thumbnails at some indices."""
        return replace(self, times_sec=self.times_sec[indices], thumbnails=self.thumbnails[indices])

    def between(self, start_sec: float, end_sec: float) -> "Thumbnails":
        """Return the thumbnails with times in [start_sec, end_sec)."""
        return self.select(slice(*np.searchsorted(self.times_sec, (start_sec, end_sec))))

    def subsample(self, max_frames: int) -> "Thumbnails":
        """Return at most so many of the thumbnails, evenly spread."""
        num_frames = len(self.times_sec)
        return self.select(np.unique(np.linspace(0, num_frames - 1, min(num_frames, max_frames)).astype(int)))


def read_thumbnails(
    path: str | os.PathLike,
    start_sec: float = 0,
    end_sec: float = np.inf,
    rate_fps: float = np.inf,
    keyframes: bool = False,
) -> Thumbnails:
    """Read thumbnails of a video's frames from one time to another, or of its keyframes only.

    Reading starts at the last keyframe before the start, whose frames have to be decoded anyway.

    Args:
        path: the video.
        start_sec: the frames from this time on are read.
        end_sec: the frames before this time are read.
        rate_fps: the most frames per second; with a rate, frames that no other frame refers to are left out.
        keyframes: whether only keyframes are read.

    Raises:
        media.MediaError: the video cannot be read, or no frame of it decodes.
    """
    times, thumbnails, aspect_ratio = [], [], Thumbnails.aspect_ratio
    scale = Scaler(THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX, "gray")
    with media.open_media(path) as container:
        stream = media.video_stream(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.options = FAST_DECODING
        first_sec = media.start_time_sec(container)
        if keyframes:
            stream.codec_context.skip_frame = "NONKEY"
        elif rate_fps < np.inf:
            stream.codec_context.skip_frame = "NONREF"
        if start_sec > 0:
            container.seek(int((start_sec + first_sec) / stream.time_base), stream=stream)
        for frame in media.decode(media.demux(container, stream)):
            time_sec = frame.time - first_sec
            if time_sec >= end_sec:
                break
            if times and time_sec < times[-1] + 1 / rate_fps - media.TIME_TOLERANCE_SEC:
                continue
            times.append(time_sec)
            thumbnails.append(scale(frame))
            if len(times) == 1:
                aspect_ratio = displayed_aspect_ratio(frame, stream)
    if not times and not keyframes and start_sec <= 0 and end_sec == np.inf:
        raise media.no_frame_error(path)
    shape = (len(times), THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX)
    return Thumbnails(np.array(times), np.array(thumbnails, np.uint8).reshape(shape), aspect_ratio)


def read_thumbnails_near(
    path: str | os.PathLike, regions_sec: list[tuple[float, float]], rate_fps: float
) -> Thumbnails:
    """Read thumbnails of some regions of a video, as `read_thumbnails` does.

    Args:
        path: the video.
        regions_sec: (start, end) of each region in seconds; regions may overlap.
        rate_fps: the most frames per second.

    Raises:
        media.MediaError: the video cannot be read.
    """
    parts = [read_thumbnails(path, max(start, 0), end, rate_fps) for start, end in merge_sections(regions_sec)]
    return join_thumbnails(parts)


def join_thumbnails(parts: list[Thumbnails]) -> Thumbnails:
    """Return several thumbnails of one video in order of time, without duplicate times."""
    times_sec = np.concatenate([np.zeros(0), *(part.times_sec for part in parts)])
    empty = np.zeros((0, THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX), np.uint8)
    thumbnails = np.concatenate([empty, *(part.thumbnails for part in parts)])
    times_sec, order = np.unique(times_sec, return_index=True)
    joined = parts[0] if parts else Thumbnails(times_sec, empty)
    return replace(joined, times_sec=times_sec, thumbnails=thumbnails[order])


def find_cuts(thumbnails: Thumbnails) -> np.ndarray:
    """Return the times of hard cuts; a flash counts as a cut, a dissolve does not.

    Args:
        thumbnails: of every frame of a video.

    Returns:
        (num_cuts,) float64, the presentation time of the first frame after each cut.
    """
    changes = np.zeros(max(len(thumbnails.times_sec) - 1, 0), np.float32)
    for index in range(len(changes)):  # one by one: the difference of all frames at once takes much memory
        before, after = thumbnails.thumbnails[index : index + 2].astype(np.int16)
        changes[index] = np.abs(after - before).mean()
    return thumbnails.times_sec[1:][find_hard_cuts(changes)]


def shown_at(times_sec: np.ndarray, wanted_sec: np.ndarray) -> np.ndarray:
    """Return the indices of the frames that are shown at some times.

    Args:
        times_sec: (n,) float64, presentation times of the frames, ascending.
        wanted_sec: (m,) float64; before the first frame, the first frame counts as shown.

    Returns:
        (m,) int64.
    """
    return np.maximum(np.searchsorted(times_sec, wanted_sec + media.TIME_TOLERANCE_SEC, side="right") - 1, 0)
