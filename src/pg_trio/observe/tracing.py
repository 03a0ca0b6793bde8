"""Traces: decides at a request's end whether its spans are exported, and hands them to the exporting process.

Rules:
1. A client's decision holds: with a sampled parent the spans are exported, with an unsampled one nothing is.
2. Without a parent, `trace_ratio` of all requests are exported, and every request that `keep_always` names. So spans
   are built only at the end, and only if they are exported.
3. Handing over never waits. If the queue is full, the trace is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import orjson
from attrs import define, frozen

from pg_trio.domain.call import RequestHead
from pg_trio.domain.trace_context import RequestTrace, TraceContext, is_tracestate
from pg_trio.observe.span_building import SpanBuilder
from pg_trio.recorder import RequestOutcome, RequestRecord

# The right-most 7 bytes of a trace's id are random (W3C Trace Context Level 2), and of a UUID of version 4, too.
_RANDOM_BITS = 56


@frozen(eq=False)
class Sampling:
    """Which requests are exported. `ratio` is from 0 to 1; `keep_always` has `error`, `deadline`, `hedged`."""

    ratio: float
    keep_always: Collection[str]

    def begin(self, head: RequestHead) -> RequestTrace:
        """The trace of a request that has begun."""
        origin = head.origin
        parent = None if origin.traceparent is None else TraceContext.read(origin.traceparent)
        tracestate = origin.tracestate if is_tracestate(origin.tracestate) else None
        return RequestTrace(head.request_id, parent, tracestate, is_sampled=self.ratio > 0)

    def keeps(self, record: RequestRecord, outcome: RequestOutcome, trace: RequestTrace) -> bool:
        """Whether the request's spans are exported."""
        if trace.parent is not None:
            return trace.parent.is_sampled
        chance = int(trace.trace_id, 16) & (2**_RANDOM_BITS - 1)
        return chance < self.ratio * 2**_RANDOM_BITS or self._is_kept_always(record, outcome)

    def _is_kept_always(self, record: RequestRecord, outcome: RequestOutcome) -> bool:
        keep = self.keep_always
        if "error" in keep and outcome.status >= 500:
            return True
        if "deadline" in keep and outcome.kind == "deadline":
            return True
        return "hedged" in keep and any(row.is_hedge for row in record.attempts.rows)


class TraceQueue(Protocol):
    """Takes traces as JSON texts. Nothing here waits."""

    def has_room(self) -> bool:
        """Whether another trace would be taken. If not, it counts as dropped, and need not be made."""

    def send(self, trace: bytes) -> None:
        """Queue a trace, or drop and count it."""


@define(eq=False)
class Tracing:
    """Hands traces on: see recorder.Subscriber."""

    _sampling: Sampling
    _builder: SpanBuilder
    _queue: TraceQueue

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """Hand the request's spans on, if they are to be exported."""
        trace = record.attempts.trace
        if not isinstance(trace, RequestTrace) or not self._sampling.keeps(record, outcome, trace):
            return
        if self._queue.has_room():
            spans = self._builder.build(record, outcome, trace)
            self._queue.send(orjson.dumps({"trace": trace.trace_id, "spans": spans}))

    def shed(self, count: int) -> None:
        """Requests that were refused unread have no spans."""
