"""The money that one request has reserved, and what is settled of it."""

from __future__ import annotations

from collections.abc import Awaitable
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from pg_trio.domain.chat import Usage
from pg_trio.domain.prices import NANO, to_nano_usd
from pg_trio.domain.project import Candidate
from pg_trio.errors import (
    BudgetExhausted,
    BudgetWouldBeExceeded,
    TokenBudgetExhausted,
    TokenBudgetWouldBeExceeded,
)
from pg_trio.ledger.protocols import MUST_WAIT, Spend, SpendBook
from pg_trio.ledger.settling import DONE, give_back

if TYPE_CHECKING:
    from pg_trio.stages.budget.spend_plan import SpendPlan


class Reservation:
    """The money that one request has reserved. `async with reservation: …` gives back the part that was not settled.

    A reservation without a book is empty.
    """

    # Class attributes until something is settled: the sum, and the source of the last price; None without a price.
    spent_nano_usd: int | None = None
    price: str | None = None
    _cost = 0

    def __init__(self, plan: SpendPlan, book: SpendBook | None = None, month: int = 0, amount: int = 0) -> None:
        self._plan = plan
        self._book = book
        self._month = month
        self._amount = amount

    def settle(self, usage: Usage, candidate: Candidate | None = None) -> None:
        """Count the real usage of a candidate; call it once for each. The rest is given back when the block ends.

        Without a candidate, the endpoint's dearest price holds.
        """
        plan = self._plan
        if plan.dearest is None:
            return
        rates = plan.dearest if candidate is None else plan.rates.get(candidate)
        if rates is None:
            self.price = None
            return
        self._cost = cost = self._cost + rates.cost(usage)
        self.spent_nano_usd = to_nano_usd(cost)
        self.price = rates.source

    async def grow(self, tokens: int) -> None:
        """Reserve `tokens` more of input for each candidate, in addition to the earlier reservation.

        Raises BudgetExhausted, BudgetWouldBeExceeded.
        """
        plan, book = self._plan, self._book
        if book is None or plan.budget_nano_usd is None:
            return
        # The input may be long with it, and how long it was before is not kept.
        amount = to_nano_usd(tokens * (plan.input_rate if plan.long is None else plan.long.input_rate))
        asked = plan.key, self._month, amount, plan.budget_nano_usd
        stood = book.reserve_nowait(*asked)
        if stood is MUST_WAIT:
            stood = await book.reserve(*asked)
        if stood is not None:
            raise over_budget(plan, stood, self._amount, amount)
        self._amount += amount

    def __aenter__(self) -> Awaitable[None]:
        return DONE

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        book = self._book
        if book is None:
            return DONE
        key, spent = self._plan.key, self.spent_nano_usd or 0
        if book.settle_nowait(key, self._month, self._amount, spent) is MUST_WAIT:
            return give_back(partial(book.settle, key, self._month, self._amount, spent))
        return DONE


class HeldReservation:
    """What a request has reserved from its endpoint's budget (`own`) and from its holder's (`held`)."""

    def __init__(self, own: Reservation, held: Reservation) -> None:
        self._own = own
        self._held = held

    @property
    def spent_nano_usd(self) -> int | None:
        """See Reservation. The row in the log has the holder's cost, because that budget is rebuilt from rows."""
        return self._held.spent_nano_usd

    @property
    def price(self) -> str | None:
        """See Reservation."""
        return self._held.price

    def settle(self, usage: Usage, candidate: Candidate | None = None) -> None:
        """See Reservation."""
        self._own.settle(usage, candidate)
        self._held.settle(usage, candidate)

    async def grow(self, tokens: int) -> None:
        """See Reservation."""
        await self._held.grow(tokens)
        await self._own.grow(tokens)

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._own.__aexit__(kind, error, trace)
        finally:
            await self._held.__aexit__(kind, error, trace)


# What an endpoint alone pays, or a holder, too.
Reserved: TypeAlias = Reservation | HeldReservation


def over_budget(plan: SpendPlan, stood: Spend, own: int, amount: int) -> BudgetExhausted | BudgetWouldBeExceeded:
    """The error for a request that does not fit, all in billionths of a dollar.

    `stood` is what is settled, and what is reserved by all requests; `own` is this request's part of it, `amount` is
    the refused addition.
    """
    settled, reserved = stood
    budget = plan.budget_nano_usd or 0
    if settled >= budget:
        exhausted = TokenBudgetExhausted if plan.is_holders else BudgetExhausted
        return exhausted(Decimal(settled) / NANO, Decimal(budget) / NANO)
    exceeded = TokenBudgetWouldBeExceeded if plan.is_holders else BudgetWouldBeExceeded
    amounts = (settled, reserved - own, own + amount, budget)
    return exceeded(*[Decimal(nano_usd) / NANO for nano_usd in amounts])
