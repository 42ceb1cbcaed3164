"""What a training run makes of each epoch: whose weights are validated, saved and trained on, which epoch is the best,
when a run stops and where it continues. Training and scoring are played by a script, so that all values are known."""

import csv
import errno
import json
import math
import pickle
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import sklearn.metrics
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import main as trainer
from data_loader import Batches
from videosummarizer import atomic_file
from videosummarizer.evaluation import plots
from videosummarizer.training import inference, optimization, resume_point, run_folder, training_run, validation
from videosummarizer.training.checkpoint import read_checkpoint_attributes
from videosummarizer.training.keras_backend import keras
from videosummarizer.training.training_statistics import summarise
from videosummarizer.training.validation import TrainingError

POINT = {"threshold": 0.5, "section_penalty": 0.0}
IDENTITY = {"steps": {"scale": 1.0, "offset": 0.0}}

pytestmark = pytest.mark.usefixtures("small_network")

VALID_LABELS = np.array([0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0])
# Of 20 segments of training 5 are highlights: classes count 20 / (2 * 15) and 20 / (2 * 5).
VALID_WEIGHTS = np.where(VALID_LABELS, 2, 2 / 3)
SCORES = np.array([0.2, 0.9, 0.4, 0.8, 0.7, 0.6, 0.1, 0.3, 0.9, 0.8, 0.5])
OUTPUTS = ("loudness_highlight", "loudness_steps", "audio_highlight", "audio_steps", "video_highlight")
OUTPUTS = (*OUTPUTS, "video_steps")


def scores_with(high):
    """(11,) scores: high where there is a highlight and 1 - high elsewhere: the higher, the lower the loss."""
    return np.where(VALID_LABELS, high, 1 - high)


class Script:
    """Plays training and scoring. In epoch n, from 1 on, training ends with all raw weights at n, their average at
    n / 8 and the optimizer's count at 10 n; what validation scores is the n-th of `scores`.

    seen: for each epoch what was there at its beginning and when it was validated.
    """

    def __init__(self, scores):
        self.scores, self.seen, self.bars, self.stop_in = list(scores), [], [], None
        self.started, self.shards, self.first_epoch = [], [], 1

    def epoch(self):
        return self.first_epoch + len(self.seen)

    def train_epoch(self, steps, batches, on_batch):
        network, average = steps.network, steps.average
        epoch = self.epoch()
        if epoch == self.stop_in:
            raise KeyboardInterrupt
        weights, values = network.get_weights(), [value.numpy() for value in average.values]
        self.seen.append(SimpleNamespace(weights=weights, average=values, num_updates=int(average.num_updates)))
        self.seen[-1].num_steps = int(network.optimizer.iterations.numpy())
        network.set_weights([np.full(weight.shape, epoch, weight.dtype) for weight in weights])
        for value in average.values:
            value.assign(np.full(value.shape, epoch / 8))
        average.num_updates.assign_add(3)
        network.optimizer.iterations.assign(10 * epoch)
        for _ in range(2):
            on_batch()
        return epoch / 4

    def predict_outputs(self, network, loader, subset, names):
        assert (subset, tuple(names)) == ("valid", OUTPUTS)
        self.seen[-1].validated = network.get_weights()
        return np.repeat(self.scores[self.epoch() - 2][:, np.newaxis], 3, axis=1)


