"""psycopg 3 on Trio, without threads.

psycopg writes its protocol as generators that say what they wait for on which descriptor, and a connection has one
method that drives them. This class drives them with Trio. `_connect_gen`, the generator that connects, is private to
psycopg: `tests/cluster/test_postgres_pool.py` fails if a release moves it (docs/decisions/028-clients.md).
"""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self, TypeVar, cast

import psycopg
import trio
from psycopg.pq.abc import PGconn
from psycopg.waiting import Ready, Wait

T = TypeVar("T")


class TrioConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection whose every wait is Trio's. Open it with `open`.

    After a cancelled call the connection is in the middle of a reply: close it, and ask the server to stop the query
    (`cancel_query`).
    """

    def __init__(self, pgconn: PGconn, *args: Any, **options: Any) -> None:
        super().__init__(pgconn, *args, **options)
        # psycopg's is asyncio's.
        self.lock = cast(Any, trio.Lock())

    @classmethod
    async def open(cls, conninfo: str) -> Self:
        """A connection that commits each statement by itself. Raises psycopg.Error."""
        connection = await _drive_connecting(cls._connect_gen(conninfo))
        connection._autocommit = True
        return connection

    @property
    def has_unread(self) -> bool:
        """Whether something waits to be read between two calls: the connection's end, or why the server ends it."""
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    async def wait(self, gen: Any, interval: float = 0.0, timeout: float | None = None) -> Any:
        """psycopg's hook: the result of one of its generators."""
        return await _drive(gen, self.pgconn.socket)

    async def cancel_query(self) -> None:
        """Ask the server to stop the query of this connection. Does not wait for the query's end."""
        if self.pgconn.status != 0 or not hasattr(self.pgconn, "cancel_conn"):
            return
        await _drive_connecting(self._cancel_gen())


async def _drive(generator: Generator[Any, Any, T], descriptor: int) -> T:
    try:
        wanted = next(generator)
        while True:
            wanted = generator.send(await _wait_ready(descriptor, wanted))
    except StopIteration as end:
        return cast(T, end.value)


async def _drive_connecting(generator: Generator[Any, Any, T]) -> T:
    """The same for a generator that names its descriptor each time: it may change."""
    try:
        descriptor, wanted = next(generator)
        while True:
            descriptor, wanted = generator.send(await _wait_ready(descriptor, wanted))
    except StopIteration as end:
        return cast(T, end.value)


async def _wait_ready(descriptor: int, wanted: int) -> Ready:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(descriptor)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(descriptor)
        return Ready.W
    ready = 0

    async def wait_one(wait: Callable[[int], Awaitable[None]], name: Ready) -> None:
        nonlocal ready
        await wait(descriptor)
        ready |= name.value
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_one, trio.lowlevel.wait_readable, Ready.R)
        nursery.start_soon(wait_one, trio.lowlevel.wait_writable, Ready.W)
    return Ready(ready)
