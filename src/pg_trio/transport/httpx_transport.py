"""The transport over httpx: for proxies, HTTP/2, client certificates and private certificate authorities.

Rules:
1. The pool never queues: a bounded httpx pool under cancellation ends in PoolTimeout for ever (encode/httpcore
   #1093). It has no limits. A separate limiter, which is sound under cancellation, bounds the running calls.
2. The Connector opens the connections, so that names and addresses are checked before a socket connects, by the rules
   of the direct transport. A proxy's address is not checked, because the operator chose it.
3. Errors are translated here, once.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import httpx
import trio

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.project import HttpxOptions
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import UpstreamBroken, UpstreamNonsense, UpstreamUnreachable
from pg_trio.transport.addresses import is_literal, is_public
from pg_trio.transport.connect import Connector, Resolve
from pg_trio.transport.content_coding import BodyDecoder, decoder_for
from pg_trio.transport.httpx_backend import use_connector
from pg_trio.transport.tls import client_context
from pg_trio.transport.wire import find_reachable_route, list_headers

# 1,000 running calls: as many as a worker accepts requests (`gateway.max_concurrent_requests`).
SLOTS = 1_000

# 1 s to close a connection that is not reused: closing sends at most a TLS alert, and the peer need not answer.
CLOSE_LIMIT_S = 1.0


class HttpxTransport:
    """Carries requests over one `httpx.AsyncClient`; at most `slots` at once, the next wait their turn in order.

    Unlike `DirectTransport`, it does not retry a dead idle connection, because httpx does not tell whether a byte of
    the answer had come.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        slots: int = SLOTS,
        tls_context: ssl.SSLContext | None = None,
        options: HttpxOptions | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """Raises ValueError if a certificate or key of the options cannot be used."""
        self._settings = settings
        self._slots = trio.CapacityLimiter(slots)
        options = options or HttpxOptions()
        tls_context = tls_context or client_context(options)
        # Two pools, so that a call that must not reach a private address never gets a connection to one.
        self._public = _open_client(settings, tls_context, options)
        self._private = _open_client(settings, tls_context, options)
        connector = Connector(settings, tls_context, resolve)
        use_connector(self._public, connector, allow_private=False)
        use_connector(self._private, connector, allow_private=True)

    async def open_response(self, request: WireRequest) -> HttpxResponse:
        """Send the request and wait for the answer's head; see `domain.upstream.Transport`."""
        route = find_reachable_route(request.url, request.allow_private_addresses)
        if not request.allow_private_addresses:
            _refuse_private_literal(route.origin.host)
        holder = object()  # the slot's owner: the response, which may be closed by another task
        await self._slots.acquire_on_behalf_of(holder)
        try:
            with _translated():
                response = await self._send(request, route.url)
            limit = self._settings.max_stream_bytes if request.is_stream else self._settings.max_body_bytes
            return HttpxResponse(response, self._slots, holder, limit)
        except BaseException:
            self._slots.release_on_behalf_of(holder)
            raise

    async def aclose(self) -> None:
        """Close every connection; see `domain.upstream.Transport`."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_LIMIT_S):
            await self._public.aclose()
            await self._private.aclose()

    def describe(self) -> str:
        """The number of running calls, in one line; httpx gives no more details."""
        return f"httpx busy {self._slots.borrowed_tokens} waiting {self._slots.statistics().tasks_waiting}"

    async def _send(self, request: WireRequest, url: str) -> httpx.Response:
        client = self._private if request.allow_private_addresses else self._public
        connecting = _Connecting()
        wired = client.build_request(
            request.method,
            url,
            headers=list_headers(request),
            content=request.body,
            extensions={"trace": connecting},
        )
        # client.send() iterates over this stream. httpx's own stream is a generator (see _OneWrite).
        wired.stream = _OneWrite(request.body)
        try:
            return await client.send(wired, stream=True)
        except BaseException:
            await connecting.abandon()
            raise


class HttpxResponse:
    """An answer whose head has arrived; holds one slot until `aclose()`."""

    def __init__(self, response: httpx.Response, slots: trio.CapacityLimiter, holder: object, limit_bytes: int) -> None:
        self._response = response
        self._slots = slots
        self._holder: object | None = holder
        self._room_bytes = limit_bytes
        self._pieces: AsyncGenerator[bytes] = response.aiter_raw()  # type: ignore[assignment]
        self._ended = False
        self._decoder = decoder_for(response.headers.get("content-encoding"), limit_bytes)

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        # Of a repeated name the last one, as the Transport protocol says; httpx would join them with commas.
        return {name.lower(): value for name, value in self._response.headers.multi_items()}

    def forget_headers(self) -> None:
        """See `domain.upstream.UpstreamResponse`: httpx needs them itself."""

    def receive_nowait(self) -> None:
        """See `domain.upstream.UpstreamResponse`: what httpx holds cannot be known."""

    async def receive_some(self) -> bytes:
        """The next bytes of the body; see `domain.upstream.UpstreamResponse`."""
        if self._decoder is not None:
            return await self._receive_decoded(self._decoder)
        return await self._receive_raw()

    async def _receive_decoded(self, decoder: BodyDecoder) -> bytes:
        while True:
            while decoder.has_work:
                # A small body may decode to a large one, so other tasks run after each step.
                await trio.lowlevel.checkpoint()
                if piece := decoder.take():
                    return piece
            if not (piece := await self._receive_raw()):
                decoder.finish()
                return b""
            decoder.feed(piece)

    async def _receive_raw(self) -> bytes:
        if self._ended:
            return b""
        with _translated():
            piece = await anext(self._pieces, b"")
        self._ended = not piece
        self._room_bytes -= len(piece)
        if self._room_bytes < 0:
            raise UpstreamNonsense("answer's body is over the size limit")
        return piece

    async def aclose(self) -> None:
        """Release the connection and the slot, under cancellation too."""
        if self._holder is None:
            return
        holder, self._holder = self._holder, None
        try:
            await self._abandon_body()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_LIMIT_S):
                await self._response.aclose()
        finally:
            self._slots.release_on_behalf_of(holder)

    async def _abandon_body(self) -> None:
        """Unwind the half-read body.

        httpx reads through five nested async generators; left suspended, each would be finished by the garbage
        collector with a ResourceWarning. A cancellation runs through all of them and closes the connection.
        """
        with trio.CancelScope() as scope, suppress(httpx.HTTPError, httpx.StreamError):
            scope.cancel()
            while await anext(self._pieces, b""):
                # Bytes that were already read need no wait, so they do not notice the cancellation. They are at most
                # one buffer.
                pass


class _OneWrite(httpx.AsyncByteStream):
    """A request body that is not a generator, so that a half-sent one does not end in the garbage collector with a
    warning."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> _OneWrite:
        return self

    async def __anext__(self) -> bytes:
        if not self._body:
            raise StopAsyncIteration
        body, self._body = self._body, b""
        return body


