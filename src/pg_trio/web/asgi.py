"""The surfaces' routes, handled at the ASGI level: no framework between the server and the pipeline.

A request that one of the surfaces (surfaces/) matches is answered here; everything else goes to the wrapped application
(Quart). Paths are matched as they were sent: an encoded slash, a dot segment or a double slash is no route, rather
than one that a proxy in front of us might have understood differently.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, Protocol, TypeAlias
from uuid import uuid4
from weakref import WeakKeyDictionary

import trio
from attrs import evolve

from pg_trio.attachment import (
    Attachment,
    DirectAttachment,
    OutputCut,
    OwnedAttachment,
    WorkPort,
    while_connected,
)
from pg_trio.domain.call import Call, EmbeddingAnswer, RequestHead, WholeAnswer
from pg_trio.domain.request_id import new_request_id
from pg_trio.domain.server_link import EXTENSION, PART_NOW, REST_OF_PART, WHOLE_ANSWER, ClientSlot, ServerLink
from pg_trio.errors import (
    BadRequest,
    ClientLeft,
    GatewayError,
    InternalError,
    RouteNotFound,
)
from pg_trio.surfaces import (
    FALLBACK,
    SURFACES,
    HttpAnswer,
    MatchedRoute,
    Surface,
    SurfaceTable,
    fallback_for,
    is_plain_path,
)
from pg_trio.web.asgi_call import AsgiCall
from pg_trio.web.asgi_types import AsgiApp, AsgiEvent, Receive, Scope, Send
from pg_trio.web.client_address import read_networks
from pg_trio.web.cors import CorsApp, CorsTable
from pg_trio.web.front_door import FrontDoor
from pg_trio.web.head_template import HeadTemplate, Peer
from pg_trio.web.idempotent_call import IdempotentCall
from pg_trio.web.kept_stream import StreamKeeping
from pg_trio.web.stream_routes import StreamRoutes
from pg_trio.web.websocket import SocketRoute, covers_socket

logger = logging.getLogger("pg_trio.web")

# How a request's client is attached to its work. What the work sends goes to the client's `send`.
Attach: TypeAlias = Callable[[RequestHead, Send], Attachment[AsgiEvent]]

# `GET /api/{uuid}/v1/models/{id}`, as long as a model's id may be when each of its bytes is encoded.
_MODEL_PATH = re.compile(rb"/api/[0-9A-Za-z-]{1,64}/v1/models/[!-$&-.0-~%]{1,768}")
_NO_HEAD = object()
NOT_RUNNING = "the application was called before its lifespan started"


class Gateway(Protocol):
    """What answers a call: the pipeline."""

    def answer(self, call: Call, lasting: Any = None) -> Awaitable[WholeAnswer | EmbeddingAnswer | None]:
        """None where the answer was streamed already. `lasting`: what `make_lasting_scope` gave the call's client."""

    def make_lasting_scope(self) -> AbstractContextManager[object]:
        """What the calls of one client's connection use in turn, in one task."""


class Client:
    """What is known of a client while its connection lasts: above all, what its last call asked for.

    `alike` is the server's object for requests whose heads are like that call's; where it has none, an object that no
    request has. `template` is what those heads say.
    """

    __slots__ = ("alike", "lasting", "template")

    def __init__(self, lasting: object) -> None:
        self.lasting = lasting

    def note_head(self, alike: object, template: HeadTemplate) -> None:
        """This is what it asks for."""
        self.alike = _NO_HEAD if alike is None else alike
        self.template = template


