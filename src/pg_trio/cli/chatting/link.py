"""The connection to the gateway: opened, kept, and opened again.

Rules:
1. The first connection must succeed. Later ones are tried again, TRIES times in a row with growing pauses; then the
   link waits until it is wanted.
2. A refused token, project or endpoint ends the link, because no later try would do better.
3. A gateway that does not answer a ping is gone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import trio
import trio_websocket
from attrs import define, field, frozen
from wsproto.utilities import ProtocolError

from pg_trio.cli.chatting.conversation import Frame

TRIES = 8
FIRST_PAUSE_S = 0.25
# Half a minute in all.
MOST_PAUSE_S = 8.0
CONNECT_LIMIT_S = 10.0
CLOSE_LIMIT_S = 2.0
# The contract's default, for a gateway that does not say it.
HEARTBEAT_S = 20.0
PONG_LIMIT_S = 10.0
# 4 MiB: a whole answer in one frame, and more.
MOST_FRAME_BYTES = 4 * 1024 * 1024
# Statuses of a refused handshake, and codes of a closed connection, after which no further try helps.
_FINAL_STATUSES = frozenset({400, 401, 403, 404, 405})
_FINAL_CODES = {4401: "The token is refused.", 4403: "The token may not be used here.", 1008: "The gateway refuses."}


@frozen
class Connected:
    """A connection is there, and the gateway is ready. `number` tells connections apart."""

    number: int


@frozen
class FrameReceived:
    """A frame from the gateway."""

    frame: Mapping[str, Any]


@frozen
class Lost:
    """There is no connection. `wait_s` until the next try; None if the link waits until it is wanted."""

    why: str
    wait_s: float | None


@frozen
class Final:
    """The link has ended. `is_refused`: the gateway does not take the token."""

    why: str
    is_refused: bool = False


_LOST = "The connection was lost."
_SILENT = f"The gateway did not answer within {CONNECT_LIMIT_S:g} s."
LinkEvent = Connected | FrameReceived | Lost | Final


_Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class _Closed(Exception):
    """The connection is over. `is_final`: for good. `retry_s`: when the gateway wants the next try."""

    def __init__(self, why: str, *, is_final: bool = False, retry_s: float | None = None) -> None:
        super().__init__(why)
        self.why, self.is_final, self.retry_s = why, is_final, retry_s


@define(eq=False)
class Link:
    """Keeps a WebSocket of this URL open. Events go to `tell`, in order; `chance` is a random number below 1."""

    url: str
    token: str = field(repr=False)
    tell: trio.MemorySendChannel[Any]
    chance: Callable[[], float] = random.random
    _socket: trio_websocket.WebSocketConnection | None = None
    _wanted: trio.Event = field(factory=trio.Event)
    _number: int = 0
    _was_ready: bool = False
    _failures: int = 0
    _closing_s: float | None = None
    _dropped: trio.CancelScope = field(factory=trio.CancelScope)
    _is_forgiven: bool = False

    async def send(self, frame: Frame, number: int) -> None:
        """Send a frame on the connection of that number. If that is over, the frame is lost: what belongs on the next
        one is decided when its Connected is taken, or a question would be asked twice."""
        self._wanted.set()
        if self._socket is not None and number == self._number:
            try:
                await self._socket.send_message(json.dumps(frame))
            except trio_websocket.ConnectionClosed:
                return

    def forgive(self) -> None:
        """The next 4403 is not about the token: a session that is gone is refused so, too."""
        self._is_forgiven = True

    def drop(self) -> None:
        """Give this connection up, for a new one."""
        self._dropped.cancel()

    async def run(self) -> None:
        """Connect until cancelled, or until it is final."""
        while True:
            try:
                await self._connect()
                raise _Closed(_LOST)
            except _Closed as closed:
                if closed.is_final or not self._was_ready:
                    await self.tell.send(Final(closed.why, is_refused=closed.is_final))
                    return
                await self._pause(closed)

    async def _pause(self, closed: _Closed) -> None:
        self._failures += 1
        if self._failures > TRIES:
            self._wanted = trio.Event()
            await self.tell.send(Lost(closed.why, None))
            await self._wanted.wait()
            self._failures = 1
            return
        pause_s = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._failures - 1)) * (0.5 + self.chance() / 2)
        if closed.retry_s is not None:
            pause_s = min(MOST_PAUSE_S, max(pause_s, closed.retry_s))
        await self.tell.send(Lost(closed.why, pause_s))
        await trio.sleep(pause_s)

    async def _connect(self) -> None:
        """One connection, from its handshake to its end. Raises _Closed."""
        self._dropped, self._closing_s, self._is_forgiven = trio.CancelScope(), None, False
        stream = await self._open_stream()
        try:
            async with trio.open_nursery() as nursery:
                await self._serve(await self._shake_hands(nursery, stream))
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise self._explain(group) from None
        finally:
            self._socket = None
            # trio-websocket leaves it open where the peer has gone.
            await trio.aclose_forcefully(stream)

    async def _open_stream(self) -> _Stream:
        parts = urlsplit(self.url)
        host, is_secure = parts.hostname or "", parts.scheme == "wss"
        port = parts.port or (443 if is_secure else 80)
        try:
            with trio.fail_after(CONNECT_LIMIT_S):
                if is_secure:
                    return await trio.open_ssl_over_tcp_stream(host, port, https_compatible=True)
                return await trio.open_tcp_stream(host, port)
        except trio.TooSlowError:
            raise _Closed(_SILENT) from None
        except OSError as error:
            raise _Closed(f"The gateway cannot be reached: {error.strerror or error}.") from None

    async def _shake_hands(self, nursery: trio.Nursery, stream: _Stream) -> trio_websocket.WebSocketConnection:
        parts = urlsplit(self.url)
        try:
            with trio.fail_after(CONNECT_LIMIT_S):
                return await trio_websocket.wrap_client_stream(
                    nursery,
                    stream,
                    parts.netloc,
                    parts.path,
                    extra_headers=[(b"Authorization", f"Bearer {self.token}".encode("ascii"))],
                    max_message_size=MOST_FRAME_BYTES,
                )
        except trio.TooSlowError:
            raise _Closed(_SILENT) from None

    async def _serve(self, socket: trio_websocket.WebSocketConnection) -> None:
        with self._dropped:
            with trio.move_on_after(CONNECT_LIMIT_S) as limit:
                heartbeat_s = await self._wait_ready(socket)
            if limit.cancelled_caught:
                raise _Closed(_SILENT)
            self._socket, self._number, self._was_ready, self._failures = socket, self._number + 1, True, 0
            await self.tell.send(Connected(self._number))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, socket, heartbeat_s, nursery.cancel_scope)
                await self._receive(socket)
        with trio.move_on_after(CLOSE_LIMIT_S):
            await socket.aclose()

    async def _wait_ready(self, socket: trio_websocket.WebSocketConnection) -> float:
        while True:
            frame = await self._receive_one(socket)
            if frame.get("type") == "ready":
                heartbeat_ms = frame.get("heartbeat_ms")
                return heartbeat_ms / 1000 if isinstance(heartbeat_ms, int) and heartbeat_ms > 0 else HEARTBEAT_S

    async def _receive(self, socket: trio_websocket.WebSocketConnection) -> None:
        while True:
            frame = await self._receive_one(socket)
            if frame.get("type") == "closing":
                retry_ms = frame.get("retry_after_ms")
                self._closing_s = retry_ms / 1000 if isinstance(retry_ms, int) and retry_ms >= 0 else None

    async def _receive_one(self, socket: trio_websocket.WebSocketConnection) -> Mapping[str, Any]:
        """The next frame, which was told, too."""
        while True:
            message = await socket.get_message()
            try:
                frame = json.loads(message)
            except ValueError:
                continue
            if isinstance(frame, dict):
                await self.tell.send(FrameReceived(frame))
                return frame

    async def _watch(self, socket: trio_websocket.WebSocketConnection, every_s: float, scope: trio.CancelScope) -> None:
        while True:
            await trio.sleep(every_s)
            with trio.move_on_after(PONG_LIMIT_S) as limit:
                await socket.ping()
            if limit.cancelled_caught:
                scope.cancel()

    def _explain(self, group: BaseExceptionGroup[BaseException]) -> BaseException:
        """What ended the connection, of the errors of its tasks; the group itself where there is a bug among them."""
        found, other = group.split(
            (_Closed, trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, ProtocolError)
        )
        if found is None or other is not None:
            return group
        errors = _flatten(found)
        for error in errors:
            if isinstance(error, trio_websocket.ConnectionRejected):
                return _explain_rejection(error)
            if isinstance(error, trio_websocket.ConnectionClosed):
                return self._explain_end(error)
        # trio-websocket 0.12 answers a ping also while it closes, and wsproto forbids that (ProtocolError).
        return next((error for error in errors if isinstance(error, _Closed)), _Closed(_LOST))

    def _explain_end(self, closed: trio_websocket.ConnectionClosed) -> _Closed:
        code = None if closed.reason is None else closed.reason.code
        if code in _FINAL_CODES and not (code == 4403 and self._is_forgiven):
            return _Closed(_FINAL_CODES[code], is_final=True)
        return _Closed("The gateway closes for a restart." if code == 1001 else _LOST, retry_s=self._closing_s)


def _flatten(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _flatten(inner)]
    return [error]


def _explain_rejection(rejected: trio_websocket.ConnectionRejected) -> _Closed:
    status = rejected.status_code
    try:
        body = json.loads(rejected.body or b"")
    except ValueError:
        body = None
    said = body.get("error") if isinstance(body, dict) else None
    text = said if isinstance(said, str) else "no chat gateway is there; --url is its base, http://127.0.0.1:8080"
    return _Closed(f"{text} (status {status})", is_final=status in _FINAL_STATUSES)
