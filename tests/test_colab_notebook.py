"""Check the notebook for Google Colab, executed completely with a folder in place of the Drive."""

import ast
import re
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import TITLES
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from test_storage import zip_up

import main as trainer
from videosummarizer.notebooks import colab
from videosummarizer.training import resume_point

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "colab_run_trainer.ipynb"
ZIP_NAME = "dataset6_sl1_vsr2_vw16_vh16_asr4000.zip"
NUM_EPOCHS = 6
MAGIC = "%xmode Minimal"


def make_drive(folder, dataset_dir, matches_dir):
    """Write a folder in place of a Drive, as the notebook's first paragraph asks; return the project's folder."""
    project_dir = folder / "drive" / "MyDrive" / "YasuoNet"
    (project_dir / "data" / "raw").mkdir(parents=True)
    for path in [*ROOT.glob("*.py"), ROOT / "requirements.txt"]:
        shutil.copy2(path, project_dir)
    shutil.copytree(
        ROOT / "videosummarizer", project_dir / "videosummarizer", ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in matches_dir.glob("*.mp4"):
        shutil.copy2(path, project_dir / "data" / "raw")
    zip_up(dataset_dir, project_dir / ZIP_NAME, "dataset/")
    return project_dir


def make_client(folder, up_to=""):
    """Return a client that runs the notebook next to the folder `drive`, in a kernel that knows no other path.

    It stops after the first cell that contains the code `up_to`.
    """
    notebook = nbformat.read(NOTEBOOK, 4)
    num_cells = 1 + next(index for index, cell in enumerate(notebook.cells) if up_to in cell.source) if up_to else None
    notebook.cells = notebook.cells[:num_cells]
    settings = next(cell for cell in notebook.cells if "@title Settings" in cell.source)
    for old, new in (("epochs = 0 ", f"epochs = {NUM_EPOCHS} "), ("batch_size = 0 ", "batch_size = 4 ")):
        assert settings.source.count(old) == 1
        settings.source = settings.source.replace(old, new)
    return NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})


