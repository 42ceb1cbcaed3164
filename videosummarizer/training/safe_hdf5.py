"""Checks of an untrusted checkpoint, before Keras reads it.

A checkpoint that passes executes nothing, reads no other file, and takes memory in proportion to its size. Only an
allowlist of layers is accepted. `inference.load_checkpoint` allocates the network's variables only after it has
compared their sizes with the weights in the file.
"""

import math
import os

from videosummarizer.dataset.safe_pickle import abbreviate
from videosummarizer.error_messages import first_line
from videosummarizer.training.checkpoint import CheckpointError
from videosummarizer.training.hdf5 import h5py
from videosummarizer.training.hdf5_strings import check_string_lengths
from videosummarizer.untrusted_file import parse_json

# Lists of layers in a network's config.
MAX_LAYERS = 1000
# Values in one HDF5 attribute: names of layers, or of a layer's weights.
MAX_NAMES = 1000
# Largest number in a network's config.
MAX_NUMBER = 2**24
# These settings size a matrix that is computed, not stored, so they are limited further.
MAX_NUMBER_OF = {"fft_length": 2**15, "num_mel_bins": 2**10, "num_bands": 2**10}
# Largest product of num_from and num_to. MFCCs of segments of 90 s at 44,100 Hz need as much.
MAX_RESAMPLING = 2**25
# Beginning of the names under which this toolkit registers its layers.
REGISTERED_PREFIX = "video_summarizer>"
# Modules that may define a class of Keras.
ALLOWED_MODULES = frozenset(
    [None, "keras", "keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints"]
)
# Modules that may define a layer of this toolkit.
OWN_MODULES = frozenset(["videosummarizer.training.layers", "videosummarizer.training.fusion"])
# Layers, initializers, regularizers and constraints that only compute with tensors and numbers. None executes or
# imports what its config names, and none opens files.
ALLOWED_LAYERS = frozenset(
    """
    Functional InputLayer DTypePolicy __keras_tensor__
    Dense EinsumDense Embedding Activation ReLU LeakyReLU PReLU ELU Softmax
    Conv1D Conv2D Conv3D DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D Conv1DTranspose Conv2DTranspose
    MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    BatchNormalization LayerNormalization GroupNormalization RMSNormalization UnitNormalization Normalization
    Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout
    RandomFlip RandomBrightness RandomContrast RandomTranslation RandomZoom
    Add Subtract Multiply Average Maximum Minimum Dot Concatenate
    Flatten Reshape Permute RepeatVector Cropping1D Cropping2D Cropping3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    UpSampling1D UpSampling2D Identity Masking Rescaling MelSpectrogram
    LSTM GRU SimpleRNN Bidirectional TimeDistributed Attention AdditiveAttention MultiHeadAttention GroupQueryAttention
    GlorotUniform GlorotNormal HeUniform HeNormal LecunUniform LecunNormal VarianceScaling Orthogonal
    RandomUniform RandomNormal TruncatedNormal Zeros Ones Constant L1 L2 L1L2 MaxNorm NonNeg UnitNorm
    """.split()  # noqa: SIM905
)


def read_network(path: str | os.PathLike) -> tuple[dict, int]:
    """Read the config of a checkpoint's network and the size of its weights.

    Returns:
        The config, in which every layer is on the allowlist, and the number of values in the weights.

    Raises:
        CheckpointError: The file holds anything else; the message names it.
    """
    try:
        with h5py.File(path, "r") as file:
            num_weights = check_objects(path, file)
            config = parse_json(read_string(path, file, "model_config").encode())
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path}: the network in it cannot be read ({first_line(error)})") from error
    check_config(path, config)
    return config, num_weights


def check_objects(path: str | os.PathLike, file: h5py.File) -> int:
    """Check every group, array and attribute of a file.

    Returns:
        The number of values in the weights.

    Raises:
        CheckpointError: A link leads out of the file, or an item claims more bytes than the file holds.
    """
    size = num_bytes_left = os.path.getsize(path)
    num_weights, seen, todo = 0, set(), [file]
    while todo:
        item = todo.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise CheckpointError(f"{path}: {abbreviate(item.name)} is stored twice, expected each weight once")
        seen.add(address)
        check_string_lengths(path, item)
        check_attributes(path, item, size)
        if isinstance(item, h5py.Dataset):
            check_dataset(path, item)
            num_bytes_left -= item.nbytes
            num_weights += item.size if item.name.startswith("/model_weights/") else 0
            if num_bytes_left < 0:
                raise CheckpointError(f"{path}: {abbreviate(item.name)} claims more bytes than the file holds")
            continue
        for name in item:
            link = item.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise CheckpointError(
                    f"{path}: {abbreviate(name)} is {type(link).__name__}, which may lead out of the file; expected "
                    "the weights themselves"
                )
            child = item[name]
            if not isinstance(child, h5py.Group | h5py.Dataset):
                raise CheckpointError(f"{path}: {abbreviate(name)} is neither a group nor an array")
            todo.append(child)
    return num_weights


