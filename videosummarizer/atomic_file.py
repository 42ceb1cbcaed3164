"""Write files atomically, so that a reader, a crash or a full disk never meets half a file."""

import os
from pathlib import Path


def atomic_write(path: str | os.PathLike, content: bytes) -> None:
    """Write a file atomically.

    The content is written to `<path>.part` first, which then replaces `path`. If that fails, `path` keeps its old
    content.

    Raises:
        OSError: the file cannot be written.
    """
    part = Path(f"{path}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
