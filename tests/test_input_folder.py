"""The folder that is converted: which files belong together, names that are refused, files without a counterpart."""

import os
import unicodedata

from videosummarizer.dataset import input_folder
from videosummarizer.match_files import find_label_path


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_files_are_found_by_title_whatever_the_case_of_their_suffix(tmp_path):
    folder = touch(tmp_path / "in", "b.MP4", "b.TXT", "a.mp4", "a.txt", "C.Mp4", "C.Txt", "d.tar.mp4", "d.tar.txt")
    touch(folder, "e.mp4", "e.tXt")
    touch(folder, ".a.mp4", "._b.mp4", ".hidden.txt", "notes.md", "mp4", "e.mp4.part", "Thumbs.db", "desktop.ini")
    touch(folder / "@eaDir", "a.mp4")
    videos, labels, refused = input_folder.find_files(folder)
    assert refused == {}
    assert videos == {
        "a": folder / "a.mp4",
        "b": folder / "b.MP4",
        "C": folder / "C.Mp4",
        "d.tar": folder / "d.tar.mp4",
        "e": folder / "e.mp4",
    }
    assert labels == {
        "a": folder / "a.txt",
        "b": folder / "b.TXT",
        "C": folder / "C.Txt",
        "d.tar": folder / "d.tar.txt",
        "e": folder / "e.tXt",
    }
    matches, _ = input_folder.find_matches(folder)
    assert [path.name for path in matches] == ["C.Mp4", "a.mp4", "b.MP4", "d.tar.mp4", "e.mp4"]
    assert [find_label_path(path).name for path in matches] == ["C.Txt", "a.txt", "b.TXT", "d.tar.txt", "e.tXt"]


def test_composed_and_decomposed_names_are_one_title(tmp_path):
    title, other = "결승전 é", "é 결승전"
    decomposed, other_decomposed = (unicodedata.normalize("NFD", text) for text in (title, other))
    folder = touch(tmp_path / "in", f"{title}.mp4", f"{decomposed}.txt", f"{other_decomposed}.mp4", f"{other}.TXT")
    paths, refused = input_folder.find_matches(folder)
    assert ([path.stem for path in paths], refused) == ([other_decomposed, title], {})
    assert [find_label_path(path).name for path in paths] == [f"{other}.TXT", f"{decomposed}.txt"]


def test_each_name_that_cannot_be_used_is_refused_alone(tmp_path):
    composed, decomposed = "경기", unicodedata.normalize("NFD", "경기")
    bad = os.fsdecode("결승".encode("euc-kr"))
    names = ["a.mp4", "a.MP4", "a.txt", "b.mp4", "b.txt", "b.TXT", "good.mp4", "good.txt", "two\nlines.mp4"]
    names += ["metadata.json.mp4", "metadata.json.txt", f"{bad}.mp4", f"{bad}.txt"]
    folder = touch(tmp_path / "in", *names, f"{composed}.mp4", f"{decomposed}.mp4", f"{composed}.txt")
    paths, refused = input_folder.find_matches(folder)
    assert [path.name for path in paths] == ["good.mp4"]
    expected = {
        "a": f"{folder / 'a.MP4'}, {folder / 'a.mp4'}: received 2 files with one title, expected one: rename",
        "b": f"{folder / 'b.TXT'}, {folder / 'b.txt'}: received 2 files with one title, expected one: rename",
        "two\nlines": f"{folder}/two\\nlines.mp4: received a file name with control characters, expected one in plain",
        "metadata.json": f"{folder / 'metadata.json.mp4'}: received a title that a file of the dataset has",
        bad: rf"{folder}/\udcb0\udce1\udcbd\udcc2.mp4: received a file name that is not UTF-8, expected one in plain",
        composed: f"{folder / decomposed}.mp4, {folder / composed}.mp4: received 2 files with one title (their names "
        "differ only in composed and decomposed characters, Unicode NFC and NFD), expected one: rename the others",
    }
    assert refused.keys() == expected.keys()
    for title, beginning in expected.items():
        assert refused[title].startswith(beginning)
        assert refused[title].isprintable()


def test_each_file_without_a_counterpart_is_refused_alone(tmp_path):
    folder = touch(tmp_path / "in", "d.mp4", "a.mp4", "c.mp4", "c.txt", "f.txt", "b.TXT")
    paths, refused = input_folder.find_matches(folder)
    assert paths == [folder / "c.mp4"]
    advice = "add it (an empty one is a match without highlights), or move the video elsewhere"
    assert list(refused.items()) == [
        ("a", f"{folder / 'a.mp4'} has no a.txt: {advice}"),
        ("b", f"{folder / 'b.TXT'} has no video: add it, or move the txt elsewhere"),
        ("d", f"{folder / 'd.mp4'} has no d.txt: {advice}"),
        ("f", f"{folder / 'f.txt'} has no video: add it, or move the txt elsewhere"),
    ]


def test_a_label_file_named_by_a_browser_is_refused_with_the_cause(tmp_path):
    names = ["arena_02 (1).txt", "경기(12).txt", "b_starred.txt", "c (1).txt", "d (x).txt", "e_starred.txt"]
    folder = touch(
        tmp_path / "in", "arena_02.mp4", "arena_02.txt", "경기.mkv", "b.mp4", "b.txt", "d.mp4", "d.txt", *names
    )
    paths, refused = input_folder.find_matches(folder)
    assert [path.name for path in paths] == ["arena_02.mp4", "b.mp4", "d.mp4"]
    browsers = "browsers name a download like this where {0} was taken: rename it to {0} if its labels are the newer "
    browsers += "ones, otherwise move it elsewhere"
    starred = "it has the starred sections of a review page, for a reel and not for training: move it elsewhere"
    plain = "add it, or move the txt elsewhere"
    advices = [browsers.format("arena_02.txt"), browsers.format("경기.txt"), starred, plain, plain, plain]
    for name, advice in zip(names, advices, strict=True):
        assert refused[name.removesuffix(".txt")] == f"{folder / name} has no video: {advice}"
    assert refused["경기"].startswith(f"{folder / '경기.mkv'} has no 경기.txt: add it")


def test_every_kind_of_recording_is_found_and_a_second_file_of_a_title_is_refused(tmp_path, caplog):
    suffixes = ("mp4", "m4v", "mov", "MKV", "webm", "ts", "mts", "flv", "avi")
    folder = touch(tmp_path / "in", *(f"{suffix}.{suffix}" for suffix in suffixes), *(f"{s}.txt" for s in suffixes))
    touch(folder, "twin.mp4", "twin.mkv", "twin.txt", "old.wmv", "camera.M2TS", "._a.wmv", "notes.doc")
    paths, refused = input_folder.find_matches(folder)
    assert sorted(path.name for path in paths) == sorted(f"{suffix}.{suffix}" for suffix in suffixes)
    assert refused == {
        "twin": f"{folder / 'twin.mkv'}, {folder / 'twin.mp4'}: received 2 files with one title, expected one: rename "
        "the others, or move them elsewhere"
    }
    expected = "expected .mp4, .m4v, .mov, .mkv, .webm, .ts, .mts, .flv or .avi: not used, convert it to one"
    assert caplog.messages == [
        f"{folder / 'camera.M2TS'}: received a video with the suffix .M2TS, {expected}",
        f"{folder / 'old.wmv'}: received a video with the suffix .wmv, {expected}",
    ]
