"""Check copying between the Drive and the machine, and what is installed on Colab."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_colab_notebook import files_in
from test_data_loader import write_dataset
from test_storage import zip_up

from videosummarizer.notebooks import colab
from videosummarizer.notebooks.colab import DriveError, DriveSync
from videosummarizer.training import resume_point

ROOT = Path(__file__).resolve().parent.parent
# Versions of the requirements on a Colab machine in June 2026, from googlecolab/backend-info.
COLAB_PACKAGES = {
    "filelock": "3.29.0",
    "h5py": "3.16.0",
    "joblib": "1.5.3",
    "keras": "3.13.2",
    "librosa": "0.11.0",
    "matplotlib": "3.10.0",
    "moviepy": "1.0.3",
    "numpy": "2.0.2",
    "scikit-learn": "1.6.1",
    "scipy": "1.16.3",
    "tensorboard": "2.20.0",
    "tensorflow": "2.20.0",
    "threadpoolctl": "3.6.0",
    "torch": "2.11.0+cu128",
    "tqdm": "4.67.3",
}


def test_the_gpu_is_named(monkeypatch):
    import tensorflow

    assert colab.describe_gpu().endswith("Change runtime type, and run the notebook again.")
    gpu = SimpleNamespace(name="/physical_device:GPU:0")
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda kind: [gpu] * (kind == "GPU"))
    monkeypatch.setattr(
        tensorflow.config.experimental, "get_device_details", lambda device: {"device_name": "Tesla T4"}
    )
    assert colab.describe_gpu() == f"TensorFlow {tensorflow.__version__} trains on the GPU Tesla T4."


def test_missing_requirements_are_installed_and_tensorflow_stays(monkeypatch, tmp_path, capsys):
    requirements = (ROOT / "requirements.txt").read_text().split()
    missing = colab.unmet_requirements(requirements, COLAB_PACKAGES)
    exports = ["opentimelineio", "otio-cmx3600-adapter", "otio-fcp-adapter"]
    assert missing == ["keras>=3.15.1", "av", *exports]
    older = COLAB_PACKAGES | {"tensorflow": "2.16.1", "moviepy": "2.1.2", "keras": "3.16.0", "av": "18.1.0"}
    assert colab.unmet_requirements(requirements, older) == ["moviepy==1.0.3", *exports]
    without = {name: version for name, version in COLAB_PACKAGES.items() if name != "tensorflow"}
    assert colab.unmet_requirements(requirements, without) == ["tensorflow", *missing]

    commands = []

    def run(command, **_):
        commands.append((command, Path(command[-1]).read_text().split()))
        return subprocess.CompletedProcess(command, len(commands) - 1, "", "ERROR: why\nERROR: no network\n")

    monkeypatch.setattr(colab.subprocess, "run", run)
    monkeypatch.setattr(colab, "installed_versions", lambda: COLAB_PACKAGES | {"odd": "1.0-ubuntu~2"})
    colab.install_missing(ROOT / "requirements.txt")
    assert f"Installing {', '.join(missing)}; TensorFlow 2.20.0" in capsys.readouterr().out
    command, constraints = commands[0]
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[-1 - len(missing) - 1 : -1] == [*missing, "-c"]
    expected = {f"{name}=={version}" for name, version in COLAB_PACKAGES.items() if name != "keras"}
    assert set(constraints) == expected
    with pytest.raises(
        DriveError, match=r"pip cannot install keras>=3\.15\.1, av, open.* \(ERROR: no network\): run this cell again"
    ):
        colab.install_missing(ROOT / "requirements.txt")
    monkeypatch.undo()
    colab.install_missing(ROOT / "requirements.txt")
    assert "Nothing to install; TensorFlow 2." in capsys.readouterr().out


def test_only_complete_files_are_copied_to_the_drive_the_resume_point_last(tmp_path, monkeypatch, capsys):
    local, project_dir = tmp_path / "results", tmp_path / "drive"
    sync = DriveSync(local, project_dir, "checkpoints")
    sync.pull()
    assert list(local.iterdir()) == []
    (local / "logs").mkdir()
    for name in ("resume.npz", "ckpt-1.hdf5", "z.csv", "logs/events", "a.csv.part", ".ckpt.part.hdf5"):
        (local / name).write_text(f"first {name}")
    copied = []
    copy_atomically = colab.atomic_copy

    def copy(source, target, *more):
        copied.append(source.name)
        if "full" in source.read_text():
            raise OSError(28, "No space left on device")
        copy_atomically(source, target, *more)

    monkeypatch.setattr(colab, "atomic_copy", copy)
    sync.push()
    assert copied == ["ckpt-1.hdf5", "events", "z.csv", "resume.npz"]
    assert sorted(files_in(project_dir)) == sorted(
        f"checkpoints/{n}" for n in ("ckpt-1.hdf5", "logs/events", "z.csv", "resume.npz")
    )
    sync.push()
    assert len(copied) == 4
    (local / "resume.npz").write_text("second")
    (local / "z.csv").write_text("full")
    sync.push()
    assert "z.csv: not copied to the Drive" in capsys.readouterr().out
    assert (project_dir / "checkpoints" / "resume.npz").read_text() == "first resume.npz"
    (local / "z.csv").write_text("second z.csv")
    sync.push()
    assert (project_dir / "checkpoints" / "resume.npz").read_text() == "second"

    (local / "newer").write_text("what the Drive does not have")
    (project_dir / "checkpoints" / "half.csv.part").write_text("what a killed session left")
    again = DriveSync(local, project_dir, "checkpoints")
    again.pull()
    assert sorted(files_in(local)) == ["ckpt-1.hdf5", "logs/events", "resume.npz", "z.csv"]
    assert files_in(local)["resume.npz"] == b"second"
    copied.clear()
    again.push()
    assert copied == []


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "/tmp", "a/b"])
def test_results_only_go_into_a_folder_of_the_project(tmp_path, name):
    with pytest.raises(DriveError, match="expected the name of a folder for results"):
        DriveSync(tmp_path / "results", tmp_path, name)


def test_a_file_is_copied_once_until_it_changes(tmp_path, capsys):
    drive, machine = tmp_path / "drive", tmp_path / "machine"
    (drive / "page").mkdir(parents=True)
    path = drive / "page" / "match.js"
    path.write_text("one")
    assert colab.copy_files(drive, machine, [path], "Copying it") == [path]
    assert "Copying it: 100%" in capsys.readouterr().err
    assert colab.copy_files(drive, machine, [path], "Copying it") == []
    assert capsys.readouterr().err == ""
    path.write_text("two!")
    assert colab.copy_files(drive, machine, [path], "Copying it") == [path]
    assert files_in(machine) == {"page/match.js": b"two!"}


@pytest.fixture
def project_dir(tmp_path):
    """Write a project's folder on a Drive: two modules, a page, notes, and a folder of matches."""
    folder = tmp_path / "drive" / "YasuoNet"
    for name in (
        "main.py",
        "model.py",
        "requirements.txt",
        "videosummarizer/a/b/match.js",
        "notes.txt",
        "old/main.py",
        "page/b.js",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}")
    return folder


