"""Compare the files that an extraction would write with those that a previous run left.

A finished match is skipped, an interrupted one continues, files made in another way are not replaced without
`--overwrite`, and scores are read again where checkpoint and match are the same.
"""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from videosummarizer.evaluation.operating_point import parse_operating_point
from videosummarizer.extraction import clip_files, outputs
from videosummarizer.extraction.exports import otio
from videosummarizer.extraction.match_writers import WRITERS, FileWriter
from videosummarizer.extraction.reasons import Reasons
from videosummarizer.match_files import describe_bad_name, describe_undecided_title, title_of
from videosummarizer.untrusted_file import excerpt, parse_json, read_limited

# The largest JSON file of a previous run that is read. It has 100 bytes per second of the match.
MAX_REPORT_BYTES = 2**26
# All files of a match, by the ends of their names.
MATCH_SUFFIXES = (".json", *(writer.suffix for writer in WRITERS))
# The longest value of a setting that is read from a report.
MAX_SETTING_LENGTH = 500
# The end of the longest name of a file that is written for a match.
LONGEST_ENDING = f"{max(MATCH_SUFFIXES, key=len)}.part"


class ExtractionError(Exception):
    """The extraction cannot be done; the message says why and how to fix it."""


@dataclass(frozen=True)
class Job:
    """The files to write for a match, and the settings that decide their content.

    Attributes:
        video_path: The match.
        path_of: The paths of its files, by MATCH_SUFFIXES.
        scored_with: What decides the scores: the version of the match and, unless a label file says what is cut, the
            checkpoint or the version of `activity`, and the part of the match that is scored.
        settings: The arguments that decide everything else; those that are None are not in use.
        previous_report: The content of `<title>.json` from a previous run, empty without one.
        writers: The writers of the files that the match has, apart from `<title>.json`, if its sections and scores
            are those of the previous run.
        sections_path: The label file whose sections are cut; None if they are detected.
        labels_sha256: The hash of the label file next to the match, which some files show; None without one.
    """

    video_path: Path
    path_of: dict[str, Path]
    scored_with: dict
    settings: dict
    previous_report: dict
    writers: list[FileWriter]
    sections_path: Path | None = None
    labels_sha256: str | None = None

    @property
    def existing_files(self) -> list[Path]:
        """Return the files of the match that exist, apart from the label file that the sections are read from."""
        kept = self.sections_path
        return [path for path in self.path_of.values() if path.exists() and not (kept and path.samefile(kept))]

    @property
    def has_same_scores(self) -> bool:
        """Return whether the previous run's scores are those that this run would compute.

        With a label file and without a checkpoint these are the ones of any checkpoint, or the activity.
        """
        before = self.previous_report.get("scored_with")
        return before is not None and all(before.get(name) == value for name, value in self.scored_with.items())

    @property
    def has_kept_scores(self) -> bool:
        """Return whether the scores of the previous run can be used."""
        duration_sec = self.previous_report.get("duration_sec")
        is_known = isinstance(duration_sec, float) and math.isfinite(duration_sec)
        return self.has_same_scores and is_known and read_kept_scores(self, duration_sec) is not None

    @property
    def is_up_to_date(self) -> bool:
        """Return whether the previous run's files are those that this run would write."""
        return self.has_same_scores and in_use(self.previous_report["settings"]) == in_use(self.settings)

    @property
    def is_finished(self) -> bool:
        """Return whether all files exist that can be written, and are up to date."""
        has_report = self.path_of[".json"].exists()
        return self.is_up_to_date and has_report and not self.outdated and all(map(self.is_written, self.writers))

    def is_written(self, writer: FileWriter) -> bool:
        """Return whether a file exists or cannot exist; of a folder, whether it has a clip of each earlier section."""
        path = self.path_of[writer.suffix]
        if not path.exists():
            reason = self.not_written.get(writer.suffix)
            return reason is not None and not (reason == otio.NOT_INSTALLED and otio.is_installed())
        return not writer.is_folder or clip_files.are_complete(path, self.previous_report["sections"])

    @property
    def not_written(self) -> dict[str, str]:
        """Return why the previous run could not write some files of this match, by their suffixes."""
        recorded = self.previous_report.get("not_written")
        return recorded if isinstance(recorded, dict) else {}

    @property
    def outdated(self) -> list[str]:
        """Return the suffixes of the existing files that have to be written again.

        They show the labels next to the match as they were before a change, or a run with --overwrite was interrupted
        before it replaced them.
        """
        recorded = self.previous_report.get("outdated")
        suffixes = {suffix for suffix in MATCH_SUFFIXES if isinstance(recorded, list) and suffix in recorded}
        if self.previous_report.get("labels_sha256", self.labels_sha256) != self.labels_sha256:
            suffixes |= {writer.suffix for writer in self.writers if writer.shows_labels}
        return [suffix for suffix in MATCH_SUFFIXES if suffix in suffixes and self.path_of[suffix].exists()]

    def replace_files(self, writers: list[FileWriter]) -> list[str]:
        """Delete the existing files that no writer replaces, and return the suffixes of those that are to be replaced.

        These stay until then. But a copy of the match is deleted if it would be another one, so that no page plays it.
        """
        existing, outdated = self.existing_files, []
        for suffix, path in self.path_of.items():
            writer = next((writer for writer in writers if writer.suffix == suffix), None)
            if suffix == ".json" or path not in existing or (writer and writer.copies_match and self.has_same_copy):
                continue
            if writer and not writer.copies_match:
                outdated.append(suffix)
            elif path.is_dir():
                clip_files.remove_clips(path)
            else:
                path.unlink()
        return outdated

    @property
    def has_same_copy(self) -> bool:
        """Return whether a copy of the match by the previous run has the same video and the same audio track."""
        settings, scored_with = (self.previous_report.get(name, {}) for name in ("settings", "scored_with"))
        track = scored_with.get("scored_track")
        return (
            scored_with.get("source") == self.scored_with["source"]
            and settings.get("audio_track") == self.settings.get("audio_track")
            and self.scored_with.get("scored_track", track) == track
        )


