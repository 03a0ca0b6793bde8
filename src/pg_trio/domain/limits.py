"""The limits that a request counts against, and their remaining quota, for the answer's headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload


class LimitPolicy(NamedTuple):
    """A limit as it is configured. `name` is also the `scope` of its refusal; `unit` None counts requests.

    `window_s` is None for a limit on concurrent requests.
    """

    name: str
    quota: int
    window_s: int | None
    unit: str | None = None


class LimitState(NamedTuple):
    """A limit at the moment of a request: the remaining quota, and whole seconds until there is more. None: not looked
    up."""

    policy: LimitPolicy
    remaining: int | None = None
    next_s: int = 0


class LimitsLeft(Sequence[LimitState]):
    """The states of a request's limits: `left` has (remaining, next_s) of each of the `policies`.

    A state is made where it is read: most answers' header lines are written from the two sequences.
    """

    __slots__ = ("left", "policies")

    def __init__(self, policies: tuple[LimitPolicy, ...], left: Sequence[tuple[int | None, int]]) -> None:
        self.policies = policies
        self.left = left

    @classmethod
    def of(cls, states: Sequence[LimitState]) -> LimitsLeft:
        """The same states; the same object if it is one already."""
        if isinstance(states, cls):
            return states
        return cls(tuple([one.policy for one in states]), [(one.remaining, one.next_s) for one in states])

    def __len__(self) -> int:
        return len(self.policies)

    def __iter__(self) -> Iterator[LimitState]:
        for policy, (remaining, next_s) in zip(self.policies, self.left, strict=True):
            yield LimitState(policy, remaining, next_s)

    @overload
    def __getitem__(self, index: int) -> LimitState: ...

    @overload
    def __getitem__(self, index: slice) -> list[LimitState]: ...

    def __getitem__(self, index: int | slice) -> LimitState | list[LimitState]:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # as of a list


NO_LIMITS = LimitsLeft((), ())
