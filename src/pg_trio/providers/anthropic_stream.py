"""A streamed answer of the Messages wire: its named events, to the contract's events.

Rules:
1. An answer is whole when its stop reason has come (`message_delta`) and the stream has ended, by `message_stop` or the
   end of the body.
2. Blocks are known by their index; what a delta adds to a block of an unknown type is left out. Calls are numbered in
   the order in which they begin.
3. A call whose input never came has the input `{}`: the API sends no delta for it.
4. Pings, and events that did not exist when this was written, are passed over ("new event types may be added").
5. An `error` event breaks the stream, whatever came before it.

Source: "Streaming messages", read 2026-11; event types of the `anthropic` package 2.14.
"""

from __future__ import annotations

from pg_trio.domain.chat import FinishReason
from pg_trio.domain.events import Event, ReasoningDelta
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.anthropic_fields import find_finish_reason, read_usage
from pg_trio.providers.event_reader import EventReader
from pg_trio.providers.openai_fields import dump_arguments, refuse


class _Call:
    """A tool call under way: its number among the answer's calls, and whether any of its input has come."""

    __slots__ = ("has_input", "index")

    def __init__(self, index: int, *, has_input: bool) -> None:
        self.index = index
        self.has_input = has_input


class AnthropicStreamReader(EventReader):
    """Reads one stream; see `providers.StreamReader`."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        # By the index of their block.
        self._calls: dict[int, _Call] = {}
        self._stop_reason: str | None = None

    def finish_reason(self) -> FinishReason | None:
        """See EventReader."""
        return None if self._stop_reason is None else find_finish_reason(self._stop_reason, self.calls_count > 0)

    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """See EventReader."""
        if kind == "content_block_delta":
            self._read_delta(event, events)
        elif kind == "content_block_start":
            self._begin_block(event, events)
        elif kind == "content_block_stop":
            self._end_block(event, events)
        elif kind == "message_start":
            message = event.get("message")
            fields = message if type(message) is dict else {}
            self.usage = read_usage(fields.get("usage"), self.usage)
            self.open(fields.get("id"), fields.get("model"), events)
        elif kind == "message_delta":
            self._note_delta(event)
        elif kind == "message_stop":
            events.append(self.end(UpstreamNonsense("the stream ended without a stop reason")))

    def _note_delta(self, event: dict[str, Json]) -> None:
        delta = event.get("delta")
        reason = delta.get("stop_reason") if type(delta) is dict else None
        if type(reason) is str and reason:
            self._stop_reason = reason
        self.usage = read_usage(event.get("usage"), self.usage)

    def _begin_block(self, event: dict[str, Json], events: list[Event]) -> None:
        block = event.get("content_block")
        if type(block) is not dict:
            refuse("content_block", block, "an object")
        self.open(None, None, events)
        kind = block.get("type")
        if kind == "tool_use":
            self._begin_call(event.get("index"), block, events)
        elif kind == "text":
            self.add_text(block.get("text"), events)
        elif kind == "thinking":
            self.add_reasoning(block.get("thinking"), events)
        elif kind == "redacted_thinking" and type(block.get("data")) is str:
            events.append(ReasoningDelta("", data=block["data"]))

    def _begin_call(self, index: Json, block: dict[str, Json], events: list[Event]) -> None:
        call_id, given = block.get("id"), block.get("input")
        if type(call_id) is not str or not call_id:
            refuse("the id of a tool_use block", call_id, "a string")
        arguments = dump_arguments(given, "the input of a tool_use block") if type(given) is dict and given else ""
        number = self.begin_call(call_id, block.get("name"), arguments, events)
        self._calls[index if type(index) is int else -1 - number] = _Call(number, has_input=bool(arguments))

    def _read_delta(self, event: dict[str, Json], events: list[Event]) -> None:
        delta = event.get("delta")
        if type(delta) is not dict:
            refuse("delta", delta, "an object")
        self.open(None, None, events)
        kind = delta.get("type")
        if kind == "text_delta":
            self.add_text(delta.get("text"), events)
        elif kind == "input_json_delta":
            self._add_input(event.get("index"), delta.get("partial_json"), events)
        elif kind == "thinking_delta":
            self.add_reasoning(delta.get("thinking"), events)
        elif kind == "signature_delta" and type(delta.get("signature")) is str:
            events.append(ReasoningDelta("", signature=delta["signature"]))

    def _add_input(self, index: Json, text: Json, events: list[Event]) -> None:
        call = self._calls.get(index) if type(index) is int else None
        if call is None or text is None or text == "":
            return
        if type(text) is not str:
            refuse("partial_json", text, "a string")
        call.has_input = True
        self.add_arguments(call.index, text, events)

    def _end_block(self, event: dict[str, Json], events: list[Event]) -> None:
        index = event.get("index")
        call = self._calls.get(index) if type(index) is int else None
        if call is not None and not call.has_input:
            call.has_input = True
            self.add_arguments(call.index, "{}", events)
