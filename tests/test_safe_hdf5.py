"""What a checkpoint may hold, limit by limit: the classes that it may name, and how much it may claim."""

import json

import h5py
import keras
import numpy as np
import pytest
from test_hostile_checkpoints import dense, layer, network, write_checkpoint

from videosummarizer.training.checkpoint import CheckpointError
from videosummarizer.training.safe_hdf5 import (
    ALLOWED_LAYERS,
    check_attributes,
    check_class,
    check_config,
    check_dataset,
    check_objects,
    read_network,
)

# Everything that a checkpoint may name. A class belongs here only where it computes from tensors and from numbers in
# its settings alone. It must not open a file that its settings name (StringLookup, IntegerLookup, TextVectorization:
# vocabularies; TFSMLayer: a model), call or import what they name (Lambda, JaxLayer, FlaxLayer, TorchModuleWrapper),
# or hold another network (RNN: any cell; Wrapper; Pipeline). Whoever adds one says here why it does none of these.
ALLOWED_BY_KIND = {
    "what a network is made of": """
        Functional InputLayer DTypePolicy __keras_tensor__
    """,
    "weights, and functions of one value that Keras itself has by name": """
        Dense EinsumDense Embedding Activation ReLU LeakyReLU PReLU ELU Softmax Conv1D Conv2D Conv3D DepthwiseConv1D
        DepthwiseConv2D SeparableConv1D SeparableConv2D Conv1DTranspose Conv2DTranspose
    """,
    "means and maxima": """
        MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D GlobalMaxPooling1D
        GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    """,
    "statistics": """
        BatchNormalization LayerNormalization GroupNormalization RMSNormalization UnitNormalization Normalization
    """,
    "random numbers, in training": """
        Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout
        RandomFlip RandomBrightness RandomContrast RandomTranslation RandomZoom
    """,
    "tensors put together, and what only moves values": """
        Add Subtract Multiply Average Maximum Minimum Dot Concatenate Flatten Reshape Permute RepeatVector
        Cropping1D Cropping2D Cropping3D ZeroPadding1D ZeroPadding2D ZeroPadding3D UpSampling1D UpSampling2D
        Identity Masking Rescaling MelSpectrogram
    """,
    "recurrence and attention; a layer within one is looked at as any other": """
        LSTM GRU SimpleRNN Bidirectional TimeDistributed Attention AdditiveAttention MultiHeadAttention
        GroupQueryAttention
    """,
    "first values of weights, and what they are held to": """
        GlorotUniform GlorotNormal HeUniform HeNormal LecunUniform LecunNormal VarianceScaling Orthogonal
        RandomUniform RandomNormal TruncatedNormal Zeros Ones Constant L1 L2 L1L2 MaxNorm NonNeg UnitNorm
    """,
}
ALLOWED = frozenset(name for names in ALLOWED_BY_KIND.values() for name in names.split())
KERAS_CLASSES = sorted(
    {
        name
        for module in (keras.layers, keras.initializers, keras.regularizers, keras.constraints, keras)
        for name, value in vars(module).items()
        if isinstance(value, type)
    }
)


def is_admitted(class_name, module="keras.layers", **settings):
    try:
        check_class("a.hdf5", {"class_name": class_name, "module": module, **settings})
    except CheckpointError:
        return False
    return True


def test_of_all_classes_of_keras_those_that_compute_alone_are_admitted():
    assert [name for name in KERAS_CLASSES if is_admitted(name)] == [n for n in KERAS_CLASSES if n in ALLOWED]
    assert {"Lambda", "StringLookup", "TextVectorization", "TFSMLayer", "RNN"} < set(KERAS_CLASSES) - ALLOWED


def test_no_other_class_is_known():
    assert ALLOWED_LAYERS == ALLOWED


@pytest.mark.parametrize("name", ["Dense", "DTypePolicy", "MelSpectrogram", "video_summarizer>SegmentsToBatch", "L1L2"])
def test_a_known_class_is_known_by_either_name(name):
    assert is_admitted(name)
    assert is_admitted("Add", registered_name=name)
    assert not is_admitted("Lambda", registered_name=name)
    assert not is_admitted(name, registered_name="keras>Lambda")


