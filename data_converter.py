"""Stage 1: divide full-match videos into labelled segments.

    python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px) \
        video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]

Input: a folder of `<title>.mp4`, each with its label file `<title>.txt` (see videosummarizer/labels.py).
Output: a dataset folder with one pickle per segment and `metadata.json` (see videosummarizer/dataset/).
After an interruption, the same command continues.
"""

from videosummarizer import console, interruption

if __name__ == "__main__":  # before the imports that take long
    console.prepare()
    interruption.install_exception_hook()

import argparse
import importlib.metadata
import logging
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from videosummarizer import media
from videosummarizer.argument_types import positive_number, zero_or_one
from videosummarizer.dataset import conversion, input_check, output_folder
from videosummarizer.dataset.conversion import Conversion
from videosummarizer.dataset.input_folder import InputError, find_files, find_matches
from videosummarizer.dataset.metadata import DataConfig, DatasetError, parse_config, write_metadata
from videosummarizer.dataset.progress import show_progress
from videosummarizer.labels import LabelError, read_label_file

EXAMPLES = """\
examples:
  python data_converter.py data/raw 5 3 64 64 11025 0
  python data_converter.py data/raw 3 6 128 128 22050 1 data/dataset1
"""
# How long to wait for the answer of a Dask scheduler.
SCHEDULER_TIMEOUT_SEC = 10

logger = logging.getLogger("data_converter")


class WorkerError(Exception):
    """A process that converted matches was killed. The message says what to do."""


def probe_matches(video_paths: list[Path]) -> tuple[dict[str, float], list[Conversion]]:
    """Read the labels and the header of each match, and report the errors in them.

    Returns:
        durations_sec: the length of each match that can be converted, by title.
        failed: the results of the others.
    """
    durations_sec: dict[str, float] = {}
    failed = []
    for path in video_paths:
        try:
            read_label_file(conversion.find_label_path(path))
            durations_sec[path.stem] = media.probe_duration_sec(path)
        except (media.MediaError, LabelError, OSError) as error:
            failed.append(Conversion(path.stem, error=str(error), error_traceback=traceback.format_exc()))
            report(failed[-1])
    return durations_sec, failed


def convert_matches(
    video_paths: list[Path],
    config: DataConfig,
    dataset_dir: Path,
    num_workers: int | None,
    scheduler: str | None,
) -> Iterator[Conversion]:
    """Convert matches in parallel, with a progress bar in seconds of video and one line per finished match.

    Errors in the labels and in the header of a video are reported before the first match is converted.

    Args:
        video_paths: the matches.
        config: the settings of the dataset.
        dataset_dir: the dataset's folder, locked by the caller.
        num_workers: how many cores to use. None stands for all.
        scheduler: address of a Dask scheduler, or None to convert on this machine.

    Yields:
        The result of each match, in the order in which they finish.

    Raises:
        WorkerError: a process was killed.
        InputError: as `cluster` does.
    """
    import joblib  # takes as long as all other imports, and --help does not need it
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    num_workers = num_workers or joblib.cpu_count()
    durations_sec, failed = probe_matches(video_paths)
    yield from failed
    # The longest first, so that in the end no core waits for a long match that was started last.
    readable = [path for path in video_paths if path.stem in durations_sec]
    ordered = sorted(readable, key=lambda path: (-durations_sec[path.stem], path))
    num_jobs = max(1, min(num_workers, len(ordered)))
    num_threads = 1 if scheduler else max(1, num_workers // num_jobs)
    with show_progress(sum(durations_sec.values()), config, dataset_dir) as add_finished_sec, cluster(scheduler):
        # Dispatch only as many matches as loky can start. Others that wait at an interruption would break its shutdown.
        pool = joblib.Parallel(
            n_jobs=-1 if scheduler else num_jobs,
            return_as="generator_unordered",
            pre_dispatch="all" if scheduler else "2 * n_jobs",
        )
        jobs = (joblib.delayed(conversion.convert_match)(path, config, dataset_dir, num_threads) for path in ordered)
        try:
            for result in pool(jobs) if scheduler else interruption.run_pool_ignoring_sigint(pool, jobs):
                add_finished_sec(durations_sec[result.title])
                report(result)
                yield result
        except TerminatedWorkerError as error:
            raise WorkerError(
                "A worker was killed, by the system if memory ran out: run the same command again, it continues"
            ) from error


@contextmanager
def cluster(scheduler: str | None) -> Iterator[None]:
    """Run joblib's work on a Dask cluster inside this context.

    Args:
        scheduler: address of the Dask scheduler, such as "tcp://host:8786". None keeps the work on this machine.

    Raises:
        InputError: Dask is not installed, or no scheduler answers.
    """
    if scheduler is None:
        yield
        return
    import joblib

    try:
        from dask.distributed import Client
    except ImportError as error:
        raise InputError("--scheduler: needs Dask, which is not installed: pip install distributed") from error
    try:
        client = Client(scheduler, timeout=SCHEDULER_TIMEOUT_SEC)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler: no Dask scheduler answers at {scheduler}: start one with dask scheduler"
        ) from error
    with client, joblib.parallel_config("dask", wait_for_workers_timeout=60):
        yield


