"""Stage 3: train the audio-visual network on a dataset, and test the best checkpoint.

    python main.py --data_dir DIR                               train, then test the best checkpoint
    python main.py --mode test --ckpt FILE.hdf5 --data_dir DIR  test a checkpoint

In: a dataset folder of data_converter.py. Out, in ckpt_dir: `ckpt-<time>-<epoch>-<val_loss>.hdf5` for each epoch whose
validation loss was lower than all before, `history.csv`, `history.png`, `test_report.json`.
"""

import argparse
import importlib.metadata
import json
import logging
import re
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import dataset_audit
import metrics
import segments
from data_loader import SUBSETS, DataLoader
from dataset_files import open_dataset

DEFAULT_DATA_DIR = "dataset_sl5_vsr3_vw64_vh64_asr11025"  # what the README's first conversion writes
DEFAULT_SPLIT = (0.6, 0.2)
THRESHOLD = 0.5  # a segment whose score is at least this is called a highlight
WEIGHT_DECAY = 1e-3
INTERRUPTED = 130  # the shell's exit status for Ctrl-C
SHOWN_METRICS = ("loss", "precision", "recall", "f1", "average_precision")
EXAMPLES = """\
examples:
  python main.py --data_dir dataset_sl5_vsr3_vw64_vh64_asr11025
  python main.py --learning_rate 0.0005 --epochs 60 --batch_size 32 --data_dir data/dataset1 --ckpt_dir checkpoints1
  python main.py --mode test --ckpt checkpoints/ckpt-20261124-120000-0007-0.4321.hdf5
"""

logger = logging.getLogger("main")


class TrainingError(Exception):
    """Training or testing cannot go on; the message says why and what to do."""


def class_weights(labels: np.ndarray) -> dict[int, float]:
    """Weights that let both classes count the same: num_segments / (2 * num_segments_of_class)."""
    counts = np.bincount(labels, minlength=2)
    return {label: len(labels) / (2 * int(count)) for label, count in enumerate(counts)}


def predict(network, loader: DataLoader, subset: str) -> np.ndarray:
    """(num_segments,) float32 in [0, 1]: the network's score of each segment of a subset, in order."""
    from model import BatchSequence

    return network.predict(BatchSequence(loader.batches(subset)), verbose=0)[:, 0]


def train(args: argparse.Namespace, loader: DataLoader) -> str:
    """Train, saving a checkpoint where the validation loss improves; returns the path of the best one.

    Raises:
        TrainingError: no epoch had a finite validation loss.
        KeyboardInterrupt: after Ctrl-C, once what there is has been saved and said.
    """
    from model import BatchSequence, BestCheckpoint, build_model, keras

    keras.utils.set_random_seed(args.seed)
    network = build_model(loader.data_shape, loader.config.audio_sample_rate)
    network.compile(keras.optimizers.AdamW(args.learning_rate, weight_decay=WEIGHT_DECAY), "binary_crossentropy")
    args.ckpt_dir.mkdir(parents=True, exist_ok=True)
    best = BestCheckpoint(args.ckpt_dir, f"ckpt-{datetime.now():%Y%m%d-%H%M%S}", checkpoint_attributes(args, loader))
    train_batches = BatchSequence(loader.batches("train"))
    valid_labels = loader.labels("valid")
    history: list[dict] = []

    def validate(epoch: int, logs: dict) -> None:
        scores = metrics.evaluate(valid_labels, predict(network, loader, "valid"), THRESHOLD)
        logs.update({f"val_{name}": scores[name] for name in SHOWN_METRICS})

    def report(epoch: int, logs: dict) -> None:
        history.append({"epoch": epoch + 1, **logs})
        saved = best.best_path and f"-{epoch + 1:04d}-" in best.best_path
        tqdm.write(describe_epoch(history[-1], args.epochs, saved), file=sys.stdout)
        write_history(args.ckpt_dir / "history.csv", history)

    with tqdm(total=args.epochs * len(train_batches), desc="Training", unit="batch") as bar, logging_redirect_tqdm():
        callbacks = [
            keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: bar.update()),
            keras.callbacks.LambdaCallback(on_epoch_end=validate),  # before all that reads val_loss
            best,
            keras.callbacks.LambdaCallback(on_epoch_end=report),
        ]
        try:
            network.fit(
                train_batches,
                epochs=args.epochs,
                class_weight=class_weights(loader.labels("train")),
                callbacks=callbacks,
                verbose=0,
            )
        finally:
            bar.close()
            if history:
                plot_history(args.ckpt_dir / "history.png", history)
            if best.best_path:
                print(f"Best checkpoint: {best.best_path}")
    if best.best_path is None:
        raise TrainingError("no epoch had a finite validation loss, so nothing was saved: lower --learning_rate")
    return best.best_path


