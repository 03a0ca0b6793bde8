"""Guardrails for answers on every surface: what a client gets has nothing masked in it, in the shape that it knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.simulator.behaviour import CalledTool
from tests.contract.fault_server import FaultServer, answers
from tests.e2e.test_v1_messages import CREDENTIALS
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.recordings import load_recording
from tests.support.wire import HttpResponse, bearer, post, send_raw

MAIL = "max.mustermann@example.com"
SAID = f"Write to {MAIL}, please."
MASKED = "Write to [E-Mail REDACTED], please."
SEARCHED = (
    load_recording("anthropic/stream_server_tools")
    .body.replace(b" It rains.", f" Write to {MAIL}.".encode())
    .replace(b"Weather in New York City", f"Weather by {MAIL}".encode())
    .replace(b'"web_search_result_location"', f'"web_search_result_location","cited_text":"by {MAIL}"'.encode())
)
MASK = {"output": {"pii_filter": {"enabled": True}}}
BLOCK = {"output": {"pii_filter": {"mode": "block"}}}
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("masked", streaming_enabled=True, guardrails=MASK),
        endpoint("blocked", streaming_enabled=True, guardrails=BLOCK),
        endpoint("shaped", output_schema={"type": "object", "required": ["to"]}, guardrails=MASK),
        endpoint("talk", streaming_enabled=True, sessions_enabled=True, guardrails=MASK),
        endpoint("claude", "claude-sonnet-4-5", streaming_enabled=True, guardrails=MASK).replace('"sim"', '"claude"'),
    ]
)
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "gateway": ("", {"message": "Who?"}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Who?"}]}),
    "messages": ("/v1/messages", {"max_tokens": 100, "messages": [{"role": "user", "content": "Who?"}]}),
    "responses": ("/v1/responses", {"input": "Who?"}),
}


@pytest.fixture
async def upstream(nursery: trio.Nursery) -> FaultServer:
    """An Anthropic that streams an answer with an address in its text, in a search's result and in a citation."""
    body = SEARCHED + b"\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
    server = FaultServer((answers(head + body),))
    await nursery.start(server.serve)
    return server


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path, upstream: FaultServer) -> Gateway:
    return await start_gateway(nursery, tmp_path, CREDENTIALS.format(port=upstream.port) + CONFIGURATION)


async def ask(gateway: Gateway, surface: str, slug: str, **fields: Any) -> HttpResponse:
    path, body = CALLS[surface]
    if path:
        return await send_raw(
            gateway.port, post(f"/api/{PROJECT}{path}", {**body, "model": slug, **fields}, bearer(gateway.token))
        )
    return await gateway.call(slug, {**body, **fields})


@pytest.mark.parametrize("surface", CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_masked_reaches_a_client(gateway: Gateway, surface: str, stream: bool) -> None:
    gateway.simulator.behave("masked", "pace=1ms", content=SAID)

    response = await ask(gateway, surface, "masked", stream=stream)

    assert 200 == response.status
    assert b"mustermann" not in response.body
    assert b"[E-Mail REDACTED]" in response.body
    if not stream:
        assert "pii_filter=mask" == response.headers["x-pg-guardrails"]


@pytest.mark.parametrize("surface", CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_refused_answer_is_a_422(gateway: Gateway, surface: str, stream: bool) -> None:
    gateway.simulator.behave("blocked", content=f"{MAIL} it is, so write to it.")

    response = await ask(gateway, surface, "blocked", stream=stream)

    assert 422 == response.status
    assert b"Response blocked: E-Mail detected in output." in response.body


@pytest.mark.parametrize("surface", CALLS)
async def test_refused_stream_does_not_look_finished(gateway: Gateway, surface: str) -> None:
    gateway.simulator.behave("blocked", "pace=5ms", content=f"Hello there, dear friend: {MAIL} it is, so write to it.")

    response = await ask(gateway, surface, "blocked", stream=True)

    assert 200 == response.status
    assert b"Response blocked: E-Mail detected in output." in response.body
    assert b"mustermann" not in response.body
    assert not any(end in response.body for end in (b'"stop"', b"message_stop", b"response.completed"))


@pytest.mark.parametrize("surface", CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_arguments_are_masked(gateway: Gateway, surface: str, stream: bool) -> None:
    gateway.simulator.behave("masked", tool=CalledTool("send", json.dumps({"to": MAIL, "n": 1})))
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    tool = {
        "messages": {"name": "send", "input_schema": schema},
        "responses": {"type": "function", "name": "send", "parameters": schema},
    }.get(surface, {"type": "function", "function": {"name": "send", "parameters": schema}})

    response = await ask(gateway, surface, "masked", stream=stream, tools=[tool])

    assert 200 == response.status
    assert b"mustermann" not in response.body
    assert b"[E-Mail REDACTED]" in response.body


async def test_blocks_of_anthropics_wire_are_masked(gateway: Gateway) -> None:
    response = await ask(gateway, "messages", "claude", stream=True)

    assert b"mustermann" not in response.body
    events = [json.loads(line[6:]) for line in response.body.splitlines() if line.startswith(b"data: ")]
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert ["text", "server_tool_use", "web_search_tool_result", "hologram", "text"] == [one["type"] for one in blocks]
    assert "Weather by [E-Mail REDACTED]" == blocks[2]["content"][0]["title"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    texts = [delta["text"] for delta in deltas if delta["type"] == "text_delta"]
    assert "I'll check. Write to [E-Mail REDACTED]." == "".join(texts)
    assert ["by [E-Mail REDACTED]"] == [
        delta["citation"]["cited_text"] for delta in deltas if delta["type"] == "citations_delta"
    ]


async def test_schema_checks_the_masked_answer(gateway: Gateway) -> None:
    gateway.simulator.behave("shaped", content=json.dumps({"to": MAIL}))

    response = await ask(gateway, "gateway", "shaped")

    assert {"to": "[E-Mail REDACTED]"} == json.loads(response.json()["content"])


@pytest.mark.parametrize("stream", [False, True])
async def test_session_has_what_the_caller_got(gateway: Gateway, stream: bool) -> None:
    gateway.simulator.behave("talk", content=SAID)
    first = await ask(gateway, "gateway", "talk", stream=stream)
    session = first.headers["x-pg-session-id"]

    await ask(gateway, "gateway", "talk", session_id=session)

    sent = [message["content"] for message in gateway.simulator.requests[-1].body["messages"]]
    assert ["Who?", MASKED, "Who?"] == sent
