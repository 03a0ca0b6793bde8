"""How much a JSON text will be once it is parsed: told from its bytes, before they are."""

from __future__ import annotations

import re

# What parsing costs is containers and keys: 165 ns each for empty lists, 400 ns for a key in a large object (orjson
# 3.11), all of it without letting another thread run. So 250,000 are 40 to 100 ms; numbers and texts hardly count.
# An answer of 16 MiB that is not made of these has far fewer: 2,048 messages with tool calls are under 50,000.
MAX_NODES = 250_000

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def has_too_many_nodes(text: bytes, limit: int = MAX_NODES) -> bool:
    """Whether there are more objects, lists and keys in it than that. Never true of a text that has fewer bytes."""
    return len(text) > limit and _count(text) > limit and _count(_TEXT.sub(_keep_nothing, text)) > limit


def _count(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{") + text.count(b":")


def _keep_nothing(found: re.Match[bytes]) -> bytes:
    # A function, so that other threads run between two texts.
    return b""
