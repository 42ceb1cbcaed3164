"""The reader of segment pickles: opcodes, names and arrays that it takes and that it refuses, and its limits."""

import pickle
import pickletools
import struct

import numpy as np
import pytest

from videosummarizer.dataset import safe_pickle
from videosummarizer.dataset.safe_pickle import (
    DamagedError,
    ForbiddenError,
    PickledArray,
    PickledDtype,
    abbreviate,
    make_array,
    plain_dict,
)

ARRAYS = {"video": np.zeros((2, 2, 2, 3), np.uint8), "audio": np.zeros(4, np.float32)}
# Those that build plain values and arrays, of the 68 that pickle has. Each one more may be a way to run code.
INSTRUCTIONS = {
    "PROTO",
    "FRAME",
    "STOP",
    "NONE",
    "NEWTRUE",
    "NEWFALSE",
    "BININT1",
    "BININT2",
    "BININT",
    "BINFLOAT",
    "LONG1",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "SHORT_BINBYTES",
    "BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
    "MARK",
    "EMPTY_TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "TUPLE",
    "EMPTY_LIST",
    "APPEND",
    "APPENDS",
    "EMPTY_DICT",
    "SETITEM",
    "SETITEMS",
    "MEMOIZE",
    "BINPUT",
    "LONG_BINPUT",
    "BINGET",
    "LONG_BINGET",
    "GLOBAL",
    "STACK_GLOBAL",
    "REDUCE",
    "BUILD",
}
NAMES = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}
DTYPES = ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def read(content):
    """The value of a pickle that need be no segment."""
    return safe_pickle.RestrictedUnpickler(content).load()


def read_segment(content):
    """The dict of a segment's pickle."""
    return plain_dict(read(content))


# ---- Instructions


@pytest.mark.parametrize("code", range(256))
def test_every_opcode_that_builds_no_plain_value_is_refused(code):
    known = pickletools.code2op.get(chr(code))
    content = b"\x80\x04" + bytes([code]) + bytes(20)
    if known and known.name in INSTRUCTIONS:
        with pytest.raises((DamagedError, ForbiddenError)) as raised:
            read(content)
        assert f"opcode {known.name}" not in str(raised.value)
    else:
        name = known.name if known else hex(code)
        with pytest.raises(ForbiddenError, match=f"^it uses the pickle opcode {name}$"):
            read(content)


VALUES = {
    "none": (b"N", None),
    "true": (b"\x88", True),
    "false": (b"\x89", False),
    "number of a byte": (b"K\xff", 255),
    "number of two bytes": (b"M\xfe\xff", 65534),
    "number of four bytes": (b"J\xfe\xff\xff\xff", -2),
    "least number of four bytes": (b"J\0\0\0\x80", -(2**31)),
    "number of no bytes": (b"\x8a\0", 0),
    "negative number of any length": (b"\x8a\x03\xfe\xff\xff", -2),
    "number of any length": (b"\x8a\x03\xfe\xff\0", 65534),
    "greatest number of 64 bits": (b"\x8a\x08" + b"\xff" * 7 + b"\x7f", 2**63 - 1),
    "least number of 64 bits": (b"\x8a\x08" + b"\0" * 7 + b"\x80", -(2**63)),
    "float": (b"G" + struct.pack(">d", -1.25), -1.25),
    "short text": (b"\x8c\x07" + "경기1".encode(), "경기1"),
    "empty text": (b"\x8c\0", ""),
    "text": (b"X\x07\0\0\0" + "경기1".encode(), "경기1"),
    "long text": (b"\x8d\x07" + b"\0" * 7 + "경기1".encode(), "경기1"),
    "half a surrogate": (b"\x8c\x03\xed\xa0\x80", "\ud800"),
    "half a surrogate in a text": (b"X\x03\0\0\0\xed\xa0\x80", "\ud800"),
    "short bytes": (b"C\x03abc", b"abc"),
    "bytes": (b"B\x03\0\0\0abc", b"abc"),
    "long bytes": (b"\x8e\x03" + b"\0" * 7 + b"abc", b"abc"),
    "bytearray": (b"\x96\x03" + b"\0" * 7 + b"abc", b"abc"),
    "tuple of none": (b")", ()),
    "tuple of one": (b"K\x01\x85", (1,)),
    "tuple of two": (b"K\x01K\x02\x86", (1, 2)),
    "tuple of three": (b"K\x01K\x02K\x03\x87", (1, 2, 3)),
    "tuple since a mark": (b"(K\x01K\x02K\x03K\x04t", (1, 2, 3, 4)),
    "empty tuple since a mark": (b"(t", ()),
    "tuple in a tuple": (b"(K\x01(K\x02tK\x03t", (1, (2,), 3)),
    "empty list": (b"]", []),
    "list": (b"]K\x01aK\x02a", [1, 2]),
    "list since a mark": (b"](K\x01K\x02e", [1, 2]),
    "empty dict": (b"}", {}),
    "dict": (b"}\x8c\x01aK\x01s\x8c\x01bK\x02s", {"a": 1, "b": 2}),
    "dict since a mark": (b"}(\x8c\x01aK\x01\x8c\x01bK\x02u", {"a": 1, "b": 2}),
    "item that is set twice": (b"}(\x8c\x01aK\x01\x8c\x01aK\x02u", {"a": 2}),
    "what is kept by number": (b"(K\x07\x94K\x08\x94h\x01h\0t", (7, 8, 8, 7)),
    "what is put": (b"(K\x07q\x05K\x08q\x06h\x06h\x05t", (7, 8, 8, 7)),
    "what is put far": (b"(K\x07r\x05\1\0\0K\x08q\x05j\x05\1\0\0h\x05t", (7, 8, 7, 8)),
    "what is kept after what was put": (b"(K\x07q\0K\x08\x94h\x01h\0t", (7, 8, 8, 7)),
    "frame": (b"\x95\x02" + b"\0" * 7 + b"K\x01", 1),
}


