"""What clients may send, over sockets: content types, nulls, tool rounds, the answer's shape; and who sent it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.http_servers import connected
from tests.support.wire import HttpResponse, bearer, post, send_raw

LOOPBACK = "127.0.0.1"
CONFIGURATION = project() + endpoint("ask") + endpoint("stream", streaming_enabled=True)
BEHIND_PROXY = '[server]\ntrusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]\n' + CONFIGURATION


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


async def ask(gateway: Gateway, body: object, *headers: tuple[str, str]) -> HttpResponse:
    return await gateway.call("ask", body, *headers)


def sent(gateway: Gateway) -> Any:
    """The body of the last request that the provider received."""
    return gateway.simulator.requests[-1].body


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/vnd.x+json", "text/plain;charset=UTF-8"],
)
async def test_json_is_read_under_other_types(gateway: Gateway, content_type: str) -> None:
    response = await ask(gateway, {"message": "Hi"}, ("content-type", content_type))

    assert 200 == response.status
    assert "Hi" == sent(gateway)["messages"][-1]["content"]


async def test_published_sample_has_no_content_type(gateway: Gateway) -> None:
    data = post(f"/api/{PROJECT}/chat/completions", {"endpoint": "ask", "message": "Hi"}, bearer(gateway.token))

    response = await send_raw(gateway.port, data.replace(b"content-type: application/json\r\n", b""))

    assert 200 == response.status


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "application/xml", "text/html"])
async def test_other_types_are_refused(gateway: Gateway, content_type: str) -> None:
    response = await ask(gateway, {"message": "Hi"}, ("content-type", content_type))

    assert (400, "Content-Type must be application/json.") == (response.status, response.json()["error"])
    assert {} == gateway.simulator.counts


@pytest.mark.parametrize("body", [b"message=Hi", b"", b'"Hi"'])
async def test_form_is_no_json(gateway: Gateway, body: bytes) -> None:
    response = await ask(gateway, body, ("content-type", "application/x-www-form-urlencoded"))

    assert 400 == response.status
    assert response.json()["error"].startswith("Body ")


async def test_encoded_body_is_refused_by_name(gateway: Gateway) -> None:
    response = await ask(gateway, b"\x1f\x8b\x08", ("content-encoding", "gzip"))

    assert (415, "identity") == (response.status, response.headers["accept-encoding"])
    assert "Content-Encoding 'gzip' is not supported; send the body as it is." == response.json()["error"]


async def test_identity_is_no_encoding(gateway: Gateway) -> None:
    assert 200 == (await ask(gateway, {"message": "Hi"}, ("content-encoding", "identity"))).status


async def test_nulls_do_not_reach_the_provider(gateway: Gateway) -> None:
    unset = dict.fromkeys(["stream", "session_id", "tools", "tool_choice", "response_format", "reasoning_effort"])
    body = {"messages": [{"role": "user", "content": "Hi", "name": None}], "parallel_tool_calls": None, **unset}

    response = await ask(gateway, body)

    assert 200 == response.status
    assert {"model": "ask", "messages": [{"role": "user", "content": "Hi"}]} == sent(gateway)


async def test_developer_reaches_the_provider_as_system(gateway: Gateway) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    response = await ask(gateway, {"messages": messages})

    assert 200 == response.status
    assert [{"role": "system", "content": "Be brief."}, messages[1]] == sent(gateway)["messages"]


@pytest.mark.parametrize("slug", ["ask", "stream"])
async def test_shape_of_the_answer_travels_as_it_was(gateway: Gateway, slug: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["integer", "null"], "default": None}}}
    shape = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}},
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }

    response = await gateway.call(slug, {"message": "Hi", "stream": slug == "stream", **shape})

    assert 200 == response.status
    assert shape == {field: sent(gateway)[field] for field in shape}


@pytest.mark.parametrize("call_id", ["call__thought__Ct/+AB==" + "A" * 1_200, "c" * 100_000, "Ruf 7", "呼"], ids=len)
async def test_ids_reach_the_provider_unharmed(gateway: Gateway, call_id: str) -> None:
    call = {"id": call_id, "type": "function", "function": {"name": "default_api.now:0", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": call_id, "name": "default_api.now:0", "content": "12:00"}

    response = await ask(gateway, {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}, result]})

    assert 200 == response.status
    called, answered = sent(gateway)["messages"]
    assert ([call], call_id) == (called["tool_calls"], answered["tool_call_id"])


# ── who asks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def clients_of(gateway: Gateway) -> list[tuple[str | None, str | None]]:
    """Each row's client: its own id of the request, and its address."""
    await gateway.stop()
    return [(row["client_request_id"], row["client_address"]) for row in gateway.log_rows()]