def report(result: Conversion) -> None:
    """Report the result of a match: one line on standard output, or its error in the log, and its warnings."""
    for warning in result.warnings:
        logger.warning(warning)
    if result.error:
        logger.error(result.error)
        logger.debug(result.error_traceback)
    else:
        record = result.record
        tqdm.write(
            f"{result.title}: {record['segment_count']} segments, {record['highlight_count']} highlights",
            file=sys.stdout,
        )


def convert_folder(args: argparse.Namespace) -> int:
    """Convert the matches that are not finished yet, or check them for --check.

    Returns:
        The exit status: 1 if a match cannot be converted, otherwise 0.

    Raises:
        InputError: the input folder or the scheduler cannot be used.
        metadata.DatasetError: the output folder cannot be used.
        WorkerError: a process was killed.
    """
    config = config_of(args)
    dataset_dir = Path(args.output_dataset_dir or config.dataset_name)
    input_video_dir = Path(args.input_video_dir)
    if args.check:
        return input_check.check_matches(*find_files(input_video_dir), args.decode)
    video_paths = find_matches(input_video_dir)
    sources = {path.stem: output_folder.file_signature(path, conversion.find_label_path(path)) for path in video_paths}
    with output_folder.lock(dataset_dir):
        if args.overwrite:
            output_folder.remove_all_but(dataset_dir, set())
        records = keep_finished_matches(dataset_dir, config, sources, input_video_dir)
        todo = [path for path in video_paths if path.stem not in records]
        failed = {path.stem for path in todo}
        save = metadata_writer(dataset_dir, config)
        save(records, failed)
        output_folder.remove_all_but(dataset_dir, set(records))
        try:
            for result in convert_matches(todo, config, dataset_dir, args.workers, args.scheduler):
                if result.record:
                    records[result.title] = result.record
                    failed.discard(result.title)
                    save(records, failed)
        finally:
            shutil.rmtree(dataset_dir / output_folder.PART_DIR_NAME, ignore_errors=True)
    report_dataset(dataset_dir, records, failed, len(video_paths))
    return 1 if failed else 0


def keep_finished_matches(
    dataset_dir: Path, config: DataConfig, sources: dict[str, dict[str, list[int]]], input_video_dir: Path
) -> dict[str, dict]:
    """Return the records of matches that need not be converted again, and report them.

    Args:
        dataset_dir: the dataset's folder, locked by the caller.
        config: the settings of the dataset.
        sources: the `output_folder.file_signature` of each match to be converted, by title.
        input_video_dir: the folder of the matches, for a warning that names those that are no longer in it.

    Raises:
        metadata.DatasetError: as `output_folder.finished_matches` does.
    """
    records = output_folder.finished_matches(dataset_dir, config, sources)
    if records:
        print(f"{dataset_dir}: {len(records)} matches are finished already and are kept")
    if removed := sorted(records.keys() - sources.keys()):
        logger.warning(
            "%s: %s: no longer in %s, but kept in the dataset: use --overwrite to convert again without them",
            dataset_dir,
            ", ".join(removed),
            input_video_dir,
        )
    return records


def report_dataset(dataset_dir: Path, records: dict[str, dict], failed: set[str], num_matches: int) -> None:
    """Report the size of the dataset, and which of the `num_matches` converted matches are not in it."""
    num_segments = sum(record["segment_count"] for record in records.values())
    num_highlights = sum(record["highlight_count"] for record in records.values())
    print(f"{dataset_dir}: {len(records)} matches, {num_segments} segments, {num_highlights} highlights")
    if failed:
        logger.error("%d of %d matches are not in the dataset: %s", len(failed), num_matches, ", ".join(sorted(failed)))


