"""A worker that did not run for a while (SIGSTOP, a paused machine): no provider is blamed for it, and what was revoked
or switched off meanwhile is refused.

A real `pg-trio serve`; while its worker is stopped, the provider answers in time, and nothing reads it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from pg_trio.domain.operator import Change, Operator, Override
from pg_trio.overrides import endpoint_target
from pg_trio.simulator import Simulator, serve_simulator
from pg_trio.store.operators import OperatorStore
from tests.support.gateway import CREDENTIALS, PROJECT, endpoint, project
from tests.support.processes import PG_TRIO, run_command, start
from tests.support.wire import HttpResponse, bearer, post, read_response, send_raw

# As many slow calls open a breaker (BreakerRules.slow_min_calls), and a few more.
CALLS = 14
# The provider takes a second: enough to stop the worker before the first answer.
LATENCY = "latency=1s"
LIMIT_S = 3
OLGA = Operator(1, "Olga", "pg_op_", bytes(32), "operator", True, 0.0)
SPARE = [{"credential": "sim", "model": "spare"}]
ENDPOINTS = {
    # The request's own deadline passes: it holds.
    "lone": endpoint("lone", "talk", deadline_ms=LIMIT_S * 1000),
    # The limit of a try passes: the answers that have come meanwhile are read all the same.
    "two": endpoint("two", "talk", failover=SPARE, deadline_ms=60_000, attempt_timeout_ms=LIMIT_S * 1000),
}


@pytest.mark.slow
@pytest.mark.parametrize("slug", ENDPOINTS)
async def test_provider_is_not_blamed_for_a_pause_of_ours(nursery: trio.Nursery, tmp_path: Path, slug: str) -> None:
    simulator: Simulator = await nursery.start(serve_simulator)
    simulator.behave("talk", LATENCY)
    head = f'[server]\nbind = "127.0.0.1:0"\nworkers = 1\n{CREDENTIALS.format(base_url=simulator.base_url)}'
    config = tmp_path / "gateway.toml"
    config.write_text(head + project() + ENDPOINTS[slug], encoding="utf-8")
    create = ("token", "create", "--config", str(config), "--project", str(PROJECT), "--name", "t")
    token = (await run_command(*create))[1].strip()
    served = await start(nursery, [*PG_TRIO, "serve", "--config", str(config)])
    (worker,) = json.loads((tmp_path / "data" / "serve.json").read_text())["workers"]

    async def ask(answers: list[HttpResponse]) -> None:
        answers.append(await send_raw(served.port, post(f"/api/{PROJECT}/{slug}", {"message": "Hello"}, bearer(token))))

    during: list[HttpResponse] = []
    after: list[HttpResponse] = []
    async with trio.open_nursery() as clients:
        for _ in range(CALLS):
            clients.start_soon(ask, during)
        await simulator.wait_request(CALLS)
        os.kill(worker, signal.SIGSTOP)
        try:
            await trio.sleep(LIMIT_S + 1)
        finally:
            os.kill(worker, signal.SIGCONT)
    simulator.behave("talk")
    await ask(after)

    statuses = {one.status for one in during}
    # On a busy machine, some may have their answer before the pause.
    assert ({504} <= statuses <= {200, 504}) if slug == "lone" else {200} == statuses
    assert 200 == after[0].status, served.output
    assert ["talk"] * (CALLS + 1) == [one.model for one in simulator.requests]
    assert 0 == await served.stop()


@pytest.mark.slow
async def test_token_revoked_in_a_pause_is_refused(nursery: trio.Nursery, tmp_path: Path) -> None:
    async def revoke(token: str, config: Path) -> None:
        assert 0 == (await run_command("token", "revoke", token, "--config", str(config)))[0]

    before, after, calls = await ask_around_a_pause(nursery, tmp_path, revoke)

    assert ([200] * CALLS, [401] * CALLS, CALLS) == (before, after, calls)


@pytest.mark.slow
async def test_endpoint_switched_off_in_a_pause_is_not_called(nursery: trio.Nursery, tmp_path: Path) -> None:
    async def switch_off(_token: str, config: Path) -> None:
        # As another worker writes it.
        operators = await OperatorStore.open(config.parent / "data")
        target = endpoint_target(PROJECT, "talk")
        await operators.override([Override(target, "is_active", False)], Change(OLGA, "update", target, None))
        await operators.aclose()

    before, after, calls = await ask_around_a_pause(nursery, tmp_path, switch_off)

    assert ([200] * CALLS, [404] * CALLS, CALLS) == (before, after, calls)


async def ask_around_a_pause(
    nursery: trio.Nursery, tmp_path: Path, change: Callable[[str, Path], Awaitable[None]]
) -> tuple[list[int], list[int], int]:
    """The statuses of requests before a pause of the worker, and of those that lie in its sockets at the pause's end;
    and how many the provider has seen. `change` is made in the pause."""
    simulator: Simulator = await nursery.start(serve_simulator)
    head = f'[server]\nbind = "127.0.0.1:0"\nworkers = 1\n{CREDENTIALS.format(base_url=simulator.base_url)}'
    config = tmp_path / "gateway.toml"
    config.write_text(head + project() + endpoint("talk"), encoding="utf-8")
    create = ("token", "create", "--config", str(config), "--project", str(PROJECT), "--name", "t")
    token = (await run_command(*create))[1].strip()
    served = await start(nursery, [*PG_TRIO, "serve", "--config", str(config)])
    (worker,) = json.loads((tmp_path / "data" / "serve.json").read_text())["workers"]
    request = post(f"/api/{PROJECT}/talk", {"message": "Hello"}, bearer(token))
    async with AsyncExitStack() as opened:
        streams = [
            await opened.enter_async_context(await trio.open_tcp_stream("127.0.0.1", served.port)) for _ in range(CALLS)
        ]
        for stream in streams:
            await stream.send_all(request)
        before = [(await read_response(stream)).status for stream in streams]
        os.kill(worker, signal.SIGSTOP)
        try:
            await change(token, config)
            # Longer than the promise: "within a second".
            await trio.sleep(1.5)
            for stream in streams:
                await stream.send_all(request)
        finally:
            os.kill(worker, signal.SIGCONT)
        after = [(await read_response(stream)).status for stream in streams]

    assert 0 == await served.stop()
    return before, after, len(simulator.requests)
