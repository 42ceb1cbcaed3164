"""The on-disk contract between the stages: label files, segments, datasets, and the errors they raise.

Label file `<title>.txt`, one highlight section a line, half-open `[start, end)`, no header::

    start_frame,end_frame,start_time,end_time        589,694,00:00:16,00:00:19
    start_frame,end_frame                            589,694
    start_time,end_time                              00:00:16.8,00:00:19.8   or   16.8,19.8

Segment k of a video covers the seconds `[k * L, (k + 1) * L)`, where L is the segment length.

Dataset folder: `metadata.json`, and for each segment `<title>/seg_<index>_<label>.pkl`, a dict of builtins and
NumPy arrays. Reading one never runs code that it holds.
"""

import json
import logging
import math
import mmap
import os
import pickle
import re
import stat
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import media
import segment_pickle

SCHEMA_VERSION = 2  # the toolkit's first version wrote none
NUM_MFCC = 40
MFCC_HOP_LENGTH = 512  # librosa's default, which the length of the MFCC picture follows from
NUM_SEGMENTS_PER_MFCC_CALL = 8  # one call for several segments is cheaper than a call for each
MAX_BYTES_AHEAD = 12_000_000  # of frames that are decoded before they are asked for
MAX_FRAME_TIME_DISAGREEMENT_SEC = 1.0
TIME_TOLERANCE_SEC = 1e-6  # below a presentation clock's tick (1/90000 s), above float64 rounding
CHECKPOINT_ATTRIBUTE = "video_summarizer"  # JSON: what stage 4 needs beside the network
HEAP_SIGNATURE = b"GCOL\x01\0\0\0"  # of an HDF5 global heap, which holds texts
HEAP_HEADER = struct.Struct("<8sQ")  # signature, size
HEAP_OBJECT_HEADER = struct.Struct("<HHIQ")  # index, 0 for free space; references; nothing; size
MAX_SEGMENT_BYTES = 2**30
MAX_METADATA_BYTES = 2**27
SEGMENT_OVERHEAD_BYTES = 65_536  # names and numbers beside the arrays
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe would wait for ever
SEGMENT_FILE_NAME = re.compile(r"seg_([0-9]{5,9})_([01])\.pkl")
HEADER_FIELD = re.compile(r"[^\W\d_]{2,}")

logger = logging.getLogger(__name__)


class LabelError(Exception):
    """A label file that cannot be used; the message names file, line, what was received and what was expected."""


class DatasetError(Exception):
    """A dataset folder, or a file in it, that cannot be used; the message says which and what to do."""


class CheckpointError(Exception):
    """A file that is no checkpoint of this toolkit, or one that cannot be read; the message says which and why."""


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


# ---- Label files


@dataclass(frozen=True)
class LabelRow:
    """One line of a label file: `frames` (start, end) counted in display order, `times_sec` (start, end), or None."""

    line: int
    frames: tuple[int, int] | None
    times_sec: tuple[float, float] | None


