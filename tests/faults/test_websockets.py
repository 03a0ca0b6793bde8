"""WebSockets whose client misbehaves or whose server stops: real sockets, both server paths."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.lowlevel
from attrs import define
from hypercorn.config import Config
from trio_websocket import ConnectionClosed
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from pg_trio.config.settings import ServerSettings
from pg_trio.server.stock import make_hypercorn_config
from pg_trio.store.token_admin import TokenAdmin
from tests.deploy.deploy_tools import make_certificate
from tests.support.autobahn_cases import Frame
from tests.support.chat_client import ChatClient, open_socket, refused, socket_path
from tests.support.gateway import Gateway, endpoint, project, start_gateway
from tests.support.processes import Served
from tests.support.site import Site, make_site
from tests.support.websocket_frames import FrameClient, write_frame
from tests.support.wire import bearer, get, send_raw

SERVERS = ("lane", "hypercorn")
LIMIT_S = 20
# Endless, as fast as it goes.
FLOOD = endpoint("flood", "sim?tokens=200000", streaming_enabled=True)
ENDPOINTS = (
    endpoint("a", streaming_enabled=True) + FLOOD + endpoint("silent", "sim?fault=stall", streaming_enabled=True)
)


def server(**settings: int) -> str:
    """A `[server]` table."""
    return "[server]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


@define
class RawSocket:
    """A client that shows every frame and answers none by itself."""

    stream: trio.SocketStream
    wire: WSConnection

    async def send(self, event: Event) -> None:
        await self.stream.send_all(self.wire.send(event))

    async def send_frame(self, frame: object) -> None:
        await self.send(TextMessage(data=json.dumps(frame)))

    async def next_event(self) -> Event | None:
        """The next event; None once the connection has ended. A reset is an end."""
        while True:
            for event in self.wire.events():
                return event
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.wire.receive_data(data)

    async def read(self, kind: type[Event] = Message) -> Any:
        """The next event of this kind."""
        while (event := await self.next_event()) is not None:
            if isinstance(event, kind):
                return event
        raise AssertionError(f"the connection ended without {kind.__name__}")

    async def read_all(self) -> list[Event]:
        """All events until the connection ends."""
        events = []
        while (event := await self.next_event()) is not None:
            events.append(event)
        return events

    async def read_frame(self) -> dict[str, Any]:
        """The next frame."""
        text = ""
        while True:
            event = await self.read(TextMessage)
            text += event.data
            if event.message_finished:
                frame: dict[str, Any] = json.loads(text)
                return frame


@asynccontextmanager
async def raw_socket(
    gateway: Gateway, slug: str = "a", *, receive_bytes: int | None = None
) -> AsyncIterator[RawSocket]:
    """An open socket with the gateway's token."""
    with trio.fail_after(LIMIT_S):
        stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        if receive_bytes is not None:
            # What a client has not read must wait on the other side.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        async with stream:
            client = RawSocket(stream, WSConnection(ConnectionType.CLIENT))
            token = (b"authorization", f"Bearer {gateway.token}".encode())
            await client.send(Request(host="x", target=socket_path(slug), extra_headers=[token]))
            await client.read(AcceptConnection)
            yield client


# ── the client is silent ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", SERVERS)
async def test_client_that_answers_no_ping_is_gone(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, server(websocket_heartbeat_ms=200) + project() + ENDPOINTS, kind)
    async with raw_socket(gateway, "silent") as client:
        await client.send_frame({"type": "message", "id": "c1", "message": "Hi"})
        await gateway.simulator.wait_request(1)
        events = await client.read_all()
        await gateway.simulator.wait_no_connections()
    await gateway.stop()

    assert len([event for event in events if isinstance(event, Ping)]) in (1, 2)
    assert [499] == [row["status"] for row in gateway.log_rows()]


@pytest.mark.parametrize("kind", SERVERS)
async def test_client_that_answers_pings_stays(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, server(websocket_heartbeat_ms=100) + project() + ENDPOINTS, kind)
    async with raw_socket(gateway) as client:
        for _ in range(5):
            ping = await client.read(Ping)
            await client.send(Pong(payload=ping.payload))
        await client.send_frame({"type": "ping"})

        assert {"type": "pong"} == await client.read_frame()


