"""What a test report says, as numbers, files, tables and figures."""

import csv
import io
import json
import pickle
import struct
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import LABELS, TITLES

from data_loader import DataLoader
from videosummarizer.dataset.metadata import DataConfig, Match
from videosummarizer.evaluation import metrics, plots, quality_report
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch
from videosummarizer.training import validation

POINT = OperatingPoint(threshold=0.5, section_penalty=0.9)
TITLE = 'final, "rematch" $5^2$ 결승전'


@pytest.fixture
def matches():
    """Two matches of 2 s segments, a step each, one with two highlights, one with none; the last segment is half as
    long."""
    first = np.array([0.1, 0.9, 0.8, 0.2, 0.3, 0.6, 0.45, 0.7], np.float32)
    labels, sections_sec = np.array([0, 1, 1, 0, 0, 0, 0, 0]), np.array([[2.0, 6.0], [14.0, 15.0]])
    quiet = np.array([0.1, 0.2, 0.65], np.float32)
    return [
        ScoredMatch(TITLE, 2.0, 15.0, labels, sections_sec, first, first[:, np.newaxis]),
        ScoredMatch("quiet", 2.0, 6.0, np.zeros(3, int), np.empty((0, 2)), quiet, quiet[:, np.newaxis]),
    ]


def test_scores_go_to_their_matches(matches):
    parts = [Match(m.title, m.segment_length, m.duration_sec, m.labels, m.sections_sec) for m in matches]
    scores = np.concatenate([m.scores for m in matches])
    step_scores = np.stack([scores, 1 - scores], axis=1)
    scored = quality_report.score_matches(parts, scores, step_scores)
    for received, expected in zip(scored, matches, strict=True):
        assert received.title == expected.title
        assert received.scores.tolist() == expected.scores.tolist()
        assert received.step_scores.tolist() == [[score, 1 - score] for score in expected.scores]
        assert received.step_sec == 1.0
    for wrong in ((np.ones(12), np.ones((11, 2))), (np.ones(11), np.ones((12, 2)))):
        with pytest.raises(
            ValueError, match=r"received scores of shape \(1.,\) and step scores of shape \(1., 2\), expected a score"
        ) as raised:
            quality_report.score_matches(parts, *wrong)
        assert str(raised.value).endswith("for each of 11 segments")


def test_figures_by_hand(matches):
    figures = quality_report.evaluate(matches, POINT)
    point = {"threshold": 0.5, "section_penalty": 0.9}
    assert figures["operating_point"] == point
    by_segment = figures["per_segment"]
    assert (by_segment["segments"], by_segment["highlights"]) == (11, 2)
    assert by_segment["confusion_matrix"] == [[6, 3], [0, 2]]  # half a segment found is none, as in labels
    # Found: 2 to 6 s, and 10 to 15 s as one, as its dip holds 0.40 nats x seconds; and 4 to 6 s in the quiet match,
    # which hold 1.24. Alone, 10 to 12 s (0.81) and 14 to 15 s (0.85) would not be found.
    by_event = figures["per_event"]
    assert list(by_event["iou_0.5"].values()) == pytest.approx([2, 3, 1, 1 / 3, 1 / 2, 2 / 5])
    assert by_event["iou_0.3"] == by_event["iou_0.5"]
    assert by_event["mean_average_precision"] == pytest.approx(1 / 2)


def test_intervals_hold_the_figures_and_are_repeatable(matches):
    rng = np.random.default_rng(0)
    many = []
    for number in range(12):
        scores = np.clip(matches[0].scores + rng.normal(scale=0.2, size=8), 0, 1)
        many.append(replace(matches[0], title=str(number), scores=scores, step_scores=scores[:, np.newaxis]))
    figures = quality_report.evaluate(many, POINT)
    assert figures["intervals"] == quality_report.evaluate(many, POINT)["intervals"]
    for group in (["per_segment"], ["per_event", "iou_0.3"], ["per_event", "iou_0.5"]):
        for name in ("precision", "recall", "f1"):
            low, high = quality_report.lookup(figures["intervals"], group, name)
            assert low <= quality_report.lookup(figures, group, name) <= high
    for group, name in (
        ("per_segment", "average_precision"),
        ("per_segment", "roc_auc"),
        ("per_event", "mean_average_precision"),
    ):
        low, high = figures["intervals"][group][name]
        assert low < figures[group][name] < high
    assert quality_report.evaluate(many[:1], POINT)["intervals"] is None


def test_baselines_are_reported_with_the_model(matches):
    report = quality_report.compare(matches, POINT, None, None)
    assert list(report) == ["videos", "model", "loudness", "everything", "calibration", "by_match"]
    assert report["loudness"] is None
    everything = report["everything"]["per_segment"]
    assert everything["confusion_matrix"] == [[1, 8], [0, 2]]  # all but the half segment at the end
    labels = np.concatenate([m.labels for m in matches])
    expected = metrics.evaluate(labels, np.ones(len(labels)), np.ones(len(labels), int))
    assert {name for name in expected if everything[name] != expected[name]} == {"precision", "f1", "confusion_matrix"}
    assert report["everything"]["per_event"]["iou_0.3"]["found"] == 2
    loud = quality_report.compare(matches, POINT, matches, POINT)["loudness"]
    assert loud == report["model"]


