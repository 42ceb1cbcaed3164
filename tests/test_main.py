"""The whole way from mp4 to .hdf5 to a test report, and the trainer's errors."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import TITLES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_data_loader import write_dataset

import main as trainer
from data_loader import Batches, DataLoader
from model import build_model
from videosummarizer.dataset.metadata import read_metadata
from videosummarizer.training import validation
from videosummarizer.training.checkpoint import read_checkpoint_attributes, write_checkpoint_attributes
from videosummarizer.training.fusion import FUSION_LAYER, OUTPUTS
from videosummarizer.training.inference import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--epochs", "25", "--learning_rate", "0.003"]
ENVIRON = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
# The trainer's own command, killed right after its third epoch was noted.
KILLED = """
import os, signal, sys
import main
from videosummarizer.training import resume_point

def write(ckpt_dir, state, plain=resume_point.write):
    plain(ckpt_dir, state)
    if len(state.history) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

resume_point.write = write
main.main(sys.argv[1:])
"""
# The trainer's own command with the small network.
SMALL = """
import runpy, sys
import model, small_network

model.build_model = small_network.build_small_network
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def trained(dataset_dir, tmp_path_factory):
    """The finished command `python main.py` on clips that the tests made, and the folder it wrote to."""
    ckpt_dir = tmp_path_factory.mktemp("ckpt")
    command = [sys.executable, str(ROOT / "main.py"), "--data_dir", str(dataset_dir), "--ckpt_dir", str(ckpt_dir)]
    result = subprocess.run([*command, *FLAGS], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return result, ckpt_dir


def checkpoints_in(ckpt_dir):
    return sorted(ckpt_dir.glob("*.hdf5"))


def test_from_mp4_to_checkpoint_to_test_report(trained, dataset_dir):
    result, ckpt_dir = trained
    report = json.loads((ckpt_dir / "test_report.json").read_text())
    assert report["videos"] == TITLES["test"]
    assert report["checkpoint"] == checkpoints_in(ckpt_dir)[-1].name
    model, everything = report["model"]["per_segment"], report["everything"]["per_segment"]
    # Loud is a highlight in these clips: easy to learn, and not by the proportion of highlights alone.
    assert model["average_precision"] > 0.9
    assert everything["average_precision"] == pytest.approx(1 / 20)
    assert everything["f1"] == pytest.approx(2 / 21)
    (tn, fp), (fn, tp) = model["confusion_matrix"]
    assert (tn + fp, fn + tp) == (19, 1)
    assert model["precision"] == pytest.approx(tp / (tp + fp))
    assert report["loudness"]["per_event"]["iou_0.5"]["f1"] == 1
    assert [row["title"] for row in report["by_match"]] == TITLES["test"]
    for name in ("history.png", "precision_recall.png", "calibration.png", "test_matches.png"):
        assert (ckpt_dir / name).read_bytes()[:4] == b"\x89PNG"
        assert str(ckpt_dir / name) in result.stdout
    with open(ckpt_dir / "predictions.csv", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == list("00000000100000000000")
    for words in (
        "train: 2 videos, 20 segments, 5 highlights",
        "everything is a highlight",
        "confusion matrix",
        "Look at:",
    ):
        assert words in result.stdout


def test_checkpoints_are_those_epochs_that_improved(trained):
    _, ckpt_dir = trained
    with open(ckpt_dir / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in history] == list(range(1, 26))
    assert {"loss", "val_loss", "val_precision", "val_recall", "val_f1", "val_average_precision"} < set(history[0])
    best, expected = float("inf"), []
    for row in history:
        if float(row["val_loss"]) < best:
            best = float(row["val_loss"])
            expected.append((int(row["epoch"]), f"{best:.4f}"))
    found = [path.stem.split("-")[-2:] for path in checkpoints_in(ckpt_dir)]
    assert [(int(epoch), val_loss) for epoch, val_loss in found] == expected


def test_an_epochs_line_is_readable(trained):
    lines = [line for line in trained[0].stdout.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 25
    for name in ("loss", "precision", "recall", "F1", "average precision", "saved"):
        assert name in lines[0]


def test_no_warnings_in_a_normal_run(trained):
    noise = [line for line in trained[0].stderr.replace("\r", "\n").splitlines() if line.strip()]
    assert [line for line in noise if "Training:" not in line] == []


def test_testing_a_checkpoint_gives_the_numbers_of_training(trained, dataset_dir, tmp_path, capsys):
    _, ckpt_dir = trained
    arguments = ["--mode", "test", "--ckpt", str(checkpoints_in(ckpt_dir)[-1]), "--data_dir", str(dataset_dir)]
    assert trainer.main([*arguments, "--ckpt_dir", str(tmp_path)]) == 0
    assert (tmp_path / "test_report.json").read_text() == (ckpt_dir / "test_report.json").read_text()
    assert "everything is a highlight" in capsys.readouterr().out


def test_a_checkpoint_says_how_it_was_made(trained, dataset_dir):
    attributes = read_checkpoint_attributes(checkpoints_in(trained[1])[0])
    assert attributes["config"] == read_metadata(dataset_dir)["config"]
    assert attributes["split"] == [0.6, 0.2]
    assert attributes["seed"] == 0


def test_the_operating_point_is_chosen_once_and_used(trained, dataset_dir, tmp_path, capsys):
    best = checkpoints_in(trained[1])[-1]
    report = json.loads((trained[1] / "test_report.json").read_text())
    assert report["operating_point_chosen_on"] == "valid"
    assert report["model"]["operating_point"] == read_checkpoint_attributes(best)["operating_point"]
    assert list(trained[1].glob("*.part*")) == []
    # Another point in the file is another point of the test; without one it is said.
    copy = tmp_path / "copy.hdf5"
    shutil.copy(best, copy)
    arguments = ["--mode", "test", "--ckpt", str(copy), "--data_dir", str(dataset_dir)]
    attributes = read_checkpoint_attributes(copy)
    write_checkpoint_attributes(copy, attributes | {"operating_point": {"threshold": 0.0, "section_penalty": 2.0}})
    assert trainer.main(arguments) == 0
    report = json.loads((tmp_path / "test_report.json").read_text())
    assert report["model"]["per_segment"]["confusion_matrix"] == [[0, 19], [0, 1]]
    del attributes["operating_point"], attributes["loudness_operating_point"]
    write_checkpoint_attributes(copy, attributes)
    assert trainer.main(arguments) == 0
    assert "the checkpoint stores none, a score of 0.5 is used" in capsys.readouterr().out
    assert json.loads((tmp_path / "test_report.json").read_text())["loudness"] is None
    write_checkpoint_attributes(copy, attributes | {"operating_point": {"cut": 3}})
    assert trainer.main(arguments) == 1


def test_a_checkpoint_scores_as_it_was_validated(trained, dataset_dir):
    best = checkpoints_in(trained[1])[-1]
    network, loader = load_checkpoint(best), DataLoader(dataset_dir)
    attributes = read_checkpoint_attributes(best)
    calibration = attributes["calibration"]["highlight"]
    scores = validation.predict(network, loader, "valid")[0].astype(float)
    log_odds = np.log(scores) - np.log1p(-scores)
    before = 1 / (1 + np.exp(-(log_odds - calibration["offset"]) / calibration["scale"]))
    assert np.abs(before - scores).max() > 0.01
    assert validation.validate(before, loader)["val_loss"] == pytest.approx(attributes["val_loss"], abs=1e-4)


def test_training_sees_segments_that_are_cut_elsewhere(small_network, dataset_dir, tmp_path, monkeypatch):
    moved = []
    original = Batches.shift
    monkeypatch.setattr(
        Batches,
        "shift",
        lambda batches, number: moved.append(batches.shift_steps[number]) or original(batches, number),
    )
    assert train_in_process(dataset_dir, tmp_path)[0] == 0
    assert set(moved) == {0, 1}  # of two steps


def test_modalities_that_are_wrong_get_no_fusion_weight(dataset_dir):
    loader = DataLoader(dataset_dir)
    network = build_model(loader.data_shape, loader.config.audio_sample_rate, loader.num_steps)
    labels = loader.labels("valid")[:, np.newaxis]
    right = np.repeat(np.where(labels, 0.9, 0.1), 1 + loader.num_steps, axis=1)
    lost = np.repeat(np.where([1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0], 0.9, 0.1)[:, np.newaxis], right.shape[1], axis=1)
    said = np.stack([right, 1 - right, lost])  # by loudness, audio and video
    said[:, :, 1:] = said[::-1, :, 1:]  # for steps, the video is right
    valid_rows = validation.tune_fusion_weights(network, np.concatenate(said, axis=1), loader)
    for name, expected in zip(OUTPUTS, ([1, 0, 0], [0, 0, 1]), strict=True):
        assert network.get_layer(FUSION_LAYER.format(name)).fusion_weights.numpy().tolist() == expected
    np.testing.assert_allclose(valid_rows, right)


def test_a_checkpoint_for_other_data_is_refused(trained, tmp_path, caplog):
    labels_of = {title: [0, 1] for titles in TITLES.values() for title in titles}
    other = write_dataset(tmp_path / "other", labels_of)
    ckpt = str(checkpoints_in(trained[1])[-1])
    assert trainer.main(["--mode", "test", "--ckpt", ckpt, "--data_dir", str(other)]) == 1
    assert "received a dataset with {'segment_length': 1" in caplog.text


def test_another_split_than_the_checkpoints_is_refused(trained, dataset_dir, caplog):
    ckpt = str(checkpoints_in(trained[1])[-1])
    arguments = ["--mode", "test", "--ckpt", ckpt, "--data_dir", str(dataset_dir), "--split", "0.1", "0.2"]
    assert trainer.main(arguments) == 1
    assert "another split would test it on videos that it has seen" in caplog.text


@pytest.mark.parametrize("split", [None, "0.6 0.2", [0.6], [0.9, 0.2]])
def test_a_checkpoint_without_a_split_is_refused(dataset_dir, tmp_path, split, caplog):
    ckpt = tmp_path / "foreign.hdf5"
    h5py.File(ckpt, "w").close()
    write_checkpoint_attributes(ckpt, {} if split is None else {"split": split})
    assert trainer.main(["--mode", "test", "--ckpt", str(ckpt), "--data_dir", str(dataset_dir)]) == 1
    assert f"received a checkpoint with the split {split}" in caplog.text


def test_a_file_is_no_place_for_checkpoints(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        trainer.parse_args(["--ckpt_dir", str(tmp_path / "file")])
    assert "which is a file, expected a folder" in capsys.readouterr().err


def test_ctrl_c_ends_cleanly_and_keeps_the_best_checkpoint(dataset_dir, tmp_path):
    command = [sys.executable, "-c", SMALL, str(ROOT / "main.py"), "--data_dir", str(dataset_dir)]
    process = subprocess.Popen(
        [*command, "--ckpt_dir", str(tmp_path), "--epochs", "100000"],
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not checkpoints_in(tmp_path) or not (tmp_path / "history.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    best = checkpoints_in(tmp_path)[-1]
    assert f"Best checkpoint: {best}" in out
    assert "Interrupted. The best checkpoint" in err
    assert "Traceback" not in err
    assert (tmp_path / "history.png").exists()
    arguments = ["--mode", "test", "--ckpt", str(best), "--data_dir", str(dataset_dir)]
    assert trainer.main(arguments) == 0


def train_in_process(dataset_dir, ckpt_dir, *more, epochs=4):
    """The exit status of a short training, and the rows of its history."""
    arguments = ["--data_dir", str(dataset_dir), "--ckpt_dir", str(ckpt_dir), "--epochs", str(epochs), *more]
    status = trainer.main([*arguments, "--batch_size", "4"])
    return status, read_history(ckpt_dir)


def read_history(ckpt_dir):
    path = ckpt_dir / "history.csv"
    return path.read_text().splitlines() if path.exists() else []


def test_a_killed_run_is_resumed_and_ends_as_if_it_had_not_been_killed(trained, dataset_dir, tmp_path):
    undisturbed, killed = folders = trained[1], tmp_path / "killed"
    arguments = ["--data_dir", str(dataset_dir), "--ckpt_dir", str(killed), *FLAGS]
    result = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=ENVIRON, capture_output=True, timeout=600)
    assert result.returncode == -signal.SIGKILL
    assert len(read_history(undisturbed)) == 26
    assert read_history(killed) == read_history(undisturbed)[:4]
    assert not (killed / "test_report.json").exists()
    assert trainer.main([*arguments, "--resume"]) == 0
    assert read_history(killed) == read_history(undisturbed)  # to the last digit
    names = [[path.name.split("-", 3)[3] for path in checkpoints_in(folder)] for folder in folders]
    assert names[0] == names[1]
    reports = [json.loads((folder / "test_report.json").read_text()) for folder in folders]
    assert reports[0]["model"] == reports[1]["model"]


def test_only_the_same_run_is_resumed(small_network, dataset_dir, tmp_path, caplog):
    assert train_in_process(dataset_dir, tmp_path, "--resume")[0] == 1
    assert "resume.npz: nothing to resume, no epoch was finished: train without --resume" in caplog.text
    assert train_in_process(dataset_dir, tmp_path, epochs=1)[0] == 0
    assert train_in_process(dataset_dir, tmp_path, "--resume", "--seed", "3", epochs=2)[0] == 1
    assert "started with --epochs 1, --seed 0, received --epochs 2, --seed 3: give the same flags" in caplog.text
    with np.load(tmp_path / "resume.npz") as arrays:
        fewer = {name: arrays[name] for name in arrays.files if name != f"arr_{len(arrays.files) - 2}"}
    np.savez(tmp_path / "resume.npz", **fewer)
    assert train_in_process(dataset_dir, tmp_path, "--resume", epochs=1)[0] == 1
    assert "resume.npz: received the values of another version's network" in caplog.text
    (tmp_path / "resume.npz").write_bytes(b"junk")
    assert train_in_process(dataset_dir, tmp_path, "--resume", epochs=1)[0] == 1
    assert "resume.npz: cannot be read" in caplog.text


def test_a_run_is_resumed_where_its_folder_was_moved_to(small_network, dataset_dir, tmp_path, caplog):
    assert train_in_process(dataset_dir, tmp_path / "before", epochs=1)[0] == 0
    (tmp_path / "before").rename(tmp_path / "after")
    (checkpoint,) = checkpoints_in(tmp_path / "after")
    assert train_in_process(dataset_dir, tmp_path / "after", "--resume", epochs=1)[0] == 0
    assert checkpoints_in(tmp_path / "after") == [checkpoint]
    checkpoint.unlink()
    assert train_in_process(dataset_dir, tmp_path / "after", "--resume", epochs=1)[0] == 1
    assert "after: the best checkpoint of the run is missing, expected it next to resume.npz" in caplog.text


def test_a_network_that_diverges_is_reported_in_one_line(small_network, dataset_dir, tmp_path, caplog):
    assert train_in_process(dataset_dir, tmp_path, "--learning_rate", "1e30", epochs=2)[0] == 1
    assert (
        "valid: the network's scores are not numbers, expected scores from 0 to 1. If training diverged" in caplog.text
    )


def test_training_stops_when_the_validation_loss_no_longer_falls(small_network, dataset_dir, tmp_path, capsys):
    # So high a rate that the loss soon rises.
    flags = ["--patience", "2", "--learning_rate", "0.5"]
    status, history = train_in_process(dataset_dir, tmp_path, *flags, epochs=60)
    assert status == 0
    losses = [float(row["val_loss"]) for row in csv.DictReader(history)]
    assert len(losses) < 60
    assert losses.index(min(losses)) == len(losses) - 3
    assert "Stopped: no lower validation loss in 2 epochs (--patience)" in capsys.readouterr().out
    assert train_in_process(dataset_dir, tmp_path, "--resume", *flags, epochs=60)[0] == 0
    assert f"Resuming after epoch {len(losses)} of 60" in capsys.readouterr().out


def test_a_checkpoint_is_fine_tuned(small_network, dataset_dir, tmp_path, caplog):
    assert train_in_process(dataset_dir, tmp_path / "first", "--learning_rate", "0.05", epochs=8)[0] == 0
    best = checkpoints_in(tmp_path / "first")[-1]
    status, history = train_in_process(dataset_dir, tmp_path / "tuned", "--init_ckpt", str(best), epochs=1)
    assert status == 0
    _, from_nothing = train_in_process(dataset_dir, tmp_path / "new", epochs=1)
    tuned_loss, new_loss = (float(next(csv.DictReader(rows))["val_loss"]) for rows in (history, from_nothing))
    assert tuned_loss < new_loss
    other = write_dataset(tmp_path / "other", {title: [0, 1] for titles in TITLES.values() for title in titles})
    assert train_in_process(other, tmp_path / "refused", "--init_ckpt", str(best))[0] == 1
    assert f"--init_ckpt: received {best} trained on a dataset with {{'segment_length': 1.0" in caplog.text


def test_tensorboard_reads_the_logs(trained):
    (run_dir,) = (trained[1] / "logs").iterdir()
    for subset, tag in (("train", "epoch_loss"), ("validation", "epoch_average_precision")):
        events = EventAccumulator(str(run_dir / subset), size_guidance={"tensors": 0}).Reload()
        assert len(events.Tensors(tag)) == 25


def test_a_checkpoint_that_would_run_something_is_named(trained, dataset_dir, tmp_path, caplog):
    ckpt = tmp_path / "hostile.hdf5"
    shutil.copy(checkpoints_in(trained[1])[-1], ckpt)
    with h5py.File(ckpt, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace(
            '"class_name": "Flatten"', '"class_name": "Lambda"'
        )
    assert trainer.main(["--mode", "test", "--ckpt", str(ckpt), "--data_dir", str(dataset_dir)]) == 1
    assert "hostile.hdf5: the network in it has the layer Lambda" in caplog.text


def test_help_shows_the_five_flags_and_loads_nothing_large():
    code = (
        "import sys, main\ntry: main.main(['--help'])\nexcept SystemExit: pass\n"
        "print({'keras', 'tensorflow', 'sklearn', 'scipy', 'matplotlib', 'h5py'} & set(sys.modules) != set())"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"
    for flag in ("--learning_rate", "--epochs", "--batch_size", "--data_dir", "--ckpt_dir", "--mode", "--seed"):
        assert flag in result.stdout
    text = " ".join(result.stdout.split())
    assert "(default: as many as make 3500 training steps, but at least 12 and at most 48)" in text
    assert "(default: two sequences, whose length follows from the length of the labelled highlights)" in text
    assert "AdamW optimizer (default: 0.0015 for batches of the default size, and for others" in text
