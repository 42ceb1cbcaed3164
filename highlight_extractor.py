"""Stage 4: find the highlights of unlabelled matches and cut them.

    python highlight_extractor.py MATCH.mp4 [MORE.mp4 ...] --ckpt FILE.hdf5 --output_dir DIR

Inputs: match videos and a checkpoint of main.py. Outputs, for each match in output_dir: `<title>_highlights.mp4`, the
reel; `<title>.html`, a page to review and correct the sections; `<title>_timeline.png`; `<title>.txt`, a label file;
`<title>_scores.csv`; `<title>.json`; and `.edl`, `.fcpxml`, `.otio`, `.vtt` for editing software and players. After an
interruption, the same command continues.
"""

from videosummarizer import console, interruption

if __name__ == "__main__":  # before the imports that take long
    console.prepare()
    interruption.install_exception_hook()

import argparse
import functools
import importlib.metadata
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from videosummarizer import match_files, media
from videosummarizer.atomic_file import FolderError, atomic_write, prepare_folder
from videosummarizer.dataset import output_folder
from videosummarizer.error_messages import describe_match_error, describe_os_error
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import decoding_process, match_writers, outputs, reel, scoring, selection
from videosummarizer.extraction.arguments import parse_args
from videosummarizer.extraction.exports.timeline import ExportError
from videosummarizer.extraction.job import (
    LONGEST_ENDING,
    SUFFIXES,
    ExtractionError,
    Job,
    describe_conflict,
    read_previous_report,
    read_previous_scores,
    refuse_paths,
)
from videosummarizer.extraction.outputs import NUM_SCORE_DECIMALS, MatchResult, MatchScores
from videosummarizer.extraction.progress_bar import progress
from videosummarizer.labels import LabelError, format_time, read_label_file, resolve_sections
from videosummarizer.sections import to_frames, total_sec
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError, read_checkpoint

# The arguments that decide what is in the files, apart from the checkpoint: files made with others are not replaced.
SETTINGS = ("threshold", "length", "padding", "reel_height")

logger = logging.getLogger("highlight_extractor")


# ---- Sections and files


def select_sections(
    step_scores: np.ndarray, info: media.VideoInfo, checkpoint: Checkpoint, args: argparse.Namespace
) -> tuple[np.ndarray, OperatingPoint]:
    """Select sections as the checkpoint and the arguments say.

    Returns:
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        point: The operating point at which they were detected.
    """
    point = checkpoint.point if args.threshold is None else replace(checkpoint.point, threshold=args.threshold)
    step_sec = checkpoint.config.segment_length / step_scores.shape[1]
    match = (step_scores.ravel(), step_sec, info.duration_sec)
    if args.length is None:
        sections_sec = selection.detect_with_margin(*match, point, args.padding)
    else:
        sections_sec, point = selection.select_within_budget(*match, point, args.padding, args.length)
    return to_frames(sections_sec, info.frame_times_sec), point


def read_labelled_sections(video_path: Path, info: media.VideoInfo) -> np.ndarray | None:
    """Read the label file next to a match as (num_sections, 2) int64 frames; None where there is no usable one."""
    label_path = match_files.find_label_path(video_path)
    if not label_path.exists():
        return None
    try:
        rows = read_label_file(label_path)
        sections_sec, _ = resolve_sections(label_path, rows, info.frame_times_sec, info.duration_sec)
    except LabelError as error:
        logger.warning("%s. The labelled sections are not shown", error)
        return None
    return to_frames(sections_sec, info.frame_times_sec)


# ---- Matches


def make_job(video_path: Path, checkpoint: Checkpoint, args: argparse.Namespace) -> Job:
    """Return the job of a match.

    Raises:
        ExtractionError: There is no such file, or its title is too long.
    """
    if not video_path.exists():
        raise ExtractionError(f"{video_path}: no such file, expected the video of a match")
    if problem := match_files.describe_long_name(video_path, args.output_dir, LONGEST_ENDING):
        raise ExtractionError(problem)
    title = match_files.title_of(video_path)
    path_of = {suffix: match_files.find_file(args.output_dir / f"{title}{suffix}") for suffix in SUFFIXES}
    previous = read_previous_report(path_of[".json"])
    return Job(
        video_path,
        path_of,
        scored_with={"checkpoint_sha256": checkpoint.sha256, "source": output_folder.file_signature(video_path)},
        settings={name: getattr(args, name) for name in SETTINGS},
        previous_report=previous,
        writers=match_writers.select_writers(args, bool(previous.get("sections")), "step_scores" in previous),
    )


def extract_match(
    video_path: Path, checkpoint: Checkpoint, network: Callable[[], object], args: argparse.Namespace
) -> bool:
    """Write the missing files of a match; see `match_writers`.

    `<title>.json` is written first. It says how the other files are made, so that the same command continues and
    another one is refused. Scores are read again where checkpoint and match are the same, so that another threshold
    takes seconds.

    Returns:
        Whether all files are written. Errors in the others are reported, each in one line.

    Raises:
        ExtractionError: There is no such match, or existing files were made with other settings.
        media.MediaError, OSError: The match cannot be read, or no file can be written.
        checkpoint.CheckpointError: The network cannot be read.
    """
    job = make_job(video_path, checkpoint, args)
    if not args.overwrite:
        if job.existing_files and not job.is_up_to_date:
            raise ExtractionError(describe_conflict(job))
        if job.is_finished:
            print(f"{match_files.title_of(video_path)}: finished already and kept")
            return True
    prepare_folder(args.output_dir, "correct its permissions, make room, or choose another --output_dir")
    result = score_and_select(job, checkpoint, network, args)
    if args.overwrite:
        for path in job.existing_files:
            path.unlink()
    if not job.path_of[".json"].exists():
        atomic_write(job.path_of[".json"], outputs.write_report(result, provenance(job, checkpoint)))
    is_complete = True
    cut = match_writers.Cut(result, args)
    for writer in match_writers.select_writers(args, len(result.sections) > 0, result.scores is not None):
        path = job.path_of[writer.suffix]
        try:
            if not path.exists():
                writer.write(cut, path)
        except ExportError as error:
            logger.warning("%s is not written: %s", path, error)
        except Exception as error:  # also of libraries: the other files do not depend on this one
            report_error(path, "cannot be written", error, args)
            is_complete = False
    describe_result(result, job.path_of)
    return is_complete


