"""Keys that sign client tokens. Every worker has the same ones."""

from __future__ import annotations

from attrs import field, frozen

# The longest life of a client token: a day.
CLIENT_TOKEN_MOST_S = 86_400
# 10 s: forty polls for a changed file of tokens. By then every worker knows a new key, and it may sign.
KNOWN_AFTER_S = 10.0


@frozen(slots=True)
class SigningKey:
    """One key. `secret` is 32 random bytes, `created_at` Unix seconds."""

    id: int
    secret: bytes = field(repr=False)
    created_at: float


def choose_signing_key(keys: tuple[SigningKey, ...], now_s: float) -> SigningKey | None:
    """The key that signs now, of keys from the newest to the oldest; None without any."""
    known = [key for key in keys if key.created_at <= now_s - KNOWN_AFTER_S]
    # All are new where the gateway has just been started for the first time: every worker has read them.
    usable = known or list(keys[-1:])
    return usable[0] if usable else None