def metadata_writer(dataset_dir: Path, config: DataConfig) -> Callable[[dict[str, dict], set[str]], None]:
    """Return a function that writes metadata.json for records of finished matches and titles of missing ones."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {name: importlib.metadata.version(name) for name in ("av", "librosa", "numpy")}

    def save(records: dict[str, dict], missing: set[str]) -> None:
        write_metadata(dataset_dir, config, list(records.values()), list(missing), created=created, versions=versions)

    return save


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that are the settings of the dataset."""
    add = parser.add_argument
    add(
        "segment_length",
        metavar="segment_length(sec)",
        type=positive_number(float),
        help="Length of a segment in seconds.",
    )
    add("video_sample_rate", metavar="video_sample_rate(fps)", type=positive_number(float), help="Frames per second.")
    add("video_width", metavar="video_width(px)", type=positive_number(int), help="Width of a frame in pixels.")
    add("video_height", metavar="video_height(px)", type=positive_number(int), help="Height of a frame in pixels.")
    add(
        "audio_sample_rate",
        metavar="audio_sample_rate(hz)",
        type=positive_number(int),
        help="Audio samples per second.",
    )
    add("apply_mfcc", metavar="apply_mfcc(0 or 1)", type=zero_or_one, help="1 stores 40 MFCCs instead of the waveform.")


def check_settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with status 2 and a message if a segment would have no frame or no sample."""
    config = config_of(args)
    if config.num_frames < 1:
        parser.error(
            f"argument video_sample_rate(fps): received {args.video_sample_rate:g} frames per second for segments "
            f"of {args.segment_length:g} s, so that a segment has no frame: expected at least "
            f"{1 / args.segment_length:g}"
        )
    if config.num_samples < 1:
        parser.error(
            f"argument audio_sample_rate(hz): received {args.audio_sample_rate} Hz for segments of "
            f"{args.segment_length:g} s, so that a segment has no sample"
        )
    try:
        parse_config(vars(config))
    except ValueError as error:
        parser.error(f"received settings that make {error}, expected segments of at most 1 GB: lower them")


def config_of(args: argparse.Namespace) -> DataConfig:
    """Return the settings of the dataset from the arguments."""
    return DataConfig(
        segment_length=args.segment_length,
        video_sample_rate=args.video_sample_rate,
        video_width=args.video_width,
        video_height=args.video_height,
        audio_sample_rate=args.audio_sample_rate,
        apply_mfcc=args.apply_mfcc,
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command. Invalid ones exit with status 2 and a message that names them."""
    parser = argparse.ArgumentParser(
        prog="data_converter.py",
        usage="python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px)\n"
        "       video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]\n"
        "       [--workers N] [--scheduler ADDRESS] [--check [--decode]] [--overwrite]\n"
        "       [--debug]",
        description="Divide the match videos of a folder (<title>.mp4, with its highlight sections next to it in "
        "<title>.txt) into labelled segments that main.py trains on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input_video_dir", help="Folder of mp4 files, each with its txt.")
    add_settings(parser)
    add(
        "output_dataset_dir",
        nargs="?",
        help="Where to write the dataset (default: dataset_sl<sec>_vsr<fps>_vw<px>_vh<px>_asr<hz>[_mfcc]).",
    )
    add(
        "--workers",
        metavar="N",
        type=positive_number(int),
        help="Number of cores. Matches, and parts of a long match, are converted in parallel (default: all cores).",
    )
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="Convert on a Dask cluster whose machines share the folders, such as tcp://host:8786.",
    )
    add("--check", action="store_true", help="Report the properties and problems of every match, and convert nothing.")
    add(
        "--decode",
        action="store_true",
        help="With --check: decode every frame too. This finds corrupt frames and takes long.",
    )
    add("--overwrite", action="store_true", help="Replace the dataset in the output folder.")
    add("--debug", action="store_true", help="Show the traceback of errors.")
    args = parser.parse_args(argv)
    if args.decode and not args.check:
        parser.error("argument --decode: goes together with --check")
    check_settings(parser, args)
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command. Return the exit status: 0 for success, 1 if something is missing, 130 for Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logger.setLevel(logging.DEBUG if args.debug else logging.INFO)
    try:
        return convert_folder(args)
    except (InputError, WorkerError, DatasetError, OSError) as error:
        logger.error(error, exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the matches that are not finished")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
