"""`POST /api/{uuid}/v1/embeddings` over sockets: the answer, many inputs, failover and deadlines, on every wire."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest
import trio
from openai.types import CreateEmbeddingResponse

from pg_trio.simulator import Received
from pg_trio.simulator.chat_completion import make_vector
from tests.support.embedding_world import MANY, TEXTS, WIRES, World, error_of, simulated, start_world, vectors_of
from tests.support.gateway import OTHER_PROJECT, PROJECT
from tests.support.wire import HttpResponse, bearer, post, send_raw


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> World:
    return await start_world(nursery, tmp_path)


# ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("form", ["float", "base64"])
async def test_answer_is_openai_s_object(world: World, wire: str, form: str) -> None:
    answer = await world.embed(f"only-{wire}", ["a", "b"], encoding_format=form)

    body = answer.json()
    assert ["object", "data", "model", "usage"] == list(body)
    assert [["object", "index", "embedding"]] * 2 == [list(one) for one in body["data"]]
    assert ("list", ["embedding"] * 2, [0, 1]) == (
        body["object"],
        [one["object"] for one in body["data"]],
        [one["index"] for one in body["data"]],
    )
    found = vectors_of(answer)
    if form == "base64":
        found = [list(struct.unpack("<8f", base64.b64decode(one))) for one in found]
    else:
        CreateEmbeddingResponse.model_validate(body, strict=True)
    assert simulated("a", "b") == found


@pytest.mark.parametrize(
    ("wire", "field", "expected"),
    [
        ("openai", "encoding_format", "base64"),
        ("mistral", "encoding_format", None),
        ("cohere", "input_type", "search_document"),
        ("cohere", "embedding_types", ["float"]),
    ],
)
async def test_provider_is_asked_in_its_own_words(world: World, wire: str, field: str, expected: Any) -> None:
    await world.embed(f"only-{wire}")

    assert expected == world.received(wire).get(field)


async def test_purpose_is_sent_where_there_is_one(world: World) -> None:
    for wire in ("openai", "cohere", "google"):
        await world.embed(f"only-{wire}", input_type="search_query")

    assert "search_query" == world.received("cohere")["input_type"]
    assert "RETRIEVAL_QUERY" == world.received("google")["requests"][0]["taskType"]
    assert "input_type" not in world.received("openai")


async def test_head_says_who_answered(world: World) -> None:
    answer = await world.embed("only-cohere", "Hello", ("x-request-id", "mine"))

    assert ("cohere", "cohere", "1") == tuple(
        answer.headers[f"x-pg-{name}"] for name in ("provider", "model", "attempts")
    )
    assert {"x-request-id", "openai-processing-ms", "server-timing"} <= answer.headers.keys()


async def test_uncounted_answer_is_estimated(world: World) -> None:
    world.behave("openai", "usage=off")

    answer = await world.embed("only-openai", ["x" * 41, "y" * 40])

    assert {"prompt_tokens": 21, "total_tokens": 21} == answer.json()["usage"]


async def test_unknown_fields_go_on_where_the_endpoint_says_so(world: World) -> None:
    refused = await world.embed("passing", truncate=True)
    plain = await world.embed("only-openai", truncate=True)

    # The simulator is as strict as the API.
    assert (502, 200) == (refused.status, plain.status)
    assert "truncate: Extra inputs are not permitted" in error_of(refused)["message"]
    assert "truncate" not in world.received()


async def test_wrapper_s_clients_name_the_model(world: World) -> None:
    token = world.gateway.make_token(OTHER_PROJECT, ("chat",))
    body = {"model": "openai:text-embedding-3-small", "input": "Hello"}

    answer = await send_raw(world.gateway.port, post(f"/api/{OTHER_PROJECT}/v1/embeddings", body, bearer(token)))

    assert (200, "text-embedding-3-small") == (answer.status, answer.json()["model"])


async def test_endpoint_answers_to_model_names(world: World) -> None:
    assert "openai" == (await world.embed("text-embedding-3-large")).headers["x-pg-provider"]


# ── many inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("wire", "calls"), [("openai", 1), ("mistral", 2), ("cohere", 3), ("google", 2)])
async def test_many_inputs_are_split(world: World, wire: str, calls: int) -> None:
    answer = await world.embed(f"only-{wire}", MANY)

    assert simulated(*MANY) == vectors_of(answer)
    assert list(range(200)) == [one["index"] for one in answer.json()["data"]]
    assert (calls, "1") == (len(world.providers[wire].requests), answer.headers["x-pg-attempts"])


async def test_most_inputs_of_large_vectors(world: World) -> None:
    texts = [f"text {number}" for number in range(2_048)]

    answer = await world.embed("only-openai", texts, dimensions=512, encoding_format="base64")

    rows = answer.json()["data"]
    assert [2_048, 3] == [len(rows), len(world.providers["openai"].requests)]
    for number in (0, 1_000, 2_047):
        unpacked = struct.unpack("<512f", base64.b64decode(rows[number]["embedding"]))
        assert make_vector(texts[number], 512) == unpacked


async def test_split_request_continues_after_a_pause(world: World) -> None:
    world.behave("cohere", "fault=status:429&retry_after=0&fail_first=1")

    answer = await world.embed("only-cohere", MANY)

    assert (200, simulated(*MANY)) == (answer.status, vectors_of(answer))


async def test_vectors_of_two_providers_are_never_mixed(world: World) -> None:
    calls = world.providers["cohere"]
    world.behave("cohere", "latency=100ms")

    async with trio.open_nursery() as nursery:
        answers: list[HttpResponse] = []

        async def ask() -> None:
            answers.append(await world.embed("cohere-first", MANY))

        nursery.start_soon(ask)
        await calls.wait_request(1)
        # The first call is answered, those after it are not.
        world.behave("cohere", "fault=status:401")

    assert ("openai", simulated(*MANY)) == (answers[0].headers["x-pg-provider"], vectors_of(answers[0]))
    assert 200 == len(world.received()["input"])


# ── failover, deadline, hedges ───────────────────────────────────────────────────────────────────────────────────────

FAULTS = {
    "401": "fault=status:401",
    "429": "fault=status:429&retry_after=30",
    "503": "fault=status:503",
    "cut": "fault=truncate",
    "reset": "fault=reset",
    "hangup": "fault=hangup",
    "half": "fault=reset:body",
    "no vectors": "fault=nochoices",
    "no JSON": "fault=notjson",
    "an error": "fault=error200",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_chain_of_wires(world: World, fault: str) -> None:
    for name in ("openai", "mistral", "cohere"):
        world.behave(name, FAULTS[fault])

    answer = await world.embed("chain", TEXTS)

    assert (200, "google", "4") == (answer.status, answer.headers["x-pg-provider"], answer.headers["x-pg-attempts"])
    assert (simulated(*TEXTS), "google") == (vectors_of(answer), answer.json()["model"])
    assert ["openai", "mistral", "cohere", "google"] == world.asked()


async def test_chain_without_an_answer(world: World) -> None:
    for name in WIRES:
        world.behave(name, "fault=status:401")

    answer = await world.embed("chain")

    error = error_of(answer)
    assert (502, "api_error", "upstream_error") == (answer.status, error["type"], error["code"])
    assert error["message"].startswith("Provider call failed: ")
    assert "key-of" not in answer.body.decode()


async def test_refused_request_does_not_fail_over(world: World) -> None:
    world.behave("openai", "fault=status:400")

    answer = await world.embed("chain")

    assert (502, ["openai"]) == (answer.status, world.asked())


async def test_deadline_closes_the_call(world: World) -> None:
    world.behave("openai", "fault=stall")

    answer = await world.embed("brief")

    assert (504, "timeout_error", "deadline_exceeded") == (
        answer.status,
        error_of(answer)["type"],
        error_of(answer)["code"],
    )
    with trio.fail_after(10):
        assert (await world.providers["openai"].wait_closed()).closed_early


async def test_client_s_deadline_holds_over_all_calls(world: World) -> None:
    world.behave("cohere", "latency=250ms")

    answer = await world.embed("only-cohere", MANY, ("X-PG-Timeout-Ms", "400"))

    assert (504, "Deadline exceeded: no answer within 400 ms.") == (answer.status, error_of(answer)["message"])
    assert 2 == len(world.providers["cohere"].requests)


async def test_hedge_where_the_endpoint_says_so(world: World) -> None:
    world.behave("openai", "fault=stall")

    answer = await world.embed("hedged")

    assert ("cohere", simulated("Hello")) == (answer.headers["x-pg-provider"], vectors_of(answer))
    with trio.fail_after(10):
        assert (await world.providers["openai"].wait_closed()).closed_early


async def test_no_hedge_otherwise(world: World) -> None:
    world.behave("openai", "latency=200ms")

    answer = await world.embed("patient")

    assert ("openai", ["openai"]) == (answer.headers["x-pg-provider"], world.asked())


async def leave(world: World, wire: str) -> None:
    """Ask a provider that never answers, leave, and wait until the gateway has left the provider."""
    world.behave(wire, "fault=stall")
    client = await trio.open_tcp_stream("127.0.0.1", world.gateway.port)
    body = {"model": f"only-{wire}", "input": "Hello"}
    await client.send_all(post(f"/api/{PROJECT}/v1/embeddings", body, bearer(world.gateway.token)))
    with trio.fail_after(10):
        received: Received = await world.providers[wire].wait_request()

    await client.aclose()

    with trio.fail_after(10):
        assert (await world.providers[wire].wait_closed(received)).closed_early


@pytest.mark.parametrize("wire", ["openai", "cohere", "google"])
async def test_client_that_leaves_closes_the_call(world: World, wire: str) -> None:
    await leave(world, wire)


async def test_stock_server_serves_the_same(nursery: trio.Nursery, tmp_path: Path) -> None:
    world = await start_world(nursery, tmp_path, "hypercorn")

    answer = await world.embed("chain", TEXTS)

    assert (200, simulated(*TEXTS)) == (answer.status, vectors_of(answer))
    await leave(world, "cohere")
