"""The limits that a request counts against, and their remaining quota, for the answer's headers."""

from __future__ import annotations

from typing import NamedTuple


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
