"""`/v1/messages` over sockets, byte by byte: routes, hostile bodies, streams, and what passes through to Anthropic."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.surfaces.reading.tool_fields import MAX_TOOLS
from tests.contract.fault_server import FaultServer, answers
from tests.support.anthropic_types import check_count, check_failure, check_message, content_of_stream, read_stream
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.recordings import load_recording
from tests.support.wire import HttpResponse, bearer, get, post, send_raw

CREDENTIALS = """
[[credentials]]
name = "claude"
provider = "anthropic"
api_key = "sk-ant-0000"
base_url = "http://127.0.0.1:{port}/v1"
"""
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("ask", streaming_enabled=True),
        endpoint("framed", user_prompt_template="<{{input}}>", prompt="Be brief."),
        endpoint("shaped", output_schema={"type": "object", "required": ["a"]}, output_repair="lenient"),
        endpoint("limited", rate_limit_per_minute=5),
        endpoint("thinks", streaming_enabled=True, stream_head_after_ms=100, max_attempts=1),
        endpoint("claude", "claude-sonnet-4-5", streaming_enabled=True).replace('"sim"', '"claude"'),
    ]
)
PATH = f"/api/{PROJECT}/v1/messages"
HELLO: dict[str, Any] = {"model": "ask", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello there"}]}


def streamed(name: str) -> bytes:
    """A recorded stream as the bytes of an HTTP answer."""
    body = load_recording(name).body + b"\n\n"
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
async def upstream(nursery: trio.Nursery) -> FaultServer:
    """An Anthropic that answers with a recorded stream of its server tools."""
    server = FaultServer((answers(streamed("anthropic/stream_server_tools")),))
    await nursery.start(server.serve)
    return server


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(
    request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path, upstream: FaultServer
) -> Gateway:
    credentials = CREDENTIALS.format(port=upstream.port)
    return await start_gateway(nursery, tmp_path, credentials + CONFIGURATION, request.param)


async def ask(gateway: Gateway, *headers: tuple[str, str], path: str = PATH, **fields: Any) -> HttpResponse:
    return await send_raw(gateway.port, post(path, {**HELLO, **fields}, bearer(gateway.token), *headers))


def shape_of(response: HttpResponse, status: int, kind: str) -> str:
    """The message of a failure in Anthropic's shape."""
    failure = check_failure(response.json())
    assert (status, kind) == (response.status, failure.error.type)
    assert failure.request_id == response.headers["request-id"] == response.headers["x-request-id"]
    return failure.error.message


# ── routes and bodies ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer(gateway: Gateway) -> None:
    response = await ask(gateway)

    message = check_message(response.json())
    assert (200, "You said: Hello there", "ask") == (
        response.status,
        getattr(message.content[0], "text", None),
        message.model,
    )
    assert response.headers["request-id"] == response.headers["x-request-id"]


async def test_key_is_a_header_field_or_the_bearer(gateway: Gateway) -> None:
    key = ("x-api-key", gateway.token)

    alone = await send_raw(gateway.port, post(PATH, HELLO, key))
    both = await ask(gateway, key)
    other = await ask(gateway, ("x-api-key", "pg_live_other"))
    none = await send_raw(gateway.port, post(PATH, HELLO))

    assert [200, 200] == [alone.status, both.status]
    shape_of(other, 401, "authentication_error")
    assert "Missing Bearer token." == shape_of(none, 401, "authentication_error")


async def test_other_methods_and_paths_are_refused_in_anthropics_shape(gateway: Gateway) -> None:
    method = await send_raw(gateway.port, get(PATH, bearer(gateway.token)))
    deeper = await ask(gateway, path=f"{PATH}/batches")
    encoded = await ask(gateway, path=f"/api/{PROJECT}/v1/messages/%61")

    assert "Method not allowed." == shape_of(method, 405, "invalid_request_error")
    assert "Not found." == shape_of(deeper, 404, "not_found_error") == shape_of(encoded, 404, "not_found_error")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[]", "Body must be a JSON object."),
        (b'{"model": "ask", "model": "ask"}', "model: is there more than once."),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "Body is nested deeper than 64 levels."),
        (b'{"model": "ask", "messages": []}', "max_tokens: is required."),
        (b'{"model": "ask", "max_tokens": "x"}', "messages: is required."),
    ],
)
async def test_bodies_that_are_wrong(gateway: Gateway, body: bytes, text: str) -> None:
    response = await send_raw(gateway.port, post(PATH, body, bearer(gateway.token)))

    assert text == shape_of(response, 400, "invalid_request_error")


async def test_as_many_tools_as_may_be(gateway: Gateway) -> None:
    tools = [{"name": f"tool_{number}", "input_schema": {"type": "object"}} for number in range(MAX_TOOLS)]

    response = await ask(gateway, tools=tools)

    assert (200, MAX_TOOLS) == (response.status, len(sent(gateway)["tools"]))


def sent(gateway: Gateway) -> Any:
    return gateway.simulator.requests[-1].body


