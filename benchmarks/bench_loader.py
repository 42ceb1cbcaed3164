"""Measure the speed and the memory of the data loader.

    python benchmarks/bench_loader.py                                  all parts, on the matches of data/raw
    python benchmarks/bench_loader.py --parts open                     opening 100,000 segments
    python benchmarks/bench_loader.py --parts read epoch --data_dir DATASET

open: a dataset of 100,000 segments, as a folder and as a .zip: at most 3 seconds and 300 MB, interpreter and libraries
included, until the first batch can be read. It consists of hard links to a few small pickles: only names are read.
read: the loader alone, a pass over the training segments, compared with open() and read() of the same files one after
another, with a warm page cache: at least 0.6 of their rate. The baseline (2020 release) is shown as well: one row of a
pandas table at a time (of a list if pandas is not installed), float16, np.array of a list.
epoch: an epoch of training with the default network and batch size, from disk compared with the same batches in memory:
at most 1.10 of their time.

Methods that are compared run alternately; the median counts.
"""

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main as training  # noqa: E402
from data_loader import DataLoader  # noqa: E402
from videosummarizer.dataset import storage  # noqa: E402
from videosummarizer.dataset.metadata import DataConfig, write_metadata  # noqa: E402
from videosummarizer.dataset.storage import read_arrays  # noqa: E402

NUM_SEGMENTS, NUM_MATCHES = 100_000, 100
MAX_OPEN_SEC, MAX_OPEN_MB = 3.0, 300
MIN_READ_RATE, MAX_EPOCH_RATIO = 0.6, 1.10
NUM_READ_ROUNDS, NUM_EPOCH_ROUNDS = 15, 5
# Passes over the files per round, so that starting threads hardly counts.
NUM_PASSES = 10
EXAMPLE_1 = ["5", "3", "64", "64", "11025", "0"]
OPEN = """
import sys, time
sys.path.insert(0, {root!r})
from data_loader import DataLoader
begin = time.perf_counter()
loader = DataLoader({path!r})
seconds = time.perf_counter() - begin
loader.batches("train")[0]
# VmHWM is this process's peak; getrusage would count the parent process too.
peak_kb = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, int(peak_kb) / 1000, sum(loader.num_segments.values()))
"""


def convert_samples(settings: list[str], dataset: Path) -> Path:
    """Convert data/raw with the given segment length, rates, size and MFCC flag, and return the dataset."""
    command = [sys.executable, ROOT / "data_converter.py", ROOT / "data/raw", *settings, dataset]
    subprocess.run(command, check=True, capture_output=True)
    return dataset


def make_dataset(folder: Path) -> Path:
    """Write a dataset of NUM_SEGMENTS segments of one frame, as hard links."""
    config = DataConfig(1, 1, 2, 2, 2, False)
    num_segments = NUM_SEGMENTS // NUM_MATCHES
    for match in range(NUM_MATCHES):
        match_dir = folder / f"match_{match:03d}"
        match_dir.mkdir(parents=True)
        storage.write_segment(match_dir, 0, 0, np.zeros((1, 2, 2, 3), np.uint8), np.zeros(2, np.float32), config, 1.0)
        for index in range(1, num_segments):
            os.link(match_dir / "seg_00000_0.pkl", match_dir / f"seg_{index:05d}_{index % 2}.pkl")
    videos = [{"title": f"match_{match:03d}", "segment_count": num_segments} for match in range(NUM_MATCHES)]
    write_metadata(folder, config, videos, missing=[])
    return folder


