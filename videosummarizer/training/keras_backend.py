"""Keras, imported without the messages that TensorFlow writes on start-up."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import absl.logging

import videosummarizer.training.hdf5  # noqa: F401 (before Keras imports h5py)
from videosummarizer.training import backend_choice


@contextmanager
def silence_native_stderr() -> Iterator[None]:
    """Discard the messages that C++ code writes to standard error. Python exceptions pass unchanged."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


# TensorFlow writes some messages before it reads this level, so `silence_native_stderr` is needed too.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
backend_choice.require_installed()  # Keras's own message is a traceback
with silence_native_stderr():
    import keras
    from keras import layers, ops  # noqa: F401 (imported from here by the modules that define layers)
# Keras warns at each save that HDF5 is a legacy format.
absl.logging.set_verbosity(absl.logging.ERROR)
# Retracing for another sequence length is expected.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

if keras.backend.backend() == "tensorflow":
    import tensorflow

    # The same seed then gives the same weights. On a GPU it would slow some operations down, and others would fail.
    if not tensorflow.config.list_physical_devices("GPU"):
        tensorflow.config.experimental.enable_op_determinism()

# On TensorFlow, XLA slows the first step down and makes the others no faster.
USES_XLA = keras.backend.backend() == "jax"


def reset_keras(seed: int) -> None:
    """Make networks that are built afterwards independent of those before: names of layers and random numbers.

    Layers are numbered from zero again, because their names decide in which order TensorFlow sums, and with it the last
    digits.
    """
    with silence_native_stderr():  # Keras loads TensorFlow here, if it is installed, on every backend
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)


def has_accelerator() -> bool:
    """Return whether Keras computes on a GPU or a TPU. On JAX, no process can join others afterwards."""
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())
