"""A streamed answer of Messages: Anthropic's named events.

Rules (docs/surfaces.md, "Messages"):
1. `message_start`, then blocks one behind the other, each with its own index from 0: `content_block_start`, deltas,
   `content_block_stop`. Then `message_delta` with the stop reason and the usage, and `message_stop`.
2. A block of thinking goes out whole, when its signature has come and the same candidate's answer begins. Reasoning
   that nothing signs is left out. A longer block than HELD_CHARS is left out, too.
3. The usage of `message_start` is an estimate, unless the provider tells it there, too. The counts of `message_delta`
   are the provider's, and clients take them in its place.
4. A broken stream ends with `event: error` and without `message_stop`: Anthropic's SDKs raise for it.
5. `ping` keeps the connection alive.

Source: Anthropic, "Streaming messages", and the types of the `anthropic` package 2.14, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import orjson

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Reasoning, Usage, estimate_tokens
from pg_trio.domain.events import (
    ContentDelta,
    Event,
    Finished,
    Joined,
    NativeBlock,
    NativeNote,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
)
from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.domain.native_fields import NativeStop
from pg_trio.domain.project import Endpoint
from pg_trio.errors import GatewayError
from pg_trio.surfaces.contract import StreamSummary
from pg_trio.surfaces.http_answer import HeaderList
from pg_trio.surfaces.openai_chunks import STREAM_HEADERS, escape_line_ends
from pg_trio.surfaces.v1.messages.anthropic_errors import anthropic_error
from pg_trio.surfaces.v1.messages.call_order import CallOrder
from pg_trio.surfaces.v1.messages.message_answer import message_object, stop_object, thinking_object, usage_object

PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
# 1,048,576 characters are about 256,000 tokens, four times the most that Anthropic's models think for one answer.
HELD_CHARS = 1024 * 1024

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
_TEXT_DELTA = b'{"type":"text_delta","text":'
_END_OF_TEXT = b"}}\n\n"


class MessageStream:
    """See surfaces.contract.StreamWriter."""

    headers: ClassVar[HeaderList] = STREAM_HEADERS
    keep_alive: ClassVar[bytes] = PING

    def __init__(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> None:
        self._head = head
        self._request = request
        self._endpoint = endpoint
        self._opened: Opened | None = None
        self._has_started = False
        self._stop: NativeStop | None = None
        self._blocks = _Blocks()
        self._thinking = _Thinking()
        self._calls = CallOrder()
        # What came in the middle of a call.
        self._late: list[ContentDelta | ReasoningDelta | NativeBlock | NativeNote] = []

    def render(self, events: Sequence[Event]) -> bytes:
        """The events of Anthropic's for these, which arrived together."""
        return b"".join([self._render(event) for event in events])

    def finish(self, finish_reason: FinishReason, usage: Usage, summary: StreamSummary) -> bytes:
        """The end of a whole answer."""
        delta = {
            "type": "message_delta",
            "delta": stop_object(finish_reason, self._stop, self._request),
            "usage": usage_object(usage),
        }
        rest = self._lead_in() + self._render_calls(self._calls.close()) + self._tell_late()
        rest += self._lead_in() + self._blocks.close()
        return rest + named_event(delta) + named_event({"type": "message_stop"})

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that broke after its head."""
        return named_event(anthropic_error(error, self._head.request_id))

    def _render(self, event: Event) -> bytes:
        if isinstance(event, ContentDelta) and self._blocks.text_head and not self._thinking.blocks:
            # Nearly every event: more of the text under way.
            return self._blocks.text_head + _dump(event.text) + _END_OF_TEXT
        if isinstance(event, ToolCallDelta):
            calls = self._lead_in() + self._render_calls(self._calls.take(event))
            return calls + self._tell_late() if self._late and not self._calls.is_in_call else calls
        if isinstance(event, ContentDelta | ReasoningDelta | NativeBlock | NativeNote):
            if self._calls.is_in_call:
                self._late.append(event)
                return b""
            return self._render_content(event)
        if isinstance(event, Opened):
            self._opened = self._opened or event
        elif isinstance(event, Joined):
            # What the candidate before has thought is not this one's.
            self._thinking = _Thinking()
        elif isinstance(event, Finished):
            self._stop = event.stop
        return b""

    def _render_content(self, event: ContentDelta | ReasoningDelta | NativeBlock | NativeNote) -> bytes:
        if isinstance(event, ReasoningDelta):
            if self._endpoint.stream_reasoning:
                self._thinking.add(event)
            return b""
        lead_in = self._lead_in() + self._render_calls(self._calls.close())
        if isinstance(event, ContentDelta):
            return lead_in + self._blocks.render_text(event.text)
        return lead_in + self._render_native(event)

    def _render_native(self, event: NativeBlock | NativeNote) -> bytes:
        if isinstance(event, NativeBlock):
            return self._blocks.render_native(event.block)
        if event.citation is not None:
            return self._blocks.render_citation(event.citation)
        return self._blocks.end_text()

    def _begin(self) -> bytes:
        if self._has_started:
            return b""
        self._has_started = True
        opened = self._opened or Opened(self._head.request_id.hex, self._endpoint.candidates[0].model)
        usage = opened.usage or Usage(estimate_tokens(self._request.characters()), 0)
        return named_event({"type": "message_start", "message": message_object(opened.id, opened.model, usage)})

    def _lead_in(self) -> bytes:
        """What precedes the next piece of the answer: its start, and the thinking that led to it."""
        begun, blocks = self._begin(), self._thinking.take()
        if not blocks:
            return begun
        ended = self._render_calls(self._calls.close())
        return begun + ended + b"".join([self._blocks.render_thinking(block) for block in blocks])

    def _render_calls(self, deltas: Iterable[ToolCallDelta]) -> bytes:
        return b"".join([self._blocks.render_call(delta) for delta in deltas])

    def _tell_late(self) -> bytes:
        late, self._late = self._late, []
        return b"".join([self._render_content(event) for event in late])


class _Thinking:
    """Signed blocks of reasoning that wait for the answer to begin, and the text of the one under way."""

    __slots__ = ("_chars", "_held", "blocks")

    def __init__(self) -> None:
        self.blocks: list[Reasoning] = []
        self._held: list[str] = []
        self._chars = 0

    def take(self) -> list[Reasoning]:
        """The signed blocks. Text that nothing has signed by now is left out: the answer goes on behind it."""
        taken = self.blocks
        self._held, self._chars, self.blocks = [], 0, []
        return taken

    def add(self, delta: ReasoningDelta) -> None:
        self._chars += len(delta.text)
        if self._chars <= HELD_CHARS and delta.text:
            self._held.append(delta.text)
        if delta.data is not None:
            self.blocks.append(Reasoning("", data=delta.data))
        elif delta.signature is not None:
            # An empty signature: a part of the text is missing.
            if delta.signature and self._chars <= HELD_CHARS:
                self.blocks.append(Reasoning("".join(self._held), delta.signature))
            self._held, self._chars = [], 0


class _Blocks:
    """The blocks of one stream, one behind the other. `_open` is the kind of the block under way, if there is one.

    `text_head` is the beginning of a delta of text; empty unless a block of text is under way.
    """

    __slots__ = ("_index", "_open", "text_head")

    def __init__(self) -> None:
        self._index = -1
        self._open: str | None = None
        self.text_head = b""

    def render_text(self, text: str) -> bytes:
        """More text, in the block of text under way or in a new one."""
        return self._begin_text() + self.text_head + _dump(text) + _END_OF_TEXT

    def render_call(self, delta: ToolCallDelta) -> bytes:
        """More of a call. A call without arguments has no delta, and its input is empty."""
        begun = b""
        if delta.id is not None:
            block: dict[str, Json] = {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}}
            begun = self._begin("tool_use", block)
        if not delta.arguments:
            return begun
        return begun + self._delta({"type": "input_json_delta", "partial_json": delta.arguments})

    def render_thinking(self, block: Reasoning) -> bytes:
        """A whole block of thinking."""
        if block.data is not None:
            return self._begin("thinking", thinking_object(block)) + self.close()
        begun = self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        text = self._delta({"type": "thinking_delta", "thinking": block.text}) if block.text else b""
        signed = self._delta({"type": "signature_delta", "signature": block.signature})
        return begun + text + signed + self.close()

    def render_native(self, block: JsonObject) -> bytes:
        """A whole block of Anthropic's; its input comes as a delta, as that of every tool."""
        given = block.get("input")
        if not isinstance(given, dict):
            return self._begin("native", dict(block)) + self.close()
        begun = self._begin("native", {**block, "input": {}})
        return (
            begun
            + self._delta({"type": "input_json_delta", "partial_json": orjson.dumps(given).decode()})
            + self.close()
        )

    def render_citation(self, citation: JsonObject) -> bytes:
        """A citation of the text under way."""
        return self._begin_text() + self._delta({"type": "citations_delta", "citation": citation})

    def end_text(self) -> bytes:
        """The end of the text under way: the next text is a block of its own."""
        return self.close() if self._open == "text" else b""

    def close(self) -> bytes:
        """The end of the block under way."""
        if self._open is None:
            return b""
        self._open, self.text_head = None, b""
        return named_event({"type": "content_block_stop", "index": self._index})

    def _begin_text(self) -> bytes:
        if self._open == "text":
            return b""
        begun = self._begin("text", {"type": "text", "text": ""})
        self.text_head = _DELTA % self._index + _TEXT_DELTA
        return begun

    def _begin(self, kind: str, block: dict[str, Json]) -> bytes:
        closed = self.close()
        self._open = kind
        self._index += 1
        return closed + named_event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Json]) -> bytes:
        return _DELTA % self._index + _dump(delta) + b"}\n\n"


def _dump(given: Json) -> bytes:
    return escape_line_ends(orjson.dumps(given))


def named_event(data: dict[str, Json]) -> bytes:
    """One event of the stream; its name is its type."""
    return b"event: %b\ndata: %b\n\n" % (str(data["type"]).encode("ascii"), _dump(data))
