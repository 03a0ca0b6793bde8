"""Traces: decides at a request's end whether its spans are exported, and hands it to the exporting process.

Rules:
1. A client's decision holds: with a sampled parent the spans are exported, with an unsampled one nothing is.
2. Without a parent, `trace_ratio` of all requests are exported, and every request that `keep_always` names. So what is
   exported is decided only at the end.
3. Handing over never waits. If the queue is full, the trace is dropped and counted.
4. The worker builds no spans: the exporting process does, from the facts that it is told (trace_facts.py).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from attrs import define, field, frozen

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, Reply
from pg_trio.domain.options import NO_OPTIONS
from pg_trio.domain.trace_context import RequestTrace, TraceContext, is_tracestate
from pg_trio.observe.trace_facts import EndedRequest, describe_content, list_asked
from pg_trio.recorder import RequestOutcome, RequestRecord

# The right-most 7 bytes of a trace's id are random (W3C Trace Context Level 2), and of a UUID of version 4, too.
_RANDOM_BITS = 56


@frozen(eq=False)
class Sampling:
    """Which requests are exported. `ratio` is from 0 to 1; `keep_always` has `error`, `deadline`, `hedged`."""

    ratio: float
    keep_always: Collection[str]
    keeps_all: bool = field(init=False)
    # What calls are told where the client has said nothing.
    _flags: bytes = field(init=False)

    @keeps_all.default
    def _find_keeps_all(self) -> bool:
        return self.ratio >= 1

    @_flags.default
    def _find_flags(self) -> bytes:
        return b"01" if self.ratio > 0 else b"00"

    def begin(self, head: RequestHead) -> RequestTrace:
        """The trace of a request that has begun."""
        origin = head.origin
        if origin.traceparent is None:
            return RequestTrace(head.request_id, head.head_at, None, None, self._flags)
        parent = TraceContext.read(origin.traceparent)
        tracestate = origin.tracestate if is_tracestate(origin.tracestate) else None
        return RequestTrace(head.request_id, head.head_at, parent, tracestate, self._flags)

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
    """Takes requests that have ended. Nothing here waits."""

    def send(self, trace: EndedRequest) -> None:
        """Queue it, or drop and count it."""


@define(eq=False)
class Tracing:
    """Hands traces on: see recorder.Subscriber. `captures_content`: with the texts of prompts and answers."""

    _sampling: Sampling
    _queue: TraceQueue
    _captures_content: bool = False

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """Hand the request on, if it is to be exported. Steps are written out here: every request takes them."""
        trace, sampling = record.attempts.trace, self._sampling
        if not isinstance(trace, RequestTrace):
            return
        if (trace.parent is not None or not sampling.keeps_all) and not sampling.keeps(record, outcome, trace):
            return
        request, reply, asked, said = record.request, record.reply, None, None
        if type(request) is ChatRequest and (request.options is not NO_OPTIONS or request.session_id or request.stream):
            asked = list_asked(request)
        if type(reply) is Reply:
            said = reply.finish_reason, reply.id
        content = describe_content(record) if self._captures_content else None
        # A plain tuple, because a named one takes twice as long. Its fields are those of EndedRequest.
        self._queue.send((record, outcome, asked, said, content))  # type: ignore[arg-type]

    def shed(self, count: int) -> None:
        """Requests that were refused unread have no spans."""
