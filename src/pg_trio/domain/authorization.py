"""The values of a request's `Authorization`, and what was read of them."""

from __future__ import annotations


class Authorization(list[str]):
    """Every value of the header, not parsed. It never changes, and requests with the same head share one.

    `digest` is the SHA-256 of their token, once it was read: a digest for each request would be the same again. It says
    nothing of whether the token may be used.
    """

    digest: bytes | None = None
