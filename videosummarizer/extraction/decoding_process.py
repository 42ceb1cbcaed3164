"""Decode matches in a process of their own, so that a decoder that dies by a signal costs only its match.

The network stays in the main process, which receives sampled frames and audio. After a crash, the process is started
again, and decodes in software, because the driver of a device may have crashed (hardware_decoding.py). Outside the
context `running`, everything is decoded in this process.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import connection
from multiprocessing.pool import ExceptionWithTraceback, RemoteTraceback
from pathlib import Path

from videosummarizer import hardware_decoding, media
from videosummarizer.atomic_file import discard
from videosummarizer.error_messages import describe_exception
from videosummarizer.worker_processes import Failure, Worker

# Kinds of what the process sends: an item, what the call returned, and an exception that it raised.
ITEM, RESULT, ERROR = "item", "result", "error"


class DecodingProcess:
    """A process that makes one call after another, started when it is needed.

    Attributes:
        idle: The process while it makes no call, None during a call and before the first one.
        crash: How a process ended during a call, empty if none did.
    """

    def __init__(self):
        self.idle: Worker | None = None
        self.crash = ""

    def iterate(self, video_path: Path, function: Callable, arguments: tuple, reports: bool) -> Iterator:
        """Yield what a call yields or reports, and return what it returns; see `iterate` and `call`.

        Raises:
            media.ProcessError: The process ended during the call.
            OSError: No process can be started.
        """
        worker, kind = self.start_call((function, (reports, *arguments))), None
        try:
            while True:
                kind, value = self.receive(worker, video_path)
                if kind == RESULT:
                    return value
                if kind == ERROR:
                    raise value
                yield value
        finally:
            if kind in (RESULT, ERROR):
                self.idle = worker
            else:  # it still decodes, or has ended
                worker.stop()

    def start_call(self, function_call: tuple) -> Worker:
        """Return the process, to which a call was sent."""
        worker, self.idle = self.idle or Worker(send_items, self.crash), None
        try:
            worker.connection.send(function_call)
        except OSError:  # it ended after its last call
            worker.stop()
            worker = Worker(send_items, self.crash)
            worker.connection.send(function_call)
        return worker

    def receive(self, worker: Worker, video_path: Path) -> tuple[str, object]:
        """Return the kind and the value of what the process sends next.

        Raises:
            media.ProcessError: The process has ended.
        """
        message = worker.receive()
        if isinstance(message, Failure):
            self.crash = message.reason
            cause = RemoteTraceback(message.traceback) if message.traceback else None
            raise media.ProcessError(message.describe(video_path, "cannot be decoded")) from cause
        return message

    def stop(self) -> None:
        """End the process if it makes no call. Calls end it when their iterator is closed."""
        if self.idle:
            self.idle.stop()


# The process of the context that is entered.
current: DecodingProcess | None = None


@contextmanager
def running() -> Iterator[None]:
    """Let `call` and `iterate` use a process, which ends with this context."""
    global current
    current = process = DecodingProcess()
    try:
        yield
    finally:
        current = None
        process.stop()


def iterate(video_path: Path, function: Callable, *arguments) -> Iterator:
    """Call a generator function in the process; yield what it yields, and return what it returns.

    Args:
        video_path: The match, for messages.
        function: One at the top level of a module.
        arguments: Those of the call, which can be pickled.

    Raises:
        media.ProcessError: The process ended during the call.
    """
    if current is None:
        return (yield from function(*arguments))
    return (yield from current.iterate(video_path, function, arguments, False))


def call(video_path: Path, function: Callable, *arguments, on_progress: Callable[[float], object] | None = None):
    """Call a function in the process, and return what it returns.

    Args:
        video_path: The match, for messages.
        function: One at the top level of a module.
        arguments: Those of the call, which can be pickled.
        on_progress: Given to the function as its last argument, if any. It is called in this process.

    Raises:
        media.ProcessError: The process ended during the call.
    """
    if current is None:
        return function(*arguments, *filter(None, (on_progress,)))
    with closing(current.iterate(video_path, function, arguments, on_progress is not None)) as items:
        return pass_all(items, on_progress)


def retry_in_software(function: Callable, *arguments):
    """Call a function that uses the process. If that ends and may have used a device, call the function once more.

    The process that replaces it decodes in software.

    Args:
        function: One that can be called again.
        arguments: Those of the call.

    Raises:
        media.ProcessError: The process ended again.
    """
    if current and not current.crash and hardware_decoding.chosen().hwaccel != hardware_decoding.NONE:
        with suppress(media.ProcessError):
            return function(*arguments)
    return function(*arguments)


def write(video_path: Path, path: Path, function: Callable, *arguments, on_progress: Callable[[float], object]) -> None:
    """Call a function that writes a file in the process, as `call` does; nothing stays of a file that is not finished.

    Args:
        video_path: The match, for messages.
        path: The file. The function writes it under this name with ".part" first.
        function: One at the top level of a module.
        arguments: Those of the call, which can be pickled.
        on_progress: Given to the function as its last argument. It is called in this process.

    Raises:
        media.MediaError: The process ended during the call.
    """
    try:
        call(video_path, function, *arguments, on_progress=on_progress)
    finally:
        discard(f"{path}.part")  # of a process that was ended


def send_items(calls: connection.Connection, function: Callable, arguments: tuple) -> None:
    """Make a call in the process, and send what it yields or reports, and what it returns or raises.

    Args:
        calls: The connection to the main process.
        function: A function or a generator function.
        arguments: Whether the function takes a function for its progress, and its other arguments.
    """

    def send_item(item) -> None:
        calls.send((ITEM, item))

    reports, *arguments = arguments
    try:
        result = function(*arguments, send_item) if reports else function(*arguments)
        if isinstance(result, Iterator):
            result = pass_all(result, send_item)
        calls.send((RESULT, result))
    except Exception as error:
        calls.send((ERROR, with_traceback(error)))


def pass_all(items: Iterator, function: Callable[[object], object]) -> object:
    """Call a function with each item of a generator, and return what the generator returns."""
    while True:
        try:
            item = next(items)
        except StopIteration as end:
            return end.value
        function(item)


def with_traceback(error: Exception) -> Exception | ExceptionWithTraceback:
    """Return an exception so that it arrives with its stack trace; one that cannot be pickled becomes RuntimeError."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(describe_exception(error)).with_traceback(error.__traceback__)
    return ExceptionWithTraceback(error, error.__traceback__)
