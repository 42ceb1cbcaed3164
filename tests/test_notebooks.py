"""Check run_trainer.ipynb, executed completely on the sample and compared with the shell."""

import ast
import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from test_storage import zip_up

import main

ROOT = Path(__file__).resolve().parent.parent
NUM_EPOCHS = 2
# The notebook's batch size stays 0, which leaves its flag out.
SHELL_FLAGS = ["--learning_rate", "0.002", "--epochs", str(NUM_EPOCHS), "--seed", "3"]
EDITS = {
    "epochs = 0 ": f"epochs = {NUM_EPOCHS} ",
    "learning_rate = 0 ": "learning_rate = 0.002 ",
    "seed = 0": "seed = 3",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a copy of the repository to run in."""
    folder = tmp_path_factory.mktemp("repository")
    for path in [*ROOT.glob("*.py"), ROOT / "run_trainer.ipynb"]:
        shutil.copy(path, folder)
    shutil.copytree(ROOT / "videosummarizer", folder / "videosummarizer", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").symlink_to(ROOT / "data")
    return folder


@pytest.fixture(scope="module")
def executed(folder):
    """Return the executed cells by their ids; some values of the first cell are edited, as a user would."""
    notebook = nbformat.read(folder / "run_trainer.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for before, after in EDITS.items():
        assert first.source.count(before) == 1
        first.source = first.source.replace(before, after)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(folder)}}, coalesce_streams=True
    ).execute()
    return {cell.id: cell for cell in notebook.cells}


@pytest.fixture(scope="module")
def shell(folder, executed):
    """Return what `python main.py` printed in the same run on the notebook's dataset; its results are in `shell`."""
    command = [sys.executable, "main.py", *SHELL_FLAGS, "--ckpt_dir", "shell"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def text_of(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def html_of(cell):
    return "".join(output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {}))


def plots_of(cell):
    return [base64.b64decode(out.data["image/png"]) for out in cell.outputs if "image/png" in out.get("data", {})]


def rows_of(html):
    return [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall("<tr>(.*?)</tr>", html, re.DOTALL)][1:]


def test_history_and_test_are_those_of_the_shell_to_the_last_digit(folder, executed, shell):
    for name in ("history.csv", "predictions.csv"):
        assert (folder / "checkpoints_notebook" / name).read_bytes() == (folder / "shell" / name).read_bytes()
    reports = [
        json.loads((folder / name / "test_report.json").read_text()) for name in ("checkpoints_notebook", "shell")
    ]
    for report in reports:
        assert report.pop("checkpoint").startswith("ckpt-")
    assert reports[0] == reports[1]
    report = text_of(executed["test"])
    assert report.startswith("Test: 3 videos, 36 segments, 19 highlights, 13 labelled sections")
    assert report in shell
    epochs = [line for line in shell.splitlines() if line.startswith("epoch")]
    assert len(epochs) == NUM_EPOCHS
    for line in epochs:
        assert line in text_of(executed["training"])


def test_dataset_is_converted_and_described(executed):
    assert "14 matches, 168 segments, 70 highlights" in text_of(executed["dataset"])
    rows = rows_of(html_of(executed["arguments"]))
    assert [row[:4] for row in rows] == [
        ["train", "8", "00:08:00", "96"],
        ["valid", "3", "00:03:00", "36"],
        ["test", "3", "00:03:00", "36"],
    ]
    assert rows[2][4:] == ["19", "52.8%"]
    assert html_of(executed["frames"]).count("<img") == 16
    assert "<audio" in html_of(executed["sound"])


def test_the_network_is_described(executed):
    html = html_of(executed["model"])
    num_weights = int(re.search("<p>([0-9,]+) weights", html)[1].replace(",", ""))
    shown = [int(row[2].replace(",", "")) for row in rows_of(html)]
    assert 0.9 * num_weights < sum(shown) < num_weights  # all but batch normalisation


def test_curves_are_drawn_in_place_while_training_runs(folder, executed):
    assert plots_of(executed["training"]) == [(folder / "checkpoints_notebook" / "history.png").read_bytes()]
    assert text_of(executed["training"]).count("Training: 100%") == 1
    assert {output.name for output in executed["training"].outputs if output.output_type == "stream"} == {"stdout"}


def test_plots_of_the_test_are_shown(folder, executed):
    assert plots_of(executed["precision-recall"]) == [
        (folder / "checkpoints_notebook/precision_recall.png").read_bytes()
    ]
    assert plots_of(executed["matches"]) == [(folder / "checkpoints_notebook/test_matches.png").read_bytes()]
    assert text_of(executed["validation"]).startswith("Valid: 3 videos, 36 segments")


def test_misclassified_segments_are_those_of_the_predictions(folder, executed):
    lines = [line.split(",") for line in (folder / "checkpoints_notebook/predictions.csv").read_text().splitlines()[1:]]
    misclassified = {(title, start) for title, _, _, _, start, _, label, _, predicted in lines if label != predicted}
    rows = rows_of(html_of(executed["wrong"]))
    assert len(rows) == min(20, len(misclassified))
    assert {(row[0], row[1]) for row in rows} <= misclassified
    assert f"{len(misclassified)} of 36 test segments are misclassified" in html_of(executed["wrong"])


def test_a_reel_of_a_test_match_is_in_the_notebook(folder, executed):
    reel = (folder / "checkpoints_notebook/highlights/arena_02_highlights.mp4").read_bytes()
    assert base64.b64encode(reel).decode() in html_of(executed["reel"])


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"epochs": 0, "batch_size": 0}, []),
        ({"epochs": 7, "batch_size": 0}, ["--epochs=7"]),
        ({"epochs": 0, "batch_size": 24}, ["--batch_size=24"]),
        ({"epochs": 7, "batch_size": 24}, ["--epochs=7", "--batch_size=24"]),
    ],
)
def test_a_hyperparameter_of_0_is_left_to_main(folder, dataset_dir, monkeypatch, values, flags):
    cells = {cell.id: cell for cell in nbformat.read(folder / "run_trainer.ipynb", as_version=4).cells}
    settings = {}
    exec(cells["settings"].source, settings)
    assert (settings["epochs"], settings["batch_size"]) == (0, 0)
    settings |= {**values, "main": main, "dataset_path": dataset_dir}
    given = []
    plain = main.parse_args
    monkeypatch.setattr(main, "parse_args", lambda arguments: given.append(arguments) or plain(arguments))
    (arguments,) = (
        statement
        for statement in ast.parse(cells["arguments"].source).body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "args"
    )
    exec(ast.unparse(arguments), settings)
    assert [argument for argument in given[0] if argument.startswith(("--epochs", "--batch_size"))] == flags
    assert settings["args"].epochs == (values["epochs"] or None)
    assert settings["args"].batch_size == (values["batch_size"] or None)


