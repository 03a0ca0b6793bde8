"""`/v1` Chat Completions over sockets: models, parameters, answers, streams, errors, and what the provider received."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, get, post, send_raw

CLAUDE = """
[[credentials]]
name = "claude"
provider = "anthropic"
api_key = "sk-simulated-key-0000"
base_url = "{base_url}"
"""
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("ask", streaming_enabled=True, model_names=["gpt-4.1*", "any-[ab]"]),
        endpoint("still", max_output_tokens=50, temperature=0.5),
        endpoint("open", pass_unknown_fields=True),
        endpoint("guarded", pass_unknown_fields=True, guardrails={"pii_filter": {"enabled": True}}),
        endpoint("limited", rate_limit_per_minute=1, rate_limit_per_hour=500),
        endpoint("capped", usage_hard_limit_tokens=1),
        endpoint("talk", sessions_enabled=True, streaming_enabled=True),
        endpoint("slow", deadline_ms=200),
        endpoint("down"),
        endpoint("off", is_active=False),
        endpoint(
            "again",
            streaming_enabled=True,
            on_stream_failure="restart",
            failover=[{"credential": "sim", "model": "second"}],
        ),
        endpoint(
            "on",
            streaming_enabled=True,
            on_stream_failure="continue",
            failover=[{"credential": "sim", "model": "second"}],
        ),
        project(OTHER_PROJECT, name="Wrapper", project_type="ai_wrapper"),
        '[[projects.providers]]\ncredential = "sim"\nmodels = ["small", "large-*"]\nmax_output_tokens = 9\n',
        '[[projects.providers]]\ncredential = "sim"\nmodels = ["dear"]\nrate_limit_per_minute = 1\n',
    ]
)
HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


async def ask(
    gateway: Gateway,
    model: object = "ask",
    *headers: tuple[str, str],
    project: object = PROJECT,
    token: str = "",
    **body: Any,
) -> HttpResponse:
    body = {"model": model, "messages": HELLO, **body}
    path = f"/api/{project}/v1/chat/completions"
    return await send_raw(gateway.port, post(path, body, bearer(token or gateway.token), *headers))


def sent(gateway: Gateway) -> Any:
    """The body of the last request that the provider received."""
    return gateway.simulator.requests[-1].body


def chunks_of(response: HttpResponse) -> list[Any]:
    """The chunks of a stream, up to its `[DONE]`."""
    blocks = response.body.decode().removesuffix("\n\n").split("\n\n")
    assert "data: [DONE]" == blocks[-1]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_is_openai_s_object(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", content="Hi.")

    response = await ask(gateway)

    answer = response.json()
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi.", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert 200 == response.status
    assert ["id", "object", "created", "model", "choices", "usage"] == list(answer)
    assert ("chat.completion", "ask", [choice]) == (answer["object"], answer["model"], answer["choices"])
    assert isinstance(answer["created"], int)
    assert answer["id"].startswith("chatcmpl-")
    assert "x-pg-session-id" not in response.headers
    assert response.headers["x-request-id"]
    assert response.headers["openai-processing-ms"].isdecimal()


async def test_chunks_are_openai_s(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", content="One two")

    chunks = chunks_of(await ask(gateway, stream=True))

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert {"role": "assistant", "content": ""} == deltas[0]
    assert "One two" == "".join(delta["content"] for delta in deltas[1:-1])
    assert ({}, "stop") == (deltas[-1], chunks[-1]["choices"][0]["finish_reason"])
    assert {("id", "object", "created", "model", "choices")} == {tuple(chunk) for chunk in chunks}
    assert 1 == len({chunk["id"] for chunk in chunks})


async def test_usage_comes_only_on_request(gateway: Gateway) -> None:
    chunks = chunks_of(await ask(gateway, stream=True, stream_options={"include_usage": True}))

    assert ([], True) == (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"] > 0)
    assert {None} == {chunk["usage"] for chunk in chunks[:-1]}


async def test_tool_round_is_openai_s(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", "tool=f:%7B%22a%22:1%7D")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]

    whole = (await ask(gateway, tools=tools)).json()["choices"][0]
    streamed = chunks_of(await ask(gateway, tools=tools, stream=True))

    call = whole["message"]["tool_calls"][0]
    deltas = [delta["tool_calls"][0] for chunk in streamed if "tool_calls" in (delta := chunk["choices"][0]["delta"])]
    assert ("tool_calls", None, "f") == (whole["finish_reason"], whole["message"]["content"], call["function"]["name"])
    assert ("f", "") == (deltas[0]["function"]["name"], deltas[0]["function"]["arguments"])
    assert all(
        {"index", "function"} == delta.keys() and {"arguments"} == delta["function"].keys() for delta in deltas[1:]
    )
    assert json.loads(call["function"]["arguments"]) == json.loads(
        "".join(delta["function"]["arguments"] for delta in deltas)
    )
    result = {"role": "tool", "tool_call_id": call["id"], "content": "2"}
    again = await ask(gateway, messages=[*HELLO, whole["message"], result], tools=tools)
    assert 200 == again.status
    assert [call["id"], "2"] == [
        sent(gateway)["messages"][-1]["tool_call_id"],
        sent(gateway)["messages"][-1]["content"],
    ]


async def test_endpoint_that_does_not_stream_answers_as_a_stream(gateway: Gateway) -> None:
    gateway.simulator.behave("still", content="All at once")

    response = await ask(gateway, "still", stream=True)

    chunks = chunks_of(response)
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert "All at once" == "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert "stream" not in sent(gateway)


# ── streams that fail ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_broken_stream_ends_without_done(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", "fault=cut:2", content="One two three four")

    response = await ask(gateway, stream=True)

    last = response.body.decode().removesuffix("\n\n").split("\n\n")[-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert ("api_error", "upstream_error", None) == (error["type"], error["code"], error["param"])
    assert "[DONE]" not in response.body.decode()
    assert 'finish_reason":"' not in response.body.decode()


async def test_restart_fails_where_text_was_sent(gateway: Gateway) -> None:
    gateway.simulator.behave("again", "fault=cut:2", content="One two three four")

    response = await ask(gateway, "again", stream=True)

    assert b'"upstream_error"' in response.body
    assert {"again": 1} == dict(gateway.simulator.counts)


async def test_continue_carries_on_silently(gateway: Gateway) -> None:
    gateway.simulator.behave("on", "fault=cut:2", content="One two three four")
    gateway.simulator.behave("second", content=" and five")

    chunks = chunks_of(await ask(gateway, "on", stream=True))

    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text.startswith("One two")
    assert text.endswith(" and five")
    assert all("meta" not in chunk and chunk["choices"][0]["delta"] != {} for chunk in chunks[:-1])


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["ask", "gpt-4.1", "gpt-4.1-mini", "any-a"])
async def test_model_names_an_endpoint(gateway: Gateway, model: str) -> None:
    response = await ask(gateway, model)

    assert (200, "ask") == (response.status, sent(gateway)["model"])


@pytest.mark.parametrize("model", ["gpt-4", "any-c", "off", "nope", "sim:ask", "openai:ask", "x" * 300, "a b", "ünï"])
async def test_unknown_model_is_not_found(gateway: Gateway, model: str) -> None:
    response = await ask(gateway, model)

    error = response.json()["error"]
    assert (404, "model_not_found", "model") == (response.status, error["code"], error["param"])
    assert "This project has: " in error["message"]
    assert "off" not in error["message"].partition("has: ")[2]
    assert error["message"].partition("has: ")[2].count(",") < 10
    assert {} == gateway.simulator.counts


async def test_wrapper_s_clients_name_provider_and_model(gateway: Gateway) -> None:
    token = gateway.make_token(OTHER_PROJECT)

    statuses = {
        model: (await ask(gateway, model, project=OTHER_PROJECT, token=token)).status
        for model in ("openai:small", "openai:large-2", "openai:other", "openai:", "small", "groq:small")
    }

    assert {"openai:small": 200, "openai:large-2": 200} == {m: s for m, s in statuses.items() if s == 200}
    assert {404} == {s for s in statuses.values() if s != 200}
    assert ["small", "large-2"] == [request.body["model"] for request in gateway.simulator.requests]
    assert {9} == {request.body["max_completion_tokens"] for request in gateway.simulator.requests}


async def test_limits_of_an_opened_provider_count_for_all_its_models(gateway: Gateway) -> None:
    token = gateway.make_token(OTHER_PROJECT)

    answers = [await ask(gateway, "openai:dear", project=OTHER_PROJECT, token=token) for _ in range(2)]
    other = await ask(gateway, "openai:small", project=OTHER_PROJECT, token=token)

    assert [200, 429, 200] == [answer.status for answer in (*answers, other)]


async def test_wrapper_has_no_gateway_api(gateway: Gateway) -> None:
    token = gateway.make_token(OTHER_PROJECT)

    response = await send_raw(gateway.port, post(f"/api/{OTHER_PROJECT}/ask", {"message": "Hi"}, bearer(token)))

    assert (400, False) == (response.status, response.json()["ok"])


async def test_models_are_listed(gateway: Gateway) -> None:
    token = gateway.make_token(OTHER_PROJECT, scopes=("models",))

    own = await send_raw(gateway.port, get(f"/api/{PROJECT}/v1/models", ("x-api-key", gateway.token)))
    wrapper = await send_raw(gateway.port, get(f"/api/{OTHER_PROJECT}/v1/models", bearer(token)))
    one = await send_raw(gateway.port, get(f"/api/{OTHER_PROJECT}/v1/models/openai:large%2F3", bearer(token)))
    literal = await send_raw(gateway.port, get(f"/api/{OTHER_PROJECT}/v1/models/openai%3Alarge-1", bearer(token)))

    assert ["ask", "still", "open"] == [model["id"] for model in own.json()["data"]][:3]
    assert "off" not in [model["id"] for model in own.json()["data"]]
    assert ["openai:*", "openai:dear"] == [model["id"] for model in wrapper.json()["data"]]
    assert {("list", "model", "pg_trio", False)} == {
        (wrapper.json()["object"], model["object"], model["owned_by"], model["is_alias"])
        for model in wrapper.json()["data"]
    }
    assert (404, "model_not_found") == (one.status, one.json()["error"]["code"])
    assert (200, "openai:large-1") == (literal.status, literal.json()["id"])


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_client_s_parameters_reach_the_provider(gateway: Gateway) -> None:
    parameters: dict[str, Any] = {
        "temperature": 0.1,
        "top_p": 0.9,
        "max_completion_tokens": 77,
        "stop": ["END"],
        "seed": 3,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"50256": -100},
        "user": "u-1",
        "metadata": {"k": "v"},
        "service_tier": "auto",
        "store": False,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "prediction": {"type": "content", "content": "x"},
    }

    response = await ask(gateway, **parameters, made_up=1)

    assert 200 == response.status
    assert parameters == {name: sent(gateway).get(name) for name in parameters}
    assert "made_up" not in sent(gateway)


@pytest.mark.parametrize(("asked", "limit"), [({"max_tokens": 20}, 20), ({"max_tokens": 500}, 50), ({}, 50)])
async def test_endpoint_s_settings_win(gateway: Gateway, asked: dict[str, Any], limit: int) -> None:
    await ask(gateway, "still", temperature=1.5, **asked)

    assert (0.5, limit) == (sent(gateway)["temperature"], sent(gateway)["max_completion_tokens"])


async def test_unknown_fields_are_passed_where_the_endpoint_says_so(gateway: Gateway) -> None:
    await ask(gateway, "open", made_up={"deep": [1, None]}, temperature=1)

    assert ({"deep": [1, None]}, 1) == (sent(gateway)["made_up"], sent(gateway)["temperature"])


async def test_masks_hold_in_every_field_that_is_passed_on(gateway: Gateway) -> None:
    mail = "write to jane@example.com"

    response = await ask(
        gateway,
        "guarded",
        made_up={"deep": [mail]},
        user="jane@example.com",
        metadata={"who": mail},
        stop=[mail],
        prediction={"type": "content", "content": mail},
    )

    assert 200 == response.status
    assert "jane@example.com" not in json.dumps(sent(gateway))
    assert "write to [E-Mail REDACTED]" == sent(gateway)["made_up"]["deep"][0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": "1"}, "n"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": 5}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"seed": "x"}, "seed"),
        ({"logit_bias": []}, "logit_bias"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"user": 5}, "user"),
        ({"metadata": "x"}, "metadata"),
        ({"modalities": "text"}, "modalities"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {}}, "stream_options"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 10_000}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "name": "flat"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": 5}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": 5}}]},
            "tools[0].function.description",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": "x"}}]}, "tools[0].function.strict"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": {"type": "function", "function": {"name": []}}}, "tool_choice.function.name"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": 5}}}, "response_format.json_schema.name"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"prediction": {"type": "content", "content": 5}}, "prediction.content"),
        ({"prediction": {"content": "x"}}, "prediction.type"),
        ({"audio": {"voice": 5, "format": "wav"}}, "audio.voice"),
        ({"audio": {"voice": "a", "format": 5}}, "audio.format"),
        ({"stream": True, "stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation"),
        ({"functions": []}, "functions"),
        ({"response_format": {}}, "response_format.type"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages[0].tool_call_id"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
    ],
)
async def test_wrong_field_is_named(gateway: Gateway, body: dict[str, Any], param: str) -> None:
    response = await ask(gateway, **body)

    error = response.json()["error"]
    assert (400, "invalid_request_error", None) == (response.status, error["type"], error["code"])
    assert param == error["param"]
    assert "false" == response.headers["x-should-retry"]
    assert {} == gateway.simulator.counts


# ── tokens, sessions ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_token_comes_in_either_header(gateway: Gateway) -> None:
    path, body = f"/api/{PROJECT}/v1/chat/completions", {"model": "ask", "messages": HELLO}
    key, other = ("x-api-key", gateway.token), ("x-api-key", gateway.make_token())

    statuses = [
        (await send_raw(gateway.port, post(path, body, *headers))).status
        for headers in ((key,), (key, bearer(gateway.token)), (other, bearer(gateway.token)), ())
    ]

    assert [200, 200, 401, 401] == statuses


@pytest.mark.parametrize("route", ["v1/chat/completions", "v1/models", "streams/6ba7b810-9dad-41d1-80b4-00c04fd430c8"])
async def test_empty_field_is_no_second_token(gateway: Gateway, route: str) -> None:
    token, body = gateway.token, {"model": "ask", "messages": HELLO}
    sent = [
        [bearer(token), ("x-api-key", "")],
        [bearer(token), ("x-api-key", " ")],
        *[
            [("authorization", empty), ("x-api-key", token)]
            for empty in ("", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz")
        ],
        [("authorization", "Bearer"), ("x-api-key", "")],
        [bearer(gateway.make_token()), ("x-api-key", token)],
    ]

    path = f"/api/{PROJECT}/{route}"
    requests = [post(path, body, *fields) if "chat" in route else get(path, *fields) for fields in sent]
    statuses = [(await send_raw(gateway.port, request)).status for request in requests]

    taken = 404 if route.startswith("streams") else 200
    assert [taken] * 6 + [401, 401] == statuses


async def test_gateway_api_takes_no_api_key(gateway: Gateway) -> None:
    response = await send_raw(
        gateway.port, post(f"/api/{PROJECT}/ask", {"message": "Hi"}, ("x-api-key", gateway.token))
    )

    assert 401 == response.status


async def test_session_is_a_header(gateway: Gateway) -> None:
    without = await ask(gateway, "talk")
    new = await ask(gateway, "talk", ("x-pg-session-id", "new"))
    session = new.headers["x-pg-session-id"]

    again = await ask(gateway, "talk", ("x-pg-session-id", session), stream=True)

    assert "x-pg-session-id" not in without.headers
    assert session == again.headers["x-pg-session-id"]
    assert 3 == len(sent(gateway)["messages"])


@pytest.mark.parametrize(
    ("model", "session", "status"),
    [
        ("talk", "x", 400),
        ("ask", "6f1c0000-0000-4000-8000-00000000000a", 400),
        ("talk", "6f1c0000-0000-4000-8000-00000000000a", 403),
    ],
)
async def test_unusable_session_is_refused(gateway: Gateway, model: str, session: str, status: int) -> None:
    response = await ask(gateway, model, ("x-pg-session-id", session))

    assert (status, "invalid_request_error") == (response.status, response.json()["error"]["type"])


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "status", "kind", "code", "retries"),
    [
        ("capped", 422, "insufficient_quota", "budget_exceeded", "false"),
        ("slow", 504, "timeout_error", "deadline_exceeded", "false"),
        ("down", 502, "api_error", "upstream_error", None),
    ],
)
async def test_failure_has_openai_s_shape(
    gateway: Gateway, model: str, status: int, kind: str, code: str, retries: str | None
) -> None:
    gateway.simulator.behave("slow", "fault=stall")
    gateway.simulator.behave("down", "fault=status:401")

    response = await ask(gateway, model)

    error = response.json()["error"]
    assert (status, kind, code, None) == (response.status, error["type"], error["code"], error["param"])
    assert ["message", "type", "param", "code"] == list(error)
    assert retries == response.headers.get("x-should-retry")


@pytest.mark.parametrize(
    ("fault", "retries"), [("status:400", "false"), ("status:413", "false"), ("status:404", None), ("status:500", None)]
)
async def test_request_that_a_provider_refuses_is_not_repeated(
    gateway: Gateway, fault: str, retries: str | None
) -> None:
    gateway.simulator.behave("down", f"fault={fault}")

    response = await ask(gateway, "down", ("x-pg-timeout-ms", "500"))

    assert (502, retries) == (response.status, response.headers.get("x-should-retry"))


async def test_rate_limit_tells_sdks_when_to_come_again(gateway: Gateway) -> None:
    first, second = await ask(gateway, "limited"), await ask(gateway, "limited")

    left = {name: value for name, value in first.headers.items() if name.startswith("x-ratelimit-")}
    assert {"x-ratelimit-limit-requests": "1", "x-ratelimit-remaining-requests": "0"}.items() <= left.items()
    assert "1m0s" == left["x-ratelimit-reset-requests"]
    error = second.json()["error"]
    assert (429, "rate_limit_error", "rate_limit_exceeded") == (second.status, error["type"], error["code"])
    assert int(second.headers["retry-after-ms"]) == 1000 * int(second.headers["retry-after"])
    assert "x-should-retry" not in second.headers


async def test_sdk_s_timeout_shortens_a_whole_answer(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", "fault=stall")

    for header in ("x-stainless-read-timeout", "x-stainless-timeout"):
        response = await ask(gateway, "ask", (header, "0.15"), ("x-pg-timeout-ms", "60000"))
        assert "Deadline exceeded: no answer within 150 ms." == response.json()["error"]["message"]


async def test_other_project_s_token_is_denied(gateway: Gateway) -> None:
    foreign = await ask(gateway, token=gateway.make_token(OTHER_PROJECT))
    weak = await ask(gateway, token=gateway.make_token(scopes=("models",)))

    for response in (foreign, weak):
        error = response.json()["error"]
        assert (403, "permission_error", "permission_denied") == (response.status, error["type"], error["code"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "chat/completions", 405),
        ("POST", "models", 405),
        ("DELETE", "models/ask", 405),
        ("DELETE", "chat/completions", 405),
        ("POST", "completions", 404),
        ("GET", "files", 404),
        ("POST", "chat/completions/", 404),
        ("POST", "chat%2Fcompletions", 404),
        ("GET", "models/nope", 401),
    ],
)
async def test_what_is_no_route_has_openai_s_shape(gateway: Gateway, method: str, path: str, status: int) -> None:
    data = f"{method} /api/{PROJECT}/v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()

    response = await send_raw(gateway.port, data)

    assert status == response.status
    assert ["message", "type", "param", "code"] == list(response.json()["error"])


@pytest.mark.parametrize(("path", "allowed"), [("models", "GET"), ("models/ask", "GET"), ("responses", "POST")])
async def test_allowed_method_is_named(gateway: Gateway, path: str, allowed: str) -> None:
    data = f"PUT /api/{PROJECT}/v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()

    response = await send_raw(gateway.port, data)

    assert (405, allowed) == (response.status, response.headers["allow"])


@pytest.mark.parametrize(("model", "status"), [("ask", 200), ("still", 200)])
async def test_sdk_s_timeout_limits_no_stream(gateway: Gateway, model: str, status: int) -> None:
    """Also where the endpoint does not stream and the stream is a whole answer in that form."""
    gateway.simulator.behave(model, "latency=250ms")

    streamed = await ask(gateway, model, ("x-stainless-read-timeout", "0.1"), stream=True)
    whole = await ask(gateway, model, ("x-stainless-read-timeout", "0.1"))

    assert (status, 504) == (streamed.status, whole.status)
    assert "data: [DONE]" in streamed.body.decode()


async def test_opened_provider_has_sessions_alone(nursery: trio.Nursery, tmp_path: Path) -> None:
    """No endpoint has sessions here, so only the opened provider needs their store."""
    opened = '[[projects.providers]]\ncredential = "sim"\nsessions_enabled = true\n'
    gateway = await start_gateway(nursery, tmp_path, project(project_type="ai_wrapper") + opened)

    new = await ask(gateway, "openai:small", ("x-pg-session-id", "new"))
    again = await ask(gateway, "openai:large", ("x-pg-session-id", new.headers["x-pg-session-id"]))

    assert (200, 200) == (new.status, again.status)
    assert 3 == len(sent(gateway)["messages"])


async def test_every_listed_model_can_be_retrieved(gateway: Gateway) -> None:
    token = gateway.make_token(OTHER_PROJECT)
    path = f"/api/{OTHER_PROJECT}/v1/models"

    listed = (await send_raw(gateway.port, get(path, bearer(token)))).json()["data"]
    shown = [(await send_raw(gateway.port, get(f"{path}/{model['id']}", bearer(token)))).json() for model in listed]

    assert "openai:*" in [model["id"] for model in listed]
    assert listed == shown


async def test_refusals_and_answers_are_logged(gateway: Gateway) -> None:
    await ask(gateway, "gpt-4.1")
    await ask(gateway, "nope")
    await gateway.stop()

    rows = gateway.log_rows()

    assert [("ask", 200), ("nope", 404)] == [(row["endpoint_slug"], row["status"]) for row in rows]
