"""Make processes of the converter wait at a chosen moment, so that tests do not depend on timing."""

import json
import os
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAIT_SEC = 120

# Python imports a module of this name when it starts, in every process that inherits PYTHONPATH.
SITE_CUSTOMIZE = """
import json, os, sys

HOLD = json.loads(os.environ["HOLD"])
HELD = ("data_converter.py", "multiprocessing.spawn", "dask_worker")
if any(name in argument for argument in sys.orig_argv for name in HELD):
    import importlib, pathlib, time

    holder = pathlib if HOLD["module"] == "pathlib" else importlib.import_module(HOLD["module"])
    *owners, name = HOLD["function"].split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    original, calls = getattr(holder, name), []

    def held(*arguments, **more):
        if HOLD["text"] in repr(arguments):
            calls.append(1)
            if len(calls) == HOLD["call"] and not os.path.exists(HOLD["reached"]):
                with open(HOLD["reached"] + ".part", "w") as file:
                    file.write(str(os.getpid()))
                os.rename(HOLD["reached"] + ".part", HOLD["reached"])
                time.sleep(HOLD["wait_sec"])
                os._exit(99)
        return original(*arguments, **more)

    setattr(holder, name, held)
"""


class Hold:
    """Makes a process wait to be killed: the first that calls a function for the call-th time with a text as argument.

    Args:
        folder: a new one, for the files that this needs.
        function: "module:function" or "module:Class.method".
        text: found in the repr of the call's arguments. call: the how manieth such call of the process, from 1.
    """

    def __init__(self, folder: Path, function: str, text: str, call: int = 1):
        folder.mkdir()
        self.reached = folder / "reached"
        (folder / "sitecustomize.py").write_text(SITE_CUSTOMIZE)
        module, name = function.split(":")
        hold = {"module": module, "function": name, "text": text, "call": call}
        hold |= {"reached": str(self.reached), "wait_sec": WAIT_SEC}
        path = os.pathsep.join(map(str, (folder, ROOT)))
        self.environment = {**os.environ, "PYTHONPATH": path, "HOLD": json.dumps(hold)}

    def wait(self, process) -> int:
        """Wait until a process is held, and return its id. `process` must be running meanwhile."""
        wait_until(self.reached.exists, process)
        return int(self.reached.read_text())


CRASH_CUSTOMIZE = """
import importlib, json, os, time

CRASH = json.loads(os.environ["CRASH"])
holder = importlib.import_module(CRASH["module"])
original = getattr(holder, CRASH["function"])


def crash(*arguments, **more):
    if CRASH["text"] in repr(arguments):
        os.kill(os.getpid(), CRASH["signal"])
        time.sleep(CRASH["wait_sec"])
    return original(*arguments, **more)


setattr(holder, CRASH["function"], crash)
"""


class Crash:
    """Makes every process die by a signal when it calls a function with a text as argument.

    Args:
        folder: a new one, for the file that this needs.
        function: "module:function".
        text: found in the repr of the call's arguments.
        signal_number: the signal.
    """

    def __init__(self, folder: Path, function: str, text: str, signal_number: int):
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(CRASH_CUSTOMIZE)
        module, name = function.split(":")
        crash = {"module": module, "function": name, "text": text, "signal": signal_number, "wait_sec": WAIT_SEC}
        path = os.pathsep.join(map(str, (folder, ROOT)))
        self.environment = {**os.environ, "PYTHONPATH": path, "CRASH": json.dumps(crash)}


def wait_until(is_true, process) -> None:
    """Wait until is_true() returns true. Fail if the process ends or a deadline passes."""
    deadline = time.monotonic() + WAIT_SEC
    while not is_true():
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline
        time.sleep(0.01)
