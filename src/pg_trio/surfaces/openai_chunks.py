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

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from attrs import evolve

from pg_trio.domain.chat import FinishReason, Reasoning
from pg_trio.domain.events import ContentDelta, Event, Joined, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.domain.value import value
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

_NO_REASON = b',"finish_reason":null}'
_ROLE_CHOICE = b'{"index":0,"delta":{"role":"assistant","content":""}' + _NO_REASON
_DELTA = b'{"index":0,"delta":{'
_END_OF_DELTA = b"}" + _NO_REASON
# The same with the end of the chunk: one object for all streams of a style.
_END, _END_WITH_NULL = _END_OF_DELTA + b"]}\n\n", _END_OF_DELTA + b'],"usage":null}\n\n'
_END_OF_CALL = b"]}" + _NO_REASON


@value(slots=True)
class ChunkStyle:
    """How a surface's chunks differ from others.

    `opens_with_role`: the first chunk has the role alone, as OpenAI's; else the first chunk with content has it too.
    `reasoning_names`: the fields of a delta with reasoning. `nulls_usage`: every chunk but the last has `"usage":null`.
    `tells_joins`: a chunk tells where another candidate carried the stream on.
    """

    opens_with_role: bool = False
    reasoning_names: tuple[str, ...] = ("reasoning_content",)
    nulls_usage: bool = False
    tells_joins: bool = True


GATEWAY_STYLE = ChunkStyle()


class ChunkWriter:
    """Writes one stream's chunks. `created_s` is Unix seconds. Nothing is rendered before its first `Opened`."""

    __slots__ = (
        "_blocks",
        "_choices_bytes",
        "_created",
        "_end",
        "_end_of_text",
        "_first",
        "_held",
        "_held_chars",
        "_id",
        "_of_text",
        "_role_is_due",
        "_shows_reasoning",
        "_style",
        "joins",
    )

    def __init__(self, created_s: int, *, shows_reasoning: bool = True, style: ChunkStyle = GATEWAY_STYLE) -> None:
        self._created = b"%d" % created_s
        self._style = style
        # What ends a chunk with a choice; the chunk that is due before all others.
        self._end = b'],"usage":null}\n\n' if style.nulls_usage else b"]}\n\n"
        self._end_of_text = _END_WITH_NULL if style.nulls_usage else _END
        self._first = b""
        self._shows_reasoning = shows_reasoning
        self._id = b""
        self._role_is_due = True
        # The points where another candidate carried the stream on.
        self.joins: list[Joined] = []
        # The text of the current block of reasoning, and the number of blocks sent.
        self._held: list[str] = []
        self._held_chars = 0
        self._blocks = 0
        # The beginning of a chunk with text, and how much of it every chunk begins with. Other kinds are rarer: a
        # stream should not keep their beginnings.
        self._of_text = b""
        self._choices_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether chunks can be rendered, because an `Opened` was rendered."""
        return bool(self._of_text)

    @property
    def _of_choices(self) -> bytes:
        return self._of_text[: self._choices_bytes]

    def render(self, event: Event) -> bytes:
        """The chunk for an event; empty if the event has none.

        The last event (`Finished`, `Broken`) has none: the surface writes the end once the request's end is known.
        """
        if isinstance(event, ContentDelta):
            rendered = self._of_text + _dump(event.text) + _END_OF_DELTA
            if event.logprobs is not None:
                rendered = rendered.removesuffix(b"}") + b',"logprobs":' + _dump(event.logprobs) + b"}"
            rendered += self._end
        elif isinstance(event, ToolCallDelta):
            rendered = self._render_call(event)
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
            self._begin_chunks(self._of_choices)
        elif self._first:
            rendered, self._first = self._first + rendered, b""
        return rendered

    def render_all(self, events: Sequence[Event]) -> bytes:
        """The chunks of events that arrived together, joined for one write."""
        if len(events) == 1 and not self._role_is_due and not self._first:
            event = events[0]
            if type(event) is ContentDelta and event.logprobs is None:
                # As nearly all are.
                return self._of_text + _dump(event.text) + self._end_of_text
        return b"".join([self.render(event) for event in events])

    def render_finish_reason(self, finish_reason: FinishReason) -> bytes:
        """The chunk with the finish reason. It has the role if no earlier chunk had it."""
        delta = b'{"role":"assistant","content":""}' if self._role_is_due else b"{}"
        reason = finish_reason.encode("ascii")
        first, self._first = self._first, b""
        choice = b'{"index":0,"delta":' + delta + b',"finish_reason":"' + reason + b'"}'
        return first + self._of_choices + choice + self._end

    def render_last(self, fields: Mapping[str, object]) -> bytes:
        """A chunk with empty choices, followed by these fields, like OpenAI's chunk of `usage`."""
        return self._of_choices + b"]," + _dump(fields).removeprefix(b"{") + b"\n\n"

    def _render_call(self, delta: ToolCallDelta) -> bytes:
        if self._style.opens_with_role and delta.id is not None and delta.arguments:
            # OpenAI's first delta of a call has empty arguments.
            rest = ToolCallDelta(delta.index, None, None, delta.arguments)
            return self._render_call(evolve(delta, arguments="")) + self._render_call(rest)
        role = b'"role":"assistant","content":null,' if self._role_is_due else b""
        return self._of_choices + _DELTA + role + b'"tool_calls":[' + _dump_call(delta) + _END_OF_CALL + self._end

    def _render_reasoning(self, delta: ReasoningDelta) -> bytes:
        fields = []
        if delta.text:
            text = _dump(delta.text)
            fields += [b'"%b":%b' % (name.encode("ascii"), text) for name in self._style.reasoning_names]
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
        return self._of_choices + _DELTA + role + b",".join(fields) + _END_OF_DELTA + self._end

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
        if not self._style.tells_joins:
            return b""
        meta = _dump({"meta": {"join": join_object(joined)}})
        # One choice, as in every chunk but the last, because clients may read it without a check.
        empty = b'{"index":0,"delta":{},"finish_reason":null}],'
        return self._of_choices + empty + meta.removeprefix(b"{") + b"\n\n"

    def _open(self, opened: Opened) -> None:
        # A copy: orjson 3.13 leaves the shortest text in a buffer of 4 KB, for as long as it is kept.
        self._id = self._id or b"%b" % _dump(completion_id(opened.id))
        choices = b'data: {"id":%b,"object":"chat.completion.chunk","created":%b,"model":%b,"choices":[' % (
            self._id,
            self._created,
            _dump(opened.model),
        )
        if self._style.opens_with_role and self._role_is_due:
            self._role_is_due = False
            self._first = choices + b'{"index":0,"delta":{"role":"assistant","content":""}' + _NO_REASON + self._end
        self._begin_chunks(choices)

    def _begin_chunks(self, choices: bytes) -> None:
        role = b'"role":"assistant",' if self._role_is_due else b""
        self._of_text = choices + _DELTA + role + b'"content":'
        self._choices_bytes = len(choices)


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
