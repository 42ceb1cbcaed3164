"""Calls in the process that decodes: what they yield, report, return and raise, and what happens when it ends."""

import os
import signal
from pathlib import Path

import calls_in_processes as calls
import psutil
import pytest

from videosummarizer.extraction import decoding_process
from videosummarizer.media import MediaError

MATCH = Path("match.mp4")

pytestmark = pytest.mark.usefixtures("real_processes")


def test_items_results_progress_and_exceptions_arrive_and_the_process_stays():
    with decoding_process.running():
        items = decoding_process.iterate(MATCH, calls.count_to, 3)
        received = [next(items) for _ in range(3)]
        with pytest.raises(StopIteration) as end:
            next(items)
        process_id = end.value.value
        assert (received, process_id == os.getpid()) == ([0, 1, 2], False)
        told = []
        assert decoding_process.call(MATCH, calls.report_progress, 2, on_progress=told.append) == process_id
        assert told == [0.0, 1.0]
        with pytest.raises(MediaError, match=r"^match\.mp4: bad$") as error:
            decoding_process.call(MATCH, calls.raise_media_error)
        assert "in raise_media_error" in str(error.value.__cause__)
        with pytest.raises(RuntimeError, match="UnpicklableError: odd") as error:
            decoding_process.call(MATCH, calls.raise_unpicklable)
        assert "in raise_unpicklable" in str(error.value.__cause__)
        assert decoding_process.call(MATCH, os.getpid) == process_id
    assert not psutil.pid_exists(process_id)


def test_a_process_that_is_ended_is_an_error_of_its_match_and_another_one_makes_the_next_call():
    with decoding_process.running():
        first = decoding_process.call(MATCH, os.getpid)
        with pytest.raises(MediaError) as error:
            decoding_process.call(MATCH, calls.end, signal.SIGSEGV, 1)
        assert str(error.value) == (
            "match.mp4: cannot be decoded (its process was ended by SIGSEGV): record or download it again, or move it "
            "elsewhere"
        )
        second = decoding_process.call(MATCH, os.getpid)
        assert first != second
        os.kill(second, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(second)] if psutil.pid_exists(second) else [], 10)
        assert decoding_process.call(MATCH, calls.end, None, 7) == 7


def test_a_call_that_is_given_up_ends_its_process():
    with decoding_process.running():
        process_id = decoding_process.call(MATCH, os.getpid)
        items = decoding_process.iterate(MATCH, calls.count_to, 10**9)
        assert next(items) == 0
        items.close()
        assert not psutil.pid_exists(process_id)
        assert list(decoding_process.iterate(MATCH, calls.count_to, 2)) == [0, 1]


def test_without_the_context_calls_are_made_in_this_process():
    assert decoding_process.call(MATCH, os.getpid) == os.getpid()
    told = []
    assert decoding_process.call(MATCH, calls.report_progress, 1, on_progress=told.append) == os.getpid()
    assert told == [0.0]
    assert list(decoding_process.iterate(MATCH, calls.count_to, 2)) == [0, 1]
