"""Conversion on a Dask cluster: the commands of docs/convert.md, and one line for each way in which they can fail."""

import asyncio
import contextlib
import os
import pickle
import re
import shlex
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest
from calls_in_processes import end
from clips import tone, write_clip
from dataset_files import contents
from held_process import ROOT, WAIT_SEC, Hold
from test_interruption import kill_group, messages

from data_converter import main
from videosummarizer import hardware_decoding
from videosummarizer.dataset import cluster, conversion
from videosummarizer.dataset.input_folder import InputError
from videosummarizer.hardware_decoding import Choice
from videosummarizer.worker_processes import Failure

SETTINGS = ["5", "3", "64", "64", "11025", "0"]  # those of docs/convert.md
ADDRESS = "tcp://host:8786"


def documented_commands():
    """Return the commands that start a scheduler, workers and a converter."""
    text = (ROOT / "docs" / "convert.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(dask scheduler.*?)\n```", text, re.DOTALL)[1]
    return [line.split(" #")[0].strip() for line in block.splitlines()]


@pytest.fixture(scope="module")
def matches_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "matches"
    folder.mkdir()
    for number in range(3):
        write_clip(folder / f"match_{number}.mp4", num_frames=60, audio=tone(300 + 100 * number, 2))
        (folder / f"match_{number}.txt").write_text("0.5,1.2\n")
    return folder


def start(stack, command, folder, environment=os.environ):
    """Start a command of a shell in a folder, in its own session. It is killed at the end of the stack."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    process = subprocess.Popen(
        command, shell=True, cwd=folder, env={**environment, "PATH": path}, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE if "data_converter" in command else subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(kill_group, process, signal.SIGKILL)
    return process


def test_the_commands_of_the_docs_work_in_any_folders_though_a_worker_is_killed(matches_dir, tmp_path):
    """Relative paths and a worker that cannot run the converter are tried on the same cluster."""
    expected, shared = tmp_path / "expected", matches_dir.parent
    assert main([str(matches_dir), *SETTINGS, str(expected), "--workers", "1"]) == 0
    hold = Hold(tmp_path / "hold", "videosummarizer.dataset.storage:write_segment", "/match_1'), 0,")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    scheduler, worker, converter = (
        command.replace("tcp://host:8786", address)
        .replace("PYTHONPATH=/path/to/VideoSummarizer", f"PYTHONPATH={shlex.quote(hold.environment['PYTHONPATH'])}")
        .replace("/path/to/VideoSummarizer", shlex.quote(str(ROOT)))
        .replace("/shared/", "")
        .replace("--nworkers -1", "--nworkers 2")
        for command in documented_commands()
    )
    assert converter.endswith(f"data_converter.py matches {' '.join(SETTINGS)} dataset --scheduler {address}")
    quiet = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"}
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with contextlib.ExitStack() as stack:
        start(stack, f"{scheduler} --host {address} --no-dashboard", folders[0], quiet)
        start(stack, f"{worker} --no-dashboard", folders[1], hold.environment)
        wait_for_workers(address, 2)
        process = start(stack, converter, shared)
        os.kill(hold.wait(process), signal.SIGKILL)
        _, err = process.communicate(timeout=WAIT_SEC)
        assert (process.returncode, messages(err)) == (0, [])
        assert contents(shared / "dataset") == contents(expected)
        start(stack, f"{worker.split(' ', 1)[1]} --no-dashboard --nworkers 1", folders[1], quiet)  # without PYTHONPATH
        wait_for_workers(address, 3)
        process = start(stack, f"{converter} --overwrite", shared)
        _, err = process.communicate(timeout=WAIT_SEC)
        (message,) = messages(err)
        assert process.returncode == 1
        assert re.fullmatch(
            r"ERROR: --scheduler: the worker tcp://\S+ cannot run the converter "
            r"\(.*No module named 'videosummarizer'.*\): "
            "install the same packages there, and start it with PYTHONPATH set to the folder of data_converter.py",
            message,
        )


def wait_for_workers(address, num_workers):
    from dask.distributed import Client

    with Client(address, timeout=WAIT_SEC) as client:
        client.wait_for_workers(num_workers, timeout=WAIT_SEC)


class Client(contextlib.nullcontext):
    """Stand in for Dask's client. Its two workers run what is submitted in this process."""

    def __init__(self, address="", timeout=0):
        super().__init__()
        self.address, self.timeout, self.canceled, self.submitted = address, timeout, [], []
        self.workers, self.described = {"tcp://a": 1, "tcp://b": 1}, {}

    def nthreads(self):
        if isinstance(self.workers, Exception):
            raise self.workers
        return self.workers

    def run(self, function, *arguments, on_error):
        assert on_error == "return"
        return {worker: self.described.get(worker) or function(*arguments) for worker in self.workers}

    def submit(self, function, *arguments, pure):
        assert not pure
        assert function is pickle.loads  # which a scheduler without this package can import
        future = types.SimpleNamespace(status="finished", result=lambda: function(*arguments), exception=None)
        self.submitted.append(future)
        return Future(future)

    def cancel(self, futures):
        self.canceled += futures


