"""Run a function for many inputs in worker processes, so that an input that ends its process costs no other input.

A decoder can crash on a damaged file, and the system kills processes when memory runs out. Such a call is made again
once all others are finished, alone in a new process. If that ends too, the call is reported as failed. Processes that
are started after a crash decode in software, because the driver of a device may have crashed (hardware_decoding.py).
"""

import faulthandler
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection

from videosummarizer import hardware_decoding, interruption
from videosummarizer.error_messages import advice_on, describe_exception

# Variables that OpenMP, OpenBLAS and MKL read the number of their threads from.
BLAS_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Failure:
    """The outcome of a call that returned nothing.

    Attributes:
        reason: what happened, as part of a message.
        advice: what to do, as the end of a message.
        traceback: the stack trace of the exception or of the crash, empty without one.
        is_process_ended: whether the process ended during the call, so that another process may succeed.
    """

    reason: str
    advice: str = "record or download it again, or move it elsewhere"
    traceback: str = ""
    is_process_ended: bool = False

    def describe(self, match: object, action: str) -> str:
        """Return the message about a match, for a failed action such as "cannot be converted"."""
        return f"{match}: {action} ({self.reason}): {self.advice}"


def describe_end(exit_code: int) -> str:
    """Return how a process ended, as part of a message, from the exit code as of `multiprocessing.Process`."""
    if exit_code >= 0:
        return f"its process ended with exit status {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"its process was ended by {name}" + (
        ", which the system sends if memory runs out" if name == "SIGKILL" else ""
    )


