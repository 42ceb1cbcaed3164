"""The backend that Keras computes with, found before Keras is loaded."""

import importlib.util
import os


class BackendError(Exception):
    """The backend is not installed. The message says how to get it."""


def backend_name() -> str:
    """Return the name of the backend: that of the environment variable KERAS_BACKEND, or else "tensorflow"."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


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
