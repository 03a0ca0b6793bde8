"""What the opening handshake of a chat's WebSocket says. No I/O.

Rules:
1. The token is in `Authorization`, or in the subprotocol pair `pg-chat.v1, pg-token.<token>`, or in the first message.
   It is never read from the URL. `Authorization` counts first; of another scheme than Bearer (a proxy's Basic) it
   counts only if there is no other token. Two different tokens are refused, as on every surface.
2. A client without subprotocols gets none. One with subprotocols must offer `pg-chat.v1`, and gets it.
3. `Origin` is what browsers send. Its page must be of a listed origin, or of the gateway's own (same host and port).
   A request without it is not a browser's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pg_trio.domain.project import RESERVED_SLUGS
from pg_trio.domain.value import value
from pg_trio.errors import NoSubprotocol
from pg_trio.surfaces import MatchedRoute, is_plain_path
from pg_trio.web.head_template import join_tokens

SUBPROTOCOL = "pg-chat.v1"
TOKEN_PREFIX = "pg-token."  # noqa: S105  # the mark before a token
_TAIL = b"/ws"


def match_socket(path: bytes) -> MatchedRoute | None:
    """The project and slug of a WebSocket's path, as it was sent; None for any other path."""
    if not path.startswith(b"/api/") or not path.endswith(_TAIL) or not is_plain_path(path):
        return None
    project, _, slug = path[5 : -len(_TAIL)].decode("ascii").partition("/")
    if not project or not slug or "/" in slug or slug in RESERVED_SLUGS:
        return None
    return MatchedRoute(project, slug)


@value(slots=True)
class SocketHandshake:
    """`authorization` has the tokens as values of that header; empty if the first message has the token. `is_plain`:
    whether a refusal is an answer in HTTP, because the client sent the token itself in the header."""

    authorization: Sequence[str]
    is_plain: bool
    subprotocol: str | None
    origin: bytes | None
    host: bytes | None

    @property
    def is_of_own_origin(self) -> bool:
        """Whether the page was loaded from the gateway's own address."""
        return self.origin is not None and self.host is not None and self.origin.partition(b"://")[2] == self.host


def read_handshake(headers: Iterable[tuple[bytes, bytes]]) -> SocketHandshake:
    """From a request's headers, whose names are in lower case. Raises GatewayError."""
    fields: dict[bytes, list[bytes]] = {}
    for name, text in headers:
        fields.setdefault(name, []).append(text)
    authorization = [text.decode("latin-1") for text in fields.get(b"authorization", ())]
    offered = [part.strip() for text in fields.get(b"sec-websocket-protocol", ()) for part in _split(text)]
    if offered and SUBPROTOCOL not in offered:
        raise NoSubprotocol
    tokens = [part.removeprefix(TOKEN_PREFIX) for part in offered if part.startswith(TOKEN_PREFIX)]
    bearers = [text for text in authorization if text.lower().startswith("bearer")]
    return SocketHandshake(
        authorization=join_tokens(bearers if tokens else authorization, tokens),
        is_plain=bool(bearers or (authorization and not tokens)),
        subprotocol=SUBPROTOCOL if offered else None,
        origin=_single(fields.get(b"origin")),
        host=_single(fields.get(b"host") or fields.get(b":authority")),
    )


def _split(text: bytes) -> list[str]:
    return text.decode("latin-1").split(",")


def _single(values: Sequence[bytes] | None) -> bytes | None:
    """The value; two values are one that matches nothing."""
    return None if not values else b", ".join(values)
