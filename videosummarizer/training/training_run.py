"""A training run: its epochs, what it writes after each, and how an interrupted run continues."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm

from videosummarizer.atomic_file import atomic_write
from videosummarizer.error_messages import count_of, describe_exception
from videosummarizer.evaluation import plots
from videosummarizer.training import (
    calibration,
    compiled_steps,
    inference,
    optimization,
    resume_point,
    run_folder,
    validation,
)
from videosummarizer.training.checkpoint import read_checkpoint_attributes
from videosummarizer.training.fusion import UNIMODAL_OUTPUTS, LateFusion
from videosummarizer.training.keras_backend import has_accelerator, keras
from videosummarizer.training.validation import TrainingError

logger = logging.getLogger(__name__)


class TrainingRun:
    """A network in training, epoch after epoch.

    Args:
        network: Network of `optimization.compile_network`.
        loader: Dataset to train on, a `data_loader.DataLoader`.
        ckpt_dir: Folder for the results.
        settings: Settings that have to stay the same when the run is resumed, by flag; "--epochs" is one of them.
        attributes: What each checkpoint states about itself.
        state: State of the run to resume; None for a new run.
        distribution: The distribution.DataParallelRun; None on one device.
        is_main_process: Whether this process writes results; of several processes only the first does.

    Attributes:
        history: A dict for each finished epoch, the rows of history.csv.
        batches: The training batches, or this process's shard of them.
        checkpoint: BestCheckpoint, which saves the network when the validation loss improves.
        average: ExponentialMovingAverage of the network's weights.
        steps: CompiledSteps of the network and the average.

    Raises:
        resume_point.ResumeError: The state is that of another network.
    """

    def __init__(
        self,
        network: keras.Model,
        loader,
        ckpt_dir: Path,
        settings: dict,
        attributes: dict,
        state: resume_point.TrainingState | None,
        distribution,
        is_main_process: bool,
    ):
        self.network, self.loader, self.ckpt_dir, self.settings = network, loader, ckpt_dir, settings
        self.distribution, self.is_main_process = distribution, is_main_process
        self.name = state.run_name if state else f"ckpt-{datetime.now():%Y%m%d-%H%M%S}"
        self.history = state.history if state else []
        self.checkpoint = run_folder.BestCheckpoint(ckpt_dir, self.name, attributes)
        self.checkpoint.set_model(network)
        self.average = optimization.ExponentialMovingAverage(network)
        if state:
            resume_point.restore(network, self.average, state.variables)
            self.checkpoint.resume(state.best_path, min(row["val_loss"] for row in self.history))
        self.steps, self.batches = make_steps(network, self.average, loader, distribution)
        self.event_log = run_folder.make_event_log(ckpt_dir / "logs" / self.name)
        with self.tolerating_errors("logs"):
            self.event_log.set_model(network)

    def describe(self) -> str:
        """Return what is printed before training: what was chosen for the dataset and the device."""
        batches, num_calls = self.batches, self.steps.steps_per_call
        epochs, steps = count_of(self.settings["--epochs"], "epoch"), count_of(len(batches), "step")
        sequences = f"{count_of(batches.num_sequences, 'sequence')} of {count_of(batches.sequence_length, 'segment')}"
        device = "an accelerator" if has_accelerator() else "the CPU"
        reach_sec = inference.reach_steps(self.network) * self.loader.config.segment_length / self.loader.num_steps
        return (
            f"Training for {epochs} of {steps}, with a learning rate of {self.settings['--learning_rate']:g}, "
            f"on {device} ({keras.backend.backend()}{f', {num_calls} steps in a call' if num_calls > 1 else ''})\n"
            f"A step trains on {sequences}; a score depends on {reach_sec:g} s to either side"
        )

    def run_epoch(self, on_batch: Callable[[], object]) -> None:
        """Train for one epoch, then validate the averaged weights and save what they improve.

        Args:
            on_batch: Called after each batch.

        Raises:
            TrainingError: The scores are not numbers.
        """
        epoch = len(self.history)
        self.batches.start_epoch(epoch)
        loss = optimization.train_epoch(self.steps, self.batches.augmented(), on_batch)
        # A resumed run continues with the network's own weights, so they are copied before the average replaces them.
        variables = resume_point.snapshot(self.network, self.average)
        with self.average.swapped():
            predict_outputs = self.distribution.predict_outputs if self.distribution else validation.predict_outputs
            unimodal_scores = predict_outputs(self.network, self.loader, "valid", UNIMODAL_OUTPUTS)
            scores = validation.tune_fusion_weights(self.network, unimodal_scores, self.loader)
            # In each process: to set a variable that several processes hold, all have to take part.
            calibrated = validation.calibrate(self.network, scores, self.loader)
            metrics = {"loss": loss, **validation.validate(scores[:, 0], self.loader)}
            self.history.append({"epoch": epoch + 1, **metrics})
            if self.is_main_process:
                self.save_epoch(epoch, metrics, scores, calibrated, variables)

    def save_epoch(
        self, epoch: int, metrics: dict, scores: np.ndarray, calibrated: dict[str, dict], variables: list[np.ndarray]
    ) -> None:
        """Write the results of an epoch: checkpoint, TensorBoard log, history.csv, resume point.

        The network has the averaged weights, and the epoch is the last one in the history.

        Args:
            epoch: Number of the epoch, from 0 on.
            metrics: Its metrics.
            scores: (num_segments, 1 + K), validation scores of the segments and of their time steps, not calibrated.
            calibrated: The result of `validation.calibrate`.
            variables: Values of `resume_point.snapshot`.
        """
        checkpoint = self.checkpoint
        is_best = metrics["val_loss"] < checkpoint.best
        if is_best:
            operating_point = validation.fit_operating_point(scores[:, 0], scores[:, 1:], self.loader)
            checkpoint.attributes["calibration"] = calibrated
            of_steps = calibrated["steps"]["scale"], calibrated["steps"]["offset"]
            checkpoint.attributes["operating_point"] = calibration.apply_to_point(operating_point, of_steps)
        checkpoint.on_epoch_end(epoch, metrics)
        with self.tolerating_errors("logs"):
            self.event_log.on_epoch_end(epoch, metrics)
        line = run_folder.format_epoch(self.history[-1], self.settings["--epochs"], is_best)
        tqdm.write(line, file=sys.stdout)
        with self.tolerating_errors("history.csv"):
            run_folder.write_history(self.ckpt_dir / "history.csv", self.history)
        state = resume_point.TrainingState(self.settings, self.history, self.name, checkpoint.best_path, variables)
        with self.tolerating_errors(resume_point.FILE_NAME):
            resume_point.write(self.ckpt_dir, state)

    @contextlib.contextmanager
    def tolerating_errors(self, name: str) -> Iterator[None]:
        """Warn about an error in writing a file of the run's folder that training does not need, and continue."""
        try:
            yield
        except Exception as error:  # of the system, TensorFlow or matplotlib
            logger.warning(
                "%s: cannot be written (%s): training continues without it",
                self.ckpt_dir / name,
                describe_exception(error),
            )

    def should_stop_early(self, patience: int | None) -> bool:
        """Return whether the validation loss has not improved for `patience` epochs."""
        if not patience or not self.history:
            return False
        losses = [row["val_loss"] for row in self.history]
        return len(losses) - 1 - losses.index(min(losses)) >= patience

    def close(self) -> None:
        """End the TensorBoard log, draw history.png, and print the path of the best checkpoint."""
        with self.tolerating_errors("logs"):
            self.event_log.on_train_end()
        if self.is_main_process and self.history:
            with self.tolerating_errors("history.png"):
                atomic_write(self.ckpt_dir / "history.png", plots.plot_history(self.history))
        if self.is_main_process and self.checkpoint.best_path:
            print(f"Best checkpoint: {self.checkpoint.best_path}")


