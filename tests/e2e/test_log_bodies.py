"""What the log's file holds of bodies, for what a client sent and a provider answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway

EMAIL = "jane.doe@example.com"
MASKS: dict[str, Any] = {"guardrails": {"pii_filter": {"enabled": True}}}
BLOCKS: dict[str, Any] = {"guardrails": {"pii_filter": {"enabled": True, "mode": "block"}}}
SCHEMA = {"type": "object", "required": ["n"]}

CONFIGURATION = "\n".join(
    [
        "[gateway]\nlog_body_chars = 256",
        project(),
        endpoint("none"),
        endpoint("full", log_bodies="full", streaming_enabled=True, **MASKS),
        endpoint("redacted", log_bodies="redacted", streaming_enabled=True),
        endpoint("blocked", log_bodies="full", **BLOCKS),
        endpoint("once", log_bodies="full", rate_limit_per_minute=1, **MASKS),
        endpoint("output", log_bodies="full", output_schema=SCHEMA),
        endpoint("down", log_bodies="full"),
    ]
)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


async def bodies(gateway: Gateway) -> list[tuple[Any, Any]]:
    """(request, answer) of each row, once the gateway has stopped."""
    await gateway.stop()
    return [(read(row["request_body"]), read(row["response_body"])) for row in gateway.log_rows()]


def read(column: str | None) -> Any:
    return None if column is None else json.loads(column)


async def test_nothing_unless_asked(gateway: Gateway) -> None:
    await gateway.call("none")

    assert [(None, None)] == await bodies(gateway)


async def test_full_is_what_was_said(gateway: Gateway) -> None:
    answer = (await gateway.call("full", {"message": "Hello there"})).json()

    [(asked, answered)] = await bodies(gateway)
    assert {"messages": [{"role": "user", "content": "Hello there"}]} == asked
    assert {"content": answer["content"], "finish_reason": "stop"} == answered


async def test_masked_text_never_reaches_log(gateway: Gateway) -> None:
    await gateway.call("full", {"message": f"Write to {EMAIL}"})
    await gateway.call("blocked", {"message": f"Write to {EMAIL}"})
    for _ in range(2):
        await gateway.call("once", {"message": f"Write to {EMAIL}"})

    shown = [asked["messages"][0]["content"] for asked, _ in await bodies(gateway)]
    masked, unseen = "Write to [E-Mail REDACTED]", "[29 characters]"
    assert [masked, unseen, masked, unseen] == shown
    data_dir = gateway.settings.gateway.data_dir
    assert [] == [file.name for file in data_dir.iterdir() if EMAIL.encode() in file.read_bytes()]


async def test_redacted_keeps_lengths(gateway: Gateway) -> None:
    answer = (await gateway.call("redacted", {"message": "Hello there"})).json()

    [(asked, answered)] = await bodies(gateway)
    assert {"messages": [{"role": "user", "content": "[11 characters]"}]} == asked
    assert {"content": f"[{len(answer['content'])} characters]", "finish_reason": "stop"} == answered


async def test_redacted_stream_keeps_lengths(gateway: Gateway) -> None:
    answer = (await gateway.call("redacted", {"message": "Hello"})).json()
    await gateway.call("redacted", {"message": "Hello", "stream": True})

    _, (_, answered) = await bodies(gateway)
    assert {"content": f"[{len(answer['content'])} characters]", "finish_reason": "stop"} == answered


async def test_stream_is_kept_whole(gateway: Gateway) -> None:
    whole = (await gateway.call("full", {"message": "Hello"})).json()["content"]
    await gateway.call("full", {"message": "Hello", "stream": True})

    _, (asked, answered) = await bodies(gateway)
    assert asked["stream"] is True
    assert {"content": whole, "finish_reason": "stop"} == answered


async def test_broken_stream_keeps_what_came(gateway: Gateway) -> None:
    whole = (await gateway.call("full", {"message": "Hello"})).json()["content"]
    gateway.simulator.behave("full", "fault=cut:2")
    await gateway.call("full", {"message": "Hello", "stream": True})

    _, (_, answered) = await bodies(gateway)
    assert "error" == answered["finish_reason"]
    assert answered["content"]
    assert whole.startswith(answered["content"])
    assert whole != answered["content"]


async def test_failures_keep_the_request(gateway: Gateway) -> None:
    gateway.simulator.behave("down", "fault=status:500")
    await gateway.call("down", {"message": "Hello"})
    await gateway.call("output", {"message": "Hello"})

    down, output = await bodies(gateway)
    assert {"messages": [{"role": "user", "content": "Hello"}]} == down[0] == output[0]
    assert down[1] is None
    assert "stop" == output[1]["finish_reason"]


async def test_long_body_is_cut(gateway: Gateway) -> None:
    await gateway.call("full", {"message": "x" * 10_000})

    [(asked, _)] = await bodies(gateway)
    assert asked["cut"] is True
    assert asked["messages"][0]["content"].endswith("x… [9760 characters cut]")
