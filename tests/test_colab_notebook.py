"""The notebook for Google Colab, run whole against a folder that plays the Drive; and what it does with that folder."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import TITLES
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from test_dataset_files import zip_up

import drive_folder
import main as trainer
import resume_point
from drive_folder import DriveError, Mirror

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "colab_run_trainer.ipynb"
ZIP_NAME = "dataset6_sl1_vsr2_vw16_vh16_asr4000.zip"
NUM_EPOCHS = 6
MAGIC = "%xmode Minimal"
# Of a machine of Colab's in June 2026, as googlecolab/backend-info lists it, what the requirements name.
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


def make_drive(folder, dataset_dir, matches_dir):
    """A folder that plays the Drive of somebody who followed the notebook's first paragraph; the project's folder."""
    project_dir = folder / "drive" / "MyDrive" / "YasuoNet"
    (project_dir / "data" / "raw").mkdir(parents=True)
    for path in [*ROOT.glob("*.py"), ROOT / "requirements.txt"]:
        shutil.copy2(path, project_dir)
    shutil.copytree(ROOT / "page", project_dir / "page")
    for path in matches_dir.glob("*.mp4"):
        shutil.copy2(path, project_dir / "data" / "raw")
    zip_up(dataset_dir, project_dir / ZIP_NAME, "dataset/")
    return project_dir


def make_client(folder, up_to=""):
    """A client that runs the notebook beside the folder `drive`, in a kernel that knows no other path, up to the first
    cell with some code."""
    notebook = nbformat.read(NOTEBOOK, 4)
    num_cells = 1 + next(place for place, cell in enumerate(notebook.cells) if up_to in cell.source) if up_to else None
    notebook.cells = notebook.cells[:num_cells]
    settings = next(cell for cell in notebook.cells if "@title Settings" in cell.source)
    for old, new in (("epochs = 32 ", f"epochs = {NUM_EPOCHS} "), ("batch_size = 16 ", "batch_size = 4 ")):
        assert settings.source.count(old) == 1
        settings.source = settings.source.replace(old, new)
    return NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})


def texts_of(notebook):
    """What the cells wrote on the screen."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_a_checkpoint(name):
    return name.endswith(".hdf5")


@pytest.fixture(scope="module")
def run_whole(dataset_dir, trainable_matches_dir, tmp_path_factory):
    """The notebook as it was executed from the first cell to the last, and the folder in which that was."""
    folder = tmp_path_factory.mktemp("colab")
    make_drive(folder, dataset_dir, trainable_matches_dir)
    return make_client(folder).execute(), folder


def test_it_trains_tests_and_cuts_a_match_from_the_first_cell_to_the_last(run_whole):
    notebook, folder = run_whole
    project_dir = folder / "drive" / "MyDrive" / "YasuoNet"
    results = files_in(project_dir / "checkpoints")
    assert len(results["history.csv"].splitlines()) == NUM_EPOCHS + 1
    assert any(map(is_a_checkpoint, results))
    assert {"resume.npz", "history.png", "test_report.json", "predictions.csv", "test_matches.png"} <= set(results)
    assert results == files_in(folder / "machine" / "results")
    highlights = files_in(project_dir / "highlights")
    assert highlights == files_in(folder / "machine" / "highlights")
    title = TITLES["test"][0]
    assert {f"{title}_highlights.mp4", f"{title}.html", f"{title}_timeline.png"} <= set(highlights)
    text = texts_of(notebook)
    for name in ("the source", ZIP_NAME, f"{title}.mp4"):
        assert re.search(rf"Copying {re.escape(name)}: 100%", text)
    for words in (
        f"Unpacking {ZIP_NAME}: 100%",
        "Nothing to install; TensorFlow 2.",
        "Nothing was trained before: training starts.",
        "Test: 2 videos, 20 segments, 1 highlights",
    ):
        assert words in text
    assert re.search(r"TensorFlow 2\S+ (trains on the GPU|sees no GPU and trains on the processor)", text)
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in data for data in shown) == 4  # epochs, precision and recall, matches, timeline
    assert sum("<video" in data.get("text/html", "") for data in shown) == 1


