"""`RateLimit-Policy` and `RateLimit`: a client's limits, and their remaining quota.

Source: draft-ietf-httpapi-ratelimit-headers-11 (May 2026), sections 3 and 4: lists of structured fields (RFC 9651).

Rules:
1. Each item is a limit. Its name is the `scope` of its refusal, `q` its capacity and `w` its window in seconds.
2. `r` is the remaining quota and `t` the time until it grows. A client can use no more than `r` before `t`, as the
   draft demands. Buckets refill evenly, so `t` is short. For a full bucket it is the time of one token.
3. If the answer has `Retry-After`, no `t` is later (the draft's section 6).
4. `qu` is the draft's `concurrent-requests` for concurrent requests, and `tokens` for a model's tokens. The registry
   has no unit for these tokens, but without a unit they would look like requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from pg_trio.domain.limits import LimitPolicy, LimitsLeft, LimitState


def render_limits(states: Sequence[LimitState], retry_after_s: int | None = None) -> bytes:
    """The two header lines; only the first if no remaining count is known."""
    limits = LimitsLeft.of(states)
    shown = tuple(chain.from_iterable(limits.left))
    if None in shown:
        return _policies_line(limits.policies) + _render_known(limits, retry_after_s)
    if retry_after_s is not None:
        shown = tuple(
            chain.from_iterable([(remaining, min(next_s, retry_after_s)) for remaining, next_s in limits.left])
        )
    return standard_format(limits.policies) % shown


def _render_known(limits: LimitsLeft, retry_after_s: int | None) -> bytes:
    """The second line where not all remaining counts are known; empty if none is."""
    known = [state for state in limits if state.remaining is not None]
    return render_limits(known, retry_after_s).partition(b"\r\n")[2] if known else b""


# One entry for each endpoint and token with limits, of about 300 bytes; so below.
@lru_cache(maxsize=10_000)
def standard_format(policies: tuple[LimitPolicy, ...]) -> bytes:
    """Both lines, with two places for each limit: its remaining quota, and the seconds until there is more."""
    items = b", ".join([b"%b;r=%%d;t=%%d" % _name(policy.name) for policy in policies])
    return b"%bratelimit: %b\r\n" % (_policies_line(policies), items)


@lru_cache(maxsize=10_000)
def _policies_line(policies: tuple[LimitPolicy, ...]) -> bytes:
    return b"ratelimit-policy: %b\r\n" % b", ".join([_policy_item(policy) for policy in policies])


def _policy_item(policy: LimitPolicy) -> bytes:
    item = b"%b;q=%d" % (_name(policy.name), policy.quota)
    if policy.window_s is not None:
        item += b";w=%d" % policy.window_s
    if policy.unit is not None:
        item += b';qu="%b"' % policy.unit.encode("ascii")
    return item


def _name(name: str) -> bytes:
    return b'"%b"' % name.encode("ascii")
