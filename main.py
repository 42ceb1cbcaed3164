"""Stage 3: train the audio-visual network on a dataset, and test the best checkpoint.

    python main.py --data_dir DIR                               train, then test the best checkpoint
    python main.py --mode test --ckpt FILE.hdf5 --data_dir DIR  test a checkpoint

Input: a dataset that data_converter.py wrote.

Output, in ckpt_dir:
    ckpt-<time>-<epoch>-<val_loss>.hdf5   a checkpoint for each epoch with the lowest validation loss so far
    history.csv, history.png              loss and validation metrics of each epoch
    resume.npz                            state of the run, for --resume
    test_report.json, predictions.csv     metrics and scores of the test
    precision_recall.png, test_matches.png
"""

from videosummarizer import interruption

if __name__ == "__main__":  # before the imports that take long
    interruption.install_exception_hook()

import argparse
import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from data_loader import SEQUENCE_LENGTH, Batches, DataLoader
from videosummarizer.argument_types import regular_expression
from videosummarizer.atomic_file import atomic_write
from videosummarizer.dataset import audit
from videosummarizer.dataset.metadata import SCHEMA_VERSION, SUBSETS, DatasetError
from videosummarizer.dataset.storage import open_dataset
from videosummarizer.evaluation import plots, quality_report
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch, parse_operating_point
from videosummarizer.training import resume_point, validation
from videosummarizer.training.checkpoint import (
    CheckpointError,
    read_checkpoint,
    read_checkpoint_attributes,
)
from videosummarizer.training.validation import TrainingError

if TYPE_CHECKING:  # Keras takes seconds to import: `--help` and wrong arguments do without it
    import keras

    from videosummarizer.training.distribution import DataParallelRun
    from videosummarizer.training.optimization import ExponentialMovingAverage
    from videosummarizer.training.run_folder import BestCheckpoint

# Dataset folder that data_converter.py writes with the arguments of the README.
DEFAULT_DATA_DIR = "dataset_sl5_vsr3_vw64_vh64_asr11025"
# Fractions of the matches for training and validation; the rest is for the test.
DEFAULT_SPLIT = (0.6, 0.2)
EXAMPLES = """\
examples:
  python main.py --data_dir dataset_sl5_vsr3_vw64_vh64_asr11025
  python main.py --learning_rate 0.0005 --epochs 60 --batch_size 32 --data_dir data/dataset1 --ckpt_dir checkpoints1
  python main.py --mode test --ckpt checkpoints/ckpt-20261124-120000-0007-0.4321.hdf5
"""

logger = logging.getLogger("main")


@dataclass
class TrainingRun:
    """The state of a training run.

    Attributes:
        settings: What has to stay the same when the run is resumed, by flag.
        name: Beginning of the names of its checkpoints.
        history: A dict for each finished epoch, the rows of history.csv.
        network: The compiled network.
        average: ExponentialMovingAverage of the network's weights.
        batches: The training batches, or this process's shard of them.
        distribution: DataParallelRun, or None on one device.
        checkpoint: BestCheckpoint, which saves the network when the validation loss improves.
        event_log: Callback that writes metrics for TensorBoard.
        is_main_process: Whether this process writes results; of several processes only the first does.
    """

    settings: dict
    name: str
    history: list[dict]
    network: "keras.Model"
    average: "ExponentialMovingAverage"
    batches: Batches
    distribution: "DataParallelRun | None"
    checkpoint: "BestCheckpoint"
    event_log: "keras.callbacks.Callback"
    is_main_process: bool


