"""The common part of the readers of native wires (not OpenAI's): events with one JSON object each, and one end.

Rules:
1. A reader never raises. A failure is its last event. Internally, `read_event` and `read_answer` raise
   UpstreamNonsense.
2. A streamed answer is complete when its finish reason has arrived and the stream has ended. If the body ends earlier,
   the answer is cut. An answer in one body needs no finish reason, because its JSON is complete.
3. Finish reasons are read by meaning (`finish_reasons`). A reason that means a failure breaks the answer at its end.
4. An answer is bounded: characters of text and arguments, characters of reasoning, and tool calls.
5. Keep-alives in any form, events of other kinds, and JSON that is not an object are ignored. An error with a message
   breaks the stream, even after text. The message may be in any envelope, or plain text.
6. A piece of text may end with half of a character (a lone surrogate). The next piece has the other half.
7. Each call has a unique id within its answer. A missing or repeated id is replaced.
"""

from __future__ import annotations

import secrets
from abc import abstractmethod

import orjson

from pg_trio.domain.chat import Usage
from pg_trio.domain.events import (
    Broken,
    ContentDelta,
    Event,
    Finished,
    NativeBlock,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
)
from pg_trio.domain.json_value import Json
from pg_trio.domain.native_fields import NativeStop
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, UpstreamNonsense
from pg_trio.providers.body_reader import BodyReader
from pg_trio.providers.finish_reasons import Meaning, read_finish
from pg_trio.providers.json_text import HalfText, has_surrogates, mend_text, read_json
from pg_trio.providers.native_stop import read_stop
from pg_trio.providers.openai_chunk_reader import is_failure, read_words_of
from pg_trio.providers.openai_fields import decide_finish, is_bare, read_model, refuse, reply_id, write_bare
from pg_trio.providers.openai_stream import MAX_ANSWER_CHARACTERS
from pg_trio.providers.openai_tools import MAX_NAME_CHARS, MAX_TOOL_CALLS
from pg_trio.providers.openai_usage import without_zeros
from pg_trio.providers.refusal import mask_for
from pg_trio.providers.said import read_error_message, says_error
from pg_trio.providers.sse import ServerSentEvent
from pg_trio.providers.stream_noise import is_done, is_error_name, is_keep_alive, is_ping_name, is_plain_words

_TEXT = -1


