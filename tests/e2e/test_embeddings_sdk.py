"""`POST /api/{uuid}/v1/embeddings`, called by OpenAI's SDK, with providers of every wire behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import openai
import pytest
import trio

from tests.support.embedding_world import TEXTS, WIRES, World, simulated, start_world
from tests.support.gateway import PROJECT

T = TypeVar("T")


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> World:
    return await start_world(nursery, tmp_path)


async def in_thread(call: Callable[[], T]) -> T:
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


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


async def test_async_sdk_gets_vectors(world: World) -> None:
    base_url = f"http://127.0.0.1:{world.gateway.port}/api/{PROJECT}/v1"
    with trio.fail_after(20):
        async with openai.AsyncOpenAI(base_url=base_url, api_key=world.gateway.token, max_retries=0) as client:
            answer = await client.embeddings.create(model="only-cohere", input=TEXTS, encoding_format="float")

    assert simulated(*TEXTS) == [one.embedding for one in answer.data]


async def test_sdk_does_not_repeat_a_mistake(world: World) -> None:
    with world.client(max_retries=2) as client, pytest.raises(openai.BadRequestError):
        await in_thread(partial(client.embeddings.create, model="groq", input="Hello"))
    await world.gateway.stop()

    assert ["groq"] == [row["endpoint_slug"] for row in world.gateway.log_rows()]


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

    # On a busy machine, time enough for the request to reach the provider.
    with world.client(timeout=1.5) as client, pytest.raises(openai.APIError):
        await in_thread(partial(client.embeddings.create, model="only-openai", input="Hello"))

    with trio.fail_after(10):
        await world.providers["openai"].wait_closed()
