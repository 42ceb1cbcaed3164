"""Malicious checkpoints: none executes code, hangs or fills memory, and each is refused with one line that names the
file and what is forbidden."""

import copy
import json
import tracemalloc

import h5py
import keras
import numpy as np
import pytest

from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.training import inference, safe_hdf5
from videosummarizer.training.checkpoint import (
    CHECKPOINT_ATTRIBUTE,
    CheckpointError,
    read_checkpoint,
    read_checkpoint_attributes,
    write_checkpoint_attributes,
)

CONFIG = vars(DataConfig(5.0, 3.0, 64, 64, 11025, False))
HUNDRED_GB = 10**11  # bytes that no file here has


def layer(class_name, name, before=(), **config):
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32"}}
    tensor["config"]["keras_history"] = [*before, 0, 0]
    nodes = [{"args": [tensor], "kwargs": {}}] if before else []
    return {"class_name": class_name, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}


def network(*layers):
    """The config, as Keras writes it, of a network of four numbers that go through layers called `last`."""
    layers = [layer("InputLayer", "input", batch_shape=[None, 4], dtype="float32"), *layers]
    ends = {"input_layers": [["input", 0, 0]], "output_layers": [["last", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "network", "layers": layers, **ends}}


def dense(**changes):
    return layer("Dense", "last", before=["input"], **{"units": 2, "activation": "linear", **changes})


def write_checkpoint(path, config):
    """A checkpoint of a network with four times two weights and two more, with the given config, a dict or text."""
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
    """A config whose last layer is described otherwise."""
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
        network(layer("video_summarizer>AveragePoolToLength", "last", ["input"], num_from=12000, num_to=12000)),
        "has a num_to of",
    ),
    "network in a network": (network({**network(dense()), "name": "last"}), "holds another one"),
    "many layers": (network(*[dense()] * 1001), "more than 1000 layers"),
    "deep config": ("[" * 1_000_000, "nested too deep"),
    "config that are no JSON": ("junk", "cannot be read"),
    "config that are a list": ("[]", "not one that main.py saved"),
    "config that are empty": ("{}", "not one that main.py saved"),
}


@pytest.mark.parametrize("name", HOSTILE_NETWORKS)
def test_a_network_of_other_things_than_known_layers_is_refused(tmp_path, name):
    config, named = HOSTILE_NETWORKS[name]
    path = write_checkpoint(tmp_path / "evil.hdf5", config)
    with pytest.raises(CheckpointError, match=rf"evil\.hdf5: the network in it .*{named}") as raised:
        safe_hdf5.read_network(path)
    assert "\n" not in str(raised.value)


def test_the_pooling_of_long_segments_is_admitted(tmp_path):
    from data_loader import STEP_SEC
    from model import MEL_FRAMES_PER_STEP

    config = DataConfig(60.0, 3.0, 64, 64, 44100, True)
    num_from = config.data_shape["audio"][1]
    num_to = MEL_FRAMES_PER_STEP * round(config.segment_length / STEP_SEC)
    pooling = layer("video_summarizer>AveragePoolToLength", "last", ["input"], num_from=num_from, num_to=num_to)
    path = write_checkpoint(tmp_path / "long.hdf5", network(pooling))
    assert safe_hdf5.read_network(path) == (network(pooling), 10)


def with_link(link):
    def spoil(file):
        del file["model_weights/last/kernel"]
        file["model_weights/last/kernel"] = link

    return spoil


def with_dataset(**arguments):
    def spoil(file):
        file["model_weights/last"].create_dataset("more", **{"shape": HUNDRED_GB, "dtype": "u1", **arguments})

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
    "strings": (with_dataset(shape=1, dtype=h5py.string_dtype()), "is of type object, expected plain numbers"),
    "structures": (with_dataset(shape=1, dtype=[("a", "u1"), ("b", "f4")]), "expected plain numbers"),
    "long strings": (with_dataset(shape=1, dtype="S100000"), "expected plain numbers"),
    "weight of two names": (with_second_name, "last names a weight twice"),
    "circle": (with_circle, "more is stored twice"),
    "named type": (with_type, "more is neither a group nor an array"),
    "config of numbers": (with_attribute("model_config", 5), "the attribute model_config is not a string"),
    "config of many strings": (
        with_attribute("model_config", ["a", "b"]),
        "the attribute model_config is not a string",
    ),
    "attribute of references": (with_reference, "neither strings nor numbers"),
    "attribute of many": (with_attribute("x", ["a"] * 1001), "the attribute x claims 1001 values"),
    "config missing": (lambda file: file.attrs.pop("model_config"), "cannot be read"),
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
def test_strings_that_do_not_fill_their_heap_are_refused_before_hdf5_reads_them(tmp_path, num_bytes):
    path = write_checkpoint(tmp_path / "evil.hdf5", network(dense()))
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL\x01\0\0\0")
    offset, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
    while int.from_bytes(content[offset : offset + 2], "little"):  # up to what is free
        offset += 16 + -(-int.from_bytes(content[offset + 8 : offset + 16], "little") // 8) * 8
    assert int.from_bytes(content[offset + 8 : offset + 16], "little") == end - offset
    content[offset + 8 : offset + 16] = (end - offset + num_bytes).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"evil\.hdf5: cannot be read as a checkpoint \(its strings are damaged\)"
    ):
        read_checkpoint_attributes(path)


