"""The gateway's own two routes, handled at the ASGI level: no framework between the server and the pipeline.

`POST /api/{uuid}/{slug}` and `POST /api/{uuid}/chat/completions` are ours; everything else goes to the wrapped
application (Quart). Paths are matched as they were sent: an encoded slash, a dot segment or a double slash is no
route, rather than one that a proxy in front of us might have understood differently.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, MutableMapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol
from uuid import uuid4

import trio

from pg_trio.domain.call import Answer, Call
from pg_trio.domain.project import RESERVED_SLUGS
from pg_trio.domain.request_id import new_request_id
from pg_trio.errors import (
    BadRequest,
    ClientLeft,
    GatewayError,
    InternalError,
    RouteNotFound,
)
from pg_trio.web.answers import HttpAnswer, render_answer, render_error
from pg_trio.web.asgi_call import AsgiCall, Asked, Origin, WatchedCall
from pg_trio.web.asgi_types import AsgiApp, Kept, Receive, Scope, Send
from pg_trio.web.client_address import Networks, read_networks

logger = logging.getLogger("pg_trio")


DISPATCHER = "chat/completions"


class Gateway(Protocol):
    """What answers a call: the pipeline."""

    def answer(self, call: Call, lasting: Any = None) -> Awaitable[Answer | None]:
        """None where the answer was streamed already. `lasting`: what `make_lasting_scope` gave the call's client."""

    def make_lasting_scope(self) -> AbstractContextManager[object]:
        """What the calls of one client's connection use in turn, in one task."""


class Client:
    """What is known of a client for as long as its connection lasts: what its last call asked for, above all.

    `alike` is the server's object for requests whose heads are like that call's, None where it has none.
    """

    __slots__ = ("alike", "asked", "lasting")

    def __init__(self, lasting: object) -> None:
        self.lasting = lasting
        self.alike: object = None
        self.asked: Asked | None = None


class GatewayRoutes:
    """An ASGI application: our own routes, and `inner` for the rest. `gateway` is set while the application runs.

    `trusted_proxies` are networks whose word on a client's address is taken.
    """

    def __init__(self, inner: AsgiApp, trusted_proxies: Iterable[str | None] = ()) -> None:
        self._inner = inner
        self._trusted = read_networks(trusted_proxies)
        self.gateway: Gateway | None = None
        self._leaving = False

    @property
    def is_ready(self) -> bool:
        """Whether a load balancer should send requests here: the application runs, and is not about to stop."""
        return self.gateway is not None and not self._leaving

    def note_leaving(self) -> None:
        """The server is about to stop."""
        self._leaving = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        extension: MutableMapping[str, Any] = scope.get("extensions", {}).get("pg_trio", {})
        kept: Kept | None = extension.get("kept")
        asked = None if kept is None else recall_asked(kept.value, extension["alike"])
        if asked is None and (asked := read_asked(scope, self._trusted)) is None:
            await self._find_other(scope)(scope, receive, send)
            return
        head = asked.make_head(extension.get("head_at") or trio.current_time())
        # The server answers under the same id where it must answer in our place.
        extension["request_id"] = head.request_id
        call = AsgiCall(head, scope["headers"], receive, send, extension)
        if kept is not None:
            # Our own server cancels us when the client leaves, and takes an answer whole.
            client = self._meet(kept, extension["alike"], asked)
            answer = await self._answer(call, client.lasting)
            if answer is not None:
                status, fields, body = answer.status, answer.fields, answer.body
                await send({"type": "pg_trio.answer", "status": status, "fields": fields, "body": body})
            return
        answer = await self._answer_while_connected(call)
        if answer is not None:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers()})
            await send({"type": "http.response.body", "body": answer.body})

    def _find_other(self, scope: Scope) -> AsgiApp:
        """What serves a scope that is for none of our own routes."""
        if scope["type"] == "websocket":
            return refuse_websocket
        return self._inner if is_plain_path(scope) else refuse_path

    def _meet(self, kept: Kept, alike: object, asked: Asked) -> Client:
        """The client whose connection it is, who asked for this last."""
        client: Client | None = kept.value
        if client is None:
            client = kept.value = Client(kept.stack.enter_context(self._running().make_lasting_scope()))
        client.alike, client.asked = alike, asked
        return client

    def _running(self) -> Gateway:
        assert self.gateway is not None, "the application was called before its lifespan started"
        return self.gateway

    async def _answer(self, call: AsgiCall, lasting: object = None) -> HttpAnswer | None:
        """The answer to send, or None if the client left. Only cancellation leaves as an exception."""
        request_id = call.head.request_id
        try:
            answer = await self._running().answer(call, lasting)
            return None if answer is None else render_answer(answer, call.limits)
        except GatewayError as error:
            if call.has_started:
                # A bug: what fails after the first byte is an event of the stream. No second answer may follow it.
                raise
            return render_error(error, request_id, call.limits, call.tries)
        except ClientLeft:
            return None
        except Exception:
            if call.has_started:
                # Half a stream is out: the server closes the connection, and the client sees that it was cut.
                raise
            logger.exception("request %s: unexpected error", request_id)
            return render_error(InternalError(), request_id, call.limits)
        finally:
            if call.kept is not None:
                call.kept.give_back()

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


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a WebSocket's handshake in HTTP: no route of ours is one. Raises nothing but cancellation.

    What a client sends right behind its handshake can make the server answer in our place, and raise when we do.
    """
    answer = render_error(BadRequest("Bad Request."), new_request_id())
    kind = "websocket.http.response."
    with suppress(Exception):
        await receive()
        await send({"type": kind + "start", "status": answer.status, "headers": answer.headers()})
        await send({"type": kind + "body", "body": answer.body})


def recall_asked(client: Client | None, alike: object) -> Asked | None:
    """What a request of the client asks for, if its head is like that of the client's last call."""
    return client.asked if client is not None and alike is not None and client.alike is alike else None


