"""The contract of a guardrail that another service decides: the only ones that wait. The pipeline awaits them where a
plan has one.

Rules:
1. `check` ends within the rule's own timeout, and within the request's deadline (`ends_at`). It is cancelled with the
   request; then nothing of it is left.
2. A service that gives no usable answer is a failure. `on_failure = "closed"` raises GuardrailFailed; "open" is a
   verdict with the action `flag` and the rule `unavailable`, so that what was not checked is never taken for checked.
3. `parallel`: an input check runs beside the provider call. The answer is held until the verdict; what it raises
   cancels the call. Such a guard cannot replace texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from pg_trio.domain.guardrails import GuardPhase, GuardrailVerdict
from pg_trio.domain.value import value


@value(slots=True)
class RemoteCheck:
    """What is checked: all texts of a request, or of an answer, in their order; and whose it is.

    `ends_at` is the request's deadline, on Trio's clock.
    """

    phase: GuardPhase
    texts: Sequence[str]
    project: str
    endpoint: str
    request_id: UUID
    ends_at: float


@value(slots=True)
class RemoteVerdict:
    """What the service decided. `texts` replace those of the check, one for one; None: they stay as they are.

    `verdicts` is empty if there is nothing to tell.
    """

    verdicts: tuple[GuardrailVerdict, ...] = ()
    texts: Sequence[str] | None = None


class RemoteGuard(Protocol):
    """One rule of another service, compiled."""

    @property
    def guardrail(self) -> str:
        """Its key in the configuration."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether it runs beside the provider call."""
        ...

    async def check(self, asked: RemoteCheck) -> RemoteVerdict:
        """What the service decides. Raises GuardrailBlocked, or GuardrailFailed."""
        ...
