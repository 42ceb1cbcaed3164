"""After any interruption the same command finishes a conversion, and the dataset equals that of an undisturbed run."""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from clips import tone, write_clip
from dataset_files import assert_readable, contents
from held_process import WAIT_SEC, Hold, wait_until

from data_converter import main
from videosummarizer.dataset import output_folder
from videosummarizer.dataset.metadata import read_metadata

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ["1", "6", "64", "64", "8000", "1"]
NUM_MATCHES = 6


@pytest.fixture(scope="module")
def matches_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matches")
    for number in range(NUM_MATCHES):
        options = {"crf": "10", "g": "30"}
        write_clip(folder / f"match_{number}.mp4", num_frames=600, audio=tone(300 + 100 * number, 20), options=options)
        (folder / f"match_{number}.txt").write_text(f"{30 * number},300\n")
    return folder


def convert(matches_dir, out, *more, workers="1"):
    return main([str(matches_dir), *SETTINGS, str(out), "--workers", workers, *more])


def start(matches_dir, out, workers="2", *flags, **more):
    return start_script("data_converter.py", matches_dir, *SETTINGS, out, "--workers", workers, *flags, **more)


def start_script(name, *arguments, **more):
    return subprocess.Popen(
        [sys.executable, ROOT / name, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **more,
    )  # fmt: skip


def kill_group(process, signal_number):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal_number)
    _, err = process.communicate(timeout=60)
    return err


def test_kills_at_twenty_random_moments(matches_dir, undisturbed, tmp_path):
    begin = time.monotonic()
    process = start(matches_dir, tmp_path / "timed")
    process.communicate(timeout=WAIT_SEC)
    assert process.returncode == 0
    duration_sec = time.monotonic() - begin
    rng = random.Random(0)
    for number in range(20):
        out = tmp_path / f"killed_{number}"
        process = start(matches_dir, out)
        time.sleep(rng.uniform(0.1, 1) * duration_sec)
        kill_group(process, signal.SIGKILL)
        if out.exists():
            assert_readable(out)
        assert convert(matches_dir, out) == 0
        assert contents(out) == undisturbed
        shutil.rmtree(out)


def test_ctrl_c_says_how_to_go_on_and_finished_matches_are_kept(matches_dir, undisturbed, tmp_path, capsys):
    out, hold = (
        tmp_path / "out",
        Hold(tmp_path / "hold", "videosummarizer.dataset.storage:write_segment", "/match_2'), 5,"),
    )
    process = start(matches_dir, out, workers="1", env=hold.environment)
    hold.wait(process)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted: run the same command again, it continues" in err
    assert "Traceback" not in err
    assert not (out / ".part").exists()
    assert_readable(out)
    finished = [video["title"] for video in read_metadata(out)["videos"]]
    assert finished == ["match_0", "match_1"]
    times = {title: (out / title / "seg_00000_0.pkl").stat().st_mtime_ns for title in finished[1:2]}
    assert convert(matches_dir, out) == 0
    assert f"{len(finished)} matches are finished already and are kept" in capsys.readouterr().out
    assert all((out / title / "seg_00000_0.pkl").stat().st_mtime_ns == at for title, at in times.items())
    assert contents(out) == undisturbed


