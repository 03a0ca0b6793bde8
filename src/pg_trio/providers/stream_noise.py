"""Recognises the other contents of event streams: keep-alives of any form, names of events, and plain text.

Sources, read 2026-11: anomalyco/opencode#50871 (Vertex: `data: : keepalive`), OpenRouter (`: OPENROUTER PROCESSING`),
caozhiyuan/copilot-api#88 (ping objects), Anthropic (`event: ping`), llama.cpp (`error:`).
"""

from __future__ import annotations

import re

_KEEP_ALIVE = re.compile(
    rb"\W*(?:(?:sse|server|openrouter|upstream|connection|still|sent)\W*)*(?:keep\W*alive|ping|pong|heart\W*beat|processing"
    rb"|waiting|working|thinking|queued|pending|connected|alive|no\W?op|comment|init|start|hello)\W*\d*\W*",
    re.IGNORECASE,
)
_PING_NAMES = frozenset({"ping", "pong", "heartbeat", "keepalive", "comment", "noop", "processing", "metadata", "info"})
_ERROR_NAMES = ("error", "exception", "failure", "failed", "fault")
# The longest error in plain text.
_WORDS_BYTES = 2_000


def is_keep_alive(data: bytes) -> bool:
    """Whether data is a keep-alive: empty, a comment, or one of the usual words."""
    if not data or data[:1] == b":":
        return True
    data = data.strip()
    return not data or data[:1] == b":" or (len(data) <= 64 and _KEEP_ALIVE.fullmatch(data) is not None)


def is_done(data: bytes) -> bool:
    """Whether data is the end in another spelling: `[done]`, `"[DONE]"`, `DONE`."""
    return data[:16].strip(b" \t\r\n\"'").lower() in (b"[done]", b"done", b"<done>", b"[end]")


def is_error_name(event: str) -> bool:
    """Whether events of this type are failures."""
    event = event.lower()
    return any(name in event for name in _ERROR_NAMES)


def is_ping_name(event: str) -> bool:
    """Whether events of this type have no meaning, with any data."""
    return "".join(filter(str.isalpha, event)).lower() in _PING_NAMES


def is_plain_words(data: bytes) -> bool:
    """Whether data without JSON is text for people, such as a failing server's message."""
    if len(data) > _WORDS_BYTES or data.lstrip()[:1] in (b"{", b"[", b'"', b"<", b""):
        return False
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return text.isprintable() and any(map(str.isalpha, text))
