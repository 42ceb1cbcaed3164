"""What is in the figures of training and of a test, as matplotlib was told to draw it."""

import unicodedata
import warnings

import numpy as np
import pytest
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from videosummarizer.evaluation import plots
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch

POINT = OperatingPoint(threshold=0.45, section_penalty=0.7)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn from now on."""
    drawn, plain = [], plots.to_png
    monkeypatch.setattr(plots, "to_png", lambda figure: drawn.append(figure) or plain(figure))
    return drawn


def make_match(title, step_scores, sections_sec, duration_sec):
    """A match of 2 s segments with two steps each."""
    steps = np.array(step_scores, np.float32).reshape(-1, 2)
    sections_sec = np.array(sections_sec, float).reshape(-1, 2)
    middles_sec = np.arange(len(steps)) * 2 + 1
    labels = np.array([int(any(start < middle < end for start, end in sections_sec)) for middle in middles_sec])
    return ScoredMatch(title, 2.0, duration_sec, labels, sections_sec, steps.mean(axis=1), steps)


@pytest.fixture
def matches():
    return [
        make_match("final $5^2$", [0.1, 0.2, 0.9, 0.8, 0.3, 0.7, 0.2, 0.0], [[2.0, 4.0]], 7.5),
        make_match("quiet", [0.2, 0.1, 0.65, 0.3], [], 4.0),
        make_match("late", [0.1, 0.1, 0.2, 0.1, 0.6, 0.9], [[3.5, 6.0]], 6.0),
    ]


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_the_history_shows_losses_left_and_metrics_right(figures):
    history = [
        {"epoch": 1, "loss": 0.9, "val_loss": 0.8, "val_f1": 0.1, "val_average_precision": 0.3},
        {"epoch": 2, "loss": 0.5, "val_loss": 0.7, "val_f1": 0.6, "val_average_precision": 0.4},
        {"epoch": 3, "loss": 0.2, "val_loss": 0.75, "val_f1": 0.5, "val_average_precision": 0.45},
    ]
    image = plots.plot_history(history)
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    (figure,) = figures
    left, right = figure.axes
    curves = {label: line.get_ydata() for axes in (left, right) for label, line in lines_of(axes).items()}
    assert list(curves) == ["train", "valid", "f1", "average precision"]
    for received, expected in zip(
        curves.values(), ([0.9, 0.5, 0.2], [0.8, 0.7, 0.75], [0.1, 0.6, 0.5], [0.3, 0.4, 0.45]), strict=True
    ):
        assert list(received) == expected
    assert len(lines_of(left)) == len(lines_of(right)) == 2
    for axes, title in ((left, "Loss"), (right, "Validation")):
        assert [list(line.get_xdata()) for line in axes.get_lines()] == [[1, 2, 3]] * 2
        assert (axes.get_title(), axes.get_xlabel()) == (title, "epoch")
        assert all(line.get_marker() == "." for line in axes.get_lines())  # one epoch is no line
        assert axes.get_legend() is not None
        assert all(float(tick).is_integer() for tick in axes.xaxis.get_major_locator().tick_values(1, 3))
    assert (left.get_ylabel(), right.get_ylim()) == ("loss", (0, 1))


def test_precision_over_recall_has_a_curve_for_each_kind_of_scores(figures):
    labels = np.array([0, 1, 0, 0, 1, 0, 1, 0])
    scores = {"model": np.array([0.2, 0.9, 0.4, 0.1, 0.8, 0.85, 0.3, 0.0]), "loudness": np.linspace(1, 0, 8)}
    plots.plot_precision_recall(labels, scores, 2 / 3, 0.4)
    (axes,) = figures[0].axes
    lines = lines_of(axes)
    # Of the model's ranking 1 0 1 0 1: found at ranks 1, 3 and 5; of loudness at ranks 2, 5 and 7.
    names = [
        f"model, average precision {(1 + 2 / 3 + 3 / 5) / 3:.3f}",
        f"loudness, average precision {(1 / 2 + 2 / 5 + 3 / 7) / 3:.3f}",
        "everything is a highlight, 0.375",
        "operating point",
    ]
    assert list(lines) == names
    for name, values in zip(names, scores.values(), strict=False):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(labels, values)
        np.testing.assert_array_equal(lines[name].get_xdata(), recall)
        np.testing.assert_array_equal(lines[name].get_ydata(), precision)
        assert lines[name].get_drawstyle() == "steps-post"
    assert lines[names[0]].get_linewidth() > lines[names[1]].get_linewidth()
    assert len({lines[name].get_color() for name in names}) == 4
    assert list(lines[names[2]].get_ydata()) == [0.375, 0.375]
    assert (list(lines[names[3]].get_xdata()), list(lines[names[3]].get_ydata())) == ([2 / 3], [0.4])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")
    assert axes.get_legend() is not None
    for limits in (axes.get_xlim(), axes.get_ylim()):
        assert limits[0] == 0
        assert 1 < limits[1] < 1.1


def test_the_operating_point_of_a_test_is_where_its_sections_are(matches, figures):
    levels = np.linspace(0, 1, 9)
    images = plots.plot_test(matches, POINT, levels)
    assert list(images) == ["precision_recall.png", "calibration.png", "test_matches.png"]
    curves, rows = [figure for figure in figures if len(figure.axes) == 1], [f for f in figures if len(f.axes) == 3]
    assert len(curves) == len(rows) == 1
    lines = lines_of(curves[0].axes[0])
    # Found: 2 to 6 s of the first match, 2 to 3 s of the second, 4 to 6 s of the last: of 9 segments 1, 2 and 8; the
    # labels are of 1, 7 and 8.
    assert [label for match in matches for label in match.labels] == [0, 1, 0, 0, 0, 0, 0, 0, 1]
    (point,) = (line for name, line in lines.items() if name == "operating point")
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([1], [2 / 3])
    assert [name.split(",")[0] for name in lines][:2] == ["model", "loudness"]
    (loudness,) = (line for name, line in lines.items() if name.startswith("loudness"))
    labels = np.concatenate([match.labels for match in matches])
    np.testing.assert_array_equal(loudness.get_xdata(), sklearn.metrics.precision_recall_curve(labels, levels)[1])


def test_nothing_found_is_a_precision_of_0_and_loudness_may_be_unknown(matches, figures):
    plots.plot_test(matches, OperatingPoint(threshold=1.0), None)
    lines = lines_of(next(figure for figure in figures if len(figure.axes) == 1).axes[0])
    (point,) = (line for name, line in lines.items() if name == "operating point")
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([0], [0])
    assert not any(name.startswith("loudness") for name in lines)


def test_a_row_shows_a_matchs_scores_sections_and_labels(matches, figures):
    plots.plot_matches(matches, POINT)
    (figure,) = figures
    assert figure.get_size_inches().tolist() == pytest.approx([13, 0.6 + 3 * 1.9])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["final $5^2$", "quiet", "late"]
    predicted = [[(2.0, 4.0)], [(2.0, 1.0)], [(4.0, 2.0)]]
    labelled = [[(2.0, 2.0)], [], [(3.5, 2.5)]]
    for axes, match, predicted_bars, labelled_bars in zip(figure.axes, matches, predicted, labelled, strict=True):
        assert axes.get_xlim() == (0, match.duration_sec)
        assert list(axes.get_yticks()) == [0, 0.5, 1]
        assert not axes._left_title.get_parse_math()
        curve = next(patch for patch in axes.patches if patch.get_label() == "score").get_data()
        np.testing.assert_array_equal(curve.values, match.step_scores.ravel())
        edges_sec = np.minimum(np.arange(match.step_scores.size + 1), match.duration_sec)
        np.testing.assert_array_equal(curve.edges, edges_sec)
        in_context = next(patch for patch in axes.patches if patch.get_label() == "score in context").get_data()
        np.testing.assert_array_equal(in_context.values, match.decoded_scores(POINT))
        np.testing.assert_array_equal(in_context.edges, edges_sec)
        above = [
            (start, end)
            for value, start, end in zip(in_context.values, edges_sec[:-1], edges_sec[1:], strict=True)
            if value >= 0.45
        ]
        assert sum(end - start for start, end in above) == sum(width for _, width in predicted_bars)
        assert all(any(left <= start < left + width for left, width in predicted_bars) for start, _ in above)
        assert list(lines_of(axes)["threshold"].get_ydata()) == [0.45, 0.45]
        bars = {bar.get_label(): bar for bar in axes.collections}
        for name, expected in (("found", predicted_bars), ("labelled", labelled_bars)):
            extents = [path.get_extents() for path in bars[name].get_paths()]
            assert [(box.x0, pytest.approx(box.width)) for box in extents] == [
                (start, pytest.approx(width)) for start, width in expected
            ]
    assert figure.axes[0].get_legend() is not None
    assert [axes.get_legend() for axes in figure.axes[1:]] == [None, None]


def test_a_reliability_diagram_shows_targets_over_scores(matches, figures):
    bins = {"counts": [2, 0, 6], "mean_scores": [0.1, np.nan, 0.9], "mean_targets": [0.0, np.nan, 0.7]}
    per_step = {**bins, "mean_targets": [0.2, np.nan, 0.8], "expected_calibration_error": 0.1}
    calibration = {"per_segment": {**bins, "expected_calibration_error": 0.175}, "per_step": per_step}
    assert plots.plot_reliability(calibration)[:4] == b"\x89PNG"
    above, below = figures[0].axes
    lines = lines_of(above)
    names = ["calibrated", "segments, expected calibration error 0.175", "time steps, expected calibration error 0.100"]
    assert list(lines) == names
    for name, targets in zip(names[1:], ([0, 0.7], [0.2, 0.8]), strict=True):
        x, y = lines[name].get_data()
        assert (np.delete(x, 1).tolist(), np.delete(y, 1).tolist()) == ([0.1, 0.9], targets)
    assert list(lines["calibrated"].get_ydata()) == [0, 1]
    assert [patch.get_data().values.tolist() for patch in below.patches] == [[0.25, 0, 0.75]] * 2


def test_many_matches_are_on_several_pages(matches, figures, monkeypatch):
    many = [make_match(f"match {number}", [0.1, 0.9], [[0, 2]], 2.0) for number in range(7)]
    monkeypatch.setattr(plots, "NUM_ROWS", 3)
    pages = plots.plot_matches(many, POINT)
    assert [[axes.get_title(loc="left") for axes in figure.axes] for figure in figures] == [
        ["match 0", "match 1", "match 2"],
        ["match 3", "match 4", "match 5"],
        ["match 6"],
    ]
    names = ["test_matches.png", "test_matches_2.png", "test_matches_3.png"]
    images = plots.plot_test(many, POINT, None)
    assert list(images)[2:] == names
    assert [images[name] for name in names] == pages


def test_a_page_of_as_many_as_fit_is_one(matches, monkeypatch):
    monkeypatch.setattr(plots, "NUM_ROWS", 3)
    assert len(plots.plot_matches(matches, POINT)) == 1


def test_a_full_page_is_no_higher_than_a_png_may_be():
    assert (0.6 + plots.ROW_HEIGHT_INCH * plots.NUM_ROWS) * 90 < 65535
    assert plots.NUM_ROWS >= 50


def test_titles_are_drawn_with_installed_fonts(monkeypatch):
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["Arial", "NanumGothic", "DejaVu Sans"])
    assert plots.title_fonts() == ["DejaVu Sans", "NanumGothic"]


def test_a_letter_without_a_font_is_a_box_and_other_warnings_are_heard():
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0.5, 0.5, "\U00010330", fontfamily="DejaVu Sans")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plots.to_png(figure)[:4] == b"\x89PNG"
    figure.savefig = lambda *arguments, **settings: warnings.warn("something else", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="something else"):
        plots.to_png(figure)


def test_the_timeline_is_drawn_as_stairs_draws_it_and_its_limits_are_not_computed_from_each_step(monkeypatch):
    scores = np.array([0.2, 0.9, 0.5, 0.1])
    arguments = (scores, scores[:3], 0.5, 1.8, 0.45, np.array([[0.5, 1.0]]), None)

    def draw():
        figure = Figure(figsize=(6, 3), dpi=50)
        plots.plot_timeline(figure.add_subplot(), *arguments)
        figure.axes[0].legend()
        return plots.to_png(figure)

    class ByStairs(Axes):
        def add_artist(self, patch):
            edges = patch.get_data().edges
            style = {"baseline": None, "fill": patch.get_fill(), "label": patch.get_label(), "alpha": patch.get_alpha()}
            color = patch.get_facecolor() if patch.get_fill() else patch.get_edgecolor()
            return self.stairs(patch.get_data().values, edges, color=color, linewidth=patch.get_linewidth(), **style)

    image = draw()
    with monkeypatch.context() as patch:
        patch.setattr(Axes, "add_artist", ByStairs.add_artist)
        assert draw() == image
    monkeypatch.setattr(Axes, "stairs", lambda *arguments, **style: pytest.fail("takes 26 s for 150,000 segments"))
    assert draw() == image


def test_decomposed_titles_are_drawn_composed_and_any_title_without_a_warning(figures):
    titles = ["결승전", "$x^$", r"{a}_b\n^%d", "ไทย हिन्दी \U0001f600", "가" * 80]
    matches = [make_match(unicodedata.normalize("NFD", title), [0.1, 0.9], [], 2.0) for title in titles]
    plots.plot_matches(matches, POINT)
    assert [axes.get_title(loc="left") for axes in figures[0].axes] == titles


# ---- Why there is a section, or none


@pytest.mark.parametrize("selection", ["rule", "some left out", "others"])
def test_no_time_is_above_the_threshold_without_a_section_or_the_reverse_but_it_is_marked(selection):
    point = OperatingPoint(0.45, 2.0)
    steps = np.random.default_rng(3).beta(0.8, 0.9, 200)
    match = make_match("match", steps, [], 199.5)
    predicted_sec = match.predicted_sections_sec(point)
    assert len(predicted_sec) >= 6
    if selection == "some left out":
        predicted_sec = predicted_sec[::2]
    elif selection == "others":
        predicted_sec = predicted_sec[:4] + 1.25
    axes = Figure().add_subplot()
    names = ("left out by --length", "added by --padding")
    shown = match.decoded_scores(point)
    plots.plot_timeline(axes, steps, shown, 1.0, 199.5, 0.45, predicted_sec, None, 0.0, "score", *names)
    at_sec = np.arange(0.125, 199.5, 0.25)
    curves = {patch.get_label(): patch.get_data().values[at_sec.astype(int)] for patch in axes.patches}

    def covered(name):
        boxes = [path.get_extents() for bar in axes.collections if bar.get_label() == name for path in bar.get_paths()]
        return np.any(
            [(box.x0 <= at_sec) & (at_sec < box.x1) for box in boxes] or [np.zeros(len(at_sec), bool)], axis=0
        )

    above, alone, is_section = curves["score in context"] >= 0.45, curves["score"] >= 0.45, covered("found")
    np.testing.assert_array_equal(covered("left out by --length"), above & ~is_section)
    np.testing.assert_array_equal(covered("added by --padding"), is_section & ~above)
    np.testing.assert_array_equal(covered("too short for a section"), alone & ~above & ~is_section)
    assert (alone & ~is_section).mean() > 0.1
    if selection == "rule":
        np.testing.assert_array_equal(above, is_section)


def test_the_legend_names_what_only_later_rows_show(matches, figures):
    quiet = make_match("quiet", [0.1] * 6, [], 6.0)
    short = make_match("short", [0.1, 0.1, 0.6, 0.1, 0.1, 0.1], [], 6.0)
    plots.plot_matches([quiet, short], OperatingPoint(0.5, 5.0))
    legend = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    assert legend[-1] == "too short for a section"
