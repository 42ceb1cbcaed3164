"""Reads the pickles of segments, and runs nothing: of pickle's instructions it knows those that build plain values, and
of the functions that a pickle can name those five by which NumPy writes an array, which are done here, not called.

Whatever a file claims, time and memory stay in proportion to its size: an array is a view of the file's own bytes, a
length is compared with them first, instructions are counted, nothing is nested by recursion, and only text is a key.

Source of the instructions: the documentation in `pickletools`; of what NumPy writes: `pickletools.dis` of arrays.
"""

import math
import os
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np


class ForbiddenError(Exception):
    """The pickle holds what no segment holds; the message names it."""


class DamagedError(Exception):
    """The pickle cannot be read to its end; the message says where."""


MAX_OPCODES = 10_000  # a segment takes 150
MAX_NUMBER_BYTES = 8
MAX_LAYOUTS, MAX_LAYOUT_BYTES = 1000, 4096  # that are kept; a segment's takes 500 bytes
DTYPE_CODES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
PLAIN_DTYPE_STATE = (None, None, None, -1, -1, 0)  # no fields, no parts, no alignment of its own


@dataclass(frozen=True)
class Global:
    """What is done in place of a function or class that the pickle names, with the arguments it is given there."""

    make: Callable


class PickledDtype:
    """A dtype, which a pickle makes first and gives its byte order later."""

    def __init__(self, code: str, *_):
        if not isinstance(code, str) or code not in DTYPE_CODES:
            raise ForbiddenError(f"it holds an array of type {abbreviate(code)}, which is no plain number")
        self.dtype = np.dtype(code)

    def set_state(self, state: tuple) -> None:
        if state[2:] != PLAIN_DTYPE_STATE or state[1] not in ("<", ">", "|", "="):
            raise ForbiddenError("it holds an array of structures")
        self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """An array, which a pickle makes empty first and fills later."""

    array: np.ndarray | None = None

    def set_state(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, buffer = state
        self.array = make_array(buffer, dtype, shape, "F" if is_fortran else "C").array


def make_array(buffer, dtype, shape, order, axes=None) -> PickledArray:
    """An array over the bytes of a buffer, read-only. Raises ForbiddenError where they are none, ValueError where they
    are not as many as the shape says."""
    if not isinstance(buffer, memoryview) or not isinstance(dtype, PickledDtype):
        raise ForbiddenError("it holds an array of objects")
    if type(shape) is not tuple or not all(type(length) is int for length in shape):
        raise ForbiddenError("it holds an array whose shape is no row of whole numbers")
    pickled = PickledArray()
    flat = np.frombuffer(buffer, dtype.dtype)
    if order == "K":
        pickled.array = flat.reshape(shape).transpose(axes)
    else:
        pickled.array = flat.reshape(shape, order=order)
    return pickled


def make_scalar(dtype, buffer) -> int | float | bool:
    """A NumPy scalar as a plain number."""
    return make_array(buffer, dtype, (), "C").array.item()


def refuse_call(*_):
    raise ForbiddenError("it calls numpy.ndarray")


GLOBALS = {("numpy", "dtype"): Global(PickledDtype), ("numpy", "ndarray"): Global(refuse_call)} | {
    (f"numpy.{core}.{module}", name): Global(make)  # core before NumPy 2, _core from it on
    for core in ("core", "_core")
    for module, name, make in (
        ("multiarray", "_reconstruct", lambda *_: PickledArray()),
        ("multiarray", "scalar", make_scalar),
        ("numeric", "_frombuffer", make_array),
    )
}


class RestrictedUnpickler:
    """Pickle's stack machine, cut down to data. `memo` holds what is referred to again, `marks` where tuples, lists
    and dict items on the stack begin."""

    def __init__(self, content: bytes):
        self.content, self.position = content, 0
        self.stack, self.marks, self.memo = [], [], {}
        self.free = [(0, 0)]  # (start, end) of bytes that hold values of the dict alone: numbers, and arrays' elements
        self.numbers = {}  # (start, end) of numbers on the stack, by their place in it, that nothing else refers to

    def load(self):
        """The value. Raises ForbiddenError or DamagedError."""
        try:
            self.run()
        except (EOFError, ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise DamagedError(f"damaged at byte {self.position} of {len(self.content)}") from error
        if self.position != len(self.content) or len(self.stack) != 1:
            raise ForbiddenError("more follows its end")
        return self.stack[0]

    def run(self) -> None:
        """Follow the instructions to the end. The most frequent are done here, as a call takes longer than they do."""
        content, stack, position = self.content, self.stack, 0
        for _ in range(MAX_OPCODES):
            code = content[position]
            position += 1
            if code == SHORT_TEXT:
                start = position + 1
                position = start + content[position]
                stack.append(content[start:position].decode("utf-8", "surrogatepass"))
            elif code == SMALL_NUMBER:
                self.numbers[len(stack)] = (position, position + 1)
                stack.append(content[position])
                position += 1
            elif code in CONSTANTS:
                stack.append(CONSTANTS[code])
            elif code in OPCODES:
                self.position = position
                OPCODES[code](self)
                position = self.position
            elif code == STOP:
                self.position = position
                return
            else:
                known = pickletools.code2op.get(chr(code))
                raise ForbiddenError(f"it uses the pickle instruction {known.name if known else hex(code)}")
        raise ForbiddenError(f"it takes more than {MAX_OPCODES} pickle instructions")

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        self.numbers.pop(len(self.stack) - 1, None)

    def skip(self, num_bytes: int) -> int:
        """The position before so many bytes, of which none may be missing."""
        start = self.position
        if num_bytes > len(self.content) - start:
            raise EOFError("the file ends early")
        self.position = start + num_bytes
        return start

    def number(self, layout: struct.Struct) -> int | float:
        (number,) = layout.unpack_from(self.content, self.position)
        self.position += layout.size
        return number

    def value(self, layout: struct.Struct) -> None:
        self.numbers[len(self.stack)] = (self.position, self.position + layout.size)
        self.stack.append(self.number(layout))

    def text(self, length: struct.Struct) -> None:
        start = self.skip(self.number(length))
        self.stack.append(self.content[start : self.position].decode("utf-8", "surrogatepass"))

    def buffer(self, length: struct.Struct) -> None:
        start = self.skip(self.number(length))
        if self.position - start > MAX_NUMBER_BYTES:  # others may be a number that is the length of an array
            self.free.append((start, self.position))
        self.stack.append(memoryview(self.content)[start : self.position])

    def integer(self) -> None:
        size = self.number(UINT1)
        if size > 8:
            raise ForbiddenError("it holds a whole number of more than 64 bits")
        start = self.skip(size)
        self.stack.append(int.from_bytes(self.content[start : self.position], "little", signed=True))

    def line(self) -> str:
        start = self.position
        self.position = self.content.index(b"\n", start, start + 1000) + 1
        return self.content[start : self.position - 1].decode()

    def since_mark(self) -> list:
        return self.take(self.marks.pop())

    def last(self, num_values: int) -> tuple:
        if len(self.stack) < num_values:
            raise IndexError("a value is missing")
        return tuple(self.take(len(self.stack) - num_values))

    def take(self, start: int, are_items: bool = False) -> list:
        """The values from a place of the stack on, taken off it."""
        values = self.stack[start:]
        del self.stack[start:]
        for place in range(start, start + len(values)):
            span = self.numbers.pop(place, None)
            if span and are_items:
                self.free.append(span)
        return values

    def set_items(self, items: list | tuple) -> None:
        target = self.stack[-1]
        keys = items[::2]
        if not isinstance(target, dict) or not all(type(key) is str for key in keys):
            raise ForbiddenError("it sets an item other than that of a dict with text for keys")
        target.update(zip(keys, items[1::2], strict=True))

    def extend(self, values: list | tuple) -> None:
        if not isinstance(self.stack[-1], list):
            raise ForbiddenError("it appends to what is no list")
        self.stack[-1].extend(values)

    def name_global(self, module: str, name: str) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in GLOBALS:
            raise ForbiddenError(
                f"it names {abbreviate(module)}.{abbreviate(name)}, which is neither a builtin value nor a NumPy array"
            )
        self.stack.append(GLOBALS[module, name])

    def reduce(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise ForbiddenError("it calls what is no function")
        self.stack.append(function.make(*arguments))

    def build(self) -> None:
        target, state = self.last(2)
        if not isinstance(target, PickledArray | PickledDtype) or type(state) is not tuple:
            raise ForbiddenError("it sets the state of what is no NumPy array")
        target.set_state(state)
        self.stack.append(target)


UINT1, UINT2, UINT4, UINT8, INT4, FLOAT8 = map(struct.Struct, ("<B", "<H", "<I", "<Q", "<i", ">d"))
SHORT_TEXT, SMALL_NUMBER, STOP = b"\x8cK."
CONSTANTS = {ord("N"): None, ord("\x88"): True, ord("\x89"): False, ord(")"): ()}
OPCODES = {
    ord(code): instruction
    for code, instruction in {
        "\x80": lambda r: r.skip(1),  # protocol
        "\x95": lambda r: r.skip(8),  # length of a frame, for readers of streams
        "M": lambda r: r.value(UINT2),
        "J": lambda r: r.value(INT4),
        "G": lambda r: r.value(FLOAT8),
        "\x8a": lambda r: r.integer(),
        "X": lambda r: r.text(UINT4),
        "\x8d": lambda r: r.text(UINT8),
        "C": lambda r: r.buffer(UINT1),
        "B": lambda r: r.buffer(UINT4),
        "\x8e": lambda r: r.buffer(UINT8),
        "\x96": lambda r: r.buffer(UINT8),
        "(": lambda r: r.marks.append(len(r.stack)),
        "\x85": lambda r: r.stack.append(r.last(1)),
        "\x86": lambda r: r.stack.append(r.last(2)),
        "\x87": lambda r: r.stack.append(r.last(3)),
        "t": lambda r: r.stack.append(tuple(r.since_mark())),
        "]": lambda r: r.stack.append([]),
        "a": lambda r: r.extend(r.last(1)),
        "e": lambda r: r.extend(r.since_mark()),
        "}": lambda r: r.stack.append({}),
        "s": lambda r: r.set_items(r.last(2)),
        "u": lambda r: r.set_items(r.take(r.marks.pop(), are_items=True)),
        "\x94": lambda r: r.memoize(len(r.memo)),
        "q": lambda r: r.memoize(r.number(UINT1)),
        "r": lambda r: r.memoize(r.number(UINT4)),
        "h": lambda r: r.stack.append(r.memo[r.number(UINT1)]),
        "j": lambda r: r.stack.append(r.memo[r.number(UINT4)]),
        "c": lambda r: r.name_global(r.line(), r.line()),
        "\x93": lambda r: r.name_global(*r.last(2)),
        "R": lambda r: r.reduce(),
        "b": lambda r: r.build(),
    }.items()
}


def abbreviate(name) -> str:
    """What a file names, for a message of one line."""
    text = str(name)[:80] if isinstance(name, str) else type(name).__name__
    return text if text.isprintable() else ascii(text)


def load(content: bytes) -> dict:
    """The dict of a segment pickle; its arrays are views of `content`, read-only.

    Raises:
        ForbiddenError: it holds anything but builtin values and NumPy arrays, or lacks the arrays `video` and `audio`.
        DamagedError: it cannot be read to its end.
    """
    return plain_dict(RestrictedUnpickler(content).load())


def plain_dict(segment) -> dict:
    """The segment with NumPy's arrays in place of pickled ones. Raises ForbiddenError where it is none."""
    if not isinstance(segment, dict):
        raise ForbiddenError("it holds no dict with the arrays 'video' and 'audio'")
    for name, value in segment.items():
        if isinstance(value, PickledArray):
            segment[name] = value.array
        elif isinstance(value, memoryview):
            segment[name] = bytes(value)
    if not all(isinstance(segment.get(name), np.ndarray) for name in ("video", "audio")):
        raise ForbiddenError("it holds no dict with the arrays 'video' and 'audio'")
    return segment


@dataclass(frozen=True)
class Layout:
    """Where the arrays lie in a pickle of num_bytes. `fixed`: the spans of it that say so. `meaning`: their bytes."""

    num_bytes: int
    fixed: list[tuple[int, int]]
    meaning: bytes
    arrays: tuple[dict, dict]

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.arrays[0]["shape"], self.arrays[1]["shape"]

    @cached_property
    def rest(self) -> "Rest | None":
        """The bytes around the arrays; None unless the video is uint8, the sound after it float32, both in order."""
        video, audio = self.arrays
        video_end = video["offset"] + math.prod(video["shape"])
        audio_end = audio["offset"] + 4 * math.prod(audio["shape"])
        is_plain = (video["dtype"], audio["dtype"]) == (np.uint8, np.float32) and all(
            array["strides"] == np.empty(array["shape"], array["dtype"]).strides for array in self.arrays
        )
        if not is_plain or video_end > audio["offset"]:
            return None

        def place(position: int) -> int:
            return position - sum(end - start for start, end in holes if position >= end)

        holes = ((video["offset"], video_end), (audio["offset"], audio_end))
        fixed = [slice(place(start), place(end)) for start, end in self.fixed]
        return Rest(place(self.num_bytes), place(video_end), place(audio_end), fixed)


class Rest(NamedTuple):
    """The bytes of a pickle without its arrays: how many, where the video and the sound were, and the fixed spans."""

    num_bytes: int
    video_place: int
    audio_place: int
    fixed: list[slice]


class ArrayReader:
    """Reads the arrays of many segments. The segments of a match say the same of their arrays, in the same bytes: once
    one has been read, another whose bytes are equal, values aside, needs no second look, and takes a tenth of the time.
    """

    def __init__(self):
        self.layouts: dict[tuple[str, int], Layout] = {}
        self.last: dict[str, Layout] = {}  # by title

    def load(self, content: bytes, title: str) -> tuple[np.ndarray, np.ndarray]:
        """(video, audio), views of `content`. Raises as `load` does."""
        layout = self.layouts.get((title, len(content)))
        if layout is None or b"".join([content[start:end] for start, end in layout.fixed]) != layout.meaning:
            layout = find_layout(content)
            if len(self.layouts) >= MAX_LAYOUTS:
                self.layouts.clear()
                self.last.clear()
            if len(layout.meaning) <= MAX_LAYOUT_BYTES:
                self.layouts[title, len(content)] = self.last[title] = layout
        video, audio = (np.ndarray(buffer=content, **array) for array in layout.arrays)
        return video, audio

    def read_into(self, descriptor: int, title: str, video: np.ndarray, audio: np.ndarray) -> bool:
        """Read an open file straight into arrays (uint8, float32, contiguous), which saves a copy, if it says of its
        arrays what the last one of its title did that was read in full. Returns whether it does; where not, what is in
        the arrays then means nothing."""
        layout = self.last.get(title)
        if layout is None or layout.shapes != (video.shape, audio.shape) or layout.rest is None:
            return False
        rest = memoryview(bytearray(layout.rest.num_bytes + 1))  # one more, so that a longer file shows
        _, video_place, audio_place, fixed = layout.rest
        parts = (rest[:video_place], video, rest[video_place:audio_place], audio, rest[audio_place:])
        num_bytes = os.readv(descriptor, parts)
        return num_bytes == layout.num_bytes and b"".join([rest[span] for span in fixed]) == layout.meaning


def find_layout(content: bytes) -> Layout:
    """The layout of a segment pickle, read in full. Raises as `load` does."""
    reader = RestrictedUnpickler(content)
    segment = plain_dict(reader.load())
    begin = np.frombuffer(content, np.uint8).ctypes.data
    arrays = tuple(
        {"shape": a.shape, "dtype": a.dtype, "offset": a.ctypes.data - begin if a.size else 0, "strides": a.strides}
        for a in (segment["video"], segment["audio"])
    )
    free = sorted(reader.free)
    ends, starts = [end for _, end in free], [start for start, _ in free[1:]]
    fixed = list(zip(ends, [*starts, len(content)], strict=True))
    return Layout(len(content), fixed, b"".join([content[start:end] for start, end in fixed]), arrays)
