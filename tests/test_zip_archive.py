"""Members of an untrusted .zip: names by any archiver, offsets of their bytes, size limits, and damaged members."""

import gc
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_data_loader import write_dataset
from test_storage import MAX_BYTES, TITLES, contents, patched, refused, zip_up

from data_loader import DataLoader
from videosummarizer.dataset import zip_archive
from videosummarizer.dataset.metadata import SUBSETS, DatasetError
from videosummarizer.dataset.storage import ZipFiles, read_arrays
from videosummarizer.dataset.zip_archive import member_name


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset", {title: [0, 1, 1] for title in TITLES}, are_numbered=True)


def member(name="match_00/seg_00000_0.pkl", **fields):
    """Return a member as in the directory of a .zip."""
    info = zipfile.ZipInfo(name)
    for field, value in {"file_size": 700, "compress_size": 300, "external_attr": 0o100644 << 16, **fields}.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, None),
        ({"external_attr": 0}, None),
        ({"external_attr": 0o644 << 16}, None),
        ({"external_attr": 0x20}, None),  # as Windows says
        ({"external_attr": 0o120777 << 16}, "a link or a device"),
        ({"external_attr": 0o010644 << 16}, "a link or a device"),
        ({"external_attr": 0o020644 << 16}, "a link or a device"),
        ({"external_attr": 0o040755 << 16}, "a link or a device"),
        ({"external_attr": 0o140755 << 16}, "a link or a device"),
        ({"flag_bits": 0x1}, "an encrypted file"),
        ({"flag_bits": 0x801}, "an encrypted file"),
        ({"flag_bits": 0x80E}, None),
        ({"compress_type": 0}, None),
        ({"compress_type": 8}, None),
        ({"compress_type": 9}, "compression method 9"),
        ({"compress_type": 12}, "compression method 12"),
        ({"compress_type": 14}, "compression method 14"),
        ({"compress_type": 93}, "compression method 93"),
        ({"file_size": MAX_BYTES}, None),
        ({"file_size": MAX_BYTES + 1}, f"{MAX_BYTES + 1} bytes packed into 300, expected at most {MAX_BYTES}"),
        ({"compress_size": "size"}, None),
        ({"compress_size": "size + 1"}, "700 bytes packed into "),
    ],
)
def test_a_member_at_a_limit_is_accepted_and_one_beyond_is_named(dataset, tmp_path, fields, problem):
    files = ZipFiles(zip_up(dataset, tmp_path / "shared.zip"))
    assert files.max_bytes == MAX_BYTES
    assert files.archive.size == (tmp_path / "shared.zip").stat().st_size
    if "compress_size" in fields:
        fields = {"compress_size": files.archive.size + (fields["compress_size"] == "size + 1")}
    if problem is None:
        files.archive.check(member(**fields), "a/b.pkl", files.max_bytes)
    else:
        with pytest.raises(DatasetError, match=rf"shared\.zip/a/b\.pkl: received {problem}"):
            files.archive.check(member(**fields), "a/b.pkl", files.max_bytes)