def test_by_match_and_json(matches):
    report = quality_report.compare(matches, POINT, None, None)
    read = json.loads(quality_report.write_report(report))
    first, quiet = read["by_match"]
    assert (first["title"], first["duration_sec"]) == (TITLE, 15)
    assert first["per_event"]["iou_0.5"]["f1"] == pytest.approx(1 / 2)
    assert quiet["per_segment"]["average_precision"] is None  # JSON knows no NaN
    assert quiet["per_event"]["iou_0.5"] == {
        "labelled": 0,
        "found": 1,
        "matched": 0,
        "precision": 0,
        "recall": 0,
        "f1": 0,
    }


def test_tables_show_every_figure(matches):
    report = {
        "subset": "test",
        "operating_point_chosen_on": "valid",
        **quality_report.compare(matches, POINT, matches, POINT),
    }
    text = quality_report.format_report(report)
    assert "Test: 2 videos, 11 segments, 2 highlights, 2 labelled sections" in text
    assert "Operating point, chosen on valid: a score of 0.500, and evidence of 0.90 nats x seconds above" in text
    rows = [line.split() for line in text.splitlines()]
    assert next(row for row in rows if row[:1] == ["F1"])[:2] == ["F1", "0.571"]
    assert next(row for row in rows if row[:3] == ["mean", "average", "precision"])[3] == "0.500"
    assert ["8", "2", "0.667", "1.000", "2", "2", "1", "0.500", *TITLE.split()] in rows
    assert ["3", "0", "-", "-", "0", "1", "0", "-", "quiet"] in rows
    report = {
        "subset": "valid",
        "operating_point_chosen_on": None,
        **quality_report.compare(matches, POINT, None, None),
    }
    text = quality_report.format_report(report)
    assert "the checkpoint stores none, a score of 0.5 is used" in text
    assert "loudness: not available" in text


def test_predictions_have_a_row_for_each_segment(matches):
    rows = list(csv.DictReader(io.StringIO(quality_report.write_predictions(matches, POINT).decode())))
    assert ",".join(rows[0]) == "title,index,start_sec,end_sec,start_time,end_time,label,score,found"
    assert len(rows) == 11
    assert {row["title"] for row in rows} == {TITLE, "quiet"}
    assert list(rows[1].values()) == [TITLE, "1", "2.000000", "4.000000", "00:00:02", "00:00:04", "1", "0.900000", "1"]
    assert (rows[7]["end_sec"], rows[7]["found"]) == ("15.000000", "0")  # a half segment is none, as in labels
    assert [row["found"] for row in rows[:8]] == list("01100110")


def test_the_penalty_decides_and_does_not_rank(matches):
    dear = quality_report.evaluate(matches, OperatingPoint(threshold=0.5, section_penalty=2.0))["per_segment"]
    plain = quality_report.evaluate(matches, OperatingPoint(threshold=0.5))["per_segment"]
    assert dear["average_precision"] == plain["average_precision"]
    assert dear["confusion_matrix"] == [[9, 0], [0, 2]]
    assert plain["confusion_matrix"] == [[7, 2], [0, 2]]


def test_loudness_is_the_root_mean_square_of_the_audio(dataset_dir):
    loader = DataLoader(dataset_dir)
    levels, step_levels = validation.rms_levels(loader, "test")
    assert (levels.shape, step_levels.shape) == ((20,), (20, 2))
    segments_of_test = [(title, *item) for title in TITLES["test"] for item in enumerate(LABELS[title])]
    for row, (title, index, label) in enumerate(segments_of_test):
        audio = pickle.loads((dataset_dir / title / f"seg_{index:05d}_{label}.pkl").read_bytes())["audio"]
        assert levels[row] == pytest.approx(np.sqrt((audio.astype(float) ** 2).mean()))
        halves = audio.astype(float).reshape(2, -1)
        assert step_levels[row] == pytest.approx(np.sqrt((halves**2).mean(axis=1)))
    # The clip's highlight is loud, from 7.9 to 9.2 s; only part of the segments around it is.
    assert levels[8] == levels.max()
    assert levels[8] > 5 * np.delete(levels, [7, 8, 9]).max()


def test_loudness_is_not_known_of_mfccs():
    class MfccLoader:
        config = DataConfig(1, 1, 1, 1, 4000, apply_mfcc=True)

    assert validation.rms_levels(MfccLoader(), "test") is None


def size_of(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def test_figures_have_a_row_for_each_match(matches, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of letters that no font has
        images = plots.plot_test(matches, OperatingPoint(0.5, section_penalty=3.0), np.linspace(0, 1, 11))
    assert list(images) == ["precision_recall.png", "calibration.png", "test_matches.png"]
    size_of(images["precision_recall.png"])
    width, height = size_of(images["test_matches.png"])
    more = plots.plot_matches(matches * 2, POINT)
    assert size_of(more[0])[0] == width
    assert size_of(more[0])[1] > height + 2 * 100
    monkeypatch.setattr(plots, "NUM_ROWS", 3)
    assert list(plots.plot_test(matches * 2, POINT, None))[2:] == ["test_matches.png", "test_matches_2.png"]