def report_error(path: Path, action: str, error: Exception, args: argparse.Namespace) -> None:
    """Report in one line what failed with a match or one of its files."""
    is_described = isinstance(error, ExtractionError | FolderError | media.MediaError | reel.ReelError)
    message = str(error) if is_described else describe_match_error(path, action, error)
    logger.error(message, exc_info=error if args.debug else None)


def score_and_select(
    job: Job, checkpoint: Checkpoint, network: Callable[[], object], args: argparse.Namespace
) -> MatchResult:
    """Score a match, or read the scores of a previous run where they are the same, and select its sections.

    Raises:
        media.MediaError, checkpoint.CheckpointError: See `extract_match`.
    """
    info, config = decoding_process.call(job.video_path, media.probe, job.video_path), checkpoint.config
    scores = read_previous_scores(job, config.num_segments(info.duration_sec)) if job.has_same_scores else None
    if scores is None:
        with progress("Scoring", info.duration_sec) as add_sec:
            scores = scoring.score_match(job.video_path, info, config, network, add_sec, args.output_dir)
        scores = tuple(np.round(part, NUM_SCORE_DECIMALS) for part in scores)
        if job.path_of["_scores.csv"].exists():  # the scores in one of these files are damaged
            for suffix in ("_scores.csv", ".json"):
                job.path_of[suffix].unlink(missing_ok=True)
    sections, point = select_sections(scores[1], info, checkpoint, args)
    labelled_sections = read_labelled_sections(job.video_path, info)
    return MatchResult(
        job.video_path, info, sections, labelled_sections, MatchScores(config.segment_length, *scores, point)
    )


def provenance(job: Job, checkpoint: Checkpoint) -> dict:
    """Return what the report says about how and when a match was scored."""
    return {
        "checkpoint": checkpoint.path.name,
        "operating_point": asdict(checkpoint.point),
        "settings": job.settings,
        "scored_with": job.scored_with,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in ("av", "keras", "numpy", "tensorflow")},
    }


def describe_result(result: MatchResult, path_of: dict[str, Path]) -> None:
    """Print how much was selected, and the paths of the main files."""
    total, duration = total_sec(result.sections_sec), result.info.duration_sec
    print(f"{result.title}: {len(result.sections)} sections, {format_time(total)} of {format_time(duration)}")
    if not len(result.sections):
        logger.warning(
            "%s: no section is found: the highest score in context is %.3f, below the threshold of %.3f. Lower "
            "--threshold or ask for a --length",
            result.video_path,
            result.decoded_scores.max(),
            result.scores.point.threshold,
        )
    for name, suffix in (("reel", "_highlights.mp4"), ("page", ".html"), ("timeline", "_timeline.png")):
        if path_of[suffix].exists():
            print(f"  {name:9} {path_of[suffix]}")


def extract_matches(args: argparse.Namespace) -> int:
    """Extract one match after another; the network is loaded once. Returns the exit status.

    Raises:
        ExtractionError, checkpoint.CheckpointError, OSError: Nothing can be done at all.
    """
    video_paths = list({match_files.absolute_path(path): path for path in args.videos}.values())
    refused = refuse_paths(video_paths, args.output_dir)
    for problem in refused.values():
        logger.error(problem)
    if len(refused) == len(video_paths):
        return 1
    checkpoint = read_checkpoint(args.ckpt)
    if not checkpoint.has_operating_point and args.threshold is None and args.length is None:
        logger.warning(
            "%s: the checkpoint stores no operating point, sections are detected at a score of %g: --threshold chooses "
            "another",
            checkpoint.path,
            checkpoint.point.threshold,
        )

    @functools.cache
    def network():
        from videosummarizer.training import inference  # loads TensorFlow, after all checks that do not need it

        return inference.load_network(checkpoint)

    failed = [match_files.escape(str(path)) for path in refused]
    for video_path in video_paths:
        if video_path in refused:
            continue
        try:
            is_complete = extract_match(video_path, checkpoint, network, args)
        except CheckpointError:
            raise  # the other matches would fail, too
        except Exception as error:  # also of libraries: the other matches do not depend on this one
            report_error(video_path, "no highlights can be extracted", error, args)
            is_complete = False
        if not is_complete:
            failed.append(str(video_path))
    if failed and len(video_paths) > 1:
        logger.error("%d of %d matches failed: %s", len(failed), len(video_paths), ", ".join(failed))
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return the exit status: 0 if all is done, 1 if something failed, 130 after Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        with decoding_process.running():
            return extract_matches(args)
    except (ExtractionError, CheckpointError) as error:
        logger.error(error, exc_info=args.debug)
    except OSError as error:
        logger.error(describe_os_error(error, args.output_dir), exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the missing files")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
