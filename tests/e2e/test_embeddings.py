"""`POST /api/{uuid}/v1/embeddings` over sockets: OpenAI's SDK in front, providers of every wire behind."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
import trio
from attrs import frozen
from openai.types import CreateEmbeddingResponse

from pg_trio.domain.project import TokenLimits
from pg_trio.simulator import Received, Simulator, serve_simulator
from pg_trio.simulator.chat_completion import make_vector
from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

T = TypeVar("T")

WIRES = ("openai", "mistral", "together", "ollama", "cohere", "google")
# Credential `sim`, of every test's configuration, is the one of OpenAI.
CREDENTIAL = (
    '[[credentials]]\nname = "{name}"\nprovider = "{name}"\napi_key = "key-of-{name}-0000"\nbase_url = "{url}"\n'
)
TEXTS = ["Hello", "Ça va? 🙂", "x" * 1_000]
# A dollar a token: 10**9 of the log's units.
PRICED = {"monthly_budget_usd": "1000", "estimated_cost_per_1k_tokens_usd": "1000"}
NANO = 10**9


def to(*names: str) -> list[dict[str, str]]:
    return [{"credential": name, "model": name} for name in names]


def embedder(slug: str, first: str, *others: str, **settings: object) -> str:
    """An endpoint whose candidates are these; each one's model has the name of its credential."""
    if others:
        settings["failover"] = to(*others)
    return endpoint(slug, first, **settings).replace('credential = "sim"', f'credential = "{first}"', 1)


ENDPOINTS = "\n".join(
    [
        project(),
        *[embedder(f"only-{wire}", wire) for wire in WIRES],
        embedder("chain", "openai", "mistral", "cohere", "google", model_names=["text-embedding-*"]),
        embedder("cohere-first", "cohere", "openai"),
        embedder("hedged", "openai", "cohere", hedge_after_ms=50),
        embedder("patient", "openai", "cohere", attempt_timeout_ms=400),
        embedder("brief", "openai", deadline_ms=300),
        embedder("groq", "groq"),
        embedder("groq-first", "groq", "openai"),
        embedder("together-cohere", "together", "cohere"),
        embedder("limited", "openai", rate_limit_per_minute=1),
        embedder("capped", "openai", usage_hard_limit_tokens=10),
        embedder("priced", "openai", prompt="p" * 4_000, **PRICED),
        embedder("priced-chain", "cohere", "openai", **PRICED),
        embedder("masked", "openai", guardrails={"pii_filter": {"enabled": True}}),
        embedder("words", "openai", guardrails={"keyword_blocklist": {"enabled": True, "words": ["forbidden"]}}),
        embedder("schema", "openai", input_schema={"properties": {"input": {"type": "string"}}}),
        embedder("chatty", "openai", prompt="Be kind.", sessions_enabled=True, streaming_enabled=True),
        embedder("passing", "openai", pass_unknown_fields=True),
        embedder("kept", "openai", log_bodies="full"),
        project(OTHER_PROJECT, name="Wrapper", project_type="ai_wrapper"),
        '[[projects.providers]]\ncredential = "openai"\n',
    ]
)


@frozen
class World:
    """A gateway and the providers behind it, by their names."""

    gateway: Gateway
    providers: dict[str, Simulator]

    def behave(self, name: str, behaviour: str) -> None:
        self.providers[name].behave(name, behaviour)

    def asked(self) -> list[str]:
        """Which providers were asked, each as often as it was."""
        return [name for name, provider in self.providers.items() for _ in provider.requests]

    def received(self, name: str = "openai") -> Any:
        """The body of the last request to this provider."""
        return self.providers[name].requests[-1].body

    async def embed(self, model: str, given: Any = "Hello", *headers: tuple[str, str], **fields: Any) -> HttpResponse:
        body = {"model": model, "input": given, **fields}
        path = f"/api/{PROJECT}/v1/embeddings"
        return await send_raw(self.gateway.port, post(path, body, bearer(self.gateway.token), *headers))

    def client(self, **settings: Any) -> openai.OpenAI:
        base_url = f"http://127.0.0.1:{self.gateway.port}/api/{PROJECT}/v1"
        return openai.OpenAI(**{"base_url": base_url, "api_key": self.gateway.token, "max_retries": 0, **settings})


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> World:
    names = (*WIRES, "groq")
    providers: dict[str, Simulator] = {name: await nursery.start(serve_simulator) for name in names}
    credentials = [CREDENTIAL.format(name=name, url=providers[name].url_of(name)) for name in names]
    return World(await start_gateway(nursery, tmp_path, "\n".join([*credentials, ENDPOINTS])), providers)


