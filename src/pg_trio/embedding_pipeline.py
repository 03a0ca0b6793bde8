"""THE SHORT STORY: a request for embeddings, from its rate limit to its answer. pipeline.py has what comes before.

rate limit → budget → guardrails → input schema → provider call (with failover) → log → response. The stages are those
of a chat. A session, the endpoint's prompt and an output schema are for texts that a model writes, so they do not
apply. Nothing is streamed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from attrs import evolve, frozen

from pg_trio.domain.adapter import EmbeddingAdapter
from pg_trio.domain.call import EmbeddingAnswer
from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.errors import BadRequest
from pg_trio.racing.attempt import Won
from pg_trio.received_request import ReceivedRequest, check_request
from pg_trio.recorder.facts import Settled
from pg_trio.stages.account import Account
from pg_trio.stages.budget import Budget
from pg_trio.stages.guardrails import hold_beside
from pg_trio.stages.provider_call import ProviderCall, VectorCall
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.provider_call.vectors import estimate_embeddings
from pg_trio.stages.rate_limit import RateLimit


class WriteVectors(Protocol):
    """Writes the body of an answer. It may run in a thread."""

    def __call__(self, reply: EmbeddingReply, usage: Usage, *, in_base64: bool) -> bytes: ...


@frozen
class EmbeddingPipeline:
    """The stages of one worker, for embeddings."""

    rate_limit: RateLimit
    budget: Budget
    provider_call: ProviderCall
    exchange: Exchange
    adapters: Callable[[str], EmbeddingAdapter]
    write: WriteVectors

    async def serve(self, received: ReceivedRequest, request: EmbeddingRequest) -> EmbeddingAnswer:
        """Take the request through limits and checks to a provider. Reservations are given back at the end."""
        plan, recorder, large_work = received.plan, received.recorder, self.exchange.large_work
        recorder.stage_began("rate_limit")
        limits = plan.limits.for_input()
        quota = await self.rate_limit.take(received.call, received.caller.token, limits, request)
        async with quota:
            recorder.stage_began("budget")
            reservation = await self.budget.reserve(plan.spend.for_input(), request, received.caller.token.grant)
            async with reservation:
                if plan.checks_requests and request.has_tokens:
                    raise BadRequest("input: must be text, because the guardrails of this endpoint cannot read tokens.")
                request, _ = await check_request(received, request, large_work)
                if request.unknown is not None and not plan.endpoint.pass_unknown_fields:
                    request = evolve(request, unknown=None)

                account = Account(reservation, quota, request, recorder.attempts)
                recorder.stage_began("provider")
                attempts = recorder.attempts
                tell_call = None if attempts.trace is None else attempts.trace.tell_call
                with VectorCall(request, self.adapters, self.exchange, tell_call) as vectors:
                    reply, usage, winner = await self._ask(received, vectors, account)
                    size = reply.size_bytes()
                    body = await large_work.call(size, self.write, reply, usage, in_base64=request.in_base64)
        recorder.stages_ended()
        return EmbeddingAnswer(
            body=body,
            reply=evolve(reply, vectors=()),
            request_id=received.call.head.request_id,
            provider=winner.provider,
            attempts=recorder.attempts.tries,
            times=recorder.times,
            verdicts=recorder.verdicts,
        )

    async def _ask(
        self, received: ReceivedRequest, vectors: VectorCall, account: Account[EmbeddingRequest]
    ) -> tuple[EmbeddingReply, Usage, Candidate]:
        """The winning answer, its usage and its candidate. All that providers may charge for is settled."""
        recorder, attempts, ends_at = received.recorder, account.attempts, received.deadline.at
        try:
            won, refused = await self._ask_held(received, vectors, ends_at, attempts)
        except BaseException:
            cost = account.settle_lost(earlier=vectors.unfinished(None, attempts))
            if cost is not None:
                recorder.request_settled(Settled(None, None, None, cost))
            raise
        reply, winner = won.value, won.attempt.candidate
        usage = reply.usage or estimate_embeddings(vectors.request)
        cost = account.settle(winner, usage, earlier=vectors.unfinished(winner, attempts))
        recorder.request_settled(Settled(winner, reply.model, usage, cost, account.price))
        if refused is not None:
            raise refused
        recorder.reply_made(reply)
        return reply, usage, winner

    async def _ask_held(
        self, received: ReceivedRequest, vectors: VectorCall, ends_at: float, attempts: Attempts
    ) -> tuple[Won[Candidate, EmbeddingReply], Exception | None]:
        """The winning answer, and the error of a check beside the call that refuses it all the same."""
        plan, tell = received.plan, received.recorder.guardrail_decided
        remote = plan.remote
        check = None if remote is None else remote.check_beside(vectors.request, received.whose(), tell)
        ask = partial(self.provider_call.ask_step, plan.call, vectors, ends_at, attempts)
        if check is None:
            return await ask(), None
        return (await hold_beside(check, ask)).take()
