"""Opens connections: name to addresses, addresses to one socket, a socket to TLS.

Rules:
1. Every address is checked after the name was resolved, and the connection goes to the checked address. No second
   look-up could return another one (DNS rebinding).
2. Addresses are tried as in RFC 8305 ("happy eyeballs"): the next one starts when one fails, or a quarter of a second
   later; the first connection wins. Families alternate at the head of the list.
3. Every socket has an owner at every moment. An owner that is cancelled closes its socket.
4. A lack of file descriptors, buffers or memory is the gateway's own overload, not the provider's failure.
5. Names are looked up in threads (getaddrinfo blocks), with their own limiter, so that slow DNS takes no threads from
   other work.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import trio

from pg_trio.config.settings import UpstreamSettings
from pg_trio.errors import OutOfResources, UpstreamUnreachable
from pg_trio.transport.addresses import is_literal, is_public
from pg_trio.transport.tls import client_context
from pg_trio.transport.upstream_connection import Connection
from pg_trio.transport.wire import Origin

# 250 ms: RFC 8305's recommended delay between two attempts, and Trio's.
NEXT_ADDRESS_AFTER_S = 0.25

# 16 look-ups at once; a resolver that needs more is down, and `connect_timeout_ms` ends the wait.
DNS_THREADS = 16


# Errors of the process or the system, the same four as for accepting. They do not count against the provider.
OUR_LACK = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Address(NamedTuple):
    """A socket's target; `sockaddr` begins with the address literal."""

    family: int
    sockaddr: tuple[Any, ...]


Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]


class Connector:
    """Opens connections within the settings' limits. `resolve` is for tests: a name's addresses without DNS.

    `tls_context` None: the platform's trust store is read when the first connection with TLS is opened, in 20 ms.
    """

    def __init__(
        self, settings: UpstreamSettings, tls_context: ssl.SSLContext | None, resolve: Resolve | None = None
    ) -> None:
        self._connect_limit_s = settings.connect_timeout_ms / 1000
        self._tls_limit_s = settings.tls_timeout_ms / 1000
        self._tls_context = tls_context
        self._resolve = resolve or _resolver()

    async def connect(self, origin: Origin) -> Connection:
        """A fresh connection to the origin, with TLS if its scheme is https.

        Raises: UpstreamUnreachable; OutOfResources if this process or the system lacks a resource.
        """
        sock = await self.open_socket(origin)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if origin.scheme == "https":
                sock = await self._start_tls(sock, origin)
            return Connection(sock, origin)
        except BaseException:
            # `sock` is the open one: the TLS socket took over the plain socket's descriptor, or there is no TLS socket.
            _close(sock)
            raise

    async def open_socket(self, origin: Origin) -> socket.socket:
        """A socket connected to one of the origin's addresses that may be reached. Raises as `connect` does."""
        sock = addresses = None
        try:
            with trio.move_on_after(self._connect_limit_s):
                addresses = allowed_addresses(await self._resolve(origin.host, origin.port), origin)
                sock = await connect_first(addresses)
        except OSError as exc:
            if exc.errno in OUR_LACK or (addresses is None and _lacks_files(exc)):
                raise OutOfResources from exc
            raise UpstreamUnreachable(f"no connection to {origin}: {_reason(exc)}") from exc
        if sock is None:
            raise UpstreamUnreachable(f"no connection to {origin} within {self._connect_limit_s * 1000:.0f} ms")
        return sock

    async def _start_tls(self, sock: socket.socket, origin: Origin) -> ssl.SSLSocket:
        # A cut connection is an error, not an end: otherwise a cut answer that ends with its connection would look
        # whole.
        if self._tls_context is None:
            self._tls_context = client_context()
        tls = self._tls_context.wrap_socket(
            sock, server_hostname=origin.host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        try:
            with trio.move_on_after(self._tls_limit_s) as limit:
                await _shake_hands(tls)
        except BaseException as exc:
            _close(tls)
            if isinstance(exc, OSError):
                raise UpstreamUnreachable(f"no TLS with {origin}: {_reason(exc)}") from exc
            raise
        if limit.cancelled_caught:
            _close(tls)
            raise UpstreamUnreachable(f"no TLS with {origin} within {self._tls_limit_s * 1000:.0f} ms")
        return tls


async def connect_first(addresses: Sequence[Address]) -> socket.socket:
    """A socket connected to the first address that answers; the attempts at the others are ended and closed.

    Raises: the last OSError if no address answered; an error of OUR_LACK is preferred.
    """
    if len(addresses) == 1:
        return await _connect_one(addresses[0])
    won: list[socket.socket] = []
    failures: list[OSError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            sock = await _connect_one(address)
        except OSError as exc:
            failures.append(exc)
            failed.set()
        else:
            won.append(sock)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(NEXT_ADDRESS_AFTER_S):
                    await failed.wait()
    except BaseException:
        for sock in won:
            _close(sock)
        raise
    if not won:
        # A local lack of resources explains more than an address that refused.
        raise next((exc for exc in failures if exc.errno in OUR_LACK), failures[-1])
    # Two may connect in the same tick, before the cancellation reaches the slower one.
    for sock in won[1:]:
        _close(sock)
    return won[0]


async def _connect_one(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address.sockaddr)
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code != 0:
            raise OSError(code, os.strerror(code))
    except BaseException:
        _close(sock)
        raise
    return sock


async def _shake_hands(tls: ssl.SSLSocket) -> None:
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(tls)
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(tls)
        else:
            return


def _resolver() -> Resolve:
    threads = trio.CapacityLimiter(DNS_THREADS)

    async def resolve(host: str, port: int) -> Sequence[Address]:
        def look_up() -> list[tuple[Any, ...]]:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

        if is_literal(host):
            found = look_up()
        else:
            found = await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=threads)
        return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]

    return resolve


def allowed_addresses(addresses: Sequence[Address], origin: Origin) -> list[Address]:
    """The addresses that this origin may be reached at, the second of another family than the first if there is one.

    Raises: UpstreamUnreachable if none may.
    """
    allowed = [address for address in addresses if origin.allow_private or is_public(address.sockaddr[0])]
    if not allowed:
        # The error does not name the address: clients may see the text, and must not learn internal addresses.
        raise UpstreamUnreachable(f"connection to {origin} refused: its address is not public")
    for index, address in enumerate(allowed):
        if address.family != allowed[0].family:
            allowed.insert(1, allowed.pop(index))
            break
    return allowed


def _close(sock: socket.socket) -> None:
    if sock.fileno() != -1:
        trio.lowlevel.notify_closing(sock)
        sock.close()


def _lacks_files(exc: OSError) -> bool:
    """Whether a look-up failed because no file or socket could be opened. glibc then reports its own errors, or
    those of a module in /etc/nsswitch.conf (EBUSY of mdns4_minimal)."""
    if exc.errno == socket.EAI_MEMORY:
        return True
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as failure:
        return failure.errno in OUR_LACK
    return False


def _reason(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    if isinstance(exc, ssl.SSLError):
        return exc.reason or "handshake broken off"
    return exc.strerror or type(exc).__name__
