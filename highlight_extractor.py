"""Stage 4: find the highlights of unlabelled matches and cut them.

    python highlight_extractor.py MATCH.mp4 [MORE.mp4 ...] --ckpt FILE.hdf5 --output_dir DIR
    python highlight_extractor.py MATCH.mp4 --sections MATCH.txt --output_dir DIR
    python highlight_extractor.py MATCH.mp4 --output_dir DIR

Inputs: match videos, and a checkpoint of main.py or a label file with the sections to cut; without both, the sections
are those with the most activity in audio and video. Outputs, for each match in output_dir:
`<title>_highlights.mp4`, the reel; `<title>_clips/`, with --clips, a file for each section;
`<title>.html`, a page to review and correct the sections; `<title>_preview.mp4`, with --preview, what that page plays;
`<title>_timeline.png`; `<title>.txt`, a label file; `<title>_scores.csv`; `<title>.json`; and `.xml`, `.otio`,
`.fcpxml`, `.edl`, `_lossless.csv`, `_chapters.txt` and `.vtt` for editing software, YouTube and players.
With --together, a reel of all matches with its own files.
After an interruption, the same command continues.
"""

from videosummarizer import console, interruption

if __name__ == "__main__":  # before the imports that take long
    console.prepare()
    interruption.install_exception_hook()

import argparse
import contextlib
import functools
import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from videosummarizer import hardware_decoding, match_files, media
from videosummarizer.argument_types import ALL_TRACKS
from videosummarizer.atomic_file import FolderError, atomic_write, prepare_folder
from videosummarizer.dataset import output_folder
from videosummarizer.error_messages import count_of, describe_match_error, describe_os_error
from videosummarizer.extraction import (
    activity,
    captions,
    clip_files,
    decoding_process,
    label_sections,
    match_writers,
    outputs,
    preview,
    reel,
    scoring,
    together,
)
from videosummarizer.extraction.arguments import parse_args
from videosummarizer.extraction.exports.timeline import ExportError
from videosummarizer.extraction.job import (
    LONGEST_ENDING,
    MATCH_SUFFIXES,
    ExtractionError,
    Job,
    describe_conflict,
    read_previous_report,
    refuse_paths,
)
from videosummarizer.extraction.match_result import score_and_select
from videosummarizer.extraction.outputs import MatchResult
from videosummarizer.hardware_decoding import DeviceError
from videosummarizer.labels import LabelError, format_time, read_label_file
from videosummarizer.sections import total_sec
from videosummarizer.training import backend_choice
from videosummarizer.training.backend_choice import BackendError
from videosummarizer.training.checkpoint import Checkpoint, CheckpointError, open_checkpoint

# The arguments that decide what is in the files, apart from the checkpoint: files made with others are not replaced.
SETTINGS = (
    *("threshold", "length", "padding", "reel_height", "aspect", "fit", "transition", "captions", "intro"),
    *("audio_track", "preview"),
)

# Said once when there is neither a checkpoint nor a label file.
NOTHING_LEARNED = (
    "Nothing has been learned yet: the sections are those with the most activity in audio and video. Next, correct "
    "them on the page, save the labels next to the match, and train on such matches (data_converter.py, then main.py)"
)

# Errors whose message names the file and says what to do.
DESCRIBED_ERRORS = (
    *(ExtractionError, FolderError, LabelError, media.MediaError),
    *(captions.FontError, preview.PreviewError, reel.ReelError),
)

logger = logging.getLogger("highlight_extractor")


# ---- Matches


