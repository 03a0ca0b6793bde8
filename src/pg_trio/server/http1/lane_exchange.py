"""One request and its answer as ASGI messages. The connection reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import trio

from pg_trio.domain.server_link import PART_NOW, REST_OF_PART, WHOLE_ANSWER, ServerLink
from pg_trio.server.http1.body import NOTHING_LEFT, ChunkedBody, LengthBody, open_body
from pg_trio.server.http1.head import HttpHead, Refused
from pg_trio.server.http1.response import CONTINUE, Response, ResponseMisuse
from pg_trio.server.http1.types import Message

if TYPE_CHECKING:
    from pg_trio.server.http1.connection import LaneConnection

# Up to 64 KiB of an unread body are discarded to keep the connection; more is not worth it. Go drains 256 KiB.
DISCARD_BYTES = 64 * 1024

_DISCONNECT = "http.disconnect"


class LaneExchange:
    """One request and its answer, as the application sees them: `receive` and `send`.

    `answered` is set once the kernel has the whole answer. `link` is what the lane and the application tell each other
    about the request beyond ASGI: see domain.server_link.
    """

    # ── attributes of the class until they are set: most requests leave them as they are ─────────────────────────────

    answered = False
    # While a task waits for the body's bytes, perhaps one that the application left behind.
    is_receiving = False
    # What is still to come of the body.
    body: LengthBody | ChunkedBody = NOTHING_LEFT
    _continue_owed = False
    _received = False
    # Made for the first task that waits for it: most applications never do.
    _over: trio.Event | None = None

    def __init__(self, connection: LaneConnection, head: HttpHead) -> None:
        self._connection = connection
        self.head = head
        whole = connection.incoming.take_whole_body(head.length)
        if whole is None:
            self.body = open_body(head.length)
            self._continue_owed = head.expects_continue
        if connection.came_at is None:
            self.link = link = ServerLink(trio.current_time())
        else:
            self.link = link = ServerLink(connection.came_at)
            link.has_waited, connection.came_at = True, None
        link.client = connection.client
        link.alike = connection.incoming.known_head
        link.body = whole
        self.response = Response(head.method, head.version)

    async def receive(self) -> Message:
        """ASGI's receive: the body as it comes, then `http.disconnect` once the client left or the answer is out."""
        body, connection = self.body, self._connection
        if body.ended:
            if not self._received:
                self._received = True
                return {"type": "http.request", "body": self.link.body or b"", "more_body": False}
            await self._wait_over()
            return {"type": _DISCONNECT}
        if self.answered or connection.left:
            return {"type": _DISCONNECT}
        await self._send_continue()
        return await self._receive_part()

    async def _receive_part(self) -> Message:
        connection = self._connection
        part = b""
        # Some bytes of a chunked body carry no content: size lines, and the end.
        while not part and not self.body.ended:
            self.is_receiving = True
            try:
                data = await connection.receive_body_bytes()
            finally:
                self.is_receiving = False
            if not data:
                connection.note_left()
                return {"type": _DISCONNECT}
            try:
                part, rest = self.body.feed(data)
            except Refused as refused:
                connection.refuse_body(refused)
                return {"type": _DISCONNECT}
            connection.incoming.data = rest
        self._received = True
        return {"type": "http.request", "body": part, "more_body": not self.body.ended}

    async def _send_continue(self) -> None:
        """Tell a client that waits to be asked for its body to send it, unless it did not wait."""
        if not self._continue_owed:
            return
        self._continue_owed = False
        if not self._connection.incoming.data:
            await self._connection.write(CONTINUE)

    async def send(self, message: Message) -> None:
        """ASGI's send. Raises ResponseMisuse for what ASGI or HTTP forbid, and see LaneConnection.write."""
        kind = message["type"]
        if kind == WHOLE_ANSWER:
            keep_alive = self._keeps_alive()
            data = self.response.whole(message["status"], message["fields"], message["body"], keep_alive=keep_alive)
            if keep_alive:
                await self._connection.write(data)
            else:
                await self._connection.write_last(data)
            self.answered = True
            if self._over is not None:
                self.note_over()
        elif kind == "http.response.body":
            await self._send_part(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start":
            self.response.start(message)
        elif kind == PART_NOW:
            response = self.response
            keep_alive = not response.head_made and self._keeps_alive()
            data = response.part(message["body"], more=True, keep_alive=keep_alive)
            message["rest"] = self._connection.write_now(data)
        elif kind == REST_OF_PART:
            await self._connection.write(message["body"])
        else:
            raise ResponseMisuse(f"unknown message {kind!r}")

    async def _send_part(self, body: bytes, more: bool) -> None:
        # Only the head says whether the connection is kept, so this is not checked for each token.
        response = self.response
        data = response.part(body, more=more, keep_alive=not response.head_made and self._keeps_alive())
        await self._connection.write(data)
        if not more:
            self.answered = True
            self.note_over()
        elif not self.link.waits_between_parts:
            # Other tasks must run even if this client takes every byte at once. This costs a fifth of a lone token's
            # time in the gateway.
            await trio.lowlevel.checkpoint()

    @property
    def is_last(self) -> bool:
        """Whether the client sends nothing more: it has said so, and the whole body was read."""
        return not self.head.keep_alive and self.body.ended

    def request_id(self) -> UUID:
        """The application's id of the request, if it gave one; otherwise one that is made now."""
        link = self.link
        if link.request_id is None:
            link.request_id = uuid4()
        return link.request_id

    def note_over(self) -> None:
        """Wake a task that waits for the disconnect."""
        if self._over is not None:
            self._over.set()

    async def _wait_over(self) -> None:
        if self.answered or self._connection.left:
            return
        if self._over is None:
            self._over = trio.Event()
        await self._over.wait()

    def _keeps_alive(self) -> bool:
        """Whether the request, the server and the unread body allow another request on this connection."""
        if not self.head.keep_alive or not self._connection.keeps_alive or self._continue_owed:
            return False
        left = self.body.left
        return left is None or left <= DISCARD_BYTES