def test_killed_and_run_again_it_goes_on_from_the_drive(run_whole, dataset_dir, trainable_matches_dir, tmp_path):
    project_dir = make_drive(tmp_path, dataset_dir, trainable_matches_dir)
    client = make_client(tmp_path)

    def kill_after_an_epoch():
        while not (project_dir / "checkpoints" / "resume.npz").exists():
            time.sleep(0.01)
        os.kill(client.km.provisioner.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_after_an_epoch, daemon=True)
    killer.start()
    with pytest.raises(DeadKernelError):
        client.execute()
    killer.join()
    num_done = len((project_dir / "checkpoints" / "history.csv").read_text().splitlines()) - 1
    assert 1 <= num_done < NUM_EPOCHS
    shutil.rmtree(tmp_path / "machine")  # as Colab does
    notebook = make_client(tmp_path, up_to="main.test(").execute()
    assert re.search(rf"\d of {NUM_EPOCHS} epochs are on the Drive: training goes on with epoch \d", texts_of(notebook))
    undisturbed, killed = (
        files_in(folder / "drive" / "MyDrive" / "YasuoNet" / "checkpoints") for folder in (run_whole[1], tmp_path)
    )
    assert killed["history.csv"] == undisturbed["history.csv"]  # to the last digit
    assert killed["predictions.csv"] == undisturbed["predictions.csv"]
    names = [sorted(name[-16:] for name in files if is_a_checkpoint(name)) for files in (killed, undisturbed)]
    assert names[0] == names[1]


def test_a_finished_run_is_not_trained_again(run_whole, tmp_path, capsys):
    results = tmp_path / "results"
    shutil.copytree(run_whole[1] / "machine" / "results", results)
    settings = {"--epochs": NUM_EPOCHS, "--batch_size": 4, "--learning_rate": 0.0015}
    flags = drive_folder.flags_to_go_on(results, settings)
    assert flags == ["--resume"]
    assert f"{NUM_EPOCHS} of {NUM_EPOCHS} epochs are on the Drive: training is finished." in capsys.readouterr().out
    with pytest.raises(resume_point.ResumeError, match=f"started with --epochs {NUM_EPOCHS}, received --epochs 9"):
        drive_folder.flags_to_go_on(results, {**settings, "--epochs": 9})
    (dataset_dir,) = (run_whole[1] / "machine" / "dataset").glob("dataset*/")
    given = [f"{name}={value}" for name, value in settings.items()]
    args = trainer.parse_args(["--data_dir", str(dataset_dir), "--ckpt_dir", str(results), *given, *flags])
    epochs = []
    best = trainer.train(args, trainer.load_data(args), epochs.append)
    assert (Path(best).suffix, epochs) == (".hdf5", [])


