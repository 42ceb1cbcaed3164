"""Stage 0: find where the shots of edited highlight videos were cut from full matches, and write label files.

    python label_finder.py full_match_dir highlight_dir [output_dir]

In: full matches and highlight videos of the same titles (`--pairs FILE.csv` for other names). Out, for each match:
`<title>.txt`, a label file; `<title>_label_report.json`, each shot of the edit, where it was found and how surely; and
`<title>_alignment.png`, the edit's time against the match's.
"""

from videosummarizer import interruption

if __name__ == "__main__":  # before the imports that take long
    interruption.install_exception_hook()

import argparse
import csv
import importlib.metadata
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import joblib
import numpy as np
import threadpoolctl
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from videosummarizer import media
from videosummarizer.argument_types import num_processes, number_between
from videosummarizer.atomic_file import atomic_write
from videosummarizer.evaluation import plots
from videosummarizer.labels import format_time
from videosummarizer.sections import merge_sections

DEFAULT_MIN_CONFIDENCE = 0.5
SNAP_SEC = 0.3  # an end this near to a cut of the edit is at the cut
MIN_MISSING_SEC = 0.5  # shorter parts of the edit that are not found are not listed
NUM_REFINEMENTS = 3  # of pictures around places in doubt, each time of what the last left in doubt
FULL_SCAN_RATE_FPS = 5  # pictures of the match read throughout where sound is of no use
REFINEMENT_RATE_FPS = 8  # pictures of the match read where doubt is left
LOW_FOUND_RATIO = 0.3  # of an edit; where less is found, a warning says so
EXAMPLES = """\
examples:
  python label_finder.py matches highlights
  python label_finder.py matches highlights labels --pairs pairs.csv --workers 4
"""

logger = logging.getLogger("label_finder")


class InputError(Exception):
    """What the command was given cannot be used; the message says why and what to do."""


@dataclass
class Shot:
    """A part of the edit [edit_start_sec, edit_end_sec) and the part of the match that it was cut from.

    confidence: in [0, 1). sound_sec, picture_sec: the evidence of each in seconds of a perfect likeness, negative where
    it speaks against the place.
    """

    edit_start_sec: float
    edit_end_sec: float
    match_start_sec: float
    match_end_sec: float
    confidence: float
    sound_sec: float
    picture_sec: float


@dataclass
class LabelResult:
    """What became of one match: how many sections were found and how much of the edit, or the error that cost it."""

    title: str
    num_sections: int = 0
    highlight_sec: float = 0.0
    found_share: float = 0.0
    error: str | None = None
    error_traceback: str | None = None
    warnings: list[str] = field(default_factory=list)


def find_shots(
    match_path: Path, match_info: media.VideoInfo, highlight_path: Path, highlight_info: media.VideoInfo
) -> list[Shot]:
    """The shots of a highlight video, in its order, with their places in the match; what was not found is left out.

    Sound is compared as a whole, pictures at the match's keyframes; where these leave doubt, and where a shot fades or
    dissolves, the match's pictures are read around the places in question. Raises media.MediaError.
    """
    from videosummarizer.labelling import alignment, dissolves, fingerprints

    has_sound = match_info.audio and highlight_info.audio
    with ThreadPoolExecutor() as pool:  # FFmpeg decodes outside of Python's lock
        sounds = pool.map(fingerprints.read_audio_features, (highlight_path, match_path) if has_sound else ())
        edit_pictures = fingerprints.read_thumbnails(highlight_path)
        match_pictures = fingerprints.read_thumbnails(match_path, keyframes=True)
        sound = fingerprints.compare_audio(*sounds) if has_sound else None
    cuts_sec = fingerprints.find_cuts(edit_pictures)
    placement = fingerprints.fit_frame_transform(edit_pictures, match_pictures)
    comparer = fingerprints.FrameDescriber(edit_pictures, match_pictures, placement)
    edit_rows = comparer.edit_rows(edit_pictures)
    search = alignment.Aligner(highlight_info.duration_sec, match_info.duration_sec, cuts_sec, sound)
    for _ in range(NUM_REFINEMENTS):
        search.set_pictures(edit_rows, comparer.match_rows(match_pictures))
        near = fingerprints.read_thumbnails_near(match_path, search.places_to_read_sec(), REFINEMENT_RATE_FPS)
        match_pictures = fingerprints.join_thumbnails([match_pictures, near])
    search.set_pictures(edit_rows, comparer.match_rows(match_pictures))
    if search.needs_every_picture():
        every = fingerprints.read_thumbnails(match_path, rate_fps=FULL_SCAN_RATE_FPS)
        match_pictures = fingerprints.join_thumbnails([match_pictures, every])
        search.set_pictures(edit_rows, comparer.match_rows(match_pictures), seek=True)
    ends_sec = np.array([0, *cuts_sec, highlight_info.duration_sec])
    fades = dissolves.DissolveRefiner(edit_pictures, match_pictures, comparer, match_path)
    shots = []
    for run in search.runs():
        offset_sec, edit_sec = search.fine_offset_sec(run), []
        for step, is_start in ((run.first, True), (run.last, False)):
            end_sec = snap(step * fingerprints.HOP_SEC, ends_sec)
            if end_sec not in ends_sec and run.confidence >= alignment.LIKELY:
                end_sec = fades.end_sec(end_sec, is_start, offset_sec)
            edit_sec.append(min(max(end_sec, 0.0), highlight_info.duration_sec))
        match_sec = np.clip(np.add(edit_sec, offset_sec), 0, match_info.duration_sec).tolist()
        if edit_sec[0] < edit_sec[1] and match_sec[0] < match_sec[1]:
            shots.append(Shot(*edit_sec, *match_sec, run.confidence, run.sound_sec, run.picture_sec))
    return shots


