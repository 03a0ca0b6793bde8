"""OpenAI's own SDK on `/v1/responses`, over sockets, with candidates of three wires behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import openai
import pydantic
import pytest
import trio
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response

from pg_trio.simulator import Simulator, serve_simulator
from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.response_events import check_response, read_events
from tests.support.wire import HttpResponse, bearer, post, send_raw

T = TypeVar("T")

NATIVE = ("anthropic", "google")
WIRES = ("openai", *NATIVE)
CREDENTIAL = (
    '[[credentials]]\nname = "{wire}"\nprovider = "{wire}"\napi_key = "key-of-{wire}-0000"\nbase_url = "{url}"\n'
)
CITY = '{"city":"Ulm"}'
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
WORDS = " ".join(f"word{number}" for number in range(60))
STREAMED = {"streaming_enabled": True}


def on(wire: str, text: str) -> str:
    """The endpoint's TOML, with its candidate on this wire."""
    return text.replace('credential = "sim"', f'credential = "{wire if wire != "openai" else "sim"}"')


def configuration() -> str:
    failover = [{"credential": "google", "model": "google"}]
    return "\n".join(
        [
            project(),
            *[on(wire, endpoint(f"on-{wire}", wire, **STREAMED)) for wire in WIRES],
            *[on(wire, endpoint(f"talk-{wire}", wire, sessions_enabled=True, **STREAMED)) for wire in WIRES],
            endpoint("other-talk", "openai", sessions_enabled=True),
            endpoint("two-turns", "openai", sessions_enabled=True, session_max_messages=4),
            endpoint("whole", "openai"),
            endpoint("schema", "openai", output_schema={"type": "object"}),
            endpoint("early", "openai", stream_head_after_ms=50, first_token_timeout_ms=400, **STREAMED),
            endpoint("framed", "openai", prompt="Be kind.", sessions_enabled=True),
            endpoint("goes-on", "openai", failover=failover, on_stream_failure="continue", **STREAMED),
            endpoint("limited", "openai", rate_limit_per_minute=1),
            endpoint("guarded", "openai", guardrails={"pii_filter": {"enabled": True, "types": ["email"]}}),
            endpoint("short", "openai", stream_deadline_ms=300, **STREAMED),
            project(OTHER_PROJECT, name="Other"),
            endpoint("talk-openai", "openai", sessions_enabled=True),
        ]
    )


class World:
    """A gateway, the providers behind it by their wire, and a client."""

    def __init__(self, gateway: Gateway, providers: dict[str, Simulator], client: AsyncOpenAI) -> None:
        self.gateway = gateway
        self.providers = providers
        self.client = client

    def behave(self, wire: str, behaviour: str = "", **changes: Any) -> None:
        self.providers[wire].behave(wire, behaviour, **changes)

    def base_url(self, uuid: object = PROJECT) -> str:
        return f"http://127.0.0.1:{self.gateway.port}/api/{uuid}/v1"

    def sent(self, wire: str = "openai") -> Any:
        """The body of the last request that the provider received."""
        return self.providers[wire].requests[-1].body

    async def send(self, **body: object) -> HttpResponse:
        path = f"/api/{PROJECT}/v1/responses"
        return await send_raw(self.gateway.port, post(path, {"input": "Hi", **body}, bearer(self.gateway.token)))

    async def sync(self, work: Callable[[OpenAI], T]) -> T:
        """What the synchronous client does, in a thread."""

        def run() -> T:
            with OpenAI(api_key=self.gateway.token, base_url=self.base_url(), max_retries=0) as client:
                return work(client)

        return await trio.to_thread.run_sync(run)


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[World]:
    native: dict[str, Simulator] = {wire: await nursery.start(serve_simulator) for wire in NATIVE}
    credentials = [CREDENTIAL.format(wire=wire, url=native[wire].url_of(wire)) for wire in NATIVE]
    gateway = await start_gateway(nursery, tmp_path, "\n".join([*credentials, configuration()]))
    base_url = f"http://127.0.0.1:{gateway.port}/api/{PROJECT}/v1"
    async with AsyncOpenAI(api_key=gateway.token, base_url=base_url, max_retries=0) as client:
        yield World(gateway, {"openai": gateway.simulator, **native}, client)


def as_json(response: Response) -> dict[str, Any]:
    shape: dict[str, Any] = response.to_dict(mode="json")
    return shape


