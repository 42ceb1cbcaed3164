"""Stage 1: cut full-match videos into labelled segments.

    python data_converter.py input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px) \
        video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]

In: a folder of `<title>.mp4`, each with its label file `<title>.txt`. Out: a dataset folder with one pickle a segment
and `metadata.json`; segments.py describes both.
"""

import argparse
import importlib.metadata
import logging
import math
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import joblib
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import media
import segments

EXAMPLES = """\
examples:
  python data_converter.py data/raw 5 3 64 64 11025 0
  python data_converter.py data/raw 3 6 128 128 22050 1 data/dataset1
"""
PROGRESS_INTERVAL_SEC = 0.5
PART_SUFFIX = ".part"  # of the hidden folder in which a match is written until it is whole

logger = logging.getLogger("data_converter")


class InputError(Exception):
    """What the command was given cannot be converted; the message says why and what to do."""


@dataclass
class Conversion:
    """What became of one match: its record for metadata.json, or the error that cost it; and the warnings."""

    title: str
    record: dict | None = None
    error: str | None = None
    error_traceback: str | None = None
    warnings: list[str] = field(default_factory=list)


def find_matches(input_video_dir: Path) -> list[Path]:
    """Paths of the mp4 files of a folder, sorted by title, each with its txt beside it.

    Raises:
        InputError: no such folder, no mp4 in it, or files without their counterpart, all of them listed.
    """
    if not input_video_dir.is_dir():
        raise InputError(f"{input_video_dir}: no such folder, expected one with mp4 files and a txt beside each")
    visible = [path for path in input_video_dir.iterdir() if not path.name.startswith(".")]
    videos = {path.stem: path for path in visible if path.suffix.lower() == ".mp4"}
    labels = {path.stem: path for path in visible if path.suffix.lower() == ".txt"}
    if not videos:
        raise InputError(f"{input_video_dir}: received a folder without mp4, expected mp4 files and a txt beside each")
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


def convert_match(video_path: Path, config: segments.DataConfig, dataset_dir: Path) -> Conversion:
    """Write one match's segments into `dataset_dir/<title>`, whole or not at all.

    A video or label file that cannot be used is returned as the conversion's error, so that it costs this match alone.
    """
    conversion = Conversion(video_path.stem)
    match_dir = dataset_dir / conversion.title
    part_dir = dataset_dir / f".{conversion.title}{PART_SUFFIX}" / conversion.title
    try:
        label_path = label_path_of(video_path)
        rows = segments.read_label_file(label_path)
        info = media.probe(video_path)
        sections_sec, conversion.warnings = segments.resolve_sections(
            label_path, rows, info.frame_times_sec, info.duration_sec
        )
        if not info.has_audio:
            conversion.warnings.append(f"{video_path}: the video has no sound track: converted with silence")
        labels = segments.label_segments(
            sections_sec, config.num_segments(info.duration_sec), config.segment_length
        ).tolist()
        part_dir.mkdir(parents=True)
        arrays = segments.read_segments(video_path, info, config)
        for index, (label, (frames, audio)) in enumerate(zip(labels, arrays, strict=True)):
            segments.write_segment(part_dir, index, label, frames, audio, config, info.duration_sec)
        part_dir.replace(match_dir)
    except (media.MediaError, segments.LabelError, OSError) as error:
        conversion.error, conversion.error_traceback = str(error), traceback.format_exc()
        return conversion
    finally:
        shutil.rmtree(part_dir.parent, ignore_errors=True)
    conversion.record = {
        "title": conversion.title,
        "source": video_path.name,
        "duration": info.duration_sec,
        "frame_rate": info.frame_rate_fps,
        "segment_count": len(labels),
        "highlight_count": sum(labels),
    }
    return conversion


