"""Limit the cost of a request with its endpoint's token cap and monthly budget.

Rules:
1. Both use an estimate of the input: the characters that the client sends to the provider (message text, tools), four
   to a token, rounded up.
2. The budget is checked if the endpoint has `monthly_budget_usd` and a candidate has a price: from `[[prices]]`, the
   endpoint's flat rate, or the shipped list (config/prices.py). A candidate without a price then counts at the dearest
   price of the others, so that its calls also use up the budget.
3. Before the call, the highest possible cost is reserved, at the endpoint's dearest price. This is the input (with the
   endpoint's own prompt and template) for each candidate that may be called, plus one answer of `max_output_tokens`,
   or of the gateway's `default_output_tokens`. The provider gets the same limit (`SpendPlan.output_limit_tokens`).
   If models cost more for a long input, that price is reserved where the estimated input is long enough for it.
   A stream that others may carry on reserves an answer of each candidate. With `output_repair_attempts`, each round
   reserves all of this. So concurrent requests together cannot exceed the budget.
4. A session's history is known only after the guardrails and the schema. `add_history` then checks the cap again and
   reserves the history's cost.
5. After the call, the reservation is settled with the real usage of each candidate at its own price. If nothing was
   used, all of it is given back, even when the request fails or is cancelled. A cancelled attempt (a lost hedge, a
   limit, the deadline, a client that left) counts its input, because providers charge it.
6. A client token's holder may have a budget, too. It is reserved and settled like the endpoint's, beside it: the
   holder's first. Then the provider's answer is limited, and a candidate without a price counts at the dearest price,
   as where the endpoint has a budget (`SpendPlan.for_holders`).
7. A book in memory answers without a coroutine (`reserve_nowait`). For any other book the request waits (`reserve`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, tzinfo
from uuid import UUID

from attrs import evolve

from pg_trio.domain.chat import ChatRequest, estimate_tokens
from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.project import Endpoint
from pg_trio.ledger.protocols import MUST_WAIT, OpenHolders, Spend, SpendBook
from pg_trio.stages.budget.months import Months, month_of, month_start
from pg_trio.stages.budget.reservation import HeldReservation, Reservation, Reserved, over_budget
from pg_trio.stages.budget.spend_plan import ASK_AGAIN_CHARS, DEAREST, LongInput, SpendPlan

__all__ = [
    "ASK_AGAIN_CHARS",
    "DEAREST",
    "Budget",
    "HeldReservation",
    "LongInput",
    "Months",
    "Reservation",
    "Reserved",
    "SpendPlan",
    "month_of",
    "month_start",
    "over_budget",
]


class Budget:
    """Checks the cap and reserves from the month's budget. `now_s` is Unix seconds. Months begin in `zone`."""

    def __init__(
        self,
        book: SpendBook,
        now_s: Callable[[], float],
        default_output_tokens: int,
        zone: tzinfo = UTC,
        holders: OpenHolders | None = None,
    ) -> None:
        self._holders = holders
        self._book = book
        self._now_s = now_s
        self._default_output_tokens = default_output_tokens
        self._months = Months(zone)

    def compile(self, endpoint: Endpoint) -> SpendPlan:
        """The endpoint's cap, prices and budget, ready for calculation."""
        return SpendPlan.of(endpoint, self._default_output_tokens)

    async def read(self, endpoints: Iterable[Endpoint]) -> dict[UUID, Spend]:
        """What is settled and what is reserved this month, in billionths of a US dollar, of those with a budget.

        Raises Overloaded.
        """
        budgeted = [endpoint.uuid for endpoint in endpoints if endpoint.monthly_budget_usd is not None]
        spends = await self._book.read([uuid.bytes for uuid in budgeted], self._months.find(self._now_s()))
        return {uuid: spends[uuid.bytes] for uuid in budgeted}

    def reserve_nowait(
        self, plan: SpendPlan, request: ClientRequest, grant: ClientGrant | None = None
    ) -> Reserved | None:
        """Reserve the highest cost of the request. None if the caller must wait (`reserve`).

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        if grant is not None and grant.monthly_budget_nano_usd is not None:
            return None
        if plan.budget_nano_usd is None:
            if plan.cap_tokens is not None:
                plan.check_cap(request.characters())
            return plan.free or Reservation(plan)
        month, amount = self._price(plan, request)
        stood = self._book.reserve_nowait(plan.key, month, amount, plan.budget_nano_usd)
        if stood is None:
            return Reservation(plan, self._book, month, amount)
        return None if stood is MUST_WAIT else self._make(plan, month, amount, stood)

    async def reserve(self, plan: SpendPlan, request: ClientRequest, grant: ClientGrant | None = None) -> Reserved:
        """The same for every ledger and every holder. A cancelled call reserves nothing. Raises Overloaded, too."""
        if grant is None or grant.monthly_budget_nano_usd is None or plan.dearest is None or self._holders is None:
            return await self._reserve(plan, request)
        # Takes some 10 µs.
        holder_plan = evolve(plan, key=grant.key, budget_nano_usd=grant.monthly_budget_nano_usd, is_holders=True)
        book = (await self._holders()).spend
        month, amount = self._price(holder_plan, request)
        stood = await book.reserve(holder_plan.key, month, amount, grant.monthly_budget_nano_usd)
        if stood is not None:
            raise over_budget(holder_plan, stood, 0, amount)
        held = Reservation(holder_plan, book, month, amount)
        try:
            return HeldReservation(await self._reserve(plan, request), held)
        except BaseException:
            await held.__aexit__(None, None, None)
            raise

    async def _reserve(self, plan: SpendPlan, request: ClientRequest) -> Reservation:
        if plan.budget_nano_usd is None:
            plan.check_cap(request.characters())
            return Reservation(plan)
        month, amount = self._price(plan, request)
        stood = await self._book.reserve(plan.key, month, amount, plan.budget_nano_usd)
        return self._make(plan, month, amount, stood)

    def _price(self, plan: SpendPlan, request: ClientRequest) -> tuple[int, int]:
        """The month, and the highest cost of the request. Raises TokenCapExceeded."""
        characters = request.characters()
        if plan.cap_tokens is not None:
            plan.check_cap(characters)
        answers = plan.stream_answers if request.stream else 1
        return self._months.find(self._now_s()), plan.cost_nano_usd(
            characters, answers, request.options.max_output_tokens
        )

    def _make(self, plan: SpendPlan, month: int, amount: int, stood: Spend | None) -> Reservation:
        if stood is not None:
            raise over_budget(plan, stood, 0, amount)
        return Reservation(plan, self._book, month, amount)

    async def add_history(
        self,
        plan: SpendPlan,
        request: ChatRequest,
        history_chars: int,
        reservation: Reserved,
    ) -> None:
        """Check the cap and extend the reservation for a history of this many characters.

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        if plan.cap_tokens is not None:
            plan.check_cap(request.characters() + history_chars)
        await reservation.grow(estimate_tokens(history_chars) * (1 + plan.more_rounds))
