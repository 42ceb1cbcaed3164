"""The dataset folder while it is being written: the lock, what is finished, what is deleted."""

import errno
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from videosummarizer.atomic_file import FolderError
from videosummarizer.dataset import conversion, output_folder
from videosummarizer.dataset.metadata import DataConfig, DatasetError, write_metadata

CONFIG = DataConfig(0.8, 2.5, 40, 16, 8000, False)


def fill(folder, num_segments_of, **more):
    """A dataset folder with empty pickles and a record for each title, whose files are one byte of time 5."""
    for title, num_segments in num_segments_of.items():
        (folder / title).mkdir(parents=True)
        for index in range(num_segments):
            (folder / title / f"seg_{index:05d}_{index % 2}.pkl").touch()
    videos = [
        {
            "title": title,
            "segment_count": num_segments,
            "highlight_count": num_segments // 2,
            "source_files": {f"{title}.mp4": [1, 5], f"{title}.txt": [2, 6]},
        }
        for title, num_segments in num_segments_of.items()
    ]
    write_metadata(folder, CONFIG, videos, [], **more)
    return folder


def sources(*titles):
    return {title: {f"{title}.mp4": [1, 5], f"{title}.txt": [2, 6]} for title in titles}


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_lock_names_its_holder_and_is_empty_afterwards(tmp_path):
    out = tmp_path / "new" / "folder"
    with output_folder.lock(out):
        holder, since = (out / ".lock").read_text().split(" (since ")
        assert holder == f"process {os.getpid()} on {socket.gethostname()}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00\)\n", since)
        with pytest.raises(DatasetError) as error_info, output_folder.lock(out):
            pytest.fail("two hold the lock")
        holder = (out / ".lock").read_text().strip()
        assert str(error_info.value).startswith(
            f"{out}: {holder} is writing to this folder: wait until it has finished"
        )
    assert (out / ".lock").read_text() == ""


