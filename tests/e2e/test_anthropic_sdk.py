"""Anthropic's own Python SDK against the gateway, over sockets, with providers of three wires behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import pytest
import trio
from anthropic.types import Message, MessageParam, ToolParam
from attrs import frozen

from pg_trio.simulator import Received, Simulator, serve_simulator
from tests.support.anthropic_types import check_message
from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway

WIRES = ("openai", "anthropic", "google")
CREDENTIAL = (
    '[[credentials]]\nname = "{wire}"\nprovider = "{wire}"\napi_key = "key-of-{wire}-0000"\nbase_url = "{url}"\n'
)
# The SDK waits so long before it asks again, unless it is told a time.
NO_DELAY = 0.0
HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]
TOOLS: list[ToolParam] = [
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LIMIT_S = 30

T = TypeVar("T")


def at(wire: str, text: str) -> str:
    """The endpoint's text with the credential of that wire."""
    return text.replace('"sim"', f'"{wire}"')


STREAMED: dict[str, Any] = {"streaming_enabled": True}
CONFIGURATION = "\n".join(
    [
        project(),
        *[at(wire, endpoint(wire, **STREAMED)) for wire in WIRES],
        at("openai", endpoint("still")),
        at("anthropic", endpoint("prompted", "claude", prompt="Be brief.", max_output_tokens=50)),
        at("anthropic", endpoint("guarded", "claude", guardrails={"pii_filter": {"enabled": True}}, **STREAMED)),
        at("openai", endpoint("blocked", guardrails={"keyword_blocklist": {"enabled": True, "words": ["secret"]}})),
        at("openai", endpoint("limited", rate_limit_per_minute=1)),
        at("openai", endpoint("counted", rate_limit_per_minute=1)),
        at("openai", endpoint("capped", usage_hard_limit_tokens=1)),
        at("openai", endpoint("late", deadline_ms=200)),
        at("openai", endpoint("broken", max_attempts=1, **STREAMED)),
        at("openai", endpoint("talk", sessions_enabled=True)),
        at(
            "openai",
            endpoint("mixed", "openai", failover=[{"credential": "anthropic", "model": "claude"}], max_attempts=2),
        ),
        at(
            "openai",
            endpoint(
                "carried",
                "first",
                failover=[{"credential": "anthropic", "model": "claude"}],
                on_stream_failure="continue",
                **STREAMED,
            ),
        ),
        project(OTHER_PROJECT, name="Wrapper", project_type="ai_wrapper"),
        '[[projects.providers]]\ncredential = "anthropic"\n',
    ]
)


@frozen
class World:
    """A gateway, the providers behind it by their wire, and a client of it."""

    gateway: Gateway
    providers: dict[str, Simulator]
    clients: ExitStack

    def client(self, *, project: object = PROJECT, token: str = "", retries: int = 0, **options: Any) -> Any:
        """The SDK with nothing but a base URL and a token."""
        client = anthropic.Anthropic(
            api_key=token or self.gateway.token,
            base_url=f"http://127.0.0.1:{self.gateway.port}/api/{project}",
            max_retries=retries,
            **options,
        )
        return self.clients.enter_context(client)

    def behave(self, wire: str, behaviour: str = "", model: str = "", **changes: Any) -> None:
        self.providers[wire].behave(model or wire, behaviour, **changes)

    def last(self, wire: str) -> Received:
        """The last request that this provider received."""
        return self.providers[wire].requests[-1]

    async def create(self, model: str, **fields: Any) -> Message:
        """A whole answer. Every field of it is of Anthropic's types."""
        fields = {"max_tokens": 100, "messages": HELLO, "model": model} | _for_sdk(fields)
        raw = await blocking(partial(self.client().messages.with_raw_response.create, **fields))
        return check_message(json.loads(raw.http_response.content))

    async def refuse(self, model: str, error: type[Exception], *, token: str = "", **fields: Any) -> Any:
        """The error that the SDK raises for a request."""
        fields = {"max_tokens": 100, "messages": HELLO, "model": model} | _for_sdk(fields)
        with pytest.raises(error) as caught:
            await blocking(partial(self.client(token=token).messages.create, **fields))
        return caught.value


