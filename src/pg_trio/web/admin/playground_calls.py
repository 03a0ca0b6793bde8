"""Calls of the playground: an operator asks an endpoint through the same routes, limits and log as every client.

Rules:
1. The call is the browser's own: what the pipeline sends is streamed to it, and when it leaves, the pipeline cancels.
2. The operator is proved here as for a change: by the page's session with its CSRF token. The call then goes on with a
   token of this worker's own, which no file and no client knows.
3. A viewer does not ask: a call costs money.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pg_trio.domain.request_id import new_request_id
from pg_trio.errors import CsrfMissing, GatewayError, OperatorRefused, RoleInsufficient, RouteNotFound
from pg_trio.surfaces import FALLBACK
from pg_trio.web.admin.operator_access import Visitor, name_cookie
from pg_trio.web.asgi_types import AsgiApp, Receive, Scope, Send

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import Desk

PREFIX = "/playground/call/"
# What of a browser's request the gateway reads; everything else (its cookie above all) stays here.
_PASSED_ON = frozenset({b"content-type", b"content-length", b"accept"})


class PlaygroundCalls:
    """An ASGI application around the pages': it answers the playground's calls with the gateway's own `routes`."""

    def __init__(self, pages: AsgiApp, desk: Desk, routes: AsgiApp) -> None:
        self._pages = pages
        self._desk = desk
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            scope = self._strip_root(scope)
        path = self._own_path(scope)
        if path is None:
            await self._pages(scope, receive, send)
            return
        try:
            called = await self._forward(scope, path.removeprefix(PREFIX))
        except GatewayError as error:
            answer = FALLBACK.render_error(error, new_request_id())
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers()})
            await send({"type": "http.response.body", "body": answer.body})
            return
        await self._routes(called, receive, send)

    def _strip_root(self, scope: Scope) -> Scope:
        """The scope without the pages' prefix, which a proxy may send or not."""
        root = self._desk.settings.server.admin_root_path
        path: str = scope["path"]
        if not root or not path.startswith(f"{root}/"):
            return scope
        raw: bytes = scope.get("raw_path") or path.encode()
        return {**scope, "path": path.removeprefix(root), "raw_path": raw.removeprefix(root.encode())}

    def _own_path(self, scope: Scope) -> str | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path: str = scope["path"]
        return path if path.startswith(PREFIX) else None

    async def _forward(self, scope: Scope, rest: str) -> Scope:
        """The scope of the call that the gateway's routes get. Raises GatewayError."""
        visitor = await self._find_visitor(dict(scope["headers"]))
        if not visitor.operator.may_change:
            raise RoleInsufficient
        uuid, _, slug = rest.partition("/")
        token = self._desk.gateway.playground_token(uuid)
        if token is None or not slug or not rest.isascii():
            raise RouteNotFound
        path = f"/api/{rest}".encode("ascii")
        headers = [(name, value) for name, value in scope["headers"] if name in _PASSED_ON]
        headers.append((b"authorization", f"Bearer {token}".encode("ascii")))
        # Without the server's extensions: they are about the connection of the pages.
        return {
            **scope,
            "path": path.decode(),
            "raw_path": path,
            "query_string": b"",
            "headers": headers,
            "extensions": {},
        }

    async def _find_visitor(self, fields: dict[bytes, bytes]) -> Visitor:
        try:
            cookies = SimpleCookie(fields.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            raise OperatorRefused from None
        host = fields.get(b"host", b"").decode("latin-1")
        morsel = cookies.get(name_cookie(host))
        operator = None if morsel is None else await self._desk.book.find_by_session(morsel.value)
        if operator is None or morsel is None:
            raise OperatorRefused
        visitor = Visitor(operator, morsel.value)
        given, origin = fields.get(b"x-csrf-token", b""), fields.get(b"origin", b"").decode("latin-1")
        if not hmac.compare_digest(given, visitor.csrf_token().encode()) or (
            origin and urlsplit(origin).netloc != host
        ):
            raise CsrfMissing
        return visitor
