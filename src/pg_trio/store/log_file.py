"""`log.db`: its schema, and a `LogRow` as a row of it.

Rules:
1. UUIDs are 16-byte blobs (`hex(project_uuid)` shows one): a third of the text's size in every row and index.
2. Stages, attempts and bodies are JSON text: read as a whole, never searched.
3. A batch is one statement. At each call into SQLite the thread releases the interpreter's lock, and waits up to 5 ms
   (`sys.getswitchinterval`) to get it back from a busy event loop. 250 single inserts took 1.4 s; one statement takes
   15 ms.
4. A statement has places for the next power of two of rows, and is reused for batches up to that size. Translating a
   statement takes SQLite longer (3.2 µs a row) than writing its rows.
5. Invalid Unicode (half a surrogate pair in a slug) is stored as `?`, so that a client's text never loses a row.
6. A column that few rows fill is given as NO_VALUE where it is empty, and the statement makes NULL of it. For each
   None the sqlite3 module looks for an adapter, which takes 0.2 µs, and a row has a dozen of them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import AttemptRow, LogRow, UnwrittenRow
from pg_trio.store.database import open_database
from pg_trio.store.migrations import Schema
from pg_trio.store.transaction import transaction

FILE_NAME = "log.db"

QUARTER_S = 900

SCHEMA = Schema(
    application_id=0x70676C01,  # "pgl" and 1
    steps=(
        (
            """
            CREATE TABLE gateway_logs (
                id INTEGER PRIMARY KEY,
                request_id BLOB NOT NULL,
                at REAL NOT NULL,
                status INTEGER NOT NULL,
                latency_ms REAL NOT NULL,
                project_uuid BLOB,
                endpoint_uuid BLOB,
                endpoint_slug TEXT,
                token_id INTEGER,
                provider TEXT,
                model TEXT,
                error_code TEXT,
                error TEXT,
                prompt_tokens INTEGER,
                completion_tokens INTEGER,
                cost_nano_usd INTEGER,
                stages_ms TEXT NOT NULL,  -- {"stage": milliseconds}
                -- [[provider, model, credential, started_ms, ended_ms, outcome, first_token_ms or null, why, is_hedge]]
                attempts TEXT NOT NULL
            )
            """,
            # Has every column that `sum_spend` reads, so that a month of rows is summed without reading the table.
            "CREATE INDEX gateway_logs_by_time ON gateway_logs (at, endpoint_uuid, cost_nano_usd)",
            "CREATE INDEX gateway_logs_by_project ON gateway_logs (project_uuid, at)",
        ),
        # JSON, if the endpoint keeps bodies. They are the last columns: parts that do not fit on a row's page are not
        # read by queries for other columns.
        (
            "ALTER TABLE gateway_logs ADD COLUMN request_body TEXT",
            "ALTER TABLE gateway_logs ADD COLUMN response_body TEXT",
        ),
        # The cost of deleted rows, for budgets that are rebuilt from the log. It is summed by quarters of an hour,
        # because every time zone's months begin with one. A trigger does it, so that every deletion counts.
        (
            """
            CREATE TABLE deleted_spend (
                quarter_hour INTEGER NOT NULL,  -- Unix seconds / 900
                endpoint_uuid BLOB NOT NULL,
                cost_nano_usd INTEGER NOT NULL,
                PRIMARY KEY (quarter_hour, endpoint_uuid)
            ) WITHOUT ROWID
            """,
            f"""
            CREATE TRIGGER gateway_logs_deleted AFTER DELETE ON gateway_logs
            WHEN OLD.cost_nano_usd IS NOT NULL AND OLD.endpoint_uuid IS NOT NULL
            BEGIN
                INSERT INTO deleted_spend
                VALUES (CAST(OLD.at / {QUARTER_S} AS INTEGER), OLD.endpoint_uuid, OLD.cost_nano_usd)
                ON CONFLICT DO UPDATE SET cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd;
            END
            """,  # noqa: S608
        ),
        # The client's address and its own request id. New columns come after the bodies, so reading them goes through
        # the pages of a row's bodies. Only `pg-trio logs` does that.
        (
            "ALTER TABLE gateway_logs ADD COLUMN client_request_id TEXT",
            "ALTER TABLE gateway_logs ADD COLUMN client_address TEXT",
        ),
        # Parts of `prompt_tokens` and `completion_tokens`, NULL where there are none, and where the price is from.
        (
            "ALTER TABLE gateway_logs ADD COLUMN cached_tokens INTEGER",
            "ALTER TABLE gateway_logs ADD COLUMN cache_write_tokens INTEGER",
            "ALTER TABLE gateway_logs ADD COLUMN reasoning_tokens INTEGER",
            "ALTER TABLE gateway_logs ADD COLUMN price TEXT",
        ),
        # What operators see of a request. The index by time has every column that the overview sums and that lists
        # are filtered by, so that 200,000 rows are summed in some 0.2 s without reading the table. Rows arrive nearly
        # in its order, so it grows at its end.
        (
            "ALTER TABLE gateway_logs ADD COLUMN surface TEXT",
            "ALTER TABLE gateway_logs ADD COLUMN outcome TEXT",
            "ALTER TABLE gateway_logs ADD COLUMN deadline_ms INTEGER",
            "ALTER TABLE gateway_logs ADD COLUMN first_token_ms REAL",
            "ALTER TABLE gateway_logs ADD COLUMN hedge_won INTEGER",  # NULL: no hedge was started
            "DROP INDEX gateway_logs_by_time",
            """
            CREATE INDEX gateway_logs_by_time ON gateway_logs (
                at, endpoint_uuid, cost_nano_usd, request_id, project_uuid, endpoint_slug, token_id, status, outcome,
                error_code, latency_ms, first_token_ms, provider, model, prompt_tokens, completion_tokens, hedge_won
            )
            """,
        ),
        # The user that a client token was minted for, and its id. The index has rows of client tokens alone, with what
        # `sum_holder_spend` reads.
        (
            "ALTER TABLE gateway_logs ADD COLUMN subject TEXT",
            "ALTER TABLE gateway_logs ADD COLUMN client_token TEXT",
            """
            CREATE INDEX gateway_logs_by_holder ON gateway_logs (subject, at, token_id, client_token, cost_nano_usd)
            WHERE client_token IS NOT NULL
            """,
            """
            CREATE TABLE deleted_holder_spend (
                quarter_hour INTEGER NOT NULL,  -- Unix seconds / 900
                token_id INTEGER NOT NULL,
                subject TEXT NOT NULL,
                cost_nano_usd INTEGER NOT NULL,
                PRIMARY KEY (quarter_hour, token_id, subject)
            ) WITHOUT ROWID
            """,
            f"""
            CREATE TRIGGER gateway_logs_of_holder_deleted AFTER DELETE ON gateway_logs
            WHEN OLD.client_token IS NOT NULL AND OLD.subject IS NOT NULL AND OLD.cost_nano_usd IS NOT NULL
            BEGIN
                INSERT INTO deleted_holder_spend
                VALUES (CAST(OLD.at / {QUARTER_S} AS INTEGER), OLD.token_id, OLD.subject, OLD.cost_nano_usd)
                ON CONFLICT DO UPDATE SET cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd;
            END
            """,  # noqa: S608
        ),
        # [[guardrail, rule, phase, action, count]]; NULL where no rule decided anything.
        ("ALTER TABLE gateway_logs ADD COLUMN guardrails TEXT",),
    ),
)

_USUAL = (
    "request_id, at, status, latency_ms, project_uuid, endpoint_uuid, endpoint_slug, token_id, provider, model,"
    " prompt_tokens, completion_tokens, cost_nano_usd, stages_ms, attempts, surface, outcome"
)
# Of failures, of bodies, and what few clients and providers say.
_SELDOM = (
    "error_code, error, request_body, response_body, client_request_id, client_address, cached_tokens,"
    " cache_write_tokens, reasoning_tokens, price, deadline_ms, first_token_ms, hedge_won, subject, client_token,"
    " guardrails"
)
_COLUMNS = f"{_USUAL}, {_SELDOM}"
COLUMN_NAMES = _COLUMNS.split(", ")
# No row has it: numbers are not negative, and no text equals a number.
NO_VALUE = -(2**62)
_PLACES = "(" + ", ".join("?" * len(COLUMN_NAMES)) + ")"
# Picked in front of all rows, and not at each place, because a statement would be translated four times as long.
_VALUE = [f"column{1 + place}" for place in range(len(COLUMN_NAMES))]
_FIRST_SELDOM = len(_USUAL.split(", "))
_PICKED = ", ".join(_VALUE[:_FIRST_SELDOM] + [f"nullif({value}, {NO_VALUE})" for value in _VALUE[_FIRST_SELDOM:]])
# 800 rows have 26,400 values; SQLite takes 32,766.
BATCH_ROWS = 800
# A batch of 1 in a statement of this size costs 7 µs more; its thread switches cost 100 µs or more.
_LEAST_PLACES = 16
# Two sizes for a steady load, and some for the sweep. A kept statement with its last values takes 1.9 kB a place: 3.7
# MB for the largest four, and at most four times the bodies of a batch (log.py).
_KEPT_STATEMENTS = 4

_Values: TypeAlias = tuple[Any, ...]  # in the order of _COLUMNS
# The errors of a row with wrong values. Such a row must not prevent the others from being written.
_UNSTORABLE = (
    AttributeError,
    OverflowError,
    TypeError,
    ValueError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


def _encode_attempts(attempts: Sequence[AttemptRow]) -> str:
    # orjson takes a tenth of the time of `json`, which was half of a row's cost. It refuses half a surrogate pair;
    # `json` does not.
    try:
        return orjson.dumps(attempts, _plain).decode("ascii")
    except (orjson.JSONEncodeError, UnicodeDecodeError):
        return json.dumps(attempts, separators=(",", ":"), default=_plain)


def _plain(value: object) -> _Values:
    """The values of an attempt, for a JSON encoder that does not know the class. Raises TypeError for other objects."""
    if type(value) is not AttemptRow:
        raise TypeError(f"{type(value)} in an attempt")
    return _attempt_values(value)


def open_log(data_dir: Path, busy_limit_s: float) -> sqlite3.Connection:
    """A connection to the data directory's log; a missing file is made.

    `synchronous=NORMAL`: a batch does not wait for the disk. A killed process loses nothing that was written. A power
    failure may lose the seconds since the last checkpoint, never the file.
    """
    path = data_dir / FILE_NAME
    return open_database(
        path, SCHEMA, synchronous="NORMAL", busy_limit_s=busy_limit_s, cached_statements=_KEPT_STATEMENTS
    )


def write_rows(rows: Sequence[UnwrittenRow], connection: sqlite3.Connection) -> list[UnwrittenRow]:
    """Write at most BATCH_ROWS rows in one transaction. Returns the rows that cannot be stored."""
    try:
        _insert(rows, connection)
    except _UNSTORABLE:
        return _write_one_by_one(rows, connection)
    return []


def _insert(rows: Sequence[UnwrittenRow], connection: sqlite3.Connection) -> None:
    places = min(max(_LEAST_PLACES, 1 << (len(rows) - 1).bit_length()), BATCH_ROWS)
    values = list(chain.from_iterable(map(_values_of, rows)))
    values += [0] * (len(COLUMN_NAMES) * (places - len(rows)))
    values.append(len(rows))
    try:
        connection.execute(_insert_statement(places), values)
    except UnicodeEncodeError:
        # Invalid text is looked for only after a failure: it is rare, and the search costs a tenth of the writing.
        connection.execute(_insert_statement(places), list(map(_storable, values)))


@lru_cache(maxsize=_KEPT_STATEMENTS)
def _insert_statement(places: int) -> str:
    """A statement with this many places for rows. Its last parameter is the number of rows to write."""
    rows = ", ".join([_PLACES] * places)
    return f"INSERT INTO gateway_logs ({_COLUMNS}) SELECT {_PICKED} FROM (VALUES {rows}) LIMIT ?"  # noqa: S608


def _write_one_by_one(rows: Sequence[UnwrittenRow], connection: sqlite3.Connection) -> list[UnwrittenRow]:
    refused = []
    with transaction(connection):
        for row in rows:
            try:
                _insert([row], connection)
            except _UNSTORABLE:
                refused.append(row)
    return refused


def read_recent(limit: int, connection: sqlite3.Connection) -> list[LogRow]:
    """The last `limit` rows written, newest first."""
    return [row for _, row in read_rows(connection, [], "ORDER BY id DESC LIMIT ?", (limit,))]


def read_rows(
    connection: sqlite3.Connection,
    conditions: Sequence[str],
    order: str,
    parameters: Sequence[object],
    *,
    bodies: bool = True,
) -> list[tuple[int, LogRow]]:
    """Rows for which all SQL conditions hold, each with its `id`. Conditions are constants; parameters may be a
    client's text. Without `bodies` they are left out."""
    where = " AND ".join(conditions) or "true"
    columns = _COLUMNS if bodies else _COLUMNS.replace("request_body, response_body", "NULL, NULL")
    query = f"SELECT id, {columns} FROM gateway_logs WHERE {where} {order}"  # noqa: S608
    return [(row_id, _row_of(values)) for row_id, *values in connection.execute(query, parameters)]