@pytest.mark.parametrize(
    "name", ["dense", "Dense ", "keras>Dense", "video_summarizer", "x>video_summarizer>SegmentsToBatch", "", 5]
)
def test_a_name_that_is_not_quite_a_known_one_is_refused(name):
    assert not is_admitted(name)


MODULES = [None, "keras", "keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints"]


@pytest.mark.parametrize("module", MODULES)
def test_the_public_modules_of_keras_are_admitted(module):
    assert is_admitted("Dense", module=module)
    assert is_admitted("video_summarizer>SegmentsToBatch", module=module)


@pytest.mark.parametrize(
    "module", ["keras.saving", "keras.models", "keras.src.layers", "tensorflow", "model", "", 3, []]
)
def test_other_modules_are_refused(module):
    assert not is_admitted("Dense", module=module)


LAYERS_MODULE = "videosummarizer.training.layers"


def test_own_layers_are_of_their_own_modules():
    assert (
        is_admitted("SegmentsToBatch", module=LAYERS_MODULE, registered_name="video_summarizer>SegmentsToBatch")
        is False
    )  # its own name too
    assert is_admitted("video_summarizer>SegmentsToBatch", module=LAYERS_MODULE)
    assert is_admitted("video_summarizer>LateFusion", module="videosummarizer.training.fusion")
    assert is_admitted("Dense", module=LAYERS_MODULE, registered_name="video_summarizer>SegmentsToBatch")
    assert not is_admitted("video_summarizer>SegmentsToBatch", module="videosummarizer.training")
    assert not is_admitted("video_summarizer>SegmentsToBatch", module="model")
    with pytest.raises(CheckpointError, match=r"a\.hdf5: the network in it names the module models, expected layers"):
        check_class("a.hdf5", {"class_name": "Dense", "module": "models"})


# ---- Numbers


def admits(config):
    try:
        check_config("a.hdf5", config)
    except CheckpointError as error:
        return str(error)
    return True


@pytest.mark.parametrize(
    ("key", "largest"),
    [
        ("units", 16_777_216),
        ("fft_length", 32_768),
        ("num_mel_bins", 1024),
        ("num_bands", 1024),
        ("offset", 16_777_216),
    ],
)
def test_a_number_up_to_a_limit_is_admitted(key, largest):
    assert admits(network(dense(**{key: largest}))) is True
    assert admits(network(dense(**{key: -largest}))) is True
    for beyond in (largest + 1, -largest - 1, largest + 0.5, float("inf"), -float("inf")):
        problem = admits(network(dense(**{key: beyond})))
        assert problem == f"a.hdf5: the network in it has a {key} of {beyond:.3g}: out of range"


def test_numbers_in_lists_count_as_the_one_that_they_belong_to():
    assert admits(network(dense(num_bands=[1, [2, 1024]]))) is True
    assert admits(network(dense(num_bands=[1, [2, 1025]]))).endswith("has a num_bands of 1.02e+03: out of range")
    assert admits(network(dense(shape=[None, 2**24]))) is True
    assert "a shape of" in admits(network(dense(shape=[None, 2**24 + 1])))


def test_a_resampling_matrix_holds_at_most_2_to_the_25_numbers():
    assert admits(network(dense(num_from=2**13, num_to=2**12))) is True
    assert admits(network(dense(num_from=2**13, num_to=2**12 + 1))) == (
        "a.hdf5: the network in it has a num_to of 4.1e+03: out of range"
    )
    assert admits(network(dense(num_from=2**24))) is True
    assert admits(network(dense(num_from="many", num_to=3))) is True  # Keras will say so
    assert admits(network(dense(num_from=3, num_to=None))) is True


def test_a_thousand_layers_are_admitted():
    assert admits(network(*[dense()] * 999)) is True  # and the input
    assert admits(network(*[dense()] * 1000)) == "a.hdf5: the network in it has more than 1000 layers"


@pytest.mark.parametrize("config", [[], 3, "text", None, {}, {"class_name": "Sequential"}, {"class_name": "Dense"}])
def test_what_is_no_functional_network_is_refused(config):
    assert admits(config) is not True


