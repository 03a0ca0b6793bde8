"""One socket of a chat: receives, carries out the protocol's orders, and owns the answers under way.

Rules:
1. One task reads; each answer has its own. All of them end with the socket, and their rows are written.
2. The reading task waits for the client (its messages, and room for our frames), and for large frames' threads. It
   never waits for an answer, so a `cancel` takes effect at once.
3. Once the socket closes, no answer sends a frame.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import trio
from attrs import evolve

from pg_trio.domain.call import Kept, RequestHead
from pg_trio.domain.project import CHAT_ACCESS, Access, Caller
from pg_trio.domain.socket_link import REFUSED_MESSAGE, CareOfConnection, SocketLink
from pg_trio.errors import (
    BodyTooLarge,
    GatewayError,
    MissingToken,
    Overloaded,
    ShuttingDown,
    StreamingNotEnabled,
    TokensUnavailable,
)
from pg_trio.surfaces.websocket import error_frame
from pg_trio.web.asgi_types import Receive
from pg_trio.web.head_template import HeadTemplate
from pg_trio.web.websocket.chat_protocol import (
    GOING_AWAY,
    INTERNAL,
    NORMAL,
    TOO_BIG,
    TRY_AGAIN,
    UNSUPPORTED_DATA,
    AskMessage,
    CancelAnswer,
    ChatProtocol,
    ChatState,
    CheckToken,
    CloseSocket,
    Order,
    ResumeAnswer,
    SendFrame,
    close_for,
    closing_frame,
    parse_frame,
    ready_frame,
)
from pg_trio.web.websocket.open_answers import Answerer, Answers
from pg_trio.web.websocket.open_sockets import OpenSockets
from pg_trio.web.websocket.outlet import Outlet

logger = logging.getLogger("pg_trio.web")

# The contract's time for the first message.
AUTH_S = 5.0
# An `auth` frame is some 300 bytes: a client that has shown no token gets no room for more.
AUTH_BYTES = 4 * 1024
# What a client waits before it connects again: another worker, or another machine, takes it at once.
RETRY_AFTER_MS = 1_000


class SocketLimits(Protocol):
    """What bounds a socket: see ServerSettings."""

    @property
    def websocket_max_in_flight(self) -> int: ...

    @property
    def websocket_heartbeat_ms(self) -> int: ...

    @property
    def idle_timeout_ms(self) -> int: ...

    @property
    def write_timeout_ms(self) -> int: ...


class SocketGateway(Answerer, Protocol):
    """What sockets and their route ask of their worker's gateway."""

    @property
    def sockets(self) -> OpenSockets: ...

    @property
    def socket_limits(self) -> SocketLimits: ...

    @property
    def max_body_bytes(self) -> int: ...

    async def find_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller:
        """See Authenticate.find_caller."""

    def note_refused(self, head: RequestHead, error: GatewayError) -> None:
        """Write the row of a socket that was refused."""

    async def take_room(self, caller: Caller, size_bytes: int) -> Kept | None:
        """Room for a large message (`give_back`); None if there is none."""

    async def call_large(self, caller: Caller, size_bytes: int, work: Callable[..., Any], *given: Any) -> Any:
        """The result of `work`: in a thread, if the input is large."""


