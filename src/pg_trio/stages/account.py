"""What one request set aside (budget, tokens of rate limits), and the settling of both with what it really used.

Providers charge the input of a try that was cut short, so each lost try counts the whole prompt. What such a try had
answered by then is not known, but for the reasoning that the client has of it.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve

from pg_trio.domain.chat import Prompt, Reply, Usage, estimate_tokens
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.value import value


class SetAside(Protocol):
    """Something that was set aside; what is not settled is given back when its own block ends."""

    def settle(self, usage: Usage) -> None: ...


class PricedSetAside(SetAside, Protocol):
    """Money that was set aside."""

    @property
    def spent_nano_usd(self) -> int | None:
        """What was settled, in billionths of a US dollar; None before that, and where the endpoint has no price."""


@value(slots=True)
class Account:
    """What a request that goes to the providers will be charged to."""

    reservation: PricedSetAside
    quota: SetAside
    prompt: Prompt
    attempts: Attempts

    def settle(self, usage: Usage, lost_chars: int = 0) -> int | None:
        """Count what was really used, lost tries included; its cost in billionths of a US dollar, None without a price.

        `lost_chars`: characters of the lost tries' reasoning that the client has.
        """
        if self.attempts.lost or lost_chars:
            prompt_tokens = usage.prompt_tokens + self.attempts.lost * estimate_tokens(self.prompt.characters())
            completion_tokens = usage.completion_tokens + estimate_tokens(lost_chars)
            usage = evolve(usage, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        self.reservation.settle(usage)
        self.quota.settle(usage)
        return self.reservation.spent_nano_usd

    def settle_lost(self, lost_chars: int = 0) -> int | None:
        """Count lost tries alone: no candidate answered. Nothing is settled where none was lost."""
        if self.attempts.lost or lost_chars:
            return self.settle(Usage(0, 0, estimated=True), lost_chars)
        return None


def estimate_usage(prompt: Prompt, reply: Reply) -> Usage:
    """Usage of an answer whose provider sent none, so that a budget is never spent unseen."""
    return Usage(estimate_tokens(prompt.characters()), estimate_tokens(reply.characters()), estimated=True)
