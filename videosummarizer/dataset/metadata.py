"""Describe a dataset: its settings (`DataConfig`), its `metadata.json` and its matches (`Match`).

Stage 1 writes `metadata.json` once per finished match; stage 2, training and scoring read it. A dataset may come from
an untrusted source, so reading checks every value and limits the size of what is read.
"""

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from videosummarizer import untrusted_file
from videosummarizer.atomic_file import atomic_write
from videosummarizer.match_files import MAX_NAME_BYTES
from videosummarizer.sections import find_decided_segments, runs_of
from videosummarizer.tracks import MIX

# The schema version that this version writes. The toolkit's first version wrote no schema version.
SCHEMA_VERSION = 2
# The schema version of datasets with undecided time. Earlier versions of the toolkit would take it for "no highlight".
UNDECIDED_SCHEMA_VERSION = 3
# MFCC coefficients per frame.
NUM_MFCC = 40
# Samples between two MFCC frames, librosa's default. It decides how many frames a segment has.
MFCC_HOP_LENGTH = 512
# No segment file may be larger than 1 GiB.
MAX_SEGMENT_BYTES = 2**30
# No metadata.json may be larger than 64 MiB.
MAX_METADATA_BYTES = 2**26
# No segment may be longer than a day. The number of its time steps follows from its length.
MAX_SEGMENT_SEC = 86_400
# A segment file holds at most this much in addition to its arrays: keys, strings and numbers.
SEGMENT_OVERHEAD_BYTES = 65_536
# The subsets that a dataset is split into.
SUBSETS = ("train", "valid", "test")


class DatasetError(Exception):
    """A dataset or a file in it cannot be used. The message names it and says what to do."""


@dataclass(frozen=True)
class DataConfig:
    """Settings of a conversion, with the names of the positional arguments of data_converter.py.

    Attributes:
        segment_length: length of a segment in seconds.
        video_sample_rate: frames per second.
        video_width: width of a frame in pixels.
        video_height: height of a frame in pixels.
        audio_sample_rate: samples per second.
        apply_mfcc: True for MFCCs, False for the waveform.
        audio_track: which audio of a match is read, see `tracks.AudioChoice`.
    """

    segment_length: float
    video_sample_rate: float
    video_width: int
    video_height: int
    audio_sample_rate: int
    apply_mfcc: bool
    audio_track: int | str | None = None

    def to_dict(self) -> dict:
        """Return the settings as they are stored, without an audio track where none was chosen."""
        settings = asdict(self)
        return settings if self.audio_track is not None else {n: v for n, v in settings.items() if n != "audio_track"}

    @property
    def num_frames(self) -> int:
        """Return the number of frames in a segment, `int(segment_length * video_sample_rate)`.

        The product is rounded first, because 0.1 * 30 is slightly more than 3 in floating point.
        """
        return int(round(self.segment_length * self.video_sample_rate, 6))

    @property
    def num_samples(self) -> int:
        """Return the number of audio samples in a segment."""
        return int(round(self.segment_length * self.audio_sample_rate, 6))

    @property
    def data_shape(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a segment's arrays: (T, H, W, 3), and (num_samples,) or (40, num_mfcc_frames)."""
        mfcc_shape = (NUM_MFCC, 1 + self.num_samples // MFCC_HOP_LENGTH)
        return {
            "video": (self.num_frames, self.video_height, self.video_width, 3),
            "audio": mfcc_shape if self.apply_mfcc else (self.num_samples,),
        }

    @property
    def dataset_name(self) -> str:
        """Return the default name of the dataset folder. Its numbers have no trailing zeros."""
        return (
            f"dataset_sl{self.segment_length:.10g}_vsr{self.video_sample_rate:.10g}"
            f"_vw{self.video_width}_vh{self.video_height}_asr{self.audio_sample_rate}"
            f"{'_mfcc' if self.apply_mfcc else ''}"
            f"{'' if self.audio_track is None else f'_at{self.audio_track}'}"
        )

    def num_segments(self, duration_sec: float) -> int:
        """Return the number of segments of a video, including a short last one."""
        return int(np.ceil(round(duration_sec / self.segment_length, 6)))


def max_segment_bytes(data_shape: dict[str, tuple]) -> int:
    """Return the largest size of a segment's file.

    The first version stored two bytes per colour value. Audio samples have at most eight.
    """
    return 2 * math.prod(data_shape["video"]) + 8 * math.prod(data_shape["audio"]) + SEGMENT_OVERHEAD_BYTES


def read_limited(path: str | os.PathLike, max_bytes: int) -> bytes:
    """Read a file that is expected to be small.

    Raises:
        DatasetError: it cannot be read, is not a regular file, or has more than `max_bytes` bytes.
    """
    try:
        return untrusted_file.read_limited(path, max_bytes)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}): convert the videos again") from error
    except ValueError as error:
        raise DatasetError(f"{path}: {error}: convert the videos again") from error


