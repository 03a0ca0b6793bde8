"""THE STORY: one request through every stage, in the contract's order.

auth → rate limit → budget → guardrails → input schema → session, prompt apply → provider call (with failover) →
guardrails for answers → output schema → session (the turn is stored) → log → response. A request that fails an early
stage never pays for a later one, and every failure is logged.

The body is read after the caller is known and before the request counts against a limit, so a malformed request takes
nothing from a quota. A `with` block here holds everything that must be given back.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from functools import partial

from attrs import field, frozen

from pg_trio.catalogue import Catalogue, EndpointPlan
from pg_trio.checked_request import CheckedRequest, renumber
from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import Answered, Call, EmbeddingAnswer, WholeAnswer
from pg_trio.domain.chat import ChatRequest, Prompt, Usage, estimate_tokens
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.domain.project import Caller
from pg_trio.embedding_pipeline import EmbeddingPipeline
from pg_trio.errors import (
    BadRequest,
    NoFitCandidate,
    OutputInvalid,
    Overloaded,
    ProviderCallFailed,
    SessionNotAccessible,
)
from pg_trio.racing.byte_room import ByteRoom
from pg_trio.racing.deadline import LastingScope
from pg_trio.racing.deadline_keeper import DeadlineKeeper
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork, work_owner
from pg_trio.received_request import ReceivedRequest, check_here, check_request, join_earlier
from pg_trio.recorder import Recorder, Recorders
from pg_trio.sources import AnswerRecord
from pg_trio.stages.account import Account, Part, estimate_usage
from pg_trio.stages.admission import Admission
from pg_trio.stages.authenticate import Authenticate
from pg_trio.stages.budget import Budget, Reserved
from pg_trio.stages.guardrails import hold_beside, restore_reply
from pg_trio.stages.open_session import OpenSession, Sessions
from pg_trio.stages.provider_call import ProviderCall
from pg_trio.stages.provider_call.rescue import RescuedSource
from pg_trio.stages.rate_limit import NOTHING_LENT, Quota, RateLimit
from pg_trio.stages.relay import Relay, StreamClock, send_whole
from pg_trio.stages.request_deadline import RequestDeadline, client_limit
from pg_trio.stages.schemas.ask_again import ask_again, may_ask_again
from pg_trio.stages.schemas.output_schema import OutputSchema


@frozen
class Pipeline:
    """The stages of one worker. `answer` takes a call through all of them.

    `sessions` is None if no endpoint has sessions.
    """

    settings: GatewaySettings
    admission: Admission
    authenticate: Authenticate
    catalogue: Catalogue
    rate_limit: RateLimit
    budget: Budget
    provider_call: ProviderCall
    embeddings: EmbeddingPipeline
    large_work: LargeWork
    body_room: ByteRoom
    recorders: Recorders
    sessions: Sessions | None = None
    # Keeps the clocks of all streams; its `run` must be running.
    stream_clocks: DeadlineKeeper = field(factory=DeadlineKeeper)

    async def answer(self, call: Call, lasting: LastingScope | None = None) -> WholeAnswer | EmbeddingAnswer | None:
        """The answer to a call, or None if it was streamed to the client already.

        `lasting` is for a task that answers many calls, one after the other: see LastingScope.
        Raises GatewayError for every expected failure before the first byte. The log's row is written in any case.
        """
        head = call.head
        if not self.admission.take():
            # A request that is refused here leaves no row: see admission.py.
            await self.admission.wait(*client_limit(head), head.head_at if call.has_waited else None)
        with (
            self.admission,
            self.recorders.open(call) as recorder,
            RequestDeadline(head, self.settings.body_timeout_ms, lasting) as deadline,
        ):
            recorder.deadline = deadline
            received = await self._receive(call, recorder, deadline)
            request = received.request
            try:
                if head.keyed is not None and await join_earlier(received):
                    return None
                if isinstance(request, EmbeddingRequest):
                    return await self.embeddings.serve(received, request)
                if request.session_id is not None and not received.plan.endpoint.sessions_enabled:
                    raise call.surface.refuse_session(request)
                return await self._serve(received, request)
            except NoFitCandidate as error:
                raise call.surface.refuse_unfit(error) from None
            except SessionNotAccessible as error:
                raise call.surface.refuse_lost_session(error) from None

    async def _receive(self, call: Call, recorder: Recorder, deadline: RequestDeadline) -> ReceivedRequest:
        """Find the caller and the endpoint, then read the request."""
        head, has_body, access = call.head, call.has_body, call.surface.access
        recorder.stage_began("auth")
        caller = self.authenticate.recall_caller(head.authorization, head.project, access, head.at)
        if caller is None:
            with deadline.limit_body(has_body=has_body):
                caller = await self.authenticate.find_caller(head.authorization, head.project, access, head.at)
        # Large work takes turns between tokens.
        work_owner.set(caller.token.id)
        recorder.caller_found(caller)
        plan = None
        if head.slug is not None:
            plan = self.catalogue.find_for(caller, head.slug)
            recorder.endpoint_found(plan.endpoint)
            deadline.start(plan.endpoint)

        recorder.stage_began("read")
        call.surface.check_head(head)
        if has_body:
            if plan is None and (head.timeout_ms or head.read_timeout):
                deadline.hold_client_limit()
            body = await call.receive_body(self.settings.max_body_bytes)
        else:
            with deadline.limit_body():
                body = await self._receive_body(call, caller, plan)
        size, read = len(body), call.surface.read
        try:
            if size <= LARGE_BYTES:
                request = read(body, self.settings, head)
            else:
                request = await self.large_work.call(size, read, body, self.settings, head)
        except BadRequest:
            # A request over a limit gets that error, even if its body is malformed.
            await self.rate_limit.check_left(call, caller.token, plan.limits if plan else None)
            raise
        recorder.request_read(request)
        if plan is None:
            if request.stream and call.surface.always_streams:
                deadline.drop_sdk_limit()
            recorder.slug_read(name := request.endpoint or request.model or "")
            plan = self.catalogue.find_named(caller, request.endpoint, name)
            recorder.endpoint_found(plan.endpoint)
            deadline.start(plan.endpoint)
        return ReceivedRequest(call, caller, plan, request, size, deadline, recorder)

    def _serve(self, received: ReceivedRequest, request: ChatRequest) -> Awaitable[WholeAnswer | None]:
        """Await it: take the request through limits and checks to a provider."""
        received.recorder.stage_began("rate_limit")
        quota = self.rate_limit.take_nowait(received.call, received.caller.token, received.plan.limits)
        if quota is NOTHING_LENT:
            return self._spend(received, request, quota)
        return self._borrow(received, request, quota)

    async def _borrow(self, received: ReceivedRequest, request: ChatRequest, quota: Quota | None) -> WholeAnswer | None:
        """The same where the quota is waited for, or is given back at the end."""
        if quota is None:
            quota = await self.rate_limit.take(received.call, received.caller.token, received.plan.limits, request)
        async with quota:
            return await self._spend(received, request, quota)

    async def _spend(self, received: ReceivedRequest, request: ChatRequest, quota: Quota) -> WholeAnswer | None:
        """Reserve the request's cost, check it and send it to a provider. The reservation is given back at the end."""
        call, plan, recorder, grant = received.call, received.plan, received.recorder, received.caller.token.grant
        if call.surface.only_counts:
            return await self._count(received, request)
        recorder.stage_began("budget")
        reservation = self.budget.reserve_nowait(plan.spend, request, grant)
        if reservation is None:
            reservation = await self.budget.reserve(plan.spend, request, grant)
        async with reservation:
            if received.is_checked_here:
                request, redaction = check_here(received, request)
            else:
                request, redaction = await check_request(received, request, self.large_work)
            session = None
            if plan.endpoint.sessions_enabled and (request.session_terms.starts or request.session_id is not None):
                recorder.stage_began("session")
                session = await self._open_session(received, request, reservation, quota)
            if redaction is not None:
                request, session, redaction = renumber(received, request, session, redaction)

            recorder.stage_began("prompt")
            prompt = plan.prompt.apply(request.messages if session is None else session.messages, request)
            account = Account(reservation, quota, prompt, recorder.attempts)
            checked = CheckedRequest(call, plan, request, received.deadline, account, recorder, session, redaction)
            recorder.stage_began("provider")
            if not request.stream:
                return await self._reply(checked)
            if plan.endpoint.streaming_enabled:
                await self._stream(checked)
                return None
            answer = await self._reply(checked)
            if not call.surface.always_streams:
                return answer
            received.deadline.hand_over()
            await send_whole(call.open_stream(request, plan.endpoint, recorder, answer.session_id), answer)
        return None

    async def _count(self, received: ReceivedRequest, request: ChatRequest) -> WholeAnswer:
        """The estimate of the tokens that a provider would be sent, as the usage of an empty answer."""
        request, _ = await check_request(received, request, self.large_work)
        messages = request.messages
        if request.session_id is not None and self.sessions is not None:
            messages = (await self.sessions.open(received.caller, received.plan.endpoint, request)).messages
        received.recorder.stage_began("prompt")
        prompt = received.plan.prompt.apply(messages, request)
        return WholeAnswer.of_count(prompt, received.call.head, received.recorder.times_so_far(), request)

    async def _reply(self, asked: CheckedRequest) -> WholeAnswer:
        """The winning complete answer, checked and settled."""
        plan, recorder, account = asked.plan, asked.recorder, asked.account
        if plan.remote is not None:
            answered = await self._ask_beside(asked)
        else:
            try:
                answered = await self.provider_call.ask(plan.call, account.prompt, asked.deadline.at, recorder.attempts)
            except BaseException:
                asked.settle_lost()
                raise
        reply = answered.reply
        usage = reply.usage or estimate_usage(account.prompt, reply)
        if plan.guards_answers:
            try:
                answered = await asked.guard_answer(answered, self.large_work)
            except BaseException:
                # The provider is paid, also for an answer that is refused.
                asked.settle(answered, usage)
                raise
            reply = answered.reply
        recorder.reply_made(reply)
        if plan.output_schema is None:
            asked.settle(answered, usage)
        else:
            answered, usage = await self._match_output(asked, answered, usage, plan.output_schema)
            reply = answered.reply

        session = asked.session
        if session is not None:
            recorder.stage_began("session_save")
            await session.keep(reply, usage)

        recorder.stages_ended()
        return WholeAnswer(  # by position, because keyword arguments take three times as long
            reply if asked.redaction is None else restore_reply(reply, asked.redaction),
            usage,
            asked.call.head.request_id,
            answered.candidate.provider,
            recorder.attempts.tries,
            recorder.times,
            asked.request,
            asked.call.head.at,
            None if session is None else session.kept_id,
            recorder.verdicts,
            plan.has_guardrails and recorder.tells_verdicts,
        )

    async def _ask_beside(self, asked: CheckedRequest) -> Answered:
        """The winning answer, once the checks beside the call have passed. An answer that they refuse is settled."""
        prompt, attempts = asked.account.prompt, asked.recorder.attempts
        ask = partial(self.provider_call.ask, asked.plan.call, prompt, asked.deadline.at, attempts)
        check = asked.check_beside()
        try:
            if check is None:
                return await ask()
            answered, refused = (await hold_beside(check, ask)).take()
        except BaseException:
            asked.settle_lost()
            raise
        if refused is not None:
            asked.settle(answered, answered.reply.usage or estimate_usage(prompt, answered.reply))
            raise refused
        return answered

    async def _match_output(
        self, asked: CheckedRequest, answered: Answered, usage: Usage, schema: OutputSchema
    ) -> tuple[Answered, Usage]:
        """An answer that matches the endpoint's schema, and the usage of all rounds together.

        All rounds are settled, even if no answer matches. Raises OutputInvalid for the last round that was answered.
        """
        recorder, prompt = asked.recorder, asked.account.prompt
        earlier: list[Part] = []
        recorder.stage_began("output_schema")
        try:
            while True:
                reply = answered.reply
                try:
                    reply = await self.large_work.call(len(reply.content or ""), schema.read, reply)
                    break
                except OutputInvalid as failure:
                    if len(earlier) == schema.more_rounds or not may_ask_again(reply):
                        raise
                    invalid = failure
                if not earlier:
                    recorder.stage_began("repair")
                prompt = ask_again(prompt, reply, invalid)
                again = await self._ask_again(asked, prompt, invalid)
                earlier.append((answered.candidate, usage))
                answered, reply = again, again.reply
                usage = reply.usage or estimate_usage(prompt, reply)
                if asked.plan.guards_answers:
                    answered = await asked.guard_answer(answered, self.large_work)
                recorder.reply_made(answered.reply)
        finally:
            total = asked.settle(answered, usage, earlier)
        recorder.reply_made(reply)
        return Answered(reply, answered.candidate), total

    async def _ask_again(self, asked: CheckedRequest, prompt: Prompt, invalid: OutputInvalid) -> Answered:
        """One more round's answer.

        Raises `invalid` if no candidate answers, because the client can act on that error.
        """
        try:
            return await self.provider_call.ask(asked.plan.call, prompt, asked.deadline.at, asked.recorder.attempts)
        except ProviderCallFailed:
            raise invalid from None

    async def _stream(self, asked: CheckedRequest) -> None:
        """Relay the winning stream. The relayed part is settled, even if the client leaves in the middle."""
        endpoint, recorder, session, deadline = asked.plan.endpoint, asked.recorder, asked.session, asked.deadline
        deadline.start_stream(endpoint)
        prompt = asked.account.prompt
        call = asked.plan.call if asked.call.surface.tells_restarts else asked.plan.call_without_restarts
        rescued = RescuedSource(self.provider_call, call, prompt, deadline.at, recorder.attempts)
        keeps_text = endpoint.log_bodies != "none" or self.recorders.keeps_texts
        record = AnswerRecord() if session is not None or keeps_text else None
        head_at = asked.call.head.head_at + (endpoint.stream_head_after_ms / 1000 or math.inf)
        held = asked.hold_stream(rescued)
        source = asked.guard_stream(rescued if held is None else held, self.large_work)
        relay = Relay(
            source=asked.finish_source(source, record),
            client=asked.call.open_stream(
                asked.request, endpoint, recorder, None if session is None else session.kept_id
            ),
            clock=StreamClock(endpoint.idle_timeout_ms / 1000, deadline.at, head_at if held is None else math.inf),
            take_deadline=deadline.hand_over,
            keeper=self.stream_clocks,
            relays_reasoning=endpoint.stream_reasoning,
            holds_reasoning=asked.call.surface.holds_reasoning,
            keep=None if session is None or record is None else partial(record.keep_with, session.keep),
            find_speaker=rescued.find_speaker,
            note_first_token=recorder.first_token,
        )
        asked.call.stop_with(relay.stop)
        if held is not None:
            held.note_passed = partial(relay.allow_head, head_at)
        self.admission.streams += 1
        try:
            await relay.run()
            if relay.failure is not None:
                recorder.stream_failed(relay.failure)
        finally:
            self.admission.streams -= 1
            rescued.note_end(relay.outcome)
            asked.settle_stream(rescued, has_begun=relay.has_begun)
            if relay.clock.is_committed and relay.has_begun and record is not None and keeps_text:
                recorder.reply_made(record.reply_so_far())
            await rescued.aclose()

    async def _open_session(
        self, received: ReceivedRequest, request: ChatRequest, reservation: Reserved, quota: Quota
    ) -> OpenSession:
        """The request's session. Its history counts against the budget and the caller's limits."""
        assert self.sessions is not None
        plan = received.plan
        session = await self.sessions.open(received.caller, plan.endpoint, request)
        if session.history_chars:
            await self.budget.add_history(plan.spend, request, session.history_chars, reservation)
            await quota.grow(estimate_tokens(session.history_chars))
        return session

    async def _receive_body(self, call: Call, caller: Caller, plan: EndpointPlan | None) -> bytes:
        """Receive a body that is not here yet. Unless it is small, it first waits for room."""
        limit, declared = self.settings.max_body_bytes, call.declared_bytes
        if declared is not None and (declared <= LARGE_BYTES or declared > limit):
            return await call.receive_body(limit)
        limits = plan.limits if plan else None
        await self.rate_limit.check_left(call, caller.token, limits)
        # The size of a chunked body is known only at its end.
        size = limit if declared is None else declared
        kept = await self.body_room.take(caller.token.id, size, self.settings.admission_wait_ms / 1000)
        if kept is None:
            raise Overloaded(self.admission.retry_after_s)
        call.hold(kept)
        body = await call.receive_body(limit)
        kept.shrink(len(body))
        # Receiving may have taken long.
        await self.rate_limit.check_left(call, caller.token, limits)
        return body
