"""The pictures of training and of a test, as PNG files in memory: the history over the epochs, precision over recall,
and every match over time."""

import io
import warnings
from collections.abc import Sequence

import numpy as np

from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch
from videosummarizer.evaluation.quality_report import concatenate_matches
from videosummarizer.labels import format_time

SCORE_COLOR, FOUND_COLOR, LABELLED_COLOR = "#5b6ee1", "#d9610a", "#17805c"  # as on the page


NUM_ROWS = 50  # matches on a page: a picture's side ends at 65,535 pixels
ROW_HEIGHT_INCH = 1.9
CURVE_COLORS = (SCORE_COLOR, "#17805c")
# A title may be in any script; of these, the fonts that the system has are asked for what matplotlib's own lacks.
TITLE_FONTS = ("Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans CJK JP")


def plot_history(history: Sequence[dict]) -> bytes:
    """A PNG: the losses and the validation metrics over the epochs.

    Args:
        history: for each epoch, at least one, its number, "loss", "val_loss" and metrics in [0, 1] named "val_...".
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
    """All pictures of a test by their file names; levels: (num_segments,) loudness for comparison, None without."""
    labels, scores, found = concatenate_matches(matches, point)
    scores_of = {"model": scores}
    if levels is not None:
        scores_of["loudness"] = levels
    recall, precision = (labels * found).sum() / labels.sum(), (labels * found).sum() / max(found.sum(), 1)
    pages = plot_matches(matches, point)
    names = ["test_matches.png", *(f"test_matches_{number}.png" for number in range(2, len(pages) + 1))]
    return {
        "precision_recall.png": plot_precision_recall(labels, scores_of, recall, precision),
        **dict(zip(names, pages, strict=True)),
    }


def plot_precision_recall(
    reference_labels: np.ndarray, scores_of: dict[str, np.ndarray], operating_recall: float, operating_precision: float
) -> bytes:
    """A PNG: precision over recall by segment, a curve for each kind of scores, and the operating point.

    Args:
        reference_labels: (num_segments,) int of 0 or 1, both there.
        scores_of: by the curve's name, (num_segments,) float, up to two; the first is drawn strongest.
        operating_recall, operating_precision: where the operating point is.
    """
    import sklearn.metrics
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for place, (name, scores) in enumerate(scores_of.items()):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(reference_labels, scores)
        average_precision = sklearn.metrics.average_precision_score(reference_labels, scores)
        label, width = f"{name}, average precision {average_precision:.3f}", 1.2 if place else 2
        axes.step(recall, precision, where="post", linewidth=width, color=CURVE_COLORS[place], label=label)
    share = reference_labels.mean()
    axes.axhline(share, color="#5a6372", linestyle="--", linewidth=1, label=f"everything is a highlight, {share:.3f}")
    axes.plot(operating_recall, operating_precision, "o", color=FOUND_COLOR, markersize=9, label="operating point")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title="Segments of the test matches")
    axes.legend(loc="lower left", fontsize="small")
    axes.grid(alpha=0.3)
    return to_png(figure)


def plot_matches(matches: Sequence[ScoredMatch], point: OperatingPoint) -> list[bytes]:
    """PNGs with a row for each match, NUM_ROWS on one: its steps' scores over time, threshold, labels, sections."""
    return [plot_page(matches[first : first + NUM_ROWS], point) for first in range(0, len(matches), NUM_ROWS)]


def plot_page(matches: Sequence[ScoredMatch], point: OperatingPoint) -> bytes:
    """One of the PNGs of `plot_matches`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 0.6 + ROW_HEIGHT_INCH * len(matches)), dpi=90, layout="constrained")
    rows = figure.subplots(len(matches), squeeze=False)[:, 0]
    for axes, match in zip(rows, matches, strict=True):
        scores, found_sec = match.step_scores.ravel(), match.found_sections_sec(point)
        plot_timeline(axes, scores, match.step_sec, match.duration_sec, point.threshold, found_sec, match.sections_sec)
        axes.set_title(match.title, loc="left", fontsize="medium", fontfamily=title_fonts(), parse_math=False)
        axes.set(yticks=[0, 0.5, 1])
    rows[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    return to_png(figure)


def title_fonts() -> list[str]:
    """matplotlib's own font, and those of TITLE_FONTS that the system has."""
    from matplotlib import font_manager

    there = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in TITLE_FONTS if name in there)]


def to_png(figure) -> bytes:
    """A matplotlib figure as a PNG file. A letter that no font has is drawn as a box, without a warning."""
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
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
    axes.xaxis.set_major_locator(clock_locator(duration_sec))
    axes.xaxis.set_major_formatter(lambda seconds, _: format_time(seconds))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def clock_locator(duration_sec: float):
    """Marks at whole steps of a clock, at most twelve or so."""
    from matplotlib.ticker import MultipleLocator

    steps_sec = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600)
    return MultipleLocator(next((step for step in steps_sec if duration_sec / step <= 12), 7200))
