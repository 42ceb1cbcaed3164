"""Unpacking a .zip: where it goes, size limits, atomicity, and when a folder is the same dataset."""

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_data_loader import write_dataset
from test_storage import TITLES, files_in, zip_up

from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DatasetError
from videosummarizer.dataset.storage import ZipFiles, check_disk_space, unpack_dataset


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
    files, folder = SimpleNamespace(path=Path("a.zip"), size=zip_bytes), Path("drive/folder.part")
    if message is None:
        check_disk_space(files, num_bytes, folder)
    else:
        with pytest.raises(DatasetError) as raised:
            check_disk_space(files, num_bytes, folder)
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

    monkeypatch.setattr(storage, "tqdm", Bar)
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
    part.mkdir()
    (part / "of_another_dataset.pkl").write_bytes(b"left")
    num_seen = []
    original = ZipFiles.read

    def read(files, title, name):
        assert not folder.exists()
        assert not (part / "of_another_dataset.pkl").exists()
        num_seen.append(len(files_in(part)))
        return original(files, title, name)

    monkeypatch.setattr(ZipFiles, "read", read)
    unpack_dataset(path)
    assert num_seen == list(range(12))
    assert files_in(folder) == files_in(dataset)
    assert not part.exists()


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
