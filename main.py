"""Stage 3: train the audio-visual network on a dataset, and test the best checkpoint.

    python main.py --data_dir DIR                               train, then test the best checkpoint
    python main.py --mode test --ckpt FILE.hdf5 --data_dir DIR  test a checkpoint
    python main.py --folds 5 --data_dir DIR                     test each match once, with a network trained without it

Input: a dataset that data_converter.py wrote.

Output, in ckpt_dir:
    ckpt-<time>-<epoch>-<val_loss>.hdf5   a checkpoint for each epoch with the lowest validation loss so far
    history.csv, history.png              loss and validation metrics of each epoch
    resume.npz                            state of the run, for --resume
    test_report.json, predictions.csv     metrics and scores of the test
    precision_recall.png, calibration.png, test_matches.png
    fold_<number>/                        with --folds, the run of each fold
    label_doubts.csv, label_doubts.html   with --folds, the labels that the scores contradict most
"""

from videosummarizer import console, interruption

if __name__ == "__main__":  # before the imports that take long
    console.prepare()
    interruption.install_exception_hook()

import argparse
import contextlib
import importlib.metadata
import logging
import math
import sys
from collections.abc import Callable

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from data_loader import DataLoader
from videosummarizer.dataset import audit
from videosummarizer.dataset.metadata import SCHEMA_VERSION, SUBSETS, DatasetError
from videosummarizer.dataset.split import fold_of
from videosummarizer.error_messages import describe_os_error
from videosummarizer.evaluation import label_doubts, quality_report
from videosummarizer.training import backend_choice, earlier_run, resume_point, training_statistics, validation
from videosummarizer.training.arguments import LEARNING_RATE, MAX_EPOCHS, MIN_EPOCHS, NUM_UPDATES, parse_args
from videosummarizer.training.backend_choice import BackendError
from videosummarizer.training.checkpoint import CheckpointError
from videosummarizer.training.trained_split import read_trained_split
from videosummarizer.training.validation import TrainingError

# Fractions of the matches for training and validation; the rest is for the test.
DEFAULT_SPLIT = (0.6, 0.2)

logger = logging.getLogger("main")


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
    total, initial = args.epochs * len(run.batches), len(run.history) * len(run.batches)
    if run.is_main_process and initial < total:
        print(run.describe())
    bar = tqdm(total=total, initial=initial, desc="Training", unit="batch", disable=not run.is_main_process)
    with bar, logging_redirect_tqdm():
        try:
            while len(run.history) < args.epochs:
                if run.should_stop_early(args.patience):
                    if run.is_main_process:
                        message = f"Stopped: no lower validation loss in {args.patience} epochs (--patience)"
                        tqdm.write(message, file=sys.stdout)
                    break
                run.run_epoch(bar.update)
                if run.is_main_process:
                    on_epoch_end(run.history)
        finally:
            bar.close()
            run.close()
    if run.distribution:
        run.distribution.shutdown()
    if not run.is_main_process:
        return None
    if run.checkpoint.best_path is None:
        raise TrainingError(
            f"{args.ckpt_dir}: the best checkpoint of the run is missing, expected it next to "
            f"{resume_point.FILE_NAME}: start again with --overwrite"
        )
    return run.checkpoint.best_path


def start_run(args: argparse.Namespace, loader: DataLoader):
    """Start a training_run.TrainingRun, or restore the one that --resume continues. Raises as `train` does."""
    from videosummarizer.training import run_folder
    from videosummarizer.training.keras_backend import reset_keras
    from videosummarizer.training.training_run import TrainingRun, init_distribution

    settings = run_settings(args, loader)
    state = resume_point.read(args.ckpt_dir, settings) if args.resume else None
    num_finished = len(state.history) if state else 0
    is_main_process = not args.process_id
    if is_main_process:
        check_ckpt_dir(args)
        run_folder.prepare(args.ckpt_dir)
    reset_keras(args.seed)
    shared_settings = {**settings, "--patience": args.patience, "finished epochs": num_finished}
    distribution = init_distribution(
        args.coordinator, args.num_processes, args.process_id, shared_settings, loader.context.sequence_length
    )
    network = make_network(args, loader)
    attributes = checkpoint_attributes(args, loader)
    if is_main_process and (levels := validation.rms_levels(loader, "valid")) is not None:
        # the baseline of the test report
        attributes["loudness_operating_point"] = validation.fit_operating_point(*levels, loader)
    if is_main_process and (statistics := training_statistics.summarise(loader)):
        attributes[training_statistics.ATTRIBUTE] = statistics
    if state:
        print(f"Resuming after epoch {num_finished} of {args.epochs}")
    elif args.overwrite and is_main_process:
        earlier_run.delete(args.ckpt_dir)  # only now, when nothing is left that could be refused
    return TrainingRun(network, loader, args.ckpt_dir, settings, attributes, state, distribution, is_main_process)