def test_only_the_outermost_is_a_network():
    assert admits(network(dense())) is True
    problem = "a.hdf5: the network in it holds another one, expected its layers themselves"
    assert admits(network(dense(inner=network(dense())))) == problem
    assert admits([network(dense())]) == problem


def test_classes_are_found_wherever_they_are():
    bad = {"class_name": "Lambda", "config": {}}
    for kernel in ([bad], [[bad]], {"a": bad}, {"a": [{"b": bad}]}):
        assert "the layer Lambda, which this toolkit does not know" in admits(network(dense(kernel=kernel)))
    assert "the layer Lambda" in admits(network(dense(kernel={"registered_name": "Lambda"})))
    assert "names the module os" in admits(network(dense(kernel={"module": "os"})))
    assert admits(network(dense(kernel={"class_name": "Zeros", "module": "keras.initializers"}))) is True


# ---- The file


@pytest.fixture
def path(tmp_path):
    return write_checkpoint(tmp_path / "a.hdf5", network(dense()))


def spoilt(path, spoil):
    """The message of what is wrong once the file is spoilt, or how many weights there are."""
    with h5py.File(path, "r+") as file:
        spoil(file)
    try:
        return read_network(path)[1]
    except CheckpointError as error:
        return str(error)


def test_weights_are_counted_where_they_lie(path):
    assert read_network(path) == (network(dense()), 10)

    def add(file):
        file["other"] = np.zeros(5)
        file["model_weights/deeper/still"] = np.zeros((2, 3), np.int64)
        file["model_weights_2"] = np.zeros(4)

    assert spoilt(path, add) == 16


def test_an_array_may_claim_every_byte_of_the_file_and_none_more(tmp_path):
    path = write_checkpoint(tmp_path / "a.hdf5", network(dense()))
    received = {}
    for extra in (0, 1):
        with h5py.File(path, "r+") as file:
            if "more" in file:
                del file["more"]
            file.create_dataset("more", shape=1, dtype="u1")
        size = path.stat().st_size
        with h5py.File(path, "r+") as file:
            del file["more"]
            left = size - 8 * 4 - 2 * 4  # the kernel and the bias are there
            file.create_dataset("more", shape=left + extra, dtype="u1")  # claims what is never written
        assert path.stat().st_size == size
        received[extra] = spoilt(path, lambda file: None)
    assert received[0] == 10
    assert received[1].endswith(" claims more bytes than the file holds")


@pytest.mark.parametrize("dtype", ["f2", "f8", "i8", "u1", "b1", "S1024"])
def test_arrays_of_plain_numbers_and_short_texts_are_admitted(path, dtype):
    with h5py.File(path, "r+") as file:
        check_dataset("a.hdf5", file.create_dataset("more", shape=1, dtype=dtype))


@pytest.mark.parametrize("dtype", ["S1025", "c8", [("a", "f4")], ("f4", (2,)), h5py.string_dtype(), h5py.ref_dtype])
def test_arrays_of_other_types_are_refused(path, dtype):
    with h5py.File(path, "r+") as file:
        more = file.create_dataset("more", shape=1, dtype=dtype)
        with pytest.raises(CheckpointError, match=r"a\.hdf5: /more is of type .*, expected plain numbers"):
            check_dataset("a.hdf5", more)


def test_an_array_without_a_shape_is_refused(path):
    problem = spoilt(path, lambda file: file.create_dataset("more", data=h5py.Empty("f4")))
    assert problem == f"{path}: /more is of type float32, expected plain numbers"


def test_arrays_lie_in_the_file_whole(path, tmp_path):
    def compact(file):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        h5py.h5d.create(file.id, b"more", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3,)), plist)

    assert spoilt(path, compact) == 10
    problem = spoilt(path, lambda file: file.create_dataset("in_chunks", shape=(4,), chunks=(2,)))
    assert problem.startswith(f"{path}: /in_chunks is stored in other files, in chunks or compressed, expected")


