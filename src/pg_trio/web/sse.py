"""A streamed answer on its way to the client: the contract's chunks, as bytes.

Rules (docs/api.md, "Streaming"):
1. One stream has one id, one `created` and one role, which its first chunk carries, be it of reasoning; also where
   another candidate carried it on; where it did, a chunk with nothing in its delta has `meta.join`.
2. A good end is a chunk with the finish reason, a chunk without choices (usage, meta), `[DONE]`. A bad one is a chunk
   whose finish reason is `error`, an `error` event, `[DONE]`: a cut stream never looks like a finished one.
3. U+0085, U+2028 and U+2029 are written as escapes. They end no line of an event stream, but they do where a client
   splits its text with Python's `splitlines` (httpx's `iter_lines` does), and would tear a chunk in two.

What is the same in every chunk is made once a stream; a token costs the JSON of its text and two joins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.events import ContentDelta, Event, Joined, Opened, ReasoningDelta, ToolCallDelta
from pg_trio.errors import GatewayError, error_body

STREAM_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    # Without the charset, clients that read by HTTP/1.1's old default take UTF-8 for Latin-1 (Python's requests).
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # nginx would collect the stream in its buffers.
    (b"x-accel-buffering", b"no"),
)

# A comment: clients ignore it; proxies in between see that the connection lives.
KEEP_ALIVE = b": keep-alive\n\n"

_DONE = b"data: [DONE]\n\n"
_END_OF_TEXT = b'},"finish_reason":null}]}\n\n'
_END_OF_CALL = b']},"finish_reason":null}]}\n\n'


class StreamRenderer:
    """Writes one stream. `created_s` is Unix seconds. Nothing is rendered before its first `Opened`."""

    __slots__ = (
        "_created",
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
        # Where the stream was carried on by another candidate.
        self.joins: list[Joined] = []
        # How chunks of each kind begin.
        self._of_text = self._of_call = self._of_choices = self._of_delta = b""

    @property
    def is_open(self) -> bool:
        """Whether chunks can be rendered: an `Opened` has come."""
        return bool(self._of_choices)

    def render(self, event: Event) -> bytes:
        """What the client gets for an event: nothing for those that are none of its business.

        The last event is not rendered here: the caller renders the request's end with `finish` or `fail`.
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
            if not event.text or not self._shows_reasoning:
                return b""
            # An empty content: the role's chunk has one in OpenAI's streams, too.
            role = b'"role":"assistant","content":"",' if self._role_is_due else b""
            rendered = self._of_delta + role + b'"reasoning_content":' + _dump(event.text) + _END_OF_TEXT
        elif isinstance(event, Joined):
            return self._join(event)
        else:
            return b""
        if self._role_is_due:
            self._role_is_due = False
            self._begin_chunks()
        return rendered

    def render_all(self, events: Iterable[Event]) -> bytes:
        """The same for events that came together, in one piece: one write."""
        return b"".join([self.render(event) for event in events])

    def finish(self, finish_reason: FinishReason, usage: Usage, meta: Mapping[str, object]) -> bytes:
        """The end of a whole answer. `meta` goes out as it is: `request_id`, `session_id`, what else there is."""
        trailer = _dump({"usage": usage_object(usage), "meta": meta})
        return (
            self._render_finish_reason(finish_reason)
            + self._of_choices
            + b"],"
            + trailer.removeprefix(b"{")
            + b"\n\n"
            + _DONE
        )

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that broke after its head."""
        return (
            self._render_finish_reason("error")
            + b"event: error\ndata: "
            + _escape_line_ends(error_body(error))
            + b"\n\n"
            + _DONE
        )

    def _render_finish_reason(self, finish_reason: FinishReason) -> bytes:
        delta = b'{"role":"assistant","content":""}' if self._role_is_due else b"{}"
        reason = finish_reason.encode("ascii")
        return self._of_choices + b'{"index":0,"delta":' + delta + b',"finish_reason":"' + reason + b'"}]}\n\n'

    def _join(self, joined: Joined) -> bytes:
        self.joins.append(joined)
        meta = _dump({"meta": {"join": join_object(joined)}})
        # One choice, as in every chunk but the last: a client may well look into it without asking.
        empty = b'{"index":0,"delta":{},"finish_reason":null}],'
        return self._of_choices + empty + meta.removeprefix(b"{") + b"\n\n"

    def _open(self, opened: Opened) -> None:
        self._id = self._id or _dump(opened.id)
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
    return _escape_line_ends(orjson.dumps(value))


def _escape_line_ends(text: bytes) -> bytes:
    """JSON text without the characters that end lines for some (rule 3); inside strings only, so it means the same."""
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
        }
    return _dump(call)


def join_object(joined: Joined) -> dict[str, object]:
    """What a client is told of a join: what it does with its text, and who broke and who goes on."""
    return {
        "mode": joined.mode,
        "characters": joined.characters,
        "provider": joined.provider,
        "model": joined.model,
        "why": joined.why,
    }


def usage_object(usage: Usage) -> dict[str, object]:
    """The contract's `usage`; says where we counted because the provider did not."""
    shape: dict[str, object] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.estimated:
        shape["estimated"] = True
    return shape
