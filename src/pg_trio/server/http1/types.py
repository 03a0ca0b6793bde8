"""The shapes at the lane's two edges: the ASGI application inside, and whoever takes a connection over."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from attrs import field, frozen

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# What `scope["extensions"]["pg_trio"]` holds; `Exchange` and docs/decisions/003 name its keys.
Extension: TypeAlias = dict[str, Any]

HeaderList: TypeAlias = list[tuple[bytes, bytes]]


@frozen(slots=True)
class Mount:
    """An application and where it is: its lifespan's state, and the path it was put under."""

    app: ASGIApplication
    state: dict[str, Any] = field(factory=dict)
    root_path: str = ""


# Takes a connected, non-blocking socket and the bytes read from it so far; owns both from then on.
HandOver: TypeAlias = Callable[[socket.socket, bytes], Awaitable[None]]