def test_a_thousand_names_are_admitted(path):
    with h5py.File(path, "r+") as file:
        file["wide"] = np.zeros(100_000, np.uint8)
        file.attrs.create("numbers", np.zeros(1000, np.uint8))
        check_attributes("a.hdf5", file, 10**6)
        file.attrs.create("numbers", np.zeros((7, 143), np.uint8))
        with pytest.raises(CheckpointError, match=r"a\.hdf5: the attribute numbers claims 1001 values"):
            check_attributes("a.hdf5", file, 10**6)


def test_an_attribute_is_no_larger_than_the_file(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"], file.attrs["video_summarizer"]
        file.attrs.create("numbers", np.zeros(100, np.float64))
        check_attributes("a.hdf5", file, 800)
        with pytest.raises(CheckpointError, match=r"a\.hdf5: the attribute numbers claims 100 values"):
            check_attributes("a.hdf5", file, 799)


@pytest.mark.parametrize("value", [np.complex64(1), np.zeros(1, [("a", "f4")])])
def test_attributes_are_texts_or_numbers(path, value):
    with h5py.File(path, "r+") as file:
        file.attrs["x"] = value
        with pytest.raises(CheckpointError, match=r"a\.hdf5: the attribute x is neither strings nor numbers"):
            check_attributes("a.hdf5", file, 10**6)


def test_an_attribute_without_a_value_makes_a_file_unreadable(path):
    problem = spoilt(path, lambda file: file.attrs.create("x", h5py.Empty("f4")))
    assert problem.startswith(f"{path}: the network in it cannot be read (")


def test_layers_and_weights_are_named_once_each(path):
    problem = spoilt(path, lambda file: file["model_weights"].attrs.create("layer_names", ["input", "last", "last"]))
    assert problem == f"{path}: /model_weights names a weight twice, expected each once"


def test_two_layers_may_name_their_weights_alike(path):
    def add(file):
        group = file.create_group("model_weights/other")
        group.attrs["weight_names"] = ["kernel", "bias"]
        group.attrs["names"] = ["a", "a"]  # of no weights

    assert spoilt(path, add) == 10


def test_one_array_of_two_names_is_refused(path):
    def link(file):
        file["model_weights/last/again"] = file["model_weights/last/bias"]

    assert spoilt(path, link).endswith("is stored twice, expected each weight once")


def test_a_bad_thing_is_found_at_any_depth(path):
    def soft(file):
        file["a/b/c/d"] = h5py.SoftLink("/model_weights")

    assert spoilt(path, soft).startswith(f"{path}: d is SoftLink, which may lead out of the file; expected the weights")
    with h5py.File(path, "r") as file, pytest.raises(CheckpointError, match="d is SoftLink, which may lead out"):
        check_objects(path, file)


def test_settings_may_be_kept_as_bytes(path):
    settings = network(dense())

    def rewrite(file):
        file.attrs["model_config"] = np.bytes_(json.dumps(settings))

    assert spoilt(path, rewrite) == 10
    assert read_network(path)[0] == settings


def test_what_is_no_hdf5_file_is_named(tmp_path):
    path = tmp_path / "a.hdf5"
    path.write_bytes(b"text\nmore")
    with pytest.raises(CheckpointError, match=r"a\.hdf5: the network in it cannot be read \([^\n]*\)$"):
        read_network(path)
    with pytest.raises(CheckpointError, match=r"gone\.hdf5: the network in it cannot be read"):
        read_network(tmp_path / "gone.hdf5")


def test_only_the_first_line_of_a_librarys_error_is_told(path, monkeypatch):
    def loads(text):
        raise ValueError("bad text\nin line 1")

    monkeypatch.setattr(json, "loads", loads)
    with pytest.raises(CheckpointError) as raised:
        read_network(path)
    assert str(raised.value) == f"{path}: the network in it cannot be read (bad text)"


def test_a_layer_that_opens_a_vocabulary_is_refused_in_a_file(tmp_path):
    for name in ("StringLookup", "IntegerLookup", "TextVectorization"):
        path = write_checkpoint(tmp_path / f"{name}.hdf5", network(layer(name, "last", ["input"], vocabulary="/a")))
        with pytest.raises(CheckpointError, match=f"has the layer {name}, which this toolkit does not know"):
            read_network(path)
