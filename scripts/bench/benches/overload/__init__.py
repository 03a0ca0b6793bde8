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
from collections.abc import Sequence

from attrs import evolve

from scripts.bench.benches.overload.noisy import make_noise_table, measure_noise
from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.gateway import set_up_wide
from scripts.bench.harness.open_loop import OpenLoad, run_open_loop
from scripts.bench.harness.process_stats import measure_cpu_s
from scripts.bench.harness.processes import PeerUnavailableError
from scripts.bench.harness.site import RunningGateway, Site, open_site
from scripts.bench.harness.tables import Figures, Found, Report, combine, tabulate
from scripts.bench.harness.target import QUESTION
from scripts.bench.harness.wrk import CONNECTIONS, Load

ROUNDS = (3, 1)
MULTIPLES = (1.0, 2.0, 3.0)
_GOODPUT_BAR = 0.9
_SHED_BAR_MS = 10.0
# So many clients that the gateway's limits, not theirs, decide how many requests are under way.
_CONNECTIONS = 3_000
COLUMNS = {
    "": "",
    "goodput/s": "{goodput_per_s:,.0f}",
    "of peak": "{share:.0%}",
    "answered 200 / shed / unsent": "{ok_sum:,.0f} / {shed_sum:,.0f} / {unsent_sum:,.0f}",
    "200 ms, p50 / p99": "{ok_p50:.1f} / {ok_p99:.1f}",
    "shed ms, p50 / p99 / most": "{shed_p50:.1f} / {shed_p99:.1f} / {shed_most_max:.1f}",
    "no Retry-After": "{bare_sum:.0f}",
    "failed": "{failed_sum:.0f}",
    "CPU µs/answer": "{cpu_us:,.0f}",
    "generator": "{generator_share:.0%}",
}
_TELL = (
    "{}: goodput {goodput_per_s:,.0f}/s; {ok_sum} ok, {shed_sum} shed, {unsent_sum} unsent, {failed_sum} failed; "
    "generator {generator_share:.0%}"
)


def add_options(parser: Parser) -> None:
    limits = "gateway.max_concurrent_requests, each in turn (default 1000)"
    parser.add_argument("--limits", type=positive, nargs="+", metavar="N", default=[1_000], help=limits)
    latencies = "of the upstream, each in turn; 0 is nginx, others the simulator (default 0 100)"
    parser.add_argument("--latencies", type=int, nargs="+", metavar="MS", default=[0, 100], help=latencies)
    closes = "each request opens a connection of its own, as an nginx without keep-alive asks its upstreams"
    parser.add_argument("--close", action="store_true", help=closes)
    noisy = "instead: latencies of other tokens' requests while one token sends bodies of 4 MiB"
    parser.add_argument("--noisy", action="store_true", help=noisy)


def run(options: Options) -> Reports:
    with open_site("nginx", "wrk") as site, site.run_upstream() as upstream:
        if options.noisy:
            neighbours = measure_noise(site, upstream.base_url, duration_s=3.0 if options.quick else 10.0)
            yield Report([make_noise_table(neighbours)], {"neighbours": neighbours})
            return
        found: Found = {}
        for latency_ms in options.latencies:
            for limit in options.limits:
                found |= measure_setting(site, upstream.base_url, (limit, latency_ms), options)
        yield Report([tabulate(found, COLUMNS)], {"settings": found}, judge(found))


def measure_setting(site: Site, upstream: str, setting: tuple[int, int], options: Options) -> Found:
    (limit, latency_ms), duration_s = setting, 3 if options.quick else 6
    name = f"limit {limit:,}, upstream {latency_ms} ms"
    rates = {f"{name}, {multiple:g}x": multiple for multiple in MULTIPLES}
    found: Found = {f"{name}, closed loop": [], **{rate: [] for rate in rates}}
    with contextlib.ExitStack() as stack:
        if latency_ms:
            behaviour = f"latency={latency_ms}ms&tokens=22"
            upstream = stack.enter_context(site.run_provider("simulator", default=behaviour)).base_url
        files = set_up_wide(site.make_folder("gateway"), upstream)
        environment = {"PG_TRIO_GATEWAY__MAX_CONCURRENT_REQUESTS": str(limit)}
        gateway = stack.enter_context(site.run_gateway(files, environment=environment))
        target = gateway.target("e0", {"message": QUESTION})
        if options.close:
            target = evolve(target, headers={**target.headers, "Connection": "close"})
        # Enough to keep the worker busy while each request waits for its upstream, and never more than it takes.
        closed = Load(target, min(limit, CONNECTIONS + latency_ms * 2), duration_s)
        gateway.run_load(closed)  # warm-up
        for _ in range(options.rounds):
            samples = [_measure_closed(gateway, closed)]
            for rate, multiple in rates.items():
                rate_per_s, request = samples[0]["goodput_per_s"] * multiple, target.as_bytes().decode()
                load = OpenLoad(gateway.port, request, rate_per_s, duration_s, _CONNECTIONS, options.close)
                samples.append(_measure_open(gateway, load))
                say(_TELL.format(rate, **samples[-1]))
            for rounds, sample in zip(found.values(), find_shares(samples), strict=True):
                rounds.append(sample)
    return found


def find_shares(samples: Sequence[Figures]) -> list[dict[str, float]]:
    """The samples of one round and setting, each with its share of the best goodput among them."""
    best = max(sample["goodput_per_s"] for sample in samples)
    return [{**sample, "share": sample["goodput_per_s"] / best} for sample in samples]


def _measure_closed(gateway: RunningGateway, load: Load) -> dict[str, float]:
    result, used_s = gateway.run_load(load)
    good = result.requests - result.not_ok
    # A worker that sheds some of a closed loop still has a capacity; one that answers little else is broken.
    if good <= result.not_ok:
        raise PeerUnavailableError(f"capacity cannot be measured: {good} answers with 200, {result.not_ok} others")
    per_s = good / result.duration_us * 1e6
    say(f"capacity {per_s:,.0f}/s at {load.connections} connections, {result.not_ok} not 200")
    return {"goodput_per_s": per_s, "cpu_us": used_s / result.requests * 1e6, "core_share": used_s / load.duration_s}


def _measure_open(gateway: RunningGateway, load: OpenLoad) -> dict[str, float]:
    before_s = measure_cpu_s(gateway.worker)
    figures = run_open_loop(load, gateway.site.folder, gateway.site.cores.load)
    used_s = measure_cpu_s(gateway.worker) - before_s
    cpu_us = used_s / max(1, figures["ok_sum"] + figures["shed_sum"]) * 1e6
    return {**figures, "cpu_us": cpu_us, "core_share": used_s / load.duration_s}


def judge(found: Found) -> list[str]:
    wrong = []
    for name, rounds in found.items():
        if name.endswith(f" {MULTIPLES[-1]:g}x"):
            figures = combine(rounds)
            share, shed_ms, bare = figures["share"], figures.get("shed_p99", 0.0), figures["bare_sum"]
            if share < _GOODPUT_BAR:
                wrong.append(f"{name}: goodput is {share:.0%} of the peak; the bar is {_GOODPUT_BAR:.0%}")
            if shed_ms > _SHED_BAR_MS:
                wrong.append(f"{name}: shed after {shed_ms:.1f} ms (p99); the bar is {_SHED_BAR_MS:.0f} ms")
            if bare:
                wrong.append(f"{name}: {bare:.0f} shed without Retry-After")
    return wrong
