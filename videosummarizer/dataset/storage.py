"""Read and write the files of a dataset: a folder written by data_converter.py, or a .zip of one.

A .zip is read in place or unpacked once. Datasets may be untrusted. Whatever their files claim, no more is read than
segments of the shapes in metadata.json need, and only the files of segments are written, into the dataset's own folder.
"""

import os
import pickle
import re
import shutil
import stat
import struct
import threading
import unicodedata
import weakref
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from videosummarizer.dataset import safe_pickle
from videosummarizer.dataset.metadata import (
    MAX_METADATA_BYTES,
    MAX_SEGMENT_BYTES,
    READ_FLAGS,
    SCHEMA_VERSION,
    DataConfig,
    DatasetError,
    max_segment_bytes,
    parse_metadata,
    read_limited,
    read_metadata,
    segment_counts,
)

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


def read_segment(path: str | os.PathLike) -> dict:
    """Read the pickle of a segment.

    Returns:
        The dict that `write_segment` wrote. Its arrays are read-only. `video` is uint8 or, in datasets of the first
        version, float16 in [0, 1].

    Raises:
        DatasetError: the file is missing or damaged, contains anything but builtin values and NumPy arrays, or lacks
            the arrays.
    """
    return decode_segment(path, read_limited(path, MAX_SEGMENT_BYTES), safe_pickle.load)


def decode_segment(source, content: bytes, load: Callable[[bytes], Any]):
    """Unpickle a segment.

    Args:
        source: the file's name for error messages.
        content: the bytes of the pickle.
        load: a function of safe_pickle that unpickles them.

    Returns:
        What `load` returns.

    Raises:
        DatasetError: the pickle is damaged, or is not that of a segment.
    """
    try:
        return load(content)
    except safe_pickle.DamagedError as error:
        raise DatasetError(f"{source}: cannot be read as a segment ({error}): convert its video again") from error
    except safe_pickle.ForbiddenError as error:
        raise DatasetError(f"{source}: not a segment pickle ({error}): use a dataset from data_converter.py") from error


