"""The trace that a client's request belongs to, and what its calls of providers are told of it.

Source: W3C Recommendation "Trace Context" (2021-11), section 3.2, read 2026-11.
"""

from __future__ import annotations

import re
from typing import Protocol
from uuid import UUID
from zlib import crc32

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


class CalledCandidate(Protocol):
    """What a call's span has of its candidate."""

    @property
    def model(self) -> str: ...

    @property
    def credential(self) -> NamedCredential: ...


class NamedCredential(Protocol):
    """What a call's span has of its credential."""

    @property
    def name(self) -> str: ...


class AttemptTrace(Protocol):
    """What a request's calls of providers are told of its trace."""

    def tell_call(self, candidate: CalledCandidate, started_at: float) -> bytes:
        """The lines of the head of a call to this candidate, begun then (Trio's clock). Each ends with CRLF."""


class PassedTrace:
    """The trace of a request that this gateway has no span in: its own fields go on as they came."""

    __slots__ = ("_lines",)

    def __init__(self, traceparent: str, tracestate: str | None) -> None:
        """`tracestate` is one that may be sent on (is_tracestate)."""
        self._lines = f"traceparent: {traceparent}\r\n{_state_line(tracestate)}".encode("ascii")

    def tell_call(self, candidate: CalledCandidate, started_at: float) -> bytes:
        """See AttemptTrace."""
        return self._lines


class RequestTrace:
    """The spans of one request that is traced.

    Without a parent, the trace has the request's own id. Spans' ids are derived from it, so that a log row leads to its
    spans, and the process that exports them finds the same ids. `parent` is the client's span, or None.
    """

    __slots__ = ("_flags", "_head_at", "_request", "_state", "parent")

    def __init__(
        self,
        request_id: UUID,
        head_at: float = 0.0,
        parent: TraceContext | None = None,
        tracestate: str | None = None,
        flags: bytes = b"01",
    ) -> None:
        """`head_at` is when the request's head was read (Trio's clock). `flags` is what calls are told where the client
        has said nothing. `tracestate` is one that may be sent on (is_tracestate)."""
        self._request = request_id
        self._head_at = head_at
        self.parent = parent
        self._state = tracestate
        self._flags = flags

    @property
    def trace_id(self) -> str:
        """In lower-case hexadecimal."""
        return self._request.hex if self.parent is None else self.parent.trace_id

    def tell_call(self, candidate: CalledCandidate, started_at: float) -> bytes:
        """See AttemptTrace. A call that is made again, with other fields, has the span that it had."""
        # As Attempts.add counts it, or the exported span would have another id. call_id's steps, because each call
        # takes them.
        called = f"{candidate.credential.name} {candidate.model}".encode("utf-8", "replace")
        number = crc32(called, int((started_at - self._head_at) * 1e6))
        span, parent = (self._request.int + (FIRST_CALL + number) * _STRIDE) & _SPAN_MASK or 1, self.parent
        if parent is None:
            return b"traceparent: 00-%032x-%016x-%b\r\n" % (self._request.int, span, self._flags)
        flags, state = b"01" if parent.is_sampled else b"00", _state_line(self._state).encode("ascii")
        return b"traceparent: 00-%b-%016x-%b\r\n%b" % (parent.trace_id.encode("ascii"), span, flags, state)

    def call_id(self, credential: str, model: str, started_us: int) -> str:
        """The id of the span of a call, begun so many microseconds after the request's head."""
        # The start is the checksum's own start, so two calls of a candidate never have the same id.
        number = crc32(f"{credential} {model}".encode("utf-8", "replace"), started_us)
        return f"{(self._request.int + (FIRST_CALL + number) * _STRIDE) & _SPAN_MASK or 1:016x}"

    def span_id(self, number: int) -> str:
        """The id of the request's own spans: SERVER_SPAN, OPERATION_SPAN."""
        return f"{(self._request.int + number * _STRIDE) & _SPAN_MASK or 1:016x}"


SERVER_SPAN, OPERATION_SPAN, FIRST_CALL = 0, 1, 2
# 2**64 over the golden ratio: neighbouring numbers give ids that look nothing alike.
_STRIDE = 0x9E3779B97F4A7C15
_SPAN_MASK = 2**64 - 1
# W3C Trace Context, section 3.3.1.5: this much must be passed on.
_TRACESTATE_CHARS = 512


def pass_on(traceparent: str | None, tracestate: str | None) -> PassedTrace | None:
    """What a gateway without traces sends on; None if the client is in no trace."""
    if traceparent is None or TraceContext.read(traceparent) is None:
        return None
    return PassedTrace(traceparent, tracestate if is_tracestate(tracestate) else None)


def is_tracestate(text: str | None) -> bool:
    """Whether it may be sent on: short, and of visible ASCII characters."""
    return text is not None and len(text) <= _TRACESTATE_CHARS and text.isascii() and text.isprintable()


def _state_line(tracestate: str | None) -> str:
    return f"tracestate: {tracestate}\r\n" if tracestate else ""
