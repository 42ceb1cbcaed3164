"""Members of a .zip: names by any archiver, offsets of their bytes, size limits, and damaged members."""

import gc
import json
import os
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib

import numpy as np
import pytest
from test_data_loader import write_dataset
from test_storage import TITLES, contents, refused, zip_up

from data_loader import DataLoader
from videosummarizer.dataset import metadata, storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError
from videosummarizer.dataset.storage import ZipFiles, member_name, open_dataset

# Of segments of one pixel and two samples: 2 * 3 + 8 * 2 bytes, and 65,536 for what lies around them.
MAX_BYTES = 65_558


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
    assert files.size == (tmp_path / "shared.zip").stat().st_size
    if "compress_size" in fields:
        fields = {"compress_size": files.size + (fields["compress_size"] == "size + 1")}
    if problem is None:
        files.check_member(member(**fields), "a/b.pkl", files.max_bytes)
    else:
        with pytest.raises(DatasetError, match=rf"shared\.zip/a/b\.pkl: received {problem}"):
            files.check_member(member(**fields), "a/b.pkl", files.max_bytes)


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


def test_a_zip_of_windows_is_read(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "windows.zip", "dataset\\", rename=lambda name: name.replace("/", "\\"))
    assert contents(DataLoader(path)) == contents(DataLoader(dataset))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_title_with_other_unicode_composition_is_found(dataset, tmp_path, form):
    title = unicodedata.normalize("NFD", TITLES[1])
    assert title != TITLES[1]
    path = zip_up(dataset, tmp_path / "mac.zip", rename=lambda name: unicodedata.normalize(form, name))
    metadata = json.loads((dataset / "metadata.json").read_text())
    metadata["videos"] = [
        video | {"title": unicodedata.normalize("NFD", video["title"])} for video in metadata["videos"]
    ]
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"metadata.json": json.dumps(metadata)}).items():
            archive.writestr(name, content)
    files = open_dataset(path)
    assert sorted(files.names(title)) == ["seg_00000_0.pkl", "seg_00001_1.pkl", "seg_00002_1.pkl"]
    assert files.read(title, "seg_00001_1.pkl") == (dataset / TITLES[1] / "seg_00001_1.pkl").read_bytes()
    assert len(files.segment_sizes()) == 12
    assert files.segment_sizes()[title, "seg_00001_1.pkl"] == (dataset / TITLES[1] / "seg_00001_1.pkl").stat().st_size
    assert files.names("other") == []


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


