"""Reading ahead in threads. What reads ahead has tests of it too: test_data_loader_reading.py, test_scoring.py."""

import queue
from types import SimpleNamespace

from videosummarizer import prefetching


def test_an_item_that_finds_the_queue_full_is_not_lost(monkeypatch):
    class FullAtFirst(queue.Queue):
        num_refused = 0

        def put(self, item, timeout=None):
            if self.num_refused < 3:
                self.num_refused += 1
                raise queue.Full
            super().put(item, timeout=timeout)

    monkeypatch.setattr(prefetching, "queue", SimpleNamespace(Queue=FullAtFirst, Full=queue.Full))
    with prefetching.prefetch_iterator(iter([5, 6, 7]), 2) as ahead:
        assert list(ahead) == [5, 6, 7]
