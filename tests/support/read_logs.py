"""The log as operators ask for it, over each of its stores: rows are written, then read by the store's own code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import psycopg
import pytest
import trio
from attrs import define, evolve, field

from pg_trio.cluster.node import Node, read_node_id
from pg_trio.cluster.postgres import log_plans, log_sum_plans
from pg_trio.cluster.postgres.log_choices import SplitConditions
from pg_trio.cluster.postgres.log_forwarding import IDS_OF_BATCH, LogForwarder
from pg_trio.cluster.postgres.log_plans import Plan, Statement, drive
from pg_trio.cluster.postgres.postgres_log_reader import PostgresLogReader
from pg_trio.cluster.postgres.postgres_log_view import log_conninfo
from pg_trio.config.cluster_settings import ClusterSettings, RedisAddress
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import Cursor, RowChoice
from pg_trio.domain.request_sums import Overview, TimeRange
from pg_trio.domain.secret import Secret
from pg_trio.store import log_query
from pg_trio.store.log_file import BATCH_ROWS, open_log, write_rows
from pg_trio.store.log_reader import LogReader
from pg_trio.store.log_spool import LogSpool
from pg_trio.stores.clustered import ClusterEngines
from pg_trio.stores.embedded import EMBEDDED
from pg_trio.stores.store_protocols import Engines
from tests.support.postgres_ledger import migrated_pool

Page = tuple[list[tuple[int, LogRow]], Cursor | None]


class ReadLog(Protocol):
    """A log of one batch of rows. Ids count from 1."""

    def write(self, rows: Sequence[LogRow]) -> None: ...

    def page(self, choice: RowChoice, before: Cursor | None, limit: int) -> Page: ...

    def one(self, request_id: UUID) -> LogRow | None: ...

    def after(self, row_id: int, limit: int) -> list[tuple[int, LogRow]]: ...

    def newest_id(self) -> int: ...

    def overview(self, choice: RowChoice, within: TimeRange) -> Overview: ...

    def reader(self) -> Any:
        """See LogRows."""

    def look_at(self, most: int, patch: pytest.MonkeyPatch) -> None:
        """Pages and sums look at so many rows at most."""

    def close(self) -> None: ...


class SqliteLog:
    """`log.db`."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / uuid4().hex
        self.connection = open_log(self.data_dir, 1.0)

    def write(self, rows: Sequence[LogRow]) -> None:
        for start in range(0, len(rows), BATCH_ROWS):
            assert [] == write_rows(rows[start : start + BATCH_ROWS], self.connection)

    def page(self, choice: RowChoice, before: Cursor | None, limit: int) -> Page:
        return log_query.read_page(self.connection, choice, before, limit)

    def one(self, request_id: UUID) -> LogRow | None:
        return log_query.read_one(self.connection, request_id)

    def after(self, row_id: int, limit: int) -> list[tuple[int, LogRow]]:
        return log_query.read_after(self.connection, row_id, limit)

    def newest_id(self) -> int:
        return log_query.read_newest_id(self.connection)

    def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        return log_query.read_overview(self.connection, choice, within)

    def reader(self) -> LogReader:
        return LogReader(self.data_dir)

    def look_at(self, most: int, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(log_query, "ROWS_LOOKED_AT", most)

    def close(self) -> None:
        self.connection.close()


@define(eq=False)
class PostgresLog:
    """`pgtrio.gateway_logs`, as this node's forwarder fills it. `queries`: the statements that were asked."""

    folder: Path
    url: str
    queries: list[Statement] = field(factory=list)
    _connection: Any = None
    _first_id: int = 0

    def __attrs_post_init__(self) -> None:
        trio.run(self._send, [])
        self._connection = psycopg.connect(log_conninfo(self.url, 30), autocommit=True)

    def write(self, rows: Sequence[LogRow]) -> None:
        trio.run(self._send, rows)
        found = self._connection.execute("SELECT min(id) FROM pgtrio.gateway_logs").fetchone()
        self._first_id = found[0] // IDS_OF_BATCH * IDS_OF_BATCH

    def page(self, choice: RowChoice, before: Cursor | None, limit: int) -> Page:
        at = None if before is None else (before[0], before[1] + self._first_id)
        rows, following = self._ask(log_plans.read_page(choice, at, limit))
        return self._plain(rows), None if following is None else (following[0], following[1] - self._first_id)

    def one(self, request_id: UUID) -> LogRow | None:
        found = self._ask(log_plans.read_one(request_id))
        return None if found is None else self._plain([(0, found)])[0][1]

    def after(self, row_id: int, limit: int) -> list[tuple[int, LogRow]]:
        arrivals = log_plans.Arrivals(time.monotonic)
        plan = log_plans.read_arrivals(SplitConditions(), row_id + self._first_id, arrivals, limit, bodies=False)
        return self._plain(self._ask(plan).rows)

    def newest_id(self) -> int:
        return int(self._ask(log_plans.read_end(log_plans.Arrivals(time.monotonic)))[1]) - self._first_id

    def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        found: Overview = self._ask(log_sum_plans.read_overview(choice, within))
        return found

    def reader(self) -> PostgresLogReader:
        return PostgresLogReader.open(self.url, self.folder / "none")

    def look_at(self, most: int, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(log_plans, "ROWS_LOOKED_AT", most)

    def close(self) -> None:
        self._connection.close()

    def explain(self, statement: Statement) -> str:
        """The plan of a statement."""
        query, values = statement
        return "\n".join(line for (line,) in self._connection.execute(f"EXPLAIN {query}".encode(), values))

    def analyze(self) -> None:
        """As PostgreSQL does by itself from time to time."""
        self._connection.execute("ANALYZE")

    def _ask(self, plan: Plan[Any]) -> Any:
        def fetch(statement: Statement) -> list[tuple[Any, ...]]:
            self.queries.append(statement)
            return list(self._connection.execute(statement[0].encode(), statement[1]))

        return drive(plan, fetch)

    def _plain(self, rows: Sequence[tuple[int, LogRow]]) -> list[tuple[int, LogRow]]:
        """The rows as a node's own log has them."""
        assert {"gw-1"} >= {row.node for _, row in rows}
        return [(number - self._first_id, evolve(row, node=None)) for number, row in rows]

    async def _send(self, rows: Sequence[LogRow]) -> None:
        data_dir = self.folder / uuid4().hex
        with closing(open_log(data_dir, 1.0)) as connection:
            for start in range(0, len(rows), BATCH_ROWS):
                assert [] == write_rows(rows[start : start + BATCH_ROWS], connection)
        await send_rows(data_dir, self.url)


async def send_rows(data_dir: Path, url: str, name: str = "gw-1") -> None:
    """Send what is in a node's own log to its cluster's."""
    async with trio.open_nursery() as nursery:
        pool = await migrated_pool(nursery, url)
        forwarder = LogForwarder(pool, Node(name, read_node_id(data_dir)), await LogSpool.open(data_dir), 0)
        await forwarder.forward()
        await forwarder.aclose()
        pool.close()
        nursery.cancel_scope.cancel()


async def send_to_cluster(data_dir: Path, url: str) -> Path:
    """Send what is in the log; the configuration of another node of the cluster, which has no log of its own."""
    await send_rows(data_dir, url)
    file = data_dir.parent / "cluster.toml"
    cluster = f'[cluster]\nredis_url = "redis://127.0.0.1:1/0"\npostgres_url = "{url}"\nnode = "gw-2"\n'
    file.write_text(f'[gateway]\ndata_dir = "data-2"\n{cluster}')
    return file


def log_in_postgres(url: str) -> Engines:
    """One worker's engines: the log of a cluster, and one machine's for everything else."""
    engines = ClusterEngines(ClusterSettings(RedisAddress(()), Secret(url), "gw-1"))
    return evolve(EMBEDDED, log=engines.open_log, log_view=engines.open_log_view)


def open_read_log(store: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A new log of that store: `sqlite` or `postgres`."""
    if store == "sqlite":
        log: Any = SqliteLog(folder)
    else:
        log = PostgresLog(folder, request.getfixturevalue("postgres_server").create_database())
    with closing(log):
        yield log
