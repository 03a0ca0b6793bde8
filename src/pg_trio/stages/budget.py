"""Limits the cost of a request: the per-request token cap, and the month's budget of its endpoint.

Rules:
1. Both use an estimate of the input: the characters that the client sends to the provider (message text, tools), four
   to a token, rounded up.
2. The budget is checked if the endpoint has both `monthly_budget_usd` and `estimated_cost_per_1k_tokens_usd`.
3. Before the call, its maximal cost is reserved: the input (the endpoint's own prompt and template included) for each
   candidate that may be asked, plus `max_output_tokens`, or the gateway's `default_output_tokens`. The provider gets
   the same output limit (`Reservation.output_limit_tokens`). For a stream that other candidates may continue, an answer
   of each is reserved. So concurrent requests cannot exceed the budget together.
4. A session's history is known only after the guardrails and the schema: `add_history` then checks the cap again and
   reserves the history's cost, too.
5. After the call, the reservation is always settled with the real usage, or given back completely. A try that was cut
   short (a lost hedge, a limit, the deadline, a departed client) counts its input, because providers charge it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from types import TracebackType
from typing import Protocol

from attrs import frozen

from pg_trio.domain.chat import ChatRequest, Usage, estimate_tokens
from pg_trio.domain.project import Endpoint
from pg_trio.errors import BudgetExhausted, BudgetWouldBeExceeded, TokenCapExceeded

NANO = 1_000_000_000


class SpendBook(Protocol):
    """Spend by endpoint and month, in billionths of a US dollar (see shared_memory/spend.py)."""

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> tuple[int, int] | None: ...

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None: ...


class Reservation:
    """The reservation of one request: leaving `with reservation: …` gives it back, except for the settled amount."""

    __slots__ = ("_amount", "_book", "_month", "_plan", "output_limit_tokens", "spent_nano_usd")

    def __init__(
        self, plan: SpendPlan, book: SpendBook | None = None, month: int = 0, amount: int = 0, output: int | None = None
    ) -> None:
        self.output_limit_tokens = output
        self._plan = plan
        self._book = book
        self._month = month
        self._amount = amount
        self.spent_nano_usd: int | None = None

    def settle(self, usage: Usage) -> None:
        """Count the real usage; the rest is given back when the block ends."""
        if self._plan.price is not None:
            self.spent_nano_usd = self._plan.price.cost_nano_usd(usage.total_tokens)

    def grow(self, tokens: int) -> None:
        """Reserve this many more tokens. On failure the earlier reservation stays.

        Raises BudgetExhausted, BudgetWouldBeExceeded.
        """
        plan = self._plan
        if self._book is None or plan.price is None or plan.budget_nano_usd is None:
            return
        amount = plan.price.cost_nano_usd(tokens)
        taken = self._book.reserve(plan.key, self._month, amount, plan.budget_nano_usd)
        if taken is not None:
            raise over_budget(*taken, self._amount, amount, plan.budget_nano_usd)
        self._amount += amount

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._book is not None:
            self._book.settle(self._plan.key, self._month, self._amount, self.spent_nano_usd or 0)


class Price:
    """A price per thousand tokens, as a ratio of integers: exact, and a hundred times faster than decimals."""

    __slots__ = ("_denominator", "_numerator")

    def __init__(self, usd_per_1k: Decimal) -> None:
        numerator, denominator = usd_per_1k.as_integer_ratio()
        self._numerator = numerator * NANO
        self._denominator = denominator * 1000

    def cost_nano_usd(self, tokens: int) -> int:
        """The price of the tokens in billionths of a US dollar, rounded up."""
        return -(-tokens * self._numerator // self._denominator)


@frozen(slots=True)
class SpendPlan:
    """An endpoint's price and budget, prepared for calculation. `price` or `budget` is None if it has none."""

    key: bytes
    price: Price | None
    budget_nano_usd: int | None
    prompt_chars: int
    # The number of candidates that may receive the input, and the number of a stream's candidates that may answer in
    # full.
    tries: int
    stream_answers: int

    @classmethod
    def of(cls, endpoint: Endpoint) -> SpendPlan:
        """The endpoint's plan."""
        usd_per_1k, budget_usd = endpoint.estimated_cost_per_1k_tokens_usd, endpoint.monthly_budget_usd
        return cls(
            key=endpoint.uuid.bytes,
            price=None if usd_per_1k is None else Price(usd_per_1k),
            budget_nano_usd=None if budget_usd is None else int(budget_usd * NANO),
            prompt_chars=endpoint.prompt_chars,
            tries=len(endpoint.candidates),
            stream_answers=1 if endpoint.on_stream_failure == "error" else len(endpoint.candidates),
        )

    def reserved_tokens(self, characters: int, output_tokens: int, answers: int) -> int:
        """The most tokens of a request with this many characters and full answers."""
        return estimate_tokens(characters + self.prompt_chars) * self.tries + output_tokens * answers


