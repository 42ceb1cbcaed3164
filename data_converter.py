"""Stage 1: cut full-match videos into labelled segments.

    python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px) \
        video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]

In: a folder of `<title>.mp4`, each with its label file `<title>.txt`. Out: a dataset folder with one pickle a segment
and `metadata.json`; segments.py describes both. Interrupted, the same command continues.
"""

from videosummarizer import interruption

if __name__ == "__main__":  # before the imports that take long
    interruption.install_exception_hook()

import argparse
import importlib.metadata
import logging
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from videosummarizer import media
from videosummarizer.argument_types import positive_number, zero_or_one
from videosummarizer.dataset import conversion, input_check, output_folder
from videosummarizer.dataset.conversion import Conversion
from videosummarizer.dataset.metadata import DataConfig, DatasetError, write_metadata
from videosummarizer.labels import LabelError, read_label_file

EXAMPLES = """\
examples:
  python data_converter.py data/raw 5 3 64 64 11025 0
  python data_converter.py data/raw 3 6 128 128 22050 1 data/dataset1
"""
PROGRESS_INTERVAL_SEC = 0.5
SCHEDULER_TIMEOUT_SEC = 10

logger = logging.getLogger("data_converter")


class InputError(Exception):
    """What the command was given cannot be converted; the message says why and what to do."""


class WorkerError(Exception):
    """A process that converted matches was killed; the message says what to do."""


