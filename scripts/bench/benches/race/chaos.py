"""Four candidates that each fail 70 % of the time, in five ways: how many requests are answered, and when.

Beside it the same with each candidate asked once, which answers 1 - 0.7^4 = 76 % at best. Open loop: requests are due
at fixed times, whatever became of the others. Each setting has a gateway and providers of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import trio
from attrs import field, frozen

from scripts.bench.benches.race import chaos_provider
from scripts.bench.harness.cli import say
from scripts.bench.harness.client import CutShort, Hung, call, read_said
from scripts.bench.harness.gateway import READY, Endpoint, Place
from scripts.bench.harness.processes import HOST, find_free_ports, run_module
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Report, Table, quantile

CANDIDATES = ("one", "two", "three", "four")
_PER_S = 5.0
_FULL_REQUESTS, _QUICK_REQUESTS = 600, 150
_DEADLINE_S = 30.0
_LIMITS = {
    "deadline_ms": int(_DEADLINE_S * 1000),
    "stream_deadline_ms": int(_DEADLINE_S * 1000),
    "attempt_timeout_ms": 2_000,
    "first_token_timeout_ms": 2_000,
}
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "each asked once": {**_LIMITS, "max_attempts": len(CANDIDATES)},
    "retries": _LIMITS,
    "retries, hedge after 1 s": {**_LIMITS, "hedge_after_ms": 1_000},
}
# What the best of luck gives each asked once, and what retries must give.
ONCE_SHARE = 1 - chaos_provider.FAIL_SHARE ** len(CANDIDATES)
BAR_SHARE = 0.95


@frozen(slots=True)
class Sample:
    """One setting and kind of answer: seconds of the answered, how many were not, and how many tries all took."""

    setting: str
    kind: str
    seconds: list[float] = field(factory=list)
    failed: list[float] = field(factory=list)
    tries: list[int] = field(factory=list)

    @property
    def share(self) -> float:
        return len(self.seconds) / (len(self.seconds) + len(self.failed))


def run(site: Site, *, quick: bool) -> Report:
    """Each setting after the other, plain and streamed."""
    requests = _QUICK_REQUESTS if quick else _FULL_REQUESTS
    samples = [_measure(site, name, kind, requests) for name in SETTINGS for kind in ("plain", "stream")]
    return Report([make_table(samples)], {"samples": samples}, judge(samples))


@contextlib.contextmanager
def _run_provider(site: Site, name: str, seed: int) -> Iterator[str]:
    (port,) = find_free_ports(1)
    log, order = site.make_folder(name) / "log", (str(port), str(seed))
    with run_module(name, chaos_provider.__name__, *order, core=site.cores.load, log=log):
        yield f"http://{HOST}:{port}/v1"


def _measure(site: Site, setting: str, kind: str, requests: int) -> Sample:
    sample = Sample(setting, kind)
    with contextlib.ExitStack() as stack:
        addresses = {name: stack.enter_context(_run_provider(site, name, seed)) for seed, name in enumerate(CANDIDATES)}
        addresses[READY] = stack.enter_context(site.run_provider("ready")).base_url
        endpoint = Endpoint("chaos", [Place(name, "any") for name in CANDIDATES], SETTINGS[setting])
        gateway = stack.enter_context(site.open_gateway(addresses, [endpoint]))
        trio.run(partial(_send_all, gateway, sample, requests))
    say(f"{setting}, {kind}: {sample.share:.1%} answered")
    return sample


async def _send_all(gateway: RunningGateway, sample: Sample, requests: int) -> None:
    started_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(requests):
            await trio.sleep_until(started_at + number / _PER_S)
            nursery.start_soon(_send, gateway, sample)


async def _send(gateway: RunningGateway, sample: Sample) -> None:
    began_at = trio.current_time()
    request = gateway.request("chaos", {"message": "Hello there", "stream": sample.kind == "stream"})
    is_well = False
    with contextlib.suppress(Hung, CutShort, OSError):
        answer = await call(gateway.port, request, _DEADLINE_S + 5)
        sample.tries.append(int(answer.headers.get("x-pg-attempts", "0")))
        is_well = read_said(answer).is_whole
    (sample.seconds if is_well else sample.failed).append(trio.current_time() - began_at)


def make_table(samples: Sequence[Sample]) -> Table:
    """A line for each setting and kind."""
    header = ("", "requests", "answered", "p50 s", "p95 s", "most s", "a failure took, p50 s", "tries a request")
    lines = []
    for sample in samples:
        times = [f"{quantile(sample.seconds, share):.2f}" for share in (0.5, 0.95, 1.0)]
        failed = f"{quantile(sample.failed, 0.5):.2f}" if sample.failed else "–"
        tries = f"{sum(sample.tries) / max(1, len(sample.tries)):.1f}"
        count = f"{len(sample.seconds) + len(sample.failed):,}"
        lines.append((f"{sample.setting} ({sample.kind})", count, f"{sample.share:.1%}", *times, failed, tries))
    return Table(header, lines)


def judge(samples: Sequence[Sample]) -> list[str]:
    """Which settings with retries answer too few, or too late."""
    wrong = []
    for sample in samples:
        if "retries" in sample.setting and sample.share < BAR_SHARE:
            wrong.append(
                f"{sample.setting}, {sample.kind}: {sample.share:.1%} answered; the bar is {BAR_SHARE:.0%},"
                f" and asking each once gives {ONCE_SHARE:.0%} at best"
            )
        if max([*sample.seconds, *sample.failed]) > _DEADLINE_S + 0.5:
            wrong.append(f"{sample.setting}, {sample.kind}: later than the deadline of {_DEADLINE_S:g} s")
    return wrong