def make_job(video_path: Path, checkpoint: Checkpoint | None, args: argparse.Namespace) -> Job:
    """Return the job of a match.

    Raises:
        ExtractionError: There is no such file, or its title is too long.
        captions.FontError: No font has the letters of its captions.
        LabelError: The label file with the sections cannot be used.
    """
    if not video_path.exists():
        raise ExtractionError(f"{video_path}: no such file, expected the video of a match")
    if problem := match_files.describe_long_name(video_path, args.output_dir, LONGEST_ENDING):
        raise ExtractionError(problem)
    title = match_files.title_of(video_path)
    captions.require_fonts(title if args.captions else "", args.intro or "", str(video_path))
    path_of = {suffix: match_files.find_file(args.output_dir / f"{title}{suffix}") for suffix in MATCH_SUFFIXES}
    previous = read_previous_report(path_of[".json"])
    settings = {name: getattr(args, name) for name in SETTINGS}
    sections_path = args.sections and label_sections.find_sections_file(args.sections, video_path)
    if sections_path:
        read_label_file(sections_path)  # before the match is read, which takes longer
        settings["sections"] = label_sections.hash_label_file(sections_path)
    scored_with, track_number = {}, None if args.audio_track == ALL_TRACKS else args.audio_track
    if checkpoint or not args.sections:
        scored_with = {"checkpoint_sha256": checkpoint.sha256} if checkpoint else {"activity": activity.VERSION}
        scored_with |= {"from": args.from_sec, "to": args.to_sec}
        scored_with["scored_track"] = track_number or (checkpoint and checkpoint.config.audio_track)
    return Job(
        video_path,
        path_of,
        scored_with={**scored_with, "source": output_folder.file_signature(video_path)},
        settings=settings,
        previous_report=previous,
        writers=match_writers.select_writers(args, bool(previous.get("sections")), "step_scores" in previous),
        sections_path=sections_path,
        labels_sha256=label_sections.hash_label_file(match_files.find_label_path(video_path)),
    )


def list_jobs(video_paths: list[Path], checkpoint: Checkpoint | None, args: argparse.Namespace) -> Iterator[Job]:
    """Yield the jobs of matches. Those that fail are left out here, and reported when their turn comes."""
    for video_path in video_paths:
        with contextlib.suppress(Exception):
            yield make_job(video_path, checkpoint, args)


def extract_match(
    video_path: Path, checkpoint: Checkpoint | None, network: Callable[[], object], args: argparse.Namespace
) -> tuple[bool, MatchResult | None]:
    """Write the missing files of a match; see `match_writers`.

    `<title>.json` is written first. It says how the other files are made, so that the same command continues and
    another one is refused. Scores are read again where checkpoint and match are the same, so that another threshold
    takes seconds. Files that show the labels next to the match are written again after a change of these.

    Returns:
        Whether all files are written, and the sections. Errors in the other files are reported, each in one line. Of a
        match that was finished already, the sections are only read for --together.

    Raises:
        ExtractionError, LabelError: There is no such match, its label file cannot be used, or existing files were made
            with other settings.
        media.MediaError, OSError: The match cannot be read, or no file can be written.
        checkpoint.CheckpointError: The network cannot be read.
    """
    args = preview.for_match(args, video_path)
    job = make_job(video_path, checkpoint, args)
    if not args.overwrite:
        if job.existing_files and not job.is_up_to_date:
            raise ExtractionError(describe_conflict(job))
        if job.is_finished:
            print(f"{match_files.title_of(video_path)}: finished already and kept")
            return True, score_and_select(job, checkpoint, network, args) if args.together else None
    prepare_folder(args.output_dir, "correct its permissions, make room, or choose another --output_dir")
    result = score_and_select(job, checkpoint, network, args)
    writers = match_writers.select_writers(args, len(result.sections) > 0, result.scores is not None)
    outdated = job.replace_files(writers) if args.overwrite else job.outdated
    not_written = {} if args.overwrite else job.not_written
    how = provenance(job, checkpoint, result)

    def write_report(outdated: list[str], not_written: dict[str, str]) -> None:
        state = {"outdated": outdated, "not_written": not_written}
        content = outputs.write_report(result, how | {name: value for name, value in state.items() if value})
        atomic_write(job.path_of[".json"], content)

    has_other_labels = job.previous_report.get("labels_sha256") != job.labels_sha256
    if args.overwrite or has_other_labels or not job.path_of[".json"].exists():
        write_report(outdated, not_written)
    before = (outdated, not_written)
    is_complete, *after = write_files(job, writers, match_writers.Cut(result, args), outdated)
    if tuple(after) != before:
        write_report(*after)
    describe_result(result, job.path_of, job.sections_path, after[0])
    if preview.is_needed(video_path) and not args.preview:
        logger.warning(preview.describe_need(video_path))
    return is_complete, result