def test_the_source_is_copied_and_imported_from_the_copy(project_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", ["elsewhere"])
    source_dir = tmp_path / "machine" / "source"
    (project_dir / "imported_from_the_copy.py").write_text("import pathlib\nFOLDER = pathlib.Path(__file__).parent")
    for _ in range(2):
        colab.copy_source(project_dir, source_dir)
        assert sys.path == [str(source_dir), "elsewhere"]
    names = {"main.py", "model.py", "requirements.txt", "videosummarizer/a/b/match.js", "imported_from_the_copy.py"}
    assert set(files_in(source_dir)) == names
    assert "Copying the source: 100%" in capsys.readouterr().err
    import imported_from_the_copy

    assert source_dir == imported_from_the_copy.FOLDER


def test_the_dataset_is_the_only_zip_or_the_named_one(project_dir):
    with pytest.raises(DriveError, match=r"YasuoNet: there is no dataset\*\.zip, expected the \.zip of a dataset"):
        colab.find_dataset_zip(project_dir, "")
    (project_dir / "other.zip").touch()
    (project_dir / "dataset_b.zip").touch()
    assert colab.find_dataset_zip(project_dir, "") == project_dir / "dataset_b.zip"
    (project_dir / "dataset_a.zip").touch()
    with pytest.raises(DriveError, match=r"received several datasets \(dataset_a\.zip, dataset_b\.zip\), expected one"):
        colab.find_dataset_zip(project_dir, "")
    for name in ("dataset_b.zip", "other.zip"):
        assert colab.find_dataset_zip(project_dir, name) == project_dir / name
    with pytest.raises(DriveError, match=r"YasuoNet: there is no dataset_c\.zip, expected"):
        colab.find_dataset_zip(project_dir, "dataset_c.zip")


def test_only_a_file_is_a_dataset_zip(project_dir):
    (project_dir / "dataset.zip").mkdir()
    with pytest.raises(DriveError, match=r"there is no dataset\*\.zip"):
        colab.find_dataset_zip(project_dir, "")


def test_a_dataset_is_unpacked_again_only_for_another_zip(tmp_path):
    drive, machine = tmp_path / "drive", tmp_path / "machine"
    drive.mkdir()
    zip_path = zip_up(write_dataset(tmp_path / "one", {"match_00": [0, 1]}), drive / "dataset.zip")
    folder = colab.fetch_dataset(zip_path, machine)
    assert folder == machine / "dataset"
    assert sorted(path.name for path in folder.rglob("*.pkl")) == ["seg_00000_0.pkl", "seg_00001_1.pkl"]
    inode = folder.stat().st_ino
    assert colab.fetch_dataset(zip_path, machine).stat().st_ino == inode
    zip_up(write_dataset(tmp_path / "two", {"match_00": [1, 0, 0]}), zip_path)
    folder = colab.fetch_dataset(zip_path, machine)
    names = ["seg_00000_1.pkl", "seg_00001_0.pkl", "seg_00002_0.pkl"]
    assert sorted(path.name for path in folder.rglob("*.pkl")) == names


@pytest.mark.parametrize("has_labels", [True, False])
def test_a_match_is_copied_with_its_labels_if_it_has_any(tmp_path, has_labels, capsys):
    drive, machine = tmp_path / "drive", tmp_path / "machine"
    drive.mkdir()
    (drive / "first.mp4").write_bytes(b"film")
    (drive / "second.txt").write_text("0,1\n")
    if has_labels:
        (drive / "first.txt").write_text("5,6\n")
    assert colab.fetch_match(drive / "first.mp4", machine) == machine / "first.mp4"
    expected = {"first.mp4": b"film"} | ({"first.txt": b"5,6\n"} if has_labels else {})
    assert files_in(machine) == expected
    assert "Copying first.mp4: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "time_sec", "is_copied"),
    [(4, 1000.9, False), (4, 1000.0, False), (4, 1001.0, True), (4, 999.9, True), (5, 1000.4, True), (3, 1000.4, True)],
)
def test_a_copy_is_a_file_of_the_same_size_and_second(tmp_path, size, time_sec, is_copied):
    drive, machine = tmp_path / "drive", tmp_path / "machine"
    for folder, content, sec in ((drive, b"1234", 1000.4), (machine, b"x" * size, time_sec)):
        folder.mkdir()
        (folder / "a").write_bytes(content)
        os.utime(folder / "a", (sec, sec))
    copied = colab.copy_files(drive, machine, [drive / "a"], "Copying a")
    assert copied == [drive / "a"] * is_copied
    assert (machine / "a").read_bytes() == (b"1234" if is_copied else b"x" * size)


