"""Write files atomically, so that a reader, a crash or a full disk never meets half a file."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path


class FolderError(OSError):
    """No files can be written into a folder. The message names it, and says why and what to do."""


def atomic_write(path: str | os.PathLike, content: bytes) -> None:
    """Write a file atomically.

    The content is written to `<path>.part` first, which then replaces `path`. If that fails, `path` keeps its old
    content.

    Raises:
        OSError: the file cannot be written. It names the file, which the system does not do for a full disk.
    """
    part = Path(f"{path}.part")
    try:
        part.write_bytes(content)
        replace_durably(part, path)
    except BaseException as error:
        discard(part)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = error.filename or str(path)
        raise


def discard(part: str | os.PathLike) -> None:
    """Delete a file that was not completed, if it exists, without an error that would hide the first one."""
    with contextlib.suppress(OSError):  # for a file that does not exist, too, on a drive that became read-only
        os.unlink(part)


def replace_durably(part: str | os.PathLike, path: str | os.PathLike) -> None:
    """Rename a complete file once its content is on the disk, so that a power failure leaves no empty file.

    Raises:
        OSError: the disk is full, or the file cannot be renamed.
    """
    with open(part, "rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # the drive does not support it
                raise
    os.replace(part, path)


def require_writable(folder: Path, advice: str) -> None:
    """Write a file without a name, to find out before long work whether results can be written into a folder.

    Args:
        folder: the folder for results. If it does not exist, the folder in which it would be created is tried.
        advice: what to do otherwise, the end of the message.

    Raises:
        FolderError: the folder cannot be written to, or its drive is full.
    """
    existing = existing_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise FolderError(
            f"{existing}: no files can be written into this folder ({error.strerror}): {advice}"
        ) from error


def prepare_folder(folder: Path, advice: str) -> None:
    """Create a folder for results, once `require_writable` has checked that they can be written into it.

    Raises:
        FolderError: as `require_writable` does.
    """
    require_writable(folder, advice)
    folder.mkdir(parents=True, exist_ok=True)


def existing_folder(folder: Path) -> Path:
    """Return a folder if it exists, otherwise the first of its parents that does; what may not be read does not."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
