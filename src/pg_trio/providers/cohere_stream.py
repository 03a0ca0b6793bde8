"""A streamed answer of Cohere's wire: its typed events, to the contract's events.

Rules:
1. The answer is whole with `message-end` and a finish reason that says so; its `error` breaks the stream.
2. A tool plan is the model's reasoning about its calls: shown as reasoning, never content.
3. Citations, logprobs and events that did not exist when this was written are passed over.

Source: "A guide to streaming responses" (v2), read 2026-11; event types of the `cohere` package 7.3.
"""

from __future__ import annotations

import secrets

from pg_trio.domain.chat import FinishReason
from pg_trio.domain.events import Event
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.cohere_fields import find_finish_reason, read_usage
from pg_trio.providers.event_reader import EventReader


class CohereStreamReader(EventReader):
    """Reads one stream; see `providers.StreamReader`."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        self._reason: str | None = None
        # The call that arguments belong to, by the event's index.
        self._numbers: dict[int, int] = {}

    def finish_reason(self) -> FinishReason | None:
        """See EventReader."""
        return None if self._reason is None else find_finish_reason(self._reason, self.calls_count > 0)

    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """See EventReader."""
        if kind == "message-start":
            self.open(event.get("id"), None, events)
            return
        if kind == "message-end":
            self._end(_object(event, "delta"), events)
            return
        message = _object(_object(event, "delta"), "message")
        if not message:
            return
        self.open(None, None, events)
        if kind in ("content-start", "content-delta"):
            content = _object(message, "content")
            self.add_reasoning(content.get("thinking"), events)
            self.add_text(content.get("text"), events)
        elif kind == "tool-plan-delta":
            self.add_reasoning(message.get("tool_plan"), events)
        elif kind == "tool-call-start":
            self._begin(event.get("index"), _object(message, "tool_calls"), events)
        elif kind == "tool-call-delta":
            self._add(event.get("index"), _object(message, "tool_calls"), events)

    def _begin(self, index: Json, call: dict[str, Json], events: list[Event]) -> None:
        function, call_id = _object(call, "function"), call.get("id")
        arguments = function.get("arguments")
        number = self.begin_call(
            call_id if type(call_id) is str and call_id else f"call_{secrets.token_hex(12)}",
            function.get("name"),
            arguments if type(arguments) is str else "",
            events,
        )
        self._numbers[index if type(index) is int else number] = number

    def _add(self, index: Json, call: dict[str, Json], events: list[Event]) -> None:
        arguments = _object(call, "function").get("arguments")
        number = self._numbers.get(index) if type(index) is int else self.calls_count - 1
        if number is not None and number >= 0 and type(arguments) is str and arguments:
            self.add_arguments(number, arguments, events)

    def _end(self, delta: dict[str, Json], events: list[Event]) -> None:
        if delta.get("error"):
            raise self.said_error(delta)
        reason = delta.get("finish_reason")
        if type(reason) is str and reason:
            self._reason = reason
        self.usage = read_usage(delta.get("usage")) or self.usage
        events.append(self.end(UpstreamNonsense("the stream ended without a finish reason")))


def _object(fields: dict[str, Json], name: str) -> dict[str, Json]:
    given = fields.get(name)
    # A list of one, as whole answers have it, where some servers send it in streams too.
    if type(given) is list and given:
        given = given[0]
    return given if type(given) is dict else {}
