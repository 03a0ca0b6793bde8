"""Opens httpx's connections with the Connector, which checks addresses before it connects.

httpcore accepts a network backend, but httpx does not pass one on. So this code puts it into httpx's pools (httpx
0.28).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpcore
import httpx
import trio

# Not exported: the stream that httpcore's own backend for Trio makes (httpcore 1.0).
from httpcore._backends.trio import TrioStream

from pg_trio.transport.connect import Connector
from pg_trio.transport.wire import Origin


class ConnectorBackend(httpcore.AsyncNetworkBackend):
    """Opens connections with a Connector. Its errors pass through httpcore and httpx unchanged."""

    def __init__(self, connector: Connector, *, allow_private: bool) -> None:
        self._connector = connector
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the host. The Connector limits the time of connecting; the other limits are not set here.

        Raises: UpstreamUnreachable, OutOfResources.
        """
        # The scheme matters for TLS only, which httpcore does.
        sock = await self._connector.open_socket(Origin("http", host, port, self._allow_private))
        return TrioStream(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await trio.sleep(seconds)


def use_connector(client: httpx.AsyncClient, connector: Connector, *, allow_private: bool) -> None:
    """Let the connector open all connections of a client. A proxy's address may be private, because the operator chose
    it."""
    _put(client._transport, ConnectorBackend(connector, allow_private=allow_private))
    for proxied in client._mounts.values():
        if proxied is not None:
            _put(proxied, ConnectorBackend(connector, allow_private=True))


def _put(transport: httpx.AsyncBaseTransport, backend: ConnectorBackend) -> None:
    assert isinstance(transport, httpx.AsyncHTTPTransport)
    transport._pool._network_backend = backend
