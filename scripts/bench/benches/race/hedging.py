"""What hedging buys: an upstream with a long tail, without and with hedges; the tail against the calls it costs.

Open loop: requests are due at fixed times, and a latency counts from then. Each setting has a gateway of its own, since
the hedge budget is the worker's. Both candidates behave alike, each with luck of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from scripts.bench.harness.cli import say
from scripts.bench.harness.client import run_paced
from scripts.bench.harness.gateway import Endpoint
from scripts.bench.harness.site import Site
from scripts.bench.harness.tables import Found, Report, find_spread, tabulate

_UPSTREAM = "latency=lognormal:200ms:0.2:5%:3s&tokens=20"
_MODELS = {name: f"{name}?{_UPSTREAM}" for name in ("first", "other")}
_PER_S, _LIMIT_S = 40.0, 30.0
_FULL_REQUESTS, _QUICK_REQUESTS = 4_000, 800
# Requests at the start that the estimate learns from: they count as calls, but not in the percentiles.
_LEARNING = 100
TAIL_BAR, CALLS_BAR = 5.0, 0.06
# The budget's 5 %, and the 20 hedges that it holds in reserve: of few requests, these are more than the bar.
_BUDGET_SHARE, _RESERVE = 0.05, 20
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "no hedge": {},
    "hedge_after_ms = 450": {"hedge_after_ms": 450},
    'hedge_after = "p95"': {"hedge_after": "p95"},
}
COLUMNS = {
    "": "",
    "requests": "{requests:,.0f}",
    "failed": "{failed:.0f}",
    "p50 ms": "{p50:,.0f}",
    "p95 ms": "{p95:,.0f}",
    "p99 ms": "{p99:,.0f}",
    "p99: times less": "{p99_over:.1f}",
    "more calls": "{extra_share:.1%}",
}


def run(site: Site, *, quick: bool) -> Report:
    found = {name: [_measure(site, name, _QUICK_REQUESTS if quick else _FULL_REQUESTS)] for name in SETTINGS}
    return Report([tabulate(found, COLUMNS, base=next(iter(found)))], {"settings": found}, judge(found))


def _measure(site: Site, setting: str, requests: int) -> dict[str, float]:
    say(f"{setting}: {requests / _PER_S:.0f} s …")
    seconds: list[float] = []
    with site.run_providers(*_MODELS) as (providers, addresses):
        with site.open_gateway(addresses, [Endpoint("tail", _MODELS, SETTINGS[setting])]) as gateway:

            async def ask(due_at: float) -> None:
                if (await gateway.ask("tail", _LIMIT_S)).status == 200:
                    seconds.append(trio.current_time() - due_at)

            trio.run(run_paced, requests, _PER_S, ask)
        calls = sum(provider.count_calls()[_MODELS[name]] for name, provider in providers.items())
    figures = summarise(seconds, requests, calls)
    say("{}: p99 {p99:,.0f} ms, {extra_share:.1%} more calls, {failed:.0f} failed".format(setting, **figures))
    return figures


def summarise(seconds: Sequence[float], requests: int, calls: int) -> dict[str, float]:
    """`seconds`: latencies in the order of the requests. `calls`: what both providers counted."""
    counts = {"requests": requests, "failed": requests - len(seconds), "extra_share": calls / requests - 1}
    return {**counts, **find_spread(seconds[_LEARNING:], scale=1e3)}


def judge(found: Found) -> list[str]:
    """What the adaptive hedge misses; the fixed one is there to compare."""
    rows = {name: rounds[0] for name, rounds in found.items()}
    wrong = [f"{name}: {row['failed']:.0f} requests failed" for name, row in rows.items() if row["failed"]]
    (_, base), *_, (name, adaptive) = rows.items()
    if (times := base["p99"] / adaptive["p99"]) < TAIL_BAR:
        wrong.append(f"{name}: p99 falls {times:.1f} times; the bar is {TAIL_BAR:g}")
    bar = max(CALLS_BAR, _BUDGET_SHARE + _RESERVE / adaptive["requests"])
    if adaptive["extra_share"] > bar:
        wrong.append(f"{name}: {adaptive['extra_share']:.1%} more calls; the bar is {bar:.1%}")
    return wrong