class Budget:
    """Checks the cap and reserves from the month's budget. `now_s` is Unix seconds; months are the zone's."""

    def __init__(
        self, book: SpendBook, now_s: Callable[[], float], default_output_tokens: int, zone: tzinfo = UTC
    ) -> None:
        self._book = book
        self._now_s = now_s
        self._default_output_tokens = default_output_tokens
        self._plans: dict[Endpoint, SpendPlan] = {}
        self._months = Months(zone)

    def reserve(self, endpoint: Endpoint, request: ChatRequest) -> Reservation:
        """Reserve the maximal cost of the request.

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        plan = self._plans.get(endpoint)
        if plan is None:
            plan = self._plans[endpoint] = SpendPlan.of(endpoint)
        characters = request.characters()
        cap = endpoint.usage_hard_limit_tokens
        if cap is not None and (input_tokens := estimate_tokens(characters)) > cap:
            raise TokenCapExceeded(input_tokens, cap)
        if plan.price is None or plan.budget_nano_usd is None:
            return Reservation(plan, output=endpoint.max_output_tokens)
        output = endpoint.max_output_tokens or self._default_output_tokens
        answers = plan.stream_answers if request.stream and endpoint.streaming_enabled else 1
        tokens = plan.reserved_tokens(characters, output, answers)
        month, amount = self._months.find(self._now_s()), plan.price.cost_nano_usd(tokens)
        taken = self._book.reserve(plan.key, month, amount, plan.budget_nano_usd)
        if taken is not None:
            raise over_budget(*taken, 0, amount, plan.budget_nano_usd)
        return Reservation(plan, self._book, month, amount, output)

    def add_history(
        self, endpoint: Endpoint, request: ChatRequest, history_chars: int, reservation: Reservation
    ) -> None:
        """Check the cap and extend the reservation for a history of this many characters.

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        cap = endpoint.usage_hard_limit_tokens
        if cap is not None and (input_tokens := estimate_tokens(request.characters() + history_chars)) > cap:
            raise TokenCapExceeded(input_tokens, cap)
        reservation.grow(estimate_tokens(history_chars) * len(endpoint.candidates))


def over_budget(
    settled: int, reserved: int, own: int, amount: int, budget: int
) -> BudgetExhausted | BudgetWouldBeExceeded:
    """The error for a request that does not fit, all in billionths of a dollar.

    `reserved` is the reservation of all requests, `own` this request's part of it, `amount` the refused addition.
    """
    if settled >= budget:
        return BudgetExhausted(Decimal(settled) / NANO, Decimal(budget) / NANO)
    amounts = (settled, reserved - own, own + amount, budget)
    return BudgetWouldBeExceeded(*[Decimal(nano_usd) / NANO for nano_usd in amounts])


class Months:
    """The month of a time in a zone, cached: the calendar is used once a month, not once a request."""

    __slots__ = ("_end", "_month", "_start", "_zone")

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._start = self._end = 0.0
        self._month = 0

    def find(self, unix_s: float) -> int:
        """Year × 12 + (month - 1) of the time."""
        if not self._start <= unix_s < self._end:
            self._month = month_of(unix_s, self._zone)
            self._start = month_start(unix_s, self._zone)
            # 32 days after the start of any month is in the next month.
            self._end = month_start(self._start + 32 * 86_400, self._zone)
        return self._month


def month_of(unix_s: float, zone: tzinfo = UTC) -> int:
    """The month of a time in the zone, as year × 12 + (month - 1)."""
    at = datetime.fromtimestamp(unix_s, zone)
    return at.year * 12 + at.month - 1


def month_start(unix_s: float, zone: tzinfo = UTC) -> float:
    """Unix seconds at which the zone's month of a time began: its first midnight, if clocks show midnight twice."""
    at = datetime.fromtimestamp(unix_s, zone)
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()
