"""Measure scored matches: by segment, by event and match by match, with confidence intervals and against baselines.

    matches = score_matches(loader.matches("test"), *validation.predict(network, loader, "test"))
    metrics = evaluate(matches, point)    # point: of operating_point.choose_operating_point

All functions take scored matches and an operating point, and return dicts, text or bytes. Nothing is written to disk.
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
# The baseline "everything is a highlight" has a score of 1 everywhere; any threshold up to 1 selects it all.
ALWAYS_HIGHLIGHT = OperatingPoint(threshold=0.5)
PREDICTIONS_HEADER = "title,index,start_sec,end_sec,start_time,end_time,label,score,found"
NUM_SCORE_DECIMALS = 6


def score_matches(matches: Sequence[Match], scores: np.ndarray, step_scores: np.ndarray) -> list[ScoredMatch]:
    """Combine the matches of a subset with their scores.

    Args:
        matches: The matches of the subset, in the loader's order.
        scores: (num_segments,) float in [0, 1], of the segments of all matches in that order.
        step_scores: (num_segments, K) float in [0, 1], of the time steps of each segment.

    Raises:
        ValueError: The number of scores is not the number of segments.
    """
    ends = np.cumsum([len(match.labels) for match in matches])
    if scores.shape != (ends[-1],) or len(step_scores) != ends[-1]:
        raise ValueError(
            f"received scores of shape {scores.shape} and step scores of shape {step_scores.shape}, expected a score "
            f"and a row of step scores for each of {ends[-1]} segments"
        )
    parts = zip(matches, np.split(scores, ends[:-1]), np.split(step_scores, ends[:-1]), strict=True)
    return [ScoredMatch(**vars(match), scores=part, step_scores=steps) for match, part, steps in parts]


def evaluate(matches: Sequence[ScoredMatch], point: OperatingPoint) -> dict:
    """Compute all metrics of scored matches at an operating point.

    Returns:
        A dict, always in this order:
            operating_point: The values of the operating point by their names.
            per_segment: See `metrics.evaluate`. A segment counts as predicted where predicted sections cover more than
                half of it.
            per_event: `iou_0.3` and `iou_0.5`, see `metrics.evaluate_events`; and `mean_average_precision`.
            intervals: 95 % intervals [low, high] of most of these under the same names, by a bootstrap over matches;
                None with a single match, for which there is no such interval.
    """
    intervals = evaluate_intervals(matches, point) if len(matches) > 1 else None
    return {"operating_point": asdict(point), **evaluate_once(matches, point), "intervals": intervals}


def evaluate_once(matches: Sequence[ScoredMatch], point: OperatingPoint) -> dict:
    """Compute per_segment and per_event of `evaluate`."""
    reference, predicted, section_scores = sections_of(matches, point)
    per_event = {
        f"iou_{threshold:g}": metrics.evaluate_events(reference, predicted, threshold)
        for threshold in SHOWN_IOU_THRESHOLDS
    }
    per_event["mean_average_precision"] = metrics.mean_average_precision(reference, predicted, section_scores)
    return {"per_segment": metrics.evaluate(*concatenate_matches(matches, point)), "per_event": per_event}


def concatenate_matches(
    matches: Sequence[ScoredMatch], point: OperatingPoint
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores and predicted labels of the decided segments of all matches, (num_segments,) each."""
    return (
        np.concatenate([match.labels[match.is_decided] for match in matches]),
        np.concatenate([match.scores[match.is_decided] for match in matches]),
        np.concatenate([match.predicted_labels(point)[match.is_decided] for match in matches]),
    )


def sections_of(matches: Sequence[ScoredMatch], point: OperatingPoint) -> tuple[list, list, list]:
    """Return three lists with an array per match: reference sections, predicted sections, mean scores of the latter.

    Sections that are mostly undecided time are left out.
    """
    predicted = [match.counted_sections_sec(point) for match in matches]
    section_scores = [
        mean_scores(sections_sec, match.step_scores.ravel(), match.step_sec)
        for match, sections_sec in zip(matches, predicted, strict=True)
    ]
    return [match.reference_sections_sec for match in matches], predicted, section_scores