def test_a_zip_that_cannot_be_used_gets_one_sentence(dataset_dir, trainable_matches_dir, tmp_path):
    project_dir = make_drive(tmp_path, dataset_dir, trainable_matches_dir)
    zip_path = project_dir / ZIP_NAME
    client = make_client(tmp_path, up_to="fetch_dataset(")

    def run():
        for index, cell in enumerate(client.nb.cells):
            client.execute_cell(cell, index)

    def sentence():
        """All that the run ends with."""
        with pytest.raises(CellExecutionError):
            run()
        outputs = [output for cell in client.nb.cells for output in cell.pop("outputs", ())]
        (error,) = (output for output in outputs if output.output_type == "error")
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).strip()
        assert text == f"{error.ename}: {error.evalue}"
        return text

    with client.setup_kernel():
        content = zip_path.read_bytes()
        zip_path.unlink()
        assert re.fullmatch(r"DriveError: .*YasuoNet: there is no dataset\*\.zip, expected the \.zip of .*", sentence())
        (project_dir / "dataset_a.zip").write_bytes(content)
        (project_dir / "dataset_b.zip").write_bytes(content)
        assert "received several datasets (dataset_a.zip, dataset_b.zip), expected one: name it" in sentence()
        (project_dir / "dataset_b.zip").unlink()
        (project_dir / "dataset_a.zip").write_bytes(content[: len(content) // 2])
        assert re.fullmatch(
            r"DatasetError: .*dataset_a\.zip: cannot be read as a \.zip \(.*\), expected .*", sentence()
        )
        with zipfile.ZipFile(project_dir / "dataset_a.zip", "w") as archive:
            archive.writestr("a/metadata.json", b"{}")
            archive.writestr("b/metadata.json", b"{}")
        assert re.fullmatch(r"DatasetError: .* received a \.zip with 2 datasets \(a/, b/\), expected one.*", sentence())
        (project_dir / "dataset_a.zip").write_bytes(content)
        run()
        unpacked = files_in(tmp_path / "machine" / "dataset" / "dataset_a")
        assert unpacked == {name: content for name, content in files_in(dataset_dir).items() if name != ".lock"}
        (project_dir / "drive_folder.py").unlink()
        assert re.fullmatch(r"FileNotFoundError: .*YasuoNet: received a folder without drive_folder\.py.*", sentence())


def test_on_colab_the_drive_is_mounted_where_colab_has_it(monkeypatch):
    source = next(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if "google.colab" in cell.source)
    mounted = []
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(drive=SimpleNamespace(mount=mounted.append)))
    with pytest.raises(
        FileNotFoundError, match="/content/drive/MyDrive/YasuoNet: received a folder without drive_folder"
    ):
        exec(source.removeprefix(MAGIC), {"project_folder": "MyDrive/YasuoNet"})
    assert mounted == ["/content/drive"]


def test_what_trains_is_said(monkeypatch):
    import tensorflow

    assert drive_folder.describe_gpu().endswith("Change runtime type, and run the notebook again.")
    gpu = SimpleNamespace(name="/physical_device:GPU:0")
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda kind: [gpu] * (kind == "GPU"))
    monkeypatch.setattr(
        tensorflow.config.experimental, "get_device_details", lambda device: {"device_name": "Tesla T4"}
    )
    assert drive_folder.describe_gpu() == f"TensorFlow {tensorflow.__version__} trains on the GPU Tesla T4."


def test_it_is_stored_without_outputs_and_defines_nothing():
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            nodes = list(ast.walk(ast.parse(cell.source.removeprefix(MAGIC))))
            assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.While) for node in nodes)


def test_what_colab_lacks_is_installed_and_tensorflow_stays(monkeypatch, tmp_path, capsys):
    requirements = (ROOT / "requirements.txt").read_text().split()
    missing = drive_folder.find_missing(requirements, COLAB_PACKAGES)
    assert missing == ["keras>=3.15.1", "av"]
    older = COLAB_PACKAGES | {"tensorflow": "2.16.1", "moviepy": "2.1.2", "keras": "3.16.0", "av": "18.1.0"}
    assert drive_folder.find_missing(requirements, older) == ["moviepy==1.0.3"]
    without = {name: version for name, version in COLAB_PACKAGES.items() if name != "tensorflow"}
    assert drive_folder.find_missing(requirements, without) == ["tensorflow", *missing]

    commands = []

    def run(command, **_):
        commands.append((command, Path(command[-1]).read_text().split()))
        return subprocess.CompletedProcess(command, len(commands) - 1, "", "ERROR: why\nERROR: no network\n")

    monkeypatch.setattr(drive_folder.subprocess, "run", run)
    monkeypatch.setattr(drive_folder, "installed_versions", lambda: COLAB_PACKAGES | {"odd": "1.0-ubuntu~2"})
    drive_folder.install_missing(ROOT / "requirements.txt")
    assert "Installing keras>=3.15.1, av; TensorFlow 2.20.0" in capsys.readouterr().out
    command, constraints = commands[0]
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[-4:-1] == [*missing, "-c"]
    expected = {f"{name}=={version}" for name, version in COLAB_PACKAGES.items() if name != "keras"}
    assert set(constraints) == expected
    with pytest.raises(
        DriveError, match=r"pip cannot install keras>=3\.15\.1, av \(ERROR: no network\): run this cell again"
    ):
        drive_folder.install_missing(ROOT / "requirements.txt")
    monkeypatch.undo()
    drive_folder.install_missing(ROOT / "requirements.txt")
    assert "Nothing to install; TensorFlow 2." in capsys.readouterr().out


