"""What a budget worth 1,000 requests loses to chance: 4 workers, 256 clients at once, latencies, failures, departures.

Every client asks until it is refused for good. The shared file is read while the workers still run, because a worker
that stops gives back what it has reserved; the log is read afterwards, when it is whole.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import trio
from attrs import frozen

from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend
from scripts.bench.benches.state.limit import ENDPOINT, SLUG, run_workers
from scripts.bench.harness.client import run_crowd
from scripts.bench.harness.site import RunningGateway, open_site

CLIENTS, OUTPUT_TOKENS = 256, 40
# The estimate of the question, and a whole answer, at a cent a token.
RESERVED_TOKENS, NANO_A_TOKEN = 3 + OUTPUT_TOKENS, 10_000_000
MODEL = "sim?latency=lognormal:150ms:0.8&tokens=25&fault=status:500&fail_rate=10%"
# A client is refused for good after so many refusals with such pauses: longer than any request takes.
REFUSALS, REFUSED_PAUSE_S, FAILED_PAUSE_S = 12, 0.5, 0.2
# The share of clients that leave, and of streams.
LEAVES, STREAMS, PATIENCE_S = 0.15, 0.5, 0.4
SETTLE_LIMIT_S, LIMIT_S = 20.0, 300.0


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


def measure_budget(requests: int) -> BudgetResult:
    budget = requests * RESERVED_TOKENS * NANO_A_TOKEN
    costs = {"monthly_budget_usd": str(budget / 1e9), "estimated_cost_per_1k_tokens_usd": "10"}
    statuses: Counter[str] = Counter()
    started = time.monotonic()
    with open_site() as site:
        with run_workers(site, MODEL, max_output_tokens=OUTPUT_TOKENS, deadline_ms=20_000, **costs) as gateway:
            trio.run(_spend_all, gateway, statuses)
            settled, reserved = trio.run(_read_settled, gateway.files.data_dir)
        logged = gateway.files.read_log("sum(cost_nano_usd)")
    return BudgetResult(time.monotonic() - started, dict(statuses), budget, logged, settled, reserved)


async def _spend_all(gateway: RunningGateway, statuses: Counter[str]) -> None:
    async def spend(number: int) -> None:
        refusals, luck = 0, Random(number)
        while refusals < REFUSALS:
            outcome = await _ask(gateway, luck)
            statuses[outcome] += 1
            if outcome == "422":
                refusals += 1
                await trio.sleep(REFUSED_PAUSE_S)
            elif outcome != "left":
                refusals = 0
            if outcome == "502":
                # A breaker that is open answers at once: do not spin on it.
                await trio.sleep(luck.uniform(0.0, 2 * FAILED_PAUSE_S))

    with trio.move_on_after(LIMIT_S):
        await run_crowd(CLIENTS, spend)


async def _ask(gateway: RunningGateway, luck: Random) -> str:
    """The status of one request, `left` if its client did not wait for it, `broken` if its connection ended."""
    is_stream = luck.random() < STREAMS
    patience_s = luck.uniform(0.0, PATIENCE_S) if luck.random() < LEAVES else LIMIT_S
    answer = await gateway.ask(SLUG, patience_s, stream=is_stream)
    return {"": str(answer.status), "hung": "left"}.get(answer.failure, "broken")


async def _read_settled(data_dir: Path) -> tuple[int, int]:
    """(settled, reserved) in the file, once the last request has ended; the workers still run."""
    now = datetime.now(UTC)
    month, key = now.year * 12 + now.month - 1, UUID(ENDPOINT).bytes
    with closing(open_segment(data_dir / "shared.mem")) as segment, closing(SharedSpend(segment)) as spend:
        with trio.move_on_after(SETTLE_LIMIT_S):
            # Another process's file cannot wake us.
            while spend.read(key, month)[1]:  # noqa: ASYNC110
                await trio.sleep(0.1)
        return spend.read(key, month)
