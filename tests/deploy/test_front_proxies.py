"""The shipped proxies in front of a running gateway: streams, clients that leave, addresses, the admin prefix."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from attrs import frozen

from tests.deploy.front_proxies import PROXIES, FrontProxy, pick_ports, start_proxy
from tests.deploy.held_provider import HeldProvider, start_held_provider
from tests.support.autobahn_cases import TEXT, Frame
from tests.support.gateway import PROJECT, Gateway, Operators, endpoint, project, start_gateway, start_pages
from tests.support.websocket_frames import FrameClient, write_frame
from tests.support.wire import HttpResponse, bearer, get, post, read_response

pytestmark = pytest.mark.slow

LIMIT_S = 30
TOKENS = ["one ", "two ", "three"]
CONFIGURATION = """
[server]
trusted_proxies = ["127.0.0.1"]
admin_root_path = "/gateway"

[[credentials]]
name = "held"
provider = "openai_compatible"
base_url = "{base_url}"
allow_private_addresses = true
"""
HELD = """
[[projects.endpoints]]
slug = "held"
credential = "held"
model = "held"
streaming_enabled = true
"""


@frozen
class Site:
    """A proxy, the gateway behind it, and that gateway's provider."""

    proxy: FrontProxy
    gateway: Gateway
    operators: Operators
    provider: HeldProvider

    async def ask(self, data: bytes, address: str = "127.0.0.1") -> HttpResponse:
        """The answer through the proxy to these bytes, from this address."""
        with trio.fail_after(LIMIT_S):
            stream = await self.proxy.connect(address)
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(_send, stream, data)
                response = await read_response(stream, data.split(b" ", 1)[0].decode())  # type: ignore[arg-type]
                nursery.cancel_scope.cancel()
            return response

    def call(self, slug: str, body: object, *headers: tuple[str, str]) -> bytes:
        """The bytes of a call of this endpoint."""
        return post(f"/api/{PROJECT}/{slug}", body, bearer(self.gateway.token), *headers)


