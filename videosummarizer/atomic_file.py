"""videosummarizer.atomic_file."""

import os
from pathlib import Path


def atomic_write(path: str | os.PathLike, content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then renamed."""
    part = Path(f"{path}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