@pytest.fixture
def play(monkeypatch, dataset_dir, tmp_path):
    """A function that trains by a script, with flags; gives the Script, the exit status and history.csv's rows.

    The number of epochs is that of the scores, unless main.py derives it.
    """

    def run(
        scores,
        *flags,
        first_epoch=1,
        stop_in=None,
        point_of=None,
        calibrate=None,
        ckpt_dir=tmp_path / "ckpt",
        derives=False,
    ):
        script = Script(scores)
        script.first_epoch, script.stop_in = first_epoch, stop_in

        class Bar(trainer.tqdm):
            def __init__(self, **settings):
                script.bars.append(settings)
                super().__init__(**settings)

            def update(self, n=1):
                super().update(n)
                script.bars[-1]["n"] = self.n

        plain_start, plain_batches = Batches.start_epoch, trainer.DataLoader.batches
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "tqdm", Bar)
            patch.setattr(Bar, "write", trainer.tqdm.write)
            patch.setattr(optimization, "train_epoch", script.train_epoch)
            patch.setattr(validation, "predict_outputs", script.predict_outputs)
            patch.setattr(validation, "tune_fusion_weights", lambda network, rows, loader: rows)
            patch.setattr(validation, "calibrate", calibrate or (lambda *arguments: IDENTITY))
            patch.setattr(
                trainer, "test_checkpoint", lambda args, loader, path: script.__setattr__("tested", path) or []
            )
            patch.setattr(plots, "plot_history", lambda history: json.dumps(history).encode())
            patch.setattr(
                Batches, "start_epoch", lambda self, epoch: (script.started.append(epoch), plain_start(self, epoch))
            )
            patch.setattr(
                trainer.DataLoader,
                "batches",
                lambda *arguments: script.shards.append(arguments[1:]) or plain_batches(*arguments),
            )
            patch.setattr(validation, "fit_operating_point", point_of or (lambda *arguments: POINT))
            arguments = ["--data_dir", str(dataset_dir), "--ckpt_dir", str(ckpt_dir)]
            arguments += [] if derives else ["--epochs", str(len(scores))]
            script.status = trainer.main([*arguments, *flags])
        path = ckpt_dir / "history.csv"
        script.rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
        script.ckpt_dir, script.checkpoints = ckpt_dir, sorted(ckpt_dir.glob("*.hdf5"))
        return script

    return run


def loss_of(scores):
    return sklearn.metrics.log_loss(VALID_LABELS, scores, sample_weight=VALID_WEIGHTS)


def all_at(weights, number):
    return all((weight == number).all() for weight in weights)


def weights_in(path):
    """The weights in a checkpoint, read without Keras."""
    found = []
    with h5py.File(path) as file:
        file["model_weights"].visititems(lambda _, item: found.append(item[()]) if hasattr(item, "shape") else None)
    return found


# ---- Whose weights, whose scores


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
    assert script.started == [0, 0, 0, 1, 2]  # made twice: one counts the batches
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


# ---- Where a run stops, and where it continues


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
    assert "started with --batch_size 30, received --batch_size 16: give the same flags" in caplog.text
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


def test_processes_have_to_continue_after_the_same_epoch(play, monkeypatch):
    shared = []
    monkeypatch.setattr(training_run, "init_distribution", lambda *arguments: shared.append(arguments[3]))
    play([scores_with(0.7)] * 2, stop_in=2)
    play([scores_with(0.7)] * 2, "--resume", first_epoch=2)
    assert [settings["finished epochs"] for settings in shared] == [0, 1]


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


def test_scores_that_are_no_numbers_end_the_run(play, monkeypatch, caplog):
    monkeypatch.setattr(validation, "tune_fusion_weights", validation.tune_fusion_weights)
    with pytest.raises(TrainingError, match="valid: the network's scores are not numbers"):
        validation.check_finite(np.array([[0.1, 0.2], [0.3, np.nan]]), "valid")
    validation.check_finite(np.array([[0.0, 1.0]]), "valid")


def test_whoever_trains_is_told_of_each_epoch(dataset_dir, tmp_path, monkeypatch):
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


# ---- Several processes


class Workers:
    """Stands for distribution.DataParallelRun: this process is one of two."""

    def __init__(self, process_id):
        self.shard, self.is_shut_down = (process_id, 2), False

    def to_devices(self, array):
        raise NotImplementedError  # no batch is trained

    def predict_outputs(self, network, loader, subset, names):
        assert (subset, tuple(names)) == ("valid", OUTPUTS)
        return np.repeat(scores_with(0.7)[:, np.newaxis], 3, axis=1)

    def shutdown(self):
        self.is_shut_down = True


