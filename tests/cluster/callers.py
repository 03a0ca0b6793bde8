"""Clients of a cluster: kept connections, one call after the other, and what each call was told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, Self

import trio
from attrs import define, field, frozen

from scripts.bench.harness.client import AnswerReader, CutShort
from tests.support.gateway import PROJECT
from tests.support.wire import bearer, get, post

CALL_LIMIT_S = 30.0
# Status of a call whose connection ended before its answer did, or could not be made.
CUT = 0


class Address(Protocol):
    """Where a node listens."""

    host: str
    port: int


@frozen
class Asked:
    """A call and its end. Times are Trio's."""

    slug: str
    status: int
    sent_at: float
    ended_at: float
    port: int = 0
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""

    @property
    def took_s(self) -> float:
        return self.ended_at - self.sent_at

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@define(eq=False)
class Caller:
    """One client. It keeps the connection to the node that it called last. Use it as a block."""

    token: str
    _stream: trio.SocketStream | None = None
    _at: tuple[str, int] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._leave()

    async def call(self, node: Address, slug: str, body: object = None) -> Asked:
        """One call of an endpoint."""
        data = {"message": "Hello there"} if body is None else body
        return await self.send(node, slug, post(f"/api/{PROJECT}/{slug}", data, bearer(self.token)))

    async def list_models(self, node: Address) -> Asked:
        """A call that calls no provider, and counts against no limit."""
        return await self.send(node, "models", get(f"/api/{PROJECT}/models", bearer(self.token)))

    async def send(self, node: Address, slug: str, data: bytes) -> Asked:
        """The bytes of one request. Cancelled, the connection is closed, as by a client that leaves."""
        sent_at = trio.current_time()
        reader, is_whole = AnswerReader(), False
        try:
            with trio.move_on_after(CALL_LIMIT_S):
                stream = await self._connect(node)
                await stream.send_all(data)
                while not reader.is_over:
                    reader.feed(await stream.receive_some(65_536))
                is_whole = True
        except (CutShort, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            if not is_whole or reader.headers.get("connection") == "close":
                await self._leave()
        status = reader.status if is_whole else CUT
        return Asked(slug, status, sent_at, trio.current_time(), node.port, dict(reader.headers), bytes(reader.body))

    async def _connect(self, node: Address) -> trio.SocketStream:
        if self._stream is None or self._at != (node.host, node.port):
            await self._leave()
            self._at = (node.host, node.port)
            self._stream = await trio.open_tcp_stream(node.host, node.port)
        return self._stream

    async def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


@define(eq=False)
class Load:
    """Clients that ask until `stop`, and what they were told. A client that was refused waits `pause_s`."""

    token: str
    pause_s: float = 0.1
    asked: list[Asked] = field(factory=list)
    is_over: bool = False

    async def ask(self, find_node: Callable[[], Address], slug: str, rest_s: float = 0.0) -> None:
        """One client: the same question again and again, with a rest after each answer."""
        async with Caller(self.token) as caller:
            while not self.is_over:
                asked = await caller.call(find_node(), slug)
                self.asked.append(asked)
                await trio.sleep(rest_s if asked.status == 200 else self.pause_s)

    def statuses(self, slug: str, since: float = 0.0, until: float = float("inf")) -> dict[int, int]:
        """How often each status was told, to calls that were sent in this time."""
        counts: dict[int, int] = {}
        for one in self.asked:
            if one.slug == slug and since <= one.sent_at < until:
                counts[one.status] = counts.get(one.status, 0) + 1
        return counts

    def longest_s(self, slug: str) -> float:
        """The longest time that a call took. What a provider received was admitted at most so long before."""
        return max([one.took_s for one in self.asked if one.slug == slug], default=0.0)
