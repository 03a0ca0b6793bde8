"""OpenAI's chunks of a streamed answer, as bytes, for every surface that streams them.

Rules:
1. One stream has one id, one `created` and one role. Its first chunk has the role, even if it is a chunk of reasoning.
   All three stay the same when another candidate carries the answer on. A chunk with an empty delta then has
   `meta.join`.
2. The surface writes the end of a stream: the chunk of the finish reason, its last chunk and DONE.
3. Signed or encrypted reasoning is sent in complete blocks (`delta.reasoning_details`), each in its own chunk when the
   block ends, so a client can send a block back without joining texts. Each entry has its own `index`, because OpenAI's
   SDKs cannot add up a list in deltas without one. The writer holds the text of the current block, at most HELD_CHARS
   characters. A longer block is sent as text only.
4. U+0085, U+2028 and U+2029 are escaped. They do not end a line of an event stream, but Python's `splitlines` (and so
   httpx's `iter_lines`) would split a chunk at them.

The constant part of every chunk is made once per stream. A token costs the JSON of its text and two joins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from pg_trio.domain.chat import FinishReason, Reasoning
from pg_trio.domain.events import ContentDelta, Event, Joined, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.surfaces.http_answer import HeaderList
from pg_trio.surfaces.openai_shapes import completion_id, reasoning_object, signature_fields

STREAM_HEADERS: Final[HeaderList] = [
    # Without the charset, clients with HTTP/1.1's old default (Python's requests) read UTF-8 as Latin-1.
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Without this, nginx buffers the stream.
    (b"x-accel-buffering", b"no"),
]

# A comment: clients skip it, and proxies on the way see that the connection is alive.
KEEP_ALIVE = b": keep-alive\n\n"

DONE = b"data: [DONE]\n\n"
# 262,144 characters of reasoning are about 64,000 tokens, the most that Anthropic's models think for one answer.
HELD_CHARS = 262_144

_END_OF_TEXT = b'},"finish_reason":null}]}\n\n'
_END_OF_CALL = b']},"finish_reason":null}]}\n\n'


class ChunkWriter:
    """Writes one stream's chunks. `created_s` is Unix seconds. Nothing is rendered before its first `Opened`."""

    __slots__ = (
        "_blocks",
        "_created",
        "_held",
        "_held_chars",
        "_id",
        "_of_call",
        "_of_choices",
        "_of_delta",
        "_of_text",
        "_role_is_due",
        "_shows_reasoning",
        "joins",
    )

    def __init__(self, created_s: int, *, shows_reasoning: bool = True) -> None:
        self._created = b"%d" % created_s
        self._shows_reasoning = shows_reasoning
        self._id = b""
        self._role_is_due = True
        # The points where another candidate carried the stream on.
        self.joins: list[Joined] = []
        # The text of the current block of reasoning, and the number of blocks sent.
        self._held: list[str] = []
        self._held_chars = 0
        self._blocks = 0
        # The beginning of the chunks of each kind.
        self._of_text = self._of_call = self._of_choices = self._of_delta = b""

    @property
    def is_open(self) -> bool:
        """Whether chunks can be rendered, because an `Opened` was rendered."""
        return bool(self._of_choices)

    def render(self, event: Event) -> bytes:
        """The chunk for an event; empty if the event has none.

        The last event (`Finished`, `Broken`) has none: the surface writes the end once the request's end is known.
        """
        if isinstance(event, ContentDelta):
            text = event.text
            rendered = self._of_text + _dump(text) + _END_OF_TEXT
        elif isinstance(event, ToolCallDelta):
            rendered = self._of_call + _dump_call(event) + _END_OF_CALL
        elif isinstance(event, Opened):
            self._open(event)
            return b""
        elif isinstance(event, ReasoningDelta):
            rendered = self._render_reasoning(event) if self._shows_reasoning else b""
            if not rendered:
                return b""
        elif isinstance(event, Joined):
            return self._join(event)
        else:
            return b""
        if self._role_is_due:
            self._role_is_due = False
            self._begin_chunks()
        return rendered

    def render_all(self, events: Iterable[Event]) -> bytes:
        """The chunks of events that arrived together, joined for one write."""
        return b"".join([self.render(event) for event in events])

    def render_finish_reason(self, finish_reason: FinishReason) -> bytes:
        """The chunk with the finish reason. It has the role if no earlier chunk had it."""
        delta = b'{"role":"assistant","content":""}' if self._role_is_due else b"{}"
        reason = finish_reason.encode("ascii")
        return self._of_choices + b'{"index":0,"delta":' + delta + b',"finish_reason":"' + reason + b'"}]}\n\n'

    def render_last(self, fields: Mapping[str, object]) -> bytes:
        """A chunk with empty choices, followed by these fields, like OpenAI's chunk of `usage`."""
        return self._of_choices + b"]," + _dump(fields).removeprefix(b"{") + b"\n\n"

    def _render_reasoning(self, delta: ReasoningDelta) -> bytes:
        fields = []
        if delta.text:
            fields.append(b'"reasoning_content":' + _dump(delta.text))
            self._held_chars += len(delta.text)
            if self._held_chars <= HELD_CHARS:
                self._held.append(delta.text)
        block = self._end_block(delta)
        if block is not None:
            fields.append(b'"reasoning_details":[%b]' % _dump({**reasoning_object(block), "index": self._blocks}))
            self._blocks += 1
        if not fields:
            return b""
        # The content is empty, as in the first chunk of OpenAI's streams.
        role = b'"role":"assistant","content":"",' if self._role_is_due else b""
        return self._of_delta + role + b",".join(fields) + _END_OF_TEXT

    def _end_block(self, delta: ReasoningDelta) -> Reasoning | None:
        """The complete block that ends with this delta. None if no block ends, or if its text was too long to hold."""
        if delta.data is not None:
            return Reasoning("", data=delta.data)
        if delta.signature is None:
            return None
        is_whole = bool(delta.signature) and self._held_chars <= HELD_CHARS
        block = Reasoning("".join(self._held), delta.signature) if is_whole else None
        self._forget_block()
        return block

    def _forget_block(self) -> None:
        self._held, self._held_chars = [], 0

    def _join(self, joined: Joined) -> bytes:
        self.joins.append(joined)
        self._forget_block()
        meta = _dump({"meta": {"join": join_object(joined)}})
        # One choice, as in every chunk but the last, because clients may read it without a check.
        empty = b'{"index":0,"delta":{},"finish_reason":null}],'
        return self._of_choices + empty + meta.removeprefix(b"{") + b"\n\n"

    def _open(self, opened: Opened) -> None:
        self._id = self._id or _dump(completion_id(opened.id))
        self._of_choices = b'data: {"id":%b,"object":"chat.completion.chunk","created":%b,"model":%b,"choices":[' % (
            self._id,
            self._created,
            _dump(opened.model),
        )
        self._begin_chunks()

    def _begin_chunks(self) -> None:
        delta = self._of_delta = self._of_choices + b'{"index":0,"delta":{'
        role = b'"role":"assistant",' if self._role_is_due else b""
        self._of_text = delta + role + b'"content":'
        self._of_call = delta + role + (b'"content":null,' if role else b"") + b'"tool_calls":['


def _dump(value: object) -> bytes:
    return escape_line_ends(orjson.dumps(value))


def escape_line_ends(text: bytes) -> bytes:
    """JSON text with the characters of rule 4 escaped. They occur only inside strings, so the meaning is the same."""
    if text.isascii():
        return text
    return (
        text.replace(b"\xc2\x85", rb"\u0085").replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
    )


def _dump_call(delta: ToolCallDelta) -> bytes:
    function: dict[str, str] = {"arguments": delta.arguments}
    call: dict[str, object] = {"index": delta.index, "function": function}
    if delta.id is not None:
        call = {
            "index": delta.index,
            "id": delta.id,
            "type": "function",
            "function": {"name": delta.name, "arguments": delta.arguments},
            **signature_fields(delta.signature),
        }
    return _dump(call)


def join_object(joined: Joined) -> dict[str, object]:
    """A join as the client sees it: what to do with the text, which candidate broke, which one carries on."""
    return {
        "mode": joined.mode,
        "characters": joined.characters,
        "provider": joined.provider,
        "model": joined.model,
        "why": joined.why,
    }
