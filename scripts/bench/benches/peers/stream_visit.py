"""What a peer does with streams: as fast as they go, the first token alone and among others, and at a model's pace."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from scripts.bench.benches.peers.plan import StreamPlan
from scripts.bench.harness.processes import PeerUnavailableError, Pinned
from scripts.bench.harness.site import Site
from scripts.bench.harness.stream_load import StreamLoad, StreamResult, run_stream_load
from scripts.bench.harness.target import StreamOrder, Target

# The client keeps every byte until it has judged them: some 350 a token, 70 MB in all.
_MOST_TOKENS = 200_000
_LEAST_TOKENS = 100


@frozen(slots=True)
class Streamed:
    """One load: what came, and the CPU time that the peer's processes took for it."""

    result: StreamResult
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """Microseconds a token, opening the streams included. Meaningless where some streams are unmeasured."""
        return self.cpu_s / self.result.tokens * 1e6

    @property
    def core_share(self) -> float:
        """CPU time over wall time; under 1, the load side was the limit, or others used the core."""
        return self.cpu_s / self.result.seconds

    @property
    def first_us(self) -> tuple[float, float]:
        """p50 and p99 of the first token's delay."""
        return self.result.first_p50_us, self.result.first_p99_us


@frozen(slots=True)
class StreamVisit:
    """What one peer did in one round with the loads of `StreamPlan`.

    `calls`: streams that were read to their end, the warm-up included. `logged`: how many of them it logged.
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
        return f"{self.per_s:,.0f} tokens/s in {self.flood.result.tokens_a_read:.0f} a read"

    @property
    def per_s(self) -> float:
        return self.flood.result.per_s

    @property
    def judged_cpu_us(self) -> float:
        """The CPU time that peers are compared by: of a token that comes alone."""
        return self.paced.cpu_us

    @property
    def lost_rows(self) -> int:
        """Streams that were answered and never logged."""
        return max(0, self.calls - self.logged) if self.logged is not None else 0


@frozen(slots=True, eq=False)
class Streams:
    """A peer that is ready, and the loads that it goes through."""

    site: Site
    plan: StreamPlan
    process: Pinned
    target: Target
    folder: Path

    def measure(self, peer: str, number: int) -> StreamVisit:
        """All loads, one after the other. Raises: PeerUnavailableError, TimeoutError."""
        plan = self.plan
        warm = self._run(plan.warm)
        flood = self._run(plan_flood(warm.result.per_s, plan.flood_streams, plan.flood_s))
        lone = self._run(plan.lone, plan.lone_s)
        among = self._run(plan.among, plan.among_s)
        paced = self._run(plan.paced)
        calls = sum(one.result.streams + one.result.unmeasured for one in (warm, flood, lone, among, paced))
        return StreamVisit(peer, number, flood, lone, among, paced, calls)

    def _run(self, order: StreamOrder, duration_s: float | None = None) -> Streamed:
        load = StreamLoad(self.target, order, duration_s)
        cpu_s = self.process.measure_cpu_s()
        try:
            result = run_stream_load(load, self.folder, self.site.cores.load)
        except PeerUnavailableError as exc:
            raise PeerUnavailableError(f"{exc}\n{self.process.read_log_end()}") from exc
        return Streamed(result, self.process.measure_cpu_s() - cpu_s)


def plan_flood(per_s: float, streams: int, duration_s: float) -> StreamOrder:
    """As many tokens a stream as last about so long at this rate, within what the client can keep."""
    tokens = min(per_s * duration_s, _MOST_TOKENS) / streams
    return StreamOrder(streams, max(_LEAST_TOKENS, int(tokens)), pace_us=0)
