"""What only the httpx transport is for: proxies from the environment; and its slots."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pg_trio.domain.upstream import WireRequest
from pg_trio.transport.httpx_transport import HttpxTransport
from tests.contract.conftest import SMALL, Caller, Serve
from tests.contract.fault_server import LIMIT_S, answer_with, answers, answers_once

GOOD = answer_with(b"good")


async def test_proxy_of_environment_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await serve(answers(GOOD))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    caller = Caller("httpx", HttpxTransport(SMALL))

    # The proxy's own address is private, and the operator's choice; the provider's is not ours to look up.
    fetched = await caller.fetch("http://api.example/v1", allow_private=False)

    assert b"good" == fetched.body
    assert proxy.peers[0].requests[0].startswith(b"POST http://api.example/v1 HTTP/1.1\r\n")
    await caller.transport.aclose()


async def test_calls_beyond_slots_wait(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    server = await serve(answers_once(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"), answers(GOOD))
    transport = HttpxTransport(SMALL, slots=1)
    first = await transport.open_response(WireRequest(server.url, [], b"", allow_private_addresses=True))

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Caller("httpx", transport).fetch, server.url)
            await trio.testing.wait_all_tasks_blocked()
            while_waiting = transport.describe()
            await first.aclose()

    assert "httpx busy 1 waiting 1" == while_waiting
    assert "httpx busy 0 waiting 0" == transport.describe()
    assert 2 == len(server.peers)
    await transport.aclose()
