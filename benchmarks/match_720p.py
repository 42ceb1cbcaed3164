"""Make the long matches of the benchmarks from data/raw; benchmarks/cache keeps them.

python benchmarks/match_720p.py    writes benchmarks/cache/match_720p_h264_5min.mp4
"""

import argparse
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg

ROOT = Path(__file__).resolve().parent.parent
CACHE_DIR = ROOT / "benchmarks" / "cache"
# Titles of the one-minute matches that are joined.
MINUTES = ["arena_01", "arena_05", "base_01", "city_02", "pit_01"]
ENCODERS = {
    # B-frames, B-pyramid and several Mbit/s are common in recordings and broadcasts; grain makes use of the bits.
    "h264": ["-c:v", "libx264", "-preset", "fast", "-bf", "3", "-b:v", "6M", "-maxrate", "9M", "-bufsize", "12M"],
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-b:v", "4M", "-x265-params", "log-level=error:bframes=3"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "4M", "-row-mt", "1"],
    "av1": ["-c:v", "libsvtav1", "-preset", "12", "-b:v", "4M"],
    "mpeg4": ["-c:v", "mpeg4", "-bf", "2", "-b:v", "8M"],
}


def ffmpeg(*arguments: str) -> None:
    """Run the FFmpeg that imageio-ffmpeg brings. Raises subprocess.CalledProcessError."""
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *arguments], check=True)


def make_match(codec: str = "h264", num_minutes: int = len(MINUTES)) -> Path:
    """Return the path of a 1280 x 720 match, and make it and its label file unless they exist.

    Args:
        codec: a key of ENCODERS.
        num_minutes: length of the match, at most 5.
    """
    path = CACHE_DIR / f"match_720p_{codec}_{num_minutes}min.mp4"
    if path.exists():
        return path
    print(f"making {path.name}, which takes some minutes", file=sys.stderr)
    CACHE_DIR.mkdir(exist_ok=True)
    inputs = [
        argument for title in MINUTES[:num_minutes] for argument in ("-i", str(ROOT / "data/raw" / f"{title}.mp4"))
    ]
    join = "".join(f"[{i}:v][{i}:a]" for i in range(num_minutes)) + f"concat=n={num_minutes}:v=1:a=1[v][a]"
    scaled = "[v]scale=1280:720:flags=bicubic,noise=alls=6:allf=t,format=yuv420p[scaled]"
    part = path.with_suffix(".part.mp4")
    ffmpeg(*inputs, "-filter_complex", f"{join};{scaled}", "-map", "[scaled]", "-map", "[a]", *ENCODERS[codec],
           "-c:a", "aac", "-b:a", "128k", str(part))  # fmt: skip
    path.with_suffix(".txt").write_text("700,1400\n")
    part.replace(path)
    return path


def loop_match(path: Path, num_minutes: float) -> Path:
    """Return the path of a match that is looped to a length by copying its streams, and make it unless it exists."""
    looped = path.with_name(f"{path.stem}_looped_{num_minutes:g}min.mp4")
    if not looped.exists():
        part = looped.with_suffix(".part.mp4")
        ffmpeg("-stream_loop", "-1", "-i", str(path), "-t", str(num_minutes * 60), "-c", "copy", str(part))
        looped.with_suffix(".txt").touch()
        part.replace(looped)
    return looped


def to_container(path: Path, suffix: str) -> Path:
    """Return the path of a match in another container, by copying its streams, and make it unless it exists."""
    copied = path.with_suffix(f".{suffix}")
    if not copied.exists():
        part = copied.with_suffix(f".part.{suffix}")
        ffmpeg("-i", str(path), "-c", "copy", str(part))
        part.replace(copied)
    return copied


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    print(make_match())


if __name__ == "__main__":
    main()