def retry_ended(
    outcomes: Iterable[tuple[tuple, object]], run_alone: Callable[[tuple, str], Iterator[tuple[tuple, object]]]
) -> Iterator[tuple[tuple, object]]:
    """Make calls that ended their process once more, one by one, after all others.

    Args:
        outcomes: arguments and outcome of each call.
        run_alone: makes a call while no other one is made, and yields its arguments and outcome. It takes the
            arguments, and how the process of the call ended.

    Yields:
        Arguments and outcome of each call.
    """
    ended = []
    for arguments, outcome in outcomes:
        if isinstance(outcome, Failure) and outcome.is_process_ended:
            ended.append((arguments, outcome.reason))
        else:
            yield arguments, outcome
    for arguments, crash in ended:
        yield from run_alone(arguments, crash)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Start processes in this context, so that they make no more than one BLAS thread unless the user asks for more.

    Otherwise each process makes one for each core, which costs memory.
    """
    added = {name: "1" for name in BLAS_VARIABLES if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


class Worker:
    """A process that makes calls, one at a time. It decodes as the `--hwaccel` of this process says.

    Args:
        answer: called in the process with its connection, the function and the arguments of each call; it sends what
            comes of the call. By default that is one outcome.
        crash: how a process ended whose place this one takes. Then it decodes in software.
    """

    def __init__(self, answer: Callable[[connection.Connection, Callable, tuple], None] | None = None, crash: str = ""):
        context = multiprocessing.get_context("spawn")
        self.connection, their_connection = context.Pipe()
        self.stack_traces, their_stack_traces = context.Pipe(duplex=False)
        arguments = (their_connection, their_stack_traces, answer or send_outcome, hardware_decoding.chosen(crash))
        self.process = context.Process(target=serve_calls, args=arguments, daemon=True)
        try:
            with interruption.defer_sigint(), one_blas_thread():
                self.process.start()
        finally:
            their_connection.close()
            their_stack_traces.close()

    def receive(self) -> object:
        """Return what the process sends next, or a Failure if it has ended."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return Failure(
                describe_end(self.process.exitcode), traceback=self.read_stack_traces(), is_process_ended=True
            )

    def read_stack_traces(self) -> str:
        """Return what the process wrote when a signal ended it, empty for other ends and on Windows."""
        if os.name != "posix":
            return ""
        parts = iter(lambda: os.read(self.stack_traces.fileno(), 65536), b"")
        return b"".join(parts).decode(errors="replace").strip()

    def stop(self) -> None:
        """Kill the process and wait for its end."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()
        self.stack_traces.close()


class WorkerPool:
    """Worker processes. Use it as a context manager: its processes end with the context.

    Args:
        num_processes: how many calls are made at the same time.

    Attributes:
        idle: the processes that make no call.
        crash: how a process ended during the calls of `run`, empty if none did.
    """

    def __init__(self, num_processes: int):
        self.num_processes = num_processes
        self.idle: list[Worker] = []
        self.crash = ""

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_) -> None:
        self.stop_idle()

    def stop_idle(self) -> None:
        """End the processes that make no call."""
        while self.idle:
            self.idle.pop().stop()

    def run(self, function: Callable, calls: Iterable[tuple]) -> Iterator[tuple[tuple, object]]:
        """Call a function in the processes.

        Args:
            function: one that can be pickled, at the top level of a module.
            calls: the arguments of each call, in the order in which the calls start.

        Yields:
            Arguments and outcome of each call, in the order in which they end. The outcome is what the function
            returned, or a Failure.

        Raises:
            OSError: no process can be started.
        """

        def run_together(calls: Iterable[tuple]) -> Iterator[tuple[tuple, object]]:
            waiting = deque(calls)
            busy: dict[connection.Connection, tuple[Worker, tuple]] = {}
            try:
                while waiting or busy:
                    while waiting and len(busy) < self.num_processes:
                        self.start_call(function, waiting, busy)
                    for ready in connection.wait(busy):
                        worker, arguments = busy.pop(ready)
                        outcome = worker.receive()
                        if isinstance(outcome, Failure) and outcome.is_process_ended:
                            worker.stop()
                            self.crash = outcome.reason
                        else:
                            self.idle.append(worker)
                        yield arguments, outcome
            finally:
                for worker, _ in busy.values():
                    worker.stop()

        def run_alone(arguments: tuple, crash: str) -> Iterator[tuple[tuple, object]]:
            self.stop_idle()  # a new process makes the call, and no other one takes memory
            self.crash = crash
            yield from run_together([arguments])

        if self.crash:  # in calls of another function, which may not have used a device
            self.stop_idle()
            self.crash = ""
        yield from retry_ended(run_together(calls), run_alone)

    def start_call(
        self,
        function: Callable,
        waiting: deque[tuple],
        busy: dict[connection.Connection, tuple[Worker, tuple]],
    ) -> None:
        """Give the first of the waiting calls to a process.

        If no further process can be started, those that are busy make all calls.
        """
        try:
            worker = self.idle.pop() if self.idle else Worker(crash=self.crash)
        except OSError as error:
            if not busy:
                raise OSError(
                    f"no worker process can be started ({error.strerror}): close other programs, and run the same "
                    "command again"
                ) from error
            self.num_processes = len(busy)
            return
        try:
            worker.connection.send((function, waiting[0]))
        except OSError:
            worker.stop()  # it ended after its last call: another process takes the call
        else:
            busy[worker.connection] = worker, waiting.popleft()


def serve_calls(
    calls: connection.Connection,
    stack_traces: connection.Connection,
    answer: Callable,
    choice: hardware_decoding.Choice,
) -> None:
    """Make the calls that arrive, until the other end is closed. This runs in a worker process.

    Args:
        calls: takes functions with their arguments, and sends outcomes.
        stack_traces: sends the stack trace of the thread in which a crash ends this process.
        answer: as for `Worker`.
        choice: as for `hardware_decoding.choose`.
    """
    hardware_decoding.choose(choice)
    if os.name == "posix":
        # That of one thread fits into the pipe, which nobody reads before the process has ended.
        faulthandler.enable(stack_traces.fileno(), all_threads=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the parent too, which ends this process
    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        try:
            function, arguments = calls.recv()
        except (EOFError, OSError):
            return
        answer(calls, function, arguments)


def send_outcome(calls: connection.Connection, function: Callable, arguments: tuple) -> None:
    """Make a call, and send what it returns, or a Failure."""
    try:
        outcome = function(*arguments)
    except Exception as error:
        outcome = describe_failure(error)
    try:
        calls.send(outcome)
    except Exception as error:  # it cannot be pickled
        calls.send(describe_failure(error))


def describe_failure(error: Exception) -> Failure:
    """Return the outcome of a call that raised an exception, which is being handled."""
    return Failure(describe_exception(error), advice_on(error), traceback.format_exc())


def end_with_parent() -> None:
    """End this process when its parent process has ended, however that ended."""
    multiprocessing.parent_process().join()
    os._exit(1)
