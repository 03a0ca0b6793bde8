"""Idle connections, by origin. Synchronous: nothing waits here, so nothing can be cancelled half-way.

Rules:
1. A connection is here or with one call, never both. It is not counted: what is idle is what is in the lists, what is
   open is what has not been closed, and busy is the difference. No counter can drift (encode/httpcore #1093).
2. The one used last is given first: the pool shrinks to what the load needs, and the oldest run out.
3. The pool never makes anybody wait. Calls under way are bounded by whoever makes them.
"""

from __future__ import annotations

from collections import Counter, deque
from weakref import WeakSet

from pg_trio.transport.connection import Connection
from pg_trio.transport.wire import Origin


class Pool:
    """Keeps at most `limit` idle connections of one origin, each for at most `idle_limit_s`. Times are Trio's clock."""

    def __init__(self, limit: int, idle_limit_s: float) -> None:
        self._limit = limit
        self._idle_limit_s = idle_limit_s
        self._idle: dict[Origin, deque[Connection]] = {}
        # Weak: a response that was dropped and never closed ends with the garbage collector, not with the process.
        self._open: WeakSet[Connection] = WeakSet()
        self._is_closed = False

    def adopt(self, connection: Connection) -> None:
        """Know of a fresh connection, which its caller keeps using; after `close()` it is closed at once."""
        self._open.add(connection)
        if self._is_closed:
            connection.close()

    def take(self, origin: Origin, now: float) -> Connection | None:
        """An idle connection of the origin that is still good, now the caller's; None if there is none."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if now - connection.idle_since < self._idle_limit_s and connection.is_reusable():
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection, now: float) -> None:
        """Take a connection whose exchange is over; it may be closed at once, and so may older ones."""
        if self._is_closed or self._limit == 0:
            connection.close()
            return
        connection.idle_since = now
        idle = self._idle.get(connection.origin)
        if idle is None:
            idle = self._idle[connection.origin] = deque()
        idle.append(connection)
        if len(idle) > self._limit or now - idle[0].idle_since >= self._idle_limit_s:
            idle.popleft().close()

    def prune(self, now: float) -> None:
        """Close what has been idle for too long, and forget origins without idle connections."""
        for origin, idle in list(self._idle.items()):
            while idle and now - idle[0].idle_since >= self._idle_limit_s:
                idle.popleft().close()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """Close every connection, busy ones too; whoever uses one finds it closed."""
        self._is_closed = True
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    def count_idle(self, origin: Origin) -> int:
        """Idle connections of the origin."""
        return len(self._idle.get(origin, ()))

    def describe(self) -> str:
        """Every origin with open connections, in one line: `api.openai.com:443 idle 3 busy 2; …`."""
        open_now = Counter(connection.origin for connection in self._open if not connection.is_closed)
        return "; ".join(
            f"{origin} idle {self.count_idle(origin)} busy {count - self.count_idle(origin)}"
            for origin, count in sorted(open_now.items())
        )
