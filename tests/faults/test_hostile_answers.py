"""Providers that send more than was requested: each is bounded, regardless of its headers."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.contract.fault_server import FaultServer, Peer, Script, answer_with, answers
from tests.support.gateway import PROJECT, Gateway, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

MIB = 1024 * 1024
REPLY = {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}

Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture(params=["direct", "httpx"])
def start(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Start:
    """A gateway whose provider plays the scripts."""

    async def start_with(*scripts: Script, upstream: str = "", gateway: str = "") -> Gateway:
        server = FaultServer(scripts, scheme="http", tls=None)
        await nursery.start(server.serve)
        url = server.url.removesuffix("/chat/completions")
        lines = [
            f'[[credentials]]\nname = "odd"\nprovider = "openai"\napi_key = "sk-odd-0123456789"\nbase_url = "{url}"'
        ]
        lines.append(f'transport = "{request.param}"\n[upstream]\n{upstream}\n[gateway]\n{gateway}')
        lines.append(project() + '[[projects.endpoints]]\nslug = "e"\ncredential = "odd"\nmodel = "m"')
        return await start_gateway(
            nursery, tmp_path, "\n".join([*lines, "streaming_enabled = true", "max_attempts = 1"])
        )

    return start_with


async def ask(gateway: Gateway, *, stream: bool) -> HttpResponse:
    body = {"message": "Hi", "stream": stream}
    return await send_raw(gateway.port, post(f"/api/{PROJECT}/e", body, bearer(gateway.token)))


def json_answer(body: bytes, coding: str) -> Script:
    head = f"content-type: application/json\r\ncontent-encoding: {coding}\r\n".encode()
    return answers(answer_with(body, headers=head))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
async def test_whole_answer_is_limited_however_it_was_asked_for(start: Start, stream: bool, layers: int) -> None:
    # 78 KB of gzip took a worker from 116 to 2,536 MB where a stream had been asked for.
    bomb = b"[" + b"[]," * (80 * MIB // 3) + b"0]"
    for _ in range(layers):
        bomb = gzip.compress(bomb)
    gateway = await start(json_answer(bomb, ", ".join(["gzip"] * layers)), upstream=f"max_body_bytes = {MIB}")
    tracemalloc.start()

    answer = await ask(gateway, stream=stream)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 502 == answer.status
    assert "size limit" in answer.json()["error"] or "over 1048576 bytes" in answer.json()["error"]
    assert peak_bytes < 8 * MIB


@pytest.mark.parametrize("stream", [False, True])
async def test_whole_answer_within_the_limit_is_read(start: Start, stream: bool) -> None:
    gateway = await start(json_answer(gzip.compress(json.dumps(REPLY).encode()), "gzip"))

    answer = await ask(gateway, stream=stream)

    assert 200 == answer.status
    assert b"Hello" in answer.body


async def test_refusal_in_an_unknown_coding_keeps_its_status(start: Start) -> None:
    refusal = answer_with(b"\x0b\x02\x80", status="429 Slow", headers=b"content-encoding: br\r\nretry-after: 600\r\n")
    gateway = await start(answers(refusal))

    answer = await ask(gateway, stream=False)

    assert (502, "600") == (answer.status, answer.headers["retry-after"])


async def test_answer_that_costs_too_much_to_read_is_refused(start: Start) -> None:
    # 16 MB of them within the limit stopped the event loop for 0.6 s, and took 400 MB.
    body = b'{"choices":[],"x":[' + b"[]," * (15 * MIB // 3) + b"0]}"
    gateway = await start(answers(answer_with(body, headers=b"content-type: application/json\r\n")))
    tracemalloc.start()

    answer = await ask(gateway, stream=False)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 502 == answer.status
    assert "answer has more than 250000 objects, lists and keys" in answer.json()["error"]
    # The body twice, in pieces and joined, and the server's own copy of it.
    assert peak_bytes < 64 * MIB


async def test_large_answers_in_flight_are_bounded(start: Start) -> None:
    text = json.dumps({**REPLY, "x": "x" * 400_000}).encode()
    whole = answer_with(text, headers=b"content-type: application/json\r\n")
    released, half_sent = trio.Event(), trio.Event()

    async def answer_in_halves(peer: Peer) -> None:
        await peer.answer(whole[:350_000])
        half_sent.set()
        await released.wait()
        await peer.send(whole[350_000:])

    gateway = await start(answer_in_halves, answers(whole), gateway="max_inflight_body_bytes = 1048576")
    statuses: list[int] = []

    async def ask_and_note() -> None:
        statuses.append((await ask(gateway, stream=False)).status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_note)
        await half_sent.wait()

        # Half of the bound is one token's: there is no room for a second answer, but for another token's there is.
        shed = await ask(gateway, stream=False)
        assert (503, "1") == (shed.status, shed.headers["retry-after"])
        gateway.token, own = gateway.make_token(), gateway.token
        assert 200 == (await ask(gateway, stream=False)).status
        gateway.token = own
        released.set()

    assert [200] == statuses
    assert 200 == (await ask(gateway, stream=False)).status
