"""A streamed answer of the OpenAI wire: chunks in server-sent events, to the contract's events.

Rules:
1. An answer is whole when its finish reason has come. `[DONE]` is neither needed (some servers leave it out) nor
   enough (proxies send it after an upstream that was cut: vercel/ai#19165): a cut stream never looks finished.
2. The finish reason is told at the end (`[DONE]`, or the end of the body), together with the usage that comes after it.
   Text after it is still text: some servers give a reason with every chunk.
3. Only the choice with index 0 is read. A chunk without choices carries usage, or nothing; null, an empty list and no
   field at all are the same (vLLM, Azure, Groq).
4. An empty finish reason is none yet (SGLang, Ollama until 2024). Null means absent, as in whole answers; a field of
   the wrong type breaks the stream, except usage: the text is with the client by then, and an estimate does.
5. Tool calls are numbered here, in the order they begin: providers leave the index out (Gemini, Ollama until 2024) or
   give every call the same one. A call's id and name are told once, however often the provider repeats them.
6. An `error` object, as a chunk or in an `error` event, breaks the stream, whatever came before it.
7. Once a chunk of text alone has come, the next that differs from it in that text only is read as its text: the bytes
   around it are the same, so what they say is the same. It halves what a token costs to read.
8. Reasoning is `reasoning_content` (DeepSeek, vLLM, SGLang), `reasoning` (Groq, Together, Ollama, OpenRouter) or a
   content part that is `thinking` (Mistral).

Sources, read 2026-11: OpenAI's openapi.yaml, CreateChatCompletionStreamResponse; groq-python, types/chat (x_groq);
ollama/ollama#7881 and #17485; openai/openai-python#2806; sgl-project/sglang#3912; tests/recordings/<provider>/stream*.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

import orjson

from pg_trio.domain.chat import Json, Usage
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, UpstreamBroken, UpstreamNonsense
from pg_trio.providers.openai_fields import (
    dump_arguments,
    read_finish_reason,
    read_model,
    read_text_part,
    read_usage,
    refuse,
    reply_id,
)
from pg_trio.providers.refusal import mask_for
from pg_trio.providers.said import read_error_message
from pg_trio.providers.sse import EventStreamParser, ServerSentEvent

# 4 Mi characters of text and arguments: an answer of 200,000 tokens (the most an endpoint may ask for), 20 characters
# each. A body's own limit does not bound what is kept of it: its JSON is fifty times the text.
MAX_ANSWER_CHARACTERS = 4 * 1024 * 1024

# 128: as many tools as OpenAI takes in a request.
MAX_TOOL_CALLS = 128

_DONE = b"[DONE]"
_CONTENT = re.compile(rb'"content":\s*("(?:[^"\\]|\\.)*+")')
# No JSON begins so.
_NEVER = b"\0"
_PROBE = "any text"
_DELTA = "choices[0].delta"


def is_event_stream(status: int, headers: Mapping[str, str], candidate: Candidate) -> bool:
    """Whether the body is a stream's; see `providers.Adapter.is_stream`. Without a content type it is taken for one."""
    if not 200 <= status < 300:
        return False
    content_type = headers.get("content-type")
    media_type = "" if content_type is None else content_type.partition(";")[0].strip().lower()
    if media_type in ("text/event-stream", ""):
        return True
    if "json" in media_type:
        return False
    raise UpstreamNonsense(mask_for(candidate, f"the answer is not an event stream: content type {content_type}"))


