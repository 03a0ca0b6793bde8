"""Server-sent events, read from bytes as they come: the event stream format of the WHATWG. No I/O.

Rules:
1. Lines end with CR LF, LF or CR, mixed as they please. A blank line sends the event off; what has no data is none.
2. Bytes may be split anywhere, inside a line end or a character too: the events are the same, each as soon as its
   blank line is there (a lone CR is one, so that the event does not wait for the LF that may follow it).
3. `id` and `retry` are for clients that reconnect, and are ignored like every unknown field. Comments are counted.
4. An event that the end of the stream cuts is dropped, as the standard says; `close` tells how much that was.
5. Data stay bytes: whoever parses them as JSON checks their UTF-8. (The standard would put U+FFFD for what is none;
   we would rather refuse such an answer than change it.)
6. A failure is data: the events before it count, so that no event depends on how the bytes were split.

Source: html.spec.whatwg.org, "Server-sent events", parsing and interpreting an event stream, read 2026-11.
"""

from __future__ import annotations

from typing import NamedTuple

from pg_trio.errors import UpstreamNonsense

# 1 MiB: an answer of 200,000 tokens (the most an endpoint may ask for) in a single event. openai-go takes 32 MiB a
# line, Go's own scanner 64 KiB, aiohttp 128 KiB.
MAX_EVENT_BYTES = 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "


class ServerSentEvent(NamedTuple):
    """One event. `event` is its type, "message" unless it names one; several data lines are joined with LF.

    A tuple: one is made for each token, in half the time that a frozen attrs object takes.
    """

    data: bytes
    event: str = "message"


class EventStreamParser:
    """One stream's parser. `failure` is set once a line or event is over the limit; after that nothing comes."""

    __slots__ = (
        "_after_cr",
        "_at_start",
        "_data",
        "_event",
        "_max_event_bytes",
        "_size",
        "_tail",
        "comments",
        "failure",
    )

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._at_start = True
        self._after_cr = False
        # The line that is not whole yet, in pieces; and the event that is not, in data lines. `_size` counts both.
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._event = b""
        self._size = 0
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
            # Joined only once its line ends: a byte at a time would otherwise cost the square of the line's length.
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

    def close(self) -> int:
        """The stream has ended: drop the event that is not whole, and say how many bytes of it there were."""
        left, self._size = self._size + len(self._event), 0
        self._tail, self._data, self._event = [], [], b""
        return left

    def _take_blocks(self, data: bytes) -> list[ServerSentEvent]:
        """The events of bytes that begin where an event does and are no longer than one may be: the usual case."""
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
        """The same line by line, whatever came before. What follows the last line end is kept."""
        events: list[ServerSentEvent] = []
        lines = data.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._finish_event())
                self._event = b""
            elif not self._take_line(line):
                return events
        if rest:
            self._keep(rest)
        return events

    def _take_line(self, line: bytes) -> bool:
        if self._size + len(line) > self._max_event_bytes:
            self._fail()
            return False
        name, _, value = line.partition(b":")
        if not name:
            self.comments += 1
        elif name == b"data":
            self._data.append(value.removeprefix(b" "))
            # The line end too, or an event of empty data lines would weigh nothing.
            self._size += len(value) + 1
        elif name == b"event":
            self._event = value.removeprefix(b" ")
        return True

    def _finish_event(self) -> ServerSentEvent:
        event = ServerSentEvent(b"\n".join(self._data), self._event.decode("utf-8", "replace") or "message")
        self._data = []
        self._size = 0
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
        """The stream's first bytes without a byte order mark; nothing as long as they could become one."""
        start = b"".join(self._tail) + data
        self._tail, self._size = [], 0
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._tail, self._size = [start], len(start)
            return b""
        self._at_start = False
        return start.removeprefix(_BOM)

    def _unify_line_ends(self, data: bytes) -> bytes:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
