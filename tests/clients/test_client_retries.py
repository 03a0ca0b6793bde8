"""Each client repeats a request as the gateway says; the gateway's log has every attempt that it saw."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.clients.declared import Client, client_id, clients_with
from tests.clients.talking import ClientProgram
from tests.clients.world import World, open_world, wire_endpoint

# A token comes back each second, which is later than any client's own first pause: only one that waits as
# `Retry-After` says finds it.
PER_MINUTE = 60
ENDPOINTS = "\n".join(
    [
        wire_endpoint("limited", "openai", rate_limit_per_minute=PER_MINUTE),
        wire_endpoint("openai", "openai"),
        wire_endpoint("stalled", "anthropic", deadline_ms=200),
        wire_endpoint("capped", "openai", usage_hard_limit_tokens=1),
    ]
)


@pytest.fixture
async def world(nursery: trio.Nursery, tmp_path: Path) -> World:
    return await open_world(nursery, tmp_path, ENDPOINTS)


async def statuses(world: World) -> list[int]:
    """What the gateway answered to each request, in order."""
    await world.gateway.stop()
    return [row["status"] for row in world.gateway.log_rows()]


@pytest.mark.parametrize("client", clients_with("waits"), ids=client_id)
async def test_waits_as_long_as_it_is_told(world: World, program: ClientProgram, client: Client) -> None:
    while (await world.gateway.call("limited")).status != 429:
        pass

    gave = await program.ask("chat", **world.ask("limited", max_retries=1))

    assert "You said: Hello there" == gave["text"]
    assert [429, 200] == (await statuses(world))[-2:]


@pytest.mark.parametrize("client", clients_with("waits"), ids=client_id)
async def test_repeats_what_the_provider_failed(world: World, program: ClientProgram, client: Client) -> None:
    world.behave("openai", "fault=status:401")

    await program.ask_raised("chat", **world.ask("openai", max_retries=1))

    assert [502, 502] == await statuses(world)


@pytest.mark.parametrize("client", clients_with("obeys"), ids=client_id)
async def test_does_not_repeat_what_came_too_late(world: World, program: ClientProgram, client: Client) -> None:
    world.behave("anthropic", "fault=stall")

    await program.ask_raised("chat", **world.ask("stalled", max_retries=2))

    assert [504] == await statuses(world)


@pytest.mark.parametrize("client", clients_with("obeys"), ids=client_id)
async def test_does_not_repeat_what_the_provider_refuses(world: World, program: ClientProgram, client: Client) -> None:
    world.behave("openai", "fault=status:400")

    await program.ask_raised("chat", **world.ask("openai", max_retries=2))

    assert [502] == await statuses(world)


@pytest.mark.parametrize("told", ["capped", "unknown"])
@pytest.mark.parametrize("client", clients_with("gives up"), ids=client_id)
async def test_does_not_repeat_what_is_in_vain(world: World, program: ClientProgram, client: Client, told: str) -> None:
    await program.ask_raised("chat", **world.ask(told, max_retries=2))

    assert 1 == len(await statuses(world))
