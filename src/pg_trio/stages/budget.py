"""What a request may cost: the per-request token cap, and the month's budget of its endpoint.

Rules:
1. Both look at an estimate of the input: the characters of all message text, four to a token, rounded up.
2. The budget is checked where the endpoint has both `monthly_budget_usd` and `estimated_cost_per_1k_tokens_usd`.
3. Before the call, what it may cost at most is reserved: input (the endpoint's own prompt included) plus
   `max_output_tokens`, or the gateway's `default_output_tokens`. So requests at once cannot pass the budget together.
4. After it, the reservation is settled with the real usage, or given back whole: always, whatever happened.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import partial
from types import TracebackType
from typing import Protocol

from pg_trio.domain.chat import ChatRequest, Usage, count_characters, estimate_tokens
from pg_trio.domain.project import Endpoint
from pg_trio.errors import BudgetExhausted, TokenCapExceeded

NANO = 1_000_000_000


class SpendBook(Protocol):
    """Spend by endpoint and month, in billionths of a US dollar (see shared_memory/spend.py)."""

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> int | None: ...

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None: ...


class Reservation:
    """What one request has set aside: `with reservation: …` gives it back on the way out, less what was settled."""

    __slots__ = ("_cost_per_1k", "_give_back", "spent_nano_usd")

    def __init__(self, cost_per_1k: Decimal | None, give_back: Callable[[int], None] | None) -> None:
        self._cost_per_1k = cost_per_1k
        self._give_back = give_back
        self.spent_nano_usd: int | None = None

    def settle(self, usage: Usage) -> None:
        """Count the real usage; the rest goes back when the block ends."""
        if self._cost_per_1k is not None:
            self.spent_nano_usd = cost_nano_usd(usage.total_tokens, self._cost_per_1k)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._give_back is not None:
            self._give_back(self.spent_nano_usd or 0)


class Budget:
    """Checks the cap and reserves from the month's budget. `now_s` is Unix seconds; months are UTC's."""

    def __init__(self, book: SpendBook, now_s: Callable[[], float], default_output_tokens: int) -> None:
        self._book = book
        self._now_s = now_s
        self._default_output_tokens = default_output_tokens

    def reserve(self, endpoint: Endpoint, request: ChatRequest) -> Reservation:
        """Set aside what the request may cost at most. Raises TokenCapExceeded or BudgetExhausted."""
        characters = count_characters(request.messages)
        input_tokens = estimate_tokens(characters)
        cap = endpoint.usage_hard_limit_tokens
        if cap is not None and input_tokens > cap:
            raise TokenCapExceeded(input_tokens, cap)
        cost_per_1k, budget_usd = endpoint.estimated_cost_per_1k_tokens_usd, endpoint.monthly_budget_usd
        if cost_per_1k is None or budget_usd is None:
            return Reservation(cost_per_1k, None)
        tokens = estimate_tokens(characters + len(endpoint.prompt or ""))
        tokens += endpoint.max_output_tokens or self._default_output_tokens
        key, month, amount = endpoint.uuid.bytes, month_of(self._now_s()), cost_nano_usd(tokens, cost_per_1k)
        settled = self._book.reserve(key, month, amount, int(budget_usd * NANO))
        if settled is not None:
            raise BudgetExhausted(Decimal(settled) / NANO, budget_usd)
        return Reservation(cost_per_1k, partial(self._book.settle, key, month, amount))


def cost_nano_usd(tokens: int, cost_per_1k_usd: Decimal) -> int:
    """Price of so many tokens in billionths of a US dollar, rounded up."""
    return int((cost_per_1k_usd * tokens * (NANO // 1000)).to_integral_value(ROUND_CEILING))


def month_of(unix_s: float) -> int:
    """The UTC month of a time, as year × 12 + (month - 1)."""
    at = datetime.fromtimestamp(unix_s, UTC)
    return at.year * 12 + at.month - 1


def month_start(unix_s: float) -> float:
    """Unix seconds at which the UTC month of a time began."""
    return datetime.fromtimestamp(unix_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
