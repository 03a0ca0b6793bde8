"""Listening sockets, and how their addresses are written."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from attrs import frozen

# 2,048: a burst of connections waits in the kernel's queue instead of being dropped for a second (nginx: 511).
BACKLOG = 2_048


@frozen(eq=False)
class Listening:
    """Sockets that listen: for plain connections, and for TLS."""

    plain: Sequence[socket.socket]
    tls: Sequence[socket.socket] = ()


def listen(address: str) -> socket.socket:
    """A socket that listens at `HOST:PORT`, an IPv6 host in brackets; workers inherit it. Raises OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.setblocking(False)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def show_address(sock: socket.socket) -> str:
    """`HOST:PORT` of a socket of the Internet."""
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"
