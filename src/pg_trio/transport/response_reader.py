"""An answer of the direct transport, after its head has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import trio

from pg_trio.errors import UpstreamBroken
from pg_trio.transport.answer import Answer, HeadersAsText
from pg_trio.transport.content_coding import BodyDecoder, decoder_for
from pg_trio.transport.pool import Pool
from pg_trio.transport.upstream_connection import Connection

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class DirectResponse:
    """Holds its connection until the answer is complete (most are complete with their head) or closed.

    A cancelled `receive_some` loses nothing: the next call continues there.
    """

    # Until they are needed: few bodies are decoded, and few answers need their connection any more.
    _decoder: BodyDecoder | None = None
    _connection: Connection | None = None

    def __init__(self, connection: Connection, answer: Answer, pool: Pool) -> None:
        self._answer = answer
        self._pool = pool
        self.status = answer.status
        self.headers: Mapping[str, str] = HeadersAsText(answer)
        # In any case, its name has so many bytes: few other names do, and in most answers none has.
        if len(b"content-encoding") in map(len, answer.sent_fields) and b"content-encoding" in answer.fields:
            self._decoder = decoder_for(self.headers["content-encoding"], answer.limits.body_bytes)
        if answer.is_whole:
            self._release(connection)
        else:
            self._connection = connection

    def forget_headers(self) -> None:
        """See `domain.upstream.UpstreamResponse`."""
        self._answer.forget_headers()
        self.headers = _NO_HEADERS

    def receive_nowait(self) -> bytes | None:
        """See `domain.upstream.UpstreamResponse`: most answers come whole with their head."""
        answer = self._answer
        return answer.take_body() if answer.is_whole and self._decoder is None else None

    async def receive_some(self) -> bytes:
        """The next bytes of the body; see `domain.upstream.UpstreamResponse`."""
        if self._decoder is not None:
            return await self._receive_decoded(self._decoder)
        while True:
            piece = self._answer.take_body()
            if piece or self._answer.is_whole:
                return piece
            await self._read_on()

    async def _receive_decoded(self, decoder: BodyDecoder) -> bytes:
        while True:
            while decoder.has_work:
                # A small body may decode to a large one, so other tasks run after each step.
                await trio.lowlevel.checkpoint()
                if piece := decoder.take():
                    return piece
            if piece := self._answer.take_body():
                decoder.feed(piece)
            elif self._answer.is_whole:
                decoder.finish()
                return b""
            else:
                await self._read_on()

    async def aclose(self) -> None:
        """Release the connection; see `domain.upstream.UpstreamResponse`. Never waits."""
        if self._connection is not None:
            self._let_go()

    async def _read_on(self) -> None:
        if self._connection is None:
            raise UpstreamBroken("response was closed before the answer was whole")
        self._answer.feed(await self._connection.receive())
        if self._answer.is_whole:
            self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection)

    def _release(self, connection: Connection) -> None:
        answer = self._answer
        answer.let_go()
        if answer.is_whole and answer.keeps_alive:
            self._pool.give_back(connection)
        else:
            connection.close()
