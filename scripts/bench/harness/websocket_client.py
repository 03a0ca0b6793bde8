"""WebSockets to the gateway, blocking, with as little work as a client can do: masks of zeros, frames as they come."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

from scripts.bench.harness.processes import HOST, PeerUnavailableError

LIMIT_S = 10.0


def frame_text(fields: Mapping[str, object]) -> bytes:
    """A text message in one masked frame; the mask of zeros leaves the text as it is (RFC 6455 section 5.3)."""
    data = json.dumps(fields).encode()
    size = len(data)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


def handshake(path: str, headers: Mapping[str, str]) -> bytes:
    """The request that opens a socket."""
    fixed = {
        "Host": HOST,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Version": "13",
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**fixed, **headers}.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def open_socket(sock: socket.socket, path: str, headers: Mapping[str, str]) -> None:
    """Shake hands and read the `ready` frame. Raises: PeerUnavailableError if it is refused."""
    sock.sendall(handshake(path, headers))
    said = read_until(sock, b'"type":"ready"')
    if not said.startswith(b"HTTP/1.1 101"):
        raise PeerUnavailableError(f"no WebSocket: {said[:300]!r}")


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """What comes up to this mark, and what came with it. Raises: PeerUnavailableError at the end, TimeoutError."""
    said = b""
    while mark not in said:
        data = sock.recv(65_536)
        if not data:
            raise PeerUnavailableError(f"closed after {said[-300:]!r}")
        said += data
    return said
