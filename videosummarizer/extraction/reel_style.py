"""How a styled reel looks: its size, how the picture fits into it, transitions, captions and a title card."""

import argparse
import re
from dataclasses import dataclass
from fractions import Fraction

from videosummarizer.extraction.reel import round_to_even

ASPECTS = ("9:16", "1:1", "4:5")
FITS = ("crop", "blur", "pad")
MAX_TRANSITION_SEC = 5.0


@dataclass(frozen=True)
class ReelStyle:
    """The style of a reel.

    Attributes:
        aspect: One of ASPECTS, None for the match's own.
        fit: One of FITS: crop the picture around the motion, show all of it on a blurred copy, or on black.
        transition_sec: The length of the cross-fade between sections, 0 for cuts.
        has_captions: Whether the match, the clock and the rank are shown.
        intro: The text of the title card, None without one.
    """

    aspect: str | None = None
    fit: str = "crop"
    transition_sec: float = 0.0
    has_captions: bool = False
    intro: str | None = None

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "ReelStyle":
        """Return the style that the arguments of highlight_extractor.py ask for."""
        return cls(args.aspect, args.fit or FITS[0], args.transition or 0.0, bool(args.captions), args.intro)

    @property
    def is_plain(self) -> bool:
        """Return whether nothing distinguishes the reel from one that reel.py writes."""
        return self.aspect is None and not self.transition_sec and not self.has_captions and self.intro is None

    def size_px(self, displayed_width_px: float, displayed_height_px: float, height_px: int | None) -> tuple[int, int]:
        """Return the width and the height of the reel, both even.

        Args:
            displayed_width_px: The width of the match as shown, in square pixels.
            displayed_height_px: Its height.
            height_px: The height of the reel; by default the match's.
        """
        height_px = height_px or displayed_height_px
        ratio = displayed_width_px / displayed_height_px
        if self.aspect is not None:
            ratio = float(Fraction(*map(int, re.findall(r"\d+", self.aspect))))
        return round_to_even(height_px * ratio), round_to_even(height_px)
