"""The types on both sides of the lane: the ASGI application, and the handler that takes over a connection."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from attrs import field, frozen

from pg_trio.domain.verdict import Verdict
from pg_trio.errors import GatewayError, error_body

if TYPE_CHECKING:
    from pg_trio.server.http1.busy_answer import BusyAnswer

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HeaderList: TypeAlias = list[tuple[bytes, bytes]]


@frozen(slots=True)
class Mount:
    """An application, its lifespan's state, and its root path."""

    app: ASGIApplication
    state: dict[str, Any] = field(factory=dict)
    root_path: str = ""


# Takes a connected, non-blocking socket and the bytes read from it so far; owns both from then on.
HandOver: TypeAlias = Callable[[socket.socket, bytes], Awaitable[None]]


class LoadGate(Protocol):
    """What the application reports about its load."""

    # `Retry-After` of refused requests.
    retry_after_s: int
    # The longest wait of a request.
    longest_wait_s: float
    # The server counts new connections here; the application sets it back.
    newcomers: int

    @property
    def verdict(self) -> Verdict:
        """What would happen to the next request."""

    @property
    def room(self) -> int:
        """How many more requests would be admitted or queued."""

    def note_shed(self, count: int) -> None:
        """So many requests were refused."""

    def join_line(self, handed_over: int) -> bool:
        """Whether a request should wait at the server's door; if so, it is counted there. False if the application
        should have it now, beside so many that it was given in this pass."""

    def leave_line(self) -> None:
        """A request that waited at the door is gone, or was refused."""

    def let_in(self) -> int:
        """How many of the requests that wait at the door come in now; to be asked once a pass, while any waits."""


class RequestStart(NamedTuple):
    """What a request asks for, as far as it was read: its method, its raw path, its header fields."""

    method: str = ""
    path: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()


class OwnAnswer(NamedTuple):
    """A whole answer of the server's own: its status, its header lines without those of framing, its body."""

    status: int
    fields: bytes
    body: bytes


def render_plainly(error: GatewayError, request_id: UUID, start: RequestStart) -> OwnAnswer:
    """An error as an answer, where the application has no shape for it."""
    more = "".join([f"{name.lower()}: {value}\r\n" for name, value in error.headers().items()])
    fields = f"content-type: application/json\r\nx-request-id: {request_id}\r\n{more}"
    return OwnAnswer(error.status, fields.encode("ascii"), error_body(error))


@frozen(slots=True)
class Door:
    """An application's permission to refuse its requests for it; in its lifespan's state under `DOOR`.

    `find_refusal` gives the answer to requests with this method, raw path and headers for which there is no room; None
    if only the application may refuse them. `note_leaving` is called once the gateway is about to stop: from then on it
    is not ready.
    """

    admission: LoadGate
    find_refusal: Callable[[str, bytes, HeaderList], BusyAnswer | None]
    note_leaving: Callable[[], None] = lambda: None
    # Whether requests with these headers may wait at the door: no limit of the client's own can pass there.
    may_wait: Callable[[HeaderList], bool] = lambda headers: True
    # An error that the server answers with in the application's place.
    render_error: Callable[[GatewayError, UUID, RequestStart], OwnAnswer] = render_plainly
    # Whether the application serves WebSockets with this raw path: then the lane does not hand them over.
    covers_websocket: Callable[[bytes], bool] = lambda path: False


DOOR = "pg_trio.door"
# The server's open connections, in the same state: their number is `len` of it.
CONNECTIONS = "pg_trio.connections"
