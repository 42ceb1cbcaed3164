"""Titles of matches: which files belong to one, and names that are refused."""

import os
import unicodedata
from pathlib import Path

import pytest

from videosummarizer import match_files

TITLE = "결승전 é"
DECOMPOSED = unicodedata.normalize("NFD", TITLE)


def test_a_title_is_the_composed_name_without_its_suffix():
    assert match_files.title_of(Path(f"a/{DECOMPOSED}.v1.0.MP4")) == f"{TITLE}.v1.0"
    assert match_files.title_of(Path("ASCII title.mp4")) == "ASCII title"


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store", "._a.mp4", ".ipynb_checkpoints", "@eaDir", "Thumbs.db", "THUMBS.DB", "desktop.ini", ".nfs0001",
        "Icon\r", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle", ".Trash-1000",
    ],
)  # fmt: skip
def test_files_of_systems_are_known_by_their_names(name):
    assert match_files.is_system_file(name)
    assert not match_files.is_system_file(f"my {name}")


def test_a_file_is_found_whatever_the_composition_of_its_name(tmp_path):
    path = tmp_path / f"{TITLE}.mp4"
    assert match_files.find_file(path) == path
    assert match_files.find_file(tmp_path / "none" / path.name) == tmp_path / "none" / path.name
    (tmp_path / f"{DECOMPOSED}.mp4").touch()
    assert match_files.find_file(path) == tmp_path / f"{DECOMPOSED}.mp4"
    path.touch()
    assert match_files.find_file(path) == path


@pytest.mark.parametrize("suffix", [".txt", ".TXT", ".tXt"])
@pytest.mark.parametrize("titles", [(TITLE, DECOMPOSED), (DECOMPOSED, TITLE), ("a", "a")])
def test_a_label_file_is_found_whatever_the_case_of_its_suffix(tmp_path, titles, suffix):
    video_path, label_path = tmp_path / f"{titles[0]}.mp4", tmp_path / f"{titles[1]}{suffix}"
    for name in (f".{titles[1]}.txt", f"{titles[1]}.2.txt", f"{titles[1]}.csv"):
        (tmp_path / name).touch()
    composed = unicodedata.normalize("NFC", titles[0])
    assert unicodedata.normalize("NFC", str(match_files.find_label_path(video_path))) == f"{tmp_path}/{composed}.txt"
    label_path.touch()
    assert match_files.find_label_path(video_path) == label_path


def test_absolute_paths_keep_links_but_not_before_two_dots(tmp_path, monkeypatch):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "far" / "match.mp4").symlink_to(tmp_path / "none.mp4")
    monkeypatch.chdir(tmp_path)
    assert match_files.absolute_path("link/a.mp4") == tmp_path / "link" / "a.mp4"
    assert match_files.absolute_path("link/../match.mp4") == tmp_path / "far" / "match.mp4"


def test_a_title_is_too_long_from_the_byte_on_that_no_file_name_has_room_for(tmp_path, monkeypatch):
    assert os.pathconf(tmp_path, "PC_NAME_MAX") == 255
    ending = "_highlights.mp4.part"
    assert match_files.describe_long_name(Path("가" * 78 + "a.mp4"), tmp_path, ending) is None  # 235 and 20
    message = match_files.describe_long_name(Path("x") / ("가" * 80 + ".mp4"), tmp_path, ending)
    assert message.startswith(f"x/{'가' * 80}.mp4: received a title of 240 bytes, expected at most 235, as {tmp_path}")
    monkeypatch.delattr(os, "pathconf")
    assert match_files.describe_long_name(Path("가" * 80 + ".mp4"), tmp_path, ending) == message.removeprefix("x/")


def test_a_match_with_the_name_of_the_undecided_time_of_another_is_refused(tmp_path):
    for name in (f"{DECOMPOSED}.MP4", f"{TITLE}_undecided.mkv", "b_undecided.mp4", "_undecided.mp4"):
        (tmp_path / name).touch()
    message = (
        f"{tmp_path}/{TITLE}_undecided.mkv: received a name that ends in _undecided and a match named {TITLE}, but "
        f"{TITLE}_undecided.json is the undecided time of that match: rename the file"
    )
    videos, refused = match_files.find_videos(tmp_path)
    assert videos.keys() == {TITLE, "b_undecided", "_undecided"}
    assert refused == {f"{TITLE}_undecided": message}
    assert match_files.describe_undecided_title(tmp_path / f"{TITLE}_undecided.mkv") == message
    assert match_files.describe_undecided_title(tmp_path / "b_undecided.mp4") is None
    assert "a match named b, but" in match_files.describe_undecided_title(tmp_path / "b_undecided.mp4", {"b"})
    assert match_files.describe_undecided_title(tmp_path / "none" / "c_undecided.mp4") is None
