"""The folder that is converted: which files belong together, and files without a counterpart."""

import pytest

from videosummarizer.dataset import conversion, input_folder


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_files_are_found_by_title_whatever_the_case_of_their_suffix(tmp_path):
    folder = touch(tmp_path / "in", "b.MP4", "b.TXT", "a.mp4", "a.txt", "C.Mp4", "C.Txt", "d.tar.mp4", "d.tar.txt")
    touch(folder, ".a.mp4", "._b.mp4", ".hidden.txt", "notes.md", "mp4", "e.mp4.part")
    videos, labels = input_folder.find_files(folder)
    assert videos == {
        "a": folder / "a.mp4",
        "b": folder / "b.MP4",
        "C": folder / "C.Mp4",
        "d.tar": folder / "d.tar.mp4",
    }
    assert labels == {
        "a": folder / "a.txt",
        "b": folder / "b.TXT",
        "C": folder / "C.Txt",
        "d.tar": folder / "d.tar.txt",
    }
    matches = input_folder.find_matches(folder)
    assert [path.name for path in matches] == ["C.Mp4", "a.mp4", "b.MP4", "d.tar.mp4"]
    assert [conversion.find_label_path(path).name for path in matches] == ["C.Txt", "a.txt", "b.TXT", "d.tar.txt"]


def test_all_files_without_a_counterpart_are_listed_by_title(tmp_path):
    folder = touch(tmp_path / "in", "d.mp4", "a.mp4", "c.mp4", "c.txt", "f.txt", "b.TXT")
    with pytest.raises(input_folder.InputError) as error_info:
        input_folder.find_matches(folder)
    assert (
        "next to each txt, but a.mp4 has no a.txt; d.mp4 has no d.txt; b.TXT has no b.mp4; f.txt has no f.mp4. "
        in str(error_info.value)
    )
