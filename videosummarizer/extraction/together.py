"""Put the best sections of several matches into one reel, with its files for editing software and a report."""

import argparse
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write
from videosummarizer.error_messages import count_of
from videosummarizer.extraction import decoding_process, joined_reel, reel_sections, selection
from videosummarizer.extraction.exports import edl, fcp7_xml, fcpxml, otio
from videosummarizer.extraction.exports.timeline import Clip, ExportError, Timeline, describe_match
from videosummarizer.extraction.job import MATCH_SUFFIXES, MAX_REPORT_BYTES, ExtractionError, Job, describe_setting
from videosummarizer.extraction.outputs import NUM_SCORE_DECIMALS, MatchResult
from videosummarizer.extraction.progress_bar import progress
from videosummarizer.extraction.reel import round_to_even
from videosummarizer.extraction.reel_style import ReelStyle
from videosummarizer.labels import format_time, read_label_file
from videosummarizer.match_files import describe_long_name, find_file, title_of
from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.sections import to_frames, to_seconds
from videosummarizer.untrusted_file import parse_json, read_limited

# All files of the reel, by the ends of their names.
REEL_SUFFIXES = (".json", ".edl", ".fcpxml", ".otio", ".xml", ".mp4")
# The end of the longest name of a file that is written for the reel.
LONGEST_REEL_ENDING = f"{max(REEL_SUFFIXES, key=len)}.part"
# The arguments that decide what is in the reel, apart from the sections of the matches.
SETTINGS = ("length", "order", "reel_height", "aspect", "fit", "transition", "captions", "intro")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenSection:
    """A section in the reel.

    Attributes:
        result: Its match.
        section: (2,) int64, the first frame and the frame after the last, in display order.
        score: Its mean score; NaN without one.
    """

    result: MatchResult
    section: np.ndarray
    score: float

    @property
    def section_sec(self) -> np.ndarray:
        """Return (2,) float64 seconds."""
        info = self.result.info
        return to_seconds(self.section, info.frame_times_sec, info.duration_sec)[0]

    @property
    def length_sec(self) -> float:
        """Return its length in seconds."""
        return float(np.diff(self.section_sec)[0])


def choose_sections(results: list[MatchResult], length_sec: float | None, order: str | None) -> list[ChosenSection]:
    """Choose the best sections of matches, and order them.

    Args:
        results: The matches with their sections.
        length_sec: Take sections by their score until they last this long together. The last one is cut to its best
            window, or left out where that is too little for a section. None takes all.
        order: "score" for the best first, "time" for the order of the matches and of time. None is "score" if all
            sections have one.

    Returns:
        The sections in the order of the reel.

    Raises:
        ExtractionError: The sections have no scores by which they could be chosen or ordered.
    """
    in_time = [
        ChosenSection(result, section, score)
        for result in results
        for section, score in zip(result.sections, scores_of(result), strict=True)
    ]
    is_scored = all(np.isfinite(one.score) for one in in_time)
    if not is_scored and (asked := ranking_option(length_sec, order)):
        raise ExtractionError(describe_missing_scores(asked))
    if not is_scored:
        return in_time
    ranked = sorted(in_time, key=lambda one: -one.score)
    if length_sec is not None:
        ranked = keep_best(ranked, length_sec)
    if order != "time":
        return ranked
    place = {result.video_path: number for number, result in enumerate(results)}
    return sorted(ranked, key=lambda one: (place[one.result.video_path], one.section[0]))


def ranking_option(length_sec: float | None, order: str | None) -> str | None:
    """Return the option for which sections need scores, None without one."""
    return "--length" if length_sec is not None else "--order score" if order == "score" else None


def describe_missing_scores(asked: str) -> str:
    """Return the error message about sections without scores that are to be ranked."""
    return f"--together: received {asked} and sections without scores, expected --ckpt as well"


def scores_of(result: MatchResult) -> np.ndarray:
    """Return (num_sections,) float64 scores, NaN without one."""
    return np.full(len(result.sections), np.nan) if result.scores is None else result.section_scores


