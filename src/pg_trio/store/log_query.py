"""SQL over `log.db` for operators: pages of rows, one request, sums. Synchronous, read-only.

Rules:
1. Each query is bounded: it looks at most at ROWS_LOOKED_AT rows, the newest of its range. A page that finds fewer rows
   among them than it may have says where the next one goes on.
2. Rows are read newest first, by the time of the request's head and by id. A cursor is both, of the last row looked at.
3. Latencies are summed by classes: see domain.request_sums.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from typing import TypeAlias
from uuid import UUID

from attrs import frozen

from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import Cursor, RowChoice, Word
from pg_trio.domain.request_sums import LatencyClass, Overview, SumKey, SummedRows, TimeRange
from pg_trio.store.log_file import read_rows

# 500,000: a log of 200,000 rows is summed whole, and one of millions takes seconds no longer.
ROWS_LOOKED_AT = 500_000
# Classes of latencies: a class is 2 ** (1 / 32) wide, which is 2.2 %.
CLASSES_PER_DOUBLING = 32

Where: TypeAlias = tuple[list[str], list[object]]

_TEXTS = {
    "provider": ("provider",),
    "model": ("model",),
    "endpoint": ("endpoint_slug",),
    "error": ("error", "error_code"),
    "bare": ("endpoint_slug", "provider", "model", "error", "error_code"),
}


def where_of(choice: RowChoice) -> Where:
    """SQL conditions, all of which hold, and their parameters."""
    conditions: list[str] = []
    parameters: list[object] = []
    if choice.since is not None:
        conditions.append("at >= ?")
        parameters.append(choice.since)
    if choice.until is not None:
        conditions.append("at < ?")
        parameters.append(choice.until)
    if choice.project is not None:
        conditions.append("project_uuid = ?")
        parameters.append(choice.project.bytes)
    for place, word in enumerate(choice.words.words):
        tokens = choice.tokens[place] if place < len(choice.tokens) else frozenset()
        condition, values = _word_condition(word, tokens)
        conditions.append(condition)
        parameters += values
    return conditions, parameters


def _word_condition(word: Word, tokens: Iterable[int]) -> tuple[str, list[object]]:
    if word.kind == "status":
        statuses = word.statuses
        return (
            ("outcome LIKE ? ESCAPE '\\'", [word.like]) if statuses is None else ("status BETWEEN ? AND ?", [*statuses])
        )
    if word.kind == "subject":
        # The first lets SQLite use the index of these rows.
        return "(client_token IS NOT NULL AND subject = ?)", [word.text]
    # Ids are our own integers.
    is_token = f"token_id IN ({', '.join(map(str, sorted(tokens)))})"
    if word.kind == "token":
        return is_token, []
    columns = _TEXTS[word.kind]
    likes = [f"{column} LIKE ? ESCAPE '\\'" for column in columns]
    values: list[object] = [word.like] * len(columns)
    if word.kind == "bare":
        likes.append(is_token)
        if (of_id := word.as_id()) is not None:
            likes.append("hex(request_id) LIKE ? ESCAPE '\\'")
            values.append(of_id.like)
    return f"({' OR '.join(likes)})", values


def read_page(
    connection: sqlite3.Connection, choice: RowChoice, before: Cursor | None, limit: int
) -> tuple[list[tuple[int, LogRow]], Cursor | None]:
    """At most `limit` rows, newest first and without bodies, and where the next page begins; None at the end."""
    conditions, parameters = where_of(choice)
    bounds: list[str] = []
    limits: list[object] = []
    if before is not None:
        bounds, limits = ["(at, id) < (?, ?)"], [*before]
    last = _find_last(connection, choice, bounds, limits)
    if last is not None:
        bounds, limits = [*bounds, "(at, id) >= (?, ?)"], [*limits, *last]
    order = "ORDER BY at DESC, id DESC LIMIT ?"
    everything = [*parameters, *limits, limit + 1]
    rows = read_rows(connection, [*conditions, *bounds], order, everything, bodies=False)
    if len(rows) > limit:
        number, row = rows[limit - 1]
        return rows[:limit], (row.at, number)
    return rows, last


def _find_last(
    connection: sqlite3.Connection, choice: RowChoice, bounds: Sequence[str], limits: Sequence[object]
) -> Cursor | None:
    """The last row that may be looked at (rule 1); None if there are fewer rows."""
    where = [*bounds, *(["at < ?"] if choice.until is not None else [])]
    values = [*limits, *([choice.until] if choice.until is not None else [])]
    query = (
        f"SELECT at, id FROM gateway_logs WHERE {' AND '.join(where) or 'true'}"  # noqa: S608
        " ORDER BY at DESC LIMIT 1 OFFSET ?"
    )
    row = connection.execute(query, (*values, ROWS_LOOKED_AT)).fetchone()
    return None if row is None or (choice.since is not None and row[0] < choice.since) else (row[0], row[1])


def read_one(connection: sqlite3.Connection, request_id: UUID) -> LogRow | None:
    """The newest row of that id, with its bodies. Looked for among all rows, in the index by time."""
    rows = read_rows(connection, ["request_id = ?"], "ORDER BY at DESC LIMIT 1", (request_id.bytes,))
    return rows[0][1] if rows else None


def read_after(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, LogRow]]:
    """At most `limit` rows that were written after the row of that id, oldest first and without bodies."""
    return read_rows(connection, ["id > ?"], "ORDER BY id LIMIT ?", (after, limit), bodies=False)


def read_newest_id(connection: sqlite3.Connection) -> int:
    """The id of the row written last; 0 without rows."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM gateway_logs").fetchone()[0])


# ── sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

# In the order of SummedRows.
_SUMS = """count(*), coalesce(sum(error_code IS NOT NULL), 0), coalesce(sum(outcome = 'deadline'), 0),
    coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), coalesce(sum(cost_nano_usd), 0),
    coalesce(sum(hedge_won IS NOT NULL), 0), coalesce(sum(hedge_won), 0), sum(latency_ms)"""


def read_overview(connection: sqlite3.Connection, choice: RowChoice, within: TimeRange) -> Overview:
    """Sum the rows of a range (rule 1)."""
    _add_log2(connection)
    conditions, parameters = where_of(choice)
    where, values = [*conditions, "at >= ?", "at < ?"], [*parameters, within.since, within.until]
    last = connection.execute(
        "SELECT at FROM gateway_logs WHERE at >= ? AND at < ? ORDER BY at DESC LIMIT 1 OFFSET ?",
        (within.since, within.until, ROWS_LOOKED_AT),
    ).fetchone()
    if last is not None:
        where, values = [*where, "at >= ?"], [*values, last[0]]
    # Numbers of ours, not a client's text.
    step = f"CAST((at - {within.since!r}) / {within.step_s!r} AS INTEGER)"
    chosen = _Chosen(connection, " AND ".join(where), values, step)
    return Overview(
        since=within.since if last is None else last[0],
        is_partial=last is not None,
        sums=chosen.sum_by_place(),
        latencies=chosen.count_classes("latency_ms"),
        first_tokens=chosen.count_classes("first_token_ms"),
        saved_ms=chosen.estimate_saved(),
    )


@frozen
class _Chosen:
    """The rows for which a condition holds. `step` is an SQL expression: the step of a row."""

    connection: sqlite3.Connection
    where: str
    values: list[object]
    step: str

    def sum_by_place(self) -> dict[SumKey, SummedRows]:
        query = f"""SELECT {self.step}, endpoint_uuid, provider, {_SUMS} FROM gateway_logs
            WHERE {self.where} GROUP BY 1, 2, 3"""  # noqa: S608
        return {
            (step, endpoint and UUID(bytes=endpoint), provider): SummedRows(*sums)
            for step, endpoint, provider, *sums in self.connection.execute(query, self.values)
        }

    def count_classes(self, column: str) -> dict[int, list[LatencyClass]]:
        number = f"CAST(log2(max({column}, 0.001)) * {CLASSES_PER_DOUBLING} AS INTEGER)"
        query = f"""SELECT {self.step}, count(*), min({column}), max({column}) FROM gateway_logs
            WHERE {self.where} AND {column} IS NOT NULL GROUP BY 1, {number}"""  # noqa: S608
        found: dict[int, list[LatencyClass]] = {}
        for step, *values in self.connection.execute(query, self.values):
            found.setdefault(step, []).append(LatencyClass(*values))
        return found

    def estimate_saved(self) -> float | None:
        """An estimate of the milliseconds that won hedges saved; None if no hedge won, or nothing is known.

        What the first candidate would have taken is not known: it was cancelled. Requests whose hedge lost say how long
        a slow first candidate takes, so their mean stands for it.
        """
        query = f"""SELECT hedge_won, count(*), avg(latency_ms) FROM gateway_logs
            WHERE {self.where} AND hedge_won IS NOT NULL AND error_code IS NULL GROUP BY 1"""  # noqa: S608
        means = {won: (count, mean) for won, count, mean in self.connection.execute(query, self.values)}
        if 0 not in means or 1 not in means:
            return None
        count, mean = means[1]
        return float(max(0.0, count * (means[0][1] - mean)))


def _add_log2(connection: sqlite3.Connection) -> None:
    # SQLite's own, three times as fast, is there unless it was built without mathematics.
    try:
        connection.execute("SELECT log2(2)")
    except sqlite3.OperationalError:
        connection.create_function("log2", 1, math.log2, deterministic=True)
