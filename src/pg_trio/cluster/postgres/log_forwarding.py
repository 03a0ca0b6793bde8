"""The log of all nodes: rows go from each node's own file (its spool) to PostgreSQL, each of them once.

Rules:
1. A request's row is written to the node's log.db, as on one machine. So a request never waits for PostgreSQL, and
   while that is away the rows stay in the file, up to `log_max_bytes`.
2. One worker of a node takes them over, in batches and in their order. A batch, and how far the spool has come, are one
   transaction. If its answer was lost, the batch is sent again: a row's key is its request's id and time, so none is
   there twice. A batch has a number, and its rows ids by it (log_plans.py reads them in this order).
3. A spool that was replaced by another file is sent from its beginning: its row of the last id is another request.
4. Partitions of days that are too old (`log_max_age_days`) are dropped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import psycopg
import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, say
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.errors import StoreError
from pg_trio.store.log_file import COLUMN_NAMES
from pg_trio.store.log_spool import LogSpool
from pg_trio.store.outage import Outage

logger = logging.getLogger("pg_trio.cluster")

BATCH_ROWS = 500
# See the migration: places for the rows of a batch.
IDS_OF_BATCH = 1024
# How long a row waits for its batch.
FORWARD_EVERY_S = 0.25
RETRY_S = 1.0
# A batch with bodies may be megabytes; it is not a request that waits.
BATCH_LIMIT_S = 30.0
CLOSE_LIMIT_S = 5.0
DROP_EVERY_S = 3600.0
DAY_S = 86_400

BODY_COLUMNS = ("request_body", "response_body")
MAKE_DAY = "SELECT pgtrio.make_log_day(%s)"
# The batch's number is taken when its rows are written, last: followers of the log wait for a number that is missing.
COLUMNS = ", ".join(["node", *(name for name in COLUMN_NAMES if name not in BODY_COLUMNS)])
INSERT_ROWS = (
    "WITH batch AS MATERIALIZED (SELECT nextval('pgtrio.log_batches') AS number)"  # noqa: S608
    f" INSERT INTO pgtrio.gateway_logs (id, {COLUMNS})"
    f" SELECT batch.number * {IDS_OF_BATCH} + sent.ordinality, {COLUMNS}"
    " FROM batch, json_populate_recordset(NULL::pgtrio.gateway_logs, %s::json) WITH ORDINALITY AS sent"
    " ON CONFLICT DO NOTHING"
)
INSERT_BODIES = (
    "INSERT INTO pgtrio.gateway_log_bodies"
    " SELECT * FROM json_populate_recordset(NULL::pgtrio.gateway_log_bodies, %s::json) ON CONFLICT DO NOTHING"
)
NOTE_SPOOL = (
    "INSERT INTO pgtrio.log_spools (node_id, last_id, last_request) VALUES (%s, %s, %s)"
    " ON CONFLICT (node_id) DO UPDATE SET last_id = excluded.last_id, last_request = excluded.last_request"
)
READ_SPOOL = "SELECT last_id, last_request FROM pgtrio.log_spools WHERE node_id = %s"

Rows = Sequence[tuple[int, dict[str, Any]]]


@define(eq=False)
class LogForwarder:
    """See the rules. Run `run`; close with `aclose` after the log's own writer."""

    pool: PostgresPool
    node: Node
    spool: LogSpool
    max_age_days: int
    # Rows that are not known to be in PostgreSQL. 0 at the workers that do not send.
    unsent: int = field(default=0, init=False)
    # How far the spool has come; None until it is known.
    _last_id: int | None = None
    _known_id: int = 0
    _days: set[int] = field(factory=set)
    _outage: Outage = field(factory=lambda: Outage(logger, "cannot send the log to PostgreSQL, it waits in log.db"))

    async def run(self) -> None:
        """Until cancelled."""
        dropped_at = -DROP_EVERY_S
        while True:
            pause_s = FORWARD_EVERY_S
            if self.spool.try_hold():
                try:
                    await self.forward()
                    if trio.current_time() - dropped_at >= DROP_EVERY_S:
                        await self._drop_old()
                        dropped_at = trio.current_time()
                except (EngineAway, psycopg.Error, StoreError) as error:
                    self._outage.failed(error if isinstance(error, StoreError) else StoreError(say(error)))
                    await self._count_unsent()
                    pause_s = RETRY_S
                else:
                    self._outage.succeeded()
                    self.unsent = 0
            await trio.sleep(pause_s)

    async def _count_unsent(self) -> None:
        try:
            largest, _ = await self.spool.read_ends(0)
        except StoreError:
            # The file's own trouble is told by its writer.
            return
        self.unsent = max(0, largest - self._known_id)

    async def forward(self) -> int:
        """Send all rows that are there. Returns their number. Raises EngineAway, psycopg.Error, StoreError."""
        sent = 0
        last_id = await self._find_last() if self._last_id is None else self._last_id
        while rows := await self.spool.read_after(last_id, BATCH_ROWS):
            # Unknown until it is done: then PostgreSQL is asked.
            self._last_id = None
            await self._send(rows)
            self._last_id = self._known_id = last_id = rows[-1][0]
            sent += len(rows)
            if len(rows) < BATCH_ROWS:
                break
        self._last_id = self._known_id = last_id
        return sent

    async def aclose(self) -> None:
        """Send what the log's writer wrote at last, and close. Works under cancellation, for at most CLOSE_LIMIT_S."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True) as limit:
            if self.spool.try_hold():
                try:
                    await self.pool.reach()
                    await self.forward()
                except (EngineAway, psycopg.Error, StoreError, OSError) as error:
                    logger.warning("rows of the log stay in log.db until the next start: %s", say(error))
            await self.spool.aclose()
        if limit.cancelled_caught:
            logger.warning("rows of the log stay in log.db until the next start: PostgreSQL does not answer in time")

    async def _find_last(self) -> int:
        """The id after which the spool goes on."""

        async def read(connection: TrioConnection) -> tuple[Any, ...] | None:
            return await (await connection.execute(READ_SPOOL, (self.node.id,))).fetchone()

        row = await self.pool.use(read)
        if row is None:
            return 0
        last_id, last_request = int(row[0]), row[1]
        largest, request = await self.spool.read_ends(last_id)
        if largest < last_id or (request is not None and request != last_request):
            logger.warning("log.db was replaced: it is sent to PostgreSQL from its beginning")
            return 0
        return last_id

    async def _send(self, rows: Rows) -> None:
        plain, bodies = _to_json(rows, self.node.name)
        days = {int(values["at"] // DAY_S) for _, values in rows} - self._days
        last_id, last = rows[-1]

        async def write(connection: TrioConnection) -> None:
            for day in days:
                await connection.execute(MAKE_DAY, (day,))
            async with connection.transaction():
                if bodies is not None:
                    await connection.execute(INSERT_BODIES, (bodies,))
                await connection.execute(INSERT_ROWS.encode(), (plain,))
                await connection.execute(NOTE_SPOOL, (self.node.id, last_id, UUID(last["request_id"])))

        await self.pool.use(write, BATCH_LIMIT_S)
        self._days |= days

    async def _drop_old(self) -> None:
        if not self.max_age_days:
            return
        before = int(time.time() // DAY_S) - self.max_age_days

        async def drop(connection: TrioConnection) -> None:
            await connection.execute("SELECT pgtrio.drop_log_days(%s)", (before,))

        await self.pool.use(drop, BATCH_LIMIT_S)
        self._days = {day for day in self._days if day >= before}


def _to_json(rows: Rows, node: str) -> tuple[str, str | None]:
    """The rows without bodies, and the bodies, as JSON arrays."""
    plain, bodies = [], []
    for _, values in rows:
        plain.append({"node": node, **{name: value for name, value in values.items() if name not in BODY_COLUMNS}})
        kept = {name: values[name] for name in BODY_COLUMNS}
        if any(body is not None for body in kept.values()):
            bodies.append({"request_id": values["request_id"], "at": values["at"], **kept})
    return _dump(plain), _dump(bodies) if bodies else None


def _dump(rows: Sequence[dict[str, Any]]) -> str:
    # PostgreSQL's text has no NUL, which JSON writes as an escape. A backslash before it is another escape.
    text = orjson.dumps(rows).decode("utf-8")
    if "\\u0000" not in text:
        return text
    return orjson.dumps([{name: _without_nul(value) for name, value in row.items()} for row in rows]).decode("utf-8")


def _without_nul(value: Any) -> Any:
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value