@pytest.mark.parametrize("kind", SERVERS)
async def test_client_without_first_message_is_closed(
    nursery: trio.Nursery, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.web.websocket.chat_socket.AUTH_S", 0.2)
    gateway = await start_gateway(nursery, tmp_path, project() + ENDPOINTS, kind)
    async with open_socket(gateway, token="") as client:
        ended = await client.read_end()

    assert (4401, [{"type": "error", "status": 401, "error": "Missing Bearer token."}]) == (ended.code, ended.frames)


# ── the client does not read ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", SERVERS)
async def test_reader_past_the_write_limit_is_closed(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, server(write_timeout_ms=400) + project() + ENDPOINTS, kind)
    async with raw_socket(gateway, "flood", receive_bytes=65_536) as client:
        await client.read()
        await client.send_frame({"type": "message", "id": "c1", "message": "Hi"})
        await gateway.simulator.wait_request(1)
        # It reads nothing until the provider was let go.
        await gateway.simulator.wait_no_connections()
        closes = [event.code for event in await client.read_all() if isinstance(event, CloseConnection)]
    await gateway.stop()

    assert [1013] == closes
    assert [499] == [row["status"] for row in gateway.log_rows()]


@pytest.mark.parametrize("kind", SERVERS)
async def test_slow_reader_gets_every_frame_once(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    slug = endpoint("long", "sim?tokens=2000", streaming_enabled=True)
    gateway = await start_gateway(nursery, tmp_path, project() + slug, kind)
    async with raw_socket(gateway, "long", receive_bytes=65_536) as client:
        await client.read()
        for number in range(3):
            await client.send_frame({"type": "message", "id": f"c{number}", "message": "Hi"})
        # Each `started`, 2,000 tokens and `done`.
        frames = [await client.read_frame() for _ in range(3 * 2_002)]

    for number in range(3):
        own = [frame["seq"] for frame in frames if frame["id"] == f"c{number}" and "seq" in frame]
        assert list(range(1, len(own) + 1)) == own
        assert 2001 == len(own)


async def test_flood_of_pings_is_answered_and_holds_nothing(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + ENDPOINTS)
    async with raw_socket(gateway) as client:
        await client.read()
        pings = b"".join([client.wire.send(Ping(payload=b"x" * 100)) for _ in range(20_000)])
        await client.stream.send_all(pings)
        await client.send_frame({"type": "ping"})

        assert {"type": "pong"} == await client.read_frame()


# ── large messages ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", SERVERS)
async def test_message_over_the_body_limit_closes(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    configuration = "[gateway]\nmax_body_bytes = 100000\n" + project() + ENDPOINTS
    gateway = await start_gateway(nursery, tmp_path, configuration, kind)
    frame = json.dumps({"type": "message", "id": "c1", "message": ""})
    async with open_socket(gateway) as client:
        fits = frame[:-2] + "x" * (100_000 - len(frame)) + frame[-2:]
        await client.send(fits)
        answered = (await client.read_until("done"))[-1]
        await client.send(fits[:-2] + "x" + fits[-2:])
        ended = await client.read_end()

    assert "done" == answered["type"]
    assert (1009, [413]) == (ended.code, [said["status"] for said in ended.frames])
    assert 1 == len(gateway.simulator.requests)


async def test_large_message_without_room_closes(nursery: trio.Nursery, tmp_path: Path) -> None:
    configuration = "[gateway]\nmax_inflight_body_bytes = 3000000\nmax_body_bytes = 2000000\nadmission_wait_ms = 100\n"
    gateway = await start_gateway(nursery, tmp_path, configuration + project() + ENDPOINTS)
    half = b"\x81\xff" + (1_500_000).to_bytes(8, "big") + bytes(4) + b"x" * 100_000
    async with raw_socket(gateway) as first, raw_socket(gateway) as second:
        for client in (first, second):
            await client.read()
        await first.stream.send_all(half)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await second.stream.send_all(half)
        close = await second.read(CloseConnection)

    assert 1013 == close.code


# ── who may open ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", SERVERS)
async def test_origin_is_checked(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    listed = project(cors_origins=["https://app.example.com"]) + ENDPOINTS
    gateway = await start_gateway(nursery, tmp_path, listed, kind)
    other = await refused(gateway, "a", ("Origin", "https://evil.example.com"))
    null = await refused(gateway, "a", ("Origin", "null"))
    unknown = await refused(gateway, "a", ("Origin", "https://evil.example.com"), token="")
    async with open_socket(gateway, "a", ("Origin", "https://app.example.com")) as client:
        assert "done" == (await client.answer("c1"))[-1]["type"]
    async with open_socket(gateway, "a", ("Origin", f"http://127.0.0.1:{gateway.port}")) as client:
        assert "done" == (await client.answer("c1"))[-1]["type"]

    assert [(403, {"ok": False, "error": "Origin is not allowed."})] * 3 == [other, null, unknown]


async def test_origin_without_a_list_is_refused(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + ENDPOINTS)

    assert 403 == (await refused(gateway, "a", ("Origin", "https://app.example.com")))[0]


@pytest.mark.parametrize("kind", SERVERS)
async def test_sockets_are_limited_and_counted(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    settings = server(websocket_max_open=2)[:-1] + "\n[observe]\nmetrics_public = true\n"
    gateway = await start_gateway(nursery, tmp_path, settings + project() + ENDPOINTS, kind)
    async with open_socket(gateway), open_socket(gateway):
        status, body = await refused(gateway)
        page = await send_raw(gateway.port, get("/metrics", bearer(gateway.token)))
    async with open_socket(gateway) as client:
        assert "done" == (await client.answer("c1"))[-1]["type"]

    assert (503, "Gateway is overloaded.") == (status, body["error"])
    assert b"pg_trio_websockets_open{" in page.body


@pytest.mark.parametrize("kind", SERVERS)
async def test_revoked_token_closes_its_sockets(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + ENDPOINTS, kind)
    token = gateway.make_token()
    async with open_socket(gateway, "silent", token=token) as client, open_socket(gateway) as other:
        await client.ask("c1")
        await gateway.simulator.wait_request(1)
        with TokenAdmin(gateway.settings.gateway.data_dir) as admin:
            admin.revoke(token)
        with trio.fail_after(LIMIT_S):
            ended = await client.read_end()
        await gateway.simulator.wait_no_connections()
        assert "done" == (await other.answer("c1"))[-1]["type"]

    assert (4401, [{"type": "error", "status": 401, "error": "Invalid or revoked token."}]) == (
        ended.code,
        ended.frames,
    )


# ── the server stops ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", SERVERS)
async def test_drain_lets_answers_end(nursery: trio.Nursery, tmp_path: Path, kind: str) -> None:
    slow = endpoint("slow", "sim?tokens=5&pace=100ms", streaming_enabled=True)
    gateway = await start_gateway(nursery, tmp_path, project() + slow, kind)
    async with open_socket(gateway, "slow") as client, open_socket(gateway, "slow") as idle:
        await client.ask("c1")
        await client.read_until("delta")
        gateway.stopping.set()
        frames = await client.read_until("closing")
        await client.ask("c2")
        ended = await client.read_end()
        idle_end = await idle.read_end()
    await gateway.stop()

    assert {"type": "closing", "retry_after_ms": 1000} == frames[-1]
    by_id = {frame.get("id"): frame for frame in ended.frames}
    assert ("done", "error", 503) == (by_id["c1"]["type"], by_id["c2"]["type"], by_id["c2"]["status"])
    assert (1001, 1001) == (ended.code, idle_end.code)
    assert [{"type": "closing", "retry_after_ms": 1000}] == idle_end.frames
    assert {200, 503} == {row["status"] for row in gateway.log_rows()}


async def test_drain_ends_at_its_bound(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, server(drain_ms=500) + project() + ENDPOINTS)
    async with open_socket(gateway, "silent") as client:
        await client.ask("c1")
        await gateway.simulator.wait_request(1)
        gateway.stopping.set()
        ended = await client.read_end()
    await gateway.stop()

    assert (1001, ["closing"]) == (ended.code, [frame["type"] for frame in ended.frames])
    assert [(503, "Gateway is shutting down.")] == [(row["status"], row["error"]) for row in gateway.log_rows()]


# ── over TLS, where Hypercorn does the framing in our own server ─────────────────────────────────────────────────────


@pytest.fixture
def over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Gateways of this test listen with TLS; a client's context."""
    certificate, key = make_certificate(tmp_path)

    def make_with_tls(settings: ServerSettings) -> Config:
        config = make_hypercorn_config(settings)
        config.certfile, config.keyfile = str(certificate), str(key)
        return config

    monkeypatch.setattr("tests.support.gateway.make_hypercorn_config", make_with_tls)
    return ssl.create_default_context(cafile=str(certificate))


@asynccontextmanager
async def tls_socket(gateway: Gateway, context: ssl.SSLContext) -> AsyncIterator[FrameClient]:
    """An open socket over TLS."""
    with trio.fail_after(LIMIT_S):
        tcp = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        stream = trio.SSLStream(tcp, context, server_hostname="gateway.test", https_compatible=True)
        client = FrameClient(stream)
        assert 101 == await client.open(socket_path("silent"), f"Authorization: Bearer {gateway.token}")
        try:
            yield client
        finally:
            await trio.aclose_forcefully(stream)


def said(frame: tuple[int, bytes] | None) -> str:
    """The type of a text frame, or the kind of another one."""
    assert frame is not None
    return str(json.loads(frame[1])["type"]) if frame[0] == 1 else {8: "close", 9: "ping"}[frame[0]]


async def test_tls_client_that_answers_no_ping_is_gone(
    nursery: trio.Nursery, tmp_path: Path, over_tls: ssl.SSLContext
) -> None:
    gateway = await start_gateway(nursery, tmp_path, server(websocket_heartbeat_ms=200) + project() + ENDPOINTS)
    ask = b'{"type":"message","id":"c1","message":"Hi"}'
    async with tls_socket(gateway, over_tls) as client:
        await client.stream.send_all(write_frame(Frame(1, ask)))
        await gateway.simulator.wait_request(1)
        await gateway.simulator.wait_no_connections()
    await gateway.stop()

    assert [499] == [row["status"] for row in gateway.log_rows()]


async def test_quiet_tls_client_outlives_idle_limit(
    nursery: trio.Nursery, tmp_path: Path, over_tls: ssl.SSLContext
) -> None:
    limits = server(websocket_heartbeat_ms=150, idle_timeout_ms=300)
    gateway = await start_gateway(nursery, tmp_path, limits + project() + ENDPOINTS)
    async with tls_socket(gateway, over_tls) as client:
        kinds: list[str] = []
        while kinds.count("ping") < 6:
            kinds.append(said(await client.read()))
            if kinds[-1] == "ping":
                await client.stream.send_all(write_frame(Frame(10)))

    assert ["ping", "ready"] == sorted(set(kinds))


async def test_tls_client_is_told_of_the_drain(nursery: trio.Nursery, tmp_path: Path, over_tls: ssl.SSLContext) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + ENDPOINTS)
    async with tls_socket(gateway, over_tls) as client:
        kinds = [said(await client.read())]
        gateway.stopping.set()
        while kinds[-1] != "close":
            kinds.append(said(await client.read()))
    await gateway.stop()

    assert ["ready", "closing", "close"] == [kind for kind in kinds if kind != "ping"]


# ── several workers ──────────────────────────────────────────────────────────────────────────────────────────────────


def as_gateway(site: Site, served: Served) -> Gateway:
    """What the client needs of a gateway that runs in processes of its own."""
    return cast(Gateway, SimpleNamespace(port=served.port, token=site.token))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM])
async def test_sockets_are_sent_away_by_signals(nursery: trio.Nursery, tmp_path: Path, how: signal.Signals) -> None:
    site = await make_site(nursery, tmp_path, ENDPOINTS)
    served = await site.serve(nursery, "--workers", "2")
    gateway = as_gateway(site, served)
    async with open_socket(gateway) as first, open_socket(gateway) as second:
        served.process.send_signal(how)
        ends = [await first.read_end(), await second.read_end()]
    if how is signal.SIGHUP:
        async with open_socket(gateway) as client:
            assert "done" == (await client.answer("c1"))[-1]["type"]
    await served.stop()

    assert [(1001, ["closing"])] * 2 == [(end.code, [frame["type"] for frame in end.frames]) for end in ends]


async def answers(client: ChatClient, answer_id: str) -> bool:
    """Whether it is answered; False if its connection has ended."""
    try:
        return bool("done" == (await client.answer(answer_id))[-1]["type"])
    except ConnectionClosed:
        return False


@pytest.mark.slow
async def test_killed_workers_end_their_own_sockets(nursery: trio.Nursery, tmp_path: Path) -> None:
    site = await make_site(nursery, tmp_path, ENDPOINTS)
    served = await site.serve(nursery, "--workers", "2")
    gateway, workers = as_gateway(site, served), site.workers()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_socket(gateway)) for _ in range(12)]
        left = []
        for round_, worker in enumerate(workers):
            os.kill(worker, signal.SIGKILL)
            async with open_socket(gateway) as newcomer:
                assert await answers(newcomer, "c1")
            left.append(sum([await answers(client, f"c{round_}") for client in clients]))
    await served.stop()

    # Which worker has which client is the kernel's choice.
    assert 0 <= left[0] <= 12
    assert 0 == left[1]