def train(
    args: argparse.Namespace, loader: DataLoader, on_epoch_end: Callable[[list[dict]], object] = lambda history: None
) -> str | None:
    """Train a network, and save a checkpoint after each epoch that improves the validation loss.

    Args:
        args: Arguments of `parse_args`.
        loader: Dataset to train on, of `load_data`.
        on_epoch_end: Called after each epoch in the process that writes results, with the rows of history.csv so far.

    Returns:
        The path of the best checkpoint; None in a process that does not write results.

    Raises:
        TrainingError: The scores are not numbers, the best checkpoint is gone, the network in --init_ckpt has another
            shape, or several processes cannot train together.
        resume_point.ResumeError: There is no run to resume, or it has other settings.
        KeyboardInterrupt: After Ctrl-C, once the finished epochs have been saved and reported.
    """
    run = start_run(args, loader)
    num_batches = len(run.batches)
    bar = tqdm(
        total=args.epochs * num_batches,
        initial=len(run.history) * num_batches,
        desc="Training",
        unit="batch",
        disable=not run.is_main_process,
    )
    with bar, logging_redirect_tqdm():
        try:
            for epoch in range(len(run.history), args.epochs):
                if should_stop_early(run.history, args.patience):
                    if run.is_main_process:
                        message = f"Stopped: no lower validation loss in {args.patience} epochs (--patience)"
                        tqdm.write(message, file=sys.stdout)
                    break
                run_epoch(run, args, loader, epoch, bar.update)
                if run.is_main_process:
                    on_epoch_end(run.history)
        finally:
            bar.close()
            run.event_log.on_train_end()
            if run.is_main_process and run.history:
                atomic_write(args.ckpt_dir / "history.png", plots.plot_history(run.history))
            if run.is_main_process and run.checkpoint.best_path:
                print(f"Best checkpoint: {run.checkpoint.best_path}")
    if run.distribution:
        run.distribution.shutdown()
    if not run.is_main_process:
        return None
    if run.checkpoint.best_path is None:
        raise TrainingError(
            f"{args.ckpt_dir}: the best checkpoint of the run is missing, expected it next to "
            f"{resume_point.FILE_NAME}: train without --resume"
        )
    return run.checkpoint.best_path


def start_run(args: argparse.Namespace, loader: DataLoader) -> TrainingRun:
    """Start a training run, or restore the one that --resume continues. Raises as `train` does."""
    from videosummarizer.training import run_folder
    from videosummarizer.training.keras_backend import keras, silence_native_stderr
    from videosummarizer.training.optimization import ExponentialMovingAverage

    settings = run_settings(args, loader)
    state = resume_point.read(args.ckpt_dir, settings) if args.resume else None
    history = state.history if state else []
    with silence_native_stderr():  # Keras loads TensorFlow here, if it is installed, on every backend
        # Layers are numbered from zero again: their names decide in which order TensorFlow sums, and with it the last
        # digits.
        keras.utils.clear_session()
        keras.utils.set_random_seed(args.seed)
    shared_settings = {**settings, "--patience": args.patience, "finished epochs": len(history)}
    distribution = init_distribution(args, shared_settings)
    network = make_network(args, loader)
    name = state.run_name if state else f"ckpt-{datetime.now():%Y%m%d-%H%M%S}"
    is_main_process = not args.process_id
    attributes = checkpoint_attributes(args, loader)
    if is_main_process:
        args.ckpt_dir.mkdir(parents=True, exist_ok=True)
        if (levels := validation.rms_levels(loader, "valid")) is not None:  # the baseline of the test report
            attributes["loudness_operating_point"] = validation.fit_operating_point(*levels, loader)
    checkpoint = run_folder.BestCheckpoint(args.ckpt_dir, name, attributes)
    checkpoint.set_model(network)
    average = ExponentialMovingAverage(network)
    if state:
        print(f"Resuming after epoch {len(history)} of {args.epochs}")
        resume_point.restore(network, average, state.variables)
        checkpoint.resume(state.best_path, min(row["val_loss"] for row in history))
    batches = loader.batches("train", distribution.shard if distribution else None)
    event_log = run_folder.make_event_log(args.ckpt_dir / "logs" / name)
    event_log.set_model(network)
    return TrainingRun(
        settings, name, history, network, average, batches, distribution, checkpoint, event_log, is_main_process
    )


def run_epoch(
    run: TrainingRun, args: argparse.Namespace, loader: DataLoader, epoch: int, on_batch: Callable[[], object]
) -> None:
    """Train for one epoch, then validate the averaged weights and save what they improve.

    Args:
        run: Run of `start_run`. Its history gets another row.
        args: Arguments of `parse_args`.
        loader: Dataset to train on.
        epoch: Number of the epoch, from 0 on.
        on_batch: Called after each batch.

    Raises:
        TrainingError: The scores are not numbers.
    """
    from videosummarizer.training.fusion import UNIMODAL_OUTPUTS
    from videosummarizer.training.optimization import train_epoch

    run.batches.start_epoch(epoch)
    loss = train_epoch(run.network, run.average, run.batches.augmented(), on_batch)
    # A resumed run continues with the network's own weights, so they are copied before the average replaces them.
    variables = resume_point.snapshot(run.network, run.average)
    with run.average.swapped():
        predict_outputs = run.distribution.predict_outputs if run.distribution else validation.predict_outputs
        unimodal_scores = predict_outputs(run.network, loader, "valid", UNIMODAL_OUTPUTS)
        scores = validation.tune_fusion_weights(run.network, unimodal_scores, loader)
        metrics = {"loss": loss, **validation.validate(scores[:, 0], loader)}
        run.history.append({"epoch": epoch + 1, **metrics})
        if run.is_main_process:
            save_epoch(run, args, loader, scores, variables)


