"""Refuses a base URL that is the address of a single call, and says what to write instead."""

from __future__ import annotations

import re
from urllib.parse import SplitResult

from pg_trio.config.bounds import show

# The paths that the gateway adds itself, and other calls. Not `/models` and `/openai`: some base URLs end with these
# (Azure's).
_CALL = re.compile(
    r"(?:/(?:chat/completions|completions|responses|messages|embeddings|rerank)"
    r"|(?<=/v[0-9])/chat"
    r"|(?:/models/[^/]+)?:(?:generateContent|streamGenerateContent))\Z",
    re.IGNORECASE,
)
# Ollama's own interface. The gateway speaks OpenAI's, which the same server has at /v1.
_OLLAMA_CALL = re.compile(r"/api/(?:chat|generate|tags|embed|embeddings)\Z", re.IGNORECASE)


def refuse_call(url: SplitResult) -> None:
    """Raise ValueError, with what to write, if the address is more than a base URL. The address has no user or
    password."""
    path = meant = re.sub("/{2,}", "/", url.path).rstrip("/")
    if found := _OLLAMA_CALL.search(meant):
        meant = meant[: found.start()] + "/v1"
    while found := _CALL.search(meant):
        meant = meant[: found.start()].rstrip("/")
    write = show(url._replace(path=meant, query="", fragment="").geturl())
    if meant != path:
        raise ValueError(f"is the address of one call, whose end the gateway adds itself: write {write}")
    if url.query or url.fragment:
        raise ValueError(f"a base URL has no query and no fragment: write {write}")
    if path != url.path.rstrip("/"):
        raise ValueError(f"has an empty part (//) in its path: write {write}")
