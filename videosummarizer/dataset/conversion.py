"""Convert one match into the segments of a dataset.

data_converter.py calls `convert_match` in several processes, or on a Dask cluster.
"""

import errno
import math
import shutil
import tempfile
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import threadpoolctl

from videosummarizer import hardware_decoding, media, problems
from videosummarizer.dataset import output_folder, sampling, storage
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.error_messages import describe_match_error
from videosummarizer.labels import LabelError, read_label_file, resolve_sections
from videosummarizer.match_files import compose, find_label_path, title_of
from videosummarizer.sections import label_segments
from videosummarizer.undecided import find_undecided_path, read_undecided, resolve_undecided

# A decoder gains little from more than 4 threads. If more are free, several parts of a match are decoded in parallel.
NUM_THREADS_PER_DECODER = 4
# What failed, in the message of --check or of a conversion about a match with an unexpected error.
CANNOT_BE_CONVERTED = "cannot be converted"


@dataclass
class Conversion:
    """The result of converting one match.

    Attributes:
        title: of the match.
        record: its record for metadata.json, or None after an error.
        error: the message of the error that made the conversion fail, or None.
        error_traceback: the traceback of that error, for --debug.
        warnings: messages about problems that were corrected.
        notes: messages for --debug.
    """

    title: str
    record: dict | None = None
    error: str | None = None
    error_traceback: str | None = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def probe_match(video_path: Path) -> float | Conversion:
    """Read the labels and the header of a match.

    Returns:
        Its length in seconds according to the header, or the result of a match with errors in them.
    """
    try:
        read_label_file(label_path := find_label_path(video_path))
        read_undecided(find_undecided_path(label_path))
        return float(media.probe_duration_sec(video_path))
    except (media.MediaError, LabelError) as error:
        return Conversion(
            title_of(video_path), error=media.describe_error(error), error_traceback=traceback.format_exc()
        )


def convert_match(video_path: Path, config: DataConfig, dataset_dir: Path, num_threads: int) -> Conversion:
    """Write the segments of one match into `dataset_dir/<title>`, which appears only once it is complete.

    Whatever goes wrong is reported as the result's error, so that only this match fails and the others continue.

    Args:
        video_path: the match. Its label file lies next to it.
        config: the settings of the dataset.
        dataset_dir: the dataset's folder, locked by the caller.
        num_threads: how many threads may decode.
    """
    result = Conversion(title_of(video_path))
    part_dir = None
    try:
        label_path = find_label_path(video_path)
        source_files = output_folder.source_signature(video_path)
        rows, undecided = read_label_file(label_path), read_undecided(find_undecided_path(label_path))
        info = media.probe(video_path, config.audio_track)
        sections_sec, result.warnings = resolve_sections(label_path, rows, info.frame_times_sec, info.duration_sec)
        undecided_sec, warnings = resolve_undecided(label_path, undecided, info, sections_sec)
        result.warnings += warnings
        labels = label_segments(sections_sec, config.num_segments(info.duration_sec), config.segment_length).tolist()
        (dataset_dir / output_folder.PART_DIR_NAME).mkdir(exist_ok=True)
        part_dir = Path(tempfile.mkdtemp(dir=dataset_dir / output_folder.PART_DIR_NAME))
        (part_dir / result.title).mkdir()
        damage = write_segments(video_path, info, config, labels, part_dir / result.title, num_threads)
        result.warnings += problems.describe_problems(video_path, info, *damage)
        publish(part_dir / result.title, dataset_dir / result.title)
    except (media.MediaError, LabelError) as error:
        result.error, result.error_traceback = media.describe_error(error), traceback.format_exc()
        return result
    except Exception as error:  # also of libraries
        result.error = describe_match_error(video_path, CANNOT_BE_CONVERTED, error, dataset_dir)
        result.error_traceback = traceback.format_exc()
        return result
    finally:
        if part_dir:
            shutil.rmtree(part_dir, ignore_errors=True)
        warnings, result.notes = hardware_decoding.take_messages()
        result.warnings += warnings
    result.record = {
        "title": result.title,
        "source": compose(video_path.name),
        "source_files": source_files,
        "duration": info.duration_sec,
        "frame_rate": info.frame_rate_fps,
        "sections": sections_sec.tolist(),
        **({"undecided_sec": undecided_sec.tolist()} if len(undecided_sec) else {}),
        "segment_count": len(labels),
        "highlight_count": sum(labels),
    }
    return result


def publish(part_dir: Path, match_dir: Path) -> None:
    """Rename the folder of a complete match.

    The same match may lie there already, if a worker finished it after its converter or its scheduler had given it up.
    Its segments are replaced. A folder of its name with files of others stays, and takes the segments.
    """
    if match_dir.is_dir():
        output_folder.remove_segments(match_dir)
    try:
        part_dir.replace(match_dir)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        for path in part_dir.iterdir():
            path.replace(match_dir / path.name)


def write_segments(
    video_path: Path,
    info: media.VideoInfo,
    config: DataConfig,
    labels: list[int],
    match_dir: Path,
    num_threads: int,
) -> tuple[set[int], set[int], set[int]]:
    """Write the segments of a match. If there are enough threads, several parts of it are written in parallel.

    Returns:
        damaged_sec: the seconds of the video, rounded down, in which frames could not be decoded.
        damaged_audio_sec: the seconds in which the audio is damaged.
        cancelled_audio_sec: the seconds in which the channels of the audio cancel in mono.
    """
    damaged_sec, stop = set(), threading.Event()
    parts = split_indices(
        len(labels), max(1, num_threads // NUM_THREADS_PER_DECODER) if len(info.random_access_points) > 1 else 1
    )

    # More BLAS threads would add numbers in another order, so that the last bits of MFCCs would differ.
    with (
        sampling.SegmentAudio(video_path, info, config, match_dir.parent) as segment_audio,
        threadpoolctl.threadpool_limits(1),
    ):

        def write_part(indices: range) -> None:
            arrays = sampling.read_segment_range(
                video_path, info, config, segment_audio, indices, max(1, num_threads // len(parts)), damaged_sec
            )
            for index, (frames, audio) in zip(indices, arrays, strict=True):
                if stop.is_set():
                    return
                storage.write_segment(match_dir, index, labels[index], frames, audio, config, info.duration_sec)

        if len(parts) == 1:
            write_part(parts[0])
            return damaged_sec, segment_audio.damaged_sec, segment_audio.cancelled_sec
        with ThreadPoolExecutor(len(parts)) as pool:
            try:
                list(pool.map(write_part, parts))
            finally:
                stop.set()
    return damaged_sec, segment_audio.damaged_sec, segment_audio.cancelled_sec


def split_indices(num_segments: int, num_parts: int) -> list[range]:
    """Divide the indices of the segments into ranges of about equal length.

    Each range starts at a multiple of NUM_SEGMENTS_PER_MFCC_CALL, so that the arrays do not depend on the division.
    """
    step = sampling.NUM_SEGMENTS_PER_MFCC_CALL
    length = step * math.ceil(num_segments / num_parts / step)
    return [range(first, min(first + length, num_segments)) for first in range(0, num_segments, length)]
