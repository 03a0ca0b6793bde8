"""Several answers on one WebSocket: at once, cancelled, refused, ended with the socket; on both server paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.chat_client import LAST_FRAMES, ChatClient, open_socket, seqs, texts
from tests.support.gateway import Gateway, endpoint, project, start_gateway

SERVERS = ("lane", "hypercorn")
LIMIT_S = 15
# It stops after its third token, for as long as anybody waits.
STUCK = endpoint("stuck", "sim?tokens=9&fault=stall:3", streaming_enabled=True, log_bodies="full")
CONFIGURATION = (
    project()
    + endpoint("a", streaming_enabled=True)
    + STUCK
    + endpoint("silent", "sim?fault=stall", streaming_enabled=True)
    + endpoint("broken", "sim?fault=status:500", streaming_enabled=True)
    + endpoint("cut", "sim?tokens=9&fault=cut:3", streaming_enabled=True)
    + endpoint("limited", "sim", streaming_enabled=True, rate_limit_per_minute=1)
    + endpoint("tool", "sim?tool=look:%7B%22a%22%3A1%7D", streaming_enabled=True)
    + endpoint("thinker", "sim?reasoning=3", streaming_enabled=True)
    + endpoint("session", "sim", streaming_enabled=True, sessions_enabled=True)
)


@pytest.fixture(params=SERVERS)
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


async def begin_stuck(client: ChatClient, answer_id: str) -> list[dict[str, object]]:
    """Ask, and read the tokens that come."""
    await client.ask(answer_id)
    return [await client.read() for _ in range(4)]


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancel_ends_answer_and_closes_upstream(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "stuck") as client:
            begun = await begin_stuck(client, "c1")
            await client.send({"type": "cancel", "id": "c1"})
            last = await client.read()
            await gateway.simulator.wait_no_connections()
            await client.send({"type": "ping"})
            assert {"type": "pong"} == await client.read()
        await gateway.stop()

    [row] = gateway.log_rows()
    assert ["started", "delta", "delta", "delta"] == [frame["type"] for frame in begun]
    assert {"type": "cancelled", "id": "c1", "seq": 4} == {name: last[name] for name in ("type", "id", "seq")}
    assert last["usage"]["completion_tokens"] > 0
    assert (200, begun[0]["request_id"], last["usage"]["completion_tokens"]) == (
        row["status"],
        row["request_id"],
        row["completion_tokens"],
    )


async def test_cancel_before_first_token(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "silent") as client:
            await client.ask("c1")
            await gateway.simulator.wait_request(1)
            await client.send({"type": "cancel", "id": "c1"})
            last = await client.read()
            await gateway.simulator.wait_no_connections()

    assert ("cancelled", "c1", 1, 0) == (last["type"], last["id"], last["seq"], last["usage"]["completion_tokens"])


async def test_cancel_with_its_message_in_one_write(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "silent") as client:
            await client.ask("c1")
            await client.send({"type": "cancel", "id": "c1"})
            await client.send({"type": "cancel", "id": "c1"})
            assert "cancelled" == (await client.read())["type"]
            await client.send({"type": "ping"})
            assert {"type": "pong"} == await client.read()


async def test_id_may_be_used_again_after_the_end(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        answers = [await client.answer("c1", f"Hello {number}") for number in range(8)]

    assert [f"You said: Hello {number}" for number in range(8)] == [texts(frames) for frames in answers]


# ── several at once ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answers_run_at_once_and_are_told_apart(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        for number in range(4):
            await client.ask(f"c{number}", f"Number {number}")
        frames: list[dict[str, Any]] = []
        while 4 > sum(frame["type"] == "done" for frame in frames):
            frames.append(await client.read())

    for number in range(4):
        own = [frame for frame in frames if frame["id"] == f"c{number}"]
        assert f"You said: Number {number}" == texts(own)
        assert list(range(1, len(own))) == seqs(own)


async def test_message_beyond_the_limit_is_refused(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "silent") as client:
            for number in range(4):
                await client.ask(f"c{number}")
            await gateway.simulator.wait_request(4)
            refused = await client.answer("c4")
            await client.send({"type": "cancel", "id": "c0"})
            await client.read_until("cancelled")
            await client.ask("c5")
            await gateway.simulator.wait_request(5)
        await gateway.simulator.wait_no_connections()
        await gateway.stop()

    rows = gateway.log_rows()
    assert [("error", 429, 1, "Too many answers in flight on this socket, at most 4.")] == [
        (frame["type"], frame["status"], frame["seq"], frame["error"]) for frame in refused
    ]
    assert [429, 200, 499, 499, 499, 499] == [row["status"] for row in rows]
    assert refused[0]["request_id"] == rows[0]["request_id"]


async def test_second_message_of_a_running_id_is_refused(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "stuck") as client:
            await begin_stuck(client, "c1")
            await client.ask("c1")
            refused = await client.read()
            await client.send({"type": "cancel", "id": "c1"})
            last = await client.read()

    assert {"type": "error", "status": 400, "error": "id: an answer of this id is under way."} == refused
    assert ("cancelled", 4) == (last["type"], last["seq"])


# ── the end of the socket ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["close frame", "connection"])
async def test_closing_the_socket_cancels_everything(gateway: Gateway, way: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "silent") as client:
            for number in range(3):
                await client.ask(f"c{number}")
            await gateway.simulator.wait_request(3)
            if way == "close frame":
                await client.ws.aclose()
            else:
                await client.stream.aclose()
            await gateway.simulator.wait_no_connections()
        await gateway.stop()

    assert [499, 499, 499] == [row["status"] for row in gateway.log_rows()]


async def test_close_frame_is_answered(gateway: Gateway) -> None:
    async with open_socket(gateway) as client:
        await client.ws.aclose(1000, "bye")

        assert client.ws.closed is not None
        assert 1000 == client.ws.closed.code


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_failed_answer_is_an_error_frame(gateway: Gateway) -> None:
    async with open_socket(gateway, "broken") as client:
        [error] = await client.answer("c1")
        await client.send({"type": "ping"})
        assert {"type": "pong"} == await client.read()

    assert ("error", "c1", 1, 502) == tuple(error[name] for name in ("type", "id", "seq", "status"))
    assert {("openai", "sim?fault=status:500")} == {(row["provider"], row["model"]) for row in error["attempts"]}


async def test_broken_answer_ends_with_an_error_frame(gateway: Gateway) -> None:
    async with open_socket(gateway, "cut") as client:
        *frames, last = await client.answer("c1")

    assert ["started", "delta", "delta", "delta"] == [frame["type"] for frame in frames]
    assert ("error", 4, 502) == (last["type"], last["seq"], last["status"])


async def test_exceeded_limit_says_when_to_come_back(gateway: Gateway) -> None:
    async with open_socket(gateway, "limited") as client:
        await client.answer("c1")
        [error] = await client.answer("c2")

    assert (429, "Rate limit exceeded.", "minute") == (error["status"], error["error"], error["scope"])
    assert 1 <= error["retry_after"] <= 60


async def test_message_has_its_own_deadline(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "silent") as client:
            [error] = await client.answer("c1", timeout_ms=100)

    assert (504, "Deadline exceeded: no answer within 100 ms.") == (error["status"], error["error"])


# ── what answers hold ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tool_call_comes_as_frames(gateway: Gateway) -> None:
    async with open_socket(gateway, "tool") as client:
        frames = await client.answer("c1")

    calls = [frame for frame in frames if frame["type"] == "tool_call"]
    assert ("look", 0) == (calls[0]["name"], calls[0]["index"])
    assert calls[0]["call_id"]
    assert all("call_id" not in frame for frame in calls[1:])
    assert '{"a":1}' == "".join(frame["arguments"] for frame in calls)
    assert "tool_calls" == frames[-1]["finish_reason"]


async def test_reasoning_comes_as_frames(gateway: Gateway) -> None:
    async with open_socket(gateway, "thinker") as client:
        frames = await client.answer("c1")

    kinds = [frame["type"] for frame in frames]
    assert ["started", "reasoning"] == kinds[:2]
    assert ("openai", "sim?reasoning=3") == (frames[0]["provider"], frames[0]["model"])
    assert list(range(1, len(frames))) == seqs(frames)
    assert all(frame["content"] for frame in frames if frame["type"] == "reasoning")


async def test_session_goes_on_over_messages(gateway: Gateway) -> None:
    async with open_socket(gateway, "session") as client:
        first = await client.answer("c1")
        session_id = first[0]["session_id"]
        await client.answer("c2", "And again", session_id=session_id)

    call = gateway.simulator.requests[-1]
    assert session_id == first[-1]["meta"]["session_id"]
    assert isinstance(call.body, dict)
    assert ["user", "assistant", "user"] == [message["role"] for message in call.body["messages"]]


async def test_many_answers_are_cancelled_at_any_moment(gateway: Gateway) -> None:
    with trio.fail_after(60):
        async with open_socket(gateway) as client:
            for number in range(60):
                await client.ask(f"c{number}")
                for _ in range(number % 6):
                    await trio.lowlevel.checkpoint()
                await client.send({"type": "cancel", "id": f"c{number}"})
                frames = await client.read_until(*LAST_FRAMES, id=f"c{number}")
                assert frames[-1]["type"] in ("done", "cancelled")
                assert list(range(1, len(seqs(frames)) + 1)) == seqs(frames)
            await client.send({"type": "ping"})
            assert {"type": "pong"} == await client.read()
