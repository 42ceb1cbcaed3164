"""When a training run stops, and where --resume continues it. Training and scoring are played by a script."""

import json
from types import SimpleNamespace

import pytest
from scripted_training import all_at, scores_with

import main as trainer
from videosummarizer.training import training_run
from videosummarizer.training.checkpoint import read_checkpoint_attributes
from videosummarizer.training.keras_backend import keras


@pytest.mark.parametrize(
    ("losses", "patience", "has_lost_it"),
    [
        ([], 1, False),
        ([3, 2, 1], 1, False),
        ([1, 2], 1, True),
        ([1, 2], 2, False),
        ([2, 1, 3, 4], 2, True),
        ([2, 1, 3, 4], 3, False),
        ([1, 1, 1], 2, True),  # as low as the best is not lower
        ([3, 1, 2, 1], 2, True),
        ([1, 2, 3, 0], 1, False),
        ([1, 2, 3], None, False),
    ],
)
def test_patience_is_lost_after_so_many_epochs_without_a_lower_loss(losses, patience, has_lost_it):
    history = [{"val_loss": loss, "loss": -number} for number, loss in enumerate(losses)]
    run = SimpleNamespace(history=history)
    assert training_run.TrainingRun.should_stop_early(run, patience) == has_lost_it


def test_a_run_stops_once_patience_is_lost(play, capsys):
    highs = (0.6, 0.8, 0.7, 0.75, 0.9)
    script = play([scores_with(high) for high in highs], "--patience", "2")
    assert (script.status, len(script.rows)) == (0, 4)
    assert "Stopped: no lower validation loss in 2 epochs (--patience)" in capsys.readouterr().out
    assert script.tested == str(script.checkpoints[1])
    again = play([scores_with(0.9)] * 5, "--patience", "2", "--resume", first_epoch=5)
    assert (again.status, again.seen, len(again.rows)) == (0, [], 4)
    assert "Stopped: no lower" in capsys.readouterr().out
    more = play([scores_with(0.9)] * 5, "--patience", "3", "--resume", first_epoch=5)  # may be changed
    assert (more.status, len(more.seen), len(more.rows)) == (0, 1, 5)
    assert "Stopped" not in capsys.readouterr().out


def test_ctrl_c_keeps_whole_epochs_and_resume_continues_after_the_last(play, capsys):
    highs = (0.6, 0.8, 0.7, 0.9)
    script = play([scores_with(high) for high in highs], stop_in=3)
    assert (script.status, [row["epoch"] for row in script.rows]) == (130, ["1", "2"])
    assert not hasattr(script, "tested")
    captured = capsys.readouterr()
    assert f"Best checkpoint: {script.checkpoints[1]}\n" in captured.out
    assert len(json.loads((script.ckpt_dir / "history.png").read_bytes())) == 2
    before = script.rows
    again = play([scores_with(high) for high in highs], "--resume", first_epoch=3)
    assert "Resuming after epoch 2 of 4" in capsys.readouterr().out
    assert again.rows[:2] == before
    assert [row["epoch"] for row in again.rows] == ["1", "2", "3", "4"]
    first = again.seen[0]
    assert all_at(first.weights, 2)
    assert all_at(first.average, 2 / 8)
    assert (first.num_updates, first.num_steps) == (6, 20)
    assert again.started[-2:] == [2, 3]
    # The third epoch's loss is higher than the second's: the best is remembered, and its name.
    assert [path.name.rsplit("-", 2)[1] for path in again.checkpoints] == ["0001", "0002", "0004"]
    assert len({path.name[: len("ckpt-20260101-000000")] for path in again.checkpoints}) == 1
    assert len(list((again.ckpt_dir / "logs").iterdir())) == 1


def test_a_run_whose_settings_were_derived_is_resumed_by_the_same_command(play, monkeypatch, capsys, caplog):
    monkeypatch.setattr(trainer, "NUM_UPDATES", 6)  # three epochs of two batches: two sequences of 15 in each
    monkeypatch.setattr(trainer, "MIN_EPOCHS", 1)
    scores = [scores_with(high) for high in (0.6, 0.7, 0.8)]
    script = play(scores, stop_in=2, derives=True)
    (bar,) = script.bars
    assert (script.status, bar["total"], bar["initial"], len(script.rows)) == (130, 6, 0, 1)
    again = play(scores, "--resume", first_epoch=2, derives=True)
    assert "Resuming after epoch 1 of 3" in capsys.readouterr().out
    assert (again.status, [row["epoch"] for row in again.rows]) == (0, ["1", "2", "3"])
    assert read_checkpoint_attributes(again.checkpoints[-1])["batch_size"] == 30
    given = play(scores, "--resume", "--batch_size", "30", first_epoch=4)  # --epochs 3, as it was derived
    assert (given.status, given.seen) == (0, [])
    assert play(scores, "--resume", "--batch_size", "16", first_epoch=4).status == 1
    started, received = "--learning_rate 0.0015, --batch_size 30", "--learning_rate 0.00106, --batch_size 16"
    assert f"started with {started}, received {received}: give the same flags" in caplog.text
    monkeypatch.setattr(trainer, "NUM_UPDATES", 8)
    assert play(scores, "--resume", first_epoch=4, derives=True).status == 1
    assert "started with --epochs 3, received --epochs 4: give the same flags" in caplog.text


def test_ctrl_c_in_the_first_epoch_leaves_no_results(play, capsys):
    script = play([scores_with(0.7)] * 2, stop_in=1)
    assert (script.status, script.rows, script.checkpoints) == (130, [], [])
    assert not (script.ckpt_dir / "history.png").exists()
    assert not (script.ckpt_dir / "resume.npz").exists()
    assert "Best checkpoint" not in capsys.readouterr().out


def test_the_log_of_a_run_is_closed_however_it_ends(play, monkeypatch):
    closed, plain = [], keras.callbacks.TensorBoard.on_train_end
    monkeypatch.setattr(
        keras.callbacks.TensorBoard, "on_train_end", lambda log, logs=None: closed.append(log) or plain(log, logs)
    )
    assert play([scores_with(0.7)]).status == 0
    assert play([scores_with(0.7)], "--overwrite", stop_in=1).status == 130
    assert len(closed) == 2


def test_a_resumed_run_has_to_be_better_than_the_best_epoch_of_before_not_the_last(play, capsys):
    highs = (0.8, 0.6, 0.7)
    script = play([scores_with(high) for high in highs], stop_in=3)
    capsys.readouterr()
    again = play([scores_with(high) for high in highs], "--resume", first_epoch=3)
    assert [row["epoch"] for row in again.rows] == ["1", "2", "3"]
    assert again.checkpoints == script.checkpoints
    assert again.tested == str(script.checkpoints[0])
    assert "  saved" not in capsys.readouterr().out


def test_a_resumed_run_without_a_better_epoch_tests_the_best_of_before(play):
    script = play([scores_with(high) for high in (0.8, 0.7)], stop_in=2)
    again = play([scores_with(high) for high in (0.8, 0.7)], "--resume", first_epoch=2)
    assert again.tested == str(script.checkpoints[0])
    assert again.checkpoints == script.checkpoints
