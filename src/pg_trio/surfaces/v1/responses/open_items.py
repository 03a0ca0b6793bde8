"""Items of a streamed response while they grow, and the events that tell the client of them.

An item begins with `response.output_item.added`, grows in deltas, and ends with its `done` events, the last of which is
`response.output_item.done`. The constant part of a delta is made once per item.

Source: OpenAI, API reference, "Streaming events", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import orjson

from pg_trio.domain.tools import ToolCall
from pg_trio.surfaces.openai_chunks import escape_line_ends
from pg_trio.surfaces.v1.responses.output_items import call_item, message_item, reasoning_item, summary_part, text_part
from pg_trio.surfaces.v1.responses.response_object import Item, ResponseStatus
from pg_trio.surfaces.v1.responses.token_logprobs import Logprob, without_bytes

_END_OF_TEXT = b',"logprobs":[]}\n\n'
_END = b"}\n\n"


class EventFrames:
    """Writes events as frames of an event stream, and numbers them."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def write(self, kind: str, fields: dict[str, object]) -> bytes:
        """One event: `response.{kind}`."""
        name = f"response.{kind}"
        event = {"type": name, "sequence_number": self._next, **fields}
        self._next += 1
        return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), dump_line(event))

    def write_delta(self, start: bytes, text: str, end: bytes) -> bytes:
        """One delta: `start` is from `start_delta`, `end` closes its object."""
        number = self._next
        self._next += 1
        return b'%b%d,"delta":%b%b' % (start, number, dump_line(text), end)


def start_delta(kind: str, fields: dict[str, object]) -> bytes:
    """The constant part of an item's deltas."""
    name = f"response.{kind}.delta"
    start = dump_line({"type": name, **fields}).removesuffix(b"}")
    return b'event: %b\ndata: %b,"sequence_number":' % (name.encode("ascii"), start)


def dump_line(value: object) -> bytes:
    """JSON on one line, for every reader of lines: see openai_chunks.py, rule 4."""
    return escape_line_ends(orjson.dumps(value))


class OpenItem(Protocol):
    """An item of the output, whole or not."""

    @property
    def is_open(self) -> bool:
        """Whether it may still grow."""

    def close(self, status: ResponseStatus = "completed") -> bytes:
        """Its last events."""

    def as_item(self, status: ResponseStatus) -> Item:
        """The item as it is now. `status` is for an item that is still open."""


class _Growing:
    """What the items have in common. `place` are the fields of each of its events."""

    def __init__(self, frames: EventFrames, item_id: str, index: int) -> None:
        self._frames = frames
        self._id = item_id
        self._index = index
        self._texts: list[str] = []
        self._ended: ResponseStatus | None = None

    @property
    def is_open(self) -> bool:
        """See OpenItem."""
        return self._ended is None

    @property
    def _place(self) -> dict[str, object]:
        return {"item_id": self._id, "output_index": self._index}

    def _write_item(self, kind: str, item: Item) -> bytes:
        return self._frames.write(f"output_item.{kind}", {"output_index": self._index, "item": item})


class OpenMessage(_Growing):
    """The text of the answer."""

    def open(self) -> bytes:
        """Its first events."""
        place = {**self._place, "content_index": 0}
        self._start = start_delta("output_text", place)
        self._logprobs: list[Logprob] = []
        added = self._write_item("added", message_item(self._id, [], "in_progress"))
        return added + self._frames.write("content_part.added", {**place, "part": text_part("")})

    def add(self, text: str, logprobs: Sequence[Logprob] = ()) -> bytes:
        """A delta."""
        self._texts.append(text)
        if not logprobs:
            return self._frames.write_delta(self._start, text, _END_OF_TEXT)
        self._logprobs += logprobs
        return self._frames.write_delta(self._start, text, b',"logprobs":%b}\n\n' % dump_line(without_bytes(logprobs)))

    def close(self, status: ResponseStatus = "completed") -> bytes:
        """See OpenItem."""
        self._ended = status
        text, place, write = "".join(self._texts), {**self._place, "content_index": 0}, self._frames.write
        done = write("output_text.done", {**place, "text": text, "logprobs": without_bytes(self._logprobs)})
        done += write("content_part.done", {**place, "part": text_part(text, self._logprobs)})
        return done + self._write_item("done", self.as_item(status))

    def as_item(self, status: ResponseStatus) -> Item:
        """See OpenItem."""
        return message_item(self._id, [text_part("".join(self._texts), self._logprobs)], self._ended or status)


class OpenReasoning(_Growing):
    """A block of reasoning. `encrypted` is set before `close`, where there is such content."""

    encrypted: str | None = None

    def open(self) -> bytes:
        """Its first event."""
        return self._write_item("added", reasoning_item(self._id, "", None, "in_progress"))

    def add(self, text: str) -> bytes:
        """A delta; before the first, the part that it belongs to."""
        added = b""
        if not self._texts:
            place = {**self._place, "summary_index": 0}
            self._start = start_delta("reasoning_summary_text", place)
            added = self._frames.write("reasoning_summary_part.added", {**place, "part": summary_part("")})
        self._texts.append(text)
        return added + self._frames.write_delta(self._start, text, _END)

    def text(self) -> str:
        """Its text so far."""
        return "".join(self._texts)

    def close(self, status: ResponseStatus = "completed") -> bytes:
        """See OpenItem."""
        self._ended = status
        done = b""
        if self._texts:
            text, place = self.text(), {**self._place, "summary_index": 0}
            done = self._frames.write("reasoning_summary_text.done", {**place, "text": text})
            done += self._frames.write("reasoning_summary_part.done", {**place, "part": summary_part(text)})
        return done + self._write_item("done", self.as_item(status))

    def as_item(self, status: ResponseStatus) -> Item:
        """See OpenItem."""
        return reasoning_item(self._id, self.text(), self.encrypted, self._ended or status)


class OpenCall(_Growing):
    """A function call."""

    def open(self, call_id: str, name: str) -> bytes:
        """Its first event."""
        self._call_id, self._name = call_id, name
        self._start = start_delta("function_call_arguments", self._place)
        return self._write_item("added", self.as_item("in_progress"))

    def add(self, arguments: str) -> bytes:
        """A delta."""
        self._texts.append(arguments)
        return self._frames.write_delta(self._start, arguments, _END)

    def close(self, status: ResponseStatus = "completed") -> bytes:
        """See OpenItem."""
        self._ended = status
        # Go's and Java's SDKs read the name, too, which OpenAI's documentation shows.
        fields = {**self._place, "arguments": "".join(self._texts)}
        done = self._frames.write("function_call_arguments.done", fields)
        return done + self._write_item("done", self.as_item(status))

    def as_item(self, status: ResponseStatus) -> Item:
        """See OpenItem."""
        call = ToolCall(self._call_id, self._name, "".join(self._texts))
        return call_item(self._id, call, self._ended or status)
