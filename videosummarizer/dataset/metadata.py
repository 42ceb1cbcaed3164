"""videosummarizer.dataset.metadata."""

import json
import math
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write

SCHEMA_VERSION = 2  # the toolkit's first version wrote none
NUM_MFCC = 40
MFCC_HOP_LENGTH = 512  # librosa's default, which the length of the MFCC picture follows from
MAX_SEGMENT_BYTES = 2**30
MAX_METADATA_BYTES = 2**27
SEGMENT_OVERHEAD_BYTES = 65_536  # names and numbers beside the arrays
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe would wait for ever


class DatasetError(Exception):
    """A dataset folder, or a file in it, that cannot be used; the message says which and what to do."""


SUBSETS = ("train", "valid", "test")


@dataclass(frozen=True)
class DataConfig:
    """How videos are turned into segments: the converter's positional arguments, under the user's own names.

    segment_length: seconds. video_sample_rate: frames per second. video_width, video_height: pixels.
    audio_sample_rate: Hz. apply_mfcc: True for MFCCs, False for the waveform.
    """

    segment_length: float
    video_sample_rate: float
    video_width: int
    video_height: int
    audio_sample_rate: int
    apply_mfcc: bool

    @property
    def num_frames(self) -> int:
        """Frames in a segment: `int(segment_length * video_sample_rate)`, safe from float rounding (0.1 * 30)."""
        return int(round(self.segment_length * self.video_sample_rate, 6))

    @property
    def num_samples(self) -> int:
        """Audio samples in a segment."""
        return int(round(self.segment_length * self.audio_sample_rate, 6))

    @property
    def data_shape(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a segment's arrays: `video` (T, H, W, 3); `audio` (num_samples,) or (40, num_mfcc_frames)."""
        mfcc_shape = (NUM_MFCC, 1 + self.num_samples // MFCC_HOP_LENGTH)
        return {
            "video": (self.num_frames, self.video_height, self.video_width, 3),
            "audio": mfcc_shape if self.apply_mfcc else (self.num_samples,),
        }

    @property
    def dataset_name(self) -> str:
        """Default name of the dataset folder, numbers without trailing zeros."""
        return (
            f"dataset_sl{self.segment_length:.10g}_vsr{self.video_sample_rate:.10g}"
            f"_vw{self.video_width}_vh{self.video_height}_asr{self.audio_sample_rate}"
            f"{'_mfcc' if self.apply_mfcc else ''}"
        )

    def num_segments(self, duration_sec: float) -> int:
        """Segments that cover `duration_sec` seconds, the short last one counted."""
        return int(np.ceil(round(duration_sec / self.segment_length, 6)))


def max_segment_bytes(data_shape: dict[str, tuple]) -> int:
    """The most that a segment's pickle takes: pixels of two bytes (the first version's), samples of eight."""
    return 2 * math.prod(data_shape["video"]) + 8 * math.prod(data_shape["audio"]) + SEGMENT_OVERHEAD_BYTES


def read_limited(path: str | os.PathLike, max_bytes: int) -> bytes:
    """The bytes of a file. Raises DatasetError where it cannot be read, is no plain file, or holds more than that."""
    try:
        descriptor = os.open(path, READ_FLAGS)
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise DatasetError(f"{path}: received what is no plain file: convert the videos again")
            if state.st_size > max_bytes:
                raise DatasetError(
                    f"{path}: received {state.st_size} bytes, expected at most {max_bytes}: convert the videos again"
                )
            return os.read(descriptor, state.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}): convert the videos again") from error


def write_metadata(dataset_dir: Path, config: DataConfig, videos: list[dict], missing: list[str], **more) -> None:
    """Write `metadata.json`: schema version, config, data shapes, counts, a record for each video that is there (its
    `sections` in seconds among it, the reference of event-level scores), the titles of those that are missing, and
    `more` (time of creation, versions)."""
    metadata = {
        "schema_version": SCHEMA_VERSION,
        **more,
        "config": asdict(config),
        "data_shape": config.data_shape,
        "total_segment_count": sum(video["segment_count"] for video in videos),
        "videos": sorted(videos, key=lambda video: video["title"]),
        "missing": sorted(missing),
    }
    atomic_write(dataset_dir / "metadata.json", (json.dumps(metadata, indent=2, ensure_ascii=False) + "\n").encode())


def read_metadata(dataset_dir: str | os.PathLike) -> dict:
    """The dict in a dataset folder's `metadata.json`, as `parse_metadata` gives it.

    Raises:
        DatasetError: the folder or the file is missing or damaged.
    """
    path = Path(dataset_dir) / "metadata.json"
    if not path.is_file():
        received = "a folder without metadata.json" if os.path.isdir(dataset_dir) else "what does not exist"
        raise DatasetError(
            f"{dataset_dir}: received {received}, expected a dataset that data_converter.py has finished: convert the "
            "matches first, or correct the path"
        )
    return parse_metadata(path, read_limited(path, MAX_METADATA_BYTES))


def parse_metadata(where: str | os.PathLike, content: bytes) -> dict:
    """The dict in the bytes of a `metadata.json`; at least `config`, `data_shape`, and `videos` or, in datasets of the
    first version, `segment_counts` are in it, shapes as tuples. `where` names the file in errors.

    Raises:
        DatasetError: it is damaged, or describes segments that no memory holds.
    """
    try:
        metadata = json.loads(content)
        expected = parse_config(metadata["config"]).data_shape
        received = {name: tuple(metadata["data_shape"][name]) for name in ("video", "audio")}
        lengths = [length for shape in received.values() for length in shape]
        if received != expected or not all(type(length) is int for length in lengths):
            raise ValueError(f"data_shape {received}, where config gives {expected}")
        metadata["data_shape"] = received
        for title, num_segments in segment_counts(metadata).items():
            if not is_safe_folder_name(title) or type(num_segments) is not int or num_segments < 0:
                raise ValueError(f"video {title!r}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        text = repr(error)[:200]
        raise DatasetError(f"{where}: damaged or from something else ({text}): convert the videos again") from error
    return metadata


def parse_config(config: dict) -> DataConfig:
    """The data config that a dataset or a checkpoint states.

    Raises:
        TypeError, ValueError: a name is missing or unknown, a value is no number, or no memory holds such segments.
    """
    parsed = DataConfig(**config)
    if not all(isinstance(value, int | float) and 0 <= value < 1e9 for value in config.values()):
        raise ValueError(f"config {config}")
    if min(length for shape in parsed.data_shape.values() for length in shape) < 1:
        raise ValueError(f"segments of shapes {parsed.data_shape}")
    if max_segment_bytes(parsed.data_shape) > MAX_SEGMENT_BYTES:
        raise ValueError(f"segments of {max_segment_bytes(parsed.data_shape) / 1e9:.0f} GB")
    return parsed


def segment_counts(metadata: dict) -> dict[str, int]:
    """Segments of each title, sorted by title, from a metadata dict of this version or the first."""
    if "videos" in metadata:
        counts = {video["title"]: video["segment_count"] for video in metadata["videos"]}
    else:
        counts = metadata.get("segment_counts", {})
    return dict(sorted(counts.items()))


def is_safe_folder_name(title) -> bool:
    """Whether a title names a folder in the dataset, and nothing outside."""
    if not isinstance(title, str) or title in ("", ".", "..") or {"/", os.sep, "\0"} & set(title):
        return False
    if any("\ud800" <= character <= "\udfff" for character in title):  # halves of surrogates, which no hash takes
        return False
    return Path(title).name == title  # on Windows, "C:match" leads to another drive


@dataclass(frozen=True)
class Match:
    """A source video as its dataset tells it, without the segments' arrays.

    segment_length: seconds. duration_sec: of the video; in datasets of the first version, which do not say, of its
    segments. labels: (num_segments,) int64 of 0 or 1. sections_sec: (num_sections, 2) float64, the labelled sections in
    seconds, disjoint, ascending, half-open; in datasets that do not say, the runs of segments labelled 1.
    """

    title: str
    segment_length: float
    duration_sec: float
    labels: np.ndarray
    sections_sec: np.ndarray


def parse_match(
    dataset_dir: Path, title: str, labels: list[int], config: DataConfig, video_records: dict[str, dict]
) -> Match:
    """A match by its labels and its record in metadata.json.

    Raises:
        metadata.DatasetError: the record's sections or duration are damaged.
    """
    labels, record = np.array(labels, dtype=np.int64), video_records.get(title, {})
    num_segments, length = len(labels), config.segment_length
    runs = np.flatnonzero(np.diff(labels, prepend=0, append=0)).reshape(-1, 2)
    try:
        duration_sec = float(record.get("duration", num_segments * length))
        sections_sec = np.array(record.get("sections", np.minimum(runs * length, duration_sec)), dtype=np.float64)
        if sections_sec.size == 0:
            sections_sec = sections_sec.reshape(0, 2)
        borders_sec = np.concatenate([[0], sections_sec.ravel(), [duration_sec]])
        is_right = (
            sections_sec.shape[1:] == (2,)
            and (np.diff(borders_sec) >= 0).all()
            and (sections_sec[:, 0] < sections_sec[:, 1]).all()
            and (len(sections_sec) > 0 or not labels.any())
            and config.num_segments(duration_sec) == num_segments
        )
    except (TypeError, ValueError, OverflowError):
        is_right = False
    if not is_right:
        raise DatasetError(
            f"{dataset_dir / 'metadata.json'}: received a duration or sections of {title} that are none, expected "
            f"sections in ascending order within a duration of {num_segments} segments: convert the video again"
        )
    return Match(title, length, duration_sec, labels, sections_sec)
