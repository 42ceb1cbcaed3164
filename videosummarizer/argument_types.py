"""Types for argparse that state in their error message what was received and what is expected."""

import argparse
import math
import re
from collections.abc import Callable

from videosummarizer.labels import parse_time


def positive_number(kind: type) -> Callable[[str], float]:
    """Return an argparse type for a finite number above 0.

    Args:
        kind: float, or int for whole numbers.
    """

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


def number_between(low: float, high: float, kind: type = float) -> Callable[[str], float]:
    """Return an argparse type for a number from `low` to `high`, both included.

    Args:
        low: the smallest number allowed.
        high: the largest number allowed. It may be infinite.
        kind: float, or int for whole numbers.
    """

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


def num_processes(text: str) -> int:
    """Parse a number of processes: digits only, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a whole number above 0")
    return int(text)


def zero_or_one(text: str) -> bool:
    """Parse 1 as True and 0 as False."""
    if text not in ("0", "1"):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected 0 (waveform) or 1 (MFCC)")
    return text == "1"


def length_sec(text: str) -> float:
    """Parse a length above 0, such as 8:00, into seconds."""
    try:
        seconds = parse_time(text)
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a length such as 8:00, 1:02:30 or 90 (seconds)")
    return seconds


def regular_expression(text: str) -> re.Pattern:
    """Compile a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a regular expression ({error})") from error