def parse_time(text: str) -> float:
    """Seconds of `HH:MM:SS[.fff]`, `MM:SS[.fff]` or `SS[.fff]`.

    Raises:
        ValueError: the text is none of these, or minutes or seconds after a colon are 60 or more.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text, re.ASCII)
    if not match:
        raise ValueError(text)
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if (match[2] and seconds >= 60) or (match[1] and minutes >= 60):
        raise ValueError(text)
    return hours * 3600 + minutes * 60 + seconds


def format_time(seconds: float) -> str:
    """`HH:MM:SS` of a time in seconds, the fraction dropped, as in label files."""
    seconds = int(seconds + TIME_TOLERANCE_SEC)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def read_label_file(path: str | os.PathLike, errors: list[LabelError] | None = None) -> list[LabelRow]:
    """Rows of a label file in the file's order; what only the video can tell is checked by `resolve_sections`.

    A byte order mark, CRLF, blank lines and spaces around commas are accepted; an empty file has no rows.

    Args:
        path: the label file.
        errors: takes the errors of all lines, which are then left out; by default the first is raised.

    Raises:
        LabelError: not UTF-8 text, a header line, a number of columns other than 2 or 4, a field that is no
            number or time, or a section whose end is not after its start.
    """
    path, rows = Path(path), []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{path}: received bytes that are not UTF-8 text, expected a label file: save it as UTF-8"
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                rows.append(parse_label_line(f"{path}, line {number}", number, line))
        except LabelError as error:
            if errors is None:
                raise
            errors.append(error)
    return rows


def parse_label_line(where: str, number: int, line: str) -> LabelRow:
    """Row of one non-blank line; `where` names file and line in errors. Raises LabelError as `read_label_file` does."""
    fields = [field.strip() for field in line.split(",")]
    if all(HEADER_FIELD.search(field) for field in fields):
        raise LabelError(
            f"{where}: received a header or text ({line.strip()!r}), expected a highlight section: "
            "label files have no header, delete the line"
        )
    if len(fields) not in (2, 4):
        raise LabelError(
            f"{where}: received {len(fields)} column{'s' * (len(fields) != 1)} ({line.strip()!r}), expected 4 "
            "(start_frame,end_frame,start_time,end_time) or 2 (start,end), separated by commas"
        )
    if len(fields) == 4:
        frames = parse_pair(where, "frame number", fields[:2], parse_frame)
        return LabelRow(number, frames, parse_pair(where, "time", fields[2:], parse_time, ordered=False))
    are_times = [":" in field or "." in field for field in fields]
    if any(are_times) and not all(are_times) and all(map(is_time, fields)):
        raise LabelError(
            f"{where}: received one time and one whole number ({line.strip()!r}), expected two times "
            "(with a colon or a decimal point: 00:00:16 or 16.0) or two frame numbers (589)"
        )
    if any(are_times):
        return LabelRow(number, None, parse_pair(where, "time", fields, parse_time))
    return LabelRow(number, parse_pair(where, "frame number", fields, parse_frame), None)


def is_time(text: str) -> bool:
    """Whether `parse_time` accepts the text."""
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def parse_frame(text: str) -> int:
    """Frame number, a whole number of 0 or more. Raises ValueError for anything else."""
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise ValueError(text)
    return int(text)


def parse_pair(where: str, kind: str, fields: list[str], parse, ordered: bool = True) -> tuple:
    """(start, end) of two fields. Raises LabelError where `parse` refuses one and, if `ordered`, where end <= start."""
    expected = {"frame number": "a whole number of 0 or more", "time": "HH:MM:SS[.fff], MM:SS or seconds"}[kind]
    pair = []
    for name, field in zip(("start", "end"), fields, strict=True):
        try:
            pair.append(parse(field))
        except ValueError:
            raise LabelError(f"{where}: received {field!r} as {name} {kind}, expected {expected}") from None
    if ordered and pair[1] <= pair[0]:
        raise LabelError(
            f"{where}: received a section from {kind} {fields[0]} to {fields[1]}, expected its end after its start"
        )
    return tuple(pair)


def resolve_sections(
    path: str | os.PathLike,
    rows: list[LabelRow],
    frame_times_sec: np.ndarray,
    duration_sec: float,
    errors: list[LabelError] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Highlight sections of a video in seconds, sorted and merged, and a warning for each oddity that was mended.

    Args:
        path: the label file, to name it in messages.
        rows: of `read_label_file`.
        frame_times_sec: (num_frames,) float64, ascending presentation times of the video's frames.
        duration_sec: the video's length; frame number num_frames, one past the last, stands for it.
        errors: takes the errors of all rows, which are then left out; by default the first is raised.

    Returns:
        sections_sec: (num_sections, 2) float64, disjoint, ascending, half-open, within [0, duration_sec].
        warnings: messages that name file and line.

    Raises:
        LabelError: a section begins after the video ends.
    """
    frame_edges_sec = np.append(frame_times_sec, duration_sec)
    num_frames = len(frame_times_sec)
    sections, warnings = [], []
    previous_start = previous_end = 0.0
    for row in rows:
        where = f"{path}, line {row.line}"
        start, end = row.frames or row.times_sec
        limit, unit = (num_frames, "frame ") if row.frames else (duration_sec, "")
        if start >= limit:
            error = LabelError(
                f"{where}: received a section that begins at {unit}{describe(row, 0)}, expected a begin before the "
                f"video's end ({num_frames} frames, {duration_sec:.2f} s): does the file belong to this video?"
            )
            if errors is None:
                raise error
            errors.append(error)
            continue
        if end > limit + (0 if row.frames else TIME_TOLERANCE_SEC):
            warnings.append(
                f"{where}: the section ends at {unit}{describe(row, 1)}, past the video's end "
                f"({num_frames} frames, {duration_sec:.2f} s): clipped"
            )
        end = min(end, limit)
        if row.frames:
            start, end = float(frame_edges_sec[start]), float(frame_edges_sec[end])
            if row.times_sec:
                apart = max(abs(start - row.times_sec[0]), abs(end - min(row.times_sec[1], duration_sec)))
                if apart > MAX_FRAME_TIME_DISAGREEMENT_SEC:
                    warnings.append(
                        f"{where}: frames {row.frames[0]},{row.frames[1]} are shown at "
                        f"{start:.2f},{end:.2f} s, {apart:.1f} s from the times given: the frames are taken"
                    )
        if start < previous_start:
            warnings.append(f"{where}: the section begins before the one above it: sorted")
        elif start < previous_end - TIME_TOLERANCE_SEC:
            warnings.append(f"{where}: the section overlaps one above it: merged")
        previous_start, previous_end = start, max(previous_end, end)
        sections.append((start, end))
    return merge_sections(sections), warnings


