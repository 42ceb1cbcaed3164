"""The arguments of main.py: what is trained or tested, how, and on how many machines."""

import argparse
import re
from pathlib import Path

from videosummarizer.argument_types import regular_expression
from videosummarizer.dataset.split import MAX_FOLDS, MIN_FOLDS
from videosummarizer.training.trained_split import is_split

# Dataset folder that data_converter.py writes with the arguments of the README.
DEFAULT_DATA_DIR = "dataset_sl5_vsr3_vw64_vh64_asr11025"
# The number of epochs follows from the number of updates (training steps) that a network needs, within these limits.
NUM_UPDATES = 3500
MIN_EPOCHS, MAX_EPOCHS = 12, 48
# Maximum learning rate for batches of the default size. It grows with the square root of the batch size, as suits Adam
# (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022).
LEARNING_RATE = 0.0015
EXAMPLES = """\
examples:
  python main.py --data_dir dataset_sl5_vsr3_vw64_vh64_asr11025
  python main.py --learning_rate 0.0005 --epochs 60 --batch_size 32 --data_dir data/dataset1 --ckpt_dir checkpoints1
  python main.py --mode test --ckpt checkpoints/ckpt-20261124-120000-0007-0.4321.hdf5
"""


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
        "--split",
        type=float,
        nargs=2,
        metavar=("TRAIN", "VALID"),
        help="fractions of the matches for training and validation; the rest is for the test (default: 0.6 0.2)",
    )
    add(
        "--folds",
        type=int,
        metavar="N",
        help="train N networks, so that each match is tested once by a network that was trained without it; for few "
        f"matches, at least {MIN_FOLDS}",
    )
    add(
        "--check_data",
        action="store_true",
        help="read every segment before training, and list those that cannot be used",
    )
    add("--debug", action="store_true", help="show the stack trace of an error")
    add_training_arguments(parser)
    args = parser.parse_args(argv)
    check_args(parser, args)
    if args.ckpt_dir is None:
        args.ckpt_dir = Path(args.ckpt).parent if args.ckpt else Path("checkpoints")
    if args.ckpt_dir.exists() and not args.ckpt_dir.is_dir():
        parser.error(f"argument --ckpt_dir: received {args.ckpt_dir}, which is a file, expected a folder")
    if args.overwrite and args.init_ckpt and args.ckpt_dir.resolve() in Path(args.init_ckpt).resolve().parents:
        parser.error(
            f"argument --init_ckpt: received {args.init_ckpt}, which --overwrite deletes with its folder, expected a "
            "checkpoint elsewhere: choose another --ckpt_dir"
        )
    return args


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of --mode train, on one machine and on several."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--learning_rate",
        type=float,
        help=f"maximum learning rate of the AdamW optimizer (default: {LEARNING_RATE} for batches of the default size, "
        "and for others multiplied by the square root of the ratio of the sizes)",
    )
    add(
        "--epochs",
        type=int,
        help=f"number of passes over the training segments (default: as many as make {NUM_UPDATES} training steps, but "
        f"at least {MIN_EPOCHS} and at most {MAX_EPOCHS})",
    )
    add(
        "--batch_size",
        type=int,
        help="segments per training step, rounded down to whole sequences of segments (default: two sequences, whose "
        "length follows from the length of the labelled highlights)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="seed of the initial weights, the order of segments and dropout (default: %(default)s)",
    )
    add(
        "--resume", action="store_true", help="continue the interrupted run in --ckpt_dir after its last finished epoch"
    )
    add(
        "--overwrite",
        action="store_true",
        help="delete the checkpoints and reports of an earlier run in --ckpt_dir; without it such a folder is refused",
    )
    add("--patience", type=int, metavar="EPOCHS", help="stop after this many epochs without a lower validation loss")
    add("--init_ckpt", metavar="FILE", help="start from the weights of this checkpoint, to fine-tune it on new matches")
    add(
        "--group_by",
        type=regular_expression,
        metavar="REGEX",
        help="warn if matches of one series are in different subsets; the series is the part of a title that this "
        "expression, or its first group, matches, e.g. '^[a-z]+'",
    )
    add = parser.add_argument_group("training on several machines").add_argument
    add("--coordinator", metavar="HOST:PORT", help="address of process 0, where the processes that train together meet")
    add("--num_processes", type=int, metavar="N", help="number of processes that train together")
    add("--process_id", type=int, metavar="I", help="number of this process, from 0 on; only process 0 writes results")


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with status 2 if an argument is out of range, or if arguments contradict each other."""
    for name in ("learning_rate", "epochs", "batch_size"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            parser.error(f"argument --{name}: received {value}, expected a number above 0")
    if args.patience is not None and args.patience < 1:
        parser.error(f"argument --patience: received {args.patience}, expected a number above 0")
    if not 0 <= args.seed < 2**32:
        parser.error(f"argument --seed: received {args.seed}, expected a whole number from 0 to {2**32 - 1}")
    if args.split and not is_split(args.split):
        parser.error(f"argument --split: received {args.split}, expected two fractions above 0 with a sum below 1")
    if args.folds is not None:
        check_folds(parser, args)
    if args.overwrite and (args.resume or args.mode == "test"):
        parser.error(
            f"--overwrite and {'--resume' if args.resume else '--mode test'}: received both, expected one of them"
        )
    if (args.mode == "test") != (args.ckpt is not None):
        parser.error("--mode test and --ckpt FILE go together: give both to test a checkpoint, neither to train")
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


def check_folds(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with status 2 if the number of folds is out of range, or an argument does not go with --folds."""
    if not MIN_FOLDS <= args.folds <= MAX_FOLDS:
        parser.error(
            f"argument --folds: received {args.folds}, expected a whole number from {MIN_FOLDS} to {MAX_FOLDS}"
        )
    reasons = {
        "split": "the folds decide the split",
        "ckpt": "a test of a fold's checkpoint knows its fold",
        "coordinator": "folds are trained in one process",
    }
    for name, reason in reasons.items():
        if getattr(args, name):
            parser.error(f"--folds and --{name}: received both, expected one of them: {reason}")
