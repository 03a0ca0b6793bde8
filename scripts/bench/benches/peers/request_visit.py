"""What a peer does with requests: throughput, one request at a time, and latencies at fixed rates."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from attrs import frozen

from scripts.bench.benches.peers.plan import Plan
from scripts.bench.harness.open_loop import OpenLoad, OpenResult, run_open_loop
from scripts.bench.harness.processes import PeerUnavailableError, Pinned, wait_finished
from scripts.bench.harness.site import Site
from scripts.bench.harness.target import Target
from scripts.bench.harness.wrk import SLACK_S, Load, WrkResult, read_result, start_load

# At a rate above this share of what a peer can answer at all, its queue is measured and not its speed.
SUSTAINABLE_SHARE = 0.8


@frozen(slots=True)
class Visit:
    """What one peer did in one round. `paced` has None for a rate that is past what it can answer.

    Memory is the whole tree's, except for `idle_largest_bytes`: its largest process, the worker where there is one.
    `core_share`: CPU time over wall time under full load; under 1 the load side was the limit, or others used the core.
    `calls`: answered in all, the warm-up included. `logged`: how many of them it logged, where it keeps a log.
    `said`: the last lines that it printed, where something went wrong.
    """

    peer: str
    round: int
    idle_bytes: int
    idle_largest_bytes: int
    load_bytes: int
    cpu_us: float
    core_share: float
    throughput: WrkResult
    single: WrkResult
    paced: tuple[OpenResult | None, ...]
    calls: int
    logged: int | None = None
    said: str = ""

    def __str__(self) -> str:
        return f"{self.per_s:,.0f} req/s, {self.errors} errors"

    @property
    def per_s(self) -> float:
        return self.throughput.per_s

    @property
    def judged_cpu_us(self) -> float:
        """The CPU time that peers are compared by."""
        return self.cpu_us

    @property
    def lost_rows(self) -> int:
        """Calls that were answered and never logged: work that was not done."""
        return max(0, self.calls - self.logged) if self.logged is not None else 0

    @property
    def errors(self) -> int:
        """Answers other than 200, and requests without an answer, in all measurements."""
        return self.throughput.errors + self.single.errors + sum(result.errors for result in self.paced if result)


@frozen(slots=True, eq=False)
class Requests:
    """A peer that is ready, and the measurements that it goes through."""

    site: Site
    plan: Plan
    process: Pinned
    target: Target
    folder: Path

    def measure(self, peer: str, number: int) -> Visit:
        """All measurements, one after the other. Raises: PeerUnavailableError, TimeoutError."""
        plan, idle = self.plan, self.process.measure_memory_bytes()
        warm, _ = self._run_wrk(plan.connections, plan.warm_s)
        cpu_before_s = self.process.measure_cpu_s()
        throughput, load_bytes = self._run_wrk(plan.connections, plan.throughput_s)
        cpu_s = self.process.measure_cpu_s() - cpu_before_s
        if not throughput.requests:
            raise PeerUnavailableError(f"{peer} answered nothing under load\n{self.process.read_log_end()}")
        single, _ = self._run_wrk(1, plan.single_s)
        sustainable = throughput.per_s * SUSTAINABLE_SHARE
        paced = tuple(self._run_paced(rate) if rate <= sustainable else None for rate in plan.rates)
        calls = warm.requests + throughput.requests + single.requests
        return Visit(
            peer=peer,
            round=number,
            idle_bytes=sum(idle),
            idle_largest_bytes=max(idle),
            load_bytes=load_bytes,
            cpu_us=cpu_s / throughput.requests * 1e6,
            core_share=cpu_s / throughput.duration_us * 1e6,
            throughput=throughput,
            single=single,
            paced=paced,
            calls=calls + sum(result.ok + result.shed + result.other for result in paced if result),
        )

    def _run_wrk(self, connections: int, duration_s: int) -> tuple[WrkResult, int]:
        """The result, and the peer's memory halfway through."""
        load = Load(self.target, connections, duration_s)
        with start_load(load, self.folder / "load", self.site.cores.load) as wrk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                wrk.leader.wait(duration_s / 2)
            load_bytes = sum(self.process.measure_memory_bytes())
            wait_finished(wrk, duration_s / 2 + SLACK_S)
            return read_result(wrk), load_bytes

    def _run_paced(self, rate_per_s: int) -> OpenResult:
        request, plan = self.target.as_bytes().decode(), self.plan
        load = OpenLoad(self.target.port, request, rate_per_s, plan.paced_s, plan.connections, waits=True)
        return run_open_loop(load, self.folder, self.site.cores.load)
