"""Read the arrays of many segment pickles, most of them without unpickling.

The pickles of a match's segments have the same structure. Once one has been unpickled, another with the same structure
bytes has its arrays at the same offsets. It is not unpickled, which takes a tenth of the time.
"""

import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from videosummarizer.dataset.safe_pickle import RestrictedUnpickler, plain_dict

# The most layouts that an ArrayReader keeps.
MAX_LAYOUTS = 1000
# Layouts with more structure bytes than this are not kept. A segment has 500.
MAX_LAYOUT_BYTES = 4096


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a pickle are.

    Attributes:
        num_bytes: length of the pickle.
        structure_spans: (start, end) of its bytes that are structure, not payload, as of
            `safe_pickle.RestrictedUnpickler`.
        structure_bytes: those bytes. A pickle of the same length and structure bytes has the same layout.
        arrays: for video and audio the arguments of `np.ndarray`: shape, dtype, offset and strides.
    """

    num_bytes: int
    structure_spans: list[tuple[int, int]]
    structure_bytes: bytes
    arrays: tuple[dict, dict]

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shapes of video and audio."""
        return self.arrays[0]["shape"], self.arrays[1]["shape"]

    @cached_property
    def without_arrays(self) -> "LayoutWithoutArrays | None":
        """Return where the bytes around the arrays are.

        None unless the video is uint8, followed by float32 audio, both contiguous.
        """
        video, audio = self.arrays
        video_end = video["offset"] + math.prod(video["shape"])
        audio_end = audio["offset"] + 4 * math.prod(audio["shape"])
        is_plain = (video["dtype"], audio["dtype"]) == (np.uint8, np.float32) and all(
            array["strides"] == np.empty(array["shape"], array["dtype"]).strides for array in self.arrays
        )
        if not is_plain or video_end > audio["offset"]:
            return None

        def offset_without_arrays(offset: int) -> int:
            return offset - sum(end - start for start, end in array_spans if offset >= end)

        array_spans = ((video["offset"], video_end), (audio["offset"], audio_end))
        return LayoutWithoutArrays(
            offset_without_arrays(self.num_bytes),
            offset_without_arrays(video_end),
            offset_without_arrays(audio_end),
            [slice(offset_without_arrays(start), offset_without_arrays(end)) for start, end in self.structure_spans],
        )


class LayoutWithoutArrays(NamedTuple):
    """Where the bytes of a pickle are if its arrays are left out.

    Attributes:
        num_bytes: the number of bytes that remain.
        video_offset: where the video was.
        audio_offset: where the audio was.
        structure_spans: slices of the structure.
    """

    num_bytes: int
    video_offset: int
    audio_offset: int
    structure_spans: list[slice]


class ArrayReader:
    """Read the arrays of many segments, and keep the layouts of their pickles."""

    def __init__(self):
        self.layouts: dict[tuple[str, int], Layout] = {}
        self.last_layouts: dict[str, Layout] = {}  # by title

    def load(self, content: bytes, title: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (video, audio) of a segment pickle, views of `content`.

        Args:
            content: the bytes of the pickle.
            title: of the match. Layouts are kept for each match.

        Raises:
            safe_pickle.ForbiddenError: it contains anything but builtin values and NumPy arrays, or lacks the arrays
                `video` and `audio`.
            safe_pickle.DamagedError: it cannot be read to its end.
        """
        layout = self.layouts.get((title, len(content)))
        if (
            layout is None
            or b"".join([content[start:end] for start, end in layout.structure_spans]) != layout.structure_bytes
        ):
            layout = find_layout(content)
            if len(self.layouts) >= MAX_LAYOUTS:
                self.layouts.clear()
                self.last_layouts.clear()
            if len(layout.structure_bytes) <= MAX_LAYOUT_BYTES:
                self.layouts[title, len(content)] = self.last_layouts[title] = layout
        video, audio = (np.ndarray(buffer=content, **array) for array in layout.arrays)
        return video, audio

    def read_into(self, descriptor: int, title: str, video: np.ndarray, audio: np.ndarray) -> bool:
        """Read an open segment file directly into arrays, which saves a copy.

        This works if the file has the same layout as the last segment of its match that `load` unpickled.

        Args:
            descriptor: of the file, at its start.
            title: of the match.
            video: uint8, contiguous, receives the video.
            audio: float32, contiguous, receives the audio.

        Returns:
            Whether the arrays hold the segment. If not, their contents are undefined.
        """
        layout = self.last_layouts.get(title)
        if layout is None or layout.shapes != (video.shape, audio.shape) or layout.without_arrays is None:
            return False
        num_rest_bytes, video_offset, audio_offset, structure_spans = layout.without_arrays
        rest = memoryview(bytearray(num_rest_bytes + 1))  # one byte more, so that a longer file is noticed
        parts = (rest[:video_offset], video, rest[video_offset:audio_offset], audio, rest[audio_offset:])
        num_bytes = os.readv(descriptor, parts)
        return (
            num_bytes == layout.num_bytes
            and b"".join([rest[span] for span in structure_spans]) == layout.structure_bytes
        )


def find_layout(content: bytes) -> Layout:
    """Unpickle a segment and return its layout.

    Raises:
        safe_pickle.ForbiddenError: as `ArrayReader.load` does.
        safe_pickle.DamagedError: as `ArrayReader.load` does.
    """
    unpickler = RestrictedUnpickler(content)
    segment = plain_dict(unpickler.load())
    begin = np.frombuffer(content, np.uint8).ctypes.data
    arrays = tuple(
        {"shape": a.shape, "dtype": a.dtype, "offset": a.ctypes.data - begin if a.size else 0, "strides": a.strides}
        for a in (segment["video"], segment["audio"])
    )
    payload_spans = sorted(unpickler.payload_spans)
    ends, starts = [end for _, end in payload_spans], [start for start, _ in payload_spans[1:]]
    structure_spans = list(zip(ends, [*starts, len(content)], strict=True))
    structure_bytes = b"".join([content[start:end] for start, end in structure_spans])
    return Layout(len(content), structure_spans, structure_bytes, arrays)
