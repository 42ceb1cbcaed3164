"""Compare the time of conversion with that of decoding every frame: `ffmpeg -i F -an -f null -`, in the same run.

    python benchmarks/bench_converter.py            one match, and eight matches in parallel
    python benchmarks/bench_converter.py --codecs   HEVC, VP9, AV1 and MPEG-4 too, and H.264 in a ts file

Each method runs twice, alternating; the faster run counts. The match of 5 minutes at 720p is made from data/raw first.
Where a device decodes video, rows of `--hwaccel` follow, relative to software on the same two cores, and whether the
data sets are equal byte for byte. All other rows are of software.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg
from match_720p import ENCODERS, ROOT, ffmpeg, loop_match, make_match, to_container

sys.path.insert(0, str(ROOT))

from videosummarizer import hardware_decoding

EXAMPLE_1 = ["5", "3", "64", "64", "11025", "0"]
EXAMPLE_2 = ["3", "6", "128", "128", "22050", "1"]
# Largest accepted ratio to the time of the full decode.
MAX_RATIOS = {
    "example 1": 0.80,
    "example 2 (MFCC)": 0.90,
    "eight matches": 0.75,
    "example 1, ts": 0.80,
    "example 1, another codec": 1.10,
    "device": 0.35,
}
# The rows of a device: the codec, and the filter that makes its match from that of 720p.
HARDWARE_ROWS = {
    "h264 720p": ("h264", "null"),
    "h264 1080p60": ("h264", "scale=1920:1080,fps=60"),
    "hevc 1080p": ("hevc", "scale=1920:1080"),
}
NUM_HARDWARE_CORES = 2
NUM_MINUTES = 5
NUM_RUNS = 2


def run(command: list) -> float:
    """Run a command and return the seconds it takes. Raises subprocess.CalledProcessError."""
    begin = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.perf_counter() - begin


def full_decode(path: Path) -> list:
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-an", "-f", "null", "-"]


def conversion(input_dir: Path, settings: list[str], output_dir: Path, hwaccel: str = "none") -> list:
    flags = ["--overwrite", "--hwaccel", hwaccel]
    return [sys.executable, ROOT / "data_converter.py", input_dir, *settings, output_dir, *flags]


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


def dataset_files(folder: Path) -> dict[str, object]:
    """Return the contents of a data set's files by name, without its time of creation."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.pkl")}
    return {**files, "metadata.json": {**json.loads((folder / "metadata.json").read_text()), "created": None}}


def bench_hardware(name: str, scratch: Path) -> None:
    """Print the rows of a device, and whether its data sets equal those of software.

    Args:
        name: of the device, as for `--hwaccel`.
        scratch: a folder for files.
    """
    for title, (codec, video_filter) in HARDWARE_ROWS.items():
        minute = scratch / f"{title}.mp4"
        ffmpeg("-i", str(make_match("h264", 1)), "-vf", video_filter, *ENCODERS[codec], "-c:a", "copy", str(minute))
        link(scratch / title, loop_match(minute, NUM_MINUTES), "match")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:NUM_HARDWARE_CORES])
    for title in HARDWARE_ROWS:
        outputs = {"software": scratch / "software", "device": scratch / "device"}
        methods = {
            "software": [conversion(scratch / title, EXAMPLE_1, outputs["software"])],
            "device": [conversion(scratch / title, EXAMPLE_1, outputs["device"], name)],
        }
        print_ratios(f"{title}, {name}, {NUM_HARDWARE_CORES} cores", measure(methods), "software")
        is_equal = dataset_files(outputs["software"]) == dataset_files(outputs["device"])
        print(f"  bytes of software and device: {'equal' if is_equal else 'DIFFERENT'}")
    os.sched_setaffinity(0, cores)


def find_device() -> str | None:
    """Return the name of a device that decodes video on this machine, None without one."""
    with hardware_decoding.using(hardware_decoding.AUTO):
        device = hardware_decoding.current.device
        return device.name if device else None


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
        if device := find_device():
            bench_hardware(device, scratch)
        else:
            print("\nno device decodes video on this machine: no rows of hardware")
        help_command = [sys.executable, ROOT / "data_converter.py", "--help"]
        print(f"\nstart-up: --help {min(run(help_command) for _ in range(5)):.2f} s  (under 0.40 s)")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