def write_metadata(dataset_dir: Path, config: DataConfig, videos: list[dict], missing: list[str], **more) -> None:
    """Write `metadata.json` atomically.

    Args:
        dataset_dir: the dataset's folder.
        config: the settings of the conversion.
        videos: one record for each video in the dataset. Its `sections` in seconds are the reference of event-level
            metrics. Its `undecided_sec`, which few have, is what nobody has looked at.
        missing: titles of the videos that are not in the dataset yet.
        **more: further values at the top level, such as `created` and `versions`.
    """
    metadata = {
        "schema_version": UNDECIDED_SCHEMA_VERSION if has_undecided(videos) else SCHEMA_VERSION,
        **more,
        "config": config.to_dict(),
        "data_shape": config.data_shape,
        "total_segment_count": sum(video["segment_count"] for video in videos),
        "videos": sorted(videos, key=lambda video: video["title"]),
        "missing": sorted(missing),
    }
    atomic_write(dataset_dir / "metadata.json", (json.dumps(metadata, indent=2, ensure_ascii=False) + "\n").encode())


def has_undecided(videos: list[dict]) -> bool:
    """Return whether a record of metadata.json has undecided time."""
    return any(video.get("undecided_sec") for video in videos)


def read_metadata(dataset_dir: str | os.PathLike) -> dict:
    """Read the `metadata.json` of a dataset folder. Return it as `parse_metadata` does.

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


def parse_metadata(source: str | os.PathLike, content: bytes) -> dict:
    """Parse and check a `metadata.json`.

    Args:
        source: the file's name for error messages.
        content: the file's bytes.

    Returns:
        A dict with at least `config`, `data_shape` (its shapes as tuples), and `videos` or, in datasets of the first
        version, `segment_counts`.

    Raises:
        DatasetError: the content is damaged, or describes segments that are too large for memory.
    """
    try:
        metadata = untrusted_file.parse_json(content)
        version = metadata.get("schema_version", 1)
        if type(version) is int and version > UNDECIDED_SCHEMA_VERSION:
            raise DatasetError(
                f"{source}: received a dataset of schema version {version:.6g}, expected at most "
                f"{UNDECIDED_SCHEMA_VERSION}: a newer version of this toolkit wrote it, use that one, or convert the "
                "videos again"
            )
        expected = parse_config(metadata["config"]).data_shape
        received = {name: tuple(metadata["data_shape"][name]) for name in ("video", "audio")}
        lengths = [length for shape in received.values() for length in shape]
        if received != expected or not all(type(length) is int for length in lengths):
            raise ValueError(f"data_shape {received}, where config gives {expected}")
        metadata["data_shape"] = received
        for title, num_segments in segment_counts(metadata).items():
            if not is_safe_folder_name(title) or not is_count(num_segments):
                raise ValueError(f"video {title!r}")
        if len(segment_counts(metadata)) < len(metadata.get("videos", ())):
            raise ValueError("a video is listed twice")
        if not all(isinstance(video.get("source", ""), str) for video in metadata.get("videos", ())):
            raise ValueError("the source of a video is not a name")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        text = repr(error)[:200]
        raise DatasetError(
            f"{source}: damaged or not from data_converter.py ({text}): convert the videos again"
        ) from error
    return metadata


def is_count(number) -> bool:
    """Return whether a value is a whole number of 0 or more; bool is a subclass of int."""
    return type(number) is int and number >= 0


def parse_config(config: dict) -> DataConfig:
    """Check the settings that a dataset or a checkpoint contains, and return them as a DataConfig.

    Raises:
        TypeError: a name is missing or unknown.
        ValueError: a value is not a number, or such segments would be empty or too large for memory.
    """
    parsed = DataConfig(**config)
    numbers = [value for name, value in config.items() if name != "audio_track"]
    if not all(isinstance(value, int | float) and 0 <= value < 1e9 for value in numbers):
        raise ValueError(f"config {config}")
    if parsed.audio_track not in (None, MIX) and not (is_count(parsed.audio_track) and 0 < parsed.audio_track < 1e9):
        raise ValueError(f"config {config}")
    sizes = (parsed.video_width, parsed.video_height, parsed.audio_sample_rate)
    if parsed.segment_length > MAX_SEGMENT_SEC or not all(size == int(size) for size in sizes):
        raise ValueError(f"config {config}")
    if min(length for shape in parsed.data_shape.values() for length in shape) < 1:
        raise ValueError(f"segments of shapes {parsed.data_shape}")
    if max_segment_bytes(parsed.data_shape) > MAX_SEGMENT_BYTES:
        raise ValueError(f"segments of {max_segment_bytes(parsed.data_shape) / 1e9:.0f} GB")
    return parsed


def segment_counts(metadata: dict) -> dict[str, int]:
    """Return the number of segments of each title, sorted by title, from metadata of this version or the first."""
    if "videos" in metadata:
        counts = {video["title"]: video["segment_count"] for video in metadata["videos"]}
    else:
        counts = metadata.get("segment_counts", {})
    return dict(sorted(counts.items()))


def is_safe_folder_name(title) -> bool:
    """Return whether a title is the name of a folder directly in the dataset, and cannot lead out of it."""
    if not isinstance(title, str) or title in ("", ".", "..") or {"/", os.sep, "\0"} & set(title):
        return False
    if any("\ud800" <= character <= "\udfff" for character in title):  # lone surrogates cannot be encoded and hashed
        return False
    if len(title.encode()) > MAX_NAME_BYTES:
        return False
    return Path(title).name == title  # on Windows, "C:match" is on another drive


@dataclass(frozen=True)
class Match:
    """A source video of a dataset, without the arrays of its segments.

    Attributes:
        title: the video's file name without its suffix.
        segment_length: length of a segment in seconds.
        duration_sec: length of the video. Datasets of the first version do not contain it, so that it is the length of
            all segments there.
        labels: (num_segments,) int64, 0 or 1.
        sections_sec: (num_sections, 2) float64, start and end of the labelled sections in seconds, disjoint, ascending
            and half-open. Where the dataset does not contain them, they are the runs of segments labelled 1.
        undecided_sec: (num_ranges, 2) float64, what nobody has looked at, in seconds like the sections.
    """

    title: str
    segment_length: float
    duration_sec: float
    labels: np.ndarray
    sections_sec: np.ndarray
    undecided_sec: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    @property
    def is_decided(self) -> np.ndarray:
        """Return (num_segments,) bool: the segments that are trained and tested on."""
        return find_decided_segments(
            self.sections_sec, self.undecided_sec, len(self.labels), self.segment_length, self.duration_sec
        )


def parse_match(
    dataset_dir: Path, title: str, labels: list[int], config: DataConfig, video_records: dict[str, dict]
) -> Match:
    """Return a match with the sections and the duration of its record in metadata.json.

    Args:
        dataset_dir: the dataset's path for error messages.
        title: of the match.
        labels: of its segments, 0 or 1.
        config: the dataset's settings.
        video_records: the dataset's records by title.

    Raises:
        DatasetError: the record's sections, undecided time or duration are invalid.
    """
    labels, record = np.array(labels, dtype=np.int64), video_records.get(title, {})
    num_segments, length = len(labels), config.segment_length
    runs = runs_of(labels == 1)
    try:
        duration_sec = float(record.get("duration", num_segments * length))
        sections_sec = parse_ranges(record.get("sections", np.minimum(runs * length, duration_sec)), duration_sec)
        undecided_sec = parse_ranges(record.get("undecided_sec", ()), duration_sec)
        is_valid = (len(sections_sec) > 0 or not labels.any()) and config.num_segments(duration_sec) == num_segments
    except (TypeError, ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise DatasetError(
            f"{dataset_dir / 'metadata.json'}: received an invalid duration or invalid sections of {title}, expected "
            f"sections in ascending order within a duration of {num_segments} segments: convert the video again"
        )
    return Match(title, length, duration_sec, labels, sections_sec, undecided_sec)


def parse_ranges(values, duration_sec: float) -> np.ndarray:
    """Return (num_ranges, 2) float64 seconds from a record of metadata.json.

    Raises:
        TypeError, ValueError, OverflowError: they are not disjoint and ascending ranges within the duration.
    """
    ranges_sec = np.array(values, dtype=np.float64)
    if ranges_sec.size == 0:
        ranges_sec = ranges_sec.reshape(0, 2)
    boundaries_sec = np.concatenate([[0], ranges_sec.ravel(), [duration_sec]])
    if (
        ranges_sec.shape[1:] != (2,)
        or not (np.diff(boundaries_sec) >= 0).all()
        or not (ranges_sec[:, 0] < ranges_sec[:, 1]).all()
    ):
        raise ValueError(f"ranges {values}")
    return ranges_sec
