"""Clients who break Hypercorn's protocol on purpose, against the server of `pg-trio serve` and the stock one.

Each test's figure is what the others saw meanwhile: answers, calls at the provider, lines in the log.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trio

from pg_trio.server.containment import ERROR_LINES
from pg_trio.server.http2_resets import RESETS_AT_ONCE
from tests.support.gateway import CREDENTIALS, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.http_servers import RawClient, connected
from tests.support.processes import is_running, start
from tests.support.wire import bearer, get, send_raw

SERVERS = ("lane", "hypercorn")
HANDSHAKES = 200
REQUESTS = 3_000
# A request and its reset: in one write, in one each, or all requests and resets in one.
WRITES = ("together", "apart", "at once")
# Hypercorn's h2_max_concurrent_streams.
STREAMS_AT_ONCE = 100

HANDSHAKE = get(
    "/healthz",
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
BEHIND = {
    "a request": get("/"),
    "garbage": b"\xff" * 100,
    "a masked frame": b"\x81\x85abcdefghi",
    "nothing": b"",
}


async def shake_hands(port: int, behind: bytes, *, together: bool) -> None:
    async with connected(port) as client:
        await client.send(HANDSHAKE + behind if together else HANDSHAKE)
        if not together:
            try:
                await client.send(behind)
            except trio.BrokenResourceError:
                return
        await client.read_to_end()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("behind", BEHIND)
async def test_handshakes_end_their_own_connection(
    nursery: trio.Nursery, tmp_path: Path, server: str, behind: str, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("ok"), server)

    for number in range(HANDSHAKES):
        await shake_hands(gateway.port, BEHIND[behind], together=number % 2 == 0)

    assert 200 == (await gateway.call("ok")).status
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    # All of it took less than two windows of lines, unless the machine is very busy.
    assert len(said) <= 4 * ERROR_LINES
    assert [] == [record for record in said if record.exc_info]


async def test_stock_command_survives_handshakes(nursery: trio.Nursery, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(CREDENTIALS.format(base_url="http://127.0.0.1:9/v1") + project() + endpoint("ok"))
    command = [sys.executable, "-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:0", "pg_trio.app:create_app()"]
    served = await start(nursery, command, {"PG_TRIO_CONFIG": str(config)})
    [worker] = children(served.process.pid)

    for number in range(HANDSHAKES):
        await shake_hands(served.port, BEHIND["a request"], together=number % 2 == 0)

    assert 200 == (await send_raw(served.port, get("/healthz"))).status
    assert is_running(worker)
    assert "Traceback" not in served.output
    await served.stop()


def children(pid: int) -> list[int]:
    """Python processes that the process started, but for multiprocessing's own."""
    found = [int(name) for name in os.listdir("/proc") if name.isdigit() and parent(int(name)) == pid]
    return [child for child in found if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return None


# ── HTTP/2 ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Resetter:
    """A client of HTTP/2 that takes its requests back. Without `raw` its bytes are sent by others."""

    def __init__(self, gateway: Gateway, raw: RawClient | None = None) -> None:
        self._raw = raw
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.http2.initiate_connection()
        self.stream = -1
        path, token = f"/api/{PROJECT}/ok", bearer(gateway.token)
        self.headers = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "x"), token]
        self.headers.append(("content-type", "application/json"))
        self.events: list[h2.events.Event] = []

    def ask(self) -> None:
        """Write a whole request into the client's buffer."""
        self.stream += 2
        self.http2.send_headers(self.stream, self.headers)
        # Not counted by flow control, which the server's would: bodies are never acknowledged here.
        self.http2.send_data(self.stream, b'{"message": "Hi"}', end_stream=True)

    def take_back(self) -> None:
        """Write its reset, too."""
        self.http2.reset_stream(self.stream)

    @property
    def raw(self) -> RawClient:
        assert self._raw is not None
        return self._raw

    async def flush(self) -> None:
        await self.raw.send(self.http2.data_to_send())

    async def listen(self) -> None:
        """Collect what the server says, until it closes."""
        while data := await self._receive():
            self.events += self.http2.receive_data(data)

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.raw.stream.receive_some())
        except trio.BrokenResourceError:
            return b""

    def ended_with(self) -> list[int]:
        """The codes of GOAWAY frames."""
        return [
            int(event.error_code or 0) for event in self.events if isinstance(event, h2.events.ConnectionTerminated)
        ]


async def attack(gateway: Gateway, how: str) -> Resetter:
    """Ask and take back REQUESTS times, or until the server ends it; see WRITES."""
    async with connected(gateway.port) as raw:
        client = Resetter(gateway, raw)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.listen)
            try:
                for _ in range(REQUESTS):
                    client.ask()
                    if how == "apart":
                        await client.flush()
                    client.take_back()
                    if how != "at once":
                        await client.flush()
                await client.flush()
            except (trio.BrokenResourceError, h2.exceptions.ProtocolError):
                pass
    return client


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("how", WRITES)
async def test_resets_end_the_connection(nursery: trio.Nursery, tmp_path: Path, server: str, how: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("ok"), server)
    gateway.simulator.behave("ok", "latency=50ms")

    client = await attack(gateway, how)
    neighbour = await gateway.call("ok")
    await gateway.stop()

    calls = len(gateway.simulator.requests) - 1
    print(f"{REQUESTS} requests taken back ({server}, {how}): {calls} calls at the provider")
    assert [11] == client.ended_with()
    assert calls <= (RESETS_AT_ONCE + 1 if how == "apart" else 0)
    assert 200 == neighbour.status


@pytest.mark.parametrize("server", SERVERS)
async def test_little_begins_for_closed_connection(nursery: trio.Nursery, tmp_path: Path, server: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("ok"), server)
    # Sent and closed in one step, so that the end is there when the server reads the beginning.
    with socket.create_connection(("127.0.0.1", gateway.port)) as plain:
        client = Resetter(gateway)
        for _ in range(STREAMS_AT_ONCE - 1):
            client.ask()
        plain.sendall(client.http2.data_to_send())
    await gateway.call("ok")
    await gateway.stop()

    # Those that began before the server read that the client is gone; each was cancelled then.
    calls = len(gateway.simulator.requests) - 1
    print(f"{STREAMS_AT_ONCE - 1} requests, then closed ({server}): {calls} calls at the provider")
    assert calls < STREAMS_AT_ONCE / 2


async def test_data_on_closed_stream_ends_its_own_connection(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("ok"))
    gateway.token = "pg_live_" + "x" * 43

    for _ in range(50):
        async with connected(gateway.port) as raw:
            client = Resetter(gateway, raw)
            client.http2.send_headers(1, client.headers)
            await client.flush()
            while not any(isinstance(event, h2.events.ResponseReceived) for event in client.events):
                client.events += client.http2.receive_data(await client._receive())
            try:
                for _ in range(20):
                    client.http2.send_data(1, b"x" * 100)
                    await client.flush()
            except (trio.BrokenResourceError, h2.exceptions.ProtocolError):
                pass
            await raw.read_to_end()

    assert 200 == (await send_raw(gateway.port, get("/healthz"))).status
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) <= 2 * ERROR_LINES
    assert [] == [record for record in said if record.exc_info]