# ── an answer ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", WIRES)
async def test_create(world: World, wire: str) -> None:
    world.behave(wire, "usage=38:87", content="Ça va? 🙂")

    response = await world.client.responses.create(model=f"on-{wire}", input="Hi", instructions="Be kind.")

    assert ("Ça va? 🙂", "completed", wire, "Be kind.") == (
        response.output_text,
        response.status,
        response.model,
        response.instructions,
    )
    assert response.usage is not None
    assert (38, 87, 125, 0, 0, 0) == (
        response.usage.input_tokens,
        response.usage.output_tokens,
        response.usage.total_tokens,
        response.usage.input_tokens_details.cached_tokens,
        response.usage.input_tokens_details.cache_write_tokens,
        response.usage.output_tokens_details.reasoning_tokens,
    )


async def test_answer_is_exactly_openais(world: World) -> None:
    answer = await world.send(model="on-openai", tools=[WEATHER], metadata={"a": "b"})

    check_response(answer.json())
    assert {"content-type": "application/json", "x-pg-provider": "openai"}.items() <= answer.headers.items()
    assert {"x-request-id", "openai-processing-ms"} <= answer.headers.keys()


async def test_synchronous_client(world: World) -> None:
    response = await world.sync(lambda client: client.responses.create(model="on-openai", input="Hi"))
    raw = await world.sync(lambda client: client.responses.with_raw_response.create(model="on-openai", input="Hi"))

    assert "You said: Hi" == response.output_text == raw.parse().output_text
    assert "openai" == raw.headers["x-pg-provider"]


@pytest.mark.parametrize("wire", WIRES)
async def test_reasoning(world: World, wire: str) -> None:
    world.behave(wire, "reasoning=3", content="Yes.")

    response = await world.client.responses.create(model=f"on-{wire}", input="Hi", reasoning={"effort": "low"})

    reasoning, message = response.output
    assert ("reasoning", "message", "Yes.") == (reasoning.type, message.type, response.output_text)
    assert reasoning.type == "reasoning"
    assert reasoning.summary[0].text


@pytest.mark.parametrize("wire", WIRES)
async def test_cut_answer_is_incomplete(world: World, wire: str) -> None:
    world.behave(wire, "finish=length", content="Yes, bu")

    response = await world.client.responses.create(model=f"on-{wire}", input="Hi", max_output_tokens=3)

    assert response.incomplete_details is not None
    assert ("incomplete", "max_output_tokens") == (response.status, response.incomplete_details.reason)


# ── a stream ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", WIRES)
async def test_stream(world: World, wire: str) -> None:
    world.behave(wire, "usage=38:87&reasoning=2&pings=1", content=WORDS)

    stream = await world.client.responses.create(model=f"on-{wire}", input="Hi", stream=True)
    events = [event async for event in stream]

    assert WORDS == "".join([event.delta for event in events if event.type == "response.output_text.delta"])
    assert ["response.created", "response.in_progress", "response.completed"] == [
        event.type for event in (*events[:2], events[-1])
    ]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert (WORDS, 38, 87) == (
        last.response.output_text,
        last.response.usage.input_tokens,
        last.response.usage.output_tokens,
    )


@pytest.mark.parametrize("wire", WIRES)
async def test_bytes_of_a_stream(world: World, wire: str) -> None:
    world.behave(wire, "reasoning=2", content=WORDS)

    answer = await world.send(model=f"on-{wire}", stream=True)

    events = read_events(answer.body)
    assert ["reasoning", "message"] == [item["type"] for item in events[-1]["response"]["output"]]
    assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize("wire", WIRES)
async def test_stream_helper(world: World, wire: str) -> None:
    world.behave(wire, f"tool=get_weather:{CITY}")

    async with world.client.responses.stream(model=f"on-{wire}", input="Hi", tools=[WEATHER]) as stream:
        arguments = [event.snapshot async for event in stream if event.type == "response.function_call_arguments.delta"]
        response = await stream.get_final_response()

    # Google's calls are signed, and the signature is in an item before the call.
    call = response.output[-1]
    assert call.type == "function_call"
    assert ("get_weather", {"city": "Ulm"}) == (call.name, json.loads(call.arguments))
    assert call.arguments == arguments[-1]


