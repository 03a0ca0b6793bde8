"""`scripts/bench/overload`: what a worker still does when it is asked for two and three times what it can.

Rules
1. Capacity is measured in each round, with wrk at full speed, and the rates of that round are multiples of it: on a
   busy machine capacity changes by the minute, and a share is only of its own minute.
2. Two upstreams: nginx, which answers at once, so that CPU is what runs out; and the simulator with the latency of a
   provider, so that many requests are under way before CPU does.
3. A share is of the most goodput seen in the same round and setting, the closed loop's included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import asdict, evolve, frozen

from scripts.bench._limits import flood
from scripts.bench._limits.command import Site, format_table, make_parser, open_site, report, run_command, say
from scripts.bench._limits.flood import OPEN_LIMIT_S, FloodLoad, FloodResult
from scripts.bench._limits.gateway import Running, make_gateway, run_gateway
from scripts.bench._limits.load import Load, run_load, write_request
from scripts.bench._limits.noisy import as_raw, make_noise_table, measure_noise
from scripts.bench._limits.worker import measure_cpu_s
from scripts.bench._peers.errors import PeerUnavailableError
from scripts.bench._peers.plan import QUESTION
from scripts.bench._peers.ports import HOST, find_free_ports
from scripts.bench._peers.processes import run_pinned, wait_finished
from scripts.bench._peers.target import Target, wait_ready
from scripts.bench._peers.wrk import SLACK_S

MULTIPLES = (1.0, 2.0, 3.0)
DEFAULT_LIMIT = 1_000
_GOODPUT_BAR = 0.9
_SHED_BAR_US = 10_000.0
# So many clients that the gateway's limits, not theirs, decide what is under way.
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
    flood: FloodResult | None


def measure_setting(  # what is measured, each by name
    site: Site, limit: int, latency_ms: int, rounds: int, duration_s: int, *, closes: bool
) -> list[Sample]:
    """Every multiple in every round. Raises: PeerUnavailableError, TimeoutError."""
    samples = []
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(run_upstream(site, latency_ms))
        gateway = make_gateway(site.folder / f"limit-{limit}-{latency_ms}", upstream)
        environment = {"PG_TRIO_GATEWAY__MAX_CONCURRENT_REQUESTS": str(limit)}
        running = stack.enter_context(run_gateway(gateway, str(site.cores.gateway), environment=environment))
        target = make_target(running, closes)
        # Enough to keep the worker busy while each request waits for its upstream, and never more than it takes.
        at_once = min(limit, 32 + latency_ms * 2)
        closed = Load(target, at_once, duration_s)
        run_load(closed, site.folder / "load", site.cores.load)  # warm-up
        for number in range(1, rounds + 1):
            capacity = _measure_closed(site, running, closed)
            samples.append(Sample(limit, latency_ms, number, 0.0, *capacity, flood=None))
            for multiple in MULTIPLES:
                rate_per_s = capacity[0] * multiple
                request = write_request(target)
                load = FloodLoad(HOST, running.port, request, rate_per_s, duration_s, _CONNECTIONS, closes)
                samples.append(_measure_open(site, running, samples[-1], multiple, load))
                _tell(samples[-1])
    return samples


@contextlib.contextmanager
def run_upstream(site: Site, latency_ms: int) -> Iterator[str]:
    """The base URL of an upstream that answers that much later: the site's own nginx if at once, else the simulator."""
    if latency_ms == 0:
        yield site.upstream_url
        return
    (port,) = find_free_ports(1)
    command = [str(Path(sys.executable).with_name("pg-trio")), "simulate", "--bind", f"{HOST}:{port}"]
    command += ["--default", f"latency={latency_ms}ms&tokens=22"]
    log = site.folder / "simulator.log"
    with run_pinned("simulator", command, core=site.cores.load, log=log) as simulator:
        wait_ready(simulator, Target(port))
        yield f"http://{HOST}:{port}/v1"


def _measure_closed(site: Site, running: Running, load: Load) -> tuple[float, float, float]:
    (worker,) = running.workers
    before_s = measure_cpu_s(worker)
    result = run_load(load, site.folder / "load", site.cores.load)
    used_s = measure_cpu_s(worker) - before_s
    good = result.requests - result.not_ok
    # A worker that sheds some of a closed loop still has a capacity; one that answers little else is broken.
    if good <= result.not_ok:
        raise PeerUnavailableError(f"capacity cannot be measured: {good} answers with 200, {result.not_ok} others")
    per_s = good / result.duration_us * 1e6
    say(f"capacity {per_s:,.0f}/s at {load.connections} connections, {result.not_ok} not 200")
    return per_s, used_s / result.requests * 1e6, used_s / result.duration_us * 1e6


