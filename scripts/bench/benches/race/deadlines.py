"""Do deadlines hold when everything fails? Six deadlines, every way of not answering, 200 requests at once.

Both candidates of every endpoint fail in a way that only the deadline ends. Overrun: from the request's first byte to
the answer's last, less the deadline; what the gateway counts from the request's head is a little less.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from random import Random

import trio
from attrs import frozen

from scripts.bench.benches.race.faults import behaviour_of
from scripts.bench.harness.cli import say
from scripts.bench.harness.client import Answer, run_crowd, run_watched
from scripts.bench.harness.gateway import Endpoint
from scripts.bench.harness.process_stats import measure_cpu_s
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Report, Table, quantile, spread

DEADLINES_MS = (100, 200, 500, 1_000, 2_000, 5_000)
OVERRUN_BAR_MS = 10.0
_FULL_REQUESTS, _QUICK_REQUESTS = 10_000, 1_200
_AT_ONCE = 200
# Clients begin at different times and out of step: the last of a burst would wait for the work of all.
_BEGIN_WITHIN_S = 2.0
# A client that has waited this long beyond the deadline calls it a hang.
_HUNG_S = 10.0
# Without a reserve, a silent candidate is ended by the deadline and not to leave time for the next one.
_SETTINGS = {"deadline_ms": 60_000, "stream_deadline_ms": 60_000, "reserve_ms": 0}
# How the first candidate and the other behave. At least one of them never ends by itself: the deadline has to act.
WAYS = {
    "both silent": ("fault=stall", "fault=stall"),
    "503, then silent": ("fault=status:503", "fault=stall"),
    "reset, then silent": ("fault=reset", "fault=stall"),
    "head, then nothing": ("fault=stall:body", "fault=stall:body"),
    "a byte every 50 ms": ("fault=drip:50ms", "fault=drip:50ms"),
    "answers after an hour": ("latency=3600s&head=early", "latency=3600s&head=early"),
    "stream: silent": ("fault=stall", "fault=stall"),
    "stream: comments only": ("pings=400&pace=20ms&latency=20ms", "pings=400&pace=20ms&latency=20ms"),
    "stream: thoughts only": ("reasoning=400&pace=20ms&latency=20ms", "reasoning=400&pace=20ms&latency=20ms"),
    "stream: stalls after 3": ("fault=stall:3", "fault=stall:3"),
    "stream: never ends": ("pace=20ms&tokens=400", "pace=20ms&tokens=400"),
}


@frozen(slots=True)
class Result:
    """One request: how it ended (`504`, `told` in its stream, or what is wrong), and by how much it was late."""

    way: str
    deadline_ms: int
    ended: str
    overrun_ms: float

    @property
    def is_held(self) -> bool:
        """Whether the client was told that the deadline passed."""
        return self.ended in ("504", "told")


def run(site: Site, *, quick: bool) -> Report:
    results: list[Result] = []
    late_s: list[float] = []
    endpoints = []
    for number, behaviours in enumerate(WAYS.values()):
        first, other = (way if "tokens=" in way else f"{behaviour_of('late')}&{way}" for way in behaviours)
        endpoints.append(
            Endpoint(f"d{number}", {"first": f"d{number}?{first}", "other": f"d{number}?{other}"}, _SETTINGS)
        )
    with (
        site.run_providers("first", "other", keep=1) as (_, addresses),
        site.open_gateway(addresses, endpoints) as gateway,
    ):
        started_at, cpu_s = time.monotonic(), measure_cpu_s(gateway.worker)
        requests = _QUICK_REQUESTS if quick else _FULL_REQUESTS
        trio.run(run_watched, lambda: _ask_all(gateway, requests, results), late_s)
        core_share = (measure_cpu_s(gateway.worker) - cpu_s) / (time.monotonic() - started_at)
    own = "p50 {}, p99 {}, most {}".format(*spread(late_s, scale=1e3))
    note = f"the gateway took {core_share:.0%} of its core; the clients' own lateness, ms: {own}"
    raw = {"results": results, "client_late_s": late_s, "core_share": core_share}
    return Report([make_table(results, (note,))], raw, judge(results))


async def _ask_all(gateway: RunningGateway, requests: int, results: list[Result]) -> None:
    random = Random(7)
    plan = [(way, deadline_ms) for way in range(len(WAYS)) for deadline_ms in DEADLINES_MS]
    todo = [plan[number % len(plan)] for number in range(requests)]
    # Mixed, so that at any moment all deadlines and all ways are under way.
    random.shuffle(todo)

    async def ask_on(_: int) -> None:
        await trio.sleep(random.random() * _BEGIN_WITHIN_S)
        while todo:
            results.append(await _ask(gateway, *todo.pop()))
            if len(results) % 1_000 == 0:
                say(f"{len(results):,} answered")

    await run_crowd(_AT_ONCE, ask_on)


async def _ask(gateway: RunningGateway, number: int, deadline_ms: int) -> Result:
    way = list(WAYS)[number]
    headers, limit_s = {"X-PG-Timeout-Ms": str(deadline_ms)}, deadline_ms / 1000 + _HUNG_S
    answer = await gateway.ask(f"d{number}", limit_s, stream=way.startswith("stream"), headers=headers)
    return Result(way, deadline_ms, _how_it_ended(answer, deadline_ms), answer.seconds * 1e3 - deadline_ms)


def _how_it_ended(answer: Answer, deadline_ms: int) -> str:
    said = answer.said()
    if answer.failure:
        return answer.failure[:100]
    if said.error != f"Deadline exceeded: no answer within {deadline_ms} ms.":
        return f"{answer.status}: {said.error or said.text[:40]}"
    return "504" if answer.status == 504 else "told"


def make_table(results: Sequence[Result], notes: Sequence[str] = ()) -> Table:
    rows = []
    for deadline_ms in (*DEADLINES_MS, None):
        own = [result for result in results if deadline_ms in (None, result.deadline_ms)]
        ends = Counter(result.ended for result in own)
        known = [ends[name] for name in ("504", "told", "hung")]
        counts = (f"{count:,}" for count in (len(own), *known, len(own) - sum(known)))
        name = "all" if deadline_ms is None else f"{deadline_ms:,}"
        rows.append((name, *counts, *spread([result.overrun_ms for result in own if result.is_held])))
    ends_head = ("504", "told in the stream", "hung", "otherwise")
    return Table(("deadline ms", "requests", *ends_head, "overrun ms, p50", "p99", "most"), rows, notes)


def judge(results: Sequence[Result]) -> list[str]:
    """Hangs, answers that do not tell of the deadline, deadlines that came early, and the overrun's bar."""
    others = Counter(f"{result.way}: {result.ended}" for result in results if not result.is_held)
    wrong = [f"{count} times {ended}" for ended, count in others.most_common()]
    late = [result.overrun_ms for result in results if result.is_held]
    # The deadline's clock starts when the head was read: the answer cannot be early by the client's clock.
    if early := sum(overrun_ms < 0 for overrun_ms in late):
        wrong.append(f"{early} deadlines passed before their time")
    if late and quantile(late, 0.99) > OVERRUN_BAR_MS:
        wrong.append(f"overrun p99 is {quantile(late, 0.99):.1f} ms; the bar is {OVERRUN_BAR_MS:g} on a quiet machine")
    return wrong
