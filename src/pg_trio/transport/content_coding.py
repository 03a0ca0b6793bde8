"""Undoes a content coding that nobody asked for.

We ask for `identity`. A provider (or a proxy before it) that compresses all the same is understood where it costs
nothing to do so, gzip and deflate, with the same limit on what comes out; any other coding is refused.
"""

from __future__ import annotations

import zlib

from pg_trio.errors import UpstreamBroken, UpstreamNonsense

# 32 more than the window size: zlib then tells gzip from zlib by the first bytes.
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})


class BodyDecoder:
    """Takes a compressed body piece by piece. `limit_bytes` bounds what came out altogether."""

    def __init__(self, coding: str, limit_bytes: int) -> None:
        self._coding = coding
        self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._room_bytes = limit_bytes

    def feed(self, piece: bytes) -> bytes:
        """What the piece decodes to, which may be nothing yet.

        Raises: UpstreamBroken if it does not decode; UpstreamNonsense over the limit, or if the coding is unknown.
        """
        if self._coding not in _KNOWN:
            raise UpstreamNonsense(f"answer has an unknown content coding {self._coding[:40]!r}")
        try:
            # One more than there is room for: a body of exactly the limit is fine.
            decoded = self._zlib.decompress(piece, self._room_bytes + 1)
        except zlib.error as exc:
            raise UpstreamBroken(f"answer's compressed body is damaged: {exc}") from exc
        if len(decoded) > self._room_bytes:
            raise UpstreamNonsense("answer's body is over the size limit once decompressed")
        self._room_bytes -= len(decoded)
        return decoded

    def finish(self) -> None:
        """Raises: UpstreamBroken if the compressed body ended early."""
        if not self._zlib.eof:
            raise UpstreamBroken("answer's compressed body ended early")


def decoder_for(coding: str | None, limit_bytes: int) -> BodyDecoder | None:
    """A decoder for the value of `Content-Encoding`, or None where the body is as it is."""
    coding = (coding or "identity").strip().lower()
    return None if coding in ("identity", "") else BodyDecoder(coding, limit_bytes)