@pytest.mark.parametrize("name", VALUES)
def test_plain_values_are_what_pickle_makes_of_them(name):
    opcodes, value = VALUES[name]
    content = b"\x80\x04" + opcodes + b"."
    assert pickle.loads(content) == value
    assert read(content) == value
    if not isinstance(value, bytes):  # a view, as long as it is not an item of the segment
        assert type(read(content)) is type(value)


@pytest.mark.parametrize(
    ("opcodes", "error", "message"),
    [
        (b"", ForbiddenError, "more follows its end"),
        (b"NN", ForbiddenError, "more follows its end"),
        (b"N.N", ForbiddenError, "more follows its end"),
        (b"N..", ForbiddenError, "more follows its end"),
        (b"h\x07", DamagedError, "damaged at byte 4 of 5"),
        (b"N\x94h\x01", DamagedError, "damaged at byte 6 of 7"),
        (b"N\x94j\x01\0\0\0", DamagedError, "damaged at byte 9 of 10"),
        (b"\x94", DamagedError, "damaged at"),
        (b"\x85", DamagedError, "damaged at"),
        (b"N\x86", DamagedError, "damaged at"),
        (b"NN\x87", DamagedError, "damaged at"),
        (b"Nt", DamagedError, "damaged at"),
        (b"]e", DamagedError, "damaged at"),
        (b"}u", DamagedError, "damaged at"),
        (b"a", DamagedError, "damaged at"),
        (b"}(\x8c\x01au", DamagedError, "damaged at"),  # a key without a value
        (b"}(\x8c\x01aK\x01\x8c\x01bu", DamagedError, "damaged at"),
        (b"C\x04abc", DamagedError, "damaged at"),  # with the last opcode for its fourth byte
        (b"C\x05abc", DamagedError, "damaged at byte 4 of 8"),
        (b"\x8c\x05abc", DamagedError, "damaged at"),
        (b"X\x05\0\0\0abc", DamagedError, "damaged at byte 7 of 11"),
        (b"\x8a\x05abc", DamagedError, "damaged at byte 4 of 8"),
        (b"\x8a\x09" + b"\1" * 9, ForbiddenError, "it holds an integer of more than 64 bits"),
        (b"\x8c\x01\xff", DamagedError, "damaged at"),
        (b"}K\x01K\x02s", ForbiddenError, "it sets an item of something other than a dict with string keys"),
        (b"}(\x8c\x01aK\x01K\x02K\x02u", ForbiddenError, "it sets an item of something other than a dict"),
        (b"](\x8c\x01aK\x01u", ForbiddenError, "it sets an item of something other than a dict with string keys"),
        (b")K\x01a", ForbiddenError, "it appends to something other than a list"),
        (b"}(K\x01e", ForbiddenError, "it appends to something other than a list"),
        (b"N)R", ForbiddenError, "it calls something other than a function"),
        (text("numpy") + text("dtype") + b"\x93]R", ForbiddenError, "it calls something other than a function"),
        (
            text("numpy") + text("dtype") + b"\x93" + text("u1") + b"R",
            ForbiddenError,
            "it calls something other than a function",
        ),
        (
            text("numpy") + text("dtype") + b"\x93)b",
            ForbiddenError,
            "it sets the state of something other than a NumPy array",
        ),
        (b"})b", ForbiddenError, "it sets the state of something other than a NumPy array"),
        (text("numpy") + text("dtype") + b"\x93" + text("u1") + b"\x85R}b", ForbiddenError, "it sets the state of"),
        (text("numpy") + text("ndarray") + b"\x93)R", ForbiddenError, "it calls numpy.ndarray"),
        (text("numpy") + text("dtype") + b"\x93)R", DamagedError, "damaged at"),
        (b"N" + text("dtype") + b"\x93", ForbiddenError, "it names NoneType.dtype, which is neither a builtin value"),
        (text("numpy") + b"K\x01\x93", ForbiddenError, "it names numpy.int, which is neither a builtin value nor"),
    ],
)
def test_values_that_do_not_fit_together_are_named(opcodes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        read(b"\x80\x04" + opcodes + b".")


def padded(num_opcodes):
    """A segment that takes so many opcodes, most of them to fill a list."""
    start, end = pickle.dumps(ARRAYS, 4)[:-2] + text("more") + b"](", b"eu."
    num_others = sum(1 for _ in pickletools.genops(start + end))
    content = start + b"N" * (num_opcodes - num_others) + end
    assert sum(1 for _ in pickletools.genops(content)) == num_opcodes
    return content


def test_a_segment_takes_ten_thousand_opcodes_at_most():
    for num_opcodes in (9_999, 10_000):
        assert read_segment(padded(num_opcodes))["more"][-1] is None
    with pytest.raises(ForbiddenError, match=r"^it takes more than 10000 pickle opcodes$"):
        read_segment(padded(10_001))


# ---- Names


def test_the_names_that_a_segment_may_hold_are_pinned():
    assert set(safe_pickle.GLOBALS) == NAMES
    modules, names = ({pair[i] for pair in NAMES} | {"builtins", "os", "eval"} for i in (0, 1))
    for module in modules:
        for name in names:
            contents = (text(module) + text(name) + b"\x93", f"c{module}\n{name}\n".encode())
            for content in contents:
                if (module, name) in NAMES:
                    assert type(read(content + b".")) is safe_pickle.Global
                else:
                    with pytest.raises(ForbiddenError, match=rf"^it names {module}\.{name}, which"):
                        read(content + b".")


def test_a_name_ends_within_a_thousand_bytes():
    with pytest.raises(ForbiddenError, match=rf"^it names {'x' * 80}\.{'y' * 80}, which is neither"):
        read(b"c" + b"x" * 999 + b"\n" + b"y" * 999 + b"\n.")
    with pytest.raises(DamagedError, match=r"^damaged at byte \d+ of 1005$"):
        read(b"c" + b"x" * 1000 + b"\ny\n.")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x" * 80, "x" * 80),
        ("x" * 79 + "yz", "x" * 79 + "y"),
        ("경기", "경기"),
        ("a\nb", r"'a\nb'"),
        (3, "int"),
        (None, "NoneType"),
        (b"x", "bytes"),
    ],
)
def test_what_a_file_names_is_shown_in_one_line(name, shown):
    assert abbreviate(name) == shown


