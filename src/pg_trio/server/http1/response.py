"""Responses: takes ASGI messages, returns the bytes to send. No I/O.

Rules:
1. The head waits for the first part of the body, so that both are sent in one write, and so that an error in either can
   still be answered with a clean 500.
2. The server does the framing: an application's `transfer-encoding` is dropped. Its `content-length` is checked: one
   byte more or less is a bug (ResponseMisuse), and the connection must not be used again.
3. Without a length: the body's own if it came whole; chunked in HTTP/1.1; until the connection closes in HTTP/1.0.
4. Answers to HEAD, and 204 and 304, have the head of a full answer, and no body.
5. A malformed name or value (CR, LF, NUL …) is never sent.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from http import HTTPStatus

from pg_trio.server.http1.types import Message, OwnAnswer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding", b"keep-alive"})
_LAST_CHUNK = b"0\r\n\r\n"
# In the place of a start of which the head is made.
_MADE: Message = {}


class ResponseMisuse(RuntimeError):
    """The application broke ASGI or HTTP. This is its bug, and is logged with a traceback."""


class Response:
    """One response under way. `head_made` once its head is in what was returned, `ended` once all of it is."""

    # ── attributes of the class until they are set ───────────────────────────────────────────────────────────────────

    closes = False
    ended = False
    head_made = False
    _start: Message | None = None
    _chunked = False
    # Of a declared length: what is still to be sent.
    _left: int | None = None

    def __init__(self, method: str, version: str) -> None:
        self.version = version
        self.bodiless = method == "HEAD"

    @property
    def cut_looks_whole(self) -> bool:
        """Whether only the end of the connection ends this answer. Then a client sees a cut only by a reset."""
        framed = self._chunked or self.bodiless or self._left is not None
        return self.head_made and not self.ended and not framed

    def start(self, message: Message) -> None:
        """Keep `http.response.start` for the first part of the body."""
        if self._start is not None:
            raise ResponseMisuse("http.response.start was sent twice")
        self._start = message

    def part(self, body: bytes, *, more: bool, keep_alive: bool) -> bytes:
        """What to send for one `http.response.body`. `keep_alive` counts only in the first call, which makes the head.

        Raises: ResponseMisuse, before any byte of the mistake was returned.
        """
        if self._start is None or self.ended:
            raise ResponseMisuse("http.response.body was sent before http.response.start, or after the last one")
        head = b"" if self.head_made else self._make_head(self._start, None if more else len(body), keep_alive)
        self._count(len(body), more)
        if head:
            # A stream would keep its head's fields to its end.
            self.head_made, self._start = True, _MADE
        self.ended = not more
        if self.bodiless:
            return head
        if not self._chunked:
            return head + body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return head + chunk + (b"" if more else _LAST_CHUNK)

    def whole(self, status: int, fields: bytes, body: bytes, *, keep_alive: bool) -> bytes:
        """What to send for a whole answer. Its header lines are checked already, and none of them does framing."""
        if self._start is not None:
            raise ResponseMisuse("a whole answer was sent after http.response.start")
        self._start = _MADE
        self.head_made = self.ended = True
        self.closes = not keep_alive
        status_line = _STATUS_LINES.get(status) or _make_status_line(status)
        end = b"\r\n" if keep_alive and self.version == "1.1" else self._connection_line()
        return b"%b%b%bcontent-length: %d\r\n%b%b" % (status_line, fields, http_date(), len(body), end, body)

    def _connection_line(self) -> bytes:
        """The head's end."""
        if self.closes:
            return b"connection: close\r\n\r\n"
        return b"connection: keep-alive\r\n\r\n" if self.version == "1.0" else b"\r\n"

    def _count(self, size: int, more: bool) -> None:
        if self._left is None or self.bodiless:
            return
        left = self._left - size
        if left < 0 or (left > 0 and not more):
            raise ResponseMisuse(f"body is {-left} bytes longer than its content-length (shorter if negative)")
        self._left = left

    def _make_head(self, start: Message, whole_body_bytes: int | None, keep_alive: bool) -> bytes:
        """The head's bytes; sets how the body is framed and whether the connection closes behind it."""
        status = start["status"]
        status_line = _STATUS_LINES.get(status) or _make_status_line(status)
        block, ours = _join_headers(start.get("headers", ()))
        date = b"" if b"date" in ours else http_date()
        self.closes = not keep_alive or b"close" in ours.get(b"connection", b"").lower()
        framing = self._frame(status, ours.get(b"content-length"), whole_body_bytes)
        return b"".join((status_line, block, date, framing, self._connection_line()))

    def _frame(self, status: int, declared: bytes | None, whole_body_bytes: int | None) -> bytes:
        if status in (204, 304):
            self.bodiless = True
            # A 304 may say what a 200 would have; a 204 must not (RFC 9110 section 8.6).
            return b"content-length: %d\r\n" % _read_length(declared) if declared is not None and status == 304 else b""
        if declared is not None:
            self._left = _read_length(declared)
            return b"content-length: %d\r\n" % self._left
        if whole_body_bytes is not None:
            return b"content-length: %d\r\n" % whole_body_bytes
        if self.version == "1.1":
            self._chunked = not self.bodiless
            return b"transfer-encoding: chunked\r\n"
        self.closes = True
        return b""


def _join_headers(headers: object) -> tuple[bytes, dict[bytes, bytes]]:
    """The header block that the application decides, and its values for the fields that the server decides."""
    lines: list[bytes] = []
    ours: dict[bytes, bytes] = {}
    for name, value in headers:  # type: ignore[attr-defined]  # ASGI: any iterable of pairs
        lower = name.lower()
        if lower == b"date":
            ours[lower] = value
        if lower in _FRAMING:
            if lower == b"content-length" and lower in ours:
                raise ResponseMisuse("content-length was sent twice")
            ours[lower] = value
        else:
            lines.append(b"%b: %b\r\n" % (lower, value))
    block = b"".join(lines)
    # The grammar alone would accept `a\r\nb: c` as two headers; the count of lines does not.
    if not _FIELDS.fullmatch(block) or block.count(b"\n") != len(lines):
        raise ResponseMisuse("a response header holds characters that HTTP forbids")
    return block, ours


def _read_length(declared: bytes) -> int:
    if not declared.isdigit():
        raise ResponseMisuse("content-length is not a number")
    return int(declared)


def status_line_of(status: int) -> bytes:
    """The first line of an answer."""
    return _STATUS_LINES.get(status) or _make_status_line(status)


def _make_status_line(status: object) -> bytes:
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ResponseMisuse("status is not an integer from 200 to 599")
    return b"HTTP/1.1 %d \r\n" % status


_date_second = 0
_date_line = b""


def http_date() -> bytes:
    """The current `date` header line, made once a second."""
    global _date_second, _date_line  # noqa: PLW0603  # a cache for the whole process; Trio's one thread writes it
    now = int(time.time())
    if now != _date_second:
        _date_second = now
        _date_line = f"date: {formatdate(now, usegmt=True)}\r\n".encode("ascii")
    return _date_line


def closing_answer(answer: OwnAnswer, *, is_head: bool = False) -> bytes:
    """The bytes of a whole answer that ends the connection. `is_head`: to a HEAD, so without its body."""
    status, fields, body = answer
    length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return b"".join((status_line_of(status), fields, http_date(), length, b"" if is_head else body))