@pytest.mark.parametrize(
    ("stored", "flags", "name"),
    [
        (b"match_00/a.pkl", 0, "match_00/a.pkl"),
        ("결승/a.pkl".encode(), 0x800, "결승/a.pkl"),
        ("결승/a.pkl".encode(), 0, "결승/a.pkl"),
        ("결승/a.pkl".encode("cp949"), 0, "결승/a.pkl"),
        (unicodedata.normalize("NFD", "결승/a.pkl").encode(), 0x800, "결승/a.pkl"),
        (unicodedata.normalize("NFD", "결승/a.pkl").encode(), 0, "결승/a.pkl"),
        (unicodedata.normalize("NFD", "Café/a.pkl").encode(), 0x800, "Café/a.pkl"),
        ("Café/a.pkl".encode(), 0, "Café/a.pkl"),
        ("Caf\u00e9/a.pkl".encode("cp437"), 0x0, "Caf\u00e9/a.pkl"),  # neither UTF-8 nor Korean
        (b"match_00\\a.pkl", 0, "match_00/a.pkl"),
        ("결승\\a.pkl".encode("cp949"), 0, "결승/a.pkl"),
        (b"match\\00/a.pkl", 0, "match\\00/a.pkl"),
        ("\u2500\u00e9/a.pkl".encode(), 0x800, "\u2500\u00e9/a.pkl"),  # can be bytes of another encoding, and is none
    ],
)
def test_names_of_members(stored, flags, name):
    info = zipfile.ZipInfo("x")
    info.filename, info.flag_bits = stored.decode("utf-8" if flags else "cp437"), flags
    assert member_name(info) == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flag_bits": 1}, r"seg_00000_0\.pkl: received an encrypted file, expected one that is not"),
        ({"compress_type": zipfile.ZIP_LZMA}, r"seg_00000_0\.pkl: received compression method 14, expected"),
        ({"file_size": 10**9}, r"seg_00000_0\.pkl: received 1000000000 bytes packed into \d+, expected at most \d+"),
        ({"compress_size": 10**9}, r"seg_00000_0\.pkl: received \d+ bytes packed into 1000000000, expected"),
    ],
)
def test_members_that_cannot_be_read_safely_are_named(dataset, tmp_path, changes, message):
    path = zip_up(dataset, tmp_path / "shared.zip")
    refused(patched(path, "match_00/seg_00000_0.pkl", **changes), message)


@pytest.mark.parametrize(
    "changes",
    [{"file_size": 700}, {"CRC": 1}, {"header_offset": 0}, {"header_offset": 10**6}, {"header_offset": 2**64 - 1}],
)
def test_members_that_do_not_match_the_directory_are_damaged(dataset, tmp_path, changes):
    loader = DataLoader(patched(zip_up(dataset, tmp_path / "a.zip"), "match_00/seg_00002_1.pkl", **changes))
    with pytest.raises(DatasetError, match=r"a\.zip/match_00/seg_00002_1\.pkl: damaged in the \.zip"):
        contents(loader)