def test_the_drive_gets_whole_files_the_resume_point_last(tmp_path, monkeypatch, capsys):
    local, project_dir = tmp_path / "results", tmp_path / "drive"
    mirror = Mirror(local, project_dir, "checkpoints")
    mirror.restore()
    assert list(local.iterdir()) == []
    (local / "logs").mkdir()
    for name in ("resume.npz", "ckpt-1.hdf5", "z.csv", "logs/events", "a.csv.part", ".ckpt.part.hdf5"):
        (local / name).write_text(f"first {name}")
    copied = []
    copy_whole = drive_folder.copy_whole

    def copy(source, target, *more):
        copied.append(source.name)
        if "full" in source.read_text():
            raise OSError(28, "No space left on device")
        copy_whole(source, target, *more)

    monkeypatch.setattr(drive_folder, "copy_whole", copy)
    mirror.save()
    assert copied == ["ckpt-1.hdf5", "events", "z.csv", "resume.npz"]
    assert sorted(files_in(project_dir)) == sorted(
        f"checkpoints/{n}" for n in ("ckpt-1.hdf5", "logs/events", "z.csv", "resume.npz")
    )
    mirror.save()
    assert len(copied) == 4
    (local / "resume.npz").write_text("second")
    (local / "z.csv").write_text("full")
    mirror.save()
    assert "z.csv: not copied to the Drive" in capsys.readouterr().out
    assert (project_dir / "checkpoints" / "resume.npz").read_text() == "first resume.npz"
    (local / "z.csv").write_text("second z.csv")
    mirror.save()
    assert (project_dir / "checkpoints" / "resume.npz").read_text() == "second"

    (local / "newer").write_text("what the Drive does not have")
    (project_dir / "checkpoints" / "half.csv.part").write_text("what a killed session left")
    again = Mirror(local, project_dir, "checkpoints")
    again.restore()
    assert sorted(files_in(local)) == ["ckpt-1.hdf5", "logs/events", "resume.npz", "z.csv"]
    assert files_in(local)["resume.npz"] == b"second"
    copied.clear()
    again.save()
    assert copied == []


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "/tmp", "a/b"])
def test_results_go_into_a_folder_of_the_project_alone(tmp_path, name):
    with pytest.raises(DriveError, match="expected the name of a folder for results"):
        Mirror(tmp_path / "results", tmp_path, name)


def test_a_file_is_copied_once_until_it_changes(tmp_path, capsys):
    drive, machine = tmp_path / "drive", tmp_path / "machine"
    (drive / "page").mkdir(parents=True)
    path = drive / "page" / "match.js"
    path.write_text("one")
    assert drive_folder.copy_files(drive, machine, [path], "Copying it") == [path]
    assert "Copying it: 100%" in capsys.readouterr().err
    assert drive_folder.copy_files(drive, machine, [path], "Copying it") == []
    assert capsys.readouterr().err == ""
    path.write_text("two!")
    assert drive_folder.copy_files(drive, machine, [path], "Copying it") == [path]
    assert files_in(machine) == {"page/match.js": b"two!"}
