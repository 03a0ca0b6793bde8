"""A call that comes over ASGI: its head, its body, and the client's end of a streamed answer."""

from __future__ import annotations

import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Self, TypeAlias
from uuid import UUID

import orjson
import trio
from attrs import define, field

from pg_trio.domain.call import Progress, RequestHead
from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.events import Event
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.request_id import new_request_id
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.errors import (
    BadRequest,
    BodyTooLarge,
    ClientLeft,
    GatewayError,
    ShuttingDown,
)
from pg_trio.web.answers import Tries, header_text, split_fields
from pg_trio.web.asgi_types import Receive, Send
from pg_trio.web.limit_headers import render_limits
from pg_trio.web.sse import KEEP_ALIVE, STREAM_HEADERS, StreamRenderer, join_object

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


@define(slots=True)
class AsgiCall:
    """A call whose body comes over ASGI."""

    head: RequestHead
    headers: Headers
    receive: Receive
    send: Send
    # What our own server and we tell each other of this request; empty under others.
    extension: MutableMapping[str, Any] = field(factory=dict)
    has_started: bool = False
    # The last byte is handed to the server: whoever leaves now leaves content.
    has_ended: bool = False
    # What is left of the limits that the request counted against; empty where there are none.
    limits: Sequence[LimitState] = ()
    # What a failure answers with; None where nobody was asked.
    tries: Tries | None = None

    @property
    def has_body(self) -> bool:
        """Whether the whole body is here: see domain.call.Call."""
        return "body" in self.extension

    def why_cut(self) -> GatewayError | None:
        """Why our own server cut the request short, where it was not the client who left."""
        return ShuttingDown() if self.extension.get("cut") == "drain" else None

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Every answer from here on says what is left of these."""
        self.limits = states

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        """A failure that is answered from here on says what was tried, and what took how long."""
        self.tries = Tries(attempts, times)

    def open_stream(self, provider: str, model: str, progress: Progress, session_id: UUID | None) -> SseClient:
        """The client's end of a streamed answer."""
        return SseClient(self, provider, model, progress, session_id)

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge on its declared or real length, ClientLeft if the client went away."""
        whole: bytes | None = self.extension.get("body")
        if whole is not None:
            if len(whole) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            return whole
        return await self._receive_parts(limit_bytes)

    async def _receive_parts(self, limit_bytes: int) -> bytes:
        declared = dict(self.headers).get(b"content-length", b"").lstrip(b"0")
        # Nine digits are a gigabyte: more is over any limit, and not worth turning into a number.
        if declared and (len(declared) > 9 or not declared.isdigit() or int(declared) > limit_bytes):
            raise BodyTooLarge(limit_bytes)
        chunks: list[bytes] = []
        size = 0
        while True:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                # Our own server says why where it refused the body: then it has answered, and the row is to say so too.
                if (refused := self.extension.get("refused")) is not None:
                    raise BadRequest(refused[1])
                raise ClientLeft
            chunk = event.get("body", b"")
            size += len(chunk)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            chunks.append(chunk)
            if not event.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class WatchedCall:
    """A call that says when its body is in, so that only one task at a time receives from the server."""

    __slots__ = ("_call", "body_received", "head")

    def __init__(self, call: AsgiCall) -> None:
        self._call = call
        self.head = call.head
        self.body_received = trio.Event()

    @property
    def has_started(self) -> bool:
        return self._call.has_started

    @property
    def has_body(self) -> bool:
        """See AsgiCall."""
        return self._call.has_body

    @property
    def limits(self) -> Sequence[LimitState]:
        """See AsgiCall."""
        return self._call.limits

    @property
    def tries(self) -> Tries | None:
        """See AsgiCall."""
        return self._call.tries

    def why_cut(self) -> GatewayError | None:
        """See AsgiCall."""
        return self._call.why_cut()

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """See AsgiCall."""
        self._call.show_limits(states)

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        """See AsgiCall."""
        self._call.show_tries(attempts, times)

    def open_stream(self, provider: str, model: str, progress: Progress, session_id: UUID | None) -> SseClient:
        """The client's end of a streamed answer."""
        return self._call.open_stream(provider, model, progress, session_id)

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The whole body; see AsgiCall."""
        body = await self._call.receive_body(limit_bytes)
        self.body_received.set()
        return body


class SseClient:
    """A client that reads a stream of server-sent events; see domain.call.StreamClient."""

    def __init__(
        self, call: AsgiCall, provider: str, model: str, progress: Progress, session_id: UUID | None = None
    ) -> None:
        self._call = call
        self._progress = progress
        self._session_id = session_id
        self._provider = provider
        self._model = model
        self._renderer = StreamRenderer(int(call.head.at))

    async def send_events(self, events: Sequence[Event]) -> None:
        """Pass events on, those that came together in one write."""
        if rendered := self._renderer.render_all(events):
            await self._send(rendered)

    async def send_keep_alive(self) -> None:
        """Send a comment."""
        await self._send(KEEP_ALIVE)

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        """End a whole answer."""
        progress, joins = self._progress, self._renderer.joins
        times = progress.times_so_far()
        meta: dict[str, object] = {
            "request_id": str(self._call.head.request_id),
            "provider": joins[-1].provider if joins else self._provider,
            "attempts": len(progress.attempts.tries),
            "first_token_ms": progress.attempts.first_token_ms,
            "overhead_ms": round(times.overhead_ms, 3),
            "timings_ms": orjson.Fragment(times.as_json()),
        }
        if joins:
            meta["joins"] = [join_object(join) for join in joins]
        if self._session_id is not None:
            meta["session_id"] = str(self._session_id)
        await self._send(self._renderer.finish(finish_reason, usage, meta), more=False)

    async def fail(self, error: GatewayError) -> None:
        """End one that broke."""
        await self._send(self._renderer.fail(error), more=False)

    async def _send(self, data: bytes, *, more: bool = True) -> None:
        if not self._call.has_started:
            self._call.has_started = True
            # For the next tokens, which one read of the provider's connection bounds.
            self._call.extension["waits"] = True
            headers = [
                *STREAM_HEADERS,
                (b"x-request-id", str(self._call.head.request_id).encode("ascii")),
                (b"x-pg-provider", self._provider.encode("ascii")),
                (b"x-pg-model", header_text(self._model)),
                (b"x-pg-attempts", b"%d" % len(self._progress.attempts.tries)),
            ]
            if self._call.limits:
                headers += split_fields(render_limits(self._call.limits))
            await self._call.send({"type": "http.response.start", "status": 200, "headers": headers})
        self._call.has_ended = not more
        await self._call.send({"type": "http.response.body", "body": data, "more_body": more})


@value(slots=True)
class Asked:
    """What the head of a request to one of our own routes asks for; headers are noted, not yet judged."""

    project: str
    slug: str | None
    authorization: Sequence[str]
    content_type: str | None
    timeout_ms: Sequence[str]
    read_timeout: Sequence[str]

    @classmethod
    def read(cls, headers: Headers, project: str, slug: str | None) -> Self:
        """From a request's headers and the route that its path is."""
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = _join_repeated(headers)
        content_type = fields.get(b"content-type")
        return cls(
            project=project,
            slug=slug,
            authorization=_values(fields.get(b"authorization")),
            content_type=None if content_type is None else content_type.decode("latin-1"),
            timeout_ms=_values(fields.get(b"x-pg-timeout-ms")),
            read_timeout=_values(fields.get(b"x-stainless-read-timeout")),
        )

    def make_head(self, head_at: float) -> RequestHead:
        """The head of one such request, read at that time of Trio's clock."""
        return RequestHead(
            request_id=new_request_id(),
            project=self.project,
            slug=self.slug,
            authorization=self.authorization,
            content_type=self.content_type,
            timeout_ms=self.timeout_ms,
            head_at=head_at,
            # As good as when its head was read: nothing waits in between.
            at=time.time(),
            read_timeout=self.read_timeout,
        )


# No field value holds one (RFC 9110 section 5.5), and no server passes one on.
_REPEATED = b"\0"


def _join_repeated(headers: Headers) -> dict[bytes, bytes]:
    """Headers by name where some come more than once: values that we must see apart are told apart by _values."""
    fields: dict[bytes, bytes] = {}
    for name, text in headers:
        if name not in fields:
            fields[name] = text
        elif name == b"content-type":
            # As RFC 9110 says, and then it is no media type that anybody takes.
            fields[name] += b", " + text
        else:
            fields[name] += _REPEATED + text
    return fields


def _values(joined: bytes | None) -> Sequence[str]:
    return () if joined is None else joined.decode("latin-1").split("\0")
