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
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer import match_files, media
from videosummarizer.argument_types import length_sec
from videosummarizer.atomic_file import FolderError, atomic_write, prepare_folder
from videosummarizer.dataset import output_folder
from videosummarizer.error_messages import describe_match_error, describe_os_error
from videosummarizer.extraction import (
    decoding_process,
    label_choice,
    label_sections,
    match_signals,
    review_page,
    selection,
)
from videosummarizer.extraction.job import ExtractionError
from videosummarizer.extraction.label_choice import Candidates
from videosummarizer.extraction.match_signals import MatchSignals
from videosummarizer.extraction.outputs import MatchResult, MatchScores
from videosummarizer.labels import LabelError, format_time
from videosummarizer.sections import overlaps_sec, subtract_sections, to_frames, to_seconds, total_sec
from videosummarizer.training.backend_choice import BackendError
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from videosummarizer.undecided import find_undecided_path, read_undecided, resolve_undecided

TABLE_NAME = "label_next.csv"
PAGE_SUFFIX = "_label_next.html"
# The end of the longest name of a file that is written for a match.
LONGEST_ENDING = f"{PAGE_SUFFIX}.part"
# Proposed sections that are cut shorter than this at the end of a stretch are left out.
MIN_SECTION_SEC = 0.5
# A stretch may have this part of a segment of decided time, as both end at frames, and segments do not.
MAX_DECIDED_RATIO = 0.1
EXAMPLES = """\
examples:
  python label_next.py matches --ckpt checkpoints
  python label_next.py matches --ckpt best.hdf5 --budget 1:00:00 --output_dir to_label
"""

logger = logging.getLogger("label_next")


@dataclass(frozen=True)
class UnlabelledMatch:
    """A match without a label file, or with undecided time.

    Attributes:
        path: Its video.
        info: The result of `media.probe`.
        signals: What the network shows of it.
        labelled: (num_sections, 2) int64 frames, the sections of its label file.
        undecided: (num_ranges, 2) int64 frames, what nobody has looked at.
    """

    path: Path
    info: media.VideoInfo
    signals: MatchSignals
    labelled: np.ndarray
    undecided: np.ndarray

    @property
    def title(self) -> str:
        """Return the title of the match."""
        return match_files.title_of(self.path)

    @property
    def undecided_sec(self) -> np.ndarray:
        """Return (num_ranges, 2) float64 seconds: what nobody has looked at."""
        return to_seconds(self.undecided, self.info.frame_times_sec, self.info.duration_sec)


# ---- Matches


def find_unlabelled(video_dir: Path, output_dir: Path) -> tuple[list[Path], dict[str, str]]:
    """Find the videos of a folder that have no label file or undecided time, and say how many have a label file.

    Returns:
        paths: Of the videos, sorted by title.
        refused: For each title whose name cannot be used an error message.

    Raises:
        ExtractionError: The folder has no video without a label file.
    """
    if not video_dir.is_dir():
        raise ExtractionError(f"{video_dir}: no such folder, expected one with videos of matches")
    videos, refused = match_files.find_videos(video_dir)
    labels, _ = match_files.find_by_title(video_dir, ".txt")
    if not videos and not refused:
        raise ExtractionError(f"{video_dir}: received a folder without a video, expected videos of matches")
    for title, path in videos.items():
        if problem := match_files.describe_long_name(path, output_dir, LONGEST_ENDING):
            refused[title] = problem
    labelled = videos.keys() & labels.keys()
    partly = {title for title in labelled if os.path.lexists(find_undecided_path(labels[title]))}
    unlabelled = [videos[title] for title in sorted(videos.keys() - (labelled - partly) - refused.keys())]
    left_out = f"{video_dir}: {len(labelled)} of {len(videos)} matches have a label file and are left out"
    print(left_out + f", apart from the undecided time of {len(partly)}" * bool(partly))
    if not unlabelled and not refused:
        raise ExtractionError(f"{video_dir}: every match has a label file: add matches without one")
    return unlabelled, refused


