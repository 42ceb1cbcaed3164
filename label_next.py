"""Between stages 4 and 1: choose what to label next, and write pages on which to label it.

    python label_next.py video_dir --ckpt FILE.hdf5 [--output_dir DIR] [--budget 30:00]

Inputs: a folder of match videos, of which those without a label file, or with undecided time next to it, are read; and
a checkpoint of main.py. Outputs in output_dir: `label_next.csv`, the stretches of these matches from which a network
would learn most, the best first; for each match that has some, `<title>_label_next.html`, a page that opens at them
with proposed sections; and for each match that was read, `<title>_signals.npz`, what the network shows of it.
After an interruption, the same command continues.
"""

from videosummarizer import console, interruption

if __name__ == "__main__":  # before the imports that take long
    console.prepare()
    interruption.install_exception_hook()

import argparse
import functools
import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from videosummarizer import match_files, media
from videosummarizer.argument_types import length_sec
from videosummarizer.atomic_file import FolderError, atomic_write, prepare_folder
from videosummarizer.error_messages import describe_match_error, describe_os_error
from videosummarizer.extraction import decoding_process, label_choice, stretch_page, unlabelled_matches
from videosummarizer.extraction.job import ExtractionError
from videosummarizer.extraction.label_choice import Candidates
from videosummarizer.extraction.unlabelled_matches import UnlabelledMatch
from videosummarizer.extraction.unlike_training import warn_of_differences
from videosummarizer.labels import LabelError, format_time
from videosummarizer.sections import to_frames, total_sec
from videosummarizer.training import training_statistics
from videosummarizer.training.backend_choice import BackendError
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError, open_checkpoint

TABLE_NAME = "label_next.csv"
# The end of the longest name of a file that is written for a match.
LONGEST_ENDING = f"{stretch_page.PAGE_SUFFIX}.part"
EXAMPLES = """\
examples:
  python label_next.py matches --ckpt checkpoints
  python label_next.py matches --ckpt best.hdf5 --budget 1:00:00 --output_dir to_label
"""

logger = logging.getLogger("label_next")


# ---- Matches


def report_error(path: Path, action: str, error: Exception, args: argparse.Namespace) -> None:
    """Report in one line what failed with a match or one of its files."""
    is_described = isinstance(error, ExtractionError | FolderError | LabelError | media.MediaError)
    message = media.describe_error(error) if is_described else describe_match_error(path, action, error)
    logger.error(message, exc_info=error if args.debug else None)


def try_each(
    make: Callable[[object], UnlabelledMatch], items: Sequence, action: str, args: argparse.Namespace
) -> tuple[list[UnlabelledMatch], list[Path]]:
    """Make a match of each item. An item that fails costs no other, and is reported in one line.

    Args:
        make: Returns the match of an item.
        items: Paths of videos, or matches.
        action: What fails, such as "cannot be read".
        args: The arguments of the command.

    Returns:
        The matches, and the paths of the videos that failed.

    Raises:
        checkpoint.CheckpointError, backend_choice.BackendError: The network cannot be used.
    """
    matches, failed = [], []
    for item in items:
        try:
            matches.append(make(item))
        except (BackendError, CheckpointError):
            raise  # the other matches would fail, too
        except Exception as error:  # also of libraries: the other matches do not depend on this one
            failed.append(item if isinstance(item, Path) else item.path)
            report_error(failed[-1], action, error, args)
    return matches, failed


def read_matches(
    video_paths: list[Path], checkpoint: Checkpoint, args: argparse.Namespace
) -> tuple[list[UnlabelledMatch], int, list[Path]]:
    """Read all matches, then score those of which an earlier run kept nothing. The network is loaded once, if at all.

    Returns:
        The matches, all scored; the number of segments of a stretch; and the videos that failed.

    Raises:
        ExtractionError: No stretch is undecided, or all are longer than the budget. Nothing is scored then.
        checkpoint.CheckpointError, FolderError: The network cannot be read, or nothing can be written.
    """

    @functools.cache
    def network():
        from videosummarizer.training import inference, network_features  # loads TensorFlow

        return network_features.add_features(inference.load_network(checkpoint))

    def read(path: Path) -> UnlabelledMatch:
        return unlabelled_matches.read_match(path, checkpoint, args.output_dir)

    def score(match: UnlabelledMatch) -> UnlabelledMatch:
        number = next(numbers)
        scored = unlabelled_matches.score_match(match, checkpoint, network, args.output_dir)
        warn_of_differences(match.path, scored.signals.unlike_training, checkpoint)
        print(f"{match.title}: scored ({number} of {len(matches)})")
        return scored

    numbers = itertools.count(1)
    matches, unreadable = try_each(read, video_paths, "cannot be read", args)
    if not matches:
        return [], 0, unreadable
    stretch_length = unlabelled_matches.find_stretch_length(matches, network)
    unlabelled_matches.require_stretches(matches, checkpoint.config, stretch_length, args.budget)
    prepare_folder(args.output_dir, "correct its permissions, make room, or choose another --output_dir")
    scored, failed = try_each(score, matches, "cannot be scored", args)
    return scored, stretch_length, unreadable + failed


# ---- Stretches


