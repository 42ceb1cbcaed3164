"""Intervals, baselines, files and tables of a test report, against plain loops and by hand."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from test_quality_report import POINT

from videosummarizer.evaluation import metrics, quality_report
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch


def make_match(title, scores, labels, sections_sec, duration_sec):
    """A match of 2 s segments, a step each."""
    scores, sections_sec = np.array(scores), np.array(sections_sec, float).reshape(-1, 2)
    return ScoredMatch(title, 2.0, duration_sec, np.array(labels), sections_sec, scores, scores[:, np.newaxis])


@pytest.fixture
def three():
    return [
        make_match("a", [0.1, 0.9, 0.8, 0.2, 0.6], [0, 1, 1, 0, 0], [[2, 6]], 10.0),
        make_match("b", [0.7, 0.2, 0.1, 0.4], [1, 0, 0, 1], [[0, 3], [6, 7.5]], 7.5),
        make_match("c", [0.3, 0.65, 0.1, 0.2, 0.1, 0.68], [0, 0, 0, 0, 0, 1], [[10, 12]], 12.0),
    ]


DRAWN = np.array([
    [1, 1, 1, 1], [2, 0, 1, 1], [0, 3, 0, 1], [0, 1, 2, 1], [1, 2, 0, 1], [3, 0, 0, 1], [0, 0, 3, 1], [1, 0, 1, 2],
])  # fmt: skip


def test_intervals_are_of_the_figures_of_matches_drawn_again(three, monkeypatch):
    asked, two_fifths = [], make_match("d", [0.1, 0.7, 0.65, 0.1], [0, 1, 0, 0], [[2, 3.6]], 8.0)
    matches = [*three, two_fifths]  # the last section found has an IoU of 0.4
    monkeypatch.setattr(metrics, "bootstrap_weights", lambda num_matches: asked.append(num_matches) or DRAWN)
    intervals = quality_report.evaluate(matches, POINT)["intervals"]
    assert asked == [4]
    drawn = [[match for match, times in zip(matches, row, strict=True) for _ in range(times)] for row in DRAWN]
    figures = [quality_report.evaluate_once(again, POINT) for again in drawn]
    names = ("precision", "recall", "f1")
    paths = [("per_segment", name) for name in (*names, "average_precision", "roc_auc")]
    paths += [("per_event", f"iou_{threshold}", name) for threshold in (0.3, 0.5) for name in names]
    paths.append(("per_event", "mean_average_precision"))
    different = set()
    for path in paths:
        received, values = intervals, figures
        for part in path:
            received, values = received[part], [value[part] for value in values]
        low, high = np.quantile(values, [0.025, 0.975])
        assert received == pytest.approx([low, high]), path
        different.add((low, high))
    assert len(different) > 8
    assert {name: len(part) for name, part in intervals.items()} == {"per_segment": 5, "per_event": 3}


def test_two_matches_have_intervals_and_one_has_none(three):
    assert quality_report.evaluate(three[:2], POINT)["intervals"] is not None
    assert quality_report.evaluate(three[:1], POINT)["intervals"] is None


def test_each_baseline_has_its_own_point(three):
    loudness_point = OperatingPoint(threshold=0.25)
    levels = [np.array([0.0, 0.5, 0.1, 0.1, 0.3]), np.array([0.3, 0.1, 0.1, 0.3]), np.array([0.1] * 5 + [0.4])]
    loud = [
        make_match(m.title, s, m.labels, m.sections_sec, m.duration_sec) for m, s in zip(three, levels, strict=True)
    ]
    report = quality_report.compare(three, POINT, loud, loudness_point)
    assert report["videos"] == ["a", "b", "c"]
    assert report["model"]["operating_point"] == asdict(POINT)
    assert report["loudness"]["operating_point"] == asdict(loudness_point)
    # Loud are segment 1 and 4 of the first match, 0 and 3 of the second, 5 of the third: 4 of 5 rightly, of 5.
    assert report["loudness"]["per_segment"]["confusion_matrix"] == [[9, 1], [1, 4]]
    assert report["everything"]["operating_point"] == {"threshold": 0.5, "section_penalty": 0.0}
    assert report["everything"]["per_segment"]["confusion_matrix"] == [[0, 10], [0, 5]]
    assert report["everything"]["per_event"]["iou_0.3"]["found"] == 3
    assert "intervals" not in report["everything"]
    assert [row["title"] for row in report["by_match"]] == ["a", "b", "c"]
    assert [row["duration_sec"] for row in report["by_match"]] == [10.0, 7.5, 12.0]
    # At the model's point: 2 to 6 s, and not 8 to 10 s, which hold 0.81 of 0.9; 0 to 2 s; 2 to 4 s and 10 to 12 s.
    assert [row["per_segment"]["confusion_matrix"] for row in report["by_match"]] == [
        [[3, 0], [0, 2]],
        [[2, 0], [1, 1]],
        [[4, 1], [0, 1]],
    ]


def test_a_sections_score_is_the_mean_of_its_steps():
    match = make_match("a", [0.1, 0.9, 0.6, 0.2, 0.7, 0.2], [0, 1, 1, 0, 1, 0], [[2, 6], [8, 10]], 12.0)
    point = OperatingPoint(threshold=0.5)
    reference, predicted, section_scores = quality_report.sections_of([match], point)
    assert [part.tolist() for part in (*reference, *predicted)] == [[[2, 6], [8, 10]]] * 2
    assert section_scores[0].tolist() == pytest.approx([0.75, 0.7])
    halves = ScoredMatch(
        *("b", 2.0, 6.0, np.array([0, 1, 0]), np.array([[2.0, 4.0]]), np.array([0.1, 0.7, 0.4])),
        step_scores=np.array([[0.1, 0.1], [0.8, 0.6], [0.7, 0.1]]),
    )
    _, predicted, section_scores = quality_report.sections_of([halves], point)
    assert predicted[0].tolist() == [[2, 5]]
    assert section_scores[0].tolist() == pytest.approx([0.7])


def test_json_is_readable_and_knows_no_nan():
    report = {"title": "결승전", "figures": [float("nan"), {"low": float("inf"), "point": (1, 2.5, None, True)}]}
    expected = (
        '{\n  "title": "결승전",\n  "figures": [\n    null,\n    {\n      "low": null,\n      "point": [\n'
        "        1,\n        2.5,\n        null,\n        true\n      ]\n    }\n  ]\n}\n"
    )
    assert quality_report.write_report(report).decode() == expected
    assert json.loads(expected)["figures"][1]["point"] == [1, 2.5, None, True]


def test_predictions_are_written_to_the_letter():
    steps = np.array([[0.9, 0.7], [0.2, 0.1], [0.123456789, 0.9]])
    match = ScoredMatch("a, b", 1.5, 4.25, np.array([1, 0, 0]), np.array([[0, 1.5]]), np.array([0.8, 0.15, 0.5]), steps)
    expected = (
        "title,index,start_sec,end_sec,start_time,end_time,label,score,found\n"
        '"a, b",0,0.000000,1.500000,00:00:00,00:00:01,1,0.800000,1\n'
        '"a, b",1,1.500000,3.000000,00:00:01,00:00:03,0,0.150000,0\n'
        '"a, b",2,3.000000,4.250000,00:00:03,00:00:04,0,0.500000,0\n'
    )
    written = quality_report.write_predictions([match], OperatingPoint(0.6)).decode()
    assert [line.split(",")[-1] for line in written.splitlines()] == [
        line.split(",")[-1] for line in expected.splitlines()
    ]
    assert written == expected


@pytest.mark.parametrize(
    ("point", "chosen_on", "expected"),
    [
        ({}, None, "Operating point: the checkpoint stores none, a score of 0.25 is used"),
        ({}, "valid", "Operating point, chosen on valid: a score of 0.250"),
        (
            {"section_penalty": 1.504},
            "train",
            "Operating point, chosen on train: a score of 0.250, and evidence of 1.50 nats x seconds above it for a "
            "section",
        ),
        ({"section_penalty": 1.5}, None, "Operating point: the checkpoint stores none, a score of 0.25 is used"),
    ],
)
def test_an_operating_point_in_words(point, chosen_on, expected):
    assert quality_report.format_operating_point(asdict(OperatingPoint(0.25, **point)), chosen_on) == expected


def test_missing_metrics_are_none():
    figures = {"a": {"b": 0.5}}
    assert quality_report.lookup(figures, ["a"], "b") == 0.5
    assert quality_report.lookup(None, ["a"], "b") is None


# A # stands for an interval. By hand: of 5 highlights 4 are found and one other segment, of 4 sections 3 and one other,
# one of them at an IoU of 2 / 3.
TABLES = """\
Test: 3 videos, 15 segments, 5 highlights, 4 labelled sections
Operating point, chosen on valid: a score of 0.500, and evidence of 0.90 nats x seconds above it for a section

                            model    95 % interval  loudness  everything is a highlight
