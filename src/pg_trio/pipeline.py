"""THE STORY: one request through every stage, in the contract's order.

auth → rate limit → budget → guardrails → input schema → session, prompt apply → provider call (with failover) → output
schema → session (the turn is stored) → log → response. A request that fails an early stage never pays for a later one,
and every failure is logged.

The body is read and understood once the caller is known, and before the request counts against a limit: a malformed
request takes nothing from a quota. A `with` block here holds everything that must be given back.
"""

from __future__ import annotations

import math
from functools import partial

from attrs import evolve, frozen

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import Answer, Call, RequestHead
from pg_trio.domain.chat import ChatRequest, Prompt, Reply, Usage, estimate_tokens
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.domain.value import value
from pg_trio.errors import BadRequest, Overloaded, SessionsNotEnabled
from pg_trio.racing.byte_room import ByteRoom
from pg_trio.racing.deadline import LastingScope
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork, work_owner
from pg_trio.stages.admission import Admission
from pg_trio.stages.authenticate import Authenticate, find_endpoint
from pg_trio.stages.budget import Budget, Reservation
from pg_trio.stages.deadline import RequestDeadline, client_deadline
from pg_trio.stages.guardrails.stage import Guardrails
from pg_trio.stages.log import Log, LogEntry
from pg_trio.stages.prompt import apply_prompt
from pg_trio.stages.provider_call import ProviderCall
from pg_trio.stages.provider_call.rescue import CarriedStream
from pg_trio.stages.rate_limit import Quota, RateLimit
from pg_trio.stages.read_request import check_content_coding, check_content_type, read_chat_request
from pg_trio.stages.relay import Relay
from pg_trio.stages.schemas.stage import Schemas
from pg_trio.stages.session import OpenSession, Sessions


