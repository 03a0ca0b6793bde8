"""What one request set aside (budget, tokens of rate limits), and the settling of both with what it really used.

Providers charge the input of a try that was cut short, so each lost try counts the whole prompt. What such a try had
answered by then is not known, but for the reasoning that the client has of it. Each candidate's part is settled at that
candidate's own price.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from pg_trio.domain.chat import Prompt, Reply, Usage, estimate_tokens
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.domain.value import value

# Who answered, and what that used.
Part: TypeAlias = tuple[Candidate, Usage]


class SetAside(Protocol):
    """Something that was set aside; what is not settled is given back when its own block ends."""

    def settle(self, usage: Usage) -> None: ...


class PricedSetAside(Protocol):
    """Money that was set aside. Each settling adds to those before it."""

    def settle(self, usage: Usage, candidate: Candidate | None = None) -> None: ...

    @property
    def price(self) -> str | None:
        """Where the price of what was settled last is from."""

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

    @property
    def price(self) -> str | None:
        """Where the price of the winner's tokens is from; None before it is settled, and without a price."""
        return self.reservation.price

    def settle(
        self, candidate: Candidate, usage: Usage, lost_chars: int = 0, earlier: Sequence[Part] = ()
    ) -> int | None:
        """Count what was really used, once; its cost in billionths of a US dollar, None without a price.

        `candidate` answered last. `earlier` are those whose streams it carried on, or whose answers did not match;
        `lost_chars`: characters of the lost tries' reasoning that the client has.
        """
        used = usage
        if self.attempts.lost_to or lost_chars or earlier:
            used = self._settle_others(earlier, lost_chars).plus(usage)
        # The last one: its price is the row's.
        self.reservation.settle(usage, candidate)
        self.quota.settle(used)
        return self.reservation.spent_nano_usd

    def settle_lost(self, lost_chars: int = 0) -> int | None:
        """Count lost tries alone: no candidate answered. Nothing is settled where none was lost."""
        if self.attempts.lost_to or lost_chars:
            self.quota.settle(self._settle_others((), lost_chars))
            return self.reservation.spent_nano_usd
        return None

    def _settle_others(self, earlier: Sequence[Part], lost_chars: int) -> Usage:
        """Count what was used beside the last answer, each part at its own price; how much that is."""
        reservation = self.reservation
        lost = Usage(estimate_tokens(self.prompt.characters()), 0, estimated=True)
        used = heard = Usage(0, estimate_tokens(lost_chars), estimated=True)
        # Whose reasoning it was is not known: it has the dearest price.
        reservation.settle(heard)
        for candidate, usage in [*((candidate, lost) for candidate in self.attempts.lost_to), *earlier]:
            reservation.settle(usage, candidate)
            used = used.plus(usage)
        return used


def estimate_usage(prompt: Prompt, reply: Reply) -> Usage:
    """Usage of an answer whose provider sent none, so that a budget is never spent unseen."""
    return Usage(estimate_tokens(prompt.characters()), estimate_tokens(reply.characters()), estimated=True)
