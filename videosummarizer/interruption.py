"""Handle errors that a stage script's `main` cannot catch.

These are Ctrl-C and missing packages while the script's imports run, and Ctrl-C in the processes that it starts.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def defer_sigint() -> Iterator[None]:
    """Start processes in this context, so that Ctrl-C reaches none of them while it starts.

    A terminal sends Ctrl-C to every process, but only this one should react to it and end the others. SIGINT is
    blocked meanwhile, because processes inherit blocked signals; they have to ignore it before they unblock it. A
    Ctrl-C that arrives in the context is handled at its end, because a process that has only half started cannot be
    ended. Signals belong to the main thread: in other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    pending = []
    handler = signal.signal(signal.SIGINT, lambda *_: pending.append(True))
    if can_block := hasattr(signal, "pthread_sigmask"):  # not on Windows
        # Otherwise it starts with the first process, and in Python 3.11 that unblocks SIGINT.
        resource_tracker.ensure_running()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
        if pending:
            signal.raise_signal(signal.SIGINT)