def check_ckpt_dir(args: argparse.Namespace) -> None:
    """Raise atomic_file.FolderError if a new run would replace or mix with an earlier one in --ckpt_dir."""
    if not (args.resume or args.overwrite or args.process_id):
        earlier_run.require_none(args.ckpt_dir)


def require_backend(args: argparse.Namespace) -> None:
    """Check that the backend of Keras is installed.

    Raises:
        BackendError: It is not.
        TrainingError: It does not support --coordinator.
    """
    if args.coordinator and (backend := backend_choice.backend_name()) != "jax":
        raise TrainingError(
            f"--coordinator: received the backend {backend}, expected jax: put KERAS_BACKEND=jax before the command"
        )
    backend_choice.require_installed()


def make_network(args: argparse.Namespace, loader: DataLoader):
    """Build and compile the network to train, with new weights or those of --init_ckpt.

    Raises:
        TrainingError: --init_ckpt was trained on data of another shape.
        checkpoint.CheckpointError: --init_ckpt cannot be read.
    """
    from model import build_model
    from videosummarizer.training.inference import read_dilations
    from videosummarizer.training.optimization import compile_network
    from videosummarizer.training.training_run import load_initial_weights

    dilations = read_dilations(args.init_ckpt) if args.init_ckpt else loader.context.dilations
    network = build_model(loader.data_shape, loader.config.audio_sample_rate, loader.num_steps, dilations)
    if args.init_ckpt:
        load_initial_weights(network, args.init_ckpt, loader)
    num_updates = args.epochs * len(loader.batches("train"))
    compile_network(network, args.learning_rate, num_updates, loader.has_undecided)
    return network


def run_settings(args: argparse.Namespace, loader: DataLoader) -> dict:
    """Return the settings that have to stay the same when a run is resumed, by flag."""
    return {
        "--learning_rate": args.learning_rate,
        "--epochs": args.epochs,
        "--batch_size": loader.batch_size,
        "--seed": args.seed,
        **({"--folds": list(loader.fold)} if loader.fold else {"--split": [loader.train_ratio, loader.valid_ratio]}),
        "--init_ckpt": args.init_ckpt,
        "data config": loader.config.to_dict(),
        "segments": [loader.num_segments[subset] for subset in SUBSETS],
        **({"decided segments": [loader.num_decided[s] for s in SUBSETS]} if loader.has_undecided else {}),
    }


def checkpoint_attributes(args: argparse.Namespace, loader: DataLoader) -> dict:
    """Return what a checkpoint states about itself: the data config, the split, and the training settings."""
    from videosummarizer.training.keras_backend import keras

    backend = keras.backend.backend()
    return {
        "schema_version": SCHEMA_VERSION,
        "config": loader.config.to_dict(),
        "data_shape": loader.data_shape,
        **({"fold": list(loader.fold)} if loader.fold else {"split": [loader.train_ratio, loader.valid_ratio]}),
        "learning_rate": args.learning_rate,
        "batch_size": loader.batch_size,
        "seed": args.seed,
        "versions": {name: importlib.metadata.version(name) for name in ("keras", backend, "numpy")},
    }


def test_checkpoint(args: argparse.Namespace, loader: DataLoader, ckpt_path: str) -> list[str]:
    """Evaluate a checkpoint on the test subset, print the report, and write the files of the test into ckpt_dir.

    Returns:
        The names of the files.

    Raises:
        checkpoint.CheckpointError: The file is not a checkpoint.
        TrainingError: The network's scores are not numbers.
    """
    from videosummarizer.training import run_folder, testing

    run_folder.prepare(args.ckpt_dir)
    report, scored, point, levels = testing.evaluate(loader, ckpt_path, "test")
    print(quality_report.format_report(report))
    return testing.write_results(args.ckpt_dir, report, scored, point, levels)


def test_folds(args: argparse.Namespace) -> tuple[list[str], str]:
    """Train a network for each fold, test each match once, print the report, and write its files into ckpt_dir.

    Returns:
        The names of the files; and the path of the last fold's checkpoint, with the operating point of all scores.

    Raises:
        resume_point.ResumeError: With --resume, no fold was started, or a finished one has other settings.
        As `train`, `load_data` and `test_checkpoint` do.
    """
    from videosummarizer.training import folds, run_folder, testing

    if args.resume and not any(folds.folder_of(args.ckpt_dir, number).exists() for number in range(1, args.folds + 1)):
        raise resume_point.ResumeError(
            f"{args.ckpt_dir}: no fold to resume, no fold was started: train without --resume"
        )
    run_folder.prepare(args.ckpt_dir)
    if args.overwrite:
        earlier_run.delete(args.ckpt_dir)
    finished = []
    for number in range(1, args.folds + 1):
        fold_args = fold_arguments(args, number)
        loader = load_data(fold_args, (number, args.folds))
        if not loader.num_videos["test"]:
            continue
        print(f"Fold {number} of {args.folds}: " + ", ".join(f"{loader.num_videos[s]} {s}" for s in SUBSETS))
        settings = run_settings(fold_args, loader)
        fold = folds.read(loader, fold_args.ckpt_dir, settings) if args.resume else None
        finished.append(fold or folds.score(loader, train(fold_args, loader), settings))
    report, scored, point = folds.combine(finished, args.folds, loader.dataset_dir.name)
    print(folds.format_report(report))
    doubts = label_doubts.find_doubts(scored, point)
    pages = {
        "label_doubts.csv": label_doubts.write_csv(doubts),
        "label_doubts.html": label_doubts.render_page(doubts, point),
    }
    ckpt_path = folds.save_checkpoint(finished[-1], args.ckpt_dir, point)
    return testing.write_results(args.ckpt_dir, report, scored, point, folds.levels_of(finished), pages), ckpt_path


