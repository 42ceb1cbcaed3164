"""Stage 2: split a dataset by source video with a stable hash and read it in batches for train, valid and test.

loader = DataLoader("dataset_sl5_vsr3_vw64_vh64_asr11025")
inputs, targets, weights = loader.batches("train")[0]      # inputs["video"], inputs["audio"]
"""

import itertools
import math
import os
import weakref
from collections import deque
from collections.abc import Iterator

import numpy as np

from videosummarizer import prefetching
from videosummarizer.dataset import metadata, split, storage
from videosummarizer.dataset.metadata import SUBSETS, DataConfig, DatasetError, Match, parse_match, segment_counts
from videosummarizer.dataset.sequences import SegmentSequence, divide_match
from videosummarizer.dataset.split import assign_fold_subsets, assign_subset
from videosummarizer.dataset.storage import SegmentFile, open_dataset
from videosummarizer.dataset.temporal_context import choose_temporal_context
from videosummarizer.dataset.time_shift import UNDECIDED, count_shifts, shift_batch
from videosummarizer.media import TIME_TOLERANCE_SEC
from videosummarizer.prefetching import NUM_READERS
from videosummarizer.sections import coverage, median_length_sec, pad_undecided, runs_of

# Sequences in a batch, unless a batch size is given.
NUM_SEQUENCES = 2
# Segments are divided into equal time steps of about half a second.
STEP_SEC = 0.5
# 16 segments of a match are prefetched.
NUM_SEGMENTS_AHEAD = 16
# Two batches are prefetched. More would not stay in the processor's cache.
NUM_BATCHES_AHEAD = 2

# (inputs, targets, weights), see Batches.
Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]


