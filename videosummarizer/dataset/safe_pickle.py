"""Read the pickles of segments without running any code from them.

Only opcodes that build plain values are accepted. Of the functions that a pickle can name, only the five by which NumPy
writes arrays are accepted, and their effect is reimplemented here instead of calling them.

Time and memory stay in proportion to the file's size, whatever the file claims. An array is a view of the file's own
bytes, lengths are checked against them first, opcodes are counted, nothing recurses, and only strings are keys.

Sources: the documentation of the opcodes in `pickletools`, and `pickletools.dis` of pickled NumPy arrays.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class ForbiddenError(Exception):
    """The pickle contains something that no segment contains. The message names it."""


class DamagedError(Exception):
    """The pickle cannot be read to its end. The message says where it is damaged."""


# The most opcodes of a pickle. A segment has 150.
MAX_OPCODES = 10_000
# The most bytes of a number. Longer buffers are the elements of an array.
MAX_NUMBER_BYTES = 8
# The dtypes of arrays: booleans, integers and floats.
DTYPE_CODES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
# The end of the pickled state of a dtype that has no fields, no subarrays and no alignment of its own.
PLAIN_DTYPE_STATE = (None, None, None, -1, -1, 0)


@dataclass(frozen=True)
class Global:
    """The replacement for a function or class that a pickle names.

    Attributes:
        make: called with the arguments in the pickle, instead of the named function.
    """

    make: Callable


class PickledDtype:
    """A dtype. A pickle creates it first and sets its byte order later."""

    def __init__(self, code: str, *_):
        if not isinstance(code, str) or code not in DTYPE_CODES:
            raise ForbiddenError(f"it holds an array of type {abbreviate(code)}, which is not a number")
        self.dtype = np.dtype(code)

    def set_state(self, state: tuple) -> None:
        if state[2:] != PLAIN_DTYPE_STATE or state[1] not in ("<", ">", "|", "="):
            raise ForbiddenError("it holds an array of structures")
        self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """An array. A pickle creates it empty and fills it later."""

    array: np.ndarray | None = None

    def set_state(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, buffer = state
        self.array = make_array(buffer, dtype, shape, "F" if is_fortran else "C").array


def make_array(buffer, dtype, shape, order, axes=None) -> PickledArray:
    """Return a read-only array that is a view of a buffer.

    Args:
        buffer: a memoryview of the array's elements.
        dtype: a PickledDtype.
        shape: a tuple of int.
        order: "C", "F", or "K" for an array whose axes are transposed.
        axes: the order of the axes for "K".

    Raises:
        ForbiddenError: the arguments do not describe an array of numbers.
        ValueError: the buffer has not as many bytes as the shape requires.
    """
    if not isinstance(buffer, memoryview) or not isinstance(dtype, PickledDtype):
        raise ForbiddenError("it holds an array of objects")
    if type(shape) is not tuple or not all(type(length) is int for length in shape):
        raise ForbiddenError("it holds an array whose shape is not a tuple of integers")
    pickled = PickledArray()
    flat = np.frombuffer(buffer, dtype.dtype)
    if order == "K":
        pickled.array = flat.reshape(shape).transpose(axes)
    else:
        pickled.array = flat.reshape(shape, order=order)
    return pickled


def make_scalar(dtype, buffer) -> int | float | bool:
    """Return a NumPy scalar as a plain number."""
    return make_array(buffer, dtype, (), "C").array.item()


def refuse_call(*_):
    """Refuse the call of a class that pickles may name but not call."""
    raise ForbiddenError("it calls numpy.ndarray")


GLOBALS = {("numpy", "dtype"): Global(PickledDtype), ("numpy", "ndarray"): Global(refuse_call)} | {
    (f"numpy.{core}.{module}", name): Global(make)  # core before NumPy 2, _core since
    for core in ("core", "_core")
    for module, name, make in (
        ("multiarray", "_reconstruct", lambda *_: PickledArray()),
        ("multiarray", "scalar", make_scalar),
        ("numeric", "_frombuffer", make_array),
    )
}


class RestrictedUnpickler:
    """Pickle's stack machine, restricted to plain values and NumPy arrays.

    Attributes:
        content: the bytes of the pickle.
        position: index of the next byte to read.
        stack: values that are not part of another value yet.
        marks: indices in the stack at which tuples, lists and dict items start.
        memo: values that later opcodes may refer to, by number.
        payload_spans: (start, end) of bytes that hold only the values of the segment's dict: its numbers, and the
            elements of its arrays. All other bytes are the structure of the pickle.
        number_spans: (start, end) of numbers on the stack, by their index in it. The memo refers to none of them.
    """

    def __init__(self, content: bytes):
        self.content, self.position = content, 0
        self.stack, self.marks, self.memo = [], [], {}
        self.payload_spans = [(0, 0)]
        self.number_spans = {}

    def load(self):
        """Return the pickled value.

        Raises:
            ForbiddenError: it contains something that no segment contains.
            DamagedError: it cannot be read to its end.
        """
        try:
            self.run()
        except (EOFError, ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise DamagedError(f"damaged at byte {self.position} of {len(self.content)}") from error
        if self.position != len(self.content) or len(self.stack) != 1:
            raise ForbiddenError("more follows its end")
        return self.stack[0]

    def run(self) -> None:
        """Execute all opcodes. The most frequent ones are inlined here, because a call takes longer than they do."""
        content, stack, position = self.content, self.stack, 0
        for _ in range(MAX_OPCODES):
            code = content[position]
            position += 1
            if code == SHORT_TEXT:
                start = position + 1
                position = start + content[position]
                stack.append(content[start:position].decode("utf-8", "surrogatepass"))
            elif code == SMALL_NUMBER:
                self.number_spans[len(stack)] = (position, position + 1)
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
                raise ForbiddenError(f"it uses the pickle opcode {known.name if known else hex(code)}")
        raise ForbiddenError(f"it takes more than {MAX_OPCODES} pickle opcodes")

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        self.number_spans.pop(len(self.stack) - 1, None)

    def skip(self, num_bytes: int) -> int:
        """Advance by `num_bytes`, which must all be present. Return the position before."""
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
        self.number_spans[len(self.stack)] = (self.position, self.position + layout.size)
        self.stack.append(self.number(layout))

    def text(self, length: struct.Struct) -> None:
        start = self.skip(self.number(length))
        self.stack.append(self.content[start : self.position].decode("utf-8", "surrogatepass"))

    def buffer(self, length: struct.Struct) -> None:
        start = self.skip(self.number(length))
        if self.position - start > MAX_NUMBER_BYTES:  # a shorter one may be a number that is the length of an array
            self.payload_spans.append((start, self.position))
        self.stack.append(memoryview(self.content)[start : self.position])

    def integer(self) -> None:
        size = self.number(UINT1)
        if size > 8:
            raise ForbiddenError("it holds an integer of more than 64 bits")
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
        """Remove the values from index `start` of the stack on, and return them."""
        values = self.stack[start:]
        del self.stack[start:]
        for index in range(start, start + len(values)):
            span = self.number_spans.pop(index, None)
            if span and are_items:
                self.payload_spans.append(span)
        return values

    def set_items(self, items: list | tuple) -> None:
        target = self.stack[-1]
        keys = items[::2]
        if not isinstance(target, dict) or not all(type(key) is str for key in keys):
            raise ForbiddenError("it sets an item of something other than a dict with string keys")
        target.update(zip(keys, items[1::2], strict=True))

    def extend(self, values: list | tuple) -> None:
        if not isinstance(self.stack[-1], list):
            raise ForbiddenError("it appends to something other than a list")
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
            raise ForbiddenError("it calls something other than a function")
        self.stack.append(function.make(*arguments))

    def build(self) -> None:
        target, state = self.last(2)
        if not isinstance(target, PickledArray | PickledDtype) or type(state) is not tuple:
            raise ForbiddenError("it sets the state of something other than a NumPy array")
        target.set_state(state)
        self.stack.append(target)


UINT1, UINT2, UINT4, UINT8, INT4, FLOAT8 = map(struct.Struct, ("<B", "<H", "<I", "<Q", "<i", ">d"))
SHORT_TEXT, SMALL_NUMBER, STOP = b"\x8cK."
CONSTANTS = {ord("N"): None, ord("\x88"): True, ord("\x89"): False, ord(")"): ()}
OPCODES = {
    ord(code): execute
    for code, execute in {
        "\x80": lambda r: r.skip(1),  # protocol
        "\x95": lambda r: r.skip(8),  # length of a frame, needed only for streams
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
    """Return a name from a file, shortened and printable, for a message of one line."""
    text = str(name)[:80] if isinstance(name, str) else type(name).__name__
    return text if text.isprintable() else ascii(text)


def plain_dict(segment) -> dict:
    """Return the dict of a segment with NumPy arrays, which are read-only views, instead of pickled ones.

    Args:
        segment: as `RestrictedUnpickler.load` returns it.

    Raises:
        ForbiddenError: it is not a dict with the arrays `video` and `audio`.
    """
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
