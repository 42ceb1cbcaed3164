"""Stage 2: a dataset, split by source video with a stable hash, as batches for train, valid and test.

loader = DataLoader("dataset_sl5_vsr3_vw64_vh64_asr11025", batch_size=16)
inputs, targets, weights = loader.batches("train")[0]      # inputs["video"], inputs["audio"]
"""

import hashlib
import itertools
import math
import os
import weakref
from collections import deque
from collections.abc import Iterator

import numpy as np

from videosummarizer import prefetching
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import SUBSETS, DataConfig, DatasetError, Match, parse_match, segment_counts
from videosummarizer.dataset.storage import SegmentFile, open_dataset
from videosummarizer.prefetching import NUM_READERS
from videosummarizer.sections import coverage

SEQUENCE_LENGTH = 8  # consecutive segments that a network is trained on together
STEP_SEC = 0.5  # about how long the steps are into which segments are divided
NUM_SEGMENTS_AHEAD = 16
NUM_BATCHES_AHEAD = 2  # more would not stay in the processor's cache


def assign_subset(title: str, train_ratio: float = 0.6, valid_ratio: float = 0.2) -> str:
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


class DataLoader:
    """Splits a dataset by source video and reads its segments batch by batch.

    On construction it reads `metadata.json` and file names; a segment's pickle is read when its batch is asked for.

    Args:
        dataset_dir: written by data_converter.py, by this version or the toolkit's first; or a .zip of it.
        batch_size: segments in a batch; the last batch of a subset may be shorter.
        train_ratio, valid_ratio: shares of the hash's range; what is left is test.
        seed: of the order in which the training segments come.

    Attributes:
        config: metadata.DataConfig. data_shape: {"video": (T, H, W, 3), "audio": shape}. metadata: of the dataset.
        segment_files: for each subset its SegmentFiles, by title and index.
        num_videos, num_segments, num_highlights: for each subset its count.
        num_steps: K, the equal parts of a segment, about STEP_SEC long, whose coverage by highlights is a target too.

    Raises:
        metadata.DatasetError: the folder is no dataset, or files are missing from it.
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
        self.config = DataConfig(**self.metadata["config"])
        self.data_shape = self.metadata["data_shape"]
        self.batch_size, self.seed = batch_size, seed
        self.train_ratio, self.valid_ratio = train_ratio, valid_ratio
        self.video_records = {video["title"]: video for video in self.metadata.get("videos", ())}
        self.segment_files = {subset: [] for subset in SUBSETS}
        self.num_videos = dict.fromkeys(SUBSETS, 0)
        for title, num_segments in segment_counts(self.metadata).items():
            subset = assign_subset(title, train_ratio, valid_ratio)
            self.segment_files[subset] += storage.list_segments(files, title, num_segments)
            self.num_videos[subset] += 1
        self.num_steps = max(1, round(self.config.segment_length / STEP_SEC))
        self.num_segments = {subset: len(files) for subset, files in self.segment_files.items()}
        self.num_highlights = {subset: sum(f.label for f in files) for subset, files in self.segment_files.items()}

    def labels(self, subset: str) -> np.ndarray:
        """(num_segments,) int64 of 0 or 1: the labels of a subset in order, from file names alone."""
        return np.array([file.label for file in self.segment_files[subset]], dtype=np.int64)

    def class_weights(self, subset: str) -> np.ndarray:
        """Return the balanced class weights of a subset, as `class_weights` gives them."""
        return class_weights(self.labels(subset))

    def files_by_match(self, subset: str) -> list[list[SegmentFile]]:
        """The segment files of each match of a subset, in the order of `labels`."""
        grouped = itertools.groupby(self.segment_files[subset], key=lambda file: file.title)
        return [list(files) for _, files in grouped]

    def matches(self, subset: str) -> list[Match]:
        """The matches of a subset in the order of `labels`. Raises metadata.DatasetError as `parse_match` does."""
        return [
            parse_match(
                self.dataset_dir, files[0].title, [file.label for file in files], self.config, self.video_records
            )
            for files in self.files_by_match(subset)
        ]

    def steps(self, subset: str) -> dict[str, np.ndarray]:
        """For each match of a subset in the order of `labels`, by title, (num_segments, K) float32 in [0, 1]: the share
        of each of the K equal steps of a segment that highlight sections cover; the label for each where the dataset
        does not name its sections. Raises metadata.DatasetError as `parse_match` does."""
        step_sec = self.config.segment_length / self.num_steps
        steps = {}
        for match in self.matches(subset):
            covered = coverage(match.sections_sec, len(match.labels) * self.num_steps, step_sec)
            steps[match.title] = covered.astype(np.float32).reshape(-1, self.num_steps)
        return steps

    def batches(self, subset: str, share: tuple[int, int] | None = None) -> "Batches":
        """The batches of a subset: train shuffled anew each epoch with the seed, valid and test in order. share:
        (process_id, num_processes) for the part of each batch that one of several processes takes."""
        return Batches(self, subset, self.seed if subset == "train" else None, share)

    def read_match(self, files: list[SegmentFile]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(video, audio) as `read_arrays` gives them of each of these files, in order, read ahead."""
        return prefetching.prefetch(lambda file: storage.read_arrays(file, self.data_shape), files, NUM_SEGMENTS_AHEAD)

    def require_both_classes(self, *subsets: str) -> None:
        """Raises metadata.DatasetError unless each of these subsets holds highlights and other segments."""
        lacking = [s for s in subsets if not 0 < self.num_highlights[s] < self.num_segments[s]]
        if not lacking:
            return
        counts = "; ".join(
            f"{s}: {self.num_videos[s]} videos, {self.num_segments[s]} segments, {self.num_highlights[s]} highlights"
            for s in SUBSETS
        )
        raise DatasetError(
            f"{self.dataset_dir}: expected segments of both classes in {' and '.join(subsets)}, but "
            f"{' and '.join(lacking)} {'lacks' if len(lacking) == 1 else 'lack'} one ({counts}). A video's title "
            "decides its subset: add videos and convert again, or choose other proportions (--split, here "
            f"{self.train_ratio:g} {self.valid_ratio:g})"
        )


