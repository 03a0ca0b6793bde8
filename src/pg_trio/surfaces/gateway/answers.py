"""Complete answers of the Gateway API, with the contract's bodies."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import orjson

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.guardrails import describe_verdicts
from pg_trio.domain.limits import NO_LIMITS, LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.errors import DeadlineExceeded, GatewayError, Overloaded, ProviderCallFailed, error_body
from pg_trio.surfaces.http_answer import HttpAnswer, Tries, limit_lines, make_answer, make_failure
from pg_trio.surfaces.openai_shapes import call_objects, completion_id, reasoning_object, usage_object


def render_answer(answer: WholeAnswer, limits: Sequence[LimitState] = NO_LIMITS) -> HttpAnswer:
    """The contract's success body and headers."""
    reply, request_id = answer.reply, str(answer.request_id)
    body: dict[str, object] = {
        "ok": True,
        "id": completion_id(reply.id),
        "model": reply.model,
        "content": reply.content,
    }
    if reply.reasoning:
        body["reasoning_content"] = reply.reasoning
    if reply.reasoning_blocks:
        body["reasoning_details"] = [reasoning_object(block) for block in reply.reasoning_blocks]
    if reply.tool_calls:
        body["tool_calls"] = call_objects(reply)
    body["finish_reason"] = reply.finish_reason
    body["usage"] = usage_object(answer.usage)
    meta: dict[str, object] = {"request_id": request_id}
    if answer.session_id is not None:
        meta["session_id"] = str(answer.session_id)
    if answer.tells_verdicts:
        meta["guardrails"] = describe_verdicts(answer.verdicts)
    body["meta"] = meta
    return make_answer(answer, request_id, limit_lines(limits), orjson.dumps(body))


def render_error(
    error: GatewayError, request_id: UUID, limits: Sequence[LimitState] = (), tries: Tries | None = None
) -> HttpAnswer:
    """The contract's failure body and headers. If candidates were called, the body lists the attempts."""
    if tries is not None and isinstance(error, ProviderCallFailed | DeadlineExceeded | Overloaded):
        body = error_body(error, {"attempts": describe_attempts(tries.attempts)})
    else:
        body = error_body(error)
    return make_failure(error, request_id, limits, tries, body)


def describe_attempts(attempts: Sequence[AttemptRow]) -> list[dict[str, object]]:
    """What a client may know about the attempts: why each failed, in the gateway's words. Only the last provider's own
    words are shown, as the error."""
    return [
        {
            "provider": row.provider,
            "model": row.model,
            "outcome": _outcome(row),
            "start_ms": row.started_ms,
            "end_ms": row.ended_ms,
        }
        for row in attempts
    ]


def _outcome(row: AttemptRow) -> str:
    if row.outcome.startswith(("failed", "passed over")):
        kind = "failed" if row.is_try else "passed over"
        return f"{kind}: {row.why}" if row.why else kind
    return row.outcome
