"""Ctrl-C within one process: what is printed, which signals are blocked while a pool starts, what is restored."""

import os
import signal
import sys
import threading
from multiprocessing import resource_tracker

import pytest

from videosummarizer import interruption

HANDLERS_KEPT = (signal.SIG_IGN, signal.SIG_DFL, lambda number, frame: None)


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Restore after each test what run_pool_ignoring_sigint changes in its process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setenv("PYTHONWARNINGS", "default:here")
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGINT, handler)


def is_blocked():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


class Results:
    """An iterator as a pool returns it, which records what is thrown into it."""

    def __init__(self):
        self.thrown = []

    def throw(self, error):
        self.thrown.append(error)
        raise error


@pytest.fixture
def pool(monkeypatch):
    """A pool that records signals and hooks while it starts, and calls `pool.during` then."""

    def pool(jobs):
        pool.jobs = jobs
        pool.is_blocked, pool.warnings = is_blocked(), os.environ["PYTHONWARNINGS"]
        pool.during()
        return pool.results

    pool.results, pool.during = Results(), lambda: None
    pool.is_blocked_for_tracker = []
    monkeypatch.setattr(resource_tracker, "ensure_running", lambda: pool.is_blocked_for_tracker.append(is_blocked()))
    return pool


def test_a_pools_processes_start_with_ctrl_c_blocked_and_this_one_hears_it_again(pool):
    jobs = object()
    assert interruption.run_pool_ignoring_sigint(pool, jobs) is pool.results
    assert pool.jobs is jobs
    assert pool.is_blocked
    assert pool.is_blocked_for_tracker == [False]
    assert not is_blocked()
    assert signal.getsignal(signal.SIGINT) is interruption.raise_keyboard_interrupt
    assert pool.results.thrown == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("default:here", "default:here,ignore:resource_tracker"),
        ("", "ignore:resource_tracker"),
        (None, "ignore:resource_tracker"),
    ],
)
def test_the_resource_tracker_is_told_to_be_quiet_and_other_filters_stay(pool, monkeypatch, before, after):
    if before is None:
        monkeypatch.delenv("PYTHONWARNINGS")
    else:
        monkeypatch.setenv("PYTHONWARNINGS", before)
    interruption.run_pool_ignoring_sigint(pool, ())
    assert pool.warnings == after


@pytest.mark.parametrize("handler", HANDLERS_KEPT, ids=["ignored", "default", "own"])
def test_another_handler_is_left_in_its_place(pool, handler):
    signal.signal(signal.SIGINT, handler)
    interruption.run_pool_ignoring_sigint(pool, ())
    assert signal.getsignal(signal.SIGINT) is handler


def test_signals_that_were_blocked_before_stay_blocked(pool):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
    interruption.run_pool_ignoring_sigint(pool, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGINT, signal.SIGUSR1}


def test_ctrl_c_while_a_pool_starts_is_thrown_into_it_once_it_has(pool):
    pool.during = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interruption.run_pool_ignoring_sigint(pool, ())
    assert pool.results.thrown == [KeyboardInterrupt]
    assert threading.excepthook is interruption.ignore_thread_exception
    assert not is_blocked()


def test_ctrl_c_after_a_pool_has_started_interrupts_without_a_word_of_its_threads(pool):
    interruption.run_pool_ignoring_sigint(pool, ())
    assert threading.excepthook is not interruption.ignore_thread_exception
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert threading.excepthook is interruption.ignore_thread_exception
    assert pool.results.thrown == []


def test_a_pool_that_cannot_start_leaves_signals_as_they_were(pool):
    def fail():
        raise OSError("no more processes")

    pool.during = fail
    with pytest.raises(OSError, match="no more processes"):
        interruption.run_pool_ignoring_sigint(pool, ())
    assert not is_blocked()
    assert signal.getsignal(signal.SIGINT) is interruption.raise_keyboard_interrupt


def test_other_threads_start_pools_without_touching_signals(pool):
    results = []
    thread = threading.Thread(target=lambda: results.append(interruption.run_pool_ignoring_sigint(pool, ())))
    thread.start()
    thread.join(60)
    assert results == [pool.results]
    assert not pool.is_blocked
    assert pool.warnings == "default:here"
    assert pool.is_blocked_for_tracker == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_systems_without_signal_masks_start_pools_as_they_are(pool, monkeypatch):
    with monkeypatch.context() as patched:
        patched.delattr(signal, "pthread_sigmask")
        pool.during = lambda: None
        results = interruption.run_pool_ignoring_sigint(lambda jobs: ("results", jobs), "jobs")
    assert results == ("results", "jobs")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_errors_of_threads_are_not_printed_once_the_work_is_interrupted(capsys):
    assert interruption.ignore_thread_exception(("kind", "error", "trace", "thread")) is None
    assert capsys.readouterr() == ("", "")


class OwnInterrupt(KeyboardInterrupt):
    """A kind of Ctrl-C."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OwnInterrupt])
def test_an_uncaught_ctrl_c_is_one_line_and_the_shells_status(capsys, kind):
    interruption.install_exception_hook()
    with pytest.raises(SystemExit) as exit_info:
        sys.excepthook(kind, kind(), None)
    assert exit_info.value.code == 130
    assert interruption.EXIT_STATUS == 130
    assert capsys.readouterr() == ("", "ERROR: Interrupted before anything was started\n")


def test_other_uncaught_errors_are_shown_as_ever(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "__excepthook__", lambda *what: shown.append(what))
    interruption.install_exception_hook()
    error = ValueError("odd")
    sys.excepthook(ValueError, error, "trace")
    assert shown == [(ValueError, error, "trace")]
    assert capsys.readouterr() == ("", "")
