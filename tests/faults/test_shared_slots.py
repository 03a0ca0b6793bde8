"""A credential's slots over real workers: never more calls than `max_concurrent`, and a killed worker's come back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import h11
import pytest
import trio

from pg_trio.simulator import Simulator, serve_simulator
from tests.support.gateway import CREDENTIALS, PROJECT, endpoint, project
from tests.support.processes import PG_TRIO, run_command, start, wait_until
from tests.support.wire import bearer, post, send_raw

WORKERS = 3
SLOTS = 4
CLIENTS = 24
LIMIT_S = 30


@pytest.mark.slow
async def test_slots_are_exact_and_a_killed_workers_come_back(nursery: trio.Nursery, tmp_path: Path) -> None:
    simulator: Simulator = await nursery.start(serve_simulator)
    config = tmp_path / "gateway.toml"
    # The first lines after the credential's table are its own.
    limits = f"max_concurrent = {SLOTS}\nslot_wait_ms = {LIMIT_S * 1000}\n"
    settings = CREDENTIALS.format(base_url=simulator.base_url) + limits + project() + endpoint("ask")
    config.write_text(f'[server]\nbind = "127.0.0.1:0"\nworkers = {WORKERS}\n' + settings, encoding="utf-8")
    create = ("token", "create", "--config", str(config), "--project", str(PROJECT), "--name", "t")
    token = (await run_command(*create))[1].strip()
    served = await start(nursery, [*PG_TRIO, "serve", "--config", str(config)])
    request = post(f"/api/{PROJECT}/ask", {"message": "Hello"}, bearer(token))

    # Every slot is taken by a call that never ends, in any worker; the others wait.
    simulator.behave("ask", "fault=stall")
    async with trio.open_nursery() as stuck:
        for _ in range(CLIENTS):
            stuck.start_soon(ask, served.port, request)
        await wait_until(lambda: len(simulator.requests) >= SLOTS)
        await trio.sleep(0.5)
        while_full = len(simulator.requests)
        simulator.behave("ask")
        for pid in json.loads((tmp_path / "data" / "serve.json").read_text())["workers"]:
            os.kill(pid, signal.SIGKILL)

    # Nothing was given back; the new workers found out that the old ones are dead.
    with trio.fail_after(LIMIT_S):
        answered = 0
        while answered < CLIENTS:
            answered += await ask(served.port, request) == 200
    assert SLOTS == while_full
    assert 0 == await served.stop()


async def ask(port: int, request: bytes) -> int:
    """The status of the answer; 0 where the worker was killed before it, or none serves just now."""
    status = 0
    try:
        status = (await send_raw(port, request)).status
    except* (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
        await trio.sleep(0.05)
    return status
