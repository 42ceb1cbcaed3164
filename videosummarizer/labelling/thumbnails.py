"""Small grey copies of a video's frames: reading them by presentation time, and the hard cuts between them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from videosummarizer import hardware_decoding, media
from videosummarizer.frame_scaling import Scaler, displayed_aspect_ratio
from videosummarizer.hard_cuts import find_hard_cuts
from videosummarizer.hardware_decoding import Device
from videosummarizer.nal_units import disposable_test
from videosummarizer.sections import merge_sections

THUMBNAIL_WIDTH_PX = 48
THUMBNAIL_HEIGHT_PX = 27
# Decoder options that save a quarter to a third of the time; a thumbnail's grey levels hardly change.
FAST_DECODING = {"skip_loop_filter": "all", "flags2": "+fast"}
# So many of the first thumbnails of a video are decoded both ways before a device decodes it.
NUM_COMPARED = 48


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

    Reading starts at the last keyframe before the start, whose frames have to be decoded anyway. A device decodes whole
    videos if the process uses one and its thumbnails are proved equal (hardware_decoding.py). Keyframes and parts of
    videos are decoded in software.

    Args:
        path: the video.
        start_sec: the frames from this time on are read.
        end_sec: the frames before this time are read.
        rate_fps: the most frames per second; with a rate, frames that no other frame refers to are left out.
        keyframes: whether only keyframes are read.

    Raises:
        media.MediaError: the video cannot be read, or no frame of it decodes.
    """
    is_whole = not keyframes and start_sec <= 0 and end_sec == np.inf
    output = (THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX, "gray", rate_fps)

    def read(device: Device | None) -> Iterator[tuple[float, float, np.ndarray]]:
        return decode_thumbnails(path, start_sec, end_sec, rate_fps, keyframes, device)

    def read_some(device: Device | None, damaged_sec: set[int]) -> list[np.ndarray]:
        rows = islice(read(device), NUM_COMPARED)
        return [np.append(thumbnail.ravel(), (time_sec, aspect_ratio)) for time_sec, aspect_ratio, thumbnail in rows]

    device = hardware_decoding.device_for(path, output, read_some) if is_whole else None
    rows = hardware_decoding.try_device(path, output, device, lambda device: list(read(device)))
    if not rows and is_whole:
        raise media.no_frame_error(path)
    times_sec, aspect_ratios, thumbnails = zip(*rows, strict=True) if rows else ((), (Thumbnails.aspect_ratio,), ())
    shape = (len(rows), THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX)
    return Thumbnails(np.array(times_sec), np.array(thumbnails, np.uint8).reshape(shape), aspect_ratios[0])


def decode_thumbnails(
    path: str | os.PathLike,
    start_sec: float,
    end_sec: float,
    rate_fps: float,
    keyframes: bool,
    device: Device | None,
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield the presentation time, the aspect ratio and the thumbnail of each frame that `read_thumbnails` reads.

    Args:
        path, start_sec, end_sec, rate_fps, keyframes: as for `read_thumbnails`.
        device: decodes, None for software.

    Raises:
        media.MediaError: the video cannot be read.
        hardware_decoding.DeviceError: the device fails.
    """
    scale = Scaler(THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX, "gray")
    last_sec, aspect_ratio = -np.inf, None
    with media.open_media(path, device and device.hwaccel) as container:
        stream = media.video_stream(container, path)
        packets = media.demux(container, stream)
        if device:
            stream.codec_context.thread_count = 1
            is_left_out = disposable_test(stream) if rate_fps < np.inf else lambda packet: False
            frames = hardware_decoding.decode(device, (packet for packet in packets if not is_left_out(packet)))
        else:
            stream.thread_type = "AUTO"
            # A device cannot save this time: where the user names one, its thumbnails are compared with exact ones.
            stream.codec_context.options = {} if hardware_decoding.is_named() else FAST_DECODING
            if keyframes:
                stream.codec_context.skip_frame = "NONKEY"
            elif rate_fps < np.inf:
                stream.codec_context.skip_frame = "NONREF"
            frames = media.decode(packets)
        first_sec = media.start_time_sec(container)
        if start_sec > 0:
            container.seek(int((start_sec + first_sec) / stream.time_base), stream=stream)
        for frame in frames:
            time_sec = frame.time - first_sec
            if time_sec >= end_sec:
                break
            if time_sec < last_sec + 1 / rate_fps - media.TIME_TOLERANCE_SEC:
                continue
            last_sec, aspect_ratio = time_sec, aspect_ratio or displayed_aspect_ratio(frame, stream)
            yield time_sec, aspect_ratio, scale(frame)


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
