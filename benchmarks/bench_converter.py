"""How long conversion takes against decoding every picture: `ffmpeg -i F -an -f null -`, in the same run.

    python benchmarks/bench_converter.py            one match, and eight matches side by side
    python benchmarks/bench_converter.py --codecs   HEVC, VP9, AV1 and MPEG-4 too

Each way runs twice, alternating; the faster run counts. The match of 5 minutes at 720p is made from data/raw first.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg
from match_720p import ROOT, loop_match, make_match

EXAMPLE_1 = ["5", "3", "64", "64", "11025", "0"]
EXAMPLE_2 = ["3", "6", "128", "128", "22050", "1"]
BARS = {"example 1": 0.80, "example 2 (MFCC)": 0.90, "eight matches": 0.75, "example 1, another codec": 1.10}
NUM_MINUTES = 5
NUM_RUNS = 2


def run(command: list) -> float:
    """Seconds that a command takes. Raises subprocess.CalledProcessError."""
    begin = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.perf_counter() - begin


def full_decode(path: Path) -> list:
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-an", "-f", "null", "-"]


def conversion(input_dir: Path, settings: list[str], output_dir: Path) -> list:
    return [sys.executable, ROOT / "data_converter.py", input_dir, *settings, output_dir, "--overwrite"]


def moviepy_reading(path: Path, width_px: int, height_px: int, rate_fps: float, scale_in_ffmpeg: bool) -> list:
    """Reading frames with moviepy 1.0.3: scaled by FFmpeg, or in Python as the first version did (with Pillow)."""
    target_resolution = (height_px, width_px) if scale_in_ffmpeg else None
    code = f"""
from moviepy.editor import VideoFileClip
import numpy as np
from PIL import Image
clip = VideoFileClip({str(path)!r}, audio=False, target_resolution={target_resolution})
for frame in clip.iter_frames(fps={rate_fps}):
    np.asarray(Image.fromarray(frame).resize(({width_px}, {height_px})))
"""
    return [sys.executable, "-c", code]


def measure(ways: dict[str, list[list]]) -> dict[str, float]:
    """Seconds of each way (a list of commands that run in a row), the best of NUM_RUNS alternating runs."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(NUM_RUNS):
        for name, commands in ways.items():
            seconds[name] = min(seconds[name], sum(run(command) for command in commands))
    return seconds


def print_ratios(title: str, seconds: dict[str, float], reference: str) -> None:
    print(f"\n{title}")
    for name, value in seconds.items():
        bar = f"  (at most {BARS[name]:.2f})" if name in BARS else ""
        print(f"  {name:45} {value:8.1f} s  {value / seconds[reference]:6.2f}{bar}")


def put(folder: Path, path: Path, title: str) -> None:
    """A match and its labels in a folder, under a title."""
    folder.mkdir(exist_ok=True)
    for suffix in (".mp4", ".txt"):
        (folder / f"{title}{suffix}").symlink_to(path.with_suffix(suffix))


def bench_one_match(codec: str, scratch: Path) -> None:
    path = make_match(codec) if codec == "h264" else loop_match(make_match(codec, 1), NUM_MINUTES)
    example_1 = "example 1" if codec == "h264" else "example 1, another codec"
    put(scratch / codec, path, "match")
    ways = {
        "full decode": [full_decode(path)],
        example_1: [conversion(scratch / codec, EXAMPLE_1, scratch / "out")],
    }
    if codec == "h264":
        ways["example 2 (MFCC)"] = [conversion(scratch / codec, EXAMPLE_2, scratch / "out")]
        ways["moviepy with target_resolution, example 1"] = [moviepy_reading(path, 64, 64, 3, True)]
        ways["moviepy as the first version, example 1"] = [moviepy_reading(path, 64, 64, 3, False)]
    print_ratios(f"one match, {codec}, {path.name}", measure(ways), "full decode")


def bench_eight_matches(scratch: Path) -> None:
    path = loop_match(make_match("h264"), 1)
    for number in range(8):
        put(scratch / "eight", path, f"match_{number}")
    ways = {
        "eight full decodes in a row": [full_decode(path)] * 8,
        "eight matches": [conversion(scratch / "eight", EXAMPLE_1, scratch / "out")],
    }
    print_ratios("eight matches of a minute, side by side", measure(ways), "eight full decodes in a row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codecs", action="store_true", help="measure HEVC, VP9, AV1 and MPEG-4 too")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    try:
        bench_one_match("h264", scratch)
        bench_eight_matches(scratch)
        for codec in ("hevc", "vp9", "av1", "mpeg4") if args.codecs else ():
            bench_one_match(codec, scratch)
        help_command = [sys.executable, ROOT / "data_converter.py", "--help"]
        print(f"\nstart-up: --help {min(run(help_command) for _ in range(5)):.2f} s  (under 0.40 s)")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
