"""How rows of all nodes are read in PostgreSQL: pages, one request, what is new, sums. No I/O.

Rules:
1. A plan is a generator: it yields statements, is sent their rows, and returns what was asked for. `drive` runs it over
   a command's connection; a worker's view awaits each statement (postgres_log_view.py).
2. Rows are read newest first, by the time of the request's head and by id, a number of days at once: the partitions of
   other days are neither planned nor locked, however many there are.
3. A page looks at most at ROWS_LOOKED_AT rows, as in a single machine's log (store/log_query.py).
4. Ids are the order of arrival: a batch's number and the row's place in it. Batches of two nodes may become visible in
   the other order, so a follower waits where a number is missing, GAP_LIMIT_S at most: that batch was taken back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from attrs import define, evolve, field, frozen

from pg_trio.cluster.postgres.log_choices import Conditions, SplitConditions, split_choice, split_filter
from pg_trio.cluster.postgres.log_forwarding import DAY_S, IDS_OF_BATCH
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.domain.request_filter import Cursor, RowChoice
from pg_trio.store.log_reader import LogFilter

T = TypeVar("T")
Statement: TypeAlias = tuple[str, Sequence[object]]
Rows: TypeAlias = list[tuple[Any, ...]]
Plan: TypeAlias = Generator[Statement, Rows, T]
Page: TypeAlias = tuple[list[tuple[int, LogRow]], Cursor | None]

ROWS_LOOKED_AT = 500_000
# Some 30 is the default of `log_max_age_days`. PostgreSQL locks each partition of a query and each of its indexes, and
# has by default room for 6,400 locks.
SPAN_DAYS = 32
# Beyond the time between a batch's number and its commit.
GAP_LIMIT_S = 3.0
# Batches in which a follower that begins looks for one that is on its way. They take tenths of a second.
LOOK_BACK = 16
# Gaps that followers wait at. There is one unless followers are at different places.
MOST_GAPS = 64
# Rows whose bodies are read at once.
BODY_ROWS = 200

_COLUMNS = (
    *("id", "request_id", "at", "node", "status", "latency_ms", "project_uuid", "endpoint_uuid", "endpoint_slug"),
    *("token_id", "provider", "model", "error_code", "error", "prompt_tokens", "completion_tokens", "cost_nano_usd"),
    *("stages_ms", "attempts", "client_request_id", "client_address", "cached_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "price", "surface", "outcome", "deadline_ms", "subject", "client_token", "guardrails"),
)
_SELECTED = ", ".join(_COLUMNS)
_NEWEST_FIRST = "ORDER BY at DESC, id DESC LIMIT %s"
_BODIES = (
    "SELECT b.at, b.request_id, b.request_body, b.response_body"
    " FROM unnest(%s::float8[], %s::uuid[]) AS w (at, request_id)"
    " JOIN pgtrio.gateway_log_bodies b ON b.at = w.at AND b.request_id = w.request_id WHERE b.at BETWEEN %s AND %s"
)
DAYS = (
    "SELECT substring(c.relname FROM '[0-9]+$')::integer FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'pgtrio.gateway_logs'::regclass ORDER BY 1 DESC"
)


def drive(plan: Plan[T], fetch: Callable[[Statement], Rows]) -> T:
    """What the plan returns. `fetch` executes a statement and returns its rows."""
    try:
        statement = next(plan)
        while True:
            statement = plan.send(fetch(statement))
    except StopIteration as end:
        found: T = end.value
        return found


# ── days ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen
class Span:
    """Times of some days that follow one another, `until` excluded."""

    since: float
    until: float

    def conditions(self) -> Conditions:
        """The rows of these days."""
        return Conditions(["at >= %s", "at < %s"], [self.since, self.until])


def split_days(days: Sequence[int], since: float | None, until: float | None) -> Iterator[Span]:
    """Spans of the days (newest first) that have rows between these times, newest first (rule 2)."""
    first = float("-inf") if since is None else since
    end = float("inf") if until is None else until
    there = [day for day in days if (day + 1) * DAY_S > first and day * DAY_S < end]
    for place in range(0, len(there), SPAN_DAYS):
        some = there[place : place + SPAN_DAYS]
        yield Span(max(first, some[-1] * float(DAY_S)), min(end, (some[0] + 1) * float(DAY_S)))


def _read_spans(since: float | None = None, until: float | None = None) -> Plan[list[Span]]:
    days = yield DAYS, ()
    return list(split_days([day for (day,) in days], since, until))


def _read_newest_span() -> Plan[Conditions]:
    """The newest days. What arrives of older ones was delayed for weeks, and is not followed."""
    spans = yield from _read_spans()
    return spans[0].conditions() if spans else Conditions(["false"])


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_page(choice: RowChoice, before: Cursor | None, limit: int) -> Plan[Page]:
    """At most `limit` rows, newest first and without bodies, and where the next page begins; None at the end."""
    split, found = split_choice(choice), list[tuple[int, LogRow]]()
    until = choice.until
    if before is not None:
        # For partitions: a comparison of two columns excludes none.
        split.indexed.add("at <= %s", before[0])
        split.indexed.add("(at, id) < (%s, %s)", *before)
        until = before[0] + DAY_S if until is None else min(until, before[0] + DAY_S)
    for span in (yield from _read_spans(choice.since, until)):
        within = SplitConditions(span.conditions().plus(split.indexed), split.rest)
        rows = yield _page_statement(within, limit + 1 - len(found))
        found += map(row_of, rows)
        if len(found) > limit:
            number, row = found[limit - 1]
            return found[:limit], (row.at, number)
        if within.rest.texts and (last := (yield _last_statement(within.indexed))):
            return found, (float(last[0][0]), int(last[0][1]))
    return found, None


def _page_statement(within: SplitConditions, limit: int) -> Statement:
    if not within.rest.texts:
        return _select(within.indexed, limit)
    query, values = _select(within.indexed, ROWS_LOOKED_AT)
    query = f"SELECT * FROM ({query}) AS looked WHERE {within.rest} {_NEWEST_FIRST}"  # noqa: S608
    return query, [*values, *within.rest.values, limit]


def _select(conditions: Conditions, limit: int) -> Statement:
    query = f"SELECT {_SELECTED} FROM pgtrio.gateway_logs WHERE {conditions} {_NEWEST_FIRST}"  # noqa: S608
    return query, [*conditions.values, limit]


def _last_statement(conditions: Conditions) -> Statement:
    """The last row that was looked at, if there may be more of them."""
    query = f"SELECT at, id FROM pgtrio.gateway_logs WHERE {conditions} {_NEWEST_FIRST} OFFSET %s"  # noqa: S608
    return query, [*conditions.values, 1, ROWS_LOOKED_AT - 1]


def read_last(wanted: LogFilter, limit: int, upto: int, *, bodies: bool) -> Plan[list[LogRow]]:
    """The newest rows that match, up to that id, newest first. Not bounded by rule 3, but by the caller's time."""
    split, rows = split_filter(wanted), Rows()
    split.indexed.add("id <= %s", upto)
    for span in (yield from _read_spans(wanted.since)):
        if wanted.request_id is not None:
            rows += yield _request_statement(wanted.request_id, span, split.all, limit - len(rows))
        else:
            rows += yield _select(span.conditions().plus(split.all), limit - len(rows))
        if len(rows) >= limit:
            break
    return (yield from _with_bodies(rows)) if bodies else [row_of(values)[1] for values in rows]


