"""A temporary file whose folder is full, or cannot be written to."""

import errno
import tempfile

import pytest

from videosummarizer.dataset import spool_file
from videosummarizer.dataset.spool_file import SpoolFile

CONTENT = bytes(range(256)) * 40


class FullFile:
    """A file on a drive with room for some bytes, which writes at most 100 at once."""

    def __init__(self, file, num_free):
        self.file, self.num_free = file, num_free

    def write(self, content):
        if self.num_free == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        num_written = self.file.write(content[: min(100, self.num_free)])
        self.num_free -= num_written
        return num_written

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture
def small_temporary_folder(monkeypatch, tmp_path):
    """A temporary folder with room for 700 bytes; any other folder has room for as many as one sets."""
    folders, num_free, temporary_file = [], {None: 700}, tempfile.TemporaryFile

    def open_file(dir=None, buffering=-1):
        folders.append(dir)
        file = temporary_file(dir=dir, buffering=buffering)
        return FullFile(file, num_free[dir]) if dir in num_free else file

    monkeypatch.setattr(spool_file.tempfile, "TemporaryFile", open_file)
    monkeypatch.setattr(spool_file, "NUM_BYTES_PER_COPY", 64)
    return folders, num_free


def write_and_read(spool):
    for start in range(0, len(CONTENT), 300):
        spool.write(CONTENT[start : start + 300])
    for start, num_bytes in ((0, 20_000), (299, 2), (650, 100), (10_200, 100)):
        spool.seek(start)
        assert spool.read(num_bytes) == CONTENT[start : start + num_bytes]
    spool.close()


def test_bytes_come_back_from_the_temporary_folder():
    write_and_read(SpoolFile())


def test_the_file_moves_when_the_temporary_folder_is_full(small_temporary_folder, tmp_path):
    write_and_read(SpoolFile(tmp_path))
    assert small_temporary_folder[0] == [None, tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_without_a_temporary_folder_the_other_one_is_used(monkeypatch, tmp_path):
    temporary_file = tempfile.TemporaryFile

    def open_file(dir=None, buffering=-1):
        if dir is None:
            raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")
        return temporary_file(dir=dir, buffering=buffering)

    monkeypatch.setattr(spool_file.tempfile, "TemporaryFile", open_file)
    write_and_read(SpoolFile(tmp_path))
    with pytest.raises(OSError, match=r"No usable temporary directory .* TMPDIR names another one"):
        SpoolFile()


def test_where_both_folders_are_full_the_message_names_the_folder_and_the_way_out(small_temporary_folder, tmp_path):
    spool = SpoolFile()
    spool.write(CONTENT[:700])
    with pytest.raises(OSError, match="TMPDIR") as error_info:
        spool.write(b"x")
    assert error_info.value.errno == errno.ENOSPC
    reason = "No space left on device in the temporary folder; the environment variable TMPDIR names another one"
    assert (error_info.value.strerror, error_info.value.filename) == (reason, tempfile.gettempdir())
    spool.close()
    small_temporary_folder[1][tmp_path] = 750
    spool = SpoolFile(tmp_path)
    spool.write(CONTENT[:700])
    spool.write(CONTENT[700:720])
    with pytest.raises(OSError, match="No space left on device in the temporary folder"):
        spool.write(CONTENT[:31])
    spool.close()
