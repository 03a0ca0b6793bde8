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
from pg_trio.providers.json_text import mend_text
from pg_trio.providers.retry_after import read_body_wait, read_limit_reset, read_retry_after
from pg_trio.providers.said import read_words


def read_refusal(
    status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
) -> UpstreamRefused:
    """The failure that an answer with this status is: `HTTP 429: Rate limit reached …`, its `Retry-After`, and whether
    it concerns this candidate alone."""
    words = read_words(headers, body)
    said = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    retry_after_s = read_retry_after(headers, now_s)
    if retry_after_s is None and status in (429, 503):
        retry_after_s = read_body_wait(body, now_s)
    if retry_after_s is None and status == 429:
        retry_after_s = read_limit_reset(headers, now_s)
    return UpstreamRefused(
        mask_for(candidate, said),
        status,
        retry_after_s,
        read_concern(status, body, words),
    )


def mask_for(candidate: Candidate, said: str) -> str:
    """`said`, safe to be shown: this candidate's secrets and what is shaped like one masked, at most 500 characters."""
    # A provider's words may hold half of a character, which no answer of ours could carry.
    return mask_secrets(mend_text(said), candidate.credential.secrets)