def describe(row: LabelRow, edge: int) -> str:
    """A row's start (edge 0) or end (edge 1) for a message."""
    return str(row.frames[edge]) if row.frames else f"{row.times_sec[edge]:.2f} s"


def merge_sections(sections: list[tuple[float, float]]) -> np.ndarray:
    """(num_sections, 2) float64: the union of half-open sections as ascending, disjoint ones."""
    merged: list[list[float]] = []
    for start, end in sorted(sections):
        if merged and start <= merged[-1][1] + TIME_TOLERANCE_SEC:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, dtype=np.float64).reshape(-1, 2)


def label_segments(sections_sec: np.ndarray, num_segments: int, segment_length: float) -> np.ndarray:
    """(num_segments,) int64 of 0 or 1: 1 where the sections cover more than half of a segment's full length.

    Args:
        sections_sec: (num_sections, 2) float64, disjoint sections in seconds.
        num_segments: how many segments the video has.
        segment_length: seconds.
    """
    covered = coverage(sections_sec, num_segments, segment_length)
    return (covered > 0.5 + TIME_TOLERANCE_SEC / segment_length).astype(np.int64)


def coverage(sections_sec: np.ndarray, num_parts: int, part_length: float) -> np.ndarray:
    """(num_parts,) float64 in [0, 1]: the share of each part of a video, part_length seconds long, that disjoint
    sections (num_sections, 2) in seconds cover."""
    starts = np.arange(num_parts)[:, np.newaxis] * part_length
    overlaps = np.minimum(starts + part_length, sections_sec[:, 1]) - np.maximum(starts, sections_sec[:, 0])
    return np.clip(overlaps, 0, None).sum(axis=1) / part_length


# ---- Segments of a video


