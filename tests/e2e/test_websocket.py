"""The chat over a WebSocket, with a real client, on both server paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.chat_client import open_socket, refused, seqs, texts
from tests.support.gateway import OTHER_PROJECT, Gateway, endpoint, project, start_gateway

SERVERS = ("lane", "hypercorn")
CONFIGURATION = project() + endpoint("a", streaming_enabled=True) + endpoint("still")
STREAMING_OFF = "Streaming is not enabled for this endpoint."
UNKNOWN_TOKEN = "pg_live_" + "x" * 43


@pytest.fixture(params=SERVERS)
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


# ── a whole answer ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_comes_as_numbered_frames(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        started, *frames = await client.answer("c1")

    [call] = gateway.simulator.requests
    assert {"type": "started", "id": "c1", "model": "a", "provider": "openai"} == {
        name: started[name] for name in ("type", "id", "model", "provider")
    }
    assert "You said: Hello there" == texts(frames)
    assert list(range(1, len(frames) + 1)) == seqs(frames)
    assert "done" == frames[-1]["type"]
    assert ("stop", started["request_id"]) == (frames[-1]["finish_reason"], frames[-1]["meta"]["request_id"])
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= frames[-1]["usage"].keys()
    assert isinstance(call.body, dict)
    assert [{"role": "user", "content": "Hello there"}] == call.body["messages"]


async def test_each_message_has_its_row(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        ids = [(await client.answer(f"c{number}"))[0]["request_id"] for number in range(3)]
    await gateway.stop()

    rows = gateway.log_rows()
    assert ids == [row["request_id"] for row in rows]
    assert [(200, "websocket")] * 3 == [(row["status"], row["surface"]) for row in rows]


async def test_ping_gets_pong_and_unknown_type_nothing(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        await client.send({"type": "wave", "id": 5})
        await client.send({"type": "ping", "more": True})

        assert {"type": "pong"} == await client.read()


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_first_frame_is_ready(gateway: Gateway) -> None:
    async with open_socket(gateway, is_ready=False) as client:
        assert {"type": "ready", "max_in_flight": 4, "heartbeat_ms": 20000} == await client.read()


async def test_token_comes_in_subprotocol(gateway: Gateway) -> None:
    protocols = ("pg-chat.v1", f"pg-token.{gateway.token}")
    async with open_socket(gateway, token="", protocols=protocols) as client:
        assert "ready" == (await client.read())["type"]
        assert "pg-chat.v1" == client.ws.subprotocol
        assert "done" == (await client.answer("c1"))[-1]["type"]


async def test_token_comes_in_first_message(gateway: Gateway) -> None:
    async with open_socket(gateway, token="") as client:
        await client.send({"type": "auth", "token": gateway.token})

        assert "ready" == (await client.read())["type"]
        assert "done" == (await client.answer("c1"))[-1]["type"]


@pytest.mark.parametrize(
    ("slug", "status", "error"),
    [("still", 400, STREAMING_OFF), ("none", 404, "Endpoint 'none' not found or inactive.")],
)
async def test_wrong_endpoint_is_refused(gateway: Gateway, slug: str, status: int, error: str) -> None:
    plain = await refused(gateway, slug)
    async with open_socket(gateway, slug, token="", protocols=("pg-chat.v1", f"pg-token.{gateway.token}")) as client:
        by_protocol = await client.read_end()
    async with open_socket(gateway, slug, token="") as client:
        await client.send({"type": "auth", "token": gateway.token})
        by_message = await client.read_end()

    assert (status, {"ok": False, "error": error}) == plain
    for ended in (by_protocol, by_message):
        assert (1008, [{"type": "error", "status": status, "error": error}]) == (ended.code, ended.frames)


async def test_wrong_token_is_refused(gateway: Gateway) -> None:
    error = "Invalid or revoked token."
    plain = await refused(gateway, token=UNKNOWN_TOKEN)
    async with open_socket(gateway, token="", protocols=("pg-chat.v1", f"pg-token.{UNKNOWN_TOKEN}")) as client:
        by_protocol = await client.read_end()
    async with open_socket(gateway, token="") as client:
        await client.send({"type": "auth", "token": UNKNOWN_TOKEN})
        by_message = await client.read_end()

    assert (401, {"ok": False, "error": error}) == plain
    for ended in (by_protocol, by_message):
        assert (4401, [{"type": "error", "status": 401, "error": error}]) == (ended.code, ended.frames)


async def test_token_without_scope_is_refused(gateway: Gateway) -> None:
    token = gateway.make_token(scopes=("models",))
    plain = await refused(gateway, token=token)
    async with open_socket(gateway, token="", protocols=("pg-chat.v1", f"pg-token.{token}")) as client:
        ended = await client.read_end()

    assert 403 == plain[0]
    assert (4403, 403) == (ended.code, ended.frames[0]["status"])


async def test_token_of_another_project_is_refused(gateway: Gateway) -> None:
    status, body = await refused(gateway, token=gateway.make_token(OTHER_PROJECT))

    assert (403, "Token does not belong to this project.") == (status, body["error"])


@pytest.mark.parametrize(
    "first",
    [
        {"type": "message", "id": "c1", "message": "Hi"},
        {"type": "ping"},
        {"type": "later"},
        {"type": "auth"},
        {"type": "auth", "token": 5},
        {"type": "auth", "token": "pg_live_ä"},
        "no JSON",
        "[]",
        '{"type": "auth", "token": "' + "x" * 5000 + '"}',
    ],
)
async def test_first_message_without_auth_ends_socket(gateway: Gateway, first: object) -> None:
    async with open_socket(gateway, token="") as client:
        await client.send(first)
        ended = await client.read_end()

    assert (4401, [401]) == (ended.code, [frame["status"] for frame in ended.frames])
    assert 0 == len(gateway.simulator.requests)


async def test_other_subprotocols_are_refused(gateway: Gateway) -> None:
    status, body = await refused(gateway, protocols=("graphql-ws",))

    assert (400, "Sec-WebSocket-Protocol must offer pg-chat.v1.") == (status, body["error"])


async def test_token_in_url_is_not_read(gateway: Gateway) -> None:
    async with open_socket(gateway, f"a?token={gateway.token}", token="") as client:
        await client.send({"type": "ping"})
        ended = await client.read_end()

    assert 4401 == ended.code


async def test_refused_handshakes_have_rows(gateway: Gateway) -> None:
    await refused(gateway, token=UNKNOWN_TOKEN)
    async with open_socket(gateway, token="", protocols=("pg-chat.v1", f"pg-token.{UNKNOWN_TOKEN}")) as client:
        await client.read_end()
    await gateway.stop()

    assert [(401, "websocket")] * 2 == [(row["status"], row["surface"]) for row in gateway.log_rows()]


# ── wrong frames ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ("{", "Frame is not valid JSON: "),
        ("[1]", "Frame must be a JSON object."),
        ("null", "Frame must be a JSON object."),
        ({"id": "c1"}, "type: must be a string."),
        ({"type": 5}, "type: must be a string."),
        ({"type": "message", "message": "Hi"}, "id: must be a string of 1 to 64 characters."),
        ({"type": "message", "id": "", "message": "Hi"}, "id: must be a string of 1 to 64 characters."),
        ({"type": "message", "id": "x" * 65, "message": "Hi"}, "id: must be a string of 1 to 64 characters."),
        ({"type": "message", "id": ["c1"], "message": "Hi"}, "id: must be a string of 1 to 64 characters."),
        ({"type": "message", "id": "c1"}, "Body must have message or messages."),
        ({"type": "message", "id": "c1", "message": 5}, "message: must be a string."),
        ('{"type":"message","id":"c1","message":"a","message":"b"}', ""),
        (
            {"type": "message", "id": "c1", "message": "Hi", "timeout_ms": 0},
            "timeout_ms: must be a whole number of milliseconds, 1 or more.",
        ),
        (
            {"type": "message", "id": "c1", "message": "Hi", "timeout_ms": "9"},
            "timeout_ms: must be a whole number of milliseconds, 1 or more.",
        ),
        ({"type": "auth", "token": "x"}, "auth: only as the first message, and without another token."),
        ({"type": "resume", "id": "c1", "after": 1}, "request_id: must be a string."),
        ({"type": "resume", "id": "c1", "request_id": "x", "after": -1}, "after: must be a whole number, 0 or more."),
    ],
)
async def test_wrong_frame_gets_error_and_socket_stays(gateway: Gateway, frame: object, error: str) -> None:
    async with open_socket(gateway) as client:
        await client.send(frame)
        said = await client.read()
        answer = await client.answer("next")

    assert ("error", 400) == (said["type"], said["status"])
    assert said["error"].startswith(error)
    assert "done" == answer[-1]["type"]


async def test_cancel_of_unknown_id_is_ignored(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        for unknown in ("c9", 5, ["c1"], None):
            await client.send({"type": "cancel", "id": unknown})
        await client.send({"type": "ping"})

        assert {"type": "pong"} == await client.read()


async def test_binary_message_ends_socket(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        await client.send(b"{}")

        assert 1003 == (await client.read_end()).code


async def test_frame_fields_do_not_reach_schema(nursery: trio.Nursery, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"message": {"type": "string"}}, "additionalProperties": False}
    gateway = await start_gateway(
        nursery, tmp_path, project() + endpoint("a", streaming_enabled=True, input_schema=schema)
    )
    async with open_socket(gateway) as client:
        good = await client.answer("c1", timeout_ms=9000)
        bad = await client.answer("c2", more="x")

    assert ("done", "error", 422) == (good[-1]["type"], bad[-1]["type"], bad[-1]["status"])
