"""Bytes of a connection in, whole HTTP/1.1 requests out, within limits. Pure: llhttp and no socket."""

from __future__ import annotations

from collections import deque

import httptools
from attrs import define, field, frozen

from pg_trio.simulator.chat_call import RefusedCall


@frozen(slots=True)
class ReaderLimits:
    """What a client may send, and how long it may take for each piece."""

    # 64 KiB: what the gateway's direct transport takes of an answer's head.
    head_bytes: int = 64 * 1024
    # 16 MiB: four times the gateway's own limit.
    body_bytes: int = 16 * 1024 * 1024
    # 75 s: nginx's keepalive_timeout.
    idle_s: float = 75.0


@define(slots=True, eq=False)
class HttpRequest:
    """A request as HTTP has it. Header names are in lower case; of a repeated name the last counts."""

    path: str = ""
    method: str = ""
    headers: dict[str, str] = field(factory=dict)
    body: list[bytes] = field(factory=list)
    keep_alive: bool = True


class RequestReader:
    """Feed it what arrives. `messages` holds whole requests; after a `refusal` it takes nothing more."""

    def __init__(self, limits: ReaderLimits) -> None:
        self.messages: deque[HttpRequest] = deque()
        self.refusal: RefusedCall | None = None
        self.wants_continue = False
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._message = HttpRequest()
        self._in_head = True
        self._head_bytes = 0
        self._body_bytes = 0
        # What was fed since the head began: llhttp reports a header only once it is whole, and one may never be.
        self._unfinished_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take bytes in; look at `messages`, `refusal` and `wants_continue` afterwards."""
        whole = len(self.messages)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "Protocol upgrades are not supported.")
        except httptools.HttpParserError as error:
            self._refuse(400, f"The request is no HTTP/1.1: {error}.")
        # Bytes that hold another request's end beside this one's beginning are not counted: one read of slack.
        if self._in_head and whole == len(self.messages):
            self._unfinished_bytes += len(data)
            self._check_head(self._unfinished_bytes)

    def _refuse(self, status: int, message: str) -> None:
        if self.refusal is None:
            self.refusal = RefusedCall(status, message)

    def _check_head(self, size: int) -> None:
        if size > self._limits.head_bytes:
            self._refuse(431, f"The request's head exceeds {self._limits.head_bytes} bytes.")

    def _check_body(self, size: int) -> None:
        if size > self._limits.body_bytes:
            self._refuse(413, f"The request's body exceeds {self._limits.body_bytes} bytes.")

    # ── called by llhttp ──

    def on_message_begin(self) -> None:
        self._message = HttpRequest()
        self._in_head = True
        self._head_bytes = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        # It may come in pieces, where a read ended inside it.
        self._message.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        self._message.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        message = self._message
        self._in_head = False
        self._unfinished_bytes = 0
        self._check_head(self._head_bytes)
        message.method = self._parser.get_method().decode("ascii")
        message.keep_alive = self._parser.should_keep_alive()
        length = message.headers.get("content-length", "0")
        self._check_body(int(length) if length.isdigit() else 0)
        self.wants_continue = self.refusal is None and message.headers.get("expect", "").lower() == "100-continue"

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._check_body(self._body_bytes)
        if self.refusal is None:
            self._message.body.append(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self.messages.append(self._message)
