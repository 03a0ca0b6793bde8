"""A request that was read, and the checks that every kind of request passes before a provider sees it."""

from __future__ import annotations

from typing import TypeVar

from pg_trio.catalogue import EndpointPlan
from pg_trio.domain.call import Call
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.domain.project import Caller
from pg_trio.domain.value import value
from pg_trio.errors import Replayed
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork
from pg_trio.recorder import Recorder
from pg_trio.stages.guardrails import Redaction, Whose
from pg_trio.stages.request_deadline import RequestDeadline

Checked = TypeVar("Checked", ChatRequest, EmbeddingRequest)


@value(slots=True)
class ReceivedRequest:
    """A request that was read. Its caller and its endpoint are known. `size` is the body's size in bytes."""

    call: Call
    caller: Caller
    plan: EndpointPlan
    request: ClientRequest
    size: int
    deadline: RequestDeadline
    recorder: Recorder

    @property
    def is_checked_here(self) -> bool:
        """Whether its checks wait for nothing: it is small, and no other service checks it."""
        return self.plan.remote is None and self.size <= LARGE_BYTES

    def whose(self) -> Whose:
        """What other services are told of a text that they check."""
        project, slug = str(self.caller.project.uuid), self.plan.endpoint.slug
        return Whose(project, slug, self.call.head.request_id, self.deadline.at)


async def join_earlier(received: ReceivedRequest) -> bool:
    """Answer with what an earlier request with the same `Idempotency-Key` got, or is about to get.

    False if this request runs: it is the first, or the earlier one has failed. A replay is charged to no limit and no
    budget, and its row has the stage `replay` in place of those that did not run.
    """
    keyed, request, recorder = received.call.head.keyed, received.request, received.recorder
    if keyed is None or not keyed.is_later:
        return False
    recorder.stage_began("replay")
    if request.stream and received.plan.endpoint.streaming_enabled:
        received.deadline.start_stream(received.plan.endpoint)
    status = await keyed.join(received.deadline)
    if status is None:
        return False
    recorder.stages_ended()
    if status >= 400:
        recorder.stream_failed(Replayed(status))
    return True


async def check_request(
    received: ReceivedRequest, request: Checked, large_work: LargeWork
) -> tuple[Checked, Redaction | None]:
    """The request that the guardrails let pass, after its body was checked against the endpoint's schema.

    Also what is to be put back into the answer; None if there is nothing.
    """
    if received.is_checked_here:
        return check_here(received, request)
    plan, size, recorder = received.plan, received.size, received.recorder
    redaction = None
    recorder.stage_began("guardrails")
    if plan.guards is not None:
        request, verdicts, redaction = await large_work.call(size, plan.guards.check, request)
        for verdict in verdicts:
            recorder.guardrail_decided(verdict)
    if plan.remote is not None:
        request = await plan.remote.check_request(request, received.whose(), recorder.guardrail_decided)
    recorder.request_guarded(request)

    recorder.stage_began("input_schema")
    if plan.input_schema is not None:
        await large_work.call(size, plan.input_schema.check, request.body)
    return request, redaction


def check_here(received: ReceivedRequest, request: Checked) -> tuple[Checked, Redaction | None]:
    """The same for a small request that no other service checks: nothing is waited for."""
    plan, recorder = received.plan, received.recorder
    redaction = None
    recorder.stage_began("guardrails")
    if plan.guards is not None:
        request, verdicts, redaction = plan.guards.check(request)
        for verdict in verdicts:
            recorder.guardrail_decided(verdict)
    recorder.request_guarded(request)

    recorder.stage_began("input_schema")
    if plan.input_schema is not None:
        plan.input_schema.check(request.body)
    return request, redaction
