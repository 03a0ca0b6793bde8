"""What a short-lived client token may do: a server mints it for one of its users, for a browser or an app."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from attrs import field, frozen

# The first byte of a holder's key, and its length: other keys of a ledger have 9 or 16 bytes.
_KEY_BYTES = 16


@frozen(slots=True)
class ClientGrant:
    """The rights of one client token, as it states them. `parent_id` is the id of the token that it was minted with.

    `token_id` is the client token's own, random. `expires_at` is Unix seconds. `endpoints` are slugs. Limits of None
    are no limits; the parent's limits hold beside them. `key` names the holder in a ledger.
    """

    token_id: str
    parent_id: int
    expires_at: int
    endpoints: frozenset[str]
    subject: str | None = None
    rate_limit_per_minute: int | None = None
    max_concurrent: int | None = None
    monthly_budget_nano_usd: int | None = None
    holder: str = field(init=False, repr=False)
    key: bytes = field(init=False, repr=False)

    @holder.default
    def _name_holder(self) -> str:
        return holder_of(self.subject, self.token_id)

    @key.default
    def _make_key(self) -> bytes:
        return holder_key(self.parent_id, self.holder)

    @property
    def is_limited(self) -> bool:
        """Whether a ledger must count its requests or its spend."""
        limits = (self.rate_limit_per_minute, self.max_concurrent, self.monthly_budget_nano_usd)
        return any(limit is not None for limit in limits)


def holder_of(subject: str | None, token_id: str) -> str:
    """The owner of limits, spend, sessions and streams, beside the parent: a subject, or a token without one."""
    return f"t:{token_id}" if subject is None else f"s:{subject}"


def holder_key(parent_id: int, holder: str) -> bytes:
    """The key of a parent's holder in a ledger: 17 bytes."""
    named = parent_id.to_bytes(8, "big") + holder.encode("utf-8")
    return b"h" + blake2b(named, digest_size=_KEY_BYTES).digest()


def sum_by_holder(spent: Iterable[tuple[int, str | None, str, int]]) -> dict[bytes, int]:
    """Spend by holder key, of (parent's id, subject, client token's id, billionths of a dollar)."""
    sums: dict[bytes, int] = {}
    for parent_id, subject, token_id, nano_usd in spent:
        key = holder_key(parent_id, holder_of(subject, token_id))
        sums[key] = sums.get(key, 0) + nano_usd
    return sums
