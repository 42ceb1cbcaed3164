"""Plot training and test results as PNG files in memory.

`plot_history` shows the metrics over the epochs. `plot_test` shows precision over recall, how often scores come true,
and the scores and sections of every match over time. `to_png` turns any matplotlib figure into a PNG file whose titles
may be Korean.
"""

import io
import warnings
from collections.abc import Sequence

import numpy as np

from videosummarizer.evaluation import decoding
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch
from videosummarizer.evaluation.quality_report import concatenate_matches, evaluate_calibration
from videosummarizer.labels import format_time
from videosummarizer.match_files import compose
from videosummarizer.sections import runs_of, subtract_sections

# The colors of the review page (extraction/page/page.css).
SCORE_COLOR = "#5b6ee1"
PREDICTED_COLOR = "#d9610a"
LABELLED_COLOR = "#17805c"
UNDECIDED_COLOR = "#b4bac4"
# What is too short for a section, and the parts of sections that were not detected.
TOO_SHORT_COLOR = "#a9b0bc"
ADDED_COLOR = "#f5cba8"
# Entries in a row of the legend above a timeline: all of them.
NUM_LEGEND_COLUMNS = 8
# The number of matches in one PNG: matplotlib draws at most 65,535 pixels in height.
NUM_ROWS = 50
# The height of one match's row.
ROW_HEIGHT_INCH = 1.9
# The colors of precision-recall curves, the model's first.
CURVE_COLORS = (SCORE_COLOR, "#17805c")
# Fonts for the letters that matplotlib's own font lacks, as titles may be Korean. Only installed ones are used.
TITLE_FONTS = ("Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans CJK JP")


def plot_history(history: Sequence[dict]) -> bytes:
    """Plot the losses and the validation metrics over the epochs.

    Args:
        history: For each epoch, at least one: its number, "loss", "val_loss" and metrics in [0, 1] named "val_...".

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(11, 4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (("loss", "train"), ("val_loss", "valid")):
        left.plot(epochs, [row[name] for row in history], marker=".", label=label)
    for name in history[0]:
        if name.startswith("val_") and name != "val_loss":
            label = name.removeprefix("val_").replace("_", " ")
            right.plot(epochs, [row[name] for row in history], marker=".", label=label)
    left.set(xlabel="epoch", ylabel="loss", title="Loss")
    right.set(xlabel="epoch", ylim=(0, 1), title="Validation")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        axes.grid(alpha=0.3)
    return to_png(figure)


def plot_test(matches: Sequence[ScoredMatch], point: OperatingPoint, levels: np.ndarray | None) -> dict[str, bytes]:
    """Plot the results of a test.

    Args:
        matches: The test matches with the model's scores.
        point: The model's operating point.
        levels: (num_segments,) float, RMS levels for comparison, None without them.

    Returns:
        PNG files by their names.
    """
    labels, scores, predicted = concatenate_matches(matches, point)
    scores_of = {"model": scores}
    if levels is not None:
        scores_of["loudness"] = levels
    num_true_positive = (labels * predicted).sum()
    recall, precision = num_true_positive / labels.sum(), num_true_positive / max(predicted.sum(), 1)
    pages = plot_matches(matches, point)
    names = ["test_matches.png", *(f"test_matches_{number}.png" for number in range(2, len(pages) + 1))]
    return {
        "precision_recall.png": plot_precision_recall(labels, scores_of, recall, precision),
        "calibration.png": plot_reliability(evaluate_calibration(matches)),
        **dict(zip(names, pages, strict=True)),
    }


def plot_precision_recall(
    reference_labels: np.ndarray, scores_of: dict[str, np.ndarray], operating_recall: float, operating_precision: float
) -> bytes:
    """Plot precision over recall by segment, with a curve for each kind of scores, and mark the operating point.

    Args:
        reference_labels: (num_segments,) int of 0 or 1, at least one of each.
        scores_of: By the curve's name, (num_segments,) float; one or two. The first curve is the thickest.
        operating_recall: The recall at the operating point.
        operating_precision: The precision at the operating point.

    Returns:
        A PNG file.
    """
    import sklearn.metrics
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for index, (name, scores) in enumerate(scores_of.items()):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(reference_labels, scores)
        average_precision = sklearn.metrics.average_precision_score(reference_labels, scores)
        label, width = f"{name}, average precision {average_precision:.3f}", 1.2 if index else 2
        axes.step(recall, precision, where="post", linewidth=width, color=CURVE_COLORS[index], label=label)
    highlight_ratio = reference_labels.mean()
    axes.axhline(
        highlight_ratio,
        color="#5a6372",
        linestyle="--",
        linewidth=1,
        label=f"everything is a highlight, {highlight_ratio:.3f}",
    )
    axes.plot(operating_recall, operating_precision, "o", color=PREDICTED_COLOR, markersize=9, label="operating point")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title="Segments of the test matches")
    axes.legend(loc="lower left", fontsize="small")
    axes.grid(alpha=0.3)
    return to_png(figure)


def plot_reliability(calibration: dict[str, dict]) -> bytes:
    """Plot a reliability diagram: the mean target of each bin of scores over its mean score, and below, the counts.

    Args:
        calibration: The result of `quality_report.evaluate_calibration`.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6.4), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color="#5a6372", linestyle="--", linewidth=1, label="calibrated")
    for (name, label), color in zip(
        (("per_segment", "segments"), ("per_step", "time steps")), CURVE_COLORS, strict=True
    ):
        bins = calibration[name]
        counts, error = np.array(bins["counts"]), bins["expected_calibration_error"]
        label = f"{label}, expected calibration error {error:.3f}"
        above.plot(bins["mean_scores"], bins["mean_targets"], marker="o", color=color, label=label)
        edges = np.linspace(0, 1, len(counts) + 1)
        below.stairs(counts / max(counts.sum(), 1), edges, color=color, linewidth=1.5)
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="highlighted part", title="How often scores come true")
    below.set(xlabel="score", ylabel="part of all")
    above.legend(loc="upper left", fontsize="small")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return to_png(figure)


