"""A streamed answer of Chat Completions: OpenAI's chunks.

Rules (docs/surfaces.md, "Streams"):
1. The first chunk has the role and an empty content. The last chunk with a choice has the finish reason.
2. A chunk of `usage` without choices comes only if the request asked for it (`stream_options.include_usage`); then
   every other chunk has `"usage":null`.
3. A complete stream ends with `[DONE]`. A broken one ends with `data: {"error":…}` and without `[DONE]`: OpenAI's SDKs
   raise for it, and no client takes a cut answer for a complete one.
4. A comment that keeps the connection alive has no blank line behind it: OpenAI's Python SDK reads an empty event
   there, which is no JSON, as soon as a stream has `id:` lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import orjson

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Usage
from pg_trio.domain.events import Event, Opened
from pg_trio.domain.project import Endpoint
from pg_trio.errors import GatewayError
from pg_trio.surfaces.contract import StreamSummary
from pg_trio.surfaces.http_answer import HeaderList
from pg_trio.surfaces.openai_chunks import DONE, STREAM_HEADERS, ChunkStyle, ChunkWriter, escape_line_ends
from pg_trio.surfaces.openai_shapes import plain_usage_object
from pg_trio.surfaces.v1.openai_errors import openai_error

_NAMES = ("reasoning_content", "reasoning")
_STYLE = ChunkStyle(opens_with_role=True, reasoning_names=_NAMES, tells_joins=False)
_WITH_USAGE = ChunkStyle(opens_with_role=True, reasoning_names=_NAMES, nulls_usage=True, tells_joins=False)


class ChatStream:
    """See surfaces.contract.StreamWriter."""

    headers: ClassVar[HeaderList] = STREAM_HEADERS
    keep_alive: ClassVar[bytes] = b": ping\n"

    def __init__(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> None:
        self._head = head
        self._endpoint = endpoint
        self._shows_usage = asks_for_usage(request)
        style = _WITH_USAGE if self._shows_usage else _STYLE
        self._chunks = ChunkWriter(int(head.at), shows_reasoning=endpoint.stream_reasoning, style=style)

    def render(self, events: Sequence[Event]) -> bytes:
        """The chunks of events that arrived together."""
        return self._chunks.render_all(events)

    def finish(self, finish_reason: FinishReason, usage: Usage, summary: StreamSummary) -> bytes:
        """The end of a whole answer."""
        chunks = self._chunks
        if not chunks.is_open:
            chunks.render(Opened(f"chatcmpl-{self._head.request_id.hex}", self._endpoint.candidates[0].model))
        last = chunks.render_last({"usage": plain_usage_object(usage)}) if self._shows_usage else b""
        return chunks.render_finish_reason(finish_reason) + last + DONE

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that broke after its head."""
        return b"data: " + escape_line_ends(orjson.dumps(openai_error(error))) + b"\n\n"


def asks_for_usage(request: ChatRequest) -> bool:
    """Whether the stream shall have a chunk of usage."""
    options = request.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
