"""What highlight_extractor.py writes of a match, file by file, and reads again when it continues.

`<title>_scores.csv`: a segment a line, with SCORES_HEADER. `<title>.txt`: the sections as a label file (segments.py).
`<title>.json`: the sections with their scores, how they were found, and the scores of the steps.
`<title>_timeline.png`: all that in a picture.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import found_sections
import media
import segments

SCORES_HEADER = "index,start_sec,end_sec,start_time,end_time,start_frame,end_frame,score,highlight"
NUM_SCORE_DECIMALS = 6  # of the file, and of what is decided on it, so that a file that is read again decides the same
SCORE_COLOR, FOUND_COLOR, LABELLED_COLOR = "#5b6ee1", "#d9610a", "#17805c"  # as on the page


@dataclass(frozen=True)
class Findings:
    """What was found in a match.

    video_path, info: the match, and what `media.probe` says of it. segment_length: seconds. scores: (num_segments,)
    float64 in [0, 1]. step_scores: (num_segments, K) float64 in [0, 1], of the K equal steps of each segment.
    threshold: at which the sections were found. sections: (num_sections, 2) int64, first frame and the frame after the
    last, in display order. labelled_sections: the same of the label file beside the match, None without one.
    """

    video_path: Path
    info: media.VideoInfo
    segment_length: float
    scores: np.ndarray
    step_scores: np.ndarray
    threshold: float
    sections: np.ndarray
    labelled_sections: np.ndarray | None

    @property
    def sections_sec(self) -> np.ndarray:
        """(num_sections, 2) float64 seconds."""
        return found_sections.to_seconds(self.sections, self.info.frame_times_sec, self.info.duration_sec)

    @property
    def step_sec(self) -> float:
        """Seconds that a step lasts."""
        return self.segment_length / self.step_scores.shape[1]

    @property
    def section_scores(self) -> np.ndarray:
        """(num_sections,) float64: each section's mean score over time."""
        return found_sections.mean_scores(self.sections_sec, self.step_scores.ravel(), self.step_sec)


def write_scores(findings: Findings) -> bytes:
    """The scores file. A segment is a highlight where sections cover more than half of it, as in label files."""
    info, scores, length = findings.info, findings.scores, findings.segment_length
    starts_sec = np.arange(len(scores)) * length
    segments_sec = np.stack([starts_sec, np.minimum(starts_sec + length, info.duration_sec)], axis=1)
    frames = found_sections.to_frames(segments_sec, info.frame_times_sec)
    highlights = segments.label_segments(findings.sections_sec, len(scores), length)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORES_HEADER.split(","))
    for index, (start_sec, end_sec) in enumerate(segments_sec.tolist()):
        times = [f"{start_sec:.6f}", f"{end_sec:.6f}", segments.format_time(start_sec), segments.format_time(end_sec)]
        score = f"{scores[index]:.{NUM_SCORE_DECIMALS}f}"
        writer.writerow([index, *times, *frames[index].tolist(), score, highlights[index]])
    return text.getvalue().encode()


