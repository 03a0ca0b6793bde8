"""A streamed response: OpenAI's events, by their documented names and in their order.

Rules:
1. A stream begins with `response.created` and `response.in_progress`. It ends with `response.completed`,
   `response.incomplete` or `response.failed`, and nothing follows.
2. A message or a block of reasoning ends where something else begins. Calls end with the stream, because providers may
   write several at once.
3. Reasoning is kept for the `done` events, at most HELD_CHARS characters of one response. What comes behind them is not
   sent, and such a block is not sealed.
4. Another candidate that continues the answer is not seen: the text goes on. Reasoning of the earlier one ends.
5. A broken stream ends in `response.failed`, with the items as far as they came. Their `done` events are missing.

Source: OpenAI, API reference, "Streaming events", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import evolve

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Reasoning, Usage
from pg_trio.domain.events import ContentDelta, Event, Joined, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.domain.project import Endpoint
from pg_trio.domain.tools import ToolCall
from pg_trio.errors import GatewayError
from pg_trio.surfaces.contract import StreamSummary
from pg_trio.surfaces.http_answer import HeaderList
from pg_trio.surfaces.openai_chunks import HELD_CHARS, STREAM_HEADERS
from pg_trio.surfaces.v1.responses.answer_settings import asks_for_logprobs
from pg_trio.surfaces.v1.responses.open_items import EventFrames, OpenCall, OpenItem, OpenMessage, OpenReasoning
from pg_trio.surfaces.v1.responses.output_items import seal_call
from pg_trio.surfaces.v1.responses.response_object import (
    IN_PROGRESS,
    ResponseEnd,
    ResponseHead,
    end_of,
    response_object,
)
from pg_trio.surfaces.v1.responses.response_request import find_ids
from pg_trio.surfaces.v1.responses.sealed_reasoning import SealedReasoning, seal
from pg_trio.surfaces.v1.responses.token_logprobs import read_logprobs


class ResponseStream:
    """See surfaces.contract.StreamWriter."""

    headers: ClassVar[HeaderList] = STREAM_HEADERS
    # Without a blank line, as on all of OpenAI's streams: an empty block is an error in its Python SDK.
    keep_alive: ClassVar[bytes] = b": ping\n"

    def __init__(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> None:
        self._at = head.at
        self._ids = find_ids(request, head.request_id)
        self._shows_reasoning = endpoint.stream_reasoning
        self._shows_logprobs = asks_for_logprobs(request)
        self._head = ResponseHead(self._ids.response_id(), int(head.at), endpoint.candidates[0].model, request.body)
        self._has_begun = False
        self._frames = EventFrames()
        self._items: list[OpenItem] = []
        # The item that grows; calls grow beside it.
        self._current: OpenMessage | OpenReasoning | None = None
        self._calls: dict[int, OpenCall] = {}
        self._reasoning_left = HELD_CHARS

    def render(self, events: Sequence[Event]) -> bytes:
        """The response's events for these events."""
        return b"".join([self._render(event) for event in events])

    def finish(self, finish_reason: FinishReason, usage: Usage, summary: StreamSummary) -> bytes:
        """The end of a whole answer."""
        end = end_of(finish_reason, usage, int(self._at + sum(summary.times.durations_ms) / 1000))
        rendered = self._begin()
        if end.status == "completed" and not any(isinstance(item, OpenMessage | OpenCall) for item in self._items):
            rendered += self._end_current() + self._start_message()
        for item in self._items:
            if item.is_open:
                # An answer that stopped early stopped in its last item.
                is_whole = end.status == "completed" or item is not self._items[-1]
                rendered += item.close("completed" if is_whole else "incomplete")
        return rendered + self._write_response(end)

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that broke after its head."""
        return self._begin() + self._write_response(ResponseEnd("failed", error=error))

    def _render(self, event: Event) -> bytes:
        # The most frequent event first: this runs once a token.
        if isinstance(event, ContentDelta):
            message = self._current
            started = b""
            if not isinstance(message, OpenMessage):
                started = self._begin() + self._end_current() + self._start_message()
                message = self._current
                assert isinstance(message, OpenMessage)
            if event.logprobs is not None and self._shows_logprobs:
                return started + message.add(event.text, read_logprobs(event.logprobs))
            return started + message.add(event.text)
        if isinstance(event, ToolCallDelta):
            return self._render_call(event)
        if isinstance(event, ReasoningDelta):
            return self._render_reasoning(event) if self._shows_reasoning else b""
        if isinstance(event, Opened):
            self._head = evolve(self._head, model=event.model)
            return self._begin()
        if isinstance(event, Joined) and isinstance(self._current, OpenReasoning):
            return self._end_current()
        return b""

    def _render_call(self, delta: ToolCallDelta) -> bytes:
        call = self._calls.get(delta.index)
        started = b""
        if call is None:
            call_id, name = delta.id or "", delta.name or ""
            started = self._begin() + self._end_current()
            encrypted = seal_call(ToolCall(call_id, name, "", delta.signature))
            if encrypted is not None:
                started += self._write_sealed(encrypted)
            call = self._calls[delta.index] = OpenCall(self._frames, self._next_id("fc"), len(self._items))
            self._items.append(call)
            started += call.open(call_id, name)
        return started + call.add(delta.arguments) if delta.arguments else started

    def _render_reasoning(self, delta: ReasoningDelta) -> bytes:
        rendered = b""
        if delta.data is not None:
            encrypted = seal(SealedReasoning(Reasoning("", data=delta.data)))
            rendered = self._begin() + self._end_current()
            return rendered if encrypted is None else rendered + self._write_sealed(encrypted)
        text = delta.text[: max(self._reasoning_left, 0)]
        self._reasoning_left -= len(delta.text)
        if text:
            block = self._current
            if not isinstance(block, OpenReasoning):
                rendered = self._begin() + self._end_current()
                block = self._start_reasoning()
                rendered += block.open()
            rendered += block.add(text)
        if delta.signature is None:
            return rendered
        return rendered + self._end_block(delta.signature)

    def _end_block(self, signature: str) -> bytes:
        """End the current block of reasoning, sealed if all of its text was sent."""
        block = self._current
        if not isinstance(block, OpenReasoning):
            # A block without text can be signed, too.
            encrypted = seal(SealedReasoning(Reasoning("", signature)))
            if encrypted is None or self._reasoning_left < 0:
                return b""
            return self._begin() + self._end_current() + self._write_sealed(encrypted)
        if self._reasoning_left >= 0:
            block.encrypted = seal(SealedReasoning(Reasoning(block.text(), signature)))
        return self._end_current()

    def _write_sealed(self, encrypted: str) -> bytes:
        """A whole item of reasoning without a text."""
        block = self._start_reasoning()
        block.encrypted = encrypted
        return block.open() + self._end_current()

    def _start_message(self) -> bytes:
        message = self._current = OpenMessage(self._frames, self._next_id("msg"), len(self._items))
        self._items.append(message)
        return message.open()

    def _start_reasoning(self) -> OpenReasoning:
        block = self._current = OpenReasoning(self._frames, self._next_id("rs"), len(self._items))
        self._items.append(block)
        return block

    def _end_current(self) -> bytes:
        current, self._current = self._current, None
        return b"" if current is None else current.close()

    def _next_id(self, kind: str) -> str:
        return self._ids.item_id(kind, len(self._items))

    def _begin(self) -> bytes:
        """The first two events, once."""
        if self._has_begun:
            return b""
        self._has_begun = True
        response = response_object(self._head, [], IN_PROGRESS)
        return b"".join([self._frames.write(kind, {"response": response}) for kind in ("created", "in_progress")])

    def _write_response(self, end: ResponseEnd) -> bytes:
        """The last event. Its name is the response's status."""
        output = [item.as_item("incomplete") for item in self._items]
        return self._frames.write(end.status, {"response": response_object(self._head, output, end)})
