"""A converter that is killed at chosen moments leaves a dataset that can be read, and the same command finishes it."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from clips import tone, write_clip
from dataset_files import assert_readable, contents
from held_process import ROOT, Hold
from test_interruption import kill_group

from data_converter import main
from videosummarizer.dataset.metadata import read_metadata

SETTINGS = ["0.7", "3", "24", "16", "4000", "0"]
LABELS = {"match_0": "0.5,1.9\n", "match_1": "", "match_2": "0,60\n"}  # 1, 0 and 2 of 3 segments of 0.7 s


@pytest.fixture(scope="module")
def matches_dir(tmp_path_factory):
    """Three matches of 2.0, 1.9 and 1.8 s, converted in this order."""
    folder = tmp_path_factory.mktemp("matches")
    for number, (title, labels) in enumerate(LABELS.items()):
        num_frames = 60 - 3 * number
        write_clip(folder / f"{title}.mp4", num_frames=num_frames, audio=tone(300 + 100 * number, num_frames / 30))
        (folder / f"{title}.txt").write_text(labels)
    return folder


def convert(matches_dir, out, *flags):
    return main([str(matches_dir), *SETTINGS, str(out), "--workers", "1", *flags])


def kill_at(hold, matches_dir, out, *flags):
    """Start a converter, wait until it is held, and kill it there."""
    command = [sys.executable, ROOT / "data_converter.py", matches_dir, *SETTINGS, out, "--workers", "1", *flags]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=hold.environment,
    )
    try:
        hold.wait(process)
    finally:
        kill_group(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


MOMENTS = {
    "the first segment is not written": ("videosummarizer.dataset.storage:write_segment", "/match_0'), 0,", 1, []),
    "a match is half written": ("videosummarizer.dataset.storage:write_segment", "/match_1'), 2,", 1, ["match_0"]),
    "a match is whole but not renamed": ("pathlib:Path.replace", "/match_1'", 1, ["match_0"]),
    "a match is renamed but not in the metadata": (
        "videosummarizer.dataset.metadata:write_metadata",
        "'title': 'match_1'",
        1,
        ["match_0"],
    ),
    "the metadata are written but not renamed": ("os:replace", "metadata.json.part", 3, ["match_0"]),
    "all is done but the hidden folder remains": ("shutil:rmtree", "/.part'", 1, ["match_0", "match_1", "match_2"]),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_what_is_finished(matches_dir, undisturbed, tmp_path, capsys, moment):
    function, text, call, finished = MOMENTS[moment]
    out = tmp_path / "out"
    kill_at(Hold(tmp_path / "hold", function, text, call), matches_dir, out)
    assert_readable(out)
    assert (out / "metadata.json").exists() == bool(finished)
    if finished:
        metadata = read_metadata(out)
        assert [video["title"] for video in metadata["videos"]] == finished
        assert metadata["missing"] == sorted(LABELS.keys() - set(finished))
    times = {path: path.stat().st_mtime_ns for title in finished for path in (out / title).iterdir()}
    assert convert(matches_dir, out) == 0
    assert (f"{len(finished)} matches are finished already" in capsys.readouterr().out) == bool(finished)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert contents(out) == undisturbed


def test_a_kill_while_an_old_match_is_deleted_leaves_metadata_that_do_not_name_it(matches_dir, undisturbed, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(matches_dir, folder)
    assert convert(folder, out) == 0
    os.utime(folder / "match_1.txt")
    kill_at(Hold(tmp_path / "hold", "shutil:rmtree", "/out/match_1'"), folder, out)
    assert [video["title"] for video in read_metadata(out)["videos"]] == ["match_0", "match_2"]
    assert read_metadata(out)["missing"] == ["match_1"]
    assert convert(folder, out) == 0
    assert contents(out)[0] == undisturbed[0]


def test_a_kill_while_a_dataset_is_overwritten_leaves_none(matches_dir, undisturbed, tmp_path):
    out = tmp_path / "out"
    assert convert(matches_dir, out) == 0
    kill_at(Hold(tmp_path / "hold", "shutil:rmtree", "/out/match_"), matches_dir, out, "--overwrite")
    assert not (out / "metadata.json").exists()
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed


@pytest.mark.parametrize("title", LABELS)
def test_a_finished_match_with_a_deleted_pickle_is_converted_again(matches_dir, undisturbed, tmp_path, capsys, title):
    out = tmp_path / "out"
    assert convert(matches_dir, out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pkl")}
    sorted((out / title).iterdir())[1].unlink()
    capsys.readouterr()
    assert convert(matches_dir, out) == 0
    assert f"{out}: 2 matches are finished already and are kept\n" in capsys.readouterr().out
    assert contents(out) == undisturbed
    changed = {path.parent.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {title}


def test_metadata_that_cannot_be_written_leave_those_before(matches_dir, undisturbed, tmp_path, monkeypatch, caplog):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for title in ("match_0", "match_1"):
        for suffix in (".mp4", ".txt"):
            os.link(matches_dir / (title + suffix), folder / (title + suffix))
    assert convert(folder, out) == 0
    before = (out / "metadata.json").read_bytes()

    def fill_disk(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patched:
        patched.setattr(type(out), "write_bytes", fill_disk)
        assert convert(matches_dir, out) == 1
    assert "No space left on device" in caplog.text
    assert (out / "metadata.json").read_bytes() == before
    assert not (out / "metadata.json.part").exists()
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed
