"""How much a JSON text will be once it is parsed: told from its bytes, before they are."""

from __future__ import annotations

# What parsing costs is containers and keys: 165 ns each for empty lists, 400 ns for a key in a large object (orjson
# 3.11), all of it without letting another thread run. So 250,000 are 40 to 100 ms; numbers and texts hardly count.
# An answer of 16 MiB that is not made of these has far fewer: 2,048 messages with tool calls are under 50,000.
MAX_NODES = 250_000

# 64 KiB at a time, so that other threads run in between.
_PIECE_BYTES = 64 * 1024


def has_too_many_nodes(text: bytes, limit: int = MAX_NODES) -> bool:
    """Whether there are more objects, lists and keys in it than that. Never true of a text that has fewer bytes."""
    # Three counts decide nearly always: most texts have few brackets and colons even with those inside strings.
    return len(text) > limit and _count(text) > limit and _count_outside_strings(text) > limit


def _count(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{") + text.count(b":")


def _count_outside_strings(text: bytes) -> int:
    count = start = inside = 0
    while start < len(text):
        piece = text[start : start + _PIECE_BYTES]
        if len(piece) > 1 and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            # What this backslash escapes is in the next piece.
            piece = piece[:-1]
        start += len(piece)
        # Without escaped backslashes, and then without escaped quotes, each quote begins or ends a string.
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        count += _count(b"".join(parts[inside::2]))
        inside ^= (len(parts) - 1) & 1
    return count
