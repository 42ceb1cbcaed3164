"""A temporary file that moves into another folder where the system's temporary folder is too small."""

import tempfile
from pathlib import Path

# Bytes that are copied at once when a file moves.
NUM_BYTES_PER_COPY = 2**20


class SpoolFile:
    """A temporary file without a name, for data that does not fit in memory. It is deleted when it is closed.

    It is written from its beginning to its end, then read. It begins in the system's temporary folder.

    Args:
        other_dir: the folder into which it moves if the temporary folder is full or cannot be written to. None for no
            other one.

    Raises:
        OSError: neither folder can be written to. The message names the temporary folder and TMPDIR.
    """

    def __init__(self, other_dir: Path | None = None):
        self.file, self.num_bytes, self.other_dir = None, 0, other_dir
        try:
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            self.move(error)

    def write(self, content: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: neither folder has room for them.
        """
        try:
            self.append(content)
        except OSError as error:
            self.move(error)
            self.append(content)

    def append(self, content: bytes) -> None:
        """Append bytes in the current folder."""
        rest = memoryview(content)
        while rest:
            rest = rest[self.file.write(rest) :]
        self.num_bytes += len(content)

    def move(self, error: OSError) -> None:
        """Continue in the other folder, because of an error in the current one."""
        old, num_bytes, other_dir, self.other_dir = self.file, self.num_bytes, self.other_dir, None
        if other_dir is None:
            reason = f"{error.strerror} in the temporary folder; the environment variable TMPDIR names another one"
            raise OSError(error.errno, reason, tempfile.tempdir) from error
        self.file, self.num_bytes = tempfile.TemporaryFile(dir=other_dir, buffering=0), 0  # noqa: SIM115
        if old is None:
            return
        with old:
            old.seek(0)
            while self.num_bytes < num_bytes:
                self.append(old.read(min(NUM_BYTES_PER_COPY, num_bytes - self.num_bytes)))

    def seek(self, offset: int) -> None:
        """Set the position of the next read, in bytes."""
        self.file.seek(offset)

    def read(self, num_bytes: int) -> bytes:
        """Return the bytes from the position on, fewer at the file's end."""
        return self.file.read(num_bytes)

    def close(self) -> None:
        """Delete the file."""
        self.file.close()
