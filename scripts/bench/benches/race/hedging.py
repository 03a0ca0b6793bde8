"""What hedging buys: an upstream with a long tail, without and with hedges; the tail against the calls it costs.

Open loop: requests are due at fixed times, and a latency counts from then. Each setting has a gateway of its own, since
the hedge budget is the worker's. Both candidates behave alike, each with luck of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial

import trio
from attrs import frozen

from scripts.bench.harness.cli import say
from scripts.bench.harness.client import CutShort, Hung, call
from scripts.bench.harness.gateway import READY, Endpoint, Place
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Report, Table, quantile, spread

SIGMA = 0.2
_UPSTREAM = f"latency=lognormal:200ms:{SIGMA:g}:5%:3s&tokens=20"
_PER_S = 40.0
_FULL_REQUESTS, _QUICK_REQUESTS = 4_000, 800
_LIMIT_S = 30.0
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


@frozen(slots=True)
class Sample:
    """One setting: latencies in the order of the requests, and the calls that both providers counted."""

    setting: str
    seconds: Sequence[float]
    failed: int
    calls: int

    @property
    def requests(self) -> int:
        return len(self.seconds) + self.failed

    @property
    def extra_share(self) -> float:
        return self.calls / self.requests - 1

    @property
    def learned_s(self) -> Sequence[float]:
        """Latencies after the first requests."""
        return self.seconds[_LEARNING:]

    @property
    def tail_s(self) -> float:
        return quantile(self.learned_s, 0.99)


def run(site: Site, *, quick: bool) -> Report:
    """Each setting after the other."""
    samples = [_measure(site, name, _QUICK_REQUESTS if quick else _FULL_REQUESTS) for name in SETTINGS]
    return Report([make_table(samples)], {"samples": samples}, judge(samples))


def _measure(site: Site, setting: str, requests: int) -> Sample:
    say(f"{setting}: {requests / _PER_S:.0f} s …")
    with contextlib.ExitStack() as stack:
        providers = {
            name: stack.enter_context(site.run_provider(name, seed=seed))
            for seed, name in enumerate(("first", "other"))
        }
        addresses = {name: provider.base_url for name, provider in providers.items()}
        endpoint = Endpoint("tail", [Place(name, f"{name}?{_UPSTREAM}") for name in providers], SETTINGS[setting])
        gateway = stack.enter_context(site.open_gateway(addresses | {READY: addresses["other"]}, [endpoint]))
        seconds: list[float] = []
        trio.run(partial(_send_all, gateway, requests, seconds))
        calls = sum(provider.count_calls()[f"{name}?{_UPSTREAM}"] for name, provider in providers.items())
    sample = Sample(setting, seconds, requests - len(seconds), calls)
    say(f"{setting}: p99 {sample.tail_s:.3f} s, {sample.extra_share:.1%} more calls, {sample.failed} failed")
    return sample


async def _send_all(gateway: RunningGateway, requests: int, seconds: list[float]) -> None:
    started_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(requests):
            due_at = started_at + number / _PER_S
            await trio.sleep_until(due_at)
            nursery.start_soon(_send, gateway, due_at, seconds)


async def _send(gateway: RunningGateway, due_at: float, seconds: list[float]) -> None:
    with contextlib.suppress(Hung, CutShort, OSError):
        answer = await call(gateway.port, gateway.request("tail", {"message": "Hello there"}), _LIMIT_S)
        if answer.status == 200:
            seconds.append(trio.current_time() - due_at)


def make_table(samples: Sequence[Sample]) -> Table:
    """A row for each setting."""
    rows = [
        (
            sample.setting,
            f"{sample.requests:,}",
            str(sample.failed),
            *spread(sample.learned_s, scale=1e3, digits=0, shares=(0.5, 0.95, 0.99)),
            f"{samples[0].tail_s / sample.tail_s:.1f}",
            f"{sample.extra_share:.1%}",
        )
        for sample in samples
    ]
    return Table(("", "requests", "failed", "p50 ms", "p95 ms", "p99 ms", "p99: times less", "more calls"), rows)


def judge(samples: Sequence[Sample]) -> list[str]:
    """What the adaptive hedge misses; the fixed one is there to compare."""
    base, adaptive = samples[0], samples[-1]
    wrong = [f"{sample.setting}: {sample.failed} requests failed" for sample in samples if sample.failed]
    if (times := base.tail_s / adaptive.tail_s) < TAIL_BAR:
        wrong.append(f"{adaptive.setting}: p99 falls {times:.1f} times; the bar is {TAIL_BAR:g}")
    bar = max(CALLS_BAR, _BUDGET_SHARE + _RESERVE / adaptive.requests)
    if adaptive.extra_share > bar:
        wrong.append(f"{adaptive.setting}: {adaptive.extra_share:.1%} more calls; the bar is {bar:.1%}")
    return wrong
