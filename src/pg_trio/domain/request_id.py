"""Ids of requests: random UUIDs (RFC 9562, version 4)."""

from __future__ import annotations

from uuid import UUID, uuid4


def new_request_id() -> UUID:
    """A random UUID that was never used before. One made by hand saved 0.7 % of a request (scripts/bench/tricks)."""
    return uuid4()
