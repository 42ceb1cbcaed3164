"""A match whose decoder ends its process is tried alone, reported and passed over; the others are converted."""

import errno
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest
from clips import tone, write_clip
from dataset_files import contents
from held_process import ROOT, WAIT_SEC, Crash, Hold
from test_interruption import messages, start_script

from data_converter import main
from videosummarizer import media
from videosummarizer.dataset import conversion
from videosummarizer.dataset.metadata import read_metadata

SETTINGS = ["0.7", "3", "24", "16", "4000", "0"]
DECODER = "videosummarizer.video_track:read_frames"
TITLES = [f"match_{number}" for number in range(4)]


@pytest.fixture(scope="module")
def matches_dir(tmp_path_factory):
    """Make four matches of 1.9 to 1.6 s."""
    folder = tmp_path_factory.mktemp("matches")
    for number, title in enumerate(TITLES):
        num_frames = 57 - 3 * number
        write_clip(folder / f"{title}.mp4", num_frames=num_frames, audio=tone(300 + 100 * number, num_frames / 30))
        (folder / f"{title}.txt").write_text("0.5,1.2\n")
    return folder


def convert(matches_dir, out):
    return main([str(matches_dir), *SETTINGS, str(out), "--workers", "1"])


def run(matches_dir, out, *flags, env=None):
    """Run the converter. Return its exit status, its messages and its output."""
    command = [sys.executable, ROOT / "data_converter.py", matches_dir, *SETTINGS, out, *flags]
    process = subprocess.run(command, capture_output=True, text=True, env=env, timeout=WAIT_SEC)
    return process.returncode, messages(process.stderr), process.stdout.splitlines()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_decoder_that_dies_by_a_signal_costs_only_its_match(matches_dir, undisturbed, tmp_path, workers):
    crash = Crash(tmp_path / "crash", DECODER, "/match_1.mp4'", signal.SIGSEGV)
    out, expected = tmp_path / "out", [
        f"ERROR: {matches_dir}/match_1.mp4: cannot be converted (its process was ended by SIGSEGV): record or download "
        "it again, or move it elsewhere",
        "ERROR: 1 of 4 matches are not in the dataset: match_1",
    ]  # fmt: skip
    assert run(matches_dir, out, "--workers", workers, env=crash.environment)[:2] == (1, expected)
    assert [video["title"] for video in read_metadata(out)["videos"]] == ["match_0", "match_2", "match_3"]
    assert not (out / ".part").exists()
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/*.pkl")}
    status, shown, _ = run(matches_dir, out, "--workers", workers, "--debug", env=crash.environment)
    assert (status, [line for line in shown if line.startswith("ERROR: ")]) == (1, expected)
    assert "DEBUG: Fatal Python error: Segmentation fault" in shown
    assert any("in convert_match" in line for line in shown)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed


def test_a_header_that_ends_the_process_costs_only_its_match_and_check_says_the_same(matches_dir, tmp_path):
    crash = Crash(tmp_path / "crash", "videosummarizer.media:open_media", "/match_1.mp4'", signal.SIGABRT)
    message = (
        f"{matches_dir}/match_1.mp4: cannot be converted (its process was ended by SIGABRT): record or download it "
        "again, or move it elsewhere"
    )
    status, errors, _ = run(matches_dir, tmp_path / "out", "--workers", "2", env=crash.environment)
    assert (status, errors[0]) == (1, f"ERROR: {message}")
    assert [video["title"] for video in read_metadata(tmp_path / "out")["videos"]] == ["match_0", "match_2", "match_3"]
    status, _, lines = run(matches_dir, tmp_path / "out", "--check", "--workers", "2", env=crash.environment)
    assert status == 1
    assert lines[-2:] == [f"error: {message}", "3 of 4 matches can be converted"]
    lengths = [line.split()[:2] for line in lines[1:5]]
    assert lengths == [[title, "-" if title == "match_1" else "00:00:01"] for title in TITLES]


def test_a_worker_that_is_killed_once_costs_nothing(matches_dir, undisturbed, tmp_path):
    out, hold = (
        tmp_path / "out",
        Hold(tmp_path / "hold", "videosummarizer.dataset.storage:write_segment", "/match_2'), 1,"),
    )
    process = start_script("data_converter.py", matches_dir, *SETTINGS, out, "--workers", "2", env=hold.environment)
    worker = psutil.Process(hold.wait(process))
    assert worker.parent().pid == process.pid
    worker.kill()
    _, err = process.communicate(timeout=WAIT_SEC)
    assert (process.returncode, messages(err)) == (0, [])
    assert contents(out) == undisturbed


def test_the_workers_end_with_a_converter_that_is_killed_and_the_rerun_finishes(matches_dir, undisturbed, tmp_path):
    out, hold = tmp_path / "out", Hold(tmp_path / "hold", "videosummarizer.dataset.conversion:publish", "/match_2'")
    process = start_script("data_converter.py", matches_dir, *SETTINGS, out, "--workers", "2", env=hold.environment)
    workers = [psutil.Process(hold.wait(process)), *psutil.Process(process.pid).children()]
    os.kill(process.pid, signal.SIGKILL)  # it alone
    process.communicate(timeout=WAIT_SEC)
    assert psutil.wait_procs(workers, WAIT_SEC)[1] == []
    assert any(out.glob(".part/*/match_2"))
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed


