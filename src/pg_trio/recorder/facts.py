"""The facts of a request, in the order in which they can happen. `at_ms` is milliseconds since the request's head.

A fact names what happened and holds no text of a prompt or an answer. The record holds everything else.
"""

from __future__ import annotations

from typing import TypeAlias

from pg_trio.domain.chat import Usage
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Caller, Candidate, Endpoint
from pg_trio.domain.value import value
from pg_trio.errors import GatewayError


@value(slots=True)
class Settled:
    """What a request cost. `candidate`, its model and its usage are None if no candidate won.

    `cost_nano_usd` includes lost attempts. It is None without a price. `price` names the source of the winner's price.
    """

    candidate: Candidate | None
    model: str | None
    usage: Usage | None
    cost_nano_usd: int | None
    price: str | None = None


@value(slots=True)
class StageBegan:
    """A stage began, and the previous stage has ended."""

    at_ms: float
    stage: str


@value(slots=True)
class StagesEnded:
    """The last stage has ended: the answer is complete, or the request has failed."""

    at_ms: float


@value(slots=True)
class CallerFound:
    """The token is known and may be used."""

    at_ms: float
    caller: Caller


@value(slots=True)
class EndpointFound:
    """The requested endpoint exists."""

    at_ms: float
    endpoint: Endpoint


@value(slots=True)
class RequestRead:
    """The body was read and is a valid request. `is_stream`: the client asked for a stream."""

    at_ms: float
    is_stream: bool


@value(slots=True)
class GuardrailDecided:
    """A guardrail masked, blocked or flagged something in the request or its answer."""

    at_ms: float
    verdict: GuardrailVerdict


@value(slots=True)
class RequestGuarded:
    """Every guardrail has let the request pass."""

    at_ms: float


@value(slots=True)
class AttemptBegan:
    """A candidate is called. `number` counts from 0 within its race. The rescue of a stream is a new race."""

    at_ms: float
    candidate: Candidate
    number: int
    is_hedge: bool


@value(slots=True)
class AttemptEnded:
    """An attempt won, lost, failed or was cancelled, or its candidate was never called. `row.kind` says which.

    A candidate that was not called (`skipped`, or cancelled before its first step) has no AttemptBegan.

    A stream's attempt wins with its first token; StreamEnded says how the stream ended. A win is reported after the
    losers have ended, so its `at_ms` may be earlier than theirs.
    """

    at_ms: float
    row: AttemptRow


@value(slots=True)
class FirstToken:
    """The first token of a stream is on its way to the client."""

    at_ms: float


@value(slots=True)
class StreamEnded:
    """A winning stream has ended. `row` is its attempt's row, now complete. Another candidate may carry it on."""

    at_ms: float
    row: AttemptRow


@value(slots=True)
class RequestSettled:
    """The request's reservations are settled."""

    at_ms: float
    settled: Settled


@value(slots=True)
class ReplyMade:
    """`RequestRecord.reply` now holds the answer, or the part of a stream that was relayed.

    A stream has this fact only if the endpoint logs bodies.
    """

    at_ms: float


@value(slots=True)
class StreamFailed:
    """A stream broke after its first byte. The client had a status of 200, so the error is an event in the stream."""

    at_ms: float
    failure: GatewayError


Fact: TypeAlias = (
    StageBegan
    | StagesEnded
    | CallerFound
    | EndpointFound
    | RequestRead
    | GuardrailDecided
    | RequestGuarded
    | AttemptBegan
    | AttemptEnded
    | FirstToken
    | StreamEnded
    | RequestSettled
    | ReplyMade
    | StreamFailed
)
