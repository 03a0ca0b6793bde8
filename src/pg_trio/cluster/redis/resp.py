"""Redis's wire (RESP2): commands as bytes, replies as values. No I/O.

Source: Redis serialization protocol specification, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from attrs import frozen

# 64 MiB: more than any reply of ours; Redis itself allows 512 MiB for one string.
MAX_REPLY_BYTES = 64 * 1024 * 1024
# Nesting of arrays. Our deepest reply (a stream's entries) has 4.
MAX_DEPTH = 8

Argument: TypeAlias = bytes | str | int | float


@frozen(slots=True)
class RedisError:
    """An error reply. It is a value, because one of several replies may be one: `-NOSCRIPT No matching script.`"""

    said: str

    @property
    def code(self) -> str:
        """Its first word."""
        return self.said.partition(" ")[0]


Reply: TypeAlias = "bytes | int | str | RedisError | list[Reply] | None"


class GarbledReply(Exception):
    """The bytes are not RESP2, or a reply is over MAX_REPLY_BYTES. The connection cannot be used any more."""


def encode_command(*arguments: Argument) -> bytes:
    """A command as an array of bulk strings. Numbers are written in decimal."""
    return b"*%d\r\n%b" % (len(arguments), encode_items(arguments))


def encode_items(items: Sequence[Argument]) -> bytes:
    """Items of a command, without the beginning that counts them."""
    parts = []
    for item in items:
        data = item if isinstance(item, bytes) else str(item).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class _Incomplete(Exception):
    """More bytes are needed: at least up to `end`."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end


class RespReader:
    """Collects received bytes, and gives the replies that are complete.

    Simple strings are `str`, bulk strings `bytes`; a null string or array is None.
    """

    def __init__(self) -> None:
        self._buffer = b""
        # The reply at the start of the buffer needs at least so many bytes.
        self._needed = 1

    def feed(self, data: bytes | bytearray) -> list[Reply]:
        """The replies that end in `data`. Raises GarbledReply."""
        self._buffer = buffer = self._buffer + data if self._buffer else bytes(data)
        replies: list[Reply] = []
        at = 0
        while len(buffer) - at >= self._needed:
            try:
                reply, at = _read(buffer, at, 0)
            except _Incomplete as missing:
                self._needed = missing.end - at
                break
            replies.append(reply)
            self._needed = 1
        self._buffer = buffer[at:]
        return replies


def _read(buffer: bytes, at: int, depth: int) -> tuple[Reply, int]:
    """The reply at a position, and the position after it. Raises _Incomplete, GarbledReply."""
    end = buffer.find(b"\r\n", at)
    if end < 0:
        if len(buffer) - at > MAX_REPLY_BYTES:
            raise GarbledReply("a line without an end")
        raise _Incomplete(len(buffer) + 1)
    kind, line, after = buffer[at], buffer[at + 1 : end], end + 2
    if kind == 0x3A:  # :
        return _number(line), after
    if kind == 0x24:  # $
        return _read_bulk(buffer, _number(line), after)
    if kind == 0x2A:  # *
        return _read_array(buffer, _number(line), after, depth)
    if kind == 0x2B:  # +
        return line.decode("utf-8", "replace"), after
    if kind == 0x2D:  # -
        return RedisError(line.decode("utf-8", "replace")), after
    raise GarbledReply("a reply of an unknown type")


def _read_bulk(buffer: bytes, length: int, at: int) -> tuple[bytes | None, int]:
    if length < 0:
        return None, at
    if length > MAX_REPLY_BYTES:
        raise GarbledReply("a string over the limit")
    end = at + length
    if len(buffer) < end + 2:
        raise _Incomplete(end + 2)
    if buffer[end : end + 2] != b"\r\n":
        raise GarbledReply("a string without its end")
    return buffer[at:end], end + 2


def _read_array(buffer: bytes, count: int, at: int, depth: int) -> tuple[list[Reply] | None, int]:
    if count < 0:
        return None, at
    if depth >= MAX_DEPTH or count > MAX_REPLY_BYTES:
        raise GarbledReply("an array over the limit")
    items: list[Reply] = []
    for _ in range(count):
        item, at = _read(buffer, at, depth + 1)
        items.append(item)
    return items, at


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise GarbledReply("a length that is no number") from None
