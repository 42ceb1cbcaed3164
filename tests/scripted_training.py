"""Plays the training and the scoring of main.py by a script, so that all values of a run are known."""

import csv
import json
from types import SimpleNamespace

import h5py
import numpy as np
import sklearn.metrics
from tqdm import tqdm

import main as trainer
from data_loader import Batches, DataLoader
from videosummarizer.evaluation import plots
from videosummarizer.training import optimization, validation

POINT = {"threshold": 0.5, "section_penalty": 0.0}
IDENTITY = {"steps": {"scale": 1.0, "offset": 0.0}}
VALID_LABELS = np.array([0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0])
# Of 20 segments of training 5 are highlights: classes count 20 / (2 * 15) and 20 / (2 * 5).
VALID_WEIGHTS = np.where(VALID_LABELS, 2, 2 / 3)
OUTPUTS = ("loudness_highlight", "loudness_steps", "audio_highlight", "audio_steps", "video_highlight")
OUTPUTS = (*OUTPUTS, "video_steps")


def scores_with(high):
    """(11,) scores: high where there is a highlight and 1 - high elsewhere: the higher, the lower the loss."""
    return np.where(VALID_LABELS, high, 1 - high)


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


class Script:
    """Plays training and scoring. In epoch n, from 1 on, training ends with all raw weights at n, their average at
    n / 8 and the optimizer's count at 10 n; what validation scores is the n-th of `scores`.

    seen: for each epoch what was there at its beginning and when it was validated.
    bars: for each progress bar its settings and how far it came. started: the epochs whose order of batches was drawn.
    shards: the arguments of each call of DataLoader.batches. tested: the checkpoint that was tested; not set before.
    """

    def __init__(self, scores, first_epoch=1, stop_in=None):
        self.scores, self.first_epoch, self.stop_in = list(scores), first_epoch, stop_in
        self.seen, self.bars, self.started, self.shards = [], [], [], []

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

    def test_checkpoint(self, args, loader, path):
        self.tested = path
        return []

    def replace_training(self, patch):
        """Replace training and scoring, and let the progress bar and the order of batches be recorded."""
        patch.setattr(trainer, "tqdm", self.recorded_bar())
        patch.setattr(optimization, "train_epoch", self.train_epoch)
        patch.setattr(validation, "predict_outputs", self.predict_outputs)
        patch.setattr(validation, "tune_fusion_weights", lambda network, rows, loader: rows)
        patch.setattr(trainer, "test_checkpoint", self.test_checkpoint)
        patch.setattr(plots, "plot_history", lambda history: json.dumps(history).encode())
        start_epoch, batches = Batches.start_epoch, DataLoader.batches
        patch.setattr(
            Batches, "start_epoch", lambda self_, epoch: (self.started.append(epoch), start_epoch(self_, epoch))
        )
        patch.setattr(
            DataLoader, "batches", lambda *arguments: self.shards.append(arguments[1:]) or batches(*arguments)
        )

    def recorded_bar(self):
        bars = self.bars

        class Bar(tqdm):
            def __init__(self, **settings):
                bars.append(settings)
                super().__init__(**settings)

            def update(self, n=1):
                super().update(n)
                bars[-1]["n"] = self.n

        return Bar


def play(
    monkeypatch,
    dataset_dir,
    ckpt_dir,
    scores,
    *flags,
    first_epoch=1,
    stop_in=None,
    point_of=lambda *arguments: POINT,
    calibrate=lambda *arguments: IDENTITY,
    derives=False,
):
    """Train by a script, with flags; return the Script with the exit status, history.csv's rows and the checkpoints.

    The number of epochs is that of the scores, unless main.py derives it.
    """
    script = Script(scores, first_epoch, stop_in)
    arguments = ["--data_dir", str(dataset_dir), "--ckpt_dir", str(ckpt_dir)]
    arguments += [] if derives else ["--epochs", str(len(scores))]
    with monkeypatch.context() as patch:
        script.replace_training(patch)
        patch.setattr(validation, "fit_operating_point", point_of)
        patch.setattr(validation, "calibrate", calibrate)
        script.status = trainer.main([*arguments, *flags])
    path = ckpt_dir / "history.csv"
    script.rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    script.ckpt_dir, script.checkpoints = ckpt_dir, sorted(ckpt_dir.glob("*.hdf5"))
    return script
