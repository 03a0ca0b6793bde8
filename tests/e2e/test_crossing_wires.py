"""Candidates of four wires behind one endpoint, over sockets: chains, hedges, broken streams and rounds of tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from pg_trio.simulator import Received, Simulator, serve_simulator
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post

NATIVE = ("anthropic", "google", "cohere")
WIRES = ("openai", *NATIVE)
CREDENTIAL = (
    '[[credentials]]\nname = "{wire}"\nprovider = "{wire}"\napi_key = "key-of-{wire}-0000"\nbase_url = "{url}"\n'
)
CITY = '{"city":"Ulm"}'
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
WORDS = " ".join(f"word{number}" for number in range(60))


def to(*wires: str) -> list[dict[str, str]]:
    return [{"credential": wire, "model": wire} for wire in wires]


STREAMED = {"streaming_enabled": True}
ENDPOINTS = "\n".join(
    [
        project(),
        endpoint(
            "chain", "openai", failover=to(*NATIVE), attempt_timeout_ms=300, first_token_timeout_ms=300, **STREAMED
        ),
        *[
            endpoint(f"only-{wire}", wire, **STREAMED).replace('"sim"', f'"{wire if wire != "openai" else "sim"}"')
            for wire in WIRES
        ],
        *[
            endpoint(
                f"{mode}-{wire}",
                "openai",
                failover=to(wire),
                on_stream_failure=mode,
                idle_timeout_ms=300,
                **STREAMED,
            )
            for mode in ("continue", "restart")
            for wire in NATIVE
        ],
        *[endpoint(f"hedge-{wire}", "openai", failover=to(wire), hedge_after_ms=50, **STREAMED) for wire in NATIVE],
    ]
)


@frozen
class World:
    """A gateway and the providers behind it, by their wire."""

    gateway: Gateway
    providers: dict[str, Simulator]

    def behave(self, wire: str, behaviour: str = "", **changes: Any) -> None:
        self.providers[wire].behave(wire, behaviour, **changes)

    def asked(self) -> list[str]:
        """Which providers were asked, each as often as it was, in the order of the chain."""
        return [wire for wire in WIRES for _ in self.providers[wire].requests]

    async def call(self, slug: str, **fields: object) -> HttpResponse:
        return await self.gateway.call(slug, {"message": "Hello there", **fields})


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> World:
    native: dict[str, Simulator] = {wire: await nursery.start(serve_simulator) for wire in NATIVE}
    credentials = [CREDENTIAL.format(wire=wire, url=native[wire].url_of(wire)) for wire in NATIVE]
    gateway = await start_gateway(nursery, tmp_path, "\n".join([*credentials, ENDPOINTS]))
    return World(gateway, {"openai": gateway.simulator, **native})


def chunks_of(response: HttpResponse) -> list[dict[str, Any]]:
    lines = response.body.decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def text_of(response: HttpResponse) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(response) if chunk.get("choices")]
    return "".join(delta.get("content") or "" for delta in deltas)


def finish_of(response: HttpResponse) -> str:
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks_of(response) if chunk.get("choices")]
    return str(next(reason for reason in reasons if reason))


def calls_of(response: HttpResponse, stream: bool) -> list[dict[str, Any]]:
    """The answer's tool calls, put together as a client does it."""
    if not stream:
        return list(response.json()["tool_calls"])
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks_of(response):
        for choice in chunk["choices"]:
            for piece in choice["delta"].get("tool_calls") or []:
                call = calls.setdefault(piece["index"], {"function": {"arguments": ""}})
                call["id"] = piece.get("id") or call.get("id")
                call["type"] = "function"
                call["function"]["name"] = piece["function"].get("name") or call["function"].get("name")
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
    return list(calls.values())


