"""One visit to one peer for its streams: a fresh process that calls the source, not nginx, and each load in turn."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import asdict, evolve, frozen

from scripts.bench._peers.catalogue import Peer
from scripts.bench._peers.errors import BenchError, PeerUnavailableError
from scripts.bench._peers.measure import Bench
from scripts.bench._peers.processes import Pinned, run_pinned, wait_finished
from scripts.bench._peers.stream_load import StreamLoad, StreamResult
from scripts.bench._peers.target import Target, wait_ready
from scripts.bench._streams.client import Load
from scripts.bench._streams.running import run_source

_ROOT = Path(__file__).resolve().parents[3]
# The client keeps every byte until it has judged them: some 350 a token, 70 MB in all.
_MOST_TOKENS = 200_000
_LEAST_TOKENS = 100
# The client gives up a load that takes longer than two minutes.
_LOAD_LIMIT_S = 150.0


@frozen(slots=True)
class Streamed:
    """One load: what came, and the CPU time that the peer's processes took for it."""

    result: StreamResult
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """Microseconds a token, what it took to open the streams included. Not where some are unmeasured."""
        return self.cpu_s / self.result.tokens * 1e6

    @property
    def core_share(self) -> float:
        """CPU time over wall time; under 1, the load side was the limit, or others used the core."""
        return self.cpu_s / self.result.seconds


@frozen(slots=True)
class StreamVisit:
    """What one peer did in one round with the loads of `StreamPlan`.

    `calls`: streams that were read to their end, the warm-up included. `logged`: how many of them it wrote down.
    """

    peer: str
    round: int
    flood: Streamed
    lone: Streamed
    among: Streamed
    paced: Streamed
    calls: int
    logged: int | None = None

    def __str__(self) -> str:
        return f"{self.flood.result.per_s:,.0f} tokens/s in {self.flood.result.tokens_a_read:.0f} a read"

    @property
    def lost_rows(self) -> int:
        """Streams that were answered and not written down."""
        return max(0, self.calls - self.logged) if self.logged is not None else 0


@frozen(slots=True, eq=False)
class StreamBench:
    """The source, running, beside the bench that the peers share."""

    bench: Bench
    source: Pinned
    source_port: int

    def visit(self, peer: Peer, number: int) -> StreamVisit:
        """Start the peer, measure it, stop it. Raises: PeerUnavailableError, TimeoutError."""
        folder = self.bench.folder / f"{peer.name}-{number}-streams"
        launch = self.bench.set_up(peer, folder, self.source_port)
        launch = evolve(launch, environment={**launch.environment, **launch.stream_environment})
        with self.bench.start(peer, launch, folder, self.source) as process:
            wait_ready(process, launch.target.ask_stream(0, Load(streams=1, tokens=2, pace_us=0)))
            visit = _Measurement(self.bench, process, launch.target, folder).take(peer.name, number)
        return evolve(visit, logged=launch.count_logged()) if launch.count_logged else visit


@contextlib.contextmanager
def open_stream_bench(bench: Bench) -> Iterator[StreamBench]:
    """The source streams for the length of the block. Raises: BenchError if it does not start."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(run_source(core=bench.cores.load, log=bench.folder / "source.log"))
        except TimeoutError as exc:
            raise BenchError(str(exc)) from exc
        yield StreamBench(bench, *running)


@frozen(slots=True, eq=False)
class _Measurement:
    bench: Bench
    process: Pinned
    target: Target
    folder: Path

    def take(self, peer: str, number: int) -> StreamVisit:
        plan = self.bench.plan.streams
        warm = self._run(plan.warm)
        flood = self._run(plan_flood(warm.result.per_s, plan.flood_streams, plan.flood_s))
        lone = self._run(plan.lone, plan.lone_s)
        among = self._run(plan.among, plan.among_s)
        paced = self._run(plan.paced)
        results = [one.result for one in (warm, flood, lone, among, paced)]
        calls = sum(result.streams + result.unmeasured for result in results)
        return StreamVisit(peer, number, flood, lone, among, paced, calls)

    def _run(self, load: Load, duration_s: float | None = None) -> Streamed:
        """Raises: PeerUnavailableError with what the client says of the streams."""
        file = self.folder / "streams.json"
        file.write_text(json.dumps(asdict(StreamLoad(self.target, load, duration_s))))
        command = [sys.executable, "-m", "scripts.bench._peers.stream_load", str(file)]
        log, here = self.folder / "streams.log", {"PYTHONPATH": str(_ROOT)}
        cpu_s = self.process.measure_cpu_s()
        with run_pinned("streams", command, core=self.bench.cores.load, log=log, environment=here) as client:
            wait_finished(client, (duration_s or 0.0) + _LOAD_LIMIT_S)
            cpu_s = self.process.measure_cpu_s() - cpu_s
            if client.leader.returncode != 0:
                raise PeerUnavailableError(f"{client.read_log_end()}\n{self.process.read_log_end()}")
            return Streamed(StreamResult(**json.loads(client.read_log())), cpu_s)


def plan_flood(per_s: float, streams: int, duration_s: float) -> Load:
    """As many tokens a stream as last about so long at this rate, within what the client can keep."""
    tokens = min(per_s * duration_s, _MOST_TOKENS) / streams
    return Load(streams, max(_LEAST_TOKENS, int(tokens)), pace_us=0)