class ChatSocket:
    """One socket, after its handshake. `template` says what all its messages have in common."""

    __slots__ = (
        "_answers",
        "_caller",
        "_gateway",
        "_kept",
        "_limits",
        "_link",
        "_max_bytes",
        "_nursery",
        "_outlet",
        "_protocol",
        "_receive",
        "_template",
    )

    def __init__(self, gateway: SocketGateway, template: HeadTemplate, link: SocketLink | None, outlet: Outlet) -> None:
        self._gateway = gateway
        self._template = template
        # Those of the socket's beginning.
        self._limits = gateway.socket_limits
        self._max_bytes = gateway.max_body_bytes
        self._link = link
        self._outlet = outlet
        self._protocol = ChatProtocol(self._limits.websocket_max_in_flight, needs_auth=not template.authorization)
        self._caller: Caller | None = None
        self._answers = Answers(gateway, self._protocol, outlet, self._why_cut, self._end_with)
        # The room of the large message that comes in.
        self._kept: Kept | None = None
        self._nursery: trio.Nursery | None = None
        self._receive: Receive | None = None

    @property
    def authorization(self) -> str:
        """See open_sockets.TokenHolder."""
        return self._template.authorization[0]

    @property
    def project(self) -> str:
        """See open_sockets.TokenHolder."""
        return self._template.project

    # ── calls from outside ───────────────────────────────────────────────────────────────────────────────────────────

    def note_revoked(self, error: GatewayError) -> None:
        """Close with this error."""
        self._soon(self._finish, close_for(error))

    def note_draining(self) -> None:
        """The server is about to stop: let the answers under way end, then close."""
        self._protocol.drain()
        self._soon(self._leave)

    def note_stuck(self) -> None:
        """The client has not read for the write limit: nothing more is written for it."""
        self._protocol.close()
        self._answers.stop()

    def _soon(self, work: Callable[..., Awaitable[object]], *given: object) -> None:
        if self._nursery is not None and self._protocol.state is not ChatState.CLOSING:
            self._nursery.start_soon(work, *given)

    # ── the socket's life ────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, receive: Receive, caller: Caller | None, care: CareOfConnection | None) -> None:
        """Serve until either side closes. `caller` is None if the token is still to be checked."""
        self._receive, self._caller = receive, caller
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._link is None:
                    nursery.start_soon(self._run_outlet, nursery.cancel_scope)
                    if care is not None:
                        nursery.start_soon(self._watch_draining, care)
                        # A connection that is quiet for the idle limit is closed (server/hypercorn_protocol.py).
                        limits = self._limits
                        beat_ms = min(limits.websocket_heartbeat_ms, limits.idle_timeout_ms / 2)
                        nursery.start_soon(keep_alive, care, beat_ms / 1000)
                else:
                    self._link.on_drain = self.note_draining
                    if self._link.is_draining:
                        self.note_draining()
                await self._chat()
                nursery.cancel_scope.cancel(reason="the socket is over")
        finally:
            # They refer to this socket: cycles for the garbage collector.
            self._nursery = self._receive = None
            del self._answers
            self._give_back()

    async def _run_outlet(self, scope: trio.CancelScope) -> None:
        await self._outlet.run(self.note_stuck)
        scope.cancel(reason="the socket is closed")

    async def _watch_draining(self, care: CareOfConnection) -> None:
        await care.wait_draining()
        self.note_draining()

    async def _chat(self) -> None:
        end = await self._begin()
        if end is None:
            assert self._caller is not None
            with self._gateway.sockets.hold(self):
                end = await self._read_all()
        if end is None:
            self._protocol.close()
        else:
            await self._finish(end)

    async def _begin(self) -> CloseSocket | None:
        """Authenticate, if that is still to be done, and say that the socket is ready. None if it is."""
        if self._caller is None:
            with trio.move_on_after(AUTH_S):
                order = await self._authenticate()
                if order is not None:
                    return order
            if self._caller is None:
                # The message has not come in time, or its token could not be looked up.
                awaits = self._protocol.state is ChatState.AWAITING_AUTH and not self._template.authorization
                return close_for(MissingToken() if awaits else TokensUnavailable())
        self._allow(self._max_bytes)
        limits = self._limits
        await self._outlet.send(ready_frame(limits.websocket_max_in_flight, limits.websocket_heartbeat_ms))
        return None

    async def _authenticate(self) -> CloseSocket | None:
        """None once the caller is known, and the endpoint is one that streams."""
        if self._protocol.state is ChatState.AWAITING_AUTH:
            self._allow(AUTH_BYTES)
            order = await self._read_one()
            if order is None or not isinstance(order, CheckToken):
                return order if isinstance(order, CloseSocket) else close_for(MissingToken())
            self._template = evolve(self._template, authorization=[order.authorization])
        try:
            caller = await authenticate(self._gateway, self._template)
        except GatewayError as error:
            self._gateway.note_refused(self._template.make_head(trio.current_time()), error)
            return close_for(error)
        self._caller = caller
        self._protocol.accept()
        return None

    def _allow(self, message_bytes: int) -> None:
        if self._link is not None:
            self._link.max_message_bytes = message_bytes
            self._link.take_room = self._take_room

    async def _finish(self, end: CloseSocket) -> None:
        """Close, and end everything."""
        if self._protocol.state is ChatState.CLOSING:
            return
        self._protocol.close()
        self._answers.stop()
        if end.frame is not None:
            await self._outlet.send(end.frame)
        await self._outlet.close(end.code)
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel(reason="the socket is over")

    async def _leave(self) -> None:
        await self._outlet.send(closing_frame(RETRY_AFTER_MS))
        await self._answers.wait_none()
        await self._finish(CloseSocket(GOING_AWAY))

    async def _end_with(self, error: GatewayError) -> None:
        """Close after this error, which the client was told as an answer's."""
        await self._finish(CloseSocket(close_for(error).code))

    def _why_cut(self) -> GatewayError | None:
        """Why everything is cancelled from outside; None if the client is gone."""
        link = self._link
        is_cut = self._protocol.state is ChatState.DRAINING if link is None else link.cut == "drain"
        return ShuttingDown() if is_cut else None

    # ── what the client sends ────────────────────────────────────────────────────────────────────────────────────────

    async def _read_all(self) -> CloseSocket | None:
        """Carry out what the client sends, until the socket is over. Returns how to close; None if the client has."""
        while True:
            try:
                order = await self._read_one()
                if isinstance(order, CloseSocket):
                    return order if order.code != NORMAL else None
                if order is not None:
                    await self._carry_out(order)
            except Exception:
                logger.exception("error in a WebSocket")
                return CloseSocket(INTERNAL)

    async def _read_one(self) -> Order | None:
        """The client's next message. CloseSocket with NORMAL if the client has closed."""
        assert self._receive is not None
        event = await self._receive()
        kind = event["type"]
        if kind == "websocket.disconnect":
            return CloseSocket(NORMAL)
        if kind == REFUSED_MESSAGE:
            return self._refuse_message(event["code"])
        text = event.get("text")
        if text is None:
            return CloseSocket(UNSUPPORTED_DATA)
        if self._protocol.state is ChatState.AWAITING_AUTH and len(text) > AUTH_BYTES:
            return close_for(MissingToken())
        # A text of that many characters has that many bytes at least.
        if len(text) > self._max_bytes or (not text.isascii() and len(text.encode()) > self._max_bytes):
            return self._refuse_message(TOO_BIG)
        if self._caller is None:
            return self._protocol.take(text, parse_frame(text))
        fields = await self._gateway.call_large(self._caller, len(text), parse_frame, text)
        return self._protocol.take(text, fields)

    def _refuse_message(self, code: int) -> CloseSocket:
        if self._protocol.state is ChatState.AWAITING_AUTH:
            return close_for(MissingToken())
        error = Overloaded(1) if code == TRY_AGAIN else BodyTooLarge(self._max_bytes)
        return CloseSocket(code, error_frame(error))

    async def _take_room(self, size_bytes: int) -> bool:
        """Room for the large message that is coming in."""
        if self._caller is None:
            return True
        self._give_back()
        self._kept = await self._gateway.take_room(self._caller, size_bytes)
        return self._kept is not None

    def _give_back(self) -> None:
        if self._kept is not None:
            self._kept.give_back()
            self._kept = None

    async def _carry_out(self, order: Order) -> None:
        if isinstance(order, AskMessage):
            assert self._nursery is not None
            kept, self._kept = self._kept, None
            assert self._caller is not None
            await self._answers.start(self._nursery, self._template, self._caller, order, kept)
        elif isinstance(order, CancelAnswer):
            self._answers.cancel(order.id)
        elif isinstance(order, SendFrame):
            await self._outlet.send(order.frame)
        elif isinstance(order, ResumeAnswer):
            assert self._nursery is not None
            assert self._caller is not None
            assert self._template.slug is not None
            await self._answers.resume(self._nursery, self._caller, self._template.slug, order)


async def keep_alive(care: CareOfConnection, heartbeat_s: float) -> None:
    """Ping the client of a connection of Hypercorn's, until it is gone."""
    while True:
        pinged_at = trio.current_time()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await care.ping()
        await trio.sleep(heartbeat_s)
        if care.heard_at < pinged_at:
            care.abort()
            return


async def authenticate(gateway: SocketGateway, template: HeadTemplate) -> Caller:
    """The caller of a socket whose endpoint streams. Raises GatewayError."""
    caller = await gateway.find_caller(template.authorization, template.project, CHAT_ACCESS, time.time())
    assert template.slug is not None
    if not gateway.find_endpoint(caller, template.slug).streaming_enabled:
        raise StreamingNotEnabled
    return caller
