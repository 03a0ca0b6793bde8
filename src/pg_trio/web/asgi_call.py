"""A call that comes over ASGI: its head, its body, and the client's end of a streamed answer."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Self, TypeAlias
from uuid import UUID

import orjson
import trio
from attrs import define, field

from pg_trio.domain.call import Kept, Progress, RequestHead
from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.events import Event, Opened
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Endpoint
from pg_trio.domain.request_id import new_request_id
from pg_trio.domain.secret import mask_credentials
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
from pg_trio.web.client_address import Networks, find_client, plain_address
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
    # The last byte was handed to the server: a client that leaves now has its answer.
    has_ended: bool = False
    # What is left of the limits that the request counted against; empty where there are none.
    limits: Sequence[LimitState] = ()
    # The tries shown in a failure; None if no candidate was asked.
    tries: Tries | None = None
    # Its body's share of the bytes in flight, where it is large.
    kept: Kept | None = None

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

    def open_stream(self, endpoint: Endpoint, progress: Progress, session_id: UUID | None) -> SseClient:
        """The client's end of a streamed answer."""
        return SseClient(self, endpoint, progress, session_id)

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
        whole: bytes | None = self.extension.get("body")
        if whole is not None:
            if len(whole) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            return whole
        return await self._receive_parts(limit_bytes)

    async def _receive_parts(self, limit_bytes: int) -> bytes:
        if (self.declared_bytes or 0) > limit_bytes:
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

    @property
    def kept(self) -> Kept | None:
        """See AsgiCall."""
        return self._call.kept

    @property
    def declared_bytes(self) -> int | None:
        """See AsgiCall."""
        return self._call.declared_bytes

    def hold(self, kept: Kept) -> None:
        """See AsgiCall."""
        self._call.hold(kept)

    def why_cut(self) -> GatewayError | None:
        """See AsgiCall."""
        return self._call.why_cut()

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """See AsgiCall."""
        self._call.show_limits(states)

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        """See AsgiCall."""
        self._call.show_tries(attempts, times)

    def open_stream(self, endpoint: Endpoint, progress: Progress, session_id: UUID | None) -> SseClient:
        """The client's end of a streamed answer."""
        return self._call.open_stream(endpoint, progress, session_id)

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The whole body; see AsgiCall."""
        body = await self._call.receive_body(limit_bytes)
        self.body_received.set()
        # A client may have left, or reset its stream, before we came to its body: the task that watches finds that in
        # two passes of the event loop, and in the third we are cancelled. Nothing is begun for such a client.
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        return body


class SseClient:
    """A client that reads a stream of server-sent events; see domain.call.StreamClient."""

    def __init__(self, call: AsgiCall, endpoint: Endpoint, progress: Progress, session_id: UUID | None = None) -> None:
        self._call = call
        self._endpoint = endpoint
        self._progress = progress
        self._session_id = session_id
        # Whose tokens they are: None before the first.
        self._provider: str | None = None
        self._model = ""
        self._renderer = StreamRenderer(int(call.head.at), shows_reasoning=endpoint.stream_reasoning)

    def name_source(self, provider: str, model: str) -> None:
        """Say whose tokens follow."""
        self._provider, self._model = provider, model

    async def send_events(self, events: Sequence[Event]) -> bool:
        """Pass events on, those that came together in one write."""
        rendered = self._renderer.render_all(events)
        if rendered:
            await self._send(rendered)
            return True
        return False

    async def send_keep_alive(self) -> None:
        """Send a comment."""
        await self._send(KEEP_ALIVE)

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        """End a whole answer."""
        progress, joins = self._progress, self._renderer.joins
        times = progress.times_so_far()
        meta: dict[str, object] = {
            "request_id": str(self._call.head.request_id),
            "provider": self._provider,
            "model": self._model,
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
        if not self._renderer.is_open:
            # No candidate has said a word: the chunk with the finish reason is the gateway's own.
            model = self._endpoint.candidates[0].model
            self._renderer.render(Opened(f"chatcmpl-{self._call.head.request_id.hex}", model))
        await self._send(self._renderer.fail(error), more=False)

    async def _send(self, data: bytes, *, more: bool = True) -> None:
        if not self._call.has_started:
            self._call.has_started = True
            # For the next tokens, which one read of the provider's connection bounds.
            self._call.extension["waits"] = True
            headers = [*STREAM_HEADERS, (b"x-request-id", str(self._call.head.request_id).encode("ascii"))]
            if self._provider is not None:
                headers += [
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
    content_coding: str | None
    timeout_ms: Sequence[str]
    read_timeout: Sequence[str]
    client_request_id: str | None
    client_address: str | None

    @classmethod
    def read(cls, headers: Headers, project: str, slug: str | None, origin: Origin) -> Self:
        """From a request's headers, the route that its path is, and the connection that it came on."""
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = _join_repeated(headers)
        content_type, content_coding = fields.get(b"content-type"), fields.get(b"content-encoding")
        client_request_id = fields.get(b"x-request-id")
        return cls(
            project=project,
            slug=slug,
            authorization=_values(fields.get(b"authorization")),
            content_type=None if content_type is None else content_type.decode("latin-1"),
            content_coding=None if content_coding is None else content_coding.decode("latin-1"),
            timeout_ms=_values(fields.get(b"x-pg-timeout-ms")),
            read_timeout=_values(fields.get(b"x-stainless-read-timeout")),
            client_request_id=None if client_request_id is None else _read_client_id(client_request_id),
            client_address=origin.find_client(fields),
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
            content_coding=self.content_coding,
            client_request_id=self.client_request_id,
            client_address=self.client_address,
        )


@value(slots=True)
class Origin:
    """The connection that a request came on: its peer's address, None without one, and the proxies to be believed."""

    peer: str | None = None
    trusted: Networks = ()

    def find_client(self, fields: Mapping[bytes, bytes]) -> str | None:
        """The address of the client, by these headers where the peer is a listed proxy."""
        if self.peer is None or not self.peer:
            return None
        peer = plain_address(self.peer)
        if not self.trusted:
            return peer
        x_forwarded_for, forwarded = fields.get(b"x-forwarded-for"), fields.get(b"forwarded")
        return find_client(peer, self.trusted, _values(x_forwarded_for), _values(forwarded))


# 128 visible ASCII characters: what is kept of a client's own id; four UUIDs, or a trace and a span.
_CLIENT_ID = re.compile(rb"[!-~]{1,128}")


def _read_client_id(text: bytes) -> str | None:
    """A client's `X-Request-Id` as the log keeps it; None for what is none, or came twice with two values."""
    return mask_credentials(text.decode("ascii")) if _CLIENT_ID.fullmatch(text) else None


# No field value holds one (RFC 9110 section 5.5), and no server passes one on.
_REPEATED = b"\0"
_LISTS = frozenset({b"content-type", b"content-encoding"})


def _join_repeated(headers: Headers) -> dict[bytes, bytes]:
    """Headers by name where some come more than once: values that we must see apart are told apart by _values."""
    fields: dict[bytes, bytes] = {}
    for name, text in headers:
        if name not in fields:
            fields[name] = text
        elif name in _LISTS:
            # Joined as in RFC 9110; two content types then become an unknown media type.
            fields[name] += b", " + text
        else:
            fields[name] += _REPEATED + text
    return fields


def _values(joined: bytes | None) -> Sequence[str]:
    return () if joined is None else joined.decode("latin-1").split("\0")