def test_a_match_that_a_worker_of_a_killed_converter_finished_too_late_is_replaced(
    matches_dir, undisturbed, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    publish = conversion.publish

    def publish_late(part_dir, match_dir):
        match_dir.mkdir()
        (match_dir / "seg_00000_0.pkl").write_bytes(b"of the other converter")
        publish(part_dir, match_dir)

    monkeypatch.setattr(conversion, "publish", publish_late)
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed


@pytest.mark.parametrize(
    "error", [RuntimeError("cannot cache"), MemoryError(), KeyError("odd"), OSError(5, "Input/output error")]
)
def test_an_exception_of_any_type_costs_only_its_match(matches_dir, tmp_path, monkeypatch, caplog, error):
    probe = media.probe

    def fail(path, track):
        if path.stem == "match_1":
            raise error
        return probe(path)

    monkeypatch.setattr(media, "probe", fail)
    assert convert(matches_dir, tmp_path / "out") == 1
    assert [video["title"] for video in read_metadata(tmp_path / "out")["videos"]] == ["match_0", "match_2", "match_3"]
    assert caplog.messages[0].startswith(f"{matches_dir}/match_1.mp4: cannot be converted")
    assert "\n" not in caplog.messages[0]


@pytest.mark.parametrize("suffix", [".mp4", ".txt"])
def test_a_link_to_nowhere_costs_only_its_match(matches_dir, tmp_path, caplog, suffix):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for path in matches_dir.glob("match_[01].*"):
        (folder / path.name).symlink_to(path)
    assert convert(folder, out) == 0
    (folder / f"match_1{suffix}").unlink()
    (folder / f"match_1{suffix}").symlink_to(tmp_path / "nowhere")
    assert convert(folder, out) == 1
    assert [video["title"] for video in read_metadata(out)["videos"]] == ["match_0"]
    assert re.search(rf"match_1\.mp4: .*\(No such file or directory(: .*match_1{suffix})?\)", caplog.messages[0])
    assert caplog.messages[1:] == ["1 of 2 matches are not in the dataset: match_1"]


def test_files_that_another_machine_still_writes_do_not_stop_the_rerun(matches_dir, undisturbed, tmp_path, monkeypatch):
    out, rmdir = tmp_path / "out", os.rmdir
    (out / ".part" / "other").mkdir(parents=True)

    def refuse(path, **more):
        if os.fspath(path).endswith("other"):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        rmdir(path, **more)

    monkeypatch.setattr(os, "rmdir", refuse)
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed
