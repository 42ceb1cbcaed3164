"""Read and write the files of a dataset: a folder written by data_converter.py, or a .zip of one, read in place.

Datasets may be untrusted. Whatever their files claim, no more is read than segments of the shapes in metadata.json
need.
"""

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videosummarizer.dataset import safe_pickle
from videosummarizer.dataset.array_reader import ArrayReader
from videosummarizer.dataset.metadata import (
    MAX_METADATA_BYTES,
    SCHEMA_VERSION,
    DataConfig,
    DatasetError,
    max_segment_bytes,
    parse_metadata,
    read_limited,
    read_metadata,
    segment_counts,
)
from videosummarizer.dataset.zip_archive import ZipArchive
from videosummarizer.match_files import compose, find_file, is_system_file
from videosummarizer.untrusted_file import READ_FLAGS, excerpt

# Segment files are named seg_<index>_<label>.pkl.
SEGMENT_FILE_NAME = re.compile(r"seg_([0-9]{5,9})_([01])\.pkl")


def write_segment(
    segment_dir: Path,
    index: int,
    label: int,
    frames: np.ndarray,
    audio: np.ndarray,
    config: DataConfig,
    total_duration_sec: float,
) -> None:
    """Write the pickle of a segment, `seg_<index>_<label>.pkl`.

    Args:
        segment_dir: the folder of the match, named after its title.
        index: the segment's index in the match.
        label: 0 or 1.
        frames: (T, H, W, 3) uint8 in [0, 255].
        audio: (num_samples,) or (40, num_mfcc_frames) float32.
        config: the settings of the dataset.
        total_duration_sec: length of the video in seconds.
    """
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


class DatasetFiles:
    """The files of a dataset.

    Attributes:
        path: of the folder or the .zip.
        metadata: the dict that metadata.parse_metadata returns.
        max_bytes: the largest size of a segment's file.
        arrays: reads the arrays of segment pickles.
    """

    def __init__(self, path: Path, metadata: dict):
        self.path, self.metadata = path, metadata
        self.max_bytes = max_segment_bytes(metadata["data_shape"])
        self.arrays = ArrayReader()

    def names(self, title: str) -> list[str]:
        """Return the names of the files of a match. The list is empty if the match does not exist."""
        raise NotImplementedError

    def read(self, title: str, name: str) -> bytes:
        """Return the bytes of a segment's file.

        Raises:
            metadata.DatasetError: it cannot be read, or is too large.
        """
        raise NotImplementedError

    def read_into(self, title: str, name: str, video: np.ndarray, audio: np.ndarray) -> bool:
        """Read a segment's file directly into arrays if that is possible and safe.

        Returns:
            Whether the arrays hold the segment, as of array_reader.ArrayReader.read_into.
        """
        return False


def open_dataset(path: str | os.PathLike) -> DatasetFiles:
    """Open a dataset folder or a .zip of one.

    Raises:
        metadata.DatasetError: it is not a dataset, or a .zip that cannot be read safely.
    """
    return ZipFiles(Path(path)) if os.path.isfile(path) else FolderFiles(Path(path))


class FolderFiles(DatasetFiles):
    """A dataset folder."""

    def __init__(self, path: Path):
        super().__init__(path, read_metadata(path))
        # A Mac may have decomposed the names of the matches' folders.
        self.folder_of = {title: str(find_file(path / title)) for title in segment_counts(self.metadata)}

    def names(self, title: str) -> list[str]:
        folder = self.folder_of.get(title, "")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return [name for name in names if not is_system_file(name)]

    def size(self, title: str, name: str) -> int:
        """Return the size of a segment's file in bytes."""
        return os.path.getsize(f"{self.folder_of[title]}/{name}")

    def read(self, title: str, name: str) -> bytes:
        return read_limited(f"{self.folder_of[title]}/{name}", self.max_bytes)

    def read_into(self, title: str, name: str, video: np.ndarray, audio: np.ndarray) -> bool:
        if not hasattr(os, "readv"):  # Windows
            return False
        try:
            descriptor = os.open(f"{self.folder_of[title]}/{name}", READ_FLAGS)
            try:
                return self.arrays.read_into(descriptor, title, video, audio)
            finally:
                os.close(descriptor)
        except OSError:
            return False


