"""The mutated videos of fuzz.py: conversion and --check between two intact matches, label finder, and extractor.

The stages run in this process: a worker pool that makes the calls itself takes the place of data_converter.py's, and
the scores of a network are made up. A crash of a decoder therefore ends the process, which fuzz.py reports.
"""

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import mutations
import numpy as np
from fuzz_files import Target, Violation
from match_720p import ROOT, ffmpeg

import data_converter
import highlight_extractor
import label_finder
from videosummarizer import worker_processes
from videosummarizer.extraction import decoding_process
from videosummarizer.training import checkpoint

CONVERSION, FINDER_MATCH, FINDER_CUT, EXTRACTOR = TARGET_NAMES = (
    "videos: conversion",
    "videos: full match",
    "videos: highlights",
    "videos: extractor",
)
# How the clips that are mutated are encoded: encoder, further arguments, container.
ENCODINGS = [
    *(("libx264", ("-bf", "2", "-g", "25"), container) for container in ("mp4", "matroska", "mpegts")),
    *(
        ("libx265", ("-x265-params", "log-level=error", "-g", "25"), container)
        for container in ("mp4", "matroska", "mpegts")
    ),
    *(("libsvtav1", ("-preset", "12", "-g", "25"), container) for container in ("mp4", "matroska")),
    *(("mpeg4", ("-bf", "1", "-g", "25"), container) for container in ("mp4", "matroska", "mpegts")),
]
SETTINGS = ["1", "2", "32", "32", "4000", "0"]
CONFIG = {
    "segment_length": 1.0,
    "video_sample_rate": 2.0,
    "video_width": 32,
    "video_height": 32,
    "audio_sample_rate": 4000,
    "apply_mfcc": False,
}
MUTATED = "m_mutated"
INTACT = ("a_intact", "z_intact")
# A file that is written may have this many times the bytes of its input, of which a very short one counts as 1 kB.
MAX_WRITTEN_RATIO, MIN_INPUT_BYTES = 100, 1000
# Numbers in a warning. Which seconds are damaged depends on how much is decoded.
NUMBERS = re.compile(r"\d[\d., ]*( and more)?")
# The type of an exception that no module of the toolkit expects, in the message about a match.
UNEXPECTED_ERROR = re.compile(r"\((?!MediaError|LabelError)\w+(?:Error|Exception): ")


class Refused(Exception):
    """The mutated match is reported in one line, and the others are complete."""


class InProcessPool:
    """A `worker_processes.WorkerPool` that makes the calls in this process."""

    def __init__(self, num_processes: int):
        pass

    def __enter__(self) -> "InProcessPool":
        return self

    def __exit__(self, *_) -> None:
        pass

    def run(self, function: Callable, calls: list[tuple]) -> Iterator[tuple[tuple, object]]:
        for arguments in calls:
            try:
                outcome = function(*arguments)
            except Exception as error:
                outcome = worker_processes.describe_failure(error)
            yield arguments, outcome


