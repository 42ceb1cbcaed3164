"""Stage 1: divide full-match videos into labelled segments.

    python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px) \
        video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]

Input: a folder of `<title>.mp4` (or mkv, ts and others), each with its label file `<title>.txt` (see
videosummarizer/labels.py), and where not all of it has been looked at with `<title>_undecided.json`.
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
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from videosummarizer import hardware_decoding
from videosummarizer.argument_types import audio_choice, positive_number, zero_or_one
from videosummarizer.dataset import cluster, conversion, input_check, output_folder
from videosummarizer.dataset.conversion import Conversion
from videosummarizer.dataset.input_folder import InputError, describe_no_labels, find_files, find_matches
from videosummarizer.dataset.metadata import DataConfig, DatasetError, parse_config, write_metadata
from videosummarizer.dataset.progress import show_progress
from videosummarizer.error_messages import describe_os_error
from videosummarizer.hardware_decoding import DeviceError
from videosummarizer.match_files import escape, title_of
from videosummarizer.worker_processes import Failure, WorkerPool

EXAMPLES = """\
examples:
  python data_converter.py data/raw 5 3 64 64 11025 0
  python data_converter.py data/raw 3 6 128 128 22050 1 data/dataset1
"""

logger = logging.getLogger("data_converter")


def probe_matches(video_paths: list[Path], pool: WorkerPool) -> tuple[dict[Path, float], list[Conversion]]:
    """Read the labels and the header of each match, and report the errors in them.

    Returns:
        durations_sec: the length of each match that can be converted.
        failed: the results of the others.
    """
    durations_sec: dict[Path, float] = {}
    failed = []
    for (path,), outcome in pool.run(conversion.probe_match, [(path,) for path in video_paths]):
        if isinstance(outcome, float):
            durations_sec[path] = outcome
        else:
            failed.append(to_conversion(path, outcome))
    failed.sort(key=lambda result: result.title)
    for result in failed:
        report(result)
    return durations_sec, failed


def to_conversion(video_path: Path, outcome: Conversion | Failure) -> Conversion:
    """Return the result of a match from the outcome of its call."""
    if isinstance(outcome, Conversion):
        return outcome
    error = outcome.describe(video_path, conversion.CANNOT_BE_CONVERTED)
    return Conversion(title_of(video_path), error=error, error_traceback=outcome.traceback)


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
        InputError: as `cluster.connect` does.
        OSError: no process can be started.
    """
    num_workers = num_workers or num_cores()
    with ExitStack() as stack:
        probes = converters = stack.enter_context(WorkerPool(max(1, min(num_workers, len(video_paths)))))
        if scheduler and video_paths:
            # The working directory of this process means nothing to the workers.
            video_paths, dataset_dir = [path.absolute() for path in video_paths], dataset_dir.absolute()
            converters = stack.enter_context(cluster.connect(scheduler, [video_paths[0].parent, dataset_dir]))
        durations_sec, failed = probe_matches(video_paths, probes)
        if converters is not probes:
            probes.stop_idle()
        yield from failed
        # The longest first, so that in the end no core waits for a long match that was started last.
        ordered = sorted(durations_sec, key=lambda path: (-durations_sec[path], path))
        num_threads = 1 if scheduler else max(1, num_workers // max(1, min(num_workers, len(ordered))))
        calls = [(path, config, dataset_dir, num_threads) for path in ordered]
        add_finished_sec = stack.enter_context(show_progress(sum(durations_sec.values()), config, dataset_dir))
        for (path, *_), outcome in stack.enter_context(closing(converters.run(conversion.convert_match, calls))):
            result = to_conversion(path, outcome)
            add_finished_sec(durations_sec[path])
            report(result)
            yield result


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    import joblib  # takes as long as all other imports, and --help does not need it

    return joblib.cpu_count()


def report(result: Conversion) -> None:
    """Report the result of a match: one line on standard output, or its error in the log, and its warnings."""
    for warning in result.warnings:
        logger.warning(warning)
    for note in result.notes:
        logger.debug(note)
    if result.error:
        logger.error(result.error)
        if result.error_traceback:
            logger.debug(result.error_traceback)
    else:
        record = result.record
        line = f"{result.title}: {record['segment_count']} segments, {record['highlight_count']} highlights"
        if undecided_sec := sum(end - start for start, end in record.get("undecided_sec", ())):
            line += f", {undecided_sec / record['duration']:.0%} undecided"
        tqdm.write(line, file=sys.stdout)


def convert_folder(args: argparse.Namespace) -> int:
    """Convert the matches that are not finished yet, or check them for --check.

    Returns:
        The exit status: 1 if a match cannot be converted, otherwise 0.

    Raises:
        InputError: the input folder or the scheduler cannot be used.
        metadata.DatasetError: the output folder cannot be used.
    """
    config = config_of(args)
    dataset_dir = Path(args.output_dataset_dir or config.dataset_name)
    input_video_dir = Path(args.input_video_dir)
    if args.check:
        with WorkerPool(args.workers or num_cores()) as pool:
            status = input_check.check_matches(*find_files(input_video_dir), args.decode, pool, config.audio_track)
        if advice := describe_no_labels(input_video_dir):
            print(f"note: {advice}")
        output_folder.check_folder(dataset_dir)
        return status
    video_paths, refused = find_matches(input_video_dir)
    for title, message in refused.items():
        report(Conversion(title, error=message))
    if not video_paths:
        if advice := describe_no_labels(input_video_dir):
            logger.error(advice)
        return 1
    sources = {title_of(path): source_signature(path) for path in video_paths}
    with output_folder.lock(dataset_dir):
        if args.overwrite:
            output_folder.remove_all_but(dataset_dir, set())
        records = keep_finished_matches(dataset_dir, config, sources, refused.keys(), input_video_dir)
        todo = [path for path in video_paths if title_of(path) not in records]
        failed = {title_of(path) for path in todo} | {escape(title) for title in refused.keys() - records.keys()}
        save = metadata_writer(dataset_dir, config)
        save(records, failed)
        output_folder.remove_all_but(dataset_dir, set(records))
        try:
            with closing(convert_matches(todo, config, dataset_dir, args.workers, args.scheduler)) as results:
                for result in results:
                    if result.record:
                        records[result.title] = result.record
                        failed.discard(result.title)
                        save(records, failed)
        finally:
            shutil.rmtree(dataset_dir / output_folder.PART_DIR_NAME, ignore_errors=True)
    report_dataset(dataset_dir, records, failed, len(video_paths) + len(refused))
    return 1 if failed or refused else 0


def source_signature(video_path: Path) -> dict[str, list[int]]:
    """Return the `output_folder.source_signature` of a match, empty if its conversion will report that it has none."""
    try:
        return output_folder.source_signature(video_path)
    except OSError:
        return {}


def keep_finished_matches(
    dataset_dir: Path,
    config: DataConfig,
    sources: dict[str, dict[str, list[int]]],
    refused_titles: Set[str],
    input_video_dir: Path,
) -> dict[str, dict]:
    """Return the records of matches that need not be converted again, and report them.

    Args:
        dataset_dir: the dataset's folder, locked by the caller.
        config: the settings of the dataset.
        sources: the `output_folder.file_signature` of each match to be converted, by title.
        refused_titles: titles of matches in the folder that cannot be converted.
        input_video_dir: the folder of the matches, for a warning that names those that are no longer in it.

    Raises:
        metadata.DatasetError: as `output_folder.finished_matches` does.
    """
    records = output_folder.finished_matches(dataset_dir, config, sources)
    if records:
        print(f"{dataset_dir}: {len(records)} matches are finished already and are kept")
    if removed := sorted(records.keys() - sources.keys() - refused_titles):
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
        parse_config(config.to_dict())
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
        audio_track=args.audio_track,
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command. Invalid ones exit with status 2 and a message that names them."""
    parser = argparse.ArgumentParser(
        prog="data_converter.py",
        usage="python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px)\n"
        "       video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]\n"
        "       [--audio_track N|mix] [--workers N] [--hwaccel NAME] [--scheduler ADDRESS]\n"
        "       [--check [--decode]] [--overwrite] [--debug]",
        description="Divide the match videos of a folder (<title>.mp4, .m4v, .mov, .mkv, .webm, .ts, .mts, .flv or "
        ".avi, with its highlight sections next to it in <title>.txt) into labelled segments that main.py trains on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input_video_dir", help="Folder of videos, each with its txt.")
    add_settings(parser)
    add(
        "output_dataset_dir",
        nargs="?",
        help="Where to write the dataset (default: dataset_sl<sec>_vsr<fps>_vw<px>_vh<px>_asr<hz>[_mfcc][_at<track>]).",
    )
    add(
        "--workers",
        metavar="N",
        type=positive_number(int),
        help="Number of cores. Matches, and parts of a long match, are converted in parallel (default: all cores).",
    )
    hardware_decoding.add_argument(parser)
    add(
        "--audio_track",
        metavar="N|mix",
        type=audio_choice,
        help="Read the Nth audio track of each match, or the sum of all (default: the first one flagged as default, or "
        "else the first). --check lists them.",
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
        with hardware_decoding.using(args.hwaccel):
            if not args.scheduler:  # the workers of a cluster have other devices than this machine
                hardware_decoding.require_device()
            return convert_folder(args)
    except (InputError, DatasetError, DeviceError) as error:
        logger.error(error, exc_info=args.debug)
    except OSError as error:
        folder = args.output_dataset_dir or config_of(args).dataset_name
        logger.error(describe_os_error(error, folder), exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the matches that are not finished")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
