"""A dataset's files as they lie on disk: in the folder that data_converter.py wrote, or in a .zip of it, read in place.

A dataset from a stranger is data: whatever it claims, no more is read than metadata.json says that segments take.
"""

import os
import struct
import threading
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np

import segment_pickle
import segments

NAME_ENCODINGS = ("utf-8", "cp949")  # of archives that do not say theirs: macOS, and Windows in Korean
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field; APPNOTE.TXT, section 4.3.7
LOCAL_SIGNATURE = b"PK\3\4"


class DatasetFiles:
    """path: of the folder or the zip. metadata: the dict of segments.parse_metadata. max_bytes: of a segment's file."""

    def __init__(self, path: Path, metadata: dict):
        self.path, self.metadata = path, metadata
        self.max_bytes = segments.max_segment_bytes(metadata["data_shape"])
        self.arrays = segment_pickle.ArrayReader()

    def names(self, title: str) -> list[str]:
        """Names of the files of a match; none where it is not there."""
        raise NotImplementedError

    def read(self, title: str, name: str) -> bytes:
        """The bytes of a segment's file. Raises segments.DatasetError."""
        raise NotImplementedError

    def read_into(self, title: str, name: str, video: np.ndarray, audio: np.ndarray) -> bool:
        """Read a segment's file straight into arrays where that can be done safely, as
        segment_pickle.ArrayReader.read_into does it; False where it was not done."""
        return False


def open_dataset(path: str | os.PathLike) -> DatasetFiles:
    """The files of a dataset. Raises segments.DatasetError where it is none, or a zip that cannot be read safely."""
    return ZipFiles(Path(path)) if os.path.isfile(path) else FolderFiles(Path(path))


class FolderFiles(DatasetFiles):
    """A dataset folder."""

    def __init__(self, path: Path):
        super().__init__(path, segments.read_metadata(path))
        self.folder = str(path)

    def names(self, title: str) -> list[str]:
        match_dir = self.path / title
        return [entry.name for entry in os.scandir(match_dir)] if match_dir.is_dir() else []

    def read(self, title: str, name: str) -> bytes:
        return segments.read_whole(f"{self.folder}/{title}/{name}", self.max_bytes)

    def read_into(self, title: str, name: str, video: np.ndarray, audio: np.ndarray) -> bool:
        if not hasattr(os, "readv"):  # Windows
            return False
        try:
            descriptor = os.open(f"{self.folder}/{title}/{name}", segments.READ_FLAGS)
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
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError, struct.error) as error:
            raise segments.DatasetError(
                f"{path}: cannot be read as a .zip ({error}), expected a dataset folder or a .zip of one"
            ) from error
        self.size = os.fstat(self.file.fileno()).st_size
        root = self.find_root(members)
        where = f"{path}/{root}metadata.json"
        content = self.read_member(members[f"{root}metadata.json"], where, segments.MAX_METADATA_BYTES)
        super().__init__(path, segments.parse_metadata(where, content))
        self.matches: dict[str, dict[str, zipfile.ZipInfo]] = {}
        for name, info in members.items():
            title, _, file_name = name[len(root) :].partition("/")
            if name.startswith(root) and segments.SEGMENT_FILE_NAME.fullmatch(file_name):
                self.check_member(info, name, self.max_bytes)
                self.matches.setdefault(title, {})[file_name] = info

    def find_root(self, members: dict[str, zipfile.ZipInfo]) -> str:
        """The folder in the zip that is the dataset, with a slash, or "". Raises segments.DatasetError."""
        roots = [name.removesuffix("metadata.json") for name in members if name.split("/")[-1] == "metadata.json"]
        roots = [root for root in roots if root.count("/") <= 1 and not root.startswith("__MACOSX")]
        if len(roots) != 1:
            found = f"{len(roots)} datasets ({', '.join(sorted(roots)[:5])})" if roots else "no metadata.json"
            raise segments.DatasetError(
                f"{self.path}: received a .zip with {found}, expected one dataset, at its root or in one folder: "
                "unpack it and name the folder, or zip the dataset folder alone"
            )
        return roots[0]

    def names(self, title: str) -> list[str]:
        return list(self.matches.get(unicodedata.normalize("NFC", title), ()))

    def read(self, title: str, name: str) -> bytes:
        info = self.matches[unicodedata.normalize("NFC", title)][name]
        return self.read_member(info, f"{self.path}/{title}/{name}", self.max_bytes)

    def check_member(self, info: zipfile.ZipInfo, name: str, max_bytes: int) -> None:
        """Raises segments.DatasetError where a member is encrypted, packed otherwise, or too large."""
        problem = None
        if info.flag_bits & ENCRYPTED_FLAG:
            problem = "an encrypted file, expected one that is not: zip it again"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"compression method {info.compress_type}, expected stored or deflated: zip it again"
        elif info.file_size > max_bytes or info.compress_size > self.size:
            problem = (
                f"{info.file_size} bytes packed into {info.compress_size}, expected at most {max_bytes}: the .zip is "
                "damaged or made to fill memory"
            )
        if problem:
            raise segments.DatasetError(f"{self.path}/{name}: received {problem}")

    def read_member(self, info: zipfile.ZipInfo, where: str, max_bytes: int) -> bytes:
        """A member's bytes, read past zipfile, whose readers count on one thread. Raises segments.DatasetError."""
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
        except (OSError, ValueError, struct.error, zlib.error) as error:
            raise segments.DatasetError(f"{where}: damaged in the .zip ({error}): copy the .zip again") from error
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