class OpenAIStreamReader:
    """Reads one stream; see `providers.StreamReader`."""

    __slots__ = (
        "_after",
        "_before",
        "_calls",
        "_candidate",
        "_characters",
        "_finish_reason",
        "_opened",
        "_parser",
        "_refused",
        "_usage",
        "is_over",
    )

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._parser = EventStreamParser()
        self._calls = _ToolCalls()
        self._opened = False
        self._characters = 0
        self._refused = False
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        # What surrounds the text of a chunk of text alone (rule 7); None until the first has come.
        self._before: bytes | None = None
        self._after = _NEVER
        self.is_over = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        events: list[Event] = []
        if self.is_over:
            return events
        try:
            for sent in self._parser.feed(data):
                if sent.data.endswith(self._after) and self._read_text(sent, events):
                    continue
                # As openai-python looks for it: what follows it on its line is nobody's.
                if sent.data.startswith(_DONE):
                    events.append(self._end(UpstreamNonsense("the stream ended without a finish reason")))
                    return events
                self._read_event(sent, events)
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
        return [self._end(failure)]

    def _end(self, failure: AttemptFailed) -> Event:
        """The last event of a stream that ends here; the failure is for one that must not."""
        if self._finish_reason is None:
            return self._break(failure)
        finish_reason = read_finish_reason(self._finish_reason, self._calls.count > 0, self._refused)
        if not self._characters and not self._calls.count and finish_reason not in ("length", "content_filter"):
            return self._break(UpstreamNonsense("the stream has neither content nor tool calls"))
        self.is_over = True
        return Finished(finish_reason, self._usage)

    def _break(self, failure: AttemptFailed) -> Broken:
        self.is_over = True
        return Broken(failure)

    # ── one chunk ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_text(self, sent: ServerSentEvent, events: list[Event]) -> bool:
        """Read a chunk as the text that it adds (rule 7); whether it could be."""
        data, before = sent.data, self._before
        if before is None or not data.startswith(before) or sent.event == "error":
            return False
        try:
            text = orjson.loads(data[len(before) : -len(self._after)])
        except orjson.JSONDecodeError:
            return False
        if type(text) is not str or self._characters > MAX_ANSWER_CHARACTERS - len(text):
            return False
        if text:
            events.append(ContentDelta(text))
            self._characters += len(text)
        return True

    def _learn(self, data: bytes, chunk: dict[str, Json], delta: dict[str, Json]) -> None:
        """Keep what surrounds the text of this chunk, if putting another there changes that text and nothing else."""
        self._before = _NEVER
        found = _CONTENT.search(data)
        if found is None:
            return
        before, after = data[: found.start(1)], data[found.end(1) :]
        delta["content"] = _PROBE
        if after and orjson.loads(before + orjson.dumps(_PROBE) + after) == chunk:
            self._before, self._after = before, after

    def _read_event(self, sent: ServerSentEvent, events: list[Event]) -> None:
        if not sent.data:
            # `data:` and no more: a ping, as some servers write it.
            return
        if sent.event == "error":
            raise self._said_error(_read_json_or_text(sent.data))
        try:
            chunk = orjson.loads(sent.data)
        except orjson.JSONDecodeError as exc:
            raise UpstreamNonsense(_why_not_json(exc, sent.data)) from None
        if type(chunk) is not dict:
            refuse("a chunk of the stream", chunk, "an object")
        if chunk.get("error") is not None:
            raise self._said_error(chunk)
        if chunk.get("usage") is not None:
            self._note_usage(chunk["usage"])
        if "x_groq" in chunk:
            self._read_groq(chunk["x_groq"])
        choices = chunk.get("choices")
        if choices:
            choice = _first_choice(choices)
            self._read_choice(choice, chunk, events)
            if self._before is None and choice and self._characters:
                delta = choice.get("delta")
                if delta and len(delta) == 1 and type(delta.get("content")) is str:
                    self._learn(sent.data, chunk, delta)

    def _read_choice(self, choice: dict[str, Json] | None, chunk: dict[str, Json], events: list[Event]) -> None:
        if choice is None:
            return
        if not self._opened:
            reply = reply_id(chunk.get("id"), self._candidate)
            events.append(Opened(reply, read_model(chunk.get("model"), self._candidate)))
            self._opened = True
        delta = choice.get("delta")
        if delta:
            if type(delta) is not dict:
                refuse(_DELTA, delta, "an object")
            self._read_delta(delta, events)
            if self._characters > MAX_ANSWER_CHARACTERS:
                raise UpstreamNonsense(f"the answer is over {MAX_ANSWER_CHARACTERS} characters")
        reason = choice.get("finish_reason")
        if reason:
            if type(reason) is not str:
                refuse("choices[0].finish_reason", reason, "a string")
            self._finish_reason = reason

    def _read_delta(self, delta: dict[str, Json], events: list[Event]) -> None:
        content = delta.get("content")
        # A delta of content alone is nearly every one there is: nothing else is looked for in it.
        if len(delta) > 1 or content is None:
            self._read_rare_fields(delta, events)
        if content:
            if type(content) is str:
                events.append(ContentDelta(content))
                self._characters += len(content)
            elif type(content) is list:
                self._read_parts(content, events)
            else:
                refuse(f"{_DELTA}.content", content, "a string")
        if "tool_calls" in delta:
            self._read_tool_calls(delta["tool_calls"], events)

    def _read_rare_fields(self, delta: dict[str, Json], events: list[Event]) -> None:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning and type(reasoning) is str:
            events.append(ReasoningDelta(reasoning))
        refusal = delta.get("refusal")
        if refusal:
            if type(refusal) is not str:
                refuse(f"{_DELTA}.refusal", refusal, "a string")
            events.append(ContentDelta(refusal))
            self._characters += len(refusal)
            self._refused = True

    def _read_parts(self, parts: list[Json], events: list[Event]) -> None:
        """Content as a list of parts (Mistral); `thinking` holds parts in turn, or is text."""
        for number, part in enumerate(parts):
            text = read_text_part(part, f"{_DELTA}.content[{number}]")
            if text:
                events.append(ContentDelta(text))
                self._characters += len(text)
            elif part.get("thinking"):
                events.append(ReasoningDelta(_read_thinking(part["thinking"])))

    def _read_tool_calls(self, deltas: Json, events: list[Event]) -> None:
        if deltas is None:
            return
        if type(deltas) is not list:
            refuse(f"{_DELTA}.tool_calls", deltas, "a list")
        for number, delta in enumerate(deltas):
            event = self._calls.read_delta(delta, f"{_DELTA}.tool_calls[{number}]")
            if event is not None:
                events.append(event)
                self._characters += len(event.arguments)

    # ── beside the answer ────────────────────────────────────────────────────────────────────────────────────────────

    def _said_error(self, error: Json) -> UpstreamNonsense:
        said = read_error_message(error) or "no message"
        return UpstreamNonsense(mask_for(self._candidate, f"an error in the stream: {said}"))

    def _read_groq(self, groq: Json) -> None:
        """Groq's own field: an error that stopped the stream early; usage, where nobody asked for it."""
        if type(groq) is not dict:
            return
        if groq.get("error"):
            raise self._said_error(groq)
        if groq.get("usage") is not None and self._usage is None:
            self._note_usage(groq["usage"])

    def _note_usage(self, usage: Json) -> None:
        """The last one counts: some providers count along with every chunk."""
        try:
            self._usage = read_usage(usage) or self._usage
        except UpstreamNonsense:
            self._usage = None


