"""Stage 2: a dataset, split by source video with a stable hash, as batches for train, valid and test.

loader = DataLoader("dataset_sl5_vsr3_vw64_vh64_asr11025", batch_size=16)
inputs, labels = loader.batches("train")[0]      # inputs["video"], inputs["audio"]
"""

import hashlib
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

import segments
from dataset_files import DatasetFiles, open_dataset

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


class SegmentFile(NamedTuple):
    """One segment as its file name tells it, in the files of a dataset."""

    files: DatasetFiles
    title: str
    index: int
    label: int

    @property
    def name(self) -> str:
        return f"seg_{self.index:05d}_{self.label}.pkl"

    @property
    def path(self) -> Path:
        """Where it lies; in a zip, as if the zip were a folder."""
        return self.files.path / self.title / self.name

    def __str__(self) -> str:
        return str(self.path)


class DataLoader:
    """Splits a dataset by source video and reads its segments batch by batch.

    On construction it reads `metadata.json` and file names; a segment's pickle is read when its batch is asked for.

    Args:
        dataset_dir: written by data_converter.py, by this version or the toolkit's first; or a .zip of it.
        batch_size: segments in a batch; the last batch of a subset may be shorter.
        train_ratio, valid_ratio: shares of the hash's range; what is left is test.
        seed: of the order in which the training segments come.

    Attributes:
        config: segments.DataConfig. data_shape: {"video": (T, H, W, 3), "audio": shape}. metadata: of the dataset.
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
        files = open_dataset(dataset_dir)
        self.dataset_dir, self.metadata = files.path, files.metadata
        self.config = segments.DataConfig(**self.metadata["config"])
        self.data_shape = self.metadata["data_shape"]
        self.batch_size, self.seed = batch_size, seed
        self.train_ratio, self.valid_ratio = train_ratio, valid_ratio
        self.segment_files = {subset: [] for subset in SUBSETS}
        self.num_videos = dict.fromkeys(SUBSETS, 0)
        for title, num_segments in segments.segment_counts(self.metadata).items():
            subset = subset_of(title, train_ratio, valid_ratio)
            self.segment_files[subset] += list_segments(files, title, num_segments)
            self.num_videos[subset] += 1
        self.num_segments = {subset: len(files) for subset, files in self.segment_files.items()}
        self.num_highlights = {subset: sum(f.label for f in files) for subset, files in self.segment_files.items()}

    def labels(self, subset: str) -> np.ndarray:
        """(num_segments,) int64 of 0 or 1: the labels of a subset in order, from file names alone."""
        return np.array([file.label for file in self.segment_files[subset]], dtype=np.int64)

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


def list_segments(files: DatasetFiles, title: str, num_segments: int) -> list[SegmentFile]:
    """The segment files of a match by index.

    Raises:
        segments.DatasetError: they are not the num_segments that metadata.json counts, 0 to the last.
    """
    matches = filter(None, map(segments.SEGMENT_FILE_NAME.fullmatch, files.names(title)))
    found = sorted((int(match[1]), int(match[2])) for match in matches)
    if len(found) != num_segments or any(index != place for place, (index, _) in enumerate(found)):
        raise segments.DatasetError(
            f"{files.path / title}: received {len(found)} segment files, expected {num_segments} as metadata.json "
            "counts: the dataset is damaged, convert the videos again"
        )
    return [SegmentFile(files, title, index, label) for index, label in found]


def read_arrays(file: SegmentFile, data_shape: dict[str, tuple]) -> tuple[np.ndarray, np.ndarray]:
    """(video, audio) of one segment, of the shapes given, read-only: uint8 in [0, 255] and float.

    Raises segments.DatasetError if the file is damaged or of other shapes.
    """
    content = file.files.read(file.title, file.name)
    video, audio = segments.parse_segment(file, content, lambda content: file.files.load_arrays(content, file.title))
    shapes = {"video": video.shape, "audio": audio.shape}
    if shapes != data_shape:
        raise segments.DatasetError(
            f"{file}: received arrays of shapes {shapes}, expected {data_shape} as metadata.json says: "
            "convert its video again"
        )
    if video.dtype != np.uint8:  # the first version's float16 in [0, 1]
        video = np.rint(video.astype(np.float32) * 255).astype(np.uint8)
    return video, audio


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
            video, audio = read_arrays(file, self.data_shape)
            inputs["video"][row], inputs["audio"][row] = video, audio
        return inputs, np.array([[file.label] for file in files], np.float32)
