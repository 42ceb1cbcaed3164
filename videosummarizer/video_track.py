"""Read the frames of a video file by presentation time: seconds from the container's start time, as in media.py."""

import os
from collections import deque
from collections.abc import Callable, Iterator

import av
import numpy as np

from videosummarizer import hardware_decoding, media
from videosummarizer.frame_scaling import Scaler
from videosummarizer.hardware_decoding import Device
from videosummarizer.nal_units import disposable_test
from videosummarizer.packet_decoding import decoder_delay, lacks_display_times


def read_frames(
    path: str | os.PathLike,
    video_info: media.VideoInfo,
    times_sec: np.ndarray,
    width_px: int,
    height_px: int,
    num_threads: int = 0,
    damaged_sec: set[int] | None = None,
) -> Iterator[np.ndarray]:
    """Read the frames shown at given times in one pass, scaled by averaging all source pixels (AREA).

    Pictures that no other picture refers to are only decoded where they are shown at a given time (`disposable_test`).
    Decoding starts at the last random access point before the first time. A device decodes if the process uses one and
    its pictures are proved equal (hardware_decoding.py).

    Args:
        path: The video.
        video_info: The result of `media.probe`.
        times_sec: (n,) float64, ascending.
        width_px: The width of the frames to return.
        height_px: The height of the frames to return.
        num_threads: The number of decoder threads, 0 for one per core.
        damaged_sec: Takes the whole seconds in which packets do not decode.

    Yields:
        n arrays (height_px, width_px, 3) uint8 RGB. Each is the last frame whose presentation time is not later than
        the given time, except for rounding of timestamps, or the first frame for times before it. A damaged frame is
        replaced by the last undamaged one before it.

    Raises:
        media.MediaError: The file cannot be read, or no frame of it decodes.
    """
    output = (width_px, height_px, "rgb24")

    def read(some_sec: np.ndarray, device: Device | None, damaged_sec: set[int] | None) -> Iterator[np.ndarray]:
        return sample_frames(path, video_info, some_sec, width_px, height_px, num_threads, damaged_sec, device)

    def read_some(device: Device | None, damaged_sec: set[int]) -> list[np.ndarray]:
        middle, number = len(times_sec) // 2, hardware_decoding.NUM_COMPARED
        parts = times_sec[:number], times_sec[middle : middle + number]
        return [frame for some_sec in parts for frame in read(some_sec, device, damaged_sec)]

    device = hardware_decoding.device_for(path, output, read_some) if len(times_sec) else None
    yield from hardware_decoding.read_all(path, output, device, lambda device: read(times_sec, device, damaged_sec))