# Encodings of names in archives that do not state one: those of macOS, and of Windows in Korean.
NAME_ENCODINGS = ("utf-8", "cp949")
# General purpose flags of a zip member (APPNOTE.TXT, section 4.4.4): its name is UTF-8.
UTF8_FLAG = 0x800
# It is encrypted.
ENCRYPTED_FLAG = 0x1
# A local file header: signature, length of the name, length of the extra field (APPNOTE.TXT, section 4.3.7).
LOCAL_HEADER = struct.Struct("<4s22xHH")
# The signature of a local file header.
LOCAL_SIGNATURE = b"PK\3\4"
# Allowed file types of members: regular files, or 0 where the archiver does not state a type.
FILE_KINDS = (0, stat.S_IFREG)
# A .zip that unpacks to more than 20 times its size is a zip bomb. Video compresses to a third or a fifth.
MAX_UNPACKED_RATIO = 20
# Up to 1 GiB is no zip bomb: small test data of still frames and silence compresses much further.
MIN_BOMB_BYTES = 2**30


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
        self.arrays = safe_pickle.ArrayReader()

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
            Whether the arrays hold the segment, as of safe_pickle.ArrayReader.read_into.
        """
        return False


def open_dataset(path: str | os.PathLike) -> DatasetFiles:
    """Open a dataset folder or a .zip of one.

    Raises:
        metadata.DatasetError: it is not a dataset, or a .zip that cannot be read safely.
    """
    return ZipFiles(Path(path)) if os.path.isfile(path) else FolderFiles(Path(path))


def unpack_dataset(zip_path: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """Unpack the dataset in a .zip.

    A folder that already contains the complete dataset is used as it is. An interrupted unpacking leaves
    `<folder>.part`, which the next one replaces.

    Args:
        zip_path: the .zip.
        folder: where to unpack it, by default next to the .zip, under its name without .zip.

    Returns:
        The path of the folder.

    Raises:
        metadata.DatasetError: the .zip contains no dataset or a damaged one. Or it unpacks to more than the disk has
            free, or to more than both MIN_BOMB_BYTES and MAX_UNPACKED_RATIO times its size. Or the folder contains
            something else, which is not changed.
    """
    files = ZipFiles(Path(zip_path))
    folder = Path(folder) if folder else Path(zip_path).with_suffix("")
    sizes = files.segment_sizes()
    if os.path.lexists(folder):
        if not is_unpacked(files, sizes, folder):
            raise DatasetError(
                f"{folder}: received a folder with other files than {zip_path} contains: move or delete it, and the "
                "dataset is unpacked there"
            )
        return folder
    part = folder.with_name(f"{folder.name}.part")
    num_bytes = sum(sizes.values()) + len(files.metadata_content)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        check_disk_space(files, num_bytes, part)
        with tqdm(total=num_bytes, desc=f"Unpacking {files.path.name}", unit="B", unit_scale=True) as bar:
            for (title, name), size in sizes.items():
                (part / title).mkdir(exist_ok=True)
                (part / title / name).write_bytes(files.read(title, name))
                bar.update(size)
            (part / "metadata.json").write_bytes(files.metadata_content)
            bar.update(len(files.metadata_content))
        part.rename(folder)
    except OSError as error:
        raise DatasetError(f"{folder}: the dataset cannot be unpacked there ({error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def is_unpacked(files: "ZipFiles", sizes: dict[tuple[str, str], int], folder: Path) -> bool:
    """Return whether a folder contains the dataset of a .zip.

    It does if its metadata.json is the same and it has all segments, each with the same size.
    """
    try:
        existing = FolderFiles(folder)
        is_same = (folder / "metadata.json").read_bytes() == files.metadata_content
        names = {(title, name) for title in segment_counts(existing.metadata) for name in existing.names(title)}
        return is_same and names == set(sizes) and all((folder / t / n).stat().st_size == sizes[t, n] for t, n in names)
    except (DatasetError, OSError):
        return False


def check_disk_space(files: "ZipFiles", num_bytes: int, folder: Path) -> None:
    """Check that a .zip is not a zip bomb and that its contents fit on the disk.

    Args:
        files: the .zip.
        num_bytes: the size of its contents.
        folder: where they are unpacked.

    Raises:
        metadata.DatasetError: they are too large.
    """
    limit, free = max(MAX_UNPACKED_RATIO * files.size, MIN_BOMB_BYTES), shutil.disk_usage(folder).free
    received = f"{files.path}: received a .zip of {files.size / 1e9:.3f} GB that unpacks to {num_bytes / 1e9:.3f} GB"
    if num_bytes > limit:
        raise DatasetError(
            f"{received}, expected at most {limit / 1e9:.3f} GB, {MAX_UNPACKED_RATIO} times its size: such a .zip is "
            "made to fill the disk"
        )
    if num_bytes > free:
        raise DatasetError(
            f"{received}, expected at most {free / 1e9:.3f} GB, which is free in {folder.parent}: make room there"
        )


class FolderFiles(DatasetFiles):
    """A dataset folder."""

    def __init__(self, path: Path):
        super().__init__(path, read_metadata(path))
        self.folder = str(path)

    def names(self, title: str) -> list[str]:
        match_dir = self.path / title
        return [entry.name for entry in os.scandir(match_dir)] if match_dir.is_dir() else []

    def read(self, title: str, name: str) -> bytes:
        return read_limited(f"{self.folder}/{title}/{name}", self.max_bytes)

    def read_into(self, title: str, name: str, video: np.ndarray, audio: np.ndarray) -> bool:
        if not hasattr(os, "readv"):  # Windows
            return False
        try:
            descriptor = os.open(f"{self.folder}/{title}/{name}", READ_FLAGS)
            try:
                return self.arrays.read_into(descriptor, title, video, audio)
            finally:
                os.close(descriptor)
        except OSError:
            return False


class ZipFiles(DatasetFiles):
    """A dataset in a .zip, at its root or in one of its folders. Several threads may read from it."""

    def __init__(self, path: Path):
        self.path, self.lock = path, threading.Lock()
        try:
            with zipfile.ZipFile(path) as archive:
                members = {member_name(info): info for info in archive.infolist() if not info.is_dir()}
            self.file = open(path, "rb", buffering=0)  # noqa: SIM115 (open as long as the dataset is in use)
            weakref.finalize(self, self.file.close)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError, struct.error) as error:
            raise DatasetError(
                f"{path}: cannot be read as a .zip ({error}), expected a dataset folder or a .zip of one: copy it "
                "again from where it came, or correct the path"
            ) from error
        self.size = os.fstat(self.file.fileno()).st_size
        root = self.find_root(members)
        source = f"{path}/{root}metadata.json"
        self.metadata_content = self.read_member(members[f"{root}metadata.json"], source, MAX_METADATA_BYTES)
        super().__init__(path, parse_metadata(source, self.metadata_content))
        self.matches: dict[str, dict[str, zipfile.ZipInfo]] = {}
        for name, info in members.items():
            title, _, file_name = name[len(root) :].partition("/")
            if name.startswith(root) and SEGMENT_FILE_NAME.fullmatch(file_name):
                self.check_member(info, name, self.max_bytes)
                self.matches.setdefault(title, {})[file_name] = info

    def find_root(self, members: dict[str, zipfile.ZipInfo]) -> str:
        """Return the folder in the .zip that is the dataset, with a trailing slash, or "" for the root.

        Raises:
            metadata.DatasetError: the .zip contains no dataset, or several.
        """
        roots = [name.removesuffix("metadata.json") for name in members if name.split("/")[-1] == "metadata.json"]
        roots = [root for root in roots if root.count("/") <= 1 and not root.startswith("__MACOSX")]
        if len(roots) != 1:
            received = f"{len(roots)} datasets ({', '.join(sorted(roots)[:5])})" if roots else "no metadata.json"
            raise DatasetError(
                f"{self.path}: received a .zip with {received}, expected one dataset, at its root or in one folder: "
                "unpack it and give the folder, or zip only the dataset folder"
            )
        return roots[0]

    def names(self, title: str) -> list[str]:
        return list(self.matches.get(unicodedata.normalize("NFC", title), ()))

    def read(self, title: str, name: str) -> bytes:
        info = self.matches[unicodedata.normalize("NFC", title)][name]
        return self.read_member(info, f"{self.path}/{title}/{name}", self.max_bytes)

    def segment_sizes(self) -> dict[tuple[str, str], int]:
        """Return the unpacked size in bytes of each segment's file, by title and file name.

        Only the titles in metadata.json count.

        Raises:
            metadata.DatasetError: a title has more or fewer files than metadata.json states.
        """
        sizes = {}
        for title, num_segments in segment_counts(self.metadata).items():
            infos = self.matches.get(unicodedata.normalize("NFC", title), {})
            if len(infos) != num_segments:
                raise DatasetError(
                    f"{self.path}/{title}: received {len(infos)} segment files, expected {num_segments} as "
                    "metadata.json counts: the dataset is damaged, zip it again"
                )
            sizes |= {(title, name): info.file_size for name, info in infos.items()}
        return sizes

    def check_member(self, info: zipfile.ZipInfo, name: str, max_bytes: int) -> None:
        """Check that a member of the .zip can be read safely.

        Raises:
            metadata.DatasetError: it is not a file, is encrypted or too large, or its compression is not supported.
        """
        problem = None
        if stat.S_IFMT(info.external_attr >> 16) not in FILE_KINDS:
            problem = "a link or a device, expected a file: zip it again without links"
        elif info.flag_bits & ENCRYPTED_FLAG:
            problem = "an encrypted file, expected one that is not: zip it again"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"compression method {info.compress_type}, expected stored or deflated: zip it again"
        elif info.file_size > max_bytes or info.compress_size > self.size:
            problem = (
                f"{info.file_size} bytes packed into {info.compress_size}, expected at most {max_bytes}: the .zip is "
                "damaged or made to fill memory"
            )
        if problem:
            raise DatasetError(f"{self.path}/{name}: received {problem}")

    def read_member(self, info: zipfile.ZipInfo, source: str, max_bytes: int) -> bytes:
        """Read a member of the .zip. Unlike `zipfile`, this can be called from several threads at once.

        Args:
            info: the member.
            source: its name for error messages.
            max_bytes: the largest size allowed.

        Raises:
            metadata.DatasetError: it is damaged or cannot be read safely.
        """
        self.check_member(info, member_name(info), max_bytes)
        try:
            with self.lock:
                self.file.seek(info.header_offset)
                signature, *lengths = LOCAL_HEADER.unpack(self.file.read(LOCAL_HEADER.size))
                self.file.seek(sum(lengths), os.SEEK_CUR)
                content = self.file.read(info.compress_size)
            if info.compress_type == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, info.file_size or 1)
            if signature != LOCAL_SIGNATURE or len(content) != info.file_size or zlib.crc32(content) != info.CRC:
                raise ValueError("its bytes are not those that were packed")
        except (OSError, ValueError, OverflowError, struct.error, zlib.error) as error:
            raise DatasetError(f"{source}: damaged in the .zip ({error}): copy the .zip again") from error
        return content


def member_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name with slashes and composed characters (NFC).

    Some archivers use other encodings than the .zip states, write backslashes, or decompose characters.
    """
    name = info.filename
    if not name.isascii():
        for encoding in () if info.flag_bits & UTF8_FLAG else NAME_ENCODINGS:
            try:
                name = info.filename.encode("cp437").decode(encoding)
                break
            except UnicodeError:
                continue
        name = unicodedata.normalize("NFC", name)
    return name if "/" in name else name.replace("\\", "/")


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
    video, audio = decode_segment(file, content, lambda content: file.files.arrays.load(content, file.title))
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