def plot_matches(matches: Sequence[ScoredMatch], point: OperatingPoint) -> list[bytes]:
    """Plot the scores, alone and in context, the threshold, the labels and the predicted sections of matches over time.

    Returns:
        PNG files with one row for each match and at most NUM_ROWS rows.
    """
    return [plot_page(matches[first : first + NUM_ROWS], point) for first in range(0, len(matches), NUM_ROWS)]


def plot_page(matches: Sequence[ScoredMatch], point: OperatingPoint) -> bytes:
    """Plot one of the PNG files of `plot_matches`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 0.6 + ROW_HEIGHT_INCH * len(matches)), dpi=90, layout="constrained")
    rows = figure.subplots(len(matches), squeeze=False)[:, 0]
    for axes, match in zip(rows, matches, strict=True):
        plot_timeline(
            axes,
            match.step_scores.ravel(),
            match.decoded_scores(point),
            match.step_sec,
            match.duration_sec,
            point.threshold,
            match.predicted_sections_sec(point),
            match.sections_sec,
            undecided_sec=match.undecided_sec,
        )
        axes.set_title(compose(match.title), loc="left", fontsize="medium", parse_math=False)
        axes.set(yticks=[0, 0.5, 1])
    add_legend(rows)
    return to_png(figure)


def add_legend(rows: Sequence) -> None:
    """Add a legend above the first axes, with all that is drawn in any of them."""
    handles = {}
    for axes in rows:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    style = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": NUM_LEGEND_COLUMNS, "frameon": False}
    rows[0].legend(handles.values(), handles, **style)


def title_fonts() -> list[str]:
    """Return matplotlib's own font and the installed fonts among TITLE_FONTS."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in TITLE_FONTS if name in installed)]