def worker_processes(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children()
        return [child for child in children if any("multiprocessing.spawn" in part for part in child.cmdline())]
    return []


def messages(err):
    """Return the lines on standard error, without those of progress bars."""
    return [line for line in err.replace("\r", "\n").splitlines() if line.strip() and "%|" not in line.replace(" ", "")]


INTERRUPTED = "ERROR: Interrupted: run the same command again, it continues with the matches that "


@pytest.mark.parametrize("moment", ["workers start", "workers work"])
def test_ctrl_c_of_a_terminal_reaches_workers_too_and_is_one_line(tmp_path, moment):
    out = tmp_path / "out"
    process = start(ROOT / "data" / "raw", out)
    is_reached = {
        "workers start": lambda: len(worker_processes(process)) == 2,
        "workers work": lambda: any(out.glob(".part/*/*/*.pkl")),
    }[moment]
    wait_until(is_reached, process)
    err = kill_group(process, signal.SIGINT)
    assert messages(err) == [INTERRUPTED + "are not finished"]
    assert process.returncode == 130


def test_ctrl_c_while_labels_are_found_is_one_line(matches_dir, tmp_path):
    for name in ("matches", "highlights"):
        (tmp_path / name).mkdir()
        for number in range(8):  # more than two workers are handed at once
            os.link(matches_dir / "match_0.mp4", tmp_path / name / f"{number}.mp4")
    process = start_script("label_finder.py", tmp_path / "matches", tmp_path / "highlights", "--workers", "2")
    wait_until(lambda: len(worker_processes(process)) == 2, process)
    err = kill_group(process, signal.SIGINT)
    assert messages(err) == [INTERRUPTED + "have no labels yet"]
    assert process.returncode == 130


SCRIPTS = ["data_converter.py", "highlight_extractor.py", "label_finder.py", "label_next.py", "main.py"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_a_script_is_imported_is_one_line(tmp_path, script):
    (tmp_path / "numpy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    process = start_script(script, "--help", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    _, err = process.communicate(timeout=60)
    assert err == "ERROR: Interrupted before anything was started\n"
    assert process.returncode == 130


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_package_is_one_line_that_says_what_to_do(tmp_path, script):
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'tqdm'\", name='tqdm')\n"
    )
    process = start_script(script, "--help", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    _, err = process.communicate(timeout=60)
    assert err == (
        "ERROR: No module named 'tqdm': activate the environment (. .venv/bin/activate) that make demo sets up, or "
        "install the requirements (pip install -r requirements.txt -c constraints.txt)\n"
    )
    assert process.returncode == 1


def test_a_full_disk_is_reported_and_the_rerun_finishes(matches_dir, undisturbed, tmp_path):
    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))

    out = tmp_path / "out"
    process = start(matches_dir, out, workers="1", preexec_fn=limit_file_size)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large" in err
    assert "Traceback" not in err
    assert_readable(out)
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed


def test_a_finished_dataset_is_left_as_it_is(matches_dir, undisturbed, tmp_path, capsys):
    out = tmp_path / "out"
    assert convert(matches_dir, out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pkl")}
    assert convert(matches_dir, out) == 0
    assert f"{NUM_MATCHES} matches are finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.pkl")} == before


@pytest.mark.parametrize("suffix", [".mp4", ".txt"])
def test_a_match_whose_source_changed_is_converted_again(matches_dir, tmp_path, suffix):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(matches_dir, folder)
    assert convert(folder, out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pkl")}
    os.utime(folder / f"match_1{suffix}")
    assert convert(folder, out) == 0
    changed = {path.parent.name for path in out.rglob("*.pkl") if path.stat().st_mtime_ns != before[path]}
    assert changed == {"match_1"}


def test_a_match_added_later_joins_and_one_moved_away_stays(matches_dir, undisturbed, tmp_path, caplog):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(matches_dir, folder)
    for suffix in (".mp4", ".txt"):
        (folder / f"match_3{suffix}").rename(tmp_path / f"match_3{suffix}")
    assert convert(folder, out) == 0
    for suffix in (".mp4", ".txt"):
        (tmp_path / f"match_3{suffix}").rename(folder / f"match_3{suffix}")
        (folder / f"match_0{suffix}").unlink()
    assert caplog.messages == []
    assert convert(folder, out) == 0
    assert contents(out) == undisturbed
    (message,) = caplog.messages
    assert f"out: match_0: no longer in {folder}, but kept in the dataset: use --overwrite to convert again" in message


def test_a_second_converter_is_refused_and_the_writer_is_named(matches_dir, tmp_path, caplog):
    out = tmp_path / "out"
    with output_folder.lock(out):
        process = start(matches_dir, out)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"process {os.getpid()} on {socket.gethostname()} (since " in err
    assert "is writing to this folder: wait until it has finished, or give another" in err


def test_the_lock_of_a_dead_process_is_not_in_the_way(matches_dir, undisturbed, tmp_path):
    out, hold = (
        tmp_path / "out",
        Hold(tmp_path / "hold", "videosummarizer.dataset.storage:write_segment", "/match_2'), 5,"),
    )
    process = start(matches_dir, out, env=hold.environment)
    hold.wait(process)
    kill_group(process, signal.SIGKILL)
    assert f"process {process.pid} on {socket.gethostname()} (since " in (out / ".lock").read_text()
    assert convert(matches_dir, out) == 0
    assert contents(out) == undisturbed


@pytest.mark.parametrize("workers", ["2", "8", "16"])
def test_any_number_of_workers_gives_the_same_bytes(matches_dir, undisturbed, tmp_path, real_processes, workers):
    assert convert(matches_dir, tmp_path / "out", workers=workers) == 0
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("workers", ["2", "8", "16", "64"])
def test_one_long_match_read_in_parts_gives_the_same_bytes(matches_dir, undisturbed, tmp_path, workers):
    folder = tmp_path / "in"
    folder.mkdir()
    for suffix in (".mp4", ".txt"):
        shutil.copy2(matches_dir / f"match_1{suffix}", folder)
    assert convert(folder, tmp_path / "out", workers=workers) == 0
    files, _ = contents(tmp_path / "out")
    assert files == {name: content for name, content in undisturbed[0].items() if name.startswith("match_1/")}
