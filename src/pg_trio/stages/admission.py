"""Overload: how many requests may be under way at once in this worker. The rest is turned away at once."""

from __future__ import annotations

from types import TracebackType

from pg_trio.errors import Overloaded

# Whoever is turned away asks again after this long; a second is many request times of a gateway that is overloaded.
RETRY_AFTER_S = 1


class Admission:
    """Counts the requests under way: `with admission: …` holds one place, or raises Overloaded with none left."""

    __slots__ = ("_limit", "under_way")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.under_way = 0

    def __enter__(self) -> None:
        if self.under_way >= self._limit:
            raise Overloaded(RETRY_AFTER_S)
        self.under_way += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.under_way -= 1
