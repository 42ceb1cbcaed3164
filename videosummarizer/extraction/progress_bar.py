"""Show how far a match is scored or cut, in seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

BAR_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"


@contextmanager
def progress(description: str, total_sec: float) -> Iterator[Callable[[float], None]]:
    """Show a progress bar in seconds; yields a function that adds seconds to it."""
    with tqdm(total=total_sec, desc=description, bar_format=BAR_FORMAT, leave=False) as bar, logging_redirect_tqdm():

        def add_sec(seconds: float) -> None:
            bar.update(min(seconds, total_sec - bar.n))

        yield add_sec
