"""How good scores are, as figures: by segment, by event, match by match, with intervals and beside baselines.

matches = score_matches(loader.matches("test"), *validation.predict(network, loader, "test"))
figures = evaluate(matches, point)    # point: of operating_point.choose_operating_point

Everything here takes scored matches and an operating point and gives dicts, text or bytes; nothing is written.
"""

import csv
import io
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from videosummarizer.dataset.metadata import Match
from videosummarizer.evaluation import metrics
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch
from videosummarizer.labels import format_time
from videosummarizer.sections import mean_scores

SHOWN_IOU_THRESHOLDS = (0.3, 0.5)
ALWAYS_HIGHLIGHT = OperatingPoint(threshold=0.5)  # for the scores 1 of the baseline "everything is a highlight"
PREDICTIONS_HEADER = "title,index,start_sec,end_sec,start_time,end_time,label,score,found"
NUM_SCORE_DECIMALS = 6


def score_matches(matches: Sequence[Match], scores: np.ndarray, step_scores: np.ndarray) -> list[ScoredMatch]:
    """The matches of a subset with their parts of the subset's scores, (num_segments,) in the loader's order, and of
    its steps' scores, (num_segments, K).

    Raises:
        ValueError: the scores are not as many as the segments.
    """
    ends = np.cumsum([len(match.labels) for match in matches])
    if scores.shape != (ends[-1],) or len(step_scores) != ends[-1]:
        raise ValueError(
            f"received scores of shape {scores.shape} and of steps {step_scores.shape}, expected one, and those of the "
            f"steps, for each of {ends[-1]} segments"
        )
    parts = zip(matches, np.split(scores, ends[:-1]), np.split(step_scores, ends[:-1]), strict=True)
    return [ScoredMatch(**vars(match), scores=part, step_scores=steps) for match, part, steps in parts]


def evaluate(matches: Sequence[ScoredMatch], point: OperatingPoint) -> dict:
    """Figures of scored matches at an operating point.

    Returns:
        operating_point: its four numbers.
        per_segment: as `metrics.evaluate`; a segment counts as found where found sections cover more than half of it.
        per_event: `iou_0.3` and `iou_0.5` as `metrics.evaluate_events`, and `mean_average_precision`.
        intervals: 95 % intervals [low, high] of most of these under the same names, over matches drawn anew; None with
            one match, which tells nothing of others.
    """
    intervals = evaluate_intervals(matches, point) if len(matches) > 1 else None
    return {"operating_point": asdict(point), **evaluate_once(matches, point), "intervals": intervals}


def evaluate_once(matches: Sequence[ScoredMatch], point: OperatingPoint) -> dict:
    """per_segment and per_event of `evaluate`."""
    reference, found, section_scores = sections_of(matches, point)
    per_event = {
        f"iou_{threshold:g}": metrics.evaluate_events(reference, found, threshold) for threshold in SHOWN_IOU_THRESHOLDS
    }
    per_event["mean_average_precision"] = metrics.mean_average_precision(reference, found, section_scores)
    return {"per_segment": metrics.evaluate(*concatenate_matches(matches, point)), "per_event": per_event}