def test_the_progress_bar_counts_copied_bytes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(colab, "CHUNK_BYTES", 3)
    (tmp_path / "drive").mkdir()
    paths = [tmp_path / "drive" / name for name in "ab"]
    for path, num_bytes in zip(paths, (700, 900), strict=True):
        path.write_bytes(os.urandom(num_bytes))
    colab.copy_files(tmp_path / "drive", tmp_path / "machine", paths, "Copying")
    assert "1.60k/1.60k" in capsys.readouterr().err
    assert files_in(tmp_path / "machine") == files_in(tmp_path / "drive")


def test_a_file_is_copied_atomically_with_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(colab, "CHUNK_BYTES", 3)
    source, target = tmp_path / "source", tmp_path / "deep" / "er" / "target"
    source.write_bytes(b"12345678")
    os.utime(source, ns=(10**18, 2 * 10**18 + 7))
    seen = []

    def on_bytes(num_bytes):
        assert not target.exists()
        seen.append(num_bytes)

    colab.atomic_copy(source, target, on_bytes)
    assert seen == [3, 3, 2]
    assert target.stat().st_mtime_ns == 2 * 10**18 + 7
    assert [path.name for path in target.parent.iterdir()] == ["target"]

    def fail(num_bytes):
        raise OSError(28, "No space left on device")

    source.write_bytes(b"another content")
    with pytest.raises(OSError, match="No space"):
        colab.atomic_copy(source, target, fail)
    assert target.read_bytes() == b"12345678"


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_only_tensorflow_may_be_of_any_version(name):
    assert colab.unmet_requirements([f"{name}==2.0"], {name: "1.0"}) == [f"{name}==2.0"]
    assert colab.unmet_requirements(["tensorflow==2.0"], {"tensorflow": "1.0"}) == []


def test_installed_packages_have_canonical_names():
    installed = colab.installed_versions()
    assert installed["scikit-learn"] == __import__("sklearn").__version__
    assert installed["jupyter-core"].count(".") >= 1
    assert all(name == name.lower() and "_" not in name for name in installed)