async def _send(stream: trio.SSLStream[trio.SocketStream], data: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(data)


@pytest.fixture(params=PROXIES)
async def site(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Site:
    provider = await start_held_provider(nursery)
    configuration = CONFIGURATION.format(base_url=provider.base_url) + project() + endpoint("ask") + HELD
    gateway = await start_gateway(nursery, tmp_path, configuration)
    operators = await start_pages(nursery, gateway)
    folder = tmp_path / "proxy"
    folder.mkdir()
    proxy = await start_proxy(nursery, request.param, folder, pick_ports(gateway.port, operators.port))
    return Site(proxy, gateway, operators, provider)


@contextlib.asynccontextmanager
async def streamed(site: Site) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    """A client's connection with a stream that the provider has begun to answer."""
    with trio.fail_after(LIMIT_S):
        stream = await site.proxy.connect()
        await stream.send_all(site.call("held", {"message": "Tell me", "stream": True}))
        await site.provider.called.wait()
        yield stream


async def read_until(stream: trio.SSLStream[trio.SocketStream], text: str) -> bytes:
    """What arrives until this text has."""
    received = b""
    while text.encode() not in received:
        piece = await stream.receive_some()
        assert piece, received
        received += piece
    return received


async def test_each_token_arrives_before_the_next(site: Site) -> None:
    async with streamed(site) as client:
        for token in TOKENS:
            await site.provider.send_token(token)
            await read_until(client, token.strip())
        await site.provider.send_token(".", finish="stop")
        await read_until(client, "[DONE]")
        await trio.aclose_forcefully(client)


@pytest.mark.parametrize("tokens", [0, 1])
async def test_leaving_client_ends_the_provider_call(site: Site, tokens: int) -> None:
    async with streamed(site) as client:
        for token in TOKENS[:tokens]:
            await site.provider.send_token(token)
            await read_until(client, token.strip())

        await trio.aclose_forcefully(client)

        await site.provider.left.wait()
    await site.gateway.stop()
    assert [499] == [row["status"] for row in site.gateway.log_rows()]


async def test_log_has_the_client_address(site: Site) -> None:
    lies = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.8")]

    answered = await site.ask(site.call("ask", {"message": "Hello"}, *lies), "127.0.0.3")
    await site.gateway.stop()

    assert 200 == answered.status
    assert ["127.0.0.3"] == [row["client_address"] for row in site.gateway.log_rows()]


async def test_refusals_are_the_gateways(site: Site) -> None:
    large = await site.ask(site.call("ask", {"message": "x" * (5 * 1024 * 1024)}))
    unknown = await site.ask(get("/api/nowhere"))

    assert [413, 404] == [large.status, unknown.status]
    assert [False, False] == [json.loads(answer.body)["ok"] for answer in (large, unknown)]


async def test_admin_address_is_behind_its_prefix(site: Site) -> None:
    page = await site.ask(get("/gateway/login"))
    style = re.findall(r'href="(/gateway/static/pages\.css[^"]*)"', page.body.decode())
    loaded = await site.ask(get(style[0]))
    form = ("content-type", "application/x-www-form-urlencoded"), ("origin", "https://gateway.test")
    login = await site.ask(post("/gateway/login", f"key={site.operators.operator}&next=/".encode(), *form))

    assert [200, 200, 303] == [page.status, loaded.status, login.status]
    assert "/gateway/" == login.headers["location"]
    cookie = login.headers["set-cookie"].split("; ")
    assert {"Secure", "HttpOnly", "Path=/gateway/", "SameSite=Strict"} <= set(cookie)
    opened = await site.ask(get("/gateway/tokens", ("cookie", cookie[0])))
    assert 200 == opened.status


@pytest.mark.parametrize("path", ["/login", "/metrics", "/admin/api/v1/config"])
async def test_admin_address_is_not_at_the_top(site: Site, path: str) -> None:
    assert 404 == (await site.ask(get(path))).status


@pytest.mark.parametrize("path", ["/gateway/metrics", "/gateway/admin/api/v1/tokens"])
async def test_admin_address_takes_no_proxy_for_its_machine(site: Site, path: str) -> None:
    with_key = await site.ask(get(path, bearer(site.operators.viewer)))

    assert [401, 200] == [(await site.ask(get(path))).status, with_key.status]


async def test_live_requests_arrive_as_they_end(site: Site) -> None:
    path = "/gateway/admin/api/v1/requests/stream"

    with trio.fail_after(LIMIT_S):
        live = await site.proxy.connect()
        await live.send_all(get(path, bearer(site.operators.viewer)))
        await read_until(live, "\r\n\r\n")
        assert 200 == (await site.ask(site.call("ask", {"message": "Hello"}))).status
        await read_until(live, '"endpoint":"ask"')
        await trio.aclose_forcefully(live)


@pytest.mark.parametrize("path", ["/gateway/login", "/%67ateway/login", "/x/../gateway/login", "//gateway/login"])
async def test_prefix_is_for_the_office(site: Site, path: str) -> None:
    outside = await site.ask(get(path), "127.0.0.3")

    assert outside.status in {308, 400, 403, 404}
    assert b"Operator key" not in outside.body


async def test_plain_http_is_sent_to_tls(site: Site) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", site.proxy.ports.plain)
    async with stream:
        await stream.send_all(get("/healthz"))
        response = await read_response(stream)

    assert 308 == response.status
    assert response.headers["location"].startswith("https://gateway.test")


async def test_websocket_passes(site: Site) -> None:
    with trio.fail_after(LIMIT_S):
        stream = await site.proxy.connect("127.0.0.3")
        client = FrameClient(stream)
        token = f"Authorization: Bearer {site.gateway.token}"
        status = await client.open(f"/api/{PROJECT}/held/ws", token, host="gateway.test")
        frames = [await client.read()]
        await stream.send_all(write_frame(Frame(TEXT, b'{"type":"message","id":"c1","message":"Tell me"}')))
        await site.provider.called.wait()
        for token in TOKENS:
            await site.provider.send_token(token)
            while token.strip().encode() not in (await client.read() or (0, b""))[1]:
                pass
        await trio.aclose_forcefully(stream)
        await site.provider.left.wait()
    await site.gateway.stop()

    assert 101 == status
    assert frames[0] is not None
    assert b'"type":"ready"' in frames[0][1]
    assert [(499, "127.0.0.3")] == [(row["status"], row["client_address"]) for row in site.gateway.log_rows()]
