"""Whether the body of an answer is a stream: its first bytes tell, its content type only helps."""

from __future__ import annotations

from collections.abc import Mapping

from pg_trio.providers.sse import begins_as_stream


def is_stream_body(status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
    """Whether a body that begins with `start` is a stream's; None where more of it must be seen."""
    if not 200 <= status < 300:
        return False
    begun = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if begun in (b"{", b"[", b"<"):
        # JSON or a page, regardless of its content type.
        return False
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("text/event-stream", ""):
        return True if begun else None
    return begins_as_stream(start)
