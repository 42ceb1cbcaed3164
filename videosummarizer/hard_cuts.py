"""Which changes from frame to frame are hard cuts."""

import numpy as np

# A cut changes the frame by more than this mean absolute difference, in grey levels.
MIN_CUT_CHANGE = 6.0
# A cut changes the frame by more than this many times the median change around it.
MIN_CHANGE_TO_MEDIAN = 4.0
# A cut may also be a change of more than this many times the largest of the two changes before and two after it.
MIN_CHANGE_TO_NEIGHBOUR = 2.0


def find_hard_cuts(changes: np.ndarray) -> np.ndarray:
    """Find the changes that are hard cuts; a flash counts as a cut, a dissolve does not.

    Args:
        changes: (n,) float32, the mean absolute difference between each frame and the next one, in grey levels.

    Returns:
        (n,) bool.
    """
    from scipy.ndimage import maximum_filter, median_filter

    if not len(changes):
        return np.zeros(0, bool)
    median = median_filter(changes, min(31, len(changes) | 1))
    neighbour = maximum_filter(changes, footprint=[1, 1, 0, 1, 1])
    is_cut = (changes > MIN_CHANGE_TO_MEDIAN * median) | (changes > MIN_CHANGE_TO_NEIGHBOUR * neighbour)
    return is_cut & (changes > MIN_CUT_CHANGE)
