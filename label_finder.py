"""Stage 0: find where the shots of edited highlight videos were cut from full matches, and write label files.

    python label_finder.py full_match_dir highlight_dir [output_dir]

In: full matches and highlight videos with the same titles (`--pairs FILE.csv` for other names). Out, for each match:
`<title>.txt`, a label file; `<title>_label_report.json`, every shot of the highlight video with its position in the
match and a confidence; and `<title>_alignment.png`, a plot of the highlight video's time against the match's.
"""

from videosummarizer import console, interruption

if __name__ == "__main__":  # before the slow imports
    console.prepare()
    interruption.install_exception_hook()

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import threadpoolctl
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from videosummarizer import audio_track, hardware_decoding, match_files, media, problems, undecided
from videosummarizer.argument_types import audio_choice, number_between, positive_number
from videosummarizer.atomic_file import atomic_write, prepare_folder
from videosummarizer.dataset import output_folder
from videosummarizer.error_messages import count_of, describe_exception, describe_match_error, describe_os_error
from videosummarizer.evaluation import plots
from videosummarizer.hardware_decoding import DeviceError
from videosummarizer.labelling.label_report import (
    label_text,
    longer_than_match_message,
    make_report,
    nothing_found_message,
)
from videosummarizer.labelling.pairs import InputError, find_pairs
from videosummarizer.labelling.shots import Shot, find_shots
from videosummarizer.sections import merge_sections
from videosummarizer.worker_processes import Failure, WorkerPool

# The end of the longest name of a file that is written for a match.
LONGEST_ENDING = "_label_report.json.part"
# Shots with a lower confidence are left out of the label file.
DEFAULT_MIN_CONFIDENCE = 0.5
# Where a smaller fraction of the highlight video is found, a warning asks whether it belongs to this match.
LOW_FOUND_RATIO = 0.3
# Where a smaller fraction is found, it is of another match: only an intro or a logo may be the same.
MIN_FOUND_RATIO = 0.1
# A highlight video that is longer, in lengths of its match, was not cut from it. Replays and talk may make it longer.
MAX_LENGTH_RATIO = 1.5
# What failed, in the message about a match with an unexpected error.
NO_LABELS_FOUND = "labels cannot be found"
EXAMPLES = """\
examples:
  python label_finder.py matches highlights
  python label_finder.py matches highlights labels --pairs pairs.csv --workers 4
"""

logger = logging.getLogger("label_finder")


@dataclass
class LabelResult:
    """The result of one match.

    Attributes:
        title: the match's title.
        num_sections: highlight sections in the label file.
        highlight_sec: their total length.
        found_ratio: fraction of the highlight video that was found in the match.
        error: message of the error because of which the match has no labels, None without error.
        error_traceback: the error's traceback.
        warnings: messages.
        notes: messages for --debug.
    """

    title: str
    num_sections: int = 0
    highlight_sec: float = 0.0
    found_ratio: float = 0.0
    error: str | None = None
    error_traceback: str | None = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare_videos(
    match_path: Path, match_info: media.VideoInfo, highlight_path: Path, highlight_info: media.VideoInfo
) -> tuple[list[Shot], list[str]]:
    """Return the shots that `find_shots` finds, and the warnings about the audio that it compared."""
    damages = audio_track.AudioDamage(), audio_track.AudioDamage()
    # One BLAS thread: the products are small, and several matches run in parallel.
    with threadpoolctl.threadpool_limits(1):
        shots = find_shots(match_path, match_info, highlight_path, highlight_info, *damages)
    warnings = []
    for path, info, damage in zip((match_path, highlight_path), (match_info, highlight_info), damages, strict=True):
        cancelled_sec = damage.antiphase.cancelled_sec(info.duration_sec)
        warnings += problems.describe_audio(path, damage.seconds(info.duration_sec), cancelled_sec)
    return shots, warnings


def find_labels(
    title: str,
    match_path: Path,
    highlight_path: Path,
    output_dir: Path,
    min_confidence: float,
    track: int | str | None = None,
) -> LabelResult:
    """Write the label file, the report and the plot of one match; no label file where nothing is found.

    Args:
        title: name of the files that are written.
        match_path: the full match.
        highlight_path: the highlight video.
        output_dir: folder for the files.
        min_confidence: shots with a lower confidence are only listed in the report.
        track: which audio of the match is compared, see `tracks.AudioChoice`.

    Returns:
        The result. Whatever goes wrong is the result's error, so that only this match fails.
    """
    result = LabelResult(title)
    try:
        label_match(result, match_path, highlight_path, output_dir, min_confidence, track)
    except (InputError, media.MediaError) as error:
        result.error, result.error_traceback = media.describe_error(error), traceback.format_exc()
    except Exception as error:  # also of libraries
        result.error = describe_match_error(title, NO_LABELS_FOUND, error, output_dir)
        result.error_traceback = traceback.format_exc()
    warnings, result.notes = hardware_decoding.take_messages()
    result.warnings += warnings
    return result


