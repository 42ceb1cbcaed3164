"""Score a match with a checkpoint's network.

A thread reads the match while TensorFlow starts and the network computes. Nothing is written to disk except the
temporary file of the audio (sampling.SegmentAudio).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from videosummarizer import hardware_decoding, media, problems
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import decoding_process
from videosummarizer.extraction.job import ExtractionError
from videosummarizer.extraction.measures import StepMeter
from videosummarizer.extraction.reasons import Reasons
from videosummarizer.prefetching import prefetch_iterator

# The number of segments that are read in advance while TensorFlow starts and the network computes.
NUM_SEGMENTS_AHEAD = 24
# The number of segments scored together. Each takes 8 MB, and larger windows gain nothing: decoding takes longer.
WINDOW_LENGTH = 8


logger = logging.getLogger(__name__)


def score_match(
    video_path: Path,
    info: media.VideoInfo,
    config: DataConfig,
    network: Callable[[], object],
    on_progress: Callable[[float], object] = lambda seconds: None,
    scratch_dir: Path | None = None,
    part_sec: tuple[float, float] | None = None,
    on_arrays: Callable[[np.ndarray, np.ndarray], object] = lambda video, audio: None,
) -> tuple[np.ndarray, np.ndarray, Reasons | None]:
    """Score the segments and the time steps of a match; see `score_with_reasons`.

    Returns:
        scores: (num_segments,) float64 in [0, 1].
        step_scores: (num_segments, K) float64 in [0, 1], of the K equal time steps of each segment.
        reasons: What the scores are made of, and what was measured; None for a network without late fusion.
    """
    reading = (on_progress, scratch_dir, part_sec, on_arrays)
    rows, reasons = score_with_reasons(video_path, info, config, network, None, *reading)
    return rows[:, 0], rows[:, 1:], reasons


def score_with_reasons(
    video_path: Path,
    info: media.VideoInfo,
    config: DataConfig,
    network: Callable[[], object],
    names: Sequence[str] | None = None,
    on_progress: Callable[[float], object] = lambda seconds: None,
    scratch_dir: Path | None = None,
    part_sec: tuple[float, float] | None = None,
    on_arrays: Callable[[np.ndarray, np.ndarray], object] = lambda video, audio: None,
) -> tuple[np.ndarray, Reasons | None]:
    """Compute outputs of a network for a match, and what its scores are made of.

    Args:
        network: A function that returns the network. It is called while the match is being read.
        names: The names of the outputs, by default `fusion.OUTPUTS`. The other arguments are those of `score_outputs`.

    Returns:
        The outputs, (num_segments, num_columns) float64, and the reasons; None for a network without late fusion.

    Raises:
        ExtractionError: An output is not finite.
        media.MediaError, checkpoint.CheckpointError: See `score_outputs`.
    """
    explained, meter, measured = None, None, []

    def load() -> tuple[object, Sequence[str]]:
        nonlocal explained, meter
        from videosummarizer.training import contributions, inference

        loaded = network()
        explained = contributions.add_logits(loaded)
        if explained is None:
            return loaded, names or inference.OUTPUTS
        meter = StepMeter(config, loaded.output["steps"].shape[-1])
        return explained, (*(names or inference.OUTPUTS), *contributions.LOGITS_OUTPUTS)

    def measure(video: np.ndarray, audio: np.ndarray) -> None:
        if meter:
            measured.append(meter.measure(video, audio))
        on_arrays(video, audio)

    rows = score_outputs(video_path, info, config, load, on_progress, scratch_dir, part_sec, measure)
    if not meter:
        require_finite(rows, video_path)
        return rows, None
    from videosummarizer.training import contributions

    outputs, logits = np.split(rows, [-len(contributions.MODALITIES) * (1 + meter.num_steps)], axis=1)
    require_finite(outputs, video_path)
    parts = contributions.split_contributions(explained, logits)
    return outputs, Reasons(*parts, meter.names, np.stack(measured))


def score_outputs(
    video_path: Path,
    info: media.VideoInfo,
    config: DataConfig,
    load: Callable[[], tuple[object, Sequence[str]]],
    on_progress: Callable[[float], object],
    scratch_dir: Path | None = None,
    part_sec: tuple[float, float] | None = None,
    on_arrays: Callable[[np.ndarray, np.ndarray], object] = lambda video, audio: None,
) -> np.ndarray:
    """Return a network's outputs for the segments of a match.

    Args:
        video_path: The match.
        info: The result of `media.probe`.
        config: The checkpoint's data config.
        load: A function that returns the network and the names of the outputs; it is called while the match is already
            being read.
        on_progress: Called with the seconds of the match that were scored.
        scratch_dir: As for `sampling.SegmentAudio`.
        part_sec: Where to begin and end, by default the whole match. Nothing else is decoded.
        on_arrays: Called with the frames and the audio of each segment.

    Returns:
        (num_segments, num_columns) float64, one row per segment, as of `inference.score_segments`.

    Raises:
        media.MediaError: The match cannot be read.
        checkpoint.CheckpointError: The network cannot be read.
    """
    segments = read_in_process(video_path, info, config, scratch_dir, part_sec)
    with closing(segments) as arrays, prefetch_iterator(arrays, NUM_SEGMENTS_AHEAD) as arrays_ahead:
        network, names = load()
        from videosummarizer.training import inference

        def with_progress() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for segment_arrays in arrays_ahead:
                on_arrays(*segment_arrays)
                yield segment_arrays
                on_progress(config.segment_length)
                media.trim_malloc()  # the network frees 30 MB for each window

        scored = inference.score_segments(network, with_progress(), WINDOW_LENGTH, names)
        return np.stack(list(scored)).astype(np.float64)


def require_finite(scores: np.ndarray, video_path: Path) -> None:
    """Raise ExtractionError if a network's output for a match is not finite."""
    if not np.isfinite(scores).all():
        raise ExtractionError(
            f"{video_path}: the network gives scores that are not finite numbers, expected scores from 0 to 1: its "
            "weights are damaged or its training diverged, use another checkpoint"
        )


def read_in_process(video_path: Path, *arguments) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what `read_match` yields in the decoding process, and log its warnings and those about devices."""
    try:
        warnings = yield from decoding_process.iterate(video_path, read_match, video_path, *arguments)
    except media.ProcessError:  # the messages are gone with the process
        raise
    except Exception:
        log_device_messages(video_path)  # they may give the reason of the error
        raise
    for warning in warnings:
        logger.warning(warning)
    log_device_messages(video_path)


def log_device_messages(video_path: Path) -> None:
    """Log why the decoding process read a match in software instead of on a device."""
    warnings, notes = decoding_process.call(video_path, hardware_decoding.take_messages)
    for warning in warnings:
        logger.warning(warning)
    for note in notes:
        logger.debug(note)


def read_match(
    video_path: Path,
    info: media.VideoInfo,
    config: DataConfig,
    scratch_dir: Path | None,
    part_sec: tuple[float, float] | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the arrays of the segments of a match, see `sampling.read_segments`; return its warnings."""
    damaged_sec: set[int] = set()
    audio_problems_sec: tuple[set[int], set[int]] = (set(), set())
    yield from sampling.read_segments(video_path, info, config, damaged_sec, scratch_dir, *audio_problems_sec, part_sec)
    return problems.describe_problems(video_path, info, damaged_sec, *audio_problems_sec, action="scored")
