"""Make timelines for the tests of exports, of matches that need not exist."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from videosummarizer.extraction.exports.timeline import Clip, MediaReference, Timeline

# The folder of the exports, whose files refer to matches in /matches.
FOLDER = Path("/matches/reels")


class Cut(NamedTuple):
    """The frames of a clip, without its match."""

    start_frame: int
    end_frame: int
    score: float | None


RATES = ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"]
COUNTS = [(rate, False) for rate in RATES] + [("30000/1001", True), ("60000/1001", True)]
NUM_FRAMES = 60 * 60 * 60 * 3
# Around minutes, where drop-frame timecode leaves numbers out; one frame long; up to the match's last frame.
CUTS = [
    Cut(0, 7, 0.5),
    Cut(1797, 1805, 0.25),
    Cut(3596, 3597, 0.75),
    Cut(17981, 17983, 1.0),
    Cut(107891, 215788, 0.0),
    Cut(NUM_FRAMES - 1, NUM_FRAMES, 0.875),
]
SHORT_CUTS = [Cut(25, 125, 0.5), Cut(1000, 1025, 0.25), Cut(10050, 10100, 0.98765)]
TITLES = ["a <b> & \"c\" 'd'", "100% #1?", "경기 ∕ 1", "\\1 AX V     C", "001  AX       V     C"]


def footage(rate="50", is_drop_frame=False, start_frame=0, num_channels=2, title="a match", num_frames=NUM_FRAMES):
    """A match of 1280 x 720 pixels in /matches."""
    path = Path(f"/matches/{title}.mp4")
    return MediaReference(
        path, Fraction(rate), is_drop_frame, start_frame, num_frames, 1280, 720, num_channels, is_exact=True
    )


def recording(title="a match", num_channels=2, rate="50", start_frame=150):
    """A match for SHORT_CUTS, whose timecode does not start at 0."""
    return footage(rate, False, start_frame, num_channels, title, num_frames=20_000)


def timeline_of(reference, cuts):
    """The timeline of a single match."""
    return Timeline(reference.name, reference, [Clip(reference, *cut) for cut in cuts])


def mixed_timeline(rate):
    """A timeline at a rate, with clips of matches of all rates, with no audio, mono and stereo."""
    matches = [
        footage(rate, title=rate.replace("/", "_"), num_channels=number % 3) for number, rate in enumerate(RATES)
    ]
    rng = np.random.default_rng(3)
    clips = [
        Clip(matches[number], int(first), int(first + length), 0.5)
        for number, first, length in zip(
            [*range(8), *rng.integers(0, 8, 30)],
            rng.integers(0, 10_000, 38),
            rng.integers(1, 2000, 38),
            strict=True,
        )
    ]
    return Timeline("mixed", matches[RATES.index(rate)], clips)


def frames_of(clips, start_frame=0):
    """(first frame, frame after the last) of OpenTimelineIO clips."""
    ranges = [clip.source_range for clip in clips]
    return [(r.start_time.value - start_frame, r.end_time_exclusive().value - start_frame) for r in ranges]


def record_starts():
    """Where each cut begins in the reel, in frames."""
    return np.cumsum([0] + [cut.end_frame - cut.start_frame for cut in CUTS])[:-1].tolist()


def element(content, path):
    """The only element at a path of an XML file."""
    elements = ElementTree.fromstring(content).findall(path)
    assert len(elements) == 1
    return elements[0]
