"""The answer to requests for which there is no room, sent in the application's place without a call of it."""

from __future__ import annotations

from copy import copy
from itertools import count
from typing import Self
from uuid import UUID

from pg_trio.server.http1.response import status_line_of

# Of a UUID's text: 24 characters stay, the other 12 are a number in hexadecimal digits.
_ID_START = 24


class BusyAnswer:
    """One whole answer of the application, for many requests: each has an id of its own and the present date.

    Half of an id is random, and the other half counts up from a random number: a fifth of the cost of a UUID.
    """

    def __init__(self, status: int, fields: bytes, body: bytes, request_id: UUID) -> None:
        """`fields`: its header lines without the length. `request_id`: the id in its fields and in its body."""
        head = b"%b%bcontent-length: %d\r\n" % (status_line_of(status), fields, len(body))
        self._head = _split_at_id(head, request_id)
        self._body = _split_at_id(body, request_id)
        # One bit less than there is room for: 2**47 answers later the digits would be 13.
        self._numbers = count(request_id.node >> 1)
        # The answer without the number of its id, for a connection that is kept and for one that ends, and their date.
        self._parts: list[bytes] = []
        self._last_parts: list[bytes] = []
        self._date = b""

    def with_fields(self, fields: bytes) -> Self:
        """The same answer with more header lines. All ids remain different."""
        if not fields:
            return self
        other = copy(self)
        *before, last = self._head
        other._head, other._date = [*before, last + fields], b""  # a copy of ours
        return other

    def make_next(self, date: bytes) -> bytes:
        """The bytes for one request whose connection is kept. `date`: what `http_date` returns now."""
        if date is not self._date:
            self._renew_date(date)
        return (b"%012x" % next(self._numbers)).join(self._parts)

    def make_last(self, date: bytes) -> bytes:
        """The same for one whose connection ends."""
        if date is not self._date:
            self._renew_date(date)
        return (b"%012x" % next(self._numbers)).join(self._last_parts)

    def _renew_date(self, date: bytes) -> None:
        *before, last = self._head
        first, *behind = self._body
        self._parts = [*before, b"%b%b\r\n%b" % (last, date, first), *behind]
        self._last_parts = [*before, b"%b%bconnection: close\r\n\r\n%b" % (last, date, first), *behind]
        self._date = date


def _split_at_id(text: bytes, request_id: UUID) -> list[bytes]:
    """The pieces of a text between the last digits of an id."""
    shown = str(request_id).encode("ascii")
    *before, last = text.split(shown)
    return [*[piece + shown[:_ID_START] for piece in before], last]
