"""What a worker samples for its metrics: gauges, and counters that are kept elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import trio
from attrs import define, field

from pg_trio.errors import StoreError
from pg_trio.observe.metric_kinds import COUNT, GAUGE, LAG
from pg_trio.observe.metric_series import SeriesBook

logger = logging.getLogger("pg_trio.observe")

# A scrape sees another worker's gauges as they were at most this long ago. Four wake-ups a second cost nothing.
SAMPLE_EVERY_S = 0.25


@define(eq=False)
class Sampler:
    """Samples one worker. `gauges` and `counts` read what is exported under their names.

    A count starts at 0 in each worker; what is copied to the table is its growth. `path` is the file of metrics.
    """

    _book: SeriesBook
    _gauges: Mapping[str, Callable[[], float]]
    _counts: Mapping[str, Callable[[], float]]
    _path: Path
    _copied: dict[str, float] = field(factory=dict)
    _is_told: bool = False

    async def run(self) -> None:
        """Sample until cancelled, and note how late each waking was: the event loop's lag."""
        due_at = trio.current_time()
        while True:
            due_at = max(due_at, trio.current_time()) + SAMPLE_EVERY_S
            await trio.sleep_until(due_at)
            self._book.observe(LAG, max(0.0, trio.current_time() - due_at) * 1000)
            self.sample()
            try:
                self._book.renew(self._path)
            except StoreError as error:
                if not self._is_told:
                    logger.error("%s Metrics are not shown until it works.", error)
                self._is_told = True

    def sample(self) -> None:
        """Copy everything to the table."""
        for name, read in self._gauges.items():
            self._book.put(GAUGE, read(), name)
        self.sample_counts()

    def sample_counts(self) -> None:
        """Copy the counters. Unlike gauges, they outlive the worker."""
        for name, read in self._counts.items():
            count = read()
            self._book.count(COUNT, max(0.0, count - self._copied.get(name, 0.0)), name)
            self._copied[name] = count
