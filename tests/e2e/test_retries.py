"""Retries over sockets: what the provider saw, and what the clients were told."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway

STREAM = {"message": "Hello", "stream": True}


async def test_pause_of_a_lone_candidate_is_waited_for_by_all(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(
        nursery, tmp_path, project() + endpoint("ask", model="sim?fault=status:429&retry_after=1&fail_first=1")
    )
    began_at = trio.current_time()
    answers: list[tuple[int, str]] = []

    async def ask() -> None:
        response = await gateway.call("ask")
        answers.append((response.status, response.headers["x-pg-attempts"]))

    async with trio.open_nursery() as calls:
        calls.start_soon(ask)
        await trio.sleep(0.3)
        calls.start_soon(ask)

    assert trio.current_time() - began_at >= 1
    # The second was never refused: it only waited.
    assert [(200, "1"), (200, "2")] == sorted(answers)
    assert 3 == len(gateway.simulator.requests)


async def test_two_cut_streams_leave_the_endpoint_open(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(
        nursery,
        tmp_path,
        project() + endpoint("ask", model="sim?fault=cut:1&fail_first=2&tokens=3", streaming_enabled=True),
    )

    bodies = [(await gateway.call("ask", STREAM)).body for _ in range(3)]

    assert [True, True, False] == [b"event: error" in body for body in bodies]


async def test_open_breaker_repeats_the_provider(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(
        nursery, tmp_path, project() + endpoint("ask", model="sim?fault=status:503", max_attempts=1)
    )

    said = [(await gateway.call("ask")).json()["error"] for _ in range(4)]

    assert said[0].startswith("Provider call failed: HTTP 503: ")
    assert said[3].startswith(said[0] + " (openai failed in its last calls; not asked for another ")
    assert 3 == len(gateway.simulator.requests)


async def test_refused_key_is_said_to_be_refused(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("ask", model="sim?fault=status:401"))

    refused = [await gateway.call("ask") for _ in range(3)]

    assert "openai refused the credential; not asked for another " in refused[2].json()["error"]
    assert ["failed: HTTP 401, credential refused", "passed over: credential refused"] == [
        response.json()["attempts"][0]["outcome"] for response in refused[1:]
    ]
    assert 2 == len(gateway.simulator.requests)
    assert "60" == refused[2].headers["retry-after"]


async def test_stream_is_retried_before_its_first_token(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway: Gateway = await start_gateway(
        nursery, tmp_path, project() + endpoint("ask", model="sim?fault=reset&fail_first=2", streaming_enabled=True)
    )

    answer = await gateway.call("ask", STREAM)

    assert (200, True) == (answer.status, answer.body.rstrip().endswith(b"data: [DONE]"))