def read_scores(path: Path) -> np.ndarray:
    """(num_segments,) float64 of a scores file. Raises OSError or ValueError where it is missing or damaged."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != SCORES_HEADER.split(","):
            raise ValueError(f"{path}: received a file without the header {SCORES_HEADER}")
        return np.array([float(row["score"]) for row in reader])


def write_labels(findings: Findings) -> bytes:
    """The sections as a label file."""
    lines = [
        f"{start},{end},{segments.format_time(start_sec)},{segments.format_time(end_sec)}\n"
        for (start, end), (start_sec, end_sec) in zip(findings.sections, findings.sections_sec, strict=True)
    ]
    return "".join(lines).encode()


def write_report(findings: Findings, how: dict) -> bytes:
    """The JSON file: the match, the sections with times and scores, `how` they were found, and the steps' scores."""
    info = findings.info
    sections = [
        {
            "start_frame": int(start),
            "end_frame": int(end),
            "start_sec": round(float(start_sec), 6),
            "end_sec": round(float(end_sec), 6),
            "start_time": segments.format_time(start_sec),
            "end_time": segments.format_time(end_sec),
            "score": round(float(score), NUM_SCORE_DECIMALS),
        }
        for (start, end), (start_sec, end_sec), score in zip(
            findings.sections, findings.sections_sec, findings.section_scores, strict=True
        )
    ]
    report = {
        "title": findings.video_path.stem,
        "duration_sec": info.duration_sec,
        "frame_rate_fps": info.frame_rate_fps,
        **how,
        "threshold": findings.threshold,
        "num_sections": len(sections),
        "sections_sec": found_sections.total_sec(findings.sections_sec),
        "sections": sections,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False).removesuffix("\n}")
    return f'{text},\n  "step_scores": {json.dumps(findings.step_scores.tolist())}\n}}\n'.encode()  # in one line


def draw_timeline(findings: Findings) -> bytes:
    """A PNG: the steps' scores over the match, the threshold, the sections found and, if there are any, labelled."""
    from matplotlib.figure import Figure  # takes half a second

    info, labelled_sec = findings.info, None
    if findings.labelled_sections is not None:
        labelled_sec = found_sections.to_seconds(findings.labelled_sections, info.frame_times_sec, info.duration_sec)
    figure = Figure(figsize=(13, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    scores, threshold = findings.step_scores.ravel(), findings.threshold
    plot_timeline(axes, scores, findings.step_sec, info.duration_sec, threshold, findings.sections_sec, labelled_sec)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def plot_timeline(
    axes,
    scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    threshold: float,
    found_sec: np.ndarray,
    labelled_sec: np.ndarray | None,
) -> None:
    """Plot a match over time into matplotlib axes: its scores, the threshold, found sections and labelled ones.

    Args:
        scores: (num_steps,) float in [0, 1]. step_sec, duration_sec: seconds. threshold: in [0, 1].
        found_sec, labelled_sec: (num_sections, 2) float64 seconds; labelled_sec None where nobody labelled.
    """
    edges_sec = np.minimum(np.arange(len(scores) + 1) * step_sec, duration_sec)
    axes.stairs(scores, edges_sec, fill=True, color=SCORE_COLOR, alpha=0.2)
    axes.stairs(scores, edges_sec, color=SCORE_COLOR, linewidth=1.2, label="score")
    axes.axhline(threshold, color="#5a6372", linestyle="--", linewidth=1, label="threshold")
    lanes = [("found", found_sec, FOUND_COLOR, 1.1)]
    if labelled_sec is not None:
        lanes.append(("labelled", labelled_sec, LABELLED_COLOR, 1.03))
    for name, sections_sec, color, place in lanes:
        bars = np.stack([sections_sec[:, 0], sections_sec[:, 1] - sections_sec[:, 0]], axis=1)
        axes.broken_barh(bars, (place, 0.06), color=color, label=name)
    bars = np.stack([found_sec[:, 0], found_sec[:, 1] - found_sec[:, 0]], axis=1)
    axes.broken_barh(bars, (0, 1), color=FOUND_COLOR, alpha=0.12, linewidth=0)
    axes.set(xlim=(0, duration_sec), ylim=(0, 1.2), yticks=[0, 0.25, 0.5, 0.75, 1], ylabel="score")
    axes.xaxis.set_major_locator(time_locator(duration_sec))
    axes.xaxis.set_major_formatter(lambda seconds, _: segments.format_time(seconds))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def time_locator(duration_sec: float):
    """Marks at whole steps of a clock, at most twelve or so."""
    from matplotlib.ticker import MultipleLocator

    steps_sec = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600)
    return MultipleLocator(next((step for step in steps_sec if duration_sec / step <= 12), 7200))
