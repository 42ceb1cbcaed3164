"""How fast the loader is, and how much memory it takes.

    python benchmarks/bench_loader.py --parts open     a dataset of 100,000 segments, as a folder and as a .zip

open: at most 3 seconds and 300 MB, interpreter and libraries included, until batches can be asked for.
The dataset is of hard links to a few small pickles, as names are all that is read of them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import segments  # noqa: E402

NUM_SEGMENTS, NUM_MATCHES = 100_000, 100
MAX_OPEN_SEC, MAX_OPEN_MB = 3.0, 300
OPEN = """
import sys, time
sys.path.insert(0, {root!r})
from data_loader import DataLoader
begin = time.perf_counter()
loader = DataLoader({path!r})
seconds = time.perf_counter() - begin
loader.batches("train")[0]
# Linux's own mark of this program's peak: what getrusage tells counts the program that started it too.
peak_kb = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, int(peak_kb) / 1000, sum(loader.num_segments.values()))
"""


def make_dataset(folder: Path) -> Path:
    """A dataset of NUM_SEGMENTS segments of one frame, of hard links."""
    config = segments.DataConfig(1, 1, 2, 2, 2, False)
    num_segments = NUM_SEGMENTS // NUM_MATCHES
    for match in range(NUM_MATCHES):
        match_dir = folder / f"match_{match:03d}"
        match_dir.mkdir(parents=True)
        segments.write_segment(match_dir, 0, 0, np.zeros((1, 2, 2, 3), np.uint8), np.zeros(2, np.float32), config, 1.0)
        for index in range(1, num_segments):
            os.link(match_dir / "seg_00000_0.pkl", match_dir / f"seg_{index:05d}_{index % 2}.pkl")
    videos = [{"title": f"match_{match:03d}", "segment_count": num_segments} for match in range(NUM_MATCHES)]
    segments.write_metadata(folder, config, videos, missing=[])
    return folder


def zip_up(folder: Path, path: Path) -> Path:
    """A .zip of a dataset folder, its files as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def bench_open() -> bool:
    """Print the time and the memory that opening takes; returns whether both are within their limits."""
    within = True
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_dataset(Path(scratch) / "dataset")
        for name, path in (("folder", folder), (".zip", zip_up(folder, Path(scratch) / "dataset.zip"))):
            code = OPEN.format(root=str(ROOT), path=str(path))
            result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            seconds, memory_mb, num_segments = map(float, result.stdout.split())
            print(
                f"open {num_segments:.0f} segments, {name}: {seconds:.2f} s (at most {MAX_OPEN_SEC:g}), "
                f"{memory_mb:.0f} MB (at most {MAX_OPEN_MB})"
            )
            within &= seconds <= MAX_OPEN_SEC and memory_mb <= MAX_OPEN_MB
    return within


PARTS = {"open": bench_open}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="what to measure")
    args = parser.parse_args()
    return 0 if all([PARTS[part]() for part in args.parts]) else 1


if __name__ == "__main__":
    sys.exit(main())
