"""Ctrl-C within one process: what is printed, which signals are blocked while a process starts, what is restored."""

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
    """Restore after each test what these functions change in its process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(autouse=True)
def is_blocked_for_tracker(monkeypatch):
    """Whether SIGINT was blocked when the resource tracker was started, for each time."""
    calls = []
    monkeypatch.setattr(resource_tracker, "ensure_running", lambda: calls.append(is_blocked()))
    return calls


def is_blocked():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_processes_start_with_ctrl_c_blocked_and_this_one_hears_it_again(is_blocked_for_tracker):
    with interruption.defer_sigint():
        assert is_blocked()
    assert is_blocked_for_tracker == [False]
    assert not is_blocked()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("handler", HANDLERS_KEPT, ids=["ignored", "default", "own"])
def test_a_handler_is_left_in_its_place(handler):
    signal.signal(signal.SIGINT, handler)
    with interruption.defer_sigint():
        pass
    assert signal.getsignal(signal.SIGINT) is handler


def test_signals_that_were_blocked_before_stay_blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
    with interruption.defer_sigint():
        pass
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGINT, signal.SIGUSR1}


def test_ctrl_c_while_a_process_starts_is_handled_once_it_has():
    reached = []

    def start():
        with interruption.defer_sigint():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end of the start")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached
    assert not is_blocked()


def test_ctrl_c_that_is_ignored_stays_ignored_while_a_process_starts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruption.defer_sigint():
        os.kill(os.getpid(), signal.SIGINT)


def test_a_process_that_cannot_start_leaves_signals_as_they_were():
    with pytest.raises(OSError, match="no more processes"), interruption.defer_sigint():
        raise OSError("no more processes")
    assert not is_blocked()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_start_processes_without_touching_signals(is_blocked_for_tracker):
    seen = []

    def start():
        with interruption.defer_sigint():
            seen.append((is_blocked(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(60)
    assert seen == [(False, signal.default_int_handler)]
    assert is_blocked_for_tracker == []


def test_systems_without_signal_masks_defer_ctrl_c_all_the_same(monkeypatch):
    with monkeypatch.context() as patched:
        patched.delattr(signal, "pthread_sigmask")
        with pytest.raises(KeyboardInterrupt), interruption.defer_sigint():
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
