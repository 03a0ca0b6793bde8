"""Limits how often an HTTP/2 client may reset streams that it opened (CVE-2023-44487, "rapid reset"). No I/O, no clock.

A reset stream no longer counts against the limit of concurrent streams. So a client that opens and resets streams could
begin as many requests as its bandwidth allows. Only the client's bytes are read, and only the heads of frames (RFC 9113
section 4.1): length (3 bytes), type, flags, stream (4 bytes, the first bit unused).
"""

from __future__ import annotations

# A proxy resets a stream for each of its own clients that leaves. nghttp2 allows 1,000 at once and 33 a second after
# that, Envoy ends a connection at 500 of which half were reset, h2o and nginx count some hundreds.
RESETS_AT_ONCE = 256
RESETS_PER_S = 33.0

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD_BYTES = 9
_HEADERS, _RST_STREAM, _GOAWAY = 1, 3, 7
_ENHANCE_YOUR_CALM = 11


class ResetLimit:
    """One connection's resets: a bucket of RESETS_AT_ONCE that refills by RESETS_PER_S."""

    __slots__ = ("_at", "_frames", "_left")

    def __init__(self) -> None:
        self._frames = ClientFrames()
        self._left = float(RESETS_AT_ONCE)
        self._at = 0.0

    def feed(self, data: bytes, now: float) -> bool:
        """Whether the client is within the limit after these bytes, which may be any piece of the stream."""
        resets = self._frames.count_resets(data)
        if resets:
            self._left = min(float(RESETS_AT_ONCE), self._left + (now - self._at) * RESETS_PER_S) - resets
            self._at = now
        return self._left >= 0

    def goaway(self) -> bytes:
        """The frame that ends the connection: RFC 9113 section 6.8, with the last opened stream."""
        payload = self._frames.last_stream.to_bytes(4, "big") + _ENHANCE_YOUR_CALM.to_bytes(4, "big")
        return len(payload).to_bytes(3, "big") + bytes((_GOAWAY, 0)) + bytes(4) + payload


class ClientFrames:
    """Finds the frames in what a client sends, from its preface on; before it, the connection is HTTP/1.1."""

    __slots__ = ("_begun", "_payload_left", "_unread", "last_stream")

    def __init__(self) -> None:
        self._begun = False
        # The end of the bytes so far, which may begin a preface or a frame's head.
        self._unread = b""
        self._payload_left = 0
        self.last_stream = 0

    def count_resets(self, data: bytes) -> int:
        """How many RST_STREAM frames begin in these bytes, which follow those of the last call."""
        data = self._unread + data
        at = 0
        if not self._begun:
            at = data.find(_PREFACE) + len(_PREFACE)
            if at < len(_PREFACE):
                self._unread = data[-len(_PREFACE) + 1 :]
                return 0
            self._begun = True
        return self._walk(data, at)

    def _walk(self, data: bytes, at: int) -> int:
        resets = 0
        at += self._payload_left
        while at + _HEAD_BYTES <= len(data):
            kind = data[at + 3]
            if kind == _RST_STREAM:
                resets += 1
            elif kind == _HEADERS:
                stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFF_FFFF
                self.last_stream = max(self.last_stream, stream)
            at += _HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
        self._unread = data[at:]
        self._payload_left = max(0, at - len(data))
        return resets
