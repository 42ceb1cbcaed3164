"""The frame rate of a reel, and where its sections lie in it."""

from fractions import Fraction

import numpy as np
import pytest

from videosummarizer import media
from videosummarizer.extraction import reel_sections


@pytest.mark.parametrize(
    ("times_sec", "expected"),
    [
        (np.arange(300) * 1001 / 24000, Fraction(24000, 1001)),
        (np.round(np.arange(3000) / 59.94006, 3), Fraction(60000, 1001)),
        (np.arange(300) / 35, Fraction(35)),
        (np.round(np.arange(3000) / 144, 3), Fraction(120)),
        (np.cumsum([0, *[1 / 30] * 200, *[1 / 10] * 99]), Fraction(30)),
    ],
)
def test_the_rate_is_that_of_the_match(times_sec, expected):
    end_sec = times_sec[-1] + 1 / float(expected)
    info = media.VideoInfo(
        end_sec, end_sec, len(times_sec) / end_sec, 64, 64, "h264", None, times_sec, np.zeros((0, 2), np.int64)
    )
    assert reel_sections.output_rate(info) == expected


def test_a_transition_takes_at_most_half_of_a_section():
    placements = reel_sections.place([100, 7, 40], 20)
    assert [(p.start, p.num_frames, p.fade_in, p.fade_out) for p in placements] == [
        (0, 100, 0, 3),
        (97, 7, 3, 3),
        (101, 40, 3, 0),
    ]
