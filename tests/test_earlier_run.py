"""A used --ckpt_dir: it is refused, continued or replaced, and never mixed with a new run."""

import re

import pytest
from test_main import checkpoints_in, read_history, train_in_process

import main as trainer
from videosummarizer.atomic_file import FolderError
from videosummarizer.training import earlier_run

RUN = (
    "ckpt-20261124-120000-0007-0.4321.hdf5", "history.csv", "history.png", "resume.npz", "test_report.json",
    "predictions.csv", "precision_recall.png", "calibration.png", "test_matches.png", "test_matches_2.png",
    "label_doubts.csv", "label_doubts.html", "fold_1/ckpt-20261124-120000-0007-0.4321.hdf5", "fold_1/fold_scores.npz",
    "fold_12/history.csv",
)  # fmt: skip
LOGS = ("logs/ckpt-20261124-120000/train/events", "fold_1/logs/ckpt-20261124-120000/train/events")
# Files of the user, and of stage 4, which writes into the same folder in the notebook.
OTHERS = ("best.hdf5", "notes.txt", "highlights/arena_02.html", "fold_1_notes.txt", "fold_12/notes.txt", "logs/mine")


def write_files(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", RUN)
def test_each_file_of_a_run_makes_a_folder_a_used_one(tmp_path, name):
    write_files(tmp_path, OTHERS)
    earlier_run.require_none(tmp_path)
    write_files(tmp_path, [name])
    advice = "continue that run with --resume, " * name.endswith(".npz") * (name == "resume.npz")
    expected = (
        f"{tmp_path}: received the folder of an earlier run ({name}), expected an empty one: {advice}replace it with "
        "--overwrite, or choose another --ckpt_dir"
    )
    with pytest.raises(FolderError, match=f"^{re.escape(expected)}$"):
        earlier_run.require_none(tmp_path)


def test_the_message_names_few_files(tmp_path):
    write_files(tmp_path, RUN)
    with pytest.raises(FolderError, match=r"\.4321\.hdf5, history\.csv, history\.png and 12 more\), exp"):
        earlier_run.require_none(tmp_path)
    earlier_run.require_none(tmp_path / "missing")


def test_a_run_is_deleted_completely_and_nothing_else(tmp_path, capsys):
    write_files(tmp_path, [*RUN, *LOGS, *OTHERS])
    earlier_run.delete(tmp_path)
    assert names_in(tmp_path) == sorted(OTHERS)
    assert not (tmp_path / "fold_1").exists()
    assert capsys.readouterr().out == f"{tmp_path}: 15 files of an earlier run were deleted (--overwrite)\n"
    earlier_run.delete(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_second_training_is_refused_before_it_reads_anything(dataset_dir, tmp_path, monkeypatch, caplog):
    write_files(tmp_path, ["history.csv", "resume.npz"])
    monkeypatch.setattr(trainer, "load_data", lambda args: pytest.fail("too late"))
    assert trainer.main(["--data_dir", str(dataset_dir), "--ckpt_dir", str(tmp_path)]) == 1
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: received the folder of an earlier run (history.csv, resume.npz), expected")
    assert names_in(tmp_path) == ["history.csv", "resume.npz"]


def test_the_notebooks_training_is_refused_too(small_network, dataset_dir, tmp_path):
    write_files(tmp_path, ["history.csv"])
    args = trainer.parse_args(["--data_dir", str(dataset_dir), "--ckpt_dir", str(tmp_path), "--epochs", "1"])
    with pytest.raises(FolderError, match="received the folder of an earlier run"):
        trainer.train(args, trainer.load_data(args))


def test_overwrite_leaves_nothing_of_the_run_before(small_network, dataset_dir, tmp_path, capsys):
    assert train_in_process(dataset_dir, tmp_path, "--learning_rate", "0.05", epochs=3)[0] == 0
    write_files(tmp_path, OTHERS)
    before = names_in(tmp_path)
    # What is refused deletes nothing.
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    assert (
        train_in_process(dataset_dir, tmp_path, "--overwrite", "--init_ckpt", str(tmp_path.parent / "no.hdf5"))[0] == 1
    )
    assert names_in(tmp_path) == sorted([*before, "junk"])
    assert train_in_process(dataset_dir, tmp_path, epochs=1)[0] == 1
    assert names_in(tmp_path) == sorted([*before, "junk"])
    assert train_in_process(dataset_dir, tmp_path, "--overwrite", epochs=1)[0] == 0
    assert "files of an earlier run were deleted (--overwrite)" in capsys.readouterr().out
    assert len(read_history(tmp_path)) == 2
    assert len(checkpoints_in(tmp_path)) == 2  # the new one, and best.hdf5 of the user
    assert len([path for path in (tmp_path / "logs").iterdir() if path.is_dir()]) == 1
    assert set(OTHERS) <= set(names_in(tmp_path))
