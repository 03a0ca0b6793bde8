"""Limits the number of hedges to a share of the requests. Synchronous; `now` is passed in.

A bucket as in gRPC's retry throttling and linkerd's retry budgets: each request adds `share` of a hedge, each hedge
removes one, and it holds at most `reserve`. So in any period of time,

    hedges <= reserve + share * requests + min_per_s * seconds

for any bursts and any slowness of a provider. A quiet time never saves up more than `reserve`.
"""

from __future__ import annotations

from attrs import frozen

# A balance that lacks less than this counts as a whole hedge: 20 deposits of 0.05 must make one, and sums of floats
# lose about 1e-15.
EPSILON_HEDGES = 1e-9


@frozen(slots=True)
class HedgeRules:
    """The share. Linkerd allows retries for 20 % of requests, gRPC about 10 %; hedges are wasted more often."""

    share: float = 0.05
    # Slow calls come in runs: 5 % of 400 requests are 20, plus or minus 4. With a reserve of 5, hedges were refused
    # although the share was not used up, and the 99th percentile was as high as without hedging
    # (docs/decisions/005-race.md).
    reserve: float = 20.0
    # One a minute, so that an endpoint with few requests can hedge at all. Never more than one is saved up.
    min_per_s: float = 1 / 60


class HedgeBudget:
    """The hedges that may be sent. Under Trio a withdrawal is atomic without a lock."""

    __slots__ = ("_at", "_balance", "_rules")

    def __init__(self, rules: HedgeRules, now: float) -> None:
        self._rules = rules
        self._balance = rules.reserve
        self._at = now

    def deposit(self) -> None:
        """Count a request."""
        self._balance = min(self._rules.reserve, self._balance + self._rules.share)

    def withdraw(self, now: float) -> bool:
        """Take one hedge out; False if there is none."""
        self._refill(now)
        if self._balance < 1.0 - EPSILON_HEDGES:
            return False
        self._balance -= 1.0
        return True

    def balance(self, now: float) -> float:
        """How many hedges are left."""
        self._refill(now)
        return self._balance

    def _refill(self, now: float) -> None:
        earned = max(0.0, now - self._at) * self._rules.min_per_s
        self._at = now
        # Time refills the balance up to one hedge, within its capacity; what requests added beyond that stays.
        self._balance = max(self._balance, min(1.0, self._rules.reserve, self._balance + earned))
