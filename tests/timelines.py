"""Make timelines for the tests of exports, of matches that need not exist."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from videosummarizer.extraction.exports.timeline import Clip, MediaReference, Timeline

# The folder of the exports, whose files refer to matches in /matches.
FOLDER = Path("/matches/reels")


class Cut(NamedTuple):
    """The frames of a clip, without its match."""

    start_frame: int
    end_frame: int
    score: float | None


def footage(
    rate="50", is_drop_frame=False, start_frame=0, num_channels=2, title="a match", num_frames=60 * 60 * 60 * 3
):
    """A match of 1280 x 720 pixels in /matches."""
    path = Path(f"/matches/{title}.mp4")
    return MediaReference(
        path, Fraction(rate), is_drop_frame, start_frame, num_frames, 1280, 720, num_channels, is_exact=True
    )


def timeline_of(reference, cuts):
    """The timeline of a single match."""
    return Timeline(reference.name, reference, [Clip(reference, *cut) for cut in cuts])
