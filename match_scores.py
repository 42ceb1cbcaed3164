"""Scores of a match out of a checkpoint: the match is read in a thread while TensorFlow starts and the network works.

Nothing is written to disk on the way, but the sound's temporary file (segments.SegmentAudio).
"""

import hashlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import media
import segments
from operating_point import OperatingPoint, parse_operating_point

NUM_SEGMENTS_AHEAD = 24  # read while TensorFlow starts and the network works
WINDOW_LENGTH = 8  # segments that are scored together: each takes 8 MB, and the decoder is slower than the network
POLL_SEC = 0.1
DEFAULT_THRESHOLD = 0.5  # from which score on a highlight is called, where no operating point is chosen

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself. sha256: of the file. point: where validation found sections best; where the
    checkpoint names none (names_point), DEFAULT_THRESHOLD alone."""

    path: Path
    sha256: str
    config: segments.DataConfig
    point: OperatingPoint
    names_point: bool


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint's attributes; TensorFlow is not needed for them. Raises segments.CheckpointError."""
    if not path.exists():
        raise segments.CheckpointError(f"{path}: no such file, expected a .hdf5 file that main.py saved")
    attributes = segments.read_checkpoint_attributes(path)
    try:
        config = segments.parse_config(attributes["config"])
        point = parse_operating_point(attributes.get("operating_point", {"threshold": DEFAULT_THRESHOLD}))
    except (KeyError, TypeError, ValueError) as error:
        raise segments.CheckpointError(
            f"{path}: received a checkpoint whose data config or operating point is another version's ({error}), "
            "expected one that this version of main.py saved"
        ) from error
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(path, sha256, config, point, "operating_point" in attributes)


def load_network(checkpoint: Checkpoint):
    """The network, which takes TensorFlow's start-up. Raises segments.CheckpointError."""
    import model

    network = model.load_checkpoint(checkpoint.path)
    if not isinstance(network.output, dict) or not set(model.OUTPUTS) <= network.output.keys():
        raise segments.CheckpointError(
            f"{checkpoint.path}: received a network without the outputs 'highlight' and 'steps', expected a checkpoint "
            "that main.py saved"
        )
    shapes = {tensor.name: tuple(tensor.shape) for tensor in network.inputs}
    for name, expected in checkpoint.config.data_shape.items():
        received = shapes.get(name, ())
        if received[len(received) - len(expected) :] != tuple(expected):
            raise segments.CheckpointError(
                f"{checkpoint.path}: received a network whose input {name!r} is {received}, expected {expected} as its "
                "data config says"
            )
    return network


def read_match(
    video_path: Path, info: media.VideoInfo, config: segments.DataConfig, damaged_sec: set[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The arrays of a match's segments, as a conversion would write them; damaged_sec takes what does not decode."""
    with segments.SegmentAudio(video_path, info, config) as segment_audio:
        indices = range(config.num_segments(info.duration_sec))
        yield from segments.read_segment_range(
            video_path, info, config, segment_audio, indices, damaged_sec=damaged_sec
        )


@contextmanager
def read_ahead(items: Iterator, num_ahead: int) -> Iterator[Iterator]:
    """Gives an iterator over items that a thread reads, up to num_ahead of them early. Leaving stops the thread."""
    ready: queue.Queue = queue.Queue(num_ahead)
    stop = threading.Event()

    def put(kind: str, item) -> None:
        while not stop.is_set():
            try:
                return ready.put((kind, item), timeout=POLL_SEC)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for item in items:
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except Exception as error:  # raised again where the items are taken
            put("error", error)

    def take() -> Iterator:
        while True:
            kind, item = ready.get()
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield take()
    finally:
        stop.set()
        reader.join()


def score_match(
    video_path: Path,
    info: media.VideoInfo,
    config: segments.DataConfig,
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
        media.MediaError, segments.CheckpointError: the match or the network cannot be read.
    """
    damaged_sec: set[int] = set()
    arrays = read_match(video_path, info, config, damaged_sec)
    with read_ahead(arrays, NUM_SEGMENTS_AHEAD) as arrays_ahead:
        network = network()
        import model

        def counted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for segment_arrays in arrays_ahead:
                yield segment_arrays
                on_progress(config.segment_length)
                media.return_free_memory()  # the network's, 30 MB

        rows = np.stack(list(model.score_segments(network, counted(), WINDOW_LENGTH))).astype(np.float64)
    for fault in media.describe_faults(video_path, info, damaged_sec):
        logger.warning(fault)
    return rows[:, 0], rows[:, 1:]