def concatenate_matches(
    matches: Sequence[ScoredMatch], point: OperatingPoint
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and found labels of the segments of all matches, (num_segments,) each."""
    return (
        np.concatenate([match.labels for match in matches]),
        np.concatenate([match.scores for match in matches]),
        np.concatenate([match.found_labels(point) for match in matches]),
    )


def sections_of(matches: Sequence[ScoredMatch], point: OperatingPoint) -> tuple[list, list, list]:
    """For each match the labelled sections, the found ones, and the mean score of each of the found ones."""
    found = [match.found_sections_sec(point) for match in matches]
    section_scores = [
        mean_scores(sections_sec, match.step_scores.ravel(), match.step_sec)
        for match, sections_sec in zip(matches, found, strict=True)
    ]
    return [match.sections_sec for match in matches], found, section_scores


def evaluate_intervals(matches: Sequence[ScoredMatch], point: OperatingPoint) -> dict:
    """intervals of `evaluate`."""
    weights = metrics.bootstrap_weights(len(matches))
    labelled_and_found = [(match.labels, match.found_labels(point)) for match in matches]
    counts = np.array([(labels.sum(), found.sum(), (labels * found).sum()) for labels, found in labelled_and_found])
    per_segment = metrics.precision_recall_f1(*(weights @ counts).T)
    per_segment |= metrics.ranking_scores([m.labels for m in matches], [m.scores for m in matches], weights)
    reference, found, section_scores = sections_of(matches, point)
    per_event = {}
    for threshold in SHOWN_IOU_THRESHOLDS:
        resampled = metrics.precision_recall_f1(*(weights @ metrics.count_events(reference, found, threshold)).T)
        per_event[f"iou_{threshold:g}"] = intervals_of(resampled)
    mean_average_precision = metrics.mean_average_precision(reference, found, section_scores, weights)
    per_event |= intervals_of({"mean_average_precision": mean_average_precision})
    return {"per_segment": intervals_of(per_segment), "per_event": per_event}


def intervals_of(resampled: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """[low, high] of each resampled score."""
    return {name: metrics.percentile_interval(scores) for name, scores in resampled.items()}


def evaluate_by_match(matches: Sequence[ScoredMatch], point: OperatingPoint) -> list[dict]:
    """For each match its title, duration_sec, and the figures of it alone."""
    return [
        {"title": match.title, "duration_sec": match.duration_sec, **evaluate_once([match], point)} for match in matches
    ]


def compare(
    matches: Sequence[ScoredMatch],
    point: OperatingPoint,
    loudness_matches: Sequence[ScoredMatch] | None,
    loudness_point: OperatingPoint | None,
) -> dict:
    """Figures of a model beside those of the baselines.

    Args:
        matches, point: the model's scores and operating point.
        loudness_matches, loudness_point: the same of `rms_levels`, None where it is not known.

    Returns:
        videos (titles), model, loudness (None where not known) and everything (without intervals) as from `evaluate`,
        and by_match of the model as from `evaluate_by_match`.
    """
    everything = [replace(m, scores=np.ones(len(m.labels)), step_scores=np.ones((len(m.labels), 1))) for m in matches]
    return {
        "videos": [match.title for match in matches],
        "model": evaluate(matches, point),
        "loudness": None if loudness_matches is None else evaluate(loudness_matches, loudness_point),
        "everything": {"operating_point": asdict(ALWAYS_HIGHLIGHT), **evaluate_once(everything, ALWAYS_HIGHLIGHT)},
        "by_match": evaluate_by_match(matches, point),
    }


def write_report(report: dict) -> bytes:
    """The report as JSON; what is not a number (an average precision without highlights) is null."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return (json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_predictions(matches: Sequence[ScoredMatch], point: OperatingPoint) -> bytes:
    """A CSV file with a row for each segment, under PREDICTIONS_HEADER. found: 1 where found sections cover more than
    half of the segment, as labels say it of labelled ones. score: the network's own, not smoothed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PREDICTIONS_HEADER.split(","))
    for match in matches:
        borders_sec = np.minimum(np.arange(len(match.scores) + 1) * match.segment_length, match.duration_sec).tolist()
        found = match.found_labels(point)
        for index, (start_sec, end_sec) in enumerate(itertools.pairwise(borders_sec)):
            times = [f"{start_sec:.6f}", f"{end_sec:.6f}", *map(format_time, (start_sec, end_sec))]
            score = f"{match.scores[index]:.{NUM_SCORE_DECIMALS}f}"
            writer.writerow([match.title, index, *times, match.labels[index], score, found[index]])
    return text.getvalue().encode()


def format_report(report: dict) -> str:
    """The tables of a report for the screen: `subset`, `operating_point_chosen_on`, and what `compare` gives."""
    model, segment = report["model"], report["model"]["per_segment"]
    num_sections = model["per_event"]["iou_0.5"]["labelled"]
    (true_negatives, false_positives), (false_negatives, true_positives) = segment["confusion_matrix"]
    return "\n".join(
        [
            f"{report['subset'].capitalize()}: {len(report['videos'])} videos, {segment['segments']} segments, "
            f"{segment['highlights']} highlights, {num_sections} labelled sections",
            format_operating_point(model["operating_point"], report["operating_point_chosen_on"]),
            "",
            *format_metrics(report),
            "",
            "confusion matrix            found   not found",
            f"  highlight            {true_positives:>10d}{false_negatives:>12d}",
            f"  other                {false_positives:>10d}{true_negatives:>12d}",
            "",
            *format_matches(report["by_match"]),
        ]
    )


def format_operating_point(point: dict, chosen_on: str | None) -> str:
    """A line on the operating point."""
    if chosen_on is None:
        return f"Operating point: the checkpoint names none, a score of {point['threshold']:g} is taken"
    parts = [f"Operating point, chosen on {chosen_on}: a score of {point['threshold']:.3f}"]
    if point["smoothing"] > 1:
        parts.append(f"mean of {point['smoothing']} steps")
    if point["max_gap_sec"]:
        parts.append(f"gaps of up to {point['max_gap_sec']:g} s closed")
    if point["min_length_sec"]:
        parts.append(f"sections of at least {point['min_length_sec']:g} s")
    return ", ".join(parts)


def format_metrics(report: dict) -> list[str]:
    """A line for each figure: of the model with its interval, and of the baselines."""
    lines = [f"{'':26}{'model':>7}{'95 % interval':>17}{'loudness':>10}{'everything is a highlight':>27}"]

    def add(group: str, names: Sequence[str], place: Sequence[str]) -> None:
        lines.append(group)
        for name in names:
            figures = [lookup(report[who], place, name) for who in ("model", "loudness", "everything")]
            interval = lookup(report["model"]["intervals"], place, name)
            shown = "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
            model, loudness, everything = ("-" if figure is None else f"{figure:.3f}" for figure in figures)
            shown_name = {"f1": "F1", "roc_auc": "ROC AUC"}.get(name, name.replace("_", " "))
            lines.append(f"  {shown_name:24}{model:>7}{shown:>17}{loudness:>10}{everything:>27}")

    add("by segment", ("precision", "recall", "f1", "average_precision", "roc_auc"), ["per_segment"])
    for threshold in SHOWN_IOU_THRESHOLDS:
        names = ("precision", "recall", "f1")
        add(f"by section, found at IoU {threshold:g}", names, ["per_event", f"iou_{threshold:g}"])
    add(
        f"by section, IoU {metrics.IOU_THRESHOLDS[0]:g} to {metrics.IOU_THRESHOLDS[-1]:g}",
        ["mean_average_precision"],
        ["per_event"],
    )
    if report["loudness"] is None:
        lines.append("loudness: not known of MFCCs, which have none, or where the checkpoint names no threshold for it")
    return lines


def lookup(figures: dict | None, place: Sequence[str], name: str):
    """The figure of a name at a place in nested figures; None where there are none."""
    for part in (*place, name):
        figures = None if figures is None else figures[part]
    return figures


def format_matches(by_match: list[dict]) -> list[str]:
    """A line for each match, its title last, as that may be long."""
    columns = ("segments", "highlights", "F1", "avg. prec.", "sections", "found", "right", "F1")
    lines = [
        f"{'by segment':>42}{'by section, at IoU 0.5':>32}",
        "".join(f"{name:>11}" for name in columns) + "  match",
    ]
    for row in by_match:
        segment, event = row["per_segment"], row["per_event"]["iou_0.5"]
        cells = [
            *(segment["segments"], segment["highlights"]),
            *((f"{segment['f1']:.3f}", f"{segment['average_precision']:.3f}") if segment["highlights"] else "--"),
            *(event["labelled"], event["found"], event["matched"]),
            f"{event['f1']:.3f}" if event["labelled"] else "-",
        ]
        lines.append("".join(f"{cell:>11}" for cell in cells) + f"  {row['title']}")
    return lines
