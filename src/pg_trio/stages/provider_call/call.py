"""Ask an endpoint's candidates until one answers.

Rules (the contract's section "Provider call"):
1. A candidate that fails in a way another might not starts the next at once; a request that is refused as malformed
   would be refused everywhere, so it ends the call. With `hedge_after_ms` or `hedge_after` a silent candidate keeps
   running, and the next starts beside it; the first to answer wins, the others are cancelled and their connections
   closed.
2. `attempt_timeout_ms` ends one candidate's try where another is left; the last one has all the time that remains. A
   stream's try wins with its first token, and is ended after `first_token_timeout_ms` in any case. `reserve_ms` is kept
   back for each candidate not yet tried.
3. A candidate that keeps failing, or sent a `Retry-After`, is asked last, or not at all while others are left. A lone
   one is not asked in vain: the answer says when to come back.
   One whose `Retry-After` is longer than what is left of the request is never asked.
4. A request that calls tools is hedged only where the endpoint allows it: asking twice could mean acting twice.
5. A candidate whose provider is switched off is not there; with none left, the answer says so.
6. A credential's calls may be limited (slots.py): then its candidates are passed over or waited for, and an answer
   that none of them had a slot for is Overloaded.
7. Every try leaves a row, also the one that the deadline or the client's leaving cut short.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

import trio
from attrs import evolve, field, frozen

from pg_trio.domain.call import Answered
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.domain.secret import Secret, mask_secrets
from pg_trio.domain.value import value
from pg_trio.errors import (
    CandidateAside,
    CandidateFull,
    GatewayError,
    Overloaded,
    ProviderCallFailed,
    ProviderDisabled,
    UpstreamRefused,
)
from pg_trio.racing.attempt import AllFailed, Attempt, AttemptLimitPassed, Won
from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard, BreakerOpen, Breakers
from pg_trio.racing.hedge_budget import HedgeBudget, HedgeRules
from pg_trio.racing.latency import Latencies, LatencyBoard
from pg_trio.racing.race import race
from pg_trio.racing.shared_breaker import BreakerRecords
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.provider_call.pace import NEVER
from pg_trio.stages.provider_call.plan import CallPlan, Pacing, make_plan, race_limits
from pg_trio.stages.provider_call.rescue import candidates_left
from pg_trio.stages.provider_call.runner import CallRunner
from pg_trio.stages.provider_call.slots import CredentialSlots, HeldResponse, Line
from pg_trio.stages.provider_call.stream import Listener, Opening, OpenStream

T = TypeVar("T")

# A second: the least that clients wait, and as long as a request waits for a slot unless told otherwise.
RETRY_AFTER_S = 1


def make_board(records: BreakerRecords | None = None) -> BreakerBoard[Candidate]:
    """Breakers for candidates: those whose `records` all workers share, or of this process alone."""
    return BreakerBoard(
        target_of=lambda candidate: (candidate.credential.name, candidate.model),
        credential_of=lambda candidate: candidate.credential.name,
        rules=BreakerRules(),
        records=records,
    )


@frozen(slots=True)
class Memory:
    """How candidates fared so far: kept by this process, unless somebody else is given who keeps it."""

    breakers: Breakers[Candidate] = field(factory=make_board)
    latencies: Latencies = field(factory=LatencyBoard)


@value(slots=True, eq=False)
class Asked:
    """What is asked, until when (Trio's clock), and where tries are noted."""

    prompt: Prompt
    ends_at: float
    attempts: Attempts


@frozen(slots=True)
class Hands(Generic[T]):
    """How one kind of answer is handled: let go of, and its slot given back when it is over."""

    let_go: Callable[[T], Awaitable[None]]
    hold: Callable[[T, Callable[[], None]], None]


class ProviderCall:
    """Asks candidates, and remembers how they fared. One for each worker."""

    def __init__(
        self, exchange: Exchange, disabled_providers: frozenset[str], hedge_share: float, memory: Memory | None = None
    ) -> None:
        self._exchange = exchange
        self._disabled = disabled_providers
        self._hedge_share = hedge_share
        self._hedges: HedgeBudget | None = None
        self.memory = memory or Memory()
        # Endpoints are what is configured, and live as long as we do.
        self._plans: dict[Endpoint, CallPlan] = {}
        self._slots = CredentialSlots()

    async def ask(self, endpoint: Endpoint, prompt: Prompt, ends_at: float, attempts: Attempts) -> Answered:
        """The first whole answer. `ends_at` (Trio's clock) is the deadline that the caller holds.

        Raises ProviderCallFailed, ProviderDisabled or Overloaded.
        """
        plan = self._plan(endpoint)
        exchange = partial(self._exchange.fetch_reply, prompt=prompt)
        won = await self._race(plan, plan.answers, Asked(prompt, ends_at, attempts), exchange, REPLIES)
        return Answered(won.value, won.attempt.candidate)

    async def open_stream(
        self, endpoint: Endpoint, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream:
        """The first stream whose first token has come; the caller closes it. Raises as `ask` does.

        `listener` gets what candidates reason until then.
        """
        return await self._open(endpoint, self._plan(endpoint), Asked(prompt, ends_at, attempts), listener)

    async def open_rescue(
        self, endpoint: Endpoint, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream | None:
        """The same by the candidates that have not failed at this request; None where none is left."""
        plan = self._plan(endpoint)
        left = candidates_left(plan.candidates, attempts)
        if not left:
            return None
        limit_s = plan.attempt_limit_s if len(left) > 1 else math.inf
        plan = evolve(plan, candidates=left, attempt_limit_s=limit_s)
        return await self._open(endpoint, plan, Asked(prompt, ends_at, attempts), listener)

    def note_broken(self, candidate: Candidate) -> None:
        """Blame a candidate whose stream failed after its first token, for which the breakers had praised it."""
        now = trio.current_time()
        # Where others have opened its breaker meanwhile, they have said it.
        with suppress(BreakerOpen):
            self.memory.breakers.begin(candidate, now).failed(Fault.TARGET, now)

    async def _open(self, endpoint: Endpoint, plan: CallPlan, asked: Asked, listener: Listener | None) -> OpenStream:
        opening = Opening(endpoint.first_token_timeout_ms / 1000, listener)
        exchange = partial(self._exchange.open_stream, prompt=asked.prompt, opening=opening, ends_at=asked.ends_at)
        won = await self._race(plan, plan.streams, asked, exchange, STREAMS)
        return won.value

    def describe(self, candidate: Candidate) -> dict[str, object]:
        """How a candidate fares: its breakers, and its slots where its calls are limited. For its project's admin."""
        described = self.memory.breakers.describe(candidate, trio.current_time())
        return {**described, "slots": self._slots.describe(candidate.credential)}

    def _plan(self, endpoint: Endpoint) -> CallPlan:
        plan = self._plans.get(endpoint)
        if plan is None:
            plan = self._plans[endpoint] = make_plan(endpoint, self._disabled, self.memory.latencies, self._slots)
        if not plan.candidates:
            raise ProviderDisabled(endpoint.candidates[0].provider)
        return plan

    async def _race(  # one race, for two kinds of answers
        self,
        plan: CallPlan,
        pacing: Pacing,
        asked: Asked,
        exchange: Callable[[Attempt[Candidate]], Awaitable[T]],
        hands: Hands[T],
    ) -> Won[Candidate, T]:
        now = trio.current_time()
        hedges = self._hedges
        if hedges is None:
            hedges = self._hedges = HedgeBudget(HedgeRules(share=self._hedge_share), now)
        hedges.deposit()
        candidates = self._order(plan, now, asked.ends_at)
        line = None
        if plan.slots is not None:
            line = Line(plan.slots, candidates, self.memory.breakers)
            candidates = line.order()
        runner = CallRunner(
            exchange=exchange,
            let_go=hands.let_go,
            hold=hands.hold,
            breakers=self.memory.breakers,
            hedges=hedges,
            attempts=asked.attempts,
            is_alone=len(candidates) == 1,
            pace=NEVER if asked.prompt.tools and not plan.hedges_tools else pacing.pace,
            learned=pacing.learned,
            line=line,
        )
        try:
            limits = race_limits(asked.ends_at, now, plan.attempt_limit_s, plan.reserve_s)
            return await race(candidates, runner, limits)
        except AllFailed as failed:
            raise _failure(failed, candidates) from None

    def _order(self, plan: CallPlan, now: float, ends_at: float) -> Sequence[Candidate]:
        """The candidates to ask, in order. Raises ProviderCallFailed where asking would be in vain."""
        try:
            return self.memory.breakers.order(plan.candidates, now, ends_at)
        except BreakerOpen as exc:
            said = f"{plan.candidates[0].provider} keeps failing, or asked for a pause; it is not asked for now."
            raise ProviderCallFailed(said, retry_after_s=max(1, math.ceil(exc.retry_after_s))) from None


async def _let_go_reply(reply: Reply) -> None:
    """A whole answer holds nothing."""


def _hold_for_reply(reply: Reply, give_back: Callable[[], None]) -> None:
    give_back()


def _hold_for_stream(stream: OpenStream, give_back: Callable[[], None]) -> None:
    if stream.response is None:
        give_back()
    else:
        stream.response = HeldResponse(stream.response, give_back)


REPLIES: Hands[Reply] = Hands(_let_go_reply, _hold_for_reply)
STREAMS: Hands[OpenStream] = Hands(OpenStream.aclose, _hold_for_stream)


def _failure(failed: AllFailed[Candidate], candidates: Sequence[Candidate]) -> GatewayError:
    """What the client is told where nobody answered."""
    if isinstance(failed.ends[-1].error, CandidateFull):
        return Overloaded(RETRY_AFTER_S)
    return ProviderCallFailed(_last_word(failed, candidates), retry_after_s=_retry_after_s(failed))


def _retry_after_s(failed: AllFailed[Candidate]) -> int | None:
    """When the first of them may be asked again, where each of them said when."""
    waits_s = [
        end.error.retry_after_s
        for end in failed.ends
        if isinstance(end.error, UpstreamRefused | CandidateAside) and end.error.retry_after_s is not None
    ]
    return max(1, math.ceil(min(waits_s))) if len(waits_s) == len(failed.ends) else None


def _last_word(failed: AllFailed[Candidate], candidates: Sequence[Candidate]) -> str:
    """What the last candidate that failed said."""
    end = failed.ends[-1]
    said = str(end.error)
    if isinstance(end.error, AttemptLimitPassed):
        said = f"{end.attempt.candidate.provider}: {said}"
    return mask_secrets(said, _known_secrets(candidates))


def _known_secrets(candidates: Sequence[Candidate]) -> list[Secret]:
    return [candidate.credential.api_key for candidate in candidates if candidate.credential.api_key is not None]
