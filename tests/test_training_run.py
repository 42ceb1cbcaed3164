"""What a training run makes of each epoch: whose weights are validated, saved and trained on, and which epoch is the
best. Training and scoring are played by a script, so that all values are known."""

import json
import math
import pickle
import re

import numpy as np
import pytest
import sklearn.metrics
from scripted_training import POINT, VALID_LABELS, Script, all_at, loss_of, scores_with, weights_in
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import main as trainer
from videosummarizer.evaluation import plots
from videosummarizer.training import compiled_steps, inference, optimization, training_run, validation
from videosummarizer.training.checkpoint import read_checkpoint_attributes
from videosummarizer.training.training_statistics import summarise

SCORES = np.array([0.2, 0.9, 0.4, 0.8, 0.7, 0.6, 0.1, 0.3, 0.9, 0.8, 0.5])


def test_a_row_of_the_history_is_of_the_epochs_scores(play):
    script = play([SCORES])
    # Found from 0.5 on: 1, 3, 4, 8 and 9 rightly, 5 and 10 wrongly; 2 and 7 are missed.
    (row,) = script.rows
    metrics = ("loss", "precision", "recall", "f1", "average_precision")
    assert list(row) == ["epoch", "loss", *(f"val_{name}" for name in metrics)]
    assert (row["epoch"], row["loss"]) == ("1", "0.25")
    for name in ("precision", "recall", "f1"):
        assert float(row[f"val_{name}"]) == pytest.approx(5 / 7)
    by_score = [0.9, 0.9, 0.8, 0.8, 0.7], [2 / 2, 2 / 2, 4 / 4, 4 / 4, 5 / 5]  # then 6 / 8 at 0.4 and 7 / 9 at 0.3
    assert float(row["val_average_precision"]) == pytest.approx((sum(by_score[1]) + 6 / 8 + 7 / 9) / 7)
    by_hand = -sum(
        2 * math.log(score) if label else 2 / 3 * math.log(1 - score)
        for score, label in zip(SCORES, VALID_LABELS, strict=True)
    ) / (7 * 2 + 4 * 2 / 3)
    assert float(row["val_loss"]) == pytest.approx(by_hand)
    assert abs(by_hand - sklearn.metrics.log_loss(VALID_LABELS, SCORES)) > 0.005


def test_averaged_weights_are_validated_and_saved_and_training_continues_from_the_raw_ones(play):
    script = play([scores_with(high) for high in (0.6, 0.7, 0.8)])
    for epoch, seen in enumerate(script.seen, start=1):
        assert all_at(seen.validated, epoch / 8)
    for path, epoch in zip(script.checkpoints, (1, 2, 3), strict=True):
        assert all_at(weights_in(path), epoch / 8)
        assert all_at(inference.load_checkpoint(path).get_weights(), epoch / 8)
    for epoch, seen in enumerate(script.seen[1:], start=1):
        assert all_at(seen.weights, epoch)
        assert all_at(seen.average, epoch / 8)
        assert (seen.num_updates, seen.num_steps) == (3 * epoch, 10 * epoch)


def test_the_average_starts_at_the_first_weights(play):
    (seen,) = play([SCORES]).seen
    assert seen.num_updates == 0
    for value, weight in zip(seen.average, seen.weights, strict=True):
        np.testing.assert_array_equal(value, weight)


def test_each_epoch_starts_its_own_order_of_batches(play):
    script = play([scores_with(high) for high in (0.6, 0.7, 0.8)])
    assert script.started == [0, 0, 0, 0, 1, 2]  # made three times: two count batches
    assert script.shards[-1] == ("train", None)


def test_a_checkpoint_has_the_calibration_of_its_own_epoch_and_the_history_is_from_before_it(play):
    def calibrate(network, scores, loader):
        return {"steps": {"scale": 2.0, "offset": round(float(scores.max()), 6)}}

    highs, point = (0.6, 0.7, 0.8), {"threshold": 0.5, "section_penalty": 1.5}
    script = play([scores_with(h) for h in highs], calibrate=calibrate, point_of=lambda *arguments: point)
    assert [float(row["val_loss"]) for row in script.rows] == pytest.approx([loss_of(scores_with(h)) for h in highs])
    for path, high in zip(script.checkpoints, highs, strict=True):
        attributes = read_checkpoint_attributes(path)
        assert attributes["calibration"] == {"steps": {"scale": 2, "offset": high}}
        assert attributes["operating_point"]["threshold"] == pytest.approx(1 / (1 + math.exp(-high)))
        assert attributes["operating_point"]["section_penalty"] == 3
        assert attributes["loudness_operating_point"] == point


