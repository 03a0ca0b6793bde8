"""The gateway's own two routes, handled at the ASGI level: no framework between the server and the pipeline.

`POST /api/{uuid}/{slug}` and `POST /api/{uuid}/chat/completions` are ours; everything else goes to the wrapped
application (Quart). Paths are matched as they were sent: an encoded slash, a dot segment or a double slash is no
route, rather than one that a proxy in front of us might have understood differently.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import orjson
import trio
from attrs import define, field

from pg_trio.domain.call import Answer, Call, Progress, RequestHead
from pg_trio.domain.chat import FinishReason, Reply, Usage
from pg_trio.domain.events import Event
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import RESERVED_SLUGS
from pg_trio.domain.request_id import new_request_id
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.errors import (
    BadRequest,
    BodyTooLarge,
    ClientLeft,
    DeadlineExceeded,
    GatewayError,
    InternalError,
    Overloaded,
    ProviderCallFailed,
    RateLimited,
    ShuttingDown,
    error_body,
)
from pg_trio.web.limit_headers import render_limits
from pg_trio.web.sse import KEEP_ALIVE, STREAM_HEADERS, StreamRenderer, join_object, usage_object

logger = logging.getLogger("pg_trio")

Scope: TypeAlias = MutableMapping[str, Any]
AsgiEvent: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiEvent]]
Send: TypeAlias = Callable[[AsgiEvent], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderList: TypeAlias = list[tuple[bytes, bytes]]

DISPATCHER = "chat/completions"


class Gateway(Protocol):
    """What answers a call: the pipeline."""

    async def answer(self, call: Call) -> Answer | None:
        """None where the answer was streamed already."""


@value(slots=True)
class HttpAnswer:
    """An answer ready to send. `fields` are its header lines but for the length, names in lower case, each with its
    line end: every answer has them, and one formatting operation makes them all."""

    status: int
    fields: bytes
    body: bytes

    def headers(self) -> HeaderList:
        """The same as ASGI has them, with the length."""
        return [(b"content-length", b"%d" % len(self.body)), *split_fields(self.fields)]


@value(slots=True)
class Tries:
    """What was tried for a call that failed (at least one), and what each stage took."""

    attempts: Sequence[AttemptRow]
    times: StageTimes


@define(slots=True)
class AsgiCall:
    """A call whose body comes over ASGI."""

    head: RequestHead
    content_length: bytes | None
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
        declared = self.content_length
        # Nine digits are a gigabyte: more is over any limit, and not worth turning into a number.
        if declared is not None and (len(declared) > 9 or not declared.isdigit() or int(declared) > limit_bytes):
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


class GatewayRoutes:
    """An ASGI application: our own routes, and `inner` for the rest. `gateway` is set while the application runs."""

    def __init__(self, inner: AsgiApp) -> None:
        self._inner = inner
        self.gateway: Gateway | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        route = match_route(scope) if scope["type"] == "http" else None
        if route is None:
            await self._inner(scope, receive, send)
            return
        call = read_call(scope, receive, send, *route)
        extension = scope.get("extensions", {}).get("pg_trio")
        if extension is not None and extension["cancels_on_disconnect"]:
            answer = await self._answer(call)
            if answer is not None:
                await extension["send_whole"](answer.status, answer.fields, answer.body)
            return
        answer = await self._answer_while_connected(call)
        if answer is not None:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers()})
            await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, call: AsgiCall) -> HttpAnswer | None:
        """The answer to send, or None if the client left. Only cancellation leaves as an exception."""
        request_id = call.head.request_id
        try:
            assert self.gateway is not None, "the application was called before its lifespan started"
            answer = await self.gateway.answer(call)
            return None if answer is None else render_answer(answer, call.limits)
        except GatewayError as error:
            return render_error(error, request_id, call.limits, call.tries)
        except ClientLeft:
            return None
        except Exception:
            if call.has_started:
                # Half a stream is out: the server closes the connection, and the client sees that it was cut.
                raise
            logger.exception("request %s: unexpected error", request_id)
            return render_error(InternalError(), request_id, call.limits)

    async def _answer_while_connected(self, call: AsgiCall) -> HttpAnswer | None:
        """The same for a server that does not cancel us when the client leaves: watch for it once the body is in."""
        answer: HttpAnswer | None = None
        watched = WatchedCall(call)

        async def watch() -> None:
            await watched.body_received.wait()
            while (await call.receive())["type"] != "http.disconnect":
                pass
            if not call.has_ended:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            answer = await self._answer(watched)  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()
        return answer


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
            "attempts": len(progress.attempts.rows),
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
                (b"x-pg-attempts", b"%d" % len(self._progress.attempts.rows)),
            ]
            if self._call.limits:
                headers += split_fields(render_limits(self._call.limits))
            await self._call.send({"type": "http.response.start", "status": 200, "headers": headers})
        self._call.has_ended = not more
        await self._call.send({"type": "http.response.body", "body": data, "more_body": more})


def match_route(scope: Scope) -> tuple[str, str | None] | None:
    """(project, slug) of a request to one of our own routes, slug None for the dispatcher; None for all others.

    Segments are as sent. What no slug can be (an encoded byte, an empty segment, a reserved word) is not ours.
    """
    if scope["method"] != "POST":
        return None
    return split_path((scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")).partition(b"?")[0])


def is_own_route(method: str, path: bytes) -> bool:
    """Whether a request of that method and raw path is one of `match_route`'s."""
    return method == "POST" and split_path(path) is not None


