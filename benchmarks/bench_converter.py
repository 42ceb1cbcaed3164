"""Compare the time of conversion with that of decoding every frame: `ffmpeg -i F -an -f null -`, in the same run.

    python benchmarks/bench_converter.py            one match, and eight matches in parallel
    python benchmarks/bench_converter.py --codecs   HEVC, VP9, AV1 and MPEG-4 too, and H.264 in a ts file

Each method runs twice, alternating; the faster run counts. The match of 5 minutes at 720p is made from data/raw first.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg
from match_720p import ROOT, loop_match, make_match, to_container

EXAMPLE_1 = ["5", "3", "64", "64", "11025", "0"]
EXAMPLE_2 = ["3", "6", "128", "128", "22050", "1"]
# Largest accepted ratio to the time of the full decode.
MAX_RATIOS = {
    "example 1": 0.80,
    "example 2 (MFCC)": 0.90,
    "eight matches": 0.75,
    "example 1, ts": 0.80,
    "example 1, another codec": 1.10,
}
NUM_MINUTES = 5
NUM_RUNS = 2


def run(command: list) -> float:
    """Run a command and return the seconds it takes. Raises subprocess.CalledProcessError."""
    begin = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.perf_counter() - begin


def full_decode(path: Path) -> list:
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-an", "-f", "null", "-"]


def conversion(input_dir: Path, settings: list[str], output_dir: Path) -> list:
    return [sys.executable, ROOT / "data_converter.py", input_dir, *settings, output_dir, "--overwrite"]


def moviepy_reading(path: Path, width_px: int, height_px: int, rate_fps: float, scale_in_ffmpeg: bool) -> list:
    """Return the command that reads frames with moviepy 1.0.3, scaled by FFmpeg or, as in the 2020 release, Pillow."""
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


def measure(methods: dict[str, list[list]]) -> dict[str, float]:
    """Return the seconds of each method (commands that run in a row), the best of NUM_RUNS alternating runs."""
    seconds = dict.fromkeys(methods, float("inf"))
    for _ in range(NUM_RUNS):
        for name, commands in methods.items():
            seconds[name] = min(seconds[name], sum(run(command) for command in commands))
    return seconds


def print_ratios(title: str, seconds: dict[str, float], reference: str) -> None:
    print(f"\n{title}")
    for name, value in seconds.items():
        limit = f"  (at most {MAX_RATIOS[name]:.2f})" if name in MAX_RATIOS else ""
        print(f"  {name:45} {value:8.1f} s  {value / seconds[reference]:6.2f}{limit}")


def link(folder: Path, path: Path, title: str) -> None:
    """Link a match and its labels into a folder under a title."""
    folder.mkdir(exist_ok=True)
    for suffix in (path.suffix, ".txt"):
        (folder / f"{title}{suffix}").symlink_to(path.with_suffix(suffix))


def bench_one_match(codec: str, scratch: Path, container: str = "mp4") -> None:
    path = make_match(codec) if codec == "h264" else loop_match(make_match(codec, 1), NUM_MINUTES)
    example_1 = "example 1" if codec == "h264" else "example 1, another codec"
    if container != "mp4":
        path, example_1 = to_container(path, container), f"example 1, {container}"
    folder = scratch / f"{codec} {container}"
    link(folder, path, "match")
    methods = {
        "full decode": [full_decode(path)],
        example_1: [conversion(folder, EXAMPLE_1, scratch / "out")],
    }
    if example_1 == "example 1":
        methods["example 2 (MFCC)"] = [conversion(folder, EXAMPLE_2, scratch / "out")]
        methods["moviepy with target_resolution, example 1"] = [moviepy_reading(path, 64, 64, 3, True)]
        methods["moviepy as in the 2020 release, example 1"] = [moviepy_reading(path, 64, 64, 3, False)]
    print_ratios(f"one match, {codec}, {path.name}", measure(methods), "full decode")


def bench_eight_matches(scratch: Path) -> None:
    path = loop_match(make_match("h264"), 1)
    for number in range(8):
        link(scratch / "eight", path, f"match_{number}")
    methods = {
        "eight full decodes in a row": [full_decode(path)] * 8,
        "eight matches": [conversion(scratch / "eight", EXAMPLE_1, scratch / "out")],
    }
    print_ratios("eight matches of a minute, in parallel", measure(methods), "eight full decodes in a row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codecs", action="store_true", help="Measure HEVC, VP9, AV1, MPEG-4, and H.264 in ts too.")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    try:
        bench_one_match("h264", scratch)
        bench_eight_matches(scratch)
        for codec in ("hevc", "vp9", "av1", "mpeg4") if args.codecs else ():
            bench_one_match(codec, scratch)
        if args.codecs:
            bench_one_match("h264", scratch, "ts")
        help_command = [sys.executable, ROOT / "data_converter.py", "--help"]
        print(f"\nstart-up: --help {min(run(help_command) for _ in range(5)):.2f} s  (under 0.40 s)")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
