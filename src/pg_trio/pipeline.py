"""THE STORY: one request through every stage, in the contract's order.

auth → rate limit → budget → guardrails → input schema → session, prompt apply → provider call (with failover) → output
schema → session (the turn is stored) → log → response. A request that fails an early stage never pays for a later one,
and every failure is logged.

The body is read and understood once the caller is known, and before the request counts against a limit: what is not a
request takes nothing from anybody's quota. Whatever must be given back is held by a `with` block here.
"""

from __future__ import annotations

import math

from attrs import frozen

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import Call, WholeAnswer
from pg_trio.domain.chat import ChatRequest, estimate_tokens
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.domain.value import value
from pg_trio.errors import BadRequest, Overloaded, SessionsNotEnabled
from pg_trio.racing.byte_room import ByteRoom
from pg_trio.racing.deadline import LastingScope
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork, work_owner
from pg_trio.recorder import Recorder, Recorders
from pg_trio.recorder.facts import Settled
from pg_trio.stages.account import Account, estimate_usage
from pg_trio.stages.admission import Admission
from pg_trio.stages.authenticate import Authenticate, find_endpoint
from pg_trio.stages.budget import Budget, Reservation
from pg_trio.stages.deadline import RequestDeadline, client_deadline
from pg_trio.stages.guardrails.stage import Guardrails
from pg_trio.stages.prompt import apply_prompt
from pg_trio.stages.provider_call import ProviderCall
from pg_trio.stages.provider_call.rescue import CarriedStream
from pg_trio.stages.rate_limit import Quota, RateLimit
from pg_trio.stages.relay import Relay
from pg_trio.stages.schemas.stage import Schemas
from pg_trio.stages.session import OpenSession, Sessions


@value(slots=True)
class Asked:
    """A request that passed every check, on its way to the providers, and who must be told how it went."""

    call: Call
    endpoint: Endpoint
    request: ChatRequest
    deadline: RequestDeadline
    account: Account
    recorder: Recorder
    session: OpenSession | None = None


