"""ASGI's shapes, as far as this room needs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any, Protocol, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
AsgiEvent: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiEvent]]
Send: TypeAlias = Callable[[AsgiEvent], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderList: TypeAlias = list[tuple[bytes, bytes]]


class Kept(Protocol):
    """What our own server keeps for us as long as a connection lives: see server.http1.types.Kept."""

    stack: ExitStack
    value: Any