def check_dataset(path: str | os.PathLike, dataset: h5py.Dataset) -> None:
    """Raise CheckpointError unless an array has plain numbers and is stored contiguously in the file itself."""
    layout = dataset.id.get_create_plist().get_layout()
    if dataset.shape is None or dataset.dtype.kind not in "fiubS" or dataset.dtype.itemsize > 1024:
        raise CheckpointError(f"{path}: {abbreviate(dataset.name)} is of type {dataset.dtype}, expected plain numbers")
    if dataset.external or dataset.is_virtual or layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise CheckpointError(
            f"{path}: {abbreviate(dataset.name)} is stored in other files, in chunks or compressed, expected the "
            "weights as they are"
        )


def check_attributes(path: str | os.PathLike, item: h5py.Group | h5py.Dataset, size: int) -> None:
    """Raise CheckpointError unless attributes are strings or numbers, fit in the file, and name each weight once."""
    names = []
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        is_string = h5py.check_string_dtype(attribute.dtype) is not None
        num_values = math.prod(attribute.shape or ())
        if not is_string and attribute.dtype.kind not in "fiub":
            raise CheckpointError(f"{path}: the attribute {abbreviate(name)} is neither strings nor numbers")
        if num_values > MAX_NAMES or (num_values and attribute.get_storage_size() > size):
            raise CheckpointError(f"{path}: the attribute {abbreviate(name)} claims {num_values} values")
        if num_values and name.startswith(
            ("weight_names", "layer_names")
        ):  # Keras splits long lists into several attributes
            names += list(item.attrs[name])
    if len(set(names)) < len(names):
        raise CheckpointError(f"{path}: {abbreviate(item.name)} names a weight twice, expected each once")


def read_string(path: str | os.PathLike, file: h5py.File, name: str) -> str:
    """Read a string from the attributes of a file.

    Raises:
        CheckpointError: The attribute is not a string.
        KeyError: The file does not have the attribute.
    """
    attribute = file.attrs.get_id(name)
    if h5py.check_string_dtype(attribute.dtype) is None or attribute.shape != ():
        raise CheckpointError(f"{path}: the attribute {name} is not a string, expected a .hdf5 file that main.py saved")
    text = file.attrs[name]
    return text.decode() if isinstance(text, bytes) else text


def check_config(path: str | os.PathLike, config) -> None:
    """Raise CheckpointError unless every class in a network's config is on the allowlist and every number is in range.

    Keras looks up a name without a module among its own layers. This toolkit's layers are registered as
    `video_summarizer>Name`.
    """
    num_layers, todo = 0, [("", config)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            if {"class_name", "module", "registered_name"} & value.keys():
                check_class(path, value)
            num_layers += key == "layers"
            if value.get("class_name") == "Functional" and value is not config:
                raise CheckpointError(f"{path}: the network in it holds another one, expected its layers themselves")
            lengths = [value.get(name, 1) for name in ("num_from", "num_to")]
            if all(isinstance(length, int | float) for length in lengths) and math.prod(lengths) > MAX_RESAMPLING:
                raise CheckpointError(f"{path}: the network in it has a num_to of {lengths[1]:.3g}: out of range")
            todo += value.items()
        elif isinstance(value, list):
            todo += [(key, item) for item in value]
        elif isinstance(value, int | float) and abs(value) > MAX_NUMBER_OF.get(key, MAX_NUMBER):
            raise CheckpointError(f"{path}: the network in it has a {abbreviate(key)} of {value:.3g}: out of range")
        if num_layers > MAX_LAYERS:
            raise CheckpointError(f"{path}: the network in it has more than {MAX_LAYERS} layers")
    if not isinstance(config, dict) or config.get("class_name") != "Functional":
        raise CheckpointError(f"{path}: the network in it is not one that main.py saved")


def check_class(path: str | os.PathLike, config: dict) -> None:
    """Raise CheckpointError unless the class that a config names is on the allowlist."""
    names = [name for name in (config.get("class_name"), config.get("registered_name")) if name is not None]
    for name in names:
        if not isinstance(name, str) or not (name in ALLOWED_LAYERS or name.startswith(REGISTERED_PREFIX)):
            raise CheckpointError(
                f"{path}: the network in it has the layer {abbreviate(name)}, which this toolkit does not know: "
                "nothing in it was executed; take a checkpoint that main.py saved"
            )
    module = config.get("module")
    is_own = any(name.startswith(REGISTERED_PREFIX) for name in names) and module in OWN_MODULES
    if not is_own and (not isinstance(module, str | None) or module not in ALLOWED_MODULES):
        raise CheckpointError(
            f"{path}: the network in it names the module {abbreviate(module)}, expected layers of Keras: nothing in "
            "it was executed; take a checkpoint that main.py saved"
        )
