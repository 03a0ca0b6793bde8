"""Collects garbage while the worker's event loop waits, not while requests wait for it.

Python collects whenever some hundreds more objects live than after the last collection, at any point of the program. A
collection scans every object that is younger than the last one, and a queued request has a hundred. At three times a
worker's capacity single collections took 12 to 31 ms of CPU without an answer meanwhile, and found nothing. Rules:

1. Clients leave no reference cycles (tests/e2e/test_garbage.py holds that), so collecting is not urgent. Only mistakes
   and libraries leave garbage.
2. The youngest generation is collected when the event loop is about to wait and has nothing to run; every few times the
   middle generation with it, and all objects once an hour.
3. Python's own collection stays on, for a loop that never rests and in case this instrument fails. It starts only when
   MOST more objects live. So memory stays bounded.
"""

from __future__ import annotations

import gc

import trio

# 3,000: without a queue, collecting them takes 0.2 ms.
YOUNG = 3_000
# 200,000: some 20 MB, the size of a queue of 2,000 requests.
MOST = 200_000
# The number of young collections per middle one (Python's own is 10), and of middle ones per full one, for Python's own
# collection.
MIDDLE_AFTER, ALL_AFTER = 5, 100
# A full collection takes 10 ms for each 100,000 live objects made since the start.
ALL_EVERY_S = 3_600.0


def collect_at_rest() -> None:
    """Collect everything once, and never scan the objects that live now again. From now on, collect when the loop
    rests.

    For the process and the event loop of the calling task, until they end.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MOST, MIDDLE_AFTER, ALL_AFTER)
    trio.lowlevel.add_instrument(IdleCollector(trio.current_time()))


class IdleCollector(trio.abc.Instrument):
    """Collects when the event loop is about to wait. `now` is Trio's clock."""

    def __init__(self, now: float) -> None:
        self._collect_all_at = now + ALL_EVERY_S

    def before_io_wait(self, timeout: float) -> None:
        """Trio's hook, once a pass; `timeout` is 0 if tasks are ready to run."""
        if timeout > 0:
            young, middle, _ = gc.get_count()
            if young > YOUNG:
                self._collect(1 if middle >= MIDDLE_AFTER else 0)

    def _collect(self, generation: int) -> None:
        now = trio.current_time()
        if now >= self._collect_all_at:
            self._collect_all_at = now + ALL_EVERY_S
            generation = 2
        gc.collect(generation)
