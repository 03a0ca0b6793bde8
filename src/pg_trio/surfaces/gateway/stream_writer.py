"""A streamed answer of the Gateway API: OpenAI's chunks, with usage and meta in the last chunk.

Rules (docs/api.md, "Streaming"):
1. A complete answer ends with a chunk with the finish reason, a chunk without choices (usage, meta), and `[DONE]`.
2. A broken answer ends with a chunk whose finish reason is `error`, an `error` event, and `[DONE]`. So a client can
   always tell a broken stream from a complete one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import orjson

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.events import Event, Joined, Opened
from pg_trio.domain.guardrails import describe_verdicts
from pg_trio.domain.project import Endpoint
from pg_trio.errors import GatewayError, error_body
from pg_trio.surfaces.contract import StreamSummary
from pg_trio.surfaces.http_answer import HeaderList
from pg_trio.surfaces.openai_chunks import DONE, KEEP_ALIVE, STREAM_HEADERS, ChunkWriter, escape_line_ends, join_object
from pg_trio.surfaces.openai_shapes import usage_object


class GatewayStream:
    """See surfaces.contract.StreamWriter."""

    headers: ClassVar[HeaderList] = STREAM_HEADERS
    keep_alive: ClassVar[bytes] = KEEP_ALIVE

    def __init__(self, head: RequestHead, endpoint: Endpoint) -> None:
        self._head = head
        self._endpoint = endpoint
        self._chunks = ChunkWriter(int(head.at), shows_reasoning=endpoint.stream_reasoning)

    def render(self, events: Sequence[Event]) -> bytes:
        """The chunks of events that arrived together."""
        return self._chunks.render_all(events)

    def finish(self, finish_reason: FinishReason, usage: Usage, summary: StreamSummary) -> bytes:
        """The end of a whole answer."""
        chunks = self._chunks
        if not chunks.is_open:
            # Stopped before a candidate has sent anything.
            chunks.render(Opened(f"chatcmpl-{self._head.request_id.hex}", self._endpoint.candidates[0].model))
        last = {"usage": usage_object(usage), "meta": self._describe(summary)}
        return chunks.render_finish_reason(finish_reason) + chunks.render_last(last) + DONE

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that broke after its head."""
        chunks = self._chunks
        if not chunks.is_open:
            # No candidate has sent anything, so the gateway opens the stream itself.
            chunks.render(Opened(f"chatcmpl-{self._head.request_id.hex}", self._endpoint.candidates[0].model))
        reason = chunks.render_finish_reason("error")
        return reason + b"event: error\ndata: " + escape_line_ends(error_body(error)) + b"\n\n" + DONE

    def _describe(self, summary: StreamSummary) -> dict[str, object]:
        """The `meta` of the last chunk."""
        return describe_stream(summary, self._chunks.joins)


def describe_stream(summary: StreamSummary, joins: Sequence[Joined]) -> dict[str, object]:
    """The `meta` of a whole streamed answer."""
    times = summary.times
    meta: dict[str, object] = {
        "request_id": str(summary.request_id),
        "provider": summary.provider,
        "model": summary.model,
        "attempts": summary.attempts,
        "first_token_ms": summary.first_token_ms,
        "overhead_ms": round(times.overhead_ms, 3),
        "timings_ms": orjson.Fragment(times.as_json()),
    }
    if joins:
        meta["joins"] = [join_object(join) for join in joins]
    if summary.session_id is not None:
        meta["session_id"] = str(summary.session_id)
    if summary.verdicts is not None:
        meta["guardrails"] = describe_verdicts(summary.verdicts)
    if summary.cancelled:
        meta["cancelled"] = True
    return meta