def read_one(request_id: UUID) -> Plan[LogRow | None]:
    """The newest row of that request, with its bodies; None if there is none."""
    for span in (yield from _read_spans()):
        rows = yield _request_statement(request_id, span, Conditions(), 1)
        if rows:
            return (yield from _with_bodies(rows))[0]
    return None


def _request_statement(request_id: UUID, span: Span, conditions: Conditions, limit: int) -> Statement:
    within = span.conditions()
    # OFFSET 0 keeps PostgreSQL from looking for it in the order of time.
    of_request = f"SELECT {_SELECTED} FROM pgtrio.gateway_logs WHERE {within} AND request_id = %s OFFSET 0"  # noqa: S608
    query = f"SELECT * FROM ({of_request}) AS found WHERE {conditions} {_NEWEST_FIRST}"  # noqa: S608
    return query, [*within.values, request_id, *conditions.values, limit]


def _with_bodies(rows: Rows) -> Plan[list[LogRow]]:
    found = []
    for place in range(0, len(rows), BODY_ROWS):
        some = [row_of(values)[1] for values in rows[place : place + BODY_ROWS]]
        times, ids = [row.at for row in some], [row.request_id for row in some]
        kept = yield _BODIES, [times, ids, min(times), max(times)]
        bodies = {(at, request_id): texts for at, request_id, *texts in kept}
        for row in some:
            texts = bodies.get((row.at, row.request_id))
            found.append(row if texts is None else evolve(row, request_body=texts[0], response_body=texts[1]))
    return found


