"""Messages between our servers and the application about one request, for which ASGI has no fields.

The lane, and the Hypercorn that `pg-trio serve` runs beside it, put a `ServerLink` into `scope["extensions"]` under
EXTENSION. Both sides write to it. A stock server has no such extension, so the application then makes its own link.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar
from uuid import UUID

EXTENSION = "pg_trio"

# Our own message for ASGI's `send`: a complete answer with `status`, `fields` (header lines that need no check, because
# the application wrote them) and `body`. Only a server that gives a `ClientSlot` takes it. It is not a method of the
# link: a method would refer back to the connection, and each request would be a cycle for the garbage collector.
WHOLE_ANSWER = "pg_trio.answer"

# Two more, for such a server. A part of a streamed answer (`body`) that must not wait: the server hands the kernel what
# it takes at once, and says in `rest` what it did not take. And this rest, to be sent before anything else. Sending the
# first raises OSError if the connection is over. Another task than the connection's own may send it.
PART_NOW = "pg_trio.part"
REST_OF_PART = "pg_trio.rest"

T = TypeVar("T")

CutReason: TypeAlias = Literal["drain", "write limit"]


class ClientSlot:
    """The application's storage beside a client's connection, for the connection's lifetime.

    `value` belongs to the application. What it keeps in a block (`keep`) ends with the connection, in the connection's
    own task.
    """

    # An ExitStack would take 700 bytes of each connection: its deque has room for 64.
    __slots__ = ("_kept", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self._kept: AbstractContextManager[object] | None = None

    def keep(self, block: AbstractContextManager[T]) -> T:
        """Enter the block, which is left at the connection's end. There may be one; more would be left in no order."""
        assert self._kept is None, "a connection keeps one block"
        entered = block.__enter__()
        self._kept = block
        return entered

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        kept, self._kept = self._kept, None
        return None if kept is None else kept.__exit__(kind, error, trace)


class ServerLink:
    """One request's link. `head_at` is Trio's clock when the request's head was read."""

    # ── what the server says ─────────────────────────────────────────────────────────────────────────────────────────
    # Class attributes until they are set, because a request sets few of them.

    # Whether the request waited with the server from `head_at` until now, because the application was busy.
    has_waited: bool = False
    # With a slot, the server cancels the application when the client leaves, so it need not watch `receive`.
    client: ClientSlot | None = None
    # The same object for requests whose heads differ only in the body's length, also of several connections; else
    # None. It can be referred to weakly, and lasts as long as a connection has such a head.
    alike: object = None
    # The complete body, if it came with the head. `receive` returns it as well, unless the application takes it from
    # here and sets this to None: a stream may last for minutes, and the body would be kept beside what was read of it.
    body: bytes | None = None
    # (status, text) after the body proved malformed. The server sends this answer; `receive` returns `http.disconnect`.
    refused: tuple[int, str] | None = None
    # Why the server ends the request before its answer; set before the cancellation. None if the client left.
    cut: CutReason | None = None

    # ── what the application says ────────────────────────────────────────────────────────────────────────────────────

    # The request's id, for answers that the server sends instead of the application.
    request_id: UUID | None = None
    # Whether the application waits between the parts of a streamed answer. If so, sending a part is no checkpoint.
    waits_between_parts: bool = False

    def __init__(self, head_at: float) -> None:
        self.head_at = head_at
