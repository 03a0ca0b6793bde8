"""What a worker still does when it is asked for one, two and three times what it can.

Rules
1. Capacity is measured in each round, with wrk at full speed, and the rates of that round are multiples of it: on a
   busy machine capacity changes by the minute, and a share is only of its own minute.
2. Two upstreams: nginx, which answers at once, so that CPU is what runs out; and the simulator with the latency of a
   provider, so that many requests are under way before CPU runs out.
3. A share is of the most goodput seen in the same round and setting, the closed loop's included.
Exit status 1 where goodput at three times capacity is under 90 % of the peak, a request is shed after more than 10 ms
(p99), or one is shed without Retry-After. Needs nginx and wrk.
"""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from statistics import median

from attrs import evolve, frozen

from scripts.bench.benches.overload.noisy import make_noise_table, measure_noise
from scripts.bench.harness.cli import say
from scripts.bench.harness.gateway import set_up_wide
from scripts.bench.harness.open_loop import OpenLoad, OpenResult, run_open_loop
from scripts.bench.harness.process_stats import measure_cpu_s
from scripts.bench.harness.processes import HOST, PeerUnavailableError
from scripts.bench.harness.site import RunningGateway, Site, open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import QUESTION, Target
from scripts.bench.harness.wrk import CONNECTIONS, Load, run_load

ROUNDS = (3, 1)
MULTIPLES = (1.0, 2.0, 3.0)
_GOODPUT_BAR = 0.9
_SHED_BAR_US = 10_000.0
# So many clients that the gateway's limits, not theirs, decide how many requests are under way.
_CONNECTIONS = 3_000


@frozen(slots=True)
class Sample:
    """One rate in one round. `multiple` 0 is the closed loop that measured capacity."""

    limit: int
    latency_ms: int
    round: int
    multiple: float
    goodput_per_s: float
    cpu_us: float
    core_share: float
    flood: OpenResult | None

    @property
    def setting(self) -> tuple[int, int]:
        return self.limit, self.latency_ms


def add_options(parser: ArgumentParser) -> None:
    limits = "gateway.max_concurrent_requests, each in turn (default 1000)"
    parser.add_argument("--limits", type=int, nargs="+", metavar="N", default=[1_000], help=limits)
    latencies = "of the upstream, each in turn; 0 is nginx, others the simulator (default 0 100)"
    parser.add_argument("--latencies", type=int, nargs="+", metavar="MS", default=[0, 100], help=latencies)
    closes = "each request opens a connection of its own, as an nginx without keep-alive asks its upstreams"
    parser.add_argument("--close", action="store_true", help=closes)
    noisy = "instead: latencies of other tokens' requests while one token sends bodies of 4 MiB"
    parser.add_argument("--noisy", action="store_true", help=noisy)


def run(options: Namespace) -> Iterator[Report]:
    """Every setting after the other, or every kind of noise."""
    with open_site("nginx", "wrk") as site, site.run_upstream() as (_, port):
        upstream = f"http://{HOST}:{port}/v1"
        if options.noisy:
            found = measure_noise(site, upstream, duration_s=3.0 if options.quick else 10.0)
            yield Report([make_noise_table(found)], {"neighbours": found})
            return
        samples: list[Sample] = []
        for latency_ms in options.latencies:
            for limit in options.limits:
                samples += measure_setting(site, upstream, (limit, latency_ms), options)
        yield Report([make_table(samples)], {"samples": samples}, judge(samples))


def measure_setting(site: Site, upstream: str, setting: tuple[int, int], options: Namespace) -> list[Sample]:
    """Every multiple in every round, with this limit and latency."""
    (limit, latency_ms), duration_s = setting, 3 if options.quick else 6
    samples: list[Sample] = []
    with contextlib.ExitStack() as stack:
        if latency_ms:
            behaviour = f"latency={latency_ms}ms&tokens=22"
            upstream = stack.enter_context(site.run_provider("simulator", default=behaviour)).base_url
        environment = {"PG_TRIO_GATEWAY__MAX_CONCURRENT_REQUESTS": str(limit)}
        files = set_up_wide(site.make_folder("gateway"), upstream)
        gateway = stack.enter_context(site.run_gateway(files, environment=environment))
        target = make_target(gateway, options.close)
        # Enough to keep the worker busy while each request waits for its upstream, and never more than it takes.
        closed = Load(target, min(limit, CONNECTIONS + latency_ms * 2), duration_s)
        run_load(closed, site.folder / "load", site.cores.load)  # warm-up
        for number in range(1, options.rounds + 1):
            capacity = _measure_closed(site, gateway, closed)
            samples.append(Sample(limit, latency_ms, number, 0.0, *capacity, flood=None))
            for multiple in MULTIPLES:
                rate_per_s, request = capacity[0] * multiple, target.as_bytes().decode()
                load = OpenLoad(gateway.port, request, rate_per_s, duration_s, _CONNECTIONS, options.close)
                samples.append(_measure_open(site, gateway, evolve(samples[-1], multiple=multiple), load))
    return samples


def make_target(gateway: RunningGateway, closes: bool) -> Target:
    """What is asked; `closes` where the request is to be the only one of its connection."""
    target = gateway.target("e0", {"message": QUESTION})
    return evolve(target, headers={**target.headers, "Connection": "close"}) if closes else target