@frozen
class Pipeline:
    """The stages of one worker. `answer` takes a call through all of them.

    `sessions` is None where no endpoint has sessions.
    """

    settings: GatewaySettings
    admission: Admission
    authenticate: Authenticate
    rate_limit: RateLimit
    budget: Budget
    guardrails: Guardrails
    schemas: Schemas
    provider_call: ProviderCall
    large_work: LargeWork
    body_room: ByteRoom
    recorders: Recorders
    sessions: Sessions | None = None

    async def answer(self, call: Call, lasting: LastingScope | None = None) -> WholeAnswer | None:
        """The answer to a call, or None where it was streamed to the client already.

        `lasting` is for a task that answers many calls, one after the other: see LastingScope.
        Raises GatewayError for every deliberate failure before the first byte; the row is written either way.
        """
        head = call.head
        if not self.admission.take():
            # No row for what is turned away here: see admission.py.
            await self.admission.wait(until=client_deadline(head))
        with (
            self.admission,
            self.recorders.open(call) as recorder,
            RequestDeadline(head, self.settings.body_timeout_ms, lasting) as deadline,
        ):
            caller, endpoint, request, size = await self._take_in(call, recorder, deadline)
            if request.session_id is not None and not endpoint.sessions_enabled:
                raise SessionsNotEnabled

            recorder.stage_began("rate_limit")
            with (
                self.rate_limit.take(call, caller.token, endpoint, request) as quota,
                self._reserve(endpoint, request, recorder) as reservation,
            ):
                recorder.stage_began("guardrails")
                request = await self.large_work.call(size, self.guardrails.apply, endpoint, request)
                recorder.request_guarded(request)

                recorder.stage_began("input_schema")
                await self.large_work.call(size, self.schemas.check_input, endpoint, request)

                session, messages = None, request.messages
                if endpoint.sessions_enabled:
                    recorder.stage_began("session")
                    session = await self._open_session(caller, endpoint, request, reservation, quota)
                    messages = (*session.history, *messages)

                recorder.stage_began("prompt")
                prompt = apply_prompt(endpoint, messages, request, reservation.output_limit_tokens)

                account = Account(reservation, quota, prompt, recorder.attempts)
                asked = Asked(call, endpoint, request, deadline, account, recorder, session)
                recorder.stage_began("provider")
                if request.stream and endpoint.streaming_enabled:
                    await self._stream(asked)
                    return None
                return await self._reply(asked)

    async def _take_in(
        self, call: Call, recorder: Recorder, deadline: RequestDeadline
    ) -> tuple[Caller, Endpoint, ChatRequest, int]:
        """Who asks, what of, the request itself, and the bytes of its body."""
        head, has_body = call.head, call.has_body
        recorder.stage_began("auth")
        if has_body:
            deadline.note_body()
        caller = self.authenticate.recall_caller(head.authorization, head.project, "chat", head.at)
        if caller is None:
            deadline.begin()
            caller = await self.authenticate.find_caller(head.authorization, head.project, "chat", head.at)
        # Whose turn it is where the request is large.
        work_owner.set(caller.token.id)
        recorder.caller_found(caller)
        if head.slug is not None:
            endpoint = find_endpoint(caller, head.slug)
            recorder.endpoint_found(endpoint)
            deadline.start(endpoint)
        else:
            deadline.begin()

        recorder.stage_began("read")
        call.surface.check_head(head)
        max_bytes = self.settings.max_body_bytes
        body = await (call.receive_body(max_bytes) if has_body else self._receive_body(call, caller, recorder))
        if not has_body or head.slug is None:
            # The deadline that `begin` set for the body alone ends here.
            deadline.note_body()
        size = len(body)
        try:
            request = await self.large_work.call(size, call.surface.read, body, self.settings, head)
        except BadRequest:
            # A request over a limit is told so, whatever its body is.
            self.rate_limit.check_left(call, caller.token, recorder.endpoint)
            raise
        recorder.request_read(request)
        if head.slug is None:
            assert request.endpoint is not None  # the surface demands it there
            recorder.slug_read(request.endpoint)
            endpoint = find_endpoint(caller, request.endpoint)
            recorder.endpoint_found(endpoint)
            deadline.start(endpoint)
        return caller, endpoint, request, size

    async def _reply(self, asked: Asked) -> WholeAnswer:
        """The whole answer that wins, checked and settled."""
        endpoint, recorder, account = asked.endpoint, asked.recorder, asked.account
        try:
            answered = await self.provider_call.ask(endpoint, account.prompt, asked.deadline.at, recorder.attempts)
        except BaseException:
            _settle_lost(asked)
            raise
        reply = answered.reply
        recorder.reply_made(reply)
        usage = reply.usage or estimate_usage(account.prompt, reply)
        recorder.request_settled(Settled(answered.candidate, reply.model, usage, account.settle(usage)))

        if endpoint.output_schema is not None:
            recorder.stage_began("output_schema")
            await self.large_work.call(len(reply.content or ""), self.schemas.check_output, endpoint, reply)

        session = asked.session
        if session is not None:
            recorder.stage_began("session_save")
            await session.keep(reply, usage)

        recorder.stages_ended()
        return WholeAnswer(
            reply=reply,
            usage=usage,
            request_id=asked.call.head.request_id,
            provider=answered.candidate.provider,
            attempts=recorder.attempts.tries,
            times=recorder.times,
            session_id=None if session is None else session.id,
        )

    async def _stream(self, asked: Asked) -> None:
        """Relay the stream that wins. What was relayed is settled, also where the client left in the middle."""
        endpoint, prompt, recorder, session = asked.endpoint, asked.account.prompt, asked.recorder, asked.session
        deadline = asked.deadline
        deadline.start_stream(endpoint)
        carried = CarriedStream(self.provider_call, endpoint, prompt, deadline.at, recorder.attempts)
        head_after_ms = endpoint.stream_head_after_ms
        relay = Relay(
            carrier=carried,
            client=asked.call.open_stream(asked.request, endpoint, recorder, None if session is None else session.id),
            idle_s=endpoint.idle_timeout_ms / 1000,
            ends_at=deadline.at,
            take_deadline=deadline.hand_over,
            prompt_chars=prompt.characters(),
            head_at=asked.call.head.head_at + head_after_ms / 1000 if head_after_ms else math.inf,
            relays_reasoning=endpoint.stream_reasoning,
            keeps_text=endpoint.log_bodies != "none",
            keep=None if session is None else session.keep,
            note_first_token=recorder.first_token,
        )
        try:
            await relay.run()
            if relay.failure is not None:
                recorder.stream_failed(relay.failure)
        finally:
            self._settle_stream(asked, carried, relay)
            await carried.aclose()

    def _settle_stream(self, asked: Asked, carried: CarriedStream, relay: Relay) -> None:
        """Count what a stream has cost, however it ended, and note who answered."""
        recorder, now = asked.recorder, carried.now
        carried.note_end(relay.outcome)
        if now is None or not relay.has_begun:
            # Where one has won all the same, the deadline or the client's leaving was in the same moment.
            recorder.attempts.lost += now is not None
            _settle_lost(asked, relay.lost_chars)
            return
        usage = relay.usage
        cost = asked.account.settle(usage, relay.lost_chars)
        recorder.request_settled(Settled(now.candidate, relay.model or now.candidate.model, usage, cost))
        if relay.keeps_text:
            recorder.reply_made(relay.reply_so_far())

    async def _open_session(  # what a history counts against, each by name
        self, caller: Caller, endpoint: Endpoint, request: ChatRequest, reservation: Reservation, quota: Quota
    ) -> OpenSession:
        assert self.sessions is not None
        session = await self.sessions.open(caller, endpoint, request)
        if session.history_chars:
            self.budget.add_history(endpoint, request, session.history_chars, reservation)
            quota.grow(estimate_tokens(session.history_chars))
        return session

    async def _receive_body(self, call: Call, caller: Caller, recorder: Recorder) -> bytes:
        """A body that is still on its way: received once there is room for it, unless it is small."""
        limit, declared = self.settings.max_body_bytes, call.declared_bytes
        if declared is not None and (declared <= LARGE_BYTES or declared > limit):
            return await call.receive_body(limit)
        self.rate_limit.check_left(call, caller.token, recorder.endpoint)
        # How much a chunked body will be only its end tells.
        size = limit if declared is None else declared
        kept = await self.body_room.take(caller.token.id, size, self.settings.admission_wait_ms / 1000)
        if kept is None:
            raise Overloaded(self.admission.retry_after_s)
        call.hold(kept)
        body = await call.receive_body(limit)
        kept.shrink(len(body))
        # It may have taken long.
        self.rate_limit.check_left(call, caller.token, recorder.endpoint)
        return body

    def _reserve(self, endpoint: Endpoint, request: ChatRequest, recorder: Recorder) -> Reservation:
        recorder.stage_began("budget")
        return self.budget.reserve(endpoint, request)


def _settle_lost(asked: Asked, lost_chars: int = 0) -> None:
    """Count what may be charged for tries that gave no answer."""
    cost = asked.account.settle_lost(lost_chars)
    if cost is not None:
        asked.recorder.request_settled(Settled(None, None, None, cost))