async def test_whole_answer_as_a_stream(world: World) -> None:
    world.behave("openai", content="Yes.")

    answer = await world.send(model="whole", stream=True)

    assert "Yes." == read_events(answer.body)[-1]["response"]["output"][0]["content"][0]["text"]


async def test_checked_answer_as_a_stream(world: World) -> None:
    world.behave("openai", content='{"city":"Ulm"}')
    good = await world.send(model="schema", stream=True)
    world.behave("openai", content="no object")

    bad = await world.send(model="schema", stream=True)

    assert '{"city":"Ulm"}' == read_events(good.body)[-1]["response"]["output"][0]["content"][0]["text"]
    assert (502, "schema_violation") == (bad.status, bad.json()["error"]["code"])


async def test_early_head_of_a_stream_that_fails(world: World) -> None:
    world.behave("openai", "fault=stall")

    answer = await world.send(model="early", stream=True)

    assert (200, True) == (answer.status, answer.body.startswith(b": ping\nevent: response.created\n"))
    assert "response.failed" == read_events(answer.body)[-1]["type"]


@pytest.mark.parametrize("fault", ["cut:9", "cut:9:clean", "cut:9:inside", "stream_error:9"])
@pytest.mark.parametrize("wire", WIRES)
async def test_torn_stream_fails(world: World, wire: str, fault: str) -> None:
    world.behave(wire, f"fault={fault}", content=WORDS)

    answer = await world.send(model=f"on-{wire}", stream=True)

    last = read_events(answer.body)[-1]
    assert "response.failed" == last["type"]
    assert "server_error" == last["response"]["error"]["code"]
    assert last["response"]["error"]["message"].startswith("Provider call failed: ")
    assert WORDS.startswith(last["response"]["output"][0]["content"][0]["text"])


@pytest.mark.parametrize("wire", WIRES)
async def test_helper_raises_for_a_torn_stream(world: World, wire: str) -> None:
    world.behave(wire, "fault=cut:9", content=WORDS)

    async with world.client.responses.stream(model=f"on-{wire}", input="Hi") as stream:
        with pytest.raises(RuntimeError, match="completed"):
            await stream.get_final_response()


async def test_another_candidate_goes_on(world: World) -> None:
    world.behave("openai", "fault=cut:40", content=WORDS)
    world.behave("google", content=" and the rest")

    answer = await world.send(model="goes-on", stream=True)

    [message] = read_events(answer.body)[-1]["response"]["output"]
    text = message["content"][0]["text"]
    assert text.endswith(" and the rest")
    assert WORDS.startswith(text.removesuffix(" and the rest"))


async def test_deadline_in_a_stream(world: World) -> None:
    world.behave("openai", "fault=stall:9", content=WORDS)

    answer = await world.send(model="short", stream=True)

    last = read_events(answer.body)[-1]
    assert ("response.failed", "Deadline exceeded: no answer within 300 ms.") == (
        last["type"],
        last["response"]["error"]["message"],
    )


async def test_left_stream_closes_the_provider(world: World) -> None:
    world.behave("openai", "fault=stall:9", content=WORDS)

    def leave(client: OpenAI) -> None:
        with client.responses.create(model="on-openai", input="Hi", stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    break

    await world.sync(leave)

    with trio.fail_after(10):
        assert (await world.providers["openai"].wait_closed()).closed_early


# ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("second", WIRES)
@pytest.mark.parametrize("first", WIRES)
async def test_round_of_functions(world: World, first: str, second: str, stream: bool) -> None:
    world.behave(first, f"tool=get_weather:{CITY}&reasoning=2")
    said: list[Any] = [{"role": "user", "content": "Weather in Ulm?"}]

    asked = await _ask(world, stream, model=f"on-{first}", input=said, tools=[WEATHER], tool_choice="required")
    call = asked.output[-1]
    assert call.type == "function_call"
    said += [item.to_dict(mode="json") for item in asked.output]
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "7 degrees"})
    world.behave(second, content="7 degrees.")
    answer = await _ask(world, stream, model=f"on-{second}", input=said, tools=[WEATHER])

    assert ("get_weather", {"city": "Ulm"}) == (call.name, json.loads(call.arguments))
    assert "7 degrees." == answer.output_text
    told = json.dumps(world.sent(second))
    assert "7 degrees" in told
    assert "get_weather" in told


async def _ask(world: World, stream: bool, **body: Any) -> Response:
    if not stream:
        response: Response = await world.client.responses.create(**body)
        return response
    async with world.client.responses.stream(**body) as events:
        return await events.get_final_response()


