"""Functions that tests call in worker processes. They are in a module of their own, which imports fast."""

import os
import signal
import sys
import time
from pathlib import Path

from videosummarizer import hardware_decoding
from videosummarizer.media import MediaError


def process_id_of(number):
    return number, os.getpid()


def end(how, number):
    """End the process by a signal or with an exit status, raise an exception, or return the number."""
    if isinstance(how, signal.Signals):
        os.kill(os.getpid(), how)
        time.sleep(60)
    if isinstance(how, int):
        os._exit(how)
    if how == "exit":
        sys.exit(3)
    if how == "raise":
        raise RuntimeError("not this\none")
    if how == "unpicklable":
        return lambda: None
    return number


def end_once(marker, number):
    """Kill the process the first time, and return the number the second time."""
    if Path(marker).exists():
        return number
    Path(marker).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return None


def end_on_device(number):
    """End a process that may use a device, and return what another one decodes with."""
    choice = hardware_decoding.chosen()
    if not choice.failure:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
    return choice


def report_and_sleep(folder, number):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def environment_of(name):
    return os.environ.get(name)


def count_to(number):
    yield from range(number)
    return os.getpid()


def report_progress(number, on_progress):
    for count in range(number):
        on_progress(float(count))
    return os.getpid()


def raise_media_error():
    raise MediaError("match.mp4: bad")


class UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(first)


def raise_unpicklable():
    raise UnpicklableError("odd", 1)