def split_path(path: bytes) -> tuple[str, str | None] | None:
    """(project, slug) of the path of one of our own routes; see match_route."""
    if not path.startswith(b"/api/") or not path.isascii():
        return None
    project, _, rest = path[5:].decode("ascii").partition("/")
    if not project or not rest:
        return None
    if rest == DISPATCHER:
        return project, None
    if "/" in rest or rest in RESERVED_SLUGS:
        return None
    return project, rest


def read_call(scope: Scope, receive: Receive, send: Send, project: str, slug: str | None) -> AsgiCall:
    """The call of an ASGI scope; headers are noted, not yet judged."""
    headers = scope["headers"]
    fields = dict(headers)
    if len(fields) != len(headers):
        fields = _join_repeated(headers)
    extension = scope.get("extensions", {}).get("pg_trio", {})
    head_at = extension["head_at"] if extension else trio.current_time()
    content_type = fields.get(b"content-type")
    head = RequestHead(
        request_id=new_request_id(),
        project=project,
        slug=slug,
        authorization=_values(fields.get(b"authorization")),
        content_type=None if content_type is None else content_type.decode("latin-1"),
        timeout_ms=_values(fields.get(b"x-pg-timeout-ms")),
        head_at=head_at,
        # As good as when its head was read: nothing waits in between.
        at=time.time(),
        read_timeout=_values(fields.get(b"x-stainless-read-timeout")),
    )
    # The server answers under the same id where it must answer in our place.
    extension["request_id"] = head.request_id
    return AsgiCall(head, fields.get(b"content-length"), receive, send, extension)


# No field value holds one (RFC 9110 section 5.5), and no server passes one on.
_REPEATED = b"\0"


def _join_repeated(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name where some come more than once: values that we must see apart are told apart by _values."""
    fields: dict[bytes, bytes] = {}
    for name, text in headers:
        if name not in fields:
            fields[name] = text
        elif name == b"content-type":
            # As RFC 9110 says, and then it is no media type that anybody takes.
            fields[name] += b", " + text
        elif name == b"content-length":
            fields[name] = text
        else:
            fields[name] += _REPEATED + text
    return fields


def _values(joined: bytes | None) -> Sequence[str]:
    return () if joined is None else joined.decode("latin-1").split("\0")


def render_answer(answer: Answer, limits: Sequence[LimitState] = ()) -> HttpAnswer:
    """The contract's success body and headers."""
    reply = answer.reply
    body: dict[str, object] = {
        "ok": True,
        "id": reply.id,
        "model": reply.model,
        "content": reply.content,
    }
    if reply.tool_calls:
        body["tool_calls"] = render_tool_calls(reply)
    body["finish_reason"] = reply.finish_reason
    body["usage"] = usage_object(answer.usage)
    request_id = str(answer.request_id)
    meta = {"request_id": request_id}
    if answer.session_id is not None:
        meta["session_id"] = str(answer.session_id)
    body["meta"] = meta
    fields = _ANSWER_FIELDS % (
        request_id.encode("ascii"),
        answer.provider.encode("ascii"),
        header_text(reply.model),
        len(answer.attempts),
        answer.times.as_server_timing(),
    )
    if limits:
        fields += render_limits(limits)
    return HttpAnswer(200, fields, orjson.dumps(body))


_ANSWER_FIELDS = (
    b"content-type: application/json\r\n"
    b"x-request-id: %b\r\n"
    b"x-pg-provider: %b\r\n"
    b"x-pg-model: %b\r\n"
    b"x-pg-attempts: %d\r\n"
    b"server-timing: %b\r\n"
)


def render_tool_calls(reply: Reply) -> list[dict[str, object]]:
    """Tool calls in OpenAI's shape."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.tool_calls
    ]


def render_error(
    error: GatewayError, request_id: UUID, limits: Sequence[LimitState] = (), tries: Tries | None = None
) -> HttpAnswer:
    """The contract's failure body and headers; where candidates were tried, also which."""
    more = "".join([f"{name.lower()}: {value}\r\n" for name, value in error.headers().items()])
    fields = f"content-type: application/json\r\nx-request-id: {request_id}\r\n{more}".encode("ascii")
    if limits:
        fields += render_limits(limits, error.retry_after_s if isinstance(error, RateLimited) else None)
    if tries is None:
        return HttpAnswer(error.status, fields, error_body(error))
    last = tries.attempts[-1]
    fields += _TRIES_FIELDS % (
        last.provider.encode("ascii"),
        header_text(last.model),
        len(tries.attempts),
        tries.times.as_server_timing(),
    )
    says_which = isinstance(error, ProviderCallFailed | DeadlineExceeded | Overloaded)
    more_fields = {"attempts": describe_attempts(tries.attempts)} if says_which else {}
    return HttpAnswer(error.status, fields, error_body(error, more_fields))


def describe_attempts(attempts: Sequence[AttemptRow]) -> list[dict[str, object]]:
    """What a client may know of the tries: of failures only that they were; what the last one said is the error."""
    return [
        {
            "provider": row.provider,
            "model": row.model,
            "outcome": "failed" if row.outcome.startswith("failed") else row.outcome,
            "start_ms": row.started_ms,
            "end_ms": row.ended_ms,
        }
        for row in attempts
    ]


_TRIES_FIELDS = b"x-pg-provider: %b\r\nx-pg-model: %b\r\nx-pg-attempts: %d\r\nserver-timing: %b\r\n"


def split_fields(fields: bytes) -> HeaderList:
    """Header lines as ASGI has them."""
    return [(name, value) for name, _, value in [line.partition(b": ") for line in fields.split(b"\r\n")[:-1]]]


def header_text(text: str) -> bytes:
    """A provider's text as a header value: printable ASCII, at most 200 characters, `?` for the rest."""
    if text.isascii() and text.isprintable():
        return text[:200].encode("ascii")
    return bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in text[:200].encode("ascii", "replace"))