def label_match(
    result: LabelResult,
    match_path: Path,
    highlight_path: Path,
    output_dir: Path,
    min_confidence: float,
    track: int | str | None,
) -> None:
    """Write the files of one match as `find_labels` does, and put its numbers and warnings into the result.

    Raises:
        InputError: The highlight video is not of this match, or too little of it is found.
        media.MediaError: A video cannot be read.
    """
    paths = match_path, highlight_path
    infos = match_info, highlight_info = media.probe(match_path, track), media.probe(highlight_path)
    for path, info in zip(paths, infos, strict=True):
        result.warnings += problems.describe_file(path, info)
    if highlight_info.duration_sec > MAX_LENGTH_RATIO * match_info.duration_sec:
        raise InputError(longer_than_match_message(*paths, *infos))
    shots, audio_warnings = compare_videos(match_path, match_info, highlight_path, highlight_info)
    result.warnings += audio_warnings
    confident = [shot for shot in shots if shot.confidence >= min_confidence]
    sections_sec = merge_sections([(shot.match_start_sec, shot.match_end_sec) for shot in confident])
    text = label_text(sections_sec, match_info.frame_edges_sec)
    report = make_report(result.title, paths, infos, shots, min_confidence)
    result.num_sections = len(sections_sec)
    result.highlight_sec = float(np.diff(sections_sec, axis=1).sum())
    result.found_ratio = report["found_share"]
    if text and MIN_FOUND_RATIO <= result.found_ratio < LOW_FOUND_RATIO:
        result.warnings.append(
            f"{highlight_path}: only {result.found_ratio:.0%} of it was found in {match_path}: is it of this match?"
        )
    result.warnings += write_plot(result.title, shots, min_confidence, infos, output_dir)
    report_path = output_dir / f"{result.title}_label_report.json"
    atomic_write(report_path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    if not text or result.found_ratio < MIN_FOUND_RATIO:
        num_doubtful = len(shots) - len(confident)
        raise InputError(nothing_found_message(*paths, result.found_ratio, num_doubtful, min_confidence))
    label_path = label_path_of(result.title, output_dir)
    atomic_write(label_path, text.encode())
    # The undecided time belonged to the labels before. These labels are of the whole match.
    undecided.find_undecided_path(label_path).unlink(missing_ok=True)


def label_path_of(title: str, output_dir: Path) -> Path:
    """Return the path of a match's label file, which may exist with another case of its suffix."""
    return match_files.find_label_path(output_dir / f"{title}.mp4")


def write_plot(
    title: str,
    shots: list[Shot],
    min_confidence: float,
    infos: tuple[media.VideoInfo, media.VideoInfo],
    output_dir: Path,
) -> list[str]:
    """Write the plot of a match and its highlight video, and return a warning where that fails."""
    path = output_dir / f"{title}_alignment.png"
    try:
        atomic_write(path, plot_alignment(title, shots, min_confidence, *(info.duration_sec for info in infos)))
    except Exception as error:  # also of matplotlib: the labels do not depend on it
        return [f"{path}: cannot be written ({describe_exception(error)})"]
    return []


def plot_alignment(
    title: str, shots: list[Shot], min_confidence: float, match_duration_sec: float, highlight_duration_sec: float
) -> bytes:
    """Return a PNG of the highlight video's time against the match's, with one line per shot.

    Shots with a confidence below `min_confidence` are grey.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    axes = figure.subplots()
    for shot in shots:
        is_confident = shot.confidence >= min_confidence
        edit_sec, match_sec = (shot.edit_start_sec, shot.edit_end_sec), (shot.match_start_sec, shot.match_end_sec)
        axes.plot(edit_sec, match_sec, color="tab:blue" if is_confident else "lightgrey", linewidth=3)
        if is_confident:
            axes.axhspan(*match_sec, color="tab:blue", alpha=0.1, linewidth=0)
    axes.set(
        xlabel="time in the highlight video (s)", ylabel="time in the match (s)",
        xlim=(0, highlight_duration_sec), ylim=(0, match_duration_sec),
    )  # fmt: skip
    axes.set_title(title, parse_math=False)
    return plots.to_png(figure)


def find_all(
    pairs: dict[str, tuple[Path, Path]],
    output_dir: Path,
    min_confidence: float,
    num_workers: int,
    track: int | str | None = None,
) -> Iterator[LabelResult]:
    """Find the labels of several matches in parallel, with a progress bar and one line per finished match.

    Args:
        pairs: paths of match and highlight video by title.
        output_dir: folder for the files.
        min_confidence: as in `find_labels`.
        num_workers: the most processes.
        track: as in `find_labels`.

    Yields:
        The results in the order in which the matches finish.
    """
    calls = [(title, *paths, output_dir, min_confidence, track) for title, paths in pairs.items()]
    with (
        tqdm(total=len(pairs), desc="Finding labels", unit="match") as bar,
        logging_redirect_tqdm(),
        WorkerPool(max(1, min(num_workers, len(pairs)))) as pool,
        closing(pool.run(find_labels, calls)) as outcomes,
    ):
        for (title, *_), result in outcomes:
            if isinstance(result, Failure):
                error = result.describe(title, NO_LABELS_FOUND)
                result = LabelResult(title, error=error, error_traceback=result.traceback)
            bar.update()
            for warning in result.warnings:
                logger.warning(warning)
            for note in result.notes:
                logger.debug(note)
            if result.error:
                logger.error(result.error)
                if result.error_traceback:
                    logger.debug(result.error_traceback)
            else:
                tqdm.write(
                    f"{result.title}: {count_of(result.num_sections, 'section')}, {result.highlight_sec:.0f} s, "
                    f"{result.found_ratio:.0%} of the highlight video found",
                    file=sys.stdout,
                )
            yield result


def find_folder(args: argparse.Namespace) -> int:
    """Find the labels of all matches that have none yet, and return the exit status.

    Raises:
        InputError: the arguments name nothing that can be used.
    """
    pairs, refused = find_pairs(args.full_match_dir, args.highlight_dir, args.pairs)
    output_dir = args.output_dir or args.full_match_dir
    for title, (match_path, _) in pairs.items():
        problem = match_files.describe_bad_name(match_path) or output_folder.describe_reserved_title(match_path)
        if problem := problem or match_files.describe_long_name(match_path, output_dir, LONGEST_ENDING):
            refused[title] = problem
    for problem in refused.values():
        logger.error(problem)
    pairs = {title: paths for title, paths in pairs.items() if title not in refused}
    kept = [title for title in pairs if label_path_of(title, output_dir).exists() and not args.overwrite]
    if kept:
        print(f"{output_dir}: {len(kept)} label files already exist and are kept (--overwrite replaces them)")
    todo = {title: paths for title, paths in pairs.items() if title not in kept}
    if not todo and not refused:
        return 0
    results = []
    if todo:
        prepare_folder(output_dir, "correct its permissions, make room, or give another output_dir")
        num_workers = args.workers or joblib.cpu_count()
        results = find_all(todo, output_dir, args.min_confidence, num_workers, args.audio_track)
    failed = sorted([*(result.title for result in results if result.error), *map(match_files.escape, refused)])
    if failed:
        num_matches = len(todo) + len(refused)
        logger.error("%d of %d matches have no labels: %s", len(failed), num_matches, ", ".join(failed))
    return 1 if failed else 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. A wrong argument exits with status 2 and a message that names it."""
    parser = argparse.ArgumentParser(
        prog="label_finder.py",
        description="Find where the shots of highlight videos were cut from full matches of the same names, and write "
        "one label file per match.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, suffixes = parser.add_argument, ", ".join(match_files.VIDEO_SUFFIXES)
    add("full_match_dir", type=Path, help=f"Folder of the full matches, <title> with {suffixes}.")
    add("highlight_dir", type=Path, help="Folder of the highlight videos cut from them, with the same titles.")
    add("output_dir", type=Path, nargs="?", help="Folder for the label files and reports (default: full_match_dir).")
    add(
        "--pairs",
        type=Path,
        metavar="FILE.csv",
        help="CSV file with lines match,highlight_video, for videos whose names differ.",
    )
    add(
        "--min_confidence",
        metavar="C",
        type=number_between(0, 1),
        default=DEFAULT_MIN_CONFIDENCE,
        help="Lowest confidence of a labelled shot, 0 to 1. Other shots are only listed in the report "
        "(default: %(default)s).",
    )
    add(
        "--audio_track",
        metavar="N|mix",
        type=audio_choice,
        help="Compare the Nth audio track of each match, or the sum of all (default: the first one flagged as default, "
        "or else the first). Of highlight videos, the default one is compared.",
    )
    add(
        "--workers",
        metavar="N",
        type=positive_number(int),
        help="Number of matches to process in parallel (default: one per core).",
    )
    hardware_decoding.add_argument(parser)
    add("--overwrite", action="store_true", help="Replace existing label files.")
    add("--debug", action="store_true", help="Show the traceback of every error.")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 for success, 1 if any match has no labels, 130 for Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logger.setLevel(logging.DEBUG if args.debug else logging.INFO)
    try:
        with hardware_decoding.using(args.hwaccel):
            hardware_decoding.require_device()
            return find_folder(args)
    except (InputError, DeviceError) as error:
        logger.error(error, exc_info=args.debug)
    except OSError as error:
        logger.error(describe_os_error(error, args.output_dir or args.full_match_dir), exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the matches that have no labels yet")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
