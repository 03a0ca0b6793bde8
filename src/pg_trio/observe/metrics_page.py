"""`GET /metrics`: read in the event loop what needs it, and make the text in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from pg_trio.errors import StoreError
from pg_trio.observe.metric_families import GaugeFamily
from pg_trio.observe.process_figures import read_process
from pg_trio.shared_memory.metric_file import MetricReader
from pg_trio.shared_memory.segment_file import count_used_slots

if TYPE_CHECKING:
    from pg_trio.observe.exposition import MetricsText

_SLOTS = "pg_trio_shared_memory_slots_used"


@define(eq=False)
class MetricsPage:
    """Makes the text of all workers' metrics, one at a time.

    `sample` brings this worker's own figures up to date, `read_gauges` reads those that all workers share.
    """

    _reader: MetricReader
    # Called once, on the thread of the first text.
    _load_text: Callable[[], MetricsText]
    _sample: Callable[[], None]
    _read_gauges: Callable[[], Awaitable[Sequence[GaugeFamily]]]
    _segment: Path
    _text: MetricsText | None = field(default=None, init=False)
    _turn: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics if the field `Accept` asks for it. Raises StoreError."""
        self._sample()
        gauges = await self._read_gauges()
        return await trio.to_thread.run_sync(self._write, gauges, accept, limiter=self._turn)

    async def aclose(self) -> None:
        """Let go of the file, after a text that is being made."""
        await trio.to_thread.run_sync(self._reader.close, limiter=self._turn)

    def _write(self, gauges: Sequence[GaugeFamily], accept: str) -> tuple[bytes, str]:
        try:
            tables = self._reader.read()
        except OSError as error:
            raise StoreError(f"the file of metrics cannot be read ({error.strerror}).") from error
        processes = [(table.seat, read_process(table.pid)) for table in tables if table.is_live]
        used = count_used_slots(self._segment)
        slots = GaugeFamily(_SLOTS, "Slots of the shared file that are in use.", (), {} if used is None else {(): used})
        if self._text is None:
            self._text = self._load_text()
        return self._text.write(tables, processes, [*gauges, slots], accept)
