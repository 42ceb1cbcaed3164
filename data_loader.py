"""Stage 2: a dataset folder, split by source video with a stable hash, as batches for train, valid and test.

loader = DataLoader("dataset_sl5_vsr3_vw64_vh64_asr11025", batch_size=16)
inputs, labels = loader.batches("train")[0]      # inputs["video"], inputs["audio"]
"""

import hashlib
import itertools
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import segments

SUBSETS = ("train", "valid", "test")


def subset_of(title: str, train_ratio: float = 0.6, valid_ratio: float = 0.2) -> str:
    """The subset of a video, by its title alone: SHA-512 of the title in UTF-8, its 64 bytes XORed, divided by 255.

    Datasets in use depend on this very formula. Returns "train" below train_ratio, "valid" below
    train_ratio + valid_ratio, else "test".
    """
    folded = 0
    for byte in hashlib.sha512(title.encode("utf-8")).digest():
        folded ^= byte
    position = folded / 255
    if position < train_ratio:
        return "train"
    return "valid" if position < train_ratio + valid_ratio else "test"


@dataclass(frozen=True)
class SegmentFile:
    """One segment as its file name tells it."""

    path: Path
    title: str
    index: int
    label: int


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


class DataLoader:
    """Splits a dataset by source video and reads its segments batch by batch.

    On construction it reads `metadata.json` and file names; a segment's pickle is read when its batch is asked for.

    Args:
        dataset_dir: written by data_converter.py, by this version or the toolkit's first.
        batch_size: segments in a batch; the last batch of a subset may be shorter.
        train_ratio, valid_ratio: shares of the hash's range; what is left is test.
        seed: of the order in which the training segments come.

    Attributes:
        config: segments.DataConfig. data_shape: {"video": (T, H, W, 3), "audio": shape}.
        segment_files: for each subset its SegmentFiles, by title and index.
        num_videos, num_segments, num_highlights: for each subset its count.

    Raises:
        segments.DatasetError: the folder is no dataset, or files are missing from it.
        ValueError: a batch size below 1, or proportions outside [0, 1].
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike,
        batch_size: int = 16,
        train_ratio: float = 0.6,
        valid_ratio: float = 0.2,
        seed: int = 0,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size: received {batch_size}, expected 1 or more")
        if min(train_ratio, valid_ratio) < 0 or train_ratio + valid_ratio > 1 + 1e-9:
            raise ValueError(
                f"train_ratio, valid_ratio: received {train_ratio}, {valid_ratio}, expected shares of 0 or more that "
                "leave the rest of 1 for test"
            )
        metadata = segments.read_metadata(dataset_dir)
        self.dataset_dir = Path(dataset_dir)
        self.config = segments.DataConfig(**metadata["config"])
        self.data_shape = metadata["data_shape"]
        self.batch_size, self.seed = batch_size, seed
        self.train_ratio, self.valid_ratio = train_ratio, valid_ratio
        self.video_records = {video["title"]: video for video in metadata.get("videos", ())}
        self.segment_files = {subset: [] for subset in SUBSETS}
        self.num_videos = dict.fromkeys(SUBSETS, 0)
        for title, num_segments in segment_counts(metadata).items():
            subset = subset_of(title, train_ratio, valid_ratio)
            self.segment_files[subset] += list_segments(self.dataset_dir / title, num_segments)
            self.num_videos[subset] += 1
        self.num_segments = {subset: len(files) for subset, files in self.segment_files.items()}
        self.num_highlights = {subset: sum(f.label for f in files) for subset, files in self.segment_files.items()}

    def labels(self, subset: str) -> np.ndarray:
        """(num_segments,) int64 of 0 or 1: the labels of a subset in order, from file names alone."""
        return np.array([file.label for file in self.segment_files[subset]], dtype=np.int64)

    def matches(self, subset: str) -> list[Match]:
        """The matches of a subset in the order of `labels`. Raises segments.DatasetError as `describe_match` does."""
        return [
            describe_match(self.dataset_dir, title, [file.label for file in files], self.config, self.video_records)
            for title, files in itertools.groupby(self.segment_files[subset], key=lambda file: file.title)
        ]

    def batches(self, subset: str) -> "Batches":
        """The batches of a subset: train shuffled anew each epoch with the seed, valid and test in order."""
        shuffle_seed = self.seed if subset == "train" else None
        return Batches(self.segment_files[subset], self.data_shape, self.batch_size, shuffle_seed)

    def require_both_classes(self, *subsets: str) -> None:
        """Raises segments.DatasetError unless each of these subsets holds highlights and other segments."""
        lacking = [s for s in subsets if not 0 < self.num_highlights[s] < self.num_segments[s]]
        if not lacking:
            return
        counts = "; ".join(
            f"{s}: {self.num_videos[s]} videos, {self.num_segments[s]} segments, {self.num_highlights[s]} highlights"
            for s in SUBSETS
        )
        raise segments.DatasetError(
            f"{self.dataset_dir}: expected segments of both classes in {' and '.join(subsets)}, but "
            f"{' and '.join(lacking)} {'lacks' if len(lacking) == 1 else 'lack'} one ({counts}). A video's title "
            "decides its subset: add videos and convert again, or choose other proportions (--split, here "
            f"{self.train_ratio:g} {self.valid_ratio:g})"
        )


def segment_counts(metadata: dict) -> dict[str, int]:
    """Segments of each title, sorted by title, from a metadata dict of this version or the first."""
    if "videos" in metadata:
        counts = {video["title"]: video["segment_count"] for video in metadata["videos"]}
    else:
        counts = metadata.get("segment_counts", {})
    return dict(sorted(counts.items()))


def list_segments(match_dir: Path, num_segments: int) -> list[SegmentFile]:
    """The segment files of a match by index.

    Raises:
        segments.DatasetError: they are not the num_segments that metadata.json counts, 0 to the last.
    """
    names = [entry.name for entry in os.scandir(match_dir)] if match_dir.is_dir() else []
    matches = sorted(filter(None, map(segments.SEGMENT_FILE_NAME.fullmatch, names)), key=lambda match: int(match[1]))
    if [int(match[1]) for match in matches] != list(range(num_segments)):
        raise segments.DatasetError(
            f"{match_dir}: received {len(matches)} segment files, expected {num_segments} as metadata.json counts: the "
            "dataset is damaged, convert the videos again"
        )
    return [SegmentFile(match_dir / match[0], match_dir.name, int(match[1]), int(match[2])) for match in matches]


def describe_match(
    dataset_dir: Path, title: str, labels: list[int], config: segments.DataConfig, video_records: dict[str, dict]
) -> Match:
    """A match by its labels and its record in metadata.json.

    Raises:
        segments.DatasetError: the record's sections or duration are damaged.
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
        raise segments.DatasetError(
            f"{dataset_dir / 'metadata.json'}: received a duration or sections of {title} that are none, expected "
            f"sections in ascending order within a duration of {num_segments} segments: convert the video again"
        )
    return Match(title, length, duration_sec, labels, sections_sec)


