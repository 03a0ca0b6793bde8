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
6. A book in memory answers without a coroutine (`reserve_nowait`). For any other book the request waits (`reserve`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import partial
from types import TracebackType

from attrs import evolve, field, frozen

from pg_trio.domain.chat import ChatRequest, Usage, estimate_tokens
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.options import limit_answer
from pg_trio.domain.prices import NANO, Rates, TokenPrice, to_nano_usd
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.errors import BudgetExhausted, BudgetWouldBeExceeded, TokenCapExceeded
from pg_trio.ledger.protocols import MUST_WAIT, Spend, SpendBook
from pg_trio.ledger.settling import DONE, give_back

# `Rates.source` of a candidate without a price, if other candidates of its endpoint have one.
DEAREST = "dearest of the endpoint"
# The longest message about a failed answer in a further round (stages/schemas/ask_again.py).
ASK_AGAIN_CHARS = 1024


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
            raise over_budget(*stood, self._amount, amount, plan.budget_nano_usd)
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


@frozen(slots=True)
class LongInput:
    """The highest rates for a request with more than `from_tokens` of input (see `SpendPlan`)."""

    from_tokens: int
    input_rate: int
    output_rate: int

    @classmethod
    def of(cls, dearest: Rates | None, candidates: int) -> LongInput | None:
        """The rates for so many candidates; None if a long input costs the same."""
        if dearest is None or dearest.long is None:
            return None
        return cls(dearest.long_from, dearest.long.dearest_input * candidates, dearest.long.output)


@frozen(slots=True, eq=False)
class SpendPlan:
    """An endpoint's cap, prices and budget, ready for calculation. A field is None if the endpoint has none.

    `rates` has each candidate with a price. `dearest` has the highest price of each kind of token; it is None if no
    candidate has a price. `budget_nano_usd` is None without a price, because no cost can be compared with it.
    `input_rate` is the highest cost of a token of input, summed over all candidates that may receive it; `output_rate`
    is the highest cost of a token of one answer. `output_tokens` is the reserved length of an answer;
    `output_limit_tokens` is the limit that the provider gets.
    """

    key: bytes
    cap_tokens: int | None
    rates: dict[Candidate, Rates]
    dearest: Rates | None
    budget_nano_usd: int | None
    prompt_chars: int
    output_tokens: int
    output_limit_tokens: int | None
    input_rate: int
    output_rate: int
    # The same for an estimated input of more than `long_from` tokens; None if it costs the same.
    long: LongInput | None
    # The number of candidates that may each send a complete answer to a stream.
    stream_answers: int
    # The endpoint's own maximum: a client may ask for less, and for more only without one.
    ceiling_tokens: int | None = None
    # How many further rounds an answer that does not match may cause (`output_repair_attempts`).
    more_rounds: int = 0
    # An empty reservation, which all requests share because it never changes. None if each request has its own cost.
    free: Reservation | None = field(init=False, repr=False)

    @free.default
    def _make_free(self) -> Reservation | None:
        return Reservation(self) if self.dearest is None else None

    @classmethod
    def of(cls, endpoint: Endpoint, default_output_tokens: int) -> SpendPlan:
        """The endpoint's plan."""
        budget_usd = endpoint.monthly_budget_usd
        rates = _find_rates(endpoint)
        dearest = _find_dearest(rates)
        has_budget = dearest is not None and budget_usd is not None
        if dearest is not None and budget_usd is not None:
            rates = {candidate: rates.get(candidate, dearest) for candidate in endpoint.candidates}
        output_tokens = endpoint.max_output_tokens or default_output_tokens
        return cls(
            key=endpoint.uuid.bytes,
            cap_tokens=endpoint.usage_hard_limit_tokens,
            rates=rates,
            dearest=dearest,
            budget_nano_usd=None if budget_usd is None or dearest is None else int(budget_usd * NANO),
            prompt_chars=endpoint.prompt_chars,
            output_tokens=output_tokens,
            output_limit_tokens=output_tokens if has_budget else endpoint.max_output_tokens,
            input_rate=0 if dearest is None else dearest.dearest_input * len(endpoint.candidates),
            output_rate=0 if dearest is None else dearest.output,
            long=LongInput.of(dearest, len(endpoint.candidates)),
            stream_answers=_count_answers(endpoint),
            ceiling_tokens=endpoint.max_output_tokens,
            more_rounds=endpoint.more_rounds,
        )

    def check_cap(self, characters: int) -> None:
        """Raises TokenCapExceeded if an input of this many characters is over the cap."""
        cap = self.cap_tokens
        if cap is not None and (input_tokens := estimate_tokens(characters)) > cap:
            raise TokenCapExceeded(input_tokens, cap)

    def for_input(self) -> SpendPlan:
        """The plan for requests that are answered without output, and without the endpoint's prompt."""
        return evolve(self, prompt_chars=0, output_tokens=0, output_rate=0, more_rounds=0)

    def cost_nano_usd(self, characters: int, answers: int, asked_tokens: int | None = None) -> int:
        """The highest cost of a request with this many characters and complete answers; 0 without a price.

        `asked_tokens` is the client's own limit of an answer.
        """
        input_tokens = estimate_tokens(characters + self.prompt_chars)
        output_tokens = self.output_tokens
        if asked_tokens is not None:
            output_tokens = limit_answer(asked_tokens, self.ceiling_tokens, output_tokens)
        if self.long is None and not self.more_rounds:
            # No models of the endpoint cost more for a long input.
            return to_nano_usd(input_tokens * self.input_rate + output_tokens * answers * self.output_rate)
        return to_nano_usd(self._cost_of_rounds(input_tokens, output_tokens, answers))

    def _cost_of_rounds(self, input_tokens: int, output_tokens: int, answers: int) -> int:
        """The nth further round also sends the n earlier answers, and the message about each."""
        earlier_tokens = output_tokens + estimate_tokens(ASK_AGAIN_CHARS)
        input_rate, output_rate = self.input_rate, self.output_rate
        if self.long is not None and input_tokens + self.more_rounds * earlier_tokens > self.long.from_tokens:
            input_rate, output_rate = self.long.input_rate, self.long.output_rate
        cost = input_tokens * input_rate + output_tokens * answers * output_rate
        return sum([cost + number * earlier_tokens * input_rate for number in range(self.more_rounds + 1)])


def _count_answers(endpoint: Endpoint) -> int:
    """How many candidates may each send a complete answer to a request for a stream."""
    carries_on = endpoint.streaming_enabled and endpoint.on_stream_failure != "error"
    return len(endpoint.candidates) if carries_on else 1


def _find_rates(endpoint: Endpoint) -> dict[Candidate, Rates]:
    """The rates of each candidate with a price, its own or the flat one."""
    flat = endpoint.estimated_cost_per_1k_tokens_usd
    otherwise = None if flat is None else TokenPrice.flat(flat)
    prices = endpoint.prices or (None,) * len(endpoint.candidates)
    found = {candidate: price or otherwise for candidate, price in zip(endpoint.candidates, prices, strict=True)}
    return {candidate: Rates.of(price) for candidate, price in found.items() if price is not None}


def _find_dearest(rates: dict[Candidate, Rates]) -> Rates | None:
    """The highest rate of each kind of token; None if there is no price."""
    all_rates = list(rates.values())
    if not all_rates:
        return None
    with_long = [one for one in all_rates if one.long is not None]
    return evolve(
        _highest(all_rates),
        long_from=min([one.long_from for one in with_long], default=0),
        long=_highest([one.long or one for one in all_rates]) if with_long else None,
    )


def _highest(all_rates: Sequence[Rates]) -> Rates:
    return Rates(
        input=max(one.input for one in all_rates),
        output=max(one.output for one in all_rates),
        cached_input=max(one.cached_input for one in all_rates),
        cache_write=max(one.cache_write for one in all_rates),
        source=DEAREST,
    )


class Budget:
    """Checks the cap and reserves from the month's budget. `now_s` is Unix seconds. Months begin in `zone`."""

    def __init__(
        self, book: SpendBook, now_s: Callable[[], float], default_output_tokens: int, zone: tzinfo = UTC
    ) -> None:
        self._book = book
        self._now_s = now_s
        self._default_output_tokens = default_output_tokens
        self._months = Months(zone)

    def compile(self, endpoint: Endpoint) -> SpendPlan:
        """The endpoint's cap, prices and budget, ready for calculation."""
        return SpendPlan.of(endpoint, self._default_output_tokens)

    async def read(self, endpoint: Endpoint) -> Spend | None:
        """What is settled and what is reserved this month, in billionths of a US dollar; None without a budget.

        Raises Overloaded.
        """
        plan = self.compile(endpoint)
        if plan.budget_nano_usd is None:
            return None
        # A reservation that no budget allows changes nothing, and says what it met.
        return await self._book.reserve(plan.key, self._months.find(self._now_s()), 1, 0)

    def reserve_nowait(self, plan: SpendPlan, request: ClientRequest) -> Reservation | None:
        """Reserve the highest cost of the request. None if the caller must wait (`reserve`).

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        if plan.budget_nano_usd is None:
            if plan.cap_tokens is not None:
                plan.check_cap(request.characters())
            return plan.free or Reservation(plan)
        month, amount = self._price(plan, request)
        stood = self._book.reserve_nowait(plan.key, month, amount, plan.budget_nano_usd)
        if stood is None:
            return Reservation(plan, self._book, month, amount)
        return None if stood is MUST_WAIT else self._make(plan, month, amount, stood)

    async def reserve(self, plan: SpendPlan, request: ClientRequest) -> Reservation:
        """The same for every ledger. A cancelled call reserves nothing."""
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
            raise over_budget(*stood, 0, amount, plan.budget_nano_usd or 0)
        return Reservation(plan, self._book, month, amount)

    async def add_history(
        self, plan: SpendPlan, request: ChatRequest, history_chars: int, reservation: Reservation
    ) -> None:
        """Check the cap and extend the reservation for a history of this many characters.

        Raises TokenCapExceeded, BudgetExhausted or BudgetWouldBeExceeded.
        """
        if plan.cap_tokens is not None:
            plan.check_cap(request.characters() + history_chars)
        await reservation.grow(estimate_tokens(history_chars) * (1 + plan.more_rounds))


def over_budget(
    settled: int, reserved: int, own: int, amount: int, budget: int
) -> BudgetExhausted | BudgetWouldBeExceeded:
    """The error for a request that does not fit, all in billionths of a dollar.

    `reserved` is reserved by all requests, `own` is this request's part of it, `amount` is the refused addition.
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
