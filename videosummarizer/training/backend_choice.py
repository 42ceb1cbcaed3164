"""The backend that Keras computes with, found before Keras is loaded."""

import importlib.util
import json
import os
from pathlib import Path

# Environment variables of TensorFlow and of JAX, and the values with which they take memory of a GPU as they need it.
# Otherwise TensorFlow takes all but 0.5 to 1.8 GB when it starts (MinSystemMemory in its gpu_device.cc), and JAX three
# quarters (https://docs.jax.dev/en/latest/gpu_memory_allocation.html).
MEMORY_GROWTH = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class BackendError(Exception):
    """The backend is not installed. The message says how to get it."""


def backend_name() -> str:
    """Return the name of the backend: of the environment variable KERAS_BACKEND, of keras.json, or "tensorflow"."""
    return os.environ.get("KERAS_BACKEND") or configured_backend() or "tensorflow"


def configured_backend() -> str | None:
    """Return the backend that Keras finds in its file keras.json, None without one."""
    home = os.path.expanduser("~")
    folder = os.environ.get("KERAS_HOME", os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras"))
    try:
        return json.loads(Path(folder, "keras.json").expanduser().read_text()).get("backend")
    except (AttributeError, OSError, RuntimeError, ValueError):
        return None


def leave_gpu_memory() -> None:
    """Let the backend take memory of a GPU as it needs it, unless the user has chosen; a decoder needs some, too.

    Call it before Keras is imported.
    """
    for name, value in MEMORY_GROWTH.items():
        os.environ.setdefault(name, value)


def require_installed() -> None:
    """Check that the backend is installed.

    Raises:
        BackendError: It is not.
    """
    backend = backend_name()
    if importlib.util.find_spec(backend):
        return
    received = f"received {backend}" if os.environ.get("KERAS_BACKEND") else f"not set, and Keras then needs {backend}"
    others = [f"KERAS_BACKEND={name}" for name in ("tensorflow", "jax") if importlib.util.find_spec(name)]
    alternative = f", or put {others[0]} before the command" if others else ""
    raise BackendError(
        f"KERAS_BACKEND: {received}, which is not installed: pip install {backend} -c constraints.txt{alternative}"
    )
