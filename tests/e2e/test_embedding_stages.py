"""Every stage holds for `POST /api/{uuid}/v1/embeddings`, seen from both sides."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from tests.support.embedding_world import MANY, NANO, TEXTS, World, error_of, simulated, start_world, vectors_of
from tests.support.gateway import OTHER_PROJECT, PROJECT
from tests.support.wire import bearer, post, send_raw


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> World:
    return await start_world(nursery, tmp_path)


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
        ("only-cohere", {"given": [1, 2]}, "input: must be text: tokens are not supported by cohere/cohere."),
        (
            "together-cohere",
            {"given": [1, 2]},
            "input: must be text: tokens are not supported by together/together, cohere/cohere.",
        ),
    ],
)
async def test_parameter_that_nobody_takes_is_named(
    world: World, model: str, fields: dict[str, Any], said: str
) -> None:
    answer = await world.embed(model, **fields)

    error = error_of(answer)
    assert (400, said, said.partition(":")[0]) == (answer.status, error["message"], error["param"])
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


async def test_answered_calls_cost_though_the_request_failed(world: World) -> None:
    world.behave("cohere", "usage=7:0&latency=100ms")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(world.embed, "priced-cohere", MANY))
        await world.providers["cohere"].wait_request(1)
        world.behave("cohere", "fault=status:401")
    await world.gateway.stop()

    (row,) = world.gateway.log_rows()
    assert (502, None, 7 * NANO) == (row["status"], row["provider"], row["cost_nano_usd"])


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