def zip_up(folder: Path, path: Path) -> Path:
    """Write a .zip of a dataset folder, without compression."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def bench_open(scratch: Path, _: Path) -> bool:
    """Print the time and the memory for opening, and return whether both are within their limits."""
    within = True
    folder = make_dataset(scratch / "many")
    for name, path in (("folder", folder), (".zip", zip_up(folder, scratch / "many.zip"))):
        code = OPEN.format(root=str(ROOT), path=str(path))
        result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        seconds, memory_mb, num_segments = map(float, result.stdout.split())
        print(
            f"open {num_segments:.0f} segments, {name}: {seconds:.2f} s (at most {MAX_OPEN_SEC:g}), "
            f"{memory_mb:.0f} MB (at most {MAX_OPEN_MB})"
        )
        within &= seconds <= MAX_OPEN_SEC and memory_mb <= MAX_OPEN_MB
    return within


def median_seconds(methods: dict[str, Callable[[], object]], num_rounds: int) -> dict[str, float]:
    """Return the median seconds of each method over alternating runs, after one run of each to warm up."""
    seconds = {name: [] for name in methods}
    for _ in range(num_rounds + 1):
        for name, run in methods.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def read_plainly(paths: list[str]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            file.read()


def exhaust(batches: Iterable) -> None:
    for _ in batches:
        pass


def as_baseline(loader: DataLoader, folder: Path):
    """Store the training segments as the 2020 release stored them.

    Returns:
        Their table: a pandas DataFrame, or a list of dicts if pandas is not installed.
    """
    folder.mkdir()
    rows = []
    for number, file in enumerate(loader.segment_files["train"]):
        video, audio = read_arrays(file, loader.data_shape)
        path = folder / f"{number}.pkl"
        segment = {"video": (video / 255).astype(np.float16), "audio": audio.astype(np.float16), "label": file.label}
        path.write_bytes(pickle.dumps(segment))
        rows.append({"path": str(path), "label": file.label})
    try:
        import pandas

        return pandas.DataFrame(rows)
    except ImportError:
        return rows


def read_as_baseline(table, batch_size: int) -> None:
    for start in range(0, len(table), batch_size):
        batch = {"video": [], "audio": [], "label": []}
        for index in range(start, min(start + batch_size, len(table))):
            row = table[index] if isinstance(table, list) else table.iloc[index]
            with open(row["path"], "rb") as file:
                segment = pickle.load(file)
            for name, values in batch.items():
                values.append(segment[name])
        for values in batch.values():
            np.array(values)


def bench_read(scratch: Path, dataset: Path) -> bool:
    """Print the rates of reading, and return whether the loader's is high enough."""
    loader = DataLoader(dataset, seed=0)
    if loader.dataset_dir.is_file():
        raise SystemExit(f"--data_dir: received {dataset}, expected a folder: plain reads need files")
    paths = [str(file.path) for file in loader.segment_files["train"]]
    batches = loader.batches("train")
    table = as_baseline(loader, scratch / "baseline")
    first = f"baseline (2020 release), {'a list' if isinstance(table, list) else 'pandas'}"
    seconds = median_seconds(
        {
            "plain reads": lambda: [read_plainly(paths) for _ in range(NUM_PASSES)],
            "the loader": lambda: [exhaust(batches) for _ in range(NUM_PASSES)],
            first: lambda: read_as_baseline(table, loader.batch_size),
        },
        NUM_READ_ROUNDS,
    )
    seconds[first] *= NUM_PASSES
    num_segments = NUM_PASSES * len(paths)
    print(f"\nread {len(paths)} training segments of {sum(map(os.path.getsize, paths)) / len(paths) / 1000:.0f} kB")
    for name, value in seconds.items():
        rate = seconds["plain reads"] / value
        limit = f"  (at least {MIN_READ_RATE})" if name == "the loader" else ""
        print(f"  {name:34} {num_segments / value:8.0f} segments/s  {rate:5.2f}{limit}")
    return seconds["plain reads"] / seconds["the loader"] >= MIN_READ_RATE


def bench_epoch(_: Path, dataset: Path) -> bool:
    """Print the time of an epoch, and return whether reading adds little enough to it."""
    from videosummarizer.training.compiled_steps import CompiledSteps
    from videosummarizer.training.keras_backend import keras
    from videosummarizer.training.optimization import ExponentialMovingAverage, train_epoch

    args = training.parse_args(["--data_dir", str(dataset)])
    loader = training.load_data(args)
    keras.utils.set_random_seed(args.seed)
    network = training.make_network(args, loader)
    steps = CompiledSteps(network, ExponentialMovingAverage(network))
    batches = loader.batches("train")
    in_memory = list(batches.augmented())
    seconds = median_seconds(
        {
            "arrays in memory": lambda: train_epoch(steps, in_memory, lambda: None),
            "from disk": lambda: train_epoch(steps, batches.augmented(), lambda: None),
        },
        NUM_EPOCH_ROUNDS,
    )
    print(f"\nan epoch of {len(batches)} batches of {loader.batch_size} segments")
    for name, value in seconds.items():
        limit = f"  (at most {MAX_EPOCH_RATIO:.2f})" if name == "from disk" else ""
        print(f"  {name:34} {value:8.2f} s  {value / seconds['arrays in memory']:6.3f}{limit}")
    return seconds["from disk"] <= MAX_EPOCH_RATIO * seconds["arrays in memory"]


PARTS = {"open": bench_open, "read": bench_read, "epoch": bench_epoch}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="Parts to measure (default: all)."
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        help="Dataset to read and train on (default: data/raw, converted with 5 3 64 64 11025 0).",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        dataset = args.data_dir
        if dataset is None and args.parts != ["open"]:
            dataset = convert_samples(EXAMPLE_1, Path(scratch) / "dataset")
        return 0 if all([PARTS[part](Path(scratch), dataset) for part in args.parts]) else 1


if __name__ == "__main__":
    sys.exit(main())
