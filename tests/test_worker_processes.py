"""Calls in worker processes: whatever ends a process costs only the call that it makes."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from calls_in_processes import end, end_once, environment_of, process_id_of, report_and_sleep
from held_process import ROOT, WAIT_SEC, wait_until

from videosummarizer import worker_processes
from videosummarizer.worker_processes import Failure, WorkerPool, describe_end, retry_ended

pytestmark = pytest.mark.usefixtures("real_processes")


def test_processes_make_one_call_after_the_other_and_end_with_the_pool():
    with WorkerPool(1) as pool:
        first = list(pool.run(process_id_of, [(1,), (2,)]))
        second = list(pool.run(process_id_of, [(3,)]))
        ((_, process_id),) = {("id", process_id) for _, (_, process_id) in first + second}
        assert psutil.pid_exists(process_id)
    assert [(arguments, number) for arguments, (number, _) in first + second] == [((1,), 1), ((2,), 2), ((3,), 3)]
    assert not psutil.pid_exists(process_id)


def test_calls_that_end_their_process_or_raise_cost_no_other_call():
    calls = [(signal.SIGSEGV, 0), (None, 1), ("raise", 2), (7, 3), ("unpicklable", 4), ("exit", 5), (None, 6)]
    with WorkerPool(2) as pool:
        outcomes = dict(pool.run(end, calls))
    assert set(list(outcomes)[-3:]) == {calls[0], calls[3], calls[5]}  # those that are tried alone come last
    assert (outcomes[calls[1]], outcomes[calls[6]]) == (1, 6)
    reasons = {number: outcomes[how, number].reason for how, number in calls if how is not None}
    assert reasons[0] == "its process was ended by SIGSEGV"
    assert reasons[2] == "RuntimeError: not this one"
    assert reasons[3] == "its process ended with exit status 7"
    assert "pickle" in reasons[4]
    assert reasons[5] == "its process ended with exit status 3"
    assert "in end" in outcomes["raise", 2].traceback
    assert "Segmentation fault" in outcomes[calls[0]].traceback
    assert "in end" in outcomes[calls[0]].traceback
    assert outcomes[7, 3].traceback == ""
    assert outcomes["raise", 2].advice == "--debug shows where it comes from"
    assert outcomes[calls[0]].describe("a.mp4", "cannot be converted") == (
        "a.mp4: cannot be converted (its process was ended by SIGSEGV): record or download it again, or move it "
        "elsewhere"
    )


def test_a_call_whose_process_was_killed_is_made_again(tmp_path):
    with WorkerPool(1) as pool:
        assert list(pool.run(end_once, [(tmp_path / "marker", 1)])) == [((tmp_path / "marker", 1), 1)]


def test_calls_that_ended_their_process_are_made_one_by_one_after_all_others():
    ended, killed, made = Failure("ended", is_process_ended=True), Failure("killed", is_process_ended=True), []

    def outcomes():
        for name, outcome in (("a", ended), ("b", 2), ("c", Failure("an exception")), ("d", killed)):
            made.append(name)
            yield (name,), outcome

    def run_alone(arguments, crash):
        made.append(f"{arguments[0]} alone, was {crash}")
        yield arguments, f"{arguments[0]} again"

    results = list(retry_ended(outcomes(), run_alone))
    assert made == ["a", "b", "c", "d", "a alone, was ended", "d alone, was killed"]
    assert results == [(("b",), 2), (("c",), Failure("an exception")), (("a",), "a again"), (("d",), "d again")]


def test_a_process_that_ended_after_its_last_call_is_replaced():
    with WorkerPool(1) as pool:
        ((_, (_, process_id)),) = pool.run(process_id_of, [(1,)])
        psutil.Process(process_id).kill()
        pool.idle[0].process.join(WAIT_SEC)
        ((_, (number, other_id)),) = pool.run(process_id_of, [(2,)])
    assert number == 2
    assert other_id != process_id


def test_processes_have_one_blas_thread_unless_the_user_asks_for_more(monkeypatch):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    monkeypatch.delenv(names[0], raising=False)
    monkeypatch.setenv(names[1], "3")
    with WorkerPool(1) as pool:
        assert dict(pool.run(environment_of, [(name,) for name in names])) == {(names[0],): "1", (names[1],): "3"}
    assert names[0] not in os.environ


def test_fewer_processes_make_all_calls_where_the_system_starts_no_more(monkeypatch):
    started, start = [], worker_processes.Worker

    def start_one(crash):
        if started:
            raise OSError(11, "Resource temporarily unavailable")
        started.append(start(crash=crash))
        return started[0]

    monkeypatch.setattr(worker_processes, "Worker", start_one)
    with WorkerPool(3) as pool:
        assert sorted(outcome for _, outcome in pool.run(end, [(None, number) for number in range(4)])) == [0, 1, 2, 3]
    with (
        WorkerPool(3) as pool,
        pytest.raises(OSError, match=r"no worker process can be started \(Resource temporarily"),
    ):
        list(pool.run(end, [(None, 0)]))


def test_calls_that_are_no_longer_wanted_end_with_their_processes(tmp_path):
    with WorkerPool(2) as pool, contextlib.closing(pool.run(report_and_sleep, [(tmp_path, 1), (tmp_path, 2)])) as run:
        workers = []

        class Interrupted(Exception):
            """Ends the wait for an outcome, as Ctrl-C does."""

        def wait(connections):
            deadline = time.monotonic() + WAIT_SEC
            while len(workers[:] or list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            workers.extend(int(path.name) for path in tmp_path.iterdir())
            raise Interrupted

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(worker_processes.connection, "wait", wait)
            with pytest.raises(Interrupted):
                next(run)
    assert len(workers) == 2
    assert not any(map(psutil.pid_exists, workers))


def test_a_parent_that_is_killed_takes_its_processes_with_it(tmp_path):
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from calls_in_processes import report_and_sleep\n"
        "from videosummarizer.worker_processes import WorkerPool\n"
        "with WorkerPool(2) as pool: list(pool.run(report_and_sleep, [(sys.argv[3], 1), (sys.argv[3], 2)]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, ROOT, ROOT / "tests", tmp_path])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, process)
    workers = [psutil.Process(int(path.name)) for path in tmp_path.iterdir()]
    process.kill()
    process.wait(WAIT_SEC)
    gone, alive = psutil.wait_procs(workers, WAIT_SEC)
    assert (len(gone), alive) == (2, [])


@pytest.mark.parametrize(
    ("exit_code", "description"),
    [
        (0, "its process ended with exit status 0"),
        (99, "its process ended with exit status 99"),
        (-9, "its process was ended by SIGKILL, which the system sends if memory runs out"),
        (-11, "its process was ended by SIGSEGV"),
        (-50, "its process was ended by signal 50"),
    ],
)
def test_the_end_of_a_process_is_described(exit_code, description):
    assert describe_end(exit_code) == description