def test_a_bomb_is_not_unpacked(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "bomb.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("match_00/seg_00003_0.pkl", bytes(10**7))
    refused(path, r"bomb\.zip/match_00/seg_00003_0\.pkl: received 10000000 bytes packed into \d+, expected at most")


@pytest.mark.parametrize("is_in_directory", [True, False])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_found_after_other_bytes(dataset, tmp_path, method, is_in_directory):
    path = tmp_path / "extra.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(sorted(file for file in dataset.rglob("*") if file.is_file())):
            info = zipfile.ZipInfo(file.relative_to(dataset).as_posix())
            info.compress_type, info.extra = method, struct.pack("<HH", 0xCAFE, number) + bytes(number)
            archive.writestr(info, file.read_bytes())
            if not is_in_directory:  # as some archivers have it
                info.extra = b""
    path.write_bytes(b"#!/bin/sh\n" + bytes(1234) + path.read_bytes())  # as of a .zip that unpacks itself
    assert contents(DataLoader(path)) == contents(DataLoader(dataset))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_empty_member_is_empty(dataset, tmp_path, method):
    (dataset / "match_00" / "seg_00001_1.pkl").write_bytes(b"")
    files = ZipFiles(zip_up(dataset, tmp_path / "shared.zip", method=method))
    assert files.read("match_00", "seg_00001_1.pkl") == b""


@pytest.mark.parametrize("claimed_bytes", [0, 1, 700, 10**6])
def test_a_member_is_not_unpacked_beyond_its_size_in_the_directory(dataset, tmp_path, claimed_bytes):
    path = tmp_path / "bomb.zip"
    packed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packed.compress(bytes(50_000_000)) + packed.flush()
    zip_up(dataset, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("bomb", packed, zipfile.ZIP_STORED)
        bomb = archive.getinfo("bomb")
    files = ZipFiles(path)
    info = member("bomb", header_offset=bomb.header_offset, compress_size=len(packed), file_size=claimed_bytes)
    info.compress_type, info.CRC = zipfile.ZIP_DEFLATED, zlib.crc32(bytes(claimed_bytes + (claimed_bytes == 0)))
    tracemalloc.start()
    try:
        if claimed_bytes:
            assert files.archive.read(info, "bomb", 10**6) == bytes(claimed_bytes)
        else:
            with pytest.raises(DatasetError, match=r"bomb: damaged in the \.zip \(its bytes are not those"):
                files.archive.read(info, "bomb", 10**6)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("place", "changed"),
    [(0, b"KP"), (2, b"\1\2"), (26, b"\xff\xff"), (28, b"\xff\xff")],  # signature, lengths of the name and of the rest
)
def test_a_member_whose_own_header_is_damaged_is_named(dataset, tmp_path, place, changed):
    path = zip_up(dataset, tmp_path / "shared.zip", method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("match_07/seg_00001_1.pkl").header_offset
    with open(path, "r+b") as file:
        file.seek(offset + place)
        file.write(changed)
    files = ZipFiles(path)
    with pytest.raises(DatasetError, match=r"shared\.zip/match_07/seg_00001_1\.pkl: damaged in the \.zip \(.*\): copy"):
        files.read("match_07", "seg_00001_1.pkl")
    assert files.read("match_07", "seg_00000_0.pkl") == (dataset / "match_07" / "seg_00000_0.pkl").read_bytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_byte_that_is_not_the_one_that_was_packed_is_noticed(dataset, tmp_path, method):
    path = zip_up(dataset, tmp_path / "shared.zip", method=method)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("match_07/seg_00001_1.pkl")
    content, start = bytearray(path.read_bytes()), info.header_offset + 30 + len(info.filename)
    for place in (start, start + info.compress_size // 2, start + info.compress_size * 9 // 10):
        content[place] ^= 0x40
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"match_07/seg_00001_1\.pkl: damaged in the \.zip"):
            ZipFiles(path).read("match_07", "seg_00001_1.pkl")
        content[place] ^= 0x40
    path.write_bytes(content)
    assert ZipFiles(path).read("match_07", "seg_00001_1.pkl")


def test_threads_may_read_at_once(dataset, tmp_path):
    loader = DataLoader(zip_up(dataset, tmp_path / "shared.zip"))
    files = [file for subset in SUBSETS for file in loader.segment_files[subset]] * 50
    expected = {file.path: [a.tobytes() for a in read_arrays(file, loader.data_shape)] for file in files}
    with ThreadPoolExecutor(8) as pool:
        for file, arrays in zip(files, pool.map(lambda f: read_arrays(f, loader.data_shape), files), strict=True):
            assert [array.tobytes() for array in arrays] == expected[file.path]


class LockedFile:
    """A file that records whether it is read without its lock."""

    def __init__(self, file, lock):
        self.file, self.lock, self.num_calls = file, lock, 0

    def __getattr__(self, name):
        assert self.lock.locked()
        self.num_calls += 1
        return getattr(self.file, name)


def test_one_thread_at_a_time_moves_in_the_file(dataset, tmp_path):
    files = ZipFiles(zip_up(dataset, tmp_path / "shared.zip"))
    whole, files.archive.file = files.archive.file, LockedFile(files.archive.file, files.archive.lock)
    assert files.read("match_07", "seg_00001_1.pkl") == (dataset / "match_07" / "seg_00001_1.pkl").read_bytes()
    assert files.archive.file.num_calls == 4
    assert not files.archive.lock.locked()
    with pytest.raises(DatasetError, match=r"^x: damaged in the \.zip \("):
        files.archive.read(member(header_offset=2**62), "x", 10**6)
    assert not files.archive.lock.locked()
    whole.close()


def test_a_zip_is_closed_with_its_dataset(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    files = ZipFiles(path)
    file = files.archive.file
    assert not file.closed
    del files
    assert file.closed
    path.write_bytes(path.read_bytes().replace(b"metadata.json", b"metadata.jsox"))
    opened, original = [], open

    def watched_open(*args, **more):
        opened.append(original(*args, **more))
        return opened[-1]

    zip_archive.open = watched_open
    try:
        refused(path, "no metadata")
    finally:
        del zip_archive.open
    gc.collect()
    assert [file.closed for file in opened] == [True]


def test_a_message_shows_the_beginning_of_a_long_name(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member("x" * 60_000 + "/seg_00000_0.pkl", external_attr=0o120777 << 16), b"elsewhere")
    with pytest.raises(DatasetError) as raised:
        ZipFiles(path)
    assert str(raised.value) == (
        f"{path}/{'x' * 80}...: received a link or a device, expected a file: zip it again without links"
    )
