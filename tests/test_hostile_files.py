"""Malicious segments and checkpoints: none executes code, hangs or fills memory, and each is refused with one line that
names the file and what is forbidden."""

import builtins
import copy
import copyreg
import functools
import json
import operator
import os
import pickle
import posixpath
import struct
import subprocess
import tracemalloc

import h5py
import keras
import numpy as np
import numpy.testing._private.utils
import pytest
from test_safe_pickle import text

from videosummarizer.dataset import safe_pickle, storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError
from videosummarizer.training import inference, safe_hdf5
from videosummarizer.training.checkpoint import (
    CHECKPOINT_ATTRIBUTE,
    CheckpointError,
    read_checkpoint,
    read_checkpoint_attributes,
    write_checkpoint_attributes,
)

ARRAYS = {"video": np.zeros((2, 2, 2, 3), np.uint8), "audio": np.zeros(4, np.float32)}
CONFIG = vars(DataConfig(5.0, 3.0, 64, 64, 11025, False))
GIGA = 10**11  # bytes that no file here has


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
    path = tmp_path / "seg_00000_0.pkl"
    path.write_bytes(content)
    return path


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
    path = hostile(tmp_path, content)
    with pytest.raises(DatasetError, match=r"seg_00000_0\.pkl: not a segment pickle \(it (names|uses)") as raised:
        storage.read_segment(path)
    assert "\n" not in str(raised.value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
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
            storage.read_segment(hostile(tmp_path, pickle.dumps({**ARRAYS, "more": value}, protocol)))


def laughs(first, double, times=60):
    """A value that is added to itself again and again: more values than fit in memory, if each were stored."""
    return b"\x80\x04" + first + b"\x94" + b"".join(double(index) for index in range(times))


FROMBUFFER = b"\x80\x05" + text("numpy._core.numeric") + text("_frombuffer") + b"\x93"
RECONSTRUCT = b"\x80\x05" + text("numpy._core.multiarray") + text("_reconstruct") + b"\x93"
DTYPE = text("numpy") + text("dtype") + b"\x93" + text("u1") + b"\x89\x88\x87R"
HUGE_SHAPE = b"\x8a\x08" + struct.pack("<q", GIGA) + b"\x85"
NESTED_TUPLE = laughs(b"N\x85", lambda index: b"h" + bytes([index]) + b"\x86\x94")
BOMBS = {
    "bytes of 100 GB": b"\x80\x04\x8e" + struct.pack("<Q", GIGA) + b"x.",
    "bytearray of 100 GB": b"\x80\x05\x96" + struct.pack("<Q", GIGA) + b"x.",
    "bytearray of all memory": b"\x80\x05\x96" + b"\xff" * 8 + b"x.",
    "text of 100 GB": b"\x80\x04\x8d" + struct.pack("<Q", GIGA) + b"x.",
    "frame of 100 GB": b"\x80\x04\x95" + struct.pack("<Q", GIGA) + b"N.",
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
    "no sound": pickle.dumps({"video": ARRAYS["video"]}),
    "bytes for arrays": pickle.dumps({"video": b"x", "audio": b"x"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_nothing_and_are_named(tmp_path, name):
    path = hostile(tmp_path, BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"seg_00000_0\.pkl: (not a|cannot be read as a) segment") as raised:
            storage.read_segment(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000 + 3 * len(BOMBS[name])
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400 + len(str(path))


def test_a_truncated_pickle_is_damaged_wherever_it_ends():
    content = pickle.dumps(ARRAYS)
    for length in range(len(content)):
        with pytest.raises(DatasetError, match=r"^a\.pkl: cannot be read as a segment \(damaged at byte \d+ of"):
            storage.decode_segment("a.pkl", content[:length], safe_pickle.load)


def test_what_is_no_plain_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "fifo.pkl")
    (tmp_path / "zeros.pkl").symlink_to("/dev/zero")
    (tmp_path / "folder.pkl").mkdir()
    for name in ("fifo.pkl", "zeros.pkl", "folder.pkl"):
        with pytest.raises(
            DatasetError, match=rf"{name}: (received something other than a regular file|cannot be read)"
        ):
            storage.read_segment(tmp_path / name)


def test_a_file_that_is_large_on_paper_is_not_read(tmp_path):
    path = hostile(tmp_path, b"")
    os.truncate(path, GIGA)
    with pytest.raises(DatasetError, match=rf"seg_00000_0\.pkl: received {GIGA} bytes, expected at most"):
        storage.read_segment(path)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_first_version_pickles_are_read_whatever_wrote_them(tmp_path, protocol, core):
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
    read = storage.read_segment(hostile(tmp_path, content))
    for name in ("video", "audio"):
        np.testing.assert_array_equal(read[name], segment[name])
        assert read[name].dtype == np.float16
    assert (read["label"], read["start_sec"], read["title"]) == (1, 5.0, "경기 #1")
    assert read["notes"][:4] == segment["notes"][:4]


# ---- Checkpoints


def layer(class_name, name, before=(), **config):
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32"}}
    tensor["config"]["keras_history"] = [*before, 0, 0]
    nodes = [{"args": [tensor], "kwargs": {}}] if before else []
    return {"class_name": class_name, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}


def network(*layers):
    """Settings, as Keras writes them, of four numbers that go through layers called `last`."""
    layers = [layer("InputLayer", "input", batch_shape=[None, 4], dtype="float32"), *layers]
    ends = {"input_layers": [["input", 0, 0]], "output_layers": [["last", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "network", "layers": layers, **ends}}


def dense(**changes):
    return layer("Dense", "last", before=["input"], **{"units": 2, "activation": "linear", **changes})


def write_checkpoint(path, config):
    """A checkpoint of a network with four times two weights and two more, its settings as given, a dict or text."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = ["input", "last"]
        weights.create_group("input").attrs["weight_names"] = np.zeros(0)
        group = weights.create_group("last")
        group.attrs["weight_names"] = ["kernel", "bias"]
        group["kernel"], group["bias"] = np.arange(8, dtype=np.float32).reshape(4, 2), np.ones(2, np.float32)
    write_checkpoint_attributes(path, {"config": {}})
    return path


def changed(**changes):
    """Settings whose last layer is described otherwise."""
    config = copy.deepcopy(network(dense()))
    config["config"]["layers"][-1].update(changes)
    return config


FUNCTION = {"class_name": "function", "module": "builtins", "config": "eval", "registered_name": "eval"}
HOSTILE_NETWORKS = {
    "Lambda": (network(layer("Lambda", "last", ["input"], function=["4wAAAA==", None, None])), "the layer Lambda"),
    "lambda": (network(dense(activation={"class_name": "__lambda__", "config": {"value": "4wAAAA=="}})), "__lambda__"),
    "function": (network(dense(activation=FUNCTION)), "the layer function"),
    "module": (changed(module="os", class_name="system"), "the layer system"),
    "module of a known name": (changed(module="os"), "names the module os"),
    "module of Keras's own insides": (changed(module="keras.src.saving.saving_api"), "names the module keras.src"),
    "own layer of another module": (
        changed(class_name="video_summarizer>SegmentsToBatch", module="os"),
        "the module os",
    ),
    "registered name": (changed(registered_name="os>system"), "the layer os>system"),
    "registered name that is none": (changed(registered_name=["os"]), "the layer list"),
    "module without class": (network(dense(activation={"module": "os", "config": "x"})), "the module os"),
    "file for a vocabulary": (network(layer("StringLookup", "last", ["input"], vocabulary="/etc/passwd")), "StringL"),
    "another model's file": (network(layer("TFSMLayer", "last", ["input"], filepath="/tmp")), "the layer TFSMLayer"),
    "array of a type": (network(dense(kernel={"class_name": "__numpy__", "config": {}})), "the layer __numpy__"),
    "huge layer": (network(dense(units=10**9)), "has a units of 1e\\+09: out of range"),
    "infinite number": (network(dense(units=float("inf"))), "has a units of inf"),
    "huge number of mel bands": (
        network(layer("MelSpectrogram", "last", ["input"], num_mel_bins=10**6)),
        "num_mel_bin",
    ),
    "huge matrix": (
        network(layer("video_summarizer>ResampleTime", "last", ["input"], num_from=12000, num_to=12000)),
        "has a num_to of",
    ),
    "network in a network": (network({**network(dense()), "name": "last"}), "holds another one"),
    "many layers": (network(*[dense()] * 1001), "more than 1000 layers"),
    "deep settings": ("[" * 1_000_000, "nested too deep"),
    "settings that are no JSON": ("junk", "cannot be read"),
    "settings that are a list": ("[]", "not one that main.py saved"),
    "settings that are empty": ("{}", "not one that main.py saved"),
}


@pytest.mark.parametrize("name", HOSTILE_NETWORKS)
def test_a_network_of_other_things_than_known_layers_is_refused(tmp_path, name):
    config, named = HOSTILE_NETWORKS[name]
    path = write_checkpoint(tmp_path / "evil.hdf5", config)
    with pytest.raises(CheckpointError, match=rf"evil\.hdf5: the network in it .*{named}") as raised:
        safe_hdf5.read_network(path)
    assert "\n" not in str(raised.value)


def test_the_resampling_of_long_segments_is_admitted(tmp_path):
    from data_loader import STEP_SEC
    from model import MEL_FRAMES_PER_STEP

    config = DataConfig(60.0, 3.0, 64, 64, 44100, True)
    num_from = config.data_shape["audio"][1]
    num_to = MEL_FRAMES_PER_STEP * round(config.segment_length / STEP_SEC)
    resampling = layer("video_summarizer>ResampleTime", "last", ["input"], num_from=num_from, num_to=num_to)
    path = write_checkpoint(tmp_path / "long.hdf5", network(resampling))
    assert safe_hdf5.read_network(path) == (network(resampling), 10)


def with_link(link):
    def spoil(file):
        del file["model_weights/last/kernel"]
        file["model_weights/last/kernel"] = link

    return spoil


def with_dataset(**arguments):
    def spoil(file):
        file["model_weights/last"].create_dataset("more", **{"shape": GIGA, "dtype": "u1", **arguments})

    return spoil


def with_attribute(name, value, **arguments):
    return lambda file: file.attrs.create(name, value, **arguments)


def with_virtual_dataset(file):
    layout = h5py.VirtualLayout(shape=(3,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "data", shape=(3,))
    file["model_weights/last"].create_virtual_dataset("more", layout)


def with_second_name(file):
    names = file["model_weights/last"].attrs
    names["weight_names0"], names["weight_names1"] = ["kernel"], ["bias", "kernel"]
    del names["weight_names"]


def with_circle(file):
    file["model_weights/last/more"] = file["model_weights"]


def with_type(file):
    file["model_weights/last/more"] = np.dtype("f4")


def with_reference(file):
    file.attrs.create("x", file.ref, dtype=h5py.ref_dtype)


HOSTILE_HDF5 = {
    "soft link": (with_link(h5py.SoftLink("/model_weights/last/bias")), "kernel is SoftLink, which may lead out"),
    "external link": (with_link(h5py.ExternalLink("other.hdf5", "data")), "kernel is ExternalLink"),
    "external storage": (with_dataset(external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)], shape=9), "in other files"),
    "virtual dataset": (with_virtual_dataset, "in other files"),
    "compressed bomb": (with_dataset(chunks=(2**20,), compression="gzip"), "in chunks or compressed"),
    "bomb that was never written": (with_dataset(), "more claims more bytes than the file holds"),
    "objects": (with_dataset(shape=1, dtype=h5py.ref_dtype), "is of type object, expected plain numbers"),
    "texts": (with_dataset(shape=1, dtype=h5py.string_dtype()), "is of type object, expected plain numbers"),
    "structures": (with_dataset(shape=1, dtype=[("a", "u1"), ("b", "f4")]), "expected plain numbers"),
    "long texts": (with_dataset(shape=1, dtype="S100000"), "expected plain numbers"),
    "weight of two names": (with_second_name, "last names a weight twice"),
    "circle": (with_circle, "more is stored twice"),
    "named type": (with_type, "more is neither a group nor an array"),
    "settings of numbers": (with_attribute("model_config", 5), "the attribute model_config is not a string"),
    "settings of many texts": (
        with_attribute("model_config", ["a", "b"]),
        "the attribute model_config is not a string",
    ),
    "attribute of references": (with_reference, "neither strings nor numbers"),
    "attribute of many": (with_attribute("x", ["a"] * 1001), "the attribute x claims 1001 values"),
    "settings missing": (lambda file: file.attrs.pop("model_config"), "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE_HDF5)
def test_a_file_that_leads_elsewhere_or_claims_more_than_it_holds_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with h5py.File("other.hdf5", "w") as other:
        other["data"] = np.zeros(3, np.float32)
    spoil, named = HOSTILE_HDF5[name]
    path = write_checkpoint(tmp_path / "evil.hdf5", network(dense()))
    assert safe_hdf5.read_network(path) == (network(dense()), 10)
    with h5py.File(path, "r+") as file:
        spoil(file)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=rf"evil\.hdf5: .*{named}"):
            safe_hdf5.read_network(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("num_bytes", [-80, -1, 8])
def test_texts_that_do_not_end_where_their_place_does_are_refused_before_hdf5_reads_them(tmp_path, num_bytes):
    path = write_checkpoint(tmp_path / "evil.hdf5", network(dense()))
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL\x01\0\0\0")
    place, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
    while int.from_bytes(content[place : place + 2], "little"):  # up to what is free
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
    assert int.from_bytes(content[place + 8 : place + 16], "little") == end - place
    content[place + 8 : place + 16] = (end - place + num_bytes).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"evil\.hdf5: cannot be read as a checkpoint \(its strings are damaged\)"
    ):
        read_checkpoint_attributes(path)


@pytest.mark.parametrize("value", ["[]", "junk", "[" * 100_000, "3", 5, ["a", "b"]])
def test_attributes_that_are_none_of_this_toolkit_are_named(tmp_path, value):
    path = write_checkpoint(tmp_path / "evil.hdf5", network(dense()))
    with h5py.File(path, "r+") as file:
        file.attrs[CHECKPOINT_ATTRIBUTE] = value
    with pytest.raises(CheckpointError, match=r"evil\.hdf5: received an HDF5 file without this toolkit's attributes"):
        read_checkpoint_attributes(path)


def test_a_network_of_other_outputs_is_refused(tmp_path):
    path = write_checkpoint(tmp_path / "evil.hdf5", network(dense()))
    write_checkpoint_attributes(path, {"config": CONFIG})
    with pytest.raises(CheckpointError, match=r"evil\.hdf5: received a network without the outputs 'highlight' and"):
        inference.load_network(read_checkpoint(path))


@pytest.mark.parametrize(("name", "config"), [("LogEnergy", {"pool_size": 0}), ("LogEnergy", {"pool_size": 7})])
def test_layers_that_do_not_fit_together_are_named(name, config):
    from videosummarizer.training import layers

    x = keras.Input((None, 1, 1, 1, 3), name="video", dtype="uint8")
    y = keras.Input((None, 4), name="audio")
    steps = getattr(layers, name)(**config)(y)
    network = keras.Model({"video": x, "audio": y}, {"highlight": steps, "steps": steps})
    segment = np.zeros((1, 1, 1, 3), np.uint8), np.zeros(4, np.float32)
    with pytest.raises(CheckpointError, match="the network cannot score segments"):
        list(inference.score_segments(network, iter([segment] * 3)))


def test_a_network_larger_than_its_weights_is_refused_before_memory_is_taken(tmp_path):
    from videosummarizer.training.inference import load_checkpoint

    inputs, good = np.ones((1, 4), np.float32), tmp_path / "good.hdf5"
    write_checkpoint(good, network(dense()))
    np.testing.assert_allclose(load_checkpoint(good).predict_on_batch(inputs), [[13, 17]])
    repeat = layer("RepeatVector", "last", ["input"], n=2**24)
    many = [layer("Dense", f"d{i}", [f"d{i - 1}" if i else "input"], units=2**20) for i in range(3)]
    for config, named in (
        (network(dense(units=2**20)), "it needs 5242880 weights, and the file holds 10"),
        (network(*many, layer("Dense", "last", ["d2"], units=1)), "it needs 2199[0-9]* weights, and the file holds 10"),
        (network(repeat), "its layer 'last' makes more values per segment than fit in memory"),
        (network(dense(units="many")), "."),
        (network(dense(units=-3)), "."),
        (network(dense(activation="eval")), "."),
        (network(), "."),
    ):
        path = write_checkpoint(tmp_path / "evil.hdf5", config)
        with pytest.raises(CheckpointError, match=rf"evil\.hdf5: the network in it cannot be read \({named}"):
            load_checkpoint(path)
    np.testing.assert_allclose(load_checkpoint(good).predict_on_batch(inputs), [[13, 17]])


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": {"segment_length": 5}},
        {"config": {**CONFIG, "segment_length": "5"}},
        {"config": {**CONFIG, "segment_length": float("nan")}},
        {"config": {**CONFIG, "video_width": 10**8}},
        {"config": {**CONFIG, "video_sample_rate": 10**8}},
        {"operating_point": {"threshold": "high"}},
        {"operating_point": {"threshold": 0.5, "smoothing": 10**12}},
        {"operating_point": {"threshold": 0.5, "smoothing": 2.5}},
        {"operating_point": {"threshold": 0.5, "smoothing": 0}},
        {"operating_point": {"threshold": 0.5, "min_length_sec": "x"}},
        {"operating_point": {"threshold": 0.5, "max_gap_sec": float("nan")}},
        {"operating_point": [0.5]},
    ],
)
def test_attributes_of_other_types_or_beyond_reason_are_named(tmp_path, changes):
    path = write_checkpoint(tmp_path / "evil.hdf5", network(dense()))
    write_checkpoint_attributes(path, {"config": CONFIG, **changes})
    with pytest.raises(
        CheckpointError, match=r"evil\.hdf5: received a checkpoint whose data config or operating point"
    ):
        read_checkpoint(path)
    write_checkpoint_attributes(path, {"config": CONFIG, "operating_point": {"threshold": 0.5}})
    assert read_checkpoint(path).config == DataConfig(**CONFIG)