def texts_of(notebook):
    """Return what the cells printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_a_checkpoint(name):
    return name.endswith(".hdf5")


@pytest.fixture(scope="module")
def complete_run(dataset_dir, trainable_matches_dir, tmp_path_factory):
    """Return the notebook, executed from the first cell to the last, and the folder in which it ran."""
    folder = tmp_path_factory.mktemp("colab")
    make_drive(folder, dataset_dir, trainable_matches_dir)
    return make_client(folder).execute(), folder


def test_it_trains_tests_and_cuts_a_match_from_the_first_cell_to_the_last(complete_run):
    notebook, folder = complete_run
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
        "No earlier run was found: training starts.",
        "Test: 2 videos, 20 segments, 1 highlights",
    ):
        assert words in text
    assert re.search(r"TensorFlow 2\S+ (trains on the GPU|sees no GPU and trains on the processor)", text)
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in data for data in shown) == 4  # epochs, precision and recall, matches, timeline
    assert sum("<video" in data.get("text/html", "") for data in shown) == 1


def test_after_a_kill_it_resumes_from_the_drive(complete_run, dataset_dir, trainable_matches_dir, tmp_path):
    project_dir = make_drive(tmp_path, dataset_dir, trainable_matches_dir)
    client = make_client(tmp_path)

    (training,) = (cell for cell in client.nb.cells if "main.train(" in cell.source)
    assert training.source.count("(results.push(), draw(history))") == 1
    training.source = training.source.replace("draw(history))", "len(history) == 2 and os.kill(os.getpid(), 9))")
    with pytest.raises(DeadKernelError):
        client.execute()
    assert len((project_dir / "checkpoints" / "history.csv").read_text().splitlines()) == 1 + 2
    shutil.rmtree(tmp_path / "machine")  # as Colab does
    notebook = make_client(tmp_path, up_to="main.test_checkpoint(").execute()
    assert f"2 of {NUM_EPOCHS} epochs are on the Drive: training resumes with epoch 3." in texts_of(notebook)
    uninterrupted, killed = (
        files_in(folder / "drive" / "MyDrive" / "YasuoNet" / "checkpoints") for folder in (complete_run[1], tmp_path)
    )
    assert killed["history.csv"] == uninterrupted["history.csv"]  # to the last digit
    assert killed["predictions.csv"] == uninterrupted["predictions.csv"]
    names = [sorted(name[-16:] for name in files if is_a_checkpoint(name)) for files in (killed, uninterrupted)]
    assert names[0] == names[1]


def test_a_finished_run_is_not_trained_again(complete_run, tmp_path, capsys):
    results = tmp_path / "results"
    shutil.copytree(complete_run[1] / "machine" / "results", results)
    settings = {"--epochs": NUM_EPOCHS, "--batch_size": 4}
    flags = colab.resume_flags(results, settings)
    assert flags == ["--resume"]
    assert f"{NUM_EPOCHS} of {NUM_EPOCHS} epochs are on the Drive: training is finished." in capsys.readouterr().out
    with pytest.raises(resume_point.ResumeError, match=f"started with --epochs {NUM_EPOCHS}, received --epochs 9"):
        colab.resume_flags(results, {**settings, "--epochs": 9})
    # The number of epochs is the run's own where it is not given.
    assert colab.resume_flags(results, {"--batch_size": 4}) == ["--resume"]
    assert f"{NUM_EPOCHS} of {NUM_EPOCHS} epochs are on the Drive: training is finished." in capsys.readouterr().out
    (dataset_dir,) = (complete_run[1] / "machine" / "dataset").glob("dataset*/")
    given = [f"{name}={value}" for name, value in settings.items()]
    args = trainer.parse_args(["--data_dir", str(dataset_dir), "--ckpt_dir", str(results), *given, *flags])
    epochs = []
    best = trainer.train(args, trainer.load_data(args), epochs.append)
    assert (Path(best).suffix, epochs) == (".hdf5", [])


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"epochs": 7},
        {"batch_size": 24},
        {"learning_rate": 0.002},
        {"learning_rate": 0.002, "epochs": 7, "batch_size": 24},
    ],
)
def test_a_hyperparameter_of_0_is_left_to_main(tmp_path, monkeypatch, chosen):
    cells = nbformat.read(NOTEBOOK, 4).cells
    form = next(cell.source for cell in cells if "@title Settings" in cell.source)
    values = {}
    exec(form, values)
    assert (values["epochs"], values["batch_size"], values["learning_rate"]) == (0, 0, 0)
    given, resumed, plain = [], [], trainer.parse_args
    monkeypatch.setattr(trainer, "parse_args", lambda arguments: given.append(arguments) or plain(arguments))
    monkeypatch.setattr(
        colab, "resume_flags", lambda folder, settings: resumed.append((folder, settings)) or ["--resume"]
    )
    values |= {**chosen, "main": trainer, "colab": colab, "dataset_dir": tmp_path}
    values["results"] = SimpleNamespace(local_dir=tmp_path / "results")
    (training,) = (cell.source for cell in cells if "main.train(" in cell.source)
    for statement in ast.parse(training).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ("settings", "args"):
            exec(ast.unparse(statement), values)
    flags = {f"--{name}": value for name, value in chosen.items()}
    assert resumed == [(tmp_path / "results", flags)]
    ((data_dir, ckpt_dir, *arguments),) = given
    assert (data_dir, ckpt_dir) == (f"--data_dir={tmp_path}", f"--ckpt_dir={tmp_path / 'results'}")
    assert arguments == [*(f"{name}={value}" for name, value in flags.items()), "--resume"]
    for name in ("epochs", "batch_size", "learning_rate"):
        assert getattr(values["args"], name) == chosen.get(name)


def test_an_unusable_zip_is_reported_in_one_sentence(dataset_dir, trainable_matches_dir, tmp_path):
    project_dir = make_drive(tmp_path, dataset_dir, trainable_matches_dir)
    zip_path = project_dir / ZIP_NAME
    client = make_client(tmp_path, up_to="fetch_dataset(")

    def run():
        for index, cell in enumerate(client.nb.cells):
            client.execute_cell(cell, index)

    def sentence():
        """Return the message with which the run ends."""
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
        shutil.rmtree(project_dir / "videosummarizer")
        assert re.fullmatch(r"FileNotFoundError: .*YasuoNet: received a folder without videosummarizer.*", sentence())


def test_on_colab_the_drive_is_mounted_where_colab_has_it(monkeypatch):
    source = next(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if "google.colab" in cell.source)
    mounted = []
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(drive=SimpleNamespace(mount=mounted.append)))
    with pytest.raises(
        FileNotFoundError, match="/content/drive/MyDrive/YasuoNet: received a folder without videosummarizer"
    ):
        exec(source.removeprefix(MAGIC), {"project_folder": "MyDrive/YasuoNet"})
    assert mounted == ["/content/drive"]


def test_it_is_stored_without_outputs_and_defines_nothing():
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            nodes = list(ast.walk(ast.parse(cell.source.removeprefix(MAGIC))))
            assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.While) for node in nodes)
