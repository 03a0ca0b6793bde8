"""The text of a client token: what it states, and a signature over that.

    pg_tmp_ PAYLOAD . SIGNATURE        both base64url without padding

Rules:
1. The signature is HMAC-SHA-256 over everything before the dot. It is compared as text, because base64 has several
   texts for the same bytes. Nothing of a payload is read before its signature is found good.
2. The payload is a JSON list, its first item the version of its form.
3. It names the parent token by id and by an HMAC of the hash of its text. So a rotated parent has no client tokens.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

from attrs import frozen

from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.signing_key import SigningKey

PREFIX = "pg_tmp_"
# RFC 6265 section 6.1: what every browser keeps of a cookie. Half of nginx's buffer for a header.
MOST_CHARS = 4_096
# 32 bytes in base64.
SIGNATURE_CHARS = 43
PARENT_BYTES = 16
VERSION = 1
# What is signed with the same key is told apart by these.
_TEXT, _PARENT = b"pg_trio client token\0", b"pg_trio parent\0"


@frozen(slots=True)
class SignedGrant:
    """A grant whose signature is good. `parent_mark` proves which text the parent had."""

    grant: ClientGrant
    parent_mark: bytes
    key: SigningKey


def write_text(grant: ClientGrant, parent_digest: bytes, key: SigningKey) -> str:
    """The client token's text. `parent_digest` is the SHA-256 of the parent's text."""
    stated = [
        VERSION,
        grant.token_id,
        grant.parent_id,
        _encode(mark_parent(parent_digest, key)),
        grant.expires_at,
        sorted(grant.endpoints),
        grant.subject,
        grant.rate_limit_per_minute,
        grant.max_concurrent,
        grant.monthly_budget_nano_usd,
    ]
    payload = json.dumps(stated, separators=(",", ":"), ensure_ascii=False)
    head = PREFIX + _encode(payload.encode("utf-8"))
    return f"{head}.{_sign(head, key)}"


def read_text(text: str, keys: Iterable[SigningKey]) -> SignedGrant | None:
    """What the token states, if one of the keys signed it; else None. Its parent and its end are not checked."""
    head, _, signature = text.rpartition(".")
    if len(text) > MOST_CHARS or len(signature) != SIGNATURE_CHARS or not head.startswith(PREFIX):
        return None
    for key in keys:
        if hmac.compare_digest(signature, _sign(head, key)):
            return _read_payload(head.removeprefix(PREFIX), key)
    return None


def mark_parent(digest: bytes, key: SigningKey) -> bytes:
    """What a client token has of its parent's digest."""
    return hmac.digest(key.secret, _PARENT + digest, "sha256")[:PARENT_BYTES]


def _read_payload(encoded: str, key: SigningKey) -> SignedGrant | None:
    version, *stated = json.loads(_decode(encoded))
    if version != VERSION:
        # A later release signed it.
        return None
    token_id, parent_id, mark, expires_at, endpoints, subject, per_minute, at_once, budget = stated
    limits = (per_minute, at_once, budget)
    return SignedGrant(
        ClientGrant(token_id, parent_id, expires_at, frozenset(endpoints), subject, *limits), _decode(mark), key
    )


def _sign(head: str, key: SigningKey) -> str:
    return _encode(hmac.digest(key.secret, _TEXT + head.encode("ascii"), "sha256"))


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
