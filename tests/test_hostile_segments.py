"""Malicious segment pickles: none executes code, hangs or fills memory, and each is refused with one line that names
the file and what is forbidden."""

import builtins
import copyreg
import functools
import operator
import os
import pickle
import posixpath
import struct
import subprocess
import tracemalloc

import numpy as np
import numpy.testing._private.utils
import pytest
from test_data_loader import write_dataset
from test_safe_pickle import text

from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError
from videosummarizer.dataset.safe_pickle import RestrictedUnpickler, plain_dict

ARRAYS = {"video": np.zeros((2, 2, 2, 3), np.uint8), "audio": np.zeros(4, np.float32)}
HUNDRED_GB = 10**11  # bytes that no file here has


class Call:
    """Is pickled as a call of a function; arguments may be calls."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __call__(self):
        """Only what can be called may be pickled in a function's place."""

    def __reduce__(self):
        return self.call


def touch_by_attributes():
    path = Call(Call(getattr, Call(__import__, "pathlib"), "Path"), "ran")
    return Call(Call(getattr, path, "touch"))


RUNNING = {
    "os.system": Call(os.system, "touch ran"),
    "subprocess.Popen": Call(subprocess.check_call, ["touch", "ran"]),
    "eval": Call(eval, "open('ran', 'w').close()"),
    "exec": Call(exec, "open('ran', 'w').close()"),
    "open": Call(open, "ran", "w"),
    "getattr chain": touch_by_attributes(),
    "partial": Call(functools.partial(os.system, "touch ran")),
    "methodcaller": Call(operator.methodcaller("system", "touch ran"), Call(__import__, "os")),
    "map": Call(list, Call(map, eval, ["open('ran', 'w').close()"])),
    "numpy runstring": Call(numpy.testing._private.utils.runstring, "open('ran', 'w').close()", {}),
    "numpy memmap": Call(np.memmap, "ran", "uint8", "w+", 0, (1,)),
    "numpy tofile": Call(np.ndarray.tofile, np.zeros(3), "ran"),
    "numpy savetxt": Call(np.savetxt, "ran", np.zeros(3)),
}
RUNNING_BYTES = {
    "protocol 0": b"cos\nsystem\n(S'touch ran'\ntR.",
    "instance": b"(S'touch ran'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'touch ran'\no.",
    "dotted name": b"\x80\x04\x8c\x09posixpath\x8c\x09os.system\x93\x8c\x09touch ran\x85R.",
    "extension": b"\x80\x04\x82\xf0\x8c\x09touch ran\x85R.",
}


def hostile(tmp_path, content):
    """A segment with that content, in a dataset whose segments may have up to 1.5 MB."""
    folder = tmp_path / "dataset"
    if not folder.exists():
        write_dataset(folder, {"match_00": [0]}, config=DataConfig(1, 1, 500, 500, 2, False))
    (file,) = storage.list_segments(storage.open_dataset(folder), "match_00", 1)
    file.path.write_bytes(content)
    return file


def read(file):
    return storage.read_arrays(file, file.files.metadata["data_shape"])


@pytest.fixture
def os_system_extension():
    copyreg.add_extension("os", "system", 0xF0)
    yield
    copyreg.remove_extension("os", "system", 0xF0)


@pytest.mark.usefixtures("os_system_extension")
@pytest.mark.parametrize("name", [*RUNNING, *RUNNING_BYTES])
def test_nothing_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = RUNNING_BYTES.get(name) or pickle.dumps({**ARRAYS, "title": RUNNING[name]})
    file = hostile(tmp_path, content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=r"seg_00000_0\.pkl: not a segment pickle \(it (names|uses)") as raised:
        read(file)
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before
    ran = pickle.loads(content)  # what is tried here does run where it is let
    if name == "open":
        ran["title"].close()
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (builtins.eval, r"it names builtins\.eval"),
        (posixpath.join, r"it names posixpath\.join"),
        (np.load, r"it names numpy\.load"),
        (np.ndarray.tofile, r"it names builtins\.getattr"),
        ({1}, r"it uses the pickle opcode EMPTY_SET"),
        (frozenset((1,)), r"it uses the pickle opcode FROZENSET"),
        (1 + 2j, r"it names builtins\.complex"),
        (10**30, r"it holds an integer of more than 64 bits"),
        ({(1, 2): 3}, r"it sets an item of something other than a dict with string keys"),
        (np.array([1, "a"], object), r"it holds an array of type O8"),
        (np.zeros(2, "U4"), r"it holds an array of type U4"),
        (np.zeros(2, [("a", "u1"), ("b", "f4")]), r"it holds an array of type V5"),
        (np.zeros(2, np.dtype("u1", metadata={"a": 1})), r"it holds an array of structures"),
        (np.zeros(2, "M8[s]"), r"it holds an array of type M8"),
        (np.ma.zeros(2), r"it names numpy\.ma\.core\._mareconstruct"),
    ],
)
def test_what_no_segment_holds_is_named(tmp_path, value, named):
    for protocol in (4, 5):
        with pytest.raises(DatasetError, match=rf"seg_00000_0\.pkl: not a segment pickle \({named}"):
            read(hostile(tmp_path, pickle.dumps({**ARRAYS, "more": value}, protocol)))