class GatewayRoutes:
    """An ASGI application: the surfaces' routes, and `inner` for the rest. `gateway` is set while the application runs.

    `lifespan` serves the server's lifespan scope; without it, `inner` does.

    `trusted_proxies` are networks whose word on a client's address is taken. `attach` chooses how a client is attached
    to the work of its request; without it, every request ends with its client (pg_trio.attachment).
    """

    def __init__(
        self,
        inner: AsgiApp,
        trusted_proxies: Iterable[str | None] = (),
        surfaces: Iterable[Surface] = SURFACES,
        attach: Attach | None = None,
        cors: CorsTable | None = None,
        streams: StreamRoutes | None = None,
    ) -> None:
        self.streams = streams
        self.lifespan: AsgiApp | None = None
        self._attach = attach
        self._cors = cors
        self.inner = inner
        self._surfaces = SurfaceTable(surfaces)
        self.front = FrontDoor(self._surfaces, cors)
        self._trusted = read_networks(trusted_proxies)
        self._sockets = SocketRoute(self._trusted, cors, lambda: self.is_ready)
        self.gateway: Gateway | None = None
        self._leaving = False
        # By what connections with the same heads share (`ServerLink.alike`), with the client's address.
        self._templates: WeakKeyDictionary[object, tuple[str, HeadTemplate]] = WeakKeyDictionary()

    @property
    def is_ready(self) -> bool:
        """Whether a load balancer should send requests here: the application runs, and is not about to stop."""
        return self.gateway is not None and not self._leaving

    def note_leaving(self) -> None:
        """The server is about to stop."""
        self._leaving = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        try:
            link: ServerLink = scope["extensions"][EXTENSION]
        except (KeyError, TypeError):
            link = ServerLink(trio.current_time())
        slot, alike = link.client, link.alike
        client: Client | None = None if slot is None else slot.value
        if client is not None and client.alike is alike:
            template = client.template
        else:
            client, found = None, self._find_template(scope, link)
            if found is None:
                await self._find_other(scope)(scope, receive, send)
                return
            template = found
        head = template.make_head(link.head_at)
        # The server answers under the same id where it must answer in our place.
        link.request_id = head.request_id
        call = AsgiCall(head, template.surface, scope["headers"], receive, send, link)
        # A stream would keep it to its end.
        del scope
        if template.is_rare:
            call = self._prepare_rare(call, template)
            if call.is_owned:
                await self._serve_attached(call)
                return
        if client is None:
            if slot is None or self._attach is not None:
                await self._serve_attached(call)
                return
            client = self._meet(slot, alike, template)
        # Our own server cancels us when the client leaves, and takes an answer whole: a DirectAttachment and `_answer`,
        # inlined.
        assert self.gateway is not None, NOT_RUNNING
        try:
            whole = await self.gateway.answer(call, client.lasting)
            answer = None if whole is None else call.surface.render_answer(whole, call.limits)
        except Exception as error:  # noqa: BLE001 - judged there
            answer = _answer_failure(call, error)
        finally:
            if call.kept is not None:
                call.kept.give_back()
        if answer is not None:
            fields = answer.fields + call.cors
            await send({"type": WHOLE_ANSWER, "status": answer.status, "fields": fields, "body": answer.body})

    def _find_other(self, scope: Scope) -> AsgiApp:
        """What serves a scope that no surface matches."""
        if scope["type"] == "lifespan":
            return self.lifespan or self.inner
        if scope["type"] == "websocket":
            gateway: Any = self.gateway
            is_ours = gateway is not None and covers_socket(read_path(scope))
            return partial(self._sockets.serve, gateway) if is_ours else refuse_websocket
        app = self.inner if has_plain_path(scope) else refuse_path
        if app is self.inner and self.streams is not None and scope["type"] == "http":
            app = self.streams.find(read_path(scope)) or app
        project = self._cors.find(read_path(scope)) if self._cors and scope["type"] == "http" else None
        return app if project is None or self._cors is None else CorsApp(app, self._cors, project)

    def _find_template(self, scope: Scope, link: ServerLink) -> HeadTemplate | None:
        """What a head says that this connection has not sent before; another one may have."""
        alike = link.alike
        if alike is None:
            return self._read_template(scope)
        # What the template says of the client is its address.
        address, found = scope.get("client"), self._templates.get(alike)
        if found is not None and address is not None and found[0] == address[0]:
            return found[1]
        template = self._read_template(scope)
        if template is not None and address is not None:
            self._templates[alike] = (address[0], template)
        return template

    def _read_template(self, scope: Scope) -> HeadTemplate | None:
        """What the request's head says; None if no surface matches it."""
        if scope["type"] != "http" or (found := self._surfaces.find(scope["method"], read_path(scope))) is None:
            return None
        peer = scope.get("client")
        template = HeadTemplate.read(
            scope["headers"], *found, Peer(None if peer is None else peer[0], self._trusted), self._cors
        )
        is_keyed = template.idempotency_key is not None and not template.surface.only_counts
        if is_keyed or (self.streams is not None and self.streams.outlives(found[1])):
            return evolve(template, outlives=True)
        return template

    def _prepare_rare(self, call: AsgiCall, template: HeadTemplate) -> AsgiCall:
        """The call, with its further header lines. Its work may outlive its client: for a resumable stream, or with an
        `Idempotency-Key`."""
        call.cors = template.cors
        running = None if self.streams is None else self.streams.gateway
        if running is None or not template.outlives:
            return call
        if (key := template.idempotency_key) is not None and not call.surface.only_counts:
            call = IdempotentCall.of(call, key, running)
        call.keeper = self._find_keeper(template, call.link.body)
        if call.keeper is not None:
            call.is_owned = True
        return call

    def _find_keeper(self, template: HeadTemplate, body: bytes | None) -> StreamKeeping | None:
        """What keeps one call's stream; None if nothing can, or if the call does not ask for a resumable one."""
        streams = self.streams
        if streams is None or streams.gateway is None or streams.gateway.answers is None:
            return None
        if template.idempotency_key is not None and not streams.outlives(MatchedRoute(template.project, template.slug)):
            return None
        if body is not None and not streams.may_stream(template.project, template.slug, body):
            return None
        return StreamKeeping(streams.gateway.answers)

    def _make_attachment(self, call: AsgiCall) -> Attachment[AsgiEvent]:
        running = None if self.streams is None else self.streams.gateway
        if self._attach is not None:
            return self._attach(call.head, call.send)
        if not call.is_owned or running is None:
            return DirectAttachment(call.send)
        send = call.send
        # Only our own server can send without waiting.
        now = None if call.link.client is None else partial(send_now, send)
        return OwnedAttachment(running.works, call.head.request_id, send, now)

    def _meet(self, slot: ClientSlot, alike: object, template: HeadTemplate) -> Client:
        """The connection's client; from here on this is what it asked for last."""
        client: Client | None = slot.value
        if client is None:
            assert self.gateway is not None, NOT_RUNNING
            client = slot.value = Client(slot.keep(self.gateway.make_lasting_scope()))
        client.note_head(alike, template)
        return client

    async def _answer(self, call: AsgiCall) -> HttpAnswer | None:
        """The answer to send, or None if the client left. Only cancellation leaves as an exception."""
        assert self.gateway is not None, NOT_RUNNING
        try:
            whole = await self.gateway.answer(call, None)
            return None if whole is None else call.surface.render_answer(whole, call.limits)
        except Exception as error:  # noqa: BLE001 - judged there
            return _answer_failure(call, error)
        finally:
            if call.kept is not None:
                call.kept.give_back()

    async def _serve_attached(self, call: AsgiCall) -> None:
        """Serve a call by the attachment that is chosen for it.

        A server need not cancel us when the client leaves: we watch for that once the body is in.
        """
        attachment = self._make_attachment(call)
        if call.is_owned and call.link.client is not None:
            # Our own server cancels this task.
            with suppress(OutputCut):
                await attachment.serve(partial(self._work, call))
            return
        body_received = call.body_received = trio.Event()

        async def wait_left() -> None:
            await body_received.wait()
            while (await call.receive())["type"] != "http.disconnect":
                pass
            if call.has_ended:
                # It has its answer.
                await trio.sleep_forever()

        with suppress(OutputCut):
            await while_connected(wait_left, partial(attachment.serve, partial(self._work, call)))

    async def _work(self, call: AsgiCall, port: WorkPort[AsgiEvent]) -> None:
        """The work of a call, whose answer goes where its client is attached."""
        call.begin_work(port)
        try:
            answer = await self._answer(call)
            if answer is not None:
                answer = await call.settle(answer)
        finally:
            call.close()
        if answer is not None:
            answer = answer.with_fields(call.cors)
            await port.send({"type": "http.response.start", "status": answer.status, "headers": answer.headers()})
            await port.send({"type": "http.response.body", "body": answer.body})


