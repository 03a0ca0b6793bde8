"""Reads one HTTP/1.1 answer from bytes in pieces of any size. No I/O.

Rules:
1. llhttp decides what is HTTP. A head that its strict mode refuses is repaired if only one reading of it is possible
   (head_repair.py). Spaces behind a chunk's size are accepted, too. Two different lengths and bad chunk sizes stay
   errors, because readers would disagree about where the answer ends. After a repaired head the connection is not
   reused.
2. Interim answers (1xx) are skipped; 101 is an error, because the transport requests no upgrade.
3. Bytes after a whole answer make the connection unusable for reuse, and are never part of the next answer. Line ends
   alone do not: llhttp skips them before the next one, as RFC 9112, 2.2 allows.
4. An answer with neither a length nor chunks ends with the connection (RFC 9112, 6.3): HTTP/1.0 servers do so. Such an
   answer looks whole here even if it was cut; the cut is detected when its JSON or its event stream is read.
5. Memory has two bounds: one for the body, and one for everything else (heads, chunk sizes, trailers). The second is
   `AnswerLimits.head_bytes` plus eight bytes for each byte of body (a one-byte chunk costs five).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httptools
from attrs import field, frozen

from pg_trio.errors import UpstreamBroken, UpstreamNonsense
from pg_trio.transport.head_repair import HopelessHead, repair_head

# A chunk of one byte costs five ("1\r\n…\r\n"); eight leaves room for a longer size.
_FRAMING_BYTES_PER_BODY_BYTE = 8
# What is left of the headers once they were dropped.
_NO_FIELDS: dict[bytes, bytes] = {}
_FRAMED_FIELDS = {b"transfer-encoding": b""}
_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)
_to_lower = bytes.lower


@frozen(slots=True)
class AnswerLimits:
    """The most bytes of an answer's head, and of its body: see rule 5."""

    head_bytes: int
    body_bytes: int
    # An answer of so many bytes is within both.
    small_bytes: int = field(init=False)

    @small_bytes.default
    def _find_smaller(self) -> int:
        return min(self.head_bytes, self.body_bytes)