def evaluate_intervals(matches: Sequence[ScoredMatch], point: OperatingPoint) -> dict:
    """Compute intervals of `evaluate`."""
    weights = metrics.bootstrap_weights(len(matches))
    label_pairs = [(m.labels[m.is_decided], m.predicted_labels(point)[m.is_decided]) for m in matches]
    counts = np.array(
        [(labels.sum(), predicted.sum(), (labels * predicted).sum()) for labels, predicted in label_pairs]
    )
    per_segment = metrics.precision_recall_f1(*(weights @ counts).T)
    per_segment |= metrics.ranking_scores(
        [labels for labels, _ in label_pairs], [match.scores[match.is_decided] for match in matches], weights
    )
    reference, predicted, section_scores = sections_of(matches, point)
    per_event = {}
    for threshold in SHOWN_IOU_THRESHOLDS:
        resampled = metrics.precision_recall_f1(*(weights @ metrics.count_events(reference, predicted, threshold)).T)
        per_event[f"iou_{threshold:g}"] = intervals_of(resampled)
    mean_average_precision = metrics.mean_average_precision(reference, predicted, section_scores, weights)
    per_event |= intervals_of({"mean_average_precision": mean_average_precision})
    return {"per_segment": intervals_of(per_segment), "per_event": per_event}


