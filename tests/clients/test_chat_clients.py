"""Each client of Chat Completions: whole and streamed answers, tools and shapes, from candidates of three wires."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from pg_trio.simulator.wires.event_frames import THOUGHT
from tests.clients.declared import Client, client_id, clients_with
from tests.clients.talking import ClientProgram
from tests.clients.world import MODELS, WIRES, World, open_world

CITY = "%7B%22city%22%3A%22Ulm%22%7D"
# What the programs send as an image: 1×1, the smallest PNG.
PIXEL = "iVBORw0KGgo"
TEXT = "Ça va, and quite a few more words. 🙂 Line\u2028separator"
WEATHER = {"city": "Ulm", "degrees": 7}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("chat"), ids=client_id)
async def test_whole_answer(world: World, program: ClientProgram, client: Client, wire: str) -> None:
    world.behave(wire, "usage=38:87", content=TEXT)

    gave = await program.ask("chat", **world.ask(wire, content="Hello there 🙂"))

    assert (TEXT, "stop", [38, 87]) == (gave["text"], gave["finish"], gave["usage"])
    [asked] = world.provider.requests
    assert "Hello there 🙂" == asked.said


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("stream"), ids=client_id)
async def test_streamed_answer(world: World, program: ClientProgram, client: Client, wire: str) -> None:
    world.behave(wire, "usage=38:87", content=TEXT)

    gave = await program.ask("stream", **world.ask(wire))

    assert (TEXT, "stop") == (gave["text"], gave["finish"])
    if "usage" in gave:
        assert [38, 87] == gave["usage"]
    assert world.provider.requests[0].stream


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("helper"), ids=client_id)
async def test_streamed_answer_by_its_helper(world: World, program: ClientProgram, client: Client, wire: str) -> None:
    world.behave(wire, content=TEXT)

    gave = await program.ask("stream_helper", **world.ask(wire))

    assert (TEXT, "stop") == (gave["text"], gave["finish"])


@pytest.mark.parametrize("scenario", ["chat", "stream"])
@pytest.mark.parametrize("client", clients_with("reasoning"), ids=client_id)
async def test_reasoning_is_told(world: World, program: ClientProgram, client: Client, scenario: str) -> None:
    # Anthropic's clients are told of signed reasoning alone.
    wire = "anthropic" if client.path == "messages" else "openai"
    world.behave(wire, "reasoning=3", content="42")

    gave = await program.ask(scenario, **world.ask(wire))

    assert "42" == gave["text"]
    assert 3 == gave["reasoning"].count(THOUGHT)


async def answer_after_the_call(world: World, wire: str) -> None:
    """Once the tool is called, the provider answers with text."""
    await world.provider.wait_request(1)
    world.behave(wire, content="It is 7 degrees.")


@pytest.mark.parametrize("scenario", ["tools", "stream_tools"])
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("tools"), ids=client_id)
async def test_round_of_tools(
    world: World, nursery: trio.Nursery, program: ClientProgram, client: Client, wire: str, scenario: str
) -> None:
    world.behave(wire, f"tool=get_weather:{CITY}")
    nursery.start_soon(answer_after_the_call, world, wire)

    gave = await program.ask(scenario, **world.ask(wire))

    assert ([["get_weather", {"city": "Ulm"}]], "It is 7 degrees.") == (gave["calls"], gave["text"])
    called, answered = world.provider.requests
    assert "get_weather" in json.dumps(called.body)
    assert "7 degrees" in json.dumps(answered.body)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("shape"), ids=client_id)
async def test_answer_in_a_shape(world: World, program: ClientProgram, client: Client, wire: str) -> None:
    if client.shape_tool is not None:
        world.behave(wire, f"tool={client.shape_tool}:{quote(json.dumps(WEATHER))}")
    else:
        world.behave(wire, content=json.dumps(WEATHER))

    gave = await program.ask("structured", **world.ask(wire))

    assert WEATHER == gave
    assert "degrees" in json.dumps(world.provider.requests[0].body)


@pytest.mark.parametrize("client", clients_with("models"), ids=client_id)
async def test_models_are_listed(world: World, program: ClientProgram, client: Client) -> None:
    assert list(WIRES) == await program.ask("models", **world.ask(""))


@pytest.mark.parametrize("client", clients_with("embeddings"), ids=client_id)
async def test_embeddings(world: World, program: ClientProgram, client: Client) -> None:
    gave = await program.ask("embeddings", **world.ask("openai"))

    assert {"sizes": [8, 8], "same": True} == gave


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("chat", "messages"), ids=client_id)
async def test_image_of_messages(world: World, program: ClientProgram, client: Client, wire: str) -> None:
    gave = await program.ask("image", **world.ask(wire))

    assert gave["text"].startswith("You said:")
    assert PIXEL in json.dumps(world.provider.requests[0].body)


@pytest.mark.parametrize("token_as", ["api_key", "auth_token"])
@pytest.mark.parametrize("client", clients_with("counts"), ids=client_id)
async def test_tokens_of_messages_are_counted(
    world: World, program: ClientProgram, client: Client, token_as: str
) -> None:
    """The SDKs send the token as `x-api-key` or as a bearer, as the program says."""
    question = world.ask("openai", content="a" * 400, token_as=token_as)

    assert 100 <= await program.ask("count_tokens", **question) <= 110
    assert not world.provider.requests


@pytest.fixture
async def wrapper(nursery: trio.Nursery, tmp_path: Path) -> World:
    """A project whose clients name the providers' models themselves."""
    opened = "".join(f'[[projects.providers]]\ncredential = "{wire}"\n' for wire in WIRES)
    return await open_world(nursery, tmp_path, opened, project_type="ai_wrapper")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("chat"), ids=client_id)
async def test_model_that_the_client_names(wrapper: World, program: ClientProgram, client: Client, wire: str) -> None:
    gave = await program.ask("chat", **wrapper.ask(f"{wire}:{MODELS[wire]}"))

    assert gave["text"].startswith("You said: Hello there")
    assert [MODELS[wire]] == [request.model for request in wrapper.provider.requests]
