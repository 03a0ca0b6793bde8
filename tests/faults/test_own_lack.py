"""The gateway's own lack of file descriptors: an overload of ours, which blames no provider and asks no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.contract.fault_server import FaultServer, answer_with, closes_after
from tests.support.files import no_files_left
from tests.support.gateway import PROJECT, project, start_gateway
from tests.support.wire import bearer, post, read_response

# More than a breaker needs to open.
TRIES = 10
REPLY = b'{"choices":[{"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
CLOSING = b"content-type: application/json\r\nconnection: close\r\n"
ENDPOINT = """
[[projects.endpoints]]
slug = "e"
credential = "first"
model = "m"
streaming_enabled = true
failover = [{credential = "second", model = "m"}]
"""


@pytest.mark.parametrize("transport", ["direct", "httpx"])
@pytest.mark.parametrize("stream", [False, True])
async def test_lack_of_files_is_told_and_blames_nobody(
    transport: str, stream: bool, nursery: trio.Nursery, tmp_path: Path
) -> None:
    servers = [FaultServer((closes_after(answer_with(REPLY, headers=CLOSING)),)) for _ in range(2)]
    lines = []
    for name, server in zip(("first", "second"), servers, strict=True):
        await nursery.start(server.serve)
        url = server.url.removesuffix("/chat/completions").replace("localhost", "127.0.0.1")
        lines.append(f'[[credentials]]\nname = "{name}"\nprovider = "openai"\napi_key = "k"\nbase_url = "{url}"')
        lines.append(f'transport = "{transport}"')
    gateway = await start_gateway(nursery, tmp_path, "\n".join([*lines, project(), ENDPOINT]))
    request = post(f"/api/{PROJECT}/e", {"message": "Hi", "stream": stream}, bearer(gateway.token))
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with client:
        await client.send_all(request)
        assert 200 == (await read_response(client)).status

        refused = []
        with no_files_left():
            for _ in range(TRIES):
                await client.send_all(request)
                refused.append(await read_response(client))
        await client.send_all(request)
        after = await read_response(client)

    assert {(503, "Gateway is overloaded.", "1")} == {
        (answer.status, answer.json()["error"], answer.headers["retry-after"]) for answer in refused
    }
    assert 200 == after.status
    assert [2, 0] == [len(server.peers) for server in servers]
