"""Label the fights of recorded matches: another labelling of the same matches, with longer and denser highlights.

    python benchmarks/label_fights.py VIDEO_DIR OUTPUT_DIR
    python data_converter.py OUTPUT_DIR 5 3 64 64 11025 0

VIDEO_DIR has matches of benchmarks/record_matches.py: `<title>.mp4`, and `<title>.json` with the frames of the kills.
OUTPUT_DIR gets a link to each mp4 (a copy where the system allows no links), and a label file .txt. Existing mp4 files
in it are kept.

A highlight is a fight: two kills or more, each at most 8 s after the one before, from 5 s before the first kill to 4 s
after the last. Fights that touch are merged.
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from videosummarizer.atomic_file import atomic_write  # noqa: E402
from videosummarizer.labels import format_sections  # noqa: E402

# The rate of the frames in which kills are counted; the game's own.
FRAME_RATE_FPS = 35


class MatchError(Exception):
    """A match cannot be labelled; the message names the file and says what to do."""


@dataclass(frozen=True)
class HighlightRule:
    """How kills become highlights.

    Attributes:
        min_kills: the fewest kills in a highlight.
        max_kill_gap_sec: a kill that follows another one by at most this time belongs to the same highlight.
        before_sec: time from a highlight's start to its first kill.
        after_sec: time from a highlight's last kill to its end.
        max_gap_sec: highlights with at most this gap are merged.
    """

    min_kills: int
    max_kill_gap_sec: float
    before_sec: float
    after_sec: float
    max_gap_sec: float


FIGHTS = HighlightRule(min_kills=2, max_kill_gap_sec=8, before_sec=5, after_sec=4, max_gap_sec=0)


def highlight_sections(kill_frames: list[int], num_frames: int, rule: HighlightRule) -> list[tuple[int, int]]:
    """Return (start, end) frames of the highlights, half-open, ascending, within [0, num_frames].

    Args:
        kill_frames: the frame in which each kill is visible, ascending.
        num_frames: frames of the match.
        rule: how kills become highlights.
    """
    runs: list[list[int]] = []
    for frame in kill_frames:
        if runs and frame - runs[-1][-1] <= rule.max_kill_gap_sec * FRAME_RATE_FPS:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    sections: list[tuple[int, int]] = []
    for run in runs:
        if len(run) < rule.min_kills:
            continue
        start = max(0, run[0] - round(rule.before_sec * FRAME_RATE_FPS))
        end = min(num_frames, run[-1] + round(rule.after_sec * FRAME_RATE_FPS))
        if sections and start - sections[-1][1] <= rule.max_gap_sec * FRAME_RATE_FPS:
            start = sections.pop()[0]
        sections.append((start, end))
    return sections


def label_file(sections: list[tuple[int, int]], frame_step: int = 1) -> str:
    """Return the text of a label file with frames and times.

    Args:
        sections: (start, end) frames of the game.
        frame_step: 2 if the video has every second frame of the game.
    """
    frames = np.array(sections, np.int64).reshape(-1, 2)
    return format_sections(frames // frame_step, frames / FRAME_RATE_FPS)


def read_match(json_path: Path) -> tuple[list[int], int, int]:
    """Read a match of record_matches.py.

    Returns:
        The frame of every kill, the number of frames of the game, and the step between those that the video has.

    Raises:
        MatchError: a file is missing or damaged, or the two do not belong together.
    """
    video_path = json_path.with_suffix(".mp4")
    try:
        about = json.loads(json_path.read_bytes())
        kill_frames, num_frames, rate = about["kills"], about["frames"], about["fps"]
        with av.open(str(video_path), metadata_errors="replace") as container:
            num_pictures = container.streams.video[0].frames
        frame_step = round(num_frames / num_pictures)
        is_valid = rate == FRAME_RATE_FPS and num_pictures == len(range(0, num_frames, frame_step))
    except (OSError, av.FFmpegError, ValueError, KeyError, TypeError, IndexError, ZeroDivisionError) as error:
        raise MatchError(
            f"{json_path}: {error!r}: expected a match of benchmarks/record_matches.py, with an mp4 of the same name"
        ) from error
    if not is_valid:
        raise MatchError(
            f"{video_path}: received {num_pictures} frames, expected all or every second one of the {num_frames} "
            f"frames at {FRAME_RATE_FPS} per second that {json_path.name} counts: record the match again"
        )
    return kill_frames, num_frames, frame_step


def link_or_copy(source: Path, target: Path) -> None:
    """Make a symbolic link to a file, or a copy of it if the system allows no links. An existing target is kept."""
    if target.exists():
        return
    target.unlink(missing_ok=True)  # a link whose file is gone
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def label_matches(video_dir: Path, output_dir: Path) -> str:
    """Label all matches of a folder, and return a line that describes them.

    Raises:
        MatchError: the folder has no match, or one cannot be read.
    """
    json_paths = sorted(video_dir.glob("*.json"))
    if not json_paths:
        raise MatchError(f"{video_dir}: received no .json file, expected matches of benchmarks/record_matches.py")
    if output_dir.resolve() == video_dir.resolve():
        raise MatchError(f"{output_dir}: expected another folder than VIDEO_DIR, whose label files would be replaced")
    matches = {path: read_match(path) for path in json_paths}
    output_dir.mkdir(parents=True, exist_ok=True)
    lengths_sec = []
    for path, (kill_frames, num_frames, frame_step) in matches.items():
        sections = highlight_sections(kill_frames, num_frames, FIGHTS)
        lengths_sec += [(end - start) / FRAME_RATE_FPS for start, end in sections]
        link_or_copy(path.with_suffix(".mp4"), output_dir / f"{path.stem}.mp4")
        atomic_write(output_dir / f"{path.stem}.txt", label_file(sections, frame_step).encode())
    ratio = sum(lengths_sec) * FRAME_RATE_FPS / sum(num_frames for _, num_frames, _ in matches.values())
    median = f"median {np.median(lengths_sec):.1f} s, " if lengths_sec else ""
    return f"{len(matches)} matches, {len(lengths_sec)} highlights, {median}highlight ratio {ratio:.2f}"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video_dir", type=Path, metavar="VIDEO_DIR", help="Folder of benchmarks/record_matches.py.")
    parser.add_argument(
        "output_dir", type=Path, metavar="OUTPUT_DIR", help="Folder for links and labels; created if necessary."
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Label the matches and return the exit status: 0, or 1 if one cannot be labelled."""
    args = parse_args(argv)
    try:
        print(label_matches(args.video_dir, args.output_dir))
    except (MatchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
