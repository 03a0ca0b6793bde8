"""The simulator over real sockets: what a client sees byte for byte, how the connection ends, what is recorded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import trio

from pg_trio.simulator import Behaviours, ReaderLimits, Received, Simulator, serve_simulator

# A hang fails a test instead of the run; nothing waits for it otherwise.
LIMIT_S = 20


@pytest.fixture
async def simulator(nursery: trio.Nursery) -> Simulator:
    started: Simulator = await nursery.start(serve_simulator)
    return started


@pytest.fixture(autouse=True)
async def time_limit() -> AsyncIterator[None]:
    # Not a scope around the yield: pytest-trio forbids it; a task that fails is what a fixture may have.
    async def fail_late() -> None:
        await trio.sleep(LIMIT_S)
        raise TimeoutError("the test hangs")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_late)
        yield
        nursery.cancel_scope.cancel()


def chat(model: str = "sim", *, headers: str = "", **fields: Any) -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello you"}], **fields}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: simulator\r\nContent-Type: application/json\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def connect(simulator: Simulator) -> trio.SocketStream:
    port = int(simulator.base_url.rpartition(":")[2].removesuffix("/v1"))
    return await trio.open_tcp_stream("127.0.0.1", port)


async def receive_until(stream: trio.SocketStream, ending: bytes) -> bytes:
    """What arrives up to and including these bytes."""
    received = b""
    while not received.endswith(ending):
        data = await stream.receive_some()
        assert data, f"closed after {received!r}"
        received += data
    return received


async def receive_end(stream: trio.SocketStream) -> tuple[bytes, str]:
    """Everything that arrives, and how the connection ended: `closed` (FIN) or `reset` (RST)."""
    received = b""
    try:
        async for data in stream:
            received += data
    except trio.BrokenResourceError as error:
        return received, "reset" if isinstance(error.__cause__, ConnectionResetError) else "broken"
    return received, "closed"


async def exchange(simulator: Simulator, request: bytes) -> tuple[bytes, str]:
    async with await connect(simulator) as stream:
        await stream.send_all(request)
        return await receive_end(stream)


CLOSE = "Connection: close\r\n"


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status_line.split()[1]), headers, body


def dechunk(body: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body, and whether it ended as it should."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return content, body == b"\r\n"
        content += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return content, False


def texts(content: bytes) -> list[str]:
    """The text deltas of a stream's events, in order."""
    deltas = []
    for line in content.decode().split("\n\n"):
        if line.startswith("data: {"):
            choices = json.loads(line.removeprefix("data: ")).get("choices", [])
            deltas += [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
    return deltas


# ── good answers ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_plain_answer(simulator: Simulator) -> None:
    answer, ending = await exchange(simulator, chat(headers=CLOSE))

    status, headers, body = split(answer)
    completion = json.loads(body)
    assert (200, "application/json", "closed") == (status, headers["content-type"], ending)
    assert "You said: Hello you" == completion["choices"][0]["message"]["content"]
    assert {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7} == completion["usage"]
    assert completion["id"].startswith("chatcmpl-")


async def test_connection_is_kept(simulator: Simulator) -> None:
    async with await connect(simulator) as stream:
        for _ in range(3):
            await stream.send_all(chat())
            await receive_until(stream, b"}}")

    assert [1, 1, 1] == [request.connection.number for request in simulator.requests]
    assert {"sim": 3} == simulator.counts


async def test_early_requests_are_answered_in_order(simulator: Simulator) -> None:
    requests = [chat("sim?content=first&latency=5ms"), chat("sim?content=second", headers=CLOSE)]

    answer, _ = await exchange(simulator, b"".join(requests))

    assert 0 < answer.index(b'"first"') < answer.index(b'"second"')


async def test_request_is_recorded(simulator: Simulator) -> None:
    await exchange(simulator, chat("gpt-4o-mini", headers=CLOSE + "Authorization: Bearer sk-x\r\n", top_p=0.5))

    request = simulator.requests[0]
    assert ("POST", "/v1/chat/completions", "gpt-4o-mini") == (request.method, request.path, request.model)
    assert ("Bearer sk-x", 0.5) == (request.headers["authorization"], request.body["top_p"])
    assert not request.closed_early
    assert request.answered_at is not None


async def test_stream_is_whole(simulator: Simulator) -> None:
    request = chat("sim?pace=1ms", headers=CLOSE, stream=True, stream_options={"include_usage": True})

    answer, _ = await exchange(simulator, request)

    status, headers, body = split(answer)
    content, is_complete = dechunk(body)
    events = content.decode().removesuffix("\n\n").split("\n\n")
    assert (200, "text/event-stream; charset=utf-8", True) == (status, headers["content-type"], is_complete)
    assert ["You", " said:", " Hello", " you"] == texts(content)
    assert "data: [DONE]" == events[-1]
    assert 7 == json.loads(events[-2].removeprefix("data: "))["usage"]["total_tokens"]
    assert "stop" == json.loads(events[-3].removeprefix("data: "))["choices"][0]["finish_reason"]


async def test_header_overlays_model(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?content=a", headers=CLOSE + "X-Simulate: content=b\r\n"))

    assert "b" == json.loads(split(answer)[2])["choices"][0]["message"]["content"]


async def test_behaviour_changes_while_running(simulator: Simulator) -> None:
    simulator.behave("m", "fault=status:503")
    bad, _ = await exchange(simulator, chat("m", headers=CLOSE))
    simulator.behave("m", content="good again")

    good, _ = await exchange(simulator, chat("m", headers=CLOSE))

    assert (503, 200) == (split(bad)[0], split(good)[0])
    assert b"good again" in good


async def test_models_are_listed(simulator: Simulator) -> None:
    simulator.behave("mine")

    answer, _ = await exchange(simulator, b"GET /v1/models HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")

    listed = [model["id"] for model in json.loads(split(answer)[2])["data"]]
    assert {"sim", "sim?slow", "mine"} <= set(listed)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("request_bytes", "status", "words"),
    [
        (b"GET /v1/nothing HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n", 404, "/v1/nothing"),
        (b"GET /v1/chat/completions HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n", 404, "GET"),
        (chat(headers=CLOSE, messages=[]), 400, "messages"),
        (chat("sim?speed=1", headers=CLOSE), 400, "'speed' is no option"),
        (chat(headers=CLOSE + "X-Simulate: fault=refuse\r\n"), 400, "cannot refuse"),
        (b"not http\r\n\r\n", 400, "no HTTP/1.1"),
    ],
)
async def test_refusal_says_why(simulator: Simulator, request_bytes: bytes, status: int, words: str) -> None:
    answer, ending = await exchange(simulator, request_bytes)

    assert (status, "closed") == (split(answer)[0], ending)
    assert words in json.loads(split(answer)[2])["error"]["message"]


async def test_key_is_demanded(nursery: trio.Nursery) -> None:
    simulator = await nursery.start(serve_simulator, Behaviours(api_key="sk-right"))

    statuses = []
    for key in ("sk-right", "sk-wrong"):
        answer, _ = await exchange(simulator, chat(headers=CLOSE + f"Authorization: Bearer {key}\r\n"))
        statuses.append(split(answer)[0])

    assert [200, 401] == statuses


SMALL = Behaviours(limits=ReaderLimits(head_bytes=1_000, body_bytes=100_000))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nX-Long: " + b"x" * 2_000, 431),
        (b"GET /v1/models HTTP/1.1\r\nX-Long: " + b"x" * 2_000 + b"\r\n\r\n", 431),
        (chat(filler="x" * 100_001), 413),
        (b"POST /v1/models HTTP/1.1\r\nContent-Length: 100001\r\n\r\n", 413),
    ],
)
async def test_size_limits(nursery: trio.Nursery, request_bytes: bytes, status: int) -> None:
    simulator = await nursery.start(serve_simulator, SMALL)

    async with await connect(simulator) as stream:
        await stream.send_all(request_bytes)
        answer, ending = await receive_end(stream)

    assert (status, "closed") == (split(answer)[0], ending)