@value(slots=True)
class Asked:
    """A request that passed every check, on its way to the providers, and who must be told how it went."""

    call: Call
    endpoint: Endpoint
    request: ChatRequest
    prompt: Prompt
    deadline: RequestDeadline
    reservation: Reservation
    quota: Quota
    entry: LogEntry
    session: OpenSession | None = None

    def settle(self, usage: Usage, lost_chars: int = 0) -> None:
        """Count what was really used, wherever something was set aside for it, by tries that were lost too.

        `lost_chars`: what the client has of those tries' reasoning.
        """
        if self.entry.attempts.lost or lost_chars:
            prompt_tokens = usage.prompt_tokens + self._count_lost()
            completion_tokens = usage.completion_tokens + estimate_tokens(lost_chars)
            usage = evolve(usage, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        self.reservation.settle(usage)
        self.quota.settle(usage)

    def settle_lost(self, lost_chars: int = 0) -> None:
        """No candidate answered: count what the asked ones may charge."""
        if self.entry.attempts.lost or lost_chars:
            self.settle(Usage(0, 0, estimated=True), lost_chars)
            self.entry.cost_nano_usd = self.reservation.spent_nano_usd

    def _count_lost(self) -> int:
        """Tokens: the whole prompt for each lost try. The part that it had answered is not known."""
        return self.entry.attempts.lost * estimate_tokens(self.prompt.characters())


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
    log: Log
    sessions: Sessions | None = None

    async def answer(self, call: Call, lasting: LastingScope | None = None) -> Answer | None:
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
            self.log.open(call) as entry,
            RequestDeadline(head, self.settings.body_timeout_ms, lasting) as deadline,
        ):
            entry.begin("auth")
            has_body = call.has_body
            if has_body:
                deadline.note_body()
            entry.caller = caller = await self._find_caller(head, deadline)
            if head.slug is not None:
                entry.endpoint = endpoint = find_endpoint(caller, head.slug)
                deadline.start(endpoint)
            else:
                deadline.begin()

            entry.begin("read")
            _check_content(head)
            body = await (
                call.receive_body(self.settings.max_body_bytes) if has_body else self._receive_body(call, caller, entry)
            )
            if not has_body or head.slug is None:
                # The endpoint is not known there: what `begin` set for the body ends here.
                deadline.note_body()
            size = len(body)
            try:
                entry.request = request = await self.large_work.call(
                    size, read_chat_request, body, limits=self.settings, endpoint_required=head.slug is None
                )
            except BadRequest:
                # A request over a limit is refused for that, even if its body is malformed.
                self.rate_limit.check_left(call, caller.token, entry.endpoint)
                raise
            # What was read lives on; the bytes need not.
            del body
            if head.slug is None:
                entry.endpoint = endpoint = self._dispatch(caller, request, entry)
                deadline.start(endpoint)
            if request.session_id is not None and not endpoint.sessions_enabled:
                raise SessionsNotEnabled

            entry.begin("rate_limit")
            with (
                self.rate_limit.take(call, caller.token, endpoint, request) as quota,
                self._reserve(endpoint, request, entry) as reservation,
            ):
                entry.begin("guardrails")
                request = await self.large_work.call(size, self.guardrails.apply, endpoint, request)
                entry.guarded = request

                entry.begin("input_schema")
                await self.large_work.call(size, self.schemas.check_input, endpoint, request)

                session, messages = None, request.messages
                if endpoint.sessions_enabled:
                    entry.begin("session")
                    session = await self._open_session(caller, endpoint, request, reservation, quota)
                    messages = (*session.history, *messages)

                entry.begin("prompt")
                prompt = apply_prompt(endpoint, messages, request, reservation.output_limit_tokens)

                asked = Asked(call, endpoint, request, prompt, deadline, reservation, quota, entry, session)
                entry.begin("provider")
                if request.stream and endpoint.streaming_enabled:
                    await self._stream(asked)
                    return None
                return await self._reply(asked)

    async def _reply(self, asked: Asked) -> Answer:
        """The whole answer that wins, checked and settled."""
        endpoint, entry = asked.endpoint, asked.entry
        try:
            answered = await self.provider_call.ask(endpoint, asked.prompt, asked.deadline.at, entry.attempts)
        except BaseException:
            asked.settle_lost()
            raise
        entry.reply = reply = answered.reply
        usage = reply.usage or estimate_usage(asked.prompt, reply)
        asked.settle(usage)
        entry.won(answered.candidate, reply.model, usage, asked.reservation.spent_nano_usd)

        if endpoint.output_schema is not None:
            entry.begin("output_schema")
            await self.large_work.call(len(reply.content or ""), self.schemas.check_output, endpoint, reply)

        session = asked.session
        if session is not None:
            entry.begin("session_save")
            await session.keep(reply, usage)

        entry.end()
        return Answer(
            reply=reply,
            usage=usage,
            request_id=asked.call.head.request_id,
            provider=answered.candidate.provider,
            attempts=entry.attempts.tries,
            times=entry.times,
            session_id=None if session is None else session.id,
        )

    async def _stream(self, asked: Asked) -> None:
        """Relay the stream that wins. What was relayed is settled, also where the client left in the middle."""
        endpoint, prompt, entry, session = asked.endpoint, asked.prompt, asked.entry, asked.session
        deadline = asked.deadline
        deadline.start_stream(endpoint)
        carried = CarriedStream(self.provider_call, endpoint, prompt, deadline.at, entry.attempts)
        head_after_ms = endpoint.stream_head_after_ms
        relay = Relay(
            carrier=carried,
            client=asked.call.open_stream(endpoint, entry, None if session is None else session.id),
            idle_s=endpoint.idle_timeout_ms / 1000,
            ends_at=deadline.at,
            take_deadline=deadline.hand_over,
            prompt_chars=prompt.characters(),
            head_at=asked.call.head.head_at + head_after_ms / 1000 if head_after_ms else math.inf,
            relays_reasoning=endpoint.stream_reasoning,
            keeps_text=endpoint.log_bodies != "none",
            keep=None if session is None else session.keep,
            note_first_token=partial(entry.begin, "stream"),
        )
        try:
            await relay.run()
            entry.failure = relay.failure
        finally:
            self._settle_stream(asked, carried, relay)
            await carried.aclose()

    def _settle_stream(self, asked: Asked, carried: CarriedStream, relay: Relay) -> None:
        """Count what a stream has cost, however it ended, and note who answered."""
        entry, now = asked.entry, carried.now
        carried.note_end(relay.outcome)
        if now is None or not relay.has_begun:
            # Where one has won all the same, the deadline or the client's leaving was in the same moment.
            entry.attempts.lost += now is not None
            asked.settle_lost(relay.lost_chars)
            return
        usage = relay.usage
        asked.settle(usage, relay.lost_chars)
        entry.won(now.candidate, relay.model or now.candidate.model, usage, asked.reservation.spent_nano_usd)
        if relay.keeps_text:
            entry.reply = relay.reply_so_far()

    async def _find_caller(self, head: RequestHead, deadline: RequestDeadline) -> Caller:
        asked = head.authorization, head.project, "chat", head.at
        caller = self.authenticate.recall_caller(*asked)
        if caller is None:
            deadline.begin()
            caller = await self.authenticate.find_caller(*asked)
        # Whose turn it is where the request is large.
        work_owner.set(caller.token.id)
        return caller

    async def _open_session(  # what a history counts against, each by name
        self, caller: Caller, endpoint: Endpoint, request: ChatRequest, reservation: Reservation, quota: Quota
    ) -> OpenSession:
        assert self.sessions is not None
        session = await self.sessions.open(caller, endpoint, request)
        if session.history_chars:
            self.budget.add_history(endpoint, request, session.history_chars, reservation)
            quota.grow(estimate_tokens(session.history_chars))
        return session

    async def _receive_body(self, call: Call, caller: Caller, entry: LogEntry) -> bytes:
        """A body that is still on its way: received once there is room for it, unless it is small."""
        limit, declared = self.settings.max_body_bytes, call.declared_bytes
        if declared is not None and (declared <= LARGE_BYTES or declared > limit):
            return await call.receive_body(limit)
        self.rate_limit.check_left(call, caller.token, entry.endpoint)
        # How much a chunked body will be only its end tells.
        size = limit if declared is None else declared
        kept = await self.body_room.take(caller.token.id, size, self.settings.admission_wait_ms / 1000)
        if kept is None:
            raise Overloaded(self.admission.retry_after_s)
        call.hold(kept)
        body = await call.receive_body(limit)
        kept.shrink(len(body))
        # It may have taken long.
        self.rate_limit.check_left(call, caller.token, entry.endpoint)
        return body

    def _reserve(self, endpoint: Endpoint, request: ChatRequest, entry: LogEntry) -> Reservation:
        entry.begin("budget")
        return self.budget.reserve(endpoint, request)

    def _dispatch(self, caller: Caller, request: ChatRequest, entry: LogEntry) -> Endpoint:
        """The endpoint that the body names (the dispatcher route)."""
        assert request.endpoint is not None  # read_chat_request demands it there
        entry.slug = request.endpoint
        return find_endpoint(caller, request.endpoint)


def _check_content(head: RequestHead) -> None:
    """Raises BadRequest or ContentCodingUnsupported for a body that cannot be read as it was sent."""
    check_content_type(head.content_type)
    if head.content_coding is not None:
        check_content_coding(head.content_coding)


def estimate_usage(prompt: Prompt, reply: Reply) -> Usage:
    """Usage of an answer whose provider sent none, so that a budget is never spent unseen."""
    return Usage(estimate_tokens(prompt.characters()), estimate_tokens(reply.characters()), estimated=True)
