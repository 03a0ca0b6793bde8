"""The reservations of one request (budget, tokens of rate limits), which are settled with its real usage.

Providers charge the input of a cancelled attempt, so each lost attempt counts the whole prompt. The output of a lost
attempt is not known, except for reasoning that the client received. Each candidate's part is settled at its own price.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from pg_trio.domain.chat import Prompt, Reply, Usage, estimate_tokens
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.domain.value import value

# A candidate that answered, and its usage.
Part: TypeAlias = tuple[Candidate, Usage]


class SetAside(Protocol):
    """A reservation. The part that is not settled is given back when its block ends."""

    def settle(self, usage: Usage) -> None: ...


class PricedSetAside(Protocol):
    """Reserved money. Each settlement adds to the earlier ones."""

    def settle(self, usage: Usage, candidate: Candidate | None = None) -> None: ...

    @property
    def price(self) -> str | None:
        """The source of the price of the last settlement."""

    @property
    def spent_nano_usd(self) -> int | None:
        """The settled cost in billionths of a US dollar. None before the first settlement, and without a price."""


class Sized(Protocol):
    """What is sent to a provider."""

    def characters(self) -> int: ...


Sent = TypeVar("Sent", bound=Sized)


@value(slots=True)
class Account(Generic[Sent]):
    """The reservations that a request to the providers is charged to. `prompt` is what they are sent."""

    reservation: PricedSetAside
    quota: SetAside
    prompt: Sent
    attempts: Attempts

    @property
    def price(self) -> str | None:
        """The source of the winner's price. None before it is settled, and without a price."""
        return self.reservation.price

    def settle(
        self, candidate: Candidate, usage: Usage, lost_chars: int = 0, earlier: Sequence[Part] = ()
    ) -> int | None:
        """Count the real usage, once. Returns its cost in billionths of a US dollar, or None without a price.

        `candidate` answered last. `earlier` has the candidates whose streams it carried on, or whose answers did not
        match the schema. `lost_chars` counts characters of lost attempts' reasoning that the client received.
        """
        used = usage
        if self.attempts.lost_to or lost_chars or earlier:
            used = self._settle_others(earlier, lost_chars).plus(usage)
        # Settled last, because the log's row shows its price.
        self.reservation.settle(usage, candidate)
        self.quota.settle(used)
        return self.reservation.spent_nano_usd

    def settle_lost(self, lost_chars: int = 0, earlier: Sequence[Part] = ()) -> int | None:
        """Count only lost attempts, because no candidate answered; `earlier` has those that answered in part. Without
        any, nothing is settled."""
        if self.attempts.lost_to or lost_chars or earlier:
            self.quota.settle(self._settle_others(earlier, lost_chars))
            return self.reservation.spent_nano_usd
        return None

    def _settle_others(self, earlier: Sequence[Part], lost_chars: int) -> Usage:
        """Count the usage besides the last answer, each part at its own price. Returns the sum."""
        reservation = self.reservation
        lost = Usage(estimate_tokens(self.prompt.characters()), 0, estimated=True)
        used = heard = Usage(0, estimate_tokens(lost_chars), estimated=True)
        # The candidate of this reasoning is not known, so the dearest price holds.
        reservation.settle(heard)
        for candidate, usage in [*((candidate, lost) for candidate in self.attempts.lost_to), *earlier]:
            reservation.settle(usage, candidate)
            used = used.plus(usage)
        return used


def estimate_usage(prompt: Prompt, reply: Reply) -> Usage:
    """The estimated usage of an answer whose provider sent none, so that every answer counts against a budget."""
    return Usage(estimate_tokens(prompt.characters()), estimate_tokens(reply.characters()), estimated=True)
