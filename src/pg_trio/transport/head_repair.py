"""Rewrites an answer's head that llhttp refuses, if only one reading of it is possible. No I/O.

Rules:
      1. Lines may end with LF alone (RFC 9112, 2.2). Folded lines are unfolded (5.2). White space between a name and
         its colon is removed (5.1). A line whose name is not a token is left out, because it cannot affect where the
         answer ends. Other control characters in a value become spaces (RFC 9110, 5.5). A line without a colon is still
         refused.
2. Content-Length may be repeated, as lines or as a list, if it is the same number each time (RFC 9110, 8.6). Beside a
   Transfer-Encoding it is left out, as in RFC 9112, 6.3. Two different lengths are still refused.
3. A connection with a repaired head must not be used again, because another reader may have understood the head
   differently.
"""

from __future__ import annotations

import re

_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?")
_STATUS_START = b"HTTP/1."
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# An old coding of HTTP/1.1 (RFC 2616, 3.6) without effect.
_NO_CODING = frozenset({b"", b"identity"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_FOLD = re.compile(rb"\r?\n[ \t]+")


class HopelessHead(ValueError):
    """The head has no safe reading, or is not a head of HTTP/1."""


def repair_head(data: bytes) -> tuple[bytes, bytes] | None:
    """The first head in the bytes, rewritten so that llhttp reads it, and the bytes after it; None if the head is
    incomplete.

    Raises: HopelessHead.
    """
    data = data.lstrip(b"\r\n")
    if not data.startswith(_STATUS_START[: len(data)]):
        raise HopelessHead("does not begin with HTTP/1")
    end = _END.search(data)
    if end is None:
        return None
    first, *lines = _FOLD.sub(b" ", data[: end.start()]).split(b"\n")
    if not _STATUS_LINE.fullmatch(first.rstrip(b"\r ")):
        raise HopelessHead("has no status line")
    kept = [first.rstrip(b"\r "), *_framed(_read_fields(lines))]
    return b"\r\n".join(kept) + b"\r\n\r\n", data[end.end() :]


def _read_fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in lines:
        name, colon, value = line.rstrip(b"\r").partition(b":")
        name = name.rstrip(b" \t")
        if not colon or not name:
            raise HopelessHead("has a line that is no header")
        if _NAME.fullmatch(name):
            fields.append((name, _CONTROLS.sub(b" ", value).strip(b" \t")))
    return fields


def _framed(fields: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The lines, with at most one length."""
    # In order, each once.
    named = dict.fromkeys(value.lower() for name, value in fields if name.lower() == b"transfer-encoding")
    lengths = {
        _read_length(part) for name, value in fields if name.lower() == b"content-length" for part in value.split(b",")
    }
    lines = [b"%b: %b" % field for field in fields if field[0].lower() not in _FRAMING]
    if codings := [coding for coding in named if coding not in _NO_CODING]:
        return [*lines, b"Transfer-Encoding: " + b", ".join(codings)]
    if len(lengths) > 1:
        raise HopelessHead("has two different lengths")
    return [*lines, *(b"Content-Length: %d" % length for length in lengths)]


def _read_length(text: bytes) -> int:
    digits = text.strip(b" \t")
    # 18 digits are an exabyte; llhttp's counters hold no more.
    if not digits.isdigit() or len(digits) > 18:
        raise HopelessHead("has a length that is no number")
    return int(digits)
