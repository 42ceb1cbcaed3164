"""Stage 1: cut full-match videos into labelled segments.

    python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px) \
        video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]

In: a folder of `<title>.mp4`, each with its label file `<title>.txt`. Out: a dataset folder with one pickle a segment
and `metadata.json`; segments.py describes both. Interrupted, the same command continues.
"""

import interruption

if __name__ == "__main__":  # before the imports that take long
    interruption.say_it_in_one_line()

import argparse
import importlib.metadata
import logging
import math
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import threadpoolctl
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import dataset_folder
import match_check
import media
import segments

EXAMPLES = """\
examples:
  python data_converter.py data/raw 5 3 64 64 11025 0
  python data_converter.py data/raw 3 6 128 128 22050 1 data/dataset1
"""
PROGRESS_INTERVAL_SEC = 0.5
SCHEDULER_TIMEOUT_SEC = 10
NUM_THREADS_PER_DECODER = 4  # with more, a decoder waits for itself; the match is then read in several parts at once

logger = logging.getLogger("data_converter")


class InputError(Exception):
    """What the command was given cannot be converted; the message says why and what to do."""


class WorkerError(Exception):
    """A process that converted matches was killed; the message says what to do."""


@dataclass
class Conversion:
    """What became of one match: its record for metadata.json, or the error that cost it; and the warnings."""

    title: str
    record: dict | None = None
    error: str | None = None
    error_traceback: str | None = None
    warnings: list[str] = field(default_factory=list)


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


def label_path_of(video_path: Path) -> Path:
    """The label file beside a video, whatever the case of its suffix."""
    return next(path for suffix in (".txt", ".TXT", ".Txt") if (path := video_path.with_suffix(suffix)).exists())


def convert_match(video_path: Path, config: segments.DataConfig, dataset_dir: Path, num_threads: int) -> Conversion:
    """Write one match's segments into `dataset_dir/<title>`, whole or not at all.

    A video or label file that cannot be used is returned as the conversion's error, so that it costs this match alone.
    """
    conversion = Conversion(video_path.stem)
    part_dir = None
    try:
        label_path = label_path_of(video_path)
        source_files = dataset_folder.source_state(video_path, label_path)
        rows = segments.read_label_file(label_path)
        info = media.probe(video_path)
        sections_sec, conversion.warnings = segments.resolve_sections(
            label_path, rows, info.frame_times_sec, info.duration_sec
        )
        labels = segments.label_segments(
            sections_sec, config.num_segments(info.duration_sec), config.segment_length
        ).tolist()
        (dataset_dir / dataset_folder.PART_DIR_NAME).mkdir(exist_ok=True)
        part_dir = Path(tempfile.mkdtemp(dir=dataset_dir / dataset_folder.PART_DIR_NAME))
        (part_dir / conversion.title).mkdir()
        damaged_sec = write_segments(video_path, info, config, labels, part_dir / conversion.title, num_threads)
        conversion.warnings += media.describe_faults(video_path, info, damaged_sec)
        (part_dir / conversion.title).replace(dataset_dir / conversion.title)
    except (media.MediaError, segments.LabelError, OSError) as error:
        conversion.error, conversion.error_traceback = str(error), traceback.format_exc()
        return conversion
    finally:
        if part_dir:
            shutil.rmtree(part_dir, ignore_errors=True)
    conversion.record = {
        "title": conversion.title,
        "source": video_path.name,
        "source_files": source_files,
        "duration": info.duration_sec,
        "frame_rate": info.frame_rate_fps,
        "sections": sections_sec.tolist(),
        "segment_count": len(labels),
        "highlight_count": sum(labels),
    }
    return conversion


