"""A call that comes over ASGI: its head, its body, and the client's end of a streamed answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

import trio

from pg_trio.attachment import WorkPort
from pg_trio.domain.call import Kept, Progress, RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Usage
from pg_trio.domain.events import Event
from pg_trio.domain.kept_answer import AnswerEnd
from pg_trio.domain.limits import NO_LIMITS, LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Endpoint
from pg_trio.domain.server_link import ServerLink
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import (
    BadRequest,
    BodyTooLarge,
    ClientLeft,
    GatewayError,
    ShuttingDown,
)
from pg_trio.surfaces import HttpAnswer, StreamWriter, Surface, Tries
from pg_trio.surfaces.http_answer import header_text, render_verdicts, split_fields
from pg_trio.surfaces.limit_headers import render_limits
from pg_trio.web.asgi_types import AsgiEvent, Receive, Send
from pg_trio.web.head_template import Headers
from pg_trio.web.named_stream import NamedStream


class StreamMaker(Protocol):
    """Makes the client's end of a streamed answer."""

    def __call__(
        self, call: AsgiCall, writer: StreamWriter, progress: Progress, session_id: UUID | None, /
    ) -> AsgiStream: ...


class StreamKeeper(Protocol):
    """Keeps the stream of one call for clients that come back: see kept_stream.py."""

    def make_stream(self, call: AsgiCall, request: ChatRequest, endpoint: Endpoint) -> StreamMaker: ...

    def close(self) -> None: ...


