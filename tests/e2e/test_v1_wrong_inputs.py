"""Wrong inputs on every route of `/v1`, over sockets: each gets that surface's own error shape, and none is a 500.

The fields are those of OpenAI's and Anthropic's own request types, so that a new field of theirs is tried as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from anthropic.types.message_create_params import MessageCreateParamsBase
from attrs import frozen
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, read_response, send_raw

HELLO = [{"role": "user", "content": "Hi"}]
DEEP: Any = "x"
for _ in range(100):
    DEEP = [DEEP]
# A few of them are right for a few of the fields.
VALUES: tuple[Any, ...] = (
    5,
    -1,
    1.5,
    10**30,
    "x",
    "",
    True,
    [],
    [5],
    [[]],
    {},
    {"x": 5},
    [{"x": 5}],
    {"type": "x"},
    DEEP,
)
TOOL = {"name": "f", "parameters": {"type": "object"}}
CONFIGURATION = "\n".join(
    [project(), endpoint("ask", streaming_enabled=True), project(OTHER_PROJECT, name="Other"), endpoint("ask")]
)


def check_openai(response: HttpResponse) -> None:
    """OpenAI's error object, and nothing beside it."""
    body = response.json()
    assert {"error"} == body.keys()
    assert ["message", "type", "param", "code"] == list(body["error"])
    assert body["error"]["message"]


def check_anthropic(response: HttpResponse) -> None:
    """Anthropic's error object, and nothing beside it."""
    body = response.json()
    assert ["type", "error", "request_id"] == list(body)
    assert ["type", "message"] == list(body["error"])
    assert "error" == body["type"]
    assert body["request_id"] == response.headers["request-id"]


@frozen
class Route:
    """A route of `/v1`: a right body, the fields of its published type, its shape of errors, and how it takes tools."""

    path: str
    body: Mapping[str, Any]
    fields: frozenset[str]
    check: Callable[[HttpResponse], None]
    tool: Mapping[str, Any] | None = None

    def request(self, token: str, *headers: tuple[str, str], project: object = PROJECT, **changes: Any) -> bytes:
        """The bytes of a request with these changes to the body."""
        return post(f"/api/{project}/v1/{self.path}", {**self.body, **changes}, bearer(token), *headers)


ROUTES = {
    route.path: route
    for route in (
        Route(
            "chat/completions",
            {"model": "ask", "messages": HELLO},
            frozenset(CompletionCreateParamsBase.__annotations__),
            check_openai,
            {"type": "function", "function": TOOL},
        ),
        Route(
            "responses",
            {"model": "ask", "input": "Hi"},
            frozenset(ResponseCreateParamsBase.__annotations__),
            check_openai,
            {"type": "function", **TOOL},
        ),
        Route(
            "messages",
            {"model": "ask", "max_tokens": 10, "messages": HELLO},
            frozenset(MessageCreateParamsBase.__annotations__),
            check_anthropic,
            {"name": "f", "input_schema": {"type": "object"}},
        ),
        Route(
            "embeddings",
            {"model": "ask", "input": "Hi"},
            frozenset(EmbeddingCreateParams.__annotations__),
            check_openai,
        ),
    )
}
every_route = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


def wrong_bodies(route: Route) -> Iterator[tuple[str, Any]]:
    for field in sorted(route.fields - {"model"} | {"stream"}):
        for value in VALUES:
            yield field, value


@pytest.mark.slow
@every_route
async def test_every_field_of_every_type(gateway: Gateway, route: Route) -> None:
    broken = {}
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with stream:
        for field, value in wrong_bodies(route):
            await stream.send_all(route.request(gateway.token, **{field: value}))
            response = await read_response(stream)
            if response.status != 200:
                route.check(response)
            if response.status not in (200, 400, 422):
                broken[field, json.dumps(value)[:40]] = (response.status, response.body)

    assert {} == broken


@every_route
async def test_unknown_model(gateway: Gateway, route: Route) -> None:
    response = await send_raw(gateway.port, route.request(gateway.token, model="asck"))

    route.check(response)
    assert 404 == response.status
    assert "This project has: ask." in response.json()["error"]["message"]


@every_route
@pytest.mark.parametrize("value", [None, "", 5, [], {}, "\ud800", "a" * 300])
async def test_model_that_is_no_name(gateway: Gateway, route: Route, value: Any) -> None:
    response = await send_raw(gateway.port, route.request(gateway.token, model=value))

    route.check(response)
    assert response.status in (400, 404)


@every_route
async def test_tokens(gateway: Gateway, route: Route) -> None:
    token, twin = gateway.token, gateway.make_token()
    asked = {
        "another project's": route.request(token, project=OTHER_PROJECT),
        "two": route.request(token, ("x-api-key", twin)),
        "none": route.request(token, ("authorization", "")),
        "no project": route.request(token, project="nonsense"),
    }

    answers = {told: await send_raw(gateway.port, request) for told, request in asked.items()}

    for answer in answers.values():
        route.check(answer)
    statuses = {told: answer.status for told, answer in answers.items()}
    assert {"another project's": 403, "two": 401, "none": 401, "no project": 403} == statuses


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages"])
async def test_ten_thousand_tools(gateway: Gateway, path: str) -> None:
    route = ROUTES[path]
    response = await send_raw(gateway.port, route.request(gateway.token, tools=[route.tool] * 10_000))

    route.check(response)
    assert (400, "tools: has 10000 tools, the limit is 4096.") == (response.status, response.json()["error"]["message"])
    assert not gateway.simulator.requests


@every_route
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"model": NaN}', b"[" * 10_000])
async def test_body_that_is_no_request(gateway: Gateway, route: Route, body: bytes) -> None:
    request = post(f"/api/{PROJECT}/v1/{route.path}", body, bearer(gateway.token))

    response = await send_raw(gateway.port, request)

    route.check(response)
    assert 400 == response.status


@every_route
@pytest.mark.parametrize(
    ("header", "status"), [(("content-type", "image/png"), 400), (("content-encoding", "gzip"), 415)]
)
async def test_body_of_another_kind(gateway: Gateway, route: Route, header: tuple[str, str], status: int) -> None:
    response = await send_raw(gateway.port, route.request(gateway.token, header))

    route.check(response)
    assert status == response.status