def refuse_paths(video_paths: list[Path], output_dir: Path) -> dict[Path, str]:
    """Find the matches whose files would be taken for others, or whose names cannot be used.

    Returns:
        For each such match an error message.
    """
    refused, paths_of_title = {}, {}
    for path in video_paths:
        paths_of_title.setdefault(title_of(path), []).append(path)
    for title, paths in paths_of_title.items():
        for path in paths:
            if problem := describe_bad_name(path) or describe_undecided_title(path, paths_of_title):
                refused[path] = problem
            elif os.path.realpath(output_dir) in match_dirs(path):
                refused[path] = (
                    f"--output_dir: received {output_dir}, the folder of {path.name}: {title}.txt there would be "
                    "taken for its labels, expected another folder"
                )
            elif len(paths) > 1:
                others = ", ".join(str(other) for other in paths if other != path)
                refused[path] = (
                    f"{path}: received {len(paths)} matches with the title {title}, also {others}: their files would "
                    "have the same names, give each its own --output_dir"
                )
    return refused


def match_dirs(video_path: Path) -> tuple[str, str]:
    """Return the real paths of the folder in which a match lies and, if it is a link, of that of the file itself."""
    return os.path.realpath(video_path.parent), os.path.dirname(os.path.realpath(video_path))


def read_previous_report(path: Path) -> dict:
    """Read the JSON file of a previous run; the result is empty where there is none that this version can read."""
    try:
        report = parse_json(read_limited(path, MAX_REPORT_BYTES))
    except (OSError, ValueError):
        return {}
    parts = [report.get("settings"), report.get("scored_with")] if isinstance(report, dict) else [None]
    if not all(isinstance(part, dict) for part in parts) or not all(map(is_setting, parts[0].values())):
        return {}
    if not all(is_setting(parts[1].get(name)) for name in ("from", "to")):
        return {}
    return report


def is_setting(value) -> bool:
    """Return whether a value is that of a setting: None, a text, or a number that can be formatted."""
    if isinstance(value, str):
        return len(value) <= MAX_SETTING_LENGTH
    return value is None or (isinstance(value, int | float) and abs(value) < 1e9)


def in_use(settings: dict) -> dict:
    """Return the settings that are in use, so that a report of a version with fewer of them can be compared."""
    return {name: value for name, value in settings.items() if value is not None}


def read_kept_scores(job: Job, duration_sec: float) -> outputs.MatchScores | None:
    """Read the scores of a previous run, with or without a checkpoint, and their operating point; None without any."""
    report = job.previous_report
    try:
        segment_length = float(report["segment_length"])
        point = replace(parse_operating_point(report["operating_point"]), threshold=float(report["threshold"]))
        start_sec, end_sec = find_part(report["scored_with"], duration_sec)
        num_segments = math.ceil(round((end_sec - start_sec) / segment_length, 6))
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    previous = read_previous_scores(job, num_segments) if 0 <= point.threshold <= 1 else None
    if previous is None:
        return None
    *scores, reasons = previous
    name = outputs.SCORE_NAMES["activity" in report["scored_with"]]
    unlike = read_previous_differences(job)
    return outputs.MatchScores(segment_length, *scores, point, start_sec, end_sec, name, reasons, unlike)