def snap(time_sec: float, ends_sec: np.ndarray) -> float:
    """The nearest of some times where it is near, else the time itself."""
    nearest_sec = float(ends_sec[np.abs(ends_sec - time_sec).argmin()])
    return nearest_sec if abs(nearest_sec - time_sec) <= SNAP_SEC else float(time_sec)


def label_lines(sections_sec: np.ndarray, frame_times_sec: np.ndarray) -> list[str]:
    """Lines of a label file for sections (n, 2) in seconds: the frames nearest to their ends, and their times."""
    edges_sec = np.append(frame_times_sec, 2 * frame_times_sec[-1] - frame_times_sec[-2:][0])
    frames = [tuple(int(np.abs(edges_sec - time_sec).argmin()) for time_sec in section) for section in sections_sec]
    return [
        f"{start},{end},{format_time(edges_sec[start])},{format_time(edges_sec[end])}"
        for start, end in frames
        if start < end
    ]


def missing_parts(shots: list[Shot], duration_sec: float) -> list[tuple[float, float]]:
    """(start, end) in seconds of the parts of an edit that lie in none of the shots."""
    covered = merge_sections([(shot.edit_start_sec, shot.edit_end_sec) for shot in shots])
    edges = [0.0, *covered.ravel().tolist(), duration_sec]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in gaps if end - start >= MIN_MISSING_SEC]


