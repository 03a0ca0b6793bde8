"""What outlives a request: the results of candidates and credentials, and the budgets that requests share."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from pg_trio.domain.project import Candidate
from pg_trio.racing.breaker import BreakerRules
from pg_trio.racing.breaker_board import BreakerBoard, Breakers
from pg_trio.racing.hedge_budget import HedgeBudget, HedgeRules, Hedges
from pg_trio.racing.latency import Latencies, LatencyBoard
from pg_trio.racing.retry_budget import RetryBudget
from pg_trio.racing.shared_slots import LeaseCounter
from pg_trio.racing.stored_breaker import BreakerRecords

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
    """The results of candidates so far, and the remaining budgets. This process keeps them, unless shared stores are
    given. `leases` count a credential's running calls in all workers; None: each worker counts its own."""

    breakers: Breakers[Candidate] = field(factory=make_board)
    latencies: Latencies = field(factory=LatencyBoard)
    open_hedges: Callable[[HedgeRules, float], Hedges] = HedgeBudget
    leases: LeaseCounter | None = None
    retry_budget: RetryBudget = field(factory=lambda: RetryBudget(RETRY_SHARE))
