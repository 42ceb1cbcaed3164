"""Stand in for devices that decode video. They decode in software, and some do it wrong."""

import errno
import os
import signal
import time

import av

from videosummarizer.hardware_decoding import Device, DeviceError

# A device that fails does so here: behind the pictures that are compared, in a video of 4 s.
FAILURE_SEC = 3.0


class EqualDevice(Device):
    """A device whose pictures equal those of software.

    Attributes:
        num_opened: How often a device was opened.
        num_packets: How many packets were decoded.
    """

    num_opened = num_packets = 0

    def __init__(self, name):
        type(self).num_opened += 1
        self.name, self.hwaccel = name, None

    def can_decode(self, codec):
        return True

    def decode(self, packet):
        type(self).num_packets += 1
        return self.change(packet.decode())

    def change(self, frames):
        return frames


class ChangedPixelDevice(EqualDevice):
    """A device that decodes one pixel of each picture wrong."""

    def change(self, frames):
        return [change_pixel(frame) for frame in frames]


class FailingDevice(EqualDevice):
    """A device that is lost on the way."""

    lost_sec = FAILURE_SEC

    def decode(self, packet):
        if packet.pts is not None and packet.pts * packet.time_base >= self.lost_sec:
            raise av.error.ExternalError(errno.EIO, "out of sessions")
        return super().decode(packet)


class CrashingDevice(FailingDevice):
    """A device whose driver ends the process on the way."""

    def decode(self, packet):
        try:
            return super().decode(packet)
        except av.error.ExternalError:
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(60)


class FrameDroppingDevice(EqualDevice):
    """A device that loses one picture."""

    def change(self, frames):
        return [frame for frame in frames if abs(frame.time - FAILURE_SEC) > 0.01]


class TruncatingDevice(EqualDevice):
    """A device that loses the end."""

    def change(self, frames):
        return [frame for frame in frames if frame.time < FAILURE_SEC]


class UnavailableDevice(EqualDevice):
    """A device that cannot be opened."""

    def __init__(self, name):
        super().__init__(name)
        raise DeviceError("no driver")


class UnsupportedCodecDevice(EqualDevice):
    """A device that decodes none of the codecs."""

    def can_decode(self, codec):
        return False


class LateDifferenceDevice(FailingDevice):
    """A device whose pictures differ for a while before it is lost, behind those that are compared."""

    differs_sec, lost_sec = FAILURE_SEC, FAILURE_SEC + 0.7

    def change(self, frames):
        return [change_pixel(frame) if frame.time >= self.differs_sec else frame for frame in frames]


def change_pixel(frame):
    """Return a copy of a frame with another brightness of its first pixel."""
    pixels = frame.to_ndarray()
    pixels[0, 0] ^= 128
    changed = av.VideoFrame.from_ndarray(pixels, frame.format.name)
    changed.pts, changed.time_base = frame.pts, frame.time_base
    return changed
