"""The bytes that a client has sent and that were not taken yet: heads and bodies are read from them. No I/O."""

from __future__ import annotations

import re

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.head import (
    HEAD_END,
    HTTP2_PREFACE,
    HttpHead,
    KnownHead,
    SharedHeads,
    read_head,
    refuse_hopeless_start,
    remember_head,
)

_UNUSUAL_STARTS = (b"\r\n", b"PRI ")
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)++")


class Incoming:
    """The bytes of one connection. `data` are those that were read and not taken.

    `known_head` is the last head; a next one with the same bytes is recalled from it. None before the first head, or if
    it was too large. `is_http2` is set once HTTP/2's whole preface is there: then no HTTP/1.1 head will come.
    """

    __slots__ = ("_settings", "_shared", "data", "is_http2", "known_head")

    def __init__(self, settings: ServerSettings, shared: SharedHeads | None = None) -> None:
        """`shared`: the heads that other connections know."""
        self._settings = settings
        self._shared = shared
        self.data = b""
        self.known_head: KnownHead | None = None
        self.is_http2 = False

    def take_head(self) -> HttpHead | None:
        """The next request's head, None if it is not whole. Raises Refused for bytes that cannot become a head.

        A WebSocket's handshake is not consumed: Hypercorn gets the connection and reads it again.
        """
        data, known = self.data, self.known_head
        # Nearly always. A known head begins with a request, and is no handshake.
        if known is not None and (recalled := known.recall(data)) is not None:
            head, end = recalled
            self.data = data[end:]
            return head
        return self._take_new_head()

    def _take_new_head(self) -> HttpHead | None:
        if self.data.startswith(_UNUSUAL_STARTS) and not self._begins_with_request():
            return None
        data = self.data
        found = self.find_head(data)
        if found is None:
            refuse_hopeless_start(data, self._settings.max_head_bytes)
            return None
        head, end = found
        if not head.wants_websocket:
            self.data = data[end:]
        return head

    def take_websocket(self) -> bytes:
        """The bytes behind a WebSocket's handshake, which is here whole; none are left here."""
        return self.take_all().partition(HEAD_END)[2]

    def find_head(self, data: bytes) -> tuple[HttpHead, int] | None:
        """The head that `data` begins with, and where it ends; None if it is not whole. Raises Refused.

        The next request with the same bytes is recalled from it, except a WebSocket's handshake, which is not taken.
        """
        if self.known_head is not None and (known := self.known_head.recall(data)) is not None:
            return known
        end = data.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END):
            return None
        whole, shared = data[:end], self._shared
        if shared is not None and (known_head := shared.find(whole)) is not None:
            recalled = known_head.recall(data)
            if recalled is not None:
                self.known_head = known_head
                return recalled
        most_bytes, most_fields = self._settings.max_head_bytes, self._settings.max_header_count
        head = read_head(whole, max_head_bytes=most_bytes, max_header_count=most_fields)
        if not head.wants_websocket:
            self.known_head = remember_head(whole, head, most_bytes)
            if shared is not None and self.known_head is not None:
                shared.keep(self.known_head)
        return head, end

    def take_whole_body(self, length: int | None) -> bytes | None:
        """The whole body, if it has come already. Nearly all bodies come with their head."""
        data = self.data
        if length == len(data):
            self.data = b""
            return data
        if length is None or length > len(data):
            return None
        self.data = data[length:]
        return data[:length]

    def take_all(self) -> bytes:
        """All bytes; none are left here."""
        data, self.data = self.data, b""
        return data

    def _begins_with_request(self) -> bool:
        """Whether these unusual bytes can begin a request: after empty lines, and if they are not HTTP/2's preface."""
        # RFC 9112 section 2.2 asks servers to accept at least one: old clients end a body with one.
        data = self.data = _EMPTY_LINES.sub(b"", self.data, 1)
        if not HTTP2_PREFACE.startswith(data[: len(HTTP2_PREFACE)]):
            return True
        self.is_http2 = len(data) >= len(HTTP2_PREFACE)
        return False
