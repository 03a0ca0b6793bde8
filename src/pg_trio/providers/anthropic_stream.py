"""Read answers of the Messages wire, streamed in named events or complete, as the contract's events.

Rules:
1. A streamed answer is complete when its stop reason has arrived (`message_delta`) and the stream has ended, by
   `message_stop` or the end of the body.
2. Text is the answer, `tool_use` blocks are its calls, thinking is its reasoning. Blocks of other types (server tools,
   later types) and citations are for clients of this wire alone; such a block is passed on when it is complete.
3. Blocks are known by their index. Calls are numbered in the order in which they begin.
4. A call without input deltas has the input of its beginning, which is `{}` in the API. Deltas replace that input, as
   in the API's own client libraries.
5. Other servers leave types out, send one block or a text in place of the list, or put the stop reason beside `delta`.
6. Pings and unknown events are ignored ("new event types may be added").

Source: "Streaming messages" and "Handling stop reasons", read 2026-11; types of the `anthropic` package 2.14.
"""

from __future__ import annotations

from pg_trio.domain.chat import Usage
from pg_trio.domain.events import Event, NativeNote, ReasoningDelta
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.anthropic_usage import read_usage
from pg_trio.providers.event_reader import EventReader
from pg_trio.providers.native_request import read_arguments
from pg_trio.providers.native_stop import read_stop
from pg_trio.providers.openai_fields import dump_arguments, refuse
from pg_trio.providers.openai_tools import read_block_index

# The types of deltas by the field that they have.
_UNTYPED = {"text": "text_delta", "partial_json": "input_json_delta", "thinking": "thinking_delta"}


