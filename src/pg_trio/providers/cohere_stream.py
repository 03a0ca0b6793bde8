"""Read answers of Cohere's wire, streamed in typed events or complete, as the contract's events.

Rules:
1. A streamed answer is complete at `message-end` with a good finish reason. An `error` in it breaks the stream.
2. The message has a list of blocks (text, thinking) or only text, and may have calls. The plan beside calls
   (`tool_plan`) is reasoning, never content.
3. Citations, logprobs and unknown events are ignored.
4. The wire does not name the model that answers, so the requested model is taken.

Source: "A guide to streaming responses" and "Streaming for tool use" (v2), read 2026-11; types of the `cohere` package
7.3.
"""

from __future__ import annotations

from pg_trio.domain.chat import Usage
from pg_trio.domain.events import Event
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.event_reader import EventReader
from pg_trio.providers.openai_fields import dump_arguments, is_bare, refuse
from pg_trio.providers.openai_tools import as_list, read_block_index
from pg_trio.providers.openai_usage import MAX_TOKEN_COUNT


class CohereStreamReader(EventReader):
    """Reads one answer; see `domain.adapter.StreamReader`."""

    __slots__ = ("_calls", "_without_arguments")

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        # The numbers of the calls by their events' index, and the numbers of the calls without arguments so far.
        self._calls: dict[int, int] = {}
        self._without_arguments: set[int] = set()

    def is_own(self, answer: dict[str, Json]) -> bool:
        """See EventReader."""
        return type(answer.get("message")) is dict or "finish_reason" in answer or "delta" in answer

    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """See EventReader."""
        if kind == "message-start":
            self.open(event.get("id"), None, events)
            return
        delta = _object(event, "delta")
        if kind == "message-end":
            self.raise_error(delta)
            self.note_finish(delta.get("finish_reason"))
            self.usage = read_usage(delta.get("usage")) or self.usage
            self.end(UpstreamNonsense("the stream ended without a finish reason"), events)
            return
        message = _object(delta, "message")
        if message:
            self.open(None, None, events)
            self._read_message(kind, message, event.get("index"), events)
        elif "finish_reason" in event and "message" in event:
            # A complete answer although a stream was requested.
            self.read_answer(event, events)

    def read_answer(self, answer: dict[str, Json], events: list[Event]) -> None:
        """See EventReader."""
        message = answer.get("message")
        if type(message) is str:
            # An error's shape, `{"id": …, "message": …}`, with the status of a success.
            self.raise_error({"error": message})
        if message is None and answer.get("finish_reason"):
            # Nothing was said before it stopped.
            message = {}
        if type(message) is not dict:
            refuse("message", message, "an object")
        self.open(answer.get("id"), None, events)
        self.add_reasoning(message.get("tool_plan"), events)
        self._read_content(message.get("content"), events)
        for index, call in enumerate(as_list(message.get("tool_calls"), "tool_calls")):
            if call:
                self._begin(index, call, events)
        self.usage = read_usage(answer.get("usage"))
        self.note_finish(answer.get("finish_reason"))

    def complete_calls(self, events: list[Event]) -> None:
        """See EventReader. Calls without arguments get `{}`."""
        for number in sorted(self._without_arguments):
            self.add_arguments(number, "{}", events)

    def _read_message(self, kind: str, message: dict[str, Json], index: Json, events: list[Event]) -> None:
        if kind in ("content-delta", "content-start"):
            self._read_content(message.get("content"), events)
        elif kind == "tool-plan-delta":
            self.add_reasoning(message.get("tool_plan"), events)
        elif kind == "tool-call-start":
            if call := _object(message, "tool_calls"):
                self._begin(index, call, events)
        elif kind == "tool-call-delta":
            self._add(index, _object(message, "tool_calls"), events)

    def _read_content(self, content: Json, events: list[Event]) -> None:
        for block in content if type(content) is list else [content]:
            if type(block) is dict and not is_bare(block):
                self.add_reasoning(block.get("thinking"), events)
                self.add_text(block.get("text"), events)
            else:
                # The text itself.
                self.add_text(block, events)

    def _begin(self, index: Json, call: Json, events: list[Event]) -> None:
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict:
            refuse("a tool call's function", function, "an object")
        arguments = function.get("arguments")
        if type(arguments) is dict:
            arguments = dump_arguments(arguments, "a tool call's arguments")
        text = arguments if type(arguments) is str else ""
        number = self.begin_call(call.get("id"), function.get("name"), text, events)
        # A delta without an index belongs to the latest call.
        self._calls[read_block_index(index)] = number
        if not text:
            self._without_arguments.add(number)

    def _add(self, index: Json, call: dict[str, Json], events: list[Event]) -> None:
        arguments = _object(call, "function").get("arguments")
        number = self._calls.get(read_block_index(index))
        if number is None or arguments is None or arguments == "":
            return
        if type(arguments) is dict:
            arguments = dump_arguments(arguments, "a tool call's arguments")
        if type(arguments) is not str:
            refuse("a tool call's arguments", arguments, "a string")
        self._without_arguments.discard(number)
        self.add_arguments(number, arguments, events)


def read_usage(usage: Json) -> Usage | None:
    """Token counts, or None if the provider sent none, or a wrong one.

    Shape:  {"tokens": {"input_tokens": number, "output_tokens": number}, "cached_tokens": number, "billed_units": …};
            whole numbers, written with a fraction (`12.0`). `tokens` is what the model saw; `billed_units` leaves out
            what Cohere adds itself, and stands in where `tokens` is missing.
    """
    if type(usage) is not dict:
        return None
    for name in ("tokens", "billed_units"):
        counts = usage.get(name)
        if type(counts) is dict and None not in (counts.get("input_tokens"), counts.get("output_tokens")):
            given, answered = _count(counts["input_tokens"]), _count(counts["output_tokens"])
            if given is None or answered is None:
                return None
            return Usage(given, answered, cached_tokens=min(_count(usage.get("cached_tokens")) or 0, given))
    return None


def _count(given: Json) -> int | None:
    # `type(…)`: a bool is an int to isinstance. NaN fails the comparison.
    if type(given) not in (int, float) or not 0 <= given <= MAX_TOKEN_COUNT or given != int(given):
        return None
    return int(given)


def _object(fields: dict[str, Json], name: str) -> dict[str, Json]:
    given = fields.get(name)
    # A list of one, as in complete answers. Some servers send it in streams, too.
    if type(given) is list and given:
        given = given[0]
    return given if type(given) is dict else {}
