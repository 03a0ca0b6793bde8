"""The answer to a WebSocket's opening handshake. No I/O. Source: RFC 6455 section 4.2.2."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import socket
from collections.abc import Iterable
from typing import NamedTuple

from pg_trio.server.http1.head import HttpHead, Refused
from pg_trio.server.http1.response import ResponseMisuse, http_date

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Upgrade(NamedTuple):
    """A connection that becomes a WebSocket: its socket, the handshake, and the bytes behind it."""

    socket: socket.socket
    head: HttpHead
    data: bytes


def read_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The client's key. Raises Refused if there is not one that is 16 bytes in Base64."""
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    try:
        known = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == _KEY_BYTES
    except binascii.Error:
        known = False
    if not known:
        raise Refused(400, "Malformed Sec-WebSocket-Key header.")
    return keys[0]


def read_subprotocols(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The subprotocols that the client offers, in its order."""
    offered = b",".join([value for name, value in headers if name == b"sec-websocket-protocol"])
    return [part.strip() for part in offered.decode("latin-1").split(",") if part.strip()]


def accept(key: bytes, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head that accepts. Raises ResponseMisuse for a field that HTTP forbids."""
    # RFC 6455 demands SHA-1; it proves nothing but that a server of WebSockets answered.
    digest = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    lines = [b"%b: %b\r\n" % (name.lower(), value) for name, value in headers]
    if subprotocol is not None:
        lines.append(b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("latin-1", "replace"))
    block = b"".join(lines)
    if not _FIELDS.fullmatch(block) or block.count(b"\n") != len(lines):
        raise ResponseMisuse("a header of the handshake holds characters that HTTP forbids")
    if subprotocol is not None and not _TOKEN.fullmatch(subprotocol):
        raise ResponseMisuse("the subprotocol is not a token")
    start = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    return b"%bsec-websocket-accept: %b\r\n%b%b\r\n" % (start, digest, block, http_date())
