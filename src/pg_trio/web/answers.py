"""Whole answers, as bytes: the contract's bodies, and header lines that one formatting operation makes."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import orjson

from pg_trio.domain.call import Answer
from pg_trio.domain.chat import Reply
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.errors import (
    DeadlineExceeded,
    GatewayError,
    Overloaded,
    ProviderCallFailed,
    RateLimited,
    error_body,
)
from pg_trio.web.asgi_types import HeaderList
from pg_trio.web.limit_headers import render_limits
from pg_trio.web.sse import usage_object


@value(slots=True)
class HttpAnswer:
    """An answer ready to send. `fields` are its header lines but for the length, names in lower case, each with its
    line end: every answer has them, and one formatting operation makes them all."""

    status: int
    fields: bytes
    body: bytes

    def headers(self) -> HeaderList:
        """The same as ASGI has them, with the length."""
        return [(b"content-length", b"%d" % len(self.body)), *split_fields(self.fields)]


@value(slots=True)
class Tries:
    """What was tried for a call that failed (at least one), and what each stage took."""

    attempts: Sequence[AttemptRow]
    times: StageTimes


def render_answer(answer: Answer, limits: Sequence[LimitState] = ()) -> HttpAnswer:
    """The contract's success body and headers."""
    reply = answer.reply
    body: dict[str, object] = {
        "ok": True,
        "id": reply.id,
        "model": reply.model,
        "content": reply.content,
    }
    if reply.reasoning:
        body["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        body["tool_calls"] = render_tool_calls(reply)
    body["finish_reason"] = reply.finish_reason
    body["usage"] = usage_object(answer.usage)
    request_id = str(answer.request_id)
    meta = {"request_id": request_id}
    if answer.session_id is not None:
        meta["session_id"] = str(answer.session_id)
    body["meta"] = meta
    fields = _ANSWER_FIELDS % (
        request_id.encode("ascii"),
        answer.provider.encode("ascii"),
        header_text(reply.model),
        len(answer.attempts),
        answer.times.as_server_timing(),
    )
    if limits:
        fields += render_limits(limits)
    return HttpAnswer(200, fields, orjson.dumps(body))


_ANSWER_FIELDS = (
    b"content-type: application/json\r\n"
    b"x-request-id: %b\r\n"
    b"x-pg-provider: %b\r\n"
    b"x-pg-model: %b\r\n"
    b"x-pg-attempts: %d\r\n"
    b"server-timing: %b\r\n"
)


def render_tool_calls(reply: Reply) -> list[dict[str, object]]:
    """Tool calls in OpenAI's shape."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.tool_calls
    ]


def render_error(
    error: GatewayError, request_id: UUID, limits: Sequence[LimitState] = (), tries: Tries | None = None
) -> HttpAnswer:
    """The contract's failure body and headers; where candidates were tried, also which."""
    more = "".join([f"{name.lower()}: {value}\r\n" for name, value in error.headers().items()])
    fields = f"content-type: application/json\r\nx-request-id: {request_id}\r\n{more}".encode("ascii")
    if limits:
        fields += render_limits(limits, error.retry_after_s if isinstance(error, RateLimited) else None)
    if tries is None:
        return HttpAnswer(error.status, fields, error_body(error))
    last = tries.attempts[-1]
    fields += _TRIES_FIELDS % (
        last.provider.encode("ascii"),
        header_text(last.model),
        sum(row.is_try for row in tries.attempts),
        tries.times.as_server_timing(),
    )
    says_which = isinstance(error, ProviderCallFailed | DeadlineExceeded | Overloaded)
    more_fields = {"attempts": describe_attempts(tries.attempts)} if says_which else {}
    return HttpAnswer(error.status, fields, error_body(error, more_fields))


def describe_attempts(attempts: Sequence[AttemptRow]) -> list[dict[str, object]]:
    """What a client may know of the tries: why each failed, in words of ours; what the last one said is the error."""
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


_TRIES_FIELDS = b"x-pg-provider: %b\r\nx-pg-model: %b\r\nx-pg-attempts: %d\r\nserver-timing: %b\r\n"


def split_fields(fields: bytes) -> HeaderList:
    """Header lines as ASGI has them."""
    return [(name, value) for name, _, value in [line.partition(b": ") for line in fields.split(b"\r\n")[:-1]]]


def header_text(text: str) -> bytes:
    """A provider's text as a header value: printable ASCII, at most 200 characters, `?` for the rest."""
    if text.isascii() and text.isprintable():
        return text[:200].encode("ascii")
    return bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in text[:200].encode("ascii", "replace"))