def laughs(first, double, times=60):
    """A value that is added to itself again and again: more values than fit in memory, if each were stored."""
    return b"\x80\x04" + first + b"\x94" + b"".join(double(index) for index in range(times))


FROMBUFFER = b"\x80\x05" + text("numpy._core.numeric") + text("_frombuffer") + b"\x93"
RECONSTRUCT = b"\x80\x05" + text("numpy._core.multiarray") + text("_reconstruct") + b"\x93"
DTYPE = text("numpy") + text("dtype") + b"\x93" + text("u1") + b"\x89\x88\x87R"
HUGE_SHAPE = b"\x8a\x08" + struct.pack("<q", HUNDRED_GB) + b"\x85"
NESTED_TUPLE = laughs(b"N\x85", lambda index: b"h" + bytes([index]) + b"\x86\x94")
BOMBS = {
    "bytes of 100 GB": b"\x80\x04\x8e" + struct.pack("<Q", HUNDRED_GB) + b"x.",
    "bytearray of 100 GB": b"\x80\x05\x96" + struct.pack("<Q", HUNDRED_GB) + b"x.",
    "bytearray of all memory": b"\x80\x05\x96" + b"\xff" * 8 + b"x.",
    "text of 100 GB": b"\x80\x04\x8d" + struct.pack("<Q", HUNDRED_GB) + b"x.",
    "frame of 100 GB": b"\x80\x04\x95" + struct.pack("<Q", HUNDRED_GB) + b"N.",
    "array of 100 GB": FROMBUFFER + b"(C\x01x" + DTYPE + HUGE_SHAPE + text("C") + b"tR.",
    "array of no bytes": FROMBUFFER + b"(C\x00" + DTYPE + HUGE_SHAPE + text("C") + b"tR.",
    "array of numbers that are none": FROMBUFFER + b"(C\x01x" + DTYPE + text("C") + text("C") + b"tR.",
    "array made empty": RECONSTRUCT + text("numpy") + text("ndarray") + b"\x93" + HUGE_SHAPE + b"C\x01b\x87R.",
    "array called": b"\x80\x04" + text("numpy") + text("ndarray") + b"\x93" + HUGE_SHAPE + b"\x85R.",
    "state of a function": FROMBUFFER + b"N}" + text("__defaults__") + b")s\x86b.",
    "state of a number": b"\x80\x04K\x01}b.",
    "huge memo": b"\x80\x04Nr\xff\xff\xff\xff.",
    "huge memo in text": b"Np99999999999999\n.",
    "missing memo": b"\x80\x04h\x07.",
    "persistent id": b"Pid\n.",
    "persistent id of a value": b"\x80\x04NQ.",
    "laughing lists": laughs(b"]", lambda index: b"](h%ch%ce\x94" % (index, index)) + b".",
    "laughing tuples": NESTED_TUPLE + b".",
    "laughing key": NESTED_TUPLE + b"}" + b"h\x3cNs.",
    "laughing dtype": NESTED_TUPLE + text("numpy") + text("dtype") + b"\x93h\x3c\x85R.",
    "laughing name": NESTED_TUPLE + b"h\x3ch\x3c\x93.",
    "laughing shape": FROMBUFFER + NESTED_TUPLE[2:] + b"(C\x01x" + DTYPE + b"h\x3c" + text("C") + b"tR.",
    "deep lists": b"\x80\x04" + b"]" * 1_000_000,
    "deep tuples": b"\x80\x04N" + b"\x85" * 1_000_000 + b".",
    "deep, as far as it is read": b"\x80\x04N" + b"\x85" * 9_900 + b".",
    "marks": b"\x80\x04" + b"(" * 1_000_000,
    "nothing but None": b"\x80\x04" + b"N" * 1_000_000,
    "long number": b"\x80\x04\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000 + b".",
    "long number in text": b"L" + b"9" * 1_000_000 + b"L\n.",
    "number of negative length": b"\x80\x04\x8b\xff\xff\xff\xff.",
    "name without end": b"c" + b"x" * 1_000_000,
    "unknown opcode": b"\x80\x04\xff.",
    "empty file": b"",
    "zeros": b"\0" * 1000,
    "no value": b"\x80\x04.",
    "too few values": b"\x80\x04\x87.",
    "list without mark": b"\x80\x04]te.",
    "bad text": b"\x80\x04\x8c\x02\xff\xff.",
    "name of two lines": b"\x80\x04" + text("os\nERROR: all is lost\n") + text("x") + b"\x93.",
    "more after the end": pickle.dumps(ARRAYS) + b"x",
    "two pickles": pickle.dumps(ARRAYS) * 2,
    "a list": pickle.dumps([ARRAYS]),
    "no audio": pickle.dumps({"video": ARRAYS["video"]}),
    "bytes for arrays": pickle.dumps({"video": b"x", "audio": b"x"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_nothing_and_are_named(tmp_path, name):
    file = hostile(tmp_path, BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"seg_00000_0\.pkl: (not a|cannot be read as a) segment") as raised:
            read(file)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000 + 3 * len(BOMBS[name])
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400 + len(str(file))


def test_a_truncated_pickle_is_damaged_wherever_it_ends(tmp_path):
    content = pickle.dumps(ARRAYS)
    message = r"/match_00/seg_00000_0\.pkl: cannot be read as a segment \(damaged at byte \d+ of"
    for length in range(len(content)):
        with pytest.raises(DatasetError, match=message):
            read(hostile(tmp_path, content[:length]))


def test_what_is_no_plain_file_is_named(tmp_path):
    file = hostile(tmp_path, b"")
    os.mkfifo(file.path.with_name("fifo.pkl"))
    file.path.with_name("zeros.pkl").symlink_to("/dev/zero")
    file.path.with_name("folder.pkl").mkdir()
    for name in ("fifo.pkl", "zeros.pkl", "folder.pkl"):
        with pytest.raises(
            DatasetError, match=rf"{name}: (received something other than a regular file|cannot be read)"
        ):
            file.files.read("match_00", name)


def test_a_file_that_is_large_on_paper_is_not_read(tmp_path):
    file = hostile(tmp_path, b"")
    os.truncate(file.path, HUNDRED_GB)
    with pytest.raises(DatasetError, match=rf"seg_00000_0\.pkl: received {HUNDRED_GB} bytes, expected at most"):
        read(file)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_first_version_pickles_are_read_whatever_wrote_them(protocol, core):
    rng = np.random.default_rng(0)
    segment = {
        "video": rng.random((2, 3, 4, 3)).astype(np.float16),
        "audio": rng.random((40, 5)).astype(np.float16).T,  # stored by columns
        "label": np.int64(1),
        "start_sec": np.float64(5),
        "title": "경기 #1",
        "notes": [1, None, -70_000, ("a", True), {"b": b"c"}],
    }
    content = pickle.dumps(segment, protocol)
    if core == b"numpy.core":  # as NumPy 1 named it: a byte less, which a short text's length counts
        for module in (b"multiarray", b"numeric"):
            for before, after in ((b"\x8c%c", 1), (b"c", 0)):
                old, new = b"numpy._core." + module, b"numpy.core." + module
                prefixes = [before % len(name) if after else before for name in (old, new)]
                content = content.replace(prefixes[0] + old, prefixes[1] + new)
        assert b"_core" not in content
    read = plain_dict(RestrictedUnpickler(content).load())
    for name in ("video", "audio"):
        np.testing.assert_array_equal(read[name], segment[name])
        assert read[name].dtype == np.float16
    assert (read["label"], read["start_sec"], read["title"]) == (1, 5.0, "경기 #1")
    assert read["notes"][:4] == segment["notes"][:4]
