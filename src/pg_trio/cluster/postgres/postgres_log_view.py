"""The log of all nodes as operators see it at a worker's pages (contract: stores/store_protocols.py, ViewedLog).

Rules:
1. It has connections of its own, opened at the first question: a slow look at the log takes none from requests, and
   does not make the worker believe that PostgreSQL is away.
2. One question for rows and one for sums is asked at a time; others wait for their turn. Each statement has a limit of
   time, which the server itself keeps.
3. A request that is not in PostgreSQL yet is looked for in this node's own log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import psycopg
import trio
from attrs import define, evolve, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.log_choices import SplitConditions
from pg_trio.cluster.postgres.log_plans import (
    Arrivals,
    Page,
    Plan,
    Rows,
    Statement,
    read_arrivals,
    read_end,
    read_one,
    read_page,
)
from pg_trio.cluster.postgres.log_sum_plans import read_overview
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, say
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import Cursor, RowChoice
from pg_trio.domain.request_sums import Overview, TimeRange
from pg_trio.errors import LogUnavailable

logger = logging.getLogger("pg_trio.cluster")

T = TypeVar("T")

# A list looks at an index's newest rows, sums at half a million: measured in docs/decisions/030-log-spool.md.
STATEMENT_LIMIT_S = 10
# Beyond the server's own limit: then it is the server that does not answer.
ANSWER_MARGIN_S = 2.0
# One for rows, one for sums.
VIEW_CONNECTIONS = 2


def log_conninfo(url: str, limit_s: int) -> str:
    """How connections that read the log are opened: each statement with a limit.

    Rows are wanted in the order of an index. Without sorting, PostgreSQL does not gather half a million rows for a
    page of a hundred. Each statement is planned for its own times, so that other days are left out. Compiling it would
    take 50 ms, longer than most statements.
    """
    known = psycopg.conninfo.conninfo_to_dict(url).get("options") or ""
    wanted = {
        "statement_timeout": limit_s * 1000,
        "enable_sort": "off",
        "plan_cache_mode": "force_custom_plan",
        "jit": "off",
    }
    options = " ".join([str(known), *(f"-c {name}={value}" for name, value in wanted.items())])
    return psycopg.conninfo.make_conninfo(url, options=options.strip())


@define(eq=False)
class PostgresLogView:
    """See the rules. `read_own`: a request's row in this node's own log. The pool's task must run."""

    pool: PostgresPool
    node: str
    read_own: Callable[[UUID], Awaitable[LogRow | None]]
    _arrivals: Arrivals = field(factory=lambda: Arrivals(trio.current_time))
    _lists: trio.CapacityLimiter = field(factory=partial(trio.CapacityLimiter, 1))
    _sums: trio.CapacityLimiter = field(factory=partial(trio.CapacityLimiter, 1))

    @property
    def has_nodes(self) -> bool:
        """See ViewedLog."""
        return True

    async def page(self, choice: RowChoice, before: Cursor | None, limit: int) -> Page:
        """See ViewedLog."""
        return await self._ask(self._lists, read_page(choice, before, limit))

    async def one(self, request_id: UUID) -> LogRow | None:
        """See ViewedLog."""
        found = await self._ask(self._lists, read_one(request_id))
        if found is None and (own := await self.read_own(request_id)) is not None:
            return evolve(own, node=self.node)
        return found

    async def newest_id(self) -> int:
        """See ViewedLog."""
        return (await self._ask(self._lists, read_end(self._arrivals)))[1]

    async def after(self, row_id: int, limit: int) -> list[tuple[int, LogRow]]:
        """See ViewedLog."""
        plan = read_arrivals(SplitConditions(), row_id, self._arrivals, limit, bodies=False)
        return (await self._ask(self._lists, plan)).rows

    async def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        """See ViewedLog."""
        return await self._ask(self._sums, read_overview(choice, within))

    async def _ask(self, turns: trio.CapacityLimiter, plan: Plan[T]) -> T:
        """What the plan returns. Raises LogUnavailable."""
        async with turns:
            try:
                statement = next(plan)
                while True:
                    statement = plan.send(await self._fetch(statement))
            except StopIteration as end:
                found: T = end.value
                return found
            except psycopg.errors.QueryCanceled:
                raise LogUnavailable(f"it took over {STATEMENT_LIMIT_S} s; narrow the filter or the range") from None
            except (EngineAway, psycopg.Error, OSError) as error:
                logger.error("the log cannot be read: %s", say(error))
                raise LogUnavailable("PostgreSQL is away") from error

    async def _fetch(self, statement: Statement) -> Rows:
        query, values = statement

        async def fetch(connection: TrioConnection) -> Rows:
            return await (await connection.execute(query.encode(), values)).fetchall()

        return await self.pool.use(fetch, STATEMENT_LIMIT_S + ANSWER_MARGIN_S)