def keep_best(ranked: list[ChosenSection], length_sec: float) -> list[ChosenSection]:
    """Return the first of ranked sections that last length_sec together; see `choose_sections`."""
    found_sec = sum(one.length_sec for one in ranked)
    if found_sec < length_sec - TIME_TOLERANCE_SEC:
        is_activity = any(one.result.score_name == "activity" for one in ranked)
        logger.warning(
            "--together: --length %s is longer than all sections together (%s): all are in the reel; %s",
            format_time(length_sec),
            format_time(found_sec),
            "without --ckpt, each match gives a tenth of itself" if is_activity else "a lower --threshold finds more",
        )
    kept, remaining_sec = [], length_sec
    for one in ranked:
        if remaining_sec < TIME_TOLERANCE_SEC:
            break
        if one.length_sec > remaining_sec + TIME_TOLERANCE_SEC:
            if (window := best_window(one, remaining_sec, is_needed=not kept)) is not None:
                kept.append(window)
            break
        kept.append(one)
        remaining_sec -= one.length_sec
    return kept


def best_window(one: ChosenSection, length_sec: float, is_needed: bool) -> ChosenSection | None:
    """Cut a section to its best window; None if that holds less evidence than a section costs and is not needed."""
    scores, info = one.result.scores, one.result.info
    steps, start_sec = scores.steps.ravel(), scores.start_sec
    window_sec = selection.best_window(one.section_sec - start_sec, length_sec, steps, scores.step_sec)
    if not is_needed and not selection.is_worth_penalty(window_sec, steps, scores.step_sec, scores.point):
        return None
    (section,) = to_frames(np.array([window_sec]) + start_sec, info.frame_times_sec)
    sections_sec = to_seconds(section, info.frame_times_sec, info.duration_sec)
    return ChosenSection(one.result, section, float(scores.mean_scores(sections_sec, info.duration_sec)[0]))


# ---- The reel and its files


def refuse_name(reel_name: Path, video_paths: list[Path], output_dir: Path) -> str | None:
    """Return the error message about a name that is too long, or whose files would be those of a match, else None."""
    if problem := describe_long_name(reel_name, output_dir, LONGEST_REEL_ENDING, "choose a shorter one"):
        return f"--together: {problem}"
    names = {f"{title_of(reel_name)}{suffix}" for suffix in REEL_SUFFIXES}
    for video_path in video_paths:
        if not names.isdisjoint(f"{title_of(video_path)}{suffix}" for suffix in MATCH_SUFFIXES):
            return f"--together: received {reel_name}, whose files would replace those of {video_path}: choose another"
    return None


def refuse_missing_scores(jobs: Iterable[Job], args: argparse.Namespace) -> str | None:
    """Return the error message if sections are to be ranked that have no scores, before anything is cut; else None.

    Only the sections of label files can have none: without a checkpoint, their scores are those of an earlier run.
    """
    asked = ranking_option(args.length, args.order)
    if asked is None or args.sections is None or args.ckpt is not None:
        return None
    lacks_scores = (read_label_file(job.sections_path) and not job.has_kept_scores for job in jobs)
    return describe_missing_scores(asked) if any(lacks_scores) else None


def write_reel_of_all(results: list[MatchResult], args: argparse.Namespace) -> None:
    """Write the reel of the best sections of matches, and its files; those that exist are kept.

    The reel is cut first: with --overwrite, an earlier one stays with its files until the new one replaces it.

    Raises:
        ExtractionError: There is no section, or existing files were made of other sections or with other settings.
        media.MediaError, reel.ReelError, OSError: A match cannot be read, or a file cannot be written.
    """
    title = title_of(args.together)
    path_of = {suffix: find_file(args.output_dir / f"{title}{suffix}") for suffix in REEL_SUFFIXES}
    chosen = choose_sections(results, args.length, args.order)
    if not chosen:
        raise ExtractionError(f"{path_of['.mp4']}: no match has a section, so there is nothing to cut together")
    settings = {name: getattr(args, name) for name in SETTINGS}
    made_of = hash_sections(chosen)
    existing = [path for path in path_of.values() if path.exists()]
    if existing and not args.overwrite:
        refuse_other_files(existing[0], path_of[".json"], settings, made_of)
    if is_kept := path_of[".mp4"].exists() and not args.overwrite:
        print(f"{title}: finished already and kept")
    else:
        cut_reel(title, chosen, path_of[".mp4"], args)
    for path in existing if args.overwrite else ():
        if path != path_of[".mp4"]:
            path.unlink()
    if not path_of[".json"].exists():
        starts_sec = chosen_edges_sec(chosen, ReelStyle.from_arguments(args))
        atomic_write(path_of[".json"], write_report(title, chosen, starts_sec, settings, made_of))
    write_exports(title, chosen, path_of, args.output_dir)
    if not is_kept:
        describe_reel(title, chosen, path_of[".mp4"])


