"""A request as a surface reads it, for tests of what comes after."""

from __future__ import annotations

from pg_trio.domain.chat import ChatRequest, Message

REQUEST = ChatRequest((Message("user", "Hi"),), {"message": "Hi"})
