"""Measure the peak resident memory of a conversion by the length of the match.

The limits are 400 MB for three hours of 720p, and 10 % more for 60 minutes than for 10.

    python benchmarks/bench_memory.py --minutes 10 60 180

Long matches are the 5-minute match of match_720p.py, looped by copying its stream. Three hours take ten minutes.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from match_720p import ROOT, loop_match, make_match

# The heavier one of the two example conversions.
SETTINGS = ["3", "6", "128", "128", "22050", "1"]
MEGABYTE = 1e6


def resident_bytes(process: psutil.Process) -> int:
    """Return the resident memory of a process and of those that it started. What they share is counted once."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_full_info().pss
    return total


def peak_resident_mb(command: list) -> float:
    """Run a command and return the peak resident memory of its processes in MB. Raises RuntimeError if it fails."""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                peak = max(peak, resident_bytes(watched))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return peak / MEGABYTE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[10, 60], help="Lengths to measure (default: 10 60)."
    )
    args = parser.parse_args()
    if not all(0 < num_minutes < float("inf") for num_minutes in args.minutes):
        parser.error(f"argument --minutes: received {args.minutes}, expected numbers above 0")
    first = None
    for num_minutes in args.minutes:
        path = loop_match(make_match("h264"), num_minutes)
        with tempfile.TemporaryDirectory() as scratch:
            for suffix in (".mp4", ".txt"):
                (Path(scratch) / f"match{suffix}").symlink_to(path.with_suffix(suffix))
            out = Path(scratch) / "out"
            peak = peak_resident_mb([sys.executable, ROOT / "data_converter.py", scratch, *SETTINGS, out])
        first = first or peak
        print(f"{num_minutes:6g} minutes of 720p: peak {peak:6.0f} MB resident, {peak / first:.2f} of the first")


if __name__ == "__main__":
    main()