def checkpoint_attributes(args: argparse.Namespace, loader: DataLoader) -> dict:
    """What a checkpoint says of itself: the data config, the split, and how it was trained."""
    return {
        "schema_version": segments.SCHEMA_VERSION,
        "config": vars(loader.config),
        "data_shape": loader.data_shape,
        "split": [loader.train_ratio, loader.valid_ratio],
        "threshold": THRESHOLD,
        "learning_rate": args.learning_rate,
        "batch_size": args.batch_size,
        "seed": args.seed,
        "versions": {name: importlib.metadata.version(name) for name in ("keras", "tensorflow", "numpy")},
    }


def describe_epoch(row: dict, num_epochs: int, saved: bool) -> str:
    """The line that tells of an epoch."""
    return (
        f"epoch {row['epoch']:3d}/{num_epochs}  loss {row['loss']:.4f} | valid: loss {row['val_loss']:.4f}  "
        f"precision {row['val_precision']:.3f}  recall {row['val_recall']:.3f}  F1 {row['val_f1']:.3f}  "
        f"average precision {row['val_average_precision']:.3f}{'  saved' if saved else ''}"
    )


def write_history(path: Path, history: list[dict]) -> None:
    """Write a CSV with a row for each epoch: its number, the training loss, and the metrics on validation."""
    names = list(history[0])
    rows = [",".join(names)] + [",".join(str(row[name]) for name in names) for row in history]
    segments.write_whole(path, ("\n".join(rows) + "\n").encode())