def test_checkpoints_have_the_statistics_of_the_matches_of_training(play, dataset_dir):
    script = play([scores_with(high) for high in (0.6, 0.7)], stop_in=2)
    play([scores_with(high) for high in (0.6, 0.7)], "--resume", first_epoch=2)
    stored = [
        read_checkpoint_attributes(path)["training_statistics"] for path in sorted(script.ckpt_dir.glob("*.hdf5"))
    ]
    assert len(stored) == 2
    assert stored[0] == stored[1] == summarise(trainer.DataLoader(dataset_dir))
    assert stored[0]["matches"] == 4


def test_a_checkpoint_has_the_operating_point_of_its_own_epoch(play, dataset_dir):
    asked = []

    def point_of(scores, step_scores, loader):
        asked.append((scores, step_scores))
        return {"threshold": round(float(scores.max()), 6), "section_penalty": 0.0}

    highs = (0.6, 0.8, 0.7, 0.9)
    script = play([scores_with(high) for high in highs], point_of=point_of)
    loudness, *of_epochs = asked
    assert [path.name.rsplit("-", 2)[1] for path in script.checkpoints] == ["0001", "0002", "0004"]
    for path, epoch in zip(script.checkpoints, (1, 2, 4), strict=True):
        attributes = read_checkpoint_attributes(path)
        assert attributes["operating_point"] == pytest.approx({"threshold": highs[epoch - 1], "section_penalty": 0})
        assert attributes["epoch"] == epoch
        assert attributes["val_loss"] == pytest.approx(loss_of(scores_with(highs[epoch - 1])))
        assert path.name.endswith(f"-{epoch:04d}-{loss_of(scores_with(highs[epoch - 1])):.4f}.hdf5")
        assert attributes["loudness_operating_point"]["threshold"] == round(float(loudness[0].max()), 6)
    assert len(of_epochs) == 3  # it takes long: of the best epochs alone
    for (scores, step_scores), epoch in zip(of_epochs, (1, 2, 4), strict=True):
        np.testing.assert_array_equal(scores, scores_with(highs[epoch - 1]))
        np.testing.assert_array_equal(step_scores, np.repeat(scores[:, np.newaxis], 2, axis=1))
    for received, title_and_index in zip(loudness[0], valid_segments(dataset_dir), strict=True):
        assert received == pytest.approx(math.sqrt(np.square(title_and_index, dtype=np.float64).mean()))


def valid_segments(dataset_dir):
    """The sound of each segment of validation."""
    paths = [path for title in ("match_07", "match_09") for path in sorted((dataset_dir / title).glob("*.pkl"))]
    return [pickle.loads(path.read_bytes())["audio"] for path in paths]


def test_the_best_epoch_is_tested_and_named(play, capsys):
    script = play([scores_with(high) for high in (0.6, 0.8, 0.7)])
    best = script.checkpoints[-1]
    assert len(script.checkpoints) == 2
    assert script.tested == str(best)
    out = capsys.readouterr().out
    assert f"Best checkpoint: {best}\n" in out
    lines = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert [line.endswith("  saved") for line in lines] == [True, True, False]
    assert [line[:11] for line in lines] == ["epoch   1/3", "epoch   2/3", "epoch   3/3"]


def test_an_equal_loss_is_no_improvement(play, capsys):
    script = play([scores_with(0.7)] * 2)
    assert [path.name.rsplit("-", 2)[1] for path in script.checkpoints] == ["0001"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.endswith("  saved") for line in lines] == [True, False]