async def in_thread(call: Callable[[], T]) -> T:
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


def vectors_of(answer: HttpResponse) -> list[Any]:
    return [one["embedding"] for one in answer.json()["data"]]


def error_of(answer: HttpResponse) -> Any:
    return answer.json()["error"]


def simulated(*texts: str, dimensions: int = 8) -> list[list[float]]:
    return [list(make_vector(text, dimensions)) for text in texts]


# ── OpenAI's SDK ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", WIRES)
async def test_sdk_gets_vectors(world: World, wire: str) -> None:
    world.behave(wire, "usage=38:0")

    with world.client() as client:
        answer = await in_thread(partial(client.embeddings.create, model=f"only-{wire}", input=TEXTS))

    # The SDK asks for base64, and unpacks it.
    assert simulated(*TEXTS) == [one.embedding for one in answer.data]
    assert (wire, 38, 38) == (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens)


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire != "together"])
async def test_sdk_asks_for_dimensions(world: World, wire: str) -> None:
    with world.client() as client:
        create = partial(client.embeddings.create, model=f"only-{wire}", input="Hello", dimensions=3)
        answer = await in_thread(partial(create, encoding_format="float"))

    assert simulated("Hello", dimensions=3) == [one.embedding for one in answer.data]


async def test_sdk_sends_tokens(world: World) -> None:
    with world.client() as client:
        one = await in_thread(partial(client.embeddings.create, model="only-openai", input=[1, 2, 3]))
        many = await in_thread(partial(client.embeddings.create, model="only-openai", input=[[1, 2, 3], [4]]))

    assert [simulated("1 2 3"), simulated("1 2 3", "4")] == [[row.embedding for row in all.data] for all in (one, many)]
    assert [[1, 2, 3], [4]] == world.received()["input"]


async def test_sdk_raises_its_own_errors(world: World) -> None:
    world.behave("openai", "fault=status:503")
    cases = [
        ("nowhere", openai.NotFoundError, "model_not_found"),
        ("groq", openai.BadRequestError, None),
        ("only-openai", openai.InternalServerError, "upstream_error"),
    ]

    with world.client() as client:
        for model, kind, code in cases:
            with pytest.raises(kind) as caught:
                await in_thread(partial(client.embeddings.create, model=model, input="Hello"))
            assert code == caught.value.code


async def test_sdk_s_timeout_is_the_deadline(world: World) -> None:
    world.behave("openai", "fault=stall")

    with world.client(timeout=0.3) as client, pytest.raises(openai.APIError):
        await in_thread(partial(client.embeddings.create, model="only-openai", input="Hello"))

    with trio.fail_after(10):
        await world.providers["openai"].wait_closed()


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

MANY = [f"text {number}" for number in range(200)]


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
    assert 2_048 == len(rows)
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


@pytest.mark.parametrize("wire", ["openai", "cohere", "google"])
async def test_client_that_leaves_closes_the_call(world: World, wire: str) -> None:
    world.behave(wire, "fault=stall")
    client = await trio.open_tcp_stream("127.0.0.1", world.gateway.port)
    body = {"model": f"only-{wire}", "input": "Hello"}
    await client.send_all(post(f"/api/{PROJECT}/v1/embeddings", body, bearer(world.gateway.token)))
    with trio.fail_after(10):
        received: Received = await world.providers[wire].wait_request()

    await client.aclose()

    with trio.fail_after(10):
        assert (await world.providers[wire].wait_closed(received)).closed_early


# ── who cannot ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ["Hello", [1, 2], ["a"] * 200])
async def test_provider_without_embeddings(world: World, given: Any) -> None:
    answer = await world.embed("groq", given)

    assert (400, "Provider 'groq' does not support embeddings.") == (answer.status, error_of(answer)["message"])
    assert ([], "false") == (world.asked(), answer.headers["x-should-retry"])


async def test_provider_without_embeddings_is_skipped(world: World) -> None:
    answer = await world.embed("groq-first")

    assert (200, "openai", "1") == (answer.status, answer.headers["x-pg-provider"], answer.headers["x-pg-attempts"])


