"""Sessions over sockets: what the provider is sent, what the client is told, what is in the file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from pg_trio.simulator.behaviour import CalledTool
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

# 10 tokens of output and some of input at a cent each: one call with little history fits, none with a long one.
BUDGET: dict[str, Any] = {
    "monthly_budget_usd": "2.00",
    "estimated_cost_per_1k_tokens_usd": "10",
    "max_output_tokens": 10,
}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("talk", sessions_enabled=True, streaming_enabled=True),
        endpoint("other", sessions_enabled=True),
        endpoint("stateless"),
        endpoint("framed", sessions_enabled=True, prompt="Be kind.", user_prompt_template="<<{{input}}>>"),
        endpoint("masked", sessions_enabled=True, guardrails={"pii_filter": {"enabled": True, "types": ["email"]}}),
        endpoint("short", sessions_enabled=True, session_ttl_seconds=60),
        endpoint("four", sessions_enabled=True, session_max_messages=4),
        endpoint("costly", sessions_enabled=True, session_max_tokens=20),
        endpoint("poor", sessions_enabled=True, **BUDGET),
        endpoint("brief", sessions_enabled=True, max_output_tokens=10),
        endpoint("capped", sessions_enabled=True, usage_hard_limit_tokens=20),
        endpoint("strict", sessions_enabled=True, output_schema={"type": "object"}),
        endpoint("guarded", sessions_enabled=True, input_schema={"required": ["n"]}),
    ]
)


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


@pytest.fixture
async def lane(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    """For what does not depend on the server."""
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


async def say(
    gateway: Gateway, text: str, session: str | None = None, slug: str = "talk", **fields: object
) -> HttpResponse:
    """One call of a conversation."""
    body: dict[str, object] = {"message": text, **fields}
    if session is not None:
        body["session_id"] = session
    return await gateway.call(slug, body)


async def begin(gateway: Gateway, text: str = "Hi", slug: str = "talk") -> str:
    """The id of a new session with one turn."""
    response = await say(gateway, text, slug=slug)
    assert 200 == response.status, response.body
    return str(response.json()["meta"]["session_id"])


def sent(gateway: Gateway) -> list[tuple[str, str]]:
    """(role, content) of what the provider was sent last."""
    return [(message["role"], message["content"]) for message in gateway.simulator.requests[-1].body["messages"]]


def rows(gateway: Gateway, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(gateway.settings.gateway.data_dir / "sessions.db")) as file:
        return file.execute(query, values).fetchall()


def stored(gateway: Gateway) -> list[tuple[str, str]]:
    """(role, content) of every message in the file."""
    bodies = [json.loads(body) for (body,) in rows(gateway, "SELECT body FROM messages ORDER BY place")]
    return [(body["role"], body["content"]) for body in bodies]


def age(gateway: Gateway, seconds: float) -> None:
    """Let every session have been idle for so much longer."""
    with closing(sqlite3.connect(gateway.settings.gateway.data_dir / "sessions.db")) as file, file:
        file.execute("UPDATE sessions SET last_active_at = last_active_at - ?", (seconds,))


def assert_failure(response: HttpResponse, status: int, error: str) -> None:
    assert (status, {"ok": False, "error": error}) == (response.status, response.json())


async def test_provider_is_sent_what_was_said(gateway: Gateway) -> None:
    session = await begin(gateway, "One")

    second = await say(gateway, "Two", session)
    third = await say(gateway, "Three", session)

    assert [session] * 2 == [answer.json()["meta"]["session_id"] for answer in (second, third)]
    turns = [("user", "One"), ("assistant", "You said: One"), ("user", "Two"), ("assistant", "You said: Two")]
    assert [*turns, ("user", "Three")] == sent(gateway)
    assert [*turns, ("user", "Three"), ("assistant", "You said: Three")] == stored(gateway)


async def test_stream_is_part_of_the_session(gateway: Gateway) -> None:
    streamed = await say(gateway, "One", stream=True)
    last = json.loads(streamed.body.decode().split("\n\n")[-3].removeprefix("data: "))
    session = last["meta"]["session_id"]

    await say(gateway, "Two", session, stream=True)

    assert [("user", "One"), ("assistant", "You said: One"), ("user", "Two")] == sent(gateway)
    assert 4 == len(stored(gateway))
    assert b'"role":"assistant"' in streamed.body
    assert b"[DONE]" in streamed.body


async def test_dispatcher_resumes_too(lane: Gateway) -> None:
    session = await begin(lane)
    body = {"message": "Two", "endpoint": "talk", "session_id": session}

    answer = await send_raw(lane.port, post(f"/api/{PROJECT}/chat/completions", body, bearer(lane.token)))

    assert session == answer.json()["meta"]["session_id"]
    assert 3 == len(sent(lane))


async def test_row_has_the_real_usage(lane: Gateway) -> None:
    lane.simulator.behave("talk", "usage=30:12")
    session = await begin(lane)
    await say(lane, "Two", session)

    [row] = rows(lane, "SELECT id, message_count, token_count, last_active_at >= created_at FROM sessions")

    assert (UUID(session).bytes, 4, 84, 1) == row


async def test_prompt_stands_first_and_template_wraps_the_last(lane: Gateway) -> None:
    session = await begin(lane, "One", "framed")

    await say(lane, "Two", session, "framed")

    history = [("user", "One"), ("assistant", "You said: <<One>>")]
    assert [("system", "Be kind."), *history, ("user", "<<Two>>")] == sent(lane)
    assert [*history, ("user", "Two")] == stored(lane)[:3]


async def test_masked_text_is_stored(lane: Gateway) -> None:
    lane.simulator.behave("masked", content="Noted.")
    session = await begin(lane, "I am jane.doe@example.com", "masked")

    await say(lane, "Who am I?", session, "masked")

    assert ("user", "I am [E-Mail REDACTED]") == sent(lane)[0] == stored(lane)[0]
    assert b"jane.doe" not in lane.simulator.requests[-1].raw_body
    for file in lane.settings.gateway.data_dir.glob("sessions.db*"):
        assert b"jane.doe" not in file.read_bytes()


async def test_tool_conversation_resumes(lane: Gateway) -> None:
    lane.simulator.behave("talk", tool=CalledTool("add", '{"a": 1}'))
    called = (await say(lane, "Add", tools=TOOLS)).json()
    [call] = called["tool_calls"]
    lane.simulator.behave("talk", content="Two.")
    result = {"role": "tool", "tool_call_id": call["id"], "content": "2"}

    body = {"messages": [result], "session_id": called["meta"]["session_id"], "tools": TOOLS}
    answer = await lane.call("talk", body)

    assert "Two." == answer.json()["content"]
    user, assistant, tool = lane.simulator.requests[-1].body["messages"]
    assert {"role": "user", "content": "Add"} == user
    assert [call] == assistant["tool_calls"]
    assert (result["tool_call_id"], "2") == (tool["tool_call_id"], tool["content"])


async def test_parts_are_resumed(lane: Gateway) -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    ]
    lane.simulator.behave("talk", content="A cat.")
    first = await lane.call("talk", {"messages": [{"role": "user", "content": parts}]})

    await say(lane, "Sure?", first.json()["meta"]["session_id"])

    assert parts == lane.simulator.requests[-1].body["messages"][0]["content"]


@pytest.mark.parametrize("fields", [{}, {"stream": True}])
@pytest.mark.parametrize("fault", ["status:500", "status:400", "reset:body"])
async def test_failed_call_stores_nothing(lane: Gateway, fields: dict[str, Any], fault: str) -> None:
    session = await begin(lane)
    lane.simulator.behave("talk", f"tokens=20&fault={fault}")

    failed = [await say(lane, "Two", session, **fields), await say(lane, "New", **fields)]

    assert all(b'"ok":false' in answer.body for answer in failed)
    assert [(2,)] == rows(lane, "SELECT message_count FROM sessions")
    assert 2 == len(stored(lane))


async def test_invalid_output_stores_nothing(lane: Gateway) -> None:
    lane.simulator.behave("strict", content="no JSON")

    answer = await say(lane, "Hi", slug="strict")

    assert 502 == answer.status
    assert [] == stored(lane)


async def test_late_answer_stores_nothing(lane: Gateway) -> None:
    lane.simulator.behave("talk", "latency=5s")

    late = await lane.call("talk", {"message": "Hi"}, ("x-pg-timeout-ms", "100"))

    assert 504 == late.status
    assert [] == stored(lane)


async def test_abandoned_stream_is_not_stored(gateway: Gateway) -> None:
    session = await begin(gateway)
    gateway.simulator.behave("talk", "tokens=50&pace=20ms")
    body = {"message": "Two", "stream": True, "session_id": session}

    with trio.fail_after(20):
        async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
            await stream.send_all(post(f"/api/{PROJECT}/talk", body, bearer(gateway.token)))
            await stream.receive_some()
        await gateway.simulator.wait_closed(gateway.simulator.requests[-1])
    gateway.simulator.behave("talk", "")
    await say(gateway, "Three", session)

    assert [("user", "Hi"), ("assistant", "You said: Hi"), ("user", "Three")] == sent(gateway)


async def test_others_cannot_resume(lane: Gateway) -> None:
    session = await begin(lane)
    lane_token, lane.token = lane.token, lane.make_token()
    other_token = await say(lane, "Mine!", session)
    lane.token = lane_token

    other_endpoint = await say(lane, "Mine!", session, "other")
    unknown = await say(lane, "Mine!", str(uuid4()))

    for refused in (other_token, other_endpoint, unknown):
        assert_failure(refused, 403, "Session not found or not accessible.")
    assert 1 == lane.simulator.received_count
    assert 2 == len(stored(lane))


async def test_id_must_be_a_uuid(lane: Gateway) -> None:
    assert_failure(await say(lane, "Hi", "mine"), 400, "Invalid session_id.")
    assert_failure(await say(lane, "Hi", "mine", "stateless"), 400, "Invalid session_id.")


async def test_endpoint_without_sessions_refuses_and_tells_none(lane: Gateway) -> None:
    plain = await say(lane, "Hi", slug="stateless")
    refused = await say(lane, "Hi", str(uuid4()), "stateless")

    assert {"request_id"} == set(plain.json()["meta"])
    assert_failure(refused, 400, "Sessions are not enabled for this endpoint.")


async def test_idle_session_expires_and_is_deleted(lane: Gateway) -> None:
    session = await begin(lane, slug="short")
    age(lane, 59)
    assert 200 == (await say(lane, "Still there?", session, "short")).status
    age(lane, 61)

    expired = await say(lane, "And now?", session, "short")
    again = await say(lane, "And now?", session, "short")

    assert_failure(expired, 410, "Session expired.")
    assert_failure(again, 403, "Session not found or not accessible.")
    assert [] == stored(lane)


async def test_message_limit(lane: Gateway) -> None:
    session = await begin(lane, slug="four")
    second = await say(lane, "Two", session, "four")

    third = await say(lane, "Three", session, "four")

    assert 200 == second.status
    assert_failure(third, 429, "Session message limit reached.")
    assert 2 == lane.simulator.received_count


async def test_token_limit(lane: Gateway) -> None:
    lane.simulator.behave("costly", "usage=15:5")
    session = await begin(lane, slug="costly")

    second = await say(lane, "Two", session, "costly")

    assert_failure(second, 429, "Session token limit reached.")


async def test_history_counts_for_the_cap(lane: Gateway) -> None:
    session = await begin(lane, "x" * 40, "capped")

    second = await say(lane, "x" * 40, session, "capped")

    assert 422 == second.status
    # 40 characters, "You said: " and them again, and 40 more.
    error = "Request exceeds endpoint per-request token limit: ~33 tokens estimated, cap is 20."
    assert error == second.json()["error"]


async def test_history_counts_for_the_budget(lane: Gateway) -> None:
    lane.simulator.behave("poor", "usage=1:1", content="x" * 800)
    session = await begin(lane, slug="poor")

    with_history = await say(lane, "Hi", session, "poor")
    without = await say(lane, "Hi", slug="poor")

    assert with_history.json()["error"].startswith("Endpoint monthly budget would be exceeded: ~$0.0200 spent + ~$")
    assert 200 == without.status  # nothing of the refused one is held back
    assert 2 == lane.simulator.received_count


async def test_history_counts_for_the_tokens_limit(lane: Gateway) -> None:
    lane.token = lane.make_token(limits=TokenLimits(tokens_per_minute=1_500))
    session = await begin(lane, "x" * 4_000, "brief")

    # 1,000 of 1,500 are used: the history takes them anew, and does not fit.
    response = await say(lane, "Hi", session, "brief")

    assert (429, "token_tokens") == (response.status, response.json()["scope"])
    assert 1 == len(lane.simulator.requests)


async def test_input_schema_comes_before_session(lane: Gateway) -> None:
    refused = await say(lane, "Hi", str(uuid4()), "guarded")

    assert refused.json()["error"].startswith("Validation failed: ")


async def test_calls_at_once_lose_nothing(gateway: Gateway) -> None:
    session = await begin(gateway, "0")
    statuses: list[int] = []

    async def call(number: int) -> None:
        response = await say(gateway, str(number), session, stream=number % 2 == 0)
        statuses.append(response.status)

    async with trio.open_nursery() as calling:
        for number in range(1, 21):
            calling.start_soon(call, number)

    said = stored(gateway)
    assert [200] * 20 == statuses
    assert sorted(map(str, range(21))) == sorted(text for _, text in said[::2])
    assert [("assistant", f"You said: {text}") for _, text in said[::2]] == said[1::2]


@pytest.mark.slow
async def test_locked_file_stops_sessions_alone(lane: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg_trio.store.sessions.LOCKED_TRIES", 1)
    session = await begin(lane)
    with closing(sqlite3.connect(lane.settings.gateway.data_dir / "sessions.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        refused = await say(lane, "Two", session)
        streamed = await say(lane, "Two", session, stream=True)
        stateless = await say(lane, "Two", slug="stateless")
        holder.execute("ROLLBACK")

    assert_failure(refused, 503, "Session storage is unavailable.")
    assert b'event: error\ndata: {"ok":false,"error":"Session storage is unavailable."}' in streamed.body
    assert b'"finish_reason":"stop"' not in streamed.body
    assert 200 == stateless.status
    assert 2 == len(stored(lane))
    assert 200 == (await say(lane, "Three", session)).status


async def test_sessions_outlive_the_gateway(nursery: trio.Nursery, tmp_path: Path) -> None:
    first = await start_gateway(nursery, tmp_path, CONFIGURATION)
    session = await begin(first, "One")
    await first.stop()

    second = await start_gateway(nursery, tmp_path, CONFIGURATION)
    second.token = first.token
    answer = await say(second, "Two", session)

    assert 200 == answer.status
    assert [("user", "One"), ("assistant", "You said: One"), ("user", "Two")] == sent(second)


async def test_no_file_where_no_endpoint_has_sessions(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("plain"))

    await gateway.call("plain")

    assert not (gateway.settings.gateway.data_dir / "sessions.db").exists()
