"""What a request may cost: the per-request token cap, and the month's budget of its endpoint.

Rules:
1. Both look at an estimate of the input: the characters of all that the client sends to the provider (message text,
   tools), four to a token, rounded up.
2. The budget is checked where the endpoint has `monthly_budget_usd` and a candidate has a price: of `[[prices]]`, the
   endpoint's flat rate, or the shipped list (config/prices.py). Beside it, a candidate without one has the dearest of
   the others': what nobody priced must not be spent unseen.
3. Before the call, what it may cost at most is reserved: input (the endpoint's own prompt and template included) for
   each candidate that may be asked, plus `max_output_tokens`, or the gateway's `default_output_tokens`; and that many
   output tokens is what the provider is told (`Reservation.output_limit_tokens`). For a stream that others may carry
   on, an answer of each is reserved. All of it at the endpoint's dearest price, whoever answers. So requests at once
   cannot pass the budget together.
4. A session's history is known only after the guardrails and the schema: `add_history` checks the cap again with it and
   reserves what it may cost, too.
5. After the call, the reservation is settled with the real usage of each candidate at its own price, or given back
   whole, also when the request fails or is cancelled. A try that was cut short (a lost hedge, a limit, the deadline,
   the client's leaving) counts its input: providers charge it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from types import TracebackType
from typing import Protocol

from attrs import frozen

from pg_trio.domain.chat import ChatRequest, Usage, estimate_tokens
from pg_trio.domain.prices import NANO, SCALE, Rates, TokenPrice
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.errors import BudgetExhausted, BudgetWouldBeExceeded, TokenCapExceeded

# What `Rates.source` says of a candidate without a price, beside others that have one.
DEAREST = "dearest of the endpoint"


class SpendBook(Protocol):
    """Spend by endpoint and month, in billionths of a US dollar (see shared_memory/spend.py)."""

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> tuple[int, int] | None: ...

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None: ...


class Reservation:
    """What one request has set aside: `with reservation: …` gives it back on the way out, less what was settled."""

    # Attributes of the class until something is settled: what that is, and where the price is from at which the last
    # usage was; None without a price.
    spent_nano_usd: int | None = None
    price: str | None = None
    _cost = 0

    def __init__(
        self, plan: SpendPlan, book: SpendBook | None = None, month: int = 0, amount: int = 0, output: int | None = None
    ) -> None:
        self.output_limit_tokens = output
        self._plan = plan
        self._book = book
        self._month = month
        self._amount = amount

    def settle(self, usage: Usage, candidate: Candidate | None = None) -> None:
        """Count the real usage of a candidate; of several, one after the other. The rest goes back when the block ends.

        Without a candidate, the endpoint's dearest price holds.
        """
        plan = self._plan
        rates = plan.dearest if candidate is None else plan.rates.get(candidate)
        if rates is None:
            self.price = None
            return
        self._cost = cost = self._cost + rates.cost(usage)
        self.spent_nano_usd = -(-cost // SCALE)
        self.price = rates.source

    def grow(self, tokens: int) -> None:
        """Set aside so many tokens of input more, for each candidate. What was set aside before stays so.

        Raises BudgetExhausted, BudgetWouldBeExceeded.
        """
        plan = self._plan
        if self._book is None or plan.budget_nano_usd is None:
            return
        amount = -(-tokens * plan.input_rate // SCALE)
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


@frozen(slots=True)
class SpendPlan:
    """An endpoint's prices and budget, ready to reckon with.

    `rates`: of each candidate that has a price. `dearest`: the most that a token of any kind may cost here; None where
    nothing has a price. `budget_nano_usd` is there only beside a price: without one, nothing can be held against it.
    `input_rate`: what a token of input may cost with all who may be sent it; `output_rate`: a token of one answer.
    """

    key: bytes
    rates: dict[Candidate, Rates]
    dearest: Rates | None
    budget_nano_usd: int | None
    prompt_chars: int
    input_rate: int
    output_rate: int
    # How many of a stream's candidates may answer in full.
    stream_answers: int

    @classmethod
    def of(cls, endpoint: Endpoint) -> SpendPlan:
        """The endpoint's plan."""
        budget_usd = endpoint.monthly_budget_usd
        rates = _find_rates(endpoint)
        dearest = _find_dearest(rates)
        if dearest is not None and budget_usd is not None:
            rates = {candidate: rates.get(candidate, dearest) for candidate in endpoint.candidates}
        return cls(
            key=endpoint.uuid.bytes,
            rates=rates,
            dearest=dearest,
            budget_nano_usd=None if budget_usd is None or dearest is None else int(budget_usd * NANO),
            prompt_chars=endpoint.prompt_chars,
            input_rate=0 if dearest is None else dearest.dearest_input * len(endpoint.candidates),
            output_rate=0 if dearest is None else dearest.output,
            stream_answers=1 if endpoint.on_stream_failure == "error" else len(endpoint.candidates),
        )

    def reserved_nano_usd(self, characters: int, output_tokens: int, answers: int) -> int:
        """What a request of so many characters may cost at most, with so many answers in full; 0 without a price."""
        input_tokens = estimate_tokens(characters + self.prompt_chars)
        return -(-(input_tokens * self.input_rate + output_tokens * answers * self.output_rate) // SCALE)


def _find_rates(endpoint: Endpoint) -> dict[Candidate, Rates]:
    """Of each candidate that has a price, its own or the flat one."""
    flat = endpoint.estimated_cost_per_1k_tokens_usd
    otherwise = None if flat is None else TokenPrice.flat(flat)
    prices = endpoint.prices or (None,) * len(endpoint.candidates)
    found = {candidate: price or otherwise for candidate, price in zip(endpoint.candidates, prices, strict=True)}
    return {candidate: Rates.of(price) for candidate, price in found.items() if price is not None}


def _find_dearest(rates: dict[Candidate, Rates]) -> Rates | None:
    """The dearest of each kind of token; None where there is no price."""
    all_rates = rates.values()
    if not all_rates:
        return None
    return Rates(
        input=max(one.input for one in all_rates),
        output=max(one.output for one in all_rates),
        cached_input=max(one.cached_input for one in all_rates),
        cache_write=max(one.cache_write for one in all_rates),
        source=DEAREST,
    )


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
        """Set aside what the request may cost at most.

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        plan = self._plans.get(endpoint)
        if plan is None:
            plan = self._plans[endpoint] = SpendPlan.of(endpoint)
        characters = request.characters()
        cap = endpoint.usage_hard_limit_tokens
        if cap is not None and (input_tokens := estimate_tokens(characters)) > cap:
            raise TokenCapExceeded(input_tokens, cap)
        if plan.budget_nano_usd is None:
            return Reservation(plan, output=endpoint.max_output_tokens)
        output = endpoint.max_output_tokens or self._default_output_tokens
        answers = plan.stream_answers if request.stream and endpoint.streaming_enabled else 1
        month, amount = self._months.find(self._now_s()), plan.reserved_nano_usd(characters, output, answers)
        taken = self._book.reserve(plan.key, month, amount, plan.budget_nano_usd)
        if taken is not None:
            raise over_budget(*taken, 0, amount, plan.budget_nano_usd)
        return Reservation(plan, self._book, month, amount, output)

    def add_history(
        self, endpoint: Endpoint, request: ChatRequest, history_chars: int, reservation: Reservation
    ) -> None:
        """The request is sent with a history of so many characters.

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        cap = endpoint.usage_hard_limit_tokens
        if cap is not None and (input_tokens := estimate_tokens(request.characters() + history_chars)) > cap:
            raise TokenCapExceeded(input_tokens, cap)
        reservation.grow(estimate_tokens(history_chars))


def over_budget(
    settled: int, reserved: int, own: int, amount: int, budget: int
) -> BudgetExhausted | BudgetWouldBeExceeded:
    """The error for a request that does not fit, all in billionths of a dollar.

    `reserved` is what all requests have set aside, `own` this request's part of it, `amount` what it asked for now.
    """
    if settled >= budget:
        return BudgetExhausted(Decimal(settled) / NANO, Decimal(budget) / NANO)
    amounts = (settled, reserved - own, own + amount, budget)
    return BudgetWouldBeExceeded(*[Decimal(nano_usd) / NANO for nano_usd in amounts])


class Months:
    """The month of a time in a zone, remembered: a calendar is asked once a month, not once a request."""

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
            # 32 days after a month's start is in the next one, whichever month it is.
            self._end = month_start(self._start + 32 * 86_400, self._zone)
        return self._month


def month_of(unix_s: float, zone: tzinfo = UTC) -> int:
    """The month of a time in the zone, as year × 12 + (month - 1)."""
    at = datetime.fromtimestamp(unix_s, zone)
    return at.year * 12 + at.month - 1


def month_start(unix_s: float, zone: tzinfo = UTC) -> float:
    """Unix seconds at which the zone's month of a time began: its first midnight, where clocks show two."""
    at = datetime.fromtimestamp(unix_s, zone)
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()
