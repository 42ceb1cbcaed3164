"""Unpacking a .zip: where it goes, size limits, atomicity, and when a folder is the same dataset."""

import json
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_data_loader import write_dataset
from test_storage import TITLES, contents, files_in, leave_system_files, patched, zip_up

from data_loader import DataLoader
from videosummarizer.dataset import unpacking
from videosummarizer.dataset.metadata import DatasetError
from videosummarizer.dataset.storage import ZipFiles
from videosummarizer.dataset.unpacking import check_disk_space, unpack_dataset


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset", {title: [0, 1, 1] for title in TITLES}, are_numbered=True)


@pytest.mark.parametrize(
    ("zip_bytes", "num_bytes", "free_bytes", "message"),
    [
        (100, 2**30, 2**40, None),
        (100, 2**30 + 1, 2**40, "a .zip of 0.000 GB that unpacks to 1.074 GB, expected at most 1.074 GB, 20 times its"),
        (2**30 // 20, 2**30, 2**40, None),
        (2**26, 20 * 2**26, 2**40, None),
        (2**26, 20 * 2**26 + 1, 2**40, "a .zip of 0.067 GB that unpacks to 1.342 GB, expected at most 1.342 GB, 20"),
        (2 * 10**9, 40 * 10**9, 40 * 10**9, None),
        (
            2 * 10**9,
            40 * 10**9,
            40 * 10**9 - 1,
            "a .zip of 2.000 GB that unpacks to 40.000 GB, expected at most 40",
        ),
        (5 * 10**9, 8 * 10**9, 7 * 10**9, "expected at most 7.000 GB, which is free in drive: make room there"),
        (100, 5000, 5000, None),
        (100, 5000, 4999, "a .zip of 0.000 GB that unpacks to 0.000 GB, expected at most 0.000 GB, which is free in"),
    ],
)
def test_just_enough_disk_space_is_enough(monkeypatch, zip_bytes, num_bytes, free_bytes, message):
    asked = []
    usage = SimpleNamespace(total=2**50, used=0, free=free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    archive, folder = SimpleNamespace(path=Path("a.zip"), size=zip_bytes), Path("drive/folder.part")
    if message is None:
        check_disk_space(archive, num_bytes, folder)
    else:
        with pytest.raises(DatasetError) as raised:
            check_disk_space(archive, num_bytes, folder)
        assert f"a.zip: received a .zip of {zip_bytes / 1e9:.3f} GB" in str(raised.value)
        assert message in str(raised.value)
    assert asked == [folder]


def test_disk_space_is_needed_for_all_segments_and_the_metadata(dataset, tmp_path, monkeypatch):
    path = zip_up(dataset, tmp_path / "shared.zip")
    num_bytes = sum(map(len, files_in(dataset).values()))
    usage = SimpleNamespace(free=num_bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DatasetError, match=rf"which is free in {tmp_path}: make room there"):
        unpack_dataset(path)
    assert sorted(tmp_path.iterdir()) == [dataset, path]
    usage.free = num_bytes
    assert files_in(unpack_dataset(path)) == files_in(dataset)


def test_the_bar_counts_every_byte(dataset, tmp_path, monkeypatch):
    steps = []

    class Bar:
        def __init__(self, total, **more):
            self.total = total

        def __enter__(self):
            steps.append(self.total)
            return self

        def __exit__(self, *_):
            pass

        def update(self, num_bytes):
            steps.append(num_bytes)

    monkeypatch.setattr(unpacking, "tqdm", Bar)
    unpack_dataset(zip_up(dataset, tmp_path / "shared.zip"))
    sizes = sorted(map(len, files_in(dataset).values()))
    assert (steps[0], sorted(steps[1:])) == (sum(sizes), sizes)


def test_a_dataset_is_unpacked_into_the_folder_asked_for(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.v2.zip")
    for folder, expected in (
        (None, tmp_path / "shared.v2"),
        (tmp_path / "new" / "place", tmp_path / "new" / "place"),
        (str(tmp_path / "text.zip"), tmp_path / "text.zip"),
    ):
        assert unpack_dataset(str(path), folder) == expected
        assert files_in(expected) == files_in(dataset)
        assert [other for other in expected.parent.iterdir() if other.name.endswith(".part")] == []


def test_the_folder_appears_atomically(dataset, tmp_path, monkeypatch):
    path, folder = zip_up(dataset, tmp_path / "shared.zip"), tmp_path / "shared"
    part = tmp_path / "shared.part"
    left = part / "of another dataset" / "seg_00000_0.pkl"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    num_seen = []
    original = ZipFiles.read

    def read(files, title, name):
        assert not folder.exists()
        assert not left.exists()
        num_seen.append(len(files_in(part)))
        return original(files, title, name)

    monkeypatch.setattr(ZipFiles, "read", read)
    unpack_dataset(path)
    assert num_seen == list(range(12))
    assert files_in(folder) == files_in(dataset)
    assert not part.exists()


def test_files_of_systems_are_neither_unpacked_nor_a_reason_to_refuse_a_folder(dataset, tmp_path):
    expected = files_in(dataset)
    leave_system_files(dataset)
    zip_path = zip_up(dataset, tmp_path / "shared.zip")
    folder = unpack_dataset(zip_path)
    assert files_in(folder) == expected
    leave_system_files(folder)
    (folder / TITLES[1]).rename(folder / unicodedata.normalize("NFD", TITLES[1]))
    assert unpack_dataset(zip_path) == folder


def test_a_folder_of_others_in_the_place_of_the_part_is_not_deleted(dataset, tmp_path):
    (tmp_path / "shared.part").mkdir()
    (tmp_path / "shared.part" / "diary.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"shared\.part: received a folder with files that no .* \(diary\.txt\)"):
        unpack_dataset(zip_up(dataset, tmp_path / "shared.zip"))
    assert (tmp_path / "shared.part" / "diary.txt").read_text() == "mine"


def test_the_complete_folder_is_renamed_at_once(dataset, tmp_path, monkeypatch):
    path, folder = zip_up(dataset, tmp_path / "shared.zip"), tmp_path / "shared"
    moves, original = [], Path.rename

    def rename(source, target):
        assert not folder.exists()
        moves.append((source, target, files_in(source)))
        return original(source, target)

    monkeypatch.setattr(Path, "rename", rename)
    unpack_dataset(path)
    assert moves == [(tmp_path / "shared.part", folder, files_in(dataset))]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_an_unpacking_that_fails(dataset, tmp_path, monkeypatch, error):
    path, num_written = zip_up(dataset, tmp_path / "shared.zip"), []
    original = Path.write_bytes

    def write_bytes(file, content):
        num_written.append(1)
        if len(num_written) == 5:
            raise error
        return original(file, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises((DatasetError, KeyboardInterrupt)) as raised:
        unpack_dataset(path)
    if isinstance(error, OSError):
        assert str(raised.value).startswith(f"{tmp_path / 'shared'}: the dataset cannot be unpacked there (")
        assert "No space left on device" in str(raised.value)
    assert sorted(tmp_path.iterdir()) == [dataset, path]


def test_a_folder_that_cannot_be_made_is_named(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    (tmp_path / "a_file").write_text("")
    with pytest.raises(DatasetError, match=r"a_file/data: the dataset cannot be unpacked there \("):
        unpack_dataset(path, tmp_path / "a_file" / "data")


def change_of(kind, folder):
    """Make a folder one that holds another dataset than it did."""
    segment = folder / "match_07" / "seg_00001_1.pkl"
    if kind == "a segment is longer":
        segment.write_bytes(segment.read_bytes() + b"x")
    elif kind == "a segment is empty":
        segment.write_bytes(b"")
    elif kind == "a segment more":
        (folder / "match_07" / "seg_00003_0.pkl").write_bytes(segment.read_bytes())
    elif kind == "a segment of another label":
        segment.rename(folder / "match_07" / "seg_00001_0.pkl")
    elif kind == "a segment that is a link to nowhere":
        segment.unlink()
        segment.symlink_to("nowhere")
    elif kind == "a match is missing":
        shutil.rmtree(folder / "match_07")
    elif kind == "metadata is missing":
        (folder / "metadata.json").unlink()
    elif kind == "metadata of the same length":
        text = (folder / "metadata.json").read_text()
        (folder / "metadata.json").write_text(text.replace("2026-11-24", "2026-11-25"))
    elif kind == "a file":
        shutil.rmtree(folder)
        folder.write_text("mine")
    elif kind == "a link to nowhere":
        shutil.rmtree(folder)
        folder.symlink_to(folder.with_name("nowhere"))
    elif kind == "an empty folder":
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        "a segment is longer",
        "a segment is empty",
        "a segment more",
        "a segment of another label",
        "a segment that is a link to nowhere",
        "a match is missing",
        "metadata is missing",
        "metadata of the same length",
        "a file",
        "a link to nowhere",
        "an empty folder",
    ],
)
def test_a_folder_that_is_not_the_same_dataset_is_named(dataset, tmp_path, kind):
    path = zip_up(dataset, tmp_path / "shared.zip")
    folder = unpack_dataset(path)
    assert unpack_dataset(path) == folder
    change_of(kind, folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=r"shared: received a folder with other files than .*shared\.zip contains"):
        unpack_dataset(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_other_files_around_the_dataset_is_the_same_one(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    folder = unpack_dataset(path)
    (folder / "notes.txt").write_text("mine")
    (folder / "other").mkdir()
    assert unpack_dataset(path) == folder
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_zip_with_too_few_segments_of_a_match_is_not_unpacked(dataset, tmp_path):
    path = zip_up(dataset, tmp_path / "shared.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("match_08/seg_00003_0.pkl", b"one more")
    with pytest.raises(DatasetError, match=r"shared\.zip/match_08: received 4 segment files, expected 3 as metadata"):
        unpack_dataset(path)
    assert not (tmp_path / "shared").exists()


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
        "import os, signal, sys\nfrom videosummarizer.dataset import storage, unpacking\n"
        "read, names = storage.ZipFiles.read, []\n"
        "def read_two(files, title, name):\n"
        "    names.append(name)\n"
        "    return read(files, title, name) if len(names) < 3 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "storage.ZipFiles.read = read_two\n"
        "unpacking.unpack_dataset(sys.argv[1])\n"
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