def write_files(
    job: Job, writers: list[match_writers.FileWriter], cut: match_writers.Cut, outdated: list[str]
) -> tuple[bool, list[str], dict[str, str]]:
    """Write the files of a match that are missing or outdated. The others do not depend on one that fails.

    Returns:
        is_complete: Whether all are written that can be.
        outdated: The suffixes of the files that are still those of an earlier run.
        not_written: Why files cannot be written for this match, by their suffixes.
    """
    is_complete, outdated, not_written = True, list(outdated), {}
    for writer in writers:
        path = job.path_of[writer.suffix]
        if path.exists() and not writer.is_folder and writer.suffix not in outdated:
            continue
        try:
            if writer.is_folder and writer.suffix in outdated:
                clip_files.remove_clips(path)
            writer.write(cut, path)
        except ExportError as error:
            logger.warning("%s is not written: %s", path, error)
            path.unlink(missing_ok=True)  # of an earlier run
            not_written[writer.suffix] = str(error)
        except Exception as error:  # also of libraries
            report_error(path, "cannot be written", error, cut.args)
            is_complete = False
            continue
        outdated = [suffix for suffix in outdated if suffix != writer.suffix]
    return is_complete, outdated, not_written


def report_error(path: Path, action: str, error: Exception, args: argparse.Namespace) -> None:
    """Report in one line what failed with a match or one of its files."""
    is_described = isinstance(error, DESCRIBED_ERRORS)
    message = media.describe_error(error) if is_described else describe_match_error(path, action, error)
    logger.error(message, exc_info=error if args.debug else None)


def provenance(job: Job, checkpoint: Checkpoint | None, result: MatchResult) -> dict:
    """Return what the report says about how and when the files of a match were made."""
    network, scored_with = {}, job.scored_with
    versions = {name: importlib.metadata.version(name) for name in ("av", "numpy")}
    if checkpoint:
        network = {"checkpoint": checkpoint.path.name, "operating_point": asdict(checkpoint.point)}
        if "keras" in sys.modules:
            versions |= {name: importlib.metadata.version(name) for name in ("keras", backend_choice.backend_name())}
        else:  # the scores are those of an earlier run
            versions = job.previous_report["versions"] | versions
    elif "activity" in job.scored_with:
        network = {"operating_point": asdict(result.scores.point)}
    elif result.scores:  # of a previous run
        network = {name: job.previous_report.get(name) for name in ("checkpoint", "operating_point")}
        scored_with = job.previous_report["scored_with"]
    return {
        **network,
        "settings": job.settings,
        "scored_with": scored_with,
        "labels_sha256": job.labels_sha256,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
    }


def describe_result(
    result: MatchResult, path_of: dict[str, Path], sections_path: Path | None, outdated: list[str]
) -> None:
    """Print how much was selected, and the paths of the main files, apart from those that are still outdated."""
    total, duration = total_sec(result.sections_sec), result.info.duration_sec
    print(
        f"{result.title}: {count_of(len(result.sections), 'section')}, {format_time(total)} of {format_time(duration)}"
    )
    if not len(result.sections) and sections_path:
        logger.warning("%s: no section is cut: the label file %s has none", result.video_path, sections_path)
    elif not len(result.sections) and result.scores.name == activity.SCORE_NAME:
        logger.warning(
            "%s: no section is found, as sound and picture stay the same throughout: mark the highlights on the page",
            result.video_path,
        )
    elif not len(result.sections):
        logger.warning(
            "%s: no section is found: the highest score in context is %.3f, below the threshold of %.3f. Lower "
            "--threshold or ask for a --length",
            result.video_path,
            result.decoded_scores.max(),
            result.scores.point.threshold,
        )
    for name, suffix in (
        ("reel", "_highlights.mp4"),
        ("clips", "_clips"),
        ("page", ".html"),
        ("timeline", "_timeline.png"),
    ):
        if path_of[suffix].exists() and suffix not in outdated:
            print(f"  {name:9} {path_of[suffix]}")


