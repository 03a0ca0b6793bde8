"""What is known about one request so far. After its end the record is complete."""

from __future__ import annotations

from operator import sub
from time import perf_counter
from typing import Protocol

from pg_trio.domain.call import RequestHead
from pg_trio.domain.client_request import ClientReply, ClientRequest
from pg_trio.domain.guardrails import NO_RULES, GuardrailVerdict
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.domain.stage_times import NO_TIMES, StageTimes
from pg_trio.errors import GatewayError
from pg_trio.recorder.facts import Settled


class RequestLimit(Protocol):
    """The request's deadline (stages.request_deadline)."""

    @property
    def limit_ms(self) -> int | None:
        """Milliseconds from the head to the deadline that holds, or held last; None if none is known yet."""

    @property
    def left_at(self) -> float | None:
        """Trio's clock when the request's stages ended; None until then."""


class RequestRecord:
    """One request, as subscribers and the answer's metadata read it. Only its recorder writes to it.

    A field that the request did not reach is None or empty. `slug` is the endpoint's name as the client wrote it, even
    if no such endpoint exists. Once `is_guarded` is true, `request` is what the guardrails let pass; before that it may
    hold text that they would mask or refuse. `failure` is the error that broke a stream after its first byte.
    `latency_ms` (from the head to the end) is set at the end. So is `times`, unless the request was answered.

    A subscriber may keep a record after the request's end. The record is small then: once every subscriber was called
    for the end, `request`, `reply` and `failure` are None.
    """

    head: RequestHead
    slug: str | None
    attempts: Attempts
    # Class attributes until they are noted: many requests end before that.
    caller: Caller | None = None
    endpoint: Endpoint | None = None
    request: ClientRequest | None = None
    is_guarded = False
    verdicts: tuple[GuardrailVerdict, ...] = ()
    settled: Settled | None = None
    reply: ClientReply | None = None
    failure: GatewayError | None = None
    deadline: RequestLimit | None = None
    times = NO_TIMES
    latency_ms = 0.0
    # When each stage began, in order, in milliseconds of `perf_counter`. Empty once `times` is known.
    _began_ms: dict[str, float]

    @property
    def tells_verdicts(self) -> bool:
        """Whether the caller may know each verdict: with the scope `admin`, at an endpoint with guardrails."""
        if self.caller is None or "admin" not in self.caller.token.scopes:
            return False
        return self.endpoint is not None and self.endpoint.guardrails != NO_RULES

    def times_so_far(self) -> StageTimes:
        """The time of each stage until now. The running stage comes last."""
        began_ms = self._began_ms.values()
        ended_ms = [*began_ms, perf_counter() * 1e3]
        return StageTimes(tuple(self._began_ms), tuple(map(sub, ended_ms[1:], began_ms)))
