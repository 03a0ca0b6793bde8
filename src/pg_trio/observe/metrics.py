"""Counts each request, at its end, in this worker's table of the shared file.

Rules:
1. Counting never waits and has no lock. Requests that are alike (endpoint, winner, outcome, stages) share a
   `MetricShape`, which has the places of everything that such a request counts.
2. Labels are names of the configuration, or words of the gateway's own. A name that a client chose is `other`. If the
   table is full, all labels of a new series are `other`.
3. A worker that is killed loses at most what it was counting in that moment. A count is a write to shared memory, made
   before a whole answer is sent.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import repeat
from operator import add
from typing import Any

from attrs import define, field

from pg_trio.domain.chat import Usage
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.prices import SCALE
from pg_trio.domain.project import Project
from pg_trio.observe.metric_kinds import (
    ATTEMPT,
    COST,
    FIRST_TOKEN,
    GUARDRAIL,
    HEDGE,
    OTHER,
    OUTPUT_TOKEN,
    OVERHEAD,
    OVERRUN,
    RATE_LIMIT,
    REQUEST,
    STAGE,
    TOKEN,
)
from pg_trio.observe.metric_shapes import MetricShape, ShapeMaker
from pg_trio.observe.operation import operation_of
from pg_trio.recorder import RequestOutcome, RequestRecord
from pg_trio.recorder.facts import Settled
from pg_trio.recorder.outcome import SHED

# Some kilobytes each. Beyond it, they are made again; the series themselves stay.
SHAPES_KEPT = 4096

# Bounds and places within a histogram's series, as the hot path wants them.
_REQUEST_BOUNDS, _REQUEST_SUM = REQUEST.bounds, len(REQUEST.bounds) + 1
_OVERHEAD_BOUNDS, _OVERHEAD_SUM = OVERHEAD.bounds, len(OVERHEAD.bounds) + 1
# Integers, because these are compared with integers.
_TOKEN_BOUNDS, _TOKEN_SUM = tuple(map(int, TOKEN.bounds)), len(TOKEN.bounds) + 1
_STAGE_BOUNDS = repeat(STAGE.bounds)
_NOTHING = Settled(None, None, None, None)


@define(eq=False)
class RequestMetrics:
    """Counts requests: see recorder.Subscriber."""

    _maker: ShapeMaker
    _shapes: dict[tuple[Any, ...], MetricShape] = field(factory=dict)

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """Count the request. Steps are written out here: every request takes them."""
        settled, times = record.settled or _NOTHING, record.times
        where = record.endpoint or _project_of(record)
        surface = record.head.origin.surface
        key = (where, id(settled.candidate), times.stages, outcome.status, outcome.kind, surface)
        shape = self._shapes.get(key) or self._make_shape(key, record, outcome)
        cells, latency_ms, place = self._maker.book.cells, record.latency_ms, shape.request
        cells[place + bisect_left(_REQUEST_BOUNDS, latency_ms)] += 1.0
        cells[place + _REQUEST_SUM] += latency_ms
        durations_ms = times.durations_ms
        buckets = tuple(map(bisect_left, _STAGE_BOUNDS, durations_ms))
        pattern = shape.patterns.get(buckets) or self._maker.find_pattern(shape, times.stages, buckets)
        if pattern is not None:
            cells[pattern] += 1.0
            # One by one: an operation on the slice takes twice as long.
            for place, spent_ms in enumerate(durations_ms, pattern + 1):
                cells[place] += spent_ms
        else:
            self._count_stages(shape, buckets, durations_ms)
        overhead_ms, place = times.overhead_ms, shape.overhead
        cells[place + bisect_left(_OVERHEAD_BOUNDS, overhead_ms)] += 1.0
        cells[place + _OVERHEAD_SUM] += overhead_ms
        attempts = record.attempts
        rows = attempts.rows
        if shape.candidate is not None and len(rows) == 1 and (row := rows[0]).outcome == "won":
            place, spent_ms = shape.attempt, row.ended_ms - row.started_ms
            cells[place + bisect_left(_REQUEST_BOUNDS, spent_ms)] += 1.0
            cells[place + _REQUEST_SUM] += spent_ms
        elif rows:
            self._count_attempts(rows, operation_of(surface), shape.endpoint)
        nano_usd, usage = settled.cost_nano_usd or 0, settled.usage
        if usage is not None:
            tokens, place = usage.prompt_tokens, shape.input
            cells[place + bisect_left(_TOKEN_BOUNDS, tokens)] += 1.0
            cells[place + _TOKEN_SUM] += tokens
            tokens, place = usage.completion_tokens, shape.output
            cells[place + bisect_left(_TOKEN_BOUNDS, tokens)] += 1.0
            cells[place + _TOKEN_SUM] += tokens
            if usage.cached_tokens or usage.reasoning_tokens:
                nano_usd -= self._count_parts(shape, usage)
        if nano_usd:
            # What is neither output nor cached is input, also that of lost attempts.
            output_nano_usd = 0 if usage is None else usage.completion_tokens * shape.output_rate // SCALE
            cells[shape.output_cost] += output_nano_usd
            cells[shape.input_cost] += nano_usd - output_nano_usd
        if shape.may_have_more or record.verdicts or attempts.hedge_denied:
            self._count_rest(record, outcome, shape)

    def shed(self, count: int) -> None:
        """Count requests that were refused unread: within a millisecond, so in the first bucket."""
        book = self._maker.book
        labels = (OTHER, OTHER, OTHER, str(SHED.status), SHED.kind, "chat", "", "")
        book.cells[book.find(REQUEST, *labels)] += count

    # ── what few requests have ───────────────────────────────────────────────────────────────────────────────────────

    def _make_shape(self, key: tuple[Any, ...], record: RequestRecord, outcome: RequestOutcome) -> MetricShape:
        if len(self._shapes) >= SHAPES_KEPT:
            self._shapes.clear()
        shape = self._shapes[key] = self._maker.make(record, outcome)
        return shape

    def _count_stages(self, shape: MetricShape, buckets: tuple[int, ...], durations_ms: tuple[float, ...]) -> None:
        """Count stages of requests that have no pattern."""
        cells = self._maker.book.cells
        for place in map(add, shape.stages, buckets):
            cells[place] += 1.0
        at, end = shape.stage_sums, shape.stage_sums_end
        cells[at:end] = array("d", map(add, cells[at:end], durations_ms))

    def _count_parts(self, shape: MetricShape, usage: Usage) -> int:
        """Count cached and reasoning tokens. Returns what the cached ones cost, in billionths of a dollar."""
        book, cached, nano_usd = self._maker.book, usage.cached_tokens, 0
        if cached:
            book.observe(TOKEN, cached, *shape.call, "cached")
        if usage.reasoning_tokens:
            book.observe(TOKEN, usage.reasoning_tokens, *shape.call, "reasoning")
        if cached and shape.rates is not None:
            nano_usd = cached * shape.rates.cached_input // SCALE
            book.count(COST, nano_usd, *shape.call[:2], *shape.call[3:], "cached")
        return nano_usd

    def _count_attempts(self, rows: Iterable[AttemptRow], operation: str, endpoint: str) -> None:
        book, names = self._maker.book, self._maker.names
        for row in rows:
            kind, model = row.kind, names.model(row.provider, row.model)
            spent_ms = row.ended_ms - row.started_ms
            book.observe(ATTEMPT, spent_ms, operation, row.provider, model, kind, row.why)
            if row.is_hedge:
                book.count(HEDGE, 1, endpoint, "won" if kind == "won" else "lost")

    def _count_rest(self, record: RequestRecord, outcome: RequestOutcome, shape: MetricShape) -> None:
        book = self._maker.book
        # Once a request, also if several rules of a guardrail did the same.
        for guardrail, action in dict.fromkeys([(one.guardrail, one.action) for one in record.verdicts]):
            book.count(GUARDRAIL, 1, shape.endpoint, guardrail, action)
        if outcome.scope is not None:
            book.count(RATE_LIMIT, 1, shape.endpoint, outcome.scope)
        if outcome.limit_ms is not None:
            book.observe(OVERRUN, max(0.0, record.latency_ms - outcome.limit_ms), shape.endpoint)
        if record.attempts.hedge_denied:
            book.count(HEDGE, 1, shape.endpoint, "denied")
        first_token_ms = record.attempts.first_token_ms if shape.is_stream else None
        if first_token_ms is not None:
            book.observe(FIRST_TOKEN, first_token_ms, *shape.call)
            self._count_pace(record, shape, first_token_ms)

    def _count_pace(self, record: RequestRecord, shape: MetricShape, first_token_ms: float) -> None:
        usage = None if record.settled is None else record.settled.usage
        if usage is not None and usage.completion_tokens > 1:
            spent_ms = max(0.0, record.latency_ms - first_token_ms)
            self._maker.book.observe(OUTPUT_TOKEN, spent_ms / (usage.completion_tokens - 1), *shape.call)


def _project_of(record: RequestRecord) -> Project | None:
    return None if record.caller is None else record.caller.project