@pytest.mark.parametrize(
    ("model", "fields", "provider"),
    [
        ("cohere-first", {"given": [[1, 2]]}, "openai"),
        ("together-cohere", {"dimensions": 4}, "cohere"),
        ("together-cohere", {}, "together"),
    ],
)
async def test_candidate_that_cannot_is_skipped(
    world: World, model: str, fields: dict[str, Any], provider: str
) -> None:
    answer = await world.embed(model, **fields)

    assert (200, provider, [provider]) == (answer.status, answer.headers["x-pg-provider"], world.asked())


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        ("only-together", {"dimensions": 4}, "dimensions: dimensions is not supported by together/together."),
        ("only-cohere", {"given": [1, 2]}, "inputs as tokens: inputs as tokens is not supported by cohere/cohere."),
    ],
)
async def test_parameter_that_nobody_takes_is_named(
    world: World, model: str, fields: dict[str, Any], said: str
) -> None:
    answer = await world.embed(model, **fields)

    assert (400, said) == (answer.status, error_of(answer)["message"])
    assert [] == world.asked()


# ── every stage ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"given": ""}, "input"),
        ({"given": []}, "input"),
        ({"given": ["a", ""]}, "input[1]"),
        ({"given": None}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"model": None}, "model"),
    ],
)
async def test_mistake_names_the_field(world: World, fields: dict[str, Any], param: str) -> None:
    answer = await world.embed(**{"model": "only-openai", **fields})

    error = error_of(answer)
    assert (400, "invalid_request_error", param, None) == (answer.status, error["type"], error["param"], error["code"])
    assert [] == world.asked()


async def test_callers_are_checked(world: World) -> None:
    path, body = f"/api/{PROJECT}/v1/embeddings", {"model": "only-openai", "input": "Hello"}
    foreign = world.gateway.make_token(OTHER_PROJECT)
    unscoped = world.gateway.make_token(scopes=("models",))

    answers = [
        await send_raw(world.gateway.port, post(path, body, *headers))
        for headers in ([], [bearer("pg_live_nothing")], [bearer(foreign)], [bearer(unscoped)])
    ]
    by_key = await send_raw(world.gateway.port, post(path, body, ("x-api-key", world.gateway.token)))

    assert [401, 401, 403, 403] == [answer.status for answer in answers]
    assert (200, ["openai"]) == (by_key.status, world.asked())


async def test_rate_limit_holds(world: World) -> None:
    first = await world.embed("limited")
    second = await world.embed("limited")

    assert (200, "0") == (first.status, first.headers["x-ratelimit-remaining-requests"])
    assert (429, "rate_limit_error", "rate_limit_exceeded") == (
        second.status,
        error_of(second)["type"],
        error_of(second)["code"],
    )
    assert {"retry-after", "retry-after-ms"} <= second.headers.keys()


async def test_token_s_limit_counts_the_input_alone(world: World) -> None:
    world.behave("openai", "usage=7:0")
    token = world.gateway.make_token(limits=TokenLimits(tokens_per_minute=1_000))
    body = {"model": "priced", "input": "x" * 40}

    answer = await send_raw(world.gateway.port, post(f"/api/{PROJECT}/v1/embeddings", body, bearer(token)))

    # Neither the endpoint's prompt nor an answer's tokens are reserved.
    assert "990" == answer.headers["x-ratelimit-remaining-tokens"]
    again = await send_raw(world.gateway.port, post(f"/api/{PROJECT}/v1/embeddings", body, bearer(token)))
    assert "983" == again.headers["x-ratelimit-remaining-tokens"]


async def test_cap_holds(world: World) -> None:
    assert 200 == (await world.embed("capped", ["x" * 20, "y" * 20])).status
    over = await world.embed("capped", ["x" * 20, "y" * 21])
    tokens = await world.embed("capped", [[7] * 11])

    assert [(422, "budget_exceeded")] * 2 == [(answer.status, error_of(answer)["code"]) for answer in (over, tokens)]


async def test_budget_reserves_and_counts_the_input(world: World) -> None:
    world.behave("openai", "usage=600:0")

    # 1,000 dollars: 900 tokens fit, though the endpoint's prompt has 1,000.
    first = await world.embed("priced", "x" * 3_600)
    second = await world.embed("priced", "x" * 3_600)
    third = await world.embed("priced", "x" * 1_600)
    await world.gateway.stop()

    assert [200, 422, 200] == [answer.status for answer in (first, second, third)]
    assert "insufficient_quota" == error_of(second)["type"]
    rows = world.gateway.log_rows()
    assert [600 * NANO, None, 600 * NANO] == [row["cost_nano_usd"] for row in rows]
    assert [(600, 0), (None, None), (600, 0)] == [(row["prompt_tokens"], row["completion_tokens"]) for row in rows]


