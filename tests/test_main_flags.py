"""Each flag of main.py: its default, what it does, and what would be missing if it were ignored."""

import logging
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import TITLES
from test_data_loader import write_dataset

import main as trainer
from data_loader import DataLoader
from videosummarizer.dataset import audit
from videosummarizer.dataset.metadata import SCHEMA_VERSION, DatasetError, read_metadata
from videosummarizer.training import resume_point, run_folder
from videosummarizer.training.backend_choice import BackendError
from videosummarizer.training.checkpoint import CheckpointError, write_checkpoint_attributes
from videosummarizer.training.keras_backend import keras
from videosummarizer.training.validation import TrainingError

LABELS_OF = {title: [0, 1, 0] for titles in TITLES.values() for title in titles}


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset", LABELS_OF)


def parse(dataset, *flags):
    return trainer.parse_args(["--data_dir", str(dataset), *flags])


def test_defaults():
    assert vars(trainer.parse_args([])) == {
        "learning_rate": None,
        "epochs": None,
        "batch_size": None,
        "data_dir": "dataset_sl5_vsr3_vw64_vh64_asr11025",
        "ckpt_dir": Path("checkpoints"),
        "mode": "train",
        "ckpt": None,
        "seed": 0,
        "split": None,
        "folds": None,
        "resume": False,
        "overwrite": False,
        "patience": None,
        "init_ckpt": None,
        "check_data": False,
        "group_by": None,
        "coordinator": None,
        "num_processes": None,
        "process_id": None,
        "debug": False,
    }


def test_values():
    arguments = "--learning_rate 0.01 --epochs 3 --batch_size 5 --data_dir d --ckpt_dir c/d --seed 7 --split 0.5 0.3"
    arguments += " --resume --patience 4 --init_ckpt i.hdf5 --check_data --group_by ^[a-z]+ --debug"
    arguments += " --coordinator host:80 --num_processes 3 --process_id 2"
    expected = {
        "learning_rate": 0.01,
        "epochs": 3,
        "batch_size": 5,
        "data_dir": "d",
        "ckpt_dir": Path("c/d"),
        "mode": "train",
        "ckpt": None,
        "seed": 7,
        "split": [0.5, 0.3],
        "folds": None,
        "resume": True,
        "overwrite": False,
        "patience": 4,
        "init_ckpt": "i.hdf5",
        "check_data": True,
        "group_by": re.compile("^[a-z]+"),
        "coordinator": "host:80",
        "num_processes": 3,
        "process_id": 2,
        "debug": True,
    }
    assert vars(trainer.parse_args(arguments.split())) == expected


