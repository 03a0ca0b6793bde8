"""What `reversible_redaction` shows to whom: placeholders to provider, session and log, text to the caller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.simulator.behaviour import CalledTool
from tests.e2e.test_streaming import chunks_of, text_of
from tests.support.gateway import Gateway, endpoint, project, start_gateway

MAIL, OTHER = "max@example.com", 'the "boss" b@example.org'
RULE = {"reversible_redaction": {"enabled": True, "types": ["email"]}}
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("hidden", streaming_enabled=True, log_bodies="full", guardrails=RULE),
        endpoint("talk", sessions_enabled=True, streaming_enabled=True, guardrails=RULE),
        endpoint("prompted", prompt="Write [[EMAIL_004]] for an address.", guardrails=RULE),
    ]
)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


async def say(gateway: Gateway, slug: str, message: str, **fields: Any) -> Any:
    return await gateway.call(slug, {"message": message, **fields})


async def test_caller_alone_has_the_text(gateway: Gateway) -> None:
    gateway.simulator.behave("hidden", content="I wrote to [[EMAIL_001]], not to [[EMAIL_007]] or [[PHONE_001]].")

    response = await say(gateway, "hidden", f"Write to {MAIL}!")

    assert f"I wrote to {MAIL}, not to [[EMAIL_007]] or [[PHONE_001]]." == response.json()["content"]
    [received] = gateway.simulator.requests
    assert "Write to [[EMAIL_001]]!" == received.body["messages"][-1]["content"]
    await gateway.stop()
    [row] = gateway.log_rows()
    assert MAIL not in json.dumps({name: str(value) for name, value in row.items()})


@pytest.mark.parametrize("pace", ["", "pace=1ms"])
async def test_streamed_text_is_put_back(gateway: Gateway, pace: str) -> None:
    gateway.simulator.behave("hidden", pace, content="I wrote to [[EMAIL_001]] [[EMAIL [[[[EMAIL_001]]] and [[")

    response = await say(gateway, "hidden", f"Write to {MAIL}!", stream=True)

    assert f"I wrote to {MAIL} [[EMAIL [[{MAIL}] and [[" == text_of(response)


@pytest.mark.parametrize("stream", [False, True])
async def test_arguments_stay_json(gateway: Gateway, stream: bool) -> None:
    gateway.simulator.behave("hidden", tool=CalledTool("send", '{"to": "[[EMAIL_001]]"}'))
    tools = [{"type": "function", "function": {"name": "send"}}]

    response = await say(gateway, "hidden", f"Write to {MAIL}!", stream=stream, tools=tools)

    if stream:
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(response) if chunk["choices"]]
        arguments = "".join(c["function"]["arguments"] for d in deltas for c in d.get("tool_calls", ()))
    else:
        arguments = response.json()["tool_calls"][0]["function"]["arguments"]
    assert {"to": MAIL} == json.loads(arguments)


async def test_same_text_has_the_same_placeholder(gateway: Gateway) -> None:
    await say(gateway, "hidden", f"{MAIL} b@example.org {MAIL}")

    assert "[[EMAIL_001]] [[EMAIL_002]] [[EMAIL_001]]" == gateway.simulator.requests[0].body["messages"][-1]["content"]


async def test_look_alikes_are_not_replaced(gateway: Gateway) -> None:
    gateway.simulator.behave("hidden", content="[[EMAIL_003]] [[EMAIL_004]]")

    response = await say(gateway, "hidden", f"[[EMAIL_003]] is not {MAIL}")

    assert "[[EMAIL_003]] is not [[EMAIL_004]]" == gateway.simulator.requests[0].body["messages"][-1]["content"]
    assert f"[[EMAIL_003]] {MAIL}" == response.json()["content"]


async def test_prompt_keeps_its_own(gateway: Gateway) -> None:
    gateway.simulator.behave("prompted", content="[[EMAIL_004]] [[EMAIL_005]]")

    response = await say(gateway, "prompted", MAIL)

    assert f"[[EMAIL_004]] {MAIL}" == response.json()["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_numbering_goes_on_in_a_session(gateway: Gateway, stream: bool) -> None:
    gateway.simulator.behave("talk", content="To [[EMAIL_001]].")
    first = await say(gateway, "talk", f"First {MAIL}")
    gateway.simulator.behave("talk", content="To [[EMAIL_001]] and [[EMAIL_002]].")

    second = await say(
        gateway, "talk", "Then b@example.org", session_id=first.json()["meta"]["session_id"], stream=stream
    )

    assert f"To {MAIL}." == first.json()["content"]
    said = text_of(second) if stream else second.json()["content"]
    assert "To [[EMAIL_001]] and b@example.org." == said
    sent = [message["content"] for message in gateway.simulator.requests[-1].body["messages"]]
    assert ["First [[EMAIL_001]]", "To [[EMAIL_001]].", "Then [[EMAIL_002]]"] == sent
