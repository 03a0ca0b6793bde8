"""Reads a streamed answer of the OpenAI wire: server-sent events with chunks become the contract's events.

Rules:
1. An answer is whole when its finish reason has come. `[DONE]` is not needed (some servers leave it out) and not enough
   (proxies send it after a cut upstream: vercel/ai#19165). So a cut stream never looks finished.
2. The finish reason is reported at the end (`[DONE]`, or the end of the body), together with the usage that follows it.
   Text after it is still text: some servers give a reason with every chunk. A reason that means a failure breaks the
   stream.
3. Only the choice with index 0 is read. A chunk without choices carries usage, or nothing; null, an empty list and a
   missing field are the same (vLLM, Azure, Groq).
4. An empty finish reason means none yet (SGLang, Ollama until 2024). Null means absent, as in whole answers. Fields
   that the gateway does not need may hold anything. An unreadable field of the answer's own text or calls breaks the
   stream.
5. Tool calls: `openai_tools`. They are reported once their name is complete; until then their pieces are signs of life.
6. An error with content (as a chunk, in the choice, in an `error` event or field) always breaks the stream. Its message
   is passed on.
7. After a chunk with text only, a next chunk that differs only in that text is not parsed again: the bytes around the
   text are equal, so their meaning is equal. This halves the cost of reading a token. If nothing else has come with
   it, as with most tokens, its event is not parsed either. If they have a finish reason or usage, this ends with the
   first event that differs, because the last one counts.
8. Keep-alives come as comments, as empty or named events, and as data without JSON (`: keepalive`, `ping`). They are
   ignored, and so are events of other kinds, and JSON that is not a chunk.
9. A piece may end with half of a character (a lone surrogate): the next one has the other half.

Sources, read 2026-11: OpenAI's openapi.yaml, CreateChatCompletionStreamResponse; groq-python, types/chat (x_groq);
ollama/ollama#7881 and #17485; openai/openai-python#2806; sgl-project/sglang#3912; anomalyco/opencode#50871 (rule 8);
tests/recordings/<provider>/stream*.
"""

from __future__ import annotations

import orjson

from pg_trio.domain.chat import Json, Usage
from pg_trio.domain.events import ContentDelta, Event, Finished, Opened, ReasoningDelta
from pg_trio.domain.native_fields import NativeStop
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, UpstreamNonsense
from pg_trio.providers.body_reader import BodyReader
from pg_trio.providers.finish_reasons import Meaning, read_finish
from pg_trio.providers.json_text import HalfText, read_json
from pg_trio.providers.native_stop import read_matched_stop
from pg_trio.providers.openai_chunk_reader import (
    add_logprobs,
    choice_of,
    delta_of,
    is_failure,
    read_json_or_text,
    read_words_of,
    why_not_json,
)
from pg_trio.providers.openai_fields import (
    decide_finish,
    is_bare,
    read_model,
    read_part,
    refuse,
    reply_id,
    why_failed,
    write_bare,
)
from pg_trio.providers.openai_tools import StreamedCalls
from pg_trio.providers.openai_usage import read_usage, without_zeros
from pg_trio.providers.reasoning import find_reasoning, is_reasoning_part, read_reasoning_part
from pg_trio.providers.refusal import mask_for
from pg_trio.providers.said import read_error_message, says_error
from pg_trio.providers.sse import ServerSentEvent
from pg_trio.providers.stream_noise import is_done, is_error_name, is_keep_alive, is_ping_name, is_plain_words
from pg_trio.providers.text_chunks import DATA, DATA_BYTES, NOT_YET, NOTHING, learn_around

# 4 Mi characters of text and arguments: an answer of 200,000 tokens (the most an endpoint may ask for), 20 characters
# each. The body's own limit is no substitute, because its JSON is fifty times the text.
MAX_ANSWER_CHARACTERS = 4 * 1024 * 1024

_DONE = b"[DONE]"
_DELTA = "choices[0].delta"


