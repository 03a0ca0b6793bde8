"""The trace that a client's request belongs to, and what its calls of providers are told of it.

Source: W3C Recommendation "Trace Context" (2021-11), section 3.2, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from pg_trio.domain.value import value

# Version, trace, parent, flags. A later version may have more behind another dash (section 3.2.4); 0xff is no version.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@value(slots=True)
class TraceContext:
    """A trace and the client's span in it, in lower-case hexadecimal: 32 and 16 digits."""

    trace_id: str
    parent_id: str
    is_sampled: bool

    @classmethod
    def read(cls, traceparent: str) -> TraceContext | None:
        """From the header's value; None for a malformed one, which the specification tells us to ignore."""
        found = _TRACEPARENT.fullmatch(traceparent)
        if found is None or (found[1] == "00" and found[5] is not None):
            return None
        return cls(found[2], found[3], bool(int(found[4], 16) & 1))


class AttemptTrace(Protocol):
    """What a request's calls of providers are told of its trace."""

    def begin_attempt(self, candidate: tuple[str, str], started_ms: float) -> Sequence[tuple[str, str]]:
        """The header fields for a call: to this (credential, model), begun so long after the request's head."""


class PassedTrace:
    """The trace of a request that this gateway has no span in: its own fields go on as they came."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    def begin_attempt(self, candidate: tuple[str, str], started_ms: float) -> Sequence[tuple[str, str]]:
        """See AttemptTrace."""
        return self._fields


class RequestTrace:
    """The spans of one request that is traced: their ids, which are made as calls begin.

    Without a parent, the trace has the request's own id. Spans' ids are derived from it, so that a log row leads to its
    spans. `parent` is the client's span, or None.
    """

    __slots__ = ("_fields", "_flags", "_number", "_request", "attempts", "parent", "trace_id")

    def __init__(
        self, request_id: UUID, parent: TraceContext | None, tracestate: str | None = None, *, is_sampled: bool = True
    ) -> None:
        """`is_sampled` is what calls are told where the client has said nothing."""
        self._request = request_id.int
        self._number = FIRST_ATTEMPT
        self.parent = parent
        self.trace_id = request_id.hex if parent is None else parent.trace_id
        self._flags = "01" if (is_sampled if parent is None else parent.is_sampled) else "00"
        self._fields = () if parent is None or not tracestate else (("tracestate", tracestate),)
        # The spans of calls, by credential, model and start.
        self.attempts: dict[tuple[tuple[str, str], float], str] = {}

    def begin_attempt(self, candidate: tuple[str, str], started_ms: float) -> Sequence[tuple[str, str]]:
        """See AttemptTrace. A call that is made again has the span that it had."""
        key = candidate, started_ms
        span_id = self.attempts.get(key)
        if span_id is None:
            span_id = self.attempts[key] = self.span_id(self._number)
            self._number += 1
        return (("traceparent", f"00-{self.trace_id}-{span_id}-{self._flags}"), *self._fields)

    def span_id(self, number: int) -> str:
        """The id of the request's span of that number: SERVER_SPAN, OPERATION_SPAN, or a call's."""
        return f"{(self._request + number * _STRIDE) & _SPAN_MASK or 1:016x}"


SERVER_SPAN, OPERATION_SPAN, FIRST_ATTEMPT = 0, 1, 2
# 2**64 over the golden ratio: neighbouring numbers give ids that look nothing alike.
_STRIDE = 0x9E3779B97F4A7C15
_SPAN_MASK = 2**64 - 1
# W3C Trace Context, section 3.3.1.5: this much must be passed on.
_TRACESTATE_CHARS = 512


def pass_on(traceparent: str | None, tracestate: str | None) -> PassedTrace | None:
    """What a gateway without traces sends on; None if the client is in no trace."""
    if traceparent is None or TraceContext.read(traceparent) is None:
        return None
    fields = [("traceparent", traceparent)]
    return PassedTrace([*fields, ("tracestate", tracestate)] if is_tracestate(tracestate) and tracestate else fields)


def is_tracestate(text: str | None) -> bool:
    """Whether it may be sent on: short, and of visible ASCII characters."""
    return text is not None and len(text) <= _TRACESTATE_CHARS and text.isascii() and text.isprintable()