def hash_sections(chosen: list[ChosenSection]) -> str:
    """Return the hexadecimal SHA-256 of which sections of which versions of which matches are in the reel, and how."""
    content = [
        (
            one.result.title,
            one.result.info.num_bytes,
            one.section.tolist(),
            f"{one.score:.{NUM_SCORE_DECIMALS}f}",
        )
        for one in chosen
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def refuse_other_files(path: Path, report_path: Path, settings: dict, made_of: str) -> None:
    """Refuse to continue with files that were made in another way.

    Raises:
        ExtractionError: The files were made with other settings or of other sections, or it is unknown how.
    """
    try:
        report = parse_json(read_limited(report_path, MAX_REPORT_BYTES))
        before, before_of = report["settings"], report["made_of"]
        differences = [
            f"{describe_setting(name, before.get(name))}, not {describe_setting(name, value)}"
            for name, value in settings.items()
            if before.get(name) != value
        ]
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        raise ExtractionError(
            f"{path}: exists, and it is unknown how it was made: --overwrite replaces it, another --together keeps it"
        ) from None
    if before_of != made_of and not differences:
        differences = ["other sections or matches"]
    if differences:
        raise ExtractionError(
            f"{path}: was made with {' and '.join(differences)}: delete it and the reel's other files to make only the "
            "reel again, --overwrite replaces the files of the matches as well, another --together keeps them"
        )


def write_exports(title: str, chosen: list[ChosenSection], path_of: dict[str, Path], folder: Path) -> None:
    """Write the missing files for editing software, which refer to all matches."""
    writers = {
        ".edl": lambda timeline: edl.write_edl(timeline),
        ".fcpxml": lambda timeline: fcpxml.write_fcpxml(timeline, folder),
        ".otio": lambda timeline: otio.write_otio(timeline, folder),
        ".xml": lambda timeline: fcp7_xml.write_fcp7_xml(timeline),
    }
    missing = [suffix for suffix in writers if not path_of[suffix].exists()]
    if not missing:
        return
    timeline = describe_timeline(title, chosen)
    for suffix in missing:
        try:
            atomic_write(path_of[suffix], writers[suffix](timeline))
        except ExportError as error:
            logger.warning("%s is not written: %s", path_of[suffix], error)


def describe_timeline(title: str, chosen: list[ChosenSection]) -> Timeline:
    """Return the reel as editing software refers to it, in the settings of the match that it has most of."""
    clips: list[Clip] = []
    settings, main = None, main_result(chosen)
    for one in chosen:
        reference, clips_of_section = describe_match(
            *(one.result.video_path, one.result.info, one.section[np.newaxis], np.array([one.score])),
            one.result.score_name,
        )
        clips += clips_of_section
        if one.result is main:
            settings = reference
    return Timeline(title, settings, clips)


def main_result(chosen: list[ChosenSection]) -> MatchResult:
    """Return the first match of the size and frame rate that most of the reel has."""
    return chosen[reel_sections.main_section(list_chosen(chosen)).index].result


def cut_reel(title: str, chosen: list[ChosenSection], path: Path, args: argparse.Namespace) -> None:
    """Cut the reel, in another style than the matches' where the arguments ask for it."""
    style = ReelStyle.from_arguments(args)
    names = [f"{one.result.title} {format_time(one.section_sec[0])}" for one in chosen]
    if style.is_plain:
        render = joined_reel.render_joined_reel
        arguments = (list_chosen(chosen), path, describe_format(chosen, args.reel_height), names)
    else:
        from videosummarizer.extraction import styled_reel  # moviepy takes a second

        render = styled_reel.render_styled_reel
        arguments = (list_chosen(chosen), path, style, args.reel_height, names)
    with progress(f"Cutting {title}", float(chosen_edges_sec(chosen, style)[-1])) as add_sec:
        decoding_process.write(path, path, render, *arguments, on_progress=add_sec)


def describe_format(chosen: list[ChosenSection], height_px: int | None) -> joined_reel.ReelFormat:
    """Return the format of a plain reel."""
    main = main_result(chosen).info
    height_px = height_px or main.height_px
    return joined_reel.ReelFormat(
        width_px=round_to_even(main.width_px * height_px / main.height_px),
        height_px=round_to_even(height_px),
        rate_fps=reel_sections.output_rate(main),
        has_audio=any(one.result.info.audio for one in chosen),
    )


def list_chosen(chosen: list[ChosenSection]) -> list[reel_sections.ReelSection]:
    """List the sections in the order of the reel, with their places by score among all matches."""
    scores = np.array([one.score for one in chosen])
    places = np.argsort(np.argsort(-scores, kind="stable"))
    is_ranked = len(chosen) > 1 and np.isfinite(scores).all()
    sections = []
    for index, one in enumerate(chosen):
        rank = f"#{places[index] + 1} of {len(chosen)}" if is_ranked else ""
        parts = reel_sections.list_sections(
            one.result.video_path, one.result.info, one.section[np.newaxis], one.result.title, None
        )
        sections += [replace(part, index=index, rank=rank) for part in parts]
    return sections


def chosen_edges_sec(chosen: list[ChosenSection], style: ReelStyle) -> np.ndarray:
    """Return (num_sections + 1,) float64: where each section starts in the reel, and the reel's end."""
    if style.is_plain:
        return joined_reel.joined_edges_sec(list_chosen(chosen))
    return reel_sections.styled_edges_sec(list_chosen(chosen), style)


def parts_of_matches(chosen: list[ChosenSection]) -> list[tuple[str, int, float]]:
    """Return the title, the number of sections and their seconds for each match in the reel."""
    parts: dict[str, tuple[int, float]] = {}
    for one in chosen:
        num_sections, seconds = parts.get(one.result.title, (0, 0.0))
        parts[one.result.title] = (num_sections + 1, seconds + one.length_sec)
    return [(title, *part) for title, part in parts.items()]


def describe_reel(title: str, chosen: list[ChosenSection], path: Path) -> None:
    """Print what is in the reel: in all, and of each match."""
    parts = parts_of_matches(chosen)
    what = f"{count_of(len(chosen), 'section')} of {count_of(len(parts), 'match')}"
    print(f"{title}: {what}, {format_time(sum(part[2] for part in parts))}")
    for match, num_sections, seconds in parts:
        print(f"  {match}: {count_of(num_sections, 'section')}, {format_time(seconds)}")
    print(f"  {'reel':9} {path}")


def write_report(
    title: str, chosen: list[ChosenSection], starts_sec: np.ndarray, settings: dict, made_of: str
) -> bytes:
    """Return the JSON file: each match's part, and the sections in the order of the reel."""
    sections = []
    for one, reel_sec in zip(chosen, starts_sec, strict=False):
        start_sec, end_sec = one.section_sec.tolist()
        section = {
            "match": one.result.title,
            "start_frame": int(one.section[0]),
            "end_frame": int(one.section[1]),
            "start_time": format_time(start_sec),
            "end_time": format_time(end_sec),
            "reel_time": format_time(reel_sec),
        }
        if np.isfinite(one.score):
            section["score"] = round(float(one.score), NUM_SCORE_DECIMALS)
        sections.append(section)
    report = {
        "title": title,
        "settings": settings,
        "made_of": made_of,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sections_sec": float(sum(one.length_sec for one in chosen)),
        "matches": [
            {"match": match, "num_sections": num_sections, "sections_sec": round(seconds, 6)}
            for match, num_sections, seconds in parts_of_matches(chosen)
        ],
        "sections": sections,
    }
    return (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()
