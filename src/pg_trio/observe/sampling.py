"""What a worker samples for its metrics: gauges, and counters that are kept elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import trio
from attrs import define, field

from pg_trio.observe.metric_kinds import COUNT, GAUGE, LAG
from pg_trio.observe.metric_series import SeriesBook

# A scrape sees another worker's gauges as they were at most this long ago. Four wake-ups a second cost nothing.
SAMPLE_EVERY_S = 0.25


@define(eq=False)
class Sampler:
    """Samples one worker. `gauges` and `counts` read what is exported under their names.

    A count starts at 0 in each worker; what is copied to the table is its growth.
    """

    _book: SeriesBook
    _gauges: Mapping[str, Callable[[], float]]
    _counts: Mapping[str, Callable[[], float]]
    _copied: dict[str, float] = field(factory=dict)

    async def run(self) -> None:
        """Sample until cancelled, and note how late each waking was: the event loop's lag."""
        due_at = trio.current_time()
        while True:
            due_at = max(due_at, trio.current_time()) + SAMPLE_EVERY_S
            await trio.sleep_until(due_at)
            self._book.observe(LAG, max(0.0, trio.current_time() - due_at) * 1000)
            self.sample()

    def sample(self) -> None:
        """Copy everything to the table."""
        for name, read in self._gauges.items():
            self._book.put(GAUGE, read(), name)
        for name, read in self._counts.items():
            count = read()
            self._book.count(COUNT, max(0.0, count - self._copied.get(name, 0.0)), name)
            self._copied[name] = count


def cpu_s() -> float:
    """The CPU time of this process, in seconds."""
    return time.process_time()