async def test_idle_connection_is_closed(nursery: trio.Nursery) -> None:
    simulator = await nursery.start(serve_simulator, Behaviours(limits=ReaderLimits(idle_s=0.05)))

    async with await connect(simulator) as stream:
        received = await receive_end(stream)

    assert (b"", "closed") == received


async def test_continue_is_sent(simulator: Simulator) -> None:
    head, _, body = chat(headers=CLOSE + "Expect: 100-continue\r\n").partition(b"\r\n\r\n")

    async with await connect(simulator) as stream:
        await stream.send_all(head + b"\r\n\r\n")
        interim = await receive_until(stream, b"\r\n\r\n")
        await stream.send_all(body)
        answer, _ = await receive_end(stream)

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == interim
    assert 200 == split(answer)[0]


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_status_and_retry_after(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=status:429&retry_after=2", headers=CLOSE))

    status, headers, body = split(answer)
    assert (429, "2") == (status, headers["retry-after"])
    assert "rate_limit_error" == json.loads(body)["error"]["type"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reset", "reset:head"])
async def test_reset_before_head(simulator: Simulator, fault: str, stream: bool) -> None:
    received = await exchange(simulator, chat(f"sim?fault={fault}", stream=stream))

    assert (b"", "reset") == received


async def test_reset_in_body(simulator: Simulator) -> None:
    answer, ending = await exchange(simulator, chat("sim?fault=reset:body"))

    _, headers, body = split(answer)
    assert "reset" == ending
    assert 0 < len(body) < int(headers["content-length"])


async def test_reset_in_stream(simulator: Simulator) -> None:
    answer, ending = await exchange(simulator, chat("sim?fault=reset:body", stream=True))

    assert (["You", " said:"], "reset") == (texts(dechunk(split(answer)[2])[0]), ending)


async def test_hangup(simulator: Simulator) -> None:
    assert (b"", "closed") == await exchange(simulator, chat("sim?fault=hangup"))


async def test_garbage_is_no_http(simulator: Simulator) -> None:
    answer, ending = await exchange(simulator, chat("sim?fault=garbage"))

    assert "closed" == ending
    assert answer
    assert not answer.startswith(b"HTTP/")


async def test_truncated_by_length(simulator: Simulator) -> None:
    answer, ending = await exchange(simulator, chat("sim?fault=truncate"))

    _, headers, body = split(answer)
    assert "closed" == ending
    assert 0 < len(body) < int(headers["content-length"])


async def test_truncated_chunks(simulator: Simulator) -> None:
    answer, ending = await exchange(simulator, chat("sim?fault=truncate:chunked"))

    content, is_complete = dechunk(split(answer)[2])
    assert ("closed", False) == (ending, is_complete)
    assert content.startswith(b'{"id"')


@pytest.mark.parametrize(
    ("fault", "content_type", "start"),
    [
        ("notjson", "application/json", b'{"id"'),
        ("wrong_type", "text/html; charset=utf-8", b"<!doctype html>"),
        ("error200", "application/json", b'{"error"'),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_nonsense_with_200(
    simulator: Simulator, fault: str, content_type: str, start: bytes, stream: bool
) -> None:
    answer, _ = await exchange(simulator, chat(f"sim?fault={fault}", headers=CLOSE, stream=stream))

    status, headers, body = split(answer)
    assert (200, content_type, str(len(body))) == (status, headers["content-type"], headers["content-length"])
    assert body.startswith(start)


async def test_no_choices(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=nochoices", headers=CLOSE))

    assert "choices" not in json.loads(split(answer)[2])


async def test_empty_message(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=empty", headers=CLOSE))

    message = json.loads(split(answer)[2])["choices"][0]["message"]
    assert {"role": "assistant", "content": None} == message


async def test_drip_arrives_whole(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=drip:50us", headers=CLOSE))

    _, headers, body = split(answer)
    assert int(headers["content-length"]) == len(body)


async def test_huge_body(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=huge:3000000", headers=CLOSE))

    _, headers, body = split(answer)
    assert (3_000_000, "3000000") == (len(body), headers["content-length"])
    assert set(json.loads(body)["choices"][0]["message"]["content"]) == {"x"}


async def test_answered_twice(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=dup", headers=CLOSE))

    assert 2 == answer.count(b"HTTP/1.1 200 OK")


async def test_first_calls_fail(simulator: Simulator) -> None:
    request = chat("sim?fault=status:500&fail_first=2", headers=CLOSE)

    statuses = [split((await exchange(simulator, request))[0])[0] for _ in range(4)]

    assert [500, 500, 200, 200] == statuses


# ── faults of streams ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("fault", "is_complete"), [("cut:3", False), ("cut:3:clean", True), ("truncate", False)])
async def test_cut_stream(simulator: Simulator, fault: str, is_complete: bool) -> None:
    answer, ending = await exchange(simulator, chat(f"sim?tokens=6&fault={fault}", headers=CLOSE, stream=True))

    content, ended_well = dechunk(split(answer)[2])
    assert (3, is_complete, "closed") == (len(texts(content)), ended_well, ending)
    assert b"[DONE]" not in content
    assert b'"finish_reason":"stop"' not in content


async def test_stream_without_done(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=no_done", headers=CLOSE, stream=True))

    content, is_complete = dechunk(split(answer)[2])
    assert is_complete
    assert b'"finish_reason":"stop"' in content
    assert b"[DONE]" not in content


async def test_event_that_is_no_json(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=malformed_chunk", headers=CLOSE, stream=True))

    content, is_complete = dechunk(split(answer)[2])
    assert is_complete
    assert b'"delta":oops\n\n' in content


async def test_chunk_size_that_is_none(simulator: Simulator) -> None:
    answer, ending = await exchange(simulator, chat("sim?fault=malformed_chunk:http", stream=True))

    assert "closed" == ending
    assert answer.endswith(b"\r\nthis is no chunk size\r\n")


async def test_error_in_stream(simulator: Simulator) -> None:
    answer, _ = await exchange(simulator, chat("sim?fault=stream_error:2", headers=CLOSE, stream=True))

    content, _ = dechunk(split(answer)[2])
    last_event = content.decode().removesuffix("\n\n").split("\n\n")[-1]
    assert ["You", " said:"] == texts(content)
    assert "server_error" == json.loads(last_event.removeprefix("data: "))["error"]["type"]


# ── from another process ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_are_told(simulator: Simulator) -> None:
    before = time.monotonic()
    await exchange(simulator, chat("sim?fault=status:503", headers=CLOSE))
    await exchange(simulator, chat(headers=CLOSE))
    async with await connect(simulator) as waiting:
        await waiting.send_all(chat("sim?fault=stall"))
        await simulator.wait_request(3)

        answer, _ = await exchange(simulator, b"GET /requests?after=1 HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")

    told = json.loads(split(answer)[2])
    second, third = told["requests"]
    assert (3, 1) == (told["received"], told["open_connections"])
    assert (2, "sim", "Hello you", None) == (second["number"], second["model"], second["said"], second["fault"])
    assert before <= second["arrived_at"] <= second["answered_at"] <= second["closed_at"] <= time.monotonic()
    assert (3, "stall", None, None) == (third["number"], third["fault"], third["answered_at"], third["closed_at"])


async def test_requests_are_told_to_the_key_only(nursery: trio.Nursery) -> None:
    simulator: Simulator = await nursery.start(serve_simulator, Behaviours(api_key="sk-mine"))

    answer, _ = await exchange(simulator, b"GET /requests HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")

    assert 401 == split(answer)[0]


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────

COMMAND = [sys.executable, "-m", "pg_trio", "simulate"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_command_serves_until_stopped(stop: signal.Signals) -> None:
    arguments = ["--bind", "127.0.0.1:0", "--default", "fault=status:503", "--api-key", "sk-mine", "--verbose"]
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process: trio.Process = await nursery.start(partial(start, check=False))
        assert process.stdout is not None
        assert process.stderr is not None
        greeting = b""
        while greeting.count(b"\n") < 2:
            greeting += await process.stdout.receive_some()
        base_url, curl = greeting.decode().splitlines()[:2]
        port = int(base_url.rpartition(":")[2].removesuffix("/v1"))

        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(chat(headers=CLOSE + "Authorization: Bearer sk-mine\r\n"))
            answer, _ = await receive_end(stream)
        line = await process.stderr.receive_some()
        process.send_signal(stop)

    assert 503 == split(answer)[0]
    assert b"1 POST /v1/chat/completions model=sim fault=status done\n" == line
    assert f"curl -s {base_url}/chat/completions" in curl
    assert "sk-mine" not in greeting.decode()
    assert 0 == process.returncode


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--default", "speed=1"], 2, "--default: 'speed' is no option"),
        (["--bind", "example.org:1"], 2, "HOST must be an IP address"),
        (["--bind", "127.0.0.1:70000"], 2, "PORT must be a number"),
        (["--keep", "-1"], 2, "'-1' must be a whole number"),
    ],
)
async def test_command_says_what_is_wrong(arguments: list[str], status: int, words: str) -> None:
    ended = await trio.run_process([*COMMAND, *arguments], capture_stdout=True, capture_stderr=True, check=False)

    assert status == ended.returncode
    assert words in ended.stderr.decode()


async def test_command_names_a_taken_port(simulator: Simulator) -> None:
    taken = simulator.base_url.removeprefix("http://").removesuffix("/v1")

    ended = await trio.run_process([*COMMAND, "--bind", taken], capture_stderr=True, check=False)

    assert 1 == ended.returncode
    assert f"pg-trio simulate: cannot listen on {taken}: Address already in use\n" == ended.stderr.decode()


# ── the client leaves ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "stream", "seen"),
    [
        ("sim?fault=stall", False, b""),
        ("sim?latency=1000s", False, b""),
        ("sim?fault=stall:body", False, b'{"id"'),
        ("sim?fault=stall:2", True, b" said:"),
        ("sim?pace=1000s", True, b'"You"'),
        ("sim?head=early&latency=1000s", True, b'"assistant"'),
    ],
)
async def test_leaving_early_is_recorded(simulator: Simulator, model: str, stream: bool, seen: bytes) -> None:
    async with await connect(simulator) as client:
        await client.send_all(chat(model, stream=stream))
        request: Received = await simulator.wait_request(1)
        received = b""
        while seen not in received:
            received += await client.receive_some()
        assert 1 == simulator.open_connections

    await simulator.wait_closed(request)

    assert (True, None) == (request.closed_early, request.answered_at)
    assert request.closed_at is not None
    assert request.closed_at >= request.arrived_at


async def test_leaving_a_huge_body(simulator: Simulator) -> None:
    async with await connect(simulator) as client:
        await client.send_all(chat("sim?fault=huge:100000000"))
        await client.receive_some()

    request = await simulator.wait_closed()

    assert request.closed_early


async def test_leaving_between_requests_is_not_early(simulator: Simulator) -> None:
    async with await connect(simulator) as client:
        await client.send_all(chat())
        await receive_until(client, b"}}")

    request = await simulator.wait_closed()
    await simulator.wait_no_connections()

    assert not request.closed_early
    assert 0 == simulator.open_connections


async def test_cancelling_frees_the_port() -> None:
    async with trio.open_nursery() as nursery:
        first: Simulator = await nursery.start(serve_simulator)
        async with await connect(first) as client:
            await client.send_all(chat("sim?fault=stall"))
            await first.wait_request(1)
            nursery.cancel_scope.cancel()

    port = int(first.base_url.rpartition(":")[2].removesuffix("/v1"))
    async with trio.open_nursery() as nursery:
        second: Simulator = await nursery.start(partial(serve_simulator, port=port))
        answer, _ = await exchange(second, chat(headers=CLOSE))
        nursery.cancel_scope.cancel()

    assert 200 == split(answer)[0]
    assert 0 == first.open_connections