async def test_answered_calls_of_a_failed_candidate_cost_too(world: World) -> None:
    world.behave("openai", "usage=10:0")
    world.behave("cohere", "usage=7:0&latency=100ms")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(world.embed, "priced-chain", MANY))
        await world.providers["cohere"].wait_request(1)
        world.behave("cohere", "fault=status:401")
    await world.gateway.stop()

    (row,) = world.gateway.log_rows()
    assert ("openai", 10, 17 * NANO) == (row["provider"], row["prompt_tokens"], row["cost_nano_usd"])


MAIL, MASKED = "max@example.com", "[E-Mail REDACTED]"


async def test_masks_hold(world: World) -> None:
    answer = await world.embed("masked", ["Hello", f"Write to {MAIL}"], user=f"user {MAIL}")

    assert ["Hello", f"Write to {MASKED}"] == world.received()["input"]
    assert f"user {MASKED}" == world.received()["user"]
    assert simulated("Hello", f"Write to {MASKED}") == vectors_of(answer)


async def test_masks_hold_in_large_bodies(world: World) -> None:
    texts = [*["x" * 1_000] * 60, MAIL]

    await world.embed("masked", texts)

    assert ["x" * 1_000] * 60 + [MASKED] == world.received()["input"]


@pytest.mark.parametrize("given", [[1, 2], [[1, 2]]])
async def test_tokens_do_not_pass_guardrails(world: World, given: Any) -> None:
    answer = await world.embed("masked", given)

    said = "input: must be text, because the guardrails of this endpoint cannot read tokens."
    assert (400, said, "input") == (answer.status, error_of(answer)["message"], error_of(answer)["param"])
    assert [] == world.asked()


async def test_blocked_words_block(world: World) -> None:
    answer = await world.embed("words", ["fine", "a Forbidden thing"])

    assert (422, "content_policy_violation", []) == (answer.status, error_of(answer)["code"], world.asked())


async def test_input_schema_holds(world: World) -> None:
    fits = await world.embed("schema", "Hello")
    fails = await world.embed("schema", ["Hello"])

    assert (200, 422, "schema_violation") == (fits.status, fails.status, error_of(fails)["code"])


async def test_prompt_and_session_do_not_apply(world: World) -> None:
    answer = await world.embed("chatty", "Hello", ("X-PG-Session-Id", "new"))

    assert (200, ["Hello"]) == (answer.status, world.received()["input"])
    assert "x-pg-session-id" not in answer.headers


async def test_every_request_has_its_row(world: World) -> None:
    world.behave("openai", "usage=38:0")
    await world.embed("only-openai", TEXTS)
    await world.embed("groq")
    await world.embed("nowhere")
    await world.embed("only-openai", "")
    await world.gateway.stop()

    rows = world.gateway.log_rows()
    assert [200, 400, 404, 400] == [row["status"] for row in rows]
    assert [None, "EmbeddingsUnsupported", "ModelNotFound", "BadRequest"] == [row["error_code"] for row in rows]
    assert ("only-openai", "openai", "openai", 38, 0) == tuple(
        rows[0][name] for name in ("endpoint_slug", "provider", "model", "prompt_tokens", "completion_tokens")
    )
    assert {"auth", "read", "rate_limit", "budget", "guardrails", "input_schema", "provider"} <= set(
        json.loads(rows[0]["stages_ms"])
    )


async def test_kept_bodies_have_no_vectors(world: World) -> None:
    await world.embed("kept", ["Hello", "Bye"], dimensions=4, user="u7")
    await world.embed("kept", [[1, 2, 3]])
    await world.gateway.stop()

    texts, tokens = world.gateway.log_rows()
    assert {"input": ["Hello", "Bye"], "dimensions": 4, "user": "u7"} == json.loads(texts["request_body"])
    assert {"vectors": 2, "dimensions": 4} == json.loads(texts["response_body"])
    assert {"input": ["[3 tokens]"]} == json.loads(tokens["request_body"])