def test_a_holder_that_does_not_say_who_it_is_is_another_process(tmp_path):
    with output_folder.lock(tmp_path):
        (tmp_path / ".lock").write_text("\n")
        with (
            pytest.raises(DatasetError, match=": another process is writing"),
            output_folder.lock(tmp_path),
        ):
            pytest.fail("two hold the lock")


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_cannot_be_written_to_is_found_out_before_anything_is_written(tmp_path, monkeypatch, exists):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    monkeypatch.setattr(output_folder.tempfile, "TemporaryFile", refuse)
    out = tmp_path if exists else tmp_path / "new" / "folder"
    for check in (output_folder.check_folder, lambda folder: output_folder.lock(folder).__enter__()):
        with pytest.raises(FolderError) as error_info:
            check(out)
        assert str(error_info.value) == (
            f"{tmp_path}: no files can be written into this folder (Read-only file system): correct its permissions, "
            "make room, or give another output_dataset_dir"
        )
    assert names_in(tmp_path) == []


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def no_file_locks(monkeypatch, request):
    """A drive on which flock does not work."""

    def flock(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    return os.strerror(request.param)


def test_a_drive_without_file_locks_is_locked_all_the_same(tmp_path, no_file_locks, caplog):
    for _ in range(2):
        with output_folder.lock(tmp_path):
            assert f"{tmp_path}: the drive has no file locks ({no_file_locks}): while this conversion" in caplog.text
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            advice = f"or delete {tmp_path / '.soft_lock'} if that process has ended"
            message = f"^{re.escape(str(tmp_path))}: {holder} .* is writing to this folder.*, {re.escape(advice)}$"
            with pytest.raises(DatasetError, match=message), output_folder.lock(tmp_path):
                pytest.fail("two hold the lock")
        assert names_in(tmp_path) == [".lock"]


def test_the_lock_of_a_process_that_was_killed_is_free_without_file_locks(tmp_path, no_file_locks):
    code = (
        "import os, sys, filelock\nlock = filelock.SoftFileLock(sys.argv[1] + '/.soft_lock')\nlock.acquire()\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (tmp_path / ".lock").write_text("process 1 on another computer\n")
    assert names_in(tmp_path) == [".lock", ".soft_lock"]
    with output_folder.lock(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("error", [DatasetError("no"), KeyboardInterrupt()])
def test_the_lock_is_free_after_a_failure(tmp_path, error):
    with pytest.raises(type(error)), output_folder.lock(tmp_path):
        raise error
    with output_folder.lock(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / ".lock").read_text()


def test_the_words_of_a_dead_holder_are_no_lock(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on elsewhere (since 2020-01-01T00:00:00+00:00)\n")
    with output_folder.lock(tmp_path):
        assert "elsewhere" not in (tmp_path / ".lock").read_text()


def test_a_file_in_the_place_of_the_folder_is_refused_and_kept(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(DatasetError) as error_info, output_folder.lock(path):
        pytest.fail("a file is no folder")
    assert f"{path}: received a file, expected the folder in which to write" in str(error_info.value)
    assert path.read_text() == "mine"


def test_five_unexpected_files_are_named_and_nothing_is_written(tmp_path):
    for number in range(7):
        (tmp_path / f"{6 - number}.doc").touch()
    with pytest.raises(DatasetError) as error_info, output_folder.lock(tmp_path):
        pytest.fail("the folder is not a dataset")
    assert "(0.doc, 1.doc, 2.doc, 3.doc, 4.doc). Neither" in str(error_info.value)
    assert names_in(tmp_path) == [f"{number}.doc" for number in range(7)]


def test_unexpected_files_are_those_that_no_converter_writes(tmp_path):
    fill(tmp_path, {"match": 2, "empty": 0})
    for name in (".lock", "metadata.json.part"):
        (tmp_path / name).touch()
    (tmp_path / ".part" / "x" / "match").mkdir(parents=True)
    (tmp_path / ".part" / "x" / "anything").touch()
    assert output_folder.unexpected_files(tmp_path) == []
    (tmp_path / "metadata.json.bak").touch()
    (tmp_path / "linked").symlink_to(tmp_path / "match")
    (tmp_path / "loose.pkl").touch()
    (tmp_path / "seg_00000_0.pkl").touch()
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").touch()
    (tmp_path / "nearly").mkdir()
    for name in ("seg_00000_0.pkl", "seg_00001_2.pkl"):
        (tmp_path / "nearly" / name).touch()
    expected = ["holiday", "linked", "loose.pkl", "metadata.json.bak", "nearly", "seg_00000_0.pkl"]
    assert output_folder.unexpected_files(tmp_path) == expected


def test_the_state_of_a_file_is_its_size_and_time(tmp_path):
    for name, content, time_ns in (
        ("a.mp4", "four", 1_700_000_000_123_456_789),
        ("a.txt", "", 1_600_000_000_000_000_001),
    ):
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, ns=(3_000_000_000, time_ns))
    assert output_folder.file_signature(tmp_path / "a.mp4", tmp_path / "a.txt") == {
        "a.mp4": [4, 1_700_000_000_123_456_789],
        "a.txt": [0, 1_600_000_000_000_000_001],
    }


def test_a_folder_without_metadata_has_no_finished_match(tmp_path):
    fill(tmp_path, {"match": 2})
    (tmp_path / "metadata.json").unlink()
    assert output_folder.finished_matches(tmp_path, CONFIG, sources("match")) == {}


def test_whole_matches_of_unchanged_files_are_finished(tmp_path):
    fill(tmp_path, {"a": 3, "b": 1, "moved away": 2, "empty": 0})
    finished = output_folder.finished_matches(tmp_path, CONFIG, sources("a", "b", "empty", "to come"))
    assert {title: record["segment_count"] for title, record in finished.items()} == {
        "a": 3,
        "b": 1,
        "moved away": 2,
        "empty": 0,
    }
    assert all(record["title"] == title for title, record in finished.items())


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, sources: (folder / "a" / "seg_00001_1.pkl").unlink(),
        lambda folder, sources: (folder / "a" / "seg_00003_1.pkl").touch(),
        lambda folder, sources: (folder / "a" / "seg_00002_0.pkl").rename(folder / "a" / "seg_00002_0.txt"),
        lambda folder, sources: shutil.rmtree(folder / "a"),
        lambda folder, sources: sources["a"].update({"a.mp4": [2, 5]}),
        lambda folder, sources: sources["a"].update({"a.mp4": [1, 6]}),
        lambda folder, sources: sources["a"].update({"a.txt": [3, 6]}),
        lambda folder, sources: sources["a"].update({"a.txt": [2, 7]}),
    ],
    ids=["deleted", "one more", "renamed", "no folder", "video's size", "video's time", "labels' size", "labels' time"],
)
def test_a_match_of_which_anything_changed_is_not_finished(tmp_path, change):
    states = sources("a", "b")
    fill(tmp_path, {"a": 3, "b": 3})
    change(tmp_path, states)
    assert list(output_folder.finished_matches(tmp_path, CONFIG, states)) == ["b"]


NEWER = "received a dataset of schema version 4, expected at most 3: a newer version of this toolkit wrote it"
OLDER = "contains a dataset of schema version 1, expected 2: give --over"


@pytest.mark.parametrize(("version", "message"), [(4, NEWER), (1, OLDER), (None, OLDER)])
def test_a_dataset_of_another_version_is_refused(tmp_path, version, message):
    fill(tmp_path, {"a": 1})
    path = tmp_path / "metadata.json"
    line = "" if version is None else f'"schema_version": {version},'
    path.write_text(path.read_text().replace('"schema_version": 2,', line))
    with pytest.raises(DatasetError, match=message):
        output_folder.finished_matches(tmp_path, CONFIG, sources("a"))


@pytest.mark.parametrize(
    "changed",
    [
        {"segment_length": 0.9},
        {"video_sample_rate": 3.0},
        {"video_width": 41},
        {"video_height": 17},
        {"audio_sample_rate": 8001},
        {"apply_mfcc": True},
    ],
)
def test_a_dataset_of_any_other_setting_is_refused(tmp_path, changed):
    fill(tmp_path, {"a": 1})
    wanted = DataConfig(**(vars(CONFIG) | changed))
    ((name, value),) = changed.items()
    with pytest.raises(DatasetError) as error_info:
        output_folder.finished_matches(tmp_path, wanted, sources("a"))
    was, now = str(error_info.value).split(", expected ")
    assert f"made with segment_length {CONFIG.segment_length}, video_sample_rate 2.5, video_width 40" in was
    assert f"{name} {value}" in now
    assert f"{name} {value}" not in was


def test_what_is_not_kept_is_deleted_and_the_rest_stays(tmp_path):
    fill(tmp_path, {"keep": 1, "drop": 2})
    (tmp_path / ".lock").touch()
    (tmp_path / ".part" / "x" / "half").mkdir(parents=True)
    output_folder.remove_all_but(tmp_path, {"keep", "never there"})
    assert names_in(tmp_path) == [".lock", "keep", "keep/seg_00000_0.pkl", "metadata.json"]
    output_folder.remove_all_but(tmp_path, set())
    assert names_in(tmp_path) == [".lock"]
    output_folder.remove_all_but(tmp_path, set())
    assert names_in(tmp_path) == [".lock"]


def test_files_of_others_stay_and_so_do_the_folders_that_they_are_in(tmp_path):
    fill(tmp_path, {"a": 2, "b": 1})
    others = [".DS_Store", "a/.DS_Store", "a/@eaDir/x", "@eaDir/seg_00000_0.pkl", ".ipynb_checkpoints/y", "c/.nfs01"]
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert output_folder.unexpected_files(tmp_path) == []
    output_folder.remove_all_but(tmp_path, set())
    assert sorted(names_in(tmp_path)) == sorted(
        [*others, "a", "a/@eaDir", "@eaDir", ".ipynb_checkpoints", "c", "empty"]
    )


def test_a_folder_of_segments_that_are_no_files_is_no_match(tmp_path):
    (tmp_path / "a" / "seg_00000_0.pkl").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "seg_00000_0.pkl").symlink_to(tmp_path)
    assert output_folder.unexpected_files(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("content", ["[1]", "{}", '{"name": "of another program"}'])
def test_the_metadata_of_another_program_are_unexpected(tmp_path, content):
    (tmp_path / "metadata.json").write_text(content)
    assert output_folder.unexpected_files(tmp_path) == ["metadata.json"]
    (tmp_path / "metadata.json").write_text(content[:-1])  # damaged: a conversion may have written it
    assert output_folder.unexpected_files(tmp_path) == []


def test_a_match_moves_into_a_folder_of_its_name_that_a_system_uses(tmp_path):
    (tmp_path / "part" / "a").mkdir(parents=True)
    (tmp_path / "part" / "a" / "seg_00000_1.pkl").write_text("new")
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / ".DS_Store").write_text("left")
    (tmp_path / "out" / "a" / "seg_00000_0.pkl").write_text("old")
    conversion.publish(tmp_path / "part" / "a", tmp_path / "out" / "a")
    assert {path.name: path.read_text() for path in (tmp_path / "out" / "a").iterdir()} == {
        ".DS_Store": "left",
        "seg_00000_1.pkl": "new",
    }


def test_metadata_is_deleted_before_what_it_names(tmp_path, monkeypatch):
    fill(tmp_path, {"match": 1})

    def fail(path):
        raise OSError(f"{path} is in use")

    monkeypatch.setattr(output_folder.shutil, "rmtree", fail)
    with pytest.raises(OSError, match="match is in use"):
        output_folder.remove_all_but(tmp_path, set())
    assert not Path(tmp_path / "metadata.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"highlight_count": 0', '"highlight_count": "0"', "the record of a is damaged"),
        ('"highlight_count"', '"highlights"', "the record of a is damaged"),
        ('"source_files": {', '"source_files": 5, "more": {', "the record of a is damaged"),
        ('"source_files"', '"files"', "the record of a is damaged"),
        ('"source_files"', '"more": "\\ud800", "source_files"', "the record of a is damaged"),
        ('"segment_count": 1', '"segment_count": -1', "damaged or not from data_converter"),
        ('"title": "a"', '"title": "' + "a" * 256 + '"', "damaged or not from data_converter"),
    ],
)
def test_metadata_edited_by_hand_say_how_to_go_on(tmp_path, old, new, problem):
    fill(tmp_path, {"a": 1})
    path = tmp_path / "metadata.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError) as raised:
        output_folder.finished_matches(tmp_path, CONFIG, sources("a"))
    message = str(raised.value)
    assert message.startswith(f"{path}: {problem}")
    assert message.endswith(": convert the videos again with --overwrite, or give another output_dataset_dir")
    assert len(message) < len(str(path)) + 400