@pytest.mark.parametrize("process_id", [0, 1])
def test_of_several_processes_the_first_writes_and_all_score_together(process_id, play, monkeypatch, tmp_path, capsys):
    made = []

    def find_workers(coordinator, num_processes, received_id, settings, sequence_length):
        assert (coordinator, num_processes, received_id, sequence_length) == ("127.0.0.1:1", 2, process_id, 15)
        made.append((Workers(process_id), settings))
        return made[0][0]

    monkeypatch.setattr(training_run, "init_distribution", find_workers)
    monkeypatch.setattr(trainer, "require_backend", lambda args: None)
    flags = ["--coordinator", "127.0.0.1:1", "--num_processes", "2", "--process_id", str(process_id)]
    script = play([scores_with(0.9)] * 3, *flags, "--patience", "1")  # stops after two
    ((workers, settings),) = made
    assert workers.is_shut_down
    assert (script.status, len(script.seen)) == (0, 2)
    assert (settings["--patience"], settings["finished epochs"], settings["--epochs"]) == (1, 0, 3)
    assert settings["--batch_size"] == 30  # two sequences of 15
    assert script.shards[-1] == ("train", (process_id, 2))
    assert script.bars[0]["disable"] is (process_id == 1)
    out = capsys.readouterr().out
    if process_id == 0:
        assert float(script.rows[0]["val_loss"]) == pytest.approx(loss_of(scores_with(0.7)))
        assert "Stopped: no lower validation loss in 1 epochs (--patience)" in out
        assert script.tested == str(script.checkpoints[0])
    else:
        assert (out, script.rows, hasattr(script, "tested")) == ("", [], False)
        assert not (tmp_path / "ckpt" / "resume.npz").exists()


def test_files_that_cannot_be_written_do_not_end_the_training(play, monkeypatch, caplog):
    class BrokenLog(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("cannot\nflush")

    def fill_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "make_event_log", lambda path: BrokenLog())
    monkeypatch.setattr(run_folder, "write_history", fill_disk)
    monkeypatch.setattr(resume_point, "write", fill_disk)
    monkeypatch.setattr(training_run, "atomic_write", fill_disk)  # history.png
    script = play([scores_with(0.6), scores_with(0.8)])
    assert script.status == 0
    assert [path.name[-11:-5] for path in script.checkpoints] == [f"{loss_of(scores_with(p)):.4f}" for p in (0.6, 0.8)]
    assert script.tested == str(script.checkpoints[-1])
    reasons = {
        "logs": "RuntimeError: cannot flush",
        **dict.fromkeys(("history.csv", "resume.npz"), "No space left on device"),
    }
    each_epoch = [
        f"{script.ckpt_dir / name}: cannot be written ({reason}): training continues without it"
        for name, reason in reasons.items()
    ]
    assert caplog.messages[:6] == each_epoch * 2
    assert caplog.messages[6].startswith(f"{script.ckpt_dir / 'history.png'}: cannot be written (No space left on dev")
    assert len(caplog.messages) == 7


def test_a_folder_that_cannot_be_written_to_is_found_out_before_the_training(play, tmp_path, monkeypatch, caplog):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(atomic_file.tempfile, "TemporaryFile", refuse)
    script = play([scores_with(0.6)])
    assert (script.status, script.seen) == (1, [])
    assert caplog.messages[-1] == (
        f"{tmp_path}: no files can be written into this folder (Read-only file system): correct its permissions, make "
        "room, or choose another --ckpt_dir"
    )
    assert not script.ckpt_dir.exists()


def test_a_checkpoint_that_cannot_be_written_ends_the_training_in_one_line(play, monkeypatch, caplog):
    def fill_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "write_checkpoint_attributes", fill_disk)
    script = play([scores_with(0.6)])
    assert script.status == 1
    assert script.checkpoints == []
    assert not list(script.ckpt_dir.glob(".*"))
    assert caplog.messages[-1].startswith(f"{script.ckpt_dir}/ckpt-")
    assert "the checkpoint cannot be written (No space left on device): make room or" in caplog.messages[-1]
