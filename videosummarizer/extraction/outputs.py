"""Write the text, table and image files of a match, and read the scores again when an extraction continues.

`<title>_scores.csv` has one row per segment, under SCORES_HEADER and columns for the reasons. `<title>.txt` is a label
file (labels.py) with the sections. `<title>.json` holds the sections with their scores, how they were made, and the
scores of the time steps and their reasons. `<title>_timeline.png` shows all of it over time.
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.evaluation import plots
from videosummarizer.evaluation.decoding import decoded_scores
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import reason_plots
from videosummarizer.extraction.measures import MEASURES
from videosummarizer.extraction.reasons import (
    ACTIVITY,
    NUM_DECIMALS,
    PART_NAMES,
    Reasons,
    are_log_odds,
    describe_stretches,
    mean_parts,
)
from videosummarizer.labels import format_sections, format_time
from videosummarizer.match_files import title_of
from videosummarizer.sections import label_segments, mean_scores, to_frames, to_seconds, total_sec
from videosummarizer.untrusted_file import read_limited

SCORES_HEADER = "index,start_sec,end_sec,start_time,end_time,start_frame,end_frame,score,highlight"
# What scores are called: those of a network, and those of `activity`.
SCORE_NAMES = ("score", ACTIVITY)
# Scores are rounded before sections are chosen, so that scores read from the file give the same sections.
NUM_SCORE_DECIMALS = 6
# By what selected the sections of a match: what detected ones are called that are left out, and what was added.
LEFT_OUT_NAMES = {
    "threshold": "left out",
    "length": "left out by --length",
    "activity": "left out of the best tenth",
    "labels": "not in the label file",
    "stretches": "outside the stretches to label",
}
ADDED_NAMES = dict.fromkeys(LEFT_OUT_NAMES, "added by --padding") | {"labels": "only in the label file"}
# The largest scores file that is read. It has about 80 bytes per segment.
MAX_SCORES_BYTES = 2**26


@dataclass(frozen=True)
class MatchScores:
    """The scores of a match.

    Attributes:
        segment_length: Seconds of a segment.
        segments: (num_segments,) float64 in [0, 1].
        steps: (num_segments, K) float64 in [0, 1], of the K equal time steps of each segment.
        point: The operating point at which sections are detected.
        start_sec: Where the first segment begins in the match.
        end_sec: Where the scored part of the match ends; infinite for the match's end.
        name: What the scores are called in files and on the page.
        reasons: What the scores are made of, and what was measured in the match; None if that is not known.
        unlike_training: What is different from the matches of training, see `training_statistics.find_differences`.
    """

    segment_length: float
    segments: np.ndarray
    steps: np.ndarray
    point: OperatingPoint
    start_sec: float = 0.0
    end_sec: float = math.inf
    name: str = "score"
    reasons: Reasons | None = None
    unlike_training: tuple[str, ...] = ()

    @property
    def step_sec(self) -> float:
        """Return the length of a time step in seconds."""
        return self.segment_length / self.steps.shape[1]

    def part_sec(self, duration_sec: float) -> tuple[float, float]:
        """Return where the scored part begins and ends, of a match of duration_sec."""
        return self.start_sec, min(self.end_sec, duration_sec)

    def decode(self, duration_sec: float) -> np.ndarray:
        """Return (num_steps,) float64 scores in context, which are at least the threshold in detected sections."""
        start_sec, end_sec = self.part_sec(duration_sec)
        point, scored_sec = self.point, end_sec - start_sec
        return decoded_scores(self.steps.ravel(), self.step_sec, scored_sec, point.threshold, point.section_penalty)

    def mean_scores(self, sections_sec: np.ndarray, duration_sec: float) -> np.ndarray:
        """Return (num_sections,) float64: the mean score of each section within the scored part."""
        part_sec = self.part_sec(duration_sec)
        return mean_scores(np.clip(sections_sec, *part_sec) - self.start_sec, self.steps.ravel(), self.step_sec)


@dataclass(frozen=True)
class MatchResult:
    """The highlight sections of a match, and its scores where it has any.

    Attributes:
        video_path: The match.
        info: The result of `media.probe`.
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        labelled_sections: (num_labelled, 2) int64, the same for the match's label file; None without one.
        scores: The scores of the match, None without.
        selected_by: What selected the sections, a key of LEFT_OUT_NAMES.
        undecided: (num_ranges, 2) int64, the frames that nobody has looked at; None without any.
    """

    video_path: Path
    info: media.VideoInfo
    sections: np.ndarray
    labelled_sections: np.ndarray | None = None
    scores: MatchScores | None = None
    selected_by: str = "threshold"
    undecided: np.ndarray | None = None

    @property
    def title(self) -> str:
        """Return the title of the match."""
        return title_of(self.video_path)

    @property
    def score_name(self) -> str:
        """Return what the scores of the match are called."""
        return SCORE_NAMES[0] if self.scores is None else self.scores.name

    @property
    def sections_sec(self) -> np.ndarray:
        """Return (num_sections, 2) float64 seconds."""
        return to_seconds(self.sections, self.info.frame_times_sec, self.info.duration_sec)

    @property
    def decoded_scores(self) -> np.ndarray | None:
        """Return (num_steps,) float64 scores in context, see `MatchScores.decode`; None without scores."""
        return None if self.scores is None else self.scores.decode(self.info.duration_sec)

    @property
    def shown_steps(self) -> np.ndarray:
        """Return (num_steps,) float64: the scores of the steps that begin before the end of the scored part."""
        return self.scores.steps.ravel()[: len(self.decoded_scores)]

    @property
    def section_scores(self) -> np.ndarray | None:
        """Return (num_sections,) float64: the mean score of each section, NaN for one that is not all scored.

        Without scores, the result is None.
        """
        if self.scores is None:
            return None
        is_scored, scores = self.is_scored, np.full(len(self.sections), np.nan)
        scores[is_scored] = self.scores.mean_scores(self.sections_sec[is_scored], self.info.duration_sec)
        return scores

    @property
    def is_scored(self) -> np.ndarray:
        """Return (num_sections,) bool: whether all of each section is scored. Without scores, none is."""
        if self.scores is None:
            return np.zeros(len(self.sections), bool)
        part_sec = np.array([self.scores.part_sec(self.info.duration_sec)])
        ((first, end),) = to_frames(part_sec, self.info.frame_times_sec)
        return (self.sections[:, 0] >= first) & (self.sections[:, 1] <= end)

    def explain(self, stretches_sec: np.ndarray) -> tuple[np.ndarray, list[list[str]]]:
        """Return the mean parts of the step scores of stretches of the scored part, and their words.

        Args:
            stretches_sec: (num_stretches, 2) float64 seconds.
        """
        reasons, step_sec = self.scores.reasons, self.scores.step_sec
        part_sec = self.scores.part_sec(self.info.duration_sec)
        stretches_sec = np.clip(stretches_sec, *part_sec) - part_sec[0]
        words = describe_stretches(reasons, len(self.shown_steps), stretches_sec, step_sec)
        return mean_parts(reasons, stretches_sec, step_sec), words


def write_scores(result: MatchResult) -> bytes:
    """Return the scores file. As in label files, a segment is a highlight where sections cover more than half of it."""
    info, scores, length = result.info, result.scores.segments, result.scores.segment_length
    start_sec, end_sec = result.scores.part_sec(info.duration_sec)
    starts_sec = start_sec + np.arange(len(scores)) * length
    segments_sec = np.stack([starts_sec, np.minimum(starts_sec + length, end_sec)], axis=1)
    frames = to_frames(segments_sec, info.frame_times_sec)
    highlights = label_segments(result.sections_sec - start_sec, len(scores), length)
    header = [result.scores.name if name == "score" else name for name in SCORES_HEADER.split(",")]
    reasons, columns = result.scores.reasons, [[] for _ in scores]
    if reasons is not None:
        header += [*part_columns(reasons.part_names), "words"]
        _, words = result.explain(segments_sec)
        parts = [[f"{part:.{NUM_DECIMALS}f}" for part in row] for row in reasons.segments.tolist()]
        columns = [[*row, ", ".join(names)] for row, names in zip(parts, words, strict=True)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for index, (start_sec, end_sec) in enumerate(segments_sec.tolist()):
        times = [f"{start_sec:.6f}", f"{end_sec:.6f}", format_time(start_sec), format_time(end_sec)]
        score = f"{scores[index]:.{NUM_SCORE_DECIMALS}f}"
        writer.writerow([index, *times, *frames[index].tolist(), score, highlights[index], *columns[index]])
    return text.getvalue().encode()


def part_columns(part_names: Sequence[str]) -> list[str]:
    """Return the names of the columns of the parts of the scores, see `Reasons`."""
    return [f"{name}_log_odds" if are_log_odds(part_names) else name for name in part_names]


def read_scores(path: Path, part_names: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Read a scores file.

    Args:
        path: The file.
        part_names: The names of the parts that are read, see `Reasons`.

    Returns:
        The scores, (num_segments,) float64, and their parts, (num_segments, N).

    Raises:
        OSError: The file is missing.
        ValueError: The file is damaged.
    """
    reader = csv.DictReader(io.StringIO(read_limited(path, MAX_SCORES_BYTES).decode(), newline=""))
    try:
        headers = [SCORES_HEADER.replace("score", name).split(",") for name in SCORE_NAMES]
        known = (reader.fieldnames or [])[: len(headers[0])]
        if known not in headers:
            raise ValueError(f"{path}: received a file without the header {SCORES_HEADER}")
        columns = [known[-2], *part_columns(part_names)]
        rows = [[float(row[name]) for name in columns] for row in reader]
    except (csv.Error, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    values = np.array(rows).reshape(-1, len(columns))
    return values[:, 0], values[:, 1:]


def write_labels(result: MatchResult) -> bytes:
    """Return the sections as a label file."""
    return format_sections(result.sections, result.sections_sec).encode()


def write_report(result: MatchResult, provenance: dict) -> bytes:
    """Return the JSON file: the match, its sections with times and scores, the scores of the time steps, and reasons.

    Without scores, the file has no fields for them.

    Args:
        result: The match's scores and sections.
        provenance: How and when the result was made; its keys are written between those of the match and the sections.
    """
    info, scores, sections = result.info, result.scores, describe_sections(result)
    report = {
        "title": result.title,
        "duration_sec": info.duration_sec,
        "frame_rate_fps": info.frame_rate_fps,
        **provenance,
        **({} if scores is None else {"threshold": scores.point.threshold, "segment_length": scores.segment_length}),
        **({} if result.score_name == SCORE_NAMES[0] else {"scores_are": result.score_name}),
        **({"unlike_training": scores.unlike_training} if scores is not None and scores.unlike_training else {}),
        "num_sections": len(sections),
        "sections_sec": total_sec(result.sections_sec),
        "sections": sections,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False).removesuffix("\n}")
    in_one_line = {} if scores is None else {"step_scores": scores.steps.tolist()}
    if scores is not None and (reasons := scores.reasons) is not None:
        in_one_line[f"step_{parts_key(reasons)}"] = by_name(reasons.part_names, reasons.steps)
        in_one_line["step_measures"] = by_name(reasons.measure_names, reasons.measured)
    lines = [f',\n  "{name}": {json.dumps(values)}' for name, values in in_one_line.items()]
    return f"{text}{''.join(lines)}\n}}\n".encode()


def describe_sections(result: MatchResult) -> list[dict]:
    """Return what the JSON file says of each section: frames, times, and the score and reasons where they are known."""
    sections = [
        {
            "start_frame": int(start),
            "end_frame": int(end),
            "start_sec": round(float(start_sec), 6),
            "end_sec": round(float(end_sec), 6),
            "start_time": format_time(start_sec),
            "end_time": format_time(end_sec),
        }
        for (start, end), (start_sec, end_sec) in zip(result.sections, result.sections_sec, strict=True)
    ]
    scores = result.scores
    for section, score in zip(sections, [] if scores is None else result.section_scores, strict=scores is not None):
        if np.isfinite(score):
            section["score"] = round(float(score), NUM_SCORE_DECIMALS)
    reasons = None if scores is None else scores.reasons
    if reasons is not None:
        scored = [section for section, is_scored in zip(sections, result.is_scored, strict=True) if is_scored]
        explained = zip(scored, *result.explain(result.sections_sec[result.is_scored]), strict=True)
        for section, parts, words in explained:
            values = np.round(parts, NUM_DECIMALS).tolist()
            section |= {parts_key(reasons): dict(zip(reasons.part_names, values, strict=True)), "words": words}
    return sections


def parts_key(reasons: Reasons) -> str:
    """Return what the parts of scores are called in the JSON file: contributions, in log-odds, or parts of activity."""
    return "contributions" if are_log_odds(reasons.part_names) else "parts"


def by_name(names: Sequence[str], values: np.ndarray) -> dict[str, list]:
    """Return the columns of values, (num_segments, K, N), by their names."""
    return {name: values[..., index].tolist() for index, name in enumerate(names)}


def read_reasons(report: dict, scores_path: Path, shape: tuple[int, int]) -> Reasons | None:
    """Read the reasons of a previous run.

    Args:
        report: The content of its JSON file, which may be untrusted.
        scores_path: Its scores file.
        shape: (num_segments, K).

    Returns:
        None where they are missing, damaged or incomplete.
    """
    try:
        parts = report.get("step_contributions") or report["step_parts"]
        measures = report["step_measures"]
        if not set(parts) <= set(PART_NAMES) or not set(measures) <= set(MEASURES):
            return None
        arrays = [np.array(list(values.values()), np.float64) for values in (parts, measures)]
        segments = read_scores(scores_path, tuple(parts))[1]
    except (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError):
        return None
    steps, measured = (np.moveaxis(array, 0, -1) for array in arrays)
    reasons = Reasons(tuple(parts), segments, steps, tuple(measures), measured)
    return reasons if reasons.fits(shape) else None


def draw_timeline(result: MatchResult) -> bytes:
    """Return a PNG file with the sections over time and, if there are any, the step scores and the threshold."""
    from matplotlib.figure import Figure  # takes half a second

    info, scores, labelled_sec = result.info, result.scores, None
    if result.labelled_sections is not None:
        labelled_sec = to_seconds(result.labelled_sections, info.frame_times_sec, info.duration_sec)
    has_reasons = scores is not None and scores.reasons is not None
    heights = [3.2, 1.3, 1.5] if has_reasons else [3.6]
    figure = Figure(figsize=(13, sum(heights)), dpi=110, layout="constrained")
    axes, *below = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    steps, threshold = (None, None, None), None
    if scores is not None:
        steps, threshold = (result.shown_steps, result.decoded_scores, scores.step_sec), scores.point.threshold
    names = (scores.start_sec if scores is not None else 0.0, result.score_name)
    names += (LEFT_OUT_NAMES[result.selected_by], ADDED_NAMES[result.selected_by])
    undecided_sec = None
    if result.undecided is not None:
        undecided_sec = to_seconds(result.undecided, info.frame_times_sec, info.duration_sec)
    timeline = (*steps, info.duration_sec, threshold, result.sections_sec, labelled_sec, *names, undecided_sec)
    plots.plot_timeline(axes, *timeline)
    plots.add_legend([axes])
    if has_reasons:
        num_steps = len(result.shown_steps)
        edges_sec = plots.step_edges_sec(num_steps, scores.step_sec, info.duration_sec, scores.start_sec)
        reason_plots.plot_reasons(*below, scores.reasons, scores.step_sec, edges_sec)
    return plots.to_png(figure)