def test_folders_in_a_zip_are_ignored(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip", "data/")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("data/", "data/match_00/", "data/match_00/seg_00009_0.pkl/"):
            archive.writestr(name, b"")
    assert contents(DataLoader(path)) == contents(DataLoader(dataset))


def test_a_dataset_is_at_the_root_or_in_one_folder(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip", "data/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data/match_00/metadata.json", b"{}")  # deeper
        archive.writestr("data/old_metadata.json", b"{}")
        archive.writestr("metadata.json.bak", b"{}")
        archive.writestr("match_00/seg_00000_1.pkl", b"of another folder")
        archive.writestr("dat2/match_00/seg_00000_0.pkl", b"of a folder whose name is as long")
    assert contents(DataLoader(path)) == contents(DataLoader(dataset))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", b"{}")
    refused(path, r"shared\.zip: received a \.zip with 2 datasets \(, data/\), expected one")
    with zipfile.ZipFile(path, "a") as archive:
        for letter in "fedcba":
            archive.writestr(f"{letter}/metadata.json", b"{}")
    refused(path, r"received a \.zip with 8 datasets \(, a/, b/, c/, d/\), expected one")


@pytest.mark.parametrize("more_bytes", [0, 1])
def test_metadata_larger_than_any_dataset_has_is_not_read(dataset, tmp_path, monkeypatch, more_bytes):
    num_bytes = (dataset / "metadata.json").stat().st_size
    for module in (metadata, storage):
        monkeypatch.setattr(module, "MAX_METADATA_BYTES", num_bytes - more_bytes)
    path = zip_up(dataset, tmp_path / "shared.zip")
    if more_bytes:
        refused(path, rf"shared\.zip/metadata\.json: received {num_bytes} bytes packed into \d+, expected at most")
        refused(dataset, rf"metadata\.json: received {num_bytes} bytes, expected at most {num_bytes - 1}")
    else:
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
            assert files.read_member(info, "bomb", 10**6) == bytes(claimed_bytes)
        else:
            with pytest.raises(DatasetError, match=r"bomb: damaged in the \.zip \(its bytes are not those"):
                files.read_member(info, "bomb", 10**6)
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
    whole, files.file = files.file, LockedFile(files.file, files.lock)
    assert files.read("match_07", "seg_00001_1.pkl") == (dataset / "match_07" / "seg_00001_1.pkl").read_bytes()
    assert files.file.num_calls == 4
    assert not files.lock.locked()
    with pytest.raises(DatasetError):
        files.read_member(member(header_offset=2**62), "x", 10**6)
    assert not files.lock.locked()
    whole.close()


def test_a_zip_is_closed_with_its_dataset(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    files = ZipFiles(path)
    file = files.file
    assert not file.closed
    del files
    assert file.closed
    path.write_bytes(path.read_bytes().replace(b"metadata.json", b"metadata.jsox"))
    opened, original = [], open

    def watched_open(*args, **more):
        opened.append(original(*args, **more))
        return opened[-1]

    storage.open = watched_open
    try:
        refused(path, "no metadata")
    finally:
        del storage.open
    gc.collect()
    assert [file.closed for file in opened] == [True]


# ---- Folders


@pytest.mark.parametrize("more_bytes", [0, 1])
def test_a_segment_in_a_folder_is_no_larger_than_metadata_allows(dataset, more_bytes):
    files = open_dataset(dataset)
    path = dataset / "match_07" / "seg_00001_1.pkl"
    path.write_bytes(b"." * (MAX_BYTES + more_bytes))
    if more_bytes:
        with pytest.raises(DatasetError, match=rf"seg_00001_1\.pkl: received {MAX_BYTES + 1} bytes, expected at most"):
            files.read("match_07", "seg_00001_1.pkl")
    else:
        assert len(files.read("match_07", "seg_00001_1.pkl")) == MAX_BYTES


def test_a_folder_is_read_directly_into_arrays_if_possible(tmp_path, monkeypatch):
    config = DataConfig(1, 1, 2, 2, 4, False)
    labels_of = {"match_07": [0, 1, 1], "match_08": [0, 1, 1]}
    files = open_dataset(write_dataset(tmp_path / "dataset", labels_of, config=config, are_numbered=True))
    video, audio = np.zeros((1, 2, 2, 3), np.uint8), np.zeros(4, np.float32)
    assert not files.read_into("match_07", "seg_00001_1.pkl", video, audio)  # nothing is known yet
    files.arrays.load(files.read("match_07", "seg_00000_0.pkl"), "match_07")
    assert files.read_into("match_07", "seg_00002_1.pkl", video, audio)
    assert (video.ravel().tolist(), audio.tolist()) == ([0, 2, 51] * 4, [0, 2, 0, 0])
    first = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    for _ in range(5):
        assert files.read_into("match_07", "seg_00002_1.pkl", video, audio)
        assert not files.read_into("match_08", "seg_00002_1.pkl", video, audio)
        assert not files.read_into("match_07", "seg_00003_1.pkl", video, audio)  # there is none
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    assert descriptor == first  # each file was closed
    monkeypatch.delattr(os, "readv")  # as on Windows
    assert not files.read_into("match_07", "seg_00002_1.pkl", video, audio)


def test_a_title_without_a_folder_has_no_files(dataset):
    files = open_dataset(dataset)
    (dataset / "a_file").write_text("")
    assert files.names("a_file") == files.names("none") == []
    assert sorted(files.names("match_07")) == ["seg_00000_0.pkl", "seg_00001_1.pkl", "seg_00002_1.pkl"]
    assert (files.path, files.metadata["data_shape"]["audio"]) == (dataset, (2,))


def test_a_dataset_is_a_folder_or_a_zip_whatever_its_name(dataset, tmp_path):
    expected = contents(DataLoader(dataset))
    assert contents(DataLoader(zip_up(dataset, tmp_path / "shared"))) == expected
    folder = dataset.rename(tmp_path / "dataset.zip")
    assert contents(DataLoader(folder)) == contents(DataLoader(str(folder))) == expected
    refused(tmp_path / "none.zip", r"none\.zip: received what does not exist, expected a dataset")
