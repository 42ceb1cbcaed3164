"""How much of a match a network has to see at once: derived from the lengths of the labelled highlights.

Kills of 4 s and team fights of 20 s need networks that look differently far. What a network sees is set by the dilation
rates of its convolutions over time, and by the length of the sequences that it is trained on.
"""

import math
from dataclasses import dataclass

import numpy as np

# A network sees about this many median highlight lengths to either side of a time step (0.7 to 1.4 times as many,
# because dilations double): from most places in a highlight of up to twice the median length, both ends are in sight.
NUM_LENGTHS_IN_SIGHT = 2
# The fewest and the most convolutions over time. With time steps of half a second, they reach 1.5 to 63.5 s.
MIN_CONVOLUTIONS, MAX_CONVOLUTIONS = 2, 7
# The fewest segments in a sequence.
MIN_SEQUENCE_LENGTH = 8


@dataclass(frozen=True)
class TemporalContext:
    """What follows from the lengths of highlights.

    Attributes:
        dilations: Dilation rates of the convolutions over time, which have three taps each. Together they reach
            `sum(dilations)` time steps to either side.
        sequence_length: Consecutive segments in a training sequence. It is about as long as what a score depends on.
    """

    dilations: tuple[int, ...]
    sequence_length: int


def choose_temporal_context(median_sec: float | None, segment_length: float, num_steps: int) -> TemporalContext:
    """Choose the context for highlights of a length.

    Args:
        median_sec: Seconds, the median length of the training matches' highlights, as of `sections.median_length_sec`;
            None without any.
        segment_length: Seconds of a segment.
        num_steps: Time steps per segment.
    """
    step_sec = segment_length / num_steps
    reach = NUM_LENGTHS_IN_SIGHT * (median_sec or 0) / step_sec
    # Dilations 1, 2, 4, ... 2 ** (n - 1) reach 2 ** n - 1 steps.
    num_convolutions = int(np.clip(round(math.log2(reach + 1)), MIN_CONVOLUTIONS, MAX_CONVOLUTIONS))
    dilations = tuple(2**k for k in range(num_convolutions))
    return TemporalContext(dilations, max(MIN_SEQUENCE_LENGTH, math.ceil(2 * sum(dilations) / num_steps)))