@pytest.mark.parametrize("claimed", [10**6, 2**31, 2**32 - 1])
@pytest.mark.parametrize("name", ["video_summarizer", "model_config", "layer_names", "weight_names"])
def test_a_string_longer_than_the_file_is_refused_before_hdf5_allocates_it(tmp_path, name, claimed):
    path = write_checkpoint(tmp_path / "evil.hdf5", network(dense()))
    with h5py.File(path) as file:
        groups = {"layer_names": "model_weights", "weight_names": "model_weights/last"}
        value = file[groups.get(name, "/")].attrs[name]
    length = len(value if isinstance(value, str) else value[-1])
    content = path.read_bytes()
    start = content.index(name.encode())
    place = content.index(length.to_bytes(4, "little"), start + len(name) + 20)  # behind the types
    path.write_bytes(content[:place] + claimed.to_bytes(4, "little") + content[place + 4 :])
    read = safe_hdf5.read_network if name in groups else read_checkpoint_attributes
    claim = rf"evil\.hdf5: .*its strings claim {str(claimed)[:-4]}\d+ bytes, which"
    with pytest.raises(CheckpointError, match=claim) as raised:
        read(path)
    assert len(str(raised.value)) < len(str(path)) + 200


def test_attributes_in_another_format_than_main_py_writes_are_refused(tmp_path):
    path = tmp_path / "evil.hdf5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["video_summarizer"] = "{}"
    with pytest.raises(CheckpointError, match=r"cannot be read as a checkpoint \(it has another format than main"):
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


@pytest.mark.parametrize(
    "convolutions",
    [
        [{}],
        [{"dilation_rate": 1}],
        [{"dilation_rate": []}],
        [{"dilation_rate": [0]}],
        [{"dilation_rate": [-1]}],
        [{"dilation_rate": [1.5]}],
        [{"dilation_rate": ["1"]}],
        [{"dilation_rate": [1]}, {"dilation_rate": [1]}],
    ],
)
def test_dilations_that_are_none_are_named(tmp_path, convolutions):
    layers = [
        layer("Conv1D", f"audio_temporal_convolution_{number}", ["input"], **config)
        for number, config in enumerate(convolutions)
    ]
    path = write_checkpoint(tmp_path / "evil.hdf5", network(*layers, dense()))
    with pytest.raises(CheckpointError, match=r"evil\.hdf5: the network in it is not one that main\.py saved$"):
        inference.read_dilations(path)


@pytest.mark.parametrize(
    "changes", [{"layers": 5}, {"layers": [5]}, {"layers": [{"config": 5}]}, {"layers": [{"config": {"name": 5}}]}]
)
def test_layers_that_are_none_have_no_dilations(tmp_path, changes):
    config = network(dense())
    config["config"].update(changes)
    with pytest.raises(CheckpointError, match=r"the network in it is not one that main\.py saved$"):
        inference.read_dilations(write_checkpoint(tmp_path / "evil.hdf5", config))


def test_dilations_are_read_in_the_order_of_the_convolutions_of_the_audio(tmp_path):
    rates = {"audio_temporal_convolution_1": 1, "video_temporal_convolution_3": 3, "audio_temporal_convolution_2": 2}
    layers = [layer("Conv1D", name, ["input"], dilation_rate=[rate]) for name, rate in rates.items()]
    path = write_checkpoint(tmp_path / "some.hdf5", network(*layers, dense()))
    assert inference.read_dilations(path) == [1, 2]
    assert inference.read_dilations(write_checkpoint(tmp_path / "none.hdf5", network(dense()))) == []
    with pytest.raises(CheckpointError, match=r"nothing\.hdf5: cannot be read as a checkpoint"):
        inference.read_dilations(tmp_path / "nothing.hdf5")


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
        {"operating_point": {"threshold": True}},
        {"operating_point": {"threshold": 1.5}},
        {"operating_point": {"threshold": 0.5, "section_penalty": 10**12}},
        {"operating_point": {"threshold": 0.5, "section_penalty": -1}},
        {"operating_point": {"threshold": 0.5, "section_penalty": float("nan")}},
        {"operating_point": {"threshold": 0.5, "section_penalty": float("inf")}},
        {"operating_point": {"threshold": 0.5, "section_penalty": "x"}},
        {"operating_point": {"threshold": 0.5, "section_penalty": True}},
        {"operating_point": {"threshold": 0.5, "section_penalty": [1.0]}},
        {"operating_point": {"threshold": 0.5, "smoothing": 1}},
        {"operating_point": {"threshold": 0.5, "nms_ratio": 0.8, "section_penalty": 1.0}},
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