class Answer:
    """Reads one answer. `status`, `sent_fields`, `fields` and `headers()` are valid once `has_head` is set. `is_whole`
    is set at the answer's end. `sent_fields` are the headers by their names as they came.
    `keeps_alive`: whether its connection can carry another exchange once the answer is whole."""

    # ── attributes of the class until they are set ───────────────────────────────────────────────────────────────────

    status = 0
    has_head = False
    is_whole = False
    keeps_alive = False
    _was_repaired = False
    _wire_bytes = 0
    # Of the body, what was taken already.
    _taken_bytes = 0
    # What was read of a head that is not whole.
    _unread = b""
    _parser: Any = None
    _fields: dict[bytes, bytes] | None = None

    sent_fields: dict[bytes, bytes]

    def __init__(self, limits: AnswerLimits) -> None:
        self.limits = limits
        self._body: list[bytes] = []
        self._begin_head()

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the answer has arrived."""
        return self._wire_bytes > 0

    @property
    def fields(self) -> Mapping[bytes, bytes]:
        """The headers by their names in lower case; of a repeated name the last one, or, of several
        spellings, the last one of the spelling that was new last. Made when they are first read."""
        fields = self._fields
        if fields is None:
            sent = self.sent_fields
            self._fields = fields = dict(zip(map(_to_lower, sent), sent.values()))  # noqa: B905 # of the same object
        return fields

    def headers(self) -> Mapping[str, str]:
        """The same as text."""
        return HeadersAsText(self)

    def forget_headers(self) -> None:
        """Drop the headers: a stream would keep some kilobytes of them to its end."""
        self._fields = _FRAMED_FIELDS if self._says_its_end() else _NO_FIELDS
        self.sent_fields = _NO_FIELDS

    def take_body(self) -> bytes:
        """The body's bytes that arrived since the last call."""
        # Joining one piece gives that piece, not a copy.
        taken = b"".join(self._body)
        self._body.clear()
        self._taken_bytes += len(taken)
        return taken

    def feed(self, piece: bytes) -> None:
        """Take the next bytes from the connection; `b""` means that the peer has closed it.

        Raises: UpstreamBroken if this is not HTTP or ended early; UpstreamNonsense over a size limit.
        """
        if not piece:
            self._end_with_connection()
            return
        self._wire_bytes += len(piece)
        if self._was_repaired and not self.has_head:
            self._feed_repaired(self._unread + piece)
        else:
            try:
                self._parser.feed_data(piece)
            except _PARSER_ERRORS as exc:
                self._judge(exc, piece)
            else:
                if not self.has_head:
                    # Until the head is whole, it may still need a repair.
                    self._unread += piece
        if self._wire_bytes > self.limits.small_bytes:
            self._check_size(self.limits)

    def let_go(self) -> None:
        """Drop the parser. It and this object refer to each other, and only the garbage collector would free the
        cycle."""
        self._parser = None

    def _check_size(self, limits: AnswerLimits) -> None:
        body_bytes = self._taken_bytes + sum(map(len, self._body))
        if body_bytes > limits.body_bytes:
            raise UpstreamNonsense(f"answer's body is over {limits.body_bytes} bytes")
        # Of the framing.
        if self._wire_bytes - body_bytes > limits.head_bytes + _FRAMING_BYTES_PER_BODY_BYTE * body_bytes:
            what = "framing" if self.has_head else "head"
            raise UpstreamNonsense(f"answer's {what} is over {limits.head_bytes} bytes")

    def _begin_head(self) -> None:
        """Let a new parser begin."""
        self._coming_fields: dict[bytes, bytes] = {}
        self._parser = parser = httptools.HttpResponseParser(self)
        parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)

    def _start_repair(self, unread: bytes, exc: Exception) -> None:
        """Read the head again with the repair's rules."""
        self._was_repaired = True
        self._begin_head()
        try:
            self._feed_repaired(unread)
        except UpstreamBroken:
            # llhttp's first error says more.
            raise UpstreamBroken(f"answer is not HTTP: {exc}") from exc

    def _feed_repaired(self, unread: bytes) -> None:
        while not self.has_head:
            try:
                repaired = repair_head(unread)
            except HopelessHead as exc:
                raise UpstreamBroken(f"answer is not HTTP: {exc}") from exc
            if repaired is None:
                self._unread = unread
                return
            head, unread = repaired
            self._feed_repaired_part(head)
        self._unread = b""
        if unread:
            self._feed_repaired_part(unread)

    def _feed_repaired_part(self, part: bytes) -> None:
        try:
            self._parser.feed_data(part)
        except _PARSER_ERRORS as exc:
            self._judge(exc, part)

    def _judge(self, exc: Exception, piece: bytes) -> None:
        """What the parser refused: a head that may be repaired, bytes after the answer, or no HTTP."""
        if isinstance(exc, httptools.HttpParserError) and not (self.has_head or self._was_repaired):
            self._start_repair(self._unread + piece, exc)
        elif self.is_whole:
            # What came after it.
            self.keeps_alive = False
        elif isinstance(exc, httptools.HttpParserUpgrade):
            raise UpstreamBroken("answer switches to a protocol that was not asked for") from exc
        else:
            raise UpstreamBroken(f"answer is not HTTP: {exc}") from exc

    def _end_with_connection(self) -> None:
        if not self.has_head:
            raise UpstreamBroken("connection closed before an answer came")
        if self._says_its_end():
            raise UpstreamBroken("connection closed before the answer was whole")
        self.is_whole = True

    def _says_its_end(self) -> bool:
        return b"content-length" in self.fields or b"transfer-encoding" in self.fields

    # llhttp's callbacks.

    @property
    def on_header(self) -> Callable[[bytes, bytes], None]:
        """Takes one field. A function of ours would take most of the time of reading a head with twenty fields."""
        return self._coming_fields.__setitem__

    def on_message_begin(self) -> None:
        if self.is_whole:
            raise _ExcessFound

    def on_headers_complete(self) -> None:
        parser, fields = self._parser, self._coming_fields
        self.status = status = parser.get_status_code()
        if status < 200:
            fields.clear()
            return
        # Trailers come to the fields as they were, which the parser keeps as long as it lives.
        self.sent_fields = fields.copy()
        fields.clear()
        self.has_head = True
        self.keeps_alive = parser.should_keep_alive() and not self._was_repaired

    @property
    def on_body(self) -> Callable[[bytes], None]:
        """Takes a piece of the body."""
        return self._body.append

    def on_message_complete(self) -> None:
        # Of an interim answer, there was no head.
        self.is_whole = self.has_head


class HeadersAsText(Mapping[str, str]):
    """Headers as text, decoded when they are read: most answers' headers are never read."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __getitem__(self, name: str) -> str:
        return self._answer.fields[name.encode("latin-1", "replace")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._answer.fields)

    def __len__(self) -> int:
        return len(self._answer.fields)


class _ExcessFound(Exception):
    """Stops the parser at the start of a second answer."""
