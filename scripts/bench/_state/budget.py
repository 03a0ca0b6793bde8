"""What a budget worth 1,000 requests loses to chance: 4 workers, 256 clients at once, latencies, failures, departures.

Every client asks until it is refused for good; the file is read while the workers still run, because a worker that
stops gives back what it has reserved, and the log afterwards, when it is whole.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import trio
from attrs import frozen

from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend
from scripts.bench._state.site import ENDPOINT, Site, ask, open_site

CLIENTS = 256
REQUESTS = 1_000
OUTPUT_TOKENS = 40
# The estimate of the question, and a whole answer, at a cent a token.
RESERVED_TOKENS = 3 + OUTPUT_TOKENS
NANO_A_TOKEN = 10_000_000
MODEL = "sim?latency=lognormal:150ms:0.8&tokens=25&fault=status:500&fail_rate=10%"
# A client is refused for good after so many refusals with such pauses: longer than any request takes.
REFUSALS = 12
REFUSED_PAUSE_S = 0.5
FAILED_PAUSE_S = 0.2
LEAVES, STREAMS = 0.15, 0.5
SETTLE_LIMIT_S = 20.0
LIMIT_S = 300.0


@frozen
class BudgetResult:
    """Billionths of a dollar: the budget, what the log has, and what the shared file has at the end."""

    seconds: float
    statuses: dict[str, int]
    budget: int
    logged: int
    settled: int
    reserved: int

    @property
    def is_good(self) -> bool:
        """Never more than the budget, nothing reserved at the end, and the file and the log agree."""
        return self.logged <= self.budget and self.reserved == 0 and self.settled == self.logged


async def measure_budget(folder: Path, requests: int) -> BudgetResult:
    """Spend a budget of so many requests."""
    budget = requests * RESERVED_TOKENS * NANO_A_TOKEN
    settings = {
        "model": MODEL,
        "max_output_tokens": OUTPUT_TOKENS,
        "monthly_budget_usd": str(budget / 1e9),
        "estimated_cost_per_1k_tokens_usd": "10",
        "deadline_ms": 20_000,
    }
    statuses: Counter[str] = Counter()
    started = time.monotonic()
    async with open_site(folder, **settings) as site:
        with trio.move_on_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                for number in range(CLIENTS):
                    nursery.start_soon(_spend, site, random.Random(number), statuses)
        settled, reserved = await _read_settled(site)
    return BudgetResult(time.monotonic() - started, dict(statuses), budget, _read_log(site.data_dir), settled, reserved)


async def _spend(site: Site, luck: random.Random, statuses: Counter[str]) -> None:
    refusals = 0
    while refusals < REFUSALS:
        request = site.write_request({"message": "Hello there", "stream": luck.random() < STREAMS})
        patience_s = luck.uniform(0.0, 0.4) if luck.random() < LEAVES else LIMIT_S
        outcome = "left"
        with trio.move_on_after(patience_s):
            async with await trio.open_tcp_stream("127.0.0.1", site.port) as stream:
                try:
                    outcome = str(await ask(stream, request))
                except (OSError, trio.BrokenResourceError):
                    outcome = "broken"
        statuses[outcome] += 1
        if outcome == "422":
            refusals += 1
            await trio.sleep(REFUSED_PAUSE_S)
        else:
            refusals = 0 if outcome != "left" else refusals
        if outcome == "502":
            # A breaker that is open answers at once: do not spin on it.
            await trio.sleep(luck.uniform(0.0, 2 * FAILED_PAUSE_S))


async def _read_settled(site: Site) -> tuple[int, int]:
    """(Settled, reserved) in the file, once the last request has ended; the workers still run."""
    now = datetime.now(UTC)
    with closing(open_segment(site.data_dir / "shared.mem")) as segment:
        spend = SharedSpend(segment)
        month = now.year * 12 + now.month - 1
        with trio.move_on_after(SETTLE_LIMIT_S):
            # Another process's file cannot wake us.
            while spend.read(ENDPOINT.bytes, month)[1]:  # noqa: ASYNC110
                await trio.sleep(0.1)
        found = spend.read(ENDPOINT.bytes, month)
        spend.close()
        return found


def _read_log(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "log.db")) as log:
        return int(log.execute("SELECT coalesce(sum(cost_nano_usd), 0) FROM gateway_logs").fetchone()[0])