def test_without_the_level_of_the_sound_a_checkpoint_has_no_operating_point_for_it(play, monkeypatch):
    monkeypatch.setattr(validation, "rms_levels", lambda loader, subset: None)  # a dataset of MFCCs
    script = play([scores_with(0.7)])
    assert script.status == 0
    attributes = read_checkpoint_attributes(script.checkpoints[0])
    assert "loudness_operating_point" not in attributes
    assert attributes["operating_point"] == pytest.approx(POINT)


def test_the_history_is_drawn_as_it_is_written(play):
    script = play([scores_with(high) for high in (0.6, 0.8)])
    drawn = json.loads((script.ckpt_dir / "history.png").read_bytes())
    assert [{name: str(value) for name, value in row.items()} for row in drawn] == script.rows


def test_tensorboard_shows_the_history(play):
    script = play([scores_with(high) for high in (0.6, 0.8)])
    (run_dir,) = (script.ckpt_dir / "logs").iterdir()
    assert script.checkpoints[0].name.startswith(f"{run_dir.name}-0001-")
    assert re.fullmatch(r"ckpt-20\d{6}-\d{6}", run_dir.name)
    for subset, tag, column in (
        ("train", "epoch_loss", "loss"),
        ("validation", "epoch_loss", "val_loss"),
        ("validation", "epoch_f1", "val_f1"),
        ("validation", "epoch_average_precision", "val_average_precision"),
    ):
        events = EventAccumulator(str(run_dir / subset), size_guidance={"tensors": 0}).Reload().Tensors(tag)
        values = [float(np.frombuffer(event.tensor_proto.tensor_content, np.float32)[0]) for event in events]
        assert values == pytest.approx([float(row[column]) for row in script.rows], rel=1e-6)
        assert [event.step for event in events] == [0, 1]


def test_the_progress_bar_counts_batches(play):
    script = play([scores_with(high) for high in (0.6, 0.7)], "--batch_size", "8", stop_in=2)
    (bar,) = script.bars
    # Sequences of 8: matches of 10 segments are cut into two each.
    assert (bar["total"], bar["initial"], bar["n"], bar["disable"], bar["unit"]) == (8, 0, 2, False, "batch")
    script = play([scores_with(0.7)] * 2, "--batch_size", "8", "--resume", first_epoch=2)
    (bar,) = script.bars
    assert (bar["total"], bar["initial"], bar["n"]) == (8, 4, 6)


def test_what_was_chosen_for_the_dataset_and_the_device_is_printed(play, monkeypatch, capsys):
    monkeypatch.setattr(inference, "reach_steps", lambda network: 15)  # of half a second each
    play([scores_with(0.7)] * 2, "--batch_size", "8")
    assert (
        "Training for 2 epochs of 4 steps, with a learning rate of 0.000775, on the CPU (tensorflow)\n"
        "A step trains on 1 sequence of 8 segments; a score depends on 7.5 s to either side\n"
    ) in capsys.readouterr().out
    for module in (training_run, compiled_steps):
        monkeypatch.setattr(module, "has_accelerator", lambda: True)
    play([scores_with(0.7)], "--overwrite")
    assert (
        "Training for 1 epoch of 2 steps, with a learning rate of 0.0015, on an accelerator (tensorflow, 8 steps in a "
        "call)\nA step trains on 2 sequences of 15 segments; "
    ) in capsys.readouterr().out


def test_whoever_trains_is_told_of_each_epoch(small_network, dataset_dir, tmp_path, monkeypatch):
    script, told = Script([scores_with(high) for high in (0.6, 0.7)]), []
    monkeypatch.setattr(optimization, "train_epoch", script.train_epoch)
    monkeypatch.setattr(validation, "predict_outputs", script.predict_outputs)
    monkeypatch.setattr(validation, "tune_fusion_weights", lambda network, rows, loader: rows)
    monkeypatch.setattr(plots, "plot_history", lambda history: b"")
    arguments = ["--data_dir", str(dataset_dir), "--ckpt_dir", str(tmp_path / "deep" / "ckpt"), "--epochs", "2"]
    args = trainer.parse_args(arguments)
    path = trainer.train(args, trainer.load_data(args), lambda history: told.append([dict(row) for row in history]))
    assert [[row["epoch"] for row in history] for history in told] == [[1], [1, 2]]
    assert path.startswith(str(tmp_path / "deep" / "ckpt" / "ckpt-"))