# ---- Arrays


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("code", DTYPES)
def test_arrays_of_every_plain_number_are_read_as_pickle_reads_them(code, protocol):
    values = np.random.default_rng(0).integers(0, 2, (2, 3, 4)) if code == "b1" else np.arange(-3, 21).reshape(2, 3, 4)
    for order in ("<", ">"):
        array = values.astype(np.dtype(code).newbyteorder(order))
        for stored in (array, np.asfortranarray(array), array.transpose(1, 2, 0), array[:, ::2], array[..., 0].T):
            content = pickle.dumps(ARRAYS | {"more": stored}, protocol)
            found = read_segment(content)["more"]
            np.testing.assert_array_equal(found, stored)
            assert (found.dtype, found.shape, found.flags.writeable) == (stored.dtype, stored.shape, False)


def test_the_numbers_that_arrays_may_hold_are_pinned():
    assert sorted(safe_pickle.DTYPE_CODES) == sorted(DTYPES)
    for code in DTYPES:
        assert PickledDtype(code).dtype == np.dtype(code)
    others = ["O8", "O", "U1", "S1", "V1", "M8", "m8", "c8", "c16", "f16", "g", "u1,u1", "", None, 1, ("u1",), np.uint8]
    for code in others:
        with pytest.raises(ForbiddenError, match=r"^it holds an array of type .*, which is not a number$"):
            PickledDtype(code)