async def test_client_s_own_id_is_in_the_row_beside_ours(gateway: Gateway) -> None:
    response = await ask(gateway, {"message": "Hi"}, ("x-request-id", "trace-1"))

    assert "trace-1" != response.headers["x-request-id"]
    await gateway.stop()
    [row] = gateway.log_rows()
    assert (response.headers["x-request-id"], "trace-1", LOOPBACK) == (
        str(UUID(row["request_id"])),
        row["client_request_id"],
        row["client_address"],
    )


async def test_each_request_of_a_connection_has_its_own_id(gateway: Gateway) -> None:
    """Heads are known again by their bytes: a header that differs is never another request's."""
    ids = ["trace-1", "trace-2", "trace-2", None, "trace-3", "x" * 129, None, None]
    async with connected(gateway.port) as client:
        for own in ids:
            headers = [] if own is None else [("x-request-id", own)]
            await client.send(post(f"/api/{PROJECT}/ask", {"message": "Hi"}, bearer(gateway.token), *headers))
            assert 200 == (await client.read_answer()).status

    expected = [None if own is None or len(own) > 128 else own for own in ids]
    assert [(own, LOOPBACK) for own in expected] == await clients_of(gateway)


async def test_failures_say_who_asked(gateway: Gateway) -> None:
    data = post(f"/api/{PROJECT}/ask", {"message": "Hi"}, bearer("pg_live_unknown"), ("x-request-id", "trace-1"))

    response = await send_raw(gateway.port, data)

    assert 401 == response.status
    assert [("trace-1", LOOPBACK)] == await clients_of(gateway)


async def test_header_of_an_unlisted_proxy_is_not_believed(gateway: Gateway) -> None:
    await ask(gateway, {"message": "Hi"}, ("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7"))

    assert [(None, LOOPBACK)] == await clients_of(gateway)


@pytest.mark.parametrize("server", ["lane", "hypercorn"])
async def test_listed_proxies_say_who_asks(nursery: trio.Nursery, tmp_path: Path, server: str) -> None:
    gateway = await start_gateway(nursery, tmp_path, BEHIND_PROXY, server)
    said = [
        [("x-forwarded-for", "198.51.100.7")],
        [("x-forwarded-for", "1.1.1.1, 198.51.100.8, 10.0.0.9")],
        [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.9")],
        [("forwarded", 'for="[2001:db8::7]:4711";proto=https')],
        [],
    ]
    async with connected(gateway.port) as client:
        for headers in said:
            await client.send(post(f"/api/{PROJECT}/ask", {"message": "Hi"}, bearer(gateway.token), *headers))
            assert 200 == (await client.read_answer()).status

    expected = ["198.51.100.7", "198.51.100.8", "198.51.100.9", "2001:db8::7", LOOPBACK]
    assert [(None, address) for address in expected] == await clients_of(gateway)


async def test_nothing_of_it_reaches_the_provider(gateway: Gateway) -> None:
    await ask(gateway, {"message": "Hi"}, ("x-request-id", "trace-1"), ("x-forwarded-for", "198.51.100.7"))

    received = gateway.simulator.requests[-1]
    assert not {"x-request-id", "x-forwarded-for"} & {name.lower() for name in received.headers}
    assert "trace-1" not in json.dumps(received.body)