def _for_sdk(fields: dict[str, Any]) -> dict[str, Any]:
    """The SDK's arguments for these fields. It has none for the sampling of older models."""
    older = {name: fields.pop(name) for name in ("temperature",) if name in fields}
    return {**fields, "extra_body": older} if older else fields


def body_of(received: Received) -> Any:
    """The JSON that a provider received."""
    return received.body


async def blocking(call: Callable[[], T]) -> T:
    """The result of a call of the SDK, which waits."""
    with trio.fail_after(LIMIT_S):
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[World]:
    providers: dict[str, Simulator] = {wire: await nursery.start(serve_simulator) for wire in WIRES}
    credentials = [CREDENTIAL.format(wire=wire, url=providers[wire].url_of(wire)) for wire in WIRES]
    gateway = await start_gateway(nursery, tmp_path, "\n".join([*credentials, CONFIGURATION]))
    with ExitStack() as clients:
        yield World(gateway, providers, clients)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", WIRES)
async def test_whole_answer(world: World, wire: str) -> None:
    world.behave(wire, "usage=38:87", content="Ça va? 🙂")

    message = await world.create(wire, system="Be kind.", temperature=0.5, stop_sequences=["END"])

    assert [{"type": "text", "text": "Ça va? 🙂", "citations": None}] == [
        block.model_dump() for block in message.content
    ]
    assert ("end_turn", wire, 38, 87) == (
        message.stop_reason,
        message.model,
        message.usage.input_tokens,
        message.usage.output_tokens,
    )
    assert "Hello there" == world.last(wire).said


@pytest.mark.parametrize("wire", WIRES)
async def test_streamed_answer(world: World, wire: str) -> None:
    world.behave(wire, "usage=38:87&pings=2", content="One two three")

    def read() -> Any:
        with world.client().messages.stream(model=wire, max_tokens=100, messages=HELLO) as stream:
            kinds = [event.type for event in stream]
            return kinds, stream.get_final_text(), stream.get_final_message()

    kinds, text, message = await blocking(read)

    assert ["message_start", "content_block_start"] == kinds[:2]
    assert ["content_block_stop", "message_delta", "message_stop"] == kinds[-3:]
    assert ("One two three", "end_turn", 38, 87) == (
        text,
        message.stop_reason,
        message.usage.input_tokens,
        message.usage.output_tokens,
    )


async def test_async_client_on_trio(world: World) -> None:
    world.behave("openai", content="One two")
    base_url = f"http://127.0.0.1:{world.gateway.port}/api/{PROJECT}"

    async with anthropic.AsyncAnthropic(api_key=world.gateway.token, base_url=base_url, max_retries=0) as client:
        message = await client.messages.create(model="openai", max_tokens=9, messages=HELLO)
        async with client.messages.stream(model="openai", max_tokens=9, messages=HELLO) as stream:
            text = await stream.get_final_text()

    assert ("text", "One two") == (message.content[0].type, text)


async def test_stream_of_an_endpoint_that_does_not_stream(world: World) -> None:
    world.behave("openai", "usage=3:2", model="still", content="One two")

    def read() -> Any:
        with world.client().messages.stream(model="still", max_tokens=100, messages=HELLO) as stream:
            return stream.get_final_message()

    message = await blocking(read)

    assert ("One two", 2) == (getattr(message.content[0], "text", None), message.usage.output_tokens)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
