"""Cross-origin requests over sockets: preflights, answers, streams and errors, on both server paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, get, post, send_raw

ORIGINS = ["https://app.example.com", "https://*.wild.example:8443", "http://localhost:3000"]
CONFIGURATION = "\n".join(
    [
        project(cors_origins=ORIGINS),
        endpoint("ask", streaming_enabled=True, rate_limit_per_minute=1_000),
        endpoint("live", streaming_enabled=True, resumable_streams=True),
        project(OTHER_PROJECT, name="Closed"),
        endpoint("ask"),
    ]
)
APP = ("origin", "https://app.example.com")


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


async def preflight(gateway: Gateway, path: str, *headers: tuple[str, str], project: object = PROJECT) -> HttpResponse:
    data = get(f"/api/{project}/{path}", *headers).replace(b"GET", b"OPTIONS", 1)
    return await send_raw(gateway.port, data)


def allowed(response: HttpResponse) -> str | None:
    return response.headers.get("access-control-allow-origin")


@pytest.mark.parametrize("path", ["ask", "v1/chat/completions", "v1/messages", "v1/models", "info", "chat/completions"])
async def test_preflight_allows_what_the_browser_asks_for(gateway: Gateway, path: str) -> None:
    asked = "authorization, content-type, x-stainless-lang, x-stainless-retry-count"

    answer = await preflight(
        gateway, path, APP, ("access-control-request-method", "POST"), ("access-control-request-headers", asked)
    )

    assert (204, b"", APP[1]) == (answer.status, answer.body, allowed(answer))
    assert asked == answer.headers["access-control-allow-headers"]
    assert "GET, POST, DELETE" == answer.headers["access-control-allow-methods"]
    assert "7200" == answer.headers["access-control-max-age"]
    assert "Origin, Access-Control-Request-Headers" == answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "null",
        "https://app.example.com.evil",
        "https://wild.example:8443",
        "https://a_b.wild.example:8443",
        "HTTPS://APP.EXAMPLE.COM",
        "",
    ],
)
async def test_other_origins_get_nothing(gateway: Gateway, origin: str) -> None:
    refused = await preflight(gateway, "ask", ("origin", origin), ("access-control-request-method", "POST"))
    answer = await gateway.call("ask", None, ("origin", origin))

    assert not [name for each in (refused, answer) for name in each.headers if name.startswith("access-control-")]
    assert (200, "Origin") == (answer.status, answer.headers["vary"])


@pytest.mark.parametrize(
    "origin", ["https://a.wild.example:8443", "https://a.b.wild.example:8443", "http://localhost:3000"]
)
async def test_listed_origins_read_the_answer(gateway: Gateway, origin: str) -> None:
    answer = await gateway.call("ask", None, ("origin", origin))

    assert (200, origin) == (answer.status, allowed(answer))
    assert "Origin" == answer.headers["vary"]
    assert {"X-Request-Id", "retry-after-ms", "x-ratelimit-remaining-requests"} <= {
        name.strip() for name in answer.headers["access-control-expose-headers"].split(",")
    }


async def test_streams_and_errors_can_be_read(gateway: Gateway) -> None:
    path = f"/api/{PROJECT}/v1/chat/completions"
    stream = await gateway.call("ask", {"message": "Hi", "stream": True}, APP)
    refused = await send_raw(gateway.port, post(f"/api/{PROJECT}/ask", {"message": "Hi"}, APP))
    unknown = await gateway.call("nope", None, APP)
    missing = await send_raw(gateway.port, post(f"/api/{PROJECT}/v1/nope", {}, APP, bearer(gateway.token)))
    models = await send_raw(gateway.port, get(f"/api/{PROJECT}/v1/models", APP, bearer(gateway.token)))
    chat = await send_raw(gateway.port, post(path, {"model": "ask"}, APP, bearer(gateway.token)))

    answers = [stream, refused, unknown, missing, models, chat]
    assert [200, 401, 404, 404, 200, 400] == [answer.status for answer in answers]
    assert {APP[1]} == {allowed(answer) for answer in answers}


async def test_project_without_origins_says_nothing(gateway: Gateway) -> None:
    asked = ("access-control-request-method", "POST")

    token = bearer(gateway.make_token(OTHER_PROJECT))

    options = await preflight(gateway, "ask", APP, asked, project=OTHER_PROJECT)
    answer = await send_raw(gateway.port, post(f"/api/{OTHER_PROJECT}/ask", {"message": "Hi"}, APP, token))

    said = {name for each in (options, answer) for name in each.headers}
    assert 200 == answer.status
    assert not [name for name in said if name.startswith(("access-control-", "vary"))]


async def test_one_connection_serves_pages_of_two_origins(gateway: Gateway) -> None:
    answers = [
        allowed(await gateway.call("ask", None, ("origin", origin))) for origin in (APP[1], "https://evil.example")
    ]

    assert [APP[1], None] == answers


@pytest.mark.parametrize("asked", ["x" * 5_000, "a\x01b", "bad(name)"])
async def test_odd_lists_of_fields_are_refused(gateway: Gateway, asked: str) -> None:
    answer = await preflight(
        gateway, "ask", APP, ("access-control-request-method", "POST"), ("access-control-request-headers", asked)
    )

    assert allowed(answer) is None


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_kept_streams_are_for_pages_too(gateway: Gateway, method: str) -> None:
    stream = await gateway.call("live", {"message": "Hi", "stream": True}, APP)
    path = f"live/streams/{stream.headers['x-request-id']}"
    other = ("origin", "http://localhost:3000")
    data = get(f"/api/{PROJECT}/{path}", bearer(gateway.token), other)

    asked = await preflight(gateway, path, other, ("access-control-request-method", method))
    answer = await send_raw(gateway.port, data.replace(b"GET", method.encode(), 1))
    refused = await send_raw(gateway.port, get(f"/api/{PROJECT}/{path}", other))

    assert (204, other[1]) == (asked.status, allowed(asked))
    assert (200, other[1]) == (answer.status, allowed(answer))
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    assert (401, other[1]) == (refused.status, allowed(refused))
    if method == "GET":
        assert stream.body == answer.body