def make_target(running: Running, closes: bool) -> Target:
    """What is asked; `closes` where the request is to be the only one of its connection."""
    target = running.make_target({"message": QUESTION})
    return evolve(target, headers={**target.headers, "Connection": "close"}) if closes else target


def _measure_open(site: Site, running: Running, before: Sample, multiple: float, load: FloodLoad) -> Sample:
    (worker,) = running.workers
    before_s = measure_cpu_s(worker)
    result = run_flood(load, site.folder, site.cores.load)
    used_s = measure_cpu_s(worker) - before_s
    return Sample(
        limit=before.limit,
        latency_ms=before.latency_ms,
        round=before.round,
        multiple=multiple,
        goodput_per_s=result.goodput_per_s,
        cpu_us=used_s / max(1, result.ok + result.shed) * 1e6,
        core_share=used_s / load.duration_s,
        flood=result,
    )


def run_flood(load: FloodLoad, folder: Path, core: int) -> FloodResult:
    """What the generator counted. Raises: PeerUnavailableError with what it said instead, TimeoutError."""
    file = folder / "flood.json"
    file.write_text(json.dumps(asdict(load)))
    command = [sys.executable, str(Path(flood.__file__)), str(file)]
    with run_pinned("flood", command, core=core, log=folder / "flood.log") as process:
        wait_finished(process, OPEN_LIMIT_S + load.duration_s + SLACK_S)
        if process.leader.returncode != 0:
            raise PeerUnavailableError(process.read_log_end())
        counted = json.loads(process.read_log())
    return FloodResult(**counted | {name: tuple(counted[name]) for name in ("ok_us", "shed_us")})


def _tell(sample: Sample) -> None:
    result = sample.flood
    assert result is not None
    say(
        f"limit {sample.limit}, {sample.latency_ms} ms, {sample.multiple:g}x: goodput {sample.goodput_per_s:,.0f}/s; "
        f"{result.ok} ok, {result.shed} shed, {result.unsent} unsent, {result.other + result.broken} failed, "
        f"{result.missing} missing; shed p99 {result.shed_us[1] / 1e3:.1f} ms; generator {result.core_share:.0%}"
    )


def make_table(samples: Sequence[Sample]) -> str:
    """One row for each setting and multiple: medians over the rounds, the worst of the maxima, all counts added up."""
    header = (
        "",
        "goodput/s",
        "of peak",
        "answered 200 / shed / unsent",
        "200 ms, p50 / p99",
        "shed ms, p50 / p99 / most",
        "no Retry-After",
        "failed",
        "CPU µs/answer",
        "generator",
    )
    rows = []
    for limit, latency_ms, multiple in dict.fromkeys((s.limit, s.latency_ms, s.multiple) for s in samples):
        own = [s for s in samples if (s.limit, s.latency_ms, s.multiple) == (limit, latency_ms, multiple)]
        name = f"{multiple:g}x" if multiple else "closed loop"
        first = (
            f"limit {limit:,}, upstream {latency_ms} ms, {name}",
            f"{statistics.median(s.goodput_per_s for s in own):,.0f}",
            f"{statistics.median(find_share(s, samples) for s in own):.0%}",
        )
        cpu = f"{statistics.median(s.cpu_us for s in own):,.0f}"
        floods = [s.flood for s in own if s.flood]
        rows.append((*first, *(_format_floods(floods) if floods else ("–",) * 5), cpu, _format_share(floods)))
    return format_table(header, rows)


def _format_floods(floods: Sequence[FloodResult]) -> tuple[str, ...]:
    ok, shed, unsent = (sum(getattr(f, name) for f in floods) for name in ("ok", "shed", "unsent"))
    ok_ms = [statistics.median(f.ok_us[n] for f in floods) / 1e3 for n in (0, 1)]
    shed_ms = [statistics.median(f.shed_us[n] for f in floods) / 1e3 for n in (0, 1)]
    most_ms = max(f.shed_us[2] for f in floods) / 1e3
    return (
        f"{ok:,} / {shed:,} / {unsent:,}",
        " / ".join(f"{ms:.1f}" for ms in ok_ms),
        " / ".join(f"{ms:.1f}" for ms in (*shed_ms, most_ms)) if shed else "–",
        str(sum(f.shed_without_retry_after for f in floods)),
        str(sum(f.other + f.broken + f.missing for f in floods)),
    )


