"""The facts of a request, in the order in which they can happen. `at_ms` is milliseconds from the request's head.

A fact names what happened and holds no text of a prompt or an answer. What is known beside it is in the record.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

from pg_trio.domain.chat import Usage
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Caller, Candidate, Endpoint
from pg_trio.domain.value import value
from pg_trio.errors import GatewayError


@frozen(slots=True)
class GuardrailVerdict:
    """What a guardrail did with a request; its name is that of the configuration (`pii_filter`)."""

    guardrail: str
    action: Literal["mask", "block"]


@value(slots=True)
class Settled:
    """What a request cost. `candidate`, its model and its usage are None where no candidate won.

    `cost_nano_usd` counts lost tries too; it is None where there is no price. `price` says where the winner's is from.
    """

    candidate: Candidate | None
    model: str | None
    usage: Usage | None
    cost_nano_usd: int | None
    price: str | None = None


@value(slots=True)
class StageBegan:
    """A stage began, and the one before it has ended."""

    at_ms: float
    stage: str


@value(slots=True)
class StagesEnded:
    """The last stage has ended, because the answer is whole or the request is over."""

    at_ms: float


@value(slots=True)
class CallerFound:
    """The token is known and may be used."""

    at_ms: float
    caller: Caller


@value(slots=True)
class EndpointFound:
    """The endpoint that was asked for exists."""

    at_ms: float
    endpoint: Endpoint


@value(slots=True)
class RequestRead:
    """The body was read and is a request. `is_stream`: the client asked for a stream."""

    at_ms: float
    is_stream: bool


@value(slots=True)
class GuardrailDecided:
    """A guardrail masked or blocked the request."""

    at_ms: float
    verdict: GuardrailVerdict


@value(slots=True)
class RequestGuarded:
    """Every guardrail has let the request pass."""

    at_ms: float


@value(slots=True)
class AttemptBegan:
    """A candidate is asked. `number` counts from 0 within its race; a rescue of a stream is a race of its own."""

    at_ms: float
    candidate: Candidate
    number: int
    is_hedge: bool


@value(slots=True)
class AttemptEnded:
    """An attempt won, lost, failed or was cancelled, or its candidate was not asked at all: `row.kind` says which.

    One that was not asked (`skipped`, or cut before its first step) has no AttemptBegan.

    A stream's attempt wins with its first token; how the stream ended is StreamEnded. A win is told once the losers
    are gone, so `at_ms` may be before theirs.
    """

    at_ms: float
    row: AttemptRow


@value(slots=True)
class FirstToken:
    """The first token of a stream is on its way to the client."""

    at_ms: float


@value(slots=True)
class StreamEnded:
    """A stream that won has ended: `row` is its attempt's, now whole. Another candidate may carry the answer on."""

    at_ms: float
    row: AttemptRow


@value(slots=True)
class RequestSettled:
    """What was set aside for the request is settled."""

    at_ms: float
    settled: Settled


@value(slots=True)
class ReplyMade:
    """An answer, or the part of a stream that was relayed, is put together: `RequestRecord.reply` holds it.

    Of a stream only where the endpoint's bodies are logged.
    """

    at_ms: float


@value(slots=True)
class StreamFailed:
    """A stream broke after its first byte: the client got a status of 200 and was told in the stream."""

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
