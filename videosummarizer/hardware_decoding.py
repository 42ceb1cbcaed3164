"""Decode video on a hardware device, where its pictures equal those of software decoding.

The decoders of FFmpeg can leave their work to a device, such as NVDEC ("cuda"). A command calls `using` with its
argument `--hwaccel`, and its worker processes inherit the choice. Outside `using`, everything is decoded in software.

- A process opens the device when it reads its first video, once: CUDA contexts do not survive a fork.
- Proof: before a video, or the first part of one that is read in parts, is read on the device, the first pictures that
  are needed and some from the middle are decoded both ways, up to the scaled pixels that would be stored. If a byte
  differs, or if the device fails, the video is decoded in software, and so are all later ones of this process that have
  the same codec, profile, pixel format, size and colours.
- A device that fails after the proof, although the video is not damaged, is not used again by this process until the
  command ends. The next command proves all videos again, also in processes that live longer, such as the workers of a
  cluster.
- A process that is started again after a crash decodes in software: the driver of the device may have crashed.
- A damaged packet, a picture that the device loses, and any other error end decoding on the device. The video is read
  again in software from its beginning, and pictures that the device had delivered are compared (`read_all`).
- The proof is a sample: damage that no decoder reports, and from which software and device recover differently, is
  only noticed in the pictures that are compared.
- Pictures stay on the device until they are scaled. Those that nobody needs are never copied to memory.
"""

import argparse
import functools
import heapq
import os
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import av
import av.error
import numpy as np
from av.codec.hwaccel import HWAccel

from videosummarizer import media
from videosummarizer.error_messages import describe_exception
from videosummarizer.packet_decoding import is_zeroed, lacks_display_times

# The values of --hwaccel that are not the name of a device: any that is present, and software.
AUTO, NONE = "auto", "none"
# The codec whose decoder says which devices FFmpeg can use, and with which a device is opened: all decode it.
PROBE_CODEC = av.codec.Codec("h264", "r")
# So many of the first pictures, and as many from the middle of a video, are decoded both ways.
NUM_COMPARED = 3


class DeviceError(Exception):
    """A device cannot be opened, or cannot decode a video; the message says why."""


class DamageError(DeviceError):
    """A device cannot decode a video because that is damaged. It may decode others."""


class Device:
    """A device on which FFmpeg decodes.

    Args:
        name: One of `device_names`.

    Raises:
        DeviceError: It cannot be opened.
    """

    def __init__(self, name: str):
        self.name = name
        self.hwaccel: HWAccel | None = HWAccel(name, allow_software_fallback=False, is_hw_owned=True)
        try:
            self.hwaccel.create(PROBE_CODEC)
        except (OSError, av.error.FFmpegError) as error:
            raise DeviceError(f"no driver or no device ({describe_exception(error)})") from error

    def can_decode(self, codec: av.codec.Codec) -> bool:
        """Return whether FFmpeg's decoder of a codec can use the device."""
        return self.name in device_names(codec)

    def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        """Decode a packet of a file that was opened with this device's `hwaccel`."""
        return packet.decode()


def device_names(codec: av.codec.Codec = PROBE_CODEC) -> list[str]:
    """Return FFmpeg's names of the devices that its decoder of a codec can use, whether or not they are present."""
    return [config.device_type.name for config in codec.hardware_configs if config.is_supported]


@dataclass(frozen=True)
class Choice:
    """What decodes in a process, as its command tells it.

    Attributes:
        hwaccel: "auto", "none" or the name of a device.
        failure: Why no device is used although `hwaccel` allows it, as part of a message; empty if it may be.
        run_id: Differs from command to command.
    """

    hwaccel: str = NONE
    failure: str = ""
    run_id: str = ""


