"""Keras's backend: stage 4 without TensorFlow, and what is said where the backend is missing."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.training import backend_choice, inference
from videosummarizer.training.backend_choice import BackendError, require_installed

ROOT = Path(__file__).resolve().parent.parent
# The command, on a machine where TensorFlow is not installed.
WITHOUT_TENSORFLOW = """
import importlib.metadata, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
find_version = importlib.metadata.version
def version(name):
    if name == "tensorflow":
        raise importlib.metadata.PackageNotFoundError(name)
    return find_version(name)
importlib.metadata.version = version
import highlight_extractor
sys.exit(highlight_extractor.main(sys.argv[1:]))
"""


def run(program, *arguments, backend):
    environ = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def ckpt(dataset_dir, tmp_path_factory):
    """A checkpoint whose scores differ from segment to segment."""
    from small_network import build_fused_network

    from videosummarizer.training.checkpoint import write_checkpoint_attributes

    metadata = json.loads((dataset_dir / "metadata.json").read_text())
    path = tmp_path_factory.mktemp("ckpt") / "network.hdf5"
    build_fused_network(metadata["data_shape"]).save(path)
    point = {"threshold": 0.5, "section_penalty": 0.4}
    write_checkpoint_attributes(path, {"config": asdict(DataConfig(**metadata["config"])), "operating_point": point})
    return path


def test_stage_4_scores_the_same_on_jax_without_tensorflow(ckpt, trainable_matches_dir, tmp_path):
    from highlight_extractor import main

    match = trainable_matches_dir / "match_08.mp4"
    flags = ["--ckpt", str(ckpt), "--output_dir"]
    done = run(["-c", WITHOUT_TENSORFLOW], match, *flags, tmp_path / "jax", backend="jax")
    assert done.returncode == 0, done.stderr
    assert main([str(match), *flags, str(tmp_path / "tensorflow")]) == 0
    reports = {name: json.loads((tmp_path / name / "match_08.json").read_text()) for name in ("jax", "tensorflow")}
    for backend, report in reports.items():
        assert set(report["versions"]) == {"av", "numpy", "keras", backend}
    on_jax, on_tensorflow = (np.array(report["step_scores"]) for report in reports.values())
    assert np.abs(on_jax - on_tensorflow).max() < 1e-4
    assert np.ptp(on_jax) > 0.01


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, ("true", "false")), ({"TF_FORCE_GPU_ALLOW_GROWTH": "false"}, ("false", "false"))],
)
def test_the_extractor_leaves_memory_of_the_gpu_to_the_decoder(extract, monkeypatch, chosen, expected):
    names, seen = ("TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE"), []
    for name in names:
        monkeypatch.setenv(name, chosen.get(name, ""))
        if name not in chosen:
            monkeypatch.delenv(name)
    monkeypatch.setattr(inference, "load_network", lambda checkpoint: seen.extend(map(os.environ.get, names)))
    assert extract(extract.match()) == 0
    assert tuple(seen) == expected


@pytest.mark.parametrize("script", ["highlight_extractor.py", "label_next.py"])
def test_a_missing_backend_is_one_line(script, ckpt, trainable_matches_dir, tmp_path):
    for title in ("match_07", "match_08"):
        (tmp_path / f"{title}.mp4").symlink_to(trainable_matches_dir / f"{title}.mp4")
    videos = [tmp_path] if script == "label_next.py" else sorted(tmp_path.iterdir())
    flags = ["--ckpt", ckpt, "--output_dir", tmp_path / "out"]
    done = run([script], *videos, *flags, backend="nonesuch")
    assert done.returncode == 1
    last = re.split(r"[\r\n]+", done.stderr.strip())[-1]
    assert "ERROR: KERAS_BACKEND: received nonesuch, which is not installed: pip install nonesuch -c" in last
    assert done.stderr.count("ERROR") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("chosen", "installed", "expected"),
    [
        ("nonesuch", {"tensorflow", "jax"}, "received nonesuch, which .* or put KERAS_BACKEND=tensorflow before"),
        (None, {"jax"}, "not set, and Keras then needs tensorflow, which .* or put KERAS_BACKEND=jax before"),
        (None, set(), "not set, .*: pip install tensorflow -c constraints.txt$"),
    ],
)
def test_the_message_names_a_backend_that_is_there(chosen, installed, expected, monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if chosen:
        monkeypatch.setenv("KERAS_BACKEND", chosen)
    monkeypatch.setattr(backend_choice.importlib.util, "find_spec", lambda name: name in installed or None)
    with pytest.raises(BackendError, match=f"^KERAS_BACKEND: {expected}"):
        require_installed()


@pytest.mark.parametrize(
    ("content", "variable", "expected"),
    [
        ('{"backend": "jax"}', "", "jax"),
        ('{"backend": "jax"}', "tensorflow", "tensorflow"),
        ("{}", "", "tensorflow"),
        ("{", "", "tensorflow"),
        ("[1]", "", "tensorflow"),
        (None, "", "tensorflow"),
    ],
)
def test_the_backend_is_that_of_the_variable_or_of_the_file(content, variable, expected, tmp_path, monkeypatch):
    if content:
        (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", variable)
    assert backend_choice.backend_name() == expected


def test_keras_uses_the_backend_of_the_file(tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"backend": "jax"}')
    program = (
        "from videosummarizer.training import backend_choice\n"
        "name = backend_choice.backend_name()\n"
        "from videosummarizer.training.keras_backend import keras\n"
        "print(name, keras.backend.backend())"
    )
    environ = {**os.environ, "KERAS_BACKEND": "", "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environ.pop("KERAS_HOME", None)
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["jax", "jax"], done.stderr
