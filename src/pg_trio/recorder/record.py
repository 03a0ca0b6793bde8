"""What is known of one request so far; of one that has ended, all that there is to know."""

from __future__ import annotations

from operator import sub
from time import perf_counter

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, Reply
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.domain.stage_times import NO_TIMES, StageTimes
from pg_trio.errors import GatewayError
from pg_trio.recorder.facts import GuardrailVerdict, Settled


class RequestRecord:
    """One request, as subscribers and the answer's metadata read it. Only its recorder writes here.

    What the request did not get to is None, or empty. `slug` is what was asked for, as the client wrote it, also where
    no such endpoint exists. `request` is as the guardrails left it once `is_guarded`; before that it may hold what they
    would mask or refuse. `failure` is what broke a stream after its first byte. `latency_ms` (from the head to the
    end) and, but for an answered request, `times` are known at the end only.

    A record may be kept after its end. It holds nothing large then: once every subscriber was told of the end,
    `request`, `reply` and `failure` are None.
    """

    head: RequestHead
    slug: str | None
    attempts: Attempts
    # Attributes of the class until they are noted: many requests end before that.
    caller: Caller | None = None
    endpoint: Endpoint | None = None
    request: ChatRequest | None = None
    is_guarded = False
    verdicts: tuple[GuardrailVerdict, ...] = ()
    settled: Settled | None = None
    reply: Reply | None = None
    failure: GatewayError | None = None
    times = NO_TIMES
    latency_ms = 0.0
    # When each stage began, in turn: milliseconds of `perf_counter`. Empty once `times` is known.
    _began_ms: dict[str, float]

    def times_so_far(self) -> StageTimes:
        """Each stage's time until now; the running stage is the last."""
        began_ms = self._began_ms.values()
        ended_ms = [*began_ms, perf_counter() * 1e3]
        return StageTimes(tuple(self._began_ms), tuple(map(sub, ended_ms[1:], began_ms)))
