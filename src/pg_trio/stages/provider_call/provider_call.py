"""Ask an endpoint's candidates until one answers.

Rules (docs/api.md, "Failover"):
1. A candidate that fails in a way another might not starts the next at once; a request that is refused as malformed
   would be refused everywhere, so it ends the call. With `hedge_after_ms` or `hedge_after` a silent candidate keeps
   running, and the next starts beside it; the first to answer wins, the others are cancelled and their connections
   closed.
2. `attempt_timeout_ms` ends one candidate's try where another is left; the last one has all the time that remains. A
   stream's try wins with its first token, and is ended after `first_token_timeout_ms` in any case. `reserve_ms` is kept
   back for each candidate not yet tried.
3. A candidate that keeps failing is asked last. One that sent a `Retry-After` is not asked before that time; nor is one
   whose key is refused, for a minute. A lone one that keeps failing is not asked in vain: the answer says when to come
   back, and what the provider said.
4. When all have failed, those whose failure may pass are asked again (retry.py).
5. A request that calls tools is hedged only where the endpoint allows it: asking twice could mean acting twice.
6. A candidate whose provider is switched off is not there; with none left, the answer says so.
7. A credential's calls may be limited (slot_turns.py): then its candidates are passed over or waited for, and an answer
   that none of them had a slot for is Overloaded. So is one that our own state (no file descriptor) left unasked.
8. A candidate whose wire or model cannot carry what the request holds is passed over (fit.py).
9. Every try leaves a row, also the one that the deadline or the client's leaving cut short; so does every candidate
   that was passed over, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import trio
from attrs import evolve

from pg_trio.domain.call import Answered
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.domain.secret import mask_secrets
from pg_trio.errors import (
    CandidateAside,
    CandidateFull,
    GatewayError,
    Overloaded,
    OwnStateError,
    PassedOver,
    ProviderCallFailed,
    ProviderDisabled,
    UpstreamRefused,
)
from pg_trio.ledger.node_health import Hedges
from pg_trio.racing.attempt import AllFailed, Attempt, AttemptEnd, AttemptLimitPassed, Limits, Won
from pg_trio.racing.deadline import DeadlinePassed
from pg_trio.racing.hedge_budget import HedgeRules
from pg_trio.racing.race import note_failure, race, race_alone, race_on
from pg_trio.stages.provider_call.call_plan import CallPlan, Pacing, make_plan
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.provider_call.fit import holds_more_than_text, is_picky, leave_out, leave_out_unfit
from pg_trio.stages.provider_call.memory import Memory
from pg_trio.stages.provider_call.rescue import candidates_left
from pg_trio.stages.provider_call.runner import Asked, CallRunner, Hands, say_standing, secrets_of
from pg_trio.stages.provider_call.slot_turns import CredentialSlots, HeldResponse, Line
from pg_trio.stages.provider_call.stream import Listener, Opening, OpenStream

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# A second: the least that clients wait, and as long as a request waits for a slot unless told otherwise.
RETRY_AFTER_S = 1


class WholeStep(Protocol[T_co]):
    """A request that is no chat, as candidates are asked it. It holds nothing that must be let go."""

    def why_unfit(self, candidate: Candidate) -> str | None:
        """The part of the request that this candidate cannot take; None if it can take all."""

    async def fetch(self, attempt: Attempt[Candidate]) -> T_co:
        """The candidate's whole answer. Raises AttemptFailed."""


