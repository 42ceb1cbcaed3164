"""What is written of a match, value by value: scores, labels, report and timeline."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from videosummarizer import media
from videosummarizer.evaluation import plots
from videosummarizer.evaluation.decoding import decoded_scores
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import outputs
from videosummarizer.extraction.outputs import SCORES_HEADER, MatchResult, MatchScores

# Frames at 29.97 fps from 0.04 s on, then one of 0.4 s; segments of 0.7 s with two steps; the last one is cut short.
FRAME_TIMES_SEC = np.append(0.04 + np.arange(60) * 1001 / 30000, 2.4)
INFO = media.VideoInfo(
    2.8, 2.8, 61 / 2.76, 320, 180, "h264", "aac stereo 48000 Hz", FRAME_TIMES_SEC, np.empty((0, 2), int)
)
SCORES = np.array([0.123457, 0.876543, 0.05, 1.0])
STEP_SCORES = np.array([[0.1, 0.200001], [0.9, 0.853086], [0.0, 0.1], [0.987654, 1.0]])
FOUND = MatchResult(
    Path("matches/결승 final.mp4"),
    INFO,
    np.array([[20, 41], [60, 61]]),
    np.array([[5, 30]]),
    MatchScores(0.7, SCORES, STEP_SCORES, OperatingPoint(0.512346, section_penalty=0.2)),
)


def test_sections_have_times_and_mean_scores():
    assert FOUND.scores.step_sec == pytest.approx(0.35)
    # From frame 20's time to frame 41's; from the last frame's to the end.
    starts_sec = np.array([[0.04 + 20 * 1.001 / 30, 0.04 + 41 * 1.001 / 30], [2.4, 2.8]])
    assert FOUND.sections_sec == pytest.approx(starts_sec)
    # Of the first: from 0.7073 to 1.05 s, to 1.4 s, to 1.40803 s. Of the second: to 2.45 s and to 2.8 s.
    first = (0.9 * (1.05 - 0.04 - 20.02 / 30) + 0.853086 * 0.35 + 0) / (21.021 / 30)
    assert FOUND.section_scores == pytest.approx([first, (0.987654 * 0.05 + 1.0 * 0.35) / 0.4])


def test_scores_in_context_are_those_of_the_operating_point():
    step_scores = STEP_SCORES.ravel()
    expected = decoded_scores(step_scores, FOUND.scores.step_sec, 2.8, 0.512346, 0.2)
    assert FOUND.decoded_scores.tolist() == expected.tolist()
    assert (FOUND.decoded_scores >= 0.512346).tolist() == [False, False, True, True, False, False, True, True]
    shorter = replace(FOUND, info=replace(INFO, duration_sec=2.3))
    assert (
        shorter.decoded_scores.tolist()
        == decoded_scores(step_scores, FOUND.scores.step_sec, 2.3, 0.512346, 0.2).tolist()
    )
    assert len(shorter.decoded_scores) == 7
    without_penalty = replace(FOUND, scores=replace(FOUND.scores, point=OperatingPoint(0.5)))
    assert without_penalty.decoded_scores == pytest.approx(step_scores, abs=1e-3)  # of 1.0 it is 7 nats


def test_the_scores_file_line_by_line():
    assert outputs.write_scores(FOUND).decode() == (
        "index,start_sec,end_sec,start_time,end_time,start_frame,end_frame,score,highlight\n"
        "0,0.000000,0.700000,00:00:00,00:00:00,0,20,0.123457,0\n"
        "1,0.700000,1.400000,00:00:00,00:00:01,20,41,0.876543,1\n"
        "2,1.400000,2.100000,00:00:01,00:00:02,41,60,0.050000,0\n"
        "3,2.100000,2.800000,00:00:02,00:00:02,60,61,1.000000,1\n"
    )


@pytest.mark.parametrize(("end_frame", "highlights"), [(30, [0, 0, 0, 0]), (31, [0, 1, 0, 0])])
def test_a_segment_is_a_highlight_where_more_than_half_of_it_is_selected(end_frame, highlights):
    # Half of 0.7 s is 0.35 s: 10 frames from 0.7073 s on are 0.3337 s, 11 are 0.367 s.
    text = outputs.write_scores(replace(FOUND, sections=np.array([[20, end_frame]]))).decode()
    assert [int(line.split(",")[-1]) for line in text.splitlines()[1:]] == highlights


def test_the_last_segment_ends_with_the_match():
    text = outputs.write_scores(replace(FOUND, info=replace(INFO, duration_sec=2.5))).decode()
    assert text.splitlines()[-1] == "3,2.100000,2.500000,00:00:02,00:00:02,60,61,1.000000,0"  # 0.1 of 0.7 s is found


def test_scores_are_read_again_to_the_last_digit(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(outputs.write_scores(FOUND))
    assert outputs.read_scores(path)[0].tolist() == SCORES.tolist()
    path.write_text(SCORES_HEADER + "\n")
    assert outputs.read_scores(path)[0].shape == (0,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "received a file without the header index,start_sec,end_sec,start_time,"),
        ("index,score\n0,0.5\n", "received a file without the header"),
        (
            "index,start_sec,end_sec,start_time,end_time,start_frame,end_frame,highlight,score\n"
            "0,0.0,0.7,00:00:00,00:00:00,0,20,0,0.5\n",
            "received a file without the header",
        ),
        (
            "index,start_sec,end_sec,start_time,end_time,start_frame,end_frame,score,highlight\n"
            "0,0.0,0.7,00:00:00,00:00:00,0,20,high,0\n",
            "could not convert string to float: 'high'",
        ),
    ],
)
def test_a_scores_file_that_is_none_is_named(tmp_path, text, words):
    path = tmp_path / "match_scores.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        outputs.read_scores(path)
    with pytest.raises(FileNotFoundError):
        outputs.read_scores(tmp_path / "gone.csv")


def test_the_label_file_line_by_line():
    assert outputs.write_labels(FOUND) == b"20,41,00:00:00,00:00:01\n60,61,00:00:02,00:00:02\n"
    assert outputs.write_labels(replace(FOUND, sections=np.empty((0, 2), int))) == b""


def test_the_report_value_by_value():
    text = outputs.write_report(FOUND, {"checkpoint": "best.hdf5", "settings": {"padding": 0.0}}).decode()
    report = json.loads(text)
    assert list(report.items()) == [
        ("title", "결승 final"),
        ("duration_sec", 2.8),
        ("frame_rate_fps", 61 / 2.76),
        ("checkpoint", "best.hdf5"),
        ("settings", {"padding": 0.0}),
        ("threshold", 0.512346),
        ("segment_length", 0.7),
        ("num_sections", 2),
        ("sections_sec", pytest.approx(21.021 / 30 + 0.4)),
        (
            "sections",
            [
                {
                    "start_frame": 20,
                    "end_frame": 41,
                    "start_sec": 0.707333,
                    "end_sec": 1.408033,
                    "start_time": "00:00:00",
                    "end_time": "00:00:01",
                    "score": 0.866248,
                },
                {
                    "start_frame": 60,
                    "end_frame": 61,
                    "start_sec": 2.4,
                    "end_sec": 2.8,
                    "start_time": "00:00:02",
                    "end_time": "00:00:02",
                    "score": 0.998457,
                },
            ],
        ),
        ("step_scores", [[0.1, 0.200001], [0.9, 0.853086], [0.0, 0.1], [0.987654, 1.0]]),
    ]
    assert [list(section) for section in report["sections"]] == [
        ["start_frame", "end_frame", "start_sec", "end_sec", "start_time", "end_time", "score"]
    ] * 2
    assert text.startswith('{\n  "title": "결승 final",\n  "duration_sec": 2.8,\n')
    line = '  "step_scores": [[0.1, 0.200001], [0.9, 0.853086], [0.0, 0.1], [0.987654, 1.0]]'
    assert text.splitlines()[-2:] == [line, "}"]
    assert text.endswith("]\n}\n")


def test_the_report_of_a_match_without_sections():
    report = json.loads(outputs.write_report(replace(FOUND, sections=np.empty((0, 2), int)), {}))
    assert (report["num_sections"], report["sections_sec"], report["sections"]) == (0, 0, [])


# ---- The timeline


DECODED_SCORES = np.array([0.2, 0.3, 0.8, 0.7, 0.1, 0.15, 0.9])  # one step fewer


def plotted(labelled_sec=None):
    axes = Figure().add_subplot()
    predicted_sec = np.array([[0.5, 1.25], [2.0, 2.5]])
    plots.plot_timeline(axes, STEP_SCORES.ravel(), DECODED_SCORES, 0.35, 2.5, 0.6, predicted_sec, labelled_sec)
    return axes


def bars_of(collection):
    """(start, end, bottom, top) of each bar."""
    extents = [path.get_extents() for path in collection.get_paths()]
    return [pytest.approx((box.x0, box.x1, box.y0, box.y1)) for box in extents]


def test_the_timeline_shows_scores_threshold_and_sections():
    axes = plotted(np.array([[0.25, 1.75]]))
    outline, in_context = axes.patches
    assert outline.get_data().values.tolist() == [0.1, 0.200001, 0.9, 0.853086, 0.0, 0.1, 0.987654, 1.0]
    assert outline.get_data().edges == pytest.approx([0, 0.35, 0.7, 1.05, 1.4, 1.75, 2.1, 2.45, 2.5])
    assert (to_hex(outline.get_edgecolor()), outline.get_fill(), outline.get_label()) == ("#5b6ee1", False, "score")
    assert outline.get_linewidth() < in_context.get_linewidth()  # the one that decides is the thicker one
    assert in_context.get_data().values.tolist() == DECODED_SCORES.tolist()
    assert in_context.get_data().edges == pytest.approx([0, 0.35, 0.7, 1.05, 1.4, 1.75, 2.1, 2.45])
    assert (to_hex(in_context.get_edgecolor()), in_context.get_label()) == ("#d9610a", "score in context")
    assert not in_context.get_fill()
    (threshold,) = axes.lines
    assert list(threshold.get_ydata()) == [0.6, 0.6]
    assert (threshold.get_label(), threshold.get_linestyle(), threshold.get_color()) == ("threshold", "--", "#5a6372")
    predicted, labelled, added, band = axes.collections
    assert bars_of(added) == [(0.5, 0.7, 1.1, 1.16)]  # the other differences are less than half a step
    assert bars_of(predicted) == [(0.5, 1.25, 1.1, 1.16), (2.0, 2.5, 1.1, 1.16)]
    assert bars_of(labelled) == [(0.25, 1.75, 1.03, 1.09)]
    assert bars_of(band) == [(0.5, 1.25, 0, 1), (2.0, 2.5, 0, 1)]
    assert (predicted.get_label(), labelled.get_label()) == ("found", "labelled")
    colors = [to_hex(part.get_facecolor()[0]) for part in (predicted, labelled, band)]
    assert colors == ["#d9610a", "#17805c", "#d9610a"]
    assert (band.get_alpha(), band.get_linewidth()) == (0.12, [0])
    assert axes.get_legend_handles_labels()[1] == [
        *("score", "score in context", "threshold", "found", "labelled", "added"),
    ]


def test_the_timeline_has_the_length_of_the_match_and_the_marks_of_a_clock():
    axes = plotted()
    assert len(axes.collections) == 3
    assert axes.get_legend_handles_labels()[1] == ["score", "score in context", "threshold", "found", "added"]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 2.5), (0, 1.2))
    assert axes.get_yticks().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert axes.get_ylabel() == "score"
    assert axes.xaxis.get_major_formatter()(3725.5, 0) == "01:02:05"
    assert np.diff(axes.get_xticks()).tolist() == [1] * (len(axes.get_xticks()) - 1)
    assert [name for name, spine in axes.spines.items() if not spine.get_visible()] == ["right", "top"]


@pytest.mark.parametrize(
    ("duration_sec", "step_sec"),
    [
        (3, 1),
        (12, 1),
        (12.1, 2),
        (24, 2),
        (24.1, 5),
        (60, 5),
        (61, 10),
        (120, 10),
        (121, 30),
        (360, 30),
        (361, 60),
        (720, 60),
        (721, 120),
        (1440, 120),
        (1441, 300),
        (3600, 300),
        (3601, 600),
        (7200, 600),
        (7201, 900),
        (10800, 900),
        (10801, 1800),
        (21600, 1800),
        (21601, 3600),
        (43200, 3600),
        (43201, 7200),
    ],
)
def test_marks_are_at_most_twelve_steps_of_a_clock(duration_sec, step_sec):
    marks = plots.clock_locator(duration_sec).tick_values(0, duration_sec)
    assert np.diff(marks) == pytest.approx(step_sec)


def test_the_timeline_is_a_figure_of_the_match(monkeypatch):
    plotted, plot = [], plots.plot_timeline

    def record(axes, *arguments):
        plotted.append((axes, *arguments))
        plot(axes, *arguments)

    monkeypatch.setattr(plots, "plot_timeline", record)
    image = outputs.draw_timeline(FOUND)
    assert struct.unpack(">8s8xii", image[:24]) == (b"\x89PNG\r\n\x1a\n", 1430, 396)
    outputs.draw_timeline(replace(FOUND, labelled_sections=None, undecided=np.array([[0, 10], [40, 50]])))
    (axes, scores, in_context, step_sec, duration_sec, threshold, predicted_sec, labelled_sec, *others), second = (
        plotted
    )
    start_sec, score_name, left_out, added, undecided_sec = others
    assert scores.tolist() == STEP_SCORES.ravel().tolist()
    assert in_context.tolist() == FOUND.decoded_scores.tolist()
    assert (step_sec, duration_sec, threshold) == (pytest.approx(0.35), 2.8, 0.512346)
    assert predicted_sec == pytest.approx(FOUND.sections_sec)
    assert labelled_sec == pytest.approx(np.array([[0.04 + 5 * 1.001 / 30, 0.04 + 30 * 1.001 / 30]]))
    assert (start_sec, score_name, second[-6]) == (0, "score", None)
    assert undecided_sec is None
    assert second[-1].tolist() == FOUND.info.frame_times_sec[[[0, 10], [40, 50]]].tolist()
    assert (left_out, added) == ("left out", "added by --padding")
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "score",
        "score in context",
        "threshold",
        "found",
        "labelled",
        "left out",
    ]
    # The legend lies in one row above the axes.
    box, frame = legend.get_window_extent(), axes.get_window_extent()
    assert box.y0 >= frame.y1
    assert box.x1 <= frame.x1 + 1
    assert box.height < box.width / 5
    assert not legend.get_frame_on()
