"""What is trusted of a checkpoint: looked through before Keras is given it, so that a stranger's file runs nothing,
reads no other file, and takes memory in proportion to its size.

The network's variables are made only once their sizes are known to be those of the weights in the file (model.py).
"""

import json
import math
import os

import h5py

from videosummarizer.dataset.safe_pickle import abbreviate
from videosummarizer.training.checkpoint import CheckpointError

MAX_LAYERS = 1000
MAX_NAMES = 1000  # of layers, or of a layer's weights, in one attribute
MAX_NUMBER = 2**24
# Which span a matrix that is not stored:
MAX_NUMBER_OF = {"fft_length": 2**15, "num_mel_bins": 2**10, "num_bands": 2**10}
MAX_RESAMPLING = 2**25  # num_from times num_to; MFCCs of segments of 90 s at 44,100 Hz take as much
REGISTERED_PREFIX = "video_summarizer>"
ALLOWED_MODULES = frozenset(
    [None, "keras", "keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints"]
)
OWN_MODULES = frozenset(["videosummarizer.training.layers", "videosummarizer.training.fusion"])
# Layers that compute from tensors and numbers alone; none that runs or imports what its settings name, or opens files.
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
    """The settings of a checkpoint's network, whose layers are all known ones, and how many numbers its weights are.

    Raises:
        CheckpointError: the file holds anything else; the message names it.
    """
    try:
        with h5py.File(path, "r") as file:
            num_weights = check_objects(path, file)
            config = json.loads(read_string(path, file, "model_config"))
    except RecursionError as error:
        raise CheckpointError(f"{path}: the network in it cannot be read (its settings are nested too deep)") from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        text = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: the network in it cannot be read ({text})") from error
    check_config(path, config)
    return config, num_weights


def check_objects(path: str | os.PathLike, file: h5py.File) -> int:
    """How many numbers lie in `model_weights`, once every group, array and attribute has been looked at.

    Raises:
        CheckpointError: something leads out of the file, or claims more than the file holds.
    """
    size = num_bytes_left = os.path.getsize(path)
    num_weights, seen, todo = 0, set(), [file]
    while todo:
        item = todo.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise CheckpointError(f"{path}: {abbreviate(item.name)} is in two places, expected each weight once")
        seen.add(address)
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
    """Raises CheckpointError unless an array is of plain numbers and lies in the file as it is."""
    layout = dataset.id.get_create_plist().get_layout()
    if dataset.shape is None or dataset.dtype.kind not in "fiubS" or dataset.dtype.itemsize > 1024:
        raise CheckpointError(f"{path}: {abbreviate(dataset.name)} is of type {dataset.dtype}, expected plain numbers")
    if dataset.external or dataset.is_virtual or layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise CheckpointError(
            f"{path}: {abbreviate(dataset.name)} is stored in other files, in chunks or compressed, expected the "
            "weights as they are"
        )


def check_attributes(path: str | os.PathLike, item: h5py.Group | h5py.Dataset, size: int) -> None:
    """Raises CheckpointError unless all attributes are texts or numbers, no larger than the file, and name each weight
    once."""
    names = []
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        is_text = h5py.check_string_dtype(attribute.dtype) is not None
        num_values = math.prod(attribute.shape or ())
        if not is_text and attribute.dtype.kind not in "fiub":
            raise CheckpointError(f"{path}: the attribute {abbreviate(name)} is neither text nor numbers")
        if num_values > MAX_NAMES or (num_values and attribute.get_storage_size() > size):
            raise CheckpointError(f"{path}: the attribute {abbreviate(name)} claims {num_values} values")
        if num_values and name.startswith(("weight_names", "layer_names")):  # long ones are several attributes
            names += list(item.attrs[name])
    if len(set(names)) < len(names):
        raise CheckpointError(f"{path}: {abbreviate(item.name)} names a weight twice, expected each once")


def read_string(path: str | os.PathLike, file: h5py.File, name: str) -> str:
    """A text in the file's attributes. Raises CheckpointError where it is none, KeyError where it is not there."""
    attribute = file.attrs.get_id(name)
    if h5py.check_string_dtype(attribute.dtype) is None or attribute.shape != ():
        raise CheckpointError(f"{path}: the attribute {name} is no text, expected a .hdf5 file that main.py saved")
    text = file.attrs[name]
    return text.decode() if isinstance(text, bytes) else text


def check_config(path: str | os.PathLike, config) -> None:
    """Raises CheckpointError unless every class in a network's settings is a known one, and no number is beyond reason.

    A name without a module is looked up among Keras's layers; own layers are registered as `video_summarizer>Name`.
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
                raise CheckpointError(f"{path}: the network in it has a num_to of {lengths[1]:.3g}: beyond reason")
            todo += value.items()
        elif isinstance(value, list):
            todo += [(key, item) for item in value]
        elif isinstance(value, int | float) and abs(value) > MAX_NUMBER_OF.get(key, MAX_NUMBER):
            raise CheckpointError(f"{path}: the network in it has a {abbreviate(key)} of {value:.3g}: beyond reason")
        if num_layers > MAX_LAYERS:
            raise CheckpointError(f"{path}: the network in it has more than {MAX_LAYERS} layers")
    if not isinstance(config, dict) or config.get("class_name") != "Functional":
        raise CheckpointError(f"{path}: the network in it is not one that main.py saved")


def check_class(path: str | os.PathLike, settings: dict) -> None:
    """Raises CheckpointError unless the class that settings name is a known one."""
    names = [name for name in (settings.get("class_name"), settings.get("registered_name")) if name is not None]
    for name in names:
        if not isinstance(name, str) or not (name in ALLOWED_LAYERS or name.startswith(REGISTERED_PREFIX)):
            raise CheckpointError(
                f"{path}: the network in it has the layer {abbreviate(name)}, which is none that this toolkit knows: "
                "nothing of it is run; take a checkpoint that main.py saved"
            )
    module = settings.get("module")
    is_own = any(name.startswith(REGISTERED_PREFIX) for name in names) and module in OWN_MODULES
    if not is_own and (not isinstance(module, str | None) or module not in ALLOWED_MODULES):
        raise CheckpointError(
            f"{path}: the network in it names the module {abbreviate(module)}, expected layers of Keras: nothing of it "
            "is run; take a checkpoint that main.py saved"
        )
