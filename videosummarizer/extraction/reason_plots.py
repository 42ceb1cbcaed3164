"""Plot below a match's timeline what its scores are made of, and when which words hold."""

from collections.abc import Sequence

import numpy as np

from videosummarizer.evaluation import plots
from videosummarizer.extraction.reasons import Reasons, are_log_odds, describe_steps
from videosummarizer.sections import runs_of

# The colors of what scores are made of: loudness, audio, video and an offset, or the parts of the activity.
PART_COLORS = ("#8a5bb5", "#2c7fb8", "#2f9e62", "#8d939e")
# The color of the time in which a word holds.
WORD_COLOR = "#a9b0bc"


def plot_reasons(parts_axes, words_axes, reasons: Reasons, step_sec: float, edges_sec: np.ndarray) -> None:
    """Plot the reasons of a match over time.

    Args:
        parts_axes: The matplotlib axes for what the scores are made of.
        words_axes: The ones for the words.
        reasons: The reasons.
        step_sec: Seconds of a time step.
        edges_sec: (num_steps + 1,) float64 seconds, where the steps begin, and the end of the last.
    """
    num_steps = len(edges_sec) - 1
    y_label = "log-odds" if are_log_odds(reasons.part_names) else "parts"
    plot_parts(parts_axes, reasons.step_parts(num_steps), reasons.part_names, edges_sec, y_label)
    plots.add_legend([parts_axes])
    plot_words(words_axes, *describe_steps(reasons, num_steps, step_sec), edges_sec)
    for axes in (parts_axes, words_axes):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


def plot_parts(axes, parts: np.ndarray, part_names: Sequence[str], edges_sec: np.ndarray, y_label: str) -> None:
    """Plot what the scores are made of over time.

    Args:
        axes: The matplotlib axes to draw on.
        parts: (num_steps, N) float, see `reasons.Reasons`.
        part_names: (N,) their names.
        edges_sec: (num_steps + 1,) float64 seconds, where the steps begin, and the end of the last.
        y_label: What is plotted.
    """
    from matplotlib.patches import StepPatch

    for name, values, color in zip(part_names, parts.T, PART_COLORS, strict=False):
        style = {"baseline": None, "fill": False, "linewidth": 1, "edgecolor": color, "label": name}
        axes.add_artist(StepPatch(values, edges_sec, **style))
    lowest, highest = min(parts.min(), 0), max(parts.max(), 0)
    margin = 0.05 * max(highest - lowest, 1e-3)
    axes.set(ylim=(lowest - margin, highest + margin), ylabel=y_label)
    axes.axhline(0, color="#5a6372", linewidth=0.6)


def plot_words(axes, words: Sequence[str], is_said: np.ndarray, edges_sec: np.ndarray) -> None:
    """Plot when words hold, (num_words, num_steps) bool, with a row for each; see `plot_parts` for the edges."""
    for row, holds in enumerate(is_said):
        stretches = edges_sec[runs_of(holds)]
        bars = np.stack([stretches[:, 0], stretches[:, 1] - stretches[:, 0]], axis=1)
        axes.broken_barh(bars, (row + 0.15, 0.7), color=WORD_COLOR)
    axes.set(yticks=np.arange(len(words)) + 0.5, yticklabels=words, ylim=(len(words), 0))
    axes.tick_params(axis="y", length=0, labelsize="small")
