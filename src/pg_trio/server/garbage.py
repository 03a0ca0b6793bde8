"""When a worker collects garbage: while it waits, rather than while somebody waits for it.

Python collects whenever some hundreds more objects live than after the last time, wherever the program happens to be.
What that takes is not those hundreds: it is every object that is younger than the last collection, and a request that
waits in line has a hundred. At three times a worker's capacity single collections took 12 to 31 ms of CPU, nobody was
answered meanwhile, and what they found was nothing. Rules:

1. Clients leave no cycles (tests/e2e/test_garbage.py holds that), so there is no hurry: what is to be collected is
   what mistakes and libraries leave.
2. The young are collected when the event loop is about to wait and has nothing to run; every few times the
   middle-aged with them, and all once an hour.
3. Collecting by itself stays on, for a loop that never comes to rest and for the day when this instrument fails, but
   only once MOST more objects live: memory stays bounded.
"""

from __future__ import annotations

import gc

import trio

# 3,000: with nothing in line, collecting them takes 0.2 ms.
YOUNG = 3_000
# 200,000: some 20 MB. A line of 2,000 requests is as much.
MOST = 200_000
# So many collections of the young make one of the middle-aged; Python's own count is 10. So many of those one of all,
# where the interpreter collects by itself.
MIDDLE_AFTER, ALL_AFTER = 5, 100
# It takes 10 ms for each 100,000 objects that came since the start and live.
ALL_EVERY_S = 3_600.0


def collect_at_rest() -> None:
    """Collect everything once and leave what lives now alone for ever; from here on, collect when the loop rests.

    For the process and the event loop of the calling task, as long as they run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MOST, MIDDLE_AFTER, ALL_AFTER)
    trio.lowlevel.add_instrument(IdleCollector(trio.current_time()))


class IdleCollector(trio.abc.Instrument):
    """Collects where the event loop waits. `now` is Trio's clock."""

    def __init__(self, now: float) -> None:
        self._collect_all_at = now + ALL_EVERY_S

    def before_io_wait(self, timeout: float) -> None:
        """Trio's hook, once a pass; `timeout` is 0 where tasks are ready to run."""
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