class EventReader(BodyReader):
    """A stream's reader without its wire; see `domain.adapter.StreamReader`."""

    __slots__ = (
        "_call_ids",
        "_characters",
        "_ended_by",
        "_finish",
        "_halves",
        "_hint",
        "_is_open",
        "_reasoned",
        "stop",
        "usage",
    )

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        self.usage: Usage | None = None
        # What a wire says about the end besides the finish reason.
        self.stop: NativeStop | None = None
        self._is_open = False
        self._characters = 0
        self._reasoned = 0
        self._call_ids: list[str] = []
        self._finish: Meaning = "none"
        # The finish reason in the provider's own words, for the text of a failure.
        self._ended_by = ""
        # What an object that is not of this wire said, for the message of a failure.
        self._hint: str | None = None
        # Texts that may hold half of a character, by the call's number (or _TEXT). None until one was needed (rule 6).
        self._halves: dict[int, HalfText] | None = None

    @abstractmethod
    def is_own(self, answer: dict[str, Json]) -> bool:
        """Whether an object without a type is of this wire: it has a field of its answers."""

    @abstractmethod
    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """Add the events of one server-sent event. `kind` is its `type`, or its name in the stream."""

    @abstractmethod
    def read_answer(self, answer: dict[str, Json], events: list[Event]) -> None:
        """Add the events of a complete answer, except its end."""

    def complete_calls(self, events: list[Event]) -> None:
        """Add the remaining events of calls after a good end. A wire may override this; the default adds nothing."""

    def read_whole(self, answers: list[dict[str, Json]]) -> list[Event]:
        """The events of a complete answer, including the last. Several objects are pieces of one answer."""
        events: list[Event] = []
        try:
            for answer in answers:
                self.raise_error(answer)
                if not self.is_own(answer) and (said := read_words_of(answer)) is not None:
                    raise self._said_error(said)
                self.read_answer(answer, events)
            if self._finish == "none":
                self._finish = "stop"
            if not self.is_over:
                self.end(UpstreamNonsense("the answer has no end"), events)
        except UpstreamNonsense as exc:
            events.append(self.break_off(exc.with_traceback(None)))
        return events

    # ── for the wires ────────────────────────────────────────────────────────────────────────────────────────────────

    def end(self, failure: AttemptFailed, events: list[Event]) -> None:
        """Add the last event of an answer that ends here. `failure` is used if its finish reason has not arrived."""
        if self._finish == "none":
            if self._hint is not None:
                failure = type(failure)(mask_for(self._candidate, f"{failure.said}; it said: {self._hint}"))
            events.append(self.break_off(failure))
            return
        reason = decide_finish(self._finish, bool(self._call_ids), False)
        if reason == "error":
            said = f"the provider ended the answer with an error ({self._ended_by})"
            events.append(self.break_off(UpstreamNonsense(mask_for(self._candidate, said))))
        elif not self._characters and not self._call_ids and reason not in ("length", "content_filter"):
            events.append(self.break_off(UpstreamNonsense("the answer has neither text nor tool calls")))
        else:
            self.complete_calls(events)
            self._add_left_halves(events)
            self.is_over = True
            usage = without_zeros(self.usage) if self._characters or self._call_ids else self.usage
            events.append(Finished(reason, usage, self.stop))

    def note_finish(self, reason: Json, words: Json = None) -> None:
        """Note a finish reason and the provider's `words` about it. A reason that means "not yet" is ignored."""
        meaning = read_finish(reason)
        if meaning != "none":
            self._finish = meaning
            self._ended_by = f"{reason}: {words}" if type(words) is str and words else f"{reason}"
            self.stop = read_stop(reason)

    def open(self, given_id: Json, model: Json, events: list[Event]) -> None:
        """Add the first event, which names the model, once."""
        if not self._is_open:
            self._is_open = True
            given_id = given_id if type(given_id) is str else None
            model = model if type(model) is str else None
            events.append(Opened(reply_id(given_id, self._candidate), read_model(model, self._candidate), self.usage))

    def add_text(self, text: Json, events: list[Event]) -> None:
        """Add text of the answer. Empty text is ignored."""
        if text is None or text == "":
            return
        if is_bare(text):
            text = write_bare(text, "text")
        if type(text) is not str:
            refuse("text", text, "a string")
        if self._halves is not None or not text.isascii():
            text = self._mend(_TEXT, text)
        self.count(len(text))
        if text:
            events.append(ContentDelta(text))

    def add_reasoning(self, text: Json, events: list[Event]) -> None:
        """Add text of the model's reasoning. Values that are not text are ignored."""
        if type(text) is str and text:
            self._count_reasoning(len(text))
            events.append(ReasoningDelta(mend_text(text)))

    def add_signature(self, signature: Json, events: list[Event]) -> None:
        """Add the signature that ends a block of reasoning."""
        if is_opaque(signature):
            self._count_reasoning(len(signature))
            events.append(ReasoningDelta("", signature=signature))

    def add_encrypted(self, data: Json, events: list[Event]) -> None:
        """Add a block of reasoning that the provider encrypted."""
        if is_opaque(data):
            self._count_reasoning(len(data))
            events.append(ReasoningDelta("", data=data))

    def add_native(self, block: dict[str, Json], events: list[Event]) -> None:
        """Add a whole block that only this wire has."""
        try:
            self.count(len(orjson.dumps(block)))
        except orjson.JSONEncodeError:
            raise UpstreamNonsense("a block of the answer is nested too deeply") from None
        events.append(NativeBlock(block))

    def begin_call(
        self, call_id: Json, name: Json, arguments: str, events: list[Event], signature: str | None = None
    ) -> int:
        """Begin a tool call. Returns its number among the answer's calls."""
        if type(name) is not str or not name.strip():
            refuse("the name of a tool call", None if name == "" else name, "a string")
        if len(name) > MAX_NAME_CHARS:
            raise UpstreamNonsense(f"the name of a tool call is over {MAX_NAME_CHARS} characters")
        if len(self._call_ids) >= MAX_TOOL_CALLS:
            raise UpstreamNonsense(f"the answer has more than {MAX_TOOL_CALLS} tool calls")
        if type(call_id) is not str or not call_id or call_id in self._call_ids or has_surrogates(call_id):
            # Without a unique id the client could not send the result back.
            call_id = f"call_{secrets.token_hex(12)}"
        self.count(len(arguments) + len(call_id))
        index = len(self._call_ids)
        self._call_ids.append(call_id)
        events.append(ToolCallDelta(index, call_id, mend_text(name), self._mend(index, arguments), signature))
        return index

    def add_arguments(self, index: int, text: str, events: list[Event]) -> None:
        """Add text of a call's arguments."""
        self.count(len(text))
        if self._halves is not None or not text.isascii():
            text = self._mend(index, text)
        if text:
            events.append(ToolCallDelta(index, None, None, text))

    def raise_error(self, event: dict[str, Json], kind: str = "") -> None:
        """Raises UpstreamNonsense if an event or an answer is an error with a message."""
        error = event.get("error")
        if kind == "error" or event.get("type") == "error" or (error is not None and says_error(error)):
            raise self._said_error(read_error_message(event) or "no message")

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def read_all(self, sent_events: list[ServerSentEvent], events: list[Event]) -> None:
        for sent in sent_events:
            self._read(sent, events)
            if events and isinstance(events[-1], Finished | Broken):
                return

    def _read(self, sent: ServerSentEvent, events: list[Event]) -> None:
        data = sent.data
        if data[:1] != b"{" and (is_keep_alive(data) or is_done(data) or is_ping_name(sent.event)):
            return
        try:
            event = read_json(data)
        except orjson.JSONDecodeError as exc:
            if is_plain_words(data):
                if sent.event == "message" or is_error_name(sent.event):
                    raise self._said_error(data.decode()) from None
                # Another kind of event.
                return
            # Not the parser's own message, which would quote the model's text.
            said = f"an event is not JSON: error at character {exc.pos} of {len(data)} bytes"
            raise UpstreamNonsense(said) from None
        if type(event) is not dict:
            if type(event) is list and (words := read_error_message(event)) is not None:
                raise self._said_error(words)
            return
        named = event.get("type")
        kind = named if type(named) is str and named else sent.event
        if named != sent.event != "message" and is_error_name(sent.event):
            kind = "error"
        if kind == "error" or "error" in event:
            self.raise_error(event, kind)
        if kind == "message" and not self.is_own(event):
            self._read_foreign(event)
        else:
            self.read_event(kind, event, events)

    def _read_foreign(self, event: dict[str, Json]) -> None:
        """Handle an object that is not of this wire: an error in another envelope, or an unknown object."""
        said = read_words_of(event)
        if is_failure(event):
            raise self._said_error(said or "no message")
        self._hint = said or self._hint

    def _said_error(self, said: str) -> UpstreamNonsense:
        return UpstreamNonsense(mask_for(self._candidate, f"an error in the answer: {said}"))

    def _mend(self, index: int, text: str) -> str:
        if self._halves is None:
            if not has_surrogates(text):
                return text
            self._halves = {}
        return self._halves.setdefault(index, HalfText()).take(text)

    def _add_left_halves(self, events: list[Event]) -> None:
        for index, half in (self._halves or {}).items():
            if left := half.close():
                events.append(ContentDelta(left) if index == _TEXT else ToolCallDelta(index, None, None, left))

    def count(self, characters: int) -> None:
        """Count characters of the answer. Raises UpstreamNonsense if it has too many."""
        self._characters += characters
        if self._characters > MAX_ANSWER_CHARACTERS:
            raise UpstreamNonsense(f"the answer is longer than {MAX_ANSWER_CHARACTERS} characters")

    def _count_reasoning(self, characters: int) -> None:
        self._reasoned += characters
        if self._reasoned > MAX_ANSWER_CHARACTERS:
            raise UpstreamNonsense(f"the reasoning is longer than {MAX_ANSWER_CHARACTERS} characters")


def is_opaque(given: Json) -> bool:
    """Whether the value is text that JSON can carry back to the provider."""
    return type(given) is str and bool(given) and given.isascii()