def sample_frames(
    path: str | os.PathLike,
    video_info: media.VideoInfo,
    times_sec: np.ndarray,
    width_px: int,
    height_px: int,
    num_threads: int,
    damaged_sec: set[int] | None,
    device: Device | None,
) -> Iterator[np.ndarray]:
    """Yield what `read_frames` does, on a device or, where that is None, in software.

    Raises:
        media.MediaError: As `read_frames`.
        hardware_decoding.DeviceError: The device fails.
    """
    times = iter(times_sec)
    time_sec = next(times, None)
    if time_sec is None:
        return
    with media.open_media(path, device and device.hwaccel) as container:
        stream = media.video_stream(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 1 if device else num_threads
        start_sec = media.start_time_sec(container)
        tolerance_sec = media.ROUNDING_ERROR_SEC.get(container.format.name, 0) + media.TIME_TOLERANCE_SEC
        wanted_pts = shown_pts(video_info, times_sec, start_sec, float(stream.time_base), tolerance_sec)
        is_disposable = disposable_test(stream)
        packets = demux_from(container, stream, video_info.random_access_points, min(wanted_pts))
        if not lacks_display_times(stream):
            packets = (p for p in packets if p.pts in wanted_pts or not is_disposable(p))
        scale = Scaler(width_px, height_px)
        shown, scaled = None, None  # the last decoded frame, and its pixels once they are needed
        on_damage = None if damaged_sec is None else lambda time_sec: damaged_sec.add(int(time_sec))
        if device:
            decoded = hardware_decoding.decode(device, packets)
        else:
            decoded = decode_to_end(path, packets, video_info.random_access_points, start_sec, on_damage)
        for frame in decoded:
            frame_time_sec = frame.time - start_sec
            while shown is not None and time_sec < frame_time_sec - tolerance_sec:
                scaled = scale(shown) if scaled is None else scaled
                yield scaled
                time_sec = next(times, None)
                if time_sec is None:
                    return
            shown, scaled = frame, None
        if shown is None:
            raise media.no_frame_error(path)
        scaled = scale(shown)
        while time_sec is not None:
            yield scaled
            time_sec = next(times, None)


def shown_pts(
    video_info: media.VideoInfo,
    times_sec: np.ndarray,
    start_sec: float,
    time_base_sec: float,
    tolerance_sec: float = media.TIME_TOLERANCE_SEC,
) -> set[int]:
    """Return the presentation timestamps of the frames shown at given times.

    Args:
        video_info: The result of `media.probe`.
        times_sec: (n,) float64.
        start_sec: The container's start time.
        time_base_sec: Seconds of a tick.
        tolerance_sec: By how much a frame may be later than a time at which it is shown.
    """
    indices = np.searchsorted(video_info.frame_times_sec, times_sec + tolerance_sec, side="right") - 1
    shown_times_sec = video_info.frame_times_sec[np.maximum(np.unique(indices), 0)]
    return set(np.rint((shown_times_sec + start_sec) / time_base_sec).astype(np.int64).tolist())


def demux_from(
    container: av.container.InputContainer, stream: av.VideoStream, random_access_points: np.ndarray, first_pts: int
) -> Iterator[av.Packet]:
    """Yield a stream's packets from the last random access point not after first_pts on; all where there is none.

    Args:
        container: The open file.
        stream: Its video stream.
        random_access_points: (num_points, 2) int64, see `media.VideoInfo`.
        first_pts: The presentation timestamp of the first picture that is needed.
    """
    index = int(np.searchsorted(random_access_points[:, 0], first_pts, side="right")) - 1
    if index <= 0:  # the first random access point is the beginning
        yield from media.demux(container, stream)
        return
    first_packet_pts, first_packet_dts = random_access_points[index].tolist()
    container.seek(first_packet_dts, stream=stream, backward=True)
    packets = media.demux(container, stream)
    for packet in packets:
        if packet.pts == first_packet_pts:
            yield packet
            break
    yield from packets


def decode_to_end(
    path: str | os.PathLike,
    packets: Iterator[av.Packet],
    random_access_points: np.ndarray,
    start_sec: float,
    on_damage: Callable[[float], object] | None,
) -> Iterator[av.VideoFrame]:
    """Decode video packets as `decode` does, including frames that several threads lose behind damage.

    At the end of a file, a decoder with several threads returns no frame after the first error, and none at all where
    nearly all packets are damaged. dav1d, which decodes AV1, loses frames anywhere, some of them without an error. Such
    frames are decoded again with one thread.

    Args:
        path: The video.
        packets: Its packets up to the end.
        random_access_points: See `media.VideoInfo`.
        start_sec: The container's start time.
        on_damage: As for `decode`.
    """
    last_packet_pts, last_frame_pts, delay, is_lossy = -1, -1, 0, False
    expected_pts: deque[int] = deque()  # of dav1d's next frames, which come in the order of their packets

    def watch() -> Iterator[av.Packet]:
        nonlocal last_packet_pts, delay
        for packet in packets:
            last_packet_pts = max(last_packet_pts, packet.pts or 0)
            if packet.pts is not None and not packet.is_discard and packet.stream.codec_context.name == "libdav1d":
                expected_pts.append(packet.pts)
            yield packet
            delay = decoder_delay(packet)

    def report(time_sec: float) -> None:
        nonlocal is_lossy
        if expected_pts:
            is_lossy = True  # reported when it is decoded again
        elif on_damage is not None:
            on_damage(time_sec)

    for frame in media.decode(watch(), start_sec, report):
        while expected_pts and expected_pts[0] <= frame.pts:
            is_lossy = is_lossy or expected_pts[0] < frame.pts
            expected_pts.popleft()
        if is_lossy:
            break
        last_frame_pts = frame.pts
        yield frame
    if is_lossy or (delay and last_frame_pts < last_packet_pts):
        yield from decode_rest(path, random_access_points, last_frame_pts, start_sec, on_damage)


def decode_rest(
    path: str | os.PathLike,
    random_access_points: np.ndarray,
    last_frame_pts: int,
    start_sec: float,
    on_damage: Callable[[float], object] | None,
) -> Iterator[av.VideoFrame]:
    """Decode the frames behind last_frame_pts with one thread, see `decode_to_end`."""
    with media.open_media(path) as container:
        stream = media.video_stream(container, path)
        stream.codec_context.thread_count = 1
        packets = demux_from(container, stream, random_access_points, last_frame_pts)
        for frame in media.decode(packets, start_sec, on_damage):
            if frame.pts > last_frame_pts:
                yield frame
