"""The commands' operations on a cluster. Tokens are in PostgreSQL; a node's own files are treated as on one machine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import Any

import psycopg
import trio
from attrs import frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.carrying_over import SingleMachine, SpentMonth, carry_over
from pg_trio.cluster.postgres.postgres_log_reader import PostgresLogReader
from pg_trio.cluster.postgres.postgres_operator_admin import PostgresOperatorAdmin
from pg_trio.cluster.postgres.postgres_pool import READ_ONLY, WORK_LIMIT_S, PostgresPool, say, takes_no_writes
from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.cluster.postgres.schema import check_server, migrate_schema, read_ahead, read_missing, read_steps
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.dialing import connect_to, greet_for, read_info
from pg_trio.cluster.redis.resp import encode_command
from pg_trio.config.cluster_settings import ClusterSettings
from pg_trio.errors import StoreError
from pg_trio.stages.budget import month_of, month_start
from pg_trio.store.databases import DATABASES
from pg_trio.store.health import Working
from pg_trio.store.log_file import FILE_NAME as LOG_NAME
from pg_trio.store.whole_machine import (
    read_all_messages,
    read_all_operators,
    read_all_sessions,
    read_all_signing_keys,
    read_all_tokens,
    read_costly_requests,
    read_spend_since,
)
from pg_trio.stores.administration import (
    EmbeddedAdministration,
    LogRows,
    OperatorAdministration,
    Progress,
    StoreCheck,
    TokenAdministration,
    check_databases,
)

NO_EVICTION = "noeviction"
# A command may wait longer than a request.
COMMAND_LIMIT_S = 10.0


@frozen(slots=True)
class ClusterAdministration:
    """See Administration: PostgreSQL and Redis, and the files of this node."""

    cluster: ClusterSettings
    own: EmbeddedAdministration

    def open_tokens(self, *, create: bool = True) -> TokenAdministration:
        """See Administration: the tokens of all nodes. The tables are made if they are missing."""
        if create:
            self.migrate()
        return PostgresTokenAdmin(self.cluster.postgres_url.reveal())

    def open_operators(self) -> OperatorAdministration:
        """See Administration: the operators of all nodes."""
        self.migrate()
        return PostgresOperatorAdmin(self.cluster.postgres_url.reveal())

    def open_log(self) -> LogRows:
        """See Administration: the rows of all nodes."""
        return PostgresLogReader.open(self.cluster.postgres_url.reveal(), self.own.data_dir)

    def migrate(self) -> list[str]:
        """See Administration. Returns the names of the steps that were missing, too."""
        made: list[str] = []

        async def migrate(connection: TrioConnection) -> None:
            made.extend(await migrate_schema(connection, read_steps()))

        self._with_connection(migrate)
        return [*self.own.migrate(), *[f"PostgreSQL: {name}" for name in made]]

    def carry_over(self, now_s: float, zone: tzinfo) -> dict[str, int]:
        """See Administration."""
        data_dir = self.own.data_dir
        operators, overrides = read_all_operators(data_dir)
        since = month_start(now_s, zone)
        machine = SingleMachine(
            read_all_tokens(data_dir),
            read_all_signing_keys(data_dir),
            operators,
            overrides,
            read_all_sessions(data_dir),
            read_all_messages(data_dir),
            SpentMonth(
                month_of(now_s, zone), since, read_spend_since(data_dir, since), read_costly_requests(data_dir, since)
            ),
        )
        return carry_over(self.cluster.postgres_url.reveal(), machine)

    def back_up(self, archive: Path, progress: Progress, *, replace: bool = False) -> list[str]:
        """See Administration: this node's own files. PostgreSQL has tools of its own (pg_dump)."""
        return self.own.back_up(archive, progress, replace=replace)

    def check_engines(self) -> Iterator[StoreCheck]:
        """See Administration: Redis and PostgreSQL."""
        yield self._check_redis()
        yield self._check_postgres()

    def check_files(self, working: Working) -> Iterator[StoreCheck]:
        """See Administration: this node's log, and what it has from the time before it was a node."""
        data_dir = self.own.data_dir
        here = [one for one in DATABASES if one.file_name == LOG_NAME or (data_dir / one.file_name).exists()]
        return check_databases(data_dir, here, working)

    def _check_redis(self) -> StoreCheck:
        address = self.cluster.redis
        client = RedisClient(connect_to(address), COMMAND_LIMIT_S, (), [greet_for(address)])
        memory: dict[str, str] = {}

        async def look() -> None:
            memory.update(read_info(await client.call(encode_command("INFO", "memory"))))

        try:
            trio.run(client.check, look)
        except (EngineAway, StoreError) as error:
            # A link does not know its server's address.
            said = str(error)
            if said.startswith(("Redis ", "Redis:")) and not said.startswith("Redis at "):
                said = f"Redis at {address}{said.removeprefix('Redis')}"
            return StoreCheck("problem", f"{said}; without it each node has its share of the limits")
        policy = memory.get("maxmemory_policy", NO_EVICTION)
        if policy != NO_EVICTION:
            return StoreCheck(
                "note",
                f"Redis at {address}: its maxmemory-policy is {policy}, so it may drop counters and kept answers when"
                f" its memory is full; set {NO_EVICTION}",
            )
        return StoreCheck("ok", f"Redis at {address}: answers")

    def _check_postgres(self) -> StoreCheck:
        missing: list[str] = []
        ahead = 0

        async def look(connection: TrioConnection) -> None:
            nonlocal ahead
            check_server(connection)
            if await takes_no_writes(connection):
                raise EngineAway(READ_ONLY)
            missing.extend(await read_missing(connection, read_steps()))
            if not missing:
                ahead = await read_ahead(connection, read_steps())

        try:
            self._with_connection(look, COMMAND_LIMIT_S)
        except StoreError as error:
            return StoreCheck("problem", str(error))
        if missing:
            listed = ", ".join(missing)
            return StoreCheck("problem", f"PostgreSQL: steps are missing ({listed}); `pg-trio migrate` makes them")
        if ahead:
            return StoreCheck("note", "PostgreSQL: answers, with the next release's tables, which this release can use")
        return StoreCheck("ok", "PostgreSQL: answers, with this release's tables")

    def _with_connection(
        self, work: Callable[[TrioConnection], Coroutine[Any, Any, None]], limit_s: float = WORK_LIMIT_S
    ) -> None:
        """Raises StoreError."""
        pool = PostgresPool(self.cluster.postgres_url.reveal(), COMMAND_LIMIT_S)
        try:
            trio.run(pool.check, work, limit_s)
        except (EngineAway, psycopg.Error, OSError) as error:
            raise StoreError(f"PostgreSQL: {say(error)} (cluster.postgres_url)") from error
