"""Datasets in a .zip, read in place or unpacked, and zips that cannot be read safely."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import PureWindowsPath

import numpy as np
import pytest
from test_data_loader import write_dataset

import main as trainer
from data_loader import DataLoader
from videosummarizer.dataset import metadata
from videosummarizer.dataset.metadata import SUBSETS, DataConfig, DatasetError, is_safe_folder_name
from videosummarizer.dataset.storage import read_arrays, unpack_dataset

CONFIG = vars(DataConfig(1, 1, 1, 1, 2, False))  # of write_dataset
TITLES = ["match_00", "결승전 #3 (재경기)", "match_07", "match_08"]


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset", {title: [0, 1, 1] for title in TITLES})


def zip_up(dataset, path, root="", method=zipfile.ZIP_DEFLATED, rename=lambda name: name):
    """Zip a dataset folder, with its files under `root`."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(dataset.rglob("*")):
            if file.is_file():
                archive.write(file, root + rename(file.relative_to(dataset).as_posix()))
    return path


def contents(loader):
    return [
        (subset, file.title, file.index, file.label, *(a.tobytes() for a in read_arrays(file, loader.data_shape)))
        for subset in SUBSETS
        for file in loader.segment_files[subset]
    ]


@pytest.mark.parametrize("root", ["", "dataset14_sl5/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_has_the_same_contents_as_its_folder(dataset, tmp_path, root, method):
    folder, zipped = DataLoader(dataset), DataLoader(zip_up(dataset, tmp_path / "shared.zip", root, method))
    assert contents(zipped) == contents(folder)
    assert (zipped.num_videos, zipped.num_highlights) == (folder.num_videos, folder.num_highlights)
    for (inputs, targets, _), (expected_inputs, expected_targets, _) in zip(
        zipped.batches("valid"), folder.batches("valid"), strict=True
    ):
        for arrays, expected in ((inputs, expected_inputs), (targets, expected_targets)):
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, expected[name])


def as_cp949(name):
    """Return a name as zipfile reads it if Windows in Korean wrote it without stating its encoding."""
    return name.encode("cp949").decode("cp437")


def test_titles_of_any_archiver_are_found(dataset, tmp_path, monkeypatch):
    expected = contents(DataLoader(dataset))
    composed_otherwise = zip_up(dataset, tmp_path / "a.zip", rename=lambda name: unicodedata.normalize("NFD", name))
    assert contents(DataLoader(composed_otherwise)) == expected
    for encoding in ("utf-8", "cp949"):
        # Writes the bytes of that encoding, without the flag that says UTF-8.
        monkeypatch.setattr(zipfile.ZipInfo, "_encodeFilenameFlags", lambda info: (info.filename.encode(encoding), 0))  # noqa: B023
        path = zip_up(dataset, tmp_path / f"{encoding}.zip")
        monkeypatch.undo()
        assert contents(DataLoader(path)) == expected


def test_files_that_macos_adds_are_ignored(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "mac.zip", "dataset/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/dataset/._metadata.json", b"x")
        archive.writestr("__MACOSX/metadata.json", b"x")
        archive.writestr("dataset/.DS_Store", b"x")
    assert contents(DataLoader(path)) == contents(DataLoader(dataset))


def test_threads_may_read_at_once(dataset, tmp_path):
    loader = DataLoader(zip_up(dataset, tmp_path / "shared.zip"))
    files = [file for subset in SUBSETS for file in loader.segment_files[subset]] * 50
    expected = {file.path: [a.tobytes() for a in read_arrays(file, loader.data_shape)] for file in files}
    with ThreadPoolExecutor(8) as pool:
        for file, arrays in zip(files, pool.map(lambda f: read_arrays(f, loader.data_shape), files), strict=True):
            assert [array.tobytes() for array in arrays] == expected[file.path]


def test_a_damaged_segment_in_a_zip_is_named_before_training(dataset, tmp_path, caplog):
    path = zip_up(dataset, tmp_path / "shared.zip")
    with zipfile.ZipFile(path, "a") as archive:
        damaged = archive.getinfo("match_00/seg_00001_1.pkl")
    with open(path, "r+b") as file:
        file.seek(damaged.header_offset + 60)
        file.write(b"damage")
    assert trainer.main(["--data_dir", str(path), "--check_data", "--ckpt_dir", str(tmp_path / "ckpt")]) == 1
    assert "shared.zip/match_00/seg_00001_1.pkl: damaged in the .zip" in caplog.text
    assert "shared.zip: 1 of 12 segments cannot be used" in caplog.text
    assert not (tmp_path / "ckpt").exists()


def refused(path, message):
    with pytest.raises(DatasetError, match=message) as raised:
        DataLoader(path)
    assert "\n" not in str(raised.value)


def test_zips_that_are_no_dataset_are_named(dataset, tmp_path):
    path = tmp_path / "shared.zip"
    path.write_bytes(b"no zip")
    refused(path, r"shared\.zip: cannot be read as a \.zip .* expected a dataset folder or a \.zip of one")
    zip_up(dataset, path)
    os.truncate(path, path.stat().st_size // 2)
    refused(path, r"shared\.zip: cannot be read as a \.zip")
    zip_up(dataset, path, "a/b/")
    refused(path, r"shared\.zip: received a \.zip with no metadata\.json, expected one dataset, at its root or in one")
    zip_up(dataset, path, "a/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/metadata.json", b"{}")
    refused(path, r"shared\.zip: received a \.zip with 2 datasets \(a/, b/\), expected one")
    zip_up(dataset, path, rename=lambda name: name.replace("seg_00001", "other"))
    refused(path, r"shared\.zip/match_00: received 2 segment files, expected 3 as metadata\.json counts")


def patched(path, name, **changes):
    """Change a member in the directory of a .zip. The flags in its local header stay."""
    with zipfile.ZipFile(path, "a") as archive:
        info = archive.getinfo(name)
        for field, value in changes.items():
            setattr(info, field, value)
        archive.comment = b"changed"  # so that the directory is rewritten
    return path


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


@pytest.mark.parametrize(
    "changes",
    [
        {"videos": [{"title": "../other", "segment_count": 1}]},
        {"videos": [{"title": "match_00", "segment_count": "many"}]},
        {"videos": [5]},
        {"videos": [{"title": "\ud800", "segment_count": 1}]},
        {"config": {"segment_length": 1}},
        {"data_shape": {"video": [10**6, 10**6, 10**6, 3], "audio": [2]}},
        {"data_shape": {"video": [1, 1, 3], "audio": [2]}},
        {"data_shape": {"video": ["1", 1, 1, 3], "audio": [2]}},
        {"data_shape": {"video": [1, 1, 1, 3], "audio": [3]}},
        {"config": CONFIG | {"segment_length": 0}},
        {"config": CONFIG | {"video_width": 1.5}, "data_shape": {"video": [1, 1, 1.5, 3], "audio": [2]}},
        {"config": CONFIG | {"video_sample_rate": 0}, "data_shape": {"video": [0, 1, 1, 3], "audio": [2]}},
    ],
)
def test_metadata_that_no_converter_wrote_is_named(dataset, changes):
    path = dataset / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    refused(dataset, r"metadata\.json: damaged or not from data_converter\.py .*: convert the videos again")


def test_deep_metadata_is_named(dataset):
    (dataset / "metadata.json").write_text("[" * 1_000_000)
    refused(dataset, r"metadata\.json: damaged or not from data_converter\.py")


def test_huge_counts_take_no_memory(dataset):
    metadata = json.loads((dataset / "metadata.json").read_text())
    metadata["videos"][0]["segment_count"] = 10**15
    (dataset / "metadata.json").write_text(json.dumps(metadata))
    refused(dataset, r"received 3 segment files, expected 1000000000000000 as metadata\.json counts")


def test_check_data_lists_segments_that_cannot_be_used(dataset, tmp_path, caplog):
    (dataset / "match_00" / "seg_00001_1.pkl").write_bytes(b"junk")
    (dataset / "match_07" / "seg_00002_1.pkl").write_bytes(b"")
    assert trainer.main(["--data_dir", str(dataset), "--check_data", "--ckpt_dir", str(tmp_path / "ckpt")]) == 1
    for name in ("seg_00001_1.pkl: cannot be read as a segment", "seg_00002_1.pkl: cannot be read as a segment"):
        assert name in caplog.text
    assert "2 of 12 segments cannot be used" in caplog.text


def files_in(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("root", ["", "dataset14_sl5/"])
def test_a_zip_is_unpacked_next_to_it_once(dataset, tmp_path, capsys, root):
    path = zip_up(dataset, tmp_path / "shared.zip", root)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{root}README.txt", b"no segment, so it stays in the .zip")
    folder = unpack_dataset(path)
    assert folder == tmp_path / "shared"
    assert files_in(folder) == files_in(dataset)
    assert contents(DataLoader(folder)) == contents(DataLoader(dataset))
    assert "Unpacking shared.zip: 100%" in capsys.readouterr().err
    state = (folder / "metadata.json").stat()
    assert unpack_dataset(path) == folder
    assert (folder / "metadata.json").stat() == state
    assert capsys.readouterr().err == ""


def test_a_folder_with_other_files_is_neither_used_nor_changed(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    folder = unpack_dataset(path)

    def is_refused():
        before = files_in(folder)
        with pytest.raises(DatasetError, match=r"shared: received a folder with other files than .*shared\.zip"):
            unpack_dataset(path)
        assert files_in(folder) == before
        shutil.rmtree(folder)
        return True

    (folder / "match_00" / "seg_00002_1.pkl").unlink()
    assert is_refused()
    (unpack_dataset(path) / "match_00" / "seg_00002_1.pkl").write_bytes(b"shorter")
    assert is_refused()
    unpack_dataset(path)
    (dataset / "metadata.json").write_text((dataset / "metadata.json").read_text() + "\n")
    zip_up(dataset, path)
    assert is_refused()
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    assert is_refused()


def test_an_interrupted_unpacking_is_not_taken_for_complete(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    code = (
        "import os, signal, sys\nfrom videosummarizer.dataset import storage\n"
        "read, names = storage.ZipFiles.read, []\n"
        "def read_two(files, title, name):\n"
        "    names.append(name)\n"
        "    return read(files, title, name) if len(names) < 3 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "storage.ZipFiles.read = read_two\n"
        "storage.unpack_dataset(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], stderr=subprocess.DEVNULL, check=False)
    assert not (tmp_path / "shared").exists()
    assert len(files_in(tmp_path / "shared.part")) == 2
    assert files_in(unpack_dataset(path)) == files_in(dataset)
    assert not (tmp_path / "shared.part").exists()


def not_unpacked(path, message):
    """Check that a .zip is refused with that message, and that nothing is left next to it or elsewhere."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(DatasetError, match=message) as raised:
        unpack_dataset(path)
    assert "\n" not in str(raised.value)
    assert sorted(path.parent.rglob("*")) == before


def test_no_member_is_unpacked_elsewhere(dataset, tmp_path):
    (tmp_path / "inner").mkdir()
    path = zip_up(dataset, tmp_path / "inner" / "shared.zip")
    names = ["../seg_00000_0.pkl", "/tmp/seg_00000_0.pkl", "match_00/../../seg_00000_0.pkl", "..\\seg_00000_0.pkl"]
    with zipfile.ZipFile(path, "a") as archive:
        for name in [*names, "other/seg_00000_0.pkl", "match_00/a/seg_00000_0.pkl"]:
            archive.writestr(name, b"out")
    outside = set(tmp_path.rglob("*"))
    assert files_in(unpack_dataset(path)) == files_in(dataset)
    folder = tmp_path / "inner" / "shared"
    assert set(tmp_path.rglob("*")) - outside - set(folder.rglob("*")) == {folder}


def test_titles_that_lead_to_another_drive_of_windows_are_no_folder_names(monkeypatch):
    assert is_safe_folder_name("C:match")
    monkeypatch.setattr(metadata, "Path", PureWindowsPath)
    assert not is_safe_folder_name("C:match")
    assert is_safe_folder_name("결승전 #3 (재경기)")


def test_links_are_not_unpacked(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip", rename=lambda name: name.replace("match_00/seg_00000_0", "x"))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("match_00/seg_00000_0.pkl")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    not_unpacked(path, r"seg_00000_0\.pkl: received a link or a device, expected a file")


def test_damaged_encrypted_and_unfinished_zips_are_not_unpacked(dataset, tmp_path):
    path = tmp_path / "shared.zip"
    not_unpacked(patched(zip_up(dataset, path), "match_08/seg_00002_1.pkl", CRC=1), r"seg_00002_1\.pkl: damaged in the")
    not_unpacked(patched(zip_up(dataset, path), "match_08/seg_00002_1.pkl", flag_bits=1), r"an encrypted file")
    zip_up(dataset, path, rename=lambda name: name.replace("match_07/seg_00001", "match_07/other"))
    not_unpacked(path, r"match_07: received 2 segment files, expected 3 as metadata\.json counts")
    path.unlink()
    not_unpacked(path, r"shared\.zip: cannot be read as a \.zip \(.*No such file")
    zip_up(dataset, path, "a/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/metadata.json", b"{}")
    not_unpacked(path, r"received a \.zip with 2 datasets \(a/, b/\), expected one")


def test_a_zip_bomb_or_too_little_space_is_refused(dataset, tmp_path, monkeypatch):
    path = zip_up(dataset, tmp_path / "shared.zip")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2000))
    not_unpacked(path, r"that unpacks to 0\.000 GB, expected at most 0\.000 GB, which is free in")
    monkeypatch.undo()
    metadata = json.loads((dataset / "metadata.json").read_text())
    metadata["config"] |= {"video_sample_rate": 10, "video_width": 1000, "video_height": 1000}
    metadata["data_shape"]["video"] = [10, 1000, 1000, 3]
    metadata["videos"][0]["segment_count"] = 40  # of 30 MB, allowed each
    (dataset / "metadata.json").write_text(json.dumps(metadata))
    title = metadata["videos"][0]["title"]
    for index in range(3, 40):
        (dataset / title / f"seg_{index:05d}_0.pkl").write_bytes(bytes(30_000_000) if index == 3 else b"")
    zip_up(dataset, path)
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo(f"{title}/seg_00003_0.pkl")
        for index in range(4, 40):  # the same bytes, again and again
            info = archive.getinfo(f"{title}/seg_{index:05d}_0.pkl")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(info, field, getattr(first, field))
        archive.comment = b"changed"
    assert path.stat().st_size < 100_000
    not_unpacked(
        path,
        r"unpacks to 1\.11\d GB, expected at most 1\.074 GB, 20 times its size: "
        r"such a \.zip is made to fill the disk",
    )
