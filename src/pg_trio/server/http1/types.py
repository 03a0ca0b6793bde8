"""The types at the lane's two sides: the ASGI application, and the handler that takes a connection over."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any, Protocol, TypeAlias

from attrs import field, frozen

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# What `scope["extensions"]["pg_trio"]` holds; `Exchange` and docs/decisions/003 name its keys.
Extension: TypeAlias = dict[str, Any]

HeaderList: TypeAlias = list[tuple[bytes, bytes]]


class Kept:
    """What an application keeps for as long as a connection lives: a value of its own, and what `stack` closes then,
    in the connection's own task."""

    __slots__ = ("stack", "value")

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.value: Any = None


@frozen(slots=True)
class Mount:
    """An application and where it is: its lifespan's state, and the path it was put under."""

    app: ASGIApplication
    state: dict[str, Any] = field(factory=dict)
    root_path: str = ""


# Takes a connected, non-blocking socket and the bytes read from it so far; owns both from then on.
HandOver: TypeAlias = Callable[[socket.socket, bytes], Awaitable[None]]


class Admission(Protocol):
    """What the application says of its load."""

    # `Retry-After` of those turned away.
    retry_after_s: int

    @property
    def full(self) -> bool:
        """Whether the next request should be turned away."""

    @property
    def has_line(self) -> bool:
        """Whether requests stand in line."""

    @property
    def room(self) -> int:
        """How many more requests would be taken."""

    def note_shed(self) -> None:
        """One was turned away."""


@frozen(slots=True)
class Door:
    """An application's leave to turn its requests away in its stead; it is in its lifespan's state under `DOOR`.

    `covers` says of a method and a raw path whether that request may be. `note_leaving` is called once the gateway is
    about to stop: from then on it is not ready.
    """

    admission: Admission
    covers: Callable[[str, bytes], bool]
    note_leaving: Callable[[], None] = lambda: None


DOOR = "pg_trio.door"