def _format_share(floods: Sequence[FloodResult]) -> str:
    return f"{statistics.median(f.core_share for f in floods):.0%}" if floods else "–"


def find_share(sample: Sample, samples: Sequence[Sample]) -> float:
    """The sample's goodput over the best of its setting and round."""
    same = [s for s in samples if (s.limit, s.latency_ms, s.round) == (sample.limit, sample.latency_ms, sample.round)]
    return sample.goodput_per_s / max(s.goodput_per_s for s in same)


def judge(samples: Sequence[Sample]) -> list[str]:
    """Which bars are missed, at the highest multiple; empty if none is."""
    wrong = []
    for limit, latency_ms in dict.fromkeys((s.limit, s.latency_ms) for s in samples):
        own = [s for s in samples if (s.limit, s.latency_ms, s.multiple) == (limit, latency_ms, MULTIPLES[-1])]
        name = f"limit {limit:,}, upstream {latency_ms} ms, {MULTIPLES[-1]:g}x"
        share = statistics.median(find_share(s, samples) for s in own)
        shed_us = statistics.median(s.flood.shed_us[1] for s in own if s.flood)
        bare = sum(s.flood.shed_without_retry_after for s in own if s.flood)
        if share < _GOODPUT_BAR:
            wrong.append(f"{name}: goodput is {share:.0%} of the peak; the bar is {_GOODPUT_BAR:.0%}")
        if shed_us > _SHED_BAR_US:
            wrong.append(f"{name}: shed after {shed_us / 1e3:.1f} ms (p99); the bar is {_SHED_BAR_US / 1e3:.0f} ms")
        if bare:
            wrong.append(f"{name}: {bare} shed without Retry-After")
    return wrong


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; usage errors and --help end the program."""
    parser = make_parser("overload", "Goodput and shedding at one, two and three times a worker's capacity.")
    parser.add_argument(
        "--limits",
        type=int,
        nargs="+",
        metavar="N",
        default=[DEFAULT_LIMIT],
        help=f"gateway.max_concurrent_requests, each in turn (default {DEFAULT_LIMIT})",
    )
    parser.add_argument(
        "--latencies",
        type=int,
        nargs="+",
        metavar="MS",
        default=[0, 100],
        help="of the upstream, each in turn; 0 is nginx, others the simulator (default 0 100)",
    )
    parser.add_argument(
        "--close",
        action="store_true",
        help="each request opens a connection of its own, as an nginx without keep-alive asks its upstreams",
    )
    parser.add_argument(
        "--noisy",
        action="store_true",
        help="instead: latencies of other tokens' requests while one token sends bodies of 4 MiB",
    )
    parsed = parser.parse_args(arguments)
    if any(limit < 1 for limit in parsed.limits) or any(not 0 <= ms <= 10_000 for ms in parsed.latencies):
        parser.error("--limits are at least 1, --latencies 0 to 10000")
    return parsed


def run_noisy(options: argparse.Namespace) -> int:
    """Measure and report what a noisy token costs the others."""
    with open_site() as site:
        found = measure_noise(site, duration_s=3.0 if options.quick else 10.0)
    report("overload", make_noise_table(found), as_raw(found), options.json)
    return 0


def run(options: argparse.Namespace) -> int:
    """Measure and report; 1 if a bar is missed."""
    if options.noisy:
        return run_noisy(options)
    rounds, duration_s = (1, 3) if options.quick else (3, 6)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    samples: list[Sample] = []
    with open_site() as site:
        for latency_ms in options.latencies:
            for limit in options.limits:
                samples += measure_setting(site, limit, latency_ms, rounds, duration_s, closes=options.close)
    report("overload", make_table(samples), {"samples": [asdict(sample) for sample in samples]}, options.json)
    wrong = judge(samples)
    for line in wrong:
        say(f"overload: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(run_command("overload", lambda: run(read_arguments(sys.argv[1:]))))
