"""videosummarizer.prefetching."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

NUM_READERS = 2  # threads


def prefetch(read: Callable, items: Iterable, num_ahead: int) -> Iterator:
    """read(item) of each item, in order, the next num_ahead of them being read in threads meanwhile."""
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