def make_steps(network: keras.Model, average, loader, distribution) -> tuple[compiled_steps.CompiledSteps, object]:
    """Return the training steps of a network, and the batches that they train on.

    Args:
        network: See TrainingRun, as for the other arguments.

    Returns:
        The CompiledSteps; and the data_loader.Batches, which are of one shape if several steps share a call.
    """
    if distribution:
        steps = compiled_steps.CompiledSteps(network, average, to_device=distribution.to_devices)
        return steps, loader.batches("train", distribution.shard)
    steps = compiled_steps.CompiledSteps(network, average, compiled_steps.choose_steps_per_call())
    # All of a batch is a shard, too. A short last batch is filled up, as no shard is shorter than the others.
    return steps, loader.batches("train", (0, 1) if steps.steps_per_call > 1 else None)


def load_initial_weights(network: keras.Model, ckpt_path: str, loader) -> None:
    """Set the weights of a network to those of a checkpoint, to fine-tune it.

    Args:
        network: Network of `build_model`.
        ckpt_path: Path of the checkpoint, --init_ckpt.
        loader: Dataset to train on, a `data_loader.DataLoader`.

    Raises:
        TrainingError: The checkpoint was trained on data of another shape, or holds another network.
        checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    config, expected = read_checkpoint_attributes(ckpt_path).get("config"), loader.config.to_dict()
    if config != expected:
        raise TrainingError(
            f"--init_ckpt: received {ckpt_path} trained on a dataset with {config}, expected {expected} as "
            f"{loader.dataset_dir} has"
        )
    try:
        for layer, initial in zip(network.layers, inference.load_checkpoint(ckpt_path).layers, strict=True):
            if not isinstance(layer, LateFusion):  # fusion weights and calibration are chosen after each epoch
                layer.set_weights(initial.get_weights())
    except ValueError as error:
        raise TrainingError(
            f"--init_ckpt: {ckpt_path} holds another version's network, expected one that this version of main.py saved"
        ) from error


def init_distribution(
    coordinator: str | None, num_processes: int | None, process_id: int | None, settings: dict, sequence_length: int
):
    """Start data-parallel training if there are several processes or devices. The network is built afterwards.

    Args:
        coordinator: See `distribution.DataParallelRun`, as for the other arguments.
        num_processes: Number of processes.
        process_id: Number of this process.
        settings: Settings that all processes must share.
        sequence_length: Segments in a sequence.

    Returns:
        The DataParallelRun of the processes, or of the several devices that JAX has here; None for one device.

    Raises:
        TrainingError: The processes cannot train together.
    """
    if keras.backend.backend() != "jax" or not (coordinator or keras.distribution.get_device_count() > 1):
        return None
    from videosummarizer.training import distribution

    try:
        return distribution.DataParallelRun(coordinator, num_processes, process_id, settings, sequence_length)
    except distribution.DistributionError as error:
        raise TrainingError(error) from error
