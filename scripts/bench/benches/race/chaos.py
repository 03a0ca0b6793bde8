"""Four candidates that each fail 70 % of the time, in five ways: how many requests are answered, and when.

Beside it the same with each candidate asked once, which answers 1 - 0.7^4 = 76 % at best. Open loop: requests are due
at fixed times, whatever became of the others. Each setting has a gateway and providers of its own. A provider is a
simulator whose behaviour is drawn anew for each call; run as a module of its own (SEED), it prints its port.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from random import Random

import trio
from attrs import field, frozen

from pg_trio.simulator import Behaviours, Received, Simulator, serve_simulator
from scripts.bench.harness.cli import say
from scripts.bench.harness.client import run_paced
from scripts.bench.harness.gateway import READY, Endpoint
from scripts.bench.harness.processes import HOST, run_module, wait_said
from scripts.bench.harness.site import Site
from scripts.bench.harness.tables import Report, Table, quantile

CANDIDATES = ("one", "two", "three", "four")
FAIL_SHARE = 0.7
# A slow answer takes longer than any try may.
_SLOW, _USUAL = "latency=30s&tokens=1", "latency=100ms&tokens=1"
_STRUCK = ("status:429&retry_after=1", "status:500", "reset", "notjson")
FAULTS = (*(f"{_USUAL}&fault={fault}" for fault in _STRUCK), _SLOW)
_PER_S = 5.0
_FULL_REQUESTS, _QUICK_REQUESTS = 600, 150
_DEADLINE_S = 30.0
_DEADLINES = {"deadline_ms": int(_DEADLINE_S * 1000), "stream_deadline_ms": int(_DEADLINE_S * 1000)}
_LIMITS = {**_DEADLINES, "attempt_timeout_ms": 2_000, "first_token_timeout_ms": 2_000}
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "each asked once": {**_LIMITS, "max_attempts": len(CANDIDATES)},
    "retries": _LIMITS,
    "retries, hedge after 1 s": {**_LIMITS, "hedge_after_ms": 1_000},
}
# What the best of luck gives each asked once, and what retries must give.
ONCE_SHARE = 1 - FAIL_SHARE ** len(CANDIDATES)
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
    requests = _QUICK_REQUESTS if quick else _FULL_REQUESTS
    samples = [_measure(site, name, kind, requests) for name in SETTINGS for kind in ("plain", "stream")]
    return Report([make_table(samples)], {"samples": samples}, judge(samples))


def _measure(site: Site, setting: str, kind: str, requests: int) -> Sample:
    sample, addresses = Sample(setting, kind), {}
    with contextlib.ExitStack() as stack:
        for seed, name in enumerate(CANDIDATES):
            log = site.make_folder(name) / "log"
            run_provider = run_module(name, __name__, str(seed), core=site.cores.load, log=log)
            port = wait_said(stack.enter_context(run_provider), r"port (\d+)\s")[1]
            addresses[name] = f"http://{HOST}:{port}/v1"
        addresses[READY] = stack.enter_context(site.run_provider("ready")).base_url
        endpoint = Endpoint("chaos", dict.fromkeys(CANDIDATES, "any"), SETTINGS[setting])
        gateway = stack.enter_context(site.open_gateway(addresses, [endpoint]))

        async def ask(due_at: float) -> None:
            answer = await gateway.ask("chaos", _DEADLINE_S + 5, stream=kind == "stream")
            if not answer.failure:
                sample.tries.append(int(answer.headers.get("x-pg-attempts", "0")))
            times = sample.seconds if answer.said().is_whole else sample.failed
            times.append(trio.current_time() - due_at)

        trio.run(run_paced, requests, _PER_S, ask)
    say(f"{setting}, {kind}: {sample.share:.1%} answered")
    return sample


def make_table(samples: Sequence[Sample]) -> Table:
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
    wrong = []
    for sample in samples:
        name = f"{sample.setting}, {sample.kind}"
        if "retries" in sample.setting and sample.share < BAR_SHARE:
            bar = f"the bar is {BAR_SHARE:.0%}, and asking each once gives {ONCE_SHARE:.0%} at best"
            wrong.append(f"{name}: {sample.share:.1%} answered; {bar}")
        if max([*sample.seconds, *sample.failed]) > _DEADLINE_S + 0.5:
            wrong.append(f"{name}: later than the deadline of {_DEADLINE_S:g} s")
    return wrong


async def serve(seed: int) -> None:
    """Serve until killed; the port is printed first."""
    random = Random(seed)
    async with trio.open_nursery() as nursery:
        simulator: Simulator = await nursery.start(serve_simulator, Behaviours(_USUAL, keep_requests=1))
        receive = simulator.receive

        def receive_with_luck(request: Received) -> None:
            simulator.behave("any", random.choice(FAULTS) if random.random() < FAIL_SHARE else _USUAL)
            receive(request)

        simulator.receive = receive_with_luck  # type: ignore[method-assign]
        print(f"port {simulator.base_url.rpartition(':')[2].removesuffix('/v1')}", flush=True)


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]))