class HardwareDecoding:
    """What this process is told to decode with, and what it has learned about the device and its videos.

    Args:
        choice: Not "none".

    Attributes:
        hwaccel: "auto" or the name of a device.
        failure: As of `Choice`; changes when the device fails.
        process_id: The process that opened the device.
        messages: What `take_messages` returns next.
    """

    def __init__(self, choice: Choice):
        self.choice, self.process_id = choice, os.getpid()
        self.hwaccel, self.failure = choice.hwaccel, choice.failure
        self.messages: list[str] = []
        self.lock = threading.Lock()
        self.problems: dict[tuple, str] = {}  # "" where a video is read on the device
        self.problems_of_kinds: dict[tuple, str] = {}

    @functools.cached_property
    def device(self) -> Device | None:
        """Return the device, None without one. After a crash it is not opened."""
        if self.choice.failure:
            return None
        errors = []
        for name in device_names() if self.hwaccel == AUTO else [self.hwaccel]:
            try:
                return Device(name)
            except DeviceError as error:
                errors.append(f"{name}: {error}")
        self.error = "; ".join(errors) or "FFmpeg can use none"
        if self.hwaccel == AUTO:
            self.messages.append(f"no device decodes video, so that software does ({self.error})")
        return None

    def device_for(self, path: str | os.PathLike, output: tuple, read_some: Callable) -> Device | None:
        """Return the device on which a video is read, None for software. See the function of this name."""
        with self.lock:
            if not self.failure and self.device is None and self.hwaccel == AUTO:
                return None
            key = key_of(path, output)
            if key not in self.problems or (self.failure and not self.problems[key]):
                self.problems[key] = self.find_problem(path, output, read_some)
                if self.problems[key]:
                    self.add_message(path, self.problems[key])
            return None if self.problems[key] else self.device

    def find_problem(self, path: str | os.PathLike, output: tuple, read_some: Callable) -> str:
        """Return why a video is not read on the device, an empty text where its pictures are proved equal."""
        if self.failure or self.device is None:
            return self.failure or self.error
        with media.open_media(path) as container:
            stream = media.video_stream(container, path)
            codec = stream.codec_context
            if not self.device.can_decode(codec.codec):
                return f"it does not decode {codec.name}"
            if lacks_display_times(stream):
                return "the file does not store when its frames are displayed"
            kind = (codec.name, codec.profile, codec.pix_fmt, codec.width, codec.height, output)
            kind += (codec.color_range, codec.colorspace)
        if kind in self.problems_of_kinds:
            return self.problems_of_kinds[kind]
        damaged_sec: set[int] = set()
        try:
            expected = read_some(None, damaged_sec)
        except Exception as error:  # reading all of it may succeed, and otherwise reports the error
            return f"the video is damaged ({describe_exception(error)})"
        try:
            received = read_some(self.device, set())
            is_equal = len(expected) == len(received) and all(map(np.array_equal, expected, received))
            problem = "" if is_equal else "its pictures differ from those of software"
        except Exception as error:  # also of PyAV: software decodes whatever the device does not
            problem = describe_failure(error)
        if problem and not damaged_sec:
            self.problems_of_kinds[kind] = problem
        return problem

    def add_message(self, path: str | os.PathLike, problem: str) -> None:
        """Say why a video is decoded in software."""
        name = self.device.name if self.device else self.hwaccel
        place = "" if name == AUTO else f", not on {name}"
        self.messages.append(f"{path}: decoded in software{place} ({problem})")

    def report_failure(self, path: str | os.PathLike, output: tuple, error: Exception) -> None:
        """Let a video be decoded in software from now on, as the device has failed in the middle of it.

        If it is not because of damage in the video, all others are decoded in software as well.
        """
        with self.lock:
            if isinstance(error, DeviceError) and not isinstance(error, DamageError):
                self.failure = f"the device failed before: {error}"
            key = key_of(path, output)
            if not self.problems.get(key):
                self.problems[key] = describe_failure(error)
                self.add_message(path, self.problems[key])


def describe_failure(error: Exception) -> str:
    """Return why a device does not decode a video, as part of a message."""
    return str(error) if isinstance(error, DeviceError) else describe_exception(error)


def key_of(path: str | os.PathLike, output: tuple) -> tuple:
    """Return what a video is remembered by. Another one under the same path is another video."""
    status = os.stat(path)
    return Path(path).absolute(), status.st_size, status.st_mtime_ns, output


def add_argument(parser: argparse._ActionsContainer) -> None:
    """Add the argument --hwaccel to a parser."""
    parser.add_argument(
        "--hwaccel",
        choices=(AUTO, NONE, *device_names()),
        default=AUTO,
        help="The device that decodes video. auto uses one that is present, for videos whose decoded pictures are "
        "proved equal to those of software, and software otherwise; none is software; and a name is a device of FFmpeg "
        "(default: %(default)s).",
    )


# What the command of this process asks for, None for software.
current: HardwareDecoding | None = None


@contextmanager
def using(hwaccel: str) -> Iterator[None]:
    """Decode as --hwaccel says within a context, also in worker processes that are started in it.

    Args:
        hwaccel: "auto", "none" or the name of a device.
    """
    global current
    before, current = current, None if hwaccel == NONE else HardwareDecoding(Choice(hwaccel, run_id=uuid.uuid4().hex))
    try:
        yield
    finally:
        current = before


def choose(choice: Choice) -> None:
    """Decode in this process as a choice says from now on, with all that it knows about the device already."""
    global current
    if choice.hwaccel == NONE:
        current = None
    elif current is None or (current.choice, current.process_id) != (choice, os.getpid()):
        current = HardwareDecoding(choice)