def numbers(num_videos: int) -> dict[str, int]:
    """Return the number of videos by target: all are converted, and one in 20 goes through each of the other stages."""
    return {CONVERSION: num_videos} | dict.fromkeys(TARGET_NAMES[1:], num_videos // 20)


def make_clip(
    path: Path, title: str, start_sec: float, length_sec: float, encoder: str, more: tuple, container: str
) -> None:
    """Encode a part of a sample match at 128 x 72."""
    source = ["-ss", str(start_sec), "-t", str(length_sec), "-i", str(ROOT / "data/raw" / f"{title}.mp4")]
    audio = ["-c:a", "aac", "-b:a", "32k", "-ac", "1", "-ar", "22050"]
    ffmpeg(
        *source,
        "-vf",
        "scale=128:72",
        "-r",
        "25",
        "-c:v",
        encoder,
        *more,
        "-b:v",
        "60k",
        *audio,
        "-f",
        container,
        str(path),
    )


def run_stage(main: Callable[[list[str]], int], arguments: list, log_path: Path) -> tuple[int, list[str]]:
    """Run the main function of a stage, with its output in a file.

    Returns:
        status: The exit status.
        lines: What it printed, without progress bars.

    Raises:
        Violation: It printed a traceback, or a file became too large.
    """
    kept = [os.dup(number) for number in (1, 2)]
    with open(log_path, "wb") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        try:
            status = main(list(map(str, arguments)))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
    lines = log_path.read_text(errors="replace").replace("\r", "\n").splitlines()
    if any("Traceback" in line for line in lines):
        raise Violation("traceback", "\n".join(lines)[-1500:])
    if status not in (0, 1):
        raise Violation("crash", f"exit status {status}")
    if any("File too large" in line for line in lines):
        raise Violation("written", "\n".join(lines)[-1500:])
    for line in lines:
        if line.startswith(("ERROR", "WARNING", "error", "warning")) and len(line) > 1500:
            raise Violation("message", f"{len(line)} characters: {line[:300]}")
    return status, lines


@contextmanager
def limited_files(path: Path) -> Iterator[int]:
    """Limit the size of each file that this process writes. Yields the limit, which follows from the size of `path`."""
    limit = MAX_WRITTEN_RATIO * max(MIN_INPUT_BYTES, path.stat().st_size)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, 10_000_000), before[1]))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def digest(folder: Path) -> str:
    """Return a hash of the names and contents of the files in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in paths)).hexdigest()


def require_size(folder: Path, limit: int) -> None:
    """Raise a Violation if the files in a folder are larger than a limit together."""
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if num_bytes > limit:
        raise Violation("written", f"{num_bytes / 1e6:.1f} MB, expected at most {limit / 1e6:.1f} MB")


def require_report(status: int, lines: list[str], is_missing: bool) -> None:
    """Check the exit status and the messages of a stage.

    Raises:
        Violation: The mutated match is missing without a line that names it, or the status is wrong.
        Refused: It is missing as it should be.
    """
    errors = [line for line in lines if line.startswith(("ERROR", "error")) and MUTATED in line]
    if is_missing != bool(status) or (is_missing and not errors):
        raise Violation("lost", f"exit status {status}, missing {is_missing}: " + "\n".join(lines)[-1000:])
    if any("ERROR" in line and MUTATED not in line for line in lines):
        raise Violation("lost", "\n".join(lines)[-1000:])
    if any("memory ran out" in line for line in errors):
        raise Violation("memory", errors[0])
    if is_missing and UNEXPECTED_ERROR.search(errors[0]):
        raise Violation("unexpected", errors[0])
    if is_missing:
        raise Refused(errors[0])


# ---- The stages


def prepare_conversion(clips: Path) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        data_converter.WorkerPool = label_finder.WorkerPool = InProcessPool
        (folder / "matches").mkdir()
        for title in INTACT:
            shutil.copy(clips / "intact_1s.mp4", folder / "matches" / f"{title}.mp4")
            (folder / "matches" / f"{title}.txt").write_text("0.2,0.9\n")
        run_stage(data_converter.main, [folder / "matches", *SETTINGS, folder / "intact"], folder / "log")
        (folder / "matches" / f"{MUTATED}.txt").write_text("0.0,0.001\n")

    return prepare


def convert(folder: Path) -> None:
    """Check and convert three matches, of which one is mutated."""
    dataset, path = folder / "dataset", folder / "matches" / f"{MUTATED}.mp4"
    shutil.rmtree(dataset, ignore_errors=True)
    arguments = [folder / "matches", *SETTINGS, dataset]
    with limited_files(path) as limit:
        check_status, check_lines = run_stage(data_converter.main, [*arguments, "--check", "--decode"], folder / "log")
        status, lines = run_stage(data_converter.main, [*arguments, "--workers", "1"], folder / "log")
    for title in INTACT:
        if digest(dataset / title) != digest(folder / "intact" / title):
            raise Violation("lost", f"{title} is not as without the mutated match: " + "\n".join(lines)[-1000:])
    titles = {video["title"] for video in json.loads((dataset / "metadata.json").read_text())["videos"]}
    if {path.name for path in dataset.iterdir() if path.is_dir()} != titles:
        raise Violation("lost", f"folders of the dataset are not {titles}")
    require_size(dataset / MUTATED if MUTATED in titles else dataset, limit)
    if check_status != status:
        raise Violation(
            "check", f"--check ends with {check_status}: {check_lines[-4:]}, the conversion with {lines[-4:]}"
        )
    warnings = [
        {NUMBERS.sub("N", line.partition(": ")[2]) for line in part if line.lower().startswith("warning: ")}
        for part in (check_lines, lines)
    ]
    # A conversion decodes only pictures that are shown or referred to, so it may meet less damage.
    if not status and not warnings[0] >= warnings[1]:
        raise Violation("check", f"--check warns {warnings[0]}, the conversion {warnings[1]}")
    require_report(status, lines, MUTATED not in titles)


def prepare_finder(clips: Path, mutated_kind: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        data_converter.WorkerPool = label_finder.WorkerPool = InProcessPool
        for kind, name in (("matches", "match_9s.mp4"), ("cuts", "cut_3s.mp4")):
            (folder / kind).mkdir()
            for title in (INTACT[0], MUTATED):
                if title == INTACT[0] or kind != mutated_kind:
                    shutil.copy(clips / name, folder / kind / f"{title}.mp4")
        arguments = [folder / "matches", folder / "cuts", folder / "first_run", "--workers", "1"]
        run_stage(label_finder.main, arguments, folder / "log")  # imports what takes seconds, before any file is timed

    return prepare


def find_labels(mutated_kind: str) -> Callable[[Path], None]:
    def find(folder: Path) -> None:
        out = folder / "labels"
        shutil.rmtree(out, ignore_errors=True)
        with limited_files(folder / mutated_kind / f"{MUTATED}.mp4") as limit:
            arguments = [folder / "matches", folder / "cuts", out, "--workers", "1"]
            status, lines = run_stage(label_finder.main, arguments, folder / "log")
        require_size(out, 2 * max(limit, 1_000_000))
        if not (out / f"{INTACT[0]}.txt").exists():
            raise Violation("lost", "\n".join(lines)[-1000:])
        require_report(status, lines, not (out / f"{MUTATED}.txt").exists())

    return find


def prepare_extractor(clips: Path) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        import h5py

        for title in INTACT:
            shutil.copy(clips / "intact_1s.mp4", folder / f"{title}.mp4")
        with h5py.File(folder / "best.hdf5", "w"):
            pass
        point = {"threshold": 0.5, "section_penalty": 0.0}
        checkpoint.write_checkpoint_attributes(folder / "best.hdf5", {"config": CONFIG, "operating_point": point})
        # TensorFlow takes ten seconds, and a mutated match has no influence on the network.
        stand_in = types.ModuleType("videosummarizer.training.inference")
        stand_in.load_network = lambda checkpoint: None
        stand_in.score_segments = lambda network, arrays, *_: (np.array([0.9, 0.2, 0.9]) for _ in arrays)
        without_reasons = types.ModuleType("videosummarizer.training.contributions")
        without_reasons.add_logits = lambda network: None
        stand_in.OUTPUTS = ("highlight", "steps")
        sys.modules |= {module.__name__: module for module in (stand_in, without_reasons)}
        decoding_process.running = contextlib.nullcontext  # the limits hold for this process

    return prepare


def extract(folder: Path) -> None:
    """Score and cut two matches, of which the first is mutated."""
    out, paths = folder / "out", [folder / f"{title}.mp4" for title in (MUTATED, INTACT[1])]
    shutil.rmtree(out, ignore_errors=True)
    with limited_files(paths[0]) as limit:
        arguments = [*paths, "--ckpt", folder / "best.hdf5", "--output_dir", out]
        status, lines = run_stage(highlight_extractor.main, arguments, folder / "log")
    require_size(out, 2 * max(limit, 2_000_000))
    names = {path.name.removeprefix(INTACT[1]) for path in out.glob(f"{INTACT[1]}*")}
    if not {"_highlights.mp4", ".html", ".txt", ".json", "_scores.csv"} <= names:
        raise Violation("lost", f"{names}: " + "\n".join(lines)[-1000:])
    require_report(status, lines, not (out / f"{MUTATED}.html").exists())


def all_targets(scratch: Path) -> dict[str, Target]:
    """Make the intact clips in a folder, and return the targets by name."""
    make_clip(scratch / "intact_1s.mp4", "arena_01", 5, 1, "libx264", (), "mp4")
    make_clip(scratch / "match_9s.mp4", "arena_01", 10, 9, "libx264", (), "mp4")
    make_clip(scratch / "cut_3s.mp4", "arena_01", 13, 3, "libx264", (), "mp4")
    match, cut = ((scratch / name).read_bytes() for name in ("match_9s.mp4", "cut_3s.mp4"))

    def mutate(rng: Random) -> bytes:
        number = rng.randrange(len(ENCODINGS))
        path = scratch / f"clip_{number}"
        if not path.exists():
            encoder, more, container = ENCODINGS[number]
            make_clip(path, "base_01", 5, 3, encoder, more, container)
        return mutations.mutate_video(path.read_bytes(), rng)

    targets = [
        Target(CONVERSION, prepare_conversion(scratch), mutate, f"matches/{MUTATED}.mp4", convert, (Refused,)),
        Target(FINDER_MATCH, prepare_finder(scratch, "matches"), lambda rng: mutations.mutate_video(match, rng),
               f"matches/{MUTATED}.mp4", find_labels("matches"), (Refused,)),
        Target(FINDER_CUT, prepare_finder(scratch, "cuts"), lambda rng: mutations.mutate_video(cut, rng),
               f"cuts/{MUTATED}.mp4", find_labels("cuts"), (Refused,)),
        Target(EXTRACTOR, prepare_extractor(scratch), mutate, f"{MUTATED}.mp4", extract, (Refused,)),
    ]  # fmt: skip
    return {target.name: target for target in targets}
