"""Scores of a match out of a checkpoint: the match is read in a thread while TensorFlow starts and the network works.

Nothing is written to disk on the way, but the sound's temporary file (sampling.SegmentAudio).
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.prefetching import prefetch_iterator

NUM_SEGMENTS_AHEAD = 24  # read while TensorFlow starts and the network works
WINDOW_LENGTH = 8  # segments that are scored together: each takes 8 MB, and the decoder is slower than the network


logger = logging.getLogger(__name__)


def read_match(
    video_path: Path, info: media.VideoInfo, config: DataConfig, damaged_sec: set[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The arrays of a match's segments, as a conversion would write them; damaged_sec takes what does not decode."""
    with sampling.SegmentAudio(video_path, info, config) as segment_audio:
        indices = range(config.num_segments(info.duration_sec))
        yield from sampling.read_segment_range(
            video_path, info, config, segment_audio, indices, damaged_sec=damaged_sec
        )


def score_match(
    video_path: Path,
    info: media.VideoInfo,
    config: DataConfig,
    network: Callable[[], object],
    on_progress: Callable[[float], object] = lambda seconds: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the segments, (num_segments,) float64 in [0, 1], and of their steps, (num_segments, K). The match is
    read in a thread while TensorFlow starts and the network works.

    Args:
        video_path: the match. info: of `media.probe`. config: the checkpoint's.
        network: a function that gives the network.
        on_progress: called with the seconds of the match that were read.

    Raises:
        media.MediaError, checkpoint.CheckpointError: the match or the network cannot be read.
    """
    damaged_sec: set[int] = set()
    arrays = read_match(video_path, info, config, damaged_sec)
    with prefetch_iterator(arrays, NUM_SEGMENTS_AHEAD) as arrays_ahead:
        network = network()
        from videosummarizer.training import inference

        def counted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for segment_arrays in arrays_ahead:
                yield segment_arrays
                on_progress(config.segment_length)
                media.trim_malloc()  # the network's, 30 MB

        rows = np.stack(list(inference.score_segments(network, counted(), WINDOW_LENGTH))).astype(np.float64)
    for fault in media.describe_problems(video_path, info, damaged_sec):
        logger.warning(fault)
    return rows[:, 0], rows[:, 1:]
