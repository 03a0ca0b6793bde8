"""Answers over a WebSocket that are gone on with after the connection was cut, on both server paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio

from tests.support.chat_client import LAST_FRAMES, ChatClient, open_socket, seqs, texts
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway, start_worker
from tests.support.wire import bearer, get, send_raw

SERVERS = ("lane", "hypercorn")
LIMIT_S = 15
KEPT: dict[str, Any] = {"streaming_enabled": True, "resumable_streams": True}
CONFIGURATION = (
    project()
    + endpoint("a", "sim?tokens=12&pace=30ms", **KEPT)
    + endpoint("quick", "sim", **KEPT)
    + endpoint("stuck", "sim?tokens=9&fault=stall:3", **KEPT)
    + endpoint("brief", "sim?tokens=9&fault=stall:3", **KEPT, orphan_grace_ms=100)
    + endpoint("small", "sim?tokens=400&pace=1ms", **KEPT, resume_bytes=1024)
    + endpoint("silent", "sim?fault=stall", **KEPT)
    + endpoint("broken", "sim?fault=status:400", **KEPT)
    + endpoint("plain", "sim", streaming_enabled=True)
)
NOT_FOUND = {"status": 404, "error": "Stream not found or not accessible."}


@pytest.fixture(params=SERVERS)
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


async def begin(gateway: Gateway, slug: str, deltas: int = 3) -> list[dict[str, Any]]:
    """`started` and some deltas of a new answer, whose connection is then cut."""
    async with open_socket(gateway, slug) as client:
        await client.ask("c1")
        frames = [await client.read() for _ in range(1 + deltas)]
        await client.stream.aclose()
    return frames


async def go_on(client: ChatClient, frames: list[dict[str, Any]], answer_id: str = "r1") -> list[dict[str, Any]]:
    """The rest of an answer, of which the client has these frames."""
    after = max(seqs(frames), default=0)
    await client.send({"type": "resume", "id": answer_id, "request_id": frames[0]["request_id"], "after": after})
    return await client.read_until(*LAST_FRAMES, id=answer_id)


def error_of(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """The status and the text of an error frame that comes alone."""
    [frame] = frames
    return {name: frame[name] for name in ("status", "error")}


async def test_answer_goes_on_after_a_cut(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        had = await begin(gateway, "a")
        async with open_socket(gateway, "a") as client:
            started, *rest = await go_on(client, had)
        await gateway.stop()

    assert ("started", "r1", had[0]["request_id"]) == (started["type"], started["id"], started["request_id"])
    assert list(range(1, 14)) == seqs(had) + seqs(rest)
    assert 12 == len(texts(had + rest).split())
    assert "done" == rest[-1]["type"]
    assert {"r1"} == {frame["id"] for frame in rest}
    assert 1 == len(gateway.simulator.requests)
    assert [200] == [row["status"] for row in gateway.log_rows()]


async def test_ended_answer_is_read_again_from_any_frame(gateway: Gateway) -> None:
    async with open_socket(gateway, "quick") as client:
        whole = await client.answer("c1")
        for after in range(len(whole) - 1):
            _, *rest = await go_on(client, whole[: 1 + after], f"r{after}")
            assert whole[1 + after :] == [{**frame, "id": "c1"} for frame in rest]
        beyond = await go_on(client, whole)

    assert {"status": 400, "error": f"after: the answer ended with frame {len(whole) - 1}."} == error_of(beyond)


async def test_another_worker_goes_on(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    other = await start_worker(nursery, gateway)
    with trio.fail_after(LIMIT_S):
        had = await begin(gateway, "a")
        async with open_socket(other, "a") as client:
            _, *rest = await go_on(client, had)

    assert list(range(1, 14)) == seqs(had) + seqs(rest)
    assert "done" == rest[-1]["type"]


async def test_two_clients_read_one_answer(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "a") as first, open_socket(gateway, "a") as second:
            await first.ask("c1")
            had = [await first.read() for _ in range(3)]
            _, *joined = await go_on(second, had)
            rest = await first.read_until("done")

    assert rest == [{**frame, "id": "c1"} for frame in joined]


@pytest.mark.parametrize("on", ["its own socket", "another socket"])
async def test_cancel_stops_answer_for_all(gateway: Gateway, on: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "stuck") as first, open_socket(gateway, "stuck") as second:
            await first.ask("c1")
            had = [await first.read() for _ in range(4)]
            request = {"type": "resume", "id": "r1", "request_id": had[0]["request_id"], "after": 3}
            await second.send(request)
            assert "started" == (await second.read())["type"]
            if on == "its own socket":
                await first.send({"type": "cancel", "id": "c1"})
            else:
                await second.send({"type": "cancel", "id": "r1"})
            ends = [await first.read(), await second.read()]
            await gateway.simulator.wait_no_connections()
        await gateway.stop()

    assert [("cancelled", "c1", 4), ("cancelled", "r1", 4)] == [(end["type"], end["id"], end["seq"]) for end in ends]
    assert [200] == [row["status"] for row in gateway.log_rows()]


async def test_cancel_before_the_first_token(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "silent") as client:
            await client.ask("c1")
            await gateway.simulator.wait_request(1)
            await client.send({"type": "cancel", "id": "c1"})
            last = await client.read()
            await gateway.simulator.wait_no_connections()

    assert ("cancelled", "c1", 1) == (last["type"], last["id"], last["seq"])


async def test_error_of_a_kept_answer(gateway: Gateway) -> None:
    async with open_socket(gateway, "broken") as client:
        [error] = await client.answer("c1")
        done = await client.answer("c2")

    assert ("error", "c1", 1) == (error["type"], error["id"], error["seq"])
    assert "error" == done[-1]["type"]


async def test_answer_without_clients_ends_after_its_grace(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        had = await begin(gateway, "brief")
        await gateway.simulator.wait_no_connections()
        async with open_socket(gateway, "brief") as client:
            rest = await go_on(client, had)
        await gateway.stop()

    assert [("error", 4, 502)] == [(frame["type"], frame["seq"], frame["status"]) for frame in rest]
    assert [499] == [row["status"] for row in gateway.log_rows()]


# ── what cannot be gone on with ──────────────────────────────────────────────────────────────────────────────────────


async def test_others_answers_are_not_found(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "quick") as client:
            whole = await client.answer("c1")
            unknown = await go_on(client, [{"request_id": str(uuid4())}])
            malformed = await go_on(client, [{"request_id": "../x"}])
        async with open_socket(gateway, "quick", token=gateway.make_token()) as client:
            foreign = await go_on(client, whole[:1])
        async with open_socket(gateway, "a") as client:
            elsewhere = await go_on(client, whole[:1])

    assert [NOT_FOUND] * 4 == [error_of(each) for each in (unknown, malformed, foreign, elsewhere)]


async def test_answers_stay_on_their_surface(gateway: Gateway) -> None:
    async with open_socket(gateway, "quick") as client:
        whole = await client.answer("c1")
        streamed = await gateway.call("quick", {"message": "Hi", "stream": True})
        of_sse = await go_on(client, [{"request_id": streamed.headers["x-request-id"]}])
    path = f"/api/{PROJECT}/quick/streams/{whole[0]['request_id']}"
    of_socket = await send_raw(gateway.port, get(path, bearer(gateway.token)))

    assert NOT_FOUND == error_of(of_sse)
    assert 404 == of_socket.status


async def test_answers_of_plain_endpoints_are_not_kept(gateway: Gateway) -> None:
    async with open_socket(gateway, "plain") as client:
        whole = await client.answer("c1")
        again = await go_on(client, whole[:1])

    assert NOT_FOUND == error_of(again)


async def test_answer_that_outgrew_its_room_is_whole_for_its_client(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "small") as client:
            whole = await client.answer("c1")
            again = await go_on(client, whole[:1])

    assert ("done", 401) == (whole[-1]["type"], whole[-1]["seq"])
    assert NOT_FOUND == error_of(again)


async def test_frame_that_is_not_there_yet(gateway: Gateway) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_socket(gateway, "stuck") as client:
            await client.ask("c1")
            started = (await client.read_until("delta"))[0]
            await client.read_until("delta")
            await client.read_until("delta")
            await client.send({"type": "resume", "id": "r1", "request_id": started["request_id"], "after": 9})
            said = await client.read()

    assert (400, "after: the answer has no frame 9 yet.") == (said["status"], said["error"])
