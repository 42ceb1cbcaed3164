"""Errors that a stage script's main cannot catch: Ctrl-C and missing packages while its imports run, and Ctrl-C in the
processes that it starts."""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator

EXIT_STATUS = 130  # the shell's for Ctrl-C


def install_exception_hook() -> None:
    """Make this process end with one line, not a traceback, after a Ctrl-C that nothing catches, with EXIT_STATUS, and
    where a package that the script imports is not installed, with status 1."""

    def excepthook(kind, error, trace) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("ERROR: Interrupted before anything was started", file=sys.stderr)
            sys.exit(EXIT_STATUS)
        if issubclass(kind, ModuleNotFoundError):
            print(
                f"ERROR: {error}: activate the environment (. .venv/bin/activate) that make demo sets up, or install "
                "the requirements (pip install -r requirements.txt -c constraints.txt)",
                file=sys.stderr,
            )
            sys.exit(1)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = excepthook


def ignore_thread_exception(thread_error) -> None:
    """The hook of errors in threads once the work is interrupted: joblib's own fail when processes end under them."""


def raise_keyboard_interrupt(number: int, frame) -> None:
    """A handler of SIGINT while a pool works: KeyboardInterrupt, and no word of the pool's threads."""
    threading.excepthook = ignore_thread_exception
    signal.default_int_handler(number, frame)


def run_pool_ignoring_sigint(pool, jobs: Iterable) -> Iterator:
    """The results of a joblib pool that returns a generator; its processes never hear of Ctrl-C.

    A terminal sends Ctrl-C to them as well, but this process is to end them. It hears of Ctrl-C once all have started:
    joblib does not end what has half started. Processes and threads inherit which signals are blocked, and so do
    processes that a thread starts later.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        return pool(jobs)  # no business of other threads; Windows has no such masks
    from multiprocessing import resource_tracker

    # Semaphores that are left when processes are ended early are cleaned up, which need not be told.
    ignored = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, ignored))
    heard = []
    handler = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    resource_tracker.ensure_running()  # else it starts with the first process, and Python 3.11 unblocks SIGINT then
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        results = pool(jobs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, raise_keyboard_interrupt if handler is signal.default_int_handler else handler)
    if heard:
        threading.excepthook = ignore_thread_exception
        results.throw(KeyboardInterrupt)  # there, so that joblib ends the processes
    return results