class OpenAIStreamReader(BodyReader):
    """Reads one stream; see `domain.adapter.StreamReader`."""

    __slots__ = (
        "_around",
        "_calls",
        "_characters",
        "_ended_by",
        "_expects_text",
        "_finish",
        "_halves",
        "_hint",
        "_opened",
        "_refused",
        "_stop",
        "_usage",
    )

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        self._calls = StreamedCalls()
        self._opened = False
        self._characters = 0
        self._refused = False
        self._finish: Meaning = "none"
        # The choice with the finish reason, and text that was not a chunk, for the message of a failure.
        self._ended_by: dict[str, Json] = {}
        self._hint: str | None = None
        self._usage: Usage | None = None
        self._stop: NativeStop | None = None
        # The bytes around the text of a text-only chunk (rule 7); whether the next bytes may be a lone one.
        self._around = NOT_YET
        self._expects_text = False
        # The text of each kind that may end with half of a character (rule 9); None until one has come.
        self._halves: dict[str, HalfText] | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        around = self._around
        if (
            self._expects_text
            and data.find(b"\n") == len(data) - 2
            and data.endswith(around.lone_end)
            and data.startswith(DATA)
            and data.startswith(around.before, DATA_BYTES)
        ):
            piece = data[around.text_from : around.text_to]
            # Without another line end there is one event.
            events: list[Event] = []
            if b"\r" not in piece and self._read_text(piece, events):
                return events
        events = super().feed(data)
        self._expects_text = self._around.text_from > 0 and self._parser.is_between_events and not self.is_over
        return events

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        """The last events; see `domain.adapter.StreamReader`."""
        self._expects_text = False
        return super().close(failure)

    def read_all(self, sent_events: list[ServerSentEvent], events: list[Event]) -> None:
        for sent in sent_events:
            data, around = sent.data, self._around
            if (
                data.endswith(around.after)
                and data.startswith(around.before)
                and sent.event == "message"
                and self._read_text(data[len(around.before) : -len(around.after)], events)
            ):
                continue
            # As in openai-python: the rest of the line is ignored.
            if data.startswith(_DONE):
                self.end(UpstreamNonsense("the stream ended without a finish reason"), events)
            else:
                if around.says_more:
                    # This chunk may say otherwise, and then one like the earlier ones says it again.
                    self._around = NOTHING
                self._read_event(sent, events)
            if self.is_over:
                return

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def end(self, failure: AttemptFailed, events: list[Event]) -> None:
        """The last events of a stream that ends here; `failure` is used if it is incomplete."""
        if self._finish == "none":
            if self._hint is not None:
                failure = type(failure)(mask_for(self._candidate, f"{failure.said}; it said: {self._hint}"))
            events.append(self.break_off(failure))
            return
        try:
            self._tell_rest(events)
            finish_reason = decide_finish(self._finish, self._calls.count > 0, self._refused)
            self._check_whole(finish_reason)
        except UpstreamNonsense as exc:
            events.append(self.break_off(exc.with_traceback(None)))
            return
        self.is_over = True
        usage = without_zeros(self._usage) if self._characters or self._calls.count else self._usage
        events.append(Finished(finish_reason, usage, self._stop))

    def _tell_rest(self, events: list[Event]) -> None:
        """Report what was held back: calls without arguments, and half of a character at the end."""
        if self._halves is not None:
            for kind in ("content", "refusal"):
                self._say(self._halves[kind].close() if kind in self._halves else "", events)
        for event in self._calls.close():
            self._add_call(event, events)

    def _check_whole(self, finish_reason: str) -> None:
        if self._finish == "error":
            said = self._hint
            if said is None:
                said = why_failed(self._ended_by.get("finish_reason"), self._ended_by)
            raise self._stream_error(said)
        if self._characters or self._calls.count:
            if finish_reason == "error":
                raise UpstreamNonsense("the stream has no tool calls, though its finish reason says so")
        elif finish_reason not in ("length", "content_filter"):
            raise UpstreamNonsense("the stream has neither content nor tool calls")

    # ── one chunk ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_text(self, piece: bytes, events: list[Event]) -> bool:
        """Read the text of a chunk by rule 7. True if that was possible."""
        try:
            text = orjson.loads(piece)
        except orjson.JSONDecodeError:
            return False
        if type(text) is not str or self._characters > MAX_ANSWER_CHARACTERS - len(text):
            return False
        if text:
            events.append(ContentDelta(text))
            self._characters += len(text)
        return True

    def _read_event(self, sent: ServerSentEvent, events: list[Event]) -> None:
        if sent.event != "message":
            if is_error_name(sent.event):
                raise self._said_error(read_json_or_text(sent.data))
            if is_ping_name(sent.event):
                return
        try:
            chunk = orjson.loads(sent.data)
        except orjson.JSONDecodeError as exc:
            chunk = self._read_odd_data(sent, exc, events)
        if type(chunk) is not dict:
            self._read_no_chunk(chunk, events)
            return
        if chunk.get("error") is not None and says_error(chunk["error"]):
            raise self._said_error(chunk)
        if chunk.get("usage") is not None:
            self._note_usage(chunk["usage"])
        if "x_groq" in chunk:
            self._read_groq(chunk["x_groq"])
        choices = chunk.get("choices")
        if choices:
            choice = choice_of(choices)
            self._read_choice(choice, chunk, events)
            if self._around is NOT_YET and choice and self._characters and not choice.get("logprobs"):
                delta = choice.get("delta")
                if delta and len(delta) == 1 and type(delta.get("content")) is str:
                    self._around = learn_around(sent.data, chunk, choice)
        else:
            self._read_foreign(chunk)

    def _read_choice(self, choice: dict[str, Json] | None, chunk: dict[str, Json], events: list[Event]) -> None:
        if choice is None:
            return
        if not self._opened:
            reply = reply_id(chunk.get("id"), self._candidate)
            events.append(Opened(reply, read_model(chunk.get("model"), self._candidate)))
            self._opened = True
        reason = choice.get("finish_reason")
        delta = delta_of(choice, is_first=not self._characters)
        if delta:
            count = len(events)
            self._read_delta(delta, events)
            if type(choice.get("logprobs")) is dict:
                add_logprobs(choice["logprobs"], events, count)
            if self._characters > MAX_ANSWER_CHARACTERS:
                raise UpstreamNonsense(f"the answer is over {MAX_ANSWER_CHARACTERS} characters")
        if choice.get("error") and says_error(choice["error"]):
            raise self._stream_error(why_failed(reason, choice))
        if reason and (meaning := read_finish(reason)) != "none":
            self._finish, self._ended_by, self._stop = meaning, choice, read_matched_stop(choice)
            # Moonshot sends the usage in the choice.
            self._usage = self._usage or read_usage(choice.get("usage"), is_empty=True)

    def _read_delta(self, delta: dict[str, Json], events: list[Event]) -> None:
        content = delta.get("content")
        # Nearly every delta has content only; then other fields are not checked.
        if len(delta) > 1 or content is None:
            self._read_rare_fields(delta, events)
        if content:
            if type(content) is str:
                self._say(content if self._halves is None else self._take("content", content), events)
            else:
                self._read_parts(content, events)
        elif type(content) in (int, float):
            # 0, a token like any other.
            self._read_parts(content, events)
        if "tool_calls" in delta or "function_call" in delta:
            for event in self._calls.read(delta, _DELTA):
                self._add_call(event, events)

    def _say(self, text: str, events: list[Event]) -> None:
        if text:
            events.append(ContentDelta(text))
            self._characters += len(text)

    def _take(self, kind: str, text: str) -> str:
        """The text with halves of characters joined; a last half is kept for the next piece."""
        assert self._halves is not None
        return self._halves.setdefault(kind, HalfText()).take(text)

    def _add_call(self, event: Event, events: list[Event]) -> None:
        events.append(event)
        if event.is_token:
            self._characters += len(getattr(event, "arguments", ""))

    def _read_rare_fields(self, delta: dict[str, Json], events: list[Event]) -> None:
        reasoning = find_reasoning(delta)
        if reasoning is not None:
            self._reason(reasoning, events)
        if says_error(delta.get("error")):
            raise self._said_error(delta["error"])
        refusal = delta.get("refusal")
        if refusal:
            if type(refusal) is not str:
                refuse(f"{_DELTA}.refusal", refusal, "a string")
            self._say(refusal if self._halves is None else self._take("refusal", refusal), events)
            self._refused = True

    def _reason(self, text: str, events: list[Event]) -> None:
        events.append(ReasoningDelta(text if self._halves is None else self._take("reasoning", text)))

    def _read_parts(self, parts: Json, events: list[Event]) -> None:
        """Content as a list of parts (Mistral), or as one; `thinking` holds parts in turn, or is text."""
        if is_bare(parts):
            parts = [write_bare(parts, f"{_DELTA}.content")]
        elif type(parts) is dict:
            parts = [parts]
        if type(parts) is not list:
            refuse(f"{_DELTA}.content", parts, "a string")
        for number, part in enumerate(parts):
            if type(part) is dict and is_reasoning_part(part):
                self._reason(read_reasoning_part(part), events)
            else:
                text = read_part(part, f"{_DELTA}.content[{number}]")
                self._say(text if self._halves is None else self._take("content", text), events)

    # ── beside the answer ────────────────────────────────────────────────────────────────────────────────────────────

    def _read_odd_data(self, sent: ServerSentEvent, error: orjson.JSONDecodeError, events: list[Event]) -> Json:
        """The value of data that orjson does not read; None if it has no meaning, or ends the stream."""
        if is_keep_alive(sent.data):
            return None
        if is_done(sent.data):
            self.end(UpstreamNonsense("the stream ended without a finish reason"), events)
            return None
        try:
            value = read_json(sent.data)
        except orjson.JSONDecodeError:
            if sent.event != "message":
                # Another kind of event (rule 8), unless it is a cut chunk.
                if not sent.data.lstrip().startswith(b"{"):
                    return None
            elif is_plain_words(sent.data):
                raise self._said_error(sent.data.decode("utf-8", "replace")) from None
            raise UpstreamNonsense(why_not_json(error, sent.data)) from None
        if self._halves is None:
            # It may contain half a character. So later chunks are parsed completely, not by rule 7.
            self._halves = {}
            self._around = NOTHING
        return value

    def _read_no_chunk(self, value: Json, events: list[Event]) -> None:
        """Handle JSON that is not an object. Raises if it has content: an error, or a possible answer."""
        if type(value) is list and value:
            if (said := read_error_message(value)) is not None:
                raise self._stream_error(said)
            refuse("a chunk of the stream", value, "an object")
        if type(value) is str and value:
            words = value.encode("utf-8", "replace")
            if is_done(words):
                self.end(UpstreamNonsense("the stream ended without a finish reason"), events)
            elif not is_keep_alive(words):
                refuse("a chunk of the stream", value, "an object")

    def _read_foreign(self, chunk: dict[str, Json]) -> None:
        """Handle an object without choices: an error in another envelope, or an unknown object."""
        said = read_words_of(chunk)
        if is_failure(chunk):
            raise self._stream_error(said or "no message")
        self._hint = said or self._hint

    def _said_error(self, error: Json) -> UpstreamNonsense:
        return self._stream_error(read_error_message(error) or "no message")

    def _stream_error(self, said: str) -> UpstreamNonsense:
        return UpstreamNonsense(mask_for(self._candidate, f"an error in the stream: {said}"))

    def _read_groq(self, groq: Json) -> None:
        """Groq's own field: an error that stopped the stream early, or usage without a request for it."""
        if type(groq) is not dict:
            return
        if groq.get("error"):
            raise self._said_error(groq)
        if groq.get("usage") is not None and self._usage is None:
            self._usage = read_usage(groq["usage"], is_empty=True)

    def _note_usage(self, given: Json) -> None:
        """The last usage counts, because some providers send a running count with every chunk. One that says nothing
        leaves the previous one; after a wrong one there is none, and an estimate is used."""
        counts = (
            [given.get(name) for name in ("prompt_tokens", "completion_tokens")] if type(given) is dict else [given]
        )
        if given and None not in counts and (any(counts) or self._usage is None):
            self._usage = read_usage(given, is_empty=True)
