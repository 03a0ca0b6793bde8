"""Each client of Chat Completions: whole and streamed answers, tools and shapes, from candidates of three wires."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.clients.declared import Client, clients_with
from tests.clients.talking import ClientProgram
from tests.clients.world import MODELS, WIRES, World

TEXT = "Ça va, and quite a few more words. 🙂 Line\u2028separator"
WEATHER = {"city": "Ulm", "degrees": 7}


def name(client: object) -> str:
    return client.name if isinstance(client, Client) else str(client)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("chat"), ids=name)
async def test_whole_answer(world: World, program: ClientProgram, client: Client, wire: str) -> None:
    world.behave(wire, "usage=38:87", content=TEXT)

    gave = await program.ask("chat", **world.ask(wire, content="Hello there 🙂"))

    assert (TEXT, "stop", [38, 87]) == (gave["text"], gave["finish"], gave["usage"])
    [asked] = world.provider.requests
    assert "Hello there 🙂" == asked.said


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("stream"), ids=name)
async def test_streamed_answer(world: World, program: ClientProgram, client: Client, wire: str) -> None:
    world.behave(wire, "usage=38:87", content=TEXT)

    gave = await program.ask("stream", **world.ask(wire))

    assert (TEXT, "stop") == (gave["text"], gave["finish"])
    if "usage" in gave:
        assert [38, 87] == gave["usage"]
    assert world.provider.requests[0].stream
