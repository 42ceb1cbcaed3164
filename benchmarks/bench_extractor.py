"""Compare the extractor with decoding every frame, and its reel with moviepy's; measure its memory.

    python benchmarks/bench_extractor.py             a match of 5 minutes at 720p, made from data/raw first
    python benchmarks/bench_extractor.py --memory    only the memory, of a match of three hours: ten minutes

The network is the one with the longest receptive field that training may choose. Methods that are compared run
alternately, NUM_RUNS times each; the fastest run of each counts.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import psutil
from match_720p import CACHE_DIR, ROOT, loop_match, make_match

NUM_RUNS = 2
# Largest accepted ratio to the time of a full decode plus the start of TensorFlow.
MAX_RATIO = 0.95
# Largest accepted memory for three hours.
MAX_MEMORY_MB = 1000
LONGEST_RECEPTIVE_FIELD = """
import sys
from pathlib import Path
from data_loader import STEP_SEC
from model import build_model
from videosummarizer.dataset.temporal_context import MAX_CONVOLUTIONS
from videosummarizer.training.checkpoint import read_checkpoint, read_checkpoint_attributes, write_checkpoint_attributes
config = read_checkpoint(Path(sys.argv[1])).config
num_steps, dilations = round(config.segment_length / STEP_SEC), [2**k for k in range(MAX_CONVOLUTIONS)]
build_model(config.data_shape, config.audio_sample_rate, num_steps, dilations).save(sys.argv[2])
write_checkpoint_attributes(sys.argv[2], read_checkpoint_attributes(sys.argv[1]))
"""
REEL_SECTIONS_SEC = [(start_sec, start_sec + 8) for start_sec in range(13, 300, 50)]
REEL = """
import sys
import numpy as np
from videosummarizer import media
from videosummarizer.extraction import reel
info = media.probe(sys.argv[1])
reel.render_reel(sys.argv[1], info, np.searchsorted(info.frame_times_sec, np.array({sections})), sys.argv[2])
"""
MOVIEPY_REEL = """
import sys
from moviepy.editor import VideoFileClip, concatenate_videoclips
clip = VideoFileClip(sys.argv[1])
reel = concatenate_videoclips([clip.subclip(*section) for section in {sections}])
reel.write_videofile(sys.argv[2], audio_codec="aac", preset="veryfast", ffmpeg_params=["-crf", "18"], logger=None)
"""


def run(command: list, on_wait: Callable[[psutil.Process], object] | None = None) -> float:
    """Run a command and return its seconds.

    Args:
        command: Its arguments.
        on_wait: Called with its process several times a second.

    Raises:
        RuntimeError: It fails.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as stderr:
        process = psutil.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr)
        while on_wait and process.poll() is None:
            on_wait(process)
            time.sleep(0.2)
        if process.wait():
            stderr.seek(0)
            raise RuntimeError(f"{command} failed: {stderr.read().decode()[-2000:]}")
    return time.perf_counter() - begin


def memory_mb(process: psutil.Process) -> float:
    """Return the memory of a process and its descendants in MB; what they have in common counts once (PSS on Linux)."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
                usage = member.memory_full_info()
                total += getattr(usage, "pss", usage.uss)
    return total / 1e6


def fastest(methods: dict[str, list], scratch: Path) -> dict[str, float]:
    """Return the seconds of each method's fastest run; each starts with an empty scratch folder."""
    seconds = dict.fromkeys(methods, float("inf"))
    for _ in range(NUM_RUNS):
        for name, command in methods.items():
            shutil.rmtree(scratch, ignore_errors=True)  # scores of an earlier run would be reused
            scratch.mkdir()
            seconds[name] = min(seconds[name], run(command))
    return seconds


def make_checkpoint() -> Path:
    """Return a checkpoint whose network has the longest receptive field that there is, and has not been trained."""
    path = CACHE_DIR / "checkpoints" / "longest_receptive_field.h5"
    if not path.exists():
        dataset = CACHE_DIR / "dataset"
        run([sys.executable, "data_converter.py", "data/raw", 5, 3, 64, 64, 11025, 0, dataset, "--overwrite"])
        run([sys.executable, "main.py", "--epochs", 1, "--data_dir", dataset, "--ckpt_dir", path.parent])
        run([sys.executable, "-c", LONGEST_RECEPTIVE_FIELD, max(path.parent.glob("*.hdf5")), path])
    return path


def extraction(path: Path, output_dir: Path) -> list:
    """Return the command at a threshold that no score reaches, so that it does everything but the reel."""
    arguments = ["--ckpt", make_checkpoint(), "--output_dir", output_dir, "--threshold", 1]
    return [sys.executable, "highlight_extractor.py", path, *arguments]


def bench_speed(path: Path, scratch: Path) -> None:
    seconds = fastest(
        {
            "full decode": [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-an", "-f", "null", "-"],
            "start of TensorFlow": [sys.executable, "-c", "import model"],
            "extractor": extraction(path, scratch / "out"),
        },
        scratch,
    )
    reference = seconds["full decode"] + seconds["start of TensorFlow"]
    print(f"\nScores and sections of {path.name}")
    for name, value in seconds.items():
        print(f"  {name:28} {value:7.1f} s   {value / reference:5.2f}")
    print(f"  limit of the extractor: {MAX_RATIO}")


def bench_reel(path: Path, scratch: Path) -> None:
    methods = {
        name: [sys.executable, "-c", code.format(sections=REEL_SECTIONS_SEC), path, scratch / f"{name}.mp4"]
        for name, code in (("reel.py", REEL), ("moviepy", MOVIEPY_REEL))
    }
    seconds = fastest(methods, scratch)
    print(f"\nA reel of {len(REEL_SECTIONS_SEC)} sections of 8 s, same encoder settings")
    for name, value in seconds.items():
        print(f"  {name:28} {value:7.1f} s   {value / seconds['moviepy']:5.2f}")


def bench_memory(scratch: Path) -> None:
    used_mb = [0.0]
    seconds = run(
        extraction(loop_match(make_match(), 180), scratch / "out"),
        lambda process: used_mb.append(memory_mb(process)),
    )
    print(f"\nThree hours at 720p: {max(used_mb):.0f} MB at most (limit: {MAX_MEMORY_MB} MB), {seconds:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="Measure the memory for a match of three hours instead.")
    args = parser.parse_args()
    make_checkpoint()
    with tempfile.TemporaryDirectory() as scratch:
        if args.memory:
            bench_memory(Path(scratch))
        else:
            bench_speed(make_match(), Path(scratch) / "speed")
            bench_reel(make_match(), Path(scratch) / "reel")


if __name__ == "__main__":
    main()
