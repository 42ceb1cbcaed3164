"""videosummarizer.argument_types."""

import argparse
import math
from collections.abc import Callable

from videosummarizer.labels import parse_time


def positive_number(kind: type) -> Callable[[str], float]:
    """An argparse type: a finite number above 0, whole if `kind` is int."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(
                f"received {text!r}, expected a {'whole number' if kind is int else 'number'} above 0"
            )
        return value

    return parse


def zero_or_one(text: str) -> bool:
    """An argparse type: True for 1, False for 0."""
    if text not in ("0", "1"):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected 0 (waveform) or 1 (MFCC)")
    return text == "1"


def number_between(low: float, high: float, kind: type = float) -> Callable[[str], float]:
    """An argparse type: a number from low to high."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            limits = f"from {low:g} to {high:g}" if high < float("inf") else f"of {low:g} or more"
            raise argparse.ArgumentTypeError(
                f"received {text!r}, expected a {'whole number' if kind is int else 'number'} {limits}"
            )
        return value

    return parse


def length_sec(text: str) -> float:
    """An argparse type: a length above 0 such as 8:00, in seconds."""
    try:
        seconds = parse_time(text)
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a length such as 8:00, 1:02:30 or 90 (seconds)")
    return seconds