class ZipFiles(DatasetFiles):
    """A dataset in a .zip, at its root or in one of its folders. Several threads may read from it."""

    def __init__(self, path: Path):
        self.archive = ZipArchive(path)
        root = self.find_root()
        source = f"{path}/{root}metadata.json"
        metadata_member = self.archive.members[f"{root}metadata.json"]
        self.metadata_content = self.archive.read(metadata_member, source, MAX_METADATA_BYTES)
        super().__init__(path, parse_metadata(source, self.metadata_content))
        self.matches: dict[str, dict[str, zipfile.ZipInfo]] = {}
        for name, info in self.archive.members.items():
            title, _, file_name = name[len(root) :].partition("/")
            if name.startswith(root) and SEGMENT_FILE_NAME.fullmatch(file_name):
                self.archive.check(info, name, self.max_bytes)
                self.matches.setdefault(title, {})[file_name] = info

    def find_root(self) -> str:
        """Return the folder in the .zip that is the dataset, with a trailing slash, or "" for the root.

        Raises:
            metadata.DatasetError: the .zip contains no dataset, or several.
        """
        names = self.archive.members
        roots = [name.removesuffix("metadata.json") for name in names if name.split("/")[-1] == "metadata.json"]
        roots = [root for root in roots if root.count("/") <= 1 and not is_system_file(root.removesuffix("/"))]
        if len(roots) != 1:
            received = (
                f"{len(roots)} datasets ({', '.join(map(excerpt, sorted(roots)[:5]))})" if roots else "no metadata.json"
            )
            raise DatasetError(
                f"{self.archive.path}: received a .zip with {received}, expected one dataset, at its root or in one "
                "folder: unpack it and give the folder, or zip only the dataset folder"
            )
        return roots[0]

    def names(self, title: str) -> list[str]:
        return list(self.matches.get(compose(title), ()))

    def read(self, title: str, name: str) -> bytes:
        info = self.matches[compose(title)][name]
        return self.archive.read(info, f"{self.path}/{title}/{name}", self.max_bytes)

    def segment_sizes(self) -> dict[tuple[str, str], int]:
        """Return the unpacked size in bytes of each segment's file, by title and file name.

        Only the titles in metadata.json count.

        Raises:
            metadata.DatasetError: a title has more or fewer files than metadata.json states.
        """
        sizes = {}
        for title, num_segments in segment_counts(self.metadata).items():
            infos = self.matches.get(compose(title), {})
            if len(infos) != num_segments:
                raise DatasetError(
                    f"{self.path}/{title}: received {len(infos)} segment files, expected {num_segments} as "
                    "metadata.json counts: the dataset is damaged, zip it again"
                )
            sizes |= {(title, name): info.file_size for name, info in infos.items()}
        return sizes


class SegmentFile(NamedTuple):
    """The file of a segment.

    Attributes:
        files: the dataset.
        title: of the match.
        index: of the segment in the match.
        label: 0 or 1, as in the file's name.
    """

    files: DatasetFiles
    title: str
    index: int
    label: int

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return f"seg_{self.index:05d}_{self.label}.pkl"

    @property
    def path(self) -> Path:
        """Return the path of the file. In a .zip, it is what it would be if the .zip were a folder."""
        return self.files.path / self.title / self.name

    def __str__(self) -> str:
        return str(self.path)


def list_segments(files: DatasetFiles, title: str, num_segments: int) -> list[SegmentFile]:
    """Return the segment files of a match by index.

    Raises:
        metadata.DatasetError: there is not exactly one file for each index from 0 to `num_segments` - 1.
    """
    matches = filter(None, map(SEGMENT_FILE_NAME.fullmatch, files.names(title)))
    indices_and_labels = sorted((int(match[1]), int(match[2])) for match in matches)
    is_complete = len(indices_and_labels) == num_segments
    if not is_complete or any(index != i for i, (index, _) in enumerate(indices_and_labels)):
        raise DatasetError(
            f"{files.path / title}: received {len(indices_and_labels)} segment files, expected {num_segments} as "
            "metadata.json counts: the dataset is damaged, convert the videos again"
        )
    return [SegmentFile(files, title, index, label) for index, label in indices_and_labels]


def read_arrays(file: SegmentFile, data_shape: dict[str, tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Read the arrays of a segment.

    Args:
        file: the segment.
        data_shape: the expected shapes of `video` and `audio`.

    Returns:
        video: (T, H, W, 3) uint8 in [0, 255], read-only.
        audio: float, read-only.

    Raises:
        metadata.DatasetError: the file is damaged, or its arrays have other shapes.
    """
    content = file.files.read(file.title, file.name)
    try:
        video, audio = file.files.arrays.load(content, file.title)
    except safe_pickle.DamagedError as error:
        raise DatasetError(f"{file}: cannot be read as a segment ({error}): convert its video again") from error
    except safe_pickle.ForbiddenError as error:
        raise DatasetError(f"{file}: not a segment pickle ({error}): use a dataset from data_converter.py") from error
    shapes = {"video": video.shape, "audio": audio.shape}
    if shapes != data_shape:
        raise DatasetError(
            f"{file}: received arrays of shapes {shapes}, expected {data_shape} as metadata.json says: "
            "convert its video again"
        )
    if video.dtype != np.uint8:  # the first version's float16 in [0, 1]
        video = np.rint(video.astype(np.float32) * 255).astype(np.uint8)
    return video, audio


def read_into(file: SegmentFile, video: np.ndarray, audio: np.ndarray) -> None:
    """Read the arrays of a segment into given arrays, such as parts of a batch.

    Args:
        file: the segment.
        video: (T, H, W, 3) uint8, receives the video.
        audio: float32, receives the audio.

    Raises:
        metadata.DatasetError: as `read_arrays` does.
    """
    if not file.files.read_into(file.title, file.name, video, audio):
        video[...], audio[...] = read_arrays(file, {"video": video.shape, "audio": audio.shape})