def find_candidates(
    matches: list[UnlabelledMatch], checkpoint: Checkpoint, stretch_length: int, budget_sec: float
) -> Candidates:
    """Divide the undecided time of the matches into stretches.

    Raises:
        ExtractionError: No stretch of a match that could be scored is undecided or within the budget.
    """
    config, parts = checkpoint.config, []
    unlabelled_matches.require_stretches(matches, config, stretch_length, budget_sec)
    for match in matches:
        lengths = (match.info.duration_sec, config.segment_length, stretch_length)
        part = label_choice.divide_match(match.title, match.signals, *lengths, checkpoint.point.threshold)
        parts.append(part.take(unlabelled_matches.are_undecided(match, part.spans_sec, config.segment_length)))
    return Candidates.join(parts)


# ---- Command


def write_results(
    candidates: Candidates, matches: list[UnlabelledMatch], checkpoint: Checkpoint, args: argparse.Namespace
) -> list[Path]:
    """Choose stretches, write the table and the pages, and print where they are. Returns the matches that failed."""
    choices = label_choice.choose_stretches(candidates, args.budget)
    match_of, threshold = {match.title: match for match in matches}, checkpoint.point.threshold
    chosen = [(match_of[candidates.titles[choice.index]], candidates.spans_sec[[choice.index]]) for choice in choices]
    frames = np.concatenate([to_frames(span_sec, match.info.frame_times_sec) for match, span_sec in chosen])
    reasons = [label_choice.describe_reasons(candidates, choice, threshold) for choice in choices]
    table_path = args.output_dir / TABLE_NAME
    atomic_write(table_path, label_choice.write_table(candidates, choices, frames, reasons))
    chosen_sec = total_sec(candidates.spans_sec[[choice.index for choice in choices]])
    undecided_sec = sum(total_sec(match.undecided_sec) for match in matches)
    ranks_of: dict[str, list[int]] = {}
    for rank, choice in enumerate(choices):
        ranks_of.setdefault(candidates.titles[choice.index], []).append(rank)
    lengths = f"{format_time(chosen_sec)} of {format_time(undecided_sec)} without labels"
    print(f"{len(choices)} stretches of {len(ranks_of)} matches, {lengths}\n  {'table':9} {table_path}")
    failed = []
    for title, ranks in ranks_of.items():
        path = match_files.find_file(args.output_dir / f"{title}{stretch_page.PAGE_SUFFIX}")
        try:
            stretch_page.write_page(match_of[title], frames[ranks], [reasons[rank] for rank in ranks], checkpoint, path)
            print(f"  {'page':9} {path} (ranks {', '.join(str(rank + 1) for rank in ranks)})")
        except Exception as error:  # also of libraries: the other pages do not depend on this one
            report_error(path, "cannot be written", error, args)
            failed.append(match_of[title].path)
    if earlier := stretch_page.find_earlier_pages(args.output_dir, ranks_of):
        print(stretch_page.describe_earlier_pages(earlier))
    return failed


def choose_next(args: argparse.Namespace) -> int:
    """Score the unlabelled matches, choose stretches and write the files. Returns the exit status.

    Raises:
        ExtractionError, checkpoint.CheckpointError, OSError: Nothing can be done at all.
    """
    video_paths, refused = unlabelled_matches.find_unlabelled(args.video_dir, args.output_dir, LONGEST_ENDING)
    for problem in refused.values():
        logger.error(problem)
    if not video_paths:
        return 1
    checkpoint = open_checkpoint(args.ckpt)
    if checkpoint.training_statistics is None:
        print(training_statistics.describe_missing(checkpoint.path))
    matches, stretch_length, failed = read_matches(video_paths, checkpoint, args)
    if matches:
        candidates = find_candidates(matches, checkpoint, stretch_length, args.budget)
        failed += write_results(candidates, matches, checkpoint, args)
    names = [*map(str, failed), *map(match_files.escape, refused)]
    if names and len(video_paths) + len(refused) > 1:
        logger.error("%d of %d matches failed: %s", len(names), len(video_paths) + len(refused), ", ".join(names))
    return 1 if names else 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. A wrong argument exits with status 2 and a message that names it."""
    parser = argparse.ArgumentParser(
        prog="label_next.py",
        description="Choose the stretches of unlabelled matches from which a network would learn most, and write a "
        "page for each match on which they can be labelled.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, suffixes = parser.add_argument, ", ".join(match_files.VIDEO_SUFFIXES)
    add(
        "video_dir",
        type=Path,
        help=f"Folder of the matches, <title> with {suffixes}. Those with a label file next to them are left out, "
        "except for their undecided time.",
    )
    add(
        "--ckpt",
        type=Path,
        required=True,
        metavar="FILE",
        help="The checkpoint, a .hdf5 file that main.py saved, or a folder, of which the checkpoint with the lowest "
        "validation loss is used.",
    )
    add(
        "--output_dir",
        type=Path,
        default="label_next",
        metavar="DIR",
        help="The folder for the table and the pages (default: %(default)s).",
    )
    add(
        "--budget",
        type=length_sec,
        default="30:00",
        metavar="30:00",
        help="The total length of the stretches to label, in minutes:seconds (default: %(default)s).",
    )
    add("--debug", action="store_true", help="Show a traceback with each error.")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit status: 0 if all is done, 1 if something failed, 130 after Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        with decoding_process.running():
            return choose_next(args)
    except (BackendError, CheckpointError, ExtractionError) as error:
        logger.error(error, exc_info=args.debug)
    except OSError as error:
        logger.error(describe_os_error(error, args.output_dir), exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the matches that are not scored yet")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
