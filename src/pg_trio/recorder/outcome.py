"""The outcome of a request as one value, and its class. Metrics count by class, so they never parse texts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import trio

from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.value import value
from pg_trio.errors import (
    BudgetExhausted,
    BudgetWouldBeExceeded,
    CallerError,
    ClientLeft,
    DeadlineExceeded,
    ForeignToken,
    GatewayError,
    GuardrailBlocked,
    GuardrailFailed,
    InputInvalid,
    InternalError,
    MalformedToken,
    MissingScope,
    MissingToken,
    OutputInvalid,
    Overloaded,
    ProjectInactive,
    ProviderCallFailed,
    ProviderDisabled,
    RateLimited,
    SessionNotAccessible,
    TokenCapExceeded,
    UnknownToken,
)

OutcomeKind: TypeAlias = Literal[
    "ok",
    "deadline",
    "all_failed",
    "refused_auth",
    "refused_rate",
    "refused_budget",
    "refused_guardrail",
    "refused_schema",
    "refused_request",
    "client_left",
    "shed",
    "error",
]

# nginx's status for a client that closed the connection before the answer.
CLIENT_LEFT = 499

# An error's class is that of its nearest base in this table, or `error`.
_KINDS: dict[type[Exception], OutcomeKind] = {
    **dict.fromkeys((MissingToken, MalformedToken, UnknownToken, ForeignToken, MissingScope), "refused_auth"),
    **dict.fromkeys((ProjectInactive, SessionNotAccessible), "refused_auth"),
    RateLimited: "refused_rate",
    **dict.fromkeys((TokenCapExceeded, BudgetExhausted, BudgetWouldBeExceeded), "refused_budget"),
    # Also an answer that a guardrail refused, and a guardrail that gave no verdict.
    **dict.fromkeys((GuardrailBlocked, GuardrailFailed), "refused_guardrail"),
    # Both schemas of an endpoint: `input_schema` and `output_schema`.
    **dict.fromkeys((InputInvalid, OutputInvalid), "refused_schema"),
    # Every other mistake of the caller: paths, bodies, sessions that have ended or are full.
    CallerError: "refused_request",
    ProviderCallFailed: "all_failed",
    # Every candidate is switched off, so no candidate can be called.
    ProviderDisabled: "all_failed",
    DeadlineExceeded: "deadline",
    Overloaded: "shed",
}


@value(slots=True)
class RequestOutcome:
    """How a request ended. `status` is the answer's HTTP status. For an error after a stream's first byte, it is the
    status that the error has before the first byte.

    `code` is the error's name and `text` the message for the client. Both are None for `ok`. `scope` is the limit that
    a request met, `limit_ms` the deadline that it missed; else None.
    """

    status: int
    kind: OutcomeKind
    code: str | None = None
    text: str | None = None
    scope: str | None = None
    limit_ms: int | None = None


OK = RequestOutcome(200, "ok")
SHED = RequestOutcome(Overloaded.status, "shed", Overloaded.__name__, Overloaded.text)


def outcome_of(error: BaseException) -> RequestOutcome:
    """The outcome of a request that ended with this error. An unexpected error becomes a 500 without details."""
    if isinstance(error, GatewayError):
        scope = error.scope if isinstance(error, RateLimited) else None
        limit_ms = error.limit_ms if isinstance(error, DeadlineExceeded) else None
        return RequestOutcome(error.status, kind_of(type(error)), error.code, error.text, scope, limit_ms)
    if isinstance(error, ClientLeft):
        return RequestOutcome(CLIENT_LEFT, "client_left", "ClientLeft", "The client closed the connection.")
    return RequestOutcome(InternalError.status, "error", InternalError.__name__, InternalError.text)


def kind_of(error: type[GatewayError]) -> OutcomeKind:
    """The outcome class of requests that end with an error of this class."""
    return next((_KINDS[base] for base in error.__mro__ if base in _KINDS), "error")


def verdict_of(error: BaseException) -> GuardrailVerdict | None:
    """The verdict of the guardrail that blocked a request with this error; None for every other error."""
    if isinstance(error, GuardrailFailed):
        return GuardrailVerdict(error.guardrail, "unavailable", error.phase, "block")
    if not isinstance(error, GuardrailBlocked):
        return None
    return GuardrailVerdict(error.guardrail, error.rule, error.phase, "block", error.count)


def is_cancelled(error: BaseException) -> bool:
    """Whether the error is only a cancellation. If both tasks of a stream were cancelled, it is a group of two."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
