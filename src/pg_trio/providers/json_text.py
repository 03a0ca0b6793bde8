"""Reads JSON as providers really write it.

Rules:
1. orjson reads valid JSON, at its speed. Only texts that orjson refuses are read again here.
2. Also accepted: a byte order mark, UTF-16 and UTF-32, NaN and Infinity, control characters and lone surrogates in
   strings, integers past 64 bits. Each has one meaning. A cut or meaningless text is still a `JSONDecodeError`.
3. Lone surrogates stay in the strings, because the other half of a character may be in the next chunk of a stream.
   `mend_text`, `HalfText` and `mend_values` remove them.

Sources: RFC 8259, sections 8.1 (byte order marks) and 8.2 (lone surrogates); Python's `json` writes NaN by default.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

import orjson

from pg_trio.domain.chat import Json

# 16 MiB, the default of `upstream.max_body_bytes`: Python's own parser takes ten times as long as orjson.
MAX_ODD_BYTES = 16 * 1024 * 1024

BOM = b"\xef\xbb\xbf"

_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH_HALVES = ("\ud800", "\udbff")


def read_json(data: bytes) -> Json:
    """The value of a JSON text. Raises orjson.JSONDecodeError, with the place, if the text has no value."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        return _read_odd(data, exc)


def _read_odd(data: bytes, error: orjson.JSONDecodeError) -> Json:
    if not data or len(data) > MAX_ODD_BYTES:
        raise error
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        # `strict=False` accepts a line break inside a string, which a provider forgot to escape.
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        # UnicodeDecodeError and JSONDecodeError are ValueErrors; so is an integer of more digits than Python converts.
        _raise_again(error)


def _raise_again(error: orjson.JSONDecodeError) -> NoReturn:
    raise error


def has_surrogates(text: str) -> bool:
    """Whether the text holds halves of characters, which UTF-8 cannot encode."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def mend_text(text: str) -> str:
    """The text with U+FFFD in place of each lone surrogate; adjacent halves become their character."""
    if not has_surrogates(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mend_values(value: Json) -> Json:
    """The value with every string and key in it mended. Raises RecursionError if it is nested too deeply."""
    if isinstance(value, str):
        return mend_text(value)
    if isinstance(value, list):
        return [mend_values(item) for item in value]
    if isinstance(value, dict):
        return {mend_text(key): mend_values(item) for key, item in value.items()}
    return value


class HalfText:
    """Text in pieces, where a piece may end with half of a character and the next begin with the other."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def take(self, piece: str) -> str:
        """The text that is complete now; a half at its end is kept for the next piece."""
        piece = self._half + piece
        self._half = ""
        if piece and _HIGH_HALVES[0] <= piece[-1] <= _HIGH_HALVES[1]:
            self._half = piece[-1]
            piece = piece[:-1]
        return mend_text(piece)

    def close(self) -> str:
        """The rest: U+FFFD for half a character; "" if nothing is left."""
        left, self._half = self._half, ""
        return mend_text(left)