def read_labels(video_path: Path, info: media.VideoInfo) -> tuple[np.ndarray, np.ndarray]:
    """Read the labelled sections of a match and what of it is undecided, (n, 2) int64 frames each.

    Raises:
        LabelError: The label file or the undecided time next to it cannot be used.
    """
    label_path = match_files.find_label_path(video_path)
    if not label_path.exists():
        return np.zeros((0, 2), np.int64), np.array([[0, len(info.frame_times_sec)]])
    labelled = label_sections.read_sections(label_path, info)
    undecided = read_undecided(find_undecided_path(label_path))
    undecided_sec, _ = resolve_undecided(label_path, undecided, info, np.empty((0, 2)))
    return labelled, to_frames(undecided_sec, info.frame_times_sec)


def read_match(
    video_path: Path, checkpoint: Checkpoint, network: Callable[[], object], output_dir: Path
) -> UnlabelledMatch:
    """Read what the network shows of a match, from the file of an earlier run if there is one.

    Raises:
        media.MediaError, LabelError, OSError: The match or its labels cannot be read.
        checkpoint.CheckpointError: The network cannot be read.
    """
    info = match_signals.probe(video_path, checkpoint)
    labels = read_labels(video_path, info)  # before the match, which takes longer
    path = match_files.find_file(output_dir / f"{match_files.title_of(video_path)}{match_signals.SIGNALS_SUFFIX}")
    source = output_folder.file_signature(video_path)
    signals = match_signals.find_signals(video_path, info, checkpoint, network, path, source)
    return UnlabelledMatch(video_path, info, signals, *labels)


def read_matches(
    video_paths: list[Path], checkpoint: Checkpoint, args: argparse.Namespace
) -> tuple[list[UnlabelledMatch], list[Path]]:
    """Read one match after another; the network is loaded once, and only if a match has no file of an earlier run.

    Returns:
        The matches, and the videos that cannot be read. Each of these is reported in one line.

    Raises:
        checkpoint.CheckpointError: The network cannot be read.
    """

    @functools.cache
    def network():
        from videosummarizer.training import inference, network_features  # loads TensorFlow

        return network_features.add_features(inference.load_network(checkpoint))

    matches, failed = [], []
    for number, video_path in enumerate(video_paths, start=1):
        try:
            matches.append(read_match(video_path, checkpoint, network, args.output_dir))
            print(f"{matches[-1].title}: scored ({number} of {len(video_paths)})")
        except (BackendError, CheckpointError):
            raise  # the other matches would fail, too
        except Exception as error:  # also of libraries: the other matches do not depend on this one
            report_error(video_path, "cannot be scored", error, args)
            failed.append(video_path)
    return matches, failed


def report_error(path: Path, action: str, error: Exception, args: argparse.Namespace) -> None:
    """Report in one line what failed with a match or one of its files."""
    is_described = isinstance(error, ExtractionError | FolderError | LabelError | media.MediaError)
    message = media.describe_error(error) if is_described else describe_match_error(path, action, error)
    logger.error(message, exc_info=error if args.debug else None)


# ---- Stretches


def find_candidates(matches: list[UnlabelledMatch], checkpoint: Checkpoint, budget_sec: float) -> Candidates:
    """Divide the undecided time of the matches into stretches.

    Raises:
        ExtractionError: A stretch is longer than the budget, or than all undecided time.
    """
    segment_length, threshold = checkpoint.config.segment_length, checkpoint.point.threshold
    signals = matches[0].signals
    num_segments = label_choice.count_stretch_segments(int(signals.reach_steps), signals.steps.shape[1])
    parts = []
    for match in matches:
        lengths = (match.info.duration_sec, segment_length, num_segments)
        part = label_choice.divide_match(match.title, match.signals, *lengths, threshold)
        decided_sec = np.diff(part.spans_sec, axis=1)[:, 0] - overlaps_sec(part.spans_sec, match.undecided_sec)
        parts.append(part.take(decided_sec <= MAX_DECIDED_RATIO * segment_length))
    candidates = Candidates.join(parts)
    if not candidates.titles:
        length_sec = num_segments * segment_length
        raise ExtractionError(f"no stretch of {length_sec:g} s is undecided: add matches without a label file")
    shortest_sec = np.diff(candidates.spans_sec, axis=1).min()
    if budget_sec < shortest_sec:
        raise ExtractionError(
            f"--budget: received {format_time(budget_sec)}, expected at least {format_time(np.ceil(shortest_sec))}, "
            "the length of a stretch, which follows from the lengths of the highlights that the network was trained on"
        )
    return candidates