class Future:
    def __init__(self, outcome):
        self.outcome = outcome

    def __getattr__(self, name):
        return getattr(self.outcome, name)


class KilledWorker(Exception):
    """Stand in for Dask's."""

    allowed_failures, last_worker = 3, types.SimpleNamespace(address="tcp://b")


@pytest.fixture
def dask(monkeypatch):
    """Stand in for Dask. `clients` are those that were asked for."""
    dask = types.SimpleNamespace(KilledWorker=KilledWorker, clients=[])

    def wait(futures, timeout, return_when):
        assert return_when == "FIRST_COMPLETED"
        done = [future for future in futures if future.status != "pending"][:1]
        if not done:
            raise TimeoutError
        return set(done), set(futures) - set(done)

    def make_client(*arguments, **more):
        dask.clients.append(Client(*arguments, **more))
        return dask.clients[-1]

    dask.wait, dask.Client = wait, make_client
    monkeypatch.setitem(sys.modules, "dask.distributed", dask)
    monkeypatch.setattr(cluster, "POLL_SEC", 0)
    monkeypatch.setattr(cluster, "WORKER_TIMEOUT_SEC", 0)
    return dask


def convert(matches_dir, out, *flags):
    return main([str(matches_dir), *SETTINGS, str(out), *flags])


def test_a_cluster_gets_absolute_paths_and_each_match_one_thread(matches_dir, tmp_path, dask, monkeypatch, caplog):
    calls = []

    def call(function, arguments):
        _, _, path, _, *rest = arguments
        calls.append((path, *rest))
        return conversion.Conversion(path.stem, error="none")

    monkeypatch.setattr(cluster, "Call", call)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").symlink_to(matches_dir)
    assert convert("in", "out", "--workers", "12", "--scheduler", ADDRESS) == 1
    assert (dask.clients[0].address, dask.clients[0].timeout) == (ADDRESS, 10)
    titles = ("match_0", "match_1", "match_2")
    assert sorted(calls) == [(tmp_path / "in" / f"{title}.mp4", tmp_path / "out", 1) for title in titles]


def test_what_a_cluster_returns_is_what_the_function_returns(dask):
    client = Client()
    calls = [(None, 1), (None, 2)]
    assert list(cluster.Cluster(client, ADDRESS).run(end, calls)) == [((None, 1), 1), ((None, 2), 2)]
    assert client.canceled == []


def fail(future, error):
    future.status, future.exception = "error", lambda: error


def test_a_match_that_ends_its_workers_is_tried_alone_and_reported(dask):
    client, outcomes = Client(), []
    calls = cluster.Cluster(client, ADDRESS).run(end, [(None, 1), (None, 2), (None, 3)])
    outcomes.append(next(calls))
    fail(client.submitted[1], KilledWorker())
    outcomes.append(next(calls))
    assert len(client.submitted) == 3

    submit = client.submit

    def submit_and_fail(*arguments, **more):
        future = submit(*arguments, **more)
        fail(future.outcome, KilledWorker())
        return future

    client.submit = submit_and_fail
    outcomes += calls
    assert len(client.submitted) == 4
    assert outcomes == [
        ((None, 1), 1),
        ((None, 3), 3),
        (
            (None, 2),
            Failure("4 workers ended while they converted it, the last one at tcp://b", is_process_ended=True),
        ),
    ]


def test_a_match_that_ended_its_workers_is_decoded_in_software(dask):
    client = Client()
    submit = client.submit

    def submit_once(*arguments, **more):
        future = submit(*arguments, **more)
        if len(client.submitted) == 1:
            fail(future.outcome, KilledWorker())
        return future

    client.submit = submit_once
    with hardware_decoding.using("cuda"):
        choice = hardware_decoding.chosen()
        outcomes = list(cluster.Cluster(client, ADDRESS).run(hardware_decoding.chosen, [(), ()]))
    crash = "no device is used after a crash: 4 workers ended while they converted it, the last one at tcp://b"
    assert outcomes == [((), choice), ((), Choice("cuda", crash, choice.run_id))]


def test_an_exception_on_a_worker_is_the_failure_of_its_match(dask):
    client = Client()
    calls = cluster.Cluster(client, ADDRESS).run(end, [(None, 1), (None, 2)])
    next(calls)
    fail(client.submitted[1], TypeError("odd"))
    assert list(calls) == [((None, 2), Failure("TypeError: odd", "--debug shows where it comes from"))]


@pytest.mark.parametrize("status", ["lost", "cancelled"])
def test_a_scheduler_that_ends_is_one_line(dask, status):
    client = Client()
    calls = cluster.Cluster(client, ADDRESS).run(end, [(None, 1), (None, 2)])
    next(calls)
    client.submitted[1].status = status
    with pytest.raises(InputError, match=f"the connection to {ADDRESS} is lost: start the scheduler"):
        list(calls)