def find_files(input_video_dir: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Paths of the mp4 files and of the txt files of a folder, by title.

    Raises:
        InputError: no such folder, or no mp4 in it.
    """
    if not input_video_dir.is_dir():
        raise InputError(f"{input_video_dir}: no such folder, expected one with mp4 files and a txt beside each")
    visible = [path for path in input_video_dir.iterdir() if not path.name.startswith(".")]
    videos = {path.stem: path for path in visible if path.suffix.lower() == ".mp4"}
    labels = {path.stem: path for path in visible if path.suffix.lower() == ".txt"}
    if not videos:
        raise InputError(f"{input_video_dir}: received a folder without mp4, expected mp4 files and a txt beside each")
    return videos, labels


def find_matches(input_video_dir: Path) -> list[Path]:
    """Paths of the mp4 files of a folder, sorted by title, each with its txt beside it.

    Raises:
        InputError: as `find_files` does, or files without their counterpart, all of them listed.
    """
    videos, labels = find_files(input_video_dir)
    missing = [f"{videos[title].name} has no {title}.txt" for title in sorted(videos.keys() - labels.keys())]
    missing += [f"{labels[title].name} has no {title}.mp4" for title in sorted(labels.keys() - videos.keys())]
    if missing:
        raise InputError(
            f"{input_video_dir}: expected a txt beside each mp4 and an mp4 beside each txt, but {'; '.join(missing)}. "
            "Add what is missing (an empty txt is a match without highlights) or move the rest elsewhere"
        )
    return [videos[title] for title in sorted(videos)]


def convert_matches(
    video_paths: list[Path],
    config: DataConfig,
    dataset_dir: Path,
    num_workers: int | None,
    scheduler: str | None,
) -> Iterator[Conversion]:
    """Convert matches side by side, with one progress bar in seconds of video and a line for each finished match.

    What can be told from a file's header and its labels is reported before the first match is converted. num_workers
    None stands for one a core.

    Raises:
        WorkerError: a process was killed.
        InputError: as `cluster` does.
    """
    import joblib  # takes as long as everything else here, which --help need not wait for
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    num_workers = num_workers or joblib.cpu_count()
    duration_sec_of: dict[Path, float] = {}
    for path in video_paths:
        try:
            read_label_file(conversion.find_label_path(path))
            duration_sec_of[path] = media.probe_duration_sec(path)
        except (media.MediaError, LabelError, OSError) as error:
            result = Conversion(path.stem, error=str(error), error_traceback=traceback.format_exc())
            report(result)
            yield result
    # The longest first, so that no core waits for a long match that was begun last.
    ordered = sorted(duration_sec_of, key=lambda path: (-duration_sec_of[path], path))
    num_jobs = max(1, min(num_workers, len(ordered)))
    num_threads = 1 if scheduler else max(1, num_workers // num_jobs)
    durations_sec = {path.stem: duration_sec for path, duration_sec in duration_sec_of.items()}
    with show_progress(sum(duration_sec_of.values()), config, dataset_dir) as add_finished_sec, cluster(scheduler):
        # No more is handed over than loky's processes can take: what still waits when it ends breaks its ending.
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
    """Send joblib's work to a Dask scheduler such as "tcp://host:8786"; None keeps it on this machine.

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


@contextmanager
def show_progress(total_sec: float, config: DataConfig, dataset_dir: Path) -> Iterator[Callable[[float], None]]:
    """A progress bar in seconds of video; gives the function to call with a finished match's length.

    It follows matches under way by the segments they have written, whatever process or machine writes them.
    """
    bar_format = "{desc} {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of video [{elapsed}<{remaining}]"
    finished_sec, stop = 0.0, threading.Event()

    def add_finished_sec(duration_sec: float) -> None:
        nonlocal finished_sec
        finished_sec += duration_sec

    with tqdm(total=total_sec, desc="Converting", bar_format=bar_format) as bar, logging_redirect_tqdm():

        def refresh() -> None:
            num_under_way = sum(1 for _ in dataset_dir.glob(f"{output_folder.PART_DIR_NAME}/*/*/*.pkl"))
            bar.n = min(finished_sec + num_under_way * config.segment_length, total_sec)
            bar.refresh()

        def follow() -> None:
            while not stop.wait(PROGRESS_INTERVAL_SEC):
                refresh()

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield add_finished_sec
        finally:
            stop.set()
            follower.join()
            refresh()


def report(result: Conversion) -> None:
    """Tell the user what became of a match: a line on standard output, or its error; and the warnings."""
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
    """Convert what the arguments name and is not finished yet; returns the exit status.

    Raises:
        InputError, metadata.DatasetError: before anything is written.
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
        records = output_folder.finished_matches(dataset_dir, config, sources)
        if records:
            print(f"{dataset_dir}: {len(records)} matches are finished already and are kept")
        if gone := sorted(records.keys() - sources.keys()):
            logger.warning(
                "%s: %s: no longer in %s, but kept in the dataset: --overwrite starts afresh, without them",
                dataset_dir,
                ", ".join(gone),
                input_video_dir,
            )
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
    num_segments = sum(record["segment_count"] for record in records.values())
    num_highlights = sum(record["highlight_count"] for record in records.values())
    print(f"{dataset_dir}: {len(records)} matches, {num_segments} segments, {num_highlights} highlights")
    if failed:
        logger.error(
            "%d of %d matches are not in the dataset: %s", len(failed), len(video_paths), ", ".join(sorted(failed))
        )
    return 1 if failed else 0


def metadata_writer(dataset_dir: Path, config: DataConfig) -> Callable[[dict[str, dict], set[str]], None]:
    """A function that writes metadata.json for the records of finished matches and the titles of missing ones."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {name: importlib.metadata.version(name) for name in ("av", "librosa", "numpy")}

    def save(records: dict[str, dict], missing: set[str]) -> None:
        write_metadata(dataset_dir, config, list(records.values()), list(missing), created=created, versions=versions)

    return save


def config_of(args: argparse.Namespace) -> DataConfig:
    """The data config that the arguments state."""
    return DataConfig(
        segment_length=args.segment_length,
        video_sample_rate=args.video_sample_rate,
        video_width=args.video_width,
        video_height=args.video_height,
        audio_sample_rate=args.audio_sample_rate,
        apply_mfcc=args.apply_mfcc,
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command. Wrong ones exit with status 2 and a message that names them."""
    parser = argparse.ArgumentParser(
        prog="data_converter.py",
        usage="python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px)\n"
        "       video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]\n"
        "       [--workers N] [--scheduler ADDRESS] [--check [--decode]] [--overwrite]\n"
        "       [--debug]",
        description="Cut the match videos of a folder (<title>.mp4, its highlight sections beside it in <title>.txt) "
        "into labelled segments that main.py trains on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input_video_dir", help="folder of mp4 files, each with its txt")
    add(
        "segment_length",
        metavar="segment_length(sec)",
        type=positive_number(float),
        help="length of a segment, seconds",
    )
    add(
        "video_sample_rate", metavar="video_sample_rate(fps)", type=positive_number(float), help="frames taken a second"
    )
    add("video_width", metavar="video_width(px)", type=positive_number(int), help="width of a frame, pixels")
    add("video_height", metavar="video_height(px)", type=positive_number(int), help="height of a frame, pixels")
    add("audio_sample_rate", metavar="audio_sample_rate(hz)", type=positive_number(int), help="audio samples a second")
    add("apply_mfcc", metavar="apply_mfcc(0 or 1)", type=zero_or_one, help="1: 40 MFCCs instead of the waveform")
    add("output_dataset_dir", nargs="?", help="default: dataset_sl<sec>_vsr<fps>_vw<px>_vh<px>_asr<hz>[_mfcc]")
    add(
        "--workers",
        metavar="N",
        type=positive_number(int),
        help="cores to use: matches are converted side by side, a long match in parts (default: every core)",
    )
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="convert on a Dask cluster, such as tcp://host:8786, over a shared folder",
    )
    add("--check", action="store_true", help="convert nothing; tell what every match is like and what is wrong with it")
    add(
        "--decode",
        action="store_true",
        help="with --check: decode every picture too, which finds damage and takes long",
    )
    add("--overwrite", action="store_true", help="replace the dataset that is in the output folder")
    add("--debug", action="store_true", help="show where errors come from")
    args = parser.parse_args(argv)
    if args.decode and not args.check:
        parser.error("argument --decode: goes together with --check")
    config = config_of(args)
    if config.num_frames < 1:
        parser.error(
            f"argument video_sample_rate(fps): received {args.video_sample_rate:g} frames a second for segments of "
            f"{args.segment_length:g} s, at which a segment holds no frame: expected at least "
            f"{1 / args.segment_length:g}"
        )
    if config.num_samples < 1:
        parser.error(
            f"argument audio_sample_rate(hz): received {args.audio_sample_rate} Hz for segments of "
            f"{args.segment_length:g} s, at which a segment holds no sample"
        )
    return args


def main(argv: list[str] | None = None) -> int:
    """Convert, and return the exit status: 0 for all, 1 where something is missing, 130 for Ctrl-C."""
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
