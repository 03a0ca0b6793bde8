"""One visit to one peer: a fresh process, ready and warm, then each measurement after the other."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import asdict, evolve, frozen

from scripts.bench._peers.catalogue import Launch, Peer, Site
from scripts.bench._peers.errors import BenchError, PeerUnavailableError
from scripts.bench._peers.nginx import make_upstream_command
from scripts.bench._peers.paced import PacedLoad, PacedResult
from scripts.bench._peers.plan import Plan
from scripts.bench._peers.ports import HOST, find_free_ports
from scripts.bench._peers.processes import Pinned, run_pinned, wait_finished
from scripts.bench._peers.target import Target, wait_ready
from scripts.bench._peers.wrk import SLACK_S, WrkResult, make_wrk_command, read_result

# At a rate above this share of what a peer can answer at all, its queue is measured and not its speed.
SUSTAINABLE_SHARE = 0.8


@frozen(slots=True)
class Cores:
    """One core for what is measured, another for everything that measures."""

    gateway: int
    load: int


@frozen(slots=True)
class Visit:
    """What one peer did in one round. `paced` has None for a rate that is past what it can answer.

    Memory is the whole tree's, but for `idle_largest_bytes`: its largest process, the worker where there is one.
    `core_share`: CPU time over wall time under full load; under 1 the load side was the limit, or others used the core.
    `calls`: answered in all, the warm-up included. `logged`: how many of them it wrote down, where it keeps a log.
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
    paced: tuple[PacedResult | None, ...]
    calls: int
    logged: int | None = None
    said: str = ""

    @property
    def lost_rows(self) -> int:
        """Calls that were answered and never logged: work that was not done."""
        return max(0, self.calls - self.logged) if self.logged is not None else 0

    def __str__(self) -> str:
        return f"{self.throughput.per_s:,.0f} req/s, {self.errors} errors"

    @property
    def errors(self) -> int:
        """Everything that was not a 200, in all measurements."""
        paced = sum(result.errors for result in self.paced if result)
        return self.throughput.errors + self.single.errors + paced


@frozen(slots=True, eq=False)
class Bench:
    """The upstream, running, and where and how everybody is measured against it."""

    cores: Cores
    plan: Plan
    folder: Path
    cache: Path
    upstream: Pinned
    upstream_port: int

    def visit(self, peer: Peer, number: int) -> Visit:
        """Start the peer, measure it, stop it. Raises: PeerUnavailableError."""
        folder = self.folder / f"{peer.name}-{number}"
        launch = self.set_up(peer, folder, self.upstream_port)
        with self.start(peer, launch, folder, self.upstream) as process:
            wait_ready(process, launch.target)
            visit = _Measurement(self, process, launch.target, folder).take(peer.name, number)
            _expect_answer(process, launch.target)
        if launch.count_logged:
            visit = evolve(visit, logged=launch.count_logged())
        return evolve(visit, said=process.read_log_end()) if visit.errors or visit.lost_rows else visit

    def set_up(self, peer: Peer, folder: Path, upstream_port: int) -> Launch:
        """The peer's files are in `folder`; it will call that upstream."""
        folder.mkdir()
        (port,) = find_free_ports(1)
        return peer.set_up(Site(folder, self.cache, port, upstream_port))

    def start(
        self, peer: Peer, launch: Launch, folder: Path, upstream: Pinned
    ) -> contextlib.AbstractContextManager[Pinned]:
        """The peer's process on the core that is measured; for the baseline the upstream's, which runs."""
        if not launch.command:
            return contextlib.nullcontext(upstream)
        log = folder / "output.log"
        return run_pinned(peer.name, launch.command, core=self.cores.gateway, log=log, environment=launch.environment)


@contextlib.contextmanager
def open_bench(plan: Plan, cores: Cores, folder: Path, cache: Path) -> Iterator[Bench]:
    """The upstream answers for the length of the block. Raises: BenchError if it does not."""
    (port,) = find_free_ports(1)
    command = make_upstream_command(folder / "upstream", port)
    with run_pinned("upstream", command, core=cores.load, log=folder / "upstream.log") as upstream:
        try:
            wait_ready(upstream, Target(port))
        except PeerUnavailableError as exc:
            raise BenchError(str(exc)) from exc
        yield Bench(cores, plan, folder, cache, upstream, port)


@frozen(slots=True, eq=False)
class _Measurement:
    bench: Bench
    process: Pinned
    target: Target
    folder: Path

    def take(self, peer: str, number: int) -> Visit:
        plan = self.bench.plan
        idle = self.process.measure_memory_bytes()
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
        calls += sum(result.requests - result.missing for result in paced if result)
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
            calls=calls,
        )

    def _run_wrk(self, connections: int, duration_s: int) -> tuple[WrkResult, int]:
        """The result, and the peer's memory halfway through."""
        command = make_wrk_command(self.target, self.folder, connections, duration_s)
        with self._start_load("wrk", command) as wrk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                wrk.leader.wait(duration_s / 2)
            load_bytes = sum(self.process.measure_memory_bytes())
            wait_finished(wrk, duration_s / 2 + SLACK_S)
            return read_result(wrk), load_bytes

    def _run_paced(self, rate_per_s: int) -> PacedResult:
        plan = self.bench.plan
        load = PacedLoad(
            HOST, self.target.port, self.target.write_request().decode(), rate_per_s, plan.paced_s, plan.connections
        )
        file = self.folder / "paced.json"
        file.write_text(json.dumps(asdict(load)))
        with self._start_load("paced", [sys.executable, str(Path(__file__).with_name("paced.py")), str(file)]) as paced:
            wait_finished(paced, plan.paced_s + SLACK_S)
            if paced.leader.returncode != 0:
                raise PeerUnavailableError(paced.read_log_end())
            return PacedResult(**json.loads(paced.read_log()))

    def _start_load(self, name: str, command: Sequence[str]) -> contextlib.AbstractContextManager[Pinned]:
        return run_pinned(name, command, core=self.bench.cores.load, log=self.folder / f"{name}.log")


def _expect_answer(process: Pinned, target: Target) -> None:
    """The peer still answers after the load: one that broke under it has no figures worth printing."""
    try:
        status, said = target.call()
    except (OSError, http.client.HTTPException) as exc:
        raise PeerUnavailableError(f"{process.name} no longer answers after the load: {exc}") from exc
    if status != 200:
        raise PeerUnavailableError(f"{process.name} answers {status} after the load: {said[:300]}")
