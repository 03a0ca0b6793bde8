"""Failure statuses of every wire: what the provider said about it, what that concerns, and when to come back.

Rules:
1. Redirects are failures like any other: they are never followed, for the next host would be given the key.
2. What is passed on is the provider's message or its first words of plain text; never a page, never a dump.
3. Secrets are masked here already: what an adapter raises may be shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from pg_trio.domain.project import Candidate
from pg_trio.domain.secret import mask_secrets
from pg_trio.errors import UpstreamRefused
from pg_trio.providers.concern import read_concern
from pg_trio.providers.retry_after import read_retry_after
from pg_trio.providers.said import read_words


def read_refusal(
    status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
) -> UpstreamRefused:
    """The failure that an answer with this status is: `HTTP 429: Rate limit reached …`, its `Retry-After`, and whether
    it concerns this candidate alone."""
    words = read_words(headers, body)
    said = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    return UpstreamRefused(
        mask_for(candidate, said),
        status,
        read_retry_after(headers, now_s),
        read_concern(status, body, words),
    )


def mask_for(candidate: Candidate, said: str) -> str:
    """`said`, safe to be shown: this candidate's key and everything shaped like one masked, at most 500 characters."""
    key = candidate.credential.api_key
    return mask_secrets(said, () if key is None else (key,))