def read_segments(
    video_path: str | os.PathLike, video_info: media.VideoInfo, config: DataConfig
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Arrays of each segment of a video in order; the file is read once for the picture and once for the sound.

    Args:
        video_path: the video.
        video_info: of `media.probe`.
        config: how to sample it.

    Yields:
        frames: (T, H, W, 3) uint8 RGB in [0, 255], the frames shown at `k * L + i / rate`; zeros past the end.
        audio: (num_samples,) float32 in [-1, 1], the peak of the whole video at 1, zeros past the end; with
            `apply_mfcc` (40, num_mfcc_frames) float32, the segment's MFCCs with mean 0 and deviation 1.

    Raises:
        media.MediaError: the file cannot be read.
    """
    with SegmentAudio(video_path, video_info, config) as segment_audio:
        yield from read_segment_range(
            video_path, video_info, config, segment_audio, range(config.num_segments(video_info.duration_sec))
        )


def read_segment_range(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    config: DataConfig,
    segment_audio: "SegmentAudio",
    indices: range,
    num_threads: int = 0,
    damaged_sec: set[int] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The arrays that `read_segments` yields, of consecutive segments alone; several ranges can be read side by side.
    They are the same whatever the range where it starts at a multiple of NUM_SEGMENTS_PER_MFCC_CALL."""
    starts_sec = np.array(indices)[:, np.newaxis] * config.segment_length
    times_sec = (starts_sec + np.arange(config.num_frames) / config.video_sample_rate).ravel()
    times_sec = times_sec[times_sec < video_info.duration_sec - TIME_TOLERANCE_SEC]
    sampled_frames = media.read_frames(
        video_path, video_info, times_sec, config.video_width, config.video_height, num_threads, damaged_sec
    )

    def read_segment_frames() -> np.ndarray:
        frames = np.zeros(config.data_shape["video"], np.uint8)
        for frame, sampled_frame in zip(frames, sampled_frames, strict=False):
            frame[:] = sampled_frame
        return frames

    num_ahead = max(1, MAX_BYTES_AHEAD // math.prod(config.data_shape["video"]))
    decoder = ThreadPoolExecutor(1)  # decodes while MFCCs are computed and segments are written
    try:
        ahead = deque(decoder.submit(read_segment_frames) for _ in indices[:num_ahead])
        for first in indices[::NUM_SEGMENTS_PER_MFCC_CALL]:
            last = min(first + NUM_SEGMENTS_PER_MFCC_CALL, indices.stop)
            for index, audio in zip(range(first, last), segment_audio.read(range(first, last)), strict=True):
                frames = ahead.popleft().result()
                if index + num_ahead < indices.stop:
                    ahead.append(decoder.submit(read_segment_frames))
                yield frames, audio
    finally:
        decoder.shutdown(cancel_futures=True)


class SegmentAudio:
    """A video's sound in segments. The peak is known only at the sound's end, so that the samples wait in a temporary
    file, not in memory; the sound is read before the picture is opened, as each open file's index takes memory too (20
    MB an hour). A context manager; `read` may be called from several threads."""

    def __init__(self, video_path: str | os.PathLike, video_info: media.VideoInfo, config: DataConfig):
        self.config = config
        self.peak = 0.0
        self.spool = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self.spool_lock = threading.Lock()
        num_samples_left = round(video_info.duration_sec * config.audio_sample_rate)
        blocks = media.read_audio(video_path, config.audio_sample_rate) if video_info.audio else ()
        for block in blocks:
            block = block[:num_samples_left]
            num_samples_left -= len(block)
            self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
            self.spool.write(block.tobytes())

    def __enter__(self) -> "SegmentAudio":
        return self

    def __exit__(self, *_) -> None:
        self.spool.close()

    def read(self, indices: range) -> np.ndarray:
        """(num_segments, num_samples) or (num_segments, 40, num_mfcc_frames) float32, as `read_segments` yields them;
        silence where there is no sound."""
        audio = np.zeros((len(indices), self.config.num_samples), np.float32)
        for samples, index in zip(audio, indices, strict=True):
            start = round(index * self.config.segment_length * self.config.audio_sample_rate)
            with self.spool_lock:
                self.spool.seek(start * samples.itemsize)
                heard = np.frombuffer(self.spool.read(samples.nbytes), np.float32)
            samples[: len(heard)] = heard / (self.peak or 1.0)
        return mfcc(audio, self.config.audio_sample_rate) if self.config.apply_mfcc else audio


def mfcc(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Standardised MFCCs of segments: `librosa.feature.mfcc(y=segment, sr=sample_rate_hz, n_mfcc=40)` of each,
    minus its mean, divided by its standard deviation (over the segment's whole picture, so that the balance
    between coefficients, and with it the loudness, stays readable). A silent segment gives mean 0 as well.

    Args:
        audio: (num_segments, num_samples) float32 in [-1, 1].
        sample_rate_hz: of the audio.

    Returns:
        (num_segments, 40, 1 + num_samples // 512) float32.
    """
    import librosa  # takes a second, which a dataset of waveforms need not wait for

    mel_power = librosa.feature.melspectrogram(
        y=audio, sr=sample_rate_hz, n_fft=min(2048, audio.shape[-1]), hop_length=MFCC_HOP_LENGTH
    )
    # librosa clips at 80 dB below the loudest of all it is given, so the decibels are taken segment by segment.
    mel_db = np.stack([librosa.power_to_db(segment) for segment in mel_power])
    coefficients = librosa.feature.mfcc(S=mel_db, n_mfcc=NUM_MFCC)
    coefficients -= coefficients.mean(axis=(1, 2), keepdims=True)
    deviation = coefficients.std(axis=(1, 2), keepdims=True)
    return (coefficients / np.where(deviation > 0, deviation, 1)).astype(np.float32)


# ---- Dataset folder


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then renamed."""
    part = Path(f"{path}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_segment(
    segment_dir: Path,
    index: int,
    label: int,
    frames: np.ndarray,
    audio: np.ndarray,
    config: DataConfig,
    total_duration_sec: float,
) -> None:
    """Write `seg_<index>_<label>.pkl` into the folder named after the video's title; arrays as `read_segments`."""
    segment = {
        "schema_version": SCHEMA_VERSION,
        "title": segment_dir.name,
        "index": index,
        "label": label,
        "start_sec": index * config.segment_length,
        "end_sec": (index + 1) * config.segment_length,
        "total_duration": total_duration_sec,
        "video": frames,
        "audio": audio,
    }
    path = segment_dir / f"seg_{index:05d}_{label}.pkl"
    path.write_bytes(pickle.dumps(segment, protocol=pickle.HIGHEST_PROTOCOL))


def max_segment_bytes(data_shape: dict[str, tuple]) -> int:
    """The most that a segment's pickle takes: pixels of two bytes (the first version's), samples of eight."""
    return 2 * math.prod(data_shape["video"]) + 8 * math.prod(data_shape["audio"]) + SEGMENT_OVERHEAD_BYTES


def read_whole(path: str | os.PathLike, max_bytes: int) -> bytes:
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


def read_segment(path: str | os.PathLike) -> dict:
    """The dict of a segment pickle (see the module's docstring); `video` stays as stored, uint8 or, in datasets of
    the first version, float16 in [0, 1]. Arrays are read-only.

    Raises:
        DatasetError: the file is missing, damaged, holds anything but builtins and NumPy arrays, or lacks the arrays.
    """
    return parse_segment(path, read_whole(path, MAX_SEGMENT_BYTES))


def parse_segment(where, content: bytes, load: Callable[[bytes], Any] = segment_pickle.load):
    """What `load` makes of the bytes of a segment pickle, by default the dict as `read_segment`; `where` names the file
    in errors. Raises DatasetError."""
    try:
        return load(content)
    except segment_pickle.DamagedError as error:
        raise DatasetError(f"{where}: cannot be read as a segment ({error}): convert its video again") from error
    except segment_pickle.ForbiddenError as error:
        raise DatasetError(f"{where}: not a segment pickle ({error}): take a dataset from data_converter.py") from error


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
    write_whole(dataset_dir / "metadata.json", (json.dumps(metadata, indent=2, ensure_ascii=False) + "\n").encode())


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
    return parse_metadata(path, read_whole(path, MAX_METADATA_BYTES))


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
            if not is_folder_name(title) or type(num_segments) is not int or num_segments < 0:
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


def is_folder_name(title) -> bool:
    """Whether a title names a folder in the dataset, and nothing outside."""
    if not isinstance(title, str) or title in ("", ".", "..") or {"/", os.sep, "\0"} & set(title):
        return False
    if any("\ud800" <= character <= "\udfff" for character in title):  # halves of surrogates, which no hash takes
        return False
    return Path(title).name == title  # on Windows, "C:match" leads to another drive


# ---- Checkpoint attributes


def write_checkpoint_attributes(path: str | os.PathLike, attributes: dict) -> None:
    """Write a JSON-able dict (data config, split, how it was trained) into a checkpoint's HDF5 attributes."""
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs[CHECKPOINT_ATTRIBUTE] = json.dumps(attributes)


def read_checkpoint_attributes(path: str | os.PathLike) -> dict:
    """The dict that `write_checkpoint_attributes` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of this toolkit.
    """
    import h5py

    expected = "expected a .hdf5 file that main.py saved"
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: cannot be read as a checkpoint (there is no such file), {expected}")
    check_heaps(path)
    try:
        with h5py.File(path, "r") as file:
            attribute = file.attrs.get_id(CHECKPOINT_ATTRIBUTE)
            if h5py.check_string_dtype(attribute.dtype) is None or attribute.shape != ():
                raise ValueError("they are no text")
            attributes = json.loads(file.attrs[CHECKPOINT_ATTRIBUTE])
            if not isinstance(attributes, dict):
                raise ValueError("they are no dict")
            return attributes
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({error}), {expected}") from error
    except (KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{path}: received an HDF5 file without this toolkit's attributes, {expected}") from error


def check_heaps(path: str | os.PathLike) -> None:
    """Raises CheckpointError unless the objects of each global heap in an HDF5 file end where the heap ends (HDF5 File
    Format Specification 3.0, III.E): in others the HDF5 library looks for the next object for ever."""
    size = os.path.getsize(path)
    if not size:
        return  # nothing can be mapped, and the library says that it is no HDF5 file
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = -1
        while (start := content.find(HEAP_SIGNATURE, start + 1)) >= 0:
            place = start + HEAP_HEADER.size
            if place > size:
                return
            end = start + HEAP_HEADER.unpack_from(content, start)[1]
            while place + HEAP_OBJECT_HEADER.size <= min(end, size):
                index, _, _, num_bytes = HEAP_OBJECT_HEADER.unpack_from(content, place)
                place += num_bytes if index == 0 else HEAP_OBJECT_HEADER.size + math.ceil(num_bytes / 8) * 8
                if place > end or (index == 0 and place < end):
                    raise CheckpointError(
                        f"{path}: cannot be read as a checkpoint (its texts are damaged), expected a .hdf5 file that "
                        "main.py saved"
                    )
                if index == 0:
                    break