async def test_signed_thinking_goes_back(world: World) -> None:
    world.behave("anthropic", f"tool=get_weather:{CITY}&reasoning=2")
    said: list[Any] = [{"role": "user", "content": "Weather in Ulm?"}]
    asked = await world.client.responses.create(model="on-anthropic", input=said, tools=[WEATHER])
    reasoning, call = asked.output
    assert reasoning.type == "reasoning"
    assert call.type == "function_call"

    said += [item.to_dict(mode="json") for item in asked.output]
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "7"})
    await world.client.responses.create(
        model="on-anthropic", input=said, tools=[WEATHER], reasoning={"effort": "high"}, max_output_tokens=8000
    )

    turn = world.sent("anthropic")["messages"][1]["content"]
    assert ["thinking", "tool_use"] == [block["type"] for block in turn]
    assert reasoning.summary[0].text == turn[0]["thinking"]
    assert turn[0]["signature"]


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


@pytest.mark.parametrize("wire", WIRES)
async def test_parse(world: World, wire: str) -> None:
    world.behave(wire, content='{"city":"Ulm","degrees":7}')

    response = await world.client.responses.parse(model=f"on-{wire}", input="Weather?", text_format=Weather)

    assert Weather(city="Ulm", degrees=7) == response.output_parsed
    assert "degrees" in json.dumps(world.sent(wire))


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def said_to(body: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in body["messages"]]


async def test_conversation_goes_on(world: World) -> None:
    create = world.client.responses.create

    one = await create(model="framed", input="One", instructions="Only once.")
    two = await create(model="framed", input="Two", previous_response_id=one.id, instructions="Now this.")
    three = await create(model="framed", input="Three", previous_response_id=two.id)

    turns = [("user", "One"), ("assistant", "You said: One"), ("user", "Two"), ("assistant", "You said: Two")]
    bodies = [said_to(request.body) for request in world.providers["openai"].requests]
    assert [
        [("system", "Be kind."), ("system", "Only once."), ("user", "One")],
        [("system", "Be kind."), ("system", "Now this."), *turns[:2], ("user", "Two")],
        [("system", "Be kind."), *turns, ("user", "Three")],
    ] == bodies
    assert two.id == three.previous_response_id
    assert 3 == len({one.id, two.id, three.id})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", WIRES)
async def test_round_of_functions_in_a_session(world: World, wire: str, stream: bool) -> None:
    world.behave(wire, f"tool=get_weather:{CITY}")
    asked = await _ask(world, stream, model=f"talk-{wire}", input="Weather in Ulm?", tools=[WEATHER])
    call = asked.output[-1]
    assert call.type == "function_call"

    world.behave(wire, content="7 degrees.")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "seven"}
    body: dict[str, Any] = {"model": f"talk-{wire}", "input": [result], "tools": [WEATHER]}
    answer = await _ask(world, stream, previous_response_id=asked.id, **body)

    assert "7 degrees." == answer.output_text
    told = json.dumps(world.sent(wire))
    assert "Weather in Ulm?" in told
    assert "seven" in told


async def test_continued_calls_need_their_outputs(world: World) -> None:
    world.behave("openai", f"tool=get_weather:{CITY}")
    asked = await world.client.responses.create(model="talk-openai", input="Weather in Ulm?", tools=[WEATHER])

    for said in ("Never mind.", [{"type": "function_call_output", "call_id": "call_x", "output": "7"}]):
        body: dict[str, Any] = {"input": said, "previous_response_id": asked.id}
        with pytest.raises(openai.BadRequestError) as refused:
            await world.client.responses.create(model="talk-openai", **body)
        assert "input" == refused.value.param
    assert 1 == len(world.providers["openai"].requests)


async def test_only_the_latest_is_continued(world: World) -> None:
    create = world.client.responses.create
    one = await create(model="talk-openai", input="One")
    two = await create(model="talk-openai", input="Two", previous_response_id=one.id)

    with pytest.raises(openai.BadRequestError) as refused:
        await create(model="talk-openai", input="Three", previous_response_id=one.id)
    await create(model="talk-openai", input="Three", previous_response_id=two.id)

    assert "previous_response_id" == refused.value.param
    assert "only the latest response" in refused.value.message
    assert 3 == len(world.providers["openai"].requests)


