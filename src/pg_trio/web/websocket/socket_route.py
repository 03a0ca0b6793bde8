"""The ASGI application of a chat's WebSocket: the handshake, its refusals, and the socket.

A client that sends its token in `Authorization` is refused in HTTP. Browsers see neither status nor body of a refused
handshake, so the others are accepted first, and then get an `error` frame and a close code.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio
from attrs import evolve

from pg_trio.domain.call import RequestHead
from pg_trio.domain.project import Caller
from pg_trio.domain.socket_link import CARE, SOCKET_EXTENSION, CareOfConnection, SocketLink
from pg_trio.errors import (
    GatewayError,
    OriginNotAllowed,
    Overloaded,
    ShuttingDown,
    TokensUnavailable,
)
from pg_trio.surfaces import FALLBACK, HttpAnswer, MatchedRoute
from pg_trio.surfaces.websocket import MESSAGE_SURFACE
from pg_trio.web.asgi_types import Receive, Scope, Send
from pg_trio.web.client_address import Networks
from pg_trio.web.cors import CorsTable
from pg_trio.web.head_template import HeadTemplate, Peer
from pg_trio.web.websocket.chat_socket import AUTH_S, ChatSocket, SocketGateway, authenticate
from pg_trio.web.websocket.handshake import SocketHandshake, match_socket, read_handshake
from pg_trio.web.websocket.outlet import LaneOutlet, QueuedOutlet

# `Retry-After` where a worker has as many sockets as it may have: they last minutes, and other workers may have room.
FULL_RETRY_S = 1


def covers_socket(path: bytes) -> bool:
    """Whether a raw path is a chat's WebSocket."""
    return match_socket(path) is not None


class SocketRoute:
    """Serves ASGI's `websocket` scopes of paths that `covers_socket` knows. `is_ready`: whether sockets may begin."""

    def __init__(self, trusted: Networks, cors: CorsTable | None, is_ready: Callable[[], bool]) -> None:
        self._trusted = trusted
        self._cors = cors
        self._is_ready = is_ready

    async def serve(self, gateway: SocketGateway, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope, whose path `covers_socket` knows."""
        template = self._read_template(scope)
        await receive()
        handshake: SocketHandshake | None = None
        caller: Caller | None = None
        try:
            handshake = read_handshake(scope["headers"])
            template = evolve(template, authorization=handshake.authorization)
            self._check(gateway, template.project, handshake)
            if handshake.is_plain:
                caller = await authenticate_in_time(gateway, template)
        except GatewayError as error:
            head = template.make_head(trio.current_time())
            gateway.note_refused(head, error)
            await refuse(error, head, send)
            return
        with gateway.sockets.count_one():
            await send({"type": "websocket.accept", "subprotocol": handshake.subprotocol, "headers": []})
            link: SocketLink | None = (scope.get("extensions") or {}).get(SOCKET_EXTENSION)
            write_s = gateway.socket_limits.write_timeout_ms / 1000
            outlet = LaneOutlet(send) if link is not None else QueuedOutlet(send, write_s)
            socket = ChatSocket(gateway, template, link, outlet)
            care = find_care(scope)
            # What the handshake said takes memory as long as the socket lasts.
            del scope, handshake
            await socket.run(receive, caller, care)

    def _read_template(self, scope: Scope) -> HeadTemplate:
        route = match_socket(read_raw_path(scope))
        assert route is not None
        peer = scope.get("client")
        template = HeadTemplate.read(
            scope["headers"],
            FALLBACK,
            MatchedRoute(route.project, route.slug),
            Peer(None if peer is None else peer[0], self._trusted),
        )
        return evolve(template, origin=evolve(template.origin, surface=MESSAGE_SURFACE.name))

    def _check(self, gateway: SocketGateway, project: str, handshake: SocketHandshake) -> None:
        """Raises GatewayError for a socket that may not begin."""
        if not self._is_ready():
            raise ShuttingDown
        if gateway.sockets.full:
            raise Overloaded(FULL_RETRY_S)
        if handshake.origin is None or handshake.is_of_own_origin:
            return
        if self._cors is None or not self._cors.allows(project, handshake.origin):
            raise OriginNotAllowed


async def authenticate_in_time(gateway: SocketGateway, template: HeadTemplate) -> Caller:
    """See chat_socket.authenticate. Raises TokensUnavailable, too, if that takes too long."""
    with trio.move_on_after(AUTH_S):
        return await authenticate(gateway, template)
    raise TokensUnavailable


async def refuse(error: GatewayError, head: RequestHead, send: Send) -> None:
    """Answer the handshake in HTTP. Raises nothing but cancellation.

    What a client sends right behind its handshake can make the server answer in our place, and raise when we do.
    """
    answer: HttpAnswer = FALLBACK.render_error(error, head.request_id)
    kind = "websocket.http.response."
    with suppress(Exception):
        await send({"type": kind + "start", "status": answer.status, "headers": answer.headers()})
        await send({"type": kind + "body", "body": answer.body})


def find_care(scope: Scope) -> CareOfConnection | None:
    """What keeps the connection where Hypercorn serves it; None in the lane, over HTTP/2, and under other servers."""
    state = scope.get("state") or {}
    return state.get(CARE) if scope["http_version"] == "1.1" else None


def read_raw_path(scope: Scope) -> bytes:
    """The path as it was sent, without a query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    return raw.partition(b"?")[0]
