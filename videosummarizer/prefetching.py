"""Read ahead in threads, so that reading overlaps with the work that uses what was read.

`prefetch` calls a function for many items in several threads; the data loader reads files with it. `prefetch_iterator`
reads one iterator in one thread; stage 4 decodes a match with it while the network runs.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

# Threads of `prefetch`.
NUM_READERS = 2
# How often the thread of `prefetch_iterator` checks whether it should stop while its queue is full.
POLL_SEC = 0.1


def prefetch(read: Callable, items: Iterable, num_ahead: int) -> Iterator:
    """Yield `read(item)` of each item in order, while NUM_READERS threads read the next ones.

    Args:
        read: called in the threads. An exception that it raises is raised again where its result would be yielded.
        items: read by the caller's thread, `num_ahead` items early.
        num_ahead: how many items are read beyond the one that is yielded.
    """
    with ThreadPoolExecutor(NUM_READERS) as readers:
        ahead: deque = deque()
        try:
            for item in items:
                ahead.append(readers.submit(read, item))
                if len(ahead) > num_ahead:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)


@contextmanager
def prefetch_iterator(items: Iterator, num_ahead: int) -> Iterator[Iterator]:
    """Read an iterator in one thread, so that its items are ready before they are taken.

    Use it for an iterator that cannot be read in parallel, such as a decoder. Leaving the context stops the thread.

    Args:
        items: read by the thread only. An exception that it raises is raised again where its item would be taken.
        num_ahead: at most so many items wait to be taken.

    Yields:
        An iterator over the items, in the same order.
    """
    ready: queue.Queue = queue.Queue(num_ahead)
    stop = threading.Event()

    def put(kind: str, item) -> None:
        while not stop.is_set():
            try:
                return ready.put((kind, item), timeout=POLL_SEC)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for item in items:
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except Exception as error:  # raised again where the items are taken
            put("error", error)

    def take() -> Iterator:
        while True:
            kind, item = ready.get()
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield take()
    finally:
        stop.set()
        reader.join()