async def test_full_round_of_tools(world: World, wire: str, stream: bool) -> None:
    world.behave(wire, "tool=get_weather:%7B%22city%22%3A%22Ulm%22%7D")

    def ask(messages: list[Any]) -> Any:
        fields: dict[str, Any] = {"model": wire, "max_tokens": 100, "messages": messages, "tools": TOOLS}
        if not stream:
            return world.client().messages.create(**fields)
        with world.client().messages.stream(**fields) as opened:
            return opened.get_final_message()

    called = await blocking(partial(ask, HELLO))
    (call,) = [block for block in called.content if block.type == "tool_use"]
    world.behave(wire, content="It rains.")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Rain"}]}
    told = await blocking(
        partial(ask, [*HELLO, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}])
    )

    assert ("tool_use", "get_weather", {"city": "Ulm"}) == (called.stop_reason, call.name, call.input)
    assert ("end_turn", "It rains.") == (told.stop_reason, getattr(told.content[-1], "text", None))


@pytest.mark.parametrize("wire", WIRES)
async def test_images_reach_every_wire(world: World, wire: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]

    await world.create(wire, messages=[{"role": "user", "content": content}])

    assert PIXEL in str(world.last(wire).body)


async def test_thinking_goes_out_and_comes_back(world: World) -> None:
    world.behave("anthropic", "reasoning=2", content="Hi.")
    thinking = {"type": "enabled", "budget_tokens": 1024}

    def read() -> Any:
        fields: dict[str, Any] = {"model": "anthropic", "max_tokens": 2000, "messages": HELLO, "thinking": thinking}
        with world.client().messages.stream(**fields) as stream:
            return stream.get_final_message()

    whole = await world.create("anthropic", max_tokens=2000, thinking=thinking)
    streamed = await blocking(read)
    turns = [*HELLO, {"role": "assistant", "content": [block.model_dump() for block in whole.content]}, *HELLO]
    await world.create("anthropic", max_tokens=2000, thinking=thinking, messages=turns)

    assert ["thinking", "text"] == [block.type for block in whole.content] == [block.type for block in streamed.content]
    assert whole.content[0] == streamed.content[0]
    sent = body_of(world.last("anthropic"))
    assert (thinking, whole.content[0].model_dump()) == (sent["thinking"], sent["messages"][1]["content"][0])


async def test_reasoning_that_nothing_signs_is_no_thinking(world: World) -> None:
    world.behave("openai", "reasoning=2", content="Hi.")

    def read() -> Any:
        with world.client().messages.stream(model="openai", max_tokens=100, messages=HELLO) as stream:
            return stream.get_final_message()

    assert ["text"] == [block.type for block in (await world.create("openai")).content]
    assert ["text"] == [block.type for block in (await blocking(read)).content]


# ── what goes out ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_request_to_anthropic_is_unchanged(world: World) -> None:
    fields: dict[str, Any] = {
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}
        ],
        "tools": [{**TOOLS[0], "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "metadata": {"user_id": "u-1"},
        "temperature": 1.0,
    }
    headers = {"anthropic-beta": "context-1m-2025-08-07,files-api-2025-04-14", "anthropic-version": "2023-01-01"}

    await world.create("anthropic", **fields, extra_headers=headers)

    received = world.last("anthropic")
    assert {**fields, "model": "anthropic"} == received.body
    assert headers == {name: received.headers[name] for name in headers}
    assert "key-of-anthropic-0000" == received.headers["x-api-key"]


async def test_beta_client(world: World) -> None:
    call = partial(
        world.client().beta.messages.create,
        model="anthropic",
        max_tokens=9,
        messages=HELLO,
        betas=["files-api-2025-04-14"],
    )

    message = await blocking(call)

    assert "Hello there" in message.content[0].text
    assert "files-api-2025-04-14" == world.last("anthropic").headers["anthropic-beta"]


async def test_prompt_and_limit_of_the_endpoint_hold(world: World) -> None:
    await world.create("prompted", system="Be kind.", max_tokens=9000)

    sent = body_of(world.last("anthropic"))
    assert (["Be brief.", "Be kind."], 50, "claude") == (
        [block["text"] for block in sent["system"]],
        sent["max_tokens"],
        sent["model"],
    )


async def test_masks_hold_in_unknown_blocks(world: World) -> None:
    block = {"type": "search_result", "source": "https://a", "title": "By ada@example.org", "content": []}

    await world.create("guarded", messages=[{"role": "user", "content": [block, {"type": "text", "text": "Hi"}]}])

    sent = body_of(world.last("anthropic"))
    assert {**block, "title": "By [E-Mail REDACTED]"} == sent["messages"][0]["content"][0]


async def test_blocks_of_anthropics_own_skip_other_candidates(world: World) -> None:
    block = {"type": "search_result", "source": "https://a", "title": "T", "content": []}

    message = await world.create(
        "mixed", messages=[{"role": "user", "content": [block, {"type": "text", "text": "Hi"}]}]
    )

    assert ("claude", []) == (message.model, list(world.providers["openai"].requests))


async def test_server_tools_need_anthropic(world: World) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]

    error = await world.refuse("openai", anthropic.BadRequestError, tools=tools)
    await world.create("mixed", tools=tools)

    assert "tools: tools is not supported by openai/openai." == error.body["error"]["message"]
    assert tools == body_of(world.last("anthropic"))["tools"]


