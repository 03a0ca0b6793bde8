"""The direct transport: HTTP/1.1 with llhttp over non-blocking sockets, keep-alive, without a queue.

Rules:
1. A connection belongs to exactly one of: the pool, the call that opens a response, an open response. Each hands it on
   or closes it. A cancelled owner closes it.
2. A reused connection that dies before a byte of the answer came is replaced by a fresh one, once. The provider may
   then perform the request twice. RFC 9112 (9.3.1) allows this for idempotent requests only; browsers do it for all. By
   far the most common cause is a peer that closes an idle connection just as it is used again, and the client should
   not get an error for it. A fresh connection that dies is an error.
3. An answer that comes before the whole request was sent is accepted. The rest is not sent, and the connection is not
   reused.
4. The caller sets the deadline. Only connecting and TLS have their own limits here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from time import monotonic

import trio

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import OutOfResources, UpstreamBroken, UpstreamUnreachable
from pg_trio.transport.answer import Answer, AnswerLimits
from pg_trio.transport.connect import Connector, Resolve
from pg_trio.transport.pool import Pool
from pg_trio.transport.response_reader import DirectResponse
from pg_trio.transport.upstream_connection import Connection
from pg_trio.transport.wire import Origin, encode_request, find_reachable_route


class DirectTransport:
    """Carries requests over its own pool of connections; see `domain.upstream.Transport`.

    For `tls_context` and `resolve` see `Connector`, for `clock` see `Pool`.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        tls_context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._whole_limits = AnswerLimits(settings.max_head_bytes, settings.max_body_bytes)
        self._stream_limits = AnswerLimits(settings.max_head_bytes, settings.max_stream_bytes)
        self._idle_s = settings.pool_idle_ms / 1000
        self._connector = Connector(settings, tls_context, resolve)
        self._pool = Pool(settings.pool_idle_connections, self._idle_s, clock)

    async def open_response(self, request: WireRequest) -> DirectResponse:
        """Send the request and wait for the answer's head; see `domain.upstream.Transport`."""
        # With an idle connection and a ready socket, the first wait would come after the request was sent.
        await trio.lowlevel.checkpoint_if_cancelled()
        origin, message = encode_request(request)
        connection = self._pool.take(origin)
        is_reused = connection is not None
        if connection is None:
            connection = await self._connect(origin)
        while True:
            answer = Answer(self._stream_limits if request.is_stream else self._whole_limits)
            try:
                try:
                    # Usually the socket's buffer takes everything at once; a wait would cost a nursery.
                    sent = connection.send_nowait(message)
                except OSError:
                    # The peer accepts nothing: reading returns its answer, or fails for the same reason.
                    was_sent = False
                else:
                    was_sent = sent == len(message) or await _send_rest(connection, answer, memoryview(message)[sent:])
                # A large one is kept no longer than until it is sent.
                del message
                while not answer.has_head:
                    answer.feed(await connection.receive())
            except BaseException as error:
                connection.close()
                answer.let_go()
                if not is_reused or answer.has_begun or not isinstance(error, UpstreamBroken):
                    raise
            else:
                if not was_sent:
                    # Rule 3.
                    answer.keeps_alive = False
                return DirectResponse(connection, answer, self._pool)
            # Rule 2.
            origin, message = encode_request(request)
            connection, is_reused = await self._connect(origin), False

    async def prewarm(self, url: str, count: int, allow_private: bool = False) -> int:
        """Open connections until `count` are idle for the URL's origin; returns how many are. A failed one is
        missing."""
        origin = find_reachable_route(url, allow_private).origin
        self._pool.prune()

        async def open_one() -> None:
            try:
                connection = await self._connect(origin)
            except (UpstreamUnreachable, OutOfResources):
                return
            self._pool.give_back(connection)

        async with trio.open_nursery() as nursery:
            for _ in range(count - self._pool.count_idle(origin)):
                nursery.start_soon(open_one)
        return self._pool.count_idle(origin)

    async def run(self) -> None:
        """Close idle connections after their limit, also without calls. A background task; runs until cancelled."""
        while True:
            await trio.sleep(self._idle_s)
            self._pool.prune()

    async def aclose(self) -> None:
        """Close every connection; see `domain.upstream.Transport`. Never waits."""
        self._pool.close()

    def describe(self) -> str:
        """The pool's state in one line: `api.openai.com:443 idle 3 busy 2; …`; empty without connections."""
        return self._pool.describe()

    async def _connect(self, origin: Origin) -> Connection:
        connection = await self._connector.connect(origin)
        self._pool.adopt(connection)
        return connection


async def _send_rest(connection: Connection, answer: Answer, rest: memoryview) -> bool:
    """Send the rest of a message. True if all of it was sent. If not, an answer is there, or reading shows why there is
    none.

    Raises: UpstreamBroken or UpstreamNonsense for the bytes received meanwhile.
    """
    try:
        while rest:
            await connection.wait_ready()
            received = connection.receive_nowait()
            if received is not None:
                answer.feed(received)
                if answer.has_head:
                    return False
            rest = rest[connection.send_nowait(rest) :]
    except (OSError, trio.ClosedResourceError):
        # A peer that accepts no more bytes may have answered: reading returns the answer, or fails for the same reason.
        return False
    return True
