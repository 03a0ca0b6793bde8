"""A whole gateway whose streams outlive their clients: what the provider, the log and a client that comes back see.

No surface has such streams yet. The test gives the gateway's routes an attachment that owns every work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
import trio
from attrs import define, field

from pg_trio.attachment import Outlives, OwnedAttachment, OwnedWorks, Work, WorkPort, follow
from pg_trio.domain.call import RequestHead
from pg_trio.gateway import RunningGateway
from pg_trio.web.asgi import GatewayRoutes
from pg_trio.web.asgi_types import AsgiEvent, Send
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import bearer, post

OUTLIVES = Outlives(grace_s=20, keep_s=60, keep_bytes=1 << 20)
BODY = {"message": "Tell me", "stream": True}


class LastingAttachment(OwnedAttachment[AsgiEvent]):
    """Lets its work outlive the client from its beginning, as a stage will that knows the endpoint."""

    async def serve(self, work: Work[AsgiEvent]) -> None:
        async def lasting(port: WorkPort[AsgiEvent]) -> None:
            assert port.outlive(OUTLIVES)
            await work(port)

        await super().serve(lasting)


@define
class Site:
    """A gateway, its works, and the requests that it was sent."""

    gateway: Gateway
    works: OwnedWorks[AsgiEvent]
    keys: list[UUID] = field(factory=list)

    def attach(self, head: RequestHead, send: Send) -> LastingAttachment:
        self.keys.append(head.request_id)
        return LastingAttachment(self.works, head.request_id, send)

    async def ask_and_leave(self) -> bytes:
        """What a client reads of a stream up to its first chunk; then it leaves."""
        client = await trio.open_tcp_stream("127.0.0.1", self.gateway.port)
        await client.send_all(post(f"/api/{PROJECT}/live", BODY, bearer(self.gateway.token)))
        read = b""
        while b"data: " not in read:
            read += await client.receive_some()
        await client.aclose()
        return read

    async def orphan(self) -> None:
        """Ask, leave, and wait until the gateway has noticed."""
        await self.ask_and_leave()
        work = self.works.find(self.keys[-1])
        assert work is not None
        with trio.fail_after(10):
            while work.state == "attached":  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.01)

    async def come_back(self, first_part: int = 0) -> bytes:
        """What another client gets of the last work."""
        parts: list[bytes] = []

        async def take(event: AsgiEvent) -> None:
            parts.append(event.get("body", b""))

        work = self.works.find(self.keys[-1])
        assert work is not None
        with trio.fail_after(10):
            await follow(work, take, first_part)
        return b"".join(parts)


@pytest.fixture(params=["lane", "hypercorn"])
async def site(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    configuration = project() + endpoint("live", streaming_enabled=True)
    gateway = await start_gateway(nursery, tmp_path, configuration, request.param)
    routes: GatewayRoutes = cast(Any, gateway.app.asgi_app)
    running = cast(RunningGateway, routes.gateway)
    site = Site(gateway, running.works)
    routes._attach = site.attach
    return site


async def test_stream_of_an_owned_work_is_the_same(site: Site) -> None:
    site.gateway.simulator.behave("live", "tokens=20&pace=5ms")

    read = await site.gateway.call("live", BODY)
    again = await site.come_back()
    # The head is the first part.
    rest = await site.come_back(3)

    assert (200, True) == (read.status, read.body.endswith(b"data: [DONE]\n\n"))
    assert read.body == again
    assert again.endswith(rest)
    assert 0 < len(rest) < len(again)


async def test_plain_answer_of_an_owned_work_is_the_same(site: Site) -> None:
    site.gateway.simulator.behave("live", content="plain")

    read = await site.gateway.call("live", {"message": "Hi"})

    assert (200, True) == (read.status, b"plain" in read.body)
    assert read.body == await site.come_back()


async def test_work_goes_on_without_its_client(site: Site) -> None:
    site.gateway.simulator.behave("live", "tokens=40&pace=10ms")

    await site.orphan()
    whole = await site.come_back()
    await site.gateway.stop()

    assert whole.endswith(b"data: [DONE]\n\n")
    assert not site.gateway.simulator.requests[0].closed_early
    [row] = site.gateway.log_rows()
    assert (200, None, 40) == (row["status"], row["error_code"], row["completion_tokens"])


async def test_stop_closes_the_providers_connection(site: Site) -> None:
    site.gateway.simulator.behave("live", "tokens=1000&pace=20ms")
    await site.orphan()
    work = site.works.find(site.keys[-1])
    assert work is not None

    assert work.stop()

    with trio.fail_after(10):
        received = await site.gateway.simulator.wait_closed()
    assert received.closed_early
    # Complete as far as it came.
    body = await site.come_back()
    assert b'"finish_reason":"stop"' in body
    assert b'"cancelled":true' in body
    assert body.endswith(b"data: [DONE]\n\n")


async def test_stopping_server_ends_an_orphan_and_says_so(site: Site) -> None:
    site.gateway.simulator.behave("live", "tokens=1000&pace=20ms")
    await site.orphan()

    await site.gateway.stop()

    [row] = site.gateway.log_rows()
    assert (503, "ShuttingDown") == (row["status"], row["error_code"])
    assert row["completion_tokens"] > 0


async def test_unread_output_of_a_long_answer_stays_in_bounds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.e2e.test_owned_works.OUTLIVES", Outlives(20, 60, keep_bytes=2_000))
    site.gateway.simulator.behave("live", "tokens=1000")

    client = await trio.open_tcp_stream("127.0.0.1", site.gateway.port)
    await client.send_all(post(f"/api/{PROJECT}/live", BODY, bearer(site.gateway.token)))
    read = b""
    with trio.fail_after(10):
        while not read.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            read += await client.receive_some()
            assert site.works.kept_bytes <= 2_000 + 65_536
    await client.aclose()

    # It outgrew what is kept, so it is not found.
    assert None is site.works.find(site.keys[-1])