async def test_opened_provider_of_a_wrapper(world: World) -> None:
    token = world.gateway.make_token(OTHER_PROJECT)
    call = partial(world.client(project=OTHER_PROJECT, token=token).messages.create, max_tokens=9, messages=HELLO)

    message = await blocking(partial(call, model="anthropic:claude-sonnet-4-5"))

    assert ("claude-sonnet-4-5", "claude-sonnet-4-5") == (message.model, world.last("anthropic").model)


async def test_sessions(world: World) -> None:
    def ask(session: str, text: str) -> Any:
        return world.client().messages.with_raw_response.create(
            model="talk",
            max_tokens=9,
            messages=[{"role": "user", "content": [{"type": "text", "text": text}]}],
            extra_headers={"X-PG-Session-Id": session},
        )

    first = await blocking(partial(ask, "new", "One"))
    await blocking(partial(ask, first.headers["x-pg-session-id"], "Two"))

    sent = body_of(world.last("openai"))
    assert ["user", "assistant", "user"] == [message["role"] for message in sent["messages"]]


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_count_tokens_is_the_estimate(world: World) -> None:
    client = world.client()
    plain = await blocking(partial(client.messages.count_tokens, model="openai", messages=HELLO))
    more = await blocking(partial(client.messages.count_tokens, model="prompted", messages=HELLO, system="Be kind."))

    # ceil(11 / 4), and the same with the texts of both prompts.
    assert (3, -(-(11 + 9 + 8) // 4)) == (plain.input_tokens, more.input_tokens)
    assert [[], [], []] == [list(provider.requests) for provider in world.providers.values()]


async def test_count_tokens_takes_from_the_limit_and_is_logged(world: World) -> None:
    count = partial(world.client().messages.count_tokens, model="counted", messages=HELLO)

    await blocking(count)
    with pytest.raises(anthropic.RateLimitError):
        await blocking(count)
    await world.gateway.stop()

    rows = [(row["status"], row["endpoint_slug"], row["provider"]) for row in world.gateway.log_rows()]
    assert [(200, "counted", None), (429, "counted", None)] == rows


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_errors_are_typed(world: World) -> None:
    models_only = world.gateway.make_token(scopes=("models",))
    long = [{"role": "user", "content": "Hello there, and much more"}]
    secret = [{"role": "user", "content": "My secret"}]
    world.behave("openai", "fault=status:400", model="broken")
    world.behave("openai", "latency=30s", model="late")
    await world.create("limited")

    cases: list[tuple[str, type[anthropic.APIStatusError], str, dict[str, Any]]] = [
        ("openai", anthropic.AuthenticationError, "authentication_error", {"token": "pg_live_unknown"}),
        ("openai", anthropic.PermissionDeniedError, "permission_error", {"token": models_only}),
        ("nothing", anthropic.NotFoundError, "not_found_error", {}),
        ("openai", anthropic.BadRequestError, "invalid_request_error", {"temperature": 7}),
        ("limited", anthropic.RateLimitError, "rate_limit_error", {}),
        ("capped", anthropic.UnprocessableEntityError, "invalid_request_error", {"messages": long}),
        ("blocked", anthropic.UnprocessableEntityError, "invalid_request_error", {"messages": secret}),
        ("broken", anthropic.InternalServerError, "api_error", {}),
        ("late", anthropic.InternalServerError, "timeout_error", {}),
    ]
    for model, error, kind, fields in cases:
        raised = await world.refuse(model, error, **fields)

        assert (kind, raised.body["request_id"]) == (raised.body["error"]["type"], raised.request_id)


async def test_failures_are_asked_again_as_often_as_the_sdk_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anthropic._base_client.INITIAL_RETRY_DELAY", NO_DELAY)
    world.behave("openai", "fault=status:500", model="broken")

    with pytest.raises(anthropic.InternalServerError):
        await blocking(partial(world.client(retries=2).messages.create, model="broken", max_tokens=9, messages=HELLO))

    assert 3 == len(world.providers["openai"].requests)


async def test_refusals_are_not_asked_again(world: World) -> None:
    await world.refuse(
        "capped", anthropic.UnprocessableEntityError, messages=[{"role": "user", "content": "Hello there"}]
    )
    client = world.client(retries=2)
    with pytest.raises(anthropic.UnprocessableEntityError):
        await blocking(partial(client.messages.create, model="capped", max_tokens=9, messages=HELLO))
    await world.gateway.stop()

    assert [422, 422] == [row["status"] for row in world.gateway.log_rows()]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["cut:2", "stream_error:2", "cut:2:inside", "malformed_chunk:json"])
async def test_broken_stream_raises(world: World, wire: str, fault: str) -> None:
    world.behave(wire, f"fault={fault}", content="One two three four five six")

    def read() -> Any:
        with world.client().messages.stream(model=wire, max_tokens=100, messages=HELLO) as stream:
            return stream.get_final_message()

    with pytest.raises(anthropic.APIStatusError) as caught:
        await blocking(read)

    assert isinstance(caught.value.body, dict)
    assert "api_error" == caught.value.body["error"]["type"]


async def test_stream_is_carried_on_by_another_wire(world: World) -> None:
    world.behave("openai", "fault=cut:2", model="first", content="One two three")
    world.behave("anthropic", model="claude", content="and more")

    def read() -> Any:
        with world.client().messages.stream(model="carried", max_tokens=100, messages=HELLO) as stream:
            kinds = [event.type for event in stream]
            return stream.get_final_message(), kinds

    message, kinds = await blocking(read)

    text = getattr(message.content[0], "text", "")
    assert (True, True) == (text.startswith("One two"), text.endswith("and more"))
    assert 1 == kinds.count("message_start") == kinds.count("content_block_start")


async def test_client_that_leaves_ends_the_providers_stream(world: World) -> None:
    world.behave("openai", "pace=20ms&tokens=5000")

    def read() -> Any:
        with world.client().messages.stream(model="openai", max_tokens=10_000, messages=HELLO) as stream:
            next(iter(stream.text_stream))

    await blocking(read)

    with trio.fail_after(LIMIT_S):
        received = await world.providers["openai"].wait_closed()
    assert received.closed_early


async def test_slow_stream_stays_alive(world: World) -> None:
    world.behave("openai", "head=early&latency=300ms&pace=50ms", content="One two three")

    def read() -> Any:
        with world.client(timeout=5.0).messages.stream(model="openai", max_tokens=100, messages=HELLO) as stream:
            return str(stream.get_final_text())

    assert "One two three" == await blocking(read)
