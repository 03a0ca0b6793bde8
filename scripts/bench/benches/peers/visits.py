"""One visit to one peer: a fresh process, ready and warm, then each measurement after the other, then its end."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import evolve, field, frozen

from scripts.bench.benches.peers.catalogue import Launch, Peer, Spot
from scripts.bench.harness.open_loop import OpenLoad, run_open_loop
from scripts.bench.harness.processes import PeerUnavailableError, Pinned, find_free_port, run_pinned, wait_finished
from scripts.bench.harness.site import Provider, Site
from scripts.bench.harness.streams import StreamLoad, measure_streams
from scripts.bench.harness.target import StreamOrder, Target, wait_ready
from scripts.bench.harness.wrk import CONNECTIONS, SLACK_S, Load, WrkResult, read_result, start_load

# At a rate above this share of what a peer can answer at all, its queue is measured and not its speed.
SUSTAINABLE_SHARE = 0.8
# The client of streams keeps every byte until it has judged them: some 350 a token, 70 MB in all.
_MOST_TOKENS, _LEAST_TOKENS = 200_000, 100
FLOOD_STREAMS = 32
WARM = StreamOrder(streams=16, tokens=100, pace_us=0)
LONE = StreamOrder(streams=1, tokens=4, pace_us=0)
# So slow that every peer keeps up.
AMONG = StreamOrder(streams=32, tokens=8, pace_us=150_000)
PACED = StreamOrder(streams=64, tokens=64, pace_us=20_000)


@frozen(slots=True)
class Plan:
    """What every peer goes through in each round. wrk takes whole seconds only.

    `rates`: requests a second; every peer can keep up with the first, LiteLLM included. Streams, in the first
    `stream_rounds`: FLOOD_STREAMS as fast as they are taken, as many tokens as last about `flood_s`; LONE for `lone_s`,
    one stream after the other; AMONG for `among_s`, streams that begin while others are under way; PACED, all at once.
    """

    rounds: int
    warm_s: int
    throughput_s: int
    single_s: int
    paced_s: float
    rates: tuple[int, ...]
    stream_rounds: int
    flood_s: float
    lone_s: float
    among_s: float


FULL = Plan(3, 2, 6, 4, paced_s=5.0, rates=(40, 250, 1000), stream_rounds=3, flood_s=4.0, lone_s=4.0, among_s=4.0)
# Seven peers, two rounds, about six seconds each, and their starts: under two minutes. Streams: one round, one minute.
QUICK = Plan(2, 1, 2, 1, paced_s=0.6, rates=(40, 500), stream_rounds=1, flood_s=1.0, lone_s=0.5, among_s=0.8)


@frozen(slots=True, eq=False)
class Visitor:
    """The upstream and the source of streams, running, and where and how all peers are measured against them.

    `said`: what peers printed last, where something went wrong.
    """

    site: Site
    plan: Plan
    cache: Path
    upstream: Provider
    source: Provider
    said: list[str] = field(factory=list)

    def visit(self, peer: Peer) -> dict[str, float]:
        """Start the peer, measure its requests, stop it. Raises: PeerUnavailableError, TimeoutError."""
        with self._start(peer, self.upstream) as (visit, launch):
            wait_ready(visit.process, launch.target)
            figures = visit.measure_requests(self.plan)
            # One that broke under the load has no figures worth printing.
            status, said = launch.target.call()
            if status != 200:
                raise PeerUnavailableError(f"{peer.name} answers {status} after the load: {said[:300]}")
        figures["lost_sum"] = _count_lost(launch, figures["calls"])
        if figures["errors_sum"] or figures["lost_sum"]:
            self.said.append(f"    {peer.title} printed, last: {visit.process.read_log_end()}")
        return figures

    def visit_streams(self, peer: Peer) -> dict[str, float]:
        """The same for streams, from the source. Raises: PeerUnavailableError, TimeoutError."""
        with self._start(peer, self.source, streams=True) as (started, launch):
            visit = started if launch.stream_target is None else evolve(started, target=launch.stream_target)
            wait_ready(visit.process, launch.target.ask_stream(0, StreamOrder(streams=1, tokens=2, pace_us=0)))
            figures = visit.measure_streams(self.plan)
        return {**figures, "lost_sum": _count_lost(launch, figures["calls"])}

    @contextlib.contextmanager
    def _start(self, peer: Peer, baseline: Provider, *, streams: bool = False) -> Iterator[tuple[_Visit, Launch]]:
        """The peer's process on the core that is measured; for the baseline its own, which runs already."""
        folder = self.site.make_folder(peer.name)
        launch = peer.set_up(Spot(folder, self.cache, find_free_port(), baseline.port))
        if not launch.command:
            yield _Visit(self.site, baseline.process, launch.target, folder), launch
            return
        environment = {**launch.environment, **(launch.stream_environment if streams else {})}
        core, log = self.site.cores.gateway, folder / "output.log"
        with run_pinned(peer.name, launch.command, core=core, log=log, environment=environment) as process:
            yield _Visit(self.site, process, launch.target, folder), launch


