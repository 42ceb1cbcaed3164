"""The files of a dataset, in a folder or a .zip read in place: titles, metadata and segments, whatever they claim."""

import json
import os
import pickle
import unicodedata
import zipfile

import numpy as np
import pytest
from test_data_loader import write_dataset

import main as trainer
from data_loader import DataLoader
from videosummarizer.dataset import metadata, storage
from videosummarizer.dataset.metadata import SUBSETS, DataConfig, DatasetError, write_metadata
from videosummarizer.dataset.storage import open_dataset, read_arrays

# Of segments of one pixel and two samples: 2 * 3 + 8 * 2 bytes, and 65,536 for what lies around them.
MAX_BYTES = 65_558
CONFIG = vars(DataConfig(1, 1, 1, 1, 2, False))  # of write_dataset
TITLES = ["match_00", "결승전 #3 (재경기)", "match_07", "match_08"]


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset", {title: [0, 1, 1] for title in TITLES}, are_numbered=True)


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


def leave_system_files(folder):
    """Write what systems leave in a dataset folder and in the folders of its matches."""
    for name in (".DS_Store", "._metadata.json", "Thumbs.db", "@eaDir/metadata.json", ".ipynb_checkpoints/x", ".nfs01"):
        for place in (folder, folder / TITLES[0]):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(b"of a system")


@pytest.mark.parametrize("root", ["", "dataset14_sl5/"])
def test_files_of_systems_and_decomposed_names_change_nothing(dataset, tmp_path, root):
    expected = contents(DataLoader(dataset))
    leave_system_files(dataset)
    zip_path = zip_up(dataset, tmp_path / "shared.zip", root)
    with zipfile.ZipFile(zip_path, "a") as archive:
        for name in (f"__MACOSX/{root}._metadata.json", "__MACOSX/metadata.json", "@eaDir/metadata.json/SYNO"):
            archive.writestr(name, b"of a system")
    assert contents(DataLoader(zip_path)) == expected
    (dataset / TITLES[1]).rename(dataset / unicodedata.normalize("NFD", TITLES[1]))
    assert contents(DataLoader(dataset)) == expected
    inputs, _, _ = DataLoader(dataset).batches("train")[0]
    np.testing.assert_array_equal(inputs["video"], DataLoader(zip_path).batches("train")[0][0]["video"])


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


def write_one_segment(tmp_path):
    """Write a dataset of one segment; return the segment's file and its arrays."""
    config = DataConfig(1, 2, 4, 3, 10, False)
    frames = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    audio = np.linspace(-1, 1, 10, dtype=np.float32)
    folder = tmp_path / "경기 #1"
    folder.mkdir()
    storage.write_segment(folder, 7, 1, frames, audio, config, 12.5)
    write_metadata(tmp_path, config, [{"title": folder.name, "segment_count": 1}], missing=[])
    return storage.SegmentFile(storage.open_dataset(tmp_path), folder.name, 7, 1), frames, audio


def arrays_of(file):
    return read_arrays(file, file.files.metadata["data_shape"])


def test_a_pickle_holds_what_the_design_says(tmp_path):
    file, frames, audio = write_one_segment(tmp_path)
    segment = pickle.loads((tmp_path / "경기 #1" / "seg_00007_1.pkl").read_bytes())
    keys = "schema_version title index label start_sec end_sec total_duration video audio"
    assert " ".join(segment) == keys
    assert [segment[key] for key in list(segment)[1:7]] == ["경기 #1", 7, 1, 7, 8, 12.5]
    np.testing.assert_array_equal(segment["video"], frames)
    np.testing.assert_array_equal(segment["audio"], audio)
    for read, written in zip(arrays_of(file), (frames, audio), strict=True):
        np.testing.assert_array_equal(read, written)


class Evil:
    def __reduce__(self):
        return (eval, ("__import__('pathlib').Path('ran').touch()",))


def test_an_untrusted_pickle_is_data_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, _, _ = write_one_segment(tmp_path)
    file.path.write_bytes(pickle.dumps({"video": Evil(), "audio": np.zeros(3)}))
    with pytest.raises(DatasetError, match=r"seg_00007_1\.pkl: not a segment pickle \(it names builtins\.eval"):
        arrays_of(file)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_pickle_is_named(tmp_path):
    file, _, _ = write_one_segment(tmp_path)
    file.path.write_bytes(file.path.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"seg_00007_1\.pkl: .*segment"):
        arrays_of(file)
    file.path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DatasetError, match="it holds no dict with the arrays"):
        arrays_of(file)