# ── one provider ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", WIRES)
async def test_whole_answer(world: World, wire: str) -> None:
    world.behave(wire, "usage=38:87", content="Ça va? 🙂")

    answer = (await world.call(f"only-{wire}")).json()

    assert ("Ça va? 🙂", "stop", wire) == (answer["content"], answer["finish_reason"], answer["model"])
    assert (38, 87) == (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"])


@pytest.mark.parametrize("wire", WIRES)
async def test_streamed_answer(world: World, wire: str) -> None:
    world.behave(wire, "usage=38:87&reasoning=2&pings=1", content=WORDS)

    response = await world.call(f"only-{wire}", stream=True)

    assert (WORDS, "stop", wire) == (text_of(response), finish_of(response), response.headers["x-pg-provider"])
    assert (38, 87) == tuple(chunks_of(response)[-1]["usage"][name] for name in ("prompt_tokens", "completion_tokens"))
    assert response.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("second", WIRES)
@pytest.mark.parametrize("first", WIRES)
async def test_round_of_tools(world: World, first: str, second: str, stream: bool) -> None:
    world.behave(first, f"tool=get_weather:{CITY}")
    question = {"role": "user", "content": "Weather in Ulm?"}

    asked = await world.gateway.call(f"only-{first}", {"messages": [question], "tools": TOOLS, "stream": stream})
    [call] = calls_of(asked, stream)
    world.behave(second, content="7 degrees.")
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "content": "7 degrees", "tool_call_id": call["id"]}
    body = {"messages": [question, turn, result], "tools": TOOLS, "stream": stream}
    answer = await world.gateway.call(f"only-{second}", body)

    assert ("get_weather", {"city": "Ulm"}) == (call["function"]["name"], json.loads(call["function"]["arguments"]))
    assert 200 == answer.status
    assert "7 degrees." == (text_of(answer) if stream else answer.json()["content"])


