"""Each client against streams that come in pieces, with comments, slowly, or not to their end.

No client ever takes a cut answer for a whole one.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from pg_trio.stages.relay import watch
from tests.clients.declared import Client, client_id, clients_with, ways_with
from tests.clients.split_relay import split_answers
from tests.clients.talking import ClientProgram
from tests.clients.world import MODELS, World, open_world, wire_endpoint, wire_endpoints

WORDS = " ".join(f"wörd{number} 🙂" for number in range(12))
ARGUMENTS = json.dumps({"degrees": 7, "city": "Ulm and Neu-Ulm and all around them"})
# What goes wrong behind the gateway after a stream's first tokens.
FAULTS = (
    "stream_error:4",
    "cut:4",
    "cut:4:clean",
    "cut:4:inside",
    "stall:4",
    "reset:body",
    "truncate",
    "malformed_chunk",
)


@pytest.fixture
async def impatient(nursery: trio.Nursery, tmp_path: Path) -> World:
    """A gateway that gives a silent provider up soon."""
    return await open_world(nursery, tmp_path, wire_endpoints(idle_timeout_ms=300))


@pytest.fixture
async def carried_on(nursery: trio.Nursery, tmp_path: Path) -> World:
    """A gateway whose streams another candidate carries on, and an endpoint that does not stream."""
    failover = [{"credential": "anthropic", "model": MODELS["anthropic"]}]
    endpoints = [
        wire_endpoint("openai", "openai", streaming_enabled=True, on_stream_failure="continue", failover=failover),
        wire_endpoint("whole", "openai"),
    ]
    return await open_world(nursery, tmp_path, "\n".join(endpoints))


@pytest.fixture
async def chatty(nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A gateway that sends comments at once and often."""
    monkeypatch.setattr(watch, "KEEP_ALIVE_S", 0.02)
    return await open_world(nursery, tmp_path, wire_endpoints(stream_head_after_ms=20))


@pytest.mark.parametrize(
    ("wire", "fault"),
    [("openai", fault) for fault in FAULTS] + [("anthropic", "stream_error:4"), ("google", "cut:4:inside")],
)
@pytest.mark.parametrize(
    ("client", "scenario"), ways_with("cut", {"stream": "stream", "stream_tools": "cut"}), ids=client_id
)
async def test_broken_stream_is_an_error(
    impatient: World, program: ClientProgram, client: Client, wire: str, fault: str, scenario: str
) -> None:
    if scenario == "stream":
        impatient.behave(wire, f"fault={fault}", content=WORDS)
    else:
        tool = client.shape_tool if "tools" not in client.features else "get_weather"
        impatient.behave(wire, f"fault={fault}&tool={tool}:{quote(ARGUMENTS)}")

    raised = await program.ask_raised(scenario, **impatient.ask(wire))

    assert raised.message


@pytest.mark.parametrize("end", [b"w\xc3\xb6rd4", b'"finish_reason":"stop"'])
@pytest.mark.parametrize(("client", "scenario"), ways_with("cut", {"stream": "stream"}), ids=client_id)
async def test_connection_that_ends_is_an_error(
    world: World, program: ClientProgram, client: Client, scenario: str, end: bytes
) -> None:
    world.behave("openai", content=WORDS)
    async with split_answers(world.gateway.port, 64, cut_after=end) as port:
        question = {**world.ask("openai"), "base": world.base_on(port)}

        gave = await program.ask_or_raised(scenario, **question)

    # A client may know from the finish reason alone that the text is whole.
    assert not isinstance(gave, dict) or WORDS == gave["text"]
    assert not isinstance(gave, dict) or b"stop" in end


@pytest.mark.parametrize("piece_bytes", [1, 7, 100])
@pytest.mark.parametrize("client", clients_with("odd"), ids=client_id)
async def test_stream_in_pieces(world: World, program: ClientProgram, client: Client, piece_bytes: int) -> None:
    world.behave("openai", content=WORDS)
    async with split_answers(world.gateway.port, piece_bytes) as port:
        gave = await program.ask("stream", **{**world.ask("openai"), "base": world.base_on(port)})

    assert (WORDS, "stop") == (gave["text"], gave["finish"])


@pytest.mark.parametrize("client", clients_with("odd"), ids=client_id)
async def test_stream_with_comments(chatty: World, program: ClientProgram, client: Client) -> None:
    chatty.behave("openai", "latency=200ms&pace=60ms", content=WORDS)

    gave = await program.ask("stream", **chatty.ask("openai"))

    assert (WORDS, "stop") == (gave["text"], gave["finish"])


@pytest.mark.parametrize(("client", "scenario"), ways_with("cut", {"stream": "stream"}), ids=client_id)
async def test_stream_that_breaks_after_comments(
    chatty: World, program: ClientProgram, client: Client, scenario: str
) -> None:
    """The head is out, so the failure is told in the stream, before any text."""
    chatty.behave("openai", "latency=200ms&fault=status:400")

    await program.ask_raised(scenario, **chatty.ask("openai"))


@pytest.mark.parametrize("client", clients_with("odd"), ids=client_id)
async def test_slow_stream_outlasts_the_client_s_timeout(world: World, program: ClientProgram, client: Client) -> None:
    world.behave("openai", "pace=60ms", content=WORDS)

    gave = await program.ask("stream", **world.ask("openai", timeout=client.slow_timeout_s))

    assert (WORDS, "stop") == (gave["text"], gave["finish"])


@pytest.mark.parametrize("client", clients_with("odd"), ids=client_id)
async def test_stream_that_another_candidate_carries_on(
    carried_on: World, program: ClientProgram, client: Client
) -> None:
    words = WORDS.split(" ")
    carried_on.behave("openai", "fault=stream_error:4", content=WORDS)
    carried_on.behave("anthropic", content=" ".join(words[4:]))

    gave = await program.ask("stream", **carried_on.ask("openai"))

    assert (WORDS.replace(" ", ""), "stop") == (gave["text"].replace(" ", ""), gave["finish"])
    assert 2 == len(carried_on.provider.requests)


@pytest.mark.parametrize("client", clients_with("odd"), ids=client_id)
async def test_stream_of_an_endpoint_without_streams(carried_on: World, program: ClientProgram, client: Client) -> None:
    """An SDK that asked for a stream cannot read a whole answer."""
    carried_on.behave("openai", content=WORDS)

    gave = await program.ask("stream", **carried_on.ask("whole"))

    assert (WORDS, "stop") == (gave["text"], gave["finish"])
    assert not carried_on.provider.requests[0].stream