def _open_client(settings: UpstreamSettings, tls_context: ssl.SSLContext, options: HttpxOptions) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=tls_context,
        http2=options.http2 and find_spec("h2") is not None,
        proxy=options.proxy.reveal() if options.proxy is not None else None,
        follow_redirects=False,
        trust_env=True,
        headers={"accept-encoding": "identity"},
        timeout=httpx.Timeout(None, connect=settings.connect_timeout_ms / 1000),
        limits=httpx.Limits(
            max_connections=None,
            max_keepalive_connections=settings.pool_idle_connections,
            keepalive_expiry=settings.pool_idle_ms / 1000,
        ),
    )


class _Connecting:
    """httpx's `trace` hook: holds a call's socket until TLS, or else the request, takes over.

    When a TLS handshake is cancelled, httpcore 1.0.9 leaves the socket to the garbage collector.
    """

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event.endswith((".start_tls.complete", "send_request_headers.started")):
            self._stream = None

    async def abandon(self) -> None:
        """Close the socket if no other object has taken it over."""
        if self._stream is not None:
            # TCP without TLS: closing does not wait, and works under cancellation.
            with suppress(trio.Cancelled):
                await self._stream.aclose()


def _refuse_private_literal(host: str) -> None:
    # A proxy would connect to the address for us.
    if is_literal(host) and not is_public(host):
        raise _refusal(host)


def _refusal(host: str) -> UpstreamUnreachable:
    return UpstreamUnreachable(f"connection to {host} refused: its address is not public")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
        raise UpstreamUnreachable(_said("no connection", exc)) from exc
    except httpx.DecodingError as exc:
        raise UpstreamNonsense(_said("answer cannot be decoded", exc)) from exc
    except (httpx.TransportError, httpx.StreamError, trio.ClosedResourceError) as exc:
        raise UpstreamBroken(_said("connection ended before the answer was whole", exc)) from exc


def _said(what: str, exc: BaseException) -> str:
    # If Trio wrapped a TLS error, httpx's own text is empty, and the reason is in the cause.
    reason: BaseException | None = exc
    while reason is not None and not str(reason):
        reason = reason.__cause__ or reason.__context__
    return f"{what}: {reason}" if reason is not None else what