def save_epoch(
    run: TrainingRun, args: argparse.Namespace, loader: DataLoader, scores: np.ndarray, variables: list[np.ndarray]
) -> None:
    """Write the results of the last epoch in the run's history: checkpoint, TensorBoard log, history.csv, resume point.

    Args:
        run: Run whose network has the averaged weights.
        args: Arguments of `parse_args`.
        loader: Dataset to train on.
        scores: (num_segments, 1 + K), validation scores of the segments and of their time steps.
        variables: Values of `resume_point.snapshot`.
    """
    from videosummarizer.training import run_folder

    row = run.history[-1]
    epoch = row["epoch"] - 1
    metrics = {name: value for name, value in row.items() if name != "epoch"}
    checkpoint = run.checkpoint
    if metrics["val_loss"] < checkpoint.best:
        operating_point = validation.fit_operating_point(scores[:, 0], scores[:, 1:], loader)
        checkpoint.attributes["operating_point"] = operating_point
    checkpoint.on_epoch_end(epoch, metrics)
    run.event_log.on_epoch_end(epoch, metrics)
    is_saved = checkpoint.best_path and f"-{row['epoch']:04d}-" in Path(checkpoint.best_path).name
    tqdm.write(run_folder.format_epoch(row, args.epochs, is_saved), file=sys.stdout)
    run_folder.write_history(args.ckpt_dir / "history.csv", run.history)
    state = resume_point.TrainingState(run.settings, run.history, run.name, checkpoint.best_path, variables)
    resume_point.write(args.ckpt_dir, state)


def require_backend(args: argparse.Namespace) -> None:
    """Raise TrainingError if the backend in KERAS_BACKEND is not installed, or does not support --coordinator."""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if args.coordinator and backend != "jax":
        raise TrainingError(
            f"--coordinator: received the backend {backend}, expected jax: put KERAS_BACKEND=jax before the command"
        )
    if not importlib.util.find_spec(backend):
        raise TrainingError(
            f"KERAS_BACKEND: received {backend}, which is not installed: pip install {backend} -c constraints.txt"
        )


def init_distribution(args: argparse.Namespace, settings: dict):
    """Return the DataParallelRun of --coordinator, or of the several devices that JAX has here; None for one device."""
    from videosummarizer.training.keras_backend import keras

    if keras.backend.backend() != "jax" or not (args.coordinator or keras.distribution.get_device_count() > 1):
        return None
    from videosummarizer.training import distribution

    try:
        return distribution.DataParallelRun(
            args.coordinator, args.num_processes, args.process_id, settings, SEQUENCE_LENGTH
        )
    except distribution.DistributionError as error:
        raise TrainingError(error) from error


def make_network(args: argparse.Namespace, loader: DataLoader):
    """Build and compile the network to train, with new weights or those of --init_ckpt.

    Raises:
        TrainingError: --init_ckpt was trained on data of another shape.
        checkpoint.CheckpointError: --init_ckpt cannot be read.
    """
    from model import build_model
    from videosummarizer.training.inference import load_checkpoint
    from videosummarizer.training.optimization import compile_network

    network = build_model(loader.data_shape, loader.config.audio_sample_rate, loader.num_steps)
    if args.init_ckpt:
        config = read_checkpoint_attributes(args.init_ckpt).get("config")
        if config != vars(loader.config):
            raise TrainingError(
                f"--init_ckpt: received {args.init_ckpt} trained on a dataset with {config}, expected "
                f"{vars(loader.config)} as {loader.dataset_dir} has"
            )
        try:
            network.set_weights(load_checkpoint(args.init_ckpt).get_weights())
        except ValueError as error:
            raise TrainingError(
                f"--init_ckpt: {args.init_ckpt} holds another version's network, expected one that this version of "
                "main.py saved"
            ) from error
    compile_network(network, args.learning_rate, args.epochs * len(loader.batches("train")))
    return network


