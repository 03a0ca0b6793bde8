"""The examples' clients in Python and Node: they stream, read on after each cut, stop, and explain."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from tests.support.cutting_relay import open_relay
from tests.support.example_site import EXAMPLES, TEXT
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway

NODE = shutil.which("node")
PYTHON = [sys.executable, str(EXAMPLES / "client.py")]
CLIENTS = [
    pytest.param(PYTHON, id="python"),
    pytest.param(
        [NODE or "node", str(EXAMPLES / "client.mjs")],
        id="node",
        marks=pytest.mark.skipif(NODE is None, reason="node is not installed"),
    ),
]
LIMIT_S = 60


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    resumable = {"streaming_enabled": True, "resumable_streams": True, "orphan_grace_ms": 60_000}
    endpoints = endpoint("support", "", **resumable) + endpoint("still")
    return await start_gateway(nursery, tmp_path, project() + endpoints)


async def run(client: list[str], gateway: Gateway, port: int, slug: str = "support") -> tuple[int, str, str]:
    """Status, output and errors of a client."""
    url = f"http://127.0.0.1:{port}/api/{PROJECT}/{slug}"
    with trio.fail_after(LIMIT_S):
        done = await trio.run_process(
            [*client, url, "Tell me"],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "PG_TRIO_TOKEN": gateway.token},
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("client", CLIENTS)
async def test_answer_is_whole(gateway: Gateway, client: list[str]) -> None:
    gateway.simulator.behave("support", f"content={quote(TEXT)}")

    assert (0, f"{TEXT}\n", "") == await run(client, gateway, gateway.port)


@pytest.mark.parametrize("client", CLIENTS)
async def test_cut_network_leaves_the_answer_whole(nursery: trio.Nursery, gateway: Gateway, client: list[str]) -> None:
    gateway.simulator.behave("support", f"content={quote(TEXT)}&pace=2ms")
    relay = await open_relay(nursery, gateway.port, every=10)

    assert (0, f"{TEXT}\n", "") == await run(client, gateway, relay.port)
    assert relay.cuts >= 5
    assert 1 == len(gateway.simulator.requests)


@pytest.mark.parametrize("client", CLIENTS)
async def test_ctrl_c_stops_the_answer(gateway: Gateway, client: list[str]) -> None:
    gateway.simulator.behave("support", "tokens=100000&pace=20ms")
    url = f"http://127.0.0.1:{gateway.port}/api/{PROJECT}/support"
    environ = {**os.environ, "PG_TRIO_TOKEN": gateway.token}
    process = await trio.lowlevel.open_process([*client, url, "Go on"], stdout=subprocess.PIPE, env=environ)
    assert process.stdout is not None
    with trio.fail_after(LIMIT_S):
        async with process.stdout:
            await process.stdout.receive_some(100)
            process.send_signal(signal.SIGINT)
            call = await gateway.simulator.wait_closed()
            async for _ in process.stdout:
                pass
        assert 0 == await process.wait()

    assert call.closed_early


@pytest.mark.parametrize("client", CLIENTS)
async def test_answer_may_come_whole(gateway: Gateway, client: list[str]) -> None:
    gateway.simulator.behave("still", f"content={quote(TEXT)}")

    assert (0, f"{TEXT}\n", "") == await run(client, gateway, gateway.port, "still")


@pytest.mark.parametrize("client", CLIENTS)
async def test_errors_are_explained(gateway: Gateway, client: list[str]) -> None:
    status, _, errors = await run(client, gateway, gateway.port, "unknown")
    gone, _, unreachable = await run(client, gateway, 9)

    assert (1, 1) == (status, gone)
    assert "(404)" in errors
    assert "The gateway cannot be reached" in unreachable