def test_a_test_writes_to_the_checkpoints_folder_or_where_it_is_told_to():
    test = ["--mode", "test", "--ckpt", "some/where/x.hdf5"]
    assert trainer.parse_args(test).ckpt_dir == Path("some/where")
    assert trainer.parse_args([*test, "--ckpt_dir", "else"]).ckpt_dir == Path("else")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "0"],
        ["--seed", str(2**32 - 1)],
        ["--patience", "1"],
        ["--epochs", "1"],
        ["--batch_size", "1"],
        ["--learning_rate", "1e-9"],
        ["--coordinator", "[::1]:1", "--num_processes", "1", "--process_id", "0"],
        ["--coordinator", "h:1", "--num_processes", "2", "--process_id", "1"],
    ],
)
def test_values_that_are_just_right(arguments):
    trainer.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", str(2**32)], f"--seed: received {2**32}, expected a whole number from 0 to {2**32 - 1}"),
        (["--learning_rate", "0"], "--learning_rate: received 0.0, expected a number above 0"),
        (["--learning_rate", "inf"], "--learning_rate: received inf"),
        (["--batch_size", "0"], "--batch_size: received 0"),
        (["--patience", "-1"], "--patience: received -1, expected a number above 0"),
        (["--split", "0.5", "0.5"], "--split: received [0.5, 0.5], expected two fractions above 0 with a sum below 1"),
        (["--group_by", "("], "argument --group_by: received '(', expected a regular expression (missing )"),
        (["--mode", "evaluate"], "invalid choice"),
        (["--coordinator", "h:x", "--num_processes", "2", "--process_id", "0"], "received h:x, expected HOST:PORT"),
        (["--coordinator", "h:1x", "--num_processes", "2", "--process_id", "0"], "received h:1x, expected HOST:PORT"),
        (["--coordinator", "h:1", "--num_processes", "0", "--process_id", "0"], "received 0 of 0 processes"),
        (["--coordinator", "h:1", "--num_processes", "2", "--process_id", "-1"], "received -1 of 2 processes"),
        (["--coordinator", "h:1", "--num_processes", "2", "--process_id", "2"], "received 2 of 2 processes"),
        (["--epochs", "0"], "argument --epochs: received 0, expected a number above 0"),
        (["--learning_rate", "nan"], "argument --learning_rate: received nan"),
        (["--batch_size", "-4"], "argument --batch_size: received -4"),
        (["--seed", "-1"], "argument --seed: received -1"),
        (["--patience", "0"], "argument --patience: received 0"),
        (["--split", "0.9", "0.2"], "argument --split: received [0.9, 0.2]"),
        (["--mode", "test"], "--mode test and --ckpt FILE go together"),
        (["--ckpt", "x.hdf5"], "--mode test and --ckpt FILE go together"),
        (["--folds", "2"], "argument --folds: received 2, expected a whole number from 3 to 50"),
        (["--folds", "51"], "argument --folds: received 51"),
        (["--folds", "x"], "argument --folds: invalid int value: 'x'"),
        (
            ["--folds", "5", "--split", "0.5", "0.2"],
            "--folds and --split: received both, expected one of them: the fol",
        ),
        (["--folds", "5", "--mode", "test", "--ckpt", "x.hdf5"], "--folds and --ckpt: received both"),
        (
            ["--folds", "5", "--coordinator", "h:1", "--num_processes", "2", "--process_id", "1"],
            "--folds and --coordinator: received both, expected one of them: folds are trained in one process",
        ),
        (["--overwrite", "--resume"], "--overwrite and --resume: received both, expected one of them"),
        (["--overwrite", "--mode", "test", "--ckpt", "x.hdf5"], "--overwrite and --mode test: received both"),
        (
            ["--overwrite", "--ckpt_dir", "runs", "--init_ckpt", "runs/fold_1/x.hdf5"],
            "--init_ckpt: received runs/fold_1/x.hdf5, which --overwrite deletes with its folder",
        ),
        (["--num_processes", "2"], "go together: give all three, or none"),
        (["--process_id", "0"], "go together: give all three, or none"),
    ],
)
def test_values_that_are_just_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        trainer.parse_args(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


# ---- The data


def test_the_loader_has_the_batch_size_the_seed_and_the_split(dataset):
    loader = trainer.load_data(parse(dataset))
    assert (loader.batch_size, loader.seed, loader.train_ratio, loader.valid_ratio) == (16, 0, 0.6, 0.2)
    loader = trainer.load_data(parse(dataset, "--batch_size", "5", "--seed", "3", "--split", "0.61", "0.1"))
    assert (loader.batch_size, loader.seed, loader.train_ratio, loader.valid_ratio) == (5, 3, 0.61, 0.1)
    assert loader.num_videos == {"train": 3, "valid": 1, "test": 2}  # match_07 is at 0.604, match_09 at 0.663


def ran(monkeypatch, dataset, tmp_path, *flags):
    """main()'s status, where neither training nor a test takes place."""
    monkeypatch.setattr(trainer, "train", lambda args, loader: "best.hdf5")
    monkeypatch.setattr(trainer, "test_checkpoint", lambda args, loader, path: ["report.json"])
    return trainer.main(["--data_dir", str(dataset), "--ckpt_dir", str(tmp_path / "ckpt"), *flags])


def test_a_run_says_what_there_is_and_what_it_wrote(dataset, tmp_path, monkeypatch, capsys):
    assert ran(monkeypatch, dataset, tmp_path) == 0
    ckpt_dir = tmp_path / "ckpt"
    assert capsys.readouterr().out.splitlines() == [
        "train: 2 videos, 6 segments, 2 highlights",
        "valid: 2 videos, 6 segments, 2 highlights",
        "test : 2 videos, 6 segments, 2 highlights",
        f"Look at: {ckpt_dir}/history.csv, {ckpt_dir}/history.png, {ckpt_dir}/report.json, best.hdf5",
    ]


def test_a_test_trains_nothing(dataset, tmp_path, monkeypatch, capsys):
    path = tmp_path / "x.hdf5"
    keras.Sequential([keras.layers.Input((1,))]).save(path)
    config = DataLoader(dataset).config.to_dict()
    write_checkpoint_attributes(path, {"config": config, "split": [0.6, 0.2]})
    monkeypatch.setattr(audit, "find_leaks", lambda *arguments: pytest.fail("not of a test"))
    assert ran(monkeypatch, dataset, tmp_path, "--mode", "test", "--ckpt", str(path)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Look at: {tmp_path / 'ckpt' / 'report.json'}, {path}"
    (dataset / "match_10" / "seg_00002_0.pkl").write_bytes(b"junk")
    assert ran(monkeypatch, dataset, tmp_path, "--mode", "test", "--ckpt", str(path), "--check_data") == 1


def test_check_data_reads_every_segment_first(dataset, tmp_path, monkeypatch, caplog):
    (dataset / "match_10" / "seg_00002_0.pkl").write_bytes(b"junk")
    assert ran(monkeypatch, dataset, tmp_path) == 0
    assert ran(monkeypatch, dataset, tmp_path, "--check_data") == 1
    assert "match_10/seg_00002_0.pkl" in caplog.text
    assert "1 of 18 segments cannot be used" in caplog.text


def test_group_by_warns_of_series_on_two_sides(dataset, tmp_path, monkeypatch, caplog):
    assert ran(monkeypatch, dataset, tmp_path) == 0
    assert "series" not in caplog.text
    assert ran(monkeypatch, dataset, tmp_path, "--group_by", "^[a-z]+") == 0
    assert "series 'match' is in 3 subsets: train: match_00, match_01; valid:" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


# ---- What a run and a checkpoint state


def test_what_has_to_be_the_same_for_a_run_to_be_resumed(dataset):
    flags = ["--learning_rate", "0.01", "--epochs", "3", "--batch_size", "5", "--seed", "7"]
    flags += ["--split", "0.61", "0.1", "--init_ckpt", "i.hdf5"]
    args = parse(dataset, *flags)
    settings = trainer.run_settings(args, trainer.load_data(args))
    config = settings.pop("data config")
    assert config == read_metadata(dataset)["config"]
    assert settings == {
        "--learning_rate": 0.01,
        "--epochs": 3,
        "--batch_size": 5,
        "--seed": 7,
        "--split": [0.61, 0.1],
        "--init_ckpt": "i.hdf5",
        "segments": [9, 3, 6],
    }


def test_values_that_were_derived_have_to_be_the_same_too(dataset, dataset_dir):
    for folder, batch_size in ((dataset, 16), (dataset_dir, 30)):  # highlights of 1 s, of 3 s
        args = parse(folder)
        loader = trainer.load_data(args)
        settings = trainer.run_settings(args, loader)
        assert (settings["--epochs"], settings["--batch_size"]) == (48, batch_size)
        assert trainer.checkpoint_attributes(args, loader)["batch_size"] == batch_size


def test_what_a_checkpoint_says_of_itself(dataset):
    args = parse(dataset, "--learning_rate", "0.01", "--batch_size", "5", "--seed", "7", "--split", "0.61", "0.1")
    attributes = trainer.checkpoint_attributes(args, trainer.load_data(args))
    metadata = read_metadata(dataset)
    assert attributes.pop("config") == metadata["config"]
    assert attributes.pop("data_shape") == metadata["data_shape"]
    assert attributes.pop("schema_version") == SCHEMA_VERSION
    assert set(attributes.pop("versions")) == {"keras", "tensorflow", "numpy"}
    assert attributes == {
        "split": [0.61, 0.1],
        "learning_rate": 0.01,
        "batch_size": 5,
        "seed": 7,
    }


# ---- What is said, and how a run ends


def test_an_epochs_line_names_its_numbers():
    row = {"epoch": 7, "loss": 0.12344, "val_loss": 0.98766, "val_precision": 0.1114, "val_recall": 0.2226}
    row |= {"val_f1": 0.3334, "val_average_precision": 0.4446}
    expected = "epoch   7/120  loss 0.1234 | valid: loss 0.9877  precision 0.111  recall 0.223  F1 0.333  "
    expected += "average precision 0.445"
    assert run_folder.format_epoch(row, 120, False) == expected
    assert run_folder.format_epoch(row, 120, True) == f"{expected}  saved"


def test_the_history_is_a_table(tmp_path):
    history = [{"epoch": 1, "loss": 0.1 + 0.2, "val_loss": math.nan}, {"epoch": 2, "loss": 1e-7, "val_loss": 2.0}]
    run_folder.write_history(tmp_path / "history.csv", history)
    expected = "epoch,loss,val_loss\n1,0.30000000000000004,nan\n2,1e-07,2.0\n"
    assert (tmp_path / "history.csv").read_bytes() == expected.encode()


def ends_with(monkeypatch, error, *flags):
    def run(args):
        print("in the middle of it")
        logging.getLogger("main").warning("careful")
        if error:
            raise error

    monkeypatch.setattr(trainer, "run", run)
    return trainer.main(list(flags))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (DatasetError("no data"), 1),
        (CheckpointError("no data"), 1),
        (resume_point.ResumeError("no data"), 1),
        (TrainingError("no data"), 1),
        (OSError("no data"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_exit_status_says_how_it_ended(error, status, monkeypatch, caplog, capsys):
    assert ends_with(monkeypatch, error) == status
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [bool(record.exc_info) for record in errors] == [False] * bool(status)
    if status == 1:
        assert errors[0].getMessage() == "no data"
    if status == 130:
        assert "Interrupted. The best checkpoint so far" in errors[0].getMessage()
        assert "--resume continues after the last finished epoch" in errors[0].getMessage()
    assert capsys.readouterr().out == "in the middle of it\n"


def test_an_error_of_the_program_itself_is_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        ends_with(monkeypatch, ZeroDivisionError())


def test_debug_shows_where_an_error_comes_from(monkeypatch, caplog):
    assert ends_with(monkeypatch, TrainingError("no data"), "--debug") == 1
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.exc_info[0] is TrainingError


@pytest.mark.parametrize(("process_id", "level"), [(None, logging.WARNING), (0, logging.WARNING), (1, logging.ERROR)])
def test_of_several_processes_the_first_alone_tells(process_id, level, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: asked.append(settings))
    flags = ["--coordinator", "h:1", "--num_processes", "2", "--process_id", str(process_id)]
    assert ends_with(monkeypatch, None, *([] if process_id is None else flags)) == 0
    assert asked == [{"format": "%(levelname)s: %(message)s", "level": level}]
    assert capsys.readouterr().out == ("" if process_id == 1 else "in the middle of it\n")


@pytest.mark.parametrize(
    ("backend", "coordinator", "message"),
    [
        (None, None, None),
        ("", None, None),
        ("jax", "h:1", None),
        ("tensorflow", "h:1", "--coordinator: received the backend tensorflow, expected jax"),
        (None, "h:1", "--coordinator: received the backend tensorflow, expected jax"),
        ("nonesuch", None, "KERAS_BACKEND: received nonesuch, which is not installed: pip install nonesuch -c"),
    ],
)
def test_the_backend_has_to_be_there(backend, coordinator, message, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if backend is not None:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    args = SimpleNamespace(coordinator=coordinator)
    if message is None:
        trainer.require_backend(args)
    else:
        with pytest.raises((BackendError, TrainingError), match=re.escape(message)):
            trainer.require_backend(args)


def test_a_zip_is_a_dataset_too(dataset, tmp_path):
    path = shutil.make_archive(tmp_path / "shared", "zip", tmp_path, "dataset")
    assert trainer.load_data(parse(path)).num_segments == {"train": 6, "valid": 6, "test": 6}
