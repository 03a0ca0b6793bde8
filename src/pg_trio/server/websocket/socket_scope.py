"""ASGI's scope of one WebSocket."""

from __future__ import annotations

from urllib.parse import unquote

from pg_trio.domain.socket_link import SOCKET_EXTENSION, SocketLink
from pg_trio.server.http1.asgi_scope import Address
from pg_trio.server.http1.head import HttpHead
from pg_trio.server.http1.types import Mount, Scope
from pg_trio.server.websocket.upgrade import read_subprotocols


def make_socket_scope(head: HttpHead, mount: Mount, addresses: tuple[Address, Address], link: SocketLink) -> Scope:
    """The scope of a socket; `addresses` are the client's and the server's. Source: ASGI WebSocket specification
    2.4."""
    path = head.path.decode("ascii")
    client, server = addresses
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": unquote(path) if "%" in path else path,
        "raw_path": head.path,
        "query_string": head.query,
        "root_path": mount.root_path,
        "headers": head.headers,
        "client": client,
        "server": server,
        "subprotocols": read_subprotocols(head.headers),
        "state": mount.state.copy(),
        "extensions": {"websocket.http.response": {}, SOCKET_EXTENSION: link},
    }
