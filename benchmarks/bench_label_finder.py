"""Measure how well label_finder.py locates the shots of highlight videos, by editing property, and how fast it is.

    python benchmarks/bench_label_finder.py                     matches of data/raw
    python benchmarks/bench_label_finder.py --data_dir MATCHES  matches of another folder
    python benchmarks/bench_label_finder.py --speed 40          time compared with a full decode

The matches of a folder are joined into one long match, and seeded highlight videos are cut from it. F1 is time-wise.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_converter import full_decode, run
from highlight_edits import (
    AUDIO_FILTERS,
    BLACK,
    PAUSE_CUTS_SEC,
    STUDIO,
    VIDEO_FILTERS,
    Edit,
    Shot,
    draw_shots,
    join,
    reference_sections,
    render,
    replace_shots,
    write_music,
    write_talk,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import label_finder  # noqa: E402
from videosummarizer import media  # noqa: E402
from videosummarizer.argument_types import positive_number  # noqa: E402
from videosummarizer.labels import read_label_file, resolve_sections  # noqa: E402
from videosummarizer.sections import merge_sections  # noqa: E402

CACHE_DIR = ROOT / "benchmarks" / "cache"
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "32", "-x265-params", "log-level=error")
PROPERTIES = (
    "plain", "reordered", "twice", "codec and size", "frame rate", "crop", "zoom", "letterbox", "logo", "colour",
    "fades", "dissolves", "louder", "quieter", "compressed", "music", "audio replaced", "intro and ads",
    "no audio", "other audio", "black video", "pause cut out", "mixed", "mixed, no audio", "another match",
    "1:1, other audio", "9:16, other audio",
)  # fmt: skip
# Properties that crop the frame, and its size in pixels then.
CROPS = {"crop": (256, 144), "1:1, other audio": (144, 144), "9:16, other audio": (108, 192)}
# Lowest mean F1 that is accepted.
MIN_F1 = {"plain": 0.97, "mixed": 0.90}
# Largest accepted median error of a boundary.
MAX_BOUNDARY_ERROR_SEC = 0.25
# Largest accepted ratio of the time of label_finder.py to that of a full decode.
MAX_SPEED_RATIO = 0.5
# Resolution of the time-wise F1.
STEP_SEC = 0.01
# Runs of each command; the fastest counts.
NUM_RUNS = 2
H264_720P = ("-s", "1280x720", "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-b:v", "4M")


def make_edit(name: str, rng: np.random.Generator, match: Path, other: Path, match_sec: float, scratch: Path) -> Edit:
    """Make a highlight video's description that has one editing property, or all for "mixed"."""
    total_sec = match_sec / 5
    shots = draw_shots(rng, other if name == "another match" else match, match_sec, total_sec)
    if name == "another match":
        return Edit(shots)
    music = write_music(scratch / "music.wav", 3 * total_sec, 1)
    talk = write_talk(scratch / "talk.wav", match_sec, 2)
    is_mixed = name.startswith("mixed")
    some = [int(i) for i in rng.choice(len(shots), max(1, len(shots) // 4), replace=False)]
    edit = Edit(shots, has_audio="no audio" not in name)
    if name == "audio replaced" or is_mixed:
        edit.shots = replace_shots(edit.shots, some, audio=str(talk))
    if name.endswith("other audio"):
        edit.shots = replace_shots(edit.shots, list(range(len(shots))), audio=str(talk))
    if name == "black video":
        edit.shots = [Shot(BLACK, s.start_sec, s.length_sec, audio=s.source) for s in shots]
    if name == "reordered" or is_mixed:
        edit.shots = [edit.shots[i] for i in rng.permutation(len(shots))]
    if name == "twice" or is_mixed:
        again = [Shot(str(match), s.start_sec + s.length_sec / 3, min(s.length_sec / 2, 4), speed=0.5) for s in shots]
        for index in sorted(some, reverse=True):
            edit.shots.insert(index + 1, again[index])
    if name == "intro and ads" or is_mixed:
        advert = Shot(str(other), 20, 12)
        studio = Shot(STUDIO, 0, 8, audio=str(talk))
        middle = len(edit.shots) // 2
        edit.shots = [studio, *edit.shots[:middle], advert, studio, *edit.shots[middle:], advert]
    if name == "codec and size" or is_mixed:
        edit.encoder, edit.size_px = HEVC, (320, 180)
    edit.size_px = CROPS.get(name, edit.size_px)
    if name == "frame rate" or is_mixed:
        edit.frame_rate_fps = 25
    edit.video_filters += [f for n, f in VIDEO_FILTERS.items() if n == name or (is_mixed and n not in CROPS)]
    edit.audio_filters += [f for n, f in AUDIO_FILTERS.items() if n == name or (is_mixed and n == "compressed")]
    edit.fade = name == "fades"
    edit.dissolve = name == "dissolves" or is_mixed
    edit.music = str(music) if name == "music" or is_mixed else None
    return edit


def kept_sections(sections: list[tuple[float, float]], duration_sec: float) -> list[tuple[float, float]]:
    """Return the sections as they lie in a match without PAUSE_CUTS_SEC."""
    kept, removed_sec, begin_sec = [], 0.0, 0.0
    for cut_start, cut_end in [*PAUSE_CUTS_SEC, (duration_sec, duration_sec)]:
        for start, end in sections:
            if max(start, begin_sec) < min(end, cut_start):
                kept.append((max(start, begin_sec) - removed_sec, min(end, cut_start) - removed_sec))
        removed_sec, begin_sec = removed_sec + cut_end - cut_start, cut_end
    return kept


def cut_pauses(match: Path, duration_sec: float, output: Path) -> Path:
    """Write the match without PAUSE_CUTS_SEC."""
    edges = [0.0, *(edge for cut in PAUSE_CUTS_SEC for edge in cut), duration_sec]
    shots = [
        Shot(str(match), start, end - start) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end
    ]
    return render(Edit(shots), output)


def evaluate(reference: list[tuple[float, float]], predicted: np.ndarray, duration_sec: float) -> tuple[float, float]:
    """Return the time-wise F1, 1 if both are empty, and the median boundary error in seconds.

    Args:
        reference: (start, end) of each true section in seconds.
        predicted: (n, 2) float64, sections in seconds.
        duration_sec: length of the match.
    """
    times_sec = np.arange(0, duration_sec, STEP_SEC)
    is_reference, is_predicted = (
        np.any([(times_sec >= start) & (times_sec < end) for start, end in [(0, 0), *sections]], axis=0)
        for sections in (reference, predicted.tolist())
    )
    total = is_reference.sum() + is_predicted.sum()
    f1 = 2 * (is_reference & is_predicted).sum() / total if total else 1.0
    merged = merge_sections(reference)
    if not merged.size or not predicted.size:
        return float(f1), float("nan")
    return float(f1), float(np.median(np.abs(merged.ravel()[:, None] - predicted.ravel()[None, :]).min(axis=1)))


def predict_sections(match: Path, edit: Path, output_dir: Path) -> np.ndarray:
    """Return the sections that label_finder.py finds, (n, 2) float64 in seconds of the match."""
    title = edit.stem
    result = label_finder.find_labels(title, match, edit, output_dir, label_finder.DEFAULT_MIN_CONFIDENCE)
    path = output_dir / f"{title}.txt"
    if result.error:
        if not path.with_name(f"{title}_label_report.json").exists():
            sys.exit(result.error)
        return np.zeros((0, 2))  # nothing was found
    info = media.probe(match)
    rows = read_label_file(path)
    return resolve_sections(path, rows, info.frame_times_sec, info.duration_sec)[0]


def bench_quality(args: argparse.Namespace, scratch: Path) -> bool:
    """Print F1 and boundary error for each property, and return whether all limits are met."""
    titles = sorted(args.data_dir.glob("*.mp4"))
    num = min(args.num_matches, len(titles) // 2)
    parts = [titles[i * len(titles) // num] for i in range(num)]
    match = join(parts, scratch / "match.mp4")
    other = join([path for path in titles if path not in parts][:num], scratch / "other.mp4")
    match_sec = media.probe(match).duration_sec
    is_met = True
    print(
        f"{'property':18} {'F1':>6} {'error (s)':>9} {'time (s)':>9}   "
        f"{args.num_edits} highlight videos each, {match_sec:.0f} s of match"
    )
    for name in args.properties:
        results = []
        for seed in range(args.num_edits):
            rng = np.random.default_rng([seed, PROPERTIES.index(name)])
            edit = make_edit(name, rng, match, other, match_sec, scratch)
            edit_path = render(edit, scratch / f"{name.replace(', ', '_').replace(' ', '_')}_{seed}.mp4")
            searched, reference = match, reference_sections(edit.shots, match)
            if name == "pause cut out":
                searched = cut_pauses(match, match_sec, scratch / "match_cut.mp4")
                reference = kept_sections(reference, match_sec)
            begin = time.perf_counter()
            predicted = predict_sections(searched, edit_path, scratch)
            results.append((*evaluate(reference, predicted, match_sec), time.perf_counter() - begin))
        f1, error_sec, seconds = np.mean(results, axis=0)
        limit = MIN_F1.get(name, 0)
        is_met = is_met and f1 >= limit and not error_sec > MAX_BOUNDARY_ERROR_SEC
        print(
            f"{name:18} {f1:6.3f} {error_sec:9.3f} {seconds:9.1f}" + (f"   (at least {limit:.2f})" if limit else ""),
            flush=True,
        )
    return is_met


def bench_speed(args: argparse.Namespace, scratch: Path) -> bool:
    """Print the time for a 720p match and a highlight video of a fifth of it, and return whether it is accepted.

    It is compared with a full decode of both videos by FFmpeg. Each runs twice, alternating; the faster run counts.
    """
    titles = sorted(args.data_dir.glob("*.mp4"))
    seconds = 0.0
    parts = []
    for path in titles:
        if seconds < 60 * args.speed - 1:
            parts.append(path)
            seconds += media.probe_duration_sec(path)
    match = join(parts, CACHE_DIR / f"match_720p_{len(parts)}_parts.mp4", *H264_720P)
    match_sec = media.probe(match).duration_sec
    shots = draw_shots(np.random.default_rng(0), match, match_sec, match_sec / 5)
    edit = render(Edit(shots, size_px=(1280, 720)), CACHE_DIR / f"edit_720p_{len(parts)}_parts.mp4")
    folders = [scratch / name for name in ("matches", "highlights")]
    for folder, path in zip(folders, (match, edit), strict=True):
        folder.mkdir()
        (folder / "match.mp4").symlink_to(path)
    finder = [sys.executable, ROOT / "label_finder.py", *folders, scratch, "--overwrite", "--workers", "1"]
    decode_sec = finder_sec = float("inf")
    for _ in range(NUM_RUNS):
        decode_sec = min(decode_sec, sum(run(full_decode(path)) for path in (match, edit)))
        finder_sec = min(finder_sec, run(finder))
    info = media.probe(match)
    rows = read_label_file(scratch / "match.txt")
    predicted = resolve_sections("match.txt", rows, info.frame_times_sec, info.duration_sec)[0]
    f1, error_sec = evaluate(reference_sections(shots, match), predicted, match_sec)
    ratio = finder_sec / decode_sec
    print(
        f"720p, {match_sec / 60:.0f} minutes and a highlight video of {match_sec / 300:.1f}: "
        f"full decode {decode_sec:.0f} s, label_finder.py {finder_sec:.0f} s, "
        f"ratio {ratio:.2f} (at most {MAX_SPEED_RATIO}); F1 {f1:.3f}, "
        f"boundary error {error_sec:.3f} s"
    )
    return ratio <= MAX_SPEED_RATIO


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=ROOT / "data" / "raw", help="Folder of match videos (default: data/raw).")
    add("--num_matches", type=int, default=4, help="Number of matches that are joined into one (default: %(default)s).")
    add(
        "--num_edits",
        type=int,
        default=1,
        help="Highlight videos per property, with seeds 0, 1, ... (default: %(default)s).",
    )
    add(
        "--properties",
        nargs="+",
        default=PROPERTIES,
        choices=PROPERTIES,
        metavar="P",
        help="Editing properties to measure (default: all).",
    )
    add(
        "--speed",
        type=positive_number(float),
        metavar="MINUTES",
        help="Measure the time instead, with a 720p match of this length.",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        is_met = (bench_speed if args.speed else bench_quality)(args, Path(scratch))
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
