"""A dataset's files as they lie on disk: in the folder that data_converter.py wrote, or in a .zip of it, read in place
or unpacked once.

A dataset from a stranger is data: whatever it claims, no more is read than metadata.json says that segments take, and
nothing is written but the files of its segments, in its own folder.
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


def read_segment(path: str | os.PathLike) -> dict:
    """The dict of a segment pickle (see the module's docstring); `video` stays as stored, uint8 or, in datasets of
    the first version, float16 in [0, 1]. Arrays are read-only.

    Raises:
        DatasetError: the file is missing, damaged, holds anything but builtins and NumPy arrays, or lacks the arrays.
    """
    return decode_segment(path, read_limited(path, MAX_SEGMENT_BYTES))


def decode_segment(where, content: bytes, load: Callable[[bytes], Any] = safe_pickle.load):
    """What `load` makes of the bytes of a segment pickle, by default the dict as `read_segment`; `where` names the file
    in errors. Raises DatasetError."""
    try:
        return load(content)
    except safe_pickle.DamagedError as error:
        raise DatasetError(f"{where}: cannot be read as a segment ({error}): convert its video again") from error
    except safe_pickle.ForbiddenError as error:
        raise DatasetError(f"{where}: not a segment pickle ({error}): take a dataset from data_converter.py") from error


NAME_ENCODINGS = ("utf-8", "cp949")  # of archives that do not say theirs: macOS, and Windows in Korean
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field; APPNOTE.TXT, section 4.3.7
LOCAL_SIGNATURE = b"PK\3\4"
FILE_KINDS = (0, stat.S_IFREG)  # of members; 0 where the archiver does not say
# Video packs to a third or a fifth; small test data of stills and silence to far less. Beyond both a .zip is a bomb.
MAX_UNPACKED_RATIO, MIN_BOMB_BYTES = 20, 2**30


class DatasetFiles:
    """path: of the folder or the zip. metadata: the dict of metadata.parse_metadata. max_bytes: of a segment's file."""

    def __init__(self, path: Path, metadata: dict):
        self.path, self.metadata = path, metadata
        self.max_bytes = max_segment_bytes(metadata["data_shape"])
        self.arrays = safe_pickle.ArrayReader()

    def names(self, title: str) -> list[str]:
        """Names of the files of a match; none where it is not there."""
        raise NotImplementedError

    def read(self, title: str, name: str) -> bytes:
        """The bytes of a segment's file. Raises metadata.DatasetError."""
        raise NotImplementedError

    def read_into(self, title: str, name: str, video: np.ndarray, audio: np.ndarray) -> bool:
        """Read a segment's file straight into arrays where that can be done safely, as
        safe_pickle.ArrayReader.read_into does it; False where it was not done."""
        return False


def open_dataset(path: str | os.PathLike) -> DatasetFiles:
    """The files of a dataset. Raises metadata.DatasetError where it is none, or a zip that cannot be read safely."""
    return ZipFiles(Path(path)) if os.path.isfile(path) else FolderFiles(Path(path))


def unpack_dataset(zip_path: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """Unpack the dataset in a .zip into a folder, by default beside it under its name without .zip; the folder's path.

    A folder that holds that very dataset whole is used as it is; an interrupted unpacking leaves `<folder>.part`, which
    the next one replaces.

    Raises:
        metadata.DatasetError: the .zip holds no dataset, a damaged one, or one that unpacks to more than
            MAX_UNPACKED_RATIO times its size (MIN_BOMB_BYTES are always allowed) or than the disk has free; or the
            folder holds something else, which is left as it is.
    """
    files = ZipFiles(Path(zip_path))
    folder = Path(folder) if folder else Path(zip_path).with_suffix("")
    sizes = files.segment_sizes()
    if os.path.lexists(folder):
        if not is_unpacked(files, sizes, folder):
            raise DatasetError(
                f"{folder}: received a folder with something else than {zip_path} holds: move or delete it, and the "
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
    """Whether a folder holds the dataset of a .zip: the same metadata.json, and all segments, none of another size."""
    try:
        there = FolderFiles(folder)
        is_same = (folder / "metadata.json").read_bytes() == files.metadata_content
        names = {(title, name) for title in segment_counts(there.metadata) for name in there.names(title)}
        return is_same and names == set(sizes) and all((folder / t / n).stat().st_size == sizes[t, n] for t, n in names)
    except (DatasetError, OSError):
        return False


def check_disk_space(files: "ZipFiles", num_bytes: int, folder: Path) -> None:
    """Raises metadata.DatasetError where a .zip unpacks to more than is likely, or than the folder's disk has free."""
    limit, free = max(MAX_UNPACKED_RATIO * files.size, MIN_BOMB_BYTES), shutil.disk_usage(folder).free
    received = f"{files.path}: received a .zip of {files.size / 1e9:.3f} GB that unpacks to {num_bytes / 1e9:.3f} GB"
    if num_bytes > limit:
        raise DatasetError(
            f"{received}, expected at most {limit / 1e9:.3f} GB, {MAX_UNPACKED_RATIO} times its size: it is made to "
            "fill the disk"
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
    """A dataset in a .zip, at its root or in one folder of it; several threads may read."""

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
        where = f"{path}/{root}metadata.json"
        self.metadata_content = self.read_member(members[f"{root}metadata.json"], where, MAX_METADATA_BYTES)
        super().__init__(path, parse_metadata(where, self.metadata_content))
        self.matches: dict[str, dict[str, zipfile.ZipInfo]] = {}
        for name, info in members.items():
            title, _, file_name = name[len(root) :].partition("/")
            if name.startswith(root) and SEGMENT_FILE_NAME.fullmatch(file_name):
                self.check_member(info, name, self.max_bytes)
                self.matches.setdefault(title, {})[file_name] = info

    def find_root(self, members: dict[str, zipfile.ZipInfo]) -> str:
        """The folder in the zip that is the dataset, with a slash, or "". Raises metadata.DatasetError."""
        roots = [name.removesuffix("metadata.json") for name in members if name.split("/")[-1] == "metadata.json"]
        roots = [root for root in roots if root.count("/") <= 1 and not root.startswith("__MACOSX")]
        if len(roots) != 1:
            found = f"{len(roots)} datasets ({', '.join(sorted(roots)[:5])})" if roots else "no metadata.json"
            raise DatasetError(
                f"{self.path}: received a .zip with {found}, expected one dataset, at its root or in one folder: "
                "unpack it and name the folder, or zip the dataset folder alone"
            )
        return roots[0]

    def names(self, title: str) -> list[str]:
        return list(self.matches.get(unicodedata.normalize("NFC", title), ()))

    def read(self, title: str, name: str) -> bytes:
        info = self.matches[unicodedata.normalize("NFC", title)][name]
        return self.read_member(info, f"{self.path}/{title}/{name}", self.max_bytes)

    def segment_sizes(self) -> dict[tuple[str, str], int]:
        """Unpacked bytes of each segment's file by title and name, of the titles that metadata.json names and no other.
        Raises metadata.DatasetError where they are not as many as it counts."""
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
        """Raises metadata.DatasetError where a member is no file, encrypted, packed otherwise, or too large."""
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

    def read_member(self, info: zipfile.ZipInfo, where: str, max_bytes: int) -> bytes:
        """A member's bytes, read past zipfile, whose readers count on one thread. Raises metadata.DatasetError."""
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
            raise DatasetError(f"{where}: damaged in the .zip ({error}): copy the .zip again") from error
        return content


def member_name(info: zipfile.ZipInfo) -> str:
    """A member's name with slashes, composed; not every archive says how its names are encoded."""
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


def list_segments(files: DatasetFiles, title: str, num_segments: int) -> list[SegmentFile]:
    """The segment files of a match by index.

    Raises:
        metadata.DatasetError: they are not the num_segments that metadata.json counts, 0 to the last.
    """
    matches = filter(None, map(SEGMENT_FILE_NAME.fullmatch, files.names(title)))
    found = sorted((int(match[1]), int(match[2])) for match in matches)
    if len(found) != num_segments or any(index != place for place, (index, _) in enumerate(found)):
        raise DatasetError(
            f"{files.path / title}: received {len(found)} segment files, expected {num_segments} as metadata.json "
            "counts: the dataset is damaged, convert the videos again"
        )
    return [SegmentFile(files, title, index, label) for index, label in found]


def read_arrays(file: SegmentFile, data_shape: dict[str, tuple]) -> tuple[np.ndarray, np.ndarray]:
    """(video, audio) of one segment, of the shapes given, read-only: uint8 in [0, 255] and float.

    Raises metadata.DatasetError if the file is damaged or of other shapes.
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
    """Read one segment into its places in a batch, uint8 and float32 arrays. Raises as `read_arrays`."""
    if not file.files.read_into(file.title, file.name, video, audio):
        video[...], audio[...] = read_arrays(file, {"video": video.shape, "audio": audio.shape})
