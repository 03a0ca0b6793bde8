"""Loopback ports that nobody uses."""

from __future__ import annotations

import contextlib
import socket

HOST = "127.0.0.1"


def find_free_ports(count: int) -> list[int]:
    """As many different ports, free a moment ago: all are held until the last is found."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
