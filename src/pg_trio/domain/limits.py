"""What limits a request counts against, and what is left of them: for whoever must tell the client."""

from __future__ import annotations

from typing import NamedTuple


class LimitPolicy(NamedTuple):
    """A limit as it is configured. `name` is also the `scope` of its refusal; `unit` None counts requests.

    `window_s` is None for a limit on what is under way at once.
    """

    name: str
    quota: int
    window_s: int | None
    unit: str | None = None


class LimitState(NamedTuple):
    """A limit at the moment of a request: what is left, and whole seconds until there is more. None: nobody looked."""

    policy: LimitPolicy
    remaining: int | None = None
    next_s: int = 0
