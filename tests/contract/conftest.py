"""Both transports, a server for each test's scripts, and certificates."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
from attrs import evolve, frozen

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.stages.provider_call.exchange import read_whole
from pg_trio.transport.direct import DirectTransport
from pg_trio.transport.httpx_transport import HttpxTransport
from pg_trio.transport.tls import client_context
from tests.contract.fault_server import LIMIT_S, FaultServer, Script

AnyTransport: TypeAlias = DirectTransport | HttpxTransport
Serve: TypeAlias = Callable[..., Awaitable[FaultServer]]

SMALL = UpstreamSettings(
    connect_timeout_ms=2_000, tls_timeout_ms=2_000, max_head_bytes=8 * 1024, max_body_bytes=1024 * 1024
)


@frozen
class Fetched:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@frozen
class Caller:
    """A transport and the short way to use it; every call fails rather than hangs."""

    name: str
    transport: AnyTransport

    async def fetch(  # noqa: PLR0917  # each by name
        self,
        url: str,
        body: bytes = b"{}",
        headers: Headers = (),
        allow_private: bool = True,
        method: str = "POST",
        is_stream: bool = False,
        limit_bytes: int = 16 * 1024 * 1024,
    ) -> Fetched:
        """One call, its whole answer read, its response closed."""
        request = WireRequest(url, headers, body, method, allow_private, is_stream)
        with trio.fail_after(LIMIT_S):
            response = await self.transport.open_response(request)
            try:
                return Fetched(response.status, dict(response.headers), await read_whole(response, limit_bytes))
            finally:
                await response.aclose()


async def call_at_once(caller: Caller, url: str, count: int) -> None:
    """So many calls beside each other."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(caller.fetch, url)


@frozen
class Certificates:
    """A certificate for `localhost` that is its own authority, and its key."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts it and nothing else."""
        context = client_context()
        context.load_verify_locations(str(self.certificate))
        return context


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is open until the test's end, and its nursery's: files that workers share."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The one that the tests' servers show."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def make_certificates(folder: Path) -> Certificates:
    """Made for this run: a certificate in the repository would expire some day."""
    made = Certificates(folder / "localhost.pem", folder / "localhost.key")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", made.key, "-out", made.certificate],
        check=True,
        capture_output=True,
    )
    return made


@pytest.fixture(params=["direct", "httpx"])
def make_caller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Caller]:
    """Makes a caller over the transport under test: `make_caller(settings, tls_context)`."""
    monkeypatch.setenv("NO_PROXY", "*")

    def make(settings: UpstreamSettings = SMALL, tls_context: ssl.SSLContext | None = None) -> Caller:
        if request.param == "direct":
            return Caller("direct", DirectTransport(settings, tls_context))
        return Caller("httpx", HttpxTransport(settings, tls_context=tls_context))

    return make


@pytest.fixture
async def caller(make_caller: Callable[..., Caller]) -> AsyncIterator[Caller]:
    """A caller with small limits and the platform's trust store."""
    made = make_caller()
    yield made
    await made.transport.aclose()


@pytest.fixture
async def tls_caller(make_caller: Callable[..., Caller], certificates: Certificates) -> AsyncIterator[Caller]:
    """A caller that trusts the tests' own certificate."""
    made = make_caller(SMALL, certificates.client_context())
    yield made
    await made.transport.aclose()


@pytest.fixture
async def impatient_caller(make_caller: Callable[..., Caller]) -> AsyncIterator[Caller]:
    """A caller whose limits on connecting a test can wait for."""
    made = make_caller(evolve(SMALL, tls_timeout_ms=200, connect_timeout_ms=200))
    yield made
    await made.transport.aclose()


@pytest.fixture
def serve(nursery: trio.Nursery) -> Serve:
    """Starts a server of the scripts, plain or TLS, that ends with the test."""

    async def start(*scripts: Script, tls: ssl.SSLContext | None = None) -> FaultServer:
        server = FaultServer(scripts, scheme="https" if tls else "http", tls=tls)
        await nursery.start(server.serve)
        return server

    return start


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that refuses connections: bound, so that no other process gets it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
