"""One answer as JSON frames.

Rules:
1. `seq` counts the frames of one answer from 1 without a gap: `delta`, `reasoning`, `tool_call`, `joined`, and the last
   one, which is `done`, `error` or `cancelled`. `started` and `closing` have none.
2. Several frames that are written together are joined by line ends; a frame holds none.
3. Signed or encrypted reasoning is in `reasoning_details` of the frame that ends its block, as in the Gateway API's
   streams (openai_chunks.py, rule 3).

The constant part of a delta is made once for an answer. A token costs the JSON of its text and one join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from uuid import UUID

import orjson

from pg_trio.domain.chat import FinishReason, Reasoning, Usage
from pg_trio.domain.events import ContentDelta, Event, Joined, ReasoningDelta, ToolCallDelta
from pg_trio.errors import GatewayError
from pg_trio.surfaces.contract import StreamSummary
from pg_trio.surfaces.gateway.stream_writer import describe_stream
from pg_trio.surfaces.http_answer import HeaderList, Tries
from pg_trio.surfaces.openai_chunks import HELD_CHARS, join_object
from pg_trio.surfaces.openai_shapes import reasoning_object, signature_fields, usage_object
from pg_trio.surfaces.websocket.frame_objects import dump_frame, error_frame


class FrameWriter:
    """See surfaces.contract.StreamWriter. `answer_id` is the client's id of the message."""

    headers: ClassVar[HeaderList] = []
    keep_alive: ClassVar[bytes] = b""

    __slots__ = ("_answer_id", "_held", "_held_chars", "_id", "_joins", "_request_id", "seq", "shows_reasoning")

    def __init__(self, answer_id: str, request_id: UUID, *, shows_reasoning: bool = True) -> None:
        self._answer_id = answer_id
        self._request_id = request_id
        self.shows_reasoning = shows_reasoning
        # A copy: see ChunkWriter.
        self._id = b"%b" % orjson.dumps(answer_id)
        # The number of the last frame.
        self.seq = 0
        self._joins: list[Joined] = []
        # The text of the block of reasoning that is under way.
        self._held: list[str] = []
        self._held_chars = 0

    def start(self, provider: str | None, model: str, session_id: UUID | None) -> bytes:
        """The `started` frame."""
        frame: dict[str, object] = {
            "type": "started",
            "id": self._answer_id,
            "request_id": str(self._request_id),
            "model": model,
            "provider": provider,
        }
        if session_id is not None:
            frame["session_id"] = str(session_id)
        return dump_frame(frame)

    def render(self, events: Sequence[Event]) -> bytes:
        """The frames of events that arrived together."""
        if len(events) == 1:
            return self._render_one(events[0])
        return b"\n".join([frame for event in events if (frame := self._render_one(event))])

    def _render_one(self, event: Event) -> bytes:
        if isinstance(event, ContentDelta):
            self.seq += 1
            text = orjson.dumps(event.text)
            if event.logprobs is not None:
                text += b',"logprobs":' + orjson.dumps(event.logprobs)
            return b'{"type":"delta","id":%b,"seq":%d,"content":%b}' % (self._id, self.seq, text)
        if isinstance(event, ToolCallDelta):
            return self._render_call(event)
        if isinstance(event, ReasoningDelta):
            return self._render_reasoning(event) if self.shows_reasoning else b""
        if isinstance(event, Joined):
            self._joins.append(event)
            self._held, self._held_chars = [], 0
            return dump_frame({"type": "joined", **self._next(), **join_object(event)})
        return b""

    def _next(self) -> dict[str, object]:
        """The fields of the next frame that say which it is."""
        self.seq += 1
        return {"id": self._answer_id, "seq": self.seq}

    def _render_call(self, delta: ToolCallDelta) -> bytes:
        frame: dict[str, object] = {"type": "tool_call", **self._next(), "index": delta.index}
        if delta.id is not None:
            frame["call_id"] = delta.id
        if delta.name is not None:
            frame["name"] = delta.name
        return dump_frame({**frame, "arguments": delta.arguments, **signature_fields(delta.signature)})

    def _render_reasoning(self, delta: ReasoningDelta) -> bytes:
        self._hold(delta.text)
        block = self._end_block(delta)
        if not delta.text and block is None:
            return b""
        frame: dict[str, object] = {"type": "reasoning", **self._next(), "content": delta.text}
        if block is not None:
            frame["reasoning_details"] = [reasoning_object(block)]
        return dump_frame(frame)

    def _hold(self, text: str) -> None:
        self._held_chars += len(text)
        if self._held_chars <= HELD_CHARS:
            self._held.append(text)

    def _end_block(self, delta: ReasoningDelta) -> Reasoning | None:
        """The block that ends with this delta; None if none does, or if its text was too long to hold."""
        if delta.data is not None:
            return Reasoning("", data=delta.data)
        if delta.signature is None:
            return None
        is_whole = bool(delta.signature) and self._held_chars <= HELD_CHARS
        block = Reasoning("".join(self._held), delta.signature) if is_whole else None
        self._held, self._held_chars = [], 0
        return block

    def finish(self, finish_reason: FinishReason, usage: Usage, summary: StreamSummary) -> bytes:
        """The `done` frame."""
        last: Mapping[str, object] = {
            "finish_reason": finish_reason,
            "usage": usage_object(usage),
            "meta": describe_stream(summary, self._joins),
        }
        return dump_frame({"type": "done", **self._next(), **last})

    def fail(self, error: GatewayError, tries: Tries | None = None) -> bytes:
        """The `error` frame, whether the answer has begun or not."""
        return error_frame(error, self._next(), self._request_id, tries)

    def cancel(self, usage: Usage) -> bytes:
        """The `cancelled` frame. `usage` is what was relayed."""
        return dump_frame({"type": "cancelled", **self._next(), "usage": usage_object(usage)})