@pytest.mark.parametrize("error", [asyncio.CancelledError("4 Futures cancelled"), RuntimeError("closed")])
def test_a_scheduler_that_ends_while_it_is_waited_for_is_one_line(dask, error):
    def end_scheduler(*_, **__):
        raise error

    client = Client()
    client.cancel = dask.wait = end_scheduler
    with pytest.raises(InputError, match=f"the connection to {ADDRESS} is lost"):
        list(cluster.Cluster(client, ADDRESS).run(end, [(None, 1)]))


def test_workers_decode_as_the_command_says(dask):
    client = Client()
    submit = client.submit

    def submit_elsewhere(*arguments, **options):
        hardware_decoding.choose(Choice("none"))
        return submit(*arguments, **options)

    client.submit = submit_elsewhere
    with hardware_decoding.using("cuda"):
        choice = hardware_decoding.chosen()
        assert list(cluster.Cluster(client, ADDRESS).run(hardware_decoding.chosen, [()])) == [((), choice)]


def test_a_scheduler_that_ends_while_matches_are_converted_is_one_line(dask):
    client = Client()
    calls = cluster.Cluster(client, ADDRESS).run(end, [(None, 1), (None, 2)])
    next(calls)
    client.submitted[1].status, client.workers = "pending", OSError("closed")
    with pytest.raises(InputError, match=f"the connection to {ADDRESS} is lost"):
        list(calls)
    assert len(client.canceled) == 1


def test_workers_that_have_all_ended_are_waited_for_and_the_matches_are_named(dask):
    client = Client()
    calls = cluster.Cluster(client, ADDRESS).run(end, [(Path("in/a.mp4"), 1), (Path("in/b.mp4"), 2)])
    next(calls)
    client.submitted[1].status, client.workers = "pending", {}
    with pytest.raises(InputError) as error:
        list(calls)
    assert str(error.value) == (
        f"--scheduler: no worker has been connected to {ADDRESS} for 0 s, not finished: b.mp4: start one with dask "
        f"worker {ADDRESS}"
    )


def test_a_cluster_without_workers_is_one_line(matches_dir, tmp_path, dask, monkeypatch, caplog):
    monkeypatch.setattr(Client, "nthreads", lambda client: {})
    assert convert(matches_dir, tmp_path / "out", "--scheduler", ADDRESS) == 1
    assert caplog.messages == [
        f"--scheduler: no worker is connected to {ADDRESS}: waiting 0 s for one",
        f"--scheduler: no worker has been connected to {ADDRESS} for 0 s: start one with dask worker {ADDRESS}",
    ]


HERE = {"videosummarizer": "0123abcd", "python": "3.11", "av": "17.0.1", "librosa": "0.11.0", "numpy": "2.4.1"}


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (
            ({**HERE, "av": "16.1.0", "python": "3.12"}, []),
            "the worker tcp://b has other versions (python 3.12 for 3.11, av 16.1.0 for 17.0.1): install the same",
        ),
        (
            (HERE, ["/data"]),
            "the worker tcp://b does not see /data: give folders that all machines have",
        ),
        (
            ModuleNotFoundError("No module named 'av'"),
            "the worker tcp://b cannot run the converter (ModuleNotFoundError: No module named 'av'): install the same",
        ),
    ],
)
def test_a_worker_that_cannot_convert_is_named(tmp_path, dask, monkeypatch, described, message):
    monkeypatch.setattr(cluster, "versions", lambda: HERE)
    client = Client()
    cluster.Cluster(client, ADDRESS).check_workers([tmp_path])
    client.described["tcp://b"] = described
    with pytest.raises(InputError, match=re.escape(message)):
        cluster.Cluster(client, ADDRESS).check_workers([tmp_path])


def test_a_worker_describes_its_versions_and_what_it_does_not_see(tmp_path):
    versions, unseen = cluster.describe_worker([tmp_path, tmp_path / "elsewhere"])
    assert versions.keys() == HERE.keys()
    assert unseen == [str(tmp_path / "elsewhere")]


@pytest.mark.parametrize("error", [OSError("refused"), ValueError("no such protocol"), RuntimeError("another version")])
def test_a_scheduler_that_does_not_answer_is_named(matches_dir, tmp_path, dask, caplog, error):
    def refuse(*_, **__):
        raise error

    dask.Client = refuse
    assert convert(matches_dir, tmp_path / "out", "--scheduler", "odd://x") == 1
    assert caplog.messages == ["--scheduler: no Dask scheduler answers at odd://x: start one with dask scheduler"]


def test_a_real_client_does_not_wait_long_for_a_scheduler(matches_dir, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(cluster, "SCHEDULER_TIMEOUT_SEC", 0.5)
    assert convert(matches_dir, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1") == 1
    assert "--scheduler: no Dask scheduler answers at tcp://127.0.0.1:1" in caplog.text


def test_dask_that_is_not_installed_is_named(matches_dir, tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    assert convert(matches_dir, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1") == 1
    assert "--scheduler: needs Dask, which is not installed: pip install distributed" in caplog.text


def test_without_a_scheduler_dask_is_not_asked(matches_dir, tmp_path, dask):
    assert convert(matches_dir, tmp_path / "out") == 0
    assert dask.clients == []
