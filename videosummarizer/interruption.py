"""Handle errors that a stage script's `main` cannot catch.

These are Ctrl-C and missing packages while the script's imports run, and Ctrl-C in the processes that it starts.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator

# The exit status that shells use for Ctrl-C, 128 + SIGINT.
EXIT_STATUS = 130


def install_exception_hook() -> None:
    """Install a `sys.excepthook` that prints one line instead of a traceback for two errors that nothing catches.

    After Ctrl-C the process exits with EXIT_STATUS. If a package that the script imports is not installed, it exits
    with status 1.
    """

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
    """Ignore an error in a thread. This is a `threading.excepthook` for the time after Ctrl-C.

    joblib's threads fail when the processes that they wait for are ended.
    """


def raise_keyboard_interrupt(number: int, frame) -> None:
    """Raise KeyboardInterrupt and ignore further errors in threads. This handles SIGINT while a pool works."""
    threading.excepthook = ignore_thread_exception
    signal.default_int_handler(number, frame)


def run_pool_ignoring_sigint(pool, jobs: Iterable) -> Iterator:
    """Start a joblib pool whose processes ignore Ctrl-C.

    A terminal sends Ctrl-C to every process, but only this one should react to it and end the others. SIGINT is
    blocked while the pool starts, because processes and threads inherit blocked signals, and so do processes that a
    thread starts later. A Ctrl-C that arrives meanwhile is handled once all processes have started, because joblib does
    not end processes that have only half started.

    Args:
        pool: a `joblib.Parallel` that returns a generator.
        jobs: what the pool is called with.

    Returns:
        The pool's generator of results.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        return pool(jobs)  # signals belong to the main thread; Windows cannot block them
    from multiprocessing import resource_tracker

    # Processes that are ended early leave semaphores. Python cleans them up and warns, which no user needs to read.
    ignored = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, ignored))
    pending = []
    handler = signal.signal(signal.SIGINT, lambda *_: pending.append(True))
    # Otherwise it starts with the first process, and in Python 3.11 that unblocks SIGINT.
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        results = pool(jobs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, raise_keyboard_interrupt if handler is signal.default_int_handler else handler)
    if pending:
        threading.excepthook = ignore_thread_exception
        results.throw(KeyboardInterrupt)  # inside the generator, so that joblib ends the processes
    return results
