"""The pictures of training and of a test, as PNG files in memory: the history over the epochs, precision over recall,
and every match over time."""

import io
import warnings
from collections.abc import Sequence

import numpy as np

from match_outputs import FOUND_COLOR, SCORE_COLOR, plot_timeline
from operating_point import OperatingPoint, ScoredMatch
from quality_report import join

NUM_ROWS = 50  # matches on a page: a picture's side ends at 65,535 pixels
ROW_HEIGHT_INCH = 1.9
CURVE_COLORS = (SCORE_COLOR, "#17805c")
# A title may be in any script; of these, the fonts that the system has are asked for what matplotlib's own lacks.
TITLE_FONTS = ("Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans CJK JP")


def draw_history(history: Sequence[dict]) -> bytes:
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


def draw_test(matches: Sequence[ScoredMatch], point: OperatingPoint, levels: np.ndarray | None) -> dict[str, bytes]:
    """All pictures of a test by their file names; levels: (num_segments,) loudness for comparison, None without."""
    labels, scores, found = join(matches, point)
    scores_of = {"model": scores}
    if levels is not None:
        scores_of["loudness"] = levels
    recall, precision = (labels * found).sum() / labels.sum(), (labels * found).sum() / max(found.sum(), 1)
    pages = draw_matches(matches, point)
    names = ["test_matches.png", *(f"test_matches_{number}.png" for number in range(2, len(pages) + 1))]
    return {
        "precision_recall.png": draw_precision_recall(labels, scores_of, recall, precision),
        **dict(zip(names, pages, strict=True)),
    }


def draw_precision_recall(
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


def draw_matches(matches: Sequence[ScoredMatch], point: OperatingPoint) -> list[bytes]:
    """PNGs with a row for each match, NUM_ROWS on one: its steps' scores over time, threshold, labels, sections."""
    return [draw_page(matches[first : first + NUM_ROWS], point) for first in range(0, len(matches), NUM_ROWS)]


def draw_page(matches: Sequence[ScoredMatch], point: OperatingPoint) -> bytes:
    """One of the PNGs of `draw_matches`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 0.6 + ROW_HEIGHT_INCH * len(matches)), dpi=90, layout="constrained")
    rows = figure.subplots(len(matches), squeeze=False)[:, 0]
    for axes, match in zip(rows, matches, strict=True):
        scores, found_sec = match.step_scores.ravel(), match.found_sections_sec(point)
        plot_timeline(axes, scores, match.step_sec, match.duration_sec, point.threshold, found_sec, match.sections_sec)
        axes.set_title(match.title, loc="left", fontsize="medium", fontfamily=fonts(), parse_math=False)
        axes.set(yticks=[0, 0.5, 1])
    rows[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    return to_png(figure)


def fonts() -> list[str]:
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