def prepare_run(video_paths: list[Path], args: argparse.Namespace) -> Checkpoint | None:
    """Refuse what cannot work for all matches together, before any is read, and read the checkpoint, None without one.

    Raises:
        ExtractionError, checkpoint.CheckpointError: Nothing can be done at all.
    """
    if args.sections and (problem := label_sections.refuse_sections_path(args.sections, len(video_paths))):
        raise ExtractionError(problem)
    if args.together and (problem := together.refuse_name(args.together, video_paths, args.output_dir)):
        raise ExtractionError(problem)
    checkpoint = open_checkpoint(args.ckpt) if args.ckpt else None
    if args.together and (problem := together.refuse_missing_scores(list_jobs(video_paths, checkpoint, args), args)):
        raise ExtractionError(problem)
    if not args.ckpt and not args.sections:
        print(NOTHING_LEARNED)
    return checkpoint


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
    match_args = argparse.Namespace(**{**vars(args), "length": None if args.together else args.length})
    checkpoint = prepare_run(video_paths, args)
    needs_point = args.threshold is None and match_args.length is None and args.sections is None
    if checkpoint and needs_point and not checkpoint.has_operating_point:
        logger.warning(
            "%s: the checkpoint stores no operating point, sections are detected at a score of %g: --threshold chooses "
            "another",
            checkpoint.path,
            checkpoint.point.threshold,
        )

    @functools.cache
    def network():
        backend_choice.leave_gpu_memory()
        from videosummarizer.training import inference  # loads TensorFlow, after all checks that do not need it

        return inference.load_network(checkpoint)

    failed, results = [match_files.escape(str(path)) for path in refused], []
    for video_path in video_paths:
        if video_path in refused:
            continue
        try:
            match = (video_path, checkpoint, network, match_args)
            is_complete, result = decoding_process.retry_in_software(extract_match, *match)
            results += [result] if args.together else []  # of many matches, the frame times take much memory
        except (BackendError, CheckpointError):
            raise  # the other matches would fail, too
        except Exception as error:  # also of libraries: the other matches do not depend on this one
            report_error(video_path, "no highlights can be extracted", error, args)
            is_complete = False
        if not is_complete:
            failed.append(str(video_path))
    if failed and len(video_paths) > 1:
        logger.error("%d of %d matches failed: %s", len(failed), len(video_paths), ", ".join(failed))
    is_together = not args.together or not results or write_together(results, args)
    return 1 if failed or not is_together else 0


def write_together(results: list[MatchResult], args: argparse.Namespace) -> bool:
    """Write the reel of all matches that did not fail. Returns whether it is written; an error is reported."""
    try:
        together.write_reel_of_all(results, args)
    except Exception as error:  # also of libraries: the files of the matches are written
        report_error(args.output_dir / args.together, "cannot be written", error, args)
        return False
    return True


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return the exit status: 0 if all is done, 1 if something failed, 130 after Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    scoring.logger.setLevel(logging.DEBUG if args.debug else logging.WARNING)
    try:
        with decoding_process.running(), hardware_decoding.using(args.hwaccel):
            hardware_decoding.require_device()
            return extract_matches(args)
    except (BackendError, CheckpointError, DeviceError, ExtractionError) as error:
        logger.error(error, exc_info=args.debug)
    except OSError as error:
        logger.error(describe_os_error(error, args.output_dir), exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the missing files")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