def _values_of(unwritten: UnwrittenRow) -> _Values:
    # No `bytes`: the sqlite3 module looks for an adapter for each of them, which takes 0.2 µs.
    row = unwritten.to_row()
    project, endpoint, first_token_ms, hedge_won = (
        row.project_uuid,
        row.endpoint_uuid,
        row.first_token_ms,
        row.hedge_won,
    )
    return (
        bytearray(row.request_id.bytes),
        row.at,
        row.status,
        row.latency_ms,
        project and bytearray(project.bytes),
        endpoint and bytearray(endpoint.bytes),
        row.endpoint_slug,
        row.token_id,
        row.provider,
        row.model,
        row.prompt_tokens,
        row.completion_tokens,
        row.cost_nano_usd,
        row.stages,
        _encode_attempts(row.attempts),
        row.surface,
        row.outcome,
        NO_VALUE if row.error_code is None else row.error_code,
        NO_VALUE if row.error is None else row.error,
        NO_VALUE if row.request_body is None else row.request_body,
        NO_VALUE if row.response_body is None else row.response_body,
        NO_VALUE if row.client_request_id is None else row.client_request_id,
        NO_VALUE if row.client_address is None else row.client_address,
        row.cached_tokens or NO_VALUE,
        row.cache_write_tokens or NO_VALUE,
        row.reasoning_tokens or NO_VALUE,
        NO_VALUE if row.price is None else row.price,
        NO_VALUE if row.deadline_ms is None else row.deadline_ms,
        NO_VALUE if first_token_ms is None else first_token_ms,
        NO_VALUE if hedge_won is None else hedge_won,
        NO_VALUE if row.subject is None else row.subject,
        NO_VALUE if row.client_token is None else row.client_token,
        _encode_verdicts(row.guardrails) if row.guardrails else NO_VALUE,
    )


