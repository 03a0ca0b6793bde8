"""Parses server-sent events from bytes in pieces: the event stream format of the WHATWG. No I/O.

Rules:
1. Lines end with CR LF, LF or CR, in any mix. A blank line completes the event; an event without data is ignored.
2. Bytes may be split anywhere, inside a line end or a character too: the events are the same, each as soon as its blank
   line is there (a lone CR counts, so that the event does not wait for a possible LF).
3. `id` and `retry` are for clients that reconnect, and are ignored like every unknown field. Comments are counted.
4. An event that the end of the stream cuts is dropped, as in the standard; `close` returns its size. Against the
   standard, `finish` returns the last event if only its line end is missing, because whole JSON was not cut.
5. Data stay bytes; the JSON parser checks their UTF-8. (The standard replaces invalid bytes by U+FFFD. Here such an
   answer is refused, not changed.)
6. A failure is data: the events before it are returned, so that no event depends on how the bytes were split.
7. Against the standard, a data line ends the previous event if that is one line of whole JSON: some servers leave the
   blank lines out (GLM-4.7, Kimi-K2.5: rexxars/eventsource-parser#31). From then on each such line is an event.
8. Against the standard, a field `error` is an event of that type (llama.cpp of 2025: ggml-org/llama.cpp#16109).

Source: html.spec.whatwg.org, "Server-sent events", parsing and interpreting an event stream, read 2026-11.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.json_text import BOM, read_json

# 256 MiB, the default of `upstream.max_stream_bytes`: one event may be as long as its stream, which transports limit.
# Pictures come as events of some megabytes (open-webui/open-webui#20779).
MAX_EVENT_BYTES = 256 * 1024 * 1024

# A whole body with more lines is not read as a stream, because reading it holds up all other requests: 16 MiB, the
# default of `upstream.max_body_bytes`, in lines of 80 bytes. Chunks of real streams have two hundred bytes and more.
MAX_LINES = 200_000

_DATA = b"data: "
# The beginnings of a stream's first line.
_FIELDS = (b"data:", b"event:", b"error:", b"retry:", b"id:", b":")


class ServerSentEvent(NamedTuple):
    """One event. `event` is its type, "message" unless it names one; several data lines are joined with LF.

    A tuple, because one is made for each token, in half the time of a frozen attrs object.
    """

    data: bytes
    event: str = "message"


class EventStreamParser:
    """One stream's parser. `failure` is set once a line or event is over the limit; after that there are no events."""

    __slots__ = (
        "_after_cr",
        "_at_start",
        "_by_lines",
        "_data",
        "_event",
        "_max_event_bytes",
        "_size",
        "_tail",
        "_was_checked",
        "comments",
        "failure",
    )

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._at_start = True
        self._after_cr = False
        # Whether blank lines are left out (rule 7).
        self._by_lines = False
        # The incomplete line, in pieces, and the incomplete event, in data lines. `_size` counts both.
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._event = b""
        self._size = 0
        # Whether the only data line was already found not to be whole, so that it is not parsed for each line after it.
        self._was_checked = False
        self.comments = 0
        self.failure: UpstreamNonsense | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that these bytes complete."""
        if self._at_start:
            data = self._skip_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._unify_line_ends(data)
        if self.failure is not None or not data:
            return []
        if b"\n" not in data:
            # Joined only when the line ends; otherwise single bytes would take quadratic time.
            self._keep(data)
            return []
        if self._tail:
            self._size -= sum(map(len, self._tail))
            self._tail.append(data)
            data = b"".join(self._tail)
            self._tail = []
        if self._data or self._event or len(data) > self._max_event_bytes:
            return self._take_lines(data)
        return self._take_blocks(data)

    @property
    def is_between_events(self) -> bool:
        """Whether nothing is kept of the bytes so far, so that the next ones begin an event."""
        kept = self._tail or self._data or self._event or self._after_cr
        return not (kept or self._at_start or self._by_lines or self.failure is not None)

    def finish(self) -> list[ServerSentEvent]:
        """The stream has ended: return the event without an end, if its data is whole."""
        tail = b"".join(self._tail)
        name, _, value = tail.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"error" and is_whole(value):
            found = ServerSentEvent(value, "error")
        else:
            data = b"\n".join([*self._data, value] if name == b"data" else self._data)
            if not is_whole(data):
                return []
            found = ServerSentEvent(data, self._event.decode("utf-8", "replace") or "message")
        self.close()
        return [found]

    def close(self) -> int:
        """The stream has ended: drop the incomplete event, and return the number of its bytes."""
        left, self._size = self._size + len(self._event), 0
        self._tail, self._data, self._event, self._was_checked = [], [], b"", False
        return left

    def _take_blocks(self, data: bytes) -> list[ServerSentEvent]:
        """The usual case: events of bytes that start at an event's beginning and are within the size limit of one."""
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        events: list[ServerSentEvent] = []
        for block in blocks:
            if block.startswith(_DATA) and b"\n" not in block:
                events.append(ServerSentEvent(block[6:]))
            else:
                events += self._take_lines(block + b"\n\n")
        if rest:
            events += self._take_lines(rest)
        return events

    def _take_lines(self, data: bytes) -> list[ServerSentEvent]:
        """The same, line by line, in any state. Bytes after the last line end are kept."""
        events: list[ServerSentEvent] = []
        lines = data.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._finish_event())
                self._event = b""
            elif not self._take_line(line, events):
                return events
        if rest:
            self._keep(rest)
        return events

    def _take_line(self, line: bytes, events: list[ServerSentEvent]) -> bool:
        if self._size + len(line) > self._max_event_bytes:
            self._fail()
            return False
        name, _, value = line.partition(b":")
        if not name:
            self.comments += 1
        elif name == b"data":
            self._end_line_event(events)
            self._data.append(value.removeprefix(b" "))
            # The line end counts too; otherwise an event of empty data lines would have no size.
            self._size += len(value) + 1
            if self._by_lines and len(self._data) == 1 and is_whole(self._data[0]):
                events.append(self._finish_event())
        elif name == b"event":
            self._end_line_event(events)
            self._event = value.removeprefix(b" ")
        elif name == b"error" and value:
            events.append(ServerSentEvent(value.removeprefix(b" "), "error"))
        return True

    def _end_line_event(self, events: list[ServerSentEvent]) -> None:
        """Complete the previous line's event, if that line was whole JSON (rule 7)."""
        # An event of several lines is not such an event, and checking each time would take quadratic time.
        if len(self._data) != 1 or self._was_checked:
            return
        self._was_checked = True
        if is_whole(self._data[0]):
            self._by_lines = True
            events.append(self._finish_event())
            self._event = b""

    def _finish_event(self) -> ServerSentEvent:
        event = ServerSentEvent(b"\n".join(self._data), self._event.decode("utf-8", "replace") or "message")
        self._data = []
        self._size = 0
        self._was_checked = False
        return event

    def _keep(self, piece: bytes) -> None:
        self._tail.append(piece)
        self._size += len(piece)
        if self._size > self._max_event_bytes:
            self._fail()

    def _fail(self) -> None:
        self.close()
        self.failure = UpstreamNonsense(f"an event of the stream is larger than {self._max_event_bytes} bytes")

    def _skip_bom(self, data: bytes) -> bytes:
        """The stream's first bytes without a byte order mark; nothing while they may still become one."""
        start = b"".join(self._tail) + data
        self._tail, self._size = [], 0
        if len(start) < len(BOM) and BOM.startswith(start):
            self._tail, self._size = [start], len(start)
            return b""
        self._at_start = False
        return start.removeprefix(BOM)

    def _unify_line_ends(self, data: bytes) -> bytes:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def is_whole(data: bytes) -> bool:
    """Whether an event's data is complete: a JSON object, or `[DONE]`."""
    if data[:1] != b"{" or data[-1:] != b"}":
        return data == b"[DONE]"
    try:
        read_json(data)
    except orjson.JSONDecodeError:
        return False
    return True


def begins_as_stream(start: bytes) -> bool | None:
    """Whether a body with this beginning is an event stream; None if more bytes are needed."""
    start = start.removeprefix(BOM).lstrip(b" \t\r\n")
    if start.startswith(_FIELDS):
        return True
    return None if any(field.startswith(start) for field in _FIELDS) or BOM.startswith(start) else False


def check_lines(body: bytes) -> None:
    """Raises UpstreamNonsense if a whole body has too many lines to be read as a stream."""
    if max(body.count(b"\n"), body.count(b"\r")) > MAX_LINES:
        raise UpstreamNonsense(f"the answer is a stream with more than {MAX_LINES} lines")


def is_json_lines(body: bytes) -> bool:
    """Whether a body has a stream's chunks without field names, one a line (`application/x-ndjson`)."""
    lines = body.split(b"\n", 2)
    return len(lines) > 1 and bool(lines[1].strip()) and is_whole(lines[0].strip()) and lines[1].lstrip()[:1] == b"{"


def as_stream(json_lines: bytes) -> bytes:
    """Lines of JSON as the events of a stream."""
    return b"".join([b"data: " + line + b"\n\n" for line in json_lines.splitlines()])