def propose_sections(match: UnlabelledMatch, stretches: np.ndarray, checkpoint: Checkpoint) -> MatchResult:
    """Return the labelled sections of a match and, in its stretches, those that are found.

    Args:
        match: The match.
        stretches: (num_stretches, 2) int64, the first frame and the frame after the last, disjoint.
        checkpoint: The checkpoint, whose operating point decides.
    """
    info, steps, point = match.info, match.signals.steps, checkpoint.point
    step_sec = checkpoint.config.segment_length / steps.shape[1]
    found_sec = selection.detect_with_margin(steps.ravel(), step_sec, info.duration_sec, point, 0.0)
    edges_sec, proposed = info.frame_edges_sec, []
    for start, end in to_frames(found_sec, info.frame_times_sec).tolist():
        for first, last in np.clip([start, end], stretches[:, :1], stretches[:, 1:]).tolist():
            if edges_sec[last] - edges_sec[first] >= MIN_SECTION_SEC:
                proposed.append((first, last))
    scores = MatchScores(checkpoint.config.segment_length, steps.mean(axis=1), steps, point)
    labelled = match.labelled.astype(np.float64)
    # A section across two stretches becomes one again.
    proposed = subtract_sections(np.array(proposed, np.float64).reshape(-1, 2), labelled)
    sections = np.array(sorted([*labelled.tolist(), *proposed.tolist()]), np.int64).reshape(-1, 2)
    return MatchResult(match.path, info, sections, scores=scores, selected_by="stretches")


def write_page(match: UnlabelledMatch, stretches: np.ndarray, reasons: list[str], checkpoint: Checkpoint, path: Path):
    """Write the page of a match, which opens at its stretches.

    Args:
        match: The match.
        stretches: (num_stretches, 2) int64 frames, the one that teaches most first.
        reasons: Why each was chosen.
        checkpoint: The checkpoint.
        path: The page.
    """
    result = propose_sections(match, stretches, checkpoint)
    page = review_page.render_page(
        match.path,
        path.parent,
        match.info,
        result.sections,
        None,
        result.shown_steps,
        result.decoded_scores,
        result.scores.step_sec,
        checkpoint.point.threshold,
        selected_by=result.selected_by,
        penalty=checkpoint.point.section_penalty,
        undecided=match.undecided,
        stretches=[(*frames, reason) for frames, reason in zip(stretches.tolist(), reasons, strict=True)],
    )
    atomic_write(path, page)


# ---- Command


def write_results(matches: list[UnlabelledMatch], checkpoint: Checkpoint, args: argparse.Namespace) -> list[Path]:
    """Choose stretches, write the table and the pages, and print where they are. Returns the pages that failed."""
    candidates = find_candidates(matches, checkpoint, args.budget)
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
        path = match_files.find_file(args.output_dir / f"{title}{PAGE_SUFFIX}")
        try:
            write_page(match_of[title], frames[ranks], [reasons[rank] for rank in ranks], checkpoint, path)
            print(f"  {'page':9} {path} (ranks {', '.join(str(rank + 1) for rank in ranks)})")
        except Exception as error:  # also of libraries: the other pages do not depend on this one
            report_error(path, "cannot be written", error, args)
            failed.append(match_of[title].path)
    return failed


def choose_next(args: argparse.Namespace) -> int:
    """Score the unlabelled matches, choose stretches and write the files. Returns the exit status.

    Raises:
        ExtractionError, checkpoint.CheckpointError, OSError: Nothing can be done at all.
    """
    video_paths, refused = find_unlabelled(args.video_dir, args.output_dir)
    for problem in refused.values():
        logger.error(problem)
    if not video_paths:
        return 1
    checkpoint = open_checkpoint(args.ckpt)
    prepare_folder(args.output_dir, "correct its permissions, make room, or choose another --output_dir")
    matches, failed = read_matches(video_paths, checkpoint, args)
    if matches:
        failed += write_results(matches, checkpoint, args)
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