def _encode_verdicts(verdicts: Sequence[GuardrailVerdict]) -> str:
    return json.dumps([(one.guardrail, one.rule, one.phase, one.action, one.count) for one in verdicts])


def _attempt_values(attempt: AttemptRow) -> _Values:
    # Fields are listed: attrs.astuple walks into every value and costs as much as the rest of the row.
    return (
        attempt.provider,
        attempt.model,
        attempt.credential,
        attempt.started_ms,
        attempt.ended_ms,
        attempt.outcome,
        attempt.first_token_ms,
        attempt.why,
        attempt.is_hedge,
    )


def _storable(value: object) -> object:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def _row_of(values: Sequence[Any]) -> LogRow:
    request_id, at, status, latency_ms, project, endpoint, slug, token_id, provider, model, *rest = values
    prompt_tokens, completion_tokens, cost, stages, attempts, surface, outcome, *rest = rest
    error_code, error, request_body, response_body, client_request_id, client_address, *rest = rest
    cached_tokens, cache_write_tokens, reasoning_tokens, price, deadline_ms, *rest = rest
    # The first two are made of the attempts.
    _, _, subject, client_token, guardrails = rest
    return LogRow(
        request_id=UUID(bytes=request_id),
        at=at,
        status=status,
        latency_ms=latency_ms,
        project_uuid=project and UUID(bytes=project),
        endpoint_uuid=endpoint and UUID(bytes=endpoint),
        endpoint_slug=slug,
        token_id=token_id,
        provider=provider,
        model=model,
        error_code=error_code,
        error=error,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_nano_usd=cost,
        stages=stages,
        attempts=tuple(AttemptRow(*attempt) for attempt in json.loads(attempts)),
        request_body=request_body,
        response_body=response_body,
        client_request_id=client_request_id,
        client_address=client_address,
        cached_tokens=cached_tokens or 0,
        cache_write_tokens=cache_write_tokens or 0,
        reasoning_tokens=reasoning_tokens or 0,
        price=price,
        surface=surface,
        outcome=outcome,
        deadline_ms=deadline_ms,
        subject=subject,
        client_token=client_token,
        guardrails=tuple(GuardrailVerdict(*one) for one in json.loads(guardrails or "[]")),
    )