def _count_lost(launch: Launch, calls: float) -> float:
    """Calls that were answered and never logged, where the peer keeps a log: work that it did not do."""
    return max(0.0, calls - launch.count_logged()) if launch.count_logged else 0.0


@frozen(slots=True, eq=False)
class _Visit:
    site: Site
    process: Pinned
    target: Target
    folder: Path

    def measure_requests(self, plan: Plan) -> dict[str, float]:
        """`core_share`: under 1 the load side was the limit, or others used the core. Memory is the whole tree's."""
        idle = self.process.measure_memory_bytes()
        warm, _ = self._run_wrk(CONNECTIONS, plan.warm_s)
        before_s = self.process.measure_cpu_s()
        loaded, load_bytes = self._run_wrk(CONNECTIONS, plan.throughput_s)
        cpu_s = self.process.measure_cpu_s() - before_s
        if not loaded.requests:
            raise PeerUnavailableError(f"nothing answered under load\n{self.process.read_log_end()}")
        single, _ = self._run_wrk(1, plan.single_s)
        figures: dict[str, float] = {
            "per_s": loaded.per_s,
            "cpu_us": cpu_s / loaded.requests * 1e6,
            "core_share": cpu_s / loaded.duration_us * 1e6,
            "idle_mb": sum(idle) / 1e6,
            "idle_largest_mb": max(idle) / 1e6,
            "load_mb": load_bytes / 1e6,
            "single_p50_ms": single.p50_us / 1e3,
            "single_p99_ms": single.p99_us / 1e3,
            "errors_sum": loaded.errors + single.errors,
            "calls": warm.requests + loaded.requests + single.requests,
        }
        for rate in plan.rates:
            if rate <= loaded.per_s * SUSTAINABLE_SHARE:
                self._run_paced(plan, rate, figures)
        return figures

    def measure_streams(self, plan: Plan) -> dict[str, float]:
        """`alone_cpu_us`: a token's CPU time in the paced load, where every token comes alone."""
        warm = self._run_streams(WARM)
        flood = self._run_streams(plan_flood(warm["per_s"], plan.flood_s))
        lone = self._run_streams(LONE, plan.lone_s)
        among = self._run_streams(AMONG, plan.among_s)
        paced = self._run_streams(PACED)
        return {
            **{name: flood[name] for name in ("per_s", "a_read", "cpu_us", "core_share")},
            "alone_cpu_us": paced["cpu_us"],
            **{f"lone_{name}": lone[f"first_{name}"] for name in ("p50_ms", "p99_ms")},
            **{f"among_{name}": among[f"first_{name}"] for name in ("p50_ms", "p99_ms")},
            **{name: paced[name] for name in ("steady_sum", "streams_sum", "lag_p50_ms", "lag_p99_ms", "gap_ms_max")},
            "calls": sum(one["streams_sum"] + one["unmeasured"] for one in (warm, flood, lone, among, paced)),
        }

    def _run_wrk(self, connections: int, duration_s: int) -> tuple[WrkResult, int]:
        """The result, and the peer's memory halfway through."""
        load = Load(self.target, connections, duration_s)
        with start_load(load, self.folder / "load", self.site.cores.load) as wrk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                wrk.leader.wait(duration_s / 2)
            load_bytes = sum(self.process.measure_memory_bytes())
            wait_finished(wrk, duration_s / 2 + SLACK_S)
            return read_result(wrk), load_bytes

    def _run_paced(self, plan: Plan, rate: int, figures: dict[str, float]) -> None:
        request = self.target.as_bytes().decode()
        load = OpenLoad(self.target.port, request, rate, plan.paced_s, CONNECTIONS, waits=True)
        result = run_open_loop(load, self.folder, self.site.cores.load)
        figures["errors_sum"] += result["errors_sum"]
        figures["calls"] += result["ok_sum"] + result["shed_sum"] + result["other_sum"]
        for name, figure in (("p50_ms", "ok_p50"), ("p99_ms", "ok_p99"), ("generator_us", "generator_us")):
            figures[f"at_{rate}_{name}"] = result.get(figure, 0.0)

    def _run_streams(self, order: StreamOrder, duration_s: float | None = None) -> dict[str, float]:
        load = StreamLoad(self.target, order, duration_s)
        return measure_streams(self.process, load, self.folder, self.site.cores.load)


def plan_flood(per_s: float, duration_s: float) -> StreamOrder:
    """As many tokens a stream as last about so long at this rate, within what the client can keep."""
    tokens = min(per_s * duration_s, _MOST_TOKENS) / FLOOD_STREAMS
    return StreamOrder(FLOOD_STREAMS, max(_LEAST_TOKENS, int(tokens)), pace_us=0)
