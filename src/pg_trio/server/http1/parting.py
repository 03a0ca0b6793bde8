"""The end of a connection, so that its client can read the last answer."""

from __future__ import annotations

import socket

import trio

from pg_trio.server.http1.socket_calls import receive_bytes

# 2 s for a client to take the last answer before the socket closes under what it still sends (RFC 9112 section 9.6:
# closing with unread data resets the connection and may destroy the answer). nginx: lingering_timeout, 5 s.
LINGER_S = 2.0


async def part_with(sock: socket.socket, answer: bytes = b"") -> None:
    """Send the last answer, and drop what the client still sends, until it has read the answer or LINGER_S is over."""
    with trio.move_on_after(LINGER_S):
        try:
            if answer:
                sock.send(answer)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        while await receive_bytes(sock):
            pass


def is_quiet(sock: socket.socket) -> bool:
    """Whether there is nothing unread of the client's: then closing sends no reset."""
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
