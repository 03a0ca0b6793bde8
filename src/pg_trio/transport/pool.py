"""Idle connections, by origin. Synchronous: nothing waits here, so nothing can be cancelled half-way.

Rules:
1. A connection is here or with one call, never both. Nothing is counted: idle connections are in the lists, open ones
   are those not closed, and busy ones are the difference. So no counter can drift (encode/httpcore #1093).
2. The most recently used one is taken first. So the pool shrinks to the load, and the oldest connections expire.
3. The pool never makes a call wait. Its callers limit the running calls.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from time import monotonic
from weakref import WeakSet

from pg_trio.transport.upstream_connection import Connection
from pg_trio.transport.wire import Origin


class Pool:
    """Keeps at most `limit` idle connections of one origin, each for at most `idle_limit_s`.

    `clock` gives seconds. The system's own takes a third of the time of Trio's, and a call reads it twice.
    """

    def __init__(self, limit: int, idle_limit_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._limit = limit
        self._idle_limit_s = idle_limit_s
        self._clock = clock
        self._idle: defaultdict[Origin, deque[Connection]] = defaultdict(deque)
        # Weak references, so that the garbage collector can free a response that was dropped without closing.
        self._open: WeakSet[Connection] = WeakSet()
        self._is_closed = False

    def adopt(self, connection: Connection) -> None:
        """Register a fresh connection; its caller keeps using it. After `close()` it is closed at once."""
        self._open.add(connection)
        if self._is_closed:
            connection.close()

    def take(self, origin: Origin) -> Connection | None:
        """Take a usable idle connection of the origin, which then belongs to the caller; None if there is none."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if self._clock() - connection.idle_since < self._idle_limit_s and connection.is_reusable():
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """Take back a connection after its exchange. It may be closed at once, and so may older ones."""
        connection.idle_since = now = self._clock()
        idle = self._idle[connection.origin]
        idle.append(connection)
        if len(idle) > self._limit or now - idle[0].idle_since >= self._idle_limit_s:
            idle.popleft().close()

    def prune(self) -> None:
        """Close connections that were idle for too long, and forget origins without idle connections."""
        now = self._clock()
        for origin, idle in list(self._idle.items()):
            while idle and now - idle[0].idle_since >= self._idle_limit_s:
                idle.popleft().close()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """Close every connection, including busy ones; their users then find them closed."""
        self._is_closed, self._limit = True, 0
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    def count_idle(self, origin: Origin) -> int:
        """The number of idle connections of the origin."""
        return len(self._idle.get(origin, ()))

    def describe(self) -> str:
        """Every origin with open connections, in one line: `api.openai.com:443 idle 3 busy 2; …`."""
        open_now = Counter(connection.origin for connection in self._open if not connection.is_closed)
        return "; ".join(
            f"{origin} idle {self.count_idle(origin)} busy {count - self.count_idle(origin)}"
            for origin, count in sorted(open_now.items())
        )