async def test_unstored_response(world: World) -> None:
    create = world.client.responses.create

    alone = await create(model="talk-openai", input="One", store=False)
    with pytest.raises(openai.BadRequestError) as refused:
        await create(model="talk-openai", input="Two", previous_response_id=alone.id)
    one = await create(model="talk-openai", input="One")
    aside = await create(model="talk-openai", input="Aside", previous_response_id=one.id, store=False)
    two = await create(model="talk-openai", input="Two", previous_response_id=one.id)

    assert "previous_response_not_found" == refused.value.code
    assert ("You said: Aside", "You said: Two") == (aside.output_text, two.output_text)
    assert [("user", "One"), ("assistant", "You said: One"), ("user", "Two")] == said_to(world.sent())


async def test_failed_turn_is_not_stored(world: World) -> None:
    one = await world.client.responses.create(model="talk-openai", input="One")
    world.behave("openai", "fault=cut:3", content=WORDS)
    torn = await world.send(model="talk-openai", input="Two", stream=True, previous_response_id=one.id)
    world.behave("openai", content="Yes.")

    await world.client.responses.create(model="talk-openai", input="Again", previous_response_id=one.id)

    assert "response.failed" == read_events(torn.body)[-1]["type"]
    assert [("user", "One"), ("assistant", "You said: One"), ("user", "Again")] == said_to(world.sent())


@pytest.mark.parametrize("model", ["on-openai", "whole"])
@pytest.mark.parametrize("previous", ["resp_1", "resp_" + "0" * 48])
async def test_endpoint_without_sessions(world: World, model: str, previous: str) -> None:
    with pytest.raises(openai.BadRequestError, match="Sessions are not enabled for this endpoint"):
        await world.client.responses.create(model=model, input="Hi", previous_response_id=previous)


async def test_ids_of_others(world: World) -> None:
    one = await world.client.responses.create(model="talk-openai", input="My secret")
    other_token = world.gateway.make_token()
    other_project = world.gateway.make_token(OTHER_PROJECT)

    for token, uuid, model in [
        (other_token, PROJECT, "talk-openai"),
        (other_project, OTHER_PROJECT, "talk-openai"),
        (world.gateway.token, PROJECT, "other-talk"),
        (world.gateway.token, PROJECT, "talk-google"),
    ]:
        async with AsyncOpenAI(api_key=token, base_url=world.base_url(uuid), max_retries=0) as client:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(model=model, input="Hi", previous_response_id=one.id)
            assert ("previous_response_not_found", "previous_response_id") == (refused.value.code, refused.value.param)
    assert 1 == len(world.providers["openai"].requests)
    await world.gateway.stop()
    rows = world.gateway.log_rows()[1:]
    assert [(400, "PreviousResponseNotFound")] * 4 == [(row["status"], row["error_code"]) for row in rows]


async def test_full_session(world: World) -> None:
    one = await world.client.responses.create(model="two-turns", input="One")
    two = await world.client.responses.create(model="two-turns", input="Two", previous_response_id=one.id)

    with pytest.raises(openai.RateLimitError, match="Session message limit reached") as refused:
        await world.client.responses.create(model="two-turns", input="Three", previous_response_id=two.id)

    assert "false" == refused.value.response.headers["x-should-retry"]


async def test_responses_at_once(world: World) -> None:
    """Both continuations are answered and stored. The later one is the session's latest response."""
    one = await world.client.responses.create(model="talk-openai", input="One")
    # Long enough for both to read the session before either is stored, on a busy machine, too.
    world.behave("openai", "latency=1500ms")
    answers: list[Response] = []

    async def go_on(text: str) -> None:
        answers.append(
            await world.client.responses.create(model="talk-openai", input=text, previous_response_id=one.id)
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on, "Two")
        nursery.start_soon(go_on, "Three")
    world.behave("openai")
    outcomes = []
    for answer in answers:
        body = {"model": "talk-openai", "input": "Hi", "previous_response_id": answer.id, "store": False}
        outcomes.append((await world.send(**body)).status)

    assert 2 == len({answer.id for answer in answers})
    assert [200, 400] == sorted(outcomes)
    # The question, and both continuations with their answers: none is lost.
    assert 7 == len(said_to(world.sent()))


