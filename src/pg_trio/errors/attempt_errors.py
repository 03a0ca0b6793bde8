"""One candidate's failure: it never leaves the race."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias

from attrs import define

# What a provider's refusal complains of, where that is the candidate rather than the request: its key, the account's
# credit or quota, a model that is unknown or retired, a context window that is too small for this request, or something
# in it that the candidate's wire or model cannot carry (`ability`).
Concern: TypeAlias = Literal["key", "credit", "model", "context", "ability"]


@define(slots=False, eq=False)
class AttemptFailed(Exception):
    """One candidate failed. `said` is the message for people; the code that shows it masks it. `fails_over` says
    whether the next candidate is tried.

    `why` is the reason for the client, in a few fixed words. `may_pass`: the candidate may answer a moment later.
    Source: docs/api.md, "Failover"; the classes below are its list.
    """

    fails_over: ClassVar[bool] = True
    may_pass: ClassVar[bool] = True
    why: ClassVar[str] = "failed"
    said: str

    def __str__(self) -> str:
        return self.said


class UpstreamUnreachable(AttemptFailed):
    """No connection: refused, no route, no such name, TLS refused, or the limit on connecting passed."""

    why = "no connection"


class UpstreamBroken(AttemptFailed):
    """The connection ended or broke HTTP before the answer was whole."""

    why = "connection broke"


class UpstreamNonsense(AttemptFailed):
    """The provider's body is not a chat completion: not JSON, no choices, neither content nor a tool call, or over a
    size limit."""

    why = "unreadable answer"


class AttemptTimedOut(AttemptFailed):
    """The candidate's own limit passed (connect, attempt); the request's deadline has not."""

    why = "time limit"


class PassedOver(AttemptFailed):
    """The candidate was not asked, so this is not a try. `why` is the reason, from a fixed list."""


@define(slots=False, eq=False)
class CandidateAside(PassedOver):
    """Its breaker is open, or it asked for a pause (`Retry-After`) that is not over. `retry_after_s` is the time
    left."""

    retry_after_s: float
    why: str = "put aside"  # type: ignore[misc]


class RequestUnfit(PassedOver):
    """Its wire or its model cannot carry what the request holds (`NoFitCandidate` where that is so of all)."""

    why = "cannot take the request"


class RetriesSpent(PassedOver):
    """It failed a moment ago, and the retry budget of its credential (`gateway.retry_budget_percent`) is spent."""

    why = "retry budget spent"


class CandidateFull(PassedOver):
    """Its credential's `max_concurrent` calls are already running."""

    why = "no slot"


@define(slots=False, eq=False)
class UpstreamRefused(AttemptFailed):
    """The provider answered with a failure status.

    400, 413 and 422 cause no failover, because every candidate would refuse the request. The exception is a refusal
    that concerns this candidate alone: then `concerns` names the reason, and the next candidate is asked.
    """

    upstream_status: int
    retry_after_s: float | None = None
    concerns: Concern | None = None

    @property
    def fails_over(self) -> bool:  # type: ignore[override]
        return self.concerns is not None or self.upstream_status not in (400, 413, 422)

    @property
    def may_pass(self) -> bool:  # type: ignore[override]
        status = self.upstream_status
        return self.concerns is None and (status in (408, 409, 425, 429) or status >= 500)

    @property
    def why(self) -> str:  # type: ignore[override]
        words = _CONCERN_WORDS.get(self.concerns or _CONCERNS.get(self.upstream_status))
        return f"HTTP {self.upstream_status}, {words}" if words else f"HTTP {self.upstream_status}"

    @property
    def refuses_credential(self) -> bool:
        """Whether the key is refused, or its account has no credit, so that no model of the credential can be used."""
        return (self.concerns or _CONCERNS.get(self.upstream_status)) in ("key", "credit")


# The statuses that tell what a refusal concerns (contract, "Refused keys").
_CONCERNS: Mapping[int, Concern] = {401: "key", 402: "credit"}
_CONCERN_WORDS: Mapping[Concern | None, str] = {
    "key": "credential refused",
    "credit": "credential refused",
    "model": "model unknown",
    "context": "request too long for it",
}


class CandidateUnfit(UpstreamRefused):
    """It was not asked: its wire or its model cannot carry what the request holds. Another candidate may.

    It is a refusal by its nature: one that concerns this candidate alone, and blames nobody.
    """

    def __init__(self, provider: str, what: str) -> None:
        super().__init__(f"{provider} cannot take this request: {what}", 422, concerns="ability")
