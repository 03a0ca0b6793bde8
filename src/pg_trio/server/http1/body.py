"""Request bodies: takes bytes as they arrive, returns the body's bytes and the rest. No I/O.

llhttp does not say where a message ended inside the bytes it was fed. So it cannot separate a body from a pipelined
request behind it, and these two readers do. Refused here: bare line feeds, chunk sizes with a sign, `0x`, white
space or over 15 digits, over-long extensions, trailers over their limit, a chunk not followed by CRLF.
"""

from __future__ import annotations

import re

from pg_trio.server.http1.head import Refused

# 256 B for a size line: sizes take 16, and clients send no extensions. Node limits all of a body's extensions to 16
# KiB.
MAX_SIZE_LINE_BYTES = 256
# 8 KiB: a head is 32 KiB at most, and trailers are rare and short.
MAX_TRAILER_BYTES = 8 * 1024

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15}+)((?:;[\t\x20-\x7e\x80-\xff]*+)?)")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+")
# Fields that a trailer must not have: RFC 9110 section 6.5.1 (framing, routing).
_FORBIDDEN_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"host"})


class LengthBody:
    """A body of a known length."""

    __slots__ = ("left",)

    def __init__(self, length: int) -> None:
        self.left = length

    @property
    def ended(self) -> bool:
        return self.left == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The part of `data` that is body, and the rest, which is not for this body."""
        body = data[: self.left]
        self.left -= len(body)
        return body, data[len(body) :]


class ChunkedBody:
    """A chunked body. `left` is None, because its length is not known."""

    __slots__ = ("_chunk_left", "_pending", "_state", "_trailer_bytes")

    left = None

    def __init__(self) -> None:
        self._state = "size"
        self._chunk_left = 0
        self._pending = b""
        self._trailer_bytes = 0

    @property
    def ended(self) -> bool:
        return self._state == "end"

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The body's bytes in `data`, and the bytes after the body's end. Keeps an unfinished line for the next call.

        Raises: Refused if this is not a chunked body. The reader must not be fed after that.
        """
        data = self._pending + data
        self._pending = b""
        parts: list[bytes] = []
        position = 0
        while self._state != "end":
            if self._state == "data":
                part = data[position : position + self._chunk_left]
                parts.append(part)
                position += len(part)
                self._chunk_left -= len(part)
                if self._chunk_left:
                    break
                self._state = "data end"
            line_end = self._find_line_end(data, position)
            if line_end < 0:
                self._pending = data[position:]
                break
            self._take_line(data[position:line_end])
            position = line_end + 2
        return b"".join(parts), data[position:] if self._state == "end" else b""

    def _find_line_end(self, data: bytes, position: int) -> int:
        limit = {"size": MAX_SIZE_LINE_BYTES, "data end": 0}.get(self._state, MAX_TRAILER_BYTES)
        line_end = data.find(b"\r\n", position, position + limit + 2)
        if line_end < 0:
            waiting = data[position:]
            # A lone CR may be half of the CRLF to come.
            if len(waiting.removesuffix(b"\r")) > limit or b"\n" in waiting:
                raise Refused(400, "Malformed chunked body.")
        return line_end

    def _take_line(self, line: bytes) -> None:
        if self._state == "data end":
            self._state = "size"
        elif self._state == "size":
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise Refused(400, "Malformed chunk size.")
            self._chunk_left = int(match[1], 16)
            self._state = "data" if self._chunk_left else "trailer"
        elif not line:
            self._state = "end"
        else:
            self._check_trailer(line)

    def _check_trailer(self, line: bytes) -> None:
        """Trailers are checked and dropped: ASGI has no place for a request's."""
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise Refused(431, "Trailers are too large.")
        if not _TRAILER.fullmatch(line) or line.partition(b":")[0].lower() in _FORBIDDEN_TRAILERS:
            raise Refused(400, "Malformed trailer.")


# The rest of every body that came with its head.
NOTHING_LEFT = LengthBody(0)


def open_body(length: int | None) -> LengthBody | ChunkedBody:
    """The reader for a body of `length` bytes, chunked if None."""
    return ChunkedBody() if length is None else LengthBody(length)
