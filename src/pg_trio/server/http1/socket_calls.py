"""Calls on a client's socket that connections and WebSockets have in common."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import trio

# 64 KiB: Hypercorn's and Trio's own; a request of the gateway fits in one read.
RECV_BYTES = 64 * 1024

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def receive_bytes(sock: socket.socket) -> bytes:
    """The next bytes, or b"" once the client is gone. Raises trio.ClosedResourceError if we close the socket."""
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            return sock.recv(RECV_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            return b""


def receive_now(sock: socket.socket) -> bytes | None:
    """The bytes that are here, b"" once the client is gone, None if there are none yet."""
    try:
        return sock.recv(RECV_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def send_last(sock: socket.socket, data: bytes) -> bytes:
    """Send the last bytes together with the connection's end: one packet, not two. What the kernel did not take, which
    is all after an error."""
    try:
        sent = sock.send(data, socket.MSG_MORE)
    except OSError:
        return data
    if sent == len(data):
        end_sending(sock)
    return data[sent:]


def end_sending(sock: socket.socket) -> None:
    """End our side of the connection behind what was sent."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def reset_on_close(sock: socket.socket) -> None:
    """Make `close` reset the connection: the client sees no whole end, and the kernel drops what it still holds."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
