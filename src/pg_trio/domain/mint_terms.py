"""What a server asks for when it mints a client token."""

from __future__ import annotations

from attrs import frozen

from pg_trio.domain.client_grant import ClientGrant


@frozen(slots=True)
class MintTerms:
    """What a client token is asked to be; see ClientGrant. `ttl_s` is its life in seconds."""

    ttl_s: int
    endpoints: frozenset[str]
    subject: str | None = None
    rate_limit_per_minute: int | None = None
    max_concurrent: int | None = None
    monthly_budget_nano_usd: int | None = None

    def grant(self, parent_id: int, token_id: str, at: float) -> ClientGrant:
        """The grant of a token that is minted at that time."""
        return ClientGrant(
            token_id,
            parent_id,
            int(at) + self.ttl_s,
            self.endpoints,
            self.subject,
            self.rate_limit_per_minute,
            self.max_concurrent,
            self.monthly_budget_nano_usd,
        )