def fold_arguments(args: argparse.Namespace, number: int) -> argparse.Namespace:
    """Return the arguments of a fold's run, which has a folder of its own in ckpt_dir."""
    from videosummarizer.training import folds

    ckpt_dir = folds.folder_of(args.ckpt_dir, number)
    can_resume = args.resume and (ckpt_dir / resume_point.FILE_NAME).exists()
    # What a killed run left of its first epoch is replaced.
    return argparse.Namespace(**vars(args) | {"ckpt_dir": ckpt_dir, "resume": can_resume, "overwrite": not can_resume})


def load_data(args: argparse.Namespace, fold: tuple[int, int] | None = None) -> DataLoader:
    """Open the dataset, split by --split, as for a fold or, in test mode, as the checkpoint was trained.

    In training mode, `args.epochs` and `args.learning_rate` are set to what suits the dataset if they were not given.

    Args:
        args: Arguments of `parse_args`.
        fold: Number of the fold, and the number of folds; None without --folds.

    Raises:
        metadata.DatasetError: The dataset is damaged, or a subset that is needed lacks a class.
        TrainingError: The checkpoint was trained with another data config or another split.
        checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    if args.mode == "test":
        loader = DataLoader(args.data_dir, args.batch_size, **read_trained_split(args.ckpt, args.data_dir, args.split))
        loader.require_both_classes("test")
        return loader
    loader = DataLoader(args.data_dir, args.batch_size, *(args.split or DEFAULT_SPLIT), seed=args.seed, fold=fold)
    if not fold:
        loader.require_both_classes(*SUBSETS)
    elif loader.num_videos["test"]:
        loader.require_both_classes("train", "valid")
    for subset in ("valid", "test"):
        loader.matches(subset)  # damaged sections are reported before training instead of after it
    batches = loader.batches("train")
    if args.epochs is None:
        num_epochs = round(NUM_UPDATES / len(batches))
        args.epochs = min(max(num_epochs, MIN_EPOCHS), MAX_EPOCHS)
    if args.learning_rate is None:
        # Of whole sequences, and not more than there are.
        batch_size = batches.sequence_length * min(batches.num_sequences, len(batches.sequences))
        learning_rate = LEARNING_RATE * math.sqrt(batch_size / loader.default_batch_size)
        args.learning_rate = float(f"{learning_rate:.3g}")  # as it is printed, to be given as a flag
    return loader


def run(args: argparse.Namespace) -> None:
    """Load the data, train unless --ckpt is given, test, and print the paths of the results."""
    require_backend(args)
    if not args.ckpt:
        check_ckpt_dir(args)
    if args.folds:
        for number in range(1, args.folds + 1):  # all are checked before the first one is trained
            loader = load_data(argparse.Namespace(**vars(args)), (number, args.folds))
        subset_of = {title: f"fold {fold_of(title, args.folds)}" for title in loader.subset_of}
        if args.init_ckpt:
            logger.warning("--init_ckpt: the folds test it fairly only if it was trained without these matches")
    else:
        loader, subset_of = load_data(args), None
        for subset in SUBSETS:
            print(
                f"{subset:5}: {loader.num_videos[subset]} videos, {loader.num_segments[subset]} segments, "
                f"{loader.num_highlights[subset]} highlights"
                + f", {loader.num_segments[subset] - loader.num_decided[subset]} undecided"
                * loader.has_undecided
            )
    if args.check_data:
        audit.check_segments(loader)
    if not args.ckpt:
        for warning in audit.find_leaks(loader, args.group_by, subset_of):
            logger.warning(warning)
    if args.folds:
        written, ckpt_path = test_folds(args)
    elif args.ckpt:
        written, ckpt_path = test_checkpoint(args, loader, args.ckpt), args.ckpt
    else:
        ckpt_path = train(args, loader)
        if ckpt_path is None:
            return
        written = ["history.csv", "history.png", *test_checkpoint(args, loader, ckpt_path)]
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
    except (DatasetError, CheckpointError, BackendError, resume_point.ResumeError, TrainingError) as error:
        logger.error(error, exc_info=args.debug)
    except OSError as error:
        logger.error(describe_os_error(error, args.ckpt_dir), exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error(
            "Interrupted. The best checkpoint so far, if one is named above, is kept and can be tested; --resume "
            "continues after the last finished epoch"
        )
        return interruption.EXIT_STATUS
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