@pytest.mark.parametrize("stream", [False, True])
async def test_references_quote_earlier_answers(world: World, stream: bool) -> None:
    """As the AI SDK writes a conversation: answers by reference, everything else in full."""
    world.behave("openai", "reasoning=2", content="First answer")
    said: list[Any] = [{"role": "user", "content": "One"}]
    one = await _ask(world, stream, model="talk-openai", input=said)
    said += [{"type": "item_reference", "id": item.id} for item in one.output]
    said.append({"role": "user", "content": "Two"})
    world.behave("openai", content="Second answer")

    two = await _ask(world, stream, model="talk-openai", input=said)
    said += [{"type": "item_reference", "id": item.id} for item in two.output]
    said.append({"role": "user", "content": "Three"})
    three = await _ask(world, stream, model="talk-openai", input=said, store=False)
    world.behave("openai", content="Fourth answer")
    await _ask(world, stream, model="talk-openai", input="And?", previous_response_id=two.id)

    turns = [("user", "One"), ("assistant", "First answer"), ("user", "Two"), ("assistant", "Second answer")]
    sent = [said_to(request.body) for request in world.providers["openai"].requests]
    assert [turns[:1], turns[:3], [*turns, ("user", "Three")], [*turns, ("user", "And?")]] == sent
    assert "Second answer" == three.output_text


async def test_foreign_references(world: World) -> None:
    one = await world.client.responses.create(model="talk-openai", input="One")
    reference: Any = {"type": "item_reference", "id": one.output[0].id}
    body: dict[str, Any] = {"input": [{"role": "user", "content": "One"}, reference]}

    async with AsyncOpenAI(api_key=world.gateway.make_token(), base_url=world.base_url(), max_retries=0) as other:
        for client, model in [(other, "talk-openai"), (world.client, "other-talk"), (world.client, "on-openai")]:
            with pytest.raises(openai.BadRequestError, match="names no stored message") as refused:
                await client.responses.create(model=model, **body)
            assert "input" == refused.value.param
    assert 1 == len(world.providers["openai"].requests)


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"temperature": 9}, "temperature"),
    ],
)
async def test_wrong_request(world: World, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await world.client.responses.create(**{"model": "on-openai", "input": "Hi", **body})

    assert ("invalid_request_error", param, None) == (refused.value.type, refused.value.param, refused.value.code)
    assert [] == list(world.providers["openai"].requests)


async def test_typed_errors(world: World) -> None:
    create = world.client.responses.create
    with pytest.raises(openai.NotFoundError) as unknown:
        await create(model="nowhere", input="Hi")
    await create(model="limited", input="Hi")
    with pytest.raises(openai.RateLimitError):
        await create(model="limited", input="Hi")
    world.behave("openai", "fault=status:400")
    with pytest.raises(openai.InternalServerError) as failed:
        await create(model="on-openai", input="Hi")
    async with AsyncOpenAI(api_key="pg_live_unknown", base_url=world.base_url(), max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.responses.create(model="on-openai", input="Hi")

    assert ("model_not_found", "model") == (unknown.value.code, unknown.value.param)
    assert "upstream_error" == failed.value.code


async def test_stream_that_fails_before_its_head(world: World) -> None:
    world.behave("openai", "fault=status:500")

    with pytest.raises(openai.InternalServerError) as failed:
        await world.client.responses.create(model="on-openai", input="Hi", stream=True)

    assert "upstream_error" == failed.value.code


async def test_stored_responses_are_not_there(world: World) -> None:
    one = await world.client.responses.create(model="talk-openai", input="One")

    for call in (
        world.client.responses.retrieve(one.id),
        world.client.responses.delete(one.id),
        world.client.responses.cancel(one.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await call
    with pytest.raises(openai.NotFoundError):
        await world.client.responses.input_items.list(one.id)


async def test_what_no_wire_takes_is_named_as_here(world: World) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await world.client.responses.create(
            model="on-anthropic", input="Hi", include=["message.output_text.logprobs"], top_logprobs=2
        )

    assert "include" == refused.value.param


async def test_masks_hold(world: World) -> None:
    await world.client.responses.create(
        model="guarded",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "I am a@example.com"}]},
            {"type": "function_call", "call_id": "call_a", "name": "add", "arguments": '{"to":"b@example.com"}'},
            {"type": "function_call_output", "call_id": "call_a", "output": "c@example.com"},
        ],
        instructions="Write to d@example.com",
    )

    assert "example.com" not in json.dumps(world.sent())
