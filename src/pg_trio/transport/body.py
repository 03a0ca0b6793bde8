"""Reads a whole body."""

from __future__ import annotations

from pg_trio.domain.upstream import UpstreamResponse
from pg_trio.errors import UpstreamNonsense


async def read_body(response: UpstreamResponse, limit_bytes: int) -> bytes:
    """The answer's whole body; the response is still the caller's to close.

    Raises: UpstreamBroken if it ended early; UpstreamNonsense if it is longer than `limit_bytes`.
    """
    body = await response.receive_some()
    if not body:
        return b""
    pieces = [body]
    room_bytes = limit_bytes - len(body)
    while room_bytes >= 0:
        piece = await response.receive_some()
        if not piece:
            return body if len(pieces) == 1 else b"".join(pieces)
        room_bytes -= len(piece)
        pieces.append(piece)
    raise UpstreamNonsense(f"answer's body is over {limit_bytes} bytes")