def test_a_package_that_is_updated_is_not_pinned():
    installed = {"scikit-learn": "1.6", "keras": "3.1", "odd": "1.0-ubuntu~2", "numpy": "2.0"}
    assert colab.constraints_for(["Scikit_Learn>=1.9", "av"], installed) == ["keras==3.1", "numpy==2.0"]


def test_a_failure_of_pip_without_output_is_reported(monkeypatch):
    run = subprocess.CompletedProcess("pip", 1, "", "\n")
    monkeypatch.setattr(colab.subprocess, "run", lambda *_, **__: run)
    monkeypatch.setattr(colab, "installed_versions", dict)
    with pytest.raises(DriveError, match=r"pip cannot install .*\(no reason given\): run this cell again"):
        colab.install_missing(ROOT / "requirements.txt")


def test_a_changed_file_of_the_same_size_is_copied_again(tmp_path):
    sync = DriveSync(tmp_path / "results", tmp_path / "drive", "checkpoints")
    sync.pull()
    path, copy = tmp_path / "results" / "history.csv", tmp_path / "drive" / "checkpoints" / "history.csv"
    for content, time_ns in ((b"1", 10**18), (b"2", 10**18 + 1)):
        path.write_bytes(content)
        os.utime(path, ns=(time_ns, time_ns))
        sync.push()
        assert copy.read_bytes() == content


def test_after_a_full_drive_all_files_are_tried_again(tmp_path, monkeypatch, capsys):
    sync = DriveSync(tmp_path / "results", tmp_path / "drive", "checkpoints")
    sync.pull()
    for name in "ab":
        (tmp_path / "results" / name).write_text(name)

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(colab, "atomic_copy", fail)
        sync.push()
    message = f"a: not copied to the Drive, it stays in {tmp_path / 'results'} for now ([Errno 28] No space left on"
    assert capsys.readouterr().out.splitlines()[0].startswith(message)
    sync.push()
    assert files_in(tmp_path / "drive") == {"checkpoints/a": b"a", "checkpoints/b": b"b"}


@pytest.mark.parametrize(
    ("num_done", "line"),
    [
        (1, "1 of 3 epochs are on the Drive: training resumes with epoch 2."),
        (3, "3 of 3 epochs are on the Drive: training is finished."),
    ],
)
def test_a_run_on_the_drive_is_resumed(tmp_path, num_done, line, capsys):
    settings = {"--epochs": 3, "--batch_size": 4, "--learning_rate": 0.1}
    assert colab.resume_flags(tmp_path, settings) == []
    assert capsys.readouterr().out == "No earlier run was found: training starts.\n"
    (tmp_path / "history.csv").write_bytes(b"copied before the resume point, which never was")
    assert colab.resume_flags(tmp_path, settings) == ["--overwrite"]
    assert capsys.readouterr().out == "No earlier run was found: training starts.\n"
    history = [{"epoch": epoch + 1, "loss": 0.5, "val_loss": 0.6} for epoch in range(num_done)]
    resume_point.write(tmp_path, resume_point.TrainingState(settings, history, "ckpt", None, []))
    assert (tmp_path / resume_point.FILE_NAME).exists()
    assert colab.resume_flags(tmp_path, settings) == ["--resume"]
    assert capsys.readouterr().out == line + "\n"
    # Settings that main.py derives are not compared; their number of epochs is the run's.
    assert colab.resume_flags(tmp_path, {"--learning_rate": 0.1}) == ["--resume"]
    assert capsys.readouterr().out == line + "\n"
    with pytest.raises(resume_point.ResumeError, match=r"--batch_size 4, received --batch_size 5"):
        colab.resume_flags(tmp_path, settings | {"--batch_size": 5})


def test_files_of_systems_are_not_copied_and_names_may_be_decomposed(tmp_path):
    decomposed = unicodedata.normalize("NFD", "결승전")
    for name in (
        "a.csv",
        "logs/b",
        "desktop.ini",
        "Thumbs.db",
        ".DS_Store",
        "@eaDir/c",
        "logs/.ipynb_checkpoints/d.csv",
    ):
        (tmp_path / "drive" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "drive" / name).touch()
    assert colab.files_in(tmp_path / "drive") == [tmp_path / "drive" / "a.csv", tmp_path / "drive" / "logs" / "b"]
    for name in (f"{decomposed}.mp4", "결승전.TXT", f"dataset {decomposed}.zip"):
        (tmp_path / "drive" / name).write_text(name)
    path = colab.fetch_match(tmp_path / "drive" / "결승전.mp4", tmp_path / "machine")
    assert path.read_text() == f"{decomposed}.mp4"
    assert (tmp_path / "machine" / "결승전.TXT").exists()
    assert colab.find_dataset_zip(tmp_path / "drive", "dataset 결승전.zip").name == f"dataset {decomposed}.zip"
