"""Names of matches and of folders in the conversion: composition, other encodings, protocols, and files of systems."""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from clips import write_clip

from data_converter import main
from data_loader import DataLoader
from videosummarizer.dataset.storage import read_arrays

SETTINGS = ["0.5", "2", "8", "8", "4000", "0"]
DECOMPOSED = unicodedata.normalize("NFD", "결승전 é")
BAD = os.fsdecode("결승".encode("euc-kr"))
LONG = "가" * 80  # 240 bytes
SYSTEM_FILES = [".DS_Store", "._a", "Thumbs.db", "desktop.ini", ".nfs0001", "@eaDir/a.mp4", ".ipynb_checkpoints/a.txt"]


@pytest.fixture
def folder(tmp_path, monkeypatch, pools):
    """The current folder, with the folder in:%d of matches of 1 s; conversions run in this process."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in:%d"
    folder.mkdir()
    write_clip(tmp_path / "clip.mp4", num_frames=30)
    return folder


def add_match(folder, title, label_name=None, labels="0,15\n"):
    os.link(folder.parent / "clip.mp4", folder / f"{title}.mp4")
    (folder / (label_name or f"{title}.txt")).write_text(labels)


def leave_files(folder):
    for name in SYSTEM_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of a system")


def left_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and is_left(path))


def is_left(path):
    return path.read_bytes() == b"of a system"


def convert(*more):
    return main(["in:%d", *SETTINGS, "out:%d", *more])


def test_names_that_cannot_be_used_cost_no_other_match(folder, caplog, capsys):
    labels = {"a:b %d": "a:b %d.tXt", DECOMPOSED: "결승전 é.txt", LONG: None, "$x^$ \\{a}_": None}
    for title, label_name in labels.items():
        add_match(folder, title, label_name)
    add_match(folder, BAD)
    add_match(folder, "twin")
    os.link(folder / "twin.mp4", folder / "twin.MP4")
    leave_files(folder)
    shown = "\\udcb0\\udce1\\udcbd\\udcc2"
    errors = [
        "in:%d/twin.MP4, in:%d/twin.mp4: received 2 files with one title, expected one: rename the others, or move "
        "them elsewhere",
        f"in:%d/{shown}.mp4: received a file name that is not UTF-8, expected one in plain characters: rename the file",
    ]
    assert convert("--check") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("error: ") for line in lines if line.startswith("error")] == errors
    assert lines[-1] == "4 of 6 matches can be converted"
    assert convert() == 1
    messages = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert messages == [*errors, f"2 of 6 matches are not in the dataset: {shown}, twin"]
    out = Path("out:%d")
    titles = sorted(["a:b %d", "결승전 é", LONG, "$x^$ \\{a}_"])
    metadata = json.loads((out / "metadata.json").read_text(encoding="utf-8"))
    assert [video["title"] for video in metadata["videos"]] == titles
    assert metadata["missing"] == [shown, "twin"]
    assert sorted(path.name for path in out.iterdir()) == sorted([".lock", "metadata.json", *titles])
    loader = DataLoader(out)
    files = [file for subset in loader.segment_files.values() for file in subset]
    assert sorted((file.title, file.index, file.label) for file in files) == [
        (title, index, 1 - index) for title in titles for index in (0, 1)
    ]
    assert len({read_arrays(file, loader.data_shape)[0].tobytes() for file in files if file.index == 0}) == 1
    caplog.clear()
    assert convert() == 1
    assert "4 matches are finished already" in capsys.readouterr().out
    assert [record.message for record in caplog.records] == messages
    assert left_files(folder) == sorted(SYSTEM_FILES)


def test_the_same_title_in_another_composition_is_the_same_match(folder, capsys):
    add_match(folder, "결승전 é")
    assert convert() == 0
    before = {path: path.read_bytes() for path in Path("out:%d").rglob("*.pkl")}
    for path in list(folder.iterdir()):
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    assert convert() == 0
    assert "1 matches are finished already" in capsys.readouterr().out
    match_dir = next(iter(before)).parent
    match_dir.rename(match_dir.with_name(DECOMPOSED))  # as a Mac may do when the dataset is copied
    assert convert() == 0
    assert "1 matches are finished already" in capsys.readouterr().out
    loader = DataLoader("out:%d")
    (file, _) = (file for subset in loader.segment_files.values() for file in subset)
    assert file.title == "결승전 é"
    assert read_arrays(file, loader.data_shape)[0].shape == (1, 8, 8, 3)


def test_files_of_systems_in_a_dataset_are_left_alone(folder, capsys):
    add_match(folder, "a")
    add_match(folder, "b")
    assert convert() == 0
    out = Path("out:%d")
    before = {path: path.read_bytes() for path in out.rglob("*.pkl")}
    leave_files(out)
    leave_files(out / "a")
    (out / "of somebody else").mkdir()
    left = left_files(out)
    assert len(left) == 2 * len(SYSTEM_FILES)
    assert convert() == 0
    assert "2 matches are finished already" in capsys.readouterr().out
    os.utime(folder / "a.txt", (1, 1))  # converted again
    assert convert() == 0
    assert "1 matches are finished already" in capsys.readouterr().out
    assert convert("--overwrite") == 0
    assert {path: path.read_bytes() for path in out.rglob("seg_*.pkl")} == before
    for title in "ab":
        for path in folder.glob(f"{title}.*"):
            path.unlink()
    add_match(folder, "c")
    assert convert("--overwrite") == 0
    assert left_files(out) == left
    assert (out / "of somebody else").is_dir()
    assert not (out / "b").exists()
    assert sorted(path.name for path in out.rglob("*.pkl")) == ["seg_00000_1.pkl", "seg_00001_0.pkl"]
    assert DataLoader(out).num_segments.keys() == {"train", "valid", "test"}


def test_a_folder_of_refused_names_alone_is_not_converted(folder, caplog):
    shutil.copy("clip.mp4", folder / f"{BAD}.mp4")
    assert convert() == 1
    message, no_labels = caplog.messages
    assert message.endswith("expected one in plain characters: rename the file")
    assert "has no label file at all" in no_labels
    assert not Path("out:%d").exists()