by segment
  precision                 0.800   #     0.625                      0.333
  recall                    0.800   #     1.000                      1.000
  F1                        0.800   #     0.769                      0.500
  average precision         0.943   #     0.943                      0.333
  ROC AUC                   0.960   #     0.960                      0.500
by section, found at IoU 0.3
  precision                 0.750   #     0.667                      0.667
  recall                    0.750   #     1.000                      0.500
  F1                        0.750   #     0.800                      0.571
by section, found at IoU 0.5
  precision                 0.750   #     0.667                      0.000
  recall                    0.750   #     1.000                      0.000
  F1                        0.750   #     0.800                      0.000
by section, IoU 0.3 to 0.7
  mean average precision    0.683   #     0.842                      0.200

confusion matrix            found   not found
  highlight                     4           1
  other                         1           9

expected calibration error: 0.229 by segment, 0.179 by time step

                                by segment          by section, at IoU 0.5
   segments highlights         F1 avg. prec.   sections      found      right         F1  match
          5          2      1.000      1.000          1          1          1      1.000  a
          4          2      0.667      1.000          2          1          1      0.667  b
          6          1      0.667      1.000          1          2          1      0.667  c"""


def test_the_tables_to_the_letter(three):
    report = quality_report.compare(three, POINT, three, OperatingPoint(threshold=0.25))
    intervals = report["model"]["intervals"]
    of_segments, of_events = intervals["per_segment"], intervals["per_event"]
    of_events = [of_events[iou][name] for iou in ("iou_0.3", "iou_0.5") for name in ("precision", "recall", "f1")]
    in_order = [of_segments[name] for name in ("precision", "recall", "f1", "average_precision", "roc_auc")]
    expected = TABLES
    for low, high in [*in_order, *of_events, intervals["per_event"]["mean_average_precision"]]:
        expected = expected.replace("#", f"[{low:.3f}, {high:.3f}]", 1)
    assert quality_report.format_report({"subset": "test", "operating_point_chosen_on": "valid", **report}) == expected


def test_the_calibration_error_is_of_bins_of_all_matches(three):
    found = quality_report.evaluate_calibration(three)
    assert list(found) == ["per_segment", "per_step"]
    # Of the segments with scores from 0.6 to 0.7, one of three is a highlight.
    assert found["per_segment"]["counts"] == [0, 4, 3, 1, 1, 0, 3, 1, 1, 1]
    assert found["per_segment"]["mean_scores"][6] == pytest.approx((0.6 + 0.65 + 0.68) / 3)
    assert found["per_segment"]["mean_targets"][6] == pytest.approx(1 / 3)
    error = (4 * 0.1 + 3 * 0.2 + 0.3 + 0.6 + (0.6 + 0.65 + 0.68 - 1) + 0.3 + 0.2 + 0.1) / 15
    assert found["per_segment"]["expected_calibration_error"] == pytest.approx(error)
    # Sections of the second match cover half of its second step, and three quarters of its last one.
    assert found["per_step"]["mean_targets"][2] == pytest.approx(0.5 / 3)
    assert found["per_step"]["mean_targets"][4] == pytest.approx(0.75)
    error += ((0.6 - 0.5) - 0.6 + (0.75 - 0.4) - 0.6) / 15
    assert found["per_step"]["expected_calibration_error"] == pytest.approx(error)


def test_what_was_held_out_on_validation_is_printed(three):
    calibration = quality_report.evaluate_calibration(three)
    calibration["held_out_on_valid"] = {"per_segment": 0.0123, "per_step": 0.0456}
    assert quality_report.format_calibration(calibration).endswith(
        "0.179 by time step; on valid, each match calibrated without it, 0.012 and 0.046"
    )


def test_what_is_not_known_is_a_dash(three):
    head = {"subset": "valid", "operating_point_chosen_on": None}
    text = quality_report.format_report({**head, **quality_report.compare(three[:1], POINT, None, None)})
    lines = text.splitlines()
    assert lines[0] == "Valid: 1 videos, 5 segments, 2 highlights, 1 labelled sections"
    assert (
        lines[5] == f"  {'precision':24}{'1.000':>7}{'':>17}{'-':>10}{'0.400':>27}"
    )  # one match tells nothing of others
    last = (
        "loudness: not available for MFCC datasets, whose level is normalised away, or where the checkpoint stores no "
        "threshold for it"
    )
    assert last in lines
    report = quality_report.compare(three[:1], POINT, three[:1], POINT)
    assert last not in quality_report.format_report({**head, **report})