class AnthropicStreamReader(EventReader):
    """Reads one answer; see `domain.adapter.StreamReader`."""

    __slots__ = ("_begun", "_calls", "_foreign", "_has_text", "_is_unsigned", "_without_input")

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        # The counts at a stream's beginning. Their output is a placeholder, so they are not yet the answer's usage.
        self._begun: Usage | None = None
        # The numbers of the calls by the index of their block, and by the numbers of the calls without deltas so far
        # the input of their beginning.
        self._calls: dict[int, int] = {}
        self._without_input: dict[int, str] = {}
        # Blocks of other types that are not complete, with the pieces of their input, by their index.
        self._foreign: dict[int, tuple[dict[str, Json], list[str]]] = {}
        # Whether the last block was text: the next one is not the same.
        self._has_text = False
        # Whether a block of thinking has begun that nothing has signed.
        self._is_unsigned = False

    def is_own(self, answer: dict[str, Json]) -> bool:
        """See EventReader."""
        return "content" in answer or "stop_reason" in answer

    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """See EventReader."""
        if kind == "content_block_delta":
            self._read_delta(event, events)
        elif kind == "content_block_start":
            self._begin_block(event.get("index"), event.get("content_block"), events)
        elif kind == "content_block_stop":
            self._end_block(event.get("index"), events)
        elif kind == "message_start":
            message = event.get("message")
            self._open_message(message if type(message) is dict else {}, events)
            self._begun, self.usage = self.usage, None
        elif kind == "message_delta":
            delta = event.get("delta")
            self._note_stop(event)
            self._note_stop(delta if type(delta) is dict else {})
            self._note_usage(event.get("usage"))
        elif kind == "message_stop":
            self.end(UpstreamNonsense("the stream ended without a stop reason"), events)
        # Some servers send a complete message although a stream was requested.
        elif kind == "message" and "content" in event:
            self.read_answer(event, events)

    def read_answer(self, answer: dict[str, Json], events: list[Event]) -> None:
        """See EventReader."""
        self._open_message(answer, events)
        blocks = answer.get("content")
        if type(blocks) is str or type(blocks) is dict:
            blocks = [blocks]
        if blocks is None and answer.get("stop_reason"):
            # Nothing was said before it stopped.
            blocks = []
        if type(blocks) is not list:
            refuse("content", blocks, "a list")
        for index, given in enumerate(blocks):
            block = {"type": "text", "text": given} if type(given) is str else given
            if type(block) is dict:
                self._begin_block(index, block, events)
                self._end_block(index, events)
        self._note_stop(answer)

    def _note_usage(self, usage: Json) -> None:
        if type(usage) is dict and usage.get("output_tokens") is not None:
            self.usage = read_usage(usage, self.usage or self._begun)

    def _note_stop(self, fields: dict[str, Json]) -> None:
        reason, sequence = fields.get("stop_reason"), fields.get("stop_sequence")
        self.note_finish(reason)
        if sequence is not None:
            self.stop = read_stop(reason, sequence)

    def _open_message(self, message: dict[str, Json], events: list[Event]) -> None:
        self.usage = read_usage(message.get("usage"), self.usage)
        self.open(message.get("id"), message.get("model"), events)

    def _begin_block(self, index: Json, block: Json, events: list[Event]) -> None:
        if type(block) is not dict:
            refuse("content_block", block, "an object")
        self.open(None, None, events)
        kind, had_text = block.get("type", "text" if "text" in block else None), self._has_text
        self._has_text = kind == "text"
        if kind == "tool_use":
            self._begin_call(index, block, events)
        elif kind == "text":
            self._begin_text(block, had_text, events)
        elif kind == "thinking":
            if self._is_unsigned:
                # Otherwise the next signature would be taken for its text, too.
                events.append(ReasoningDelta("", signature=""))
            self._is_unsigned = True
            self.add_reasoning(block.get("thinking"), events)
            self._sign(block.get("signature"), events)
        elif kind == "redacted_thinking":
            self.add_encrypted(block.get("data"), events)
        elif type(kind) is str:
            self._foreign[read_block_index(index)] = block, []

    def _sign(self, signature: Json, events: list[Event]) -> None:
        if signature:
            self._is_unsigned = False
            self.add_signature(signature, events)

    def _begin_text(self, block: dict[str, Json], had_text: bool, events: list[Event]) -> None:
        if had_text:
            events.append(NativeNote())
        self.add_text(block.get("text"), events)
        citations = block.get("citations")
        for citation in citations if type(citations) is list else ():
            self._add_citation(citation, events)

    def _add_citation(self, citation: Json, events: list[Event]) -> None:
        if type(citation) is dict:
            events.append(NativeNote(citation))

    def _begin_call(self, index: Json, block: dict[str, Json], events: list[Event]) -> None:
        given = block.get("input")
        arguments = given if type(given) is str and given else "{}"
        if type(given) is dict and given:
            arguments = dump_arguments(given, "the input of a tool_use block")
        number = self.begin_call(block.get("id"), block.get("name"), "", events)
        self._calls[read_block_index(index)] = number
        self._without_input[number] = arguments

    def _read_delta(self, event: dict[str, Json], events: list[Event]) -> None:
        delta = event.get("delta")
        if type(delta) is not dict:
            refuse("delta", delta, "an object")
        self.open(None, None, events)
        kind = delta.get("type") or next((_UNTYPED[name] for name in delta if name in _UNTYPED), None)
        if kind == "text_delta":
            self.add_text(delta.get("text"), events)
        elif kind == "input_json_delta":
            self._add_input(event.get("index"), delta.get("partial_json"), events)
        elif kind == "thinking_delta":
            self.add_reasoning(delta.get("thinking"), events)
        elif kind == "signature_delta":
            self._sign(delta.get("signature"), events)
        elif kind == "citations_delta":
            self._add_citation(delta.get("citation"), events)

    def _add_input(self, index: Json, text: Json, events: list[Event]) -> None:
        index = read_block_index(index)
        if index in self._foreign:
            # Deltas of server tools' blocks have this type, too.
            if type(text) is str:
                self._foreign[index][1].append(text)
                self.count(len(text))
            return
        number = self._calls.get(index)
        if number is None or text is None or text == "":
            return
        if type(text) is dict:
            text = dump_arguments(text, "partial_json")
        if type(text) is not str:
            refuse("partial_json", text, "a string")
        self._without_input.pop(number, None)
        self.add_arguments(number, text, events)

    def _end_block(self, index: Json, events: list[Event]) -> None:
        index = read_block_index(index)
        if index in self._foreign:
            self._end_foreign(index, events)
            return
        number = self._calls.get(index)
        if number in self._without_input:
            self.add_arguments(number, self._without_input.pop(number), events)

    def _end_foreign(self, index: int, events: list[Event]) -> None:
        block, pieces = self._foreign.pop(index)
        if pieces:
            block = {**block, "input": read_arguments("".join(pieces))}
        self.add_native(block, events)

    def complete_calls(self, events: list[Event]) -> None:
        """See EventReader. Adds the input of calls, and other blocks, that did not end."""
        for index in sorted(self._foreign):
            self._end_foreign(index, events)
        for number, arguments in sorted(self._without_input.items()):
            self.add_arguments(number, arguments, events)
        self._without_input.clear()
