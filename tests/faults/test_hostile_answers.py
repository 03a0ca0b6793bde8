"""Providers that answer with more than was asked for: each is bounded, whatever it says it sends."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.contract.fault_server import FaultServer, Script, answer_with, answers
from tests.support.gateway import PROJECT, Gateway, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

MIB = 1024 * 1024
REPLY = {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}

Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture(params=["direct", "httpx"])
def start(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Start:
    """A gateway whose provider plays the scripts."""

    async def start_with(*scripts: Script, upstream: str = "") -> Gateway:
        server = FaultServer(scripts, scheme="http", tls=None)
        await nursery.start(server.serve)
        url = server.url.removesuffix("/chat/completions")
        lines = [f'[[credentials]]\nname = "odd"\nprovider = "openai"\napi_key = "k"\nbase_url = "{url}"']
        lines.append(f'transport = "{request.param}"\n[upstream]\n{upstream}')
        lines.append(project() + '[[projects.endpoints]]\nslug = "e"\ncredential = "odd"\nmodel = "m"')
        return await start_gateway(nursery, tmp_path, "\n".join([*lines, "streaming_enabled = true"]))

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
