"""The request that runs now, for lines of the server's own log."""

from __future__ import annotations

from contextvars import ContextVar
from uuid import UUID

# None outside of requests. Tasks that a request starts inherit it.
current_request: ContextVar[UUID | None] = ContextVar("current_request", default=None)
