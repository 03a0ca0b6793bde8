"""What each client tells the gateway, and what it leaves: timeouts, header fields, streams that it does not read on."""

from __future__ import annotations

import pytest

from tests.clients.declared import Client, client_id, clients_with
from tests.clients.talking import ClientProgram
from tests.clients.world import WIRES, World


@pytest.mark.parametrize("client", clients_with("deadline"), ids=client_id)
async def test_timeout_is_the_gateway_s_deadline(world: World, program: ClientProgram, client: Client) -> None:
    await program.ask("chat", **world.ask("openai", timeout=20))
    await program.ask("stream", **world.ask("openai", timeout=20))

    # The candidate is told what is left of it.
    whole, streamed = [int(request.headers["x-pg-timeout-ms"]) for request in world.provider.requests]
    assert 10_000 < whole <= 20_000
    # Of a stream it is the wait between two reads, which is no deadline.
    assert 500_000 < streamed


@pytest.mark.parametrize("scenario", ["chat", "stream"])
@pytest.mark.parametrize("client", clients_with("timeout"), ids=client_id)
async def test_timeout_ends_the_provider_s_call(
    world: World, program: ClientProgram, client: Client, scenario: str
) -> None:
    world.behave("openai", "fault=stall")

    # On a busy machine, time enough for the request to reach the provider.
    raised = await program.ask_raised(scenario, **world.ask("openai", timeout=3))

    assert any("Timeout" in name for name in raised.classes) or 504 == raised.status_code
    assert await world.was_left()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", clients_with("cancel"), ids=client_id)
async def test_stream_that_is_left_ends_the_provider_s_call(
    world: World, program: ClientProgram, client: Client, wire: str
) -> None:
    world.behave(wire, "tokens=20&fault=stall:3")

    gave = await program.ask("cancel", **world.ask(wire))

    assert gave
    assert await world.was_left()


@pytest.mark.parametrize("client", clients_with("headers"), ids=client_id)
async def test_header_fields(world: World, program: ClientProgram, client: Client) -> None:
    gave = await program.ask("headers", **world.ask("openai", headers={"X-Request-Id": "mine"}))

    assert len("6f1c0000-0000-4000-8000-000000000001") == len(gave["x-request-id"])
    assert "1" == gave["x-pg-attempts"]
    if client.path == "messages":
        assert gave["x-request-id"] == gave["request-id"]
    else:
        assert gave["openai-processing-ms"].isdigit()
    await world.gateway.stop()
    [row] = world.gateway.log_rows()
    assert (row["request_id"], "mine") == (gave["x-request-id"], row["client_request_id"])