def convert_matches(
    video_paths: list[Path], config: segments.DataConfig, dataset_dir: Path, num_workers: int
) -> list[Conversion]:
    """Convert matches side by side, with one progress bar in seconds of video and a line for each finished match.

    What can be told from a file's header and its labels is reported before the first match is converted.
    """
    conversions, duration_sec_of = [], {}
    for path in video_paths:
        try:
            segments.read_label_file(label_path_of(path))
            duration_sec_of[path] = media.probe_duration_sec(path)
        except (media.MediaError, segments.LabelError, OSError) as error:
            conversions.append(Conversion(path.stem, error=str(error), error_traceback=traceback.format_exc()))
            report(conversions[-1])
    with show_progress(sum(duration_sec_of.values()), config, dataset_dir) as add_finished_sec:
        pool = joblib.Parallel(n_jobs=num_workers, return_as="generator_unordered")
        durations_sec = {path.stem: duration_sec for path, duration_sec in duration_sec_of.items()}
        for conversion in pool(joblib.delayed(convert_match)(path, config, dataset_dir) for path in duration_sec_of):
            add_finished_sec(durations_sec[conversion.title])
            report(conversion)
            conversions.append(conversion)
    return conversions


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
            num_under_way = sum(1 for _ in dataset_dir.glob(f".*{PART_SUFFIX}/*/*.pkl"))
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


def prepare_dataset_dir(dataset_dir: Path, overwrite: bool) -> None:
    """Make an empty dataset folder; with `overwrite`, an older dataset in its place is deleted.

    Raises:
        InputError: the folder is not empty and `overwrite` is False, or it holds what no dataset has.
    """
    if dataset_dir.exists() and not dataset_dir.is_dir():
        raise InputError(f"{dataset_dir}: received a file, expected the folder in which to write the dataset")
    contents = sorted(dataset_dir.iterdir()) if dataset_dir.exists() else []
    if contents and not overwrite:
        raise InputError(
            f"{dataset_dir}: the folder exists and is not empty: give --overwrite to replace the dataset in it, or "
            "another output_dataset_dir"
        )
    foreign = [path.name for path in contents if not is_part_of_dataset(path)]
    if foreign:
        raise InputError(
            f"{dataset_dir}: --overwrite would delete what is no part of a dataset ({', '.join(foreign[:5])}): "
            "give another output_dataset_dir"
        )
    for path in contents:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    dataset_dir.mkdir(parents=True, exist_ok=True)


def is_part_of_dataset(path: Path) -> bool:
    """Whether the converter wrote this file or folder of a dataset folder."""
    if path.is_dir() and not path.is_symlink():
        is_part = path.name.startswith(".") and path.name.endswith(PART_SUFFIX)
        return is_part or all(segments.SEGMENT_FILE_NAME.fullmatch(file.name) for file in path.iterdir())
    return path.name in ("metadata.json", f"metadata.json{PART_SUFFIX}")


def convert_folder(args: argparse.Namespace) -> int:
    """Convert what the arguments name; returns the exit status. Raises InputError before anything is written."""
    config = config_of(args)
    dataset_dir = Path(args.output_dataset_dir or config.dataset_name)
    video_paths = find_matches(Path(args.input_video_dir))
    prepare_dataset_dir(dataset_dir, args.overwrite)
    try:
        conversions = convert_matches(video_paths, config, dataset_dir, args.workers)
    finally:
        for part_dir in dataset_dir.glob(f".*{PART_SUFFIX}"):
            shutil.rmtree(part_dir, ignore_errors=True)
    records = sorted((c.record for c in conversions if c.record), key=lambda record: record["title"])
    if records:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        versions = {name: importlib.metadata.version(name) for name in ("av", "librosa", "numpy")}
        segments.write_metadata(dataset_dir, config, records, created, versions)
        num_segments = sum(record["segment_count"] for record in records)
        num_highlights = sum(record["highlight_count"] for record in records)
        print(f"{dataset_dir}: {len(records)} matches, {num_segments} segments, {num_highlights} highlights")
    failed = sorted(conversion.title for conversion in conversions if conversion.error)
    if failed:
        logger.error("%d of %d matches are not in the dataset: %s", len(failed), len(conversions), ", ".join(failed))
    return 1 if failed else 0


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
        "       [--workers N] [--overwrite] [--debug]",
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
        default=joblib.cpu_count(),
        help="matches converted side by side (default: every core)",
    )
    add("--overwrite", action="store_true", help="replace the dataset that is in the output folder")
    add("--debug", action="store_true", help="show where errors come from")
    args = parser.parse_args(argv)
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
    except (InputError, OSError) as error:
        logger.error(error, exc_info=args.debug)
        return 1
    except KeyboardInterrupt:
        logger.error("Interrupted: the dataset is not complete. Run the same command again with --overwrite")
        return 130


if __name__ == "__main__":
    sys.exit(main())
