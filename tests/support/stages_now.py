"""The stages over a ledger that never waits, driven without an event loop: what they await must be done already.

Endpoints are compiled when they are first asked for, as the catalogue does it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from pg_trio.domain.call import Answered
from pg_trio.domain.chat import ChatRequest, Prompt, Usage
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Endpoint, Token
from pg_trio.stages.budget import Budget, Reservation, SpendPlan
from pg_trio.stages.provider_call import CallPlan, OpenStream, ProviderCall
from pg_trio.stages.provider_call.stream import Listener
from pg_trio.stages.rate_limit import LimitPlan, Quota, RateLimit

T = TypeVar("T")


def run_now(awaitable: Awaitable[T]) -> T:
    """What it returns or raises. Fails where it waits for anything."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited")


class Held(Protocol):
    """What `async with` gives back."""

    def __aenter__(self) -> Awaitable[None]: ...

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]: ...


H = TypeVar("H", bound=Held)


class HeldNow(Generic[H]):
    """The same with a plain `with`."""

    def __init__(self, held: H) -> None:
        self.held = held

    def __enter__(self) -> Self:
        run_now(self.held.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_now(self.held.__aexit__(kind, error, trace))


class QuotaNow(HeldNow[Quota]):
    """See Quota."""

    def settle(self, usage: Usage) -> None:
        self.held.settle(usage)

    def grow(self, tokens: int) -> None:
        run_now(self.held.grow(tokens))


class ReservationNow(HeldNow[Reservation]):
    """See Reservation."""

    @property
    def spent_nano_usd(self) -> int | None:
        return self.held.spent_nano_usd

    @property
    def price(self) -> str | None:
        return self.held.price

    def settle(self, usage: Usage, candidate: Candidate | None = None) -> None:
        self.held.settle(usage, candidate)


class Client(Protocol):
    """Is told what is left."""

    def show_limits(self, states: Sequence[LimitState]) -> None: ...


class RateLimitNow:
    """See RateLimit."""

    def __init__(self, stage: RateLimit) -> None:
        self.stage = stage
        self._plans: dict[Endpoint, LimitPlan] = {}

    def take(self, client: Client, token: Token, endpoint: Endpoint, request: ChatRequest) -> QuotaNow:
        plan = self._plan(endpoint)
        quota = self.stage.take_nowait(client, token, plan)
        return QuotaNow(run_now(self.stage.take(client, token, plan, request)) if quota is None else quota)

    def check_left(self, client: Client, token: Token, endpoint: Endpoint | None) -> None:
        run_now(self.stage.check_left(client, token, None if endpoint is None else self._plan(endpoint)))

    def _plan(self, endpoint: Endpoint) -> LimitPlan:
        if endpoint not in self._plans:
            self._plans[endpoint] = self.stage.compile(endpoint)
        return self._plans[endpoint]


class BudgetNow:
    """See Budget."""

    def __init__(self, stage: Budget) -> None:
        self.stage = stage
        self._plans: dict[Endpoint, SpendPlan] = {}

    def reserve(self, endpoint: Endpoint, request: ChatRequest) -> ReservationNow:
        reservation = self.stage.reserve_nowait(self._plan(endpoint), request)
        assert isinstance(reservation, Reservation), "it would wait"
        return ReservationNow(reservation)

    def add_history(
        self, endpoint: Endpoint, request: ChatRequest, history_chars: int, reservation: ReservationNow
    ) -> None:
        run_now(self.stage.add_history(self._plan(endpoint), request, history_chars, reservation.held))

    def _plan(self, endpoint: Endpoint) -> SpendPlan:
        if endpoint not in self._plans:
            self._plans[endpoint] = self.stage.compile(endpoint)
        return self._plans[endpoint]


class PlannedCall:
    """See ProviderCall."""

    def __init__(self, stage: ProviderCall) -> None:
        self.stage = stage
        self.memory = stage.memory
        self.describe = stage.describe
        self._plans: dict[Endpoint, CallPlan] = {}

    async def ask(self, endpoint: Endpoint, prompt: Prompt, ends_at: float, attempts: Attempts) -> Answered:
        return await self.stage.ask(self.plan(endpoint), prompt, ends_at, attempts)

    async def open_stream(
        self, endpoint: Endpoint, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream:
        return await self.stage.open_stream(self.plan(endpoint), prompt, ends_at, attempts, listener)

    async def open_rescue(
        self, endpoint: Endpoint, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream | None:
        return await self.stage.open_rescue(self.plan(endpoint), prompt, ends_at, attempts, listener)

    def plan(self, endpoint: Endpoint) -> CallPlan:
        if endpoint not in self._plans:
            self._plans[endpoint] = self.stage.compile(endpoint)
        return self._plans[endpoint]
