"""Show how far a conversion is, in seconds of video."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from videosummarizer.dataset import output_folder
from videosummarizer.dataset.metadata import DataConfig

# How often the progress bar is updated.
PROGRESS_INTERVAL_SEC = 0.5


@contextmanager
def show_progress(total_sec: float, config: DataConfig, dataset_dir: Path) -> Iterator[Callable[[float], None]]:
    """Show a progress bar in seconds of video.

    Matches in progress are followed by the segments that they have written, in whatever process or on whatever machine.

    Args:
        total_sec: length of all matches.
        config: the settings of the dataset.
        dataset_dir: the dataset's folder.

    Yields:
        A function to call with the length of each finished match in seconds.
    """
    bar_format = "{desc} {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of video [{elapsed}<{remaining}]"
    finished_sec, stop = 0.0, threading.Event()

    def add_finished_sec(duration_sec: float) -> None:
        nonlocal finished_sec
        finished_sec += duration_sec

    with tqdm(total=total_sec, desc="Converting", bar_format=bar_format) as bar, logging_redirect_tqdm():

        def refresh() -> None:
            try:
                num_in_progress = sum(1 for _ in dataset_dir.glob(f"{output_folder.PART_DIR_NAME}/*/*/*.pkl"))
            except OSError:  # a match was finished, and its folder removed, while it was read
                return
            bar.n = min(finished_sec + num_in_progress * config.segment_length, total_sec)
            bar.refresh()

        def follow() -> None:
            while not stop.wait(PROGRESS_INTERVAL_SEC):
                refresh()

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield add_finished_sec
        finally:
            stop.set()
            follower.join()
            refresh()