def _measure_closed(site: Site, gateway: RunningGateway, load: Load) -> tuple[float, float, float]:
    before_s = measure_cpu_s(gateway.worker)
    result = run_load(load, site.folder / "load", site.cores.load)
    used_s = measure_cpu_s(gateway.worker) - before_s
    good = result.requests - result.not_ok
    # A worker that sheds some of a closed loop still has a capacity; one that answers little else is broken.
    if good <= result.not_ok:
        raise PeerUnavailableError(f"capacity cannot be measured: {good} answers with 200, {result.not_ok} others")
    per_s = good / result.duration_us * 1e6
    say(f"capacity {per_s:,.0f}/s at {load.connections} connections, {result.not_ok} not 200")
    return per_s, used_s / result.requests * 1e6, used_s / result.duration_us * 1e6


def _measure_open(site: Site, gateway: RunningGateway, sample: Sample, load: OpenLoad) -> Sample:
    before_s = measure_cpu_s(gateway.worker)
    result = run_open_loop(load, site.folder, site.cores.load)
    used_s = measure_cpu_s(gateway.worker) - before_s
    say(
        f"limit {sample.limit}, {sample.latency_ms} ms, {sample.multiple:g}x: goodput {result.goodput_per_s:,.0f}/s; "
        f"{result.ok} ok, {result.shed} shed, {result.unsent} unsent, {result.failed} failed; "
        f"shed p99 {result.shed_us[1] / 1e3:.1f} ms; generator {result.core_share:.0%}"
    )
    return evolve(
        sample,
        goodput_per_s=result.goodput_per_s,
        cpu_us=used_s / max(1, result.ok + result.shed) * 1e6,
        core_share=used_s / load.duration_s,
        flood=result,
    )


def make_table(samples: Sequence[Sample]) -> Table:
    """A row for each setting and multiple: medians over the rounds, the worst of the maxima, all counts added up."""
    rows = []
    for key in dict.fromkeys((*sample.setting, sample.multiple) for sample in samples):
        limit, latency_ms, multiple = key
        own = [sample for sample in samples if (*sample.setting, sample.multiple) == key]
        floods = [sample.flood for sample in own if sample.flood]
        name = f"{multiple:g}x" if multiple else "closed loop"
        rows.append(
            (
                f"limit {limit:,}, upstream {latency_ms} ms, {name}",
                f"{median(sample.goodput_per_s for sample in own):,.0f}",
                f"{median(find_share(sample, samples) for sample in own):.0%}",
                *(_format_floods(floods) if floods else ("–",) * 5),
                f"{median(sample.cpu_us for sample in own):,.0f}",
                f"{median(flood.core_share for flood in floods):.0%}" if floods else "–",
            )
        )
    head = (
        "",
        "goodput/s",
        "of peak",
        "answered 200 / shed / unsent",
        "200 ms, p50 / p99",
        "shed ms, p50 / p99 / most",
    )
    return Table((*head, "no Retry-After", "failed", "CPU µs/answer", "generator"), rows)


def _format_floods(floods: Sequence[OpenResult]) -> tuple[str, ...]:
    ok, shed, unsent = (sum(getattr(flood, name) for flood in floods) for name in ("ok", "shed", "unsent"))
    ok_ms = [median(flood.ok_us[n] for flood in floods) / 1e3 for n in (0, 1)]
    shed_ms = [median(flood.shed_us[n] for flood in floods) / 1e3 for n in (0, 1)]
    most_ms = max(flood.shed_us[2] for flood in floods) / 1e3
    return (
        f"{ok:,} / {shed:,} / {unsent:,}",
        " / ".join(f"{ms:.1f}" for ms in ok_ms),
        " / ".join(f"{ms:.1f}" for ms in (*shed_ms, most_ms)) if shed else "–",
        str(sum(flood.shed_without_retry_after for flood in floods)),
        str(sum(flood.failed for flood in floods)),
    )


def find_share(sample: Sample, samples: Sequence[Sample]) -> float:
    """The sample's goodput over the best of its setting and round."""
    same = [other for other in samples if (other.setting, other.round) == (sample.setting, sample.round)]
    return sample.goodput_per_s / max(other.goodput_per_s for other in same)


def judge(samples: Sequence[Sample]) -> list[str]:
    """Which bars are missed at the highest multiple; empty if none is."""
    wrong = []
    for limit, latency_ms in dict.fromkeys(sample.setting for sample in samples):
        own = [s for s in samples if (*s.setting, s.multiple) == (limit, latency_ms, MULTIPLES[-1])]
        name = f"limit {limit:,}, upstream {latency_ms} ms, {MULTIPLES[-1]:g}x"
        share = median(find_share(sample, samples) for sample in own)
        floods = [sample.flood for sample in own if sample.flood]
        shed_us = median(flood.shed_us[1] for flood in floods)
        if share < _GOODPUT_BAR:
            wrong.append(f"{name}: goodput is {share:.0%} of the peak; the bar is {_GOODPUT_BAR:.0%}")
        if shed_us > _SHED_BAR_US:
            wrong.append(f"{name}: shed after {shed_us / 1e3:.1f} ms (p99); the bar is {_SHED_BAR_US / 1e3:.0f} ms")
        if bare := sum(flood.shed_without_retry_after for flood in floods):
            wrong.append(f"{name}: {bare} shed without Retry-After")
    return wrong
