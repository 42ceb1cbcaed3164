"""Read files that may be damaged, edited by hand or hostile, in time and memory that follow from a limit.

This module knows limited files, JSON of a limited number of values, excerpts for messages of one line, and media files
that would make FFmpeg read other files.
"""

import codecs
import json
import os
import stat

# Flags of os.open. Without O_NONBLOCK, opening a named pipe would wait for ever.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# The most values of a JSON document. An empty list takes 3 bytes in the document and 64 bytes in memory.
MAX_JSON_VALUES = 4_000_000
# The most characters of a text from a file that a message shows.
MAX_EXCERPT_LENGTH = 80
# FFmpeg's names of formats that are texts with the names of other files, which FFmpeg would read instead.
PLAYLIST_FORMATS = ("concat", "concatf", "hls", "dash", "imf")
# The beginnings of such texts, which may follow a byte order mark.
PLAYLIST_BEGINNINGS = (b"ffconcat version", b"#EXTM3U")


def read_limited(path: str | os.PathLike, max_bytes: int) -> bytes:
    """Read a file that is expected to be small.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a regular file, or has more than `max_bytes` bytes. The message begins with "received".
    """
    descriptor = os.open(path, READ_FLAGS)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("received something other than a regular file")
        if state.st_size > max_bytes:
            raise ValueError(f"received {state.st_size} bytes, expected at most {max_bytes}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(state.st_size)  # also where the system returns less than it is asked for
    finally:
        os.close(descriptor)


def parse_json(content: bytes):
    """Parse a JSON document.

    Raises:
        ValueError: It is no JSON, is nested too deep, or has more than MAX_JSON_VALUES values.
    """
    num_values = sum(map(content.count, (b",", b"[", b"{")))
    if num_values > MAX_JSON_VALUES:
        raise ValueError(f"it has about {num_values} values, expected at most {MAX_JSON_VALUES}")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def excerpt(text: str) -> str:
    """Return the beginning of a text from a file, for a message."""
    return text if len(text) <= MAX_EXCERPT_LENGTH else f"{text[:MAX_EXCERPT_LENGTH]}..."


def is_playlist(path: str | os.PathLike) -> bool:
    """Return whether a file begins as a list of other files, before FFmpeg reads any of them."""
    with open(path, "rb") as file:
        return file.read(64).removeprefix(codecs.BOM_UTF8).startswith(PLAYLIST_BEGINNINGS)
