"""Sums of requests, as the overview shows them: counts, money, percentiles of latencies.

Percentiles are taken from classes of like values, because sorting 200,000 latencies takes half a second. A class is
about 2 % wide and knows its least and its greatest value, so that few requests have exact percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias
from uuid import UUID

from attrs import astuple, frozen

# A step of the range, from 0 on; the endpoint; the provider that answered.
SumKey: TypeAlias = tuple[int, UUID | None, str | None]


@frozen
class LatencyClass:
    """How many values were between `least` and `greatest`."""

    count: int
    least: float
    greatest: float


@frozen
class SummedRows:
    """The sums of some requests. Money is billionths of a US dollar."""

    requests: int = 0
    errors: int = 0
    deadline_misses: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nano_usd: int = 0
    hedges: int = 0
    hedges_won: int = 0
    latency_ms: float = 0.0

    def plus(self, other: SummedRows) -> SummedRows:
        """Both together."""
        return SummedRows(*[one + more for one, more in zip(astuple(self), astuple(other), strict=True)])


@frozen
class TimeRange:
    """A range of time (Unix seconds, `until` excluded) in steps of `step_s` from `since` on."""

    since: float
    until: float
    step_s: float


@frozen
class Overview:
    """The sums of a range, and by step its latencies and times to the first token, in milliseconds.

    `since` is later than asked if rows were left out. `saved_ms` is None if no hedge won, or nothing is known.
    """

    since: float
    is_partial: bool
    sums: dict[SumKey, SummedRows]
    latencies: dict[int, list[LatencyClass]]
    first_tokens: dict[int, list[LatencyClass]]
    saved_ms: float | None


def percentile(classes: Iterable[LatencyClass], share: float) -> float | None:
    """The value at or below which this share of the values lies (nearest rank); None without values."""
    ordered = sorted(classes, key=lambda one: one.least)
    rank = max(1, math.ceil(share * sum(one.count for one in ordered)))
    for one in ordered:
        if rank <= one.count:
            part = (rank - 1) / (one.count - 1) if one.count > 1 else 0.0
            return one.least + part * (one.greatest - one.least)
        rank -= one.count
    return None