# ── what is new ──────────────────────────────────────────────────────────────────────────────────────────────────────


def read_end(order: Arrivals) -> Plan[tuple[int, int]]:
    """The id of the row that arrived last, 0 without rows; and where a follower begins: before it if a batch with a
    smaller number is on its way."""
    newest = yield from _read_newest_span()
    ((end,),) = yield f"SELECT max(id) FROM pgtrio.gateway_logs WHERE {newest}", newest.values  # noqa: S608
    if end is None:
        return 0, 0
    newest.add("id > %s", end - LOOK_BACK * IDS_OF_BATCH)
    query = f"SELECT DISTINCT id / {IDS_OF_BATCH} FROM pgtrio.gateway_logs WHERE {newest}"  # noqa: S608
    numbers = yield query, newest.values
    return end, order.begin(end, sorted(number for (number,) in numbers))


def read_arrivals(wanted: SplitConditions, after: int, order: Arrivals, limit: int, *, bodies: bool) -> Plan[Arrived]:
    """The rows that match among at most `limit` that arrived after that id, in their order, and where to go on."""
    newest = yield from _read_newest_span()
    newest.add("id > %s", after)
    query = f"SELECT id FROM pgtrio.gateway_logs WHERE {newest} ORDER BY id LIMIT %s"  # noqa: S608
    ids = yield query, [*newest.values, limit]
    upto = order.find_end(after, [one for (one,) in ids])
    if upto == after:
        return Arrived(after)
    newest.add("id <= %s", upto)
    within = newest.plus(wanted.all)
    query = f"SELECT {_SELECTED} FROM pgtrio.gateway_logs WHERE {within} ORDER BY id"  # noqa: S608
    rows = yield query, within.values
    rows = [values for values in rows if order.is_new(after, values[0])]
    numbers = [values[0] for values in rows]
    found = (yield from _with_bodies(rows)) if bodies else [row_of(values)[1] for values in rows]
    return Arrived(upto, list(zip(numbers, found, strict=True)))


@frozen
class Arrived:
    """Rows with their ids. Everything up to the id `upto` was looked at."""

    upto: int
    rows: list[tuple[int, LogRow]] = field(factory=list)


@define
class Arrivals:
    """How far followers may read (rule 4). `clock`: seconds."""

    clock: Callable[[], float]
    # Where the last one began, and later batches that were there already.
    _begin: int = 0
    _shown: frozenset[int] = frozenset()
    # When each gap was first seen, by the number of the batch before it.
    _gaps: dict[int, float] = field(factory=dict)

    def begin(self, end: int, numbers: Sequence[int]) -> int:
        """Where a follower begins. `numbers`: the newest batches, in order; `end`: the last id of the last of them."""
        for number, following in pairwise(numbers):
            if following > number + 1:
                self._begin = (number + 1) * IDS_OF_BATCH - 1
                self._shown = frozenset(numbers)
                return self._begin
        return end

    def is_new(self, after: int, row_id: int) -> bool:
        """Whether a follower at `after` has not been shown that row before it began."""
        return after < self._begin or row_id // IDS_OF_BATCH not in self._shown

    def find_end(self, after: int, ids: Sequence[int]) -> int:
        """The last of these ids, which come after that one in order, before a batch that may still come."""
        end, number = after, after // IDS_OF_BATCH
        for one in ids:
            if one // IDS_OF_BATCH > number + 1 and not self._is_given_up(number):
                break
            end, number = one, one // IDS_OF_BATCH
        return end

    def _is_given_up(self, number: int) -> bool:
        now = self.clock()
        if number not in self._gaps:
            if len(self._gaps) >= MOST_GAPS:
                del self._gaps[next(iter(self._gaps))]
            self._gaps[number] = now
        return now - self._gaps[number] >= GAP_LIMIT_S


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def row_of(values: Sequence[Any]) -> tuple[int, LogRow]:
    """A row's id and the row, without its bodies, of the values of `_COLUMNS`."""
    named = dict(zip(_COLUMNS, values, strict=True))
    number, guardrails = named.pop("id"), named.pop("guardrails")
    attempts, stages = named.pop("attempts"), named.pop("stages_ms")
    for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens"):
        named[name] = named[name] or 0
    return number, LogRow(
        stages=stages,
        attempts=tuple(AttemptRow(*attempt) for attempt in json.loads(attempts)),
        guardrails=tuple(GuardrailVerdict(*one) for one in json.loads(guardrails or "[]")),
        **named,
    )