def run_settings(args: argparse.Namespace, loader: DataLoader) -> dict:
    """Return the settings that have to stay the same when a run is resumed, by flag."""
    return {
        "--learning_rate": args.learning_rate,
        "--epochs": args.epochs,
        "--batch_size": args.batch_size,
        "--seed": args.seed,
        "--split": [loader.train_ratio, loader.valid_ratio],
        "--init_ckpt": args.init_ckpt,
        "data config": vars(loader.config),
        "segments": [loader.num_segments[subset] for subset in SUBSETS],
    }


def should_stop_early(history: list[dict], patience: int | None) -> bool:
    """Return whether the validation loss has not improved for `patience` epochs."""
    if not patience or not history:
        return False
    losses = [row["val_loss"] for row in history]
    return len(losses) - 1 - losses.index(min(losses)) >= patience


def checkpoint_attributes(args: argparse.Namespace, loader: DataLoader) -> dict:
    """Return what a checkpoint states about itself: the data config, the split, and the training settings."""
    from videosummarizer.training.keras_backend import keras

    backend = keras.backend.backend()
    return {
        "schema_version": SCHEMA_VERSION,
        "config": vars(loader.config),
        "data_shape": loader.data_shape,
        "split": [loader.train_ratio, loader.valid_ratio],
        "learning_rate": args.learning_rate,
        "batch_size": args.batch_size,
        "seed": args.seed,
        "versions": {name: importlib.metadata.version(name) for name in ("keras", backend, "numpy")},
    }


def read_operating_point(ckpt_path: str, name: str) -> OperatingPoint | None:
    """Read an operating point from a checkpoint.

    Args:
        ckpt_path: Path of the checkpoint.
        name: Name of the attribute that holds it.

    Returns:
        The operating point, None if the checkpoint has none of that name.

    Raises:
        checkpoint.CheckpointError: Another version saved it.
    """
    values = read_checkpoint_attributes(ckpt_path).get(name)
    try:
        return None if values is None else parse_operating_point(values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{ckpt_path}: received an {name} of another version ({error}), expected a checkpoint of this one"
        ) from error


def evaluate(
    loader: DataLoader, ckpt_path: str, subset: str
) -> tuple[dict, list[ScoredMatch], OperatingPoint, np.ndarray | None]:
    """Score a checkpoint and the baselines on a subset.

    Returns:
        The report; the scored matches; the operating point; and the loudness of the segments, (num_segments,) float64
        in [0, 1], None if the dataset or the checkpoint does not provide it.

    Raises:
        checkpoint.CheckpointError: The file is not a checkpoint.
        TrainingError: The network's scores are not numbers.
    """
    from videosummarizer.training import inference

    checkpoint = read_checkpoint(Path(ckpt_path))
    loudness_point = read_operating_point(ckpt_path, "loudness_operating_point")
    matches = loader.matches(subset)
    scores, step_scores = validation.predict(inference.load_network(checkpoint), loader, subset)
    validation.check_finite(step_scores, subset)
    scored = quality_report.score_matches(matches, scores, step_scores)
    levels = validation.rms_levels(loader, subset) if loudness_point else None
    loud = None if levels is None else quality_report.score_matches(matches, *levels)
    report = {
        "checkpoint": Path(ckpt_path).name,
        "dataset": loader.dataset_dir.name,
        "subset": subset,
        "split": [loader.train_ratio, loader.valid_ratio],
        "operating_point_chosen_on": "valid" if checkpoint.has_operating_point else None,
        **quality_report.compare(scored, checkpoint.point, loud, loudness_point),
    }
    return report, scored, checkpoint.point, None if levels is None else levels[0]