class ProviderCall:
    """Asks candidates, and remembers how they fared. One for each worker."""

    def __init__(
        self, exchange: Exchange, disabled_providers: frozenset[str], hedge_share: float, memory: Memory | None = None
    ) -> None:
        self._exchange = exchange
        # Read when a plan is compiled: after a change, the catalogue compiles all plans again.
        self.disabled_providers = disabled_providers
        self._hedge_share = hedge_share
        # None until an endpoint that hedges is called, so that other endpoints do not pay for counting.
        self._hedges: Hedges | None = None
        self.memory = memory or Memory()
        self._slots = CredentialSlots(self.memory.leases, self.memory.slot_leases)

    def compile(self, endpoint: Endpoint) -> CallPlan:
        """How the endpoint's candidates are asked, those whose provider is switched off left out."""
        plan = make_plan(endpoint, self.disabled_providers, self.memory.latencies, self._slots)
        plan = evolve(plan, is_picky=is_picky(plan.candidates, self._exchange))
        if self._hedges is None and plan.may_hedge:
            self._hedges = self.memory.open_hedges(HedgeRules(share=self._hedge_share), trio.current_time())
        return plan

    async def ask(self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts) -> Answered:
        """The first whole answer. `ends_at` (Trio's clock) is the deadline that the caller holds.

        A lone candidate that is well is asked without a race; one begins once this try has failed.

        Raises ProviderCallFailed, ProviderDisabled, NoFitCandidate or Overloaded; DeadlinePassed before anything is
        asked, if the request has waited for too long already (the caller's Deadline makes it its own error).
        """
        now = trio.current_time()
        if now > ends_at:
            raise DeadlinePassed
        if (
            not plan.is_straight
            or prompt.native is not None
            or plan.is_picky
            or (permit := self.memory.breakers.begin_closed(candidate := plan.candidates[0])) is None
        ):
            return await self._ask_in_race(plan, prompt, Asked(prompt.tools, ends_at, attempts, now))
        if self._hedges is not None:
            self._hedges.deposit()
        attempt = Attempt(candidate, 0, False, now, ends_at)
        attempts.begin(attempt, now)
        try:
            reply = await self._exchange.fetch_reply(attempt, prompt, attempts.trace)
        except BaseException as error:
            runner = self._adopt(plan, prompt, Asked(prompt.tools, ends_at, attempts, now))
            runner.adopt(attempt, permit)
            failures = note_failure(attempt, error, runner)
            if not failures:
                raise
        else:
            ended_at = trio.current_time()
            attempts.add(candidate, now, ended_at, "won")
            permit.succeeded(ended_at)
            plan.answers.usual.note(candidate, ended_at - now)
            return Answered(reply, candidate)
        try:
            won = await race_on(failures, runner, Limits(ends_at))
            return Answered(won.value, won.attempt.candidate)
        except AllFailed as failed:
            raise self._failure(failed.ends, plan) from None
        finally:
            # The same cycle as in race_alone.
            del failures

    async def _ask_in_race(self, plan: CallPlan, prompt: Prompt, asked: Asked) -> Answered:
        plan = self._fit(plan, prompt, asked.attempts)
        fetch = partial(self._exchange.fetch_reply, prompt=prompt, trace=asked.attempts.trace)
        won = await self._race(self._make_runner(plan, plan.answers, asked, fetch, WHOLE))
        return Answered(won.value, won.attempt.candidate)

    def _adopt(self, plan: CallPlan, prompt: Prompt, asked: Asked) -> CallRunner[Reply]:
        """What goes on after the first try of a lone candidate."""
        fetch = partial(self._exchange.fetch_reply, prompt=prompt, trace=asked.attempts.trace)
        return CallRunner(
            fetch, WHOLE, self.memory, self._hedges, asked, plan, plan.answers, plan.candidates, line=None
        )

    async def ask_step(
        self, plan: CallPlan, step: WholeStep[T], ends_at: float, attempts: Attempts
    ) -> Won[Candidate, T]:
        """The first whole answer to a request that is no chat. Raises as `ask` does."""
        _check_is_on(plan)
        plan = leave_out(plan, step.why_unfit, attempts)
        asked = Asked((), ends_at, attempts, trio.current_time())
        if asked.now > ends_at:
            raise DeadlinePassed
        return await self._race(self._make_runner(plan, plan.answers, asked, step.fetch, WHOLE))

    async def open_stream(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream:
        """The first stream whose first token has come; the caller closes it. Raises as `ask` does.

        `listener` gets what candidates reason until then.
        """
        plan = self._fit(plan, prompt, attempts)
        return await self._open(plan, prompt, Asked(prompt.tools, ends_at, attempts, trio.current_time()), listener)

    async def open_rescue(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream | None:
        """The same by the candidates that have not failed at this request; None where none is left."""
        # One of them is fit: it began the answer.
        plan = self._fit(plan, prompt, attempts)
        left = candidates_left(plan.candidates, attempts)
        if not left:
            return None
        limit_s = plan.attempt_limit_s if len(left) > 1 else math.inf
        plan = evolve(plan, candidates=left, attempt_limit_s=limit_s, max_attempts=len(left))
        return await self._open(plan, prompt, Asked(prompt.tools, ends_at, attempts, trio.current_time()), listener)

    async def _open(self, plan: CallPlan, prompt: Prompt, asked: Asked, listener: Listener | None) -> OpenStream:
        tell_call = None if asked.attempts.trace is None else asked.attempts.trace.tell_call
        opening = Opening(plan.first_token_limit_s, listener, tell_call)
        exchange = partial(self._exchange.open_stream, prompt=prompt, opening=opening, ends_at=asked.ends_at)
        runner = self._make_runner(plan, plan.streams, asked, exchange, STREAMS)
        stream = (await self._race(runner)).value
        stream.permit, stream.pauses = runner.permit, self.memory.pauses
        return stream

    def describe(self, candidate: Candidate) -> dict[str, object]:
        """How a candidate fares: its breakers, and its slots where its calls are limited. For its project's admin."""
        described = self.memory.breakers.describe(candidate, trio.current_time())
        return {**described, "slots": self._slots.describe(candidate.credential)}

    def _fit(self, plan: CallPlan, prompt: Prompt, attempts: Attempts) -> CallPlan:
        """The plan with those candidates that can be asked this. Raises ProviderDisabled or NoFitCandidate."""
        _check_is_on(plan)
        if prompt.native is not None or (plan.is_picky and holds_more_than_text(prompt)):
            return leave_out_unfit(plan, prompt, attempts, self._exchange)
        return plan

    def _make_runner(  # one runner, for two kinds of answers
        self,
        plan: CallPlan,
        pacing: Pacing,
        asked: Asked,
        exchange: Callable[[Attempt[Candidate]], Awaitable[T]],
        hands: Hands[T],
    ) -> CallRunner[T]:
        hedges = self._hedges
        if hedges is not None:
            hedges.deposit()
        ordered = self.memory.breakers.order(plan.candidates, asked.now)
        line = None
        if plan.slots is not None:
            line = Line(plan.slots, ordered, self.memory.breakers)
            ordered = line.order()
        if len(ordered) > plan.max_attempts:
            ordered = ordered[: plan.max_attempts]
        return CallRunner(exchange, hands, self.memory, hedges, asked, plan, pacing, ordered, line)

    async def _race(self, runner: CallRunner[T]) -> Won[Candidate, T]:
        plan, ordered, asked = runner.plan, runner.ordered, runner.asked
        try:
            # The same object: none of them is passed over.
            if ordered is plan.candidates:
                if plan.is_lone:
                    return await race_alone(ordered[0], runner, asked.ends_at, asked.now)
            elif not ordered or ordered[0] is not plan.candidates[0]:
                runner.note_passed_over(plan.candidates)
            return await race(ordered, runner, plan.limits(asked.ends_at, asked.now), asked.now)
        except AllFailed as failed:
            raise self._failure(failed.ends, plan) from None

    def _failure(self, ends: Sequence[AttemptEnd[Candidate]], plan: CallPlan) -> GatewayError:
        """The client's error if no candidate answered."""
        last = ends[-1].error if ends else None
        if isinstance(last, OwnStateError):
            return last
        if isinstance(last, CandidateFull):
            return Overloaded(RETRY_AFTER_S)
        tried = [end for end in ends if not isinstance(end.error, PassedOver)]
        said = _say_failure(tried[-1]) if tried else self._say_nobody(plan)
        said = mask_secrets(said, secrets_of(*plan.candidates))
        is_final = bool(tried) and isinstance(refused := tried[-1].error, UpstreamRefused) and not refused.fails_over
        return ProviderCallFailed(said, self._retry_after_s(ends, plan), is_final)

    def _say_nobody(self, plan: CallPlan) -> str:
        """No candidate may be asked: the message about the one that can be asked again first."""
        now, is_alone = trio.current_time(), len(plan.candidates) == 1
        standings = [
            (self.memory.breakers.standing(candidate, now, is_alone=is_alone), candidate)
            for candidate in plan.candidates
        ]
        standing, candidate = min(standings, key=lambda pair: pair[0].wait_s)
        return say_standing(candidate, standing)

    def _retry_after_s(self, ends: Sequence[AttemptEnd[Candidate]], plan: CallPlan) -> int | None:
        """When the first of them may be asked again, where it is known of each of them."""
        now, is_alone = trio.current_time(), len(plan.candidates) == 1
        waits_s: dict[int, float | None] = {}
        for candidate in plan.candidates:
            waits_s[id(candidate)] = self.memory.breakers.standing(candidate, now, is_alone=is_alone).wait_s or None
        for end in ends:
            if isinstance(end.error, UpstreamRefused | CandidateAside):
                waits_s[id(end.attempt.candidate)] = end.error.retry_after_s
            elif not isinstance(end.error, PassedOver):
                waits_s[id(end.attempt.candidate)] = None
        known_s = [wait_s for wait_s in waits_s.values() if wait_s is not None]
        return max(1, math.ceil(min(known_s))) if len(known_s) == len(waits_s) else None


def _check_is_on(plan: CallPlan) -> None:
    """Raises ProviderDisabled where no candidate's provider is switched on."""
    if not plan.candidates:
        raise ProviderDisabled(plan.first_provider)


async def _let_go_reply(reply: object) -> None:
    """A whole answer holds nothing."""


def _hold_for_reply(reply: object, give_back: Callable[[], None]) -> None:
    give_back()


def _hold_for_stream(stream: OpenStream, give_back: Callable[[], None]) -> None:
    if stream.response is None:
        give_back()
    else:
        stream.response = HeldResponse(stream.response, give_back)


WHOLE: Hands[Any] = Hands(_let_go_reply, _hold_for_reply)
STREAMS: Hands[OpenStream] = Hands(OpenStream.aclose, _hold_for_stream)


def _say_failure(end: AttemptEnd[Candidate]) -> str:
    if isinstance(end.error, AttemptLimitPassed):
        return f"{end.attempt.candidate.provider}: {end.error}"
    return str(end.error)