def intervals_of(resampled: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Return [low, high] of each resampled metric."""
    return {name: metrics.percentile_interval(scores) for name, scores in resampled.items()}


def evaluate_by_match(matches: Sequence[ScoredMatch], point: OperatingPoint) -> list[dict]:
    """Return for each match its title, its duration_sec, and its own per_segment and per_event."""
    return [
        {"title": match.title, "duration_sec": match.duration_sec, **evaluate_once([match], point)} for match in matches
    ]


def compare(
    matches: Sequence[ScoredMatch],
    point: OperatingPoint,
    loudness_matches: Sequence[ScoredMatch] | None,
    loudness_point: OperatingPoint | None,
) -> dict:
    """Compare the metrics of a model with those of the baselines. Matches without decided segments are left out.

    Args:
        matches: The matches with the model's scores.
        point: The model's operating point.
        loudness_matches: The same matches with `rms_levels` as scores, None where these are not available.
        loudness_point: The operating point of the loudness baseline, None where it is not available.

    Returns:
        A dict, always in this order:
            videos: The titles.
            model: See `evaluate`.
            loudness: See `evaluate`; None where it is not available.
            everything: See `evaluate`, without intervals.
            calibration: See `evaluate_calibration`, of the model.
            by_match: See `evaluate_by_match`, of the model.
    """
    matches = [match for match in matches if match.is_decided.any()]
    if loudness_matches is not None:
        loudness_matches = [match for match in loudness_matches if match.is_decided.any()]
    everything = [replace(m, scores=np.ones(len(m.labels)), step_scores=np.ones((len(m.labels), 1))) for m in matches]
    return {
        "videos": [match.title for match in matches],
        "model": evaluate(matches, point),
        "loudness": None if loudness_matches is None else evaluate(loudness_matches, loudness_point),
        "everything": {"operating_point": asdict(ALWAYS_HIGHLIGHT), **evaluate_once(everything, ALWAYS_HIGHLIGHT)},
        "calibration": evaluate_calibration(matches),
        "by_match": evaluate_by_match(matches, point),
    }


def evaluate_calibration(matches: Sequence[ScoredMatch]) -> dict:
    """Return `metrics.reliability` of the scores of decided segments as `per_segment`, and of steps as `per_step`."""
    return {
        "per_segment": metrics.reliability(
            np.concatenate([match.labels[match.is_decided] for match in matches]),
            np.concatenate([match.scores[match.is_decided] for match in matches]),
        ),
        "per_step": metrics.reliability(
            np.concatenate([match.step_targets() for match in matches]),
            np.concatenate([match.kept_scores() for match in matches]),
        ),
    }


def write_report(report: dict) -> bytes:
    """Return the report as JSON. Values that are not finite (an average precision without highlights) become null."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return (json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_predictions(matches: Sequence[ScoredMatch], point: OperatingPoint) -> bytes:
    """Return a CSV file with a row for each segment, under PREDICTIONS_HEADER.

    `found` is 1 where predicted sections cover more than half of the segment, the same rule as for labels. `score` is
    the network's own score, not smoothed. `label` is empty for undecided segments.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PREDICTIONS_HEADER.split(","))
    for match in matches:
        borders_sec = np.minimum(np.arange(len(match.scores) + 1) * match.segment_length, match.duration_sec).tolist()
        predicted_labels, labels = match.predicted_labels(point), np.where(match.is_decided, match.labels, "")
        for index, (start_sec, end_sec) in enumerate(itertools.pairwise(borders_sec)):
            times = [f"{start_sec:.6f}", f"{end_sec:.6f}", *map(format_time, (start_sec, end_sec))]
            score = f"{match.scores[index]:.{NUM_SCORE_DECIMALS}f}"
            writer.writerow([match.title, index, *times, labels[index], score, predicted_labels[index]])
    return text.getvalue().encode()


def format_report(report: dict) -> str:
    """Format a report as tables for the terminal.

    Args:
        report: `subset`, `operating_point_chosen_on`, and the result of `compare`.
    """
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
            format_calibration(report["calibration"]),
            "",
            *format_matches(report["by_match"]),
        ]
    )


def format_operating_point(point: dict, chosen_on: str | None) -> str:
    """Format an operating point in one line.

    Args:
        point: Its values by name.
        chosen_on: The subset that it was chosen on, None for the default threshold.
    """
    if chosen_on is None:
        return f"Operating point: the checkpoint stores none, a score of {point['threshold']:g} is used"
    text = f"Operating point, chosen on {chosen_on}: a score of {point['threshold']:.3f}"
    if point["section_penalty"]:
        text += f", and evidence of {point['section_penalty']:.2f} nats x seconds above it for a section"
    return text


def format_metrics(report: dict) -> list[str]:
    """Return a line for each metric: of the model with its interval, and of the baselines."""
    lines = [f"{'':26}{'model':>7}{'95 % interval':>17}{'loudness':>10}{'everything is a highlight':>27}"]

    def add(group: str, names: Sequence[str], path: Sequence[str]) -> None:
        lines.append(group)
        for name in names:
            values = [lookup(report[predictor], path, name) for predictor in ("model", "loudness", "everything")]
            interval = lookup(report["model"]["intervals"], path, name)
            shown = "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
            model, loudness, everything = ("-" if value is None else f"{value:.3f}" for value in values)
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
        lines.append(
            "loudness: not available for MFCC datasets, whose level is normalised away, or where the checkpoint stores "
            "no threshold for it"
        )
    return lines


def format_calibration(calibration: dict) -> str:
    """Format the expected calibration errors in one line.

    Args:
        calibration: The result of `evaluate_calibration`, with `held_out_on_valid` where the checkpoint stores that.
    """
    errors = [calibration[name]["expected_calibration_error"] for name in ("per_segment", "per_step")]
    text = "expected calibration error: {:.3f} by segment, {:.3f} by time step".format(*errors)
    if held_out := calibration.get("held_out_on_valid"):
        text += "; on valid, each match calibrated without it, {per_segment:.3f} and {per_step:.3f}".format(**held_out)
    return text


def lookup(values: dict | None, path: Sequence[str], name: str):
    """Return the value of a name below a path of keys in nested dicts; None where there are no values."""
    for key in (*path, name):
        values = None if values is None else values[key]
    return values


def format_matches(by_match: list[dict]) -> list[str]:
    """Return a line for each match; its title is last because it may be long."""
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
