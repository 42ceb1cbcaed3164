"""videosummarizer.extraction.job."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer.extraction import outputs

CUT_SUFFIXES = (".fcpxml", ".otio", ".edl", "_highlights.mp4")  # of the files that a match with sections has
SUFFIXES = (".json", "_scores.csv", ".txt", ".vtt", ".html", "_timeline.png", *CUT_SUFFIXES)


class ExtractionError(Exception):
    """What the command was given cannot be done; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """A match, where its files go, and what they are made with: `scored_with` decides the scores, `settings` the rest.

    previous_report: what `<title>.json` says of an earlier run, empty without one.
    """

    video_path: Path
    path_of: dict[str, Path]
    scored_with: dict
    settings: dict
    previous_report: dict

    @property
    def existing_files(self) -> list[Path]:
        """Files of the match that exist."""
        return [path for path in self.path_of.values() if path.exists()]

    @property
    def has_same_scores(self) -> bool:
        return self.previous_report.get("scored_with") == self.scored_with

    @property
    def is_up_to_date(self) -> bool:
        """Whether the earlier run's files are those that this one would write."""
        return self.has_same_scores and self.previous_report.get("settings") == self.settings

    @property
    def is_finished(self) -> bool:
        num_expected = len(SUFFIXES) - (0 if self.previous_report.get("sections") else len(CUT_SUFFIXES))
        return self.is_up_to_date and len(self.existing_files) == num_expected


def read_previous_report(path: Path) -> dict:
    """The JSON file of an earlier run; empty where there is none, or none that can be read."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def read_previous_scores(job: Job, num_segments: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The scores of an earlier run's segments and steps; None where they are missing, damaged or not all of them."""
    try:
        scores = outputs.read_scores(job.path_of["_scores.csv"])
        step_scores = np.array(job.previous_report.get("step_scores"), np.float64)
    except (OSError, TypeError, ValueError):
        return None
    is_whole = step_scores.ndim == 2 and len(scores) == len(step_scores) == num_segments and step_scores.size > 0
    return (scores, step_scores) if is_whole and np.isfinite(step_scores).all() else None


def describe_conflict(job: Job) -> str:
    """What to tell of files that are there and were made otherwise."""
    path, previous = job.existing_files[0], job.previous_report
    if not {"settings", "scored_with"} <= previous.keys():
        return f"{path}: exists, and it is not known from what: --overwrite replaces it, another --output_dir keeps it"
    before, differences = {**previous["settings"], **previous["scored_with"]}, []
    for name, value in job.settings.items():
        if before.get(name) != value:
            differences.append(f"{describe_setting(name, before.get(name))}, not {describe_setting(name, value)}")
    for name, what in (("checkpoint_sha256", "another checkpoint"), ("source", "another version of the match")):
        if before.get(name) != job.scored_with[name]:
            differences.append(what)
    return (
        f"{path}: was made with {' and '.join(differences)}: --overwrite replaces it and its like, another "
        "--output_dir keeps them"
    )


def describe_setting(name: str, value: float | None) -> str:
    """A setting as it is given on the command line."""
    return f"no --{name}" if value is None else f"--{name} {value:g}"
