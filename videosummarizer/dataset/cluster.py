"""Convert matches on a Dask cluster."""

import hashlib
import logging
import pickle
import platform
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from videosummarizer import hardware_decoding
from videosummarizer.dataset.input_folder import InputError
from videosummarizer.error_messages import advice_on, describe_exception
from videosummarizer.worker_processes import Failure, retry_ended

# How long to wait for the answer of a scheduler.
SCHEDULER_TIMEOUT_SEC = 10
# How long to wait for a worker: at the start, and when all of them have ended.
WORKER_TIMEOUT_SEC = 60
# How often to look for workers.
POLL_SEC = 1
# The packages that decide the bytes of a dataset.
PACKAGES = ("av", "librosa", "numpy")

logger = logging.getLogger("data_converter")


@contextmanager
def connect(scheduler: str, folders: list[Path]) -> Iterator["Cluster"]:
    """Connect to a Dask cluster for the length of a context.

    Args:
        scheduler: address of the Dask scheduler, such as "tcp://host:8786".
        folders: absolute paths of the folders that every worker has to see.

    Raises:
        InputError: Dask is not installed, no scheduler answers, there is no worker, or one cannot convert the matches.
    """
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise InputError("--scheduler: needs Dask, which is not installed: pip install distributed") from error
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":  # what they say of lost connections is reported here, in one line
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=SCHEDULER_TIMEOUT_SEC)
    except Exception as error:  # Dask documents none: OSError, ValueError, and others for other versions
        raise InputError(
            f"--scheduler: no Dask scheduler answers at {scheduler}: start one with dask scheduler"
        ) from error
    with client:
        cluster = Cluster(client, scheduler)
        cluster.wait_for_workers()
        cluster.check_workers(folders)
        yield cluster


