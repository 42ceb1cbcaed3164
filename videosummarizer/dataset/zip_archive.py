"""Read the members of an untrusted .zip safely, and from several threads at once."""

import os
import stat
import struct
import threading
import weakref
import zipfile
import zlib
from pathlib import Path

from videosummarizer.dataset.metadata import DatasetError
from videosummarizer.match_files import compose
from videosummarizer.untrusted_file import excerpt

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


class ZipArchive:
    """A .zip that is open as long as this object exists. Several threads may read from it.

    Attributes:
        path: of the .zip.
        size: of the .zip in bytes.
        members: its files by name, as `member_name` returns it.

    Raises:
        metadata.DatasetError: it cannot be read as a .zip.
    """

    def __init__(self, path: Path):
        self.path, self.lock = path, threading.Lock()
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {member_name(info): info for info in archive.infolist() if not info.is_dir()}
            self.file = open(path, "rb", buffering=0)  # noqa: SIM115 (open as long as the dataset is in use)
            weakref.finalize(self, self.file.close)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError, struct.error) as error:
            raise DatasetError(
                f"{path}: cannot be read as a .zip ({error}), expected a dataset folder or a .zip of one: copy it "
                "again from where it came, or correct the path"
            ) from error
        self.size = os.fstat(self.file.fileno()).st_size

    def check(self, info: zipfile.ZipInfo, name: str, max_bytes: int) -> None:
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
            raise DatasetError(f"{self.path}/{excerpt(name)}: received {problem}")

    def read(self, info: zipfile.ZipInfo, source: str, max_bytes: int) -> bytes:
        """Read a member of the .zip. Unlike `zipfile`, this can be called from several threads at once.

        Args:
            info: the member.
            source: its name for error messages.
            max_bytes: the largest size allowed.

        Raises:
            metadata.DatasetError: it is damaged or cannot be read safely.
        """
        self.check(info, member_name(info), max_bytes)
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
        name = compose(name)
    return name if "/" in name else name.replace("\\", "/")