def write_segments(
    video_path: Path,
    info: media.VideoInfo,
    config: segments.DataConfig,
    labels: list[int],
    match_dir: Path,
    num_threads: int,
) -> set[int]:
    """Write a match's segments, in several parts at once where threads allow; returns the seconds that are damaged."""
    damaged_sec, stop = set(), threading.Event()
    parts = split_indices(len(labels), max(1, num_threads // NUM_THREADS_PER_DECODER) if len(info.restarts) > 1 else 1)

    # One BLAS thread: with more, sums are taken in another order, and MFCCs differ in their last bits.
    with segments.SegmentAudio(video_path, info, config) as segment_audio, threadpoolctl.threadpool_limits(1):

        def write_part(indices: range) -> None:
            arrays = segments.read_segment_range(
                video_path, info, config, segment_audio, indices, max(1, num_threads // len(parts)), damaged_sec
            )
            for index, (frames, audio) in zip(indices, arrays, strict=True):
                if stop.is_set():
                    return
                segments.write_segment(match_dir, index, labels[index], frames, audio, config, info.duration_sec)

        if len(parts) == 1:
            write_part(parts[0])
            return damaged_sec
        with ThreadPoolExecutor(len(parts)) as pool:
            try:
                list(pool.map(write_part, parts))
            finally:
                stop.set()
    return damaged_sec


def split_indices(num_segments: int, num_parts: int) -> list[range]:
    """Segment indices in about equal parts, each from a multiple of NUM_SEGMENTS_PER_MFCC_CALL on, so that the arrays
    do not depend on the parts."""
    step = segments.NUM_SEGMENTS_PER_MFCC_CALL
    length = step * math.ceil(num_segments / num_parts / step)
    return [range(first, min(first + length, num_segments)) for first in range(0, num_segments, length)]


def convert_matches(
    video_paths: list[Path],
    config: segments.DataConfig,
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
            segments.read_label_file(label_path_of(path))
            duration_sec_of[path] = media.probe_duration_sec(path)
        except (media.MediaError, segments.LabelError, OSError) as error:
            conversion = Conversion(path.stem, error=str(error), error_traceback=traceback.format_exc())
            report(conversion)
            yield conversion
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
        jobs = (joblib.delayed(convert_match)(path, config, dataset_dir, num_threads) for path in ordered)
        try:
            for conversion in pool(jobs) if scheduler else interruption.start_pool(pool, jobs):
                add_finished_sec(durations_sec[conversion.title])
                report(conversion)
                yield conversion
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
def show_progress(
    total_sec: float, config: segments.DataConfig, dataset_dir: Path
) -> Iterator[Callable[[float], None]]:
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
            num_under_way = sum(1 for _ in dataset_dir.glob(f"{dataset_folder.PART_DIR_NAME}/*/*/*.pkl"))
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


def report(conversion: Conversion) -> None:
    """Tell the user what became of a match: a line on standard output, or its error; and the warnings."""
    for warning in conversion.warnings:
        logger.warning(warning)
    if conversion.error:
        logger.error(conversion.error)
        logger.debug(conversion.error_traceback)
    else:
        record = conversion.record
        tqdm.write(
            f"{conversion.title}: {record['segment_count']} segments, {record['highlight_count']} highlights",
            file=sys.stdout,
        )


def convert_folder(args: argparse.Namespace) -> int:
    """Convert what the arguments name and is not finished yet; returns the exit status.

    Raises:
        InputError, segments.DatasetError: before anything is written.
    """
    config = config_of(args)
    dataset_dir = Path(args.output_dataset_dir or config.dataset_name)
    input_video_dir = Path(args.input_video_dir)
    if args.check:
        return match_check.check_matches(*find_files(input_video_dir), args.decode)
    video_paths = find_matches(input_video_dir)
    sources = {path.stem: dataset_folder.source_state(path, label_path_of(path)) for path in video_paths}
    with dataset_folder.locked(dataset_dir):
        if args.overwrite:
            dataset_folder.remove_all_but(dataset_dir, set())
        records = dataset_folder.finished_matches(dataset_dir, config, sources)
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
        dataset_folder.remove_all_but(dataset_dir, set(records))
        try:
            for conversion in convert_matches(todo, config, dataset_dir, args.workers, args.scheduler):
                if conversion.record:
                    records[conversion.title] = conversion.record
                    failed.discard(conversion.title)
                    save(records, failed)
        finally:
            shutil.rmtree(dataset_dir / dataset_folder.PART_DIR_NAME, ignore_errors=True)
    num_segments = sum(record["segment_count"] for record in records.values())
    num_highlights = sum(record["highlight_count"] for record in records.values())
    print(f"{dataset_dir}: {len(records)} matches, {num_segments} segments, {num_highlights} highlights")
    if failed:
        logger.error(
            "%d of %d matches are not in the dataset: %s", len(failed), len(video_paths), ", ".join(sorted(failed))
        )
    return 1 if failed else 0


def metadata_writer(dataset_dir: Path, config: segments.DataConfig) -> Callable[[dict[str, dict], set[str]], None]:
    """A function that writes metadata.json for the records of finished matches and the titles of missing ones."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {name: importlib.metadata.version(name) for name in ("av", "librosa", "numpy")}

    def save(records: dict[str, dict], missing: set[str]) -> None:
        segments.write_metadata(
            dataset_dir, config, list(records.values()), list(missing), created=created, versions=versions
        )

    return save


def positive(kind: type) -> Callable[[str], float]:
    """An argparse type: a finite number above 0, whole if `kind` is int."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(
                f"received {text!r}, expected a {'whole number' if kind is int else 'number'} above 0"
            )
        return value

    return parse


def zero_or_one(text: str) -> bool:
    """An argparse type: True for 1, False for 0."""
    if text not in ("0", "1"):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected 0 (waveform) or 1 (MFCC)")
    return text == "1"


def config_of(args: argparse.Namespace) -> segments.DataConfig:
    """The data config that the arguments state."""
    return segments.DataConfig(
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
    add("segment_length", metavar="segment_length(sec)", type=positive(float), help="length of a segment, seconds")
    add("video_sample_rate", metavar="video_sample_rate(fps)", type=positive(float), help="frames taken a second")
    add("video_width", metavar="video_width(px)", type=positive(int), help="width of a frame, pixels")
    add("video_height", metavar="video_height(px)", type=positive(int), help="height of a frame, pixels")
    add("audio_sample_rate", metavar="audio_sample_rate(hz)", type=positive(int), help="audio samples a second")
    add("apply_mfcc", metavar="apply_mfcc(0 or 1)", type=zero_or_one, help="1: 40 MFCCs instead of the waveform")
    add("output_dataset_dir", nargs="?", help="default: dataset_sl<sec>_vsr<fps>_vw<px>_vh<px>_asr<hz>[_mfcc]")
    add(
        "--workers",
        metavar="N",
        type=positive(int),
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
    except (InputError, WorkerError, segments.DatasetError, OSError) as error:
        logger.error(error, exc_info=args.debug)
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the matches that are not finished")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
