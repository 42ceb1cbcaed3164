"""List the labels that scores contradict most: labelled sections with low scores, and found sections without a label.

The scores have to be of a network that was not trained on these matches, or it has learned the wrong labels.
"""

import csv
import html
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer.evaluation import decoding, metrics
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch
from videosummarizer.labels import format_time
from videosummarizer.sections import mean_scores, overlaps_sec

HEADER = ("title", "start_sec", "end_sec", "start_time", "end_time", "label", "score", "doubt", "kind")
NOT_FOUND = "labelled, not found"
PARTLY_FOUND = "labelled, partly found"
FOUND = "labelled, found"
UNLABELLED = "found, not labelled"
# A labelled section counts as found from this temporal IoU with a found one on, as in the event metrics.
MIN_FOUND_IOU = 0.5
# The page shows at most this many doubts, and this many seconds around each.
MAX_SHOWN = 500
SHOWN_MARGIN_SEC = 15.0
TEMPLATE = Path(__file__).with_suffix(".html")


@dataclass(frozen=True)
class Doubt:
    """A section that is labelled, or that is found and not labelled.

    Attributes:
        match: The match with the section.
        start_sec: Its start in seconds.
        end_sec: Its end in seconds.
        kind: NOT_FOUND, PARTLY_FOUND, FOUND or UNLABELLED.
        score: The mean score of its time steps, in [0, 1].
        doubt: The evidence of the scores against its label, in nats times seconds, divided by the square root of its
            seconds, so that long sections do not lead by their length alone. Negative where the scores agree.
    """

    match: ScoredMatch
    start_sec: float
    end_sec: float
    kind: str
    score: float
    doubt: float


def find_doubts(matches: Sequence[ScoredMatch], point: OperatingPoint) -> list[Doubt]:
    """Return the labelled sections of all matches and the found ones without a label, the most doubtful first."""
    doubts = [doubt for match in matches for doubt in find_doubts_of(match, point)]
    return sorted(doubts, key=lambda doubt: (-doubt.doubt, doubt.match.title, doubt.start_sec))


def find_doubts_of(match: ScoredMatch, point: OperatingPoint) -> list[Doubt]:
    """Return the labelled sections of a match, and the found ones that overlap none, but not mostly undecided ones."""
    labelled, found = match.reference_sections_sec, match.counted_sections_sec(point)
    references, _, ious = metrics.overlapping_pairs(labelled, found)
    best_iou = np.zeros(len(labelled))
    np.maximum.at(best_iou, references, ious)
    kinds = [FOUND if iou >= MIN_FOUND_IOU else PARTLY_FOUND if iou > 0 else NOT_FOUND for iou in best_iou]
    unlabelled = found[overlaps_sec(found, match.sections_sec) == 0]
    sections = np.concatenate([labelled, unlabelled])
    kinds += [UNLABELLED] * len(unlabelled)
    steps = match.step_scores.ravel()
    durations = decoding.step_durations(len(steps), match.step_sec, match.duration_sec)
    evidence = decoding.evidence_per_sec(steps[: len(durations)], point.threshold) * durations
    edges_sec, totals = (np.concatenate([[0], np.cumsum(values)]) for values in (durations, evidence))
    within = np.diff(np.interp(sections, edges_sec, totals), axis=1).ravel()
    signs = np.where([kind == UNLABELLED for kind in kinds], 1, -1)
    rows = zip(
        sections.tolist(), kinds, mean_scores(sections, steps, match.step_sec), (signs * within).tolist(), strict=True
    )
    return [
        Doubt(match, start, end, kind, float(score), against / math.sqrt(end - start))
        for (start, end), kind, score, against in rows
    ]


def write_csv(doubts: Sequence[Doubt]) -> bytes:
    """Return a CSV file with a row for each doubt, in their order, under HEADER. `label` is 1 where it is labelled."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for doubt in doubts:
        times_sec = doubt.start_sec, doubt.end_sec
        writer.writerow(
            [
                doubt.match.title,
                *(f"{time_sec:.3f}" for time_sec in times_sec),
                *map(format_time, times_sec),
                int(doubt.kind != UNLABELLED),
                f"{doubt.score:.4f}",
                f"{doubt.doubt:.4f}",
                doubt.kind,
            ]
        )
    return text.getvalue().encode()


def render_page(doubts: Sequence[Doubt], point: OperatingPoint) -> bytes:
    """Return a page with the first doubts, their scores over time, and a player for the matches' videos.

    The page is one file, which needs no network. The reader chooses the videos, as a dataset does not say where they
    are.
    """
    rows = [describe_row(doubt) for doubt in doubts[:MAX_SHOWN] if doubt.doubt > 0]
    # Inside <script>, "</script>" and "<!--" would end or change the JSON: no "<" appears in it.
    content = json.dumps({"threshold": point.threshold, "rows": rows}, ensure_ascii=False).replace("<", "\\u003c")
    summary = f"{len(rows)} of {len(doubts)} sections"
    before, after = TEMPLATE.read_text(encoding="utf-8").split("DOUBTS_DATA")
    return (before.replace("DOUBTS_SUMMARY", html.escape(summary)) + content + after).encode()


def describe_row(doubt: Doubt) -> dict:
    """Return what the page shows of a doubt: its times, and the scores and labels around it."""
    match, step_sec = doubt.match, doubt.match.step_sec
    first = max(0, math.floor((doubt.start_sec - SHOWN_MARGIN_SEC) / step_sec))
    scores = match.step_scores.ravel()[first : math.ceil((doubt.end_sec + SHOWN_MARGIN_SEC) / step_sec)]
    from_sec, to_sec = first * step_sec, (first + len(scores)) * step_sec
    labels = [section for section in match.sections_sec.tolist() if section[0] < to_sec and section[1] > from_sec]
    return {
        "title": match.title,
        "start": round(doubt.start_sec, 3),
        "end": round(doubt.end_sec, 3),
        "time": f"{format_time(doubt.start_sec)} - {format_time(doubt.end_sec)}",
        "kind": doubt.kind,
        "score": round(doubt.score, 3),
        "from": from_sec,
        "to": to_sec,
        "scores": np.round(scores, 3).tolist(),
        "labels": labels,
    }