PLAIN = (3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize(("order", "number"), [("<", 513), (">", 258), ("=", None), ("|", None)])
def test_numbers_have_the_byte_order_that_the_pickle_states(order, number):
    dtype = PickledDtype("u2")
    dtype.set_state((3, order, *PLAIN[2:]))
    number = number or int(np.frombuffer(b"\1\2", np.uint16)[0])
    assert make_array(memoryview(b"\1\2"), dtype, (1,), "C").array.tolist() == [number]


@pytest.mark.parametrize(
    "state",
    [
        *[(*PLAIN[:i], value, *PLAIN[i + 1 :]) for i, value in enumerate(["u1", ("u1",), ("a",), 4, 4, 1], start=2)],
        PLAIN[:-1],
        (*PLAIN, None),
        (3, "?", *PLAIN[2:]),
        (3, None, *PLAIN[2:]),
        (3, "", *PLAIN[2:]),
        PLAIN[1:],
    ],
)
def test_types_with_parts_fields_or_another_alignment_are_refused(state):
    with pytest.raises(ForbiddenError, match=r"^it holds an array of structures$"):
        PickledDtype("u2").set_state(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((b"ab", PickledDtype("u1"), (2,), "C"), "it holds an array of objects"),
        (([1, 2], PickledDtype("u1"), (2,), "C"), "it holds an array of objects"),
        ((memoryview(b"ab"), np.dtype("u1"), (2,), "C"), "it holds an array of objects"),
        ((memoryview(b"ab"), PickledDtype("u1"), [2], "C"), "it holds an array whose shape is not a tuple of integers"),
        ((memoryview(b"ab"), PickledDtype("u1"), (2.0,), "C"), "it holds an array whose shape is not a tuple"),
        ((memoryview(b"a"), PickledDtype("u1"), (True,), "C"), "it holds an array whose shape is not a tuple"),
        ((memoryview(b"ab"), PickledDtype("u1"), (1, (2,)), "C"), "it holds an array whose shape is not a tuple"),
    ],
)
def test_arrays_of_other_parts_are_refused(arguments, message):
    with pytest.raises(ForbiddenError, match=f"^{message}"):
        make_array(*arguments)


@pytest.mark.parametrize(("is_fortran", "rows"), [(False, [[0, 1, 2], [3, 4, 5]]), (True, [[0, 2, 4], [1, 3, 5]])])
def test_an_array_that_is_filled_later_is_stored_by_rows_or_columns(is_fortran, rows):
    array = PickledArray()
    array.set_state((1, (2, 3), PickledDtype("u1"), is_fortran, memoryview(bytes(range(6)))))
    assert array.array.tolist() == rows


def test_an_array_has_as_many_numbers_as_its_shape_says():
    for shape in ((5,), (7,), (2, 2), (2, 3, 2)):
        with pytest.raises(ValueError, match="reshape"):
            make_array(memoryview(bytes(6)), PickledDtype("u1"), shape, "C")
    with pytest.raises(ValueError, match="size"):
        make_array(memoryview(bytes(5)), PickledDtype("u2"), (2,), "C")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_numbers_of_numpy_become_plain_ones(protocol):
    numbers = {"a": np.int64(-7), "b": np.float64(0.1), "c": np.bool_(True), "d": np.float32(0.5), "e": np.uint8(200)}
    found = read_segment(pickle.dumps(ARRAYS | numbers, protocol))
    assert [found[name] for name in "abcde"] == [-7, 0.1, True, 0.5, 200]
    assert [type(found[name]) for name in "abcde"] == [int, float, bool, float, int]


def test_bytes_of_a_segment_are_bytes():
    found = read_segment(pickle.dumps(ARRAYS | {"more": b"abc"}))
    assert (type(found["more"]), found["more"]) == (bytes, b"abc")


@pytest.mark.parametrize(
    "segment",
    [
        [ARRAYS],
        {},
        {"video": ARRAYS["video"]},
        {"audio": ARRAYS["audio"]},
        ARRAYS | {"video": None},
        ARRAYS | {"audio": [1.0, 2.0]},
        ARRAYS | {"audio": np.float32(1)},
    ],
)
def test_a_segment_without_arrays_is_refused(segment):
    with pytest.raises(ForbiddenError, match=r"^it holds no dict with the arrays 'video' and 'audio'$"):
        read_segment(pickle.dumps(segment))


def test_an_array_that_is_never_filled_is_none():
    content = pickle.dumps({"audio": ARRAYS["audio"], "label": 1}, 4)[:-2]
    empty = text("numpy._core.multiarray") + text("_reconstruct") + b"\x93)R"
    with pytest.raises(ForbiddenError, match=r"^it holds no dict with the arrays"):
        read_segment(content + text("video") + empty + b"u.")