class AsgiCall:
    """A call whose body comes over ASGI. `link` is what the server and we tell each other of this request."""

    # ── attributes of the class until they are set: most calls leave them as they are ────────────────────────────────

    has_started = False
    # The last byte is handed to the server: a client that leaves now has its answer.
    has_ended = False
    # Header lines for browsers of other origins.
    cors = b""
    # What is left of the limits that the request counted against; empty where there are none.
    limits: Sequence[LimitState] = NO_LIMITS
    # What a failure answers with; None if no candidate was asked.
    tries: Tries | None = None
    # Its body's share of the bytes in flight, where it is large.
    kept: Kept | None = None
    # Set once the body is in, where another task waits to receive after that: one task at a time may. See asgi.py.
    body_received: trio.Event | None = None

    # Whether the gateway owns its work, because it may outlive its client: see pg_trio.attachment.
    is_owned = False
    # Keeps a resumable stream; None where there is none.
    keeper: StreamKeeper | None = None
    # How its stream has ended, once its last part is sent.
    stream_end: AnswerEnd = "whole"

    # What it knows of its client where that is more than `send`: see pg_trio.attachment.
    port: WorkPort[AsgiEvent] | None = None

    def __init__(
        self, head: RequestHead, surface: Surface, headers: Headers, receive: Receive, send: Send, link: ServerLink
    ) -> None:
        self.head = head
        self.surface = surface
        self.headers = headers
        self.receive = receive
        self.send = send
        self.link = link

    def begin_work(self, port: WorkPort[AsgiEvent]) -> None:
        """Send to the client through this port."""
        self.port, self.send = port, port.send

    async def settle(self, answer: HttpAnswer) -> HttpAnswer | None:
        """The whole answer as the client gets it; None if it has got one already."""
        return answer

    def close(self) -> None:
        """The work has ended, complete or not."""
        if self.keeper is not None:
            self.keeper.close()

    @property
    def has_waited(self) -> bool:
        """See domain.call.Call."""
        return self.link.has_waited

    @property
    def has_body(self) -> bool:
        """Whether the whole body is here: see domain.call.Call."""
        return self.link.body is not None

    def why_cut(self) -> GatewayError | None:
        """Why our own server cut the request short, if it was not the client that left."""
        cut = self.link.cut if self.port is None else self.link.cut or self.port.cut
        return ShuttingDown() if cut == "drain" else None

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Show these limits' remaining quota in every later answer."""
        self.limits = states

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        """Show these tries and times in a failure that is answered later."""
        self.tries = Tries(attempts, times)

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> AsgiStream:
        """The client's end of a streamed answer."""
        make: StreamMaker = AsgiStream
        if self.keeper is not None and endpoint.resumable_streams:
            make = self.keeper.make_stream(self, request, endpoint)
        return make(self, self.surface.open_stream(self.head, request, endpoint), progress, session_id)

    def stop_with(self, stop: Callable[[], bool]) -> None:
        """See domain.call.Call. Without a port its client stops it by leaving."""
        if self.port is not None:
            self.port.stop_with(stop)

    @property
    def declared_bytes(self) -> int | None:
        """The body's length as the client declares it: see domain.call.Call."""
        declared = dict(self.headers).get(b"content-length")
        if declared is None:
            return None
        digits = declared.lstrip(b"0")
        # Nine digits are a gigabyte: more is over any limit, and not worth turning into a number.
        return int(digits or b"0") if len(digits) <= 9 and declared.isdigit() else 10**9

    def hold(self, kept: Kept) -> None:
        """Give this back once the call is answered."""
        self.kept = kept

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge on its declared or real length, ClientLeft if the client went away."""
        whole = self.link.body
        if whole is not None:
            if len(whole) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            self.link.body = None
            return whole
        body = await self._receive_parts(limit_bytes)
        if self.body_received is not None:
            self.body_received.set()
            # A client may have left, or reset its stream, before we came to its body: the task that watches finds that
            # in two passes of the event loop, and in the third we are cancelled. Nothing is begun for such a client.
            for _ in range(3):
                await trio.lowlevel.checkpoint()
        return body

    async def _receive_parts(self, limit_bytes: int) -> bytes:
        if (self.declared_bytes or 0) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        chunks: list[bytes] = []
        size = 0
        while True:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                # Our own server says why where it refused the body: then it has answered, and the row is to say so too.
                if (refused := self.link.refused) is not None:
                    raise BadRequest(refused[1])
                raise ClientLeft
            chunk = event.get("body", b"")
            size += len(chunk)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            chunks.append(chunk)
            if not event.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class AsgiStream(NamedStream):
    """A client that reads a streamed answer over ASGI; see domain.call.StreamClient."""

    def __init__(self, call: AsgiCall, writer: StreamWriter, progress: Progress, session_id: UUID | None) -> None:
        super().__init__(call.head.request_id, progress, session_id)
        self._call = call
        self._writer = writer

    def name_speaker(self, provider: str, model: str) -> None:
        """Nothing: an early head names no candidate, because another one may answer."""

    async def send_events(self, events: Sequence[Event]) -> bool:
        """Pass events on, those that came together in one write."""
        rendered = self._writer.render(events)
        if rendered:
            await self._send(rendered)
            return True
        return False

    async def send_keep_alive(self) -> None:
        """Send a comment that keeps the connection alive."""
        await self._send(self._writer.keep_alive)

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        """End a complete answer."""
        await self._send(self._writer.finish(finish_reason, usage, self.summarize()), more=False)

    async def finish_stopped(self, usage: Usage) -> None:
        """End one that a client has stopped."""
        self._call.stream_end = "stopped"
        await self._send(self._writer.finish("stop", usage, self.summarize(cancelled=True)), more=False)

    async def fail(self, error: GatewayError) -> None:
        """End one that broke."""
        self._call.stream_end = "failed"
        await self._send(self._writer.fail(error), more=False)

    async def _send(self, data: bytes, *, more: bool = True) -> None:
        call = self._call
        if not call.has_started:
            call.has_started = True
            # For the next tokens, which one read of the provider's connection bounds.
            call.link.waits_between_parts = True
            await call.send({"type": "http.response.start", "status": 200, "headers": self._list_fields()})
        call.has_ended = not more
        await call.send({"type": "http.response.body", "body": data, "more_body": more})

    def _list_fields(self, *, for_any_reader: bool = False) -> list[tuple[bytes, bytes]]:
        """The head's fields. `for_any_reader`: without those that are of this client and this moment alone."""
        call = self._call
        limits = () if for_any_reader else call.limits
        fields = [*self._writer.headers, (b"x-request-id", str(call.head.request_id).encode("ascii"))]
        if self._provider is not None:
            fields += [
                (b"x-pg-provider", self._provider.encode("ascii")),
                (b"x-pg-model", header_text(self._model)),
                (b"x-pg-attempts", b"%d" % len(self._progress.attempts.tries)),
            ]
        if limits:
            fields += split_fields(render_limits(limits))
        fields += call.surface.stream_fields(call.head.request_id, limits, self._progress.times_so_far())
        if self._progress.verdicts:
            fields += split_fields(render_verdicts(self._progress.verdicts))
        if call.cors and not for_any_reader:
            fields += split_fields(call.cors)
        if self._session_id is not None:
            fields.append((b"x-pg-session-id", str(self._session_id).encode("ascii")))
        return fields


def event_bytes(event: AsgiEvent) -> int:
    """What an event of an answer takes in memory, about: its body and its header fields."""
    headers = event.get("headers", ())
    return len(event.get("body", b"")) + sum(len(name) + len(value) for name, value in headers)