class DataLoader:
    """Split a dataset by source video and read its segments in batches.

    The constructor reads `metadata.json` and the file names. A segment's pickle is read when its batch is requested.

    Args:
        dataset_dir: a folder written by data_converter.py, this version's or the first one's, or a .zip of it.
        batch_size: segments per batch. None stands for two sequences. The last batch of a subset may be shorter.
        train_ratio: the fraction of the hash's range that is train.
        valid_ratio: the fraction of the hash's range that is valid. The rest is test.
        seed: of the order, the offsets and the time shifts of the training segments.
        fold: (number, num_folds), to split the videos as for this fold, numbered from 1 on, instead of by the ratios.

    Attributes:
        config: the dataset's metadata.DataConfig.
        data_shape: the shapes of a segment's arrays, {"video": (T, H, W, 3), "audio": shape}.
        metadata: the dataset's metadata, a dict.
        fold: as given.
        has_undecided: whether the dataset has undecided time, which nobody has looked at.
        is_decided_of: for each title (num_segments,) bool, False for segments whose label depends on undecided time.
            They are neither trained nor tested on.
        classes_of: for each title whether its video has decided segments labelled 1, and whether some labelled 0.
        subset_of: each title's subset.
        segment_files: each subset's SegmentFiles, by title and index.
        num_videos: the number of videos in each subset.
        num_segments: the number of segments in each subset.
        num_decided: the number of decided segments in each subset.
        num_highlights: the number of decided segments labelled 1 in each subset.
        batch_size: segments per batch.
        default_batch_size: what it is unless given: two sequences.
        context: the TemporalContext that suits the training matches: the length of a sequence, and the dilation rates
            of a network.
        num_steps: K, the number of equal time steps of a segment. Each is about STEP_SEC long, and the fraction of it
            that is highlight is a target of its own.

    Raises:
        metadata.DatasetError: the folder is not a dataset, files are missing from it, or sections of a training match
            are invalid.
        ValueError: the batch size is below 1, or the ratios are outside [0, 1].
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike,
        batch_size: int | None = None,
        train_ratio: float = 0.6,
        valid_ratio: float = 0.2,
        seed: int = 0,
        fold: tuple[int, int] | None = None,
    ):
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size: received {batch_size}, expected 1 or more")
        if min(train_ratio, valid_ratio) < 0 or train_ratio + valid_ratio > 1 + 1e-9:
            raise ValueError(
                f"train_ratio, valid_ratio: received {train_ratio}, {valid_ratio}, expected fractions of 0 or more "
                "that leave the rest of 1 for test"
            )
        files = open_dataset(dataset_dir)
        self.dataset_dir, self.metadata = files.path, files.metadata
        self.config = DataConfig(**self.metadata["config"])
        self.data_shape = self.metadata["data_shape"]
        self.seed = seed
        self.train_ratio, self.valid_ratio, self.fold = train_ratio, valid_ratio, fold
        self.video_records = {video["title"]: video for video in self.metadata.get("videos", ())}
        self.has_undecided = metadata.has_undecided(self.metadata.get("videos", ()))
        self.segment_files = {subset: [] for subset in SUBSETS}
        self.num_videos = dict.fromkeys(SUBSETS, 0)
        files_of = {
            title: storage.list_segments(files, title, num_segments)
            for title, num_segments in segment_counts(self.metadata).items()
        }
        self.is_decided_of = {title: self.find_decided(files) for title, files in files_of.items()}
        self.classes_of = {
            title: tuple(any(file.label == label and decided[file.index] for file in files) for label in (1, 0))
            for (title, files), decided in zip(files_of.items(), self.is_decided_of.values(), strict=True)
        }
        if fold:
            self.subset_of = assign_fold_subsets(self.classes_of, *fold)
        else:
            self.subset_of = {title: assign_subset(title, train_ratio, valid_ratio) for title in files_of}
        for title, subset in self.subset_of.items():
            self.segment_files[subset] += files_of[title]
            self.num_videos[subset] += 1
        self.num_steps = max(1, round(self.config.segment_length / STEP_SEC))
        median_sec = median_length_sec((match.sections_sec, match.undecided_sec) for match in self.matches("train"))
        self.context = choose_temporal_context(median_sec, self.config.segment_length, self.num_steps)
        self.default_batch_size = NUM_SEQUENCES * self.context.sequence_length
        self.batch_size = batch_size or self.default_batch_size
        self.num_segments = {subset: len(files) for subset, files in self.segment_files.items()}
        self.num_decided = {subset: int(self.is_decided(subset).sum()) for subset in SUBSETS}
        self.num_highlights = {subset: int(self.labels(subset)[self.is_decided(subset)].sum()) for subset in SUBSETS}

    def labels(self, subset: str) -> np.ndarray:
        """Return the labels of a subset in order, from file names only: (num_segments,) int64, 0 or 1."""
        return np.array([file.label for file in self.segment_files[subset]], dtype=np.int64)

    def is_decided(self, subset: str) -> np.ndarray:
        """Return which segments of a subset are decided, in the order of `labels`: (num_segments,) bool."""
        titles = (files[0].title for files in self.files_by_match(subset))
        return np.concatenate([np.ones(0, bool), *(self.is_decided_of[title] for title in titles)])

    def class_weights(self, subset: str) -> np.ndarray:
        """Return the balanced class weights of the decided segments of a subset, as `class_weights` gives them."""
        return class_weights(self.labels(subset)[self.is_decided(subset)])

    def files_by_match(self, subset: str) -> list[list[SegmentFile]]:
        """Return the segment files of each match of a subset, in the order of `labels`."""
        grouped = itertools.groupby(self.segment_files[subset], key=lambda file: file.title)
        return [list(files) for _, files in grouped]

    def matches(self, subset: str) -> list[Match]:
        """Return the matches of a subset, in the order of `labels`.

        Raises:
            metadata.DatasetError: as `parse_match` does.
        """
        return [self.parse_match(files) for files in self.files_by_match(subset)]

    def parse_match(self, files: list[SegmentFile]) -> Match:
        """Return the match of these segment files, all that it has."""
        labels = [file.label for file in files]
        return parse_match(self.dataset_dir, files[0].title, labels, self.config, self.video_records)

    def find_decided(self, files: list[SegmentFile]) -> np.ndarray:
        """Return which segments of a match are decided, (num_segments,) bool."""
        if not files or not self.video_records.get(files[0].title, {}).get("undecided_sec"):
            return np.ones(len(files), bool)
        return self.parse_match(files).is_decided

    def steps(self, subset: str) -> dict[str, np.ndarray]:
        """Return for each time step of a subset the fraction of it that highlight sections cover.

        Where the dataset does not name its sections, each step has its segment's label.

        Returns:
            A dict from the titles of the matches, in the order of `labels`, to (num_segments, K) float32 in [0, 1], or
            UNDECIDED for a step that undecided time touches.

        Raises:
            metadata.DatasetError: as `parse_match` does.
        """
        step_sec = self.config.segment_length / self.num_steps
        steps = {}
        for match in self.matches(subset):
            undecided_sec = pad_undecided(match.undecided_sec, match.duration_sec)
            covered, undecided = (
                coverage(ranges_sec, len(match.labels) * self.num_steps, step_sec)
                for ranges_sec in (match.sections_sec, undecided_sec)
            )
            covered[undecided * step_sec > TIME_TOLERANCE_SEC] = UNDECIDED
            steps[match.title] = covered.astype(np.float32).reshape(-1, self.num_steps)
        return steps

    def batches(self, subset: str, shard: tuple[int, int] | None = None) -> "Batches":
        """Return the batches of a subset.

        Training batches are shuffled in each epoch, by the seed. Those of valid and test keep their order.

        Args:
            subset: "train", "valid" or "test".
            shard: (process_id, num_processes) where several processes divide each batch among them.
        """
        return Batches(self, subset, self.seed if subset == "train" else None, shard)

    def read_match(self, files: list[SegmentFile]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (video, audio) of each of these files in order, as `read_arrays` returns them. They are prefetched."""
        return prefetching.prefetch(lambda file: storage.read_arrays(file, self.data_shape), files, NUM_SEGMENTS_AHEAD)

    def require_both_classes(self, *subsets: str) -> None:
        """Check that each of these subsets has decided segments of both classes.

        Raises:
            metadata.DatasetError: one of them has no highlights, or nothing else.
        """
        lacking = [s for s in subsets if not 0 < self.num_highlights[s] < self.num_decided[s]]
        if not lacking:
            return
        if problem := split.describe_missing_class(self.classes_of, list(self.video_records.values())):
            raise DatasetError(f"{self.dataset_dir}: {problem}")
        counts = "; ".join(
            f"{s}: {self.num_videos[s]} videos, {self.num_decided[s]} segments, {self.num_highlights[s]} highlights"
            for s in SUBSETS
        )
        ratios = self.train_ratio, self.valid_ratio
        if self.fold:
            flag, advice = "--folds {1}, here fold {0}".format(*self.fold), split.advise_on_folds(self.classes_of)
        else:
            flag, advice = "--split, here {:g} {:g}".format(*ratios), split.ADDING
            if set(subsets) == set(SUBSETS):
                advice = split.advise_on_split(self.classes_of, ratios)
        raise DatasetError(
            f"{self.dataset_dir}: expected segments of both classes in {' and '.join(subsets)}, but "
            f"{' and '.join(lacking)} {'lacks' if len(lacking) == 1 else 'lack'} one ({counts}). A video's title "
            f"decides its subset ({flag}): {advice}"
        )


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Return the balanced class weights of labels 0 and 1: num_segments / (2 x the number with that label).

    This is the formula of scikit-learn's `compute_class_weight("balanced")`.

    Args:
        labels: (num_segments,) int, 0 or 1.

    Returns:
        (2,) float64.
    """
    return len(labels) / (2 * np.maximum(np.bincount(labels, minlength=2), 1))


class Batches:
    """A series of batches. `len()` counts them, `[i]` reads one, and iterating prefetches them in threads.

    Each row of a batch is a sequence of S consecutive segments of a match, so that a network sees every segment with
    its neighbours. Every segment is read once per epoch. A sequence may extend past an end of its match, or its match
    may be shorter than S; its empty slots are then filled by symmetric padding (as of `numpy.pad`) and get weight 0.
    So do undecided segments. In training, they are read only as the neighbours of decided ones.

    Train on `augmented()`, which gives the same batches with a random time shift. A batch is (inputs, targets,
    weights):

    inputs["video"]: (B, S, T, H, W, 3) uint8 in [0, 255].
    inputs["audio"]: float32, (B, S, num_samples) in [-1, 1], or (B, S, 40, num_frames) for MFCCs.
    targets["highlight"]: (B, S, 1) float32, the segments' labels, 0 or 1.
    targets["steps"]: (B, S, K) float32 in [0, 1] or UNDECIDED, as returned by `DataLoader.steps`.
    weights: (B, S) float32, the weight of the segment's class, or 0 for padding and undecided segments.

    With a shard, B is the same in every batch and in every process, and a process gets consecutive rows of the whole
    batch. A short last batch then repeats its own sequences with weight 0.

    Batches whose arrays are no longer referenced give their memory to later ones, because allocating fresh memory takes
    longer than reading a file.
    """

    def __init__(self, loader: DataLoader, subset: str, shuffle_seed: int | None, shard: tuple[int, int] | None = None):
        self.loader, self.shuffle_seed, self.shard = loader, shuffle_seed, shard
        self.sequence_length = min(loader.context.sequence_length, loader.batch_size)
        self.num_sequences = loader.batch_size // self.sequence_length  # per batch
        self.class_weights = loader.class_weights(subset)
        self.steps = loader.steps(subset)
        self.matches = loader.files_by_match(subset)
        self.buffer_pool: deque[np.ndarray] = deque(maxlen=NUM_BATCHES_AHEAD + NUM_READERS)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the sequences of an epoch and the time shift of each batch.

        Both depend on the seed and the epoch's number only. For training, each match is divided at a random offset and
        the sequences are shuffled. Validation and test start at the beginning of each match, in order.
        """
        rng = None if self.shuffle_seed is None else np.random.default_rng((self.shuffle_seed, epoch))
        self.sequences = [sequence for files in self.matches for sequence in self.divide(files, rng)]
        self.shift_steps = np.zeros(len(self), np.int64)  # per batch
        if rng is not None:
            self.sequences = [self.sequences[i] for i in rng.permutation(len(self.sequences))]
            num_shifts = count_shifts(self.loader.config, self.loader.num_steps)
            drawn_steps = rng.integers(num_shifts, size=len(self)) * (self.loader.num_steps // num_shifts)
            for batch_index, num_steps in enumerate(drawn_steps):
                runs = [runs_of(self.is_decided(sequence.files)) for sequence in self.sequences_of(batch_index)]
                # A shift costs each run of segments one, so it is left out where less than half would remain.
                if np.diff(runs := np.concatenate(runs)).sum() >= 2 * len(runs):
                    self.shift_steps[batch_index] = num_steps

    def divide(self, files: list[SegmentFile], rng: np.random.Generator | None) -> list[SegmentSequence]:
        """Divide a match into sequences, in training only those that have decided segments."""
        is_chosen = np.ones(len(files), bool) if rng is None else self.is_decided(files)
        return divide_match(files, is_chosen, self.sequence_length, rng)

    def is_decided(self, files: list[SegmentFile]) -> np.ndarray:
        """Return which of consecutive segments are decided, (num_segments,) bool."""
        return self.loader.is_decided_of[files[0].title][files[0].index : files[0].index + len(files)]

    def sequences_of(self, batch_index: int) -> list[SegmentSequence]:
        """Return the sequences of a batch."""
        return self.sequences[batch_index * self.num_sequences : (batch_index + 1) * self.num_sequences]

    def __len__(self) -> int:
        return math.ceil(len(self.sequences) / self.num_sequences)

    def __iter__(self) -> Iterator[Batch]:
        return prefetching.prefetch(self.__getitem__, range(len(self)), NUM_BATCHES_AHEAD)

    def __getitem__(self, batch_index: int) -> Batch:
        inputs, targets, weights, _ = self.read(batch_index)
        return inputs, targets, weights

    def read(self, batch_index: int) -> tuple[*Batch, np.ndarray]:
        """Read a batch. Return it and (B, S) bool, False for padding."""
        if not 0 <= batch_index < len(self):
            raise IndexError(f"batch {batch_index}: expected 0 to {len(self) - 1}")
        sequences = self.sequences_of(batch_index)
        batch_rows = range(len(sequences))
        if self.shard:
            process_id, num_processes = self.shard
            num_rows = self.num_sequences // num_processes
            batch_rows = range(process_id * num_rows, (process_id + 1) * num_rows)
        shape = (len(batch_rows), self.sequence_length)
        inputs = self.take_buffers(len(batch_rows))
        targets = {"highlight": np.empty((*shape, 1), np.float32)}
        targets["steps"] = np.empty((*shape, self.loader.num_steps), np.float32)
        weights, is_used = np.zeros(shape, np.float32), np.zeros(shape, bool)
        for row, batch_row in enumerate(batch_rows):
            sequence = sequences[batch_row % len(sequences)]
            slots = self.fill_row(sequence, row, inputs, targets)
            labels = [file.label for file in sequence.files]
            is_used[row, slots] = batch_row < len(sequences)
            weights[row, slots] = self.class_weights[labels] * (is_used[row, slots] & self.is_decided(sequence.files))
        return inputs, targets, weights, is_used

    def fill_row(
        self, sequence: SegmentSequence, row: int, inputs: dict[str, np.ndarray], targets: dict[str, np.ndarray]
    ) -> slice:
        """Read a sequence into a row of a batch and pad it. Return the slots that are no padding."""
        files, num_before = sequence
        num_files, first = len(files), files[0]
        slots = slice(num_before, num_before + num_files)
        targets["highlight"][row, slots, 0] = [file.label for file in files]
        targets["steps"][row, slots] = self.steps[first.title][first.index : first.index + num_files]
        for file, video, audio in zip(files, inputs["video"][row, slots], inputs["audio"][row, slots], strict=True):
            storage.read_into(file, video, audio)
        for slot in (*range(num_before), *range(num_before + num_files, self.sequence_length)):
            distance = (slot - num_before) % (2 * num_files)
            padded_from = num_before + min(distance, 2 * num_files - 1 - distance)
            for array in (*inputs.values(), *targets.values()):
                array[row, slot] = array[row, padded_from]
        return slots

    def augmented(self) -> Iterator[Batch]:
        """Return the batches of an epoch for training, each shifted in time by `shift`. They are prefetched."""
        return prefetching.prefetch(self.shift, range(len(self)), NUM_BATCHES_AHEAD)

    def shift(self, batch_index: int) -> Batch:
        """Read a batch and shift each of its sequences to a later time by the number of steps drawn for the epoch."""
        inputs, targets, weights, is_used = self.read(batch_index)
        shift = self.shift_steps[batch_index] / self.loader.num_steps
        if shift:
            return shift_batch(inputs, targets, is_used, shift, self.class_weights)
        return inputs, targets, weights

    def take_buffers(self, num_sequences: int) -> dict[str, np.ndarray]:
        """Return uninitialised arrays for the inputs of a batch, from the pool if it has any.

        Both arrays lie in one block of memory. It returns to the pool once no view of either is referenced.
        """
        shapes = {
            name: (num_sequences, self.sequence_length, *self.loader.data_shape[name]) for name in ("audio", "video")
        }
        num_audio_bytes, num_video_bytes = 4 * math.prod(shapes["audio"]), math.prod(shapes["video"])
        try:
            memory = self.buffer_pool.pop()
        except IndexError:
            memory = np.empty((num_audio_bytes + num_video_bytes) // num_sequences * self.num_sequences, np.uint8)
        whole = np.frombuffer(memory.data, np.uint8)  # views of it have it as their base, not `memory`
        weakref.finalize(whole, self.buffer_pool.append, memory)
        audio, video = whole[:num_audio_bytes], whole[num_audio_bytes : num_audio_bytes + num_video_bytes]
        return {"video": video.reshape(shapes["video"]), "audio": audio.view(np.float32).reshape(shapes["audio"])}
