"""What a server of ours and the application tell each other about one request, where ASGI has no words for it.

The lane and the Hypercorn that `pg-trio serve` runs beside it put a `ServerLink` into `scope["extensions"]` under
EXTENSION, and both sides write to it. A stock server puts none there: the application then makes one for itself.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Literal, TypeAlias
from uuid import UUID

EXTENSION = "pg_trio"

# A message of our own for ASGI's `send`: a whole answer in one piece, with `status`, `fields` (header lines that need
# no check, because our own application wrote them) and `body`. Only a server that gives a `ClientSlot` takes it. It is
# no method of the link: that would refer back to the connection, and each request would be garbage for the collector.
WHOLE_ANSWER = "pg_trio.answer"

CutReason: TypeAlias = Literal["drain", "write limit"]


class ClientSlot:
    """The application's place beside a client's connection, for as long as that lasts.

    `value` is the application's own. `stack` is closed when the connection ends, in the connection's own task.
    """

    __slots__ = ("stack", "value")

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.value: Any = None


class ServerLink:
    """One request's link. `head_at` is Trio's clock when the request's head was read."""

    # ── what the server says ─────────────────────────────────────────────────────────────────────────────────────────
    # Attributes of the class until they are set: a request sets few of them.

    # With a slot, the server cancels the application when the client leaves, so that it need not watch `receive`.
    client: ClientSlot | None = None
    # The same object for requests of one connection whose heads are the same but for the body's length; else None.
    alike: object = None
    # The whole body, where it came with the head. `receive` gives it too.
    body: bytes | None = None
    # (status, text) once the body proved malformed: the server answers that, and `receive` says `http.disconnect`.
    refused: tuple[int, str] | None = None
    # Why the server ends the request before it is answered; set before the cancellation. None where the client left.
    cut: CutReason | None = None

    # ── what the application says ────────────────────────────────────────────────────────────────────────────────────

    # The request's id, for the answers that the server gives in the application's place.
    request_id: UUID | None = None
    # Whether the application waits between any two parts of a streamed answer: then sending one lets no others run.
    waits_between_parts: bool = False

    def __init__(self, head_at: float) -> None:
        self.head_at = head_at