def to_png(figure) -> bytes:
    """Render a matplotlib figure as a PNG file, with fonts that have Korean letters where any are installed.

    A letter that no font has becomes a box, without a warning.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfamily(title_fonts())
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="png")
    return file.getvalue()


def plot_timeline(
    axes,
    scores: np.ndarray | None,
    decoded_scores: np.ndarray | None,
    step_sec: float | None,
    duration_sec: float,
    threshold: float | None,
    predicted_sec: np.ndarray,
    labelled_sec: np.ndarray | None,
    start_sec: float = 0.0,
    score_name: str = "score",
    left_out_name: str = "left out",
    added_name: str = "added",
    undecided_sec: np.ndarray | None = None,
) -> None:
    """Plot a match over time: its scores, alone and in context, the threshold, predicted sections and labelled ones.

    Sections are detected where the score in context reaches the threshold. Where it does and no section is predicted,
    or the reverse, marks say why; and where only the scores alone reach it.
    Without scores, only the sections are plotted; `scores` and what belongs to them are then None.

    Args:
        axes: The matplotlib axes to draw on.
        scores: (num_steps,) float in [0, 1].
        decoded_scores: Float in [0, 1] of the steps that begin before the match's end, as of `decoding.decoded_scores`.
        step_sec: Seconds of a time step.
        duration_sec: Seconds of the match.
        threshold: In [0, 1].
        predicted_sec: (num_sections, 2) float64 seconds.
        labelled_sec: (num_sections, 2) float64 seconds, None without labels.
        start_sec: Where the first step begins.
        score_name: What the scores are called.
        left_out_name: What detected sections are called that are not predicted.
        added_name: What parts of predicted sections are called that are not detected.
        undecided_sec: (num_ranges, 2) float64 seconds, hatched, as nobody has looked at them; None without any.
    """
    if scores is not None:
        plot_scores(axes, scores, decoded_scores, step_sec, duration_sec, threshold, start_sec, score_name)
    lanes = [("sections" if scores is None else "found", predicted_sec, PREDICTED_COLOR, 1.1)]
    if labelled_sec is not None:
        lanes.append(("labelled", labelled_sec, LABELLED_COLOR, 1.03))
    for name, sections_sec, color, bottom in lanes:
        bars = np.stack([sections_sec[:, 0], sections_sec[:, 1] - sections_sec[:, 0]], axis=1)
        axes.broken_barh(bars, (bottom, 0.06), color=color, label=name)
    if scores is not None:
        names = ("too short for a section", left_out_name, added_name)
        edges_sec = step_edges_sec(len(decoded_scores), step_sec, duration_sec, start_sec)
        plot_differences(axes, explain_differences(scores, decoded_scores, threshold, edges_sec, predicted_sec), names)
    bars = np.stack([predicted_sec[:, 0], predicted_sec[:, 1] - predicted_sec[:, 0]], axis=1)
    axes.broken_barh(bars, (0, 1), color=PREDICTED_COLOR, alpha=0.12, linewidth=0)
    if undecided_sec is not None and len(undecided_sec):
        bars = np.stack([undecided_sec[:, 0], undecided_sec[:, 1] - undecided_sec[:, 0]], axis=1)
        style = {"facecolor": UNDECIDED_COLOR, "edgecolor": "#ffffff", "hatch": "///", "linewidth": 0, "alpha": 0.5}
        axes.broken_barh(bars, (0, 1.09), label="undecided", **style)
    axes.set(xlim=(0, duration_sec), ylim=(0, 1.2), yticks=[])
    if scores is not None:
        axes.set(yticks=[0, 0.25, 0.5, 0.75, 1], ylabel=score_name)
    axes.xaxis.set_major_locator(clock_locator(duration_sec))
    axes.xaxis.set_major_formatter(lambda seconds, _: format_time(seconds))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def step_edges_sec(num_steps: int, step_sec: float, duration_sec: float, start_sec: float) -> np.ndarray:
    """Return (num_steps + 1,) float64 seconds: where each step begins, and where the last one ends."""
    return np.minimum(start_sec + np.arange(num_steps + 1) * step_sec, duration_sec)


def explain_differences(
    scores: np.ndarray,
    decoded_scores: np.ndarray,
    threshold: float,
    edges_sec: np.ndarray,
    predicted_sec: np.ndarray,
) -> list[np.ndarray]:
    """Find where the curves and the predicted sections differ.

    Args:
        scores, decoded_scores, threshold: As for `plot_timeline`.
        edges_sec: (num_steps + 1,) float64, where the steps of the decoded scores begin, and the end of the last.
        predicted_sec: (num_sections, 2) float64 seconds.

    Returns:
        Three arrays of (num_stretches, 2) float64 seconds, of stretches that last as long as half a step: outside
        sections, what reaches the threshold alone but not in context; what reaches it in context, outside sections; and
        what does not, inside sections.
    """
    detected_sec = edges_sec[runs_of(decoded_scores >= threshold)]
    too_short_sec = edges_sec[decoding.find_too_short(scores, decoded_scores, threshold)]
    parts_sec = [
        subtract_sections(too_short_sec, predicted_sec),
        subtract_sections(detected_sec, predicted_sec),
        subtract_sections(predicted_sec, detected_sec),
    ]
    shortest_sec = (edges_sec[1] - edges_sec[0]) / 2  # sections begin and end with frames, detected ones with steps
    return [part[part[:, 1] - part[:, 0] >= shortest_sec] for part in parts_sec]


def plot_differences(axes, stretches_sec: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Plot the stretches of `explain_differences` with their names, in the lane of the predicted sections."""
    styles = (
        {"facecolor": TOO_SHORT_COLOR},
        {"facecolor": "none", "edgecolor": PREDICTED_COLOR, "linewidth": 1},
        {"facecolor": ADDED_COLOR},
    )
    for stretches, name, style in zip(stretches_sec, names, styles, strict=True):
        if len(stretches):
            bars = np.stack([stretches[:, 0], stretches[:, 1] - stretches[:, 0]], axis=1)
            axes.broken_barh(bars, (1.1, 0.06), label=name, **style)


def plot_scores(
    axes,
    scores: np.ndarray,
    decoded_scores: np.ndarray,
    step_sec: float,
    duration_sec: float,
    threshold: float,
    start_sec: float,
    score_name: str,
) -> None:
    """Plot the scores of `plot_timeline` and the threshold."""
    from matplotlib.patches import StepPatch

    edges_sec = step_edges_sec(len(scores), step_sec, duration_sec, start_sec)
    for values, style in (
        (scores, {"linewidth": 0.8, "edgecolor": SCORE_COLOR, "alpha": 0.6, "label": score_name}),
        (decoded_scores, {"linewidth": 1.6, "edgecolor": PREDICTED_COLOR, "label": f"{score_name} in context"}),
    ):
        # axes.stairs draws the same, but computes the limits of the axes in Python: 26 s for 150,000 segments.
        axes.add_artist(StepPatch(values, edges_sec[: len(values) + 1], baseline=None, fill=False, **style))
    axes.axhline(threshold, color="#5a6372", linestyle="--", linewidth=1, label="threshold")


def clock_locator(duration_sec: float):
    """Return a matplotlib locator of ticks at round clock times, about twelve at most."""
    from matplotlib.ticker import MultipleLocator

    steps_sec = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600)
    return MultipleLocator(next((step for step in steps_sec if duration_sec / step <= 12), 7200))