def read_asked(scope: Scope, trusted: Networks = ()) -> Asked | None:
    """What a request asks for; None if it is not for one of our own routes."""
    if scope["type"] != "http" or (route := match_route(scope)) is None:
        return None
    peer = scope.get("client")
    return Asked.read(scope["headers"], *route, Origin(None if peer is None else peer[0], trusted))


def match_route(scope: Scope) -> tuple[str, str | None] | None:
    """(project, slug) of a request to one of our own routes, slug None for the dispatcher; None for all others.

    Segments are as sent. What no slug can be (an encoded byte, an empty segment, a reserved word) is not ours.
    """
    return split_path(read_path(scope)) if scope["method"] == "POST" else None


def read_path(scope: Scope) -> bytes:
    """The path as it was sent, where the server says so; else as it was decoded. Without a query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    return raw.partition(b"?")[0]


def is_plain_path(scope: Scope) -> bool:
    """Whether what is sent is what is meant: no byte is encoded and no segment empty, as in all of our routes.

    Frameworks decode a path before they look for its route, so that `/%61pi/…` and `/api/…` would be one.
    """
    if scope["type"] != "http":
        return True
    path = read_path(scope)
    return b"%" not in path and b"//" not in path


async def refuse_path(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that has no route."""
    answer = render_error(RouteNotFound(), uuid4())
    headers = [*answer.headers(), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def is_own_route(method: str, path: bytes) -> bool:
    """Whether a request of that method and raw path is one of `match_route`'s."""
    return method == "POST" and split_path(path) is not None


def split_path(path: bytes) -> tuple[str, str | None] | None:
    """(project, slug) of the path of one of our own routes; see match_route."""
    if not path.startswith(b"/api/") or b"%" in path or not path.isascii():
        return None
    project, _, rest = path[5:].decode("ascii").partition("/")
    if not project or not rest:
        return None
    if rest == DISPATCHER:
        return project, None
    if "/" in rest or rest in RESERVED_SLUGS:
        return None
    return project, rest
