"""What a client has sent and nobody has taken yet: requests' heads and bodies are taken out of it. No I/O."""

from __future__ import annotations

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.head import (
    HEAD_END,
    HTTP2_PREFACE,
    KnownHead,
    RequestHead,
    read_head,
    refuse_hopeless_start,
    remember_head,
)

_UNUSUAL_STARTS = (b"\r\n", b"PRI ")


class Incoming:
    """The bytes of one connection. `data` are those that were read and not taken.

    `known_head` is the last head, by which the next is known; None where there is none yet, or it was too large.
    `is_http2` once HTTP/2's whole preface is there: then no head of ours will come.
    """

    __slots__ = ("_settings", "data", "is_http2", "known_head")

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.data = b""
        self.known_head: KnownHead | None = None
        self.is_http2 = False

    def take_head(self) -> RequestHead | None:
        """The next request's head, None if it is not whole. Raises Refused for one that is none, and never will be.

        A WebSocket's handshake stays where it is: whoever is handed the connection reads it again.
        """
        data = self.data
        if not data:
            return None
        if self.known_head is not None and (recalled := self.known_head.recall(data)) is not None:
            head, end = recalled
            self.data = data[end:]
            return head
        end = self._find_head_end()
        if not end:
            return None
        head = self.read_head(self.data[:end])
        if not head.wants_websocket:
            self.data = self.data[end:]
        return head

    def read_head(self, data: bytes) -> RequestHead:
        """The head that `data` is, whole. Raises Refused.

        The next request of the same bytes is known by it, unless it is a WebSocket's: that one stays where it is.
        """
        settings = self._settings
        head = read_head(data, max_head_bytes=settings.max_head_bytes, max_header_count=settings.max_header_count)
        if not head.wants_websocket:
            self.known_head = remember_head(data, head)
        return head

    def take_whole_body(self, length: int | None) -> bytes | None:
        """The whole body, if it is here already, as nearly all are that were read with their head."""
        data = self.data
        if length is None or length > len(data):
            return None
        self.data = data[length:]
        return data[:length]

    def take_all(self) -> bytes:
        """Everything; nothing is left."""
        data, self.data = self.data, b""
        return data

    def _find_head_end(self) -> int:
        """The length of the whole head, 0 if more must come. Raises Refused if none can become of it."""
        data = self.data
        if data.startswith(_UNUSUAL_STARTS):
            # One empty line before a request: RFC 9112 section 2.2 (old clients end a body with one).
            data = self.data = data.removeprefix(b"\r\n")
            if not data:
                return 0
            if HTTP2_PREFACE.startswith(data[: len(HTTP2_PREFACE)]):
                self.is_http2 = len(data) >= len(HTTP2_PREFACE)
                return 0
        end = data.find(HEAD_END)
        if end >= 0:
            return end + len(HEAD_END)
        refuse_hopeless_start(data, self._settings.max_head_bytes)
        return 0
