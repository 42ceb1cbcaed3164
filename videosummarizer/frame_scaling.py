"""Scale decoded frames, turned and mirrored as the display matrix of their file says."""

from collections.abc import Callable

import av
import numpy as np
from av.video.reformatter import VideoReformatter


def displayed_size_px(frame: av.VideoFrame) -> tuple[int, int]:
    """Return the width and the height of a frame after its rotation."""
    return (frame.height, frame.width) if is_rotated_sideways(frame) else (frame.width, frame.height)


def num_quarter_turns(frame: av.VideoFrame) -> int:
    """Return how many counter-clockwise quarter turns the display matrix of a frame asks for, 0 to 3.

    For a mirrored frame they come after mirroring left and right.
    """
    turns = round(frame.rotation / 90) + (2 if is_mirrored(frame) else 0)
    return turns % 4


def is_rotated_sideways(frame: av.VideoFrame) -> bool:
    """Return whether the rotation swaps width and height of a frame."""
    return num_quarter_turns(frame) % 2 == 1


def is_mirrored(frame: av.VideoFrame) -> bool:
    """Return whether the display matrix of a frame mirrors it."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a * d - b * c < 0


def displayed_aspect_ratio(frame: av.VideoFrame, stream: av.VideoStream) -> float:
    """Return width by height of a frame as it is displayed: with the stream's pixel shape, and rotated."""
    ratio = frame.width / frame.height * float(stream.sample_aspect_ratio or 1)
    return 1 / ratio if is_rotated_sideways(frame) else ratio


class Scaler:
    """Scale the decoded frames of a file, turned and mirrored as its display matrix says.

    Args:
        width_px: The width of the result.
        height_px: The height of the result.
        pixel_format: "rgb24" for (height_px, width_px, 3) uint8 RGB, "gray" for (height_px, width_px) uint8.
        matrix_of: Returns the matrix of a frame's colours, None for the one that it states, without one BT.601.
    """

    def __init__(
        self,
        width_px: int,
        height_px: int,
        pixel_format: str = "rgb24",
        matrix_of: Callable[[av.VideoFrame], int | None] = lambda frame: None,
    ):
        self.size_px, self.pixel_format, self.matrix_of = (width_px, height_px), pixel_format, matrix_of
        self.reformatter = VideoReformatter()  # kept for all frames: its set-up takes as long as scaling a frame
        self.orientation_of: dict[int, tuple[int, bool]] = {}

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        # Not read from each frame: PyAV's frames refer to their side data and back, so that those whose side data was
        # read stay in memory until Python's cyclic garbage collector runs, 160 frames later.
        if frame.rotation not in self.orientation_of:
            self.orientation_of[frame.rotation] = num_quarter_turns(frame), is_mirrored(frame)
        num_turns, mirrored = self.orientation_of[frame.rotation]
        size_px = self.size_px[::-1] if num_turns % 2 else self.size_px
        scaled = self.reformatter.reformat(
            frame, *size_px, self.pixel_format, src_colorspace=self.matrix_of(frame), interpolation="AREA"
        ).to_ndarray()
        return np.rot90(scaled[:, ::-1] if mirrored else scaled, num_turns)