def plot_history(path: Path, history: list[dict]) -> None:
    """Draw the losses and the validation metrics over the epochs."""
    import matplotlib

    matplotlib.use("Agg")  # a file is all that is wanted, with or without a screen
    import matplotlib.pyplot as plt

    epochs = [row["epoch"] for row in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, label in (("loss", "train"), ("val_loss", "valid")):
        left.plot(epochs, [row[name] for row in history], marker=".", label=label)
    for name in SHOWN_METRICS[1:]:
        right.plot(epochs, [row[f"val_{name}"] for row in history], marker=".", label=name.replace("_", " "))
    left.set(xlabel="epoch", ylabel="loss", title="Loss")
    right.set(xlabel="epoch", ylim=(0, 1), title="Validation")
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def test(args: argparse.Namespace, loader: DataLoader, ckpt_path: str) -> None:
    """Score a checkpoint on the test subset: a table on the screen, and `test_report.json` in ckpt_dir.

    Raises:
        segments.CheckpointError: the file is no checkpoint.
    """
    from model import load_checkpoint

    network = load_checkpoint(ckpt_path)
    reference_labels = loader.labels("test")
    report = {
        "checkpoint": Path(ckpt_path).name,
        "dataset": loader.dataset_dir.name,
        "split": [loader.train_ratio, loader.valid_ratio],
        "videos": sorted({file.title for file in loader.segment_files["test"]}),
        "threshold": THRESHOLD,
        "model": metrics.evaluate(reference_labels, predict(network, loader, "test"), THRESHOLD),
        "everything": metrics.evaluate_everything(reference_labels),
    }
    args.ckpt_dir.mkdir(parents=True, exist_ok=True)
    segments.write_whole(args.ckpt_dir / "test_report.json", (json.dumps(report, indent=2) + "\n").encode())
    print(describe_test(report))


def describe_test(report: dict) -> str:
    """The table of a test report."""
    found, everything = report["model"], report["everything"]
    (true_negatives, false_positives), (false_negatives, true_positives) = found["confusion_matrix"]
    rows = [
        f"Test: {len(report['videos'])} videos, {found['segments']} segments, {found['highlights']} highlights",
        f"{'':20}{'model':>10}{'everything is a highlight':>28}",
    ]
    for name in SHOWN_METRICS[1:]:
        rows.append(f"{name.replace('_', ' '):20}{found[name]:>10.3f}{everything[name]:>28.3f}")
    rows += [
        "confusion matrix       found   not found",
        f"  highlight       {true_positives:>10d}{false_negatives:>12d}",
        f"  other           {false_positives:>10d}{true_negatives:>12d}",
    ]
    return "\n".join(rows)


def load_data(args: argparse.Namespace) -> DataLoader:
    """The loader that the mode needs: split as asked for or, in test mode, as the checkpoint was trained.

    Raises:
        segments.DatasetError: the dataset is damaged, or a subset that is needed lacks a class.
        TrainingError: the checkpoint was trained on data sampled otherwise, or split otherwise than asked for.
        segments.CheckpointError: the checkpoint cannot be read.
    """
    split = tuple(args.split or DEFAULT_SPLIT)
    if args.mode == "train":
        loader = DataLoader(args.data_dir, args.batch_size, *split, seed=args.seed)
        loader.require_both_classes(*SUBSETS)
        return loader
    metadata_config = open_dataset(args.data_dir).metadata["config"]
    attributes = segments.read_checkpoint_attributes(args.ckpt)
    if args.split and list(args.split) != attributes["split"]:
        raise TrainingError(
            f"--split: received {split}, expected {attributes['split']} as {args.ckpt} was trained with: another split "
            "would test it on videos that it has seen"
        )
    if metadata_config != attributes["config"]:
        raise TrainingError(
            f"{args.data_dir}: received a dataset with {metadata_config}, expected {attributes['config']} as "
            f"{args.ckpt} was trained with"
        )
    loader = DataLoader(args.data_dir, args.batch_size, *attributes["split"])
    loader.require_both_classes("test")
    return loader


def regex(text: str) -> re.Pattern:
    """An argparse type: a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a regular expression ({error})") from error


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command. Wrong ones exit with status 2 and a message that names them."""
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Train the audio-visual network on a dataset, then test the best checkpoint on matches it has "
        "never seen; or test a checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--learning_rate", type=float, default=0.001, help="of the AdamW optimizer (default: %(default)s)")
    add("--epochs", type=int, default=30, help="passes over the training segments (default: %(default)s)")
    add("--batch_size", type=int, default=16, help="segments in a training step (default: %(default)s)")
    add(
        "--data_dir",
        default=DEFAULT_DATA_DIR,
        help="dataset of data_converter.py, a folder or a .zip (default: %(default)s)",
    )
    add("--ckpt_dir", type=Path, help="where results go (default: checkpoints; testing: the folder of --ckpt)")
    add("--mode", choices=("train", "test"), default="train", help="train and test, or test alone (default: train)")
    add("--ckpt", metavar="FILE", help="the checkpoint to test")
    add("--seed", type=int, default=0, help="of weights, order and dropout (default: %(default)s)")
    add(
        "--split",
        type=float,
        nargs=2,
        metavar=("TRAIN", "VALID"),
        help="shares of train and valid, the rest is test (default: 0.6 0.2)",
    )
    add("--check_data", action="store_true", help="read every segment first, and list those that cannot be used")
    add(
        "--group_by",
        type=regex,
        metavar="REGEX",
        help="warn of games of one series on two sides of the split; what it finds in a title (its first group, if it "
        "has one) names the series, e.g. '^[a-z]+'",
    )
    add("--debug", action="store_true", help="show where errors come from")
    args = parser.parse_args(argv)
    for name in ("learning_rate", "epochs", "batch_size"):
        if not 0 < getattr(args, name) < float("inf"):
            parser.error(f"argument --{name}: received {getattr(args, name)}, expected a number above 0")
    if not 0 <= args.seed < 2**32:
        parser.error(f"argument --seed: received {args.seed}, expected a whole number from 0 to {2**32 - 1}")
    if args.split and not (min(args.split) > 0 and sum(args.split) < 1):
        parser.error(f"argument --split: received {args.split}, expected two shares above 0 with a sum below 1")
    if (args.mode == "test") != (args.ckpt is not None):
        parser.error("--mode test and --ckpt FILE go together: give both to test a checkpoint, neither to train")
    if args.ckpt_dir is None:
        args.ckpt_dir = Path(args.ckpt).parent if args.ckpt else Path("checkpoints")
    return args


def run(args: argparse.Namespace) -> None:
    """Load, train unless a checkpoint is given, test, and name the files to look at."""
    loader = load_data(args)
    for subset in SUBSETS:
        print(
            f"{subset:5}: {loader.num_videos[subset]} videos, {loader.num_segments[subset]} segments, "
            f"{loader.num_highlights[subset]} highlights"
        )
    if args.check_data:
        dataset_audit.check_segments(loader)
    for warning in dataset_audit.find_leaks(loader, args.group_by) if args.mode == "train" else []:
        logger.warning(warning)
    ckpt_path = args.ckpt or train(args, loader)
    test(args, loader, ckpt_path)
    written = ["test_report.json"] if args.ckpt else ["history.csv", "history.png", "test_report.json"]
    print("Look at: " + ", ".join(str(path) for path in [*(args.ckpt_dir / name for name in written), ckpt_path]))


def main(argv: list[str] | None = None) -> int:
    """Train or test, and return the exit status: 0, 1 for bad input, 130 for Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        run(args)
    except (segments.DatasetError, segments.CheckpointError, TrainingError, OSError) as error:
        logger.error(error, exc_info=args.debug)
        return 1
    except KeyboardInterrupt:
        logger.error("Interrupted. The best checkpoint so far, if one is named above, is kept and can be tested")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
