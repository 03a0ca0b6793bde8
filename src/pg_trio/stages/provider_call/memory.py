"""What outlives a request: the results of candidates and credentials, and the budgets that requests share."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from pg_trio.domain.project import Candidate
from pg_trio.ledger.node_health import BreakerRecords, Hedges, LeaseCounter, NodeHealth, OpenHedges, SlotLeases
from pg_trio.racing.breaker import BreakerRules
from pg_trio.racing.breaker_board import BreakerBoard, Breakers
from pg_trio.racing.hedge_budget import HedgeBudget, HedgeRules
from pg_trio.racing.latency import Latencies, LatencyBoard
from pg_trio.racing.pauses import Pauses
from pg_trio.racing.retry_budget import RetryBudget

# The contract's default.
RETRY_SHARE = 0.2


def make_board(records: BreakerRecords | None = None) -> BreakerBoard[Candidate]:
    """Breakers for candidates: shared by all workers through `records`, or this process's own."""
    return BreakerBoard(
        target_of=lambda candidate: (candidate.credential.name, candidate.memory_name),
        credential_of=lambda candidate: candidate.credential.name,
        rules=BreakerRules(),
        records=records,
    )


@frozen(slots=True)
class Memory:
    """The results of candidates so far, and the remaining budgets. By default, this process keeps them for itself.

    `leases` count a credential's running calls in all workers, `slot_leases` at all nodes; None: each worker counts its
    own. `pauses`: a silence in them is no candidate's.
    """

    breakers: Breakers[Candidate] = field(factory=make_board)
    latencies: Latencies = field(factory=LatencyBoard)
    open_hedges: Callable[[HedgeRules, float], Hedges] = HedgeBudget
    leases: LeaseCounter | None = None
    slot_leases: SlotLeases | None = None
    retry_budget: RetryBudget = field(factory=lambda: RetryBudget(RETRY_SHARE))
    pauses: Pauses = field(factory=Pauses)

    @classmethod
    def over(cls, health: NodeHealth, retry_share: float, workers: int) -> Memory:
        """The same over what a ledger keeps for the node, of so many `workers`."""
        return cls(
            make_board(health.breakers),
            LatencyBoard(health.find_latencies),
            HedgeBudget if health.open_hedges is None else HedgesOf(health.open_hedges),
            health.slots,
            health.slot_leases,
            RetryBudget(retry_share, health.retries, workers),
        )


@frozen(slots=True)
class HedgesOf:
    """Opens the node's budget of hedges. If there is no room for it, the budget is this worker's own."""

    _open: OpenHedges

    def __call__(self, rules: HedgeRules, now: float) -> Hedges:
        opened = self._open(share=rules.share, reserve=rules.reserve, min_per_s=rules.min_per_s, now=now)
        return HedgeBudget(rules, now) if opened is None else opened
