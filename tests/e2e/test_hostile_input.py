"""Hostile input over a socket: always a clean 4xx, never a 500, never a guess at what was meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.surfaces.gateway.chat_request import KNOWN_FIELDS
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, get, post, send_raw

OK = f"/api/{PROJECT}/ok"


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, project() + endpoint("ok"), request.param)


def assert_clean(response: HttpResponse, *statuses: int) -> None:
    """One of these statuses, with our own JSON body that gives nothing away."""
    assert response.status in statuses, (response.status, response.body[:300])
    body = response.json()
    assert body["ok"] is False
    assert "Traceback" not in body["error"]


NOT_REQUESTS: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"message=Hi",
    "cut": b'{"message": "Hi',
    "trailing": b'{"message": "Hi"} {}',
    "trailing comma": b'{"message": "Hi",}',
    "comment": b'{"message": "Hi" /* x */}',
    "array": b'[{"message": "Hi"}]',
    "string": b'"Hi"',
    "null": b"null",
    "number": b"1",
    "BOM": b'\xef\xbb\xbf{"message": "Hi"}',
    "UTF-16": '{"message": "Hi"}'.encode("utf-16"),
    "invalid UTF-8": b'{"message": "\xff\xfe"}',
    "overlong UTF-8": b'{"message": "\xc0\xaf"}',
    "UTF-8 surrogate": b'{"message": "\xed\xa0\x80"}',
    "lone surrogate": b'{"message": "\\ud800"}',
    "lone surrogate in a key": b'{"message": "Hi", "\\udc00": 1}',
    "NaN": b'{"message": "Hi", "x": NaN}',
    "Infinity": b'{"message": "Hi", "x": -Infinity}',
    "huge number": b'{"message": "Hi", "x": 1e999}',
    "control character": b'{"message": "a\x00b"}',
    "deep arrays": b'{"message": "Hi", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"message": "Hi", "x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "unclosed brackets": b"[" * 100_000,
    "duplicate message": b'{"message": "Hi", "message": "Ho"}',
    "duplicate stream": b'{"message": "Hi", "stream": true, "stream": false}',
    "deep tools": b'{"message": "Hi", "tools": [{"type": "function", "x": ' + b"[" * 300 + b"]" * 300 + b"}]}",
}


@pytest.mark.parametrize("name", NOT_REQUESTS)
async def test_not_a_request(gateway: Gateway, name: str) -> None:
    response = await gateway.call("ok", NOT_REQUESTS[name])

    assert_clean(response, 400)
    assert 0 == sum(gateway.simulator.counts.values())


WRONG: list[Any] = [None, True, False, 0, -1, 1.5, "", "x", [], {}, [None], [[]], [{}], {"a": 1}]


@pytest.mark.parametrize("field", [field for field in KNOWN_FIELDS if field != "endpoint"])
async def test_wrong_type_in_every_field(gateway: Gateway, field: str) -> None:
    is_needed = field in ("message", "messages")
    base: dict[str, Any] = {} if is_needed else {"message": "Hi"}
    flags = dict.fromkeys(("stream", "parallel_tool_calls"), (bool,))
    right = {"message": (str,), "tool_choice": (str, dict), "reasoning_effort": (str,), **flags}.get(field, ())

    for value in WRONG:
        response = await gateway.call("ok", {**base, field: value})

        if value is None:
            assert (400 if is_needed else 200) == response.status, (field, response.body)
        elif isinstance(value, right) and right:
            assert response.status in (200, 400), (field, value, response.body)
        else:
            assert_clean(response, 400)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user"},
        {"content": "Hi"},
        {"role": "root", "content": "Hi"},
        {"role": ["user"], "content": "Hi"},
        {"role": "user", "content": 5},
        {"role": "user", "content": None},
        {"role": "user", "content": []},
        {"role": "user", "content": [5]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "text", "text": 5}]},
        {"role": "user", "content": [{"text": "Hi"}]},
        {"role": "tool", "content": "Hi"},
        {"role": "tool", "content": "Hi", "tool_call_id": 5},
        {"role": "assistant", "tool_calls": [{"id": 1}]},
        {"role": "assistant", "tool_calls": {}},
        {"role": "user", "content": "Hi", "name": {}},
    ],
    ids=str,
)
async def test_malformed_message(gateway: Gateway, message: object) -> None:
    response = await gateway.call("ok", {"messages": [message]})

    assert_clean(response, 400)


async def test_both_and_neither(gateway: Gateway) -> None:
    both = await gateway.call("ok", {"message": "Hi", "messages": [{"role": "user", "content": "Hi"}]})
    neither = await gateway.call("ok", {"endpoint": "ok"})

    assert_clean(both, 400)
    assert_clean(neither, 400)


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "application/jsonp", "application/xml", "application/json; charset=latin-1", "json", "a/b, a/c+json"],
)
async def test_wrong_content_type(gateway: Gateway, content_type: str) -> None:
    response = await gateway.call("ok", None, ("Content-Type", content_type))

    assert_clean(response, 400)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", 'application/json;charset="UTF-8"']
)
async def test_right_content_type(gateway: Gateway, content_type: str) -> None:
    response = await gateway.call("ok", None, ("Content-Type", content_type))

    assert 200 == response.status


async def test_ten_megabytes(gateway: Gateway) -> None:
    response = await gateway.call("ok", {"message": "x" * 10_000_000})

    assert_clean(response, 413)


async def test_ten_megabytes_chunked(gateway: Gateway) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    head = (
        f"POST {OK} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {gateway.token}\r\ntransfer-encoding: chunked\r\n\r\n"
    )

    response = await send_raw(gateway.port, head.encode() + chunk * 160 + b"0\r\n\r\n")

    assert_clean(response, 413)


@pytest.mark.parametrize(
    "path",
    [
        f"/api/{PROJECT}/ok%2Fx",
        f"/api/{PROJECT}%2Fok",
        f"/api/{PROJECT}/%6Fk",
        f"/api/{PROJECT}/../{PROJECT}/ok",
        f"/api/{PROJECT}/./ok",
        f"/api//{PROJECT}/ok",
        f"//api/{PROJECT}/ok",
        f"/api/{PROJECT}//ok",
        f"/api/{PROJECT}/ok/",
        f"/api/{PROJECT}/ok/extra",
        f"/api/{PROJECT}/..",
        f"/api/{PROJECT}/ok%00",
        f"/api/{PROJECT}/ok;x=1",
        f"/API/{PROJECT}/ok",
        f"/api/{PROJECT}/OK",
        f"/api/{PROJECT}/",
        f"/api/{PROJECT}",
        "/api/test/ok",
        f"/api/{PROJECT}/chat",
        f"/api/{PROJECT}/v1",
        "/" + "a" * 2000,
    ],
)
async def test_path_tricks(gateway: Gateway, path: str) -> None:
    response = await send_raw(gateway.port, post(path, {"message": "Hi"}, bearer(gateway.token)))

    assert_clean(response, 403, 404, 405)
    assert 0 == sum(gateway.simulator.counts.values())


async def test_query_string_changes_nothing(gateway: Gateway) -> None:
    response = await send_raw(gateway.port, post(f"{OK}?endpoint=other", {"message": "Hi"}, bearer(gateway.token)))

    assert 200 == response.status


async def test_wrong_method(gateway: Gateway) -> None:
    response = await send_raw(gateway.port, get(f"/api/{PROJECT}/chat/completions", bearer(gateway.token)))

    assert_clean(response, 405)
    assert "POST" == response.headers["allow"]


async def test_slug_cannot_inject_headers(gateway: Gateway) -> None:
    response = await gateway.call("chat/completions", {"message": "Hi", "endpoint": "x\r\nSet-Cookie: a=b\x00é"})

    assert_clean(response, 400, 404)
    assert "set-cookie" not in response.headers


async def test_bad_deadline_header(gateway: Gateway) -> None:
    response = await gateway.call("ok", None, ("X-PG-Timeout-Ms", "1e9"))

    assert_clean(response, 400)


async def test_gateway_serves_on_after_all_that(gateway: Gateway) -> None:
    for body in NOT_REQUESTS.values():
        await gateway.call("ok", body)

    response = await gateway.call("ok", {"message": "Grüße 👋"})

    assert 200 == response.status
    [received] = [request for request in gateway.simulator.requests if request.path.endswith("/chat/completions")]
    assert {"role": "user", "content": "Grüße 👋"} == received.body["messages"][-1]
    assert json.loads(response.body)["ok"] is True