class _ToolCalls:
    """The tool calls of one stream, numbered in the order they begin."""

    __slots__ = ("_by_index", "_ids")

    def __init__(self) -> None:
        self._by_index: dict[int, int] = {}
        # The ids as the provider gave them, None where it gave none.
        self._ids: list[str | None] = []

    @property
    def count(self) -> int:
        return len(self._ids)

    def read_delta(self, delta: Json, where: str) -> ToolCallDelta | None:
        """The event of this delta, or None where it says nothing."""
        if type(delta) is not dict:
            refuse(where, delta, "an object")
        function = delta.get("function") or {}
        if type(function) is not dict:
            refuse(f"{where}.function", function, "an object")
        index, call_id, name = delta.get("index"), delta.get("id"), function.get("name")
        if index is not None and type(index) is not int:
            refuse(f"{where}.index", index, "an integer")
        if call_id is not None and type(call_id) is not str:
            refuse(f"{where}.id", call_id, "a string")
        if name is not None and type(name) is not str:
            refuse(f"{where}.function.name", name, "a string")
        arguments = _read_arguments(function.get("arguments"), f"{where}.function.arguments")
        number = self._find(index, call_id, name)
        if number is not None:
            return ToolCallDelta(number, None, None, arguments) if arguments else None
        if not name:
            refuse(f"{where}.function.name", None, "a string")
        return ToolCallDelta(self._begin(index, call_id, where), call_id or _new_call_id(), name, arguments)

    def _find(self, index: int | None, call_id: str | None, name: str | None) -> int | None:
        """The number of the call that a delta goes on with; None where it begins a new one."""
        if index is not None:
            number = self._by_index.get(index)
            # Another id with a name of its own is another call, though its index is taken. An id without a name is
            # not: some servers make up a new one for every delta.
            if number is None or (call_id and name and call_id != self._ids[number]):
                return None
            return number
        if call_id and call_id in self._ids:
            return self._ids.index(call_id)
        if name or not self._ids:
            return None
        return len(self._ids) - 1

    def _begin(self, index: int | None, call_id: str | None, where: str) -> int:
        number = len(self._ids)
        if number == MAX_TOOL_CALLS:
            raise UpstreamNonsense(f"{where} is one of more than {MAX_TOOL_CALLS} tool calls")
        self._ids.append(call_id or None)
        if index is not None:
            self._by_index[index] = number
        return number


def _first_choice(choices: Json) -> dict[str, Json] | None:
    """The choice with index 0, if it is among them. Nobody asks for more than one; who sends more mixes them."""
    if type(choices) is not list:
        refuse("choices", choices, "a list")
    for choice in choices:
        if type(choice) is not dict:
            refuse("choices[0]", choice, "an object")
        if not choice.get("index"):
            return choice
    return None


def _read_json_or_text(data: bytes) -> Json:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode("utf-8", "replace")


def _read_arguments(arguments: Json, where: str) -> str:
    if arguments is None:
        return ""
    if type(arguments) is dict:
        # Mistral's schema allows the object itself in place of its text.
        return dump_arguments(arguments, where)
    if type(arguments) is not str:
        refuse(where, arguments, "a string")
    return arguments


def _new_call_id() -> str:
    # Without an id the client could not send the result back.
    return f"call_{secrets.token_hex(12)}"


def _read_thinking(thinking: Json) -> str:
    """The text of a thinking part: a string, or a list of text parts; "" where it has another shape."""
    if type(thinking) is list:
        texts = [part.get("text") for part in thinking if type(part) is dict]
        return "".join([text for text in texts if type(text) is str])
    return thinking if type(thinking) is str else ""


def _why_not_json(error: orjson.JSONDecodeError, data: bytes) -> str:
    # Not the parser's own text: it would quote what the model said.
    if "UTF-8: " in error.msg:
        return f"a chunk of the stream is not JSON: invalid UTF-8 in {len(data)} bytes"
    return f"a chunk of the stream is not JSON: error at character {error.pos} of {len(data)} bytes"
