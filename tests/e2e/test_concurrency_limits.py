"""A credential's limit of calls at once, over sockets: held by a stream until it ends, however it ends."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import bearer, post

BODY = {"message": "Hello", "stream": True}
LIMIT_S = 20


# The first lines belong to the credential `sim`, which the configuration begins with.
CONFIGURATION = "\n".join(
    ["max_concurrent = 1", "slot_wait_ms = 400", project(), endpoint("ask", streaming_enabled=True)]
)


async def open_stream(gateway: Gateway) -> trio.SocketStream:
    """A client that has its first bytes and reads no more."""
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    await client.send_all(post(f"/api/{PROJECT}/ask", BODY, bearer(gateway.token)))
    with trio.fail_after(LIMIT_S):
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200")
    return client


async def test_open_stream_holds_its_slot(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    gateway.simulator.behave("ask", "fault=stall:2")
    client = await open_stream(gateway)

    refused = await gateway.call("ask")
    await client.aclose()
    with trio.fail_after(LIMIT_S):
        await gateway.simulator.wait_closed()
    gateway.simulator.behave("ask")
    answered = [await gateway.call("ask", BODY), await gateway.call("ask")]

    assert (503, "Gateway is overloaded.", "1") == (
        refused.status,
        refused.json()["error"],
        refused.headers["retry-after"],
    )
    assert [200, 200] == [response.status for response in answered]
    assert 3 == gateway.simulator.received_count