def class_weights(labels: np.ndarray) -> np.ndarray:
    """(2,) float64: weights of segments labelled 0 and 1, of mean 1, that let both classes count the same."""
    return len(labels) / (2 * np.maximum(np.bincount(labels, minlength=2), 1))


def shift_in_time(array: np.ndarray, moved: float, time_axis: int = 2) -> np.ndarray:
    """What an array (B, S, ...) holds of S consecutive segments, moved later by that part of a segment's length, its
    end to its beginning; of the same shape. time_axis: along which a segment's time runs."""
    array = np.moveaxis(array, time_axis, 2)
    flat = array.reshape(array.shape[0], -1, *array.shape[3:])
    rolled = np.roll(flat, round(moved * array.shape[2]), axis=1).reshape(array.shape)
    return np.moveaxis(rolled, 2, time_axis)


class Batches:
    """A sequence of batches; `len()` counts them, `[i]` reads one, iterating reads all, some ahead in threads.

    Segments come in stretches: consecutive segments of a match, so that a network sees each with its neighbours. Every
    segment is read once an epoch. The S places of a stretch that hangs over an end of its match, or of a match shorter
    than S, are filled with the stretch's own segments, mirrored, of weight 0.

    A network is trained on `rolled()`, the same batches cut elsewhere. A batch is (inputs, targets, weights):

    inputs["video"]: (B, S, T, H, W, 3) uint8 in [0, 255]. inputs["audio"]: (B, S, num_samples) or (B, S, 40,
        num_frames) float32.
    targets["highlight"]: (B, S, 1) float32 of 0 or 1, the segments' labels.
    targets["steps"]: (B, S, K) float32 in [0, 1], as of `DataLoader.steps`.
    weights: (B, S) float32: that of the segment's class, or 0.

    With a share, process_id of num_processes, B is the same in every batch and process: consecutive rows of the whole
    batch. A last batch that is short is filled with its own stretches again, of weight 0.

    The memory of a batch that nobody holds any more is used again: fresh memory costs more time than reading a file.
    """

    def __init__(self, loader: DataLoader, subset: str, shuffle_seed: int | None, share: tuple[int, int] | None = None):
        self.loader, self.shuffle_seed, self.share = loader, shuffle_seed, share
        self.stretch_length = min(SEQUENCE_LENGTH, loader.batch_size)
        self.num_stretches = loader.batch_size // self.stretch_length  # in a batch
        self.class_weights = loader.class_weights(subset)
        self.steps = loader.steps(subset)
        self.matches = loader.files_by_match(subset)
        self.unused_memory: deque[np.ndarray] = deque(maxlen=NUM_BATCHES_AHEAD + NUM_READERS)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Take the stretches of an epoch, which depend on the seed and the epoch's number alone: for training each
        match is cut at other places, the stretches are shuffled, and how far `roll` moves each batch is drawn."""
        rng = None if self.shuffle_seed is None else np.random.default_rng((self.shuffle_seed, epoch))
        length = self.stretch_length
        self.stretches = []  # (files, places in front that hang over)
        for files in self.matches:
            num_free = -len(files) % length
            offset = 0
            if rng is not None:
                num_free += length * (num_free < length // 2)  # room to move in, the same each epoch
                offset = int(rng.integers(max(0, num_free - length + 1), min(num_free + 1, length)))
            for start in range(-offset, len(files) + num_free - offset, length):
                self.stretches.append((files[max(start, 0) : start + length], max(-start, 0)))
        self.num_steps_moved = np.zeros(len(self), np.int64)  # of each batch
        if rng is not None:
            self.stretches = [self.stretches[i] for i in rng.permutation(len(self.stretches))]
            num_places = self.count_places()
            num_steps_moved = rng.integers(num_places, size=len(self)) * (self.loader.num_steps // num_places)
            for batch_index, num_steps in enumerate(num_steps_moved):
                lengths = [len(files) for files, _ in self.stretches_of(batch_index)]
                if sum(lengths) >= 2 * len(lengths):  # half is left: each stretch that is moved loses a segment
                    self.num_steps_moved[batch_index] = num_steps

    def count_places(self) -> int:
        """In how many places, evenly apart, a segment can be cut between two frames as well as between two steps."""
        config = self.loader.config
        is_even = abs(config.segment_length * config.video_sample_rate - config.num_frames) < 1e-6
        return math.gcd(config.num_frames, self.loader.num_steps) if is_even else 1

    def stretches_of(self, batch_index: int) -> list[tuple[list[SegmentFile], int]]:
        """The stretches of a batch."""
        return self.stretches[batch_index * self.num_stretches : (batch_index + 1) * self.num_stretches]

    def __len__(self) -> int:
        return math.ceil(len(self.stretches) / self.num_stretches)

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]]:
        return prefetching.prefetch(self.__getitem__, range(len(self)), NUM_BATCHES_AHEAD)

    def __getitem__(self, batch_index: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        if not 0 <= batch_index < len(self):
            raise IndexError(f"batch {batch_index}: expected 0 to {len(self) - 1}")
        chosen = self.stretches_of(batch_index)
        rows_of_batch = range(len(chosen))
        if self.share:
            process_id, num_processes = self.share
            num_rows = self.num_stretches // num_processes
            rows_of_batch = range(process_id * num_rows, (process_id + 1) * num_rows)
        shape = (len(rows_of_batch), self.stretch_length)
        inputs = self.make_inputs(len(rows_of_batch))
        targets = {"highlight": np.empty((*shape, 1), np.float32)}
        targets["steps"] = np.empty((*shape, self.loader.num_steps), np.float32)
        weights = np.zeros(shape, np.float32)
        for row, row_of_batch in enumerate(rows_of_batch):
            files, num_before = chosen[row_of_batch % len(chosen)]
            num_files, first = len(files), files[0]
            places = slice(num_before, num_before + num_files)
            labels = [file.label for file in files]
            targets["highlight"][row, places, 0] = labels
            targets["steps"][row, places] = self.steps[first.title][first.index : first.index + num_files]
            weights[row, places] = self.class_weights[labels] * (row_of_batch < len(chosen))
            for file, video, audio in zip(
                files, inputs["video"][row, places], inputs["audio"][row, places], strict=True
            ):
                storage.read_into(file, video, audio)
            for place in (*range(num_before), *range(num_before + num_files, self.stretch_length)):
                distance = (place - num_before) % (2 * num_files)
                mirrored = num_before + min(distance, 2 * num_files - 1 - distance)
                for array in (*inputs.values(), *targets.values()):
                    array[row, place] = array[row, mirrored]
        return inputs, targets, weights

    def rolled(self) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]]:
        """The batches as a network is trained on them, each moved by `roll`; read ahead as by iterating."""
        return prefetching.prefetch(self.roll, range(len(self)), NUM_BATCHES_AHEAD)

    def roll(self, batch_index: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """A batch with all that its stretches hold moved later by the steps that were drawn for the epoch, what leaves
        a stretch at its end entering at its beginning. Segments are cut where the dataset was not, so that a network
        sees more segments than a match was cut into; they are labelled anew, and count by the weight of that label, or
        0 if they are of parts that do not follow each other in the match."""
        inputs, targets, weights = batch = self[batch_index]
        moved = self.num_steps_moved[batch_index] / self.loader.num_steps
        if not moved:
            return batch
        steps = shift_in_time(targets["steps"], moved)
        # As sections.label_segments has it, above the rounding of float32.
        is_highlight = steps.mean(axis=2, dtype=np.float64) > 0.5 + 1e-6
        is_whole = (weights > 0) & np.roll(weights > 0, 1, axis=1)
        is_whole[:, 0] = False
        weights = self.class_weights[is_highlight.astype(int)] * is_whole
        inputs = {
            name: shift_in_time(array, moved, time_axis)
            for name, array, time_axis in (("video", inputs["video"], 2), ("audio", inputs["audio"], -1))
        }
        targets = {"highlight": is_highlight[:, :, np.newaxis].astype(np.float32), "steps": steps}
        return inputs, targets, weights.astype(np.float32)

    def make_inputs(self, num_stretches: int) -> dict[str, np.ndarray]:
        """The inputs of a batch, yet to be filled, in one piece of memory that is kept for another batch once neither
        they nor parts of them are held."""
        shapes = {
            name: (num_stretches, self.stretch_length, *self.loader.data_shape[name]) for name in ("audio", "video")
        }
        num_audio_bytes, num_video_bytes = 4 * math.prod(shapes["audio"]), math.prod(shapes["video"])
        try:
            memory = self.unused_memory.pop()
        except IndexError:
            memory = np.empty((num_audio_bytes + num_video_bytes) // num_stretches * self.num_stretches, np.uint8)
        whole = np.frombuffer(memory.data, np.uint8)  # what is cut out of it refers to it, not to `memory`
        weakref.finalize(whole, self.unused_memory.append, memory)
        audio, video = whole[:num_audio_bytes], whole[num_audio_bytes : num_audio_bytes + num_video_bytes]
        return {"video": video.reshape(shapes["video"]), "audio": audio.view(np.float32).reshape(shapes["audio"])}
