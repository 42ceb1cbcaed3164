"""What Keras and TensorFlow are told when they are imported."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import absl.logging
import pytest

from videosummarizer.training.keras_backend import silence_native_stderr

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("gpus", "is_deterministic"), [([], "True"), (["/physical_device:GPU:0"], "False")])
def test_operations_are_deterministic_where_no_gpu_computes_them(gpus, is_deterministic):
    program = (
        "import tensorflow\n"
        "from tensorflow.python.util import _pywrap_determinism as determinism\n"
        f"tensorflow.config.list_physical_devices = lambda kind: {gpus!r}\n"
        "import videosummarizer.training.keras_backend\n"
        "print(determinism.is_enabled())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == is_deterministic


def test_libraries_are_told_to_be_quiet():
    program = (
        "import videosummarizer.training.keras_backend\n"
        "import logging, os, absl.logging\n"
        "print(os.environ['TF_CPP_MIN_LOG_LEVEL'], logging.getLogger('tensorflow').level, absl.logging.get_verbosity())"
    )
    environ = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", str(logging.ERROR), str(absl.logging.ERROR)]


def test_what_native_code_writes_is_silenced_only_for_a_while(capfd):
    num_open = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def fail_in_silence():
        with silence_native_stderr():
            os.write(2, b"silenced")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_silence()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
    assert num_open == (len(os.listdir("/proc/self/fd")) if num_open else 0)