def test_checkpoint(args: argparse.Namespace, loader: DataLoader, ckpt_path: str) -> list[str]:
    """Evaluate a checkpoint on the test subset, print the report, and write the files of the test into ckpt_dir.

    Returns:
        The names of the files.

    Raises:
        checkpoint.CheckpointError: The file is not a checkpoint.
    """
    report, scored, point, levels = evaluate(loader, ckpt_path, "test")
    print(quality_report.format_report(report))
    files = {
        "test_report.json": quality_report.write_report(report),
        "predictions.csv": quality_report.write_predictions(scored, point),
        **plots.plot_test(scored, point, levels),
    }
    args.ckpt_dir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic_write(args.ckpt_dir / name, content)
    return list(files)


def load_data(args: argparse.Namespace) -> DataLoader:
    """Open the dataset, split by --split or, in test mode, as the checkpoint was trained.

    Raises:
        metadata.DatasetError: The dataset is damaged, or a subset that is needed lacks a class.
        TrainingError: The checkpoint was trained with another data config or another split.
        checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    if args.mode == "train":
        loader = DataLoader(args.data_dir, args.batch_size, *(args.split or DEFAULT_SPLIT), seed=args.seed)
        loader.require_both_classes(*SUBSETS)
        for subset in ("valid", "test"):
            loader.matches(subset)  # damaged sections are reported before training instead of after it
        return loader
    metadata_config = open_dataset(args.data_dir).metadata["config"]
    attributes = read_checkpoint_attributes(args.ckpt)
    trained_split = attributes.get("split")
    if not is_split(trained_split):
        raise CheckpointError(
            f"{args.ckpt}: received a checkpoint with the split {trained_split}, expected one that this version of "
            "main.py saved"
        )
    if args.split and args.split != trained_split:
        raise TrainingError(
            f"--split: received {args.split}, expected {trained_split} as {args.ckpt} was trained with: another split "
            "would test it on videos that it has seen"
        )
    if metadata_config != attributes.get("config"):
        raise TrainingError(
            f"{args.data_dir}: received a dataset with {metadata_config}, expected {attributes.get('config')} as "
            f"{args.ckpt} was trained with"
        )
    loader = DataLoader(args.data_dir, args.batch_size, *trained_split)
    loader.require_both_classes("test")
    return loader


def is_split(ratios: object) -> bool:
    """Return whether an object is a list of the ratios of train and valid, with a rest for test."""
    if not (isinstance(ratios, list) and len(ratios) == 2 and all(isinstance(ratio, float) for ratio in ratios)):
        return False
    return min(ratios) > 0 and sum(ratios) < 1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. Wrong arguments exit with status 2 and a message that names them."""
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Train the audio-visual network on a dataset, then test the best checkpoint on matches it has "
        "never seen; or test a checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--learning_rate",
        type=float,
        default=0.0015,
        help="maximum learning rate of the AdamW optimizer (default: %(default)s)",
    )
    add("--epochs", type=int, default=32, help="number of passes over the training segments (default: %(default)s)")
    add(
        "--batch_size",
        type=int,
        default=16,
        help="segments per training step; 8 or more are rounded down to a multiple of 8 (default: %(default)s)",
    )
    add(
        "--data_dir",
        default=DEFAULT_DATA_DIR,
        help="dataset that data_converter.py wrote, as a folder or a .zip (default: %(default)s)",
    )
    add(
        "--ckpt_dir",
        type=Path,
        help="folder for the results (default: checkpoints, or the folder of --ckpt in test mode)",
    )
    add("--mode", choices=("train", "test"), default="train", help="train and then test, or only test (default: train)")
    add("--ckpt", metavar="FILE", help="checkpoint to test")
    add(
        "--seed",
        type=int,
        default=0,
        help="seed of the initial weights, the order of segments and dropout (default: %(default)s)",
    )
    add(
        "--split",
        type=float,
        nargs=2,
        metavar=("TRAIN", "VALID"),
        help="fractions of the matches for training and validation; the rest is for the test (default: 0.6 0.2)",
    )
    add(
        "--resume", action="store_true", help="continue the interrupted run in --ckpt_dir after its last finished epoch"
    )
    add("--patience", type=int, metavar="EPOCHS", help="stop after this many epochs without a lower validation loss")
    add("--init_ckpt", metavar="FILE", help="start from the weights of this checkpoint, to fine-tune it on new matches")
    add(
        "--check_data",
        action="store_true",
        help="read every segment before training, and list those that cannot be used",
    )
    add(
        "--group_by",
        type=regular_expression,
        metavar="REGEX",
        help="warn if matches of one series are in different subsets; the series is the part of a title that this "
        "expression, or its first group, matches, e.g. '^[a-z]+'",
    )
    add("--coordinator", metavar="HOST:PORT", help="address of process 0, where the processes that train together meet")
    add("--num_processes", type=int, metavar="N", help="number of processes that train together")
    add("--process_id", type=int, metavar="I", help="number of this process, from 0 on; only process 0 writes results")
    add("--debug", action="store_true", help="show the stack trace of an error")
    args = parser.parse_args(argv)
    for name in ("learning_rate", "epochs", "batch_size"):
        if not 0 < getattr(args, name) < float("inf"):
            parser.error(f"argument --{name}: received {getattr(args, name)}, expected a number above 0")
    if args.patience is not None and args.patience < 1:
        parser.error(f"argument --patience: received {args.patience}, expected a number above 0")
    if not 0 <= args.seed < 2**32:
        parser.error(f"argument --seed: received {args.seed}, expected a whole number from 0 to {2**32 - 1}")
    if args.split and not is_split(args.split):
        parser.error(f"argument --split: received {args.split}, expected two fractions above 0 with a sum below 1")
    if (args.mode == "test") != (args.ckpt is not None):
        parser.error("--mode test and --ckpt FILE go together: give both to test a checkpoint, neither to train")
    check_coordinator(parser, args)
    if args.ckpt_dir is None:
        args.ckpt_dir = Path(args.ckpt).parent if args.ckpt else Path("checkpoints")
    if args.ckpt_dir.exists() and not args.ckpt_dir.is_dir():
        parser.error(f"argument --ckpt_dir: received {args.ckpt_dir}, which is a file, expected a folder")
    return args


