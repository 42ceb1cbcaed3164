"""Augment batches for training with a time shift with rollover: what leaves a sequence at its end enters at its start.

A network so sees segments that start at other times than those of the dataset.
"""

import math

import numpy as np

from videosummarizer.dataset.metadata import DataConfig

# The target of a time step that undecided time touches.
UNDECIDED = -1.0


def count_shifts(config: DataConfig, num_steps: int) -> int:
    """Return how many evenly spaced time shifts of a segment end both between two frames and between two steps.

    Args:
        config: of the dataset.
        num_steps: K, the time steps of a segment.
    """
    is_even = abs(config.segment_length * config.video_sample_rate - config.num_frames) < 1e-6
    return math.gcd(config.num_frames, num_steps) if is_even else 1


def shift_in_time(array: np.ndarray, shift: float, time_axis: int = 2) -> np.ndarray:
    """Shift the contents of consecutive segments to a later time, with rollover: the end moves to the beginning.

    Args:
        array: (B, S, ...), B sequences of S consecutive segments.
        shift: how far to shift, as a fraction of a segment's length.
        time_axis: the axis of `array` along which the time inside a segment runs.

    Returns:
        A new array of the same shape and dtype.
    """
    array = np.moveaxis(array, time_axis, 2)
    flat = array.reshape(array.shape[0], -1, *array.shape[3:])
    shifted = np.roll(flat, round(shift * array.shape[2]), axis=1).reshape(array.shape)
    return np.moveaxis(shifted, 2, time_axis)


def shift_batch(
    inputs: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    is_used: np.ndarray,
    shift: float,
    class_weights: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Shift each sequence of a batch to a later time.

    Labels and class weights are computed for the shifted segments. A segment gets weight 0 if its two parts are not
    contiguous in the match, or if its label depends on undecided steps.

    Args:
        inputs: the batch's "video" and "audio", as `data_loader.Batches` describes them.
        targets: its "highlight" and "steps".
        is_used: (B, S) bool, False for padding.
        shift: how far to shift, as a fraction of a segment's length above 0.
        class_weights: (2,) float64, the weights of labels 0 and 1.

    Returns:
        The same three with new arrays.
    """
    steps = shift_in_time(targets["steps"], shift)
    # The rule of sections.label_segments, with a tolerance above the rounding error of float32.
    is_highlight, would_be = (
        np.where(steps == UNDECIDED, value, steps).mean(axis=2, dtype=np.float64) > 0.5 + 1e-6 for value in (0, 1)
    )
    is_contiguous = is_used & np.roll(is_used, 1, axis=1)
    is_contiguous[:, 0] = False
    shifted_weights = class_weights[is_highlight.astype(int)] * (is_contiguous & (is_highlight == would_be))
    shifted_inputs = {
        name: shift_in_time(array, shift, time_axis)
        for name, array, time_axis in (("video", inputs["video"], 2), ("audio", inputs["audio"], -1))
    }
    shifted_targets = {"highlight": is_highlight[:, :, np.newaxis].astype(np.float32), "steps": steps}
    return shifted_inputs, shifted_targets, shifted_weights.astype(np.float32)
