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

from videosummarizer import media
from videosummarizer.evaluation import plots
from videosummarizer.labels import format_time
from videosummarizer.sections import label_segments, mean_scores, to_frames, to_seconds, total_sec

SCORES_HEADER = "index,start_sec,end_sec,start_time,end_time,start_frame,end_frame,score,highlight"
NUM_SCORE_DECIMALS = 6  # of the file, and of what is decided on it, so that a file that is read again decides the same


@dataclass(frozen=True)
class MatchResult:
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
        return to_seconds(self.sections, self.info.frame_times_sec, self.info.duration_sec)

    @property
    def step_sec(self) -> float:
        """Seconds that a step lasts."""
        return self.segment_length / self.step_scores.shape[1]

    @property
    def section_scores(self) -> np.ndarray:
        """(num_sections,) float64: each section's mean score over time."""
        return mean_scores(self.sections_sec, self.step_scores.ravel(), self.step_sec)


def write_scores(findings: MatchResult) -> bytes:
    """The scores file. A segment is a highlight where sections cover more than half of it, as in label files."""
    info, scores, length = findings.info, findings.scores, findings.segment_length
    starts_sec = np.arange(len(scores)) * length
    segments_sec = np.stack([starts_sec, np.minimum(starts_sec + length, info.duration_sec)], axis=1)
    frames = to_frames(segments_sec, info.frame_times_sec)
    highlights = label_segments(findings.sections_sec, len(scores), length)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORES_HEADER.split(","))
    for index, (start_sec, end_sec) in enumerate(segments_sec.tolist()):
        times = [f"{start_sec:.6f}", f"{end_sec:.6f}", format_time(start_sec), format_time(end_sec)]
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


def write_labels(findings: MatchResult) -> bytes:
    """The sections as a label file."""
    lines = [
        f"{start},{end},{format_time(start_sec)},{format_time(end_sec)}\n"
        for (start, end), (start_sec, end_sec) in zip(findings.sections, findings.sections_sec, strict=True)
    ]
    return "".join(lines).encode()


def write_report(findings: MatchResult, how: dict) -> bytes:
    """The JSON file: the match, the sections with times and scores, `how` they were found, and the steps' scores."""
    info = findings.info
    sections = [
        {
            "start_frame": int(start),
            "end_frame": int(end),
            "start_sec": round(float(start_sec), 6),
            "end_sec": round(float(end_sec), 6),
            "start_time": format_time(start_sec),
            "end_time": format_time(end_sec),
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
        "sections_sec": total_sec(findings.sections_sec),
        "sections": sections,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False).removesuffix("\n}")
    return f'{text},\n  "step_scores": {json.dumps(findings.step_scores.tolist())}\n}}\n'.encode()  # in one line


def draw_timeline(findings: MatchResult) -> bytes:
    """A PNG: the steps' scores over the match, the threshold, the sections found and, if there are any, labelled."""
    from matplotlib.figure import Figure  # takes half a second

    info, labelled_sec = findings.info, None
    if findings.labelled_sections is not None:
        labelled_sec = to_seconds(findings.labelled_sections, info.frame_times_sec, info.duration_sec)
    figure = Figure(figsize=(13, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    scores, threshold = findings.step_scores.ravel(), findings.threshold
    plots.plot_timeline(
        axes, scores, findings.step_sec, info.duration_sec, threshold, findings.sections_sec, labelled_sec
    )
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