def chosen(crash: str = "") -> Choice:
    """Return what this process decodes with.

    Args:
        crash: How a process ended that did so. Then software decodes.
    """
    choice = current.choice if current else Choice()
    return replace(choice, failure=f"no device is used after a crash: {crash}") if crash else choice


def call(choice: Choice, function: Callable, *arguments):
    """Call a function in a process that `choose` may not have been called in."""
    choose(choice)
    return function(*arguments)


def is_named() -> bool:
    """Return whether --hwaccel names a device."""
    return chosen().hwaccel not in (AUTO, NONE)


def require_device() -> None:
    """Open the device that --hwaccel names, if any.

    Raises:
        DeviceError: It cannot be opened.
    """
    if is_named() and current.device is None:
        raise DeviceError(
            f"--hwaccel: received a device that cannot be opened on this machine ({current.error}), expected one that "
            "is present: install its driver, or use --hwaccel auto, which decodes in software without one"
        )


def take_messages() -> tuple[list[str], list[str]]:
    """Return this process's messages about videos that no device decoded, since the last call.

    Returns:
        Those that are warnings, because the user named the device; and those for --debug.
    """
    if current is None:
        return [], []
    with current.lock:
        messages, current.messages = current.messages, []
    return (messages, []) if is_named() else ([], messages)


def device_for(
    path: str | os.PathLike, output: tuple, read_some: Callable[[Device | None, set[int]], list[np.ndarray]]
) -> Device | None:
    """Return the device on which a video is read, None for software.

    Args:
        path: The video.
        output: What its pictures are scaled to. Pictures may be equal in one size or format, and differ in another.
        read_some: Reads some pictures on a device or in software, and collects the seconds in which the video is
            damaged.
    """
    choose(chosen())  # a forked process cannot use the device that its parent opened
    return current.device_for(path, output, read_some) if current else None


def try_device(path: str | os.PathLike, output: tuple, device: Device | None, read: Callable):
    """Return what is read on a device; if there is none or it fails, what is read in software.

    Args:
        path: The video.
        output: As for `device_for`.
        device: The result of `device_for`.
        read: Called with the device, or with None for software.
    """
    if device:
        decoding = current
        try:
            return read(device)
        except Exception as error:  # also of PyAV: software decodes whatever the device does not
            decoding.report_failure(path, output, error)
    return read(None)


def read_all(
    path: str | os.PathLike, output: tuple, device: Device | None, read: Callable[[Device | None], Iterator[np.ndarray]]
) -> Iterator[np.ndarray]:
    """Yield the pictures of a video that a device reads; if it fails, in software.

    Args:
        path: The video.
        output: As for `device_for`.
        device: The result of `device_for`.
        read: Reads all pictures on a device or in software.

    Raises:
        media.MediaError: Software cannot read the video.
        media.MismatchError: Pictures that the device delivered before it failed differ from those of software.
    """
    decoding, checksums = current, []
    if device:
        try:
            for picture in read(device):
                checksums.append(zlib.crc32(picture.tobytes()))
                yield picture
            return
        except Exception as error:  # also of PyAV: software decodes whatever the device does not
            decoding.report_failure(path, output, error)
    for number, picture in enumerate(read(None)):
        if number >= len(checksums):
            yield picture
        elif zlib.crc32(picture.tobytes()) != checksums[number]:
            raise media.MismatchError(
                f"{path}: the device delivered other pictures than software before it failed: run the same command "
                "again with --hwaccel none"
            )


def decode(device: Device, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
    """Decode the packets of a video on a device.

    Args:
        device: The file was opened with its `hwaccel`.
        packets: Up to the empty one at the end, each with the timestamp of its picture.

    Yields:
        The frames in the order of display, still on the device.

    Raises:
        DamageError: A packet is damaged, or its picture is missing.
        DeviceError: The device fails.
    """
    expected_pts: list[int] = []  # a heap
    for packet in packets:
        if packet.is_corrupt or is_zeroed(packet):
            raise DamageError("the video is damaged")
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(expected_pts, packet.pts)
        try:
            frames = device.decode(packet)
        except av.error.FFmpegError as error:
            error_type = DamageError if isinstance(error, av.error.InvalidDataError) else DeviceError
            raise error_type(f"a packet does not decode: {describe_exception(error)}") from error
        for frame in frames:
            if frame.is_corrupt or not expected_pts or heapq.heappop(expected_pts) != frame.pts:
                raise DamageError("a picture is missing or damaged")
            yield frame
    if expected_pts:
        raise DamageError("pictures at the end are missing")