def find_part(scored_with: dict, duration_sec: float) -> tuple[float, float]:
    """Return where the scored part of a match begins and ends.

    Args:
        scored_with: See `Job`.
        duration_sec: Seconds of the match.

    Raises:
        ValueError: The match has no such part.
    """
    start_sec, end_sec = scored_with.get("from"), scored_with.get("to")
    start_sec = 0.0 if start_sec is None else float(start_sec)
    end_sec = duration_sec if end_sec is None else min(float(end_sec), duration_sec)
    if not 0 <= start_sec < end_sec:
        raise ValueError(f"no part of the match from {start_sec} to {end_sec} s")
    return start_sec, end_sec


def read_previous_scores(job: Job, num_segments: int) -> tuple[np.ndarray, np.ndarray, Reasons | None] | None:
    """Read the scores of a previous run.

    Args:
        job: The match.
        num_segments: The number of segments of the match.

    Returns:
        (scores, step_scores, reasons) as from `scoring.score_match`; None where scores are missing, damaged or
        incomplete, or one is not in [0, 1].
    """
    try:
        scores, _ = outputs.read_scores(job.path_of["_scores.csv"])
        step_scores = np.array(job.previous_report.get("step_scores"), np.float64)
    except (OSError, TypeError, ValueError, OverflowError):
        return None
    is_complete = step_scores.ndim == 2 and len(scores) == len(step_scores) == num_segments and step_scores.size > 0
    is_in_range = all(((part >= 0) & (part <= 1)).all() for part in (scores, step_scores))  # False for NaN, too
    if not is_complete or not is_in_range:
        return None
    reasons = outputs.read_reasons(job.previous_report, job.path_of["_scores.csv"], step_scores.shape)
    return scores, step_scores, reasons


def read_previous_differences(job: Job) -> tuple[str, ...]:
    """Return what the previous run found to be different from the matches of training."""
    differences = job.previous_report.get("unlike_training")
    is_list = isinstance(differences, list) and all(isinstance(difference, str) for difference in differences)
    return tuple(excerpt(difference) for difference in differences) if is_list else ()


def describe_conflict(job: Job) -> str:
    """Return the message about existing files that were made with other settings."""
    path, previous = job.existing_files[0], job.previous_report
    if not {"settings", "scored_with"} <= previous.keys():
        return (
            f"{path}: exists, and it is unknown how it was made: --overwrite replaces it, another --output_dir keeps it"
        )
    before, differences = {**previous["settings"], **previous["scored_with"]}, []
    for name in dict.fromkeys((*job.settings, *previous["settings"])):
        old, new = before.get(name), job.settings.get(name)
        if old != new and name == "sections":
            differences.append(describe_other_sections(job, old, new))
        elif old != new:
            differences.append(f"{describe_setting(name, old)}, not {describe_setting(name, new)}")
    if (
        "checkpoint_sha256" in job.scored_with
        and before.get("checkpoint_sha256") != job.scored_with["checkpoint_sha256"]
    ):
        differences.append("another checkpoint" if "checkpoint_sha256" in before else "no --ckpt")
    if "activity" in job.scored_with and "checkpoint_sha256" in before:
        differences.append("--ckpt")
    elif before.get("activity") != job.scored_with.get("activity", before.get("activity")):
        differences.append("another version of the activity" if "activity" in before else "no activity")
    for name in ("from", "to"):
        if (old := before.get(name)) != (new := job.scored_with.get(name, old)):
            differences.append(f"{describe_setting(name, old)}, not {describe_setting(name, new)}")
    if before.get("source") != job.scored_with["source"]:
        differences.append("another version of the match")
    return (
        f"{path}: was made with {' and '.join(differences)}: --overwrite replaces it and the match's other files, "
        "another --output_dir keeps them"
    )


def describe_other_sections(job: Job, old: str | None, new: str | None) -> str:
    """Return what is different about the label file whose sections are cut, of which the hashes are given."""
    if old is None:
        return f"detected sections, not those of {job.sections_path}"
    return "the sections of a label file" if new is None else f"other sections than {job.sections_path} has now"


def describe_setting(name: str, value: float | str | bool | None) -> str:
    """Format a setting as it is given on the command line; a flag that is not given is None or False."""
    if value is None or value is False:
        return f"no --{name}"
    if value is True:
        return f"--{name}"
    return f"--{name} {excerpt(value)}" if isinstance(value, str) else f"--{name} {value:g}"
