"""When a worker collects garbage: while it waits, rather than while somebody waits for it.

Python collects whenever some thousands more objects live than after the last time, wherever the program happens to be.
What that takes is not those thousands: it is every object that is younger than the last collection, and a request that
waits in line has a hundred. At three times a worker's capacity single collections took 12 to 31 ms of CPU, nobody was
answered meanwhile, and what they found was nothing. Rules:

1. Requests leave no cycles (tests/e2e/test_garbage.py holds that), so there is no hurry: what is to be collected is
   what failures, connections and mistakes leave.
2. Collecting by itself is off. The young are collected when the event loop is about to wait and has nothing to run.
3. A loop that never comes to rest is stopped for it all the same when MOST more objects live: memory stays bounded.
4. Every few collections of the young take the middle-aged along, and of those one in many all: as Python does.
"""

from __future__ import annotations

import gc

import trio

# 3,000: with nothing in line, collecting them takes 0.2 ms.
YOUNG = 3_000
# 200,000: some 20 MB. A line of 2,000 requests is as much.
MOST = 200_000
# How many collections of one age make one of the next. Of all: one in 15 million new objects, as the worker always had.
MIDDLE_AFTER, ALL_AFTER = 5, 1_000


class IdleCollector(trio.abc.Instrument):
    """Collects where the event loop waits: `trio.lowlevel.add_instrument(IdleCollector.start())`."""

    @classmethod
    def start(cls) -> IdleCollector:
        """Collect everything once, and leave what lives now alone from here on: it lives as long as the worker."""
        gc.collect()
        gc.freeze()
        gc.disable()
        return cls()

    def before_io_wait(self, timeout: float) -> None:
        """Trio's hook, once a pass; `timeout` is 0 where tasks are ready to run."""
        young, middle, old = gc.get_count()
        if young > (YOUNG if timeout > 0 else MOST):
            gc.collect(0 if middle < MIDDLE_AFTER else 1 if old < ALL_AFTER else 2)