async def test_limits_are_in_anthropics_fields(gateway: Gateway) -> None:
    whole = await ask(gateway, model="limited")
    count = await ask(gateway, model="limited", path=f"{PATH}/count_tokens")

    left = [response.headers["anthropic-ratelimit-requests-remaining"] for response in (whole, count)]
    assert ["4", "3"] == left
    assert whole.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


async def test_frame_of_the_endpoint_is_sent_and_counted(gateway: Gateway) -> None:
    await ask(gateway, model="framed")
    count = await ask(gateway, model="framed", path=f"{PATH}/count_tokens")

    expected = ["Be brief.", "<Hello there>"]
    assert expected == [message["content"] for message in sent(gateway)["messages"]]
    assert -(-len("".join(expected)) // 4) == check_count(count.json())
    assert 1 == len(gateway.simulator.requests)


async def test_repaired_answer_is_a_stream_where_one_was_asked_for(gateway: Gateway) -> None:
    gateway.simulator.behave("shaped", content='{"a": 1,}')

    response = await ask(gateway, model="shaped", stream=True)

    assert [{"type": "text", "text": '{"a": 1}'}] == content_of_stream(read_stream(response.body))


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_stream(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", "usage=38:3", content="One two three")

    response = await ask(gateway, stream=True)

    events = read_stream(response.body)
    assert ("text/event-stream; charset=utf-8", response.headers["x-request-id"]) == (
        response.headers["content-type"],
        response.headers["request-id"],
    )
    assert [{"type": "text", "text": "One two three"}] == content_of_stream(events)
    assert (38, 3) == (events[-2]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"])


async def test_pings_come_while_a_model_thinks(gateway: Gateway) -> None:
    gateway.simulator.behave("thinks", "reasoning=10&pace=50ms&head=early", content="Hi")

    events = read_stream((await ask(gateway, model="thinks", stream=True)).body)

    assert ["ping", "message_start"] == [event["type"] for event in events[:2]]
    assert [{"type": "text", "text": "Hi"}] == content_of_stream(events)


async def test_failure_after_thinking_alone_is_an_ordinary_one(gateway: Gateway) -> None:
    gateway.simulator.behave("thinks", "reasoning=2&fault=stream_error:0", content="Hi")

    shape_of(await ask(gateway, model="thinks", stream=True), 502, "api_error")


@pytest.mark.parametrize("fault", ["cut:2", "stream_error:2", "cut:2:clean", "cut:2:inside"])
async def test_broken_stream_has_an_error_and_no_end(gateway: Gateway, fault: str) -> None:
    gateway.simulator.behave("ask", f"fault={fault}", content="One two three four")

    events = read_stream((await ask(gateway, stream=True)).body)

    assert ("error", "api_error") == (events[-1]["type"], events[-1]["error"]["type"])
    assert "message_stop" not in [event["type"] for event in events]


# ── through to Anthropic ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_server_tools_and_their_blocks_pass_through(gateway: Gateway, upstream: FaultServer) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]
    beta = ("anthropic-beta", "web-search-2025-03-05")

    response = await ask(gateway, beta, ("anthropic-version", "2024-01-01"), model="claude", tools=tools, stream=True)

    content = content_of_stream([event for event in _events(response.body) if event["type"] != "ping"])
    assert ["text", "server_tool_use", "web_search_tool_result", "hologram", "text"] == [
        block["type"] for block in content
    ]
    assert {"query": "weather NYC"} == content[1]["input"]
    head, _, body = upstream.peers[0].requests[0].partition(b"\r\n\r\n")
    assert {**HELLO, "model": "claude-sonnet-4-5", "tools": tools, "stream": True} == json.loads(body)
    lines = head.lower().split(b"\r\n")
    assert {b"anthropic-beta: web-search-2025-03-05", b"anthropic-version: 2024-01-01"} <= set(lines)
    assert 1 == len([line for line in lines if line.startswith(b"anthropic-version")])


def _events(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream that has a block of a type that the package does not know."""
    return [json.loads(text.partition(b"data: ")[2]) for text in body.split(b"\n\n") if text]


async def test_shed_requests_are_overloaded(nursery: trio.Nursery, tmp_path: Path) -> None:
    """529 is Anthropic's own status for it."""
    server = "[gateway]\nmax_concurrent_requests = 1\nadmission_wait_ms = 1\n"
    gateway = await start_gateway(nursery, tmp_path, server + project() + endpoint("ask"))
    gateway.simulator.behave("ask", "fault=stall")

    async with trio.open_nursery() as waiting:
        waiting.start_soon(partial(ask, gateway))
        await gateway.simulator.wait_request()
        shed = await ask(gateway)
        waiting.cancel_scope.cancel()

    assert "Gateway is overloaded." == shape_of(shed, 529, "overloaded_error")
    assert int(shed.headers["retry-after"]) * 1000 == int(shed.headers["retry-after-ms"])