def _answer_failure(call: AsgiCall, error: Exception) -> HttpAnswer | None:
    """The answer to a call that has failed; None if its client left. Raises the error if no answer may follow."""
    if isinstance(error, ClientLeft):
        return None
    if call.has_started:
        # Half a stream is out: the server closes the connection, and the client sees that it was cut. For an error of
        # ours that is a bug: what fails after the first byte is an event of the stream.
        raise error
    request_id = call.head.request_id
    if isinstance(error, GatewayError):
        return call.surface.render_error(error, request_id, call.limits, call.tries)
    # Its record has ended, so the line does not get the id by itself.
    logger.error("request %s: unexpected error", request_id, exc_info=error, extra={"request_id": str(request_id)})
    return call.surface.render_error(InternalError(), request_id, call.limits)


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a WebSocket's handshake in HTTP: no route of ours is one. Raises nothing but cancellation.

    What a client sends right behind its handshake can make the server answer in our place, and raise when we do.
    """
    answer = FALLBACK.render_error(BadRequest("Bad Request."), new_request_id())
    kind = "websocket.http.response."
    with suppress(Exception):
        await receive()
        await send({"type": kind + "start", "status": answer.status, "headers": answer.headers()})
        await send({"type": kind + "body", "body": answer.body})


async def send_now(send: Send, event: AsgiEvent) -> AsgiEvent | None:
    """Send an event of a stream by our own server, which does not wait. What is left to be sent."""
    if not event.get("more_body"):
        # The head, and the end: the client's own task sends them.
        return event
    message: AsgiEvent = {"type": PART_NOW, "body": event["body"]}
    try:
        await send(message)
    except OSError:
        return event
    rest = message["rest"]
    return {"type": REST_OF_PART, "body": rest} if rest else None


def read_path(scope: Scope) -> bytes:
    """The path as it was sent, where the server says so; else as it was decoded. Without a query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    return raw.partition(b"?")[0]


def has_plain_path(scope: Scope) -> bool:
    """Whether the path that is sent is the one that is meant: no byte is encoded and no segment empty.

    A model's id may hold encoded bytes (`meta-llama%2FLlama-3`): SDKs encode it as one segment, the last one.

    Frameworks decode a path before they look for its route, so that `/%61pi/…` and `/api/…` would be one.
    """
    if scope["type"] != "http":
        return True
    path = read_path(scope)
    return is_plain_path(path) or _MODEL_PATH.fullmatch(path) is not None


async def refuse_path(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that has no route."""
    answer = fallback_for(read_path(scope)).render_error(RouteNotFound(), uuid4())
    headers = [*answer.headers(), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