def find_labels(
    title: str, match_path: Path, highlight_path: Path, output_dir: Path, min_confidence: float
) -> LabelResult:
    """Write the label file, the report and the picture of one match.

    A video that cannot be used is returned as the finding's error, so that it costs this match alone.
    """
    finding = LabelResult(title)
    try:
        match_info, highlight_info = media.probe(match_path), media.probe(highlight_path)
        # One BLAS thread: the products are small, and matches run side by side.
        with threadpoolctl.threadpool_limits(1):
            shots = find_shots(match_path, match_info, highlight_path, highlight_info)
        sure = [shot for shot in shots if shot.confidence >= min_confidence]
        sections_sec = merge_sections([(shot.match_start_sec, shot.match_end_sec) for shot in sure])
        missing = missing_parts(sure, highlight_info.duration_sec)
        finding.num_sections = len(sections_sec)
        finding.highlight_sec = float(np.diff(sections_sec, axis=1).sum())
        finding.found_share = 1 - sum(end - start for start, end in missing) / highlight_info.duration_sec
        if finding.found_share < LOW_FOUND_RATIO:
            finding.warnings.append(
                f"{highlight_path}: only {finding.found_share:.0%} of it was found in {match_path}: "
                "is it of this match?"
            )
        report = {
            "title": title,
            "match": match_path.name,
            "highlight_video": highlight_path.name,
            "match_duration_sec": match_info.duration_sec,
            "highlight_duration_sec": highlight_info.duration_sec,
            "min_confidence": min_confidence,
            "found_share": finding.found_share,
            "shots": [{**asdict(shot), "is_label": shot.confidence >= min_confidence} for shot in shots],
            "not_found": [{"edit_start_sec": start, "edit_end_sec": end} for start, end in missing],
            "versions": {name: importlib.metadata.version(name) for name in ("av", "librosa", "numpy", "scipy")},
        }
        atomic_write(
            output_dir / f"{title}_alignment.png",
            plot_alignment(title, shots, min_confidence, match_info.duration_sec, highlight_info.duration_sec),
        )
        atomic_write(
            output_dir / f"{title}_label_report.json",
            (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode(),
        )
        lines = label_lines(sections_sec, match_info.frame_times_sec)
        atomic_write(output_dir / f"{title}.txt", "".join(f"{line}\n" for line in lines).encode())
    except (media.MediaError, OSError) as error:
        finding.error, finding.error_traceback = str(error), traceback.format_exc()
    return finding


def plot_alignment(
    title: str, shots: list[Shot], min_confidence: float, match_duration_sec: float, highlight_duration_sec: float
) -> bytes:
    """A PNG of the edit's time against the match's, a line a shot, those that are not sure in grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    axes = figure.subplots()
    for shot in shots:
        is_sure = shot.confidence >= min_confidence
        edit_sec, match_sec = (shot.edit_start_sec, shot.edit_end_sec), (shot.match_start_sec, shot.match_end_sec)
        axes.plot(edit_sec, match_sec, color="tab:blue" if is_sure else "lightgrey", linewidth=3)
        if is_sure:
            axes.axhspan(*match_sec, color="tab:blue", alpha=0.1, linewidth=0)
    axes.set(
        xlabel="time in the highlight video (s)", ylabel="time in the match (s)",
        xlim=(0, highlight_duration_sec), ylim=(0, match_duration_sec),
    )  # fmt: skip
    axes.set_title(title, parse_math=False)
    return plots.to_png(figure)


def find_pairs(full_match_dir: Path, highlight_dir: Path, pairs_path: Path | None) -> dict[str, tuple[Path, Path]]:
    """For each title, which is the match's, the paths of match and highlight video: of the same name, or as a CSV file
    of lines `match,highlight_video` says.

    Raises:
        InputError: a folder or a file is missing, or no pair is left.
    """
    for folder in (full_match_dir, highlight_dir):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder, expected one with mp4 files")
    if pairs_path:
        return read_pairs(full_match_dir, highlight_dir, pairs_path)
    matches, highlights = (
        {path.stem: path for path in folder.iterdir() if path.suffix.lower() == ".mp4" and path.name[0] != "."}
        for folder in (full_match_dir, highlight_dir)
    )
    titles = sorted(matches.keys() & highlights.keys())
    if not titles:
        raise InputError(
            f"{full_match_dir}, {highlight_dir}: received {len(matches)} and {len(highlights)} mp4 files, none of the "
            "same name, expected <title>.mp4 in both: name them alike, or give --pairs FILE.csv"
        )
    for title in sorted(matches.keys() ^ highlights.keys()):
        logger.warning("%s.mp4 is in only one of the two folders: left out", title)
    return {title: (matches[title], highlights[title]) for title in titles}


def read_pairs(full_match_dir: Path, highlight_dir: Path, pairs_path: Path) -> dict[str, tuple[Path, Path]]:
    """Pairs by title from a CSV file of lines `match,highlight_video`, file names in the two folders.

    Raises:
        InputError: no such file, a line of other than two fields, a file that is missing, or a match named twice.
    """
    try:
        lines = list(csv.reader(pairs_path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{pairs_path}: cannot be read ({error}), expected lines of match,highlight_video") from error
    pairs: dict[str, tuple[Path, Path]] = {}
    for number, line in enumerate(lines, start=1):
        names = [name.strip() for name in line]
        if not any(names):
            continue
        where = f"{pairs_path}, line {number}"
        if len(names) != 2:
            raise InputError(f"{where}: received {len(names)} fields, expected 2: match.mp4,highlight_video.mp4")
        paths = full_match_dir / names[0], highlight_dir / names[1]
        for path in paths:
            if not path.is_file():
                raise InputError(f"{where}: no such file {path}, expected the name of a video in its folder")
        if paths[0].stem in pairs:
            raise InputError(f"{where}: received {names[0]} a second time, expected each match once")
        pairs[paths[0].stem] = paths
    if not pairs:
        raise InputError(f"{pairs_path}: received no pair, expected lines of match.mp4,highlight_video.mp4")
    return pairs


def find_all(
    pairs: dict[str, tuple[Path, Path]], output_dir: Path, min_confidence: float, num_workers: int
) -> Iterator[LabelResult]:
    """Find the labels of pairs side by side, with a progress bar and a line for each finished match."""
    jobs = (joblib.delayed(find_labels)(title, *paths, output_dir, min_confidence) for title, paths in pairs.items())
    num_jobs = max(1, min(num_workers, len(pairs)))
    with tqdm(total=len(pairs), desc="Finding labels", unit="match") as bar, logging_redirect_tqdm():
        for finding in interruption.run_pool_ignoring_sigint(
            joblib.Parallel(num_jobs, return_as="generator_unordered"), jobs
        ):
            bar.update()
            for warning in finding.warnings:
                logger.warning(warning)
            if finding.error:
                logger.error(finding.error)
                logger.debug(finding.error_traceback)
            else:
                tqdm.write(
                    f"{finding.title}: {finding.num_sections} sections, {finding.highlight_sec:.0f} s, "
                    f"{finding.found_share:.0%} of the highlight video found",
                    file=sys.stdout,
                )
            yield finding


def find_folder(args: argparse.Namespace) -> int:
    """Find the labels of what the arguments name and is not there yet; returns the exit status. Raises InputError."""
    pairs = find_pairs(args.full_match_dir, args.highlight_dir, args.pairs)
    output_dir = args.output_dir or args.full_match_dir
    output_dir.mkdir(parents=True, exist_ok=True)
    kept = [title for title in pairs if (output_dir / f"{title}.txt").exists() and not args.overwrite]
    if kept:
        print(f"{output_dir}: {len(kept)} label files are there already and are kept (--overwrite replaces them)")
    todo = {title: paths for title, paths in pairs.items() if title not in kept}
    if not todo:
        return 0
    findings = list(find_all(todo, output_dir, args.min_confidence, args.workers or joblib.cpu_count()))
    failed = sorted(finding.title for finding in findings if finding.error)
    if failed:
        logger.error("%d of %d matches have no labels: %s", len(failed), len(todo), ", ".join(failed))
    return 1 if failed else 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command. Wrong ones exit with status 2 and a message that names them."""
    parser = argparse.ArgumentParser(
        prog="label_finder.py",
        description="Find where the shots of highlight videos were cut from full matches of the same names, and write "
        "a label file for each match.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("full_match_dir", type=Path, help="folder of <title>.mp4, the full matches")
    add("highlight_dir", type=Path, help="folder of <title>.mp4, the highlight videos cut from them")
    add("output_dir", type=Path, nargs="?", help="where to write <title>.txt and its report (default: full_match_dir)")
    add("--pairs", type=Path, metavar="FILE.csv", help="lines match,highlight_video, for files of other names")
    add(
        "--min_confidence",
        metavar="C",
        type=number_between(0, 1),
        default=DEFAULT_MIN_CONFIDENCE,
        help="shots below it are left out and listed in the report (0 to 1, default: %(default)s)",
    )
    add("--workers", metavar="N", type=num_processes, help="matches side by side (default: one on each core)")
    add("--overwrite", action="store_true", help="replace label files that are there already")
    add("--debug", action="store_true", help="show where errors come from")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Find, and return the exit status: 0 for all, 1 where something is missing, 130 for Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logger.setLevel(logging.DEBUG if args.debug else logging.INFO)
    try:
        return find_folder(args)
    except (InputError, OSError) as error:
        logger.error(error, exc_info=args.debug)
    except TerminatedWorkerError:
        logger.error("A worker was killed, by the system if memory ran out: run the same command with fewer --workers")
    except KeyboardInterrupt:
        logger.error("Interrupted: run the same command again, it continues with the matches that have no labels yet")
        return interruption.EXIT_STATUS
    return 1


if __name__ == "__main__":
    sys.exit(main())
