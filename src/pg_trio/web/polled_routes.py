"""What programs ask every few seconds: health and metrics. No framework need be loaded to answer.

The framework has the same routes, for what is left to it: other methods, a body, a proof of who asks, an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any, TypeAlias
from uuid import uuid4

import orjson

from pg_trio.errors import StoreError
from pg_trio.web.asgi_types import AsgiApp, Receive, Scope, Send

# A whole answer: status, fields and body. None leaves the request to the framework.
Answer: TypeAlias = tuple[int, Mapping[str, str], bytes]
AnswerRequest: TypeAlias = Callable[[Scope], Awaitable[Answer | None]]

_METHODS = ("GET", "HEAD")
# Of requests with a body, and of those that came through a proxy.
_BODY_FIELDS = (b"content-length", b"transfer-encoding")
_PROXY_FIELDS = (b"forwarded", b"x-forwarded-for")


class PolledRoutes:
    """An ASGI application with these routes, by their paths, and `rest` for all other requests."""

    def __init__(self, routes: Mapping[str, AnswerRequest], rest: AsgiApp) -> None:
        self._routes = routes
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http" or (route := self._routes.get(scope["path"])) is None:
            await self._rest(scope, receive, send)
            return
        is_plain = scope["method"] in _METHODS and not _has_field(scope, *_BODY_FIELDS)
        answer = await route(scope) if is_plain else None
        if answer is None:
            await self._rest(scope, receive, send)
            return
        status, fields, body = answer
        # What is told changes, so caches must not store it.
        more = {"Content-Length": str(len(body)), "X-Request-Id": str(uuid4()), "Cache-Control": "no-store"}
        headers = [(name.lower().encode(), text.encode()) for name, text in {**fields, **more}.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def answer_health(is_ok: Callable[[], bool]) -> AnswerRequest:
    """`{"ok": true}`, or false with 503."""

    async def answer(scope: Scope) -> Answer:
        ok = is_ok()
        return 200 if ok else 503, {"Content-Type": "application/json"}, orjson.dumps({"ok": ok}) + b"\n"

    return answer


def answer_metrics(
    find_gateway: Callable[[], Any], is_open: Callable[[Scope], bool], fields: Mapping[str, str]
) -> AnswerRequest:
    """The text of the metrics, with these fields, for requests that need no proof."""

    async def answer(scope: Scope) -> Answer | None:
        gateway = find_gateway()
        if gateway is None or gateway.metrics is None or not is_open(scope):
            return None
        accepted = b", ".join(value for name, value in scope["headers"] if name == b"accept")
        try:
            text, content_type = await gateway.metrics.render(accepted.decode("latin-1"))
        except StoreError:
            return None
        return 200, {"Content-Type": content_type, **fields}, text

    return answer


def comes_from_here(scope: Scope) -> bool:
    """Whether the request comes from a process of this machine, without a proxy, and without a key."""
    if _has_field(scope, b"authorization", *_PROXY_FIELDS):
        return False
    peer = scope.get("client")
    try:
        address = ip_address("" if peer is None else peer[0])
    except ValueError:
        return False
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)


def _has_field(scope: Scope, *names: bytes) -> bool:
    return any(name in names for name, _ in scope["headers"])