class Cluster:
    """A Dask cluster.

    Args:
        client: of Dask, connected to the scheduler.
        scheduler: the scheduler's address, for messages.
    """

    def __init__(self, client, scheduler: str):
        self.client, self.scheduler = client, scheduler

    def num_workers(self) -> int:
        """Return the number of workers.

        Raises:
            InputError: the scheduler does not answer any more.
        """
        try:
            return len(self.client.nthreads())
        except (Exception, CancelledError) as error:  # Dask documents none
            raise self.connection_error() from error

    def connection_error(self) -> InputError:
        """Return the error for a scheduler that has ended."""
        return InputError(
            f"--scheduler: the connection to {self.scheduler} is lost: start the scheduler and the workers, and run "
            "the same command again, which continues"
        )

    def wait_for_workers(self, unfinished: Iterable[tuple] = ()) -> None:
        """Wait for a worker.

        Args:
            unfinished: the arguments of the calls that wait for it, for the message.

        Raises:
            InputError: there is none after WORKER_TIMEOUT_SEC.
        """
        if self.num_workers():
            return
        logger.info(
            "--scheduler: no worker is connected to %s: waiting %g s for one", self.scheduler, WORKER_TIMEOUT_SEC
        )
        deadline = time.monotonic() + WORKER_TIMEOUT_SEC
        while not self.num_workers():
            if time.monotonic() > deadline:
                waiting = "".join(f", {Path(arguments[0]).name}" for arguments in list(unfinished)[:5])
                raise InputError(
                    f"--scheduler: no worker has been connected to {self.scheduler} for {WORKER_TIMEOUT_SEC:g} s"
                    f"{waiting and ', not finished:' + waiting[1:]}: start one with dask worker {self.scheduler}"
                )
            time.sleep(POLL_SEC)

    def check_workers(self, folders: list[Path]) -> None:
        """Check that all workers can convert the matches.

        Args:
            folders: absolute paths that every worker has to see.

        Raises:
            InputError: a worker cannot run this code, has other versions, or does not see a folder.
        """
        start = "install the same packages there, and start it with PYTHONPATH set to the folder of data_converter.py"
        here = versions()
        for worker, outcome in self.client.run(describe_worker, folders, on_error="return").items():
            if isinstance(outcome, BaseException):
                reason = describe_exception(outcome)
                raise InputError(f"--scheduler: the worker {worker} cannot run the converter ({reason}): {start}")
            there, unseen = outcome
            differing = ", ".join(
                f"{name} {there.get(name)} for {here[name]}" for name in here if there.get(name) != here[name]
            )
            if differing:
                raise InputError(f"--scheduler: the worker {worker} has other versions ({differing}): {start}")
            if unseen:
                raise InputError(
                    f"--scheduler: the worker {worker} does not see {', '.join(unseen)}: give folders that all "
                    "machines have under the same path"
                )

    def run(self, function: Callable, calls: Iterable[tuple]) -> Iterator[tuple[tuple, object]]:
        """Call a function on the workers, as `worker_processes.WorkerPool.run` does in processes of this machine.

        Raises:
            InputError: all workers or the scheduler have ended.
        """
        yield from retry_ended(
            self.run_together(function, calls), lambda arguments, crash: self.run_together(function, [arguments], crash)
        )

    def run_together(
        self, function: Callable, calls: Iterable[tuple], crash: str = ""
    ) -> Iterator[tuple[tuple, object]]:
        """Make calls on all workers, which decode as the `--hwaccel` of this process says, after a crash in software.

        Args:
            function: makes a call.
            calls: the arguments of each call.
            crash: how workers ended that made these calls before, empty for the first time.
        """
        from dask.distributed import wait

        choice, pending = hardware_decoding.chosen(crash), {}
        for call in calls:
            pickled = pickle.dumps(Call(hardware_decoding.call, (choice, function, *call)))
            pending[self.client.submit(pickle.loads, pickled, pure=False)] = call
        try:
            while pending:
                try:
                    done, _ = wait(list(pending), timeout=POLL_SEC, return_when="FIRST_COMPLETED")
                except TimeoutError:
                    self.wait_for_workers(pending.values())
                    continue
                except (Exception, CancelledError) as error:  # the scheduler has ended; Dask documents none
                    raise self.connection_error() from error
                for future in done:
                    yield pending.pop(future), self.outcome(future)
        finally:
            with suppress(Exception, CancelledError):  # as above
                self.client.cancel(list(pending))

    def outcome(self, future) -> object:
        """Return the outcome of a call: what the function returned, or a Failure.

        Raises:
            InputError: the scheduler has ended.
        """
        from dask.distributed import KilledWorker

        if future.status not in ("finished", "error"):
            raise self.connection_error()
        try:
            if future.status == "finished":
                return future.result()
            error = future.exception()
        except (Exception, CancelledError) as lost:  # the outcome does not arrive; Dask documents none
            raise self.connection_error() from lost
        if isinstance(error, KilledWorker):
            return Failure(
                f"{error.allowed_failures + 1} workers ended while they converted it, the last one at "
                f"{error.last_worker.address}",
                is_process_ended=True,
            )
        return Failure(describe_exception(error), advice_on(error))


class Call:
    """A call that is made when this object is unpickled.

    The scheduler unpickles the names of functions. Of `pickle.loads` it needs nothing but Python, so that only the
    workers have to be able to import the modules of this package.
    """

    def __init__(self, function: Callable, arguments: tuple):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call


def versions() -> dict[str, str]:
    """Return the versions of all that decides the bytes of a dataset, which has to be the same on all machines."""
    modules = sorted(Path(__file__).parent.parent.rglob("*.py"))
    code = hashlib.sha256(b"".join(path.read_bytes() for path in modules)).hexdigest()[:8]
    python = ".".join(platform.python_version_tuple()[:2])
    return {"videosummarizer": code, "python": python, **{name: metadata.version(name) for name in PACKAGES}}


def describe_worker(folders: list[Path]) -> tuple[dict[str, str], list[str]]:
    """Return the versions on a worker, and the folders that it does not see."""
    return versions(), [str(folder) for folder in folders if not folder.is_dir()]