def check_coordinator(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with status 2 if the flags for several processes contradict each other."""
    given = [args.coordinator is not None, args.num_processes is not None, args.process_id is not None]
    if any(given) != all(given):
        parser.error("--coordinator, --num_processes and --process_id go together: give all three, or none")
    if not any(given):
        return
    if args.mode == "test":
        parser.error("--coordinator: a test runs in one process, expected it with --mode train")
    if not re.fullmatch(r"\S+:[0-9]+", args.coordinator):
        parser.error(f"argument --coordinator: received {args.coordinator}, expected HOST:PORT")
    if args.num_processes < 1 or not 0 <= args.process_id < args.num_processes:
        parser.error(
            f"argument --process_id: received {args.process_id} of {args.num_processes} processes, expected 0 to "
            "--num_processes - 1"
        )


def run(args: argparse.Namespace) -> None:
    """Load the data, train unless --ckpt is given, test, and print the paths of the results."""
    require_backend(args)
    loader = load_data(args)
    for subset in SUBSETS:
        print(
            f"{subset:5}: {loader.num_videos[subset]} videos, {loader.num_segments[subset]} segments, "
            f"{loader.num_highlights[subset]} highlights"
        )
    if args.check_data:
        audit.check_segments(loader)
    written = []
    if args.ckpt:
        ckpt_path = args.ckpt
    else:
        for warning in audit.find_leaks(loader, args.group_by):
            logger.warning(warning)
        ckpt_path = train(args, loader)
        if ckpt_path is None:
            return
        written += ["history.csv", "history.png"]
    written += test_checkpoint(args, loader, ckpt_path)
    print("Look at: " + ", ".join(str(path) for path in [*(args.ckpt_dir / name for name in written), ckpt_path]))


def main(argv: list[str] | None = None) -> int:
    """Train or test, and return the exit status: 0, 1 for bad input, 130 for Ctrl-C."""
    args = parse_args(argv)
    is_main_process = not args.process_id  # the other processes report only errors
    logging.basicConfig(
        format="%(levelname)s: %(message)s", level=logging.WARNING if is_main_process else logging.ERROR
    )
    try:
        with contextlib.redirect_stdout(sys.stdout if is_main_process else None):
            run(args)
    except (
        DatasetError,
        CheckpointError,
        resume_point.ResumeError,
        TrainingError,
        OSError,
    ) as error:
        logger.error(error, exc_info=args.debug)
        return 1
    except KeyboardInterrupt:
        logger.error(
            "Interrupted. The best checkpoint so far, if one is named above, is kept and can be tested; --resume "
            "continues after the last finished epoch"
        )
        return interruption.EXIT_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