def run_to_the_table(folder, dataset):
    """Run the notebook with another dataset_dir up to the table of subsets, and return that cell."""
    notebook = nbformat.read(folder / "run_trainer.ipynb", as_version=4)
    names = [cell.id for cell in notebook.cells]
    notebook.cells = notebook.cells[: names.index("arguments") + 1]
    first = notebook.cells[names.index("settings")]
    first.source = first.source.replace("dataset_sl5_vsr3_vw64_vh64_asr11025", str(dataset))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook.cells[-1]


def test_a_zip_is_unpacked_next_to_itself(folder, dataset_dir, tmp_path):
    zip_up(dataset_dir, tmp_path / "matches.zip", "dataset/")
    rows = rows_of(html_of(run_to_the_table(folder, tmp_path / "matches.zip")))
    assert rows == [
        ["train", "2", "00:00:20", "20", "5", "25.0%"],
        ["valid", "2", "00:00:11", "11", "7", "63.6%"],
        ["test", "2", "00:00:19", "20", "1", "5.0%"],
    ]
    assert (tmp_path / "matches" / "metadata.json").read_bytes() == (dataset_dir / "metadata.json").read_bytes()


def test_a_wrong_dataset_dir_ends_in_a_sentence_with_the_fix(folder):
    expected = (
        r"-----\s+\S*DatasetError\S+ nowhere: received what does not exist, expected a dataset that "
        r"data_converter\.py has finished: convert the matches first, or correct the path\s*$"
    )
    with pytest.raises(CellExecutionError, match=expected):
        run_to_the_table(folder, "nowhere")


def test_it_is_stored_without_outputs_and_defines_nothing():
    notebook = nbformat.read(ROOT / "run_trainer.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    defining = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.comprehension)
    for cell in code:
        assert (cell.outputs, cell.execution_count) == ([], None)
        source = re.sub("^%.*", "", cell.source, flags=re.MULTILINE)
        assert [node for node in ast.walk(ast.parse(source)) if isinstance(node, defining)] == []
        assert len(cell.source.splitlines()) <= 15
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
