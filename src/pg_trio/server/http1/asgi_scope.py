"""ASGI's scope of one request."""

from __future__ import annotations

import socket

from pg_trio.domain.server_link import EXTENSION, ServerLink
from pg_trio.server.http1.head import HttpHead
from pg_trio.server.http1.types import Mount, Scope

# A host and a port, as ASGI has them.
Address = tuple[str, int] | None

_ASGI = {"version": "3.0", "spec_version": "2.4"}


def make_scope(head: HttpHead, mount: Mount, client: Address, server: Address, link: ServerLink) -> Scope:
    """The scope of a request from `client` to `server`. Source: ASGI HTTP specification 2.4."""
    return {
        **head.line,
        "type": "http",
        "asgi": _ASGI,
        "scheme": "http",
        "root_path": mount.root_path,
        # A copy: an application may change it, and the next request may have the same head.
        "headers": head.headers.copy(),
        "client": client,
        "server": server,
        "state": mount.state.copy(),
        "extensions": {EXTENSION: link},
    }


def read_address(sock: socket.socket, address: object) -> Address:
    """A socket's address as ASGI has it: IPv6 without its scope, None for what has no port."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        assert isinstance(address, tuple)
        return address[0], address[1]
    return None