# ── a chain ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FAULTS = {
    "401": "fault=status:401",
    "402": "fault=status:402",
    "429": "fault=status:429&retry_after=30",
    "503": "fault=status:503",
    "529": "fault=status:529",
    "cut": "tokens=20&fault=truncate",
    "reset": "fault=reset",
    "silence": "fault=stall",
    "nothing": "fault=empty",
    "error": "fault=error200",
}
# A stream that is cut after its first token has won: then there is no chain any more (see below).
PLAIN_ONLY = {"cut"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_chain_of_four_wires(world: World, fault: str, stream: bool) -> None:
    if stream and fault in PLAIN_ONLY:
        fault = "reset"
    for wire in WIRES[:-1]:
        world.behave(wire, FAULTS[fault])
    world.behave("cohere", content="Cohere here")

    answer = await world.call("chain", stream=stream)

    assert 200 == answer.status
    assert "Cohere here" == (text_of(answer) if stream else answer.json()["content"])
    assert ("cohere", "4") == (answer.headers["x-pg-provider"], answer.headers["x-pg-attempts"])
    assert list(WIRES) == world.asked()


async def test_chain_of_different_faults(world: World) -> None:
    world.behave("openai", "fault=status:401")
    world.behave("anthropic", "fault=status:529")
    world.behave("google", "fault=reset")

    answer = await world.call("chain")

    assert "You said: Hello there" == answer.json()["content"]
    assert list(WIRES) == world.asked()


async def test_chain_without_an_answer_says_what_the_last_said(world: World) -> None:
    for wire in WIRES:
        world.behave(wire, "fault=status:401")

    answer = await world.call("chain")

    assert 502 == answer.status
    assert "Provider call failed: " in answer.json()["error"]
    assert "HTTP 401: Simulated failure with status 401." in answer.json()["error"]
    assert "key-of" not in answer.body.decode()


@pytest.mark.parametrize("wire", NATIVE)
async def test_malformed_request_does_not_fail_over(world: World, wire: str) -> None:
    world.behave(wire, "fault=status:400")

    answer = await world.call(f"only-{wire}")

    assert (502, 1) == (answer.status, len(world.providers[wire].requests))


SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


async def test_candidate_that_cannot_take_a_part_is_passed_over(world: World) -> None:
    world.behave("openai", "fault=status:503")
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Listen:"}, SOUND]}]}

    answer = await world.gateway.call("chain", body)

    assert (200, "google") == (answer.status, answer.headers["x-pg-provider"])
    assert ["openai", "google"] == world.asked()


async def test_part_that_no_candidate_takes_is_named(world: World) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Listen:"}, SOUND]}]}

    answer = await world.gateway.call("only-anthropic", body)

    assert 422 == answer.status
    assert "audio is not supported by anthropic/anthropic" in answer.json()["error"]
    assert [] == world.asked()


# ── a hedge ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", NATIVE)
async def test_hedge_across_wires_cancels_the_loser(world: World, wire: str, stream: bool) -> None:
    world.behave("openai", "fault=stall")
    world.behave(wire, content="First!")

    answer = await world.call(f"hedge-{wire}", stream=stream)

    assert "First!" == (text_of(answer) if stream else answer.json()["content"])
    with trio.fail_after(10):
        lost: Received = await world.providers["openai"].wait_closed()
    assert lost.closed_early


@pytest.mark.parametrize("wire", NATIVE)
async def test_slow_native_wire_loses_to_openai(world: World, wire: str) -> None:
    world.behave("openai", "latency=150ms", content="First!")
    world.behave(wire, "fault=stall")

    answer = await world.call(f"hedge-{wire}")

    assert "First!" == answer.json()["content"]
    with trio.fail_after(10):
        lost = await world.providers[wire].wait_closed()
    assert lost.closed_early


# ── a stream that breaks ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["cut:40", "cut:40:clean", "stall:40", "stream_error:40", "reset:body"])
@pytest.mark.parametrize("wire", NATIVE)
async def test_broken_stream_goes_on_with_another_wire(world: World, wire: str, fault: str) -> None:
    world.behave("openai", f"fault={fault}", content=WORDS)
    world.behave(wire, content=" and the rest")

    response = await world.call(f"continue-{wire}", stream=True)

    relayed = text_of(response).removesuffix(" and the rest")
    assert text_of(response).endswith(" and the rest")
    assert WORDS.startswith(relayed)
    # The second was told word for word what the client has.
    assert relayed in json.dumps(world.providers[wire].requests[0].body)
    assert ("stop", ["continue"]) == (
        finish_of(response),
        [join["mode"] for join in chunks_of(response)[-1]["meta"]["joins"]],
    )


@pytest.mark.parametrize("wire", NATIVE)
async def test_broken_stream_is_begun_anew_on_another_wire(world: World, wire: str) -> None:
    world.behave("openai", "fault=cut:40", content=WORDS)
    world.behave(wire, content=WORDS)

    response = await world.call(f"restart-{wire}", stream=True)

    (join,) = chunks_of(response)[-1]["meta"]["joins"]
    assert WORDS == text_of(response)[join["characters"] :]


@pytest.mark.parametrize("wire", NATIVE)
async def test_broken_native_stream_never_looks_whole(world: World, wire: str) -> None:
    world.behave(wire, "fault=cut:4", content=WORDS)

    response = await world.call(f"only-{wire}", stream=True)

    assert "error" == finish_of(response)
    assert b"event: error\n" in response.body
    assert response.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("wire", NATIVE)
async def test_client_that_leaves_closes_the_providers_connection(world: World, wire: str) -> None:
    world.behave(wire, "tokens=1000&pace=20ms")
    client = await trio.open_tcp_stream("127.0.0.1", world.gateway.port)
    body = {"message": "Tell me", "stream": True}
    await client.send_all(post(f"/api/{PROJECT}/only-{wire}", body, bearer(world.gateway.token)))
    assert b"data: " in await client.receive_some() + await client.receive_some()

    await client.aclose()

    with trio.fail_after(10):
        received = await world.providers[wire].wait_closed()
    assert received.closed_early
