"""Types for argparse that state in their error message what was received and what is expected."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from videosummarizer.labels import parse_time
from videosummarizer.match_files import compose, describe_bad_name
from videosummarizer.tracks import MIX

# Numbers from here on are typing errors, and products of them are not finite.
NUMBER_LIMIT = 1e9
# Stands for every audio track.
ALL_TRACKS = "all"


def positive_number(kind: type) -> Callable[[str], float]:
    """Return an argparse type for a number above 0 and below NUMBER_LIMIT.

    Args:
        kind: float, or int for whole numbers.
    """

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 < value < NUMBER_LIMIT:
            raise argparse.ArgumentTypeError(
                f"received {text!r}, expected a {'whole number' if kind is int else 'number'} above 0"
                f"{' and below 1e9' if value > 0 else ''}"
            )
        return value

    return parse


def number_between(low: float, high: float, kind: type = float) -> Callable[[str], float]:
    """Return an argparse type for a finite number from `low` to `high`, both included.

    Args:
        low: the smallest number allowed.
        high: the largest number allowed. If it is infinite, numbers below NUMBER_LIMIT are allowed.
        kind: float, or int for whole numbers.
    """

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low - 1
        if not (low <= value <= high and value < NUMBER_LIMIT):
            limits = f"from {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"
            limits += " and below 1e9" if value >= NUMBER_LIMIT else ""
            raise argparse.ArgumentTypeError(
                f"received {text!r}, expected a {'whole number' if kind is int else 'number'} {limits}"
            )
        return value

    return parse


def zero_or_one(text: str) -> bool:
    """Parse 1 as True and 0 as False."""
    if text not in ("0", "1"):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected 0 (waveform) or 1 (MFCC)")
    return text == "1"


def audio_choice(text: str) -> int | str:
    """Parse the number of an audio track, counted from 1, or the word mix."""
    if text == MIX:
        return MIX
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < NUMBER_LIMIT):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected the number of an audio track, from 1 on, or mix")
    return int(text)


def audio_choice_or_all(text: str) -> int | str:
    """Parse what `audio_choice` does, or the word all."""
    if text == ALL_TRACKS:
        return ALL_TRACKS
    try:
        return audio_choice(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or all".replace(", or mix, or", ", mix or")) from error


def length_sec(text: str) -> float:
    """Parse a length above 0, such as 8:00, into seconds."""
    try:
        seconds = parse_time(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < NUMBER_LIMIT:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a length such as 8:00, 1:02:30 or 90 (seconds)")
    return seconds


def time_sec(text: str) -> float:
    """Parse a time in a match, such as 0:12:00, into seconds."""
    try:
        seconds = parse_time(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < NUMBER_LIMIT:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a time such as 0:12:00, 12:00 or 720 (seconds)")
    return seconds


def reel_name(text: str) -> Path:
    """Parse the name of an mp4 without a folder, in composed characters as titles are."""
    path = Path(text)
    if path.name != text or path.suffix.lower() != ".mp4" or describe_bad_name(path):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a file name without a folder, such as week.mp4")
    return Path(compose(text))


def regular_expression(text: str) -> re.Pattern:
    """Compile a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a regular expression ({error})") from error