class Batches:
    """A sequence of batches; `len()` counts them, `[i]` reads one, iterating reads all.

    A batch is (inputs, labels): inputs["video"] (B, T, H, W, 3) uint8 in [0, 255], inputs["audio"] (B, num_samples)
    or (B, 40, num_frames) float32, labels (B, 1) float32 of 0 or 1.
    """

    def __init__(
        self, files: list[SegmentFile], data_shape: dict[str, tuple], batch_size: int, shuffle_seed: int | None
    ):
        self.files, self.data_shape, self.batch_size = files, data_shape, batch_size
        self.shuffle_seed = shuffle_seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Take the order of an epoch, which depends on the seed and the epoch's number alone."""
        self.order = np.arange(len(self.files))
        if self.shuffle_seed is not None:
            np.random.default_rng((self.shuffle_seed, epoch)).shuffle(self.order)

    def __len__(self) -> int:
        return math.ceil(len(self.files) / self.batch_size)

    def __getitem__(self, batch_index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        if not 0 <= batch_index < len(self):
            raise IndexError(f"batch {batch_index}: expected 0 to {len(self) - 1}")
        chosen = self.order[batch_index * self.batch_size : (batch_index + 1) * self.batch_size]
        files = [self.files[i] for i in chosen]
        inputs = {
            "video": np.empty((len(files), *self.data_shape["video"]), np.uint8),
            "audio": np.empty((len(files), *self.data_shape["audio"]), np.float32),
        }
        for row, file in enumerate(files):
            video, audio = self.read(file)
            inputs["video"][row], inputs["audio"][row] = video, audio
        return inputs, np.array([[file.label] for file in files], np.float32)

    def read(self, file: SegmentFile) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of one segment. Raises segments.DatasetError if the file is damaged or of other shapes."""
        segment = segments.read_segment(file.path)
        video, audio = segment["video"], segment["audio"]
        shapes = {"video": video.shape, "audio": audio.shape}
        if shapes != self.data_shape:
            raise segments.DatasetError(
                f"{file.path}: received arrays of shapes {shapes}, expected {self.data_shape} as metadata.json says: "
                "convert its video again"
            )
        if video.dtype != np.uint8:  # the first version's float16 in [0, 1]
            video = np.rint(video.astype(np.float32) * 255).astype(np.uint8)
        return video, audio
