"""What the readers of all native wires share: server-sent events with a JSON object each, and an honest end.

Rules:
1. A reader raises nothing: its failure is its last event. Inside, `read_event` raises UpstreamNonsense.
2. An answer is whole when its finish reason has come and the stream has ended. A body that ends before is a cut answer.
3. What a stream may say is bounded: characters of text and arguments, and tool calls.
"""

from __future__ import annotations

from abc import abstractmethod

import orjson

from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, UpstreamBroken, UpstreamNonsense
from pg_trio.providers.openai_fields import read_model, refuse, reply_id
from pg_trio.providers.openai_stream import MAX_ANSWER_CHARACTERS
from pg_trio.providers.openai_tools import MAX_TOOL_CALLS
from pg_trio.providers.refusal import mask_for
from pg_trio.providers.said import read_error_message
from pg_trio.providers.sse import EventStreamParser, ServerSentEvent


class EventReader:
    """A stream's reader without its wire; see `providers.StreamReader`."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.usage: Usage | None = None
        self.calls_count = 0
        self.is_over = False
        self._parser = EventStreamParser()
        self._characters = 0
        self._is_open = False

    @abstractmethod
    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """Add what one event says. `kind` is the event's `type`, or its name in the stream."""

    @abstractmethod
    def finish_reason(self) -> FinishReason | None:
        """The reason that has come so far; None while the answer is under way."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        events: list[Event] = []
        if self.is_over:
            return events
        try:
            for sent in self._parser.feed(data):
                self._read(sent, events)
                if events and isinstance(events[-1], Finished | Broken):
                    return events
            if self._parser.failure is not None:
                raise self._parser.failure
        except UpstreamNonsense as exc:
            # Its traceback would hold this frame, and the frame the events, until the collector comes by.
            events.append(self._break(exc.with_traceback(None)))
        return events

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        """The last event; see `providers.StreamReader`."""
        if self.is_over:
            return []
        left_bytes = self._parser.close()
        if failure is None:
            where = f", {left_bytes} bytes into an event" if left_bytes else ""
            failure = UpstreamBroken(f"the stream was cut: it ended without a finish reason{where}")
        return [self.end(failure)]

    # ── for the wires ────────────────────────────────────────────────────────────────────────────────────────────────

    def end(self, failure: AttemptFailed) -> Event:
        """The last event of a stream that ends here; `failure` is for one whose finish reason has not come."""
        reason = self.finish_reason()
        if reason is None:
            return self._break(failure)
        if reason == "error":
            return self._break(UpstreamNonsense("the stream ended with an error"))
        if not self._characters and not self.calls_count and reason not in ("length", "content_filter"):
            return self._break(UpstreamNonsense("the stream has neither text nor tool calls"))
        self.is_over = True
        return Finished(reason, self.usage)

    def open(self, given_id: Json, model: Json, events: list[Event]) -> None:
        """Say who answers, once."""
        if not self._is_open:
            self._is_open = True
            events.append(Opened(reply_id(given_id, self.candidate), read_model(model, self.candidate)))

    def add_text(self, text: Json, events: list[Event]) -> None:
        """More of the answer; nothing where it is empty."""
        if text is None or text == "":
            return
        if type(text) is not str:
            refuse("text", text, "a string")
        self._count(len(text))
        events.append(ContentDelta(text))

    def add_reasoning(self, text: Json, events: list[Event]) -> None:
        """More of the model's reasoning; what is no text is nothing."""
        if type(text) is str and text:
            events.append(ReasoningDelta(text))

    def begin_call(self, call_id: str, name: Json, arguments: str, events: list[Event]) -> int:
        """A tool call begins; its number among the answer's calls."""
        if type(name) is not str or not name:
            refuse("the name of a tool call", name, "a string")
        if self.calls_count >= MAX_TOOL_CALLS:
            raise UpstreamNonsense(f"the stream has more than {MAX_TOOL_CALLS} tool calls")
        self._count(len(arguments))
        index = self.calls_count
        self.calls_count += 1
        events.append(ToolCallDelta(index, call_id, name, arguments))
        return index

    def add_arguments(self, index: int, text: str, events: list[Event]) -> None:
        """More of a call's arguments."""
        self._count(len(text))
        events.append(ToolCallDelta(index, None, None, text))

    def said_error(self, error: Json) -> UpstreamNonsense:
        """The failure that an error inside a stream is."""
        said = read_error_message(error) or "no message"
        return UpstreamNonsense(mask_for(self.candidate, f"an error in the stream: {said}"))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, sent: ServerSentEvent, events: list[Event]) -> None:
        if not sent.data or sent.data.startswith(b"[DONE]"):
            return
        try:
            event = orjson.loads(sent.data)
        except orjson.JSONDecodeError as exc:
            # Not the parser's own text: it would quote what the model said.
            said = f"an event is not JSON: error at character {exc.pos} of {len(sent.data)} bytes"
            raise UpstreamNonsense(said) from None
        if type(event) is not dict:
            refuse("an event of the stream", event, "an object")
        kind = event.get("type", sent.event)
        if kind == "error" or event.get("error"):
            raise self.said_error(event)
        self.read_event(kind if type(kind) is str else sent.event, event, events)

    def _break(self, failure: AttemptFailed) -> Broken:
        self.is_over = True
        return Broken(failure)

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MAX_ANSWER_CHARACTERS:
            raise UpstreamNonsense(f"the answer is longer than {MAX_ANSWER_CHARACTERS} characters")
