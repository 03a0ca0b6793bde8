"""A request that passed every check: what is asked for it, and what is settled after it."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from pg_trio.catalogue import EndpointPlan
from pg_trio.domain.call import Answered, Call
from pg_trio.domain.chat import ChatRequest, Prompt, Usage
from pg_trio.domain.event_source import EventSource
from pg_trio.domain.value import value
from pg_trio.racing.large_work import LargeWork
from pg_trio.received_request import ReceivedRequest
from pg_trio.recorder import Recorder
from pg_trio.recorder.facts import Settled
from pg_trio.sources import AnswerRecord, FilteredSource, GuardedSource
from pg_trio.stages.account import Account, Part
from pg_trio.stages.guardrails import Check, HeldSource, Redaction, RestoringFilter, Whose
from pg_trio.stages.open_session import OpenSession
from pg_trio.stages.provider_call.rescue import RescuedSource
from pg_trio.stages.request_deadline import RequestDeadline


@value(slots=True)
class CheckedRequest:
    """A request that may go to the providers, with everything that is settled after it."""

    call: Call
    plan: EndpointPlan
    request: ChatRequest
    deadline: RequestDeadline
    account: Account[Prompt]
    recorder: Recorder
    session: OpenSession | None = None
    # What is put back into the answer for the client alone.
    redaction: Redaction | None = None

    def check_beside(self) -> Check | None:
        """The check to run beside the provider's call; None if there is none."""
        if self.plan.remote is None:
            return None
        return self.plan.remote.check_beside(self.request, self._whose(), self.recorder.guardrail_decided)

    def hold_stream(self, source: EventSource) -> HeldSource | None:
        """The source, held until the checks beside the call have passed; None if there are none."""
        check = self.check_beside()
        if check is None or self.plan.remote is None:
            return None
        return HeldSource(source, check, self.plan.remote.beside[0].guardrail)

    def _whose(self) -> Whose:
        caller = self.recorder.caller
        assert caller is not None  # a checked request has one
        slug = self.plan.endpoint.slug
        return Whose(str(caller.project.uuid), slug, self.call.head.request_id, self.deadline.at)

    def guard_stream(self, source: EventSource, large_work: LargeWork) -> EventSource:
        """The events of the source, as the guardrails for answers let them pass."""
        plan, note = self.plan, self.recorder.guardrail_decided
        if plan.output_guards is not None:
            shows_reasoning = plan.endpoint.stream_reasoning
            answer = plan.output_guards.open_stream(note, shows_reasoning=shows_reasoning)
            source = GuardedSource(source, answer, large_work.finish)
        return source if plan.remote is None else plan.remote.check_end(source, self._whose(), note)

    def finish_source(self, source: EventSource, record: AnswerRecord | None) -> EventSource:
        """The events for the client: recorded, then with the texts that only the client gets."""
        if record is not None:
            source = FilteredSource(source, record)
        return source if self.redaction is None else FilteredSource(source, RestoringFilter(self.redaction))

    async def guard_answer(self, answered: Answered, large_work: LargeWork) -> Answered:
        """The whole answer as the guardrails let it pass. Raises GuardrailBlocked, or GuardrailFailed."""
        plan, note, reply = self.plan, self.recorder.guardrail_decided, answered.reply
        self.recorder.stage_began("output_guardrails")
        if plan.output_guards is not None:
            reply, verdicts = await large_work.call(reply.characters(), plan.output_guards.check, reply)
            for verdict in verdicts:
                note(verdict)
        if plan.remote is not None:
            reply = await plan.remote.check_answer(reply, self._whose(), note)
        return Answered(reply, answered.candidate)

    def settle(self, answered: Answered, usage: Usage, earlier: Sequence[Part] = ()) -> Usage:
        """Count the usage of the answer and of those before it. Returns the sum."""
        account = self.account
        cost = account.settle(answered.candidate, usage, 0, earlier)
        for _, used in earlier:
            usage = used.plus(usage)
        self.recorder.request_settled(Settled(answered.candidate, answered.reply.model, usage, cost, account.price))
        return usage

    def settle_stream(self, rescued: RescuedSource, *, has_begun: bool) -> None:
        """Count the cost of a stream, complete or broken, and note the candidates that answered."""
        recorder, now, meter = self.recorder, rescued.now, rescued.meter
        # Guardrails may have held back all that came.
        has_begun = has_begun or meter.assembler.characters > 0
        if now is None or not has_begun:
            # If a candidate has won all the same, the deadline passed, or the client left, at the same moment; or the
            # stream was refused.
            if now is not None:
                recorder.attempts.lost_to += (now.candidate,)
            self.settle_lost(meter.lost_chars)
            return
        account = self.account
        cost = account.settle(now.candidate, meter.last_usage, meter.lost_chars, meter.earlier)
        model = meter.assembler.model or now.candidate.model
        recorder.request_settled(Settled(now.candidate, model, meter.usage, cost, account.price))

    def settle_lost(self, lost_chars: int = 0) -> None:
        """Count what providers may charge for attempts without an answer."""
        cost = self.account.settle_lost(lost_chars)
        if cost is not None:
            self.recorder.request_settled(Settled(None, None, None, cost))


def renumber(
    received: ReceivedRequest, request: ChatRequest, session: OpenSession | None, redaction: Redaction
) -> tuple[ChatRequest, OpenSession | None, Redaction]:
    """The same, with numbers that no placeholder of the session's history or of the endpoint's prompt has."""
    endpoint = received.plan.endpoint
    others = [endpoint.prompt or "", endpoint.user_prompt_template or ""]
    if session is not None:
        request = session.request
        others += [text for message in session.history for text in message.texts()]
    renumbered, redaction = redaction.renumber(request, others)
    if renumbered is not request:
        received.recorder.request_guarded(renumbered)
        session = None if session is None else evolve(session, request=renumbered)
    return renumbered, session, redaction
