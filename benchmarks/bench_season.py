"""Rehearse a training at the size of a season, and print where the time goes and how much memory each epoch leaves.

    python benchmarks/bench_season.py --data_dir DATASET
    python benchmarks/bench_season.py --data_dir DATASET --num_batches 100   without most of the training

It makes a dataset of 120 matches of 1,250 segments, 150,000 in all, from hard links to the segments of DATASET, which
must be on the same file system and is not changed. Then it trains on it as `main.py --epochs 2` does, tests, and prints
the time of each part. Opening the dataset may take 3 seconds at most, and the second epoch may leave at most 10 % more
memory in use than the first.

How well the network learns says nothing here: the matches repeat the same segments, also across the split.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main as training  # noqa: E402
from data_loader import DataLoader  # noqa: E402
from videosummarizer.dataset import audit  # noqa: E402
from videosummarizer.dataset.metadata import SUBSETS, write_metadata  # noqa: E402
from videosummarizer.dataset.storage import SegmentFile  # noqa: E402
from videosummarizer.training import optimization, testing, training_run, training_statistics, validation  # noqa: E402

NUM_MATCHES, NUM_SEGMENTS, NUM_EPOCHS = 120, 1250, 2
MAX_OPEN_SEC, MAX_MEMORY_RATIO = 3.0, 1.10
# What is timed: the object that holds the function, its name, and what it does.
PARTS = (
    (DataLoader, "__init__", "open the dataset"),
    (audit, "find_leaks", "compare matches across the split"),
    (validation, "rms_levels", "measure the loudness of a subset"),
    (training_statistics, "summarise", "statistics of the training matches"),
    (optimization, "train_epoch", "train for an epoch"),
    (validation, "predict_outputs", "score a subset"),
    (validation, "tune_fusion_weights", "choose fusion weights"),
    (validation, "calibrate", "calibrate"),
    (validation, "fit_operating_point", "choose an operating point"),
    (testing, "evaluate", "test, scores and intervals included"),
    (testing, "write_results", "write report, predictions and pictures"),
)


def link_match(source: DataLoader, matches: list[list[SegmentFile]], match_dir: Path) -> dict:
    """Make a match of NUM_SEGMENTS hard links to the segments of these matches, and return its record."""
    match_dir.mkdir(parents=True)
    segment_sec = source.config.segment_length
    index, length_sec, sections_sec = 0, NUM_SEGMENTS * segment_sec, []
    for files in itertools.cycle(matches):
        sections_sec.append(index * segment_sec + source.parse_match(files).sections_sec)
        for file in files[: NUM_SEGMENTS - index]:
            os.link(file.path, match_dir / f"seg_{index:05d}_{file.label}.pkl")
            index += 1
        if index == NUM_SEGMENTS:
            break
    sections_sec = np.minimum(np.concatenate(sections_sec), length_sec)
    return {
        "title": match_dir.name,
        "segment_count": NUM_SEGMENTS,
        "duration": length_sec,
        "sections": sections_sec[sections_sec[:, 0] < sections_sec[:, 1]].tolist(),
    }


def make_season(dataset: Path, folder: Path) -> None:
    """Write a dataset of NUM_MATCHES matches of NUM_SEGMENTS segments, each of which begins with another match."""
    source = DataLoader(dataset)
    matches = [files for subset in SUBSETS for files in source.files_by_match(subset)]
    videos = []
    for number in range(NUM_MATCHES):
        start = number % len(matches)
        rotated = matches[start:] + matches[:start]
        videos.append(link_match(source, rotated, folder / f"match_{number:03d}"))
    write_metadata(folder, source.config, videos, missing=[])


def memory_mb() -> float:
    """Return the memory that this process has in use, without files that are mapped."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("RssAnon"))) / 1000


def time_parts() -> dict[str, list[float]]:
    """Replace each function of PARTS by one that is timed. Return the seconds of its calls by what it does."""
    seconds = {what: [] for _, _, what in PARTS}

    def timed(function, calls: list[float]):
        def run(*arguments, **options):
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                calls.append(time.perf_counter() - begin)

        return run

    for owner, name, what in PARTS:
        setattr(owner, name, timed(getattr(owner, name), seconds[what]))
    return seconds


def shorten_epochs(num_batches: int) -> None:
    """Let each epoch train on its first batches only."""
    train_epoch = optimization.train_epoch
    optimization.train_epoch = lambda steps, batches, on_batch: train_epoch(
        steps, itertools.islice(batches, num_batches), on_batch
    )


def note_memory() -> list[float]:
    """Return a list to which each epoch, once it has been validated and saved, appends the memory in use."""
    run_epoch, memory = training_run.TrainingRun.run_epoch, []

    def run(*arguments):
        run_epoch(*arguments)
        memory.append(memory_mb())

    training_run.TrainingRun.run_epoch = run
    return memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="Dataset of data_converter.py, a folder.")
    parser.add_argument("--num_batches", type=int, help="Batches to train on per epoch (default: all).")
    args = parser.parse_args()
    if args.num_batches is not None:
        shorten_epochs(args.num_batches)
    with tempfile.TemporaryDirectory(dir=args.data_dir.parent) as scratch:
        season = Path(scratch) / "season"
        make_season(args.data_dir, season)
        seconds, memory = time_parts(), note_memory()
        begin = time.perf_counter()
        ckpt_dir = Path(scratch) / "checkpoints"
        status = training.main(["--data_dir", str(season), "--ckpt_dir", str(ckpt_dir), "--epochs", str(NUM_EPOCHS)])
        total_sec = time.perf_counter() - begin
    if status:
        return status
    print(f"\n{NUM_MATCHES} matches, {NUM_MATCHES * NUM_SEGMENTS} segments, {NUM_EPOCHS} epochs: {total_sec:.0f} s")
    for what, calls in seconds.items():
        print(f"  {what:40} {', '.join(f'{call_sec:.1f}' for call_sec in calls)} s")
    open_sec, ratio = seconds["open the dataset"][0], memory[-1] / memory[0]
    print(f"  {'memory in use after each epoch':40} {', '.join(f'{value:.0f}' for value in memory)} MB")
    print(f"open: {open_sec:.1f} s (at most {MAX_OPEN_SEC:g}); memory: {ratio:.2f} (at most {MAX_MEMORY_RATIO:.2f})")
    return 0 if open_sec <= MAX_OPEN_SEC and ratio <= MAX_MEMORY_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
