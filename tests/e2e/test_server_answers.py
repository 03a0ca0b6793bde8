"""What the server answers in the application's place has the shape of the API that was asked, and browsers' fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

PAGE = "https://app.example.com"
CONFIGURATION = "[server]\ndrain_ms = 100\n" + project(cors_origins=[PAGE]) + endpoint("ask")
ROUTES = ("ask", "v1/chat/completions", "v1/responses", "v1/embeddings", "v1/messages", "v1/messages/count_tokens")


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


def start(gateway: Gateway, route: str, *fields: str) -> bytes:
    lines = [
        f"POST /api/{PROJECT}/{route}?beta=true HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"authorization: Bearer {gateway.token}",
        f"origin: {PAGE}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def expected_body(route: str, text: str, answer: HttpResponse, kind: str, code: str | None = None) -> dict[str, Any]:
    """What an SDK of that route looks for; `kind` is the error's type, the same in both dialects."""
    if not route.startswith("v1/"):
        return {"ok": False, "error": text}
    if route.startswith("v1/messages"):
        assert answer.headers["x-request-id"] == answer.headers["request-id"]
        error = {"type": kind, "message": text}
        return {"type": "error", "error": error, "request_id": answer.headers["x-request-id"]}
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize("route", ROUTES)
async def test_malformed_chunk(gateway: Gateway, route: str) -> None:
    answer = await send_raw(gateway.port, start(gateway, route, "transfer-encoding: chunked") + b"zz\r\n")

    assert 400 == answer.status
    assert expected_body(route, "Malformed chunk size.", answer, "invalid_request_error") == answer.json()
    assert PAGE == answer.headers["access-control-allow-origin"]
    assert ("false" if route.startswith("v1/") else None) == answer.headers.get("x-should-retry")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("status", "text", "field"),
    [
        (400, "Malformed header field.", "no field"),
        (417, "Expectation is not supported.", "expect: a miracle"),
        (431, "Request head is too large.", f"x-long: {'a' * 40_000}"),
    ],
)
async def test_refused_head(gateway: Gateway, route: str, status: int, text: str, field: str) -> None:
    answer = await send_raw(gateway.port, start(gateway, route, field))

    assert status == answer.status
    assert expected_body(route, text, answer, "invalid_request_error") == answer.json()
    assert "Origin" == answer.headers["vary"]


async def test_head_without_a_request_line(gateway: Gateway) -> None:
    answer = await send_raw(gateway.port, b"no request\r\n\r\n")

    assert (400, {"ok": False, "error": "Malformed request line."}) == (answer.status, answer.json())


@pytest.mark.parametrize("route", ["ask", "v1/chat/completions", "v1/messages"])
async def test_drain_that_cuts_a_request(gateway: Gateway, route: str) -> None:
    gateway.simulator.behave("ask", "fault=stall")
    body = {"model": "ask", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    answers: list[HttpResponse] = []

    async def ask() -> None:
        data = post(f"/api/{PROJECT}/{route}", body, bearer(gateway.token), ("origin", PAGE))
        answers.append(await send_raw(gateway.port, data))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await gateway.simulator.wait_request(1)
        await gateway.stop()

    [answer] = answers
    assert (503, "1", PAGE) == (
        answer.status,
        answer.headers["retry-after"],
        answer.headers["access-control-allow-origin"],
    )
    assert expected_body(route, "Gateway is shutting down.", answer, "api_error", "overloaded") == answer.json()
    assert ("1000" if route.startswith("v1/") else None) == answer.headers.get("retry-after-ms")
